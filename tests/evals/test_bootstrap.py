"""The paired bootstrap against closed forms and scikit-learn's weighted scores."""

import numpy as np
import pytest
from sklearn import metrics

from synthjax.evals import bootstrap

RNG = np.random.default_rng(0)


def test_one_seed_has_the_standard_error_of_a_paired_difference():
    n = 400
    real = RNG.random(n) < 0.9
    ours = np.where(RNG.random(n) < 0.1, ~real, real)  # mostly the same examples right on both sides
    found = bootstrap.loss(
        np.random.default_rng(0), [bootstrap.share(ours)], [bootstrap.share(real)], n, resamples=4_000
    )
    difference = 100 * (real.astype(float) - ours)
    error = difference.std() / n**0.5
    assert found["points"] == pytest.approx(difference.mean())
    half = (found["ci"][1] - found["ci"][0]) / 2
    assert half == pytest.approx(1.96 * error, rel=0.06)
    apart = 100 * np.sqrt((real.var() + ours.var()) / n)  # what unpaired sets would give
    assert half < 0.8 * 1.96 * apart
    assert (found["ours"], found["real"]) == pytest.approx((ours.mean(), real.mean()))
    assert found["n"] == n and found["seeds"] == 1


def test_seeds_have_the_variance_of_a_mean_of_few():
    """Without noise of examples only the seeds' variance is left: s^2 / S on each side, s with ddof 1."""
    values = [0.90, 0.92, 0.97]
    ours = [bootstrap.share(np.full(10, value)) for value in values]
    real = [bootstrap.share(np.full(10, 0.95))]
    drawn = bootstrap._over_seeds(np.random.default_rng(1), np.tile(np.array(values)[:, None], (1, 40_000)))
    assert drawn.var() == pytest.approx(np.var(values, ddof=1) / 3, rel=0.03)
    found = bootstrap.loss(np.random.default_rng(0), ours, real, 10)
    assert found["points"] == pytest.approx(100 * (0.95 - np.mean(values))) and found["seeds"] == 1
    assert found["ci"][0] < found["points"] < found["ci"][1]


def test_equal_sides_lose_nothing():
    right = bootstrap.share(RNG.random(50) < 0.7)
    found = bootstrap.loss(np.random.default_rng(0), [right], [right], 50)
    assert found["points"] == 0 and found["ci"] == [0, 0]


@pytest.mark.parametrize("ties", [False, True])
def test_areas_are_scikit_learns(ties):
    wanted, guess = RNG.random(60) < 0.3, RNG.normal(size=60)
    if ties:
        guess = guess.round(0)
    weights = RNG.integers(0, 4, (5, 60)).astype(float)
    expected = [metrics.roc_auc_score(wanted, guess, sample_weight=row) for row in weights]
    np.testing.assert_allclose(bootstrap.area(wanted, guess)(weights), expected, rtol=1e-12)


def test_explained_variance_is_scikit_learns_r2():
    y = RNG.normal(size=40)
    guess = y + RNG.normal(size=40)
    weights = RNG.integers(0, 4, (5, 40)).astype(float)
    expected = [metrics.r2_score(y, guess, sample_weight=row) for row in weights]
    np.testing.assert_allclose(bootstrap.explained(y, guess)(weights), expected, rtol=1e-10)
    both = bootstrap.mean([bootstrap.explained(y, guess), bootstrap.share(np.ones(40))])(weights)
    np.testing.assert_allclose(both, (np.array(expected) + 1) / 2)


def test_a_resample_of_one_class_has_no_area():
    weights = np.array([[1.0, 1, 0, 0], [1, 1, 1, 1]])
    found = bootstrap.area(np.array([1, 1, 0, 0], bool), np.array([0.9, 0.8, 0.1, 0.2]))(weights)
    assert np.isnan(found[0]) and found[1] == 1


def test_calibration_by_hand():
    """Two bins of three: confidences .5, .5 (one right) are off by 0, confidence 1 and wrong by 1: 1/3 on average."""
    chance = np.array([[0.5, 0.5], [0.5, 0.5], [1.0, 0.0]])
    assert bootstrap.calibration_error(chance, np.array([0, 1, 1]), bins=3) == pytest.approx(1 / 3)
    assert bootstrap.calibration_error(chance, np.array([0, 1, 0]), bins=3) == 0


def test_drawn_labels_are_calibrated_and_boasting_is_not():
    p = RNG.random(20_000)
    y = (RNG.random(20_000) < p).astype(int)
    honest = np.stack([1 - p, p], 1)
    assert bootstrap.calibration_error(honest, y) < 0.02
    bold = np.stack([p < 0.5, p >= 0.5], 1).astype(float)
    assert bootstrap.calibration_error(bold, y) == pytest.approx(0.25, abs=0.02)  # E min(p, 1 - p) = 1/4


def test_balanced_accuracy_is_scikit_learns():
    y = RNG.choice(4, 50, p=[0.6, 0.2, 0.1, 0.1])
    answers = np.where(RNG.random(50) < 0.6, y, RNG.integers(0, 4, 50))
    weights = RNG.integers(0, 4, (5, 50)).astype(float)
    expected = [metrics.balanced_accuracy_score(y, answers, sample_weight=row) for row in weights]
    np.testing.assert_allclose(bootstrap.balanced(y, answers)(weights), expected, rtol=1e-12)
    without_zeros = (y > 0).astype(float)[None]  # a class that was not drawn has no recall
    expected = metrics.recall_score(y, answers, labels=[1, 2, 3], average="macro")
    assert bootstrap.balanced(y, answers)(without_zeros)[0] == pytest.approx(expected)


def test_the_interval_of_a_ratio_is_that_of_the_delta_method():
    n = 900
    real = RNG.random(n) < 0.9
    ours = np.where(RNG.random(n) < 0.1, ~real, real)
    found = bootstrap.ratio(
        np.random.default_rng(0), [bootstrap.share(ours)], [bootstrap.share(real)], n, resamples=4_000
    )
    ratio = ours.mean() / real.mean()
    error = (ours - ratio * real).std() / real.mean() / n**0.5
    assert found["ratio"] == pytest.approx(ratio)
    assert (found["ci"][1] - found["ci"][0]) / 2 == pytest.approx(1.96 * error, rel=0.06)
    assert found["real_ci"][1] - found["real_ci"][0] == pytest.approx(2 * 1.96 * real.std() / n**0.5, rel=0.06)
    assert (found["ours"], found["real"]) == pytest.approx((ours.mean(), real.mean()))
