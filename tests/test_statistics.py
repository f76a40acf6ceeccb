"""Statistics of columns against NumPy, and what they promise of rare numbers for any column at all."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthjax.model import Column, DataSpec
from synthjax.statistics import between, measure, partition

V = Column("v", "continuous", 0, 1)
WHOLE = st.integers(-30, 30).map(float)
REAL = st.floats(-1e6, 1e6, width=32)


@st.composite
def columns(draw):
    """(values (n,) f32, least): numbers of which some are shared by many rows."""
    values = draw(st.lists(st.one_of(WHOLE, REAL), max_size=60))
    copies = draw(st.lists(st.integers(1, 12), min_size=len(values), max_size=len(values)))
    return np.repeat(np.array(values, np.float32), copies), draw(st.integers(1, 8))


def one(values, least=5):
    """Edges and rows of the bins of a column, those that are in use."""
    found = measure(np.asarray(values, np.float32)[:, None], (V,), least=least)
    used = max(int((found.rows[0] > 0).sum()), 1)
    return found.low[0, :used], found.high[0, :used], found.rows[0, :used]


@settings(max_examples=300, deadline=None)
@given(columns())
def test_bins_of_any_column(given):
    values, least = given
    low, high, rows = one(values, least)
    assert rows.sum() == len(values)
    if len(values) < least:
        assert (low, high) == (0, 0)
        return
    distinct, counts = np.unique(values, return_counts=True)
    shared = set(distinct[counts >= least])
    assert (low <= high).all() and (low[1:] >= high[:-1]).all()
    assert (high[-1] <= values.max()) and (low[0] >= values.min())
    exact = low == high
    for i in np.flatnonzero(exact):
        assert low[i] in shared or len(rows) == 1
    ends = np.append(low[1:], np.inf)
    for i in np.flatnonzero(~exact & (rows < least)):
        assert 0 < i < len(rows) - 1 and low[i] == high[i - 1] in shared and high[i] == ends[i] in shared
    # All values that so many rows share come back, where there are few enough: no grain is needed.
    if len(distinct) < 60:
        assert shared == set(low[exact]) or len(rows) == 1


@settings(max_examples=300, deadline=None)
@given(columns())
def test_rows_are_of_the_bin_that_they_are_counted_in(given):
    """Counted anew by the edges alone: from an atom's value, above an atom, or from the edge between two cells."""
    values, least = given
    low, high, rows = one(values, least)
    if len(values) < least or len(rows) == 1:
        return
    exact = low == high
    start = low.copy()
    above = np.flatnonzero(~exact[1:] & exact[:-1])
    start[above + 1] = np.nextafter(high[above], np.float32(np.inf))
    start[0] = -np.inf
    place = np.searchsorted(start, values, "right") - 1
    np.testing.assert_array_equal(np.bincount(place, minlength=len(rows)), rows)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=80), st.integers(2, 40), st.integers(1, 9), st.data())
def test_partitions_of_any_counts(counts, bins, least, data):
    counts = np.array(counts)
    exact = np.array(data.draw(st.lists(st.booleans(), min_size=len(counts), max_size=len(counts))))
    new, atom = partition(counts, exact, bins, bins, least)
    starts = np.flatnonzero(new)
    rows, with_atom = np.add.reduceat(counts, starts), np.logical_or.reduceat(atom, starts)
    assert new[0] and len(starts) <= bins and not (atom & ~exact).any() and (counts[atom] >= least).all()
    for i in np.flatnonzero(~with_atom & (rows < least)):
        assert len(rows) == 1 or (with_atom[max(i - 1, 0)] and with_atom[min(i + 1, len(rows) - 1)])


def test_edges_by_hand():
    """Zeros, a run of 12 above them, an atom, four rows between atoms, an atom, three rows at the end."""
    values = [0.0] * 9 + [float(v) for v in range(1, 13)] + [20.0] * 5 + [21, 22, 23, 24] + [30.0] * 6 + [40, 50, 60]
    low, high, rows = one(values)
    np.testing.assert_array_equal(rows, [9, 6, 6, 5, 4, 9])
    np.testing.assert_array_equal(low, [0, 0, 6.5, 20, 20, 30])
    np.testing.assert_array_equal(high, [0, 6.5, 20, 20, 30, 30])
    low, high, rows = one(range(30))
    np.testing.assert_array_equal((low[0], high[0], high[-1]), (2.0, 4.5, 27.0))
    low, high, _ = one([5.0] * 20 + [float(v) for v in range(10, 20)])
    np.testing.assert_array_equal((low[1], high[-1]), (5.0, 17.0))  # two cells of 5


