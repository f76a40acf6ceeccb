"""Boosting in one thread: against scikit-learn's own, and on cores that it may not use."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from synthjax.evals.domains import tables
from synthjax.evals.table import from_frames

KINDS = {"a": "continuous", "b": "continuous", "y": "categorical"}


def rows(n: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, n))
    y = np.where(a + 0.5 * rng.normal(size=n) > 0, "yes", "no").astype(object)
    y[::10] = None
    return pd.DataFrame({"a": a, "b": b, "y": y})


def test_it_is_the_area_of_sklearns_own_boosting_on_rows_that_have_a_target():
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import roc_auc_score

    made, real = rows(400, 0), rows(300, 1)
    both = from_frames({"made": made, "real": real}, KINDS, "y")
    found = tables.useful(both["made"].with_target(), both["real"].with_target(), 7)
    made, real = made.dropna(), real.dropna()
    trees = HistGradientBoostingClassifier(max_features=0.8, early_stopping=False, random_state=7)
    guess = trees.fit(made[["a", "b"]], made.y).predict_proba(real[["a", "b"]])[:, 1]
    assert found == pytest.approx(roc_auc_score(real.y == "yes", guess), abs=1e-9)


def test_scikit_learns_threads_are_held_back_also_the_first_time():
    """They come with its first import, after which a limit set before it would not hold."""
    code = """
import numpy as np, threadpoolctl
from synthjax.evals.table import Schema, Table, from_frames
from synthjax.evals.domains import tables
seen = []
own = tables.train_judge
def watched(*args):
    answer = own(*args)
    seen.append([pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "openmp"])
    return answer
tables.train_judge = watched
schema = Schema(("a",), ("y",), (("no", "yes"),), "y")
a = np.random.default_rng(0).normal(size=(60, 1))
table = Table(schema, a, (a > 0).astype(np.int32))
tables.useful(table, table, 0)
assert seen and seen[0] and set(seen[0]) == {1}, seen
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
