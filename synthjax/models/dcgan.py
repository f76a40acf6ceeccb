r"""Convolutional GANs: DCGAN (Radford et al. 2016, arXiv:1511.06434) and WGAN-GP (Gulrajani et al. 2017, 1704.00028).

The generator maps noise and label to an image by transposed 4x4 convolutions of stride 2 with batch norm and ReLU, and
a final tanh. The critic mirrors it, with convolutions of stride 2 and leaky ReLU of slope 0.2. There is no pooling, and
the layers next to the image are not normalised. Weights are initialised from N(0, 0.02^2), as in DCGAN.

The papers do not use labels. Here they enter the generator as a one-hot vector appended to the noise, and the critic by
projection: D(x, y) = w . h(x) + v_y . h(x) (Miyato & Koyama 2018, arXiv:1802.05637). Losses and training are those of
`synthjax.adversarial`.

    model = build(PRESETS["wgan_gp"], spec)
    state = model.init(key)
    state, metrics = model.step(key, 0, state, stacked)   # n_critic batches, (n_critic, B, ...)
    x = model.sample(key, state, labels)

    >>> import numpy as np
    >>> spec = DataSpec.from_arrays(np.zeros((20, 8, 8, 1), np.uint8), np.arange(20) % 2)
    >>> model = build(Config(noise=2, channels=(4,)), spec)
    >>> state = jax.eval_shape(model.init, jax.random.key(0))  # shapes alone
    >>> jax.eval_shape(model.sample, jax.random.key(1), state, jnp.zeros(3, jnp.int32)).shape
    (3, 8, 8, 1)
"""

import functools
from dataclasses import dataclass
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from synthjax import adversarial, gan_losses
from synthjax.errors import InputError
from synthjax.gan_losses import Rules, minibatch_stddev
from synthjax.model import DataSpec, Model
from synthjax.nets import precision
from synthjax.nets.conv import Conv, ConvTranspose
from synthjax.train import optim


@dataclass(frozen=True)
class Config:
    """The networks and their training. The defaults are those of DCGAN and suit 28x28 and 32x32x3 images."""

    noise: int = 100
    """Length of z ~ N(0, I)."""
    channels: tuple[int, ...] = (64, 128)
    """Channels of the critic's convolutions of stride 2, from the image inwards; the generator mirrors them."""
    norm: Literal["batch", "layer", "none"] = "batch"
    """Normalisation in the critic; the generator always uses batch norm."""
    conditional: bool = True
    """Whether both networks take the label, if the data has labels."""
    minibatch_stddev: bool = False
    """Whether the critic uses the deviation of its features over the batch (Karras et al. 2018, arXiv:1710.10196)."""
    rules: Rules = Rules()
    """Loss, penalties and number of critic updates."""
    learning_rate: float = 2e-4
    """Of Adam, for both networks."""
    b1: float = 0.5
    """First decay rate of Adam."""
    b2: float = 0.999
    """Second decay rate of Adam."""
    batch_size: int = 64
    steps: int = 20_000
    """Number of generator updates."""
    ema_decay: float = 0.999
    """Decay of the average of the generator from which samples are drawn, see `optim.ema`."""

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
_BatchNorm = functools.partial(nn.BatchNorm, momentum=0.9, scale_init=lambda *shape: 1 + _START(*shape))


