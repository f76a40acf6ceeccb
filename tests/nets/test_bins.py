"""Bins against NumPy and by hand: atoms, cells, missing values, and the way back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from mixed import SPEC, assert_valid, mixed

from synthjax.errors import InputError
from synthjax.model import Column, DataSpec
from synthjax.nets import bins


def layout_of(kind="continuous", most=16, **fields):
    size = 2 if "missing" in fields else 1
    return bins.Layout(DataSpec("table", (size,), 0, columns=(Column("v", kind, 0, size, **fields),)), most)


def fitted(values, most=16, kind="continuous"):
    layout = layout_of(kind, most)
    x = jnp.asarray(values, jnp.float32)[:, None]
    found = bins.fit(layout, x, jnp.ones(len(x)))
    return layout, found, x, np.asarray(layout.states(found, x, jnp.zeros(len(x), jnp.int32)))[:, 0]


def drawn(layout, found, state, count=2000):
    return np.asarray(layout.decode(found, jax.random.key(0), jnp.full((count, 1), state, jnp.int32)))[:, 0]


def test_values_that_many_rows_share_come_back_exactly():
    layout, found, x, states = fitted(np.repeat([3.0, -1.0, 0.25], [50, 7, 5]))
    assert int(found.used[0]) == 3
    np.testing.assert_array_equal(states, np.repeat([2, 0, 1], [50, 7, 5]))
    np.testing.assert_array_equal(layout.decode(found, jax.random.key(0), jnp.asarray(states)[:, None]), x)


def test_a_wide_column_is_cut_into_quantiles():
    values = np.random.default_rng(0).normal(size=1000)
    layout, found, _, states = fitted(values)
    counts = np.bincount(states, minlength=16)
    assert int(found.used[0]) == 16 and set(counts) == {62, 63}
    edges = np.append(np.sort(values)[np.cumsum(counts) - counts], np.inf)
    np.testing.assert_array_equal(
        states, np.searchsorted(edges.astype(np.float32), values.astype(np.float32), "right") - 1
    )
    np.testing.assert_array_equal(found.high[0, :-1], found.low[0, 1:])
    inside = drawn(layout, found, 7)
    assert scipy.stats.kstest(inside, "uniform", (found.low[0, 7], found.high[0, 7] - found.low[0, 7])).pvalue > 0.01
    assert np.isin(inside, values.astype(np.float32)).mean() < 0.01


def test_no_value_of_fewer_than_five_rows_is_kept():
    """3.0 has four rows between two atoms: what is drawn for it lies around it, from midpoint to midpoint."""
    layout, found, _, states = fitted(np.repeat([1.0, 3.0, 4.0], [20, 4, 20]))
    assert (found.low[0, 1], found.high[0, 1]) == (2.0, 3.5)
    np.testing.assert_array_equal(states, np.repeat([0, 1, 2], [20, 4, 20]))
    assert (drawn(layout, found, 1) == 3.0).mean() < 0.01


def test_an_atom_in_a_wide_column_stands_alone():
    """Zero-inflated: the atom takes one bin, quantiles of the others share the rest."""
    rng = np.random.default_rng(0)
    values = np.concatenate([np.zeros(500), rng.exponential(size=500) + 0.01, -rng.exponential(size=100) - 0.01])
    layout, found, _, states = fitted(values)
    assert len(set(states[:500])) == 1 and (states[500:] != states[0]).all()
    assert (drawn(layout, found, states[0]) == 0).all()
    assert 8 < int(found.used[0]) <= 16 and np.bincount(states[500 : 600 + 500]).max() < 130


@pytest.mark.parametrize("seed", range(3))
def test_bins_are_at_most_so_many_and_in_order(seed):
    rng = np.random.default_rng(seed)
    values = np.round(rng.standard_t(2, size=700), rng.integers(0, 3))
    _, found, _, states = fitted(values, most=9)
    used = int(found.used[0])
    assert used <= 9 and states.max() == used - 1
    assert (np.diff(found.first[0, :used]) > 0).all() and (found.low <= found.high).all()
    for state in range(used):
        inside = values[states == state]
        assert len(inside) and len(set(inside)) >= 1
        if found.low[0, state] == found.high[0, state]:
            assert len(set(inside)) == 1 and len(inside) >= bins.LEAST


def test_codes_come_back_whole_and_evenly():
    values = np.random.default_rng(0).integers(0, 400, 4000)
    layout, found, _, states = fitted(values, kind="code")
    again = np.asarray(layout.decode(found, jax.random.key(0), jnp.asarray(states)[:, None]))[:, 0]
    assert (again == np.round(again)).all() and again.min() >= 0 and again.max() <= 399
    assert len(np.unique(again)) > 390 and scipy.stats.ks_2samp(again, values).pvalue > 0.01


def test_rows_of_weight_0_do_not_count():
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(300, 1)), jnp.float32)
    weight = jnp.asarray(np.arange(300) < 200, jnp.float32)
    layout = layout_of()
    other = jnp.where(weight[:, None] > 0, x, 1e3)
    for a, b in zip(bins.fit(layout, x, weight), bins.fit(layout, other, weight), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_column_without_values_is_0():
    layout = layout_of(missing=1)
    x = jnp.tile(jnp.asarray([[0.0, 1.0]]), (30, 1))
    found = bins.fit(layout, x, jnp.ones(30))
    states = layout.states(found, x, jnp.zeros(30, jnp.int32))
    assert (states == 16).all()
    np.testing.assert_array_equal(layout.decode(found, jax.random.key(0), states), x)
    assert float(drawn(layout, found, 0)[0]) == 0


def test_a_mixed_table_there_and_back():
    layout, rows = bins.Layout(SPEC, 24), mixed(2000)
    found = bins.fit(layout, jnp.asarray(rows.x), jnp.asarray(rows.weight))
    states = layout.states(found, jnp.asarray(rows.x), jnp.asarray(rows.y))
    assert layout.sizes == (2, 25, 24, 4, 24)  # the label stands for the target and comes first
    np.testing.assert_array_equal(states[:, 0], rows.y)
    x = np.asarray(layout.decode(found, jax.random.key(0), states))
    assert_valid(x)
    np.testing.assert_array_equal(x[:, [1, 2, 3, 4, 5, 6, 8, 9]], rows.x[:, [1, 2, 3, 4, 5, 6, 8, 9]])
    assert np.corrcoef(x[:, 0], rows.x[:, 0])[0, 1] > 0.99 and np.abs(x[:, 7] - rows.x[:, 7]).max() <= 3
    np.testing.assert_array_equal(layout.onehot(states).sum(axis=1), 5)
    total = np.asarray(layout.normalise(layout.onehot(states).sum(axis=0)))
    np.testing.assert_allclose([part.sum() for part in np.split(total, np.cumsum(layout.sizes)[:-1])], 1, rtol=1e-5)


def test_choose_draws_by_the_weights_and_never_what_has_none():
    weights = np.array([0.0, 3.0, 0.0, 1.0, 0.0])
    states = bins.choose(jax.random.key(0), jnp.broadcast_to(jnp.cumsum(jnp.asarray(weights)), (20_000, 5)))
    counts = np.bincount(states, minlength=5)
    assert counts[[0, 2, 4]].sum() == 0 and abs(counts[1] / 20_000 - 0.75) < 0.015


def test_what_cannot_be_binned_is_said():
    with pytest.raises(InputError, match="model m makes tables"):
        bins.check("m", DataSpec("image", (2, 2, 1)), 8)
    with pytest.raises(InputError, match="names no columns"):
        bins.check("m", DataSpec("table", (2,)), 8)
    with pytest.raises(InputError, match="model.bins=1"):
        bins.check("m", SPEC, 1)
