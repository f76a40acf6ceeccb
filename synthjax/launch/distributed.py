"""Several processes as one run: how they find each other, and how they end.

`--distributed` alone is enough where JAX knows the surroundings: Open MPI, SLURM (`srun`), a TPU VM pod, TPUs on GKE.
Anywhere else `--coordinator_address`, `--num_processes` and `--process_id` say it. The starters in `launch/` at the top
of the repository pass the right ones.

The processes share one fate: when one dies, the others end by SIGABRT (exit code 134) once its heartbeat has been
missing for `--heartbeat_timeout` seconds, and whatever started them starts all of them again.
"""

import os
import sys
import time
from typing import NoReturn

import jax
from absl import flags, logging

from synthjax.errors import InputError, Preempted

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

    Blocks until all processes are there, 5 minutes at most.

    Raises:
      InputError: the flags contradict each other, or JAX cannot tell where the other processes are.
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
    logging.info("process %d of %d", jax.process_index(), jax.process_count())


def leave(code: int) -> NoReturn:
    """Ends this process with `code`, be it alone or one of several.

    A finished run (0) and a preempted one (42) end in all processes at the same step, so these wait for one another.
    After any other error the rest may hang in a collective for ever: this process ends at once, without the waiting
    that an orderly exit does and in which its exit code would be lost.
    """
    if jax.distributed.is_initialized():
        if code not in (0, Preempted.exit_code):
            logging.flush()
            sys.stdout.flush()
            sys.stderr.flush()
            if jax.process_index() == 0:
                time.sleep(LINGER)
            os._exit(code)
        jax.distributed.shutdown()
    sys.exit(code)
