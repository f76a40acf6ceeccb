r"""What releases of private data cost together: epsilon, calibration of the noise, and what an attacker can gain.

Neighbouring data sets differ in one unit (a row, unless the caller says otherwise) that is added or removed. A release
is a mechanism that has seen the data: noisy sums, noisy counts, noisy gradients. Releases compose adaptively: each may
depend on the results of those before it, but not on the data otherwise. Their composition is computed by privacy loss
distributions (Koskela et al. 2020, arXiv:1906.03049; Doroshenko et al. 2022, arXiv:2207.04380), with the package
dp-accounting, `pip install synthjax[dp]`. All approximations are upper bounds.

Formal guarantees. If every release is what its fields say, everything computed from the releases together is
(epsilon, delta)-differentially private, with epsilon = `epsilon(releases, delta)`. Failures with a small probability
are added to delta:

- Let F be the probability that a threshold lets through a category that one unit alone holds. Conditional on its
  complement, the neighbours' releases are those that the noise accounts for. So delta(e) becomes
  delta(e + ln(1 - F)) + F.
- Let G be the distance in total variation between what is run and what is accounted for (a truncated batch, a table of
  probabilities rounded to 64 bits), for each of two neighbours. Then (1 + exp(e)) G is added.

A unit may have several rows, see `synthjax.privacy.units`.

    >>> steps = Release("gradients", "gaussian", noise=2.0, rate=0.01, count=100)
    >>> counts = Release("counts", "discrete gaussian", noise=20.0, count=5)
    >>> spent = epsilon([steps, counts], delta=1e-6)
    >>> steps, counts = calibrate([steps, counts], epsilon=1.0, delta=1e-6)
    >>> bool(0.99 < epsilon([steps, counts], delta=1e-6) <= 1.0), round(counts.noise / steps.noise, 6)
    (True, 10.0)
    >>> round(attack(epsilon=1.0, delta=1e-6, fpr=0.01), 4)  # power at a false positive rate of 1 %
    0.0272
"""

import dataclasses
import functools
import importlib
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

import numpy as np
from scipy import optimize, special, stats

from synthjax.errors import InputError
from synthjax.privacy import units

_INTERVAL = 1e-4  # discretisation of the privacy loss
_COARSE = 1e-3  # the same, for mixtures of Gaussians, which take longer
_MAX_EPSILON = 128.0  # a larger one counts as infinite
_TOLERANCE = 1.001  # factor within which `calibrate` finds the noise
_FIRST = 10.0  # `calibrate` begins its search with cells of the privacy loss that are wider by this factor

DeltaOf = Callable[[float], float]
"""epsilon -> the smallest delta for which a mechanism is (epsilon, delta)-differentially private, or a bound on it."""


@dataclass(frozen=True)
class Release:
    """A mechanism that has seen private data, for the accountant."""

    name: str
    """What it releases, for certificates and messages."""
    mechanism: Literal["gaussian", "discrete gaussian", "threshold"]
    """"gaussian": a vector plus Gaussian noise in every entry, possibly of a Poisson sample. "discrete gaussian":
    integers plus `noise.discrete_gaussian`. "threshold": the failure of a threshold, which only has a `delta`."""
    noise: float
    """Of the Gaussian: standard deviation of the noise divided by the L2 sensitivity to one row; 0 for a threshold.

    For the discrete Gaussian it is the parameter sigma, where a row changes one integer by at most 1. If it changes
    several, `count` is their number; if it changes them by more, see `norm`."""
    rate: float = 1.0
    """Probability with which each row is in the Poisson sample that the mechanism sees; 1: it sees all of them."""
    count: int = 1
    """Number of times that the mechanism is run."""
    delta: float = 0.0
    """Probability of failure of all runs together. Of a "threshold": that it lets through what a single unit alone
    holds. Of others: the distance in total variation from the mechanism that is accounted for."""
    rows: int = 1
    """Rows of a unit at most. A Poisson sample draws them independently."""
    norm: float = 1.0
    """Of the discrete Gaussian: the largest L2 norm of the change of integers by one row."""

    def __post_init__(self):
        named = f"release {self.name!r}"
        if self.mechanism not in ("gaussian", "discrete gaussian", "threshold"):
            raise InputError(f"{named}: no such mechanism: {self.mechanism!r}")
        if self.mechanism == "threshold" and self.noise != 0:
            raise InputError(f"{named}: a threshold has a delta, and no noise; noise={self.noise}")
        if self.mechanism != "threshold" and not 0 < self.noise < math.inf:
            raise InputError(f"{named}: noise={self.noise}: must be a finite number above 0")
        if not 0 < self.rate <= 1:
            raise InputError(f"{named}: rate={self.rate}: must be above 0 and at most 1")
        if self.mechanism != "gaussian" and self.rate != 1:
            raise InputError(f"{named}: rate={self.rate}: only the Gaussian mechanism is accounted for on samples")
        if self.count < 0:
            raise InputError(f"{named}: count={self.count}: must not be negative")
        if self.rows < 1:
            raise InputError(f"{named}: rows={self.rows}: must be at least 1")
        if self.norm < 1 or (self.norm > 1 and self.mechanism != "discrete gaussian"):
            raise InputError(f"{named}: norm={self.norm}: must be at least 1, and 1 without integers")
        if not 0 <= self.delta < 1:
            raise InputError(f"{named}: delta={self.delta}: must be at least 0 and below 1")


