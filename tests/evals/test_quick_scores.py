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


def test_likeness_to_a_few_held_out_rows_knows_the_better_of_two():
    """Numbers that depend too little on each other are found by 60 rows; what is drawn alike is not."""
    held_out, alike, apart = pairs(5, 60), pairs(6, 2_000), pairs(7, 2_000)
    apart["b"] = apart["a"] + 1.0 * np.random.default_rng(0).normal(size=len(apart))
    good, poor = (quick_scores.likeness(held_out, made, KINDS) for made in (alike, apart))
    assert abs(good.auc - 0.5) < 2 * good.error < 2 * 0.04 and poor.auc > 0.5 + 2 * poor.error
    assert good.pairs < poor.pairs - 0.02


def test_distance_of_pairs_by_hand():
    """x is 1 in half of the real rows and in all others, y the same in all: half of the mass has moved."""
    real = pd.DataFrame({"x": ["0", "1"] * 10, "y": ["a"] * 20})
    made = pd.DataFrame({"x": ["1"] * 40, "y": ["a"] * 40})
    assert quick_scores.likeness(real, made, {"x": "categorical", "y": "categorical"}).pairs == 0.5


def test_missing_numbers_are_a_place_of_their_own():
    numbers = np.arange(40.0)
    real, made = (pd.DataFrame({"x": values, "y": ["a"] * 40}) for values in (numbers, np.full(40, np.nan)))
    kinds = {"x": "continuous", "y": "categorical"}
    assert quick_scores.likeness(real, made, kinds).pairs == 1 and quick_scores.likeness(real, real, kinds).pairs == 0
