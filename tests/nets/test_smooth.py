"""Shared counts against sums by hand; which columns share, on rows of which it is known."""

import jax.numpy as jnp
import numpy as np
import pytest

from synthjax.model import Column, DataSpec
from synthjax.nets import bins, smooth

SPEC = DataSpec(
    "table",
    (5,),
    0,
    ("n", "y"),
    (0.5, 0.5),
    (Column("a", "continuous", 0, 2, missing=1), Column("c", "onehot", 2, 2), Column("b", "code", 4, 1)),
)
LAYOUT = bins.Layout(SPEC, 3)
"""States: label 2; a 3 and missing; c 2; b 3: 11 places."""
MARGINAL = jnp.asarray([0.5, 0.5, 0.4, 0.2, 0.3, 0.1, 0.7, 0.3, 0.5, 0.5, 0.0])


def test_counts_are_shared_by_the_sums_of_the_definition():
    counts = np.random.default_rng(0).uniform(size=(11, 2)).astype(np.float32)
    which = jnp.asarray([True, False])
    found = np.asarray(smooth.smooth(LAYOUT, MARGINAL, 0.2, which, jnp.asarray(counts)))
    m, middle = np.array([0.4, 0.2, 0.3]), np.array([0.2, 0.5, 0.75])
    for s in range(3):
        kappa = np.exp(-abs(middle - middle[s]) / 0.2)
        expected = m[s] * (kappa @ counts[2:5]) / (kappa @ m)
        np.testing.assert_allclose(found[2 + s], expected, rtol=1e-5)
    same = [0, 1, *range(5, 11)]  # labels, the missing value, categories, and a column that is not smooth
    np.testing.assert_allclose(found[same], counts[same], rtol=1e-6)


def test_counts_like_all_rows_are_those_that_sharing_leaves():
    counts = 7 * MARGINAL[:, None]
    found = smooth.smooth(LAYOUT, MARGINAL, 0.05, jnp.ones(2, bool), counts)
    np.testing.assert_allclose(found, counts, atol=1e-6)


def leave_one_out(states, context, share, kernel):
    """Sum of log p of each row, given the others, row by row."""
    total = 0.0
    for i, (s, c) in enumerate(zip(states, context, strict=True)):
        others = np.delete(np.arange(len(states)), i)
        others = others[context[others] == c]
        counts = np.bincount(states[others], minlength=len(share))
        q = share * (kernel @ counts) / (kernel @ share)
        total += np.log((q[s] + share[s]) / (len(others) + 1))
    return total


@pytest.mark.parametrize("smooth_one", [True, False])
def test_it_helps_where_neighbours_are_alike(smooth_one):
    """Forty values: of one context the lower half is likelier, or every other one is."""
    spec = DataSpec("table", (1,), 0, ("n", "y"), (0.5, 0.5), (Column("b", "code", 0, 1),))
    layout = bins.Layout(spec, 40)
    rng = np.random.default_rng(0)
    y, value = rng.integers(0, 2, 600), rng.integers(0, 40, 600)
    kept = rng.uniform(size=600) < np.where((value < 20 if smooth_one else value % 2 == 0) == y, 0.95, 0.05)
    states, y = value[kept], y[kept]
    rows = np.column_stack([y, states])
    share = np.bincount(states, minlength=40) / len(states)
    marginal = jnp.concatenate([jnp.asarray([0.5, 0.5]), jnp.asarray(share, jnp.float32)])
    context = jnp.asarray(np.column_stack([states * 0, y]))
    found = smooth.helps(layout, marginal, 0.05, jnp.asarray(rows), context, jnp.ones(len(rows)))
    middle = np.cumsum(share) - share / 2
    kernel = np.exp(-abs(middle[:, None] - middle) / 0.05)
    gain = leave_one_out(states, y, share, kernel) - leave_one_out(states, y, share, np.eye(40))
    assert abs(gain) > 10 and (gain > 0) == smooth_one
    np.testing.assert_array_equal(found, [smooth_one])


def test_a_table_without_numbers_has_none():
    spec = DataSpec("table", (2,), 0, ("n", "y"), (0.5, 0.5), (Column("c", "onehot", 0, 2),))
    layout = bins.Layout(spec, 4)
    counts, none = jnp.ones((4, 3)), jnp.zeros(0, bool)
    rows = jnp.zeros((5, 2), int)
    assert smooth.helps(layout, jnp.full(4, 0.5), 0.1, rows, rows, jnp.ones(5)).shape == (0,)
    np.testing.assert_array_equal(smooth.smooth(layout, jnp.full(4, 0.5), 0.1, none, counts), counts)
