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
from typing import Any

import numpy as np

from synthjax.evals.estimate import student

Halves = tuple[Any, Any]
"""What is trained on, and what it is validated on."""
Scores = Callable[[str, Any, Sequence[Any], int], list[float]]
"""(Classifier's name, training set, test sets, seed) to a score per test set."""


def evaluate(
    names: Sequence[str],
    scores: Scores,
    synthetic: Callable[[int], Halves],
    real: Callable[[int], Halves],
    test: Any,
    *,
    seeds: int,
    tick: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Ranks classifiers on synthetic and on real data.

    Args:
        names: of the classifiers, at least two.
        scores: see `Scores`; sets are whatever it takes.
        synthetic: a seed to the synthetic set in halves.
        real: a seed to the real training set in halves.
        test: the real test set.
        seeds: draws of the halves.
        tick: called after each classifier's training.

    Returns:
        Plain values: `classifiers`, name -> `validation` (synthetic), `deployed`, `real`, `real_validation`, each the
        mean over the seeds; `deployed`, `real`, `ceiling`, each with `spearman` and `kendall` (`estimate.student`, over
        the seeds), None where all classifiers have one score; `regret`, likewise, in points, and `chosen`, `best`,
        names by the means; `seeds`.
    """
    found = np.empty((seeds, len(names), 4))
    for number in range(seeds):
        (fit, validation), (real_fit, real_validation) = synthetic(number), real(number)
        for place, name in enumerate(names):
            found[number, place, :2] = scores(name, fit, [validation, test], number)
            tick()
            found[number, place, 2:] = scores(name, real_fit, [test, real_validation], number)
            tick()
    columns = ("validation", "deployed", "real", "real_validation")
    means = found.mean(0)
    picked = found[:, :, 0].argmax(1)
    regret = 100 * (found[:, :, 1].max(1) - found[np.arange(seeds), picked, 1])
    return {
        "classifiers": {
            name: dict(zip(columns, map(float, row), strict=True)) for name, row in zip(names, means, strict=True)
        },
        "deployed": _agreement(found[:, :, 0], found[:, :, 1]),
        "real": _agreement(found[:, :, 0], found[:, :, 2]),
        "ceiling": _agreement(found[:, :, 3], found[:, :, 2]),
        "regret": student(regret.tolist()),
        "chosen": names[int(means[:, 0].argmax())],
        "best": names[int(means[:, 1].argmax())],
        "seeds": seeds,
    }


def halves(seed: Sequence[int], draw: Callable[[np.random.Generator, int], np.ndarray], rows: int) -> Halves:
    """Two lots of `rows` rows each, from a draw of both: row numbers (rows,) each, in no order."""
    rng = np.random.default_rng(seed)
    both = rng.permutation(draw(rng, 2 * rows))
    return both[:rows], both[rows:]


def _agreement(a: np.ndarray, b: np.ndarray) -> Mapping[str, Any]:
    """Rank correlations of the rows of `a` with those of `b`, (seeds, classifiers) each."""
    from scipy import stats

    found: dict[str, Any] = {"spearman": None, "kendall": None}
    if any(np.ptp(row) == 0 for row in (*a, *b)):
        return found
    for name, correlation in (("spearman", stats.spearmanr), ("kendall", stats.kendalltau)):
        values = [float(correlation(x, y).statistic) for x, y in zip(a, b, strict=True)]
        found[name] = student(values, low=-1, high=1)
    return found
