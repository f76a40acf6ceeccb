"""What every test shares: four virtual CPU devices, a compilation cache, and the way to the real data."""

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
