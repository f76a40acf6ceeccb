"""That the tests' bins of gradient boosting are scikit-learn's."""

import numpy as np
import pytest
from quick_bins import install
from sklearn.ensemble._hist_gradient_boosting import binning
from sklearn.utils.stats import _weighted_percentile


@pytest.mark.parametrize("weights", ["classes", "equal", "any"])
def test_the_bins_are_those_of_scikit_learn(weights, monkeypatch):
    rng = np.random.default_rng(0)
    columns = [rng.normal(size=700), rng.integers(0, 400, 900).astype(float), rng.exponential(size=300)]
    found = []
    for own in (True, False):
        if own:
            install(monkeypatch)
        else:
            monkeypatch.setattr(binning, "_weighted_percentile", _weighted_percentile)
        for column in columns:
            kinds = {
                "classes": np.where(np.arange(len(column)) % 3 == 0, 2.0, 0.7),
                "equal": np.ones(len(column)),
                "any": np.random.default_rng(1).random(len(column)),
            }
            found.append(binning._find_binning_thresholds(column, 255, sample_weight=kinds[weights]))
    for ours, theirs in zip(found[:3], found[3:], strict=True):
        assert len(ours) > 200
        np.testing.assert_array_equal(ours, theirs)
