"""Runs with several processes: initialization and termination.

`--distributed` suffices where JAX detects the cluster: Open MPI, SLURM (`srun`), a TPU VM pod, TPUs on GKE. Elsewhere
`--coordinator_address`, `--num_processes` and `--process_id` are needed. The starters in `launch/` at the top of the
repository set them.

When one process dies, the others exit with code 134: either a collective fails (`lost_peer`), or JAX aborts them after
`--heartbeat_timeout` seconds without a heartbeat. Their starter then restarts all of them.
"""

import os
import sys
import time
from collections.abc import Iterator
from typing import NoReturn

import jax
from absl import flags, logging

from synthjax import files
from synthjax.errors import InputError, PeerLost, Preempted

LOST = tuple(
    f"{status}: " for status in ("UNKNOWN", "UNAVAILABLE", "ABORTED", "CANCELLED", "DEADLINE_EXCEEDED", "INTERNAL")
)
"""Prefixes of runtime errors (of Gloo, NCCL, the coordination service) that a lost process may have caused."""
LINGER = 2.0
"""Seconds that process 0 waits before it exits: its exit aborts the others, which would lose their own exit codes."""


def define_flags() -> None:
    """Defines the flags that `initialize` reads."""
    flags.DEFINE_bool("distributed", False, "Run as one of several processes, which JAX detects where it can.")
    flags.DEFINE_string("coordinator_address", None, "HOST:PORT on which process 0 listens; detected by JAX if unset.")
    flags.DEFINE_integer("num_processes", None, "Number of processes; detected by JAX if unset.", lower_bound=1)
    flags.DEFINE_integer("process_id", None, "Number of this process, from 0; detected by JAX if unset.", lower_bound=0)
    flags.DEFINE_integer(
        "heartbeat_timeout", 100, "Seconds of silence after which a process counts as dead.", lower_bound=1
    )


def initialize() -> None:
    """Joins the other processes if `--distributed` is set; call it before anything that touches a device.

    Blocks until all processes have joined, 5 minutes at most; then it is a PeerLost. InputError: the flags contradict
    each other, or JAX cannot detect the other processes.
    """
    given = flags.FLAGS
    address, count, index = given.coordinator_address, given.num_processes, given.process_id
    if not given.distributed:
        for name in ("coordinator_address", "num_processes", "process_id"):
            if given[name].value is not None:
                raise InputError(f"--{name} needs --distributed")
        return
    if address is not None and not address.rpartition(":")[2].isdecimal():
        raise InputError(f"--coordinator_address must be HOST:PORT, not {address!r}")
    if count is not None and index is not None and index >= count:
        raise InputError(f"--process_id={index} must be below --num_processes={count}")
    try:
        jax.distributed.initialize(
            address,
            count,
            index,
            # Detection may contact a server, and is not needed if all three are given.
            cluster_detection_method=None if None in (address, count, index) else "deactivate",
            heartbeat_timeout_seconds=given.heartbeat_timeout,
        )
    except ValueError as error:
        raise InputError(
            "--distributed: no Open MPI, SLURM or TPU environment tells where the other processes are; "
            "give --coordinator_address, --num_processes and --process_id"
        ) from error
    except jax.errors.JaxRuntimeError as error:
        raise PeerLost(f"the processes of this run did not all connect ({files.reason(error)})") from error
    logging.info("process %d of %d", jax.process_index(), jax.process_count())


def lost_peer(error: BaseException) -> bool:
    """Whether an error, or its cause, is a failed collective or barrier of several processes.

    A killed process and a broken network cannot be distinguished; both end the run, and both are retried.
    """
    if not jax.distributed.is_initialized() or jax.process_count() == 1:
        return False
    # A failed computation raises ValueError when its result is converted to NumPy.
    kinds = jax.errors.JaxRuntimeError | ValueError
    return any(isinstance(cause, kinds) and str(cause).startswith(LOST) for cause in causes(error))


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error, its cause, the cause of that, and so on."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def leave(code: int) -> NoReturn:
    """Exits with `code`, with one or several processes.

    A finished run (0) and a preempted one (42) end in all processes at the same step, so that they wait for each other.
    After any other error the others may hang in a collective: this process exits at once, since an orderly exit would
    wait for them and lose its exit code. It also does so if another process is lost during the wait, whose work may not
    be complete.
    """
    if jax.distributed.is_initialized():
        if code not in (0, Preempted.exit_code):
            _end(code)
        try:
            jax.distributed.shutdown()
        except jax.errors.JaxRuntimeError as error:
            print(f"stopped: another process was lost at the end ({files.reason(error)})", file=sys.stderr)
            _end(PeerLost.exit_code)
    sys.exit(code)


def _end(code: int) -> NoReturn:
    logging.flush()
    sys.stdout.flush()
    sys.stderr.flush()
    if code != PeerLost.exit_code and jax.process_index() == 0:
        time.sleep(LINGER)
    os._exit(code)
