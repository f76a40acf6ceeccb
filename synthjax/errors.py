"""The ways a run ends early, each with the exit code that the launchers return for it.

Code 0 is a finished run and 1 a misused command line; every other code has its class here. The message of each is one
line that names the file, field, row, flag or step, and is all that a user sees.
"""


class SynthjaxError(Exception):
    """Base of everything that synthjax raises on purpose."""

    exit_code = 1


class InputError(SynthjaxError, ValueError):
    """A file, a field or a value that was handed in cannot be used."""

    exit_code = 3


class GateError(SynthjaxError):
    """A condition of `eval --fail_if` holds."""

    exit_code = 4


class NonFiniteError(SynthjaxError, FloatingPointError):
    """A metric became NaN or infinite during training."""

    exit_code = 5


class StorageError(SynthjaxError):
    """There is no room for what is to be written."""

    exit_code = 6


class CheckpointError(StorageError):
    """There is no usable checkpoint where one is needed, or one cannot be written."""


class Preempted(SynthjaxError):
    """The process was asked to stop (SIGTERM); its work is saved and the same command continues it."""

    exit_code = 42


class Interrupted(Preempted):
    """The same by Ctrl-C (SIGINT)."""

    exit_code = 130


class PeerLost(SynthjaxError):
    """Another process of the run died; when all are started again, the run continues from its checkpoint."""

    exit_code = 134  # that of SIGABRT, by which JAX ends the processes whose peer has no heartbeat any more
