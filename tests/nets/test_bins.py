"""Bins against NumPy and by hand: atoms, cells, missing values, and the way back."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from mixed import SPEC, assert_valid, mixed

from synthjax.errors import InputError
from synthjax.model import Column, DataSpec
from synthjax.models import independent, mixture, table_ar
from synthjax.nets import bins
from synthjax.nets.chunks import total
from synthjax.statistics import LEAST


def layout_of(x, kind="continuous", most=16, **fields):
    """Of one column of rows x (N, size)."""
    spec = DataSpec("table", x.shape[1:], 0, columns=(Column("v", kind, 0, x.shape[1], **fields),))
    return bins.Layout(spec.measured(np.asarray(x, np.float32)), most)


def states_of(layout, x):
    return np.asarray(layout.states(jnp.asarray(x, jnp.float32), jnp.zeros(len(x), jnp.int32)))


def fitted(values, most=16, kind="continuous"):
    """(layout, its edges, number of bins in use, states (N,))."""
    x = np.asarray(values, np.float32)[:, None]
    layout = layout_of(x, kind, most)
    return layout, layout.edges, int((layout.edges.rows[0] > 0).sum()), states_of(layout, x)[:, 0]


def drawn(layout, state, count=2000):
    return np.asarray(layout.decode(jax.random.key(0), jnp.full((count, 1), state, jnp.int32)))[:, 0]


def test_values_that_many_rows_share_come_back_exactly():
    values = np.repeat(np.float32([3.0, -1.0, 0.1]), [50, 7, 5])
    layout, _, used, states = fitted(values)
    assert used == 3
    np.testing.assert_array_equal(states, np.repeat([2, 0, 1], [50, 7, 5]))
    np.testing.assert_array_equal(layout.decode(jax.random.key(0), jnp.asarray(states)[:, None])[:, 0], values)


def test_a_wide_column_is_cut_into_quantiles():
    values = np.random.default_rng(0).normal(size=1000)
    layout, found, used, states = fitted(values)
    counts = np.bincount(states, minlength=16)
    assert used == 16 and counts.min() >= 60 and counts.max() <= 65  # bins of bins of 5 rows
    np.testing.assert_array_equal(found.rows[0], counts)
    np.testing.assert_array_equal(found.high[0, :-1], found.low[0, 1:])
    inside = drawn(layout, 7)
    assert scipy.stats.kstest(inside, "uniform", (found.low[0, 7], found.high[0, 7] - found.low[0, 7])).pvalue > 0.01
    assert np.isin(inside, values.astype(np.float32)).mean() < 0.01


def test_no_value_of_fewer_than_five_rows_is_kept():
    """3.0 has four rows between two atoms: what is drawn for it lies anywhere between them."""
    layout, found, _, states = fitted(np.repeat([1.0, 3.0, 4.0], [20, 4, 20]))
    assert (found.low[0, 1], found.high[0, 1]) == (1.0, 4.0)
    np.testing.assert_array_equal(states, np.repeat([0, 1, 2], [20, 4, 20]))
    assert (drawn(layout, 1) == 3.0).mean() < 0.01


def test_an_atom_in_a_wide_column_stands_alone():
    """Zero-inflated: the atom takes one bin, quantiles of the others share the rest."""
    rng = np.random.default_rng(0)
    values = np.concatenate([np.zeros(500), rng.exponential(size=500) + 0.01, -rng.exponential(size=100) - 0.01])
    layout, _, used, states = fitted(values)
    assert len(set(states[:500])) == 1 and (states[500:] != states[0]).all()
    assert (drawn(layout, states[0]) == 0).all()
    assert 8 < used <= 16 and np.bincount(states[500 : 600 + 500]).max() < 130


def test_edges_of_lumped_atoms_by_hand():
    """Six values of 5 to 50 rows, of which 4 bins can be atoms or cells: only the two most shared stay exact."""
    values = np.repeat(np.float32([0, 1, 2, 3, 4, 10]), [50, 5, 6, 60, 7, 7])
    layout, found, used, states = fitted(values, most=4)
    assert used == 4
    np.testing.assert_array_equal(states, np.repeat([0, 1, 1, 2, 3, 3], [50, 5, 6, 60, 7, 7]))
    np.testing.assert_array_equal(found.low[0], [0, 0.5, 3, 3.5])
    np.testing.assert_array_equal(found.high[0], [0, 2.5, 3, 10])
    np.testing.assert_array_equal(found.rows[0], [50, 11, 60, 14])
    np.testing.assert_array_equal(layout.marginal, np.float32(np.array([50, 11, 60, 14]) / 135))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(-40, 40), st.integers(1, 15)), min_size=1, max_size=60), st.integers(2, 12))
def test_rows_take_the_bin_that_they_are_counted_in(pairs, most):
    """Of columns with shared values and with values of their own beside them."""
    values = np.concatenate([np.full(n, v) if n > 4 else v + np.linspace(0.1, 0.4, n) for v, n in pairs])
    values = values.astype(np.float32)
    found = layout_of(values[:, None], most=most).edges
    used = int((found.rows[0] > 0).sum())
    states = np.searchsorted(found.start[0], values, "right") - 1
    np.testing.assert_array_equal(np.bincount(states, minlength=len(found.rows[0])), found.rows[0])
    low, high = found.low[0, :used], found.high[0, :used]
    assert used <= most and (low <= high).all() and (high[:-1] <= low[1:]).all()
    for value in low[low == high]:
        assert len(values) < 10 or (values == value).sum() >= LEAST


def test_columns_have_as_many_states_as_the_one_with_most_bins():
    x = np.stack([np.arange(100.0) % 7, np.arange(100.0) % 2], axis=1)
    layout = bins.Layout(DataSpec.from_arrays(x.astype(np.float32)), 64)
    assert layout.bins == 7 and layout.sizes == (7, 7) and layout.edges.start.shape == (2, 7)
    narrow = bins.Layout(layout.spec, 64, full=True)
    assert narrow.sizes == (64, 64)
    np.testing.assert_array_equal(states_of(layout, x), x)
    np.testing.assert_array_equal(layout.marginal[layout.marginal > 0], narrow.marginal[narrow.marginal > 0])


@pytest.mark.parametrize("seed", range(3))
def test_bins_are_at_most_so_many_and_in_order(seed):
    rng = np.random.default_rng(seed)
    values = np.round(rng.standard_t(2, size=700), rng.integers(0, 3)).astype(np.float32)
    _, found, used, states = fitted(values, most=9)
    assert used <= 9 and states.max() == used - 1
    assert (np.diff(found.start[0, 1:used]) > 0).all() and (found.low <= found.high).all()
    for state in range(used):
        inside = values[states == state]
        assert len(inside) and inside.min() >= found.start[0, state]
        if found.low[0, state] == found.high[0, state]:
            assert len(set(inside)) == 1 and len(inside) >= LEAST


def test_codes_come_back_whole_and_evenly():
    values = np.random.default_rng(0).integers(0, 400, 4000)
    layout, _, _, states = fitted(values, kind="code")
    again = np.asarray(layout.decode(jax.random.key(0), jnp.asarray(states)[:, None]))[:, 0]
    assert (again == np.round(again)).all() and again.min() >= 0 and again.max() <= 399
    assert len(np.unique(again)) > 390 and scipy.stats.ks_2samp(again, values).pvalue > 0.01


def test_each_code_is_a_state_while_there_is_room(monkeypatch):
    """Codes of which some are rare or absent; with room for 300 states the column of 400 is binned."""
    rng = np.random.default_rng(0)
    x = np.column_stack(
        [
            rng.permutation(np.arange(4000) % 397 + (np.arange(4000) % 397 > 200) * 3),
            rng.geometric(0.2, 4000).clip(max=39),
        ]
    ).astype(np.float32)
    columns = (Column("many", "code", 0, 1, codes=400), Column("few", "code", 1, 1, codes=40))
    spec = DataSpec("table", (2,), 0, columns=columns).measured(x)
    layout = bins.Layout(spec, 16)
    assert layout.sizes == (400, 40) and layout.numeric == ()
    states = states_of(layout, x)
    np.testing.assert_array_equal(states, x)
    np.testing.assert_array_equal(layout.decode(jax.random.key(0), jnp.asarray(states)), x)
    for column, share in enumerate(np.split(layout.marginal, [400])):
        counts = np.bincount(states[:, column], minlength=len(share)) / 4000
        np.testing.assert_allclose(share, counts, atol=5 / 4000)
        np.testing.assert_allclose(share[counts >= 5 / 4000], counts[counts >= 5 / 4000], rtol=1e-3)
    monkeypatch.setattr(bins, "CODES", 300)
    layout = bins.Layout(spec, 16)
    assert layout.sizes == (16, 40) and layout.coded == columns[1:]
    np.testing.assert_array_equal(states_of(layout, x)[:, 1], x[:, 1])


def test_a_column_without_values_is_0():
    x = np.tile(np.float32([[0, 1]]), (30, 1))
    layout = layout_of(x, missing=1)
    states = states_of(layout, x)
    assert (states == layout.bins).all()
    np.testing.assert_array_equal(layout.decode(jax.random.key(0), jnp.asarray(states)), x)
    assert float(drawn(layout, 0)[0]) == 0
    np.testing.assert_array_equal(layout.marginal, np.eye(layout.bins + 1)[layout.bins])


def test_a_mixed_table_there_and_back():
    rows = mixed(2000)
    layout = bins.Layout(SPEC.measured(rows.x), 24)
    states = layout.states(jnp.asarray(rows.x), jnp.asarray(rows.y))
    assert layout.sizes == (2, 25, 24, 4, 24)  # the label stands for the target and comes first
    np.testing.assert_array_equal(states[:, 0], rows.y)
    x = np.asarray(layout.decode(jax.random.key(0), states))
    assert_valid(x)
    np.testing.assert_array_equal(x[:, [1, 2, 3, 4, 5, 6, 8, 9]], rows.x[:, [1, 2, 3, 4, 5, 6, 8, 9]])
    assert np.corrcoef(x[:, 0], rows.x[:, 0])[0, 1] > 0.99 and np.abs(x[:, 7] - rows.x[:, 7]).max() <= 3
    np.testing.assert_array_equal(layout.onehot(states).sum(axis=1), 5)
    share = np.asarray(layout.normalise(layout.onehot(states).sum(axis=0)))
    np.testing.assert_allclose([part.sum() for part in np.split(share, np.cumsum(layout.sizes)[:-1])], 1, rtol=1e-5)
    shares = np.asarray(SPEC.frequencies)  # of the spec, not of these rows
    np.testing.assert_allclose(layout.marginal, np.append(shares, share[2:]), atol=1e-6)
    used = np.arange(24)[None] < (layout.edges.rows > 0).sum(axis=1)[:, None]
    expected = [np.ones(2), used[0], [1], used[1], np.ones(4), used[2]]
    np.testing.assert_array_equal(layout.possible, np.concatenate(expected))


def test_a_target_of_codes_is_the_label():
    """Its numbers are no bins: those of the column behind it are."""
    x = np.column_stack([np.arange(60) % 3, np.repeat([7.0, 9.0], 30)]).astype(np.float32)
    columns = (Column("t", "code", 0, 1, target=True, codes=3), Column("v", "continuous", 1, 1))
    spec = DataSpec("table", (2,), 0, ("a", "b", "c"), (1 / 3,) * 3, columns).measured(x)
    layout = bins.Layout(spec, 4)
    np.testing.assert_array_equal(layout.edges.low, [[7, 9]])
    states = layout.states(jnp.asarray(x), jnp.asarray(x[:, 0], jnp.int32))
    np.testing.assert_array_equal(layout.decode(jax.random.key(0), states), x)
    np.testing.assert_allclose(layout.marginal, [1 / 3, 1 / 3, 1 / 3, 0.5, 0.5], rtol=1e-6)


def test_choose_draws_by_the_weights_and_never_what_has_none():
    weights = np.array([0.0, 3.0, 0.0, 1.0, 0.0])
    states = bins.choose(jax.random.key(0), jnp.broadcast_to(jnp.cumsum(jnp.asarray(weights)), (20_000, 5)))
    counts = np.bincount(states, minlength=5)
    assert counts[[0, 2, 4]].sum() == 0 and abs(counts[1] / 20_000 - 0.75) < 0.015


def test_what_cannot_be_binned_is_said():
    with pytest.raises(InputError, match="model m makes tables"):
        bins.check("m", DataSpec("image", (2, 2, 1)))
    with pytest.raises(InputError, match="names no columns"):
        bins.check("m", DataSpec("table", (2,)))
    with pytest.raises(InputError, match="has no statistics"):
        bins.check("m", SPEC)
    with pytest.raises(InputError, match="has 2 classes and 0 frequencies"):
        bins.check("m", dataclasses.replace(SPEC, frequencies=()))
    for model in (independent, mixture, table_ar):
        with pytest.raises(InputError, match="model.bins=1"):
            model.Config(bins=1)


@pytest.mark.parametrize(("count", "size"), [(1, 1), (7, 3), (64, 16), (90, 16), (101, 7), (12, 100)])
def test_a_total_counts_each_row_once(count, size):
    rows = np.random.default_rng(0).integers(1, 9, (count, 2)).astype(np.float32), np.ones(count, np.float32)
    first, second = total(lambda part: (part[0].sum(axis=0), part[1].sum()), rows, size)
    np.testing.assert_array_equal(first, rows[0].sum(axis=0))
    assert second == count


@pytest.mark.parametrize("devices", [1, 4])
def test_a_total_copies_no_rows_and_sends_none_to_another_device(devices):
    if jax.device_count() < devices:
        pytest.skip("needs four devices")
    mesh = jax.make_mesh((devices,), ("data",), (AxisType.Auto,), devices=jax.devices()[:devices])
    rows = jax.ShapeDtypeStruct((10_004, 20), np.float32, sharding=NamedSharding(mesh, PartitionSpec("data")))
    compiled = jax.jit(lambda x: total(lambda part: jnp.sin(part).sum(axis=0), x, 500)).lower(rows).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 0.1 * 4 * 10_004 * 20 / devices
    assert "all-gather" not in compiled.as_text() and "all-to-all" not in compiled.as_text()
