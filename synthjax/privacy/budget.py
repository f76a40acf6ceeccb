"""Division of a budget among releases that depend on one another.

How much noise a later release needs may depend on the results of earlier ones: the rate of Poisson sampling on the
noisy number of rows, the number of marginals on the noisy categories. An accountant composes fixed mechanisms. So the
whole budget is one Gaussian mechanism, of the noise multiplier `Budget.noise`, and each part gets a fixed share of it,
of squared signal-to-noise ratios, whatever comes before: the composition of Gaussian mechanisms is one again (Dong,
Roth & Su 2022, arXiv:1905.02383, corollary 2), and each part stays within its own. Training on Poisson samples is no
Gaussian mechanism: its noise is such that it tells an attacker less than that of its share (`within`).

    >>> budget = Budget(epsilon=1.0, delta=1e-6)
    >>> encoder, model = budget.part(0.1), budget.part(0.9)
    >>> round(encoder / model, 6), bool((encoder**-2 + model**-2) ** -0.5 >= budget.noise * (1 - 1e-9))
    (3.0, True)
"""

import math
from dataclasses import dataclass, field, replace

import numpy as np
from scipy import special

from synthjax.errors import InputError
from synthjax.privacy import accounting, noise
from synthjax.privacy.accounting import Release

THRESHOLDS = 0.1
"""Share of delta for all thresholds of categories together."""
TRUNCATION = 0.05
"""Share of delta for batches that are too small for a Poisson sample."""
SLACK = 0.05
"""Share of delta by which training may exceed the Gaussian mechanism of its share."""
FAILURE = THRESHOLDS + TRUNCATION + SLACK
"""Share of delta for all events that noise does not account for."""
_MARGIN = 0.998  # of epsilon: rounding of the accountant, and discrete noise
_GRID = 100
_TOLERANCE = 1.002


@dataclass(frozen=True)
class Budget:
    """A budget of privacy, and the Gaussian mechanism that spends it.

    Raises:
      InputError: epsilon is not above 0, delta not between 0 and 1, or no noise spends so little.
    """

    epsilon: float
    delta: float
    noise: float = field(init=False)
    """Standard deviation over L2 sensitivity of the Gaussian mechanism that spends all but the shares of delta."""

    def __post_init__(self):
        accounting.check_budget(self.epsilon, self.delta)
        left = self.delta * (1 - FAILURE)
        (whole,) = accounting.calibrate([Release("all", "gaussian", 1.0)], self.epsilon * _MARGIN, left)
        object.__setattr__(self, "noise", whole.noise)

    def part(self, share: float) -> float:
        """The noise multiplier of a Gaussian mechanism that spends a share of the budget, in (0, 1]."""
        found = self.noise / math.sqrt(share)
        if found > noise.MAX_SIGMA:
            raise InputError(
                f"--dp.epsilon={self.epsilon:g}: no table is so large that noise of {found:,.0f} rows leaves anything"
            )
        return found


def threshold(sigma: float, delta: float, rows: int = 1) -> int:
    """The threshold T that what one unit alone has passes with a probability of at most `delta`.

    A unit of k rows alone may have k categories at most, and in each of them k rows: k P(k + Z >= T) <= delta for
    discrete Gaussian noise Z. P(Z >= m) is at most P(N(0, sigma^2) >= m - 1) (Canonne, Kamath & Steinke 2020,
    arXiv:2004.00010, proposition 25).

    Args:
      sigma: parameter of the noise.
      delta: the probability.
      rows: k.

    >>> threshold(10.0, 1e-6)
    50
    """
    return math.ceil(1 + rows + sigma * float(-special.ndtri(delta / rows)))


def within(release: Release, target: float, slack: float) -> float:
    """The least noise multiplier, to 0.2 %, by which a release tells less than a Gaussian mechanism.

    Formal guarantees. Let d(e) be the hockey-stick divergence of the release at e >= 0, of both orders of neighbours,
    and g(e) that of the Gaussian mechanism with noise multiplier `target`. The result has d(e) <= s + (1 - s) g(e) for
    all e, so that the release may be replaced in any composition by that mechanism and an event of probability s.

    Args:
      release: its noise is replaced.
      target: the noise multiplier of the Gaussian mechanism.
      slack: s.
    """
    top = 1.0
    while accounting.gaussian_delta(target, top) > slack:
        top *= 1.2
    grid = np.linspace(0, top, _GRID)
    meets, least = _lower_bound(target, np.exp(grid), np.array([accounting.gaussian_delta(target, e) for e in grid]))
    allowed = slack + (1 - slack) * least

    def fits(multiplier: float) -> bool:
        one = replace(release, noise=multiplier, delta=0.0)
        of = accounting.delta_of([one])
        if of(float(grid[-1])) > slack:
            return False
        # d is convex in exp(e): between two points of the grid it is at most what lies on the line between them.
        return bool((np.interp(meets, np.exp(grid), [of(float(e)) for e in grid]) <= allowed).all())

    # By the central limit theorem, see `accounting.signal`.
    guess = release.rows * math.log1p(target**-2 / (release.count * release.rate**2)) ** -0.5
    return accounting.least_noise(fits, guess, tolerance=_TOLERANCE, step=1.02, growth=1.5)


def _lower_bound(target: float, x: np.ndarray, delta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points below the hockey-stick divergence of a Gaussian mechanism, as a function of x = exp(epsilon).

    The divergence is convex in x, with slope -P(loss of the other data set > epsilon), so that its tangents lie below.

    Returns:
      The points of the grid and those where neighbouring tangents meet, increasing; and the tangents there.
    """
    slope = -special.ndtr(-np.log(x) * target - 1 / (2 * target))
    start = delta - slope * x
    meet = np.clip((start[1:] - start[:-1]) / np.minimum(slope[:-1] - slope[1:], -1e-300), x[:-1], x[1:])
    points = np.concatenate([x, meet])
    values = np.concatenate([delta, np.maximum(start[:-1] + slope[:-1] * meet, start[1:] + slope[1:] * meet)])
    order = np.argsort(points, kind="stable")
    return points[order], values[order]
