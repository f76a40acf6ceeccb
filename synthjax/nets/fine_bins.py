r"""Where in its bin a number lies: the bins of `nets.bins`, each cut into at most so many finer ones.

`nets.bins` lumps values when there are more than it has room for. Here each bin is cut again along the edges that
`DataSpec.statistics` knows, each of which has at least `least` rows behind it: a value that many rows share comes back
exactly though its bin has others, a tail keeps its shape, and a value lies anywhere only between the edges of its fine
bin. Fine bin f of bin s has the share q(f | s) of the bin's rows. A model makes the share depend on a row by a tilt,

    p(f | s, row) ~ q(f | s) exp(t_f * tilt(s, row)),      t_f in [-1/2, 1/2]: the rows of the bin below the middle of f

where `slope` gives the natural one: how fast what the model says of bins changes from one to the next at s. A vector
that stands for bin s is moved by t_f times its slope in the same way, so that it is piecewise linear in the number.

    fine = FineBins(Layout(spec, bins=128), 16)
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
    """The finer bins of a layout's bins, at most `most` of each."""

    layout: Layout
    most: int = 16

    @functools.cached_property
    def edges(self) -> Bins:
        """The fine bins of each bin of the numeric columns: arrays (N, bins, F), F the largest number of them."""
        known, coarse = self.layout.spec.known(), self.layout.edges
        among = [column for column in self.layout.spec.columns if column.kind != "onehot"]
        found = {}
        for place, column in enumerate(self.layout.numeric):
            base = among.index(column)
            used = max(int((known.rows[base] > 0).sum()), 1)
            low, high, rows = (values[base, :used] for values in (known.low, known.high, known.rows))
            of = np.searchsorted(
                np.cumsum(coarse.rows[place]), np.cumsum(rows, dtype=np.float64) - rows / 2, side="right"
            )
            for s in np.unique(of[rows > 0]):
                fine = merge(low[of == s], high[of == s], rows[of == s], self.most, self.most)
                if fine.low[0] < fine.high[0]:
                    fine.low[0] = coarse.low[place, s]
                if fine.low[-1] < fine.high[-1]:
                    fine.high[-1] = coarse.high[place, s]
                found[place, s] = fine
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
        """(N,) places of the numeric columns among the C."""
        return self.layout.places_of_numeric

    @functools.cached_property
    def middles(self) -> np.ndarray:
        """(C, max(sizes), F) f32 t_f, 0 where there is no such fine bin."""
        share = self.edges.rows / self.edges.rows.sum(axis=2, keepdims=True)
        return self._full(np.where(share > 0, np.cumsum(share, axis=2) - share / 2 - 0.5, 0), 0)

    @functools.cached_property
    def log_shares(self) -> np.ndarray:
        """(C, max(sizes), F) f32 log q(f | s), -inf where there is no such fine bin; a category is one."""
        share = self.edges.rows / self.edges.rows.sum(axis=2, keepdims=True)
        with np.errstate(divide="ignore"):
            return self._full(np.log(share), -np.inf)

    def _full(self, values: np.ndarray, fill: float) -> np.ndarray:
        """(N, bins, F) -> (C, max(sizes), F) f32, `fill` elsewhere but in the first fine bin, which is 0."""
        full = np.full((len(self.layout.sizes), max(self.layout.sizes), values.shape[2]), fill, np.float32)
        full[:, :, 0] = 0
        if len(values):
            full[self.columns, : self.layout.bins] = values
        return full

    @functools.cached_property
    def _beside(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(W,) places of the bins below and above each, itself where that is an atom or none; how far apart."""
        below = np.arange(sum(self.layout.sizes))
        above, places = below.copy(), self.layout.padded[self.columns, :1] + np.arange(self.layout.bins)[None]
        cell = (self.edges.low[..., 0] < self.edges.high[..., -1]) & (self.layout.edges.rows > 0)
        inner = cell[:, 1:] & cell[:, :-1]
        above[places[:, :-1][inner]] += 1
        below[places[:, 1:][inner]] -= 1
        return below, above, np.maximum(above - below, 1).astype(np.float32)[:, None]

    def slope(self, table: jax.Array) -> jax.Array:
        """(W, K) -> (W, K) its change from one bin to the next; 0 of categories, atoms and missing values."""
        below, above, apart = self._beside
        return (table[above] - table[below]) / apart

    def parts(self, x: jax.Array, states: jax.Array) -> jax.Array:
        """x (B, D) of those states (B, C) -> (B, C) i32 the fine bin of each, 0 of categories and missing values."""
        own = states[:, self.columns]
        starts = np.array([column.start for column in self.layout.numeric], np.int32)
        edges = jnp.asarray(self.edges.start)[np.arange(len(starts))[None], jnp.minimum(own, self.layout.bins - 1)]
        part = (edges <= x[:, starts, None]).sum(axis=-1, dtype=jnp.int32) - 1
        return jnp.zeros_like(states).at[:, self.columns].set(jnp.where(own == self.layout.bins, 0, part))

    def decode(self, key: jax.Array, states: jax.Array, parts: jax.Array) -> jax.Array:
        """(B, C) states and fine bins -> x (B, D), values drawn uniformly between the edges of their fine bins."""
        own, part = jnp.minimum(states[:, self.columns], self.layout.bins - 1), parts[:, self.columns]
        place = np.arange(len(self.columns))[None]
        low, high = (jnp.asarray(edge)[place, own, part] for edge in (self.edges.low, self.edges.high))
        return self.layout.decode(key, states, (low, high))
