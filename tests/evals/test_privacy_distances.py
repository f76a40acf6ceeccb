"""Copies, doubles and distances to the closest record, by hand and where nothing leaks."""

import numpy as np
import pytest
from scipy import stats

from synthjax.evals.privacy import Keys, distances


def test_share_nearer_train_by_hand():
    """Two of five nearer to train, one tied; train 0 and holdout 1 decide 1.5 of 5 each, train 1 and holdout 0 one."""
    share, interval, effective = distances.share_nearer(
        np.array([1.0, 2, 3, 4, 4]),
        np.array([2.0, 3, 3, 1, 1]),
        np.array([0, 1, 0, 0, 1]),
        np.array([1, 1, 1, 0, 1]),
    )
    assert share == 0.5
    weights = np.array([1.5, 1, 1, 1.5]) / 5
    assert effective == pytest.approx(1 / np.sum(weights**2))
    assert interval[0] < 0.5 < interval[1]


def test_the_dcr_interval_covers_a_half_when_nothing_leaks():
    """Many synthetic examples around few real ones: without the effective number, most intervals would miss."""
    missed = 0
    for seed in range(20):
        rng = np.random.default_rng([8, seed])
        found = distances.closest_record(*(rng.normal(size=(n, 3)) for n in (1000, 20, 20)))
        low, high = found["interval"]
        missed += not low < 0.5 < high
    assert missed <= 3


def test_the_nearest_neighbour_distance_ratio_by_hand():
    synthetic, real = np.array([[1.0], [5.0]]), np.array([[0.0], [4.0]])
    found = distances.closest_record(synthetic, real, real + 1)["nndr"]
    assert found["train"]["median"] == pytest.approx((1 / 3 + 1 / 5) / 2)  # 1 over 3, 1 over 5
    assert found["holdout"]["median"] == 0  # both coincide with one


def test_a_comparison_equals_fishers_test_and_newcombes_interval():
    """Newcombe's own example, method 10: 56 of 70 against 48 of 80, .2000 (.0524 to .3339)."""
    found = distances.compare(np.arange(70) < 56, np.arange(80) < 48)
    assert found["gain"] == pytest.approx(0.2)
    np.testing.assert_allclose(found["interval"], [0.0524, 0.3339], atol=1e-4)
    assert found["p"] == pytest.approx(stats.fisher_exact([[56, 14], [48, 32]], alternative="greater").pvalue)


def test_copies_are_told_from_natural_duplicates():
    """Every tenth real row is the same common one: both sides meet it, and only copying tells them apart."""
    rng = np.random.default_rng(0)

    def rows(n):
        x = rng.normal(size=(n, 3))
        x[::10] = 1.0
        return x

    train, holdout, honest = rows(500), rows(400), rows(500)
    for synthetic, copied in ((honest, False), (np.concatenate([train[:50], honest[50:]]), True)):
        near = [np.linalg.norm(real[:, None] - synthetic, axis=2).min(1) for real in (train, holdout)]
        found = distances.duplicates(*near, Keys.of(synthetic, train, holdout))
        assert found["exact"]["others"] == 0.1
        assert (found["exact"]["p"] < 1e-3) == copied and (found["near"]["p"] < 1e-3) == copied
        known = [row for row in found["exact"]["records"] if row % 10]
        assert known == ([row for row in range(50) if row % 10] if copied else [])


def test_zeros_of_both_signs_are_one_value():
    keys = Keys.of(np.array([[0.0]]), np.array([[-0.0]]), np.array([[1.0]]))
    assert keys.synthetic == keys.train != keys.holdout
