"""Two scores on the same real test examples, one of them that of synthetic data: how much is lost, and how sure is it?

The paired bootstrap draws test examples anew, the same for both sides, so that hard examples weigh on both alike; and
beside them the seeds of each side, since another training would have scored otherwise. A bootstrap of S seeds has
(S - 1) / S of their variance; deviations from their mean are stretched by sqrt(S / (S - 1)) to make up for it.
(Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapters 8 and 12; paired over test sets: Koehn,
Statistical significance tests for machine translation evaluation, 2004.)

A score is given by weights on the test examples, `score(weights (R, N)) -> (R,)`; the bootstrap's weights are counts.

    lost = bootstrap.loss(stream(seed, "utility.loss"), tstr_scores, trtr_scores, n=len(test.y))
    print(lost["points"], lost["ci"])
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from synthjax.evals.figure import Count, Interval, Share, figure

RESAMPLES = 1_000
_BLOCK = 4_000_000  # weights held at once

Score = Callable[[np.ndarray], np.ndarray]
"""Weights (R, N) >= 0 of the test examples to scores (R,)."""


@dataclass(frozen=True, kw_only=True)
class Loss:
    """What a classifier loses that was trained on synthetic instead of real data (`synthjax.evals.bootstrap`)."""

    points: float = figure(
        "points lost",
        "Score of a classifier trained on real data less that of one trained on synthetic data, times 100.",
        "low",
        bounds=(None, None),
        reference=0.0,
        interval="ci",
    )
    ci: Interval
    ours: float
    real: float
    n: Count
    """Test examples."""
    seeds: Count
    resamples: Count
    who: str
    """The classifier, as it begins a sentence."""
    measure: str
    """The score, in words."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Expected calibration error: how far a classifier's confidence is from how often it is right."""

    tstr: Share = figure(
        "calibration error",
        "Mean distance of confidence and accuracy of the classifier trained on synthetic data.",
        "low",
        reference="trtr",
    )
    trtr: Share = figure(
        "calibration error of real data", "The same, trained on real data: the ceiling.", "low", detail=True
    )


def loss(
    rng: np.random.Generator, ours: Sequence[Score], real: Sequence[Score], n: int, *, resamples: int = RESAMPLES
) -> dict[str, Any]:
    """What classifiers lose that were trained on synthetic (`ours`) instead of `real` data, a score per seed each.

    `n` are the test examples, the same on both sides; seeds of one side have nothing to do with those of the other.
    Returns plain values with the keys of `Loss` but `who` and `measure`: `ci` by percentiles, `ours` and `real` the
    means, `seeds` of the side that has fewer.
    """
    means = _means((ours, real), n)
    drawn = _drawn(rng, (ours, real), n, resamples)
    low, high = np.nanquantile(100 * (drawn[1] - drawn[0]), [0.025, 0.975])
    return {
        "points": 100 * (means[1] - means[0]),
        "ci": [float(low), float(high)],
        "ours": means[0],
        "real": means[1],
        "n": n,
        "seeds": min(len(ours), len(real)),
        "resamples": resamples,
    }


def ratio(
    rng: np.random.Generator, ours: Sequence[Score], real: Sequence[Score], n: int, *, resamples: int = RESAMPLES
) -> dict[str, Any]:
    """The score of classifiers trained on synthetic data (`ours`) over that of those trained on `real` data.

    Args and resamples as of `loss`. Returns plain values: `ratio`, of the means `ours` and `real`; `ci`, `ours_ci`
    and `real_ci`, their intervals [low, high] by percentiles.

        right = np.arange(100) < 80  # of 100 test examples
        found = ratio(stream(0, "example"), [share(right)], [share(right)], n=100)
        found["ratio"], found["ci"]  # (1.0, [1.0, 1.0])
    """
    means = _means((ours, real), n)
    drawn = _drawn(rng, (ours, real), n, resamples)
    sides = {"ours_ci": drawn[0], "real_ci": drawn[1], "ci": drawn[0] / drawn[1]}
    intervals = {name: np.nanquantile(values, [0.025, 0.975]).tolist() for name, values in sides.items()}
    return {"ratio": means[0] / means[1], "ours": means[0], "real": means[1], **intervals}


