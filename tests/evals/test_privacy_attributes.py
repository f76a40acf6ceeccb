"""Attribute inference on tables that copy, that are honest, and against guesses made by hand."""

import numpy as np
import pandas as pd
import pytest
from customers import KINDS, customers

from synthjax.errors import InputError
from synthjax.evals.privacy import attributes
from synthjax.evals.table import from_frames


def read(*made, target="churned"):
    return list(from_frames({str(i): frame for i, frame in enumerate(made)}, KINDS, target).values())


@pytest.fixture(scope="module")
def tables():
    """Honest and copying synthetic rows, training rows, unseen ones, reference."""
    train, holdout, reference, clean = (customers(seed, 400, gaps=0.02) for seed in range(4))
    return read(clean, pd.concat([train[:120], clean[120:]]), train, holdout, reference)


def test_what_copied_rows_give_away_is_a_gain_over_the_control(tables):
    clean, copies, *real = tables
    found = {
        name: attributes.evaluate(made, *real, secrets=["city"])
        for name, made in (("clean", clean), ("copies", copies))
    }
    leaky, honest = found["copies"]["city"], found["clean"]["city"]
    assert leaky["nearest"]["members"] >= 0.25 and leaky["nearest"]["others"] <= 0.02
    assert leaky["nearest"]["interval"][0] > 0.2 and leaky["nearest"]["p"] < 1e-6
    assert min(attributes.p_values(found["clean"]).values()) > 0.05
    # What there is to learn about people in general is no leak: both sides are guessed well, and alike.
    assert honest["boosting"]["others"] > 0.5 and abs(honest["boosting"]["gain"]) < 0.1
    assert honest["without"]["others"] == pytest.approx(honest["boosting"]["others"], abs=0.12)


def test_numbers_are_right_within_a_tolerance(tables):
    clean, _, *real = tables
    found = attributes.evaluate(clean, *real, secrets=["age"])["age"]
    low, high = np.nanquantile(real[0].numbers[:, real[0].schema.numeric.index("age")], [0.01, 0.99])
    assert found["tolerance"] == pytest.approx(0.05 * (high - low))
    assert found["boosting"]["others"] > 0.2  # a blind guess of the middle is right in 10 %


def test_the_target_comes_first_and_names_of_people_are_not_guessed(tables):
    assert attributes.default_secrets(tables[0]) == ["churned", "city", "member"]
    frame = pd.DataFrame({"name": [f"n{i}" for i in range(60)], "a": ["x", "y"] * 30, "n": np.arange(60.0)})
    table = from_frames({"t": frame}, {"name": "categorical", "a": "categorical", "n": "continuous"})["t"]
    assert attributes.default_secrets(table) == ["a", "n"]


def test_secrets_that_nothing_is_known_of(tables):
    clean, _, *real = tables
    with pytest.raises(InputError, match="secrets: 'town' is not a column"):
        attributes.evaluate(clean, *real, secrets=["town"])
    one = clean.take(np.flatnonzero(clean.target() == 0))  # of one class
    assert attributes.evaluate(one, *real, secrets=["churned"]) == {}
    alone = [table.select(["city"]) for table in (clean, *real)]
    assert attributes.evaluate(*alone) == {}
