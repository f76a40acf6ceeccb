"""How much synthetic data is worth how much real data: learning curves, and real data topped up with synthetic data.

    curve    the score of a classifier by the number of synthetic examples it was trained on, beside that of as many
             real ones: does more synthetic data go on helping, and where does it stop?
    mixing   few real examples alone, and with 1/2, 1, 2 and 4 times as many synthetic ones: is the set worth having
             beside real data?

Each is a function of `score(real rows, synthetic rows) -> a score per seed` on real test data. Rows are drawn by class
in their shares; smaller draws are parts of larger ones' classes, not of their rows. Nothing is chosen on the data that
judges.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from synthjax.evals.estimate import student
from synthjax.evals.figure import Count, Estimate

MIX = (0.0, 0.5, 1.0, 2.0, 4.0)
"""Synthetic examples per real one."""
FIRST = 100
"""Examples at the start of a curve."""
STEP = 3
"""Factor from one size of a curve to the next."""

Score = Callable[[np.ndarray, np.ndarray], list[float]]
"""(Rows of the real training set, rows of the synthetic set), either empty, to a test score per seed."""
Draw = Callable[[int], np.ndarray]
"""A number to so many rows, or to all where there are fewer."""


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """Scores of classifiers trained on `n` examples."""

    n: Count
    synthetic: Estimate
    real: Estimate


@dataclass(frozen=True, kw_only=True)
class MixPoint:
    """Score of classifiers trained on few real examples and `factor` times as many synthetic ones."""

    factor: float
    n_real: Count
    n_synthetic: Count
    score: Estimate


def sizes(most: int) -> list[int]:
    """Sizes of a curve up to `most`, `STEP` times as large each time: 100, 300, 900, ..., most."""
    found = []
    size = FIRST
    while size * STEP**0.5 < most:
        found.append(size)
        size *= STEP
    return [*found, most]


def curve(score: Score, real: Draw, synthetic: Draw, most: int) -> list[dict[str, Any]]:
    """Scores by size of the training set up to `most`, as a list with the keys of `CurvePoint`."""
    none = np.empty(0, np.int64)
    found = []
    for size in sizes(most):
        ours = student(score(none, synthetic(size)), high=1)
        theirs = student(score(real(size), none), high=1)
        found.append({"n": size, "synthetic": ours, "real": theirs})
    return found


def mixing(score: Score, real: Draw, synthetic: Draw, n: int, available: int) -> list[dict[str, Any]]:
    """Scores of `n` real examples topped up with synthetic ones, as a list with the keys of `MixPoint`.

    The first has no synthetic examples; factors that need more than there are (`available`) are left out.
    """
    rows, found = real(n), []
    for factor in MIX:
        count = round(factor * n)
        if count > available:
            break
        added = synthetic(count) if count else np.empty(0, np.int64)
        found.append(
            {"factor": factor, "n_real": n, "n_synthetic": count, "score": student(score(rows, added), high=1)}
        )
    return found


def trainings(most: int, n: int, available: int) -> int:
    """How many trainings `curve` and `mixing` take."""
    return 2 * len(sizes(most)) + sum(round(factor * n) <= available for factor in MIX)


def counter(progress: Callable[[float], None], whole: int) -> Callable[[], None]:
    """What is called after each of `whole` trainings; `progress` is told the share of them that are done."""
    done = itertools.count(1)
    return lambda: progress(next(done) / whole)