def check_budget(epsilon: float, delta: float) -> None:
    """Checks a budget.

    Raises:
      InputError: epsilon is not a finite number above 0, or delta is not between 0 and 1.
    """
    if not 0 < epsilon < math.inf:
        raise InputError(f"epsilon={epsilon}: must be a finite number above 0")
    if not 0 < delta < 1:
        raise InputError(f"delta={delta}: must be above 0 and below 1")


def epsilon(releases: Sequence[Release], delta: float) -> float:
    """The epsilon that the releases spend together at `delta`; infinite above 128.

    Raises:
      InputError: delta is not between 0 and 1, or dp-accounting is not installed.
    """
    check_budget(1.0, delta)
    return _smallest_epsilon(delta_of(releases), delta)


def delta_of(releases: Sequence[Release], width: float = 1.0) -> DeltaOf:
    """The function epsilon -> delta of all releases together, an upper bound for each epsilon >= 0.

    Args:
      releases: what was released.
      width: of the cells of the privacy loss, at least 1. Wider ones are faster and give a looser bound.

    Raises:
      InputError: dp-accounting is not installed.
    """
    of_noise = _delta_of_noise(tuple(releases), width)
    threshold = sum(release.delta for release in releases if release.mechanism == "threshold")
    distance = sum(release.delta for release in releases if release.mechanism != "threshold")
    distance += sum(
        units.DISTANCE * r.count * r.rows * r.norm**2  # a row changes at most norm^2 integers
        for r in releases
        if r.mechanism == "discrete gaussian" and r.rows * r.norm > 1
    )

    def delta(epsilon: float) -> float:
        if threshold >= 1:
            return 1.0
        shift = math.log1p(-threshold)
        return min(1.0, of_noise(epsilon + shift) + threshold + (1 + math.exp(epsilon)) * distance)

    return delta


def calibrate(releases: Sequence[Release], epsilon: float, delta: float) -> list[Release]:
    """Scales the noise of all releases by one factor, so that they spend at most `epsilon` together.

    Args:
      releases: their `noise` gives the proportions.
      epsilon: the budget, above 0.
      delta: the budget, between 0 and 1.

    Returns:
      The releases with the smallest noise, to 0.1 %, that spends at most the budget.

    Raises:
      InputError: the budget is out of range, no noise keeps to it since the releases' deltas exceed `delta`, or
        dp-accounting is not installed.
    """
    check_budget(epsilon, delta)

    def scaled(factor: float) -> list[Release]:
        return [dataclasses.replace(release, noise=factor * release.noise) for release in releases]

    def spends(factor: float, width: float = 1.0) -> bool:
        return delta_of(scaled(factor), width)(epsilon) <= delta

    failure = delta_of([dataclasses.replace(r, count=0) for r in releases])(epsilon)
    if failure >= delta:
        raise InputError(
            f"delta={delta}: no noise suffices, since thresholds and samples fail with {failure:.3g} alone"
        )
    if all(release.mechanism == "threshold" or not release.count for release in releases):
        return list(releases)
    near = least_noise(
        functools.partial(spends, width=_FIRST), _guess(releases, epsilon, delta - failure), tolerance=_TOLERANCE
    )
    if math.isinf(near):
        raise InputError(f"epsilon={epsilon}: no noise was found that spends so little")
    return scaled(least_noise(spends, near, tolerance=_TOLERANCE, step=_TOLERANCE))


