"""Chow-Liu trees against SciPy's spanning tree and scikit-learn's mutual information."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.sparse.csgraph import minimum_spanning_tree

from synthjax.model import Column, DataSpec
from synthjax.nets import bins, chow_liu

SPEC = DataSpec(
    "table",
    (7,),
    0,
    ("n", "y"),
    (0.5, 0.5),
    (Column("u", "onehot", 0, 3), Column("v", "onehot", 3, 2), Column("t", "onehot", 5, 2, target=True)),
)
LAYOUT = bins.Layout(SPEC, 4)


def test_the_tree_has_the_largest_total_gain():
    rng = np.random.default_rng(0)
    gain = rng.uniform(size=(8, 8))
    gain += gain.T
    order, parent = map(np.asarray, chow_liu.spanning_tree(jnp.asarray(gain)))
    assert sorted(order) == list(range(8)) and order[0] == 0 and (parent[1:] < np.arange(1, 8)).all()
    total = sum(gain[order[node], order[parent[node]]] for node in range(1, 8))
    assert total == pytest.approx(-minimum_spanning_tree(-np.triu(gain, 1)).sum(), rel=1e-5)


def test_mutual_information_is_that_of_scikit_learn():
    from sklearn.metrics import mutual_info_score

    rng = np.random.default_rng(0)
    u = rng.integers(0, 3, 500)
    states = np.column_stack([(u + rng.integers(0, 2, 500)) % 2, u, rng.integers(0, 2, 500)])
    onehot = LAYOUT.onehot(jnp.asarray(states))
    found = np.asarray(chow_liu.mutual_information(onehot.T @ onehot, LAYOUT))
    for a, b, free in ((0, 1, 2), (0, 2, 1), (1, 2, 2)):
        expected = mutual_info_score(states[:, a], states[:, b]) - free / 1000
        assert found[[a, b], [b, a]] == pytest.approx(expected, abs=1e-4)


def test_each_column_hangs_on_another():
    """The tree 0 - 2, 2 - 1."""
    found = chow_liu.above(jnp.asarray([0, 2, 1]), jnp.asarray([0, 0, 1]))
    np.testing.assert_array_equal(found, [2, 2, 0])


@pytest.mark.parametrize(("rows", "most"), [(0, 10), (20, 3), (100, 5), (400, 10), (10**6, 10)])
def test_few_rows_have_few_groups(rows, most):
    assert chow_liu.groups(dataclasses.replace(SPEC, rows=rows)) == most
