#!/usr/bin/env bash
# Submits a launcher as a SLURM job; JAX learns from srun who is who.
set -euo pipefail

usage() {
  cat <<'TEXT'
Submits a launcher as a SLURM job.

  launch/slurm.sh [--restarts=N] [--dry-run] [SBATCH OPTIONS] -- COMMAND
  launch/slurm.sh --nodes=2 --ntasks-per-node=4 --gpus-per-node=4 --time=24:00:00 \
      -- python -m synthjax.launch.train --model=ddpm --dataset=mnist --workdir=runs/mnist

One task is one process with one GPU. Run it in the folder and with the Python environment that the job should have; the
workdir must be seen by all nodes. Two minutes before its time is up the job saves and ends with 42. On 42, and on 127-255
(killed; 134: another process was), it is queued again, up to --restarts times (default: 10), and continues. An error that only one process meets
kills the others, so it is tried again too. --dry-run prints the script that sbatch would get.
TEXT
}

restarts=10
dry_run=
options=()
while (($#)); do
  case $1 in
    --help) usage; exit ;;
    --dry-run) dry_run=yes ;;
    --restarts=*) restarts=${1#*=} ;;
    --) shift; break ;;
    --*) options+=("$1") ;;
    *) echo "error: write options as --name=value, not $1; see launch/slurm.sh --help" >&2; exit 1 ;;
  esac
  shift
done
if ((!$#)); then
  echo "error: no command behind --; see launch/slurm.sh --help" >&2
  exit 1
fi

script() {
  echo '#!/usr/bin/env bash'
  printf '#SBATCH %s\n' --job-name=synthjax --requeue --open-mode=append --signal=TERM@120 "${options[@]}"
  # --wait: an error ends its task at once and the others by their missed heartbeat; this bounds that.
  printf 'srun --kill-on-bad-exit=0 --wait=60'
  printf ' %q' "$@" --distributed
  # srun returns the highest exit code of all tasks.
  cat <<TEXT

code=\$?
if ((code == 42 || code >= 127)) && ((\${SLURM_RESTART_COUNT:-0} < $restarts)); then
  scontrol requeue "\$SLURM_JOB_ID"
fi
exit \$code
TEXT
}

if [[ $dry_run ]]; then
  script "$@"
else
  script "$@" | sbatch
fi
