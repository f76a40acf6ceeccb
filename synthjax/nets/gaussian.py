"""Diagonal Gaussians: densities, divergences, and bounds on log p(x) by importance weighting.

log w = log p(x | z) + log p(z) - log q(z | x),   log p(x) >= E_q [ log 1/K sum_k w_k ]   (Burda et al. 2016,
                                                                                      arXiv:1509.00519)

>>> kl(jnp.ones((1, 2)), jnp.zeros((1, 2))).tolist()
[1.0]
>>> round(log_normal(jnp.zeros(1)).item(), 4)
-0.9189
>>> bound = importance_bound(jax.random.key(0), jnp.zeros((1, 2)), jnp.zeros((1, 2)), lambda z: z[:, 0] * 0, samples=5)
>>> bound.shape
(1,)
"""

import math

import jax
import jax.numpy as jnp


def kl(mean: jax.Array, log_var: jax.Array) -> jax.Array:
    """KL( N(mean, e^log_var) || N(0, I) ) in nats: (B,) f32, for `mean` and `log_var` of shape (B, latents)."""
    return 0.5 * (jnp.exp(log_var) + mean**2 - 1 - log_var).sum(axis=-1)


def log_normal(z: jax.Array, mean: jax.Array | float = 0.0, log_var: jax.Array | float = 0.0) -> jax.Array:
    """log N(z; mean, e^log_var) in nats, summed over the last axis: (..., latents) -> (...)."""
    return -0.5 * (math.log(2 * math.pi) + log_var + (z - mean) ** 2 * jnp.exp(-log_var)).sum(axis=-1)


def log_weight(key: jax.Array, mean: jax.Array, log_var: jax.Array, log_likelihood) -> jax.Array:
    """log w of one draw z ~ q(z | x) = N(mean, e^log_var).

    Args:
      key: typed PRNG key.
      mean: (B, latents) f32.
      log_var: (B, latents) f32.
      log_likelihood: z (B, latents) -> log p(x | z) (B,), nats.

    Returns:
      (B,) f32, nats.
    """
    z = mean + jnp.exp(log_var / 2) * jax.random.normal(key, mean.shape, jnp.float32)
    return log_likelihood(z) + log_normal(z) - log_normal(z, mean, log_var)


def importance_bound(key: jax.Array, mean: jax.Array, log_var: jax.Array, log_likelihood, samples: int) -> jax.Array:
    """log 1/K sum_k w_k over K = `samples` draws, in nats: (B,) f32. The other arguments are those of `log_weight`.

    Draws are processed one after the other, so that the memory does not grow with `samples`.
    """

    def body(total, key):
        return jnp.logaddexp(total, log_weight(key, mean, log_var, log_likelihood)), None

    start = jnp.full(len(mean), -jnp.inf, jnp.float32)
    return jax.lax.scan(body, start, jax.random.split(key, samples))[0] - math.log(samples)
