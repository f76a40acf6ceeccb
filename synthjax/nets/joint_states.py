"""The states of a table, of which rare categories are joined, so that no column has more than a few.

columns = Columns(Layout(spec, 16), most=64)
states = columns.states(batch.x, batch.y)                               # (B, C) i32
x = columns.layout.decode(key, columns.separate(key_joint, share, states))
"""

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from synthjax.nets.bins import Layout, choose_alike


@dataclass(frozen=True)
class Columns:
    """The C columns of a layout, whose rare categories share a state. Axis S is that of the states of one column."""

    layout: Layout
    most: int
    """Maximum number of states of a categorical column."""

    @functools.cached_property
    def group(self) -> np.ndarray:
        """(states of the layout,) i32 index of the state among the W states."""
        joined, next_state = [], 0
        marginal = np.split(self.layout.marginal, np.cumsum(self.layout.sizes)[:-1])
        for column, (size, share) in enumerate(zip(self.layout.sizes, marginal, strict=True)):
            own = np.arange(size)
            if size > self.most and column >= self.layout.labelled and column not in self.layout.numeric_indices:
                rank = np.argsort(np.argsort(-share, kind="stable"))
                own = np.cumsum(rank < self.most - 1) - 1
                own = np.where(rank < self.most - 1, own, self.most - 1)
            joined.append(next_state + own)
            next_state += own.max() + 1
        return np.concatenate(joined).astype(np.int32)

    @functools.cached_property
    def size(self) -> np.ndarray:
        """(W,) f32 number of states of the layout that each state stands for."""
        return np.bincount(self.group).astype(np.float32)

    @functools.cached_property
    def of(self) -> np.ndarray:
        """(W,) i32 column of each state."""
        of = np.zeros(len(self.size), np.int32)
        of[self.group] = self.layout.flat[0]
        return of

    @functools.cached_property
    def start(self) -> np.ndarray:
        """(C,) i32 index of the first state of each column."""
        return np.searchsorted(self.of, np.arange(len(self.layout.sizes))).astype(np.int32)

    @functools.cached_property
    def padded(self) -> np.ndarray:
        """(C, S) i32 index of each state of each column; W where a column has fewer."""
        sizes = np.bincount(self.of)
        state = np.arange(sizes.max(), dtype=np.int32)[None]
        return np.where(state < sizes[:, None], self.start[:, None] + state, len(self.of)).astype(np.int32)

    @functools.cached_property
    def possible(self) -> np.ndarray:
        """(W,) bool: False for unused bins."""
        return np.bincount(self.group, self.layout.possible) > 0

    @functools.cached_property
    def numeric(self) -> np.ndarray:
        """(C, S) bool: True for the bins of numeric columns, which have an order; False for their missing value."""
        numeric = np.isin(np.arange(len(self.padded)), self.layout.numeric_indices)
        return numeric[:, None] & (np.arange(self.padded.shape[1]) < self.layout.bins)[None]

    def states(self, x: jax.Array, y: jax.Array) -> jax.Array:
        """States of encoded rows (B, D) and labels (B,): (B, C) i32, from 0 in each column."""
        return jnp.asarray(self.group)[self.layout.flat_index(self.layout.states(x, y))] - self.start[None]

    def onehot(self, states: jax.Array) -> jax.Array:
        """States (B, C) -> (B, W) f32 with a single 1 per column."""
        state = np.arange(len(self.of), dtype=np.int32) - self.start[self.of]
        return (states[:, self.of] == state[None]).astype(jnp.float32)

    def pad(self, flat: jax.Array) -> jax.Array:
        """(..., W) -> (..., C, S), zero where a column has fewer states."""
        return jnp.pad(flat, [(0, 0)] * (flat.ndim - 1) + [(0, 1)])[..., self.padded]

    def flat(self, padded: jax.Array) -> jax.Array:
        """(C, S) -> (W,); the inverse of `pad`."""
        return jnp.zeros(len(self.of) + 1, padded.dtype).at[self.padded].set(padded)[:-1]

    def sums(self, flat: jax.Array) -> jax.Array:
        """Sums over the states of each column, (W, ...) -> (C, ...)."""
        return jax.ops.segment_sum(flat, self.of, len(self.padded))

    def block_sums(self, flat: jax.Array) -> jax.Array:
        """(W, W) -> (C, C), sums over blocks."""
        return self.sums(self.sums(flat).T).T

    def spread(self, blocks: jax.Array) -> jax.Array:
        """(C, C) -> (W, W), the same number in each entry of a block."""
        return blocks[self.of][:, self.of]

    def shares(self, single: jax.Array) -> jax.Array:
        """Probability of each state of the layout among those that are joined with it, (states of the layout,) f32.

        `single` is the number of rows in each; a possible state has at least half a row.
        """
        rows = jnp.where(self.layout.possible, jnp.maximum(single, 0.5), 0)
        joint = jax.ops.segment_sum(rows, self.group, len(self.of))
        return rows / jnp.maximum(joint, 1e-30)[self.group]

    def separate(self, key: jax.Array, share: jax.Array, states: jax.Array) -> jax.Array:
        """States (B, C) -> (B, C) i32 states of the layout; joined ones are drawn with the probabilities `shares`."""
        member = np.zeros(len(self.of), np.int32)
        member[self.group] = self.layout.flat[1]
        flat = states + self.start[None]
        separate = jnp.asarray(member)[flat]
        for state in np.flatnonzero(self.size > 1).tolist():
            column = int(self.of[state])
            own = self.layout.flat[0] == column
            cdf = jnp.cumsum(jnp.where(self.group[own] == state, share[own], 0))
            drawn = choose_alike(jax.random.fold_in(key, state), cdf[None], len(states))[:, 0]
            separate = separate.at[:, column].set(jnp.where(flat[:, column] == state, drawn, separate[:, column]))
        return separate
