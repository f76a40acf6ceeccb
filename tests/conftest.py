"""What every test shares: four virtual CPU devices, a compilation cache, and the way to the real data."""

import itertools
import os
import tempfile
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=4")
# One cache for this run and the processes it starts, which compile the same programs again and again.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(tempfile.gettempdir()) / f"synthjax-tests-{os.getuid()}"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")

import jax
import pytest

MOST_MAPPINGS = 20_000
"""Linux gives a process 65,530 memory mappings at most (vm.max_map_count); compiled functions take some each, and JAX
crashes without."""
counted = itertools.count(1)


@pytest.fixture(autouse=True)
def few_mappings():
    """Lets go of compiled functions before there are too many of them for one process; looks every twentieth test."""
    yield
    maps = Path("/proc/self/maps")
    if next(counted) % 20 == 0 and maps.exists():
        with maps.open("rb") as lines:
            if sum(1 for _ in lines) > MOST_MAPPINGS:
                jax.clear_caches()


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder with the real data sets; the test is skipped where there is none."""
    folder = os.environ.get("SYNTHJAX_DATA_DIR")
    if not folder:
        pytest.skip("SYNTHJAX_DATA_DIR names no folder with the real data sets")
    return Path(folder)


@pytest.fixture
def key_reuse():
    """JAX raises where a random key is used twice."""
    with jax.debug_key_reuse(True):
        yield
