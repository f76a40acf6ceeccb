"""Scores in seconds, for choosing among models and their states: one seed, few examples, no ceiling and no floor.

They look at the holdout, never at test rows. The highest of many such noisy scores is flattered: what is chosen by them
is judged by `launch.eval`.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

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
NEAREST = 8
"""Rows at equal distances of which it takes all to be the nearest, at most."""
FOLDS = 5
"""Of `likeness`."""
TREES = {"max_iter": 60, "min_samples_leaf": 10}
"""Of its boosting: small leaves, since held-out rows are few."""
BINS = 8
"""Of a number in a pair of columns, as many held-out rows in each."""
PAIRED_COLUMNS = 100
"""Columns whose pairs are compared, at most."""
COPIES = 0.1
"""Share of copied rows from which a model is said to copy, if it is above this by two standard errors."""


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
    nets = classifiers.train(key, synthetic, spec, protocol=classifiers.STANDARD.with_epochs(epochs), seeds=1)
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


class Likeness(NamedTuple):
    """How like synthetic rows are to a few held-out ones."""

    auc: float
    """ROC AUC of boosting that tells them apart; 0.5 where it cannot."""
    error: float
    """Standard error of an AUC of 0.5 of so many rows."""
    pairs: float
    """Mean total variation distance of pairs of columns, numbers in bins: 0 where they are alike, at most 1."""


def likeness(
    held_out: "pd.DataFrame", synthetic: "pd.DataFrame", kinds: Mapping[str, str], *, seed: int = 0
) -> Likeness:
    """Compares synthetic rows, as many as there are, with held-out ones, which are scarce.

    All synthetic rows are used, weighted so that both kinds count alike: with as few of them as of the held-out ones,
    boosting can hardly learn what tells them apart. Figures of several generators are comparable if the held-out rows
    and the number of synthetic ones are the same.

    Args:
        held_out: typed rows, as of `Dataset.frame`; at least as many as folds, 5.
        synthetic: of the same columns, at least as many.
        kinds: `Schema.comparable_kinds()`.
        seed: of the folds, the trees, and the columns where there are more than `PAIRED_COLUMNS`.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    from synthjax.evals import encoders
    from synthjax.evals.streams import stream
    from synthjax.evals.table import Table, from_frames
    from synthjax.evals.threads import single_thread

    n = len(held_out)
    tables = from_frames({"real": held_out, "synthetic": synthetic}, kinds)
    parts = [np.concatenate([getattr(table, part) for table in tables.values()]) for part in ("numbers", "codes")]
    rows = Table(tables["real"].schema, *parts)
    encode, categorical = encoders.ordinal(rows, without_target=False)
    x, y = encode(rows), np.arange(len(rows)) >= n
    trees = HistGradientBoostingClassifier(
        categorical_features=categorical, class_weight="balanced", random_state=seed % 2**32, **TREES
    )
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed % 2**32)
    with single_thread("openmp"):
        guess = cross_val_predict(trees, x, y, cv=folds, method="predict_proba")[:, 1]
    error = ((1 / n + 1 / len(synthetic)) / 12) ** 0.5
    chosen = stream(seed, "quick_scores.columns").permutation(x.shape[1])[:PAIRED_COLUMNS]
    codes = [_binned(x[:, place], n, bool(categorical[place])) for place in chosen]
    distances = [_distance(a, b, n) for a, b in itertools.combinations(codes, 2)]
    return Likeness(float(roc_auc_score(y, guess)), error, float(np.mean(distances)) if distances else 0.0)


def _binned(column: np.ndarray, n: int, category: bool) -> np.ndarray:
    """A column as codes from 0; of numbers, of bins with as many of the first n rows in each, NaN in its own."""
    if not category:
        known = column[:n][~np.isnan(column[:n])]
        edges = np.unique(np.quantile(known, np.arange(1, BINS) / BINS)) if len(known) else np.zeros(0)
        column = np.where(np.isnan(column), np.nan, np.searchsorted(edges, column, side="right"))
    return np.where(np.isnan(column), 0, column + 1).astype(np.int64)


def _distance(a: np.ndarray, b: np.ndarray, n: int) -> float:
    """Total variation distance of a pair of columns of codes in the first n rows and in the others."""
    _, cell = np.unique(a * (b.max() + 1) + b, return_inverse=True)
    real, synthetic = (np.bincount(part, minlength=cell.max() + 1) / len(part) for part in (cell[:n], cell[n:]))
    return float(np.abs(real - synthetic).sum() / 2)


class Copied(NamedTuple):
    """How many synthetic rows are nearer to training rows than chance explains."""

    share: float
    """0 where none is, 1 where all are copies; estimated, so that it may be slightly below 0."""
    error: float
    """Standard error of the share."""

    @property
    def too_many(self) -> bool:
        """Whether the model copies, beyond doubt."""
        return self.share - 2 * self.error > COPIES


def copied(
    train: "pd.DataFrame",
    unseen: "pd.DataFrame",
    synthetic: "pd.DataFrame",
    kinds: Mapping[str, str],
    *,
    seed: int = 0,
) -> Copied:
    """How many synthetic rows are copies of training rows, or nearly.

    Of n training and m unseen rows of one source, the one nearest to a row that was drawn independently is unseen with
    probability m / (n + m). The share of synthetic rows that is missing there is that of copies: a model that draws the
    fraction c of its rows from the training rows has c. Distances are those of `encoders.metric`; of equal ones, chance
    decides. Rows are typed, as of `Dataset.frame`, and fit into memory; `unseen` must not be empty.
    """
    from synthjax.evals import encoders
    from synthjax.evals.neighbours import nearest
    from synthjax.evals.streams import stream
    from synthjax.evals.table import from_frames

    tables = from_frames({"train": train, "unseen": unseen, "synthetic": synthetic}, kinds)
    encode, n = encoders.metric(tables["train"]), len(train)
    vectors = np.concatenate([encode(tables["train"]), encode(tables["unseen"])])
    # Equal rows count as one place, of which each gets its part; so do places at equal distances.
    places, place = np.unique(vectors, axis=0, return_inverse=True)
    many, order = np.bincount(place), stream(seed, "quick_scores.places").permutation(len(places))
    distance, index = nearest(encode(tables["synthetic"]), places[order], min(NEAREST, len(places)))
    weight = (distance == distance[:, :1]) * many[order][index]
    reached = np.bincount(order[index].ravel(), (weight / weight.sum(1, keepdims=True)).ravel(), len(places))
    # Unseen rows are the scarce ones: the error is that of the number of synthetic rows that are nearest to each.
    caught = (reached / many)[place[n:]]
    scale = len(vectors) / len(synthetic)
    return Copied(1 - scale * float(caught.mean()), scale * float(caught.std()) / len(caught) ** 0.5)


def _tstr(real: "Table", synthetic: "Table", seed: int) -> float:
    from synthjax.evals.domains.tables import SMALLEST, Tables, useful

    rows, made = real.with_target(), synthetic.with_target()
    return useful(made, rows, seed) if min(len(rows), len(made)) >= SMALLEST else Tables(real.schema).guessing
