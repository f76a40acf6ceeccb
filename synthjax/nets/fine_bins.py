r"""Fine bins: each bin of `nets.bins` is divided once more.

If a column has more bins in `DataSpec.statistics` than a model can have, `nets.bins` merges them. Here each merged bin
is divided again along their edges. So a value that many rows share is decoded exactly even if its bin contains other
values, and tails keep their shape. Fine bin f of bin s contains a share q(f | s) of the rows of the bin. A model can
make this share depend on the row through one number, the tilt:

    p(f | s, row) ~ q(f | s) exp(t_f * tilt(s, row)),    t_f = share of the rows of s below the middle of f, minus 1/2

A natural tilt is the slope of the logits: their change from one bin to the next, at s (`slope`). Likewise, t_f times
the slope of the embeddings is added to the embedding of s, which makes it piecewise linear in the number.

    fine = FineBins(Layout(spec, 128), 16)
    states = fine.layout.states(batch.x, batch.y)               # (B, C) i32
    parts = fine.parts(batch.x, states)                         # (B, C) i32
    x = fine.decode(key, states, parts)                         # (B, D)
"""

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from synthjax.nets.bins import Bins, Layout, merge


@dataclass(frozen=True)
class FineBins:
    """The fine bins of a layout."""

    layout: Layout
    most: int = 16
    """Maximum number of fine bins in a bin."""

    @functools.cached_property
    def edges(self) -> Bins:
        """The fine bins of each bin of the N numeric columns.

        The arrays are (N, bins, F), where F is the largest number of fine bins in a bin. See `bins.Bins` for unused
        entries.
        """
        known, coarse = self.layout.spec.known(), self.layout.edges
        among = [column for column in self.layout.spec.columns if column.kind != "onehot"]
        found = {}
        for i, column in enumerate(self.layout.numeric):
            base = among.index(column)
            used = max(int((known.rows[base] > 0).sum()), 1)
            low, high, rows = (values[base, :used] for values in (known.low, known.high, known.rows))
            of = np.searchsorted(np.cumsum(coarse.rows[i]), np.cumsum(rows, dtype=np.float64) - rows / 2, side="right")
            for s in np.unique(of[rows > 0]):
                fine = merge(low[of == s], high[of == s], rows[of == s], self.most, self.most)
                if fine.low[0] < fine.high[0]:
                    fine.low[0] = coarse.low[i, s]
                if fine.low[-1] < fine.high[-1]:
                    fine.high[-1] = coarse.high[i, s]
                found[i, s] = fine
        size = max((len(fine.rows) for fine in found.values()), default=1)
        shape = (*coarse.low.shape, size)
        low, high = (np.repeat(edge[..., None], size, axis=2) for edge in (coarse.low, coarse.high))
        made = Bins(np.full(shape, np.inf, np.float32), low, high, np.zeros(shape))
        made.start[..., 0], made.rows[..., 0] = -np.inf, 1
        for where, fine in found.items():
            for padded, values in zip(made, fine, strict=True):
                padded[where][: len(fine.rows)] = values
        return made

    @functools.cached_property
    def columns(self) -> np.ndarray:
        """(N,) indices of the numeric columns among the C columns."""
        return self.layout.numeric_indices

    @functools.cached_property
    def middles(self) -> np.ndarray:
        """(C, max(sizes), F) f32 t_f in [-1/2, 1/2], 0 for unused entries."""
        share = self.edges.rows / self.edges.rows.sum(axis=2, keepdims=True)
        return self._full(np.where(share > 0, np.cumsum(share, axis=2) - share / 2 - 0.5, 0), 0)

    @functools.cached_property
    def log_shares(self) -> np.ndarray:
        """(C, max(sizes), F) f32 log q(f | s), -inf for unused entries. A category has a single fine bin."""
        share = self.edges.rows / self.edges.rows.sum(axis=2, keepdims=True)
        with np.errstate(divide="ignore"):
            return self._full(np.log(share), -np.inf)

    def _full(self, values: np.ndarray, fill: float) -> np.ndarray:
        """(N, bins, F) -> (C, max(sizes), F) f32. Unused entries are `fill`, but 0 for the first fine bin."""
        full = np.full((len(self.layout.sizes), max(self.layout.sizes), values.shape[2]), fill, np.float32)
        full[:, :, 0] = 0
        if len(values):
            full[self.columns, : self.layout.bins] = values
        return full

    @functools.cached_property
    def _neighbours(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """For each of the W states: indices of the bins below and above, (W,), and their distance in bins, (W, 1) f32.

        If there is no such bin, or either bin is an atom, the index is the state's own. The distance is at least 1.
        """
        below = np.arange(sum(self.layout.sizes))
        above, index = below.copy(), self.layout.padded[self.columns, :1] + np.arange(self.layout.bins)[None]
        cell = (self.edges.low[..., 0] < self.edges.high[..., -1]) & (self.layout.edges.rows > 0)
        inner = cell[:, 1:] & cell[:, :-1]
        above[index[:, :-1][inner]] += 1
        below[index[:, 1:][inner]] -= 1
        return below, above, np.maximum(above - below, 1).astype(np.float32)[:, None]

    @functools.cached_property
    def slopes(self) -> np.ndarray:
        """(N, bins, bins) f32, `slope` for the bins of each numeric column as a matrix."""
        below, above, distance = self._neighbours
        index = self.layout.padded[self.columns, :1] + np.arange(self.layout.bins)[None]
        unit = np.eye(self.layout.bins, dtype=np.float32)
        return (unit[above[index] - index[:, :1]] - unit[below[index] - index[:, :1]]) / distance[index]

    def slope(self, table: jax.Array) -> jax.Array:
        """Change of each row of `table` (W, K) f32 per bin, (W, K); 0 for categories, atoms and missing values."""
        below, above, distance = self._neighbours
        return (table[above] - table[below]) / distance

    def parts(self, x: jax.Array, states: jax.Array) -> jax.Array:
        """Fine bins of encoded rows.

        Args:
          x: (B, D) f32.
          states: (B, C) i32 states of these rows, see `Layout.states`.

        Returns:
          (B, C) i32 index of the fine bin in its bin; 0 for categories and missing values.
        """
        own = states[:, self.columns]
        starts = np.array([column.start for column in self.layout.numeric], np.int32)
        edges = jnp.asarray(self.edges.start)[np.arange(len(starts))[None], jnp.minimum(own, self.layout.bins - 1)]
        part = (edges <= x[:, starts, None]).sum(axis=-1, dtype=jnp.int32) - 1
        return jnp.zeros_like(states).at[:, self.columns].set(jnp.where(own == self.layout.bins, 0, part))

    def decode(self, key: jax.Array, states: jax.Array, parts: jax.Array) -> jax.Array:
        """Encoded rows with the given states and fine bins.

        Args:
          key: typed PRNG key.
          states: (B, C) i32.
          parts: (B, C) i32 fine bins.

        Returns:
          (B, D) f32; numeric values are drawn uniformly between the edges of their fine bins.
        """
        own, part = jnp.minimum(states[:, self.columns], self.layout.bins - 1), parts[:, self.columns]
        column = np.arange(len(self.columns))[None]
        low, high = (jnp.asarray(edge)[column, own, part] for edge in (self.edges.low, self.edges.high))
        return self.layout.decode(key, states, (low, high))
