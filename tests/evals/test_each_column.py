"""Every column predicted from the others: planted dependence is found, and nothing where there is none."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from synthjax.evals.fidelity import each_column
from synthjax.evals.table import from_frames

KINDS = {"x": "continuous", "twice": "continuous", "alone": "continuous", "sign": "categorical", "few": "categorical"}


def rows(seed, n=3000):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    frame = {"x": x, "twice": 2 * x + 0.01 * rng.normal(size=n), "alone": rng.normal(size=n)}
    frame["sign"] = np.where(rng.random(n) < 1 / (1 + np.exp(-2 * x)), "up", "down")
    frame["few"] = rng.choice(list("abc"), n, p=[0.7, 0.2, 0.1])
    frame = pd.DataFrame(frame)
    frame.loc[::7, "x"] = np.nan
    return frame


def shuffled(frame, seed):
    rng = np.random.default_rng(seed)
    return frame.apply(lambda column: rng.permutation(column))


def judged(synthetic, **how):
    tables = from_frames({"synthetic": synthetic, "train": rows(1), "test": rows(2)}, KINDS)
    return each_column.evaluate(*(tables[name] for name in ("synthetic", "train", "test")), **how)


@pytest.fixture(scope="module")
def good():
    return judged(rows(3))


def test_skill_is_what_the_columns_allow(good):
    real = {name: one["real"] for name, one in good["columns"].items()}
    assert real["x"] > 0.98 and real["twice"] > 0.7 and real["alone"] < 0.02 and real["few"] < 0.1
    test = rows(2).dropna()
    best = 2 * roc_auc_score(test.sign == "up", test.x) - 1  # no one can do better than to rank by x
    assert best - 0.08 < real["sign"] < best + 0.03
    assert good["real"] == pytest.approx(np.mean(list(real.values())))


def test_rows_of_the_same_kind_teach_as_much_and_independent_columns_nothing(good):
    for one in good["columns"].values():
        assert one["synthetic"] == pytest.approx(one["real"], abs=0.06)
    bad = judged(shuffled(rows(3), 0))
    assert bad["score"] < 0.03 and bad["real"] == pytest.approx(good["real"])
    constant = judged(rows(3).assign(sign="up", x=1.0))
    assert constant["columns"]["sign"]["synthetic"] == constant["columns"]["x"]["synthetic"] == 0


def test_too_few_rows_and_columns_without_values():
    assert judged(rows(3), limit=each_column.LEAST - 1) is None
    assert set(judged(rows(3).assign(alone=np.nan))["columns"]) == set(KINDS)
    train, test = rows(1).assign(alone=np.nan), rows(2)
    tables = from_frames({"synthetic": rows(3), "train": train, "test": test}, KINDS)
    found = each_column.evaluate(tables["synthetic"], tables["train"], tables["test"])
    assert "alone" not in found["columns"]
