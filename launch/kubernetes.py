#!/usr/bin/env python3
"""Starts a launcher on N pods of a Kubernetes cluster, as a JobSet (jobset.sigs.k8s.io must be installed there).

  python launch/kubernetes.py --name=mnist --image=REGISTRY/synthjax --processes=4 --gpus=1 --volume=runs \
      -- python -m synthjax.launch.train --model=ddpm --dataset=mnist --workdir=/runs/mnist
  python launch/kubernetes.py --name=mnist --image=REGISTRY/synthjax --processes=4 \
      --tpu=tpu-v5-lite-podslice:4x4:4 --volume=runs -- python -m synthjax.launch.train ...

The volume (a PersistentVolumeClaim that all pods may write) is mounted at /NAME; workdir and data belong on it. When a
pod fails, all pods are replaced if it was preempted (exit code 42, or any of a pod that was evicted), killed (127-255)
or has lost another (134), up to --restarts times; any other exit code fails the whole set at once. --dry-run prints
the manifest instead of handing it to kubectl.
"""

import argparse
import subprocess
import sys

import yaml

PORT = 8476
RESTARTED = [42, *range(127, 256)]


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", required=True, help="name of the JobSet")
    parser.add_argument("--image", required=True, help="container image with synthjax installed")
    parser.add_argument("--processes", type=int, required=True, help="number of pods")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--gpus", type=int, default=0, help="GPUs per pod")
    kind.add_argument("--tpu", metavar="TYPE:TOPOLOGY:CHIPS", help="GKE accelerator, topology and chips per pod")
    parser.add_argument("--volume", help="PersistentVolumeClaim to mount at /NAME")
    parser.add_argument("--restarts", type=int, default=10, help="how often to start again (default: 10)")
    parser.add_argument("--dry-run", action="store_true", help="print the manifest and start nothing")
    parser.add_argument("command", nargs="+", help="what to run, behind --")
    args = parser.parse_args(argv)
    if args.tpu and args.tpu.count(":") != 2:
        parser.error(f"--tpu must be TYPE:TOPOLOGY:CHIPS, not {args.tpu!r}")
    return args


def pod(args: argparse.Namespace) -> dict:
    """The specification of one pod."""
    flags = ["--distributed"]
    placement: dict = {}
    limits = {"nvidia.com/gpu": args.gpus} if args.gpus else {}
    if args.tpu:  # GKE tells each pod its place, and JAX reads it
        kind, topology, chips = args.tpu.split(":")
        limits = {"google.com/tpu": int(chips)}
        selector = {"cloud.google.com/gke-tpu-accelerator": kind, "cloud.google.com/gke-tpu-topology": topology}
        placement = {"nodeSelector": selector}
    else:
        flags += [
            f"--coordinator_address={args.name}-workers-0-0.{args.name}:{PORT}",
            f"--num_processes={args.processes}",
            "--process_id=$(JOB_COMPLETION_INDEX)",
        ]
    container: dict = {"name": "main", "image": args.image, "command": [*args.command, *flags]}
    if limits:
        container["resources"] = {"limits": limits}
    if args.volume:
        container["volumeMounts"] = [{"name": "shared", "mountPath": f"/{args.volume}"}]
        placement["volumes"] = [{"name": "shared", "persistentVolumeClaim": {"claimName": args.volume}}]
    # Long enough to save a checkpoint after SIGTERM.
    return {"restartPolicy": "Never", "terminationGracePeriodSeconds": 120, **placement, "containers": [container]}


def manifest(args: argparse.Namespace) -> dict:
    """The JobSet: one indexed Job that any pod's failure ends, started anew unless the exit code forbids it."""
    evicted = {"action": "Count", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    fatal = {"containerName": "main", "operator": "NotIn", "values": RESTARTED}
    job = {
        "completionMode": "Indexed",
        "completions": args.processes,
        "parallelism": args.processes,
        "backoffLimit": 0,
        "podFailurePolicy": {"rules": [evicted, {"action": "FailJob", "onExitCodes": fatal}]},  # the first that fits
        "template": {"spec": pod(args)},
    }
    rules = [{"name": "fatal", "action": "FailJobSet", "onJobFailureReasons": ["PodFailurePolicy"]}]
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": {"name": args.name},
        "spec": {
            "failurePolicy": {"maxRestarts": args.restarts, "rules": rules},
            "replicatedJobs": [{"name": "workers", "replicas": 1, "template": {"spec": job}}],
        },
    }


def main(argv: list[str]) -> int:
    """Prints the manifest or hands it to kubectl, whose exit code it returns."""
    args = parse(argv)
    # default_flow_style=None keeps plain lists on their line: 130 exit codes, one a line, would bury the rest.
    text = yaml.safe_dump(manifest(args), sort_keys=False, default_flow_style=None, width=120)
    if args.dry_run:
        print(text, end="")
        return 0
    return subprocess.run(["kubectl", "apply", "--filename=-"], input=text, text=True).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