def test_a_number_of_few_rows_is_not_stored():
    values = np.random.default_rng(0).normal(size=5000).astype(np.float32)
    values[:1000] = 0.5
    low, high, rows = one(values)
    stored = np.concatenate([low, high])
    assert np.isin(stored[stored != 0.5], values).mean() < 0.01  # floats meet by chance
    assert set(low[low == high]) == {0.5} and (rows >= 5).all()


def test_the_midpoint_is_above_what_is_below():
    a = np.array([1.0, -1.0, 3e38, 0.0], np.float32)
    b = np.nextafter(a, np.float32(np.inf))
    np.testing.assert_array_equal(between(a, b), b)
    assert between(np.float32([1]), np.float32([2])) == 1.5


def test_a_column_of_many_values_is_cut_into_equal_parts():
    values = np.random.default_rng(0).permutation(100_000).astype(np.float32)
    found = measure(values[:, None], (V,))
    assert found.rows.shape == (1, 2048) and set(found.rows[0]) <= {48, 49}
    values[:40_000] = -1  # an atom: others still have almost all the bins
    found = measure(values[:, None], (V,))
    assert found.rows[0, 0] == 40_000 and 1500 < (found.rows > 0).sum() <= 2048 and found.rows[0, 1:].max() < 48


def test_missing_values_codes_and_several_columns():
    cards = (
        Column("a", "continuous", 0, 2, missing=1),
        Column("c", "onehot", 2, 2),
        Column("k", "code", 4, 2, missing=5, codes=9),
    )
    rng = np.random.default_rng(0)
    gone = rng.random(400) < 0.25
    a, k = np.where(gone, 0, rng.normal(7, 2, 400)), np.where(gone, 0, rng.integers(0, 9, 400))
    x = np.column_stack([a, gone, gone, ~gone, k, gone]).astype(np.float32)
    found = measure(x, cards)
    np.testing.assert_array_equal(found.rows.sum(axis=1), [(~gone).sum()] * 2)
    assert found.mean[0] == pytest.approx(a[~gone].mean(), rel=1e-5)
    assert found.variance[0] == pytest.approx(a[~gone].var(), rel=1e-5)
    np.testing.assert_allclose(found.mean[[1, 2, 3, 4, 5]], x[:, 1:].mean(axis=0), rtol=1e-5)
    used = int((found.rows[1] > 0).sum())
    np.testing.assert_array_equal(found.low[1, :used], np.arange(9))
    np.testing.assert_array_equal(found.rows[1, :used], np.bincount(k[~gone].astype(int)))
    assert (found.low[1, used:] == 8).all() and (found.rows[1, used:] == 0).all()  # padding


@pytest.mark.parametrize("rows", [0, 1, 4])
def test_of_few_rows_nothing_but_their_number_is_known(rows):
    found = measure(np.full((rows, 1), 3.0, np.float32), (V,))
    np.testing.assert_array_equal((found.low, found.high, found.rows), [[[0]], [[0]], [[rows]]])
    assert found.variance == [0] and np.isfinite(found.mean).all()


def test_a_value_that_five_rows_share_is_exact():
    values = np.random.default_rng(0).permutation(np.repeat(np.float32([1e-7, 123456.78, -2.5e15]), [5, 6, 700]))
    low, high, rows = one(values)
    np.testing.assert_array_equal(low, np.float32([-2.5e15, 1e-7, 123456.78]))
    np.testing.assert_array_equal((high, rows), (low, [700, 5, 6]))


def test_moments_of_images_are_those_that_models_see():
    x = np.random.default_rng(0).integers(0, 17, (5000, 4, 3, 1)).astype(np.uint8)
    x[:, 0, 0] = 9
    spec = DataSpec.from_arrays(x, levels=17)
    seen = np.asarray(spec.encode(x), np.float64)
    found = spec.known()
    np.testing.assert_allclose(found.mean, seen.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(found.variance, seen.var(axis=0), rtol=1e-5, atol=1e-12)
    assert found.variance[0, 0] == 0 and found.low.shape[0] == 0 and spec.rows == 5000


def test_moments_far_from_zero_are_exact():
    """Sums of squares would leave nothing of it."""
    x = (1e6 + np.random.default_rng(0).integers(0, 2, (4_000_000, 1))).astype(np.float32)
    x = np.concatenate([x, np.full_like(x, 0.1)], axis=1)
    found = measure(x)
    assert found.variance[0] == pytest.approx(0.25, rel=1e-3) and found.variance[1] == 0


def test_a_number_that_is_none_is_refused():
    x = np.ones((9, 2), np.float32)
    x[3, 1] = np.nan
    with pytest.raises(ValueError, match=r"a value at \[1\] of a row is not finite"):
        measure(x)
