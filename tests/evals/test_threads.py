"""scikit-learn on one thread, which says nothing of the machine."""

import os
import subprocess
import sys

import threadpoolctl

from synthjax.evals.threads import single_thread

WITHOUT_LSCPU = """
import os, stat, sys
from joblib.externals.loky.backend import context
context._cpu_count_user = lambda count: count  # no limit of this process stands before the count of cores
import joblib, numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from synthjax.evals.threads import single_thread
x = np.arange(40.0)[:, None]
if "ours" in sys.argv:
    with single_thread("openmp"):
        HistGradientBoostingClassifier(max_iter=2).fit(x, x[:, 0] > 20)
else:
    HistGradientBoostingClassifier(max_iter=2).fit(x, x[:, 0] > 20)
print("done")
"""


def test_nothing_reaches_stderr_where_no_core_can_be_counted(tmp_path):
    (tmp_path / "lscpu").write_text("#!/bin/sh\n")  # prints no core, as in a container without /sys
    (tmp_path / "lscpu").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    environment.pop("OMP_NUM_THREADS", None)

    def errors(*words):
        line = [sys.executable, "-c", WITHOUT_LSCPU, *words]
        done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=120)
        assert done.stdout == "done\n", done.stderr
        return done.stderr

    assert "physical cores" in errors()  # so the one below says something
    assert errors("ours") == ""


def test_openmp_has_one_thread_within_and_its_own_number_after():
    import sklearn.ensemble  # noqa: F401

    def threads():
        return [pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "openmp"]

    with threadpoolctl.threadpool_limits(2, "openmp"):
        assert set(threads()) == {2}
        with single_thread("openmp"):
            assert set(threads()) == {1}
        assert set(threads()) == {2}
