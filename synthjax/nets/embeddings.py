"""Embeddings of times and labels, for conditional networks.

>>> fourier(jnp.zeros(1), 4).tolist()
[[1.0, 1.0, 0.0, 0.0]]
>>> net = TimeLabel(size=16, n_labels=11)
>>> net.init_with_output(jax.random.key(0), jnp.zeros(3), jnp.zeros(3, int))[0].shape
(3, 16)
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp


def fourier(t: jax.Array, size: int, max_period: float = 1e4) -> jax.Array:
    """Sinusoidal embedding of a time (Vaswani et al. 2017, section 3.5; Ho et al. 2020).

    Args:
      t: (B,) f32 in [0, 1]. It is scaled by 1000, so that adjacent steps of a 1000-step chain differ enough.
      size: length of the embedding, even.
      max_period: the longest wavelength divided by 2 pi, in steps of a 1000-step chain.

    Returns:
      (B, size) f32 in [-1, 1].
    """
    frequencies = jnp.exp(-math.log(max_period) * jnp.arange(size // 2, dtype=t.dtype) / (size // 2))
    angles = 1000.0 * t[:, None] * frequencies[None]
    return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)


class TimeLabel(nn.Module):
    """Conditioning vector from times and a label: all are embedded, added and passed through an MLP."""

    size: int
    """Length of the vector, even."""
    n_labels: int
    """Number of label values, including one for "no label"; 0: the label is ignored."""
    dtype: Any = None
    """Dtype of the computation; None: the promoted dtype of inputs and parameters. `fourier` computes in f32."""

    @nn.compact
    def __call__(self, t: jax.Array, label: jax.Array) -> jax.Array:
        """t (B,) or (B, times) f32 in [0, 1], label (B,) i32 in 0 ... n_labels - 1 -> (B, size) in `dtype`."""
        times = t[:, None] if t.ndim == 1 else t
        h = nn.Dense(self.size, dtype=self.dtype)(fourier(times[:, 0], self.size))
        for i in range(1, times.shape[1]):
            h = h + nn.Dense(self.size, dtype=self.dtype)(fourier(times[:, i], self.size))
        if self.n_labels:
            h = h + nn.Embed(self.n_labels, self.size, embedding_init=nn.initializers.normal(1.0), dtype=self.dtype)(
                label
            )
        return nn.silu(nn.Dense(self.size, dtype=self.dtype)(nn.silu(h)))
