"""Exceptions, with the exit codes that the launchers return for them.

Exit code 0 means success and 1 a wrong command line; all other codes belong to a class here. The message of an
exception is one line that names the file, field, row, flag or step. The launchers print this line only.
"""


class SynthjaxError(Exception):
    """Base class."""

    exit_code = 1


class InputError(SynthjaxError, ValueError):
    """A file, a field or a value given by the caller cannot be used."""

    exit_code = 3


class GateError(SynthjaxError):
    """A condition of `eval --fail_if` is true."""

    exit_code = 4


class NonFiniteError(SynthjaxError, FloatingPointError):
    """A metric became NaN or infinite during training."""

    exit_code = 5


class StorageError(SynthjaxError):
    """The disk is full."""

    exit_code = 6


class CheckpointError(StorageError):
    """A checkpoint cannot be written, or no usable one exists."""


class Preempted(SynthjaxError):
    """The process received SIGTERM. Its work is saved, and the same command continues it."""

    exit_code = 42


class Interrupted(Preempted):
    """The process received SIGINT (Ctrl-C); otherwise as `Preempted`."""

    exit_code = 130


class PeerLost(SynthjaxError):
    """Another process of the run ended unexpectedly. If all are restarted, the run continues from its checkpoint."""

    exit_code = 134  # as of SIGABRT, with which JAX ends processes when a peer no longer sends heartbeats
