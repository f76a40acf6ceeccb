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

Bytes need not even be rounded: integers up to 256 in size are exact in bfloat16, whose products are summed in float32,
so that the same bound holds. Where a CPU multiplies such matrices by itself (AMX), bytes are searched in that format.
"""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

CANDIDATES = 8
"""Targets per query that the approximate search nominates."""
QUERY_BLOCK = 512
TARGET_BLOCK = 2048


@functools.cache
def _has_matrix_unit() -> bool:
    """Whether products of bfloat16 matrices are the faster ones on this CPU; other backends keep to float32."""
    info = Path("/proc/cpuinfo")
    return jax.default_backend() == "cpu" and info.is_file() and "amx_bf16" in info.read_text()


@functools.partial(jax.jit, static_argnames="candidates")
def _nominate(queries: jax.Array, tiles: jax.Array, squares: jax.Array, candidates: int) -> tuple[jax.Array, jax.Array]:
    """Nominees of one block of queries (Q, D) f32, or bf16 of integers up to 256 in size.

    `tiles` (n, T, D) are targets of the same kind, padded, `squares` (n, T) f32 their squared norms, inf where padded.
    Returns approximate squared distances less |q|^2, ascending, and target indices, each (Q, candidates).
    """
    n, tile, _ = tiles.shape

    def merge(best, block):
        start, targets, square = block
        # HIGHEST: on a GPU or TPU the default would round the inputs to 10 or 8 bits and void the error bound. Not
        # `queries @ targets.T`, which a CPU takes twice as long for: it transposes first.
        product = jax.lax.dot_general(
            queries,
            targets,
            (((1,), (1,)), ((), ())),
            precision=jax.lax.Precision.HIGHEST,
            preferred_element_type=jnp.float32,
        )
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
    search = _Targets(targets, whole=queries.dtype == targets.dtype == np.uint8)
    distances, indices = np.empty((len(queries), k)), np.empty((len(queries), k), np.int64)
    for start in range(0, len(queries), QUERY_BLOCK):
        rows = slice(start, start + QUERY_BLOCK)
        found, indices[rows] = _search(search, queries[rows], k)
        distances[rows] = np.sqrt(found)
    return distances, indices


def _search(targets: "_Targets", queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Of at most QUERY_BLOCK queries (q, D): exact squared distances (q, k) and indices (q, k)."""
    count = len(queries)
    block, square = targets.centred(_pad(queries, QUERY_BLOCK))
    partial, nominees = map(np.asarray, _nominate(block, targets.tiles, targets.square_tiles, CANDIDATES))
    square, nominees = square[:count], nominees[:count]
    error = (queries.shape[1] + 8) * 2.0**-24 * (np.sqrt(square) + targets.limit) ** 2
    worst = partial[:count, -1] + square - error
    # A padded nominee (fewer targets than candidates) points past the end: it must neither be read nor win.
    real = nominees < targets.count
    exact = targets.exact(queries, np.where(real, nominees, 0))
    exact[~real] = np.inf
    found, index = _best(exact, nominees, k)
    for row in np.flatnonzero(found[:, -1] >= worst):
        allowed = targets.within(queries[row], found[row, -1] + error[row])[None]
        one = _best(targets.exact(queries[row : row + 1], allowed), allowed, k)
        found[row], index[row] = one[0][0], one[1][0]
    return found, index


def _best(exact: np.ndarray, nominees: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k smallest distances (q, k) of (q, c), equal ones in order of index, and their indices (q, k)."""
    order = np.lexsort((nominees, exact), axis=1)[:, :k]
    return np.take_along_axis(exact, order, axis=1), np.take_along_axis(nominees, order, axis=1)


class _Targets:
    """Targets (N, D), laid out for the approximate search, and what the exact one needs of them."""

    def __init__(self, targets: np.ndarray, *, whole: bool):
        """`whole`: they and all queries are bytes, which stay whole numbers about a whole centre."""
        self.targets, self.count = targets, len(targets)
        # Distances do not change with the origin, but the rounding error grows with the norms: centre first.
        centre = targets.mean(axis=0, dtype=np.float64)
        self.centre = np.rint(centre) if whole else centre
        self.kind = jnp.bfloat16 if whole and _has_matrix_unit() else jnp.float32
        self.near = (targets - self.centre).astype(np.float32)
        self.squares = np.einsum("nd,nd->n", self.near, self.near, dtype=np.float64)
        self.limit = np.sqrt(self.squares.max())
        tile = min(TARGET_BLOCK, max(CANDIDATES, 1 << (self.count - 1).bit_length()))
        self.tiles = jnp.asarray(_pad(self.near, tile).reshape(-1, tile, self.near.shape[1]), self.kind)
        padded = np.full(self.tiles.shape[0] * tile, np.inf, np.float32)
        padded[: self.count] = self.squares
        self.square_tiles = jnp.asarray(padded.reshape(-1, tile))

    def centred(self, queries: np.ndarray) -> tuple[jax.Array, np.ndarray]:
        """Queries (Q, D) as the tiles are, and their squared norms (Q,) f64."""
        block = (queries - self.centre).astype(np.float32)
        return jnp.asarray(block, self.kind), np.einsum("qd,qd->q", block, block, dtype=np.float64)

    def exact(self, queries: np.ndarray, nominees: np.ndarray) -> np.ndarray:
        """Exact squared distances (q, c) f64 from queries (q, D) to their nominees (q, c), summed in int64 if whole."""
        kind = np.int64 if queries.dtype.kind in "iu" and self.targets.dtype.kind in "iu" else np.float64
        difference = queries[:, None].astype(kind) - self.targets[nominees].astype(kind)
        return np.einsum("qcd,qcd->qc", difference, difference).astype(np.float64)

    def within(self, query: np.ndarray, square: float) -> np.ndarray:
        """Indices of the targets whose approximate squared distance from the query (D,) is at most `square`."""
        block = (query - self.centre).astype(np.float32)
        approximate = block.astype(np.float64) @ block + self.squares - 2.0 * (self.near @ block)
        return np.flatnonzero(approximate <= square)
