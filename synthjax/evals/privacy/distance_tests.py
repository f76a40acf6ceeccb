"""Tests of whether synthetic rows lie nearer to training rows than to unseen ones, by the recipe of a published study.

(Mottini, Lheritier & Acuna-Agost, Airline passenger name record generation using generative adversarial networks,
2018.) The distances from every synthetic row to its nearest neighbour among n training rows and among n test rows are
compared by three tests, all of which ask whether the two sets of distances come from one distribution, and by Pearson's
r between them:

    mann_whitney     ranks of both sets together, as if independent
    wilcoxon         signed ranks of the differences, row by row
    kruskal_wallis   as Mann-Whitney, by the chi-square form

A p-value above .05 says that so many rows show no difference, not that there is none: it falls as n grows, and rows
that share a neighbour are not independent. `reference` is the same for real rows that are in neither set.

    found = distance_tests.evaluate(vectors, seed=0, limit=10_000)
    found["wilcoxon"]["p"], found["reference"]["wilcoxon"]["p"]
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from synthjax.evals.figure import Count, Share, figure, part, twin
from synthjax.evals.neighbours import nearest
from synthjax.evals.streams import stream
from synthjax.evals.subsample import sample


@dataclass(frozen=True, kw_only=True)
class Test:
    """Of two sets of distances."""

    statistic: float | None
    p: Share = figure("p", "Small: synthetic rows lie nearer to training or to test rows.", detail=True)


@dataclass(frozen=True, kw_only=True)
class DistanceTests:
    """Do rows lie as near to training as to test rows?"""

    mann_whitney: Test = part("Mann-Whitney")
    wilcoxon: Test = part("Wilcoxon")
    kruskal_wallis: Test = part("Kruskal-Wallis")
    pearson: dict[Literal["r", "p"], float] | None
    """Correlation of the two sets of distances."""
    n: Count
    median_train: float
    median_test: float


@dataclass(frozen=True, kw_only=True)
class StudyTests(DistanceTests):
    """Of synthetic rows, and under `reference` of real rows in neither set."""

    reference: DistanceTests = twin()


def evaluate(vectors: Mapping[str, np.ndarray], *, seed: int, limit: int) -> dict[str, Any]:
    """The tests of synthetic rows, and under `reference` of unseen ones in their place; see `compare_distances`.

    `vectors`: "synthetic", "train", "unseen" and "reference", the test sample, each (N, F), of which at most `limit`
    count.
    """
    rows, others = (
        compare_distances(*distances(vectors[name], vectors["train"], vectors["reference"], seed=seed, limit=limit))
        for name in ("synthetic", "unseen")
    )
    return {**rows, "reference": others}


def distances(
    rows: np.ndarray, train: np.ndarray, test: np.ndarray, *, seed: int = 0, limit: int = 10_000
) -> tuple[np.ndarray, np.ndarray]:
    """Distances from vectors (N, F) to their nearest training and test vector, each (n,) f64 >= 0, in the same order.

    As many are drawn of each of the three sets: all that the smallest has, at most `limit`.
    """
    rng = stream(seed, "privacy.distance_tests")
    n = min(len(rows), len(train), len(test), limit)
    queries, known, unseen = (part[sample(rng, len(part), n)] for part in (rows, train, test))
    return nearest(queries, known)[0][:, 0], nearest(queries, unseen)[0][:, 0]


def compare_distances(to_train: np.ndarray, to_test: np.ndarray) -> dict[str, Any]:
    """The study's tests of two sets of distances (n,), whose entries belong together, with the keys of `DistanceTests`.

    `pearson` is None where one of the sets is constant or n < 3. Sets without any difference have p = 1.
    """
    from scipy import stats

    same = bool((to_train == to_test).all())
    constant = len(to_train) < 3 or np.ptp(to_train) == 0 or np.ptp(to_test) == 0
    tests = {
        "mann_whitney": lambda: stats.mannwhitneyu(to_train, to_test),
        "wilcoxon": lambda: stats.wilcoxon(to_train, to_test),
        "kruskal_wallis": lambda: stats.kruskal(to_train, to_test),
    }
    found: dict[str, Any] = {}
    for name, test in tests.items():
        found[name] = {"statistic": None, "p": 1.0}
        if not same:
            statistic, p = test()
            found[name] = {"statistic": float(statistic), "p": float(p)}
    found["pearson"] = None
    if not constant:
        r, p = stats.pearsonr(to_train, to_test)
        found["pearson"] = {"r": float(r), "p": float(p)}
    medians = {"median_train": float(np.median(to_train)), "median_test": float(np.median(to_test))}
    return {**found, "n": len(to_train), **medians}
