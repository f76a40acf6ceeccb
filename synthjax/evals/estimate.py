"""Means and shares with their 95 % intervals: one home for Student's t and Wilson's score interval.

estimate.student([0.91, 0.93, 0.92])      # {"mean", "std", "values", "ci"}, over the seeds of a training
estimate.accuracy([0.97], examples=359)   # the same of accuracies; of one value by Wilson's, over the test examples
estimate.wilson(0.97, 359)                # [low, high]
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import special

LEVEL = 0.95
"""Confidence of every interval."""


def student(values: Sequence[float], *, low: float = -math.inf, high: float = math.inf) -> dict[str, Any]:
    """A mean with Student's interval, which shows how much a training's randomness moves it.

    Of at least one value, such as a score per seed: `mean`, `std` (ddof 1; 0 for one value), `values`, and `ci`, [low,
    high], None for one value; it ends at `low` and `high`, the least and the greatest that such a value can be.
    """
    numbers = np.array(values, np.float64)
    n, mean = len(numbers), float(numbers.mean())
    if n == 1:
        return {"mean": mean, "std": 0.0, "values": numbers.tolist(), "ci": None}
    std = float(numbers.std(ddof=1))
    half = float(special.stdtrit(n - 1, (1 + LEVEL) / 2)) * std / n**0.5
    return {"mean": mean, "std": std, "values": numbers.tolist(), "ci": [max(mean - half, low), min(mean + half, high)]}


def accuracy(values: Sequence[float], examples: int) -> dict[str, Any]:
    """What `student` returns, of accuracies over so many test examples each, and `n`, the number of values.

    The interval is within [0, 1]; one value, of a classifier without randomness, has Wilson's over the test examples.
    """
    found = student(values, low=0.0, high=1.0)
    return {**found, "n": len(values), "ci": found["ci"] or wilson(found["mean"], examples)}


def wilson(share: float, n: float, level: float = LEVEL) -> list[float]:
    """Wilson's interval [low, high] of a share observed over n (possibly effective, so fractional) trials."""
    z = special.ndtri((1 + level) / 2)
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return [float(max(middle - half, 0.0)), float(min(middle + half, 1.0))]
