"""Vectors for times and labels, as conditional networks take them."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp


def fourier(t: jax.Array, size: int, max_period: float = 1e4) -> jax.Array:
    """Sines and cosines of a time (Vaswani et al. 2017, section 3.5; Ho et al. 2020).

    Args:
      t: (B,) f32 in [0, 1]; scaled by 1000, so that neighbouring steps of a 1000-step chain can be told apart.
      size: length of the vector, even.
      max_period: the longest wavelength, in units of t / 1000.

    Returns:
      (B, size) f32 in [-1, 1].
    """
    frequencies = jnp.exp(-math.log(max_period) * jnp.arange(size // 2, dtype=t.dtype) / (size // 2))
    angles = 1000.0 * t[:, None] * frequencies[None]
    return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)


class TimeLabel(nn.Module):
    """One conditioning vector from a time and a label: embed both, add, and a two-layer MLP."""

    size: int
    n_labels: int
    """Number of label values, a "no label" value included; 0: no label at all."""
    dtype: Any = None
    """What to compute in; None: as inputs and parameters promote. Waves of the time are f32."""

    @nn.compact
    def __call__(self, t: jax.Array, label: jax.Array) -> jax.Array:
        """t (B,) f32 in [0, 1], label (B,) i32 in 0 ... n_labels - 1 -> (B, size) in `dtype`."""
        h = nn.Dense(self.size, dtype=self.dtype)(fourier(t, self.size))
        if self.n_labels:
            h = h + nn.Embed(self.n_labels, self.size, embedding_init=nn.initializers.normal(1.0), dtype=self.dtype)(
                label
            )
        return nn.silu(nn.Dense(self.size, dtype=self.dtype)(nn.silu(h)))
