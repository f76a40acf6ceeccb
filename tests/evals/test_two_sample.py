"""The classifier two-sample test on sets whose likeness is known."""

import numpy as np
import pytest
from scipy import stats

from synthjax.evals import two_sample


def normal(seed, shift=0.0, n=600):
    return np.random.default_rng(seed).normal(shift, 1, (n, 3))


def test_the_same_distribution_cannot_be_told_apart():
    found = two_sample.judge(normal(0), normal(1))
    assert found["n"] == 600 and len(found["values"]) == two_sample.FOLDS
    assert found["score"] > 0.85 and 0.44 < found["auc"] < 0.56


def test_a_shift_is_told_as_well_as_theory_allows():
    # Of N(0, 1) and N(d, 1) the best AUC is that of the likelihood ratio, Phi(d / sqrt 2).
    real, moved = normal(2, n=2000), normal(3, n=2000)
    moved[:, 0] += 1.5
    best = stats.norm.cdf(1.5 / np.sqrt(2))
    found = two_sample.judge(real, moved, seed=1)
    assert best - 0.05 < found["auc"] <= best + 0.02
    assert found["score"] == pytest.approx(2 - 2 * found["auc"], abs=1e-9)
    assert two_sample.judge(real, real + 20)["score"] == 0


def test_twins_are_no_likeness_that_counts_against_it():
    # A set that repeats the real one: trees that saw a twin take the other side for it, and the score stops at 1.
    found = two_sample.judge(normal(4), normal(4))
    assert found["auc"] < 0.5 and found["score"] == 1


def test_too_few_examples_have_no_score():
    assert two_sample.judge(normal(0, n=2), normal(1, n=2)) == {"score": None, "auc": None, "values": None, "n": 2}


def test_the_column_that_tells_them_apart_is_named():
    rng = np.random.default_rng(0)
    real, synthetic = rng.normal(size=(2, 2000, 3))
    synthetic[:, 1] += 1.0
    found = two_sample.judge(real, synthetic, names=["a", "b", "c"])
    assert next(iter(found["told_by"])) == "b" and found["told_by"]["b"] == pytest.approx(found["auc"] - 0.5, abs=0.03)
    assert abs(found["told_by"]["a"]) < 0.02 and "told_by" not in two_sample.judge(real, synthetic)
