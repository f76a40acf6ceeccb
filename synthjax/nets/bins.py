r"""The columns of a table as finite states, for models that count: mixtures, autoregressive models.

A categorical column has its categories as states. A numeric one (`continuous`, or `code` with its ordered integers) is
cut into bins, which are unions of those of `DataSpec.statistics`: a value that many rows share is an *atom* and comes
back exactly; what lies between atoms is cut into *cells* of about equal numbers of rows, and comes back uniform between
the cell's edges. Both follow one grain g: atoms are shared by at least g rows, cells hold at least g, and g is the
smallest whose bins are few enough. So a narrow column (ages, zero inflated gains) is all atoms, a wide one all
quantiles. Cells, however few rows share a value, are at most as many as the square root of the rows. A missing value is
one more state. Of a `code` the rare categories share bins with those next to them in number: they keep their frequency
and lose what they depend on.

The label is a state like any other: column 0 where the data has classes, standing for the target column if the vector
has one.

    layout = Layout(spec, bins=128)
    states = layout.states(batch.x, batch.y)                # (B, C) i32
    x = layout.decode(key, states)                          # (B, D)
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
from synthjax.statistics import between, partition


class Bins(NamedTuple):
    """The bins of the N numeric columns, at most M each, in ascending order, as NumPy arrays."""

    start: np.ndarray
    """(N, M) f32 smallest value of each bin: -inf of the first, inf past the last."""
    low: np.ndarray
    """(N, M) f32 edges that values are drawn between, equal for an atom; those past the last repeat it."""
    high: np.ndarray
    """(N, M) f32"""
    rows: np.ndarray
    """(N, M) f64 training rows in each bin; 0 past the last."""


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
        return (states[:, self.flat[0]] == self.flat[1][None]).astype(jnp.float32)

    def places(self, states: jax.Array) -> jax.Array:
        """(B, C) states -> (B, C) places in the flat vector."""
        return states + np.cumsum([0, *self.sizes[:-1]], dtype=np.int32)[None]

    def normalise(self, flat: jax.Array) -> jax.Array:
        """(W, ...) numbers >= 0 -> the same, summing to 1 over the states of each column."""
        total = jax.ops.segment_sum(flat, self.flat[0], len(self.sizes))
        return flat / jnp.maximum(total, 1e-30)[self.flat[0]]

    @functools.cached_property
    def edges(self) -> Bins:
        """The bins of the numeric columns.

        Raises:
          InputError: the spec has no statistics.
        """
        known = self.spec.known()
        cells = max(1.0, min(self.bins, math.sqrt(self.spec.rows)))
        found = Bins(*(np.zeros((len(self.numeric), self.bins), kind) for kind in ("f4", "f4", "f4", "f8")))
        among = [column for column in self.spec.columns if column.kind != "onehot"]
        for place, column in enumerate(self.numeric):
            base = among.index(column)
            merged = merge(known.low[base], known.high[base], known.rows[base], self.bins, cells)
            used = len(merged.rows)
            for padded, values, last in zip(found, merged, (np.inf, merged.low[-1], merged.high[-1], 0), strict=True):
                padded[place, :used], padded[place, used:] = values, last
        return found

    @functools.cached_property
    def marginal(self) -> np.ndarray:
        """(W,) f32 frequency of each state of each column among the training rows, as the spec has it."""
        mean = np.asarray(self.spec.known().mean, np.float64)
        parts = [np.asarray(self.spec.frequencies, np.float64)] * self.labelled
        numbers = iter(self.edges.rows)
        for column in self.columns:
            if column.kind == "onehot":
                parts.append(mean[column.start : column.start + column.size])
                continue
            share = next(numbers)
            share = share / share.sum() if share.any() else np.eye(1, self.bins)[0]
            missing = 0.0 if column.missing is None else mean[column.missing]
            parts.append(np.append(share * (1 - missing), [missing] * (column.missing is not None)))
        return np.concatenate(parts).astype(np.float32)

    @functools.cached_property
    def possible(self) -> np.ndarray:
        """(W,) bool: all states but the bins past a column's last one."""
        used = {column: int((rows > 0).sum()) or 1 for column, rows in zip(self.numeric, self.edges.rows, strict=True)}
        parts = [np.ones(self.spec.n_classes, bool)] * self.labelled
        for column, size in zip(self.columns, self.sizes[self.labelled :], strict=True):
            state = np.arange(size)
            parts.append((state < used.get(column, size)) | ((state == self.bins) & (column.kind != "onehot")))
        return np.concatenate(parts)

    def states(self, x: jax.Array, y: jax.Array) -> jax.Array:
        """x (B, D), y (B,) -> (B, C) i32. A value that training did not see takes the bin below it."""
        parts = [y[:, None].astype(jnp.int32)] * self.labelled
        if self.numeric:
            place = jax.vmap(functools.partial(jnp.searchsorted, side="right"), (0, 1), 1)
            index = jnp.clip(place(jnp.asarray(self.edges.start), x[:, self._starts]) - 1, 0, self.bins - 1)
            parts.append(jnp.where(self.absent(x), self.bins, index).astype(jnp.int32))
        parts += [x[:, positions].argmax(axis=-1).astype(jnp.int32) for positions in self._onehots.values()]
        return jnp.concatenate(parts, axis=1)[:, self._order]

    def absent(self, x: jax.Array) -> jax.Array:
        """(B, D) -> (B, N) bool: whether the value of each numeric column is missing."""
        missing = [column.missing for column in self.numeric]
        known = np.array([slot is not None for slot in missing])
        return (x[:, np.array([slot or 0 for slot in missing])] > 0.5) & known[None]

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

    def decode(self, key: jax.Array, states: jax.Array, edges: tuple[jax.Array, jax.Array] | None = None) -> jax.Array:
        """(B, C) states -> x (B, D), codes whole; values are uniform between `edges` (B, N), default: of their bins."""
        column_of, state_of, numeric_of = self._positions
        of = states[:, column_of]
        x = jnp.where(state_of[None] >= 0, of == state_of[None], of).astype(jnp.float32)
        if not self.numeric:
            return x
        places = [i + self.labelled for i, c in enumerate(self.columns) if c.kind != "onehot"]
        index = states[:, np.asarray(places)]
        edge = jax.vmap(lambda edge, i: edge[i], (0, 1), 1)
        low, high = edges or (edge(jnp.asarray(both), index) for both in (self.edges.low, self.edges.high))
        values = low + (high - low) * jax.random.uniform(key, index.shape, jnp.float32)
        whole = np.asarray([c.kind == "code" for c in self.numeric])
        values = jnp.where(whole[None], jnp.round(values), values)
        values = jnp.where(index == self.bins, 0.0, values)
        return jnp.where(numeric_of[None] >= 0, values[:, numeric_of], x)


