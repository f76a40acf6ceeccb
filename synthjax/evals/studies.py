"""Beyond the headline: learning curves, mixing with real data, rare classes, ranks of classifiers.

The curves, the mixing and the filling up of rare classes use the headline classifier of the domain, the ranks several
quick ones.

    found = studies.evaluate(sets, studies.Sizes(real=500, most=1_000, filled=6_000, ranked=1_000), seeds=2)
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from msgspec import UNSET, UnsetType

from synthjax.evals import learning_curves, rank_agreement, top_up
from synthjax.evals.domains import Progress
from synthjax.evals.figure import Count
from synthjax.evals.learning_curves import CurvePoint, MixPoint
from synthjax.evals.rank_agreement import Ranking
from synthjax.evals.sets import Sets
from synthjax.evals.streams import stream
from synthjax.evals.top_up import TopUp

TESTED = 20_000
"""Real test examples that the classifiers are tested on at most."""


@dataclass(frozen=True, kw_only=True)
class Studies:
    """What synthetic data is worth by size, beside real data, for rare classes, and to choose a classifier."""

    curve: list[CurvePoint]
    mixing: list[MixPoint]
    top_up: TopUp
    ranking: Ranking
    measure: str | UnsetType = UNSET
    """Of tables: what is scored."""
    seeds: Count
    steps: Count | UnsetType = UNSET
    """Of images: of each CNN."""


@dataclass(frozen=True)
class Sizes:
    """How much is done; all are upper bounds."""

    real: int
    """Real examples that are topped up with synthetic ones."""
    most: int
    """Examples at the end of the learning curve."""
    filled: int
    """Examples of the set whose rare classes are filled up, with those that fill it."""
    ranked: int
    """Examples that the ranked classifiers are trained on."""


def evaluate(
    sets: Sets, sizes: Sizes, *, seeds: int, seed: int = 0, progress: Progress = lambda share: None
) -> dict[str, Any]:
    """Learning curves, mixing, rare classes and ranks: plain values with the keys of `Studies`.

    `seeds` are classifiers per training set, and draws of the ranks' halves; `seed` is that of everything random here;
    `progress` is called with the share of the trainings that are done.
    """
    sets, domain = sets.labelled, sets.domain
    synthetic, train = sets.synthetic, sets.train
    n, made = domain.size(train), domain.size(synthetic)
    real, most, fills = min(sizes.real, n), min(sizes.most, n, made), filled(sets, sizes.filled)
    trainings = learning_curves.trainings(most, real, made) + top_up.TRAININGS * bool(fills)
    tick = learning_curves.counter(progress, trainings + 2 * seeds * len(domain.ranked))
    rng = stream(seed, "studies.rows")
    test = domain.take(sets.test, domain.draw(rng, sets.test, TESTED))
    largest = max(most, round(real * (1 + max(learning_curves.MIX))))

    def answers(real: np.ndarray, made: np.ndarray, fills: int = 0) -> Any:
        rows = domain.concat(domain.take(train, real), domain.take(synthetic, made))
        found = domain.answers(rows, test, seeds=seeds, seed=seed, **domain.study(largest, fills))
        tick()
        return found

    def score(real: np.ndarray, made: np.ndarray) -> list[float]:
        return [domain.score(test, answer) for answer in answers(real, made)]

    def classes(real: np.ndarray, made: np.ndarray) -> np.ndarray:
        return np.stack(answers(real, made, fills)).argmax(-1)

    labels = top_up.Labels(domain.labels(train), domain.labels(synthetic), domain.labels(test), domain.classes)
    rare = top_up.skipped("the target is a number")
    if domain.classes:
        rare = top_up.evaluate(classes, labels, limit=sizes.filled, seed=seed)
    draw_real, draw_made = (lambda size, rows=rows: domain.draw(rng, rows, size) for rows in (train, synthetic))
    return {
        "curve": learning_curves.curve(score, draw_real, draw_made, most),
        "mixing": learning_curves.mixing(score, draw_real, draw_made, real, made),
        "top_up": {**rare, "said": top_up.sentence(rare, domain.classifier, domain.unit)},
        "ranking": rank_agreement.evaluate(sets, sizes.ranked, seeds=seeds, seed=seed, tick=tick),
        "seeds": seeds,
        **domain.studied,
    }


def filled(sets: Sets, limit: int) -> int:
    """Examples of the training set with its rare classes filled up, at most `limit`; 0: there is nothing to fill."""
    return top_up.size(sets.domain.labels(sets.train), limit) if sets.domain.classes else 0
