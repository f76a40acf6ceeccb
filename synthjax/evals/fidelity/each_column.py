"""How well every column can be predicted from the others, learnt from synthetic rows and from real ones.

This is the global utility of Jiang et al. (TabStruct, 2025): it does not depend on the choice of one target. Gradient
boosting learns each column from all others, on synthetic rows and on as many real training rows; both are tested on
real test rows.

    skill    numbers: R2 of the rank among the training rows; categories: 2 AUC - 1, of each category against the rest,
             weighted by its share of the test rows. 0 where it is no better than the column alone, 1 without errors

A missing value is not predicted; of categories the ten most frequent ones are.
"""

from typing import Any

import numpy as np

from synthjax.evals import encoders
from synthjax.evals.streams import stream
from synthjax.evals.table import Table
from synthjax.evals.threads import single_thread

LIMIT = 5_000
"""Rows that a column is learnt from, and that it is tested on, at most."""
COLUMNS = 20
"""Columns that are predicted, at most: a random choice of more."""
CATEGORIES = 10
"""Categories of a column that are predicted."""
LEAST = 40
"""Fewest rows with a value to learn from, and to test on."""
ROUNDS = 50
"""Of boosting."""


def evaluate(
    synthetic: Table, train: Table, test: Table, *, seed: int = 0, limit: int = LIMIT
) -> dict[str, Any] | None:
    """Plain values with the keys of `report.tables.EachColumn`; None if no column can be predicted."""
    rng = stream(seed, "fidelity.each_column")
    n = min(len(synthetic), len(train), limit)
    encode, categorical = encoders.ordinal(train, without_target=False)
    made, real, unseen = (encode(t.sample(rng, size)) for t, size in ((synthetic, n), (train, n), (test, limit)))
    names = [*train.schema.numeric, *train.schema.discrete]
    found = {}
    for place in sorted(rng.permutation(len(names))[:COLUMNS]):
        skills = [_skill(rows, unseen, real, place, categorical, seed) for rows in (made, real)]
        if skills[1] is not None:
            found[names[place]] = {"synthetic": skills[0] or 0.0, "real": skills[1]}
    if not found:
        return None
    means = {side: float(np.mean([one[side] for one in found.values()])) for side in ("synthetic", "real")}
    return {"score": means["synthetic"], "real": means["real"], "columns": found}


def _skill(
    rows: np.ndarray, test: np.ndarray, real: np.ndarray, place: int, categorical: np.ndarray, seed: int
) -> float | None:
    """In [0, 1], of one column learnt from `rows` (n, F); None where too few rows have it or it is constant."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    scale = np.sort(real[:, place][~np.isnan(real[:, place])])
    x, y = _task(rows, place, scale, categorical[place])
    x_test, y_test = _task(test, place, scale, categorical[place])
    if min(len(y), len(y_test)) < LEAST or np.ptp(y_test) == 0:
        return None
    if np.ptp(y) == 0:
        return 0.0
    there = ~np.isnan(x).all(axis=0)  # trees want a value in each column
    x, x_test, categories = x[:, there], x_test[:, there], np.delete(categorical, place)[there]
    kind = HistGradientBoostingClassifier if categorical[place] else HistGradientBoostingRegressor
    trees = kind(categorical_features=categories, max_iter=ROUNDS, random_state=seed % 2**32)
    with single_thread("openmp"):
        trees.fit(x, y)
        if not categorical[place]:
            return float(np.clip(1 - np.mean((trees.predict(x_test) - y_test) ** 2) / np.var(y_test), 0, 1))
        guess = np.zeros((len(x_test), CATEGORIES))
        guess[:, trees.classes_.astype(int)] = trees.predict_proba(x_test)
    return _gini(guess, y_test)


def _task(rows: np.ndarray, place: int, scale: np.ndarray, categorical: np.bool_) -> tuple[np.ndarray, np.ndarray]:
    """The other columns and the one to predict: its code, or its rank among the sorted numbers `scale`."""
    values = rows[:, place]
    kept = values < CATEGORIES if categorical else ~np.isnan(values)
    y = values[kept]
    if not categorical:
        y = (np.searchsorted(scale, y, "left") + np.searchsorted(scale, y, "right")) / (2 * max(len(scale), 1))
    return np.delete(rows[kept], place, axis=1), y


def _gini(guess: np.ndarray, y: np.ndarray) -> float:
    """2 AUC - 1 of each class of `y` against the rest, weighted by its share, at least 0."""
    from sklearn.metrics import roc_auc_score

    classes, counts = np.unique(y, return_counts=True)
    aucs = [roc_auc_score(y == one, guess[:, int(one)]) for one in classes]
    return float(max(np.average(2 * np.array(aucs) - 1, weights=counts), 0.0))
