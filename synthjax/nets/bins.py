r"""The columns of a table as discrete states, for count-based models: mixtures and autoregressive models.

The states of a categorical column (`onehot` or `code`) are its categories. A numeric column (`continuous`, or `code` of
more than `CODES` categories, all such columns together) is discretised into bins, each a union of bins of
`DataSpec.statistics`. There are two kinds of bins:

- An *atom* is a single value that many rows share. It is decoded exactly.
- A *cell* is an interval between atoms. Cells hold about equal numbers of rows and are decoded as a uniform draw
  between their edges.

One threshold g sets both: an atom is shared by at least g rows, a cell holds at least g rows, and g is the smallest
threshold that gives few enough bins. So a column of few values (ages, zero-inflated gains) has atoms only, and a column
of many different values has quantiles only. There are never more cells than the square root of the number of rows. All
numeric columns have as many states as the one with most. A missing value is one more state. Rare categories of a `code`
that is binned share a bin with categories of neighbouring codes: their joint frequency is kept, but the model cannot
tell them apart.

The label is a state as well. It is column 0 if the data has classes, and replaces the target column if the vector has
one.

A table with one numeric column of three values and two classes:

    >>> import jax, numpy as np
    >>> from synthjax.model import DataSpec
    >>> x, y = np.float32([[1], [2], [2], [5]] * 20), np.array([0, 0, 1, 1] * 20)
    >>> layout = Layout(DataSpec.from_arrays(x, y), 8)
    >>> layout.sizes  # no more than are used
    (2, 3)
    >>> states = layout.states(x, y)
    >>> states[:4].tolist()
    [[0, 0], [0, 1], [1, 1], [1, 2]]
    >>> layout.decode(jax.random.key(0), states)[:4].ravel().tolist()
    [1.0, 2.0, 2.0, 5.0]
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

CODES = 4096
"""Most states of all columns of codes together whose categories are states each; those with most are binned."""


class Bins(NamedTuple):
    """The bins of the N numeric columns, in ascending order. A column has at most M bins; unused entries come last."""

    start: np.ndarray
    """(N, M) f32 smallest value of each bin: -inf for the first bin, inf for unused entries."""
    low: np.ndarray
    """(N, M) f32 lower edge of the values that are drawn. Unused entries repeat the last bin."""
    high: np.ndarray
    """(N, M) f32 upper edge, equal to `low` for an atom. Unused entries repeat the last bin."""
    rows: np.ndarray
    """(N, M) f64 number of training rows in each bin; 0 for unused entries."""


@dataclass(frozen=True)
class Layout:
    """The mapping between the columns of a table and their states."""

    spec: DataSpec
    """Of a table, with statistics; see `check`."""
    most: int = 128
    """Maximum number of bins of a numeric column, at least 2."""
    full: bool = False
    """Whether numeric columns have `most` states even if no column uses as many."""

    @functools.cached_property
    def columns(self) -> tuple[Column, ...]:
        """The columns of the vector that have their own states: all but a target that the label replaces."""
        return tuple(c for c in self.spec.columns if not (c.target and self.spec.n_classes))

    @functools.cached_property
    def numeric(self) -> tuple[Column, ...]:
        """The columns among `columns` that are binned."""
        return tuple(c for c in self.columns if c.kind != "onehot" and c not in self.coded)

    @functools.cached_property
    def coded(self) -> tuple[Column, ...]:
        """The columns of codes among `columns` whose categories are states each, in their order."""
        codes = [c for c in self.columns if c.kind == "code" and c.codes and c.missing is None]
        codes.sort(key=lambda column: column.codes)
        room = int((np.cumsum([column.codes for column in codes]) <= CODES).sum())
        return tuple(column for column in self.columns if column in codes[:room])

    @functools.cached_property
    def numeric_indices(self) -> np.ndarray:
        """(N,) indices of the numeric columns among the C columns."""
        return np.flatnonzero([False] * self.labelled + [column in self.numeric for column in self.columns])

    @functools.cached_property
    def labelled(self) -> int:
        """1 if the label is column 0, else 0."""
        return int(self.spec.n_classes > 0)

    @functools.cached_property
    def sizes(self) -> tuple[int, ...]:
        """Number of states of each of the C columns, the label first. The last state of a numeric column is missing."""

        def states(column: Column) -> int:
            if column in self.coded:
                return column.codes
            return column.size if column.kind == "onehot" else self.bins + (column.missing is not None)

        return (self.spec.n_classes,) * self.labelled + tuple(states(column) for column in self.columns)

    @functools.cached_property
    def bins(self) -> int:
        """Number of bins of a numeric column: those of the one with most, at least 2; without statistics, `most`."""
        if self.full or not self.numeric or self.spec.statistics is None:
            return self.most
        return max(2, *(len(merged.rows) for merged in self._merged))

    @functools.cached_property
    def flat(self) -> np.ndarray:
        """(2, W) i32: column and state of each entry of a flat vector over all W = sum(sizes) states."""
        pairs = [(column, state) for column, size in enumerate(self.sizes) for state in range(size)]
        return np.asarray(pairs, np.int32).T

    @functools.cached_property
    def padded(self) -> np.ndarray:
        """(C, max(sizes)) i32 index in the flat vector of each state of each column; W where a column has fewer."""
        index = np.full((len(self.sizes), max(self.sizes)), sum(self.sizes), np.int32)
        index[self.flat[0], self.flat[1]] = np.arange(sum(self.sizes))
        return index

    def pad(self, flat: jax.Array) -> jax.Array:
        """Flat vector (..., W) -> (..., C, max(sizes)), zero where a column has fewer states."""
        return jnp.pad(flat, [(0, 0)] * (flat.ndim - 1) + [(0, 1)])[..., self.padded]

    def onehot(self, states: jax.Array) -> jax.Array:
        """States (B, C) -> (B, W) f32 with a single 1 per column."""
        return (states[:, self.flat[0]] == self.flat[1][None]).astype(jnp.float32)

    def flat_index(self, states: jax.Array) -> jax.Array:
        """States (B, C) -> (B, C) i32, their indices in the flat vector."""
        return states + np.cumsum([0, *self.sizes[:-1]], dtype=np.int32)[None]

    def normalise(self, flat: jax.Array) -> jax.Array:
        """Scales `flat` (W, ...), which is >= 0, to sum to 1 over the states of each column."""
        total = jax.ops.segment_sum(flat, self.flat[0], len(self.sizes))
        return flat / jnp.maximum(total, 1e-30)[self.flat[0]]

    @functools.cached_property
    def edges(self) -> Bins:
        """The bins of the numeric columns.

        Raises:
          InputError: the spec has no statistics.
        """
        edges = Bins(*(np.zeros((len(self.numeric), self.bins), dtype) for dtype in ("f4", "f4", "f4", "f8")))
        for row, merged in enumerate(self._merged):
            used = len(merged.rows)
            for padded, values, fill in zip(edges, merged, (np.inf, merged.low[-1], merged.high[-1], 0), strict=True):
                padded[row, :used], padded[row, used:] = values, fill
        return edges

    @functools.cached_property
    def _merged(self) -> list[Bins]:
        """The bins of each numeric column, without unused entries."""
        statistics = self.spec.known()
        cells = max(1.0, min(self.most, math.sqrt(self.spec.rows)))
        place = {column: i for i, column in enumerate(c for c in self.spec.columns if c.kind != "onehot")}
        measured = zip(statistics.low, statistics.high, statistics.rows, strict=True)
        bins = [merge(low, high, rows, self.most, cells) for low, high, rows in measured]
        return [bins[place[column]] for column in self.numeric]

    @functools.cached_property
    def marginal(self) -> np.ndarray:
        """(W,) f32 frequency of each state of each column among the training rows, from the spec's statistics."""
        mean = np.asarray(self.spec.known().mean, np.float64)
        parts = [np.asarray(self.spec.frequencies, np.float64)] * self.labelled
        rows_of_numeric = iter(self.edges.rows)
        for column in self.columns:
            if column.kind == "onehot":
                parts.append(mean[column.start : column.start + column.size])
                continue
            if column in self.coded:
                parts.append(self._shares_of_codes(column))
                continue
            share = next(rows_of_numeric)
            share = share / share.sum() if share.any() else np.eye(1, self.bins)[0]
            missing = 0.0 if column.missing is None else mean[column.missing]
            parts.append(np.append(share * (1 - missing), [missing] * (column.missing is not None)))
        return np.concatenate(parts).astype(np.float32)

    def _shares_of_codes(self, column: Column) -> np.ndarray:
        """(codes,) frequency of each code; equal for those in one cell of the statistics, half a row if absent."""
        statistics = self.spec.known()
        i = [other for other in self.spec.columns if other.kind != "onehot"].index(column)
        merged = merge(statistics.low[i], statistics.high[i], statistics.rows[i], statistics.rows.shape[1], math.inf)
        code = np.arange(column.codes)
        own = np.searchsorted(merged.start, code, side="right") - 1
        absent = (merged.low == merged.high)[own] & (code != merged.low[own])
        size = np.bincount(own, ~absent, len(merged.rows))
        share = np.maximum(np.where(absent, 0, merged.rows[own] / np.maximum(size, 1)[own]), 0.5)
        return share / share.sum()

    @functools.cached_property
    def possible(self) -> np.ndarray:
        """(W,) bool: False for the unused bins of numeric columns, True for all other states."""
        used = {column: int((rows > 0).sum()) or 1 for column, rows in zip(self.numeric, self.edges.rows, strict=True)}
        parts = [np.ones(self.spec.n_classes, bool)] * self.labelled
        for column, size in zip(self.columns, self.sizes[self.labelled :], strict=True):
            state = np.arange(size)
            parts.append((state < used.get(column, size)) | ((state == self.bins) & (column in self.numeric)))
        return np.concatenate(parts)

    def states(self, x: jax.Array, y: jax.Array) -> jax.Array:
        """States of encoded rows. A value that does not occur in the training rows gets the bin below it.

        Args:
          x: (B, D) f32 rows, encoded as `DataSpec.columns` says.
          y: (B,) i32 labels; ignored if the data has no classes.

        Returns:
          (B, C) i32.
        """
        parts = [y[:, None].astype(jnp.int32)] * self.labelled
        if self.numeric:
            search = jax.vmap(functools.partial(jnp.searchsorted, side="right"), (0, 1), 1)
            index = jnp.clip(search(jnp.asarray(self.edges.start), x[:, self._starts]) - 1, 0, self.bins - 1)
            parts.append(jnp.where(self.absent(x), self.bins, index).astype(jnp.int32))
        if self.coded:
            codes = jnp.round(x[:, np.array([column.start for column in self.coded])])
            parts.append(jnp.clip(codes, 0, np.array([column.codes - 1 for column in self.coded])).astype(jnp.int32))
        parts += [x[:, positions].argmax(axis=-1).astype(jnp.int32) for positions in self._onehots.values()]
        return jnp.concatenate(parts, axis=1)[:, self._order]

    def absent(self, x: jax.Array) -> jax.Array:
        """x (B, D) -> (B, N) bool: whether the value of each numeric column is missing."""
        missing = [column.missing for column in self.numeric]
        has_slot = np.array([slot is not None for slot in missing])
        return (x[:, np.array([slot or 0 for slot in missing])] > 0.5) & has_slot[None]

    @functools.cached_property
    def _starts(self) -> np.ndarray:
        """(N,) positions in x of the numeric columns."""
        return np.array([column.start for column in self.numeric])

    @functools.cached_property
    def _onehots(self) -> dict[int, np.ndarray]:
        """Categorical columns grouped by size: size -> (count, size) positions in x. A group takes one argmax."""
        groups: dict[int, list[range]] = {}
        for column in self.columns:
            if column.kind == "onehot":
                groups.setdefault(column.size, []).append(range(column.start, column.start + column.size))
        return {size: np.array(positions) for size, positions in groups.items()}

    @functools.cached_property
    def _order(self) -> np.ndarray:
        """(C,) position of each column in the order label, numeric, coded, and one-hot columns grouped by size."""
        index = {column: i for i, column in enumerate(self.columns, self.labelled)}
        columns = [index[column] for column in (*self.numeric, *self.coded)]
        columns += [index[c] for size in self._onehots for c in self.columns if c.kind == "onehot" and c.size == size]
        return np.argsort([*range(self.labelled), *columns])

    @functools.cached_property
    def _positions(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Three (D,) i32 arrays over the positions of x.

        They give the position's column among C, the state of that column that sets the position to 1 (-1: none), and
        the column's index in `numeric` (-1: not a numeric value).
        """
        column_of, state_of = np.zeros(self.spec.dims, np.int32), np.full(self.spec.dims, -1, np.int32)
        numeric_of = np.full(self.spec.dims, -1, np.int32)
        column_index = {column: self.labelled + i for i, column in enumerate(self.columns)}
        numeric_index = {column: i for i, column in enumerate(self.numeric)}
        for column in self.spec.columns:
            positions = slice(column.start, column.start + column.size)
            column_of[positions] = column_index.get(column, 0)  # a target that the label replaces is column 0
            if column.kind == "onehot":
                state_of[positions] = np.arange(column.size)
                continue
            if column in numeric_index:
                numeric_of[column.start] = numeric_index[column]
            if column.missing is not None:
                state_of[column.missing] = self.bins if column in column_index else self.spec.n_classes
        return column_of, state_of, numeric_of

    def decode(self, key: jax.Array, states: jax.Array, edges: tuple[jax.Array, jax.Array] | None = None) -> jax.Array:
        """Encoded rows with the given states.

        Args:
          key: typed PRNG key.
          states: (B, C) i32.
          edges: (B, N) f32 each, lower and upper edges of the numeric values; None: those of their bins.

        Returns:
          (B, D) f32. A numeric value is a uniform draw between its edges, rounded for a `code` column; a
          missing one is 0.
        """
        column_of, state_of, numeric_of = self._positions
        state = states[:, column_of]
        x = jnp.where(state_of[None] >= 0, state == state_of[None], state).astype(jnp.float32)
        if not self.numeric:
            return x
        index = states[:, self.numeric_indices]
        select = jax.vmap(lambda edges, i: edges[i], (0, 1), 1)
        low, high = edges or (select(jnp.asarray(edge), index) for edge in (self.edges.low, self.edges.high))
        values = low + (high - low) * jax.random.uniform(key, index.shape, jnp.float32)
        is_code = np.asarray([c.kind == "code" for c in self.numeric])
        values = jnp.where(is_code[None], jnp.round(values), values)
        values = jnp.where(index == self.bins, 0.0, values)
        return jnp.where(numeric_of[None] >= 0, values[:, numeric_of], x)


def merge(low: np.ndarray, high: np.ndarray, rows: np.ndarray, bins: int, cells: float) -> Bins:
    """Merges the bins of one column of `Statistics`, of which used entries come first.

    Args:
      low: (M,) f32 lower edges.
      high: (M,) f32 upper edges.
      rows: (M,) rows in each bin; 0 for unused entries.
      bins: maximum number of merged bins.
      cells: number of merged bins that are cells to aim at.

    Returns:
      Bins of shape (used,), without unused entries.
    """
    used = max(int((rows > 0).sum()), 1)
    low, high, rows = low[:used], high[:used], rows[:used].astype(np.float64)
    atom = low == high
    new, exact = partition(rows, atom, bins, cells, 1)
    first = np.flatnonzero(new)
    last = np.append(first[1:], used) - 1
    exact = exact[first]
    bottom, top = low[first], high[last]
    # Every value above an atom belongs to the next bin. XLA flushes subnormal numbers to 0, so avoid them.
    tiny = np.finfo(np.float32).tiny
    next_value = np.nextafter(high[last[:-1]], np.float32(np.inf))
    next_value = np.where((next_value > 0) & (next_value < tiny), tiny, next_value)
    above = np.where(atom[last[:-1]], next_value, low[first[1:]])
    start = np.append(np.float32(-np.inf), np.where(atom[first[1:]], low[first[1:]], above))
    # A cell ends halfway to its neighbour if that is a cell too, or if the value at its own edge is a merged atom.
    middle = between(top[:-1], bottom[1:])
    both_cells, atom_below, atom_above = ~exact[:-1] & ~exact[1:], atom[last[:-1]], atom[first[1:]]
    top[:-1] = np.where(both_cells | (~exact[:-1] & atom_below), middle, top[:-1])
    bottom[1:] = np.where(both_cells | (~exact[1:] & atom_above), middle, bottom[1:])
    return Bins(start, bottom, top, np.add.reduceat(rows, first))


def check(model: str, spec: DataSpec) -> None:
    """Checks that a model can bin data of this spec.

    Args:
      model: name of the model in the error.
      spec: to be checked.

    Raises:
      InputError: the data is an image, or the spec has no columns, no class frequencies or no statistics.
    """
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
    """Checks fields of a Config that are numbers of something.

    Args:
      config: of a model.
      *names: fields that must be at least 1.
      bins: whether the Config has a field `bins`, which must be at least 2.

    Raises:
      InputError: a field is too small.
    """
    for name in names:
        if getattr(config, name) < 1:
            raise InputError(f"model.{name}={getattr(config, name)}: must be at least 1")
    if bins and config.bins < 2:
        raise InputError(f"model.bins={config.bins}: must be at least 2")


def choose(key: jax.Array, cdf: jax.Array) -> jax.Array:
    """Draws a state from each unnormalised cumulative distribution `cdf` (..., S): (...) i32."""
    u = jax.random.uniform(key, cdf.shape[:-1], cdf.dtype) * cdf[..., -1] * (1 - 1e-6)
    return (cdf <= u[..., None]).sum(axis=-1, dtype=jnp.int32)


def choose_alike(key: jax.Array, cdf: jax.Array, rows: int) -> jax.Array:
    """Draws `rows` independent states from each unnormalised cumulative distribution `cdf` (C, S): (rows, C) i32."""
    u = jax.random.uniform(key, (rows, len(cdf)), cdf.dtype) * cdf[None, :, -1] * (1 - 1e-6)
    return jax.vmap(functools.partial(jnp.searchsorted, side="right"), (0, 1), 1)(cdf, u).astype(jnp.int32)
