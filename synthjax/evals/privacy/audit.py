r"""Lower bounds on the privacy loss of a mechanism, from scores of outputs with and without a record (audits).

An audit runs a mechanism with and without a record, a canary, and gives each output a score, high if the record seems
to be there. How well the scores tell the two apart bounds epsilon from below: with false positive rate FPR and false
negative rate FNR of any test, an (epsilon, delta) mechanism has (Kairouz, Oh & Viswanath 2015)

    FPR >= exp(-epsilon) (1 - delta - FNR)    and    FNR >= exp(-epsilon) (1 - delta - FPR)

Five bounds, each of which exceeds the true epsilon with probability at most 1 - level:

    of many runs   `distribution_free`  Clopper-Pearson limits of both rates, at a threshold that does not depend on
                                        the scores
                   `gaussian`           for normal scores of equal variance: the lower limit of their distance mu, and
                                        epsilon by the curve of the Gaussian mechanism (Dong, Roth & Su 2022)
                   `noise_ruled_out`    for a mechanism known but for its noise, such as the Gaussian one on Poisson
                                        samples: the noise at which its trade-off curve meets the limits of both rates
    of one run     `one_run`            many canaries, each in or out by a fair coin (Steinke, Nasr & Jagielski 2023)
                   `one_run_gaussian`   the same, if the trade-off curve is that of a Gaussian mechanism (Mahloujifar,
                                        Melis & Chaudhuri 2025); tighter

    >>> rng = np.random.default_rng(0)
    >>> without, with_ = rng.normal(size=1000), rng.normal(size=1000) + 1.0
    >>> round(gaussian(with_, without, delta=1e-5), 2), round(gaussian_epsilon(1.0, 1e-5), 2)
    (4.18, 4.38)
    >>> round(distribution_free(with_, without, 1e-5, threshold=2.5), 2)
    1.92
"""

import math
from collections.abc import Callable

import numpy as np
from scipy import optimize, stats
from scipy.special import ndtr, ndtri

from synthjax.evals.estimate import LEVEL
from synthjax.privacy.accounting import DeltaOf, gaussian_delta, least_noise

_SHARES = (0.01, 0.02, 0.04, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1.0)  # of canaries that may be guessed
_MOST = 100.0  # largest epsilon, and largest distance mu, that a search considers


def gaussian_epsilon(mu: float, delta: float) -> float:
    """Smallest epsilon at `delta` of a Gaussian mechanism with L2 sensitivity `mu` standard deviations; at most 100."""
    if mu <= 0 or gaussian_delta(1 / mu, 0.0) <= delta:
        return 0.0
    if gaussian_delta(1 / mu, _MOST) > delta:
        return _MOST
    return float(optimize.brentq(lambda epsilon: gaussian_delta(1 / mu, epsilon) - delta, 0.0, _MOST, xtol=1e-9))


def gaussian_mu(epsilon: float, delta: float) -> float:
    """The distance mu of the Gaussian mechanism that is exactly (epsilon, delta) private; the inverse of the above."""
    return float(optimize.brentq(lambda mu: gaussian_delta(1 / mu, epsilon) - delta, 1e-9, _MOST, xtol=1e-12))


# --- many runs


def gaussian(with_: np.ndarray, without: np.ndarray, delta: float, level: float = LEVEL) -> float:
    """A lower bound on epsilon of many runs that assumes normal scores of equal variance.

    Args:
        with_: (n,) scores of runs with the canary.
        without: (m,) scores of runs without it.
        delta: of the claim.
        level: probability that the bound holds.

    Returns:
        Epsilon, at least 0. It comes from the lower limit of the standardised difference of means, by the noncentral t
        distribution, with the variance of both sets of scores.
    """
    n, m = len(with_), len(without)
    spread = ((n - 1) * np.var(with_, ddof=1) + (m - 1) * np.var(without, ddof=1)) / (n + m - 2)
    scale = math.sqrt(n * m / (n + m))
    difference = float(np.mean(with_) - np.mean(without))
    if spread == 0:
        return _MOST if difference > 0 else 0.0
    t, freedom = min(difference / math.sqrt(spread), 2 * _MOST) * scale, n + m - 2  # no more is needed for _MOST
    if stats.t.sf(t, freedom) >= 1 - level:
        return 0.0

    def excess(mu: float) -> float:
        return float(stats.nct.sf(t, freedom, mu * scale)) - (1 - level)

    return gaussian_epsilon(optimize.brentq(excess, 1e-9, t / scale), delta)