def merge(low: np.ndarray, high: np.ndarray, rows: np.ndarray, bins: int, cells: float) -> Bins:
    """At most `bins` bins, about `cells` of them cells, unions of those of one column of `Statistics`: (used,) each."""
    used = max(int((rows > 0).sum()), 1)
    low, high, rows = low[:used], high[:used], rows[:used].astype(np.float64)
    atom = low == high
    new, exact = partition(rows, atom, bins, cells, 1)
    first = np.flatnonzero(new)
    last = np.append(first[1:], used) - 1
    exact = exact[first]
    bottom, top = low[first], high[last]
    # All values above an atom are the next bin's. (XLA takes a number nearer to 0 than `tiny` for 0.)
    tiny = np.finfo(np.float32).tiny
    next_value = np.nextafter(high[last[:-1]], np.float32(np.inf))
    next_value = np.where((next_value > 0) & (next_value < tiny), tiny, next_value)
    above = np.where(atom[last[:-1]], next_value, low[first[1:]])
    start = np.append(np.float32(-np.inf), np.where(atom[first[1:]], low[first[1:]], above))
    middle = between(top[:-1], bottom[1:])
    cells_meet, lumped_below, lumped_above = ~exact[:-1] & ~exact[1:], atom[last[:-1]], atom[first[1:]]
    top[:-1] = np.where(cells_meet | (~exact[:-1] & lumped_below), middle, top[:-1])
    bottom[1:] = np.where(cells_meet | (~exact[1:] & lumped_above), middle, bottom[1:])
    return Bins(start, bottom, top, np.add.reduceat(rows, first))


def check(model: str, spec: DataSpec) -> None:
    """Raises InputError where that model cannot bin such data: an image, no columns, no frequencies or statistics."""
    if spec.kind != "table":
        raise InputError(f"model {model} makes tables; the data is an image of shape {spec.shape}")
    if not spec.columns:
        raise InputError(f"model {model}: the data spec names no columns")
    if len(spec.frequencies) != spec.n_classes:
        raise InputError(
            f"model {model}: the data spec has {spec.n_classes} classes and {len(spec.frequencies)} frequencies"
        )
    spec.known()


def check_counts(config: Any, *names: str, bins: bool = True) -> None:
    """Raises InputError where one of those fields of a Config is below 1, or its `bins`, if it has any, below 2."""
    for name in names:
        if getattr(config, name) < 1:
            raise InputError(f"model.{name}={getattr(config, name)}: must be at least 1")
    if bins and config.bins < 2:
        raise InputError(f"model.bins={config.bins}: must be at least 2")


def choose(key: jax.Array, cdf: jax.Array) -> jax.Array:
    """Draws one state from each row of cumulative weights `cdf` (..., S), which need not end in 1: (...) i32."""
    u = jax.random.uniform(key, cdf.shape[:-1], cdf.dtype) * cdf[..., -1] * (1 - 1e-6)
    return (cdf <= u[..., None]).sum(axis=-1, dtype=jnp.int32)


def choose_alike(key: jax.Array, cdf: jax.Array, rows: int) -> jax.Array:
    """`choose` for so many rows that all have the cumulative weights `cdf` (C, S): (rows, C) i32."""
    u = jax.random.uniform(key, (rows, len(cdf)), cdf.dtype) * cdf[None, :, -1] * (1 - 1e-6)
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
