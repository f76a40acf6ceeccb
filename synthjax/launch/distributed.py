"""Several processes as one run: how they find each other, and how they end.

`--distributed` alone is enough where JAX knows the surroundings: Open MPI, SLURM (`srun`), a TPU VM pod, TPUs on GKE.
Anywhere else `--coordinator_address`, `--num_processes` and `--process_id` say it. The starters in `launch/` at the top
of the repository pass the right ones.

When one process dies, the others end with exit code 134: either a collective fails (`lost_peer`), or JAX aborts them
when the heartbeat has been missing for `--heartbeat_timeout` seconds. Whatever started them starts all of them again.
"""

import os
import sys
import textwrap
import time
from typing import NoReturn

import jax
from absl import flags, logging

from synthjax.errors import InputError, PeerLost, Preempted

LOST = tuple(
    f"{status}: " for status in ("UNKNOWN", "UNAVAILABLE", "ABORTED", "CANCELLED", "DEADLINE_EXCEEDED", "INTERNAL")
)
"""How errors of the runtime begin that another process may have caused: of Gloo, NCCL or the coordination service."""
LINGER = 2.0
"""Seconds that process 0 outlives a fatal error: its end aborts the others, which would lose their own exit code."""


def define_flags() -> None:
    """Defines the flags that `initialize` reads."""
    flags.DEFINE_bool("distributed", False, "Run as one of several processes; JAX finds the others where it can.")
    flags.DEFINE_string("coordinator_address", None, "HOST:PORT on which process 0 listens; found by JAX if unset.")
    flags.DEFINE_integer("num_processes", None, "How many processes there are; found by JAX if unset.", lower_bound=1)
    flags.DEFINE_integer("process_id", None, "Which of them this one is, from 0; found by JAX if unset.", lower_bound=0)
    flags.DEFINE_integer(
        "heartbeat_timeout", 100, "Seconds of silence after which a process counts as dead.", lower_bound=1
    )


def initialize() -> None:
    """Joins the other processes if `--distributed` is set; call it before anything that touches a device.

    Blocks until all processes have joined, 5 minutes at most.

    Raises:
      InputError: the flags contradict each other, or JAX cannot tell where the other processes are.
      PeerLost: the others do not connect in time.
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
            # With everything given there is nothing to detect, and detection may ask a server.
            cluster_detection_method=None if None in (address, count, index) else "deactivate",
            heartbeat_timeout_seconds=given.heartbeat_timeout,
        )
    except ValueError as error:
        raise InputError(
            "--distributed: no Open MPI, SLURM or TPU environment tells where the other processes are; "
            "give --coordinator_address, --num_processes and --process_id"
        ) from error
    except jax.errors.JaxRuntimeError as error:
        raise PeerLost(f"the processes of this run did not all connect ({reason(error)})") from error
    logging.info("process %d of %d", jax.process_index(), jax.process_count())


def lost_peer(error: BaseException) -> bool:
    """Whether an error, or what it was raised from, is a collective or a barrier that failed with several processes.

    A survivor cannot tell a killed process from a broken network; both end the run, and both are retried.
    """
    if not jax.distributed.is_initialized() or jax.process_count() == 1:
        return False
    cause: BaseException | None = error
    while cause is not None:
        # A failed computation raises ValueError where NumPy asks for its result.
        if isinstance(cause, jax.errors.JaxRuntimeError | ValueError) and str(cause).startswith(LOST):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def reason(error: BaseException) -> str:
    """The message of an error on one line, at most 150 characters."""
    return textwrap.shorten(str(error) or type(error).__name__, 150, placeholder=" ...")


def leave(code: int) -> NoReturn:
    """Ends this process with `code`, be it alone or one of several.

    A finished run (0) and a preempted one (42) end in all processes at the same step, so these wait for one another.
    After any other error the rest may hang in a collective for ever: this process ends at once, without the waiting
    that an orderly exit does and in which its exit code would be lost. So it does when another one is lost while they
    wait: its work is done, but that of the other may not be.
    """
    if jax.distributed.is_initialized():
        if code not in (0, Preempted.exit_code):
            _end(code)
        try:
            jax.distributed.shutdown()
        except jax.errors.JaxRuntimeError as error:
            print(f"stopped: another process was lost at the end ({reason(error)})", file=sys.stderr)
            _end(PeerLost.exit_code)
    sys.exit(code)


def _end(code: int) -> NoReturn:
    logging.flush()
    sys.stdout.flush()
    sys.stderr.flush()
    if code != PeerLost.exit_code and jax.process_index() == 0:
        time.sleep(LINGER)
    os._exit(code)
