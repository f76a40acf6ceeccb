"""One figure for the usefulness of a synthetic table, in seconds: gradient boosting of histograms, one seed.

What `tabular_utility` does with many judges, seeds, a ceiling and a floor, for those who compare many tables.

    boosting.useful(tables["synthetic"], tables["test"], seed=0)["roc_auc"]
"""

from synthjax.evals.frames import Table
from synthjax.evals.tabular_utility import ALL_ROWS, score, train_judge
from synthjax.evals.threads import single_thread


def useful(made: Table, real: Table, seed: int) -> dict[str, float | None]:
    """What boosting that was trained on `made` scores on `real`; rows without a target are left out of both.

    It works in this thread alone: scikit-learn's threads wait for one another on cores that something else keeps busy.

    Args:
        made: rows to train on, at least one of them with a target.
        real: rows to predict.
        seed: of the trees.

    Returns:
        The measures of `tabular_utility.score`.
    """
    rows = real.answered()
    with single_thread("openmp"):
        return score(rows, train_judge(ALL_ROWS, made.answered(), seed)(rows), None)
