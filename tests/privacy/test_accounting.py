"""The accountant against closed forms, enumeration and the other accountants of dp-accounting."""

import math
import sys

import dp_accounting
import numpy as np
import pytest
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import RdpAccountant
from scipy import integrate, optimize, stats

from synthjax.errors import InputError
from synthjax.privacy import accounting
from synthjax.privacy.accounting import Release


def gaussian(noise, **fields):
    return Release("sums", "gaussian", noise, **fields)


def hockey_stick(p: np.ndarray, q: np.ndarray, epsilon: float) -> float:
    """sup over events of p(S) - exp(epsilon) q(S)."""
    return float(np.maximum(p - math.exp(epsilon) * q, 0).sum())


def discrete(sigma: float, shift: int, half: int = 60) -> np.ndarray:
    """Probabilities of the discrete Gaussian around `shift`, on -half ... half."""
    k = np.arange(-half, half + 1)
    weights = np.exp(-((k - shift) ** 2) / (2 * sigma**2))
    return weights / weights.sum()


@pytest.mark.parametrize(("noise", "epsilon"), [(0.7, 0.0), (1.0, 1.0), (4.0, 0.5), (2.0, 3.0)])
def test_delta_of_the_gaussian_mechanism_is_the_hockey_stick_divergence(noise, epsilon):
    def excess(x):
        return max(stats.norm.pdf(x, 1, noise) - math.exp(epsilon) * stats.norm.pdf(x, 0, noise), 0)

    start = noise**2 * epsilon + 0.5  # from here on the excess is positive
    expected = integrate.quad(excess, start, start + 40 * noise, epsabs=1e-13)[0]
    assert accounting.gaussian_delta(noise, epsilon) == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_gaussian_mechanisms_compose_to_one():
    releases = [gaussian(5.0, count=4), gaussian(3.0)]
    noise = (4 / 25 + 1 / 9) ** -0.5
    epsilon = accounting.epsilon(releases, 1e-6)
    assert accounting.gaussian_delta(noise, epsilon) == pytest.approx(1e-6, rel=1e-4)


@pytest.mark.parametrize(("noise", "rate", "count"), [(1.0, 0.02, 200), (4.0, 0.3, 50)])
def test_samples_agree_with_the_accountants_of_dp_accounting(noise, rate, count):
    event = dp_accounting.PoissonSampledDpEvent(rate, dp_accounting.GaussianDpEvent(noise))
    ours = accounting.epsilon([gaussian(noise, rate=rate, count=count)], 1e-6)
    pld = PLDAccountant().compose(event, count).get_epsilon(1e-6)
    rdp = RdpAccountant().compose(event, count).get_epsilon(1e-6)
    assert ours == pytest.approx(pld, rel=1e-6)
    assert ours < rdp


def test_a_sample_of_everything_is_no_sample():
    full = accounting.epsilon([gaussian(3.0, rate=1.0)], 1e-6)
    nearly = accounting.epsilon([gaussian(3.0, rate=1 - 1e-9)], 1e-6)  # by the distribution of the loss
    assert nearly == pytest.approx(full, rel=1e-3) and nearly >= full * (1 - 1e-6)


@pytest.mark.parametrize("cells", [1, 3])
def test_discrete_gaussian_against_enumeration(cells):
    sigma, epsilon = 2.0, 1.0
    p, q = np.ones(()), np.ones(())
    for _ in range(cells):
        p, q = np.multiply.outer(p, discrete(sigma, 1, 20)), np.multiply.outer(q, discrete(sigma, 0, 20))
    exact = hockey_stick(p, q, epsilon)
    bound = accounting.delta_of([Release("counts", "discrete gaussian", sigma, count=cells)])(epsilon)
    assert exact * (1 - 1e-12) <= bound <= exact * 1.001


def test_a_threshold_against_enumeration():
    """One unit adds 1 to a public count, and holds a category alone, which passes with probability `passes`."""
    sigma, passes, epsilon = 3.0, 0.01, 0.7
    base, shifted = discrete(sigma, 0), discrete(sigma, 1)
    without = np.stack([base, np.zeros_like(base)])  # rows: the category is absent, present
    with_it = np.stack([(1 - passes) * shifted, passes * shifted])
    exact = max(hockey_stick(with_it, without, epsilon), hockey_stick(without, with_it, epsilon))
    releases = [Release("counts", "discrete gaussian", sigma), Release("categories", "threshold", 0, delta=passes)]
    bound = accounting.delta_of(releases)(epsilon)
    assert exact <= bound <= exact * 1.2


def test_a_distance_in_total_variation_against_enumeration():
    """Two laws that each lie at distance 0.01 from those accounted for, moved where it does most harm."""
    sigma, distance, epsilon = 3.0, 0.01, 0.7
    p, q = discrete(sigma, 1), discrete(sigma, 0)
    top = np.argmax(p / q)
    moved_p, moved_q = (1 - distance) * p, q.copy()
    moved_p[top] += distance
    moved_q[top] = 0
    assert q[top] < distance
    exact = hockey_stick(moved_p, moved_q, epsilon)
    bound = accounting.delta_of([Release("counts", "discrete gaussian", sigma, delta=distance)])(epsilon)
    assert hockey_stick(p, q, epsilon) + 0.9 * distance < exact <= bound


def test_calibration_spends_the_budget_and_keeps_proportions():
    releases = [
        gaussian(1.0, rate=0.05, count=60),
        Release("counts", "discrete gaussian", 8.0, count=5),
        Release("categories", "threshold", 0, delta=1e-7),
    ]
    done = accounting.calibrate(releases, epsilon=1.0, delta=1e-6)
    assert 0.99 < accounting.epsilon(done, 1e-6) <= 1.0
    assert done[1].noise / done[0].noise == pytest.approx(8.0)
    assert [(r.name, r.rate, r.count, r.delta) for r in done] == [(r.name, r.rate, r.count, r.delta) for r in releases]


