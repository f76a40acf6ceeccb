r"""The columns of a table as finite states, for models that count: mixtures, autoregressive models.

A categorical column has its categories as states. A numeric one (`continuous`, or `code` with its ordered integers) is
cut into bins, fitted to the training rows: a value that many rows share is an *atom* and comes back exactly; what lies
between atoms is cut into *cells* of about equal numbers of rows, and comes back uniform between the cell's edges,
which are the midpoints to the neighbouring bins. Both follow one grain g: atoms are shared by at least g rows, cells
hold at least g, and g is the smallest (from `LEAST` rows up) whose bins are few enough. So a narrow column (ages, zero
inflated gains) is all atoms, a wide one all quantiles. A missing value is one more state. Of a `code` the rare
categories share bins with those next to them in number: they keep their frequency and lose what they depend on.

The label is a state like any other: column 0 where the data has classes, standing for the target column if the vector
has one.

    layout = Layout(spec, bins=128)
    bins = fit(layout, batch.x, batch.weight)
    states = layout.states(bins, batch.x, batch.y)          # (B, C) i32
    x = layout.decode(bins, key, states)                    # (B, D)
"""

import functools
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from synthjax.errors import InputError
from synthjax.model import Column, DataSpec

LEAST = 5
"""Fewest rows that share an atom or fill a cell: no value of fewer is kept, as no category of fewer is named."""


class Bins(NamedTuple):
    """The bins of the N numeric columns, at most M each, in ascending order; places past the last repeat it.

    One column of nothing stands for none."""

    used: jax.Array
    """(N,) i32 bins of each column."""
    first: jax.Array
    """(N, M) smallest training value of each bin."""
    low: jax.Array
    """(N, M) edges that values are drawn between; equal for an atom."""
    high: jax.Array
    """(N, M)"""


