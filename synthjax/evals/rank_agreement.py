"""Does the classifier that is best on synthetic data stay the best on real data?

Several classifiers are trained on one half of the synthetic set and validated on the other, as someone would who has
nothing else; then all are tested on real data. With v the scores on synthetic validation data,

    deployed   scores on real test data of the same classifiers: can they be ranked without real data?
    real       scores on real test data of classifiers trained on real data: would real data have ranked them so?

(the second is the synthetic ranking agreement of Jordon, Yoon & van der Schaar, Measuring the quality of synthetic data
for use in competitions, 2018). Agreement is Spearman's and Kendall's rank correlation (tau b) of v with each, over the
classifiers, and its ceiling is that of real validation data with real test data. Rank correlations of a handful of
classifiers are coarse, and classifiers that are equally good have no order to keep: so `regret` says what the choice
costs, the best classifier's real score less that of the one chosen.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from synthjax.evals.domains import Rows
from synthjax.evals.estimate import student
from synthjax.evals.figure import Count, Estimate, figure
from synthjax.evals.sets import Sets
from synthjax.evals.streams import stream

RankCorrelation = Literal["spearman", "kendall"]


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Does the best classifier on synthetic data stay the best on real data?"""

    classifiers: dict[str, dict[Literal["validation", "deployed", "real", "real_validation"], float]]
    """Mean scores."""
    deployed: dict[RankCorrelation, Estimate | None]
    """Rank correlations; None where all classifiers score alike."""
    real: dict[RankCorrelation, Estimate | None]
    ceiling: dict[RankCorrelation, Estimate | None]
    regret: Estimate = figure(
        "points lost by choosing on synthetic data",
        "Real score of the best classifier less that of the one that looks best on synthetic data, times 100.",
        "low",
        bounds=(0, None),
        detail=True,
    )
    chosen: str
    best: str
    seeds: Count


def evaluate(
    sets: Sets, rows: int, *, seeds: int, seed: int = 0, tick: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """Ranks the classifiers of a domain (`Domain.ranked`, `Domain.rank`) on synthetic and on real data.

    `sets` are `Sets.labelled`; each half has at most so many `rows`; `seeds` are draws of the halves; `tick` is called
    after each classifier's training. Returns plain values with the keys of `Ranking`.
    """
    domain, names = sets.domain, sets.domain.ranked
    rows = min(rows, domain.size(sets.synthetic) // 2, domain.size(sets.train) // 2)
    few = domain.draw(stream(seed, "ranks.test"), sets.test, domain.ranked_on or 2 * rows)
    test = domain.take(sets.test, few)
    scores = np.empty((seeds, len(names), 4))
    for number in range(seeds):
        fit, validation = _halves(sets, sets.synthetic, rows, stream(seed, "ranks.synthetic", number))
        real_fit, real_validation = _halves(sets, sets.train, rows, stream(seed, "ranks.real", number))
        for place, name in enumerate(names):
            scores[number, place, :2] = domain.rank(name, fit, [validation, test], number)
            tick()
            scores[number, place, 2:] = domain.rank(name, real_fit, [test, real_validation], number)
            tick()
    return agreement(names, scores)


def agreement(names: Sequence[str], scores: np.ndarray) -> dict[str, Any]:
    """What `evaluate` returns, from scores (seeds, classifiers, 4) in the order of the keys of `classifiers`."""
    columns = ("validation", "deployed", "real", "real_validation")
    seeds, means = len(scores), scores.mean(0)
    picked = scores[:, :, 0].argmax(1)
    regret = 100 * (scores[:, :, 1].max(1) - scores[np.arange(seeds), picked, 1])
    return {
        "classifiers": {
            name: dict(zip(columns, map(float, row), strict=True)) for name, row in zip(names, means, strict=True)
        },
        "deployed": _correlations(scores[:, :, 0], scores[:, :, 1]),
        "real": _correlations(scores[:, :, 0], scores[:, :, 2]),
        "ceiling": _correlations(scores[:, :, 3], scores[:, :, 2]),
        "regret": student(regret.tolist()),
        "chosen": names[int(means[:, 0].argmax())],
        "best": names[int(means[:, 1].argmax())],
        "seeds": seeds,
    }


def _halves(sets: Sets, part: Rows, rows: int, rng: np.random.Generator) -> tuple[Rows, Rows]:
    """Two lots of `rows` examples each, none in both."""
    both = rng.permutation(sets.domain.draw(rng, part, 2 * rows))
    return sets.domain.take(part, both[:rows]), sets.domain.take(part, both[rows:])


def _correlations(a: np.ndarray, b: np.ndarray) -> Mapping[str, Any]:
    """Rank correlations of the rows of `a` with those of `b`, (seeds, classifiers) each."""
    from scipy import stats

    found: dict[str, Any] = {"spearman": None, "kendall": None}
    if any(np.ptp(row) == 0 for row in (*a, *b)):
        return found
    for name, correlation in (("spearman", stats.spearmanr), ("kendall", stats.kendalltau)):
        values = [float(correlation(x, y).statistic) for x, y in zip(a, b, strict=True)]
        found[name] = student(values, low=-1, high=1)
    return found
