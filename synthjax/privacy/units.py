"""Units of several rows, k at most: what a mechanism that is private for a row costs for all rows of a person.

- Without sampling, k rows change what is released by at most k times the sensitivity to one, in L2 norm.
- In a Poisson sample of rows there are j of them with the probability of a binomial distribution, and the sum of
  clipped gradients changes by at most j. That is a mixture of Gaussians, at most as private as one whose gradients have
  the same direction (Ganesh 2024, arXiv:2401.10294).
- k rows change integers with discrete Gaussian noise of parameter sigma by integers, of norm k at most; the same holds
  for one row that changes them by integers of norm k, where k need not be a whole number. The noise is accounted for as
  a Gaussian with variance sigma^2 - r^2, r = `ROUNDED`, and a distance in total variation of `DISTANCE` for each
  integer that changes. For let y be drawn from that Gaussian, and z from the integers with probabilities in proportion
  to exp(-(z - y)^2 / 2 r^2). The sum of these over z is the same for all y up to a factor of 1 +- 1.1e-19 (Poisson
  summation). If it were the same, z would have the discrete Gaussian law (after Peikert 2010,
  doi:10.1007/978-3-642-14623-7_5, theorem 3.1).

    >>> sigma = discrete_noise(10.0, rows=3)
    >>> round(sigma, 2), round(variance(sigma, rows=3), 6)
    (30.04, 100.0)
"""

import math

import numpy as np
from scipy import stats

ROUNDED = 1.5
"""r of the module's docstring."""
DISTANCE = 2.2e-19
"""In total variation, for each integer that a unit changes."""


def discrete_noise(noise: float, rows: float) -> float:
    """The parameter of discrete Gaussian noise by which units are as safe as by Gaussian noise.

    Args:
      noise: standard deviation of the Gaussian noise over the sensitivity to a unit.
      rows: rows of a unit at most, or the norm of the change by it.
    """
    return noise if rows == 1 else math.hypot(rows * noise, ROUNDED)


def variance(sigma: float, rows: float) -> float:
    """Variance over squared sensitivity to a unit of the Gaussian noise that discrete noise is accounted for as.

    Args:
      sigma: parameter of the discrete Gaussian noise.
      rows: rows of a unit at most, or the norm of the change by it.
    """
    return max(sigma**2 - ROUNDED**2, 1e-12) / rows**2


def sampled(rows: int, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """How many rows of a unit are in a Poisson sample: 0 ... `rows`, and their probabilities; (rows + 1,) each."""
    drawn = np.arange(rows + 1)
    return drawn, stats.binom.pmf(drawn, rows, rate)
