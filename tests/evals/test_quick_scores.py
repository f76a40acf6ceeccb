"""Scores in seconds: of rows whose worth is known, and the same figures as the whole measures give."""

import numpy as np
import pandas as pd
import pytest

from synthjax.evals import quick_scores
from synthjax.evals.fidelity.tables import c2st
from synthjax.evals.table import from_frames

KINDS = {"a": "continuous", "b": "continuous", "label": "categorical"}


def pairs(seed: int, n: int = 400) -> pd.DataFrame:
    """Two numbers and a label that depend on each other."""
    rng = np.random.default_rng(seed)
    a = rng.normal(size=n)
    b = a + 0.3 * rng.normal(size=n)
    return pd.DataFrame({"a": a, "b": b, "label": np.where(a + b + 0.5 * rng.normal(size=n) > 0, "yes", "no")})


REAL = pairs(0)


def test_likeness_is_that_of_the_two_sample_test():
    made = pairs(1)
    found = quick_scores.of_rows(REAL, made, KINDS, "label", seed=3, limit=300)
    tables = from_frames({"real": REAL, "made": made}, KINDS, "label")
    assert found["c2st"] == c2st(tables["real"], tables["made"], seed=3, limit=300)["score"]
    assert found["tstr"] > 0.9


def test_only_the_scores_that_are_asked_for():
    made = pairs(1)
    assert set(quick_scores.of_rows(REAL, made, KINDS, "label", names=["tstr"])) == {"tstr"}
    assert set(quick_scores.of_rows(REAL, made, KINDS, None)) == {"c2st"}


@pytest.mark.parametrize(("target", "guessing"), [("label", 0.5), ("b", 0.0)])
def test_without_a_target_in_the_rows_it_is_guessing(target, guessing):
    """A generator may leave the target empty in every row."""
    made = pairs(1)
    made[target] = np.array([None if target == "label" else np.nan] * len(made), object)
    found = quick_scores.of_rows(REAL, made.astype({"b": float}), KINDS, target)
    assert found["tstr"] == guessing and found["c2st"] < 0.2


def test_fewer_rows_than_folds_pass_for_nothing():
    assert quick_scores.of_rows(REAL, pairs(1, 2), KINDS, None) == {"c2st": 0.0}
