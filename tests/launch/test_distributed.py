"""Two local processes find each other as under each cluster manager, and end with the right exit codes."""

import socket
import subprocess
import sys

import jax
import pytest
from commands import environment, start

from synthjax.errors import CheckpointError
from synthjax.launch import cli, distributed

# Each process contributes its id + 1, so only a real exchange gives both of them the sum 3. Then each leaves with its
# exit code of LEAVE; "hang" sleeps instead, as one that waits for a process that will never come.
WORKER = """
import os
import time
from absl import app
from synthjax.launch import distributed

distributed.define_flags()

def main(argv):
    distributed.initialize()
    import jax
    from jax.experimental import multihost_utils
    me = jax.process_index()
    total = int(multihost_utils.process_allgather(jax.numpy.asarray(me + 1)).sum())
    print("RESULT", me, jax.process_count(), total, flush=True)
    leave = os.environ["LEAVE"].split(",")[me]
    time.sleep(600 if leave == "hang" else 0)
    print("last words")
    distributed.leave(int(leave))

app.run(main)
"""


def slurm(index: int) -> dict[str, str]:
    return {
        "SLURM_JOB_ID": "77",
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_NTASKS": "2",
        "SLURM_PROCID": str(index),
        "SLURM_LOCALID": str(index),
    }


def open_mpi(index: int) -> dict[str, str]:
    return {
        "OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://127.0.0.1:34911",
        "OMPI_COMM_WORLD_SIZE": "2",
        "OMPI_COMM_WORLD_RANK": str(index),
        "OMPI_COMM_WORLD_LOCAL_RANK": str(index),
    }


def gke_tpu(index: int) -> dict[str, str]:
    return {
        "JAX_FORCE_TPU_INIT": "1",
        "TPU_WORKER_HOSTNAMES": "localhost,localhost",
        "TPU_WORKER_ID": str(index),
        "MEGASCALE_COORDINATOR_ADDRESS": "localhost",
        "MEGASCALE_NUM_SLICES": "1",
        "MEGASCALE_SLICE_ID": "0",
    }


def run_two(cluster, leave: str, *flags: str) -> tuple[list[str], list[int]]:
    """The outputs and exit codes of two processes that `cluster` describes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    shared = {**environment(), "LEAVE": leave, "JAX_COORDINATOR_PORT": port}
    line = [sys.executable, "-c", WORKER, "--distributed", *flags]
    processes = [start(line, env={**shared, **cluster(index)}) for index in range(2)]
    try:
        outputs = [process.communicate(timeout=120) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for out, err in outputs:
        assert "RESULT" in out, err
    return [out for out, _ in outputs], [process.returncode for process in processes]


@pytest.mark.parametrize(
    ("cluster", "code"),
    [(slurm, 0), (open_mpi, 42), (gke_tpu, 5)],
    ids=["slurm-finished", "open_mpi-preempted", "gke_tpu-failed"],
)
def test_two_processes_find_each_other_and_keep_their_exit_code(cluster, code):
    outputs, codes = run_two(cluster, f"{code},{code}")
    for index, out in enumerate(outputs):
        assert f"RESULT {index} 2 3\n" in out
        assert "last words" in out  # flushed, although the output is a pipe
    assert codes == [code, code]


@pytest.mark.parametrize("leave", ["hang,6", "6,hang"])
def test_one_fatal_error_ends_all_within_the_heartbeat(leave):
    _, codes = run_two(slurm, leave, "--heartbeat_timeout=5")
    expected = [-6 if word == "hang" else 6 for word in leave.split(",")]
    assert codes == expected  # `run_two` does not wait for the 600 s of the one that hangs


# `flagsaver` sets the flags as a command line would and puts them back.
WRONG_FLAGS = """
from absl import flags
from absl.testing import flagsaver
from synthjax.errors import InputError
from synthjax.launch import distributed

distributed.define_flags()
flags.FLAGS(["program"])
for wrong in (
    dict(distributed=True),
    dict(process_id=0),
    dict(distributed=True, process_id=2, num_processes=2),
    dict(distributed=True, coordinator_address="here"),
):
    with flagsaver.flagsaver(**wrong):
        try:
            distributed.initialize()
        except InputError as error:
            print(error)
"""


def test_wrong_flags_are_named():
    command = [sys.executable, "-c", WRONG_FLAGS]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60)
    nobody, alone, beyond, portless = done.stdout.splitlines()
    assert nobody.startswith("--distributed: no Open MPI, SLURM or TPU environment tells where")
    assert alone == "--process_id needs --distributed"
    assert beyond == "--process_id=2 must be below --num_processes=2"
    assert portless == "--coordinator_address must be HOST:PORT, not 'here'"


GLOO = "UNKNOWN: Gloo all-reduce failed: Read error [127.0.0.1]:12704: Connection reset by peer"


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (jax.errors.JaxRuntimeError(GLOO), True),
        (ValueError(GLOO), True),  # of NumPy, where it asks for the result
        (jax.errors.JaxRuntimeError("UNAVAILABLE: Failed to send RPC to coordination service"), True),
        (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 4 bytes"), False),
        (ValueError("not a number"), False),
    ],
)
def test_the_loss_of_another_process_is_told_from_other_errors(error, lost, monkeypatch, capsys):
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
    for count, expected in [(2, lost), (1, False)]:
        monkeypatch.setattr(jax, "process_count", lambda count=count: count)
        assert distributed.lost_peer(error) == expected
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    try:
        raise CheckpointError("cannot write checkpoint 150") from error
    except CheckpointError as outer:
        assert cli.report(outer) == (134 if lost else 6)
    assert capsys.readouterr().err.count("\n") == 1
