"""Utility: how well does a classifier do on real data that has seen nothing but synthetic data?

    tstr    train on synthetic, test on real: the figure
    trtr    train on real, test on real: its ceiling, with as many real examples as there are synthetic ones
    floor   train on what any generator must beat (mean images with noise, or independent columns), test on real
    trts    train on real, test on synthetic: do the synthetic examples carry the labels that they claim?

TSTR and TRTS come from Esteban, Hyland and Rätsch, Real-valued (medical) time series generation with recurrent
conditional GANs (2017). Which classifiers learn is the domain's (`synthjax.evals.domains`), from several seeds. Nothing
about them is chosen on the data that judges: the real test set is used once, for the figure.

    sets = Sets(Images(data.spec), synthetic, data.train, data.test)
    found = utility.evaluate(sets, seeds=5)
    print(found["cnn"]["tstr"]["mean"], found["cnn"]["trtr"]["mean"])
"""

from typing import Any

import numpy as np

from synthjax.evals import bootstrap
from synthjax.evals.domains import Domain, Progress, Rows, Trained
from synthjax.evals.sets import Sets
from synthjax.evals.streams import stream


def evaluate(sets: Sets, *, seeds: int = 5, seed: int = 0, progress: Progress = lambda share: None) -> dict[str, Any]:
    """Scores a synthetic data set, with ceiling and floor.

    Args:
        sets: `synthetic`, which is judged; `train`, real examples that the generator may have seen, from which the
            ceiling and the floor come; `test`, real examples that nothing has seen.
        seeds: classifiers of each kind per training set.
        seed: of everything random here.
        progress: see `domains.Progress`.

    Returns:
        Plain values with the keys of `report.images.ImageUtility` or `report.tables.TableUtility`.

    Raises:
        InputError: there is no target, or a set cannot be scored.
    """
    sets = sets.labelled
    domain, test = sets.domain, sets.test
    trained = domain.train(sets.synthetic, sets.train, test, seeds, seed, progress)
    return {
        **trained.parts,
        "loss": _loss(domain, test, trained, seed),
        "calibration": _calibration(domain, test, trained),
        "n": {**trained.sizes, "missing_classes": _missing(sets)},
        "protocol": domain.described(seeds, seed),
    }


def _loss(domain: Domain, test: Rows, trained: Trained, seed: int) -> dict[str, Any] | None:
    sides = [[domain.weighted_score(test, answer) for answer in trained.answers[name]] for name in ("tstr", "trtr")]
    ours, real = ([score for score in side if score is not None] for side in sides)
    return (
        {**bootstrap.loss(stream(seed, "utility.loss"), ours, real, domain.size(test)), **domain.lost} if ours else None
    )


def _calibration(domain: Domain, test: Rows, trained: Trained) -> dict[str, float] | None:
    def error(answer: np.ndarray) -> float:
        return bootstrap.calibration_error(domain.chances(answer), domain.labels(test))

    if not domain.classes:
        return None
    return {name: float(np.mean([*map(error, trained.answers[name])])) for name in ("tstr", "trtr")}


def _missing(sets: Sets) -> list[str]:
    names = sets.domain.classes
    if not names:
        return []
    real, made = (np.unique(sets.domain.labels(rows)) for rows in (sets.train, sets.synthetic))
    return [names[label] for label in np.setdiff1d(real, made).tolist()]
