"""Divergences between Gaussians that several models share."""

import jax
import jax.numpy as jnp


def kl(mean: jax.Array, log_var: jax.Array) -> jax.Array:
    """KL( N(mean, e^log_var) || N(0, I) ): (B,), nats; arguments (B, latents)."""
    return 0.5 * (jnp.exp(log_var) + mean**2 - 1 - log_var).sum(axis=-1)
