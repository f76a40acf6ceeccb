r"""The Gaussian noising chain and the steps back along it, for whatever predicts x_0.

    q(x_t | x_0) = N(a_t x_0, s_t^2 I),   a_t^2 + s_t^2 = 1,   t = 0 ... T      (Ho et al. 2020, arXiv:2006.11239)

See `synthjax.models.ddpm` for the sampler's mathematics.
"""

from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np


class Chain(Protocol):
    """What a Config says of its chain."""

    @property
    def schedule(self) -> str:
        """Name of a_t's form: "cosine" or "linear"."""

    @property
    def timesteps(self) -> int:
        """T."""


def signal(config: Chain) -> np.ndarray:
    """a_t for t = 0 ... T: (T + 1,) f64 in [0, 1], falling from a_0 = 1."""
    t = np.arange(config.timesteps + 1) / config.timesteps
    if config.schedule == "cosine":
        f = np.cos((t + 0.008) / 1.008 * np.pi / 2) ** 2
        betas = np.minimum(1 - f[1:] / f[:-1], 0.999)
    else:  # the betas of the 1000-step chain, spread over T steps
        betas = np.minimum(np.linspace(1e-4, 0.02, config.timesteps) * 1000 / config.timesteps, 0.999)
    return np.concatenate([[1.0], np.sqrt(np.cumprod(1 - betas))])


def posterior(a_s: jax.Array, a_t: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """q(x_s | x_t, x_0) = N(c_0 x_0 + c_t x_t, variance): (c_0, c_t, variance), each shaped like the arguments."""
    s_s2, s_t2, ratio = 1 - a_s**2, 1 - a_t**2, a_t / a_s
    noise = 1 - ratio**2
    return a_s * noise / s_t2, ratio * s_s2 / s_t2, noise * s_s2 / s_t2


def even_times(key: jax.Array, count: int, timesteps: int) -> jax.Array:
    """(count,) i32 in 1 ... T, spread evenly with one random offset: less variance of a loss than independent ones.

    (Kingma et al. 2021, arXiv:2107.00630.)
    """
    u = (jax.random.uniform(key) + jnp.arange(count) / count) % 1.0
    return 1 + jnp.minimum((u * timesteps).astype(jnp.int32), timesteps - 1)


def leap(key: jax.Array, x_t: jax.Array, clean: jax.Array, a_t: jax.Array, a_s: jax.Array, eta: float) -> jax.Array:
    """A draw of x_s from x_t and the prediction `clean` of x_0: eta = 1 ancestral, eta = 0 deterministic (DDIM)."""
    noise = (x_t - a_t * clean) / jnp.sqrt(1 - a_t**2)
    variance = eta**2 * posterior(a_s, a_t)[2]
    fresh = jax.random.normal(key, x_t.shape)
    kept = jnp.sqrt(jnp.maximum(1 - a_s**2 - variance, 0))
    return a_s * clean + kept * noise + jnp.sqrt(variance) * fresh


def extrapolation(a: np.ndarray) -> jax.Array:
    """DPM-Solver++(2M): h_k / (2 h_(k-1)) of each step k, h_k its length in log(a_t / s_t); 0 for first and last.

    Args:
      a: (steps,), a_t where each step starts.

    Returns:
      (steps,) f32.
    """
    h = np.diff(np.log(a / np.sqrt(1 - a**2)))
    factors = np.zeros(len(a))
    factors[1:-1] = h[1:] / (2 * h[:-1])
    return jnp.asarray(factors, jnp.float32)
