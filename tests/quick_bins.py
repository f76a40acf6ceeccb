"""What scikit-learn's gradient boosting asks for each edge of a column's bins, without a sort of the column for each.

With class weights that takes a third of the fits of small tables.
"""

import numpy as np
import pytest
from sklearn.ensemble._hist_gradient_boosting import binning


def percentile(column: np.ndarray, weights: np.ndarray, rank: float, average: bool = False) -> float:
    """`_weighted_percentile` of a sorted column without gaps, of weights above 0, as the bins ask for it."""
    assert average and column.ndim == weights.ndim == 1 and not np.isnan(column[-1])
    total = np.cumsum(weights)
    goal = rank / 100 * total[-1]
    place = min(int(np.searchsorted(total, goal)), len(column) - 1)
    above = total[place] - goal > np.finfo(column.dtype).eps
    following = place if above else min(place + 1, len(column) - 1)
    return (column[place] + column[following]) / 2


def install(patch: pytest.MonkeyPatch) -> None:
    """Until the patches are undone."""
    patch.setattr(binning, "_weighted_percentile", percentile)
