#!/usr/bin/env bash
# Runs a launcher on every host of a Cloud TPU VM pod; JAX learns from the pod who is who.
set -euo pipefail

usage() {
  cat <<'TEXT'
Runs a launcher on every host of a Cloud TPU VM pod.

  launch/tpu_vm.sh --name=TPU --zone=ZONE [--project=PROJECT] [--dir=DIR] [--restarts=N] [--dry-run] -- COMMAND
  launch/tpu_vm.sh --name=pod --zone=us-central2-b --dir=synthjax \
      -- python3 -m synthjax.launch.train --model=ddpm --dataset=mnist --workdir=gs://BUCKET/mnist

The command runs in DIR (default: synthjax, below the home folder) of each host; BUILD.md says how to install it there.
On 42 (preempted and saved) and 127-255 (killed, 134: another host was, or no connection) it is run again, up to --restarts times (default: 10).
gcloud returns the code of the first host that failed. --dry-run prints the command.
TEXT
}

name='' zone='' project='' dir=synthjax restarts=10 dry_run=''
while (($#)); do
  case $1 in
    --help) usage; exit ;;
    --dry-run) dry_run=yes ;;
    --name=*) name=${1#*=} ;;
    --zone=*) zone=${1#*=} ;;
    --project=*) project=${1#*=} ;;
    --dir=*) dir=${1#*=} ;;
    --restarts=*) restarts=${1#*=} ;;
    --) shift; break ;;
    *) echo "error: unknown option $1; see launch/tpu_vm.sh --help" >&2; exit 1 ;;
  esac
  shift
done
if [[ -z $name || -z $zone || $# == 0 ]]; then
  echo "error: --name, --zone and a command behind -- are needed; see launch/tpu_vm.sh --help" >&2
  exit 1
fi

remote="cd $(printf %q "$dir") &&$(printf ' %q' "$@" --distributed)"
line=(gcloud compute tpus tpu-vm ssh "$name" "--zone=$zone" ${project:+"--project=$project"} --worker=all "--command=$remote")

if [[ $dry_run ]]; then
  printf '%q ' "${line[@]}"
  echo
  exit
fi
for ((left = restarts; ; left--)); do
  code=0
  "${line[@]}" || code=$?
  if ((left == 0 || (code != 42 && code < 127))); then
    exit "$code"
  fi
  echo "launch/tpu_vm: exit code $code, $left restarts left" >&2
  sleep 10
done