def distribution_free(
    with_: np.ndarray, without: np.ndarray, delta: float, level: float = LEVEL, threshold: float | None = None
) -> float:
    """A lower bound on epsilon of many runs that assumes nothing about the scores but their independence.

    Args:
        with_: (n,) scores of runs with the canary.
        without: (m,) scores of runs without it.
        delta: of the claim.
        level: probability that the bound holds.
        threshold: scores of at least this count as "with"; it must not depend on the scores, see `best_threshold`.
            None: it is chosen on the first half of both sets, and the bound is computed on the second.

    Returns:
        Epsilon, at least 0.
    """
    if threshold is None:
        n, m = len(with_) // 2, len(without) // 2
        choices = np.unique(np.concatenate([with_[:n], without[:m]]))
        bounds = [_rates_bound(with_[:n], without[:m], delta, level, choice) for choice in choices]
        threshold = float(choices[int(np.argmax(bounds))])
        with_, without = with_[n:], without[m:]
    return max(_rates_bound(with_, without, delta, level, threshold), 0.0)


def noise_ruled_out(
    with_: np.ndarray,
    without: np.ndarray,
    curve: Callable[[float], DeltaOf],
    claim: float,
    threshold: float,
    level: float = LEVEL,
) -> float:
    """The least noise of a mechanism that many runs rule out: with as much, it would be more private than they show.

    Args:
        with_: (n,) scores of runs with the canary.
        without: (m,) scores of runs without it.
        curve: noise -> (epsilon -> delta) of the mechanism that is claimed; more noise, less delta. It is the
            mechanism's trade-off curve in another form (Dong, Roth & Su 2022, section 2.4).
        claim: the noise that is claimed, where the search starts.
        threshold: as of `distribution_free`.
        level: probability that the mechanism has less noise than the result.

    Returns:
        The noise; infinite if 1e4 times the claim is not ruled out. Its epsilon is a lower bound on the mechanism's.
    """
    fnr = _upper(int((with_ < threshold).sum()), len(with_), (1 - level) / 2)
    fpr = _upper(int((without >= threshold).sum()), len(without), (1 - level) / 2)
    grid = np.concatenate([[0.0], np.geomspace(1e-3, 20, 60)])

    def rejected(noise: float) -> bool:
        of = curve(noise)
        return any(
            1 - min(a + math.exp(e) * b, 1.0) > of(e) for e in grid.tolist() for a, b in ((fnr, fpr), (fpr, fnr))
        )

    return least_noise(rejected, claim, tolerance=1.005, step=1.3) if rejected(1e4 * claim) else math.inf


def threshold_of(with_: np.ndarray, without: np.ndarray, runs: int, delta: float, level: float = LEVEL) -> float:
    """The threshold at which `distribution_free` is largest for `runs` runs with the rates of these scores.

    The scores must be those of a claim (`canary.ideal`), and not those that are audited.
    """
    choices = np.quantile(np.concatenate([with_, without]), np.linspace(0.001, 0.999, 400))
    bounds = [
        _bound(round(runs * (with_ < c).mean()), runs, round(runs * (without >= c).mean()), runs, delta, level)
        for c in choices
    ]
    return float(choices[int(np.argmax(bounds))])


def _rates_bound(with_: np.ndarray, without: np.ndarray, delta: float, level: float, threshold: float) -> float:
    misses, alarms = int((with_ < threshold).sum()), int((without >= threshold).sum())
    return _bound(misses, len(with_), alarms, len(without), delta, level)


def _bound(misses: int, n: int, alarms: int, m: int, delta: float, level: float) -> float:
    """Epsilon of Clopper-Pearson limits of both rates, which hold together with probability `level`."""
    fnr, fpr = _upper(misses, n, (1 - level) / 2), _upper(alarms, m, (1 - level) / 2)
    ratios = [(1 - delta - fnr) / fpr, (1 - delta - fpr) / fnr]
    return math.log(max(*ratios, 1e-300))


def _upper(count: int, n: int, alpha: float) -> float:
    """One-sided Clopper-Pearson upper limit of a rate of `count` in `n`."""
    return 1.0 if count == n else float(stats.beta.ppf(1 - alpha, count + 1, n - count))


