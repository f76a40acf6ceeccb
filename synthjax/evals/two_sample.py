"""The classifier two-sample test: can gradient boosting tell synthetic examples from real ones?

    score    2 - 2 max(AUC, 1/2), by cross-validation: 1 where it cannot, 0 where it never errs

(Lopez-Paz & Oquab, Revisiting classifier tests, 2017.) Rows of tables are handed in as trees want them, images as the
features of a CNN. An AUC far below 1/2 is no likeness either: rows then meet their twins on the other side.

    found = two_sample.judge(real, synthetic, seed=0)
    found["score"], found["auc"]
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from synthjax.evals.figure import Count, Share, figure
from synthjax.evals.streams import stream
from synthjax.evals.threads import single_thread

FOLDS = 3
"""Of the cross-validation, as in SDMetrics' detection."""
SHUFFLED = 5_000
"""Examples of each fold whose columns are shuffled to see what told them apart."""


@dataclass(frozen=True, kw_only=True)
class TwoSample:
    """What the test found, as the report holds it; None where there are fewer examples than folds."""

    score: Share | None = figure(
        "two-sample test", "2 - 2 max(AUC, 1/2): 1 where it cannot tell them apart, 0 where it never errs.", "high"
    )
    auc: Share | None = figure(
        "AUC of the two-sample test", "0.5 where synthetic and real examples cannot be told apart.", detail=True
    )
    values: list[float] | None
    """The score of each fold."""
    told_by: dict[str, float] | None = figure(
        "two-sample test, told by NAME",
        "By how much the AUC falls where the values of this column are shuffled; columns that say the same share it.",
        "low",
        bounds=(-1, 1),
        detail=True,
        default=None,
    )
    """The largest first; None: not measured."""
    n: Count
    """Examples of each kind."""


def judge(
    real: np.ndarray,
    synthetic: np.ndarray,
    *,
    seed: int = 0,
    categorical: np.ndarray | None = None,
    names: Sequence[str] = (),
) -> dict[str, Any]:
    """The test on as many real as synthetic examples, (n, F) floats each, NaN where missing: the keys of `TwoSample`.

    `seed` is that of the folds and the trees; `categorical` (F,) bool are positions that hold codes of categories;
    `names` of the F positions, if it is to be said which of them told the examples apart.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold

    n = len(real)
    if n < FOLDS:
        return {"score": None, "auc": None, "values": None, "n": n}
    x, y = np.concatenate([real, synthetic]), np.arange(2 * n) >= n
    aucs, falls = [], []
    for fold, (fit, judged) in enumerate(StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(x, y)):
        trees = HistGradientBoostingClassifier(categorical_features=categorical, random_state=(seed + fold) % 2**32)
        with single_thread("openmp"):
            guess = trees.fit(x[fit], y[fit]).predict_proba(x[judged])[:, 1]
        aucs.append(float(roc_auc_score(y[judged], guess)))
        if names:
            falls.append(_falls(trees, x[judged], y[judged], stream(seed, "two_sample.shuffled", fold)))
    scores = [2 - 2 * max(auc, 0.5) for auc in aucs]
    found = {"score": float(np.mean(scores)), "auc": float(np.mean(aucs)), "values": scores, "n": n}
    if names:
        falls_by_name = dict(zip(names, np.mean(falls, axis=0).tolist(), strict=True))
        found["told_by"] = dict(sorted(falls_by_name.items(), key=lambda item: -item[1]))
    return found


def _falls(trees: Any, x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(F,) by how much the AUC of fitted trees falls where one column is shuffled."""
    from sklearn.metrics import roc_auc_score

    rows = rng.permutation(len(x))[:SHUFFLED]
    x, y = x[rows], y[rows]
    if y.all() or not y.any():
        return np.zeros(x.shape[1])

    def auc() -> float:
        with single_thread("openmp"):
            return float(roc_auc_score(y, trees.predict_proba(x)[:, 1]))

    whole, falls = auc(), np.zeros(x.shape[1])
    for place in range(x.shape[1]):
        kept = x[:, place].copy()
        x[:, place] = rng.permutation(kept)
        falls[place] = whole - auc()
        x[:, place] = kept
    return falls
