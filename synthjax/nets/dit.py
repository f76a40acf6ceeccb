r"""A transformer over image patches, modulated by a conditioning vector (DiT: Peebles & Xie 2023, arXiv:2212.09748).

Everything is a matrix product over (examples x patches) rows, which every backend runs near its peak. Each block is

    x + g_1 attention(modulated norm(x)),   x + g_2 mlp(modulated norm(x))

with scale, shift and gate of every norm a linear function of the conditioning vector; gates start at zero, so that a
new network is the identity. Positions are learnt.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from synthjax.nets.embeddings import TimeLabel
from synthjax.nets.unet import fold, unfold


class Block(nn.Module):
    """One transformer block."""

    heads: int
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, condition: jax.Array, train: bool = False) -> jax.Array:
        """(B, N, D), (B, E) -> (B, N, D); D is divisible by `heads`."""
        batch, count, size = x.shape
        modulation = nn.Dense(6 * size, kernel_init=nn.initializers.zeros)(condition)[:, None, :]
        shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = jnp.split(modulation, 6, axis=-1)

        def norm(h):
            return nn.RMSNorm(use_scale=False)(h)

        qkv = nn.Dense(3 * size, use_bias=False)(norm(x) * (1 + scale_1) + shift_1)
        q, k, v = (a.reshape(batch, count, self.heads, -1) for a in jnp.split(qkv, 3, axis=-1))
        h = jax.nn.dot_product_attention(q, k, v).reshape(x.shape)
        x = x + gate_1 * nn.Dense(size)(h)
        h = nn.gelu(nn.Dense(4 * size)(norm(x) * (1 + scale_2) + shift_2))
        h = nn.Dropout(self.dropout, deterministic=not train)(h)
        return x + gate_2 * nn.Dense(size)(h)


class DiT(nn.Module):
    """Maps a noisy image, a time and a label to an image of the same shape. Zero at initialisation."""

    width: int = 128
    depth: int = 6
    heads: int = 4
    patch: int = 4
    """Side of a patch in pixels; images are padded to a multiple of it."""
    dropout: float = 0.0
    n_labels: int = 0
    """See `TimeLabel`."""

    @nn.compact
    def __call__(self, x: jax.Array, t: jax.Array, label: jax.Array, train: bool = False) -> jax.Array:
        """x (B, H, W, C) f32, t (B,) f32 in [0, 1], label (B,) i32 -> (B, H, W, C) f32."""
        height, width, _ = x.shape[1:]
        padded = jnp.pad(x, ((0, 0), (0, -height % self.patch), (0, -width % self.patch), (0, 0)))
        patches = fold(padded, self.patch)
        batch, rows, columns, size = patches.shape
        condition = TimeLabel(self.width, self.n_labels)(t, label)
        h = nn.Dense(self.width)(patches.reshape(batch, rows * columns, size))
        h = h + self.param("positions", nn.initializers.normal(0.02), (rows * columns, self.width))
        for _ in range(self.depth):
            h = Block(self.heads, self.dropout)(h, condition, train)
        scale, shift = jnp.split(
            nn.Dense(2 * self.width, kernel_init=nn.initializers.zeros)(condition)[:, None, :], 2, axis=-1
        )
        h = nn.RMSNorm(use_scale=False)(h) * (1 + scale) + shift
        h = nn.Dense(size, kernel_init=nn.initializers.zeros)(h)
        return unfold(h.reshape(patches.shape), self.patch)[:, :height, :width]