def _means(sides: Sequence[Sequence[Score]], n: int) -> list[float]:
    """Of each side's scores on all n examples."""
    whole = np.ones((1, n))
    return [float(np.mean([score(whole)[0] for score in side])) for side in sides]


def _drawn(rng: np.random.Generator, sides: Sequence[Sequence[Score]], n: int, resamples: int) -> np.ndarray:
    """Scores (sides, resamples) of examples and seeds drawn anew; the examples are the same for all sides."""
    drawn = []
    for start in range(0, resamples, block := max(1, _BLOCK // n)):
        rows = min(block, resamples - start)
        weights = rng.multinomial(n, np.full(n, 1 / n), size=rows).astype(np.float64)
        drawn.append([_over_seeds(rng, np.stack([score(weights) for score in side])) for side in sides])
    return np.concatenate(drawn, axis=1)


def _over_seeds(rng: np.random.Generator, scores: np.ndarray) -> np.ndarray:
    """Means (R,) over seeds drawn anew, from scores (S, R), their deviations stretched (see module)."""
    count, resamples = scores.shape
    middle = scores.mean(0)
    if count == 1:
        return middle
    picks = rng.integers(0, count, (count, resamples))
    deviation = np.take_along_axis(scores - middle, picks, 0).mean(0)
    return middle + deviation * np.sqrt(count / (count - 1))


def share(values: np.ndarray) -> Score:
    """The weighted mean of values (N,), such as 1 where an answer is right: accuracy."""
    values = np.asarray(values, np.float64)
    return lambda weights: weights @ values / weights.sum(1)


def balanced(y: np.ndarray, answers: np.ndarray) -> Score:
    """Balanced accuracy of answers (N,) for classes y (N,): the mean recall of the classes that a resample holds."""
    recalls = [(y == label, ((y == label) & (answers == label)).astype(np.float64)) for label in np.unique(y)]

    def score(weights: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            shares = [weights @ right / (weights @ there.astype(np.float64)) for there, right in recalls]
        return np.nanmean(shares, axis=0)

    return score


def area(wanted: np.ndarray, guess: np.ndarray) -> Score:
    """The ROC AUC of guesses (N,) for examples of which those in `wanted` (N,) bool are looked for; ties count half.

    NaN where a resample holds only one of the two kinds.
    """
    order = np.argsort(guess, kind="stable")
    there = wanted[order].astype(np.float64)
    starts = np.flatnonzero(np.diff(guess[order], prepend=np.nan) != 0)

    def score(weights: np.ndarray) -> np.ndarray:
        placed = weights[:, order]
        positive, negative = (np.add.reduceat(placed * part, starts, axis=1) for part in (there, 1 - there))
        below = np.cumsum(negative, 1) - negative / 2
        with np.errstate(invalid="ignore", divide="ignore"):
            return (positive * below).sum(1) / (positive.sum(1) * negative.sum(1))

    return score


def explained(values: np.ndarray, guess: np.ndarray) -> Score:
    """R² of guesses (N,) for values (N,)."""
    values = np.asarray(values, np.float64)
    error, square = (values - guess) ** 2, values**2

    def score(weights: np.ndarray) -> np.ndarray:
        total = weights.sum(1)
        spread = weights @ square - (weights @ values) ** 2 / total
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(spread > 0, 1 - weights @ error / spread, np.nan)

    return score


def mean(scores: Sequence[Score]) -> Score:
    """The mean of several scores, such as the areas of each class against the rest."""
    return lambda weights: np.mean([score(weights) for score in scores], axis=0)


# --- calibration ---------------------------------------------------------------------------------------------------

BINS = 15
"""Of the calibration error, as Guo et al. use."""


def calibration_error(chance: np.ndarray, y: np.ndarray, *, bins: int = BINS) -> float:
    """Expected calibration error in [0, 1]: mean |share right - mean confidence| over bins of confidence.

    Each of the equally wide bins weighs as many examples as it holds (Guo et al., On calibration of modern neural
    networks, 2017, eq. 3). `chance` (N, K) is a classifier's probability of each class, `y` (N,) the classes.
    """
    sure, right = chance.max(1), chance.argmax(1) == y
    place = np.clip(np.ceil(sure * bins).astype(int) - 1, 0, bins - 1)
    apart = [np.bincount(place, part, minlength=bins) for part in (right, sure)]
    return float(np.abs(apart[0] - apart[1]).sum() / len(y))
