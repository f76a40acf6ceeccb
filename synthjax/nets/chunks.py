"""Sums over rows, chunk by chunk, to bound the memory that they need."""

from typing import Any

import jax
import jax.numpy as jnp


def total(function: Any, rows: Any, size: int) -> Any:
    """Sums `function` over chunks of rows, to bound the memory it needs.

    Args:
      function: (chunk of `rows`) -> pytree of arrays. Rows of zeros, which pad the chunks, must contribute zero.
      rows: pytree of arrays (N, ...).
      size: maximum number of rows in a chunk.

    Returns:
      The sum of the results over all chunks.

    >>> total(lambda x: x.sum(), jnp.arange(10.0), 4).item()
    45.0
    """
    count = jax.tree.leaves(rows)[0].shape[0]
    chunks = -(-count // size)

    def stack(a: jax.Array) -> jax.Array:
        padded = jnp.pad(a, [(0, -count % chunks)] + [(0, 0)] * (a.ndim - 1))
        # Chunk i takes rows i, i + chunks, ...: each chunk then spans all devices that the rows are sharded over.
        return jnp.moveaxis(padded.reshape(-1, chunks, *a.shape[1:]), 1, 0)

    stacked = jax.tree.map(stack, rows)
    shapes = jax.eval_shape(function, jax.tree.map(lambda a: a[0], stacked))
    zeros = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes)
    return jax.lax.scan(lambda sums, chunk: (jax.tree.map(jnp.add, sums, function(chunk)), None), zeros, stacked)[0]
