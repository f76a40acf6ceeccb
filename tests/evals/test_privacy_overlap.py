"""Overlap of real sets: counted exactly, the share taken over recovered, natural twins left alone."""

import numpy as np
import pytest
import reports

from synthjax.evals.privacy import overlap
from synthjax.evals.privacy.distances import keys


def words(rng, n, distinct):
    """Rows drawn from so many distinct ones."""
    return keys(rng.integers(0, distinct, (n, 1)))


def one(found, rows_of, found_in):
    return next(each for each in found if (each["rows_of"], each["found_in"]) == (rows_of, found_in))


def test_rows_are_counted_by_hand():
    train, test = keys(np.float32([[1], [1], [2], [3]])), keys(np.float32([[1], [2], [-0.0], [0.0], [4]]))
    found = overlap.find(train=train, holdout=[], test=test)
    assert len(found) == 1
    assert {name: found[0][name] for name in ("shared", "n", "twins", "among", "taken")} == {
        **{"shared": 2, "n": 5, "twins": 2, "among": 4, "taken": 0.0}
    }
    both = overlap.find(train=test[2:3], holdout=test[3:4], test=test)
    assert [(each["rows_of"], each["found_in"], each["shared"]) for each in both] == [
        *[("holdout", "train", 1), ("test", "train", 2), ("test", "holdout", 2)]
    ]


@pytest.mark.parametrize("distinct", [10**9, 20_000])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.4, 1.0])
def test_the_share_taken_over_is_recovered_among_natural_twins(distinct, share):
    rng = np.random.default_rng(0)
    train, fresh = words(rng, 4_000, distinct), words(rng, 2_000, distinct)
    n = round(share * 2_000)
    found = overlap.find(train=train, holdout=train[:n] + fresh[n:], test=[])
    taken = found[0]["taken"]
    assert taken == pytest.approx(share, abs=0.04) and (taken > 0) == (n > 0 and (distinct > 20_000 or share > 0.1))
    said = overlap.sentences(found, "row")
    assert bool(said) == (taken > 0)
    if share == 1:
        assert "holdout and train overlap: 2,000 of 2,000 holdout rows equal a training row" in said[0]


@pytest.mark.parametrize("distinct", [10**9, 2_000])
@pytest.mark.parametrize("source", ["test", "train", "fresh"])
def test_synthetic_rows_made_from_test_rows_are_told(distinct, source):
    rng = np.random.default_rng(1)
    train, test, fresh = (words(rng, n, distinct) for n in (4_000, 1_000, 1_000))
    made = {"test": test, "train": train, "fresh": fresh}[source][:600]
    found = overlap.find(train=train, holdout=[], test=test, synthetic=made + fresh[600:])
    taken = one(found, "synthetic", "test")["taken"]
    assert taken == pytest.approx(0.6 if source == "test" else 0, abs=0.05)
    said = [text for text in overlap.sentences(found, "row") if "synthetic rows equal a test row" in text]
    assert len(said) == (source == "test")


@pytest.mark.parametrize("order", [sorted, list])
@pytest.mark.parametrize("sizes", [(600, 3_000), (3_000, 600)])
def test_rows_that_repeat_by_nature_are_not_told_however_large_the_sets_are(sizes, order):
    rng = np.random.default_rng(2)
    train, test = (order(words(rng, n, 900)) for n in sizes)
    found = overlap.find(train=train, holdout=[], test=test, synthetic=words(rng, 1_000, 900))
    assert one(found, "synthetic", "test")["taken"] == 0


def test_synthetic_rows_that_are_test_rows_say_nothing_of_privacy():
    rows = [bytes([i, j]) for i in range(30) for j in range(20)]
    for made, told in ((rows[300:], True), (rows[:300], False)):
        found = overlap.find(train=rows[:300], holdout=[], test=rows[300:], synthetic=made)
        verdict = reports.verdict("publish", reports.make("image", {"manifest.overlap": found}))
        assert (verdict.answer == "This cannot be told: 100.0 % of the synthetic examples are test examples.") == told
        assert verdict.confidence.startswith("none: 300 of 300 synthetic examples equal a test one" if told else "mod")