@dataclass(frozen=True)
class Layout:
    """How the columns of a spec become states; `bins` is the largest number of bins of a numeric column."""

    spec: DataSpec
    bins: int = 128

    @functools.cached_property
    def columns(self) -> tuple[Column, ...]:
        """The columns of the vector that have states of their own: all, less a target that the label stands for."""
        return tuple(c for c in self.spec.columns if not (c.target and self.spec.n_classes))

    @functools.cached_property
    def numeric(self) -> tuple[Column, ...]:
        """Those that are binned."""
        return tuple(column for column in self.columns if column.kind != "onehot")

    @functools.cached_property
    def labelled(self) -> int:
        """1 where the label is column 0, else 0."""
        return int(self.spec.n_classes > 0)

    @functools.cached_property
    def sizes(self) -> tuple[int, ...]:
        """States of each of the C columns, the label first; a missing numeric value is the last one."""

        def states(column: Column) -> int:
            return column.size if column.kind == "onehot" else self.bins + (column.missing is not None)

        return (self.spec.n_classes,) * self.labelled + tuple(states(column) for column in self.columns)

    @functools.cached_property
    def flat(self) -> np.ndarray:
        """(2, W): the column and the state of each of the W = sum(sizes) places in a flat vector of all states."""
        places = [(column, state) for column, size in enumerate(self.sizes) for state in range(size)]
        return np.asarray(places, np.int32).T

    @functools.cached_property
    def padded(self) -> np.ndarray:
        """(C, max(sizes)) places in the flat vector, W where a column has no such state."""
        index = np.full((len(self.sizes), max(self.sizes)), sum(self.sizes), np.int32)
        index[self.flat[0], self.flat[1]] = np.arange(sum(self.sizes))
        return index

    def pad(self, flat: jax.Array) -> jax.Array:
        """(..., W) -> (..., C, max(sizes)), 0 where a column has no such state."""
        return jnp.pad(flat, [(0, 0)] * (flat.ndim - 1) + [(0, 1)])[..., self.padded]

    def onehot(self, states: jax.Array) -> jax.Array:
        """(B, C) states -> (B, W) f32, one 1 a column."""
        return (states[:, self.flat[0]] == self.flat[1]).astype(jnp.float32)

    def places(self, states: jax.Array) -> jax.Array:
        """(B, C) states -> (B, C) places in the flat vector."""
        return states + np.cumsum([0, *self.sizes[:-1]], dtype=np.int32)

    def normalise(self, flat: jax.Array) -> jax.Array:
        """(W, ...) numbers >= 0 -> the same, summing to 1 over the states of each column."""
        total = jax.ops.segment_sum(flat, self.flat[0], len(self.sizes))
        return flat / jnp.maximum(total, 1e-30)[self.flat[0]]

    def states(self, bins: Bins, x: jax.Array, y: jax.Array) -> jax.Array:
        """x (B, D), y (B,) -> (B, C) i32. A value that training did not see takes the bin below it."""
        parts = [y[:, None]] * self.labelled
        if self.numeric:
            values = x[:, self._starts]
            index = jax.vmap(functools.partial(jnp.searchsorted, side="right"), (0, 1), 1)(bins.first, values) - 1
            parts.append(jnp.where(self.absent(x), self.bins, jnp.clip(index, 0, bins.used - 1)))
        parts += [x[:, positions].argmax(axis=-1) for positions in self._onehots.values()]
        return jnp.concatenate(parts, axis=1).astype(jnp.int32)[:, self._order]

    def absent(self, x: jax.Array) -> jax.Array:
        """(B, D) -> (B, N) bool: whether the value of each numeric column is missing."""
        missing = [column.missing for column in self.numeric]
        known = np.array([slot is not None for slot in missing])
        return (x[:, np.array([slot or 0 for slot in missing])] > 0.5) & known

    @functools.cached_property
    def _starts(self) -> np.ndarray:
        """(N,) positions in x of the numeric columns."""
        return np.array([column.start for column in self.numeric])

    @functools.cached_property
    def _onehots(self) -> dict[int, np.ndarray]:
        """Size -> (count, size) positions in x of the categorical columns of that size: one operation for all."""
        found: dict[int, list[range]] = {}
        for column in self.columns:
            if column.kind == "onehot":
                found.setdefault(column.size, []).append(range(column.start, column.start + column.size))
        return {size: np.array(places) for size, places in found.items()}

    @functools.cached_property
    def _order(self) -> np.ndarray:
        """(C,) where each column stands among label, numeric columns and categorical ones by size."""
        number = {column: place for place, column in enumerate(self.columns, self.labelled)}
        columns = [number[column] for column in self.numeric]
        columns += [number[c] for size in self._onehots for c in self.columns if c.kind == "onehot" and c.size == size]
        return np.argsort([*range(self.labelled), *columns])

    @functools.cached_property
    def _positions(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of each position of x: its column among C, the state that sets it to 1, its place in `numeric` or -1."""
        column_of, state_of = np.zeros(self.spec.dims, np.int32), np.full(self.spec.dims, -1, np.int32)
        numeric_of = np.full(self.spec.dims, -1, np.int32)
        places = {column: self.labelled + place for place, column in enumerate(self.columns)}
        numbers = {column: place for place, column in enumerate(self.numeric)}
        for column in self.spec.columns:
            place = places.get(column, 0)  # a target that the label stands for is column 0
            positions = slice(column.start, column.start + column.size)
            column_of[positions] = place
            if column.kind == "onehot":
                state_of[positions] = np.arange(column.size)
                continue
            if column in places:
                numeric_of[column.start] = numbers[column]
            if column.missing is not None:
                state_of[column.missing] = self.bins if column in places else self.spec.n_classes
        return column_of, state_of, numeric_of

    def decode(self, bins: Bins, key: jax.Array, states: jax.Array) -> jax.Array:
        """(B, C) states -> x (B, D), values drawn uniformly between the edges of their bins; codes are whole."""
        column_of, state_of, numeric_of = self._positions
        x = jnp.where(state_of >= 0, states[:, column_of] == state_of, states[:, column_of]).astype(jnp.float32)
        if not self.numeric:
            return x
        places = [i + self.labelled for i, c in enumerate(self.columns) if c.kind != "onehot"]
        index = states[:, np.asarray(places)]
        low, high = (jax.vmap(lambda edge, i: edge[i], (0, 1), 1)(edge, index) for edge in (bins.low, bins.high))
        values = low + (high - low) * jax.random.uniform(key, index.shape)
        values = jnp.where(np.asarray([c.kind == "code" for c in self.numeric]), jnp.round(values), values)
        values = jnp.where(index == self.bins, 0.0, values)
        return jnp.where(numeric_of >= 0, values[:, numeric_of], x)


def check(model: str, spec: DataSpec, bins: int) -> None:
    """Raises InputError where that model cannot bin such data: an image, no columns, fewer than 2 bins."""
    if spec.kind != "table":
        raise InputError(f"model {model} makes tables; the data is an image of shape {spec.shape}")
    if not spec.columns:
        raise InputError(f"model {model}: the data spec names no columns")
    if bins < 2:
        raise InputError(f"model.bins={bins}: must be at least 2")


def empty(layout: Layout) -> Bins:
    """Bins of no data, of the right shape: every value is 0."""
    zeros = jnp.zeros((max(len(layout.numeric), 1), layout.bins), jnp.float32)
    return Bins(jnp.ones(len(zeros), jnp.int32), zeros, zeros, zeros)


def fit(layout: Layout, x: jax.Array, weight: jax.Array) -> Bins:
    """The bins of the rows x (B, D) of positive weight (B,).

    Cells, however few rows share a value, are at most as many as half the bins and the square root of the rows.
    """
    if not layout.numeric:
        return empty(layout)
    values = x[:, layout._starts].T
    present = ((weight > 0)[:, None] & ~layout.absent(x)).T
    cells = max(1.0, min(layout.bins, math.sqrt(len(x))))
    return Bins(*jax.lax.map(lambda of: _fit_column(of[0], of[1], layout.bins, cells), (values, present)))


def _fit_column(value: jax.Array, present: jax.Array, bins: int, cells: float) -> tuple[jax.Array, ...]:
    """`Bins` of one column, (bins,) each, from values and whether they count, (B,) each."""
    s = jnp.sort(jnp.where(present, value, jnp.inf))
    rank = jnp.arange(len(s))
    valid = rank < present.sum()
    start = valid & ((rank == 0) | (s != jnp.roll(s, 1)))
    head = jax.lax.cummax(jnp.where(start, rank, 0))
    share = jnp.zeros(len(s), jnp.int32).at[head].add(valid)[head]  # rows of the same value

    def cut(grain):
        """(whether a bin starts here, whether the value is an atom), each (B,)."""
        atom = valid & (share >= grain)
        rest = valid & ~atom
        total = rest.sum()
        count = jnp.maximum(1, jnp.floor(total / jnp.maximum(grain, total / cells)))
        before = (jnp.cumsum(rest) - rest)[head]
        cell = jnp.floor(before * count / jnp.maximum(total, 1))
        parted = atom | jnp.roll(atom, 1) | (cell != jnp.roll(cell, 1))
        return start & ((rank == 0) | parted), atom

    grain = jax.lax.while_loop(lambda g: cut(g)[0].sum() > bins, lambda g: 1.25 * g, jnp.float32(LEAST))
    new, atom = cut(grain)
    place = jnp.where(valid, jnp.cumsum(new) - 1, bins)  # out of bounds is dropped
    first = jnp.full(bins, jnp.inf, jnp.float32).at[place].min(s, mode="drop")
    last = jnp.full(bins, -jnp.inf, jnp.float32).at[place].max(s, mode="drop")
    exact = jnp.zeros(bins, bool).at[place].max(atom, mode="drop")
    count = jnp.maximum(new.sum(), 1).astype(jnp.int32)
    after = jnp.append(first[1:], jnp.inf)
    middle = jnp.where(jnp.arange(bins) + 1 < count, (last + after) / 2, last)
    low = jnp.where(exact, first, jnp.append(first[:1], middle[:-1]))
    high = jnp.where(exact, first, middle)
    place = jnp.minimum(jnp.arange(bins), count - 1)
    return count, *(jnp.where(valid.any(), edge, 0.0)[place] for edge in (first, low, high))


def choose(key: jax.Array, cdf: jax.Array) -> jax.Array:
    """Draws one state from each row of cumulative weights `cdf` (..., S), which need not end in 1: (...) i32."""
    u = jax.random.uniform(key, cdf.shape[:-1]) * cdf[..., -1] * (1 - 1e-6)
    return (cdf <= u[..., None]).sum(axis=-1, dtype=jnp.int32)


def choose_alike(key: jax.Array, cdf: jax.Array, rows: int) -> jax.Array:
    """`choose` for so many rows that all have the cumulative weights `cdf` (C, S): (rows, C) i32."""
    u = jax.random.uniform(key, (rows, len(cdf))) * cdf[:, -1] * (1 - 1e-6)
    return jax.vmap(functools.partial(jnp.searchsorted, side="right"), (0, 1), 1)(cdf, u).astype(jnp.int32)


def total(function: Any, rows: Any, size: int) -> Any:
    """The sum of `function(part)` over parts of at most `size` rows; `rows`: pytree of (N, ...) with 0 as padding."""
    count = jax.tree.leaves(rows)[0].shape[0]
    parts = -(-count // size)

    def cut(a: jax.Array) -> jax.Array:
        padded = jnp.pad(a, [(0, -count % parts)] + [(0, 0)] * (a.ndim - 1))
        return jnp.moveaxis(padded.reshape(-1, parts, *a.shape[1:]), 1, 0)  # each part spans all devices

    stacked = jax.tree.map(cut, rows)
    shapes = jax.eval_shape(function, jax.tree.map(lambda a: a[0], stacked))
    zeros = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes)
    return jax.lax.scan(lambda sums, part: (jax.tree.map(jnp.add, sums, function(part)), None), zeros, stacked)[0]
