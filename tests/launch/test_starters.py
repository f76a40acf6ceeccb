"""What each starter would run, and the gang of local processes for real."""

import importlib.util
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
TRAIN = ["python", "-m", "synthjax.launch.train", "--model=ddpm", "--workdir=a b"]


def starter(name: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    runner = [sys.executable] if name.endswith(".py") else ["bash"]
    environment = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    command = [*runner, str(ROOT / "launch" / name), *arguments]
    return subprocess.run(command, env={**environment, **variables}, capture_output=True, text=True, timeout=120)


def dry_run(name: str, *arguments: str, workdir: str = "a b", **variables: str) -> str:
    command = [*TRAIN[:-1], f"--workdir={workdir}"]
    done = starter(name, "--dry-run", *arguments, "--", *command, **variables)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", ["local.py", "kubernetes.py", "slurm.sh", "tpu_vm.sh"])
def test_help_shows_an_example(name):
    done = starter(name, "--help")
    assert done.returncode == 0
    assert f"launch/{name} --" in done.stdout
    assert "--dry-run" in done.stdout


@pytest.mark.parametrize("name", ["slurm.sh", "tpu_vm.sh"])
def test_a_missing_command_is_one_clear_line(name):
    done = starter(name, "--zone=z" if name == "tpu_vm.sh" else "--nodes=2")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_shell_scripts_pass_shellcheck():
    shellcheck = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if not shellcheck:
        pytest.skip("shellcheck is not installed")
    subprocess.run([shellcheck, *(ROOT / "launch").glob("*.sh"), ROOT / ".ci" / "run"], check=True)


def test_local_dry_run():
    text = dry_run("local.py", "--processes=2", "--port=5000", HTTP_PROXY="http://proxy")
    shared = "python -m synthjax.launch.train --model=ddpm '--workdir=a b' --distributed"
    assert text.splitlines() == [
        f"env -u HTTP_PROXY JAX_LOCAL_DEVICE_IDS={index} PYTHONUNBUFFERED=1 {shared} "
        f"--coordinator_address=127.0.0.1:5000 --num_processes=2 --process_id={index}"
        for index in range(2)
    ]


def test_tpu_vm_dry_run():
    text = dry_run("tpu_vm.sh", "--name=pod", "--zone=us-central2-b", "--project=lab")
    remote = "cd synthjax && python -m synthjax.launch.train --model=ddpm --workdir=a\\ b --distributed"
    assert shlex.split(text) == [
        *("gcloud", "compute", "tpus", "tpu-vm", "ssh", "pod"),
        *("--zone=us-central2-b", "--project=lab", "--worker=all", f"--command={remote}"),
    ]


OPTIONS = {
    "local.py": [],
    "kubernetes.py": ["--name=n", "--image=i", "--processes=2"],
    "slurm.sh": [],
    "tpu_vm.sh": ["--name=n", "--zone=z"],
}


@pytest.mark.parametrize("name", OPTIONS)
def test_a_workdir_in_a_store_reaches_the_processes_as_it_is(name):
    text = dry_run(name, *OPTIONS[name], workdir="gs://bucket/run")
    assert re.search(r"[\s'\"]--workdir=gs://bucket/run[\s'\"]", text.replace("\\", "")), text


def test_slurm_dry_run():
    text = dry_run("slurm.sh", "--nodes=2", "--time=1:00:00", "--restarts=3")
    assert text == (
        "#!/usr/bin/env bash\n"
        "#SBATCH --job-name=synthjax\n"
        "#SBATCH --requeue\n"
        "#SBATCH --open-mode=append\n"
        "#SBATCH --signal=TERM@120\n"
        "#SBATCH --nodes=2\n"
        "#SBATCH --time=1:00:00\n"
        "srun --kill-on-bad-exit=0 --wait=60 "
        "python -m synthjax.launch.train --model=ddpm --workdir=a\\ b --distributed\n"
        "code=$?\n"
        "if ((code == 42 || code >= 127)) && ((${SLURM_RESTART_COUNT:-0} < 3)); then\n"
        '  scontrol requeue "$SLURM_JOB_ID"\n'
        "fi\n"
        "exit $code\n"
    )


@pytest.mark.parametrize(
    ("code", "count", "requeued"), [(0, 0, 0), (5, 0, 0), (42, 0, 1), (134, 0, 1), (137, 2, 1), (134, 3, 0), (42, 3, 0)]
)
def test_the_slurm_script_requeues_what_can_continue(tmp_path, code, count, requeued):
    for name, body in {"srun": f"exit {code}", "scontrol": f'echo "$@" >> {tmp_path}/requeued'}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    script = dry_run("slurm.sh", "--restarts=3")
    path = f"{tmp_path}:{os.environ['PATH']}"
    variables = {"PATH": path, "SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": str(count)}
    assert subprocess.run(["bash", "-c", script], env=variables).returncode == code
    log = tmp_path / "requeued"
    assert (log.read_text().splitlines() if log.exists() else []) == ["requeue 7"] * requeued


@pytest.mark.parametrize(
    ("codes", "restarts", "end"),
    [
        ([0], 3, 0),
        ([5], 3, 5),
        ([1], 3, 1),
        ([42, 0], 3, 0),
        ([134, 137, 255, 0], 3, 0),
        ([134, 5], 3, 5),
        ([134, 134], 1, 134),
        ([42], 0, 42),
    ],
)
def test_the_tpu_vm_loop_runs_again_what_can_continue(tmp_path, codes, restarts, end):
    """A `gcloud` that ends with one code after the other, and writes down how it was called."""
    bodies = {
        "gcloud": f'echo "$*" >> {tmp_path}/calls\nexit $(sed -n "$(wc -l < {tmp_path}/calls)p" {tmp_path}/codes)',
        "sleep": f"echo >> {tmp_path}/slept",
    }
    for name, body in bodies.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "codes").write_text("".join(f"{code}\n" for code in codes))
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = starter("tpu_vm.sh", "--name=pod", "--zone=z", f"--restarts={restarts}", "--", *TRAIN, PATH=path)
    assert done.returncode == end, done.stderr
    calls = (tmp_path / "calls").read_text().splitlines()
    assert len(calls) == len(codes) and len(set(calls)) == 1  # each time the same
    assert calls[0].startswith("compute tpus tpu-vm ssh pod --zone=z --worker=all --command=cd synthjax && python -m")
    lines = [f"launch/tpu_vm: exit code {code}, {restarts - i} restarts left" for i, code in enumerate(codes[:-1])]
    assert done.stderr.splitlines() == lines
    assert (tmp_path / "slept").exists() == (len(codes) > 1)


