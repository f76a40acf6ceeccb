"""Lower bounds of audits: closed forms, the information limit, other implementations, and scores without a signal."""

import math

import numpy as np
import pytest
from scipy import stats

from synthjax.evals.privacy import audit
from synthjax.privacy.accounting import gaussian_delta

DELTA = 1e-5


@pytest.mark.parametrize(("mu", "epsilon"), [(0.3, 0.5), (1.0, 2.0), (3.0, 9.0)])
def test_epsilon_of_a_gaussian_mechanism_is_that_of_its_hockey_stick_divergence(mu, epsilon):
    x = np.linspace(-12, 12 + mu, 400_001)
    gap = np.maximum(stats.norm.pdf(x, mu) - math.exp(epsilon) * stats.norm.pdf(x), 0)
    delta = float(np.trapezoid(gap, x))
    assert audit.gaussian_epsilon(mu, delta) == pytest.approx(epsilon, abs=1e-5)
    assert audit.gaussian_mu(epsilon, delta) == pytest.approx(mu, abs=1e-5)
    assert audit.gaussian_epsilon(0.0, delta) == 0


def normal_scores(mu: float, seed: int, n: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(mu, 1, n), rng.normal(0, 1, n)


@pytest.mark.parametrize(("epsilon", "limit", "free"), [(1, 0.70, 0.12), (4, 3.64, 1.3), (8, 7.58, 2.7)])
def test_a_thousand_pairs_of_a_gaussian_mechanism_reach_the_information_limit(epsilon, limit, free):
    """The figures are known for one Gaussian release, 1,000 pairs, 95 %; mean of 40 repetitions."""
    mu = audit.gaussian_mu(epsilon, DELTA)
    threshold = audit.best_threshold(mu, 1000, DELTA)
    found = [audit.gaussian(*normal_scores(mu, seed), DELTA) for seed in range(40)]
    counted = [audit.distribution_free(*normal_scores(mu, seed), DELTA, threshold=threshold) for seed in range(40)]
    assert np.mean(found) == pytest.approx(limit, rel=0.02, abs=0.08)
    assert np.mean(counted) == pytest.approx(free, rel=0.1, abs=0.08)


def test_bounds_of_scores_without_a_signal_are_above_zero_in_at_most_7_percent():
    sets = [normal_scores(0.0, seed) for seed in range(1000)]
    threshold = audit.best_threshold(audit.gaussian_mu(1, DELTA), 1000, DELTA)
    for bound in (
        lambda a, b: audit.gaussian(a, b, DELTA),
        lambda a, b: audit.distribution_free(a, b, DELTA, threshold=threshold),
    ):
        assert sum(bound(*scores) > 0 for scores in sets) <= 70


def test_a_threshold_chosen_on_half_of_the_scores_does_not_accuse():
    found = [audit.distribution_free(*normal_scores(0.0, seed, 100), DELTA) for seed in range(50)]
    assert sum(bound > 0 for bound in found) <= 8  # 99.9 % of a binomial of 50 at 5 %
    assert audit.distribution_free(*normal_scores(4.0, 0, 400), DELTA) > 2


def test_scores_that_are_no_numbers_apart_from_a_constant():
    same = np.zeros(50)
    assert audit.gaussian(same, same, DELTA) == 0 == audit.distribution_free(same, same, DELTA, threshold=0.5)
    assert audit.gaussian(same + 1, same, DELTA) == 100
    for n in (20, 100, 2000):  # apart by far more than their spread
        nearly = np.random.default_rng(n).normal(size=(2, n))
        for spread in (1e-14, 1e-6, 1e-3, 1e-2):
            assert audit.gaussian(1 + spread * nearly[0], spread * nearly[1], DELTA) == 100


@pytest.mark.parametrize("correct", [500, 560, 620, 700])
@pytest.mark.parametrize("delta", [0.0, 1e-5])
def test_one_run_is_the_tail_of_a_binomial(correct, delta):
    """Without delta the bound is exact: at it so many right guesses have probability 5 %."""
    bound = audit.one_run(correct, 1000, 1000, delta)
    if delta == 0 and bound:
        assert stats.binom.sf(correct - 1, 1000, 1 / (1 + math.exp(-bound))) == pytest.approx(0.05, abs=1e-4)
    assert bound <= audit.one_run(correct, 1000, 1000, 0.0) + 1e-9
    assert (audit.one_run(correct, 1000, 1000, 0.0) > 0) == (stats.binom.sf(correct - 1, 1000, 0.5) < 0.05)


def guessed(mu: float, seed: int, canaries: int, guesses: int) -> int:
    """Right guesses of the best test: the highest scores are in, the lowest are out."""
    rng = np.random.default_rng(seed)
    there = rng.random(canaries) < 0.5
    order = np.argsort(rng.normal(size=canaries) + mu * there)
    half = guesses // 2
    return int((~there[order[:half]]).sum() + there[order[-half:]].sum())


@pytest.mark.parametrize("bound", [audit.one_run, audit.one_run_gaussian])
def test_one_run_bounds_of_coins_are_above_zero_in_at_most_7_percent(bound):
    correct = stats.binom.rvs(300, 0.5, size=1000, random_state=1)
    above = {int(count): bound(int(count), 300, 1000, DELTA) > 0 for count in np.unique(correct)}
    assert sum(above[int(count)] for count in correct) <= 70


@pytest.mark.parametrize("epsilon", [1, 4, 8])
def test_the_bound_by_the_curve_is_below_the_truth_and_tighter(epsilon):
    mu = audit.gaussian_mu(epsilon, DELTA)
    pairs = [
        (audit.one_run(guessed(mu, seed, 1000, 100), 100, 1000, DELTA),
         audit.one_run_gaussian(guessed(mu, seed, 1000, 100), 100, 1000, DELTA))
        for seed in range(10)
    ]  # fmt: skip
    plain, tighter = np.mean(pairs, axis=0)
    assert tighter > plain > 0 if epsilon > 1 else tighter >= plain
    assert all(bound < epsilon for pair in pairs for bound in pair)


@pytest.mark.parametrize(
    ("canaries", "guesses", "correct", "plain", "by_curve"),
    [(1000, 100, 80, 0.95532, 1.40221), (1000, 1000, 620, 0.38034, 0.73635), (500, 60, 60, 2.95802, 4.86050),
     (5000, 400, 300, 0.90054, 1.23780)],
)  # fmt: skip
def test_one_run_bounds_equal_those_of_jax_privacy_2_0_0(canaries, guesses, correct, plain, by_curve):
    assert audit.one_run(correct, guesses, canaries, DELTA) == pytest.approx(plain, abs=1e-4)
    assert audit.one_run_gaussian(correct, guesses, canaries, DELTA) == pytest.approx(by_curve, abs=1e-4)


def test_rates_bound_by_hand():
    """No miss in 100 and no alarm in 100: both rates are at most 1 - .025 ** .01."""
    limit = 1 - 0.025 ** (1 / 100)
    found = audit.distribution_free(np.ones(100), np.zeros(100), 0.0, threshold=0.5)
    assert found == pytest.approx(math.log((1 - limit) / limit))


def test_right_guesses_by_hand():
    scores, inside = np.array([3.0, -1, 0.5, 2, -2, 0]), np.array([True, False, True, False, True, False])
    assert audit.right_guesses(scores, inside, 4) == 2  # 3 is in, 2 is not; -2 is in, -1 is not
    assert audit.right_guesses(scores, inside, 6) == 4


@pytest.mark.parametrize("guesses", [20, 300, 1000])
@pytest.mark.parametrize("mu", [0.0, 0.3, 1.5])
def test_expected_right_guesses_are_the_mean_of_draws(mu, guesses):
    found = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        inside = rng.random(1000) < 0.5
        found.append(audit.right_guesses(rng.normal(size=1000) + mu * inside, inside, guesses))
    assert abs(np.mean(found) - audit.expected_right(mu, guesses, 1000)) < 4 * np.std(found) / math.sqrt(200) + 1


@pytest.mark.parametrize("epsilon", [1, 4, 8])
def test_so_many_guesses_are_best(epsilon):
    mu = audit.gaussian_mu(epsilon, DELTA)
    best = audit.best_guesses(mu, 1000, DELTA)

    def mean(guesses: int) -> float:
        return float(np.mean([audit.one_run_gaussian(guessed(mu, s, 1000, guesses), guesses, 1000, DELTA)
                              for s in range(20)]))  # fmt: skip

    assert best % 2 == 0 and mean(best) > 0.9 * max(map(mean, (20, 100, 200, 400, 1000)))
    assert mean(best) < epsilon


def test_canaries_without_a_signal_give_bounds_above_zero_in_at_most_7_percent():
    guesses = audit.best_guesses(audit.gaussian_mu(1, DELTA), 1000, DELTA)
    right = [guessed(0.0, seed, 1000, guesses) for seed in range(1000)]
    for bound in (audit.one_run, audit.one_run_gaussian):
        above = {count: bound(count, guesses, 1000, DELTA) > 0 for count in set(right)}
        assert sum(above[count] for count in right) <= 70


def gaussian_curve(noise: float):
    return lambda epsilon: gaussian_delta(noise, epsilon)


@pytest.mark.parametrize("mu", [0.5, 1.5, 3.0])
def test_the_noise_that_is_ruled_out_meets_the_limits_of_the_rates(mu):
    """Of the Gaussian mechanism its trade-off curve is known: mu = z(1 - fpr) - z(fnr)."""
    with_, without = normal_scores(mu, 1)
    threshold = mu / 2
    noise = audit.noise_ruled_out(with_, without, gaussian_curve, 1 / mu, threshold)
    limits = [
        audit._upper(int(count), 1000, 0.025) for count in ((with_ < threshold).sum(), (without >= threshold).sum())
    ]
    expected = -stats.norm.ppf(limits[0]) - stats.norm.ppf(limits[1])
    assert 1 / noise == pytest.approx(expected, rel=0.02) and 1 / noise < mu


def test_no_noise_is_ruled_out_without_a_signal_in_93_percent():
    ruled = [
        np.isfinite(audit.noise_ruled_out(*normal_scores(0.0, seed), gaussian_curve, 3.0, 0.5)) for seed in range(300)
    ]
    assert sum(ruled) <= 0.07 * 300


def test_a_threshold_of_ideal_scores_is_that_of_the_normal_law():
    mu, many = 2.0, normal_scores(2.0, 0, 20_000)
    found, best = audit.threshold_of(*many, 1000, DELTA), audit.best_threshold(mu, 1000, DELTA)
    bounds = [
        np.mean([audit.distribution_free(*normal_scores(mu, s), DELTA, threshold=t) for s in range(40)])
        for t in (found, best)
    ]
    assert bounds[0] > 0.93 * bounds[1]
