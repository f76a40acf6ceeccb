r"""Norms of the gradients of single examples in closed form, for `models.table_ar`.

The gradient of an example with respect to the matrix W of a dense layer x W + b is the outer product of its input x and
the gradient d of its loss with respect to the output. So its norm is |x| |d|, without the product (Goodfellow 2015,
arXiv:1510.01799). d is the gradient with respect to zeros that are added to the output, the taps. One backward pass
gives it for all layers and examples.

A table of vectors of states (`nets.multiscale`) is linear in its parameters, T = A V, for each column separately. The
gradient of an example with respect to T is an outer product u d: for an embedding, u is the unit vector of the state,
plus the fine bin times the row of its slope (`nets.fine_bins`); for the last layer, u are the gradients of the logits
and d is the layer's input. With respect to V it is A^T u d, with the squared norm u^T A A^T u |d|^2.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from synthjax.nets import multiscale
from synthjax.nets.fine_bins import FineBins


class Taps(NamedTuple):
    """Zeros that are added to results for each example, or the gradients with respect to them."""

    seen: jax.Array
    """(B, C, E): to the embeddings."""
    first: jax.Array
    """(C, B, hidden): to the output of the first layer, before its activation."""
    second: jax.Array
    """(C, B, hidden): to that of the second layer."""
    logits: tuple[jax.Array, ...]
    """(columns, B, states) for each group of columns: to the logits."""
    tilt: jax.Array
    """(B, C): to the slopes of the logits at the states."""


class Inputs(NamedTuple):
    """Inputs of the layers."""

    seen: jax.Array
    """(B, C, E): of the first."""
    second: jax.Array
    """(C, B, hidden): of the second."""
    last: jax.Array
    """(C, B, hidden): of the last."""


@dataclass(frozen=True)
class GradientNorms:
    """Squared norms of the gradients of examples."""

    fine: FineBins
    groups: list[np.ndarray]
    """Indices of the columns whose logits are computed together, as in `Taps.logits`."""
    before: np.ndarray
    """(C, C) f32: entry [a, b] is 1 if the network of column a sees column b, else 0."""

    def squares(
        self,
        log_p: Callable[[Taps], tuple[jax.Array, Inputs]],
        rows: tuple[jax.Array, jax.Array],
        sizes: tuple[int, int],
    ) -> jax.Array:
        """Squared norm of the gradient of the loss of each row with respect to all parameters: (B,) f32.

        Args:
          log_p: taps -> log p of each column of each row, (C, B), and the inputs of the layers. The loss is -sum_c.
          rows: states and fine bins, (B, C) i32 each.
          sizes: of the embeddings and of the hidden layers.
        """
        taps, inputs = jax.grad(lambda taps: _loss_and_inputs(log_p(taps)), has_aux=True)(
            self._zeros(len(rows[0]), sizes)
        )
        own = (self._embedding_factors(*rows) * _square(taps.seen)).sum(axis=1)
        first = ((self.before @ _square(inputs.seen).T + 1) * _square(taps.first)).sum(axis=0)
        second = ((_square(inputs.second) + 1) * _square(taps.second)).sum(axis=0)
        squares, of_last = own + first + second, _square(inputs.last)
        for group, logits in zip(self.groups, taps.logits, strict=True):
            tables = self._table_squares(group, logits, rows[0], taps.tilt)
            squares = squares + (_square(logits) + of_last[group] * tables).sum(axis=0)
        return squares

    def _zeros(self, rows: int, sizes: tuple[int, int]) -> Taps:
        """The taps of so many rows."""
        columns, (embedding, hidden) = len(self.before), sizes
        layer = jnp.zeros((columns, rows, hidden), jnp.float32)
        states = self.fine.layout.sizes
        logits = [jnp.zeros((len(group), rows, max(states[c] for c in group)), jnp.float32) for group in self.groups]
        seen, tilt = (jnp.zeros((rows, columns, *more), jnp.float32) for more in ((embedding,), ()))
        return Taps(seen, layer, layer, tuple(logits), tilt)

    @functools.cached_property
    def _runs(self) -> np.ndarray:
        """(bins, runs) f32: A of a numeric column for the vectors of runs of bins; that for their own is the unit."""
        layout = self.fine.layout
        runs = multiscale.zeros(layout, 1).shared.shape[1]
        own = np.zeros((sum(layout.sizes), runs), np.float32)
        unit = np.broadcast_to(np.eye(runs, dtype=np.float32), (len(layout.numeric), runs, runs))
        with jax.ensure_compile_time_eval():
            table = np.asarray(multiscale.table(layout, multiscale.Vectors(jnp.asarray(own), jnp.asarray(unit))))
        return table[layout.padded[self.fine.columns[0], : layout.bins]]

    @functools.cached_property
    def _factors(self) -> np.ndarray:
        """(N, bins, F) f32 u^T A A^T u of the embeddings, for each bin and fine bin."""
        product = self._runs @ self._runs.T + np.eye(len(self._runs), dtype=np.float32)
        slopes, middles = self.fine.slopes, self.fine.middles[self.fine.columns, : len(product)]
        linear = np.einsum("nst,ts->ns", slopes, product)
        quadratic = np.einsum("nst,tu,nsu->ns", slopes, product, slopes, optimize=True)
        return np.diag(product)[None, :, None] + 2 * middles * linear[..., None] + middles**2 * quadratic[..., None]

    def _embedding_factors(self, states: jax.Array, parts: jax.Array) -> jax.Array:
        """u^T A A^T u of the embeddings of the states: (B, C) f32."""
        factors = jnp.ones(states.shape, jnp.float32)
        if not len(self.fine.columns):
            return factors
        own, part = states[:, self.fine.columns], parts[:, self.fine.columns]
        bins = self.fine.layout.bins
        found = jnp.asarray(self._factors)[np.arange(own.shape[1])[None], jnp.minimum(own, bins - 1), part]
        return factors.at[:, self.fine.columns].set(jnp.where(own == bins, 1.0, found))

    def _table_squares(self, group: np.ndarray, logits: jax.Array, states: jax.Array, tilt: jax.Array) -> jax.Array:
        """u^T A A^T u of the last layer for the columns of a group: (columns, B) f32."""
        numeric = np.flatnonzero(np.isin(group, self.fine.columns))
        squares = _square(logits)
        if not len(numeric):
            return squares
        bins, columns = self.fine.layout.bins, group[numeric]
        own = states[:, columns].T
        slope = jnp.asarray(self.fine.slopes[np.searchsorted(self.fine.columns, columns)])
        rows = slope[np.arange(len(columns))[:, None], jnp.minimum(own, bins - 1)]
        u = logits[numeric, :, :bins] + jnp.where(own == bins, 0.0, tilt[:, columns].T)[..., None] * rows
        # The vectors that all bins share are left out of the last layer, so they have no gradient.
        shared = jnp.matmul(u, jnp.asarray(self._runs[:, 1:] @ self._runs[:, 1:].T), precision="highest")
        return squares.at[numeric].set((u * (u + shared)).sum(axis=-1) + _square(logits[numeric, :, bins:]))


def _loss_and_inputs(result: tuple[jax.Array, Inputs]) -> tuple[jax.Array, Inputs]:
    return -result[0].sum(), result[1]


def _square(a: jax.Array) -> jax.Array:
    """Sum of squares over the last axis."""
    return jnp.square(a).sum(axis=-1)
