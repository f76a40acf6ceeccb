"""Exact nearest neighbours in blocks: a fast approximate search, then an exact one that knows how far to trust it.

Squared distances are first taken in float32 as |q|^2 + |t|^2 - 2 q.t, a matrix product, which keeps an accelerator
(or two CPU cores) busy. Its rounding error is real: a sum over 784 bytes leaves the 24 bits of float32, and a training
image and its exact copy then differ by a distance that is not 0. So the product only nominates `CANDIDATES` targets per
query; their distances are computed again from differences, in int64 for integers and float64 otherwise. With u = 2^-24
and D dimensions the product form is off by at most

    error <= (D + 8) u (|q| + max |t|)^2       (Higham, Accuracy and Stability of Numerical Algorithms, 2002, 3.1)

A query whose k-th exact distance is below the worst nominee's approximate distance less this error cannot have a
closer target outside its nominees. The few queries that fail this test are searched again over every target that the
error allows. The result is that of brute force, ties included (the lowest index first).
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

CANDIDATES = 8
"""Targets per query that the approximate search nominates."""
QUERY_BLOCK = 512
TARGET_BLOCK = 2048


@functools.partial(jax.jit, static_argnames="candidates")
def _nominate(queries: jax.Array, tiles: jax.Array, squares: jax.Array, candidates: int) -> tuple[jax.Array, jax.Array]:
    """Nominees of one block of queries.

    Args:
        queries: (Q, D) f32.
        tiles: (n, T, D) f32 targets, padded.
        squares: (n, T) f32 squared norms of the targets, inf where padded.
        candidates: how many to keep.

    Returns:
        Approximate squared distances less |q|^2, ascending, and target indices, each (Q, candidates).
    """
    n, tile, _ = tiles.shape

    def merge(best, block):
        start, targets, square = block
        # HIGHEST: on a GPU or TPU the default would round the inputs to 10 or 8 bits and void the error bound.
        product = jnp.matmul(queries, targets.T, precision=jax.lax.Precision.HIGHEST)
        distance, position = jax.lax.top_k(2 * product - square, candidates)
        joined = jnp.concatenate([best[0], distance], axis=1)
        index = jnp.concatenate([best[1], position + start], axis=1)
        kept, order = jax.lax.top_k(joined, candidates)
        return (kept, jnp.take_along_axis(index, order, axis=1)), None

    # An index past every target marks a place that no target has taken.
    nobody = jnp.full((len(queries), candidates), jnp.iinfo(jnp.int32).max)
    empty = (jnp.full(nobody.shape, -jnp.inf), nobody)
    (negative, index), _ = jax.lax.scan(merge, empty, (jnp.arange(n) * tile, tiles, squares))
    return -negative, index


def _pad(rows: np.ndarray, block: int) -> np.ndarray:
    """Rows (N, ...) with zero rows appended up to a multiple of `block`."""
    return np.concatenate([rows, np.zeros((-len(rows) % block, *rows.shape[1:]), rows.dtype)])


def _exact(queries: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Squared distances along the last axis of broadcastable arrays: int64 for integers, float64 otherwise."""
    kind = np.int64 if queries.dtype.kind in "iu" and targets.dtype.kind in "iu" else np.float64
    difference = queries.astype(kind) - targets.astype(kind)
    return np.einsum("...d,...d->...", difference, difference)


def nearest(queries: np.ndarray, targets: np.ndarray, k: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest targets of every query by Euclidean distance, exactly.

    Args:
        queries: (Q, ...) integers or floats; the trailing axes are flattened.
        targets: (N, ...) of the same trailing shape, N >= 1.
        k: neighbours wanted, at most `CANDIDATES` and at most N.

    Returns:
        Distances (Q, k) f64, ascending, in the units of the data, and target indices (Q, k) i64; equal distances come
        in order of index.

    Raises:
        ValueError: if k is out of range.
    """
    if not 1 <= k <= min(CANDIDATES, len(targets)):
        raise ValueError(f"k must be in 1 ... min({CANDIDATES}, {len(targets)} targets), not {k}")
    queries, targets = queries.reshape(len(queries), -1), targets.reshape(len(targets), -1)
    # Distances do not change with the origin, but the rounding error grows with the norms: centre first.
    centre = targets.mean(axis=0, dtype=np.float64)
    near = (targets - centre).astype(np.float32)
    squares = np.einsum("nd,nd->n", near, near, dtype=np.float64)
    tile = min(TARGET_BLOCK, max(CANDIDATES, 1 << (len(targets) - 1).bit_length()))
    tiles = jnp.asarray(_pad(near, tile).reshape(-1, tile, near.shape[1]))
    padded = np.full(tiles.shape[0] * tile, np.inf, np.float32)
    padded[: len(targets)] = squares
    square_tiles = jnp.asarray(padded.reshape(-1, tile))
    limit = np.sqrt(squares.max())

    distances, indices = np.empty((len(queries), k)), np.empty((len(queries), k), np.int64)
    for start in range(0, len(queries), QUERY_BLOCK):
        rows = slice(start, start + QUERY_BLOCK)
        block = (queries[rows] - centre).astype(np.float32)
        partial, nominees = _nominate(jnp.asarray(_pad(block, QUERY_BLOCK)), tiles, square_tiles, CANDIDATES)
        square = np.einsum("qd,qd->q", block, block, dtype=np.float64)
        error = (near.shape[1] + 8) * 2.0**-24 * (np.sqrt(square) + limit) ** 2
        worst = np.asarray(partial)[: len(block), -1] + square - error
        nominees = np.asarray(nominees)[: len(block)]
        found, index = _rerank(queries[rows], targets, nominees, k)
        for row in np.flatnonzero(found[:, -1] >= worst):
            approximate = square[row] + squares - 2.0 * (near @ block[row])
            allowed = np.flatnonzero(approximate <= found[row, -1] + error[row])
            found[row], index[row] = (a[0] for a in _rerank(queries[rows][row : row + 1], targets, allowed[None], k))
        distances[rows], indices[rows] = np.sqrt(found), index
    return distances, indices


def _rerank(queries: np.ndarray, targets: np.ndarray, nominees: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k best of each query's nominees (Q, c): exact squared distances (Q, k) and target indices (Q, k)."""
    # A padded nominee (fewer targets than candidates) points past the end: it must neither be read nor win.
    real = nominees < len(targets)
    exact = _exact(queries[:, None], targets[np.where(real, nominees, 0)]).astype(np.float64)
    exact[~real] = np.inf
    order = np.lexsort((nominees, exact), axis=1)[:, :k]
    return np.take_along_axis(exact, order, axis=1), np.take_along_axis(nominees, order, axis=1)
