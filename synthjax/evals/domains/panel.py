"""The classifiers and regressors of tables, of scikit-learn, as one function from rows to scores.

Six kinds with balanced classes: by class weights, and where one knows none (neighbours, perceptron) by drawing its rows
so that all classes are equally frequent; and gradient boosting of histograms with the classes as they are, which
published figures are made with.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from synthjax.evals import encoders
from synthjax.evals.streams import stream
from synthjax.evals.table import Table

JUDGES = ("linear", "svm", "neighbours", "forest", "boosting", "perceptron")
"""linear: logistic or ridge regression."""
ALL_ROWS = "all rows"
"""The gradient boosting with the classes as they are."""
NEIGHBOURS = 15
PERCEPTRON: dict[str, Any] = {"hidden_layer_sizes": (64,), "max_iter": 30}
BOOSTING_COLUMNS = 0.8
"""Share of the columns that a split of the boosting may use."""
_BLOCK = 2048  # rows that a support vector machine answers at once

Answer = Callable[[Table], np.ndarray]


def train_judge(judge: str, table: Table, seed: int) -> Answer:
    """Trains one of `JUDGES`, or `ALL_ROWS`, on rows that all have a target.

    Returns:
        Table of N rows to scores (N, K) over the K classes of the schema, higher: likelier (a class that was never
        seen is the least likely); in regression to values (N,) in the target's unit.
    """
    y = table.target()
    if judge in (ALL_ROWS, "boosting"):
        encode, categorical = encoders.ordinal(table)
    else:
        encode, categorical = encoders.dense(table), None
    x = encode(table)
    if table.schema.regression:
        middle, spread = y.mean(), y.std() or 1.0
        model = _regressor(judge, categorical, seed, len(x))
        model.fit(x, (y - middle) / spread)
        return lambda rows: middle + spread * model.predict(encode(rows))
    present, k = np.unique(y), len(table.schema.classes)
    if len(present) == 1:
        return lambda rows: np.tile(np.arange(k) == present[0], (len(rows), 1)).astype(np.float64)
    if judge in ("neighbours", "perceptron"):
        rows = _balanced_rows(stream(seed, "panel.balance"), y)
        x, y = x[rows], y[rows]
    model = _classifier(judge, categorical, seed, len(x))
    model.fit(x, y)

    def answer(rows: Table) -> np.ndarray:
        found = (model.decision_function if judge == "svm" else model.predict_proba)(encode(rows))
        if found.ndim == 1:
            found = np.stack([-found, found], 1)
        scores = np.full((len(rows), k), found.min(initial=0) - 1)
        scores[:, model.classes_] = found
        return scores

    return answer


def _classifier(judge: str, categorical: np.ndarray | None, seed: int, n: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.neural_network import MLPClassifier
    from sklearn.svm import SVC

    weights = {"class_weight": "balanced"}
    return {
        "linear": lambda: LogisticRegression(max_iter=300, **weights),
        "svm": lambda: KernelMachine(SVC(kernel="precomputed", **weights)),
        "neighbours": lambda: KNeighborsClassifier(min(NEIGHBOURS, n)),
        "forest": lambda: RandomForestClassifier(random_state=seed, **weights),
        "boosting": lambda: HistGradientBoostingClassifier(**_boosting(categorical, seed), **weights),
        "perceptron": lambda: MLPClassifier(**PERCEPTRON, random_state=seed),
        ALL_ROWS: lambda: HistGradientBoostingClassifier(**_boosting(categorical, seed)),
    }[judge]()


def _regressor(judge: str, categorical: np.ndarray | None, seed: int, n: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
    from sklearn.linear_model import Ridge
    from sklearn.neighbors import KNeighborsRegressor
    from sklearn.neural_network import MLPRegressor
    from sklearn.svm import SVR

    return {
        "linear": lambda: Ridge(),
        "svm": lambda: KernelMachine(SVR(kernel="precomputed")),
        "neighbours": lambda: KNeighborsRegressor(min(NEIGHBOURS, n)),
        "forest": lambda: RandomForestRegressor(max_features=1 / 3, random_state=seed),
        "boosting": lambda: HistGradientBoostingRegressor(**_boosting(categorical, seed)),
        "perceptron": lambda: MLPRegressor(**PERCEPTRON, random_state=seed),
        ALL_ROWS: lambda: HistGradientBoostingRegressor(**_boosting(categorical, seed)),
    }[judge]()


def _boosting(categorical: np.ndarray | None, seed: int) -> dict[str, Any]:
    # Without the draw of columns every seed would give the same trees; stopping early needs two rows of each class.
    return {
        "categorical_features": categorical,
        "max_features": BOOSTING_COLUMNS,
        "early_stopping": False,
        "random_state": seed,
    }


class KernelMachine:
    """A support vector machine whose RBF kernel comes from a matrix product: libsvm's own takes ten times as long.

    exp(-gamma |a - b|^2), by default with gamma = 1 / (F var) of the F features, scikit-learn's "scale".
    """

    def __init__(self, machine: Any, gamma: float | None = None):
        """`machine`: an `SVC` or `SVR` with a precomputed kernel."""
        self.machine, self.gamma = machine, gamma

    def _kernel(self, rows: np.ndarray) -> np.ndarray:
        k = 2 * rows @ self.x.T - (rows**2).sum(1)[:, None] - (self.x**2).sum(1)
        k *= self.gamma
        return np.exp(k, out=k)

    def fit(self, x: np.ndarray, y: np.ndarray) -> None:
        """Trains on rows x (N, F) with targets y (N,)."""
        self.x = x
        if self.gamma is None:
            self.gamma = 1 / max(x.shape[1] * x.var(), 1e-12)
        self.machine.fit(self._kernel(x), y)
        self.classes_ = getattr(self.machine, "classes_", None)

    def decision_function(self, rows: np.ndarray) -> np.ndarray:
        """As scikit-learn's, of rows (M, F)."""
        return self._in_blocks(self.machine.decision_function, rows)

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """As scikit-learn's, of rows (M, F)."""
        return self._in_blocks(self.machine.predict, rows)

    def _in_blocks(self, work: Callable[[np.ndarray], np.ndarray], rows: np.ndarray) -> np.ndarray:
        starts = range(0, max(len(rows), 1), _BLOCK)
        return np.concatenate([work(self._kernel(rows[start : start + _BLOCK])) for start in starts])


def _balanced_rows(rng: np.random.Generator, y: np.ndarray) -> np.ndarray:
    """Rows (N,) drawn with replacement so that all classes of `y` (N,) are equally frequent in expectation."""
    counts = np.bincount(y)
    chance = 1 / counts[y]
    return rng.choice(len(y), len(y), p=chance / chance.sum())