def best_threshold(mu: float, n: int, delta: float, level: float = LEVEL) -> float:
    """The threshold at which `distribution_free` is largest for expected scores N(0, 1) without and N(mu, 1) with.

    `mu` is that of the claim (`gaussian_mu`) and `n` the number of runs of either kind, so the threshold depends on no
    score.
    """
    choices = np.linspace(-4.0, mu + 4.0, 801)
    expected = [
        _bound(round(n * float(ndtr(choice - mu))), n, round(n * float(ndtr(-choice))), n, delta, level)
        for choice in choices
    ]
    return float(choices[int(np.argmax(expected))])


# --- one run


def one_run(correct: int, guesses: int, canaries: int, delta: float, level: float = LEVEL) -> float:
    """A lower bound on epsilon of one run with many canaries, each in or out by a fair coin.

    Args:
        correct: number of right guesses.
        guesses: number of canaries that were guessed to be in or out; fixed before the run. The others are abstentions.
        canaries: number of canaries.
        delta: of the claim.
        level: probability that the bound holds.

    Returns:
        Epsilon, at least 0: the largest for which so many right guesses are less probable than 1 - level.
    """

    def p_value(epsilon: float) -> float:
        chance = 1 / (1 + math.exp(-epsilon))
        tail = float(stats.binom.sf(correct - 1, guesses, chance))
        if not delta or not correct:
            return tail
        fewer = np.arange(1, correct + 1)
        gained = np.cumsum(stats.binom.pmf(correct - fewer, guesses, chance))
        return tail + 2 * canaries * delta * float((gained / fewer).max())

    return _largest_rejected(lambda epsilon: p_value(epsilon) < 1 - level)


def one_run_gaussian(correct: int, guesses: int, canaries: int, delta: float, level: float = LEVEL) -> float:
    """The bound of `one_run` for a mechanism whose trade-off curve is at worst that of a Gaussian mechanism.

    Arguments as of `one_run`. Over runs of at least i right guesses, the share of canaries that are guessed rightly is
    bounded by the curve from the share that is guessed wrongly in runs of at least i - 1. From i = `correct` downwards
    this gives the least probability of all outcomes together, which exceeds 1 if the curve is too private.
    """

    def rejected(mu: float) -> bool:
        right, wrong = ((1 - level) * number / canaries for number in (correct, guesses - correct))
        for i in range(correct - 1, -1, -1):
            needed = max(wrong, float(ndtr(ndtri(min(right, 1.0)) - mu)))
            right += i / (guesses - i) * (needed - wrong)
            wrong = needed
        return right + wrong > guesses / canaries

    return gaussian_epsilon(_largest_rejected(rejected), delta)


def right_guesses(scores: np.ndarray, inside: np.ndarray, guesses: int) -> int:
    """Number of right guesses: half of them that the canaries with the highest scores are in, half that others are out.

    Args:
        scores: (m,) of the canaries, high if one seems to be in.
        inside: (m,) bool.
        guesses: an even number, at most m.
    """
    order, half = np.argsort(scores, kind="stable"), guesses // 2
    return int((~inside[order[:half]]).sum() + inside[order[len(order) - half :]].sum())


def expected_right(mu: float, guesses: int, canaries: int) -> int:
    """About the expectation of `right_guesses` for scores N(0, 1) of canaries that are out, and N(mu, 1) of those in.

    The highest guesses / 2 of scores of the mixture lie above c; of those a canary is in with the share of N(mu, 1).
    """
    share = guesses / 2 / canaries

    def excess(c: float) -> float:
        return float(ndtr(-c) + ndtr(mu - c)) / 2 - share

    c = optimize.brentq(excess, -40.0, mu + 40.0)
    return round(canaries * float(ndtr(mu - c)))


def best_guesses(mu: float, canaries: int, delta: float, level: float = LEVEL) -> int:
    """The even number of guesses for which `one_run_gaussian` is largest at the expected right ones.

    `mu` is that of the claim, so the number depends on no score.
    """
    choices = sorted({2 * max(round(canaries * share / 2), 1) for share in _SHARES if canaries * share >= 2})
    bounds = [one_run_gaussian(expected_right(mu, n, canaries), n, canaries, delta, level) for n in choices]
    return choices[int(np.argmax(bounds))]


def _largest_rejected(rejected: Callable[[float], bool]) -> float:
    """The largest value at which a claim is rejected, within 1e-6: it is rejected up to there. 0 if none is."""
    if not rejected(1e-6):
        return 0.0
    low, high = 1e-6, 1.0
    while rejected(high) and high < _MOST:
        low, high = high, 2 * high
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if rejected(middle) else (low, middle)
    return low