def least_noise(
    fits: Callable[[float], bool], guess: float, *, tolerance: float, step: float = 1.05, growth: float = 2.0
) -> float:
    """The least noise that suffices, by bisection of the logarithm.

    Args:
      fits: whether a noise suffices; if it does, so does more.
      guess: where the search starts.
      tolerance: factor above 1 within which the result is the least noise.
      step: first factor of the steps away from the guess.
      growth: power by which these factors grow.

    Returns:
      A noise that suffices; infinite if none was found.
    """
    enough, factor = guess, step
    while not fits(enough):
        enough, factor = enough * factor, factor**growth
        if factor > 1e30:
            return math.inf
    lacking, factor = enough / step, step
    while fits(lacking):
        enough, lacking, factor = lacking, lacking / factor, factor**growth
    while enough / lacking > tolerance:
        middle = math.sqrt(enough * lacking)
        enough, lacking = (middle, lacking) if fits(middle) else (enough, middle)
    return enough


def attack(epsilon: float, delta: float, fpr: float) -> float:
    """The largest true positive rate of any membership attack on a mechanism that is (epsilon, delta)-private.

    The attacker tells two neighbouring data sets apart and knows all but whether the one unit is in them (Kairouz, Oh &
    Viswanath 2017, arXiv:1311.0776).

    Args:
      epsilon: at least 0.
      delta: between 0 and 1.
      fpr: the attack's false positive rate, between 0 and 1.
    """
    return float(min(1.0, math.exp(epsilon) * fpr + delta, 1 - math.exp(-epsilon) * (1 - delta - fpr)))


def power(releases: Sequence[Release], fpr: float) -> float:
    """The largest true positive rate of any membership attack on the releases together; at most that of `attack`.

    Args:
      releases: what was released.
      fpr: the attack's false positive rate, between 0 and 1.

    Raises:
      InputError: dp-accounting is not installed.
    """
    of = delta_of(releases)
    return min(attack(e, of(e), fpr) for e in np.append(0, np.geomspace(1e-3, 64, 300)).tolist())


def gaussian_delta(noise: float, epsilon: float) -> float:
    """delta of the Gaussian mechanism at `epsilon`, exactly (Balle & Wang 2018, arXiv:1805.06530, Theorem 8).

    Args:
      noise: standard deviation divided by the L2 sensitivity.
      epsilon: any number.
    """
    a, b = 1 / (2 * noise), epsilon * noise
    return float(max(special.ndtr(a - b) - math.exp(epsilon + special.log_ndtr(-a - b)), 0.0))


def truncation(rows: int, rate: float, capacity: int, steps: int) -> float:
    """Probability that a Poisson sample of `rows` rows exceeds `capacity` in one of `steps` steps, at most.

    Args:
      rows: number of rows, or a bound on it.
      rate: probability of each row.
      capacity: number of rows that fit into a batch.
      steps: number of steps.
    """
    return float(min(1.0, steps * stats.binom.sf(capacity, rows, rate)))


def capacity(rows: int, rate: float, steps: int, delta: float) -> int:
    """The smallest batch that a Poisson sample exceeds in one of `steps` steps with a probability of at most `delta`.

    The arguments are those of `truncation`.
    """
    size = int(stats.binom.isf(delta / steps, rows, rate))
    while size < rows and truncation(rows, rate, size, steps) > delta:
        size += 1
    return min(max(size, 1), rows)


def _smallest_epsilon(of: DeltaOf, delta: float) -> float:
    """The smallest epsilon >= 0 with of(epsilon) <= delta, to 1e-9, rounded up; infinite above `_MAX_EPSILON`."""
    if of(0.0) <= delta:
        return 0.0
    low, high = 0.0, 2.0**-10
    while of(high) > delta:
        low, high = high, 1.05 * high  # in small steps: delta may rise again, see G in the module's docstring
        if high > _MAX_EPSILON:
            return math.inf
    while high - low > 1e-9 * max(high, 1):
        middle = (low + high) / 2
        low, high = (low, middle) if of(middle) <= delta else (middle, high)
    return high


