"""Exact nearest neighbours, beside brute force in integers or float64."""

import numpy as np
import pytest

from synthjax.evals import neighbours


def brute(queries, targets, k):
    """Distances and indices from all differences, equal distances in order of index."""
    kind = np.int64 if queries.dtype.kind == "u" else np.float64
    difference = queries[:, None].astype(kind) - targets[None].astype(kind)
    square = (difference**2).sum(axis=tuple(range(2, difference.ndim)))
    order = np.argsort(square, axis=1, kind="stable")[:, :k]
    return np.sqrt(np.take_along_axis(square, order, axis=1)), order


@pytest.mark.parametrize("kind", ["bytes", "few_levels", "table", "duplicates"])
def test_equals_brute_force_with_ties(kind):
    rng = np.random.default_rng(0)
    if kind == "bytes":  # squared norms beyond 2**24: float32 alone is off
        targets = rng.integers(0, 256, (2100, 12, 28, 1), dtype=np.uint8)
        queries = np.concatenate([rng.integers(0, 256, (30, 12, 28, 1), dtype=np.uint8), targets[::300]])
    elif kind == "few_levels":  # many exact ties
        targets = rng.integers(0, 3, (2100, 2, 3, 1), dtype=np.uint8)
        queries = rng.integers(0, 3, (50, 2, 3, 1), dtype=np.uint8)
    elif kind == "table":
        targets = rng.normal(size=(700, 9)).astype(np.float32) + 1000  # far from the origin: cancellation
        queries = np.concatenate([rng.normal(size=(40, 9)).astype(np.float32) + 1000, targets[:9]])
    else:  # more copies of one row than there are candidates
        targets = np.repeat(rng.normal(size=(20, 4)).astype(np.float32), 50, axis=0)
        queries = targets[::77]
    distance, index = neighbours.nearest(queries, targets, k=3)
    expected_distance, expected_index = brute(queries, targets, 3)
    np.testing.assert_array_equal(index, expected_index)
    np.testing.assert_allclose(distance, expected_distance, rtol=1e-12)


@pytest.mark.parametrize("half", [False, True])
def test_bytes_are_exact_in_either_format(half, monkeypatch):
    monkeypatch.setattr(neighbours, "_has_matrix_unit", lambda: half)
    rng = np.random.default_rng(3)
    targets = rng.integers(0, 256, (300, 900), dtype=np.uint8)
    targets[250:] = targets[0]  # more doubles than there are candidates: searched again
    queries = np.concatenate([targets[:2], rng.integers(0, 256, (20, 900), dtype=np.uint8)])
    distance, index = neighbours.nearest(queries, targets, k=3)
    expected_distance, expected_index = brute(queries, targets, 3)
    np.testing.assert_array_equal(index, expected_index)
    np.testing.assert_array_equal(distance, expected_distance)
    # One query alone goes the same way.
    np.testing.assert_array_equal(neighbours.nearest(queries[:1], targets)[1], [[0]])


def test_equals_sklearn():
    from sklearn.neighbors import NearestNeighbors

    rng = np.random.default_rng(1)
    targets, queries = rng.normal(size=(3000, 20)), rng.normal(size=(600, 20))
    search = NearestNeighbors(n_neighbors=5, algorithm="brute").fit(targets)
    expected_distance, expected_index = search.kneighbors(queries)
    distance, index = neighbours.nearest(queries, targets, k=5)
    np.testing.assert_array_equal(index, expected_index)
    np.testing.assert_allclose(distance, expected_distance, rtol=1e-7)


def test_an_image_one_grey_value_from_its_original_is_not_an_exact_match():
    rng = np.random.default_rng(2)
    targets = rng.integers(200, 256, (100, 28, 28, 1), dtype=np.uint8)
    near = targets[:5].copy()
    near[:, 3, 3, 0] -= 1
    distance, index = neighbours.nearest(np.concatenate([targets[:5], near]), targets)
    np.testing.assert_array_equal(index[:, 0], [*range(5), *range(5)])
    np.testing.assert_array_equal(distance[:, 0], [0] * 5 + [1] * 5)


def test_fewer_targets_than_candidates():
    targets = np.array([[0.0], [3.0], [1.0]])
    distance, index = neighbours.nearest(np.array([[0.9], [5.0]]), targets, k=3)
    np.testing.assert_array_equal(index, [[2, 0, 1], [1, 2, 0]])
    np.testing.assert_allclose(distance, [[0.1, 0.9, 2.1], [2, 4, 5]])


@pytest.mark.parametrize("k", [0, 4, 9])
def test_k_out_of_range(k):
    with pytest.raises(ValueError, match="k must be in"):
        neighbours.nearest(np.zeros((1, 2)), np.zeros((3, 2)), k=k)
