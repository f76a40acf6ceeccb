"""Intervals against scipy's, and subsamples by hand."""

import numpy as np
import pytest
from scipy import stats

from synthjax.evals import estimate
from synthjax.evals.subsample import sample, stratified


@pytest.mark.parametrize("values", [[0.9, 0.93, 0.91, 0.95, 0.92], [0.5, 0.8], [0.9, 0.9]])
def test_the_interval_of_several_values_is_students(values):
    found = estimate.student(values)
    if np.ptp(values):
        theirs = stats.ttest_1samp(values, 0.5).confidence_interval(0.95)
        assert found["ci"] == pytest.approx([theirs.low, theirs.high])
    else:
        assert found["ci"] == pytest.approx([0.9, 0.9])
    assert found["mean"] == pytest.approx(np.mean(values)) and found["std"] == pytest.approx(np.std(values, ddof=1))
    clipped = np.clip(found["ci"], 0, 1)
    assert estimate.accuracy(values, 100) == {**found, "ci": pytest.approx(clipped), "n": len(values)}


def test_an_interval_ends_where_its_values_do():
    low, high = estimate.student([0.2, 0.9], low=-1, high=1)["ci"]
    assert (low, high) == (-1, 1)


def test_one_value_has_no_students_interval():
    assert estimate.student([0.5]) == {"mean": 0.5, "std": 0.0, "values": [0.5], "ci": None}


@pytest.mark.parametrize(("hits", "n"), [(359, 359), (340, 359), (0, 10), (7, 40)])
def test_the_interval_of_a_share_is_wilsons(hits, n):
    theirs = stats.binomtest(hits, n).proportion_ci(0.95, method="wilson")
    assert estimate.wilson(hits / n, n) == pytest.approx([theirs.low, theirs.high])
    assert estimate.accuracy([hits / n], n)["ci"] == pytest.approx([theirs.low, theirs.high])


def test_a_stratified_sample_keeps_shares():
    y = np.repeat([0, 1, 3], [60, 30, 11])
    rows = stratified(np.random.default_rng(0), y, 50)
    assert len(np.unique(rows)) == 50 and (np.diff(rows) > 0).all()
    # 50 / 101 of 60, 30 and 11 is 29.7, 14.9 and 5.4: whole parts first, then the largest remainders.
    assert np.bincount(y[rows]).tolist() == [30, 15, 0, 5]
    other = stratified(np.random.default_rng(1), y, 50)
    assert not np.array_equal(rows, other)
    assert stratified(np.random.default_rng(0), y, 500).tolist() == list(range(101))


def test_a_sample_has_no_row_twice_and_keeps_their_order():
    rows = sample(np.random.default_rng(0), 50, 20)
    assert len(rows) == 20 and (np.diff(rows) > 0).all() and rows.max() < 50
    assert sample(np.random.default_rng(0), 5, 20).tolist() == [0, 1, 2, 3, 4]
