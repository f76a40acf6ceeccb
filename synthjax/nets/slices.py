"""Drawing many examples slice by slice, each from a key of its own.

On a CPU one slice comes after the other, so that what a small network makes on the way stays in the caches: drawing
rows of Adult from a GAN of three layers takes a third less time than in one piece. Elsewhere all slices are drawn at
once. Which key a slice has depends on neither.

    x = in_slices(lambda key, labels: ..., key, labels)
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

SLICE = 500
"""Examples drawn at once."""


def in_slices(
    sample: Callable[[jax.Array, jax.Array], jax.Array], key: jax.Array, labels: jax.Array, size: int = SLICE
) -> jax.Array:
    """`sample(key, labels)` by slices of `size` labels, the last one filled up with label 0.

    Args:
      sample: (key, labels (size,)) -> (size, ...), to be called with independent keys.
      key: typed PRNG key; up to one slice it is handed on as it is.
      labels: (N,).
      size: of a slice.

    Returns:
      (N, ...).
    """
    n = len(labels)
    if n <= size:
        return sample(key, labels)
    count = -(-n // size)
    filled = jnp.pad(labels, (0, count * size - n)).reshape(count, size)

    def serial(keys, filled):
        return lax.map(lambda one: sample(*one), (keys, filled))

    x: jax.Array = lax.platform_dependent(jax.random.split(key, count), filled, cpu=serial, default=jax.vmap(sample))
    return x.reshape(-1, *x.shape[2:])[:n]