@functools.lru_cache(maxsize=4)
def _delta_of_noise(releases: tuple[Release, ...], width: float = 1.0) -> DeltaOf:
    """As `delta_of`, without failures. Equal mechanisms are composed at once; plain Gaussian ones are one mechanism."""
    precision = sum(r.count / _variance(r) for r in releases if _is_plain(r))
    others: Counter[tuple[str, float, float, int]] = Counter()
    for r in releases:
        if r.mechanism != "threshold" and not _is_plain(r):
            others[r.mechanism, r.noise, r.rate, r.rows] += r.count
    counts = {kind: count for kind, count in others.items() if count}
    if not counts:
        return (lambda e: gaussian_delta(precision**-0.5, e)) if precision else (lambda e: max(0.0, -math.expm1(e)))
    interval = width * (_COARSE if any(rows > 1 for *_, rows in counts) else _INTERVAL)
    losses = [_loss(*kind, interval).self_compose(count) for kind, count in counts.items()]
    if precision:
        losses.append(_loss("gaussian", precision**-0.5, 1.0, 1, interval))
    total = losses[0]
    for loss in losses[1:]:
        total = total.compose(loss)
    return lambda e: float(total.get_delta_for_epsilon(e))


def _is_plain(release: Release) -> bool:
    """Whether a release is accounted for as a Gaussian mechanism without sampling."""
    return (release.mechanism == "gaussian" and release.rate == 1) or (
        release.mechanism == "discrete gaussian" and release.rows * release.norm > 1
    )


def _variance(release: Release) -> float:
    """The variance of the Gaussian mechanism that a plain release is accounted for as, over its squared sensitivity."""
    if release.mechanism == "discrete gaussian":
        return units.variance(release.noise, release.rows * release.norm)
    return (release.noise / release.rows) ** 2


def _loss(mechanism: str, noise: float, rate: float, rows: int, interval: float) -> Any:
    """The privacy loss distribution of one run."""
    pld = _dp_accounting().pld.privacy_loss_distribution
    if mechanism == "discrete gaussian":
        return pld.from_discrete_gaussian_mechanism(
            noise, value_discretization_interval=interval, use_connect_dots=True
        )
    if rows > 1:
        drawn, chances = units.sampled(rows, rate)
        return pld.from_mixture_gaussian_mechanism(noise, drawn, chances, value_discretization_interval=interval)
    return pld.from_gaussian_mechanism(noise, value_discretization_interval=interval, sampling_prob=rate)


def signal(release: Release, factor: float = 1.0) -> float:
    """About the squared signal-to-noise ratio of a release; 0 for a threshold.

    It is that of the central limit theorem (Dong, Roth & Su 2022, arXiv:1905.02383, section 5).

    Args:
      release: what is released.
      factor: of its noise.
    """
    if release.mechanism == "threshold":
        return 0.0
    noise = factor * release.noise
    if release.rate == 1:
        return release.count * (release.rows * release.norm / noise) ** 2
    drawn, chances = units.sampled(release.rows, release.rate)
    gained = np.expm1(np.minimum(np.outer(drawn, drawn) / noise**2, 50.0))
    return float(release.count * chances @ gained @ chances)


def _guess(releases: Sequence[Release], epsilon: float, delta: float) -> float:
    """About the factor that `calibrate` looks for, from the central limit theorem."""

    def excess(log_factor: float) -> float:
        precision = sum(signal(release, math.exp(log_factor)) for release in releases)
        return math.log(max(gaussian_delta(precision**-0.5, epsilon), 1e-300)) - math.log(delta)

    low, high = -1.0, 1.0
    while excess(low) < 0 and low > -60:
        low *= 2
    while excess(high) > 0 and high < 60:
        high *= 2
    return math.exp(optimize.brentq(excess, low, high, xtol=1e-3)) if low > -60 and high < 60 else 1.0


def _dp_accounting() -> ModuleType:
    """The package dp-accounting.

    Raises:
      InputError: it is not installed.
    """
    try:
        module = importlib.import_module("dp_accounting")
        importlib.import_module("dp_accounting.pld.privacy_loss_distribution")
    except ImportError as error:
        raise InputError("differential privacy needs dp-accounting: pip install synthjax[dp]") from error
    return module