class Generator(nn.Module):
    """Maps noise and label to an image."""

    config: Config
    shape: tuple[int, ...]
    """(H, W, C) of the image."""
    n_classes: int
    """Number of classes; 0: labels are ignored."""
    dtype: Any = None
    """Dtype of the computation, see `synthjax.nets.precision`."""

    @nn.compact
    def __call__(self, z: jax.Array, y: jax.Array, weight: jax.Array, train: bool) -> jax.Array:
        """z (B, noise), y (B,), weight (B,) -> (B, H, W, C) in [-1, 1]. Batch norm ignores examples of weight 0."""
        height, width, channels = self.shape
        *outer, deepest = self.config.channels
        factor = 2 ** len(self.config.channels)
        rows, columns = -(-height // factor), -(-width // factor)

        def activate(h):
            return nn.relu(_BatchNorm(not train, dtype=self.dtype)(h, mask=(weight > 0)[:, None, None, None]))

        h = jnp.concatenate([z, jax.nn.one_hot(y, self.n_classes, dtype=jnp.float32)], axis=-1)
        h = nn.Dense(rows * columns * deepest, use_bias=False, kernel_init=_START, dtype=self.dtype)(h)
        h = activate(h.reshape(len(z), rows, columns, deepest))
        for size in reversed(outer):
            h = ConvTranspose(size, (4, 4), (2, 2), use_bias=False, kernel_init=_START, dtype=self.dtype)(h)
            h = activate(h)
        h = ConvTranspose(channels, (4, 4), strides=(2, 2), kernel_init=_START, dtype=self.dtype)(h)
        return nn.tanh(h[:, :height, :width].astype(jnp.float32))


class Critic(nn.Module):
    """Maps image and label to the critic's value and the features it is computed from."""

    config: Config
    n_classes: int
    """Number of classes; 0: labels are ignored."""
    dtype: Any = None
    """Dtype of the computation but for the last layer, see `synthjax.nets.precision`."""

    @nn.compact
    def __call__(self, x: jax.Array, y: jax.Array, weight: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """x (B, H, W, C), y (B,), weight (B,) -> values (B,), features (B, F)."""
        norm = self.config.norm
        for depth, size in enumerate(self.config.channels):
            normalise = depth > 0 and norm != "none"
            x = Conv(size, (4, 4), (2, 2), use_bias=not normalise, kernel_init=_START, dtype=self.dtype)(x)
            if normalise and norm == "batch":
                x = _BatchNorm(not train, dtype=self.dtype)(x, mask=(weight > 0)[:, None, None, None])
            elif normalise:
                x = nn.LayerNorm(reduction_axes=(-3, -2, -1), dtype=self.dtype)(x)
            x = nn.leaky_relu(x, 0.2)
        features = x.reshape(len(x), -1).astype(jnp.float32)
        inputs = minibatch_stddev(features, weight) if self.config.minibatch_stddev else features
        logits = nn.Dense(1, kernel_init=_START)(inputs)[:, 0]
        if self.n_classes:
            label = nn.Embed(self.n_classes, features.shape[-1], embedding_init=_START)(y)
            logits += (label * features).sum(axis=-1)
        return logits, features


def build(config: Config, spec: DataSpec, grad: optim.Grad = optim.mean_grad) -> Model:
    """A GAN of images. For other networks, optimisers or losses, call `adversarial.game`.

    Args:
      config: of the networks and their training.
      spec: of images.
      grad: turns the critic's loss into a gradient function. One that needs the gradients of single examples requires a
        `norm` other than "batch".

    Raises:
      InputError: the data is a table, or fields of the Config contradict each other.
    """
    if spec.kind != "image":
        raise InputError(f"models dcgan and wgan_gp make images; the data is a {spec.kind} of {spec.dims} values a row")
    if min(spec.shape[:2]) < 2 ** (len(config.channels) - 1):
        sides = f"{spec.shape[0]}x{spec.shape[1]}"
        raise InputError(f"model.channels={config.channels}: too many convolutions of stride 2 for {sides} pixels")
    coupling = "batch norm" * (config.norm == "batch") or "minibatch standard deviation" * config.minibatch_stddev
    classes = spec.n_classes if config.conditional else 0
    adam, dtype = optim.adam(config.b1, config.b2), precision.current().compute
    generator, critic = Generator(config, spec.shape, classes, dtype), Critic(config, classes, dtype)
    return adversarial.game(
        config.rules,
        adversarial.Networks(generator, critic, config.noise, coupling),
        adversarial.Optimisers(adam, adam, lambda i: config.learning_rate, config.ema_decay),
        gan_losses.label_frequencies(spec, classes > 0),
        config.steps,
        grad=grad,
    )
