r"""Parameters that neighbouring bins share: a vector for each state of the columns of `nets.bins`.

Bins of a number are in order, and what holds for one nearly holds for the next. So the vector of a bin is the sum of
one of its own and of those of the runs of 2, 4, 8, ... bins that it lies in,

    v(s) = own(s) + sum_l decay^l shared_l(s),      l = 0: all bins; l = 1: halves; l = 2: quarters; ...

each level smoothed by weights 1/4, 1/2, 1/4 of neighbours, so that no edge is sharp. Every row trains the wide runs,
and only rows of a bin train its own vector: what is coarse and smooth is learned first, from all rows, and what is
special to a bin where its rows say so. Categories and a missing value have only vectors of their own.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from synthjax.nets.bins import Layout

_DECAY = 0.7
_OWN = 0.2  # standard deviation of the bins' own vectors at the start, that of `shared_0` being 1


class Vectors(NamedTuple):
    """One vector of K numbers for each of the W states, as parameters."""

    own: jax.Array
    """(W, K) f32"""
    shared: jax.Array
    """(N, nodes, K) f32 of the runs of bins of the N numeric columns: all bins, halves, quarters, ..."""


def normal(key: jax.Array, layout: Layout, size: int) -> Vectors:
    """Random vectors of that size, those of neighbouring bins alike."""
    key_own, key_shared = jax.random.split(key)
    scale = np.ones((sum(layout.sizes), 1), np.float32)
    scale[_places(layout)] = _OWN
    own = jnp.asarray(scale) * jax.random.normal(key_own, (len(scale), size), jnp.float32)
    return Vectors(own, jax.random.normal(key_shared, (*_shared(layout), size), jnp.float32))


def zeros(layout: Layout, size: int) -> Vectors:
    """Vectors of 0."""
    shape = (sum(layout.sizes), size)
    return Vectors(jnp.zeros(shape, jnp.float32), jnp.zeros((*_shared(layout), size), jnp.float32))


def table(layout: Layout, vectors: Vectors) -> jax.Array:
    """(W, K) the vector of each state."""
    if not layout.numeric:
        return vectors.own
    v = vectors.shared[:, :1]
    for level in range(1, _depth(layout)):
        v = _smoothed(jnp.repeat(v, 2, axis=1) + _DECAY**level * vectors.shared[:, 2**level - 1 : 2 ** (level + 1) - 1])
    v = _smoothed(jnp.repeat(v, 2, axis=1)[:, : layout.bins])
    return vectors.own.at[_places(layout)].add(v)


def _smoothed(v: jax.Array) -> jax.Array:
    """(N, n, K): each of the n with its two neighbours; an end is its own neighbour."""
    padded = jnp.pad(v, ((0, 0), (1, 1), (0, 0)), mode="edge")
    return (padded[:, :-2] + 2 * v + padded[:, 2:]) / 4


def _depth(layout: Layout) -> int:
    """Levels, the finest of which has runs of 2 bins."""
    return max(math.ceil(math.log2(layout.bins)), 1)


def _shared(layout: Layout) -> tuple[int, int]:
    return len(layout.numeric), 2 ** _depth(layout) - 1


def _places(layout: Layout) -> np.ndarray:
    """(N, bins) places of the bins in the flat vector."""
    return layout.padded[layout.places_of_numeric][:, : layout.bins]
