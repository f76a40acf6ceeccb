"""Noisy sums of vectors over the rows of a batch, as a private `count` returns them.

A row enters a sum as a vector of integers: its vector is scaled, clipped to a norm and rounded at random. So the noise
is that of counts, and one row changes a sum by at most the clipped norm.

    sums = NoisySums(key, batch, count, rows=60_000)
    radius = sums.radius(vectors, 28.0, share=0.1)                          # and now sums.noise is known
    found = sums.vectors(vectors, labels, 10, radius, share=0.9)
    means = found.sums / found.rows[:, None]

    >>> x = jnp.array([[3.0, 4.0], [0.0, 0.5], [0.0, 1.0]])
    >>> batch = Batch(x, jnp.array([0, 0, 1]), jnp.ones(3), jnp.arange(3))
    >>> sums = NoisySums(jax.random.key(0), batch, lambda key, counts, *of: counts, rows=3)
    >>> found = sums.vectors(lambda b: b.x, lambda b: b.y, 2, radius=1.0, share=1.0)
    >>> found.rows.tolist(), (10 * found.sums).round().tolist()             # (3, 4) was clipped to (0.6, 0.8)
    ([2.0, 1.0], [[6.0, 13.0], [0.0, 10.0]])
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from synthjax.errors import InputError
from synthjax.model import Batch
from synthjax.nets.chunks import total

_ROWS = 1024  # images whose vectors are in memory at once
_UNIT = 512  # the integer that stands for the clipped norm
_COUNTED = 0.5  # what a row adds to the number of its group, in units of the clipped norm of its vector
_DITHER = 1000  # keys of rounding come after those of noise
_GOLDEN = 0.618034  # its multiples are spread evenly modulo 1
_CELLS, _EMPTY = 64, 64  # of the histograms: with images, and without
_INSIDE = 0.8  # share of the vectors that are not clipped, where there is noise: it grows with the radius

Of = Callable[[Batch], jax.Array]
"""Batch of B rows -> (B, ...)."""


class NoisySums:
    """Noisy sums over the rows of a batch.

    Args:
      key: for the noise.
      batch: all rows. Their weights are scaled to a mean of 1.
      count: (key, counts, sensitivity, share) -> noisy counts, see `synthjax.train.optim.Count`.
      rows: public number of rows, for the range of integers.
    """

    def __init__(self, key: jax.Array, batch: Batch, count: Callable[..., jax.Array], rows: int):
        mean = batch.weight.sum() / jnp.maximum((batch.weight > 0).sum(), 1)
        self.batch = batch._replace(weight=batch.weight / jnp.maximum(mean, 1e-9))
        self.key, self.count, self.calls = key, count, 0
        self.unit = max(min(_UNIT, 2**30 // max(rows, 1)) // 2 * 2, 2)
        self.noise: Any = jnp.float32(0)
        """() f32 estimate of the noise multiplier of `count`, after `radius`."""

    def _released(self, sums: jax.Array, sensitivity: float, share: float) -> jax.Array:
        self.calls += 1
        return self.count(jax.random.fold_in(self.key, self.calls), sums, sensitivity, share)

    def vectors(self, function: Of, group: Of, groups: int, radius: Any, share: float) -> "Grouped":
        """The number of rows in each group, and the sum of their vectors.

        Args:
          function: batch of B rows -> (B, n) f32 vectors, which are clipped to the norm `radius`, () f32.
          group: batch -> (B,) i32 numbers of groups, 0 ... groups - 1.
          groups: how many there are.
          radius: see `function`.
          share: of the budget.
        """
        unit = self.unit
        key = jax.random.fold_in(self.key, _DITHER + self.calls)
        dither = jax.random.uniform(key, self.batch.weight.shape, jnp.float32)

        def add(rows: tuple[Batch, jax.Array]) -> jax.Array:
            chunk, offset = rows
            vectors = rounded(function(chunk) * (unit / radius), unit, offset)
            whole = jnp.concatenate([vectors, jnp.full((len(vectors), 1), int(_COUNTED * unit), jnp.int32)], axis=1)
            whole = jnp.round(whole * chunk.weight[:, None]).astype(jnp.int32)
            return jnp.zeros((groups, whole.shape[1]), jnp.int32).at[group(chunk)].add(whole)

        sensitivity = math.hypot(1, _COUNTED)
        sums = total(add, (self.batch, dither), _ROWS)
        noisy = self._released(sums, unit * sensitivity, share).astype(jnp.float32)
        deviation = self.noise * sensitivity * radius / share**0.5
        return Grouped(noisy[:, -1] / (_COUNTED * unit), noisy[:, :-1] * (radius / unit), deviation)

    def radius(self, vectors: Of, most: Any, share: float) -> jax.Array:
        """A norm, () f32, that most vectors do not exceed (all without noise), from a histogram up to `most`."""

        def add(chunk: Batch) -> jax.Array:
            cell = jnp.clip(_norm(vectors(chunk))[:, 0] * (_CELLS / most), 0, _CELLS - 1).astype(jnp.int32)
            return jnp.zeros(_CELLS + _EMPTY, jnp.float32).at[cell].add(chunk.weight)

        counts = self._released(jnp.round(total(add, self.batch, _ROWS)).astype(jnp.int32), 1.0, share)
        below = jnp.cumsum(counts[:_CELLS])
        self.noise = jnp.sqrt((counts[_CELLS:].astype(jnp.float32) ** 2).mean() * share)
        inside = jnp.where(self.noise > 0, _INSIDE, 1.0) * below[-1]
        return (jnp.argmax(below >= inside) + 1) * most / _CELLS


def rounded(vectors: jax.Array, most: int, offset: jax.Array) -> jax.Array:
    """Vectors (B, n), clipped and rounded to integers, i32, whose norms are at most `most`, exactly.

    Rounding has the right mean for each entry, if `offset` (B,) is uniform in [0, 1). It lengthens vectors: those that
    become too long are rounded towards 0.

    Raises:
      InputError: there are so many entries that rounding alone gives vectors of half that norm.

    >>> rounded(jnp.array([[3.0, 4.0], [0.25, 0.0]]), 5, jnp.array([0.5, 0.9])).tolist()
    [[2, 2], [1, 0]]
    """
    n = vectors.shape[1]
    if n > most**2:
        raise InputError(f"{n:,} sums: too many for integers of norm {most}; take smaller images or fewer coefficients")
    room = max(math.sqrt(most**2 - n / 4) - 2, most / 2)  # two more, since the length varies
    vectors = clipped(vectors, room)
    offsets = (offset[:, None] + jnp.arange(n, dtype=jnp.float32)[None] * _GOLDEN) % 1
    whole = jnp.floor(vectors + offsets).astype(jnp.int32)
    too_long = (whole**2).sum(axis=1, keepdims=True) > most**2
    return jnp.where(too_long, jnp.trunc(vectors).astype(jnp.int32), whole)


class Grouped(NamedTuple):
    """Noisy sums of groups of rows."""

    rows: jax.Array
    """(groups,) f32 number of rows."""
    sums: jax.Array
    """(groups, n) f32."""
    deviation: jax.Array
    """() f32, of the noise of each of `sums`."""


def _norm(vectors: jax.Array) -> jax.Array:
    """(B, n) -> (B, 1)."""
    return jnp.sqrt((vectors**2).sum(axis=1, keepdims=True))


def clipped(vectors: jax.Array, radius: Any) -> jax.Array:
    """(B, n) vectors, shortened to a norm of at most `radius`."""
    return vectors * jnp.minimum(1, radius / jnp.maximum(_norm(vectors), 1e-9))


def triangle(vectors: jax.Array) -> jax.Array:
    """(B, n) -> (B, n (n + 1) / 2): upper triangles of outer products. Norms are those of the vectors, squared."""
    rows, columns = np.triu_indices(vectors.shape[1])
    scale = np.where(rows == columns, 1, math.sqrt(2)).astype(np.float32)
    return vectors[:, rows] * vectors[:, columns] * scale[None]


def matrices(triangles: jax.Array, n: int) -> jax.Array:
    """The inverse of `triangle`: (..., n (n + 1) / 2) -> (..., n, n), symmetric."""
    rows, columns = np.triu_indices(n)
    scale = np.where(rows == columns, 1, math.sqrt(0.5)).astype(np.float32)
    triangles = triangles * scale.reshape(*[1] * (triangles.ndim - 1), -1)
    upper = jnp.zeros((*triangles.shape[:-1], n, n), jnp.float32).at[..., rows, columns].set(triangles)
    return upper.at[..., columns, rows].set(triangles)