def test_kubernetes_dry_run():
    arguments = ["--name=mnist", "--image=registry/synthjax", "--processes=4", "--volume=runs", "--restarts=3"]
    manifest = yaml.safe_load(dry_run("kubernetes.py", *arguments, "--gpus=1"))
    assert (manifest["apiVersion"], manifest["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    fatal = {"name": "fatal", "action": "FailJobSet", "onJobFailureReasons": ["PodFailurePolicy"]}
    assert manifest["spec"]["failurePolicy"] == {"maxRestarts": 3, "rules": [fatal]}
    job = manifest["spec"]["replicatedJobs"][0]["template"]["spec"]
    assert (job["completionMode"], job["completions"], job["parallelism"]) == ("Indexed", 4, 4)
    assert job["backoffLimit"] == 0
    evicted, rule = job["podFailurePolicy"]["rules"]
    assert evicted == {"action": "Count", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    restarted = {42, *range(127, 256)}
    assert (rule["action"], rule["onExitCodes"]["operator"]) == ("FailJob", "NotIn")
    assert set(rule["onExitCodes"]["values"]) == restarted
    assert len(rule["onExitCodes"]["values"]) <= 255  # what the API takes
    pod = job["template"]["spec"]
    container = pod["containers"][0]
    assert pod["restartPolicy"] == "Never"
    assert container["name"] == rule["onExitCodes"]["containerName"]
    assert container["resources"] == {"limits": {"nvidia.com/gpu": 1}}
    assert container["volumeMounts"] == [{"name": "shared", "mountPath": "/runs"}]
    assert container["command"] == [
        *TRAIN,
        "--distributed",
        "--coordinator_address=mnist-workers-0-0.mnist:8476",
        "--num_processes=4",
        "--process_id=$(JOB_COMPLETION_INDEX)",
    ]


def test_kubernetes_leaves_tpus_to_be_found_by_jax():
    arguments = ["--name=m", "--image=i", "--processes=4", "--tpu=tpu-v5-lite-podslice:4x4:4"]
    manifest = yaml.safe_load(dry_run("kubernetes.py", *arguments))
    pod = manifest["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    assert pod["containers"][0]["command"] == [*TRAIN, "--distributed"]
    assert pod["containers"][0]["resources"] == {"limits": {"google.com/tpu": 4}}
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v5-lite-podslice",
        "cloud.google.com/gke-tpu-topology": "4x4",
    }


def gang(script: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Two local processes of `script`, in which $ME is the process id."""
    body = f"for ME; do :; done; ME=${{ME#--process_id=}}; {script}"
    return starter("local.py", *options, "--", "bash", "-c", body, "script")


def test_local_labels_lines_and_returns_the_failures_code():
    done = gang('echo hello from $ME; [ "$ME" = 1 ] && exit 5; sleep 600', "--grace=0.2", "--restarts=3")
    assert done.returncode == 5  # for good, whatever --restarts says; the other's 600 s were not waited for
    assert sorted(done.stdout.splitlines()) == ["[0] hello from 0", "[1] hello from 1"]


def test_local_prefers_the_code_that_a_process_chose():
    done = gang('[ "$ME" = 0 ] && kill -ABRT $$; sleep .5; exit 6', "--grace=10")
    assert done.returncode == 6


def test_local_returns_the_code_of_a_killed_process_whatever_its_peer_chose():
    done = gang('[ "$ME" = 1 ] && kill -KILL $$; exit 1', "--grace=10")
    assert done.returncode == 137


@pytest.mark.parametrize(("failure", "code"), [("exit 42", 42), ("kill -KILL $$", 137)])
def test_local_starts_all_again(tmp_path, failure, code):
    count = f"echo >> {tmp_path}/$ME; n=$(wc -l < {tmp_path}/$ME)"
    done = gang(f"{count}; [ $n -lt 3 ] && {failure}; exit 0", "--restarts=2")
    assert done.returncode == 0
    assert [len((tmp_path / str(index)).read_text()) for index in range(2)] == [3, 3]
    assert gang(failure, "--restarts=1", "--grace=1").returncode == code


def test_local_passes_sigterm_on_and_does_not_restart(tmp_path):
    script = f'trap "exit 42" TERM; echo >> {tmp_path}/started; while :; do sleep .1; done'
    command = [sys.executable, ROOT / "launch/local.py", "--restarts=3", "--", "bash", "-c", script]
    launcher = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 30
    started = tmp_path / "started"
    while not (started.exists() and started.read_text() == "\n\n") and time.monotonic() < deadline:
        time.sleep(0.05)
    launcher.send_signal(signal.SIGTERM)
    assert launcher.wait(timeout=30) == 42
    assert started.read_text() == "\n\n"


def test_local_processes_compute_together():
    """The flags that local.py appends are those that `distributed` reads."""
    worker = (
        "from absl import app; from synthjax.launch import distributed; distributed.define_flags()\n"
        "def main(argv):\n"
        "    distributed.initialize(); import jax; from jax.experimental import multihost_utils as m\n"
        "    print('SUM', int(m.process_allgather(jax.numpy.asarray(jax.process_index() + 1)).sum()))\n"
        "    distributed.leave(0)\n"
        "app.run(main)"
    )
    done = starter("local.py", "--", sys.executable, "-c", worker, JAX_PLATFORMS="cpu", PJRT_NPROC="1", XLA_FLAGS="")
    assert done.returncode == 0, done.stdout
    assert {"[0] SUM 3", "[1] SUM 3"} <= set(done.stdout.splitlines())


def test_local_restarts_on_the_code_of_preemption():
    from synthjax.errors import PeerLost, Preempted

    spec = importlib.util.spec_from_file_location("starter_local", ROOT / "launch/local.py")
    local = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(local)
    assert (Preempted.exit_code, PeerLost.exit_code) == (local.PREEMPTED, local.PEER_LOST)
