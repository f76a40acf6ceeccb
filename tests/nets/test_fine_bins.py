"""Fine bins: they are the bins' rows, shared values come back at their rate, and slopes by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mixed import SPEC, assert_valid, mixed

from synthjax.model import Column, DataSpec
from synthjax.nets.bins import Layout
from synthjax.nets.fine_bins import FineBins
from synthjax.statistics import LEAST


def fitted(values, bins, most=16):
    """(fine bins, states (N, 1), parts (N, 1)) of one column."""
    x = np.asarray(values, np.float32)[:, None]
    spec = DataSpec("table", (1,), 0, columns=(Column("v", "continuous", 0, 1),)).measured(x)
    fine = FineBins(Layout(spec, bins), most)
    states = fine.layout.states(jnp.asarray(x), jnp.zeros(len(x), jnp.int32))
    return fine, states, fine.parts(jnp.asarray(x), states)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-40, 40), st.integers(1, 15)), min_size=1, max_size=60),
    st.sampled_from([2, 3, 5, 12]),
)
def test_rows_take_the_fine_bin_that_they_are_counted_in(pairs, most):
    """Of columns with shared values and with values of their own beside them."""
    values = np.concatenate([np.full(n, v) if n > 4 else v + np.linspace(0.1, 0.4, n) for v, n in pairs])
    values = np.append(values, 50 + np.arange(-len(values) % 64))  # each number of rows is compiled anew
    fine, states, parts = fitted(values, 4, most)
    found = fine.edges
    counts = np.zeros(found.rows.shape[1:])
    np.add.at(counts, (np.asarray(states)[:, 0], np.asarray(parts)[:, 0]), 1)
    used = fine.layout.edges.rows[0] > 0
    np.testing.assert_array_equal(counts[used], found.rows[0][used])
    assert found.rows.shape[2] <= most
    for s in np.flatnonzero(used):
        there = found.rows[0, s] > 0
        low, high = found.low[0, s, there], found.high[0, s, there]
        assert (low <= high).all() and (high[:-1] <= low[1:]).all()
        assert fine.layout.edges.low[0, s] <= low[0] and high[-1] <= fine.layout.edges.high[0, s]
        assert np.exp(fine.log_shares[0, s]).sum() == pytest.approx(1, abs=1e-5)
        for value in low[low == high]:
            assert len(values) < 2 * LEAST or (values.astype(np.float32) == value).sum() >= LEAST


def test_more_shared_values_than_bins_come_back_at_their_rate():
    rng = np.random.default_rng(0)
    prices = np.sort(rng.choice(np.arange(1, 500), 40, replace=False)) + np.float32(0.99)
    values = rng.choice(prices.astype(np.float32), 4000)
    fine, states, parts = fitted(values, 4)
    np.testing.assert_array_equal(fine.decode(jax.random.key(0), states, parts)[:, 0], values)
    coarse = np.asarray(fine.layout.decode(jax.random.key(0), states))[:, 0]
    assert np.isin(coarse, values).mean() < 0.3  # what the bins alone give


def test_a_tail_keeps_its_shape():
    values = np.random.default_rng(0).exponential(size=5000)
    fine, states, parts = fitted(values, 4)
    again, coarse = (
        np.asarray(x)[:, 0]
        for x in (fine.decode(jax.random.key(0), states, parts), fine.layout.decode(jax.random.key(0), states))
    )
    assert abs(np.quantile(again, 0.95) - np.quantile(values, 0.95)) < 0.1 < np.quantile(coarse, 0.95) - 3.5


def test_slopes_reach_over_cells_only():
    values = np.concatenate([np.zeros(400), np.random.default_rng(0).uniform(1, 2, 1000)])
    fine = fitted(values, 6)[0]
    used = int((fine.layout.edges.rows[0] > 0).sum())
    slope = np.asarray(fine.slope(jnp.arange(6.0)[:, None] ** 2))[:, 0]
    expected = np.zeros(6)
    expected[1], expected[used - 1] = 4 - 1, (used - 1) ** 2 - (used - 2) ** 2  # bin 0 is the atom
    expected[2 : used - 1] = [((s + 1) ** 2 - (s - 1) ** 2) / 2 for s in range(2, used - 1)]
    np.testing.assert_allclose(slope, expected)


def test_a_mixed_table_there_and_back():
    rows = mixed(2000)
    fine = FineBins(Layout(SPEC.measured(rows.x), 24))
    states = fine.layout.states(jnp.asarray(rows.x), jnp.asarray(rows.y))
    parts = fine.parts(jnp.asarray(rows.x), states)
    x = np.asarray(fine.decode(jax.random.key(0), states, parts))
    assert_valid(x)
    np.testing.assert_array_equal(x[:, 1:], rows.x[:, 1:])  # a shop has about 50 rows: its code is exact now
    near, far = (np.abs(x[:, 0] - rows.x[:, 0]), np.abs(fine.layout.decode(jax.random.key(0), states)[:, 0] - x[:, 0]))
    assert near.mean() < 0.2 * far.mean()
    assert (np.asarray(parts)[:, [0, 3, 4]][:, :2] == 0).all() and (parts[rows.x[:, 1] == 1] >= 0).all()
