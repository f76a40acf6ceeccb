r"""A U-Net that first folds pixels into channels, so that most of its work is large matrix products.

An image (B, H, W, C) becomes (B, H/f, W/f, f f C). No information is lost, and the cost of every later layer falls by
f^2 (this is the space-to-depth of sub-pixel convolution, Shi et al. 2016, arXiv:1609.05158). The rest follows Ho et
al. 2020 (arXiv:2006.11239) and Dhariwal & Nichol 2021 (arXiv:2105.05233): on each resolution, residual blocks whose
second norm is modulated by a conditioning vector; self-attention on the coarsest resolution; skip connections from the
encoder to the decoder. Resolutions are changed by folding as well. Skips are added, not concatenated, which halves the
cost of the decoder.

Images whose sides the folds do not divide (28 -> 14 -> 7 -> 3.5) are padded with zeros first and cropped at the end.

    >>> import jax, jax.numpy as jnp
    >>> unfold(fold(jnp.arange(16.0).reshape(1, 4, 4, 1), 2), 2).ravel()[:4].tolist()
    [0.0, 1.0, 2.0, 3.0]
    >>> net, x = UNet(widths=(16,), blocks=(1,), n_labels=11), jnp.zeros((2, 8, 8, 1))
    >>> net.init_with_output(jax.random.key(0), x, jnp.zeros(2), jnp.zeros(2, int))[0].shape
    (2, 8, 8, 1)
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from synthjax.errors import InputError
from synthjax.model import DataSpec
from synthjax.nets import conv, diffusion, precision
from synthjax.nets.embeddings import TimeLabel
from synthjax.nets.network import Network, linen


def fold(x: jax.Array, factor: int) -> jax.Array:
    """Space to channels: (B, H, W, C) -> (B, H/factor, W/factor, factor^2 C). `factor` must divide H and W."""
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
    """x + conv(silu(modulated norm(conv(silu(norm(x)))))); the identity at initialisation."""

    channels: int
    dropout: float = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, condition: jax.Array, train: bool = False) -> jax.Array:
        """x (B, H, W, channels), condition (B, E) -> (B, H, W, channels). `train` turns on dropout (rng "dropout")."""
        h = conv.Conv(self.channels, (3, 3), dtype=self.dtype)(nn.silu(_norm(self.dtype)(x)))
        scale, shift = jnp.split(nn.Dense(2 * self.channels, dtype=self.dtype)(condition)[:, None, None, :], 2, axis=-1)
        h = nn.silu(_norm(self.dtype)(h) * (1 + scale) + shift)
        h = nn.Dropout(self.dropout, deterministic=not train)(h)
        return x + conv.Conv(self.channels, (3, 3), kernel_init=nn.initializers.zeros, dtype=self.dtype)(h)


class AttentionBlock(nn.Module):
    """Self-attention over all positions; the identity at initialisation."""

    heads: int = 4
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """(B, H, W, C) -> (B, H, W, C). C must be divisible by `heads`."""
        batch, height, width, channels = x.shape
        tokens = _norm(self.dtype)(x).reshape(batch, height * width, channels)
        q, k, v = jnp.split(nn.Dense(3 * channels, dtype=self.dtype)(tokens), 3, axis=-1)
        q, k, v = (a.reshape(batch, height * width, self.heads, -1) for a in (q, k, v))
        h = jax.nn.dot_product_attention(q, k, v).reshape(batch, height * width, channels)
        h = nn.Dense(channels, kernel_init=nn.initializers.zeros, dtype=self.dtype)(h)
        return x + h.reshape(x.shape)


class UNet(nn.Module):
    """Maps a noisy image, a time and a label to an image of the same shape. The output is zero at initialisation."""

    widths: tuple[int, ...] = (64, 128)
    """Channels on each resolution, from fine to coarse; multiples of 16."""
    blocks: tuple[int, ...] = (1, 2)
    """Residual blocks on each resolution, in the encoder and again in the decoder."""
    folding: int = 2
    """Side f of the f x f pixels that are folded into channels at the input."""
    attention: bool = True
    """Whether there is an attention block on the coarsest resolution."""
    dropout: float = 0.0
    """Dropout rate of the residual blocks."""
    n_labels: int = 0
    """See `TimeLabel`."""
    dtype: Any = None
    """Dtype of the computation (`precision.current().compute`); None: the promoted dtype of inputs and parameters."""

    @nn.compact
    def __call__(self, x: jax.Array, t: jax.Array, label: jax.Array, train: bool = False) -> jax.Array:
        """x (B, H, W, C) f32, t (B,) or (B, times) f32 in [0, 1], label (B,) i32 -> (B, H, W, C) f32."""
        height, width, channels = x.shape[1:]
        multiple = self.folding * 2 ** (len(self.widths) - 1)
        padding = ((0, 0), (0, -height % multiple), (0, -width % multiple), (0, 0))
        condition = TimeLabel(4 * self.widths[0], self.n_labels, self.dtype)(t, label)
        h = conv.Conv(self.widths[0], (3, 3), dtype=self.dtype)(fold(jnp.pad(x, padding), self.folding))
        skips = []
        for level, (features, blocks) in enumerate(zip(self.widths, self.blocks, strict=True)):
            if level:
                h = nn.Dense(features, dtype=self.dtype)(fold(h, 2))
            for _ in range(blocks):
                h = ResidualBlock(features, self.dropout, self.dtype)(h, condition, train)
            skips.append(h)
        if self.attention:
            h = AttentionBlock(dtype=self.dtype)(h)
        for level, (features, blocks) in reversed(list(enumerate(zip(self.widths, self.blocks, strict=True)))):
            if level < len(self.widths) - 1:
                h = unfold(nn.Dense(4 * features, dtype=self.dtype)(h), 2) + skips[level]
            for _ in range(blocks):
                h = ResidualBlock(features, self.dropout, self.dtype)(h, condition, train)
        h = nn.silu(_norm(self.dtype)(h))
        h = conv.Conv(channels * self.folding**2, (3, 3), kernel_init=nn.initializers.zeros, dtype=self.dtype)(h)
        return unfold(h, self.folding)[:, :height, :width].astype(x.dtype)


def check(config: Any) -> None:
    """Checks the fields of a Config that describe a U-Net: width, multipliers, blocks, folding and dropout.

    Raises:
      InputError: one is out of range.
    """
    if config.width % 16 or config.width < 16:
        raise InputError(f"model.width={config.width}: must be a positive multiple of 16")
    if len(config.blocks) != len(config.multipliers):
        raise InputError(f"model.blocks={config.blocks}: must be as many as model.multipliers={config.multipliers}")
    if config.folding < 1:
        raise InputError(f"model.folding={config.folding}: must be at least 1")
    diffusion.check_share("model.dropout", config.dropout)


def network(config: Any, spec: DataSpec, times: int = 1) -> Network:
    """The U-Net of a Config for images of `spec`; one label more than there are classes means no label.

    Args:
      config: with the fields that `check` names.
      spec: of images.
      times: number of times that the network takes; with one, t is (B,).

    Returns:
      x_t (B, H, W, C), t (B,) or (B, times), label (B,) -> (B, H, W, C).
    """
    widths = tuple(config.width * multiplier for multiplier in config.multipliers)
    labels = spec.n_classes and spec.n_classes + 1
    module = UNet(widths, config.blocks, config.folding, True, config.dropout, labels, precision.current().compute)
    x, t = jnp.zeros((1, *spec.shape), jnp.float32), jnp.zeros((1, times) if times > 1 else 1, jnp.float32)
    return linen(module, x, t, jnp.zeros(1, jnp.int32), dropout=config.dropout > 0)
