"""Sampling of many examples in slices, each with its own key.

On CPU the slices are drawn one after the other, so that the activations of a small network stay in the cache. Drawing
rows of Adult from a GAN with three layers takes a third less time than without slices. On other platforms all slices
are drawn at once. The keys of the slices, and so the examples, do not depend on the platform.

    x = in_slices(lambda key, labels: ..., key, labels)

    >>> import jax, jax.numpy as jnp
    >>> in_slices(lambda key, labels: 10 * labels, jax.random.key(0), jnp.arange(5), size=2).tolist()
    [0, 10, 20, 30, 40]
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

SLICE = 500
"""Default number of examples in a slice."""


def in_slices(
    sample: Callable[[jax.Array, jax.Array], jax.Array], key: jax.Array, labels: jax.Array, size: int = SLICE
) -> jax.Array:
    """Calls `sample` on slices of `labels`, the last of which is padded with label 0.

    Args:
      sample: (key, labels (size,)) -> (size, ...); it is called with independent keys.
      key: typed PRNG key. It is split by slice, but passed on unchanged if there is only one slice.
      labels: (N,) i32.
      size: number of labels in a slice.

    Returns:
      (N, ...), the concatenated results without the padding.
    """
    n = len(labels)
    if n <= size:
        return sample(key, labels)
    count = -(-n // size)
    padded = jnp.pad(labels, (0, count * size - n)).reshape(count, size)

    def serial(keys, padded):
        return lax.map(lambda args: sample(*args), (keys, padded))

    x: jax.Array = lax.platform_dependent(jax.random.split(key, count), padded, cpu=serial, default=jax.vmap(sample))
    return x.reshape(-1, *x.shape[2:])[:n]
