"""What every test shares: four virtual CPU devices, cheap compilation, the real data, and which worker runs what."""

import gc
import itertools
import os
import tempfile
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Threads of scikit-learn that share a core with those of another worker wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Most programs run for a few steps here, and compiling them well takes several times as long as running them.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# Four devices on two busy cores: XLA ends the process if one of them waits 40 s for another. Without its emitters of
# fusions a program is compiled in a third of the time; later versions of jaxlib end a process that asks for this.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_force_host_platform_device_count=4 --xla_cpu_collective_call_terminate_timeout_seconds=600"
    + " --xla_cpu_use_fusion_emitters=false" * version("jaxlib").startswith("0.10."),
)
# A device that waits for the others holds a thread of XLA's pool. By default there are as many threads as cores; with
# fewer than two for each device, collectives of one program can wait for each other for ever.
os.environ.setdefault("PJRT_NPROC", "8")
# One cache for this run and the processes it starts, which compile the same programs again and again: also the small
# ones, which are most of them.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(tempfile.gettempdir()) / f"synthjax-tests-{os.getuid()}"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

import jax
import pytest

# Tracing makes many small objects, almost none of them garbage: looking for it so rarely saves a fifteenth of the time.
gc.set_threshold(100_000, 20, 20)

MOST_MAPPINGS = 20_000
"""Linux gives a process 65,530 memory mappings at most (vm.max_map_count); compiled functions take some each, and JAX
crashes without."""
counted = itertools.count(1)

DEAREST_FIRST = (
    "tests/test_contract.py",
    "tests/test_readme.py",
    "tests/test_faults.py",
    "tests/models/test_rbm.py",
    "tests/models/test_table_gan.py",
    "tests/test_processes.py",
    "tests/evals/test_studies.py",
    "tests/gibbs/test_machine.py",
    "tests/models/test_dbm.py",
    "tests/models/test_mixture.py",
    "tests/models/test_counting.py",
    "tests/launch/test_compare.py",
    "tests/launch/test_search.py",
    "tests/launch/test_eval_tables.py",
)
"""The files that take longest: begun first, so that all workers end at about the same time."""
BY_PARAMETER = ("tests/test_contract.py",)
"""Files whose tests share what belongs to one parameter, here a model: workers take one of those, not the file."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    rank = {name: place for place, name in enumerate(DEAREST_FIRST)}
    items.sort(key=lambda item: rank.get(item.nodeid.partition("::")[0], len(rank)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """As --dist=loadfile, but for BY_PARAMETER (--dist=loadgroup would have to mark every other file)."""
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file, _, name = nodeid.partition("::")
            parameters = name.partition("[")[2].rstrip("]")
            return f"{file}[{parameters.partition('-')[0]}]" if file in BY_PARAMETER else file

        def remove_node(self, node):
            """Files that a crashed worker had ended are not begun again: another worker would wait in them for ever."""
            files = self.assigned_work[node]
            self.assigned_work[node] = {name: tests for name, tests in files.items() if not all(tests.values())}
            return super().remove_node(node)

    return Scheduling(config, log)


@pytest.fixture(autouse=True)
def few_mappings():
    """Lets go of compiled functions before there are too many of them for one process; looks every twentieth test."""
    yield
    maps = Path("/proc/self/maps")
    if next(counted) % 20 == 0 and maps.exists():
        with maps.open("rb") as lines:
            if sum(1 for _ in lines) > MOST_MAPPINGS:
                jax.clear_caches()


@pytest.fixture(scope="session", autouse=True)
def small_maps():
    """Maps of few points: t-SNE of as many as people are shown takes longer than all else that a report needs."""
    from small_look import SHOWN

    from synthjax.evals import maps

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(maps, "SHOWN", SHOWN)
        yield


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder with the real data sets; the test is skipped where there is none."""
    folder = os.environ.get("SYNTHJAX_DATA_DIR")
    if not folder:
        pytest.skip("SYNTHJAX_DATA_DIR names no folder with the real data sets")
    return Path(folder)


@pytest.fixture(scope="module")
def small_look():
    """Level look with hardly any work, for the rest of the module."""
    from small_look import shrink

    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        yield


@pytest.fixture(scope="module")
def coarse_accounting():
    """Privacy losses in coarser cells: as sound, a few percent larger, and ten times as fast."""
    from synthjax.privacy import accounting

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(accounting, "_INTERVAL", 5e-3)
        patch.setattr(accounting, "_COARSE", 2e-2)
        accounting._delta_of_noise.cache_clear()
        yield
    accounting._delta_of_noise.cache_clear()


@pytest.fixture
def key_reuse():
    """JAX raises where a random key is used twice."""
    with jax.debug_key_reuse(True):
        yield
