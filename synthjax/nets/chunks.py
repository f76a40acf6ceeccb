"""Sums over rows, chunk by chunk, to bound the memory that they need."""

import math
from typing import Any

import jax
import jax.numpy as jnp


def total(function: Any, rows: Any, size: int) -> Any:
    """Sums `function` over chunks of rows, to bound the memory it needs. The rows themselves are not copied.

    Args:
      function: (chunk of `rows`) -> pytree of arrays. It must be 0 for rows of zeros, which replace rows of the last
        chunk that are in the one before as well.
      rows: pytree of arrays (N, ...), N >= 1.
      size: maximum number of rows in a chunk.

    Returns:
      The sum of the results over all chunks.

    >>> total(lambda x: x.sum(), jnp.arange(10.0), 4).item()
    45.0
    """
    count = jax.tree.leaves(rows)[0].shape[0]
    # A chunk is a part of each of several lanes. Rows that are sharded over devices stay there, since lanes do.
    lanes = math.gcd(count, 1 << (size.bit_length() - 1))
    length = count // lanes
    chunks = -(-length // (size // lanes))
    step = -(-length // chunks)
    rows = jax.tree.map(lambda a: a.reshape(lanes, length, *a.shape[1:]), rows)

    def chunk(i: jax.Array) -> Any:
        start = jnp.minimum(i * step, length - step)
        is_new = start + jnp.arange(step, dtype=jnp.int32) >= i * step

        def take(a: jax.Array) -> jax.Array:
            part = jax.lax.dynamic_slice_in_dim(a, start, step, axis=1)
            part = jnp.where(is_new.reshape(1, step, *[1] * (a.ndim - 2)), part, jnp.zeros((), a.dtype))
            return part.reshape(lanes * step, *a.shape[2:])

        return jax.tree.map(take, rows)

    zeros = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), jax.eval_shape(lambda: function(chunk(jnp.int32(0)))))
    indices = jnp.arange(chunks, dtype=jnp.int32)
    return jax.lax.scan(lambda sums, i: (jax.tree.map(jnp.add, sums, function(chunk(i))), None), zeros, indices)[0]
