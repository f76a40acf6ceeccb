"""How many threads scikit-learn uses."""

import contextlib
import functools
import io
import threading
import warnings
from collections.abc import Iterator

_LOCK = threading.Lock()


@contextlib.contextmanager
def single_thread(api: str | None = None) -> Iterator[None]:
    """scikit-learn on one thread: on cores that something else keeps busy, its threads wait for one another.

    That takes up to twenty times as long as the work itself. `api` "openmp" limits OpenMP alone, in the thread that
    calls; None limits BLAS too, in the whole process.
    """
    import sklearn.ensemble  # noqa: F401  # a library that is not loaded yet is not limited
    from threadpoolctl import threadpool_limits

    with _LOCK:
        _count_cores()
    with threadpool_limits(1, api):
        yield


@contextlib.contextmanager
def fixed_protocol() -> Iterator[None]:
    """`single_thread`, and silence about fits whose number of iterations is part of a protocol, or of rare classes."""
    from sklearn.exceptions import ConvergenceWarning

    with single_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", "Only one sample")
        yield


@functools.cache
def _count_cores() -> None:
    """Has joblib count the physical cores, which it does once a process, and drops what it says about it.

    scikit-learn asks it when it first uses OpenMP. Where `lscpu` finds nothing, as in a container without /sys, joblib
    takes the logical cores, and writes a warning and a traceback to stderr.
    """
    import joblib

    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        joblib.cpu_count(only_physical_cores=True)
