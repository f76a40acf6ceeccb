r"""A U-Net that folds pixels into channels first, so that it spends its time in large matrix products.

An image (B, H, W, C) becomes (B, H/f, W/f, f f C): nothing is lost, and every later layer costs f^2 less (the fold of
sub-pixel convolution, Shi et al. 2016, arXiv:1609.05158). Then, as in Ho et al. 2020 (arXiv:2006.11239) and Dhariwal &
Nichol 2021 (arXiv:2105.05233): residual blocks, modulated by a conditioning vector after the norm, on each resolution;
self-attention in the middle, on the coarsest; skips from the way down to the way up. Resolutions are changed by folding
too, and skips are added rather than concatenated, which halves the cost of the way up.

Sides that the folds do not divide (28 -> 14 -> 7 -> 3.5) are padded with zeros at the entrance and cut at the exit.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from synthjax.nets import conv
from synthjax.nets.embeddings import TimeLabel


def fold(x: jax.Array, factor: int) -> jax.Array:
    """Space to channels: (B, H, W, C) -> (B, H/factor, W/factor, factor^2 C)."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // factor, factor, width // factor, factor, channels)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, height // factor, width // factor, -1)


def unfold(x: jax.Array, factor: int) -> jax.Array:
    """Channels to space, the inverse of `fold`: (B, H, W, factor^2 C) -> (B, factor H, factor W, C)."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height, width, factor, factor, channels // factor**2)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, height * factor, width * factor, -1)


def _norm(dtype: Any) -> nn.GroupNorm:
    return nn.GroupNorm(num_groups=None, group_size=16, dtype=dtype)


class ResidualBlock(nn.Module):
    """x + conv(silu(modulated norm(conv(silu(norm(x)))))); starts as the identity."""

    channels: int
    dropout: float = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, condition: jax.Array, train: bool = False) -> jax.Array:
        """(B, H, W, channels), (B, E) -> (B, H, W, channels). `train` switches dropout on (rng "dropout")."""
        h = conv.Conv(self.channels, (3, 3), dtype=self.dtype)(nn.silu(_norm(self.dtype)(x)))
        scale, shift = jnp.split(nn.Dense(2 * self.channels, dtype=self.dtype)(condition)[:, None, None, :], 2, axis=-1)
        h = nn.silu(_norm(self.dtype)(h) * (1 + scale) + shift)
        h = nn.Dropout(self.dropout, deterministic=not train)(h)
        return x + conv.Conv(self.channels, (3, 3), kernel_init=nn.initializers.zeros, dtype=self.dtype)(h)


class AttentionBlock(nn.Module):
    """Self-attention of every position to every other; starts as the identity."""

    heads: int = 4
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """(B, H, W, C) -> (B, H, W, C); C is divisible by `heads`."""
        batch, height, width, channels = x.shape
        tokens = _norm(self.dtype)(x).reshape(batch, height * width, channels)
        q, k, v = jnp.split(nn.Dense(3 * channels, dtype=self.dtype)(tokens), 3, axis=-1)
        q, k, v = (a.reshape(batch, height * width, self.heads, -1) for a in (q, k, v))
        h = jax.nn.dot_product_attention(q, k, v).reshape(batch, height * width, channels)
        h = nn.Dense(channels, kernel_init=nn.initializers.zeros, dtype=self.dtype)(h)
        return x + h.reshape(x.shape)


class UNet(nn.Module):
    """Maps a noisy image, a time and a label to an image of the same shape. Zero at initialisation."""

    widths: tuple[int, ...] = (64, 128)
    """Channels on each resolution, fine to coarse; multiples of 16."""
    blocks: tuple[int, ...] = (1, 2)
    """Residual blocks on each resolution, on the way down and again on the way up."""
    folding: int = 2
    """Pixels folded into channels at the entrance, per side."""
    attention: bool = True
    """Self-attention once, in the middle, on the coarsest resolution."""
    dropout: float = 0.0
    n_labels: int = 0
    """See `TimeLabel`."""
    dtype: Any = None
    """What to compute in (`precision.current().compute`); None: as inputs and parameters promote."""

    @nn.compact
    def __call__(self, x: jax.Array, t: jax.Array, label: jax.Array, train: bool = False) -> jax.Array:
        """x (B, H, W, C) f32, t (B,) f32 in [0, 1], label (B,) i32 -> (B, H, W, C) f32."""
        height, width, channels = x.shape[1:]
        multiple = self.folding * 2 ** (len(self.widths) - 1)
        padding = ((0, 0), (0, -height % multiple), (0, -width % multiple), (0, 0))
        condition = TimeLabel(4 * self.widths[0], self.n_labels, self.dtype)(t, label)
        h = conv.Conv(self.widths[0], (3, 3), dtype=self.dtype)(fold(jnp.pad(x, padding), self.folding))
        skips = []
        for level, (channels_here, blocks) in enumerate(zip(self.widths, self.blocks, strict=True)):
            if level:
                h = nn.Dense(channels_here, dtype=self.dtype)(fold(h, 2))
            for _ in range(blocks):
                h = ResidualBlock(channels_here, self.dropout, self.dtype)(h, condition, train)
            skips.append(h)
        if self.attention:
            h = AttentionBlock(dtype=self.dtype)(h)
        for level, (channels_here, blocks) in reversed(list(enumerate(zip(self.widths, self.blocks, strict=True)))):
            if level < len(self.widths) - 1:
                h = unfold(nn.Dense(4 * channels_here, dtype=self.dtype)(h), 2) + skips[level]
            for _ in range(blocks):
                h = ResidualBlock(channels_here, self.dropout, self.dtype)(h, condition, train)
        h = nn.silu(_norm(self.dtype)(h))
        h = conv.Conv(channels * self.folding**2, (3, 3), kernel_init=nn.initializers.zeros, dtype=self.dtype)(h)
        return unfold(h, self.folding)[:, :height, :width].astype(x.dtype)
