r"""Convolutional GANs: DCGAN (Radford et al. 2016, arXiv:1511.06434) and WGAN-GP (Gulrajani et al. 2017, 1704.00028).

The generator turns noise and label into an image by transposed 4x4 convolutions of stride 2, batch norm and ReLU, with
tanh at the end; the critic mirrors it with convolutions of stride 2 and leaky ReLU of slope 0.2. Nothing is pooled, no
layer next to the image is normalised. Weights start as N(0, 0.02), as DCGAN's do.

Labels, which the papers do not use, enter the generator as a one-hot vector beside the noise, and the critic by
projection: D(x, y) = w . h(x) + v_y . h(x) (Miyato & Koyama 2018, arXiv:1802.05637). Losses and training are those of
`synthjax.adversarial`.

    model = build(PRESETS["wgan_gp"], spec)
    state = model.init(key)
    state, metrics = model.step(key, 0, state, stacked)   # n_critic batches, (n_critic, B, ...)
    x = model.sample(key, state, labels)
"""

from dataclasses import dataclass
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from synthjax import adversarial
from synthjax.errors import InputError
from synthjax.gan_losses import Rules, minibatch_stddev
from synthjax.model import DataSpec, Model
from synthjax.nets.conv import Conv, ConvTranspose
from synthjax.train import optim


@dataclass(frozen=True)
class Config:
    """The networks and how they are trained. Defaults are DCGAN's; they suit 28x28 and 32x32x3 images."""

    noise: int = 100
    """Length of z ~ N(0, I)."""
    channels: tuple[int, ...] = (64, 128)
    """Of the critic's convolutions of stride 2, from the image inwards; the generator mirrors them."""
    norm: Literal["batch", "layer", "none"] = "batch"
    """The critic's. The generator's is batch norm."""
    conditional: bool = True
    """Both networks see the label, where the data has one."""
    minibatch_stddev: bool = False
    """The critic sees how much the features vary over its batch (Karras et al. 2018, arXiv:1710.10196)."""
    rules: Rules = Rules()
    """Loss, penalties, number of critic updates."""
    learning_rate: float = 2e-4
    """Adam's, of both networks."""
    b1: float = 0.5
    """Adam's first decay."""
    b2: float = 0.999
    """Adam's second decay."""
    batch_size: int = 64
    steps: int = 20_000
    """Updates of the generator."""
    ema_decay: float = 0.999
    """Of the generator that samples are drawn from; warms up, see `optim.ema`."""

    def __post_init__(self) -> None:
        if not self.channels:
            raise InputError("model.channels: needs at least one convolution")
        if min(self.channels) < 1:
            raise InputError(f"model.channels={self.channels}: each must be at least 1")
        if self.noise < 1:
            raise InputError(f"model.noise={self.noise}: must be at least 1")
        optim.check_rates(self.learning_rate, self.ema_decay)


PRESETS = {
    "dcgan": Config(),
    "wgan_gp": Config(
        norm="layer",
        rules=Rules(loss="wasserstein", gradient_penalty=10.0, n_critic=5),
        learning_rate=1e-4,
        b2=0.9,
    ),
}
_START = nn.initializers.normal(0.02)


class Generator(nn.Module):
    """Noise and label to an image."""

    config: Config
    shape: tuple[int, ...]
    n_classes: int
    """0: labels are not looked at."""

    @nn.compact
    def __call__(self, z: jax.Array, y: jax.Array, weight: jax.Array, train: bool) -> jax.Array:
        """z (B, noise), y (B,), weight (B,) -> (B, H, W, C) in [-1, 1]. Batch norm skips those of weight 0."""
        height, width, channels = self.shape
        *outer, deepest = self.config.channels
        factor = 2 ** len(self.config.channels)
        rows, columns = -(-height // factor), -(-width // factor)

        def activate(h):
            norm = nn.BatchNorm(not train, momentum=0.9, scale_init=lambda *a: 1 + _START(*a))
            return nn.relu(norm(h, mask=(weight > 0)[:, None, None, None]))

        h = jnp.concatenate([z, jax.nn.one_hot(y, self.n_classes, dtype=jnp.float32)], axis=-1)
        h = nn.Dense(rows * columns * deepest, use_bias=False, kernel_init=_START)(h)
        h = activate(h.reshape(len(z), rows, columns, deepest))
        for size in reversed(outer):
            h = activate(ConvTranspose(size, (4, 4), strides=(2, 2), use_bias=False, kernel_init=_START)(h))
        h = ConvTranspose(channels, (4, 4), strides=(2, 2), kernel_init=_START)(h)
        return nn.tanh(h[:, :height, :width])


class Critic(nn.Module):
    """Image and label to one number and the features it is made from."""

    config: Config
    n_classes: int
    """0: labels are not looked at."""

    @nn.compact
    def __call__(self, x: jax.Array, y: jax.Array, weight: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """x (B, H, W, C), y (B,), weight (B,) -> logits (B,), features (B, F)."""
        norm = self.config.norm
        for depth, size in enumerate(self.config.channels):
            normed = depth > 0 and norm != "none"
            x = Conv(size, (4, 4), strides=(2, 2), use_bias=not normed, kernel_init=_START)(x)
            if normed and norm == "batch":
                scale = nn.BatchNorm(not train, momentum=0.9, scale_init=lambda *a: 1 + _START(*a))
                x = scale(x, mask=(weight > 0)[:, None, None, None])
            elif normed:
                x = nn.LayerNorm(reduction_axes=(-3, -2, -1))(x)
            x = nn.leaky_relu(x, 0.2)
        features = x.reshape(len(x), -1)
        seen = minibatch_stddev(features, weight) if self.config.minibatch_stddev else features
        logits = nn.Dense(1, kernel_init=_START)(seen)[:, 0]
        if self.n_classes:
            label = nn.Embed(self.n_classes, features.shape[-1], embedding_init=_START)(y)
            logits += (label * features).sum(axis=-1)
        return logits, features


def build(config: Config, spec: DataSpec, grad: optim.Grad = optim.mean_grad) -> Model:
    """A GAN of images of that shape; with other networks, optimisers or losses, call `adversarial.game`.

    `grad` turns the critic's loss into its gradient; one that looks at examples one by one needs `norm` other than
    "batch".

    Raises:
      InputError: the data is no image, or fields of the Config contradict each other.
    """
    if spec.kind != "image":
        raise InputError(f"models dcgan and wgan_gp make images; the data is a {spec.kind} of {spec.dims} values a row")
    if min(spec.shape[:2]) < 2 ** (len(config.channels) - 1):
        sides = f"{spec.shape[0]}x{spec.shape[1]}"
        raise InputError(f"model.channels={config.channels}: halved that often, nothing is left of {sides} pixels")
    coupling = "batch norm" * (config.norm == "batch") or "minibatch standard deviation" * config.minibatch_stddev
    classes = spec.n_classes if config.conditional else 0
    adam = optim.adam(config.b1, config.b2)
    return adversarial.game(
        config.rules,
        adversarial.Networks(Generator(config, spec.shape, classes), Critic(config, classes), config.noise, coupling),
        adversarial.Optimisers(adam, adam, lambda i: config.learning_rate, config.ema_decay),
        adversarial.label_frequencies(spec, classes > 0),
        config.steps,
        grad=grad,
    )
