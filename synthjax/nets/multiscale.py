r"""Multiscale embeddings: vectors for the states of the columns of `nets.bins`; neighbouring bins share parts of them.

The bins of a number are ordered, and neighbouring bins behave alike. So the vector of a bin is the sum of its own
vector and of the vectors of the runs of 2, 4, 8, ... bins that contain it,

    v(s) = own(s) + sum_l decay^l shared_l(s),      l = 0: all bins; l = 1: halves; l = 2: quarters; ...

Each level is smoothed with the weights 1/4, 1/2, 1/4, so that it has no jumps between runs. All rows train the vectors
of long runs, and only the rows of a bin train its own vector. So coarse structure is learned from all rows, and the
details of a bin only if its rows support them. Categories and missing values have only their own vector.

    vectors = normal(key, layout, size=16)             # parameters
    v = table(layout, vectors)                         # (W, 16)

    >>> from synthjax.model import DataSpec
    >>> layout = Layout(DataSpec.from_arrays(np.arange(100.0, dtype=np.float32)[:, None]), 8)
    >>> v = table(layout, normal(jax.random.key(0), layout, size=16))
    >>> v.shape
    (8, 16)
    >>> bool(((v[0] - v[1]) ** 2).sum() < ((v[0] - v[7]) ** 2).sum())  # neighbouring bins are alike
    True
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from synthjax.nets.bins import Layout

_DECAY = 0.7
_OWN = 0.2  # initial standard deviation of the bins' own vectors; that of `shared` is 1


class Vectors(NamedTuple):
    """Parameters of the vectors of the W states, of size K."""

    own: jax.Array
    """(W, K) f32"""
    shared: jax.Array
    """(N, runs, K) f32 vectors of the runs of bins of the N numeric columns: all bins, halves, quarters, ..."""


def normal(key: jax.Array, layout: Layout, size: int) -> Vectors:
    """Normally distributed parameters for vectors of length `size`."""
    key_own, key_shared = jax.random.split(key)
    scale = np.ones((sum(layout.sizes), 1), np.float32)
    scale[_bin_index(layout)] = _OWN
    own = jnp.asarray(scale) * jax.random.normal(key_own, (len(scale), size), jnp.float32)
    return Vectors(own, jax.random.normal(key_shared, (*_shared(layout), size), jnp.float32))


def zeros(layout: Layout, size: int) -> Vectors:
    """Parameters that are 0, for vectors of length `size`."""
    shape = (sum(layout.sizes), size)
    return Vectors(jnp.zeros(shape, jnp.float32), jnp.zeros((*_shared(layout), size), jnp.float32))


def table(layout: Layout, vectors: Vectors) -> jax.Array:
    """The vector of each state, (W, K) f32."""
    if not layout.numeric:
        return vectors.own
    v = vectors.shared[:, :1]
    for level in range(1, _depth(layout)):
        v = _smoothed(jnp.repeat(v, 2, axis=1) + _DECAY**level * vectors.shared[:, 2**level - 1 : 2 ** (level + 1) - 1])
    v = _smoothed(jnp.repeat(v, 2, axis=1)[:, : layout.bins])
    return vectors.own.at[_bin_index(layout)].add(v)


def _smoothed(v: jax.Array) -> jax.Array:
    """Weighted means of neighbours along the second axis of `v` (N, n, K). An end is its own neighbour."""
    padded = jnp.pad(v, ((0, 0), (1, 1), (0, 0)), mode="edge")
    return (padded[:, :-2] + 2 * v + padded[:, 2:]) / 4


def _depth(layout: Layout) -> int:
    """Number of levels. The finest one has runs of 2 bins."""
    return max(math.ceil(math.log2(layout.bins)), 1)


def _shared(layout: Layout) -> tuple[int, int]:
    """First two axes of `Vectors.shared`."""
    return len(layout.numeric), 2 ** _depth(layout) - 1


def _bin_index(layout: Layout) -> np.ndarray:
    """(N, bins) indices of the bins in the flat vector."""
    return layout.padded[layout.numeric_indices][:, : layout.bins]
