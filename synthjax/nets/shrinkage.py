"""Estimates with errors of known size, drawn towards those of a larger group."""

import jax
import jax.numpy as jnp

_LEAST = 1e-3  # least variance of all images, in mean variances
_FLOOR = 0.2  # least variance of a group in those of its parent


def towards(value: jax.Array, target: jax.Array, error: jax.Array) -> jax.Array:
    """Vectors (..., n) with expected squared errors (...,), drawn towards others by the weight of James and Stein.

    See Efron & Morris 1973, doi:10.1080/01621459.1973.10481350.

    >>> print(towards(jnp.array([3.0, 4.0]), jnp.zeros(2), jnp.array(5.0)))
    [2.4 3.2]
    """
    apart = ((value - target) ** 2).sum(axis=-1)
    weight = jnp.clip(1 - error / jnp.maximum(apart, 1e-12), 0, 1)
    return target + weight[..., None] * (value - target)


def positive(found: jax.Array, edge: jax.Array) -> jax.Array:
    """A noisy covariance (M, M) with eigenvalues of at least `edge`, and of a small share of their mean."""
    values, vectors = jnp.linalg.eigh(found)
    values = jnp.maximum(values, jnp.maximum(edge, _LEAST * values.mean() + 1e-8))
    return (vectors * values[None]) @ vectors.T


def drawn(found: jax.Array, parent: jax.Array, n: jax.Array, noise: jax.Array) -> jax.Array:
    """Covariances drawn towards those of a larger group, entry by entry, as a Wiener filter does.

    In the eigenvectors of the parent, with eigenvalues l, the difference has entries of variance s_i s_j l_i l_j, and
    errors of l_i l_j / n, of the rows as a sample, and of the noise; all twice that for i = j. s is estimated.

    Args:
      found: (G, M, M) noisy second moments.
      parent: (G, M, M) positive definite.
      n: (G,) numbers of rows.
      noise: (G,) variance of the noise of a diagonal entry of `found`.

    Returns:
      (G, M, M), positive definite.
    """
    size = found.shape[-1]
    eye = jnp.eye(size, dtype=jnp.float32)[None]
    twice = 1 + eye
    values, vectors = jnp.linalg.eigh(parent)
    apart = jnp.swapaxes(vectors, -1, -2) @ (found - parent) @ vectors
    unit = values[:, :, None] * values[:, None, :]
    error = (unit / n[:, None, None] + noise[:, None, None] / 2) * twice
    squared = jnp.maximum((apart**2 - error).sum((0, 1)) / (unit * twice).sum((0, 1)), 0)
    signal = jnp.sqrt(squared[:, None] * squared[None])[None] * unit * twice
    relative = eye + signal / jnp.maximum(signal + error, 1e-30) * apart / jnp.sqrt(unit)
    scale, turned = jnp.linalg.eigh(relative)
    root = (vectors * jnp.sqrt(values)[:, None, :]) @ (turned * jnp.sqrt(jnp.maximum(scale, _FLOOR))[:, None, :])
    return root @ jnp.swapaxes(root, -1, -2)
