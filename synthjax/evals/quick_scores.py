"""Scores in seconds, for choosing among models and their states: one seed, few examples, no ceiling and no floor.

They look at the holdout, never at test rows. The highest of many such noisy scores is flattered: what is chosen by them
is judged by `launch.eval`.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import jax
import numpy as np

from synthjax.evals import classifiers
from synthjax.model import DataSpec

if TYPE_CHECKING:
    import pandas as pd

    from synthjax.evals.table import Table

LIMIT = 50_000
"""Rows of each table that the two-sample test looks at, at most."""
ROW_SCORES = ("c2st", "tstr")


def of_images(
    key: jax.Array,
    synthetic: tuple[np.ndarray, np.ndarray],
    real: tuple[np.ndarray, np.ndarray],
    spec: DataSpec,
    *,
    epochs: int,
) -> float:
    """Accuracy in [0, 1], on real images, of the standard CNN that was trained on synthetic ones for so many epochs.

    Both are x (N, H, W, C) in 0 ... spec.levels - 1 and y (N,). InputError as `classifiers.train`.
    """
    nets = classifiers.train(key, *synthetic, spec, seeds=1, epochs=epochs)
    x, y = real
    return float((classifiers.predict(nets, x)[0].argmax(-1) == y).mean())


def of_rows(
    real: "pd.DataFrame",
    synthetic: "pd.DataFrame",
    kinds: Mapping[str, str],
    target: str | None,
    *,
    names: Sequence[str] = ROW_SCORES,
    seed: int = 0,
    limit: int = LIMIT,
) -> dict[str, float]:
    """Likeness and usefulness of synthetic rows, by gradient boosting of histograms.

    `real` and `synthetic` are typed rows of the same columns, as of `Dataset.frame`; `kinds`,
    `Schema.comparable_kinds()`; `target`, the column to predict, None: there is none, and no tstr; `names`, which of
    `ROW_SCORES`; `seed`, of the subsample (at most `limit` rows of each), the folds and the trees.

    `c2st` is how far synthetic rows pass for real ones, the target among the columns: 1 where they cannot be told
    apart, 0 where they always can, or there are fewer rows than folds. `tstr` is how well boosting that was trained on
    synthetic rows predicts the target of real ones: ROC AUC, or R2 of a quantity; that of guessing where there are too
    few rows with a target.
    """
    from synthjax.evals.fidelity.tables import c2st
    from synthjax.evals.table import from_frames

    tables = from_frames({"real": real, "synthetic": synthetic}, kinds, target)
    found = {}
    if "c2st" in names:
        told = c2st(tables["real"], tables["synthetic"], seed=seed, limit=limit)
        found["c2st"] = told["score"] or 0.0
    if "tstr" in names and target is not None:
        found["tstr"] = _tstr(tables["real"], tables["synthetic"], seed)
    return found


def _tstr(real: "Table", synthetic: "Table", seed: int) -> float:
    from synthjax.evals.domains.tables import SMALLEST, Tables, useful

    rows, made = real.with_target(), synthetic.with_target()
    return useful(made, rows, seed) if min(len(rows), len(made)) >= SMALLEST else Tables(real.schema).guessing
