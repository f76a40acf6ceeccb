"""The diversity of a class, by hand."""

import numpy as np
import pytest

from synthjax.evals import collapse

RIGHT_TRIANGLE = np.array([[0.0, 0], [3, 0], [0, 4]])
"""Its sides: 3, 4 and 5."""


def test_diversity_is_the_ratio_of_mean_pairwise_distances():
    pair = np.array([[1.0, 1], [7, 9]], np.float32)  # 10 apart
    assert collapse.diversity(pair, RIGHT_TRIANGLE) == pytest.approx(10 / 4)
    assert collapse.diversity(RIGHT_TRIANGLE, pair) == pytest.approx(4 / 10)
    assert collapse.diversity(np.ones((5, 2)), pair) == 0


def test_what_has_no_diversity():
    assert collapse.diversity(None, RIGHT_TRIANGLE) is None and collapse.diversity(RIGHT_TRIANGLE, None) is None
    assert collapse.diversity(RIGHT_TRIANGLE[:1], RIGHT_TRIANGLE) is None
    assert collapse.diversity(RIGHT_TRIANGLE, np.ones((5, 2))) is None


def test_collapsed_classes_are_named_in_order():
    assert collapse.collapsed({"a": 0.4999, "b": 0.5, "c": None, "d": 0.0}) == ["a", "d"]