@pytest.mark.parametrize("start", [1e-3, 1e4])
def test_calibration_of_a_gaussian_is_exact_from_any_start(start):
    (done,) = accounting.calibrate([gaussian(start)], epsilon=0.5, delta=1e-5)
    assert 0.99e-5 < accounting.gaussian_delta(done.noise, 0.5) <= 1e-5


def test_an_attack_is_bounded_by_epsilon_and_exactly_by_the_mechanism():
    noise, fpr = 2.0, 0.01
    exact = stats.norm.cdf(stats.norm.ppf(fpr) + 1 / noise)  # Neyman & Pearson
    assert exact <= accounting.power([gaussian(noise)], fpr) <= 1.01 * exact
    epsilon = accounting.epsilon([gaussian(noise)], 1e-5)
    assert exact < accounting.attack(epsilon, 1e-5, fpr) == pytest.approx(math.exp(epsilon) * fpr + 1e-5)
    assert accounting.attack(1.0, 0.0, 0.9) == pytest.approx(1 - 0.1 / math.e)
    assert accounting.attack(0.0, 0.0, 0.3) == pytest.approx(0.3)


def test_the_capacity_is_the_smallest_that_suffices():
    size = accounting.capacity(10_000, 0.02, steps=100, delta=1e-9)
    assert 200 < size < 320
    assert accounting.truncation(10_000, 0.02, size, 100) <= 1e-9 < accounting.truncation(10_000, 0.02, size - 1, 100)
    assert accounting.capacity(10, 0.9, steps=100, delta=1e-9) == 10
    assert accounting.truncation(10, 0.9, 10, 100) == 0


def test_nothing_released_costs_nothing():
    assert accounting.epsilon([], 1e-6) == 0
    assert accounting.epsilon([gaussian(1e-3)], 1e-6) == math.inf
    assert accounting.epsilon([gaussian(2.0), Release("categories", "threshold", 0, delta=1e-5)], 1e-6) == math.inf


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: gaussian(0.0), "release 'sums': noise=0.0: must be a finite number above 0"),
        (lambda: gaussian(math.nan), "noise=nan"),
        (lambda: gaussian(1.0, rate=0.0), "rate=0.0: must be above 0"),
        (lambda: gaussian(1.0, count=-1), "count=-1"),
        (lambda: gaussian(1.0, delta=1.0), "delta=1.0"),
        (lambda: Release("a", "laplace", 1.0), "no such mechanism: 'laplace'"),  # type: ignore[arg-type]
        (lambda: Release("a", "threshold", 1.0, delta=0.1), "a threshold has a delta, and no noise"),
        (lambda: Release("a", "discrete gaussian", 1.0, rate=0.5), "only the Gaussian mechanism"),
        (lambda: accounting.epsilon([], 0.0), "delta=0.0"),
        (lambda: accounting.calibrate([gaussian(1.0)], 0.0, 1e-6), "epsilon=0.0"),
        (lambda: accounting.calibrate([gaussian(1.0)], math.inf, 1e-6), "epsilon=inf"),
        (lambda: accounting.calibrate([gaussian(1.0, delta=1e-6)], 1.0, 1e-6), "no noise suffices"),
    ],
)
def test_what_cannot_be_accounted_for_is_said_in_one_line(make, message):
    with pytest.raises(InputError) as error:
        make()
    assert message in str(error.value) and "\n" not in str(error.value)


def test_without_dp_accounting_one_line_names_the_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "dp_accounting", None)
    with pytest.raises(InputError, match=r"pip install synthjax\[dp\]"):
        accounting.epsilon([gaussian(1.0, rate=0.5)], 1e-6)


def test_integers_that_change_by_more_than_one_cost_as_much_as_the_gaussian_of_their_norm():
    """Sums of vectors of norm 512: beside the closed form of the Gaussian mechanism."""
    release = Release("sums", "discrete gaussian", noise=512 * 2.0, norm=512.0)
    spent = accounting.epsilon([release], 1e-6)
    assert accounting.gaussian_delta(2.0, spent) == pytest.approx(1e-6, rel=1e-3)
    alone = accounting.epsilon([Release("one", "discrete gaussian", noise=20.0, norm=10.0)], 1e-6)
    counts = accounting.epsilon([Release("hundred", "discrete gaussian", noise=20.0, count=100)], 1e-6)
    assert counts < alone < 1.01 * counts  # a hundred integers that change by 1 have the norm 10
    with pytest.raises(InputError, match=r"norm=2.0: must be at least 1, and 1 without integers"):
        Release("gradients", "gaussian", noise=1.0, norm=2.0)


def test_a_distance_that_counts_more_at_a_larger_epsilon_is_no_reason_for_infinity():
    """delta(e) falls with the noise, and rises with (1 + exp(e)) times the distance."""
    release = Release("sums", "discrete gaussian", noise=512 * 0.5, norm=512.0, delta=1e-11)
    spent = accounting.epsilon([release], 1e-5)
    assert (1 + math.exp(2 * spent)) * 1e-11 > 1e-5
    expected = optimize.brentq(lambda e: stats_delta(e) + (1 + math.exp(e)) * 1e-11 - 1e-5, 5, 12)
    assert spent == pytest.approx(expected, rel=1e-4)


def stats_delta(e: float, noise: float = 0.5) -> float:
    """Of the Gaussian mechanism (Balle & Wang 2018)."""
    return stats.norm.cdf(0.5 / noise - e * noise) - math.exp(e) * stats.norm.cdf(-0.5 / noise - e * noise)
