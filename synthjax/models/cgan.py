r"""Four conditional GANs: dense or convolutional networks, cross-entropy or Wasserstein loss.

They follow Clinton & Teeter, "Exploration of Data Synthesis with GANs" (University of Massachusetts Amherst), sections
3.1.1 to 3.1.4 and Table 1, layer by layer:

    dense         generator  [z, one-hot y] -> 256 -> 512 -> 1024 (linear, batch norm, leaky 0.2) -> linear, tanh
                  critic     [x, one-hot y] -> 1024 -> 512 -> 256 (linear, leaky 0.3, dropout 0.2) -> linear
    convolutional generator  z * e(y) -> linear to 14x14x128, leaky 0.2, batch norm -> transposed 4x4 s2, 64, leaky 0.1,
                             dropout 0.4 -> transposed 4x4 s2, 16, leaky 0.1 -> 4x4 s2, tanh
                  critic     x * e(y) -> linear to 7x7x128, leaky 0.2 -> 3x3, 64, leaky 0.1, pool -> 3x3, 32, leaky 0.1,
                             pool -> linear, from 800 values; pools are 2x2 maxima of stride 1

e(y) is a learned embedding of the size of the factor it multiplies. The sizes are for 28x28 images. For other images,
14 and 7 are replaced by a half and a quarter of the sides (at least 3, for the pools). The convolutional generator has
one batch-norm scale per channel. The study samples from the generator itself, so `ema_decay` is 0.

The study does not state the batch size, the number of steps, n_critic, the decay rates of Adam and the initialisation.
Batches of 64 and n_critic = 5 (Wasserstein; otherwise 1) are common values and were not tuned. The number of steps,
15,000 here and 8,000 to 40,000 in the configs for MNIST, was set by the available time and not by a score. The first
decay rate of Adam of `cgan` was set so that its samples keep their labels. Kernels are initialised uniformly within
1 / sqrt(inputs), as in PyTorch, in which the study is written. There are two differences from PyTorch: biases start at
0, there uniformly within the same bound; and the bound of transposed convolutions depends on their input channels, in
PyTorch on their output channels.

    model = build(PRESETS["cwgan"], spec)
    state = model.init(key)
    state, metrics = model.step(key, 0, state, stacked)   # n_critic batches, (n_critic, B, ...)
    x = model.sample(key, state, labels)

    >>> import numpy as np
    >>> spec = DataSpec.from_arrays(np.zeros((20, 8, 8, 1), np.uint8), np.arange(20) % 2)
    >>> model = build(Config(noise=2, layers="dense"), spec)
    >>> state = jax.eval_shape(model.init, jax.random.key(0))  # shapes alone
    >>> jax.eval_shape(model.sample, jax.random.key(1), state, jnp.zeros(3, jnp.int32)).shape
    (3, 8, 8, 1)
"""

import functools
import math
from dataclasses import dataclass
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from synthjax import adversarial, gan_losses
from synthjax.errors import InputError
from synthjax.gan_losses import Rules
from synthjax.model import DataSpec, Model
from synthjax.nets import precision
from synthjax.nets.conv import Conv, ConvTranspose
from synthjax.nets.dense import Dense
from synthjax.train import optim

WASSERSTEIN = Rules(loss="wasserstein", gradient_penalty=5.0, n_critic=5)
"""The penalty coefficient is the study's; n_critic is that of Gulrajani et al. 2017."""


@dataclass(frozen=True)
class Config:
    """Networks, losses and optimiser. The defaults are those of the study's cDCGAN."""

    layers: Literal["dense", "convolutional"] = "convolutional"
    """Type of both networks."""
    embedding: Literal["product", "stacked"] = "product"
    """How the label enters the convolutional generator. "stacked", an early version of the study: as an additional
    14x14 channel."""
    pools: bool = True
    """Whether the convolutional critic has pooling layers. The study found it "too scrupulous" without them."""
    noise: int = 50
    """Length of z ~ N(0, I)."""
    rules: Rules = Rules()
    """Loss, penalties and number of critic updates."""
    optimiser: Literal["adam", "rmsprop"] = "adam"
    """Of both networks; other constants are PyTorch's defaults."""
    learning_rate: float = 1e-4
    """Of both networks."""
    b1: float = 0.9
    """First decay rate of Adam. The study does not state it; 0.9 is PyTorch's default."""
    weight_decay: float = 1e-5
    """Coefficient of the L2 penalty, whose gradient is added before Adam as in PyTorch (not as in AdamW)."""
    batch_size: int = 64
    steps: int = 15_000
    """Number of generator updates."""
    ema_decay: float = 0.0
    """Decay of the average of the generator from which samples are drawn; 0: no averaging."""

    def __post_init__(self) -> None:
        if self.noise < 1:
            raise InputError(f"model.noise={self.noise}: must be at least 1")
        if not isinstance(self.weight_decay, jax.core.Tracer) and not self.weight_decay >= 0:
            raise InputError(f"model.weight_decay={self.weight_decay}: must not be negative")
        optim.check_rates(self.learning_rate, self.ema_decay)


PRESETS = {
    # With b1 = 0.9 the generator ignores the labels after 3,000 steps on MNIST; with 0.5, as in DCGAN, it does not.
    "cgan": Config(layers="dense", learning_rate=1e-3, b1=0.5, weight_decay=0.0),
    "cwgan": Config(layers="dense", rules=WASSERSTEIN, optimiser="rmsprop", learning_rate=1e-5, weight_decay=0.0),
    "cdcgan": Config(),
    "cwdcgan": Config(rules=WASSERSTEIN),
}


_START = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
"""Uniform within 1 / sqrt(inputs); see the module's docstring."""
_Dense = functools.partial(Dense, kernel_init=_START)
_Conv = functools.partial(Conv, kernel_init=_START)
_ConvTranspose = functools.partial(ConvTranspose, kernel_init=_START)


class DenseGenerator(nn.Module):
    """The dense generator of section 3.1.1."""

    shape: tuple[int, ...]
    n_classes: int
    dtype: Any = None
    """Dtype of the computation, see `synthjax.nets.precision`."""

    @nn.compact
    def __call__(self, z: jax.Array, y: jax.Array, weight: jax.Array, train: bool) -> jax.Array:
        """z (B, noise), y (B,), weight (B,) -> (B, *shape) in [-1, 1]. Batch norm ignores examples of weight 0."""
        h = jnp.concatenate([z, jax.nn.one_hot(y, self.n_classes, dtype=jnp.float32)], axis=-1)
        for width in (256, 512, 1024):
            # The study's "momentum 0.8" is the weight of the new batch; Flax's momentum is that of the old average.
            norm = nn.BatchNorm(not train, momentum=0.2, dtype=self.dtype)
            h = nn.leaky_relu(norm(_Dense(width, dtype=self.dtype)(h), mask=(weight > 0)[:, None]), 0.2)
        h = _Dense(math.prod(self.shape), dtype=self.dtype)(h)
        return nn.tanh(h.astype(jnp.float32)).reshape(len(z), *self.shape)


class DenseCritic(nn.Module):
    """The dense critic of section 3.1.2, without its sigmoid, which is part of the loss."""

    n_classes: int
    dtype: Any = None
    """Dtype of the computation but for the last layer, see `synthjax.nets.precision`."""

    @nn.compact
    def __call__(self, x: jax.Array, y: jax.Array, weight: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """x (B, *shape), y (B,) -> logits (B,), features (B, 256)."""
        h = jnp.concatenate([x.reshape(len(x), -1), jax.nn.one_hot(y, self.n_classes, dtype=jnp.float32)], axis=-1)
        for width in (1024, 512, 256):
            h = nn.leaky_relu(_Dense(width, dtype=self.dtype)(h), 0.3)
            h = nn.Dropout(0.2, deterministic=not train)(h)
        features = h.astype(jnp.float32)
        return _Dense(1)(features)[:, 0], features


class ConvolutionalGenerator(nn.Module):
    """The convolutional generator of section 3.1.3."""

    shape: tuple[int, ...]
    n_classes: int
    embedding: str = "product"
    dtype: Any = None
    """Dtype of the computation, see `synthjax.nets.precision`."""

    @nn.compact
    def __call__(self, z: jax.Array, y: jax.Array, weight: jax.Array, train: bool) -> jax.Array:
        """z (B, noise), y (B,), weight (B,) -> (B, H, W, C) in [-1, 1]. Batch norm ignores examples of weight 0."""
        height, width, channels = self.shape
        rows, columns = -(-height // 2), -(-width // 2)
        dense, conv, transposed = (functools.partial(f, dtype=self.dtype) for f in (_Dense, _Conv, _ConvTranspose))
        label = nn.Embed(self.n_classes, z.shape[-1], embedding_init=nn.initializers.normal(1.0))(y)
        if self.embedding == "product":
            h = dense(rows * columns * 128)(z * label).reshape(len(z), rows, columns, 128)
        else:
            maps = dense(rows * columns * 127)(z), dense(rows * columns, name="label_map")(label)
            h = jnp.concatenate([a.reshape(len(z), rows, columns, -1) for a in maps], axis=-1)
        norm = nn.BatchNorm(not train, momentum=0.9, dtype=self.dtype)
        h = norm(nn.leaky_relu(h, 0.2), mask=(weight > 0)[:, None, None, None])
        h = nn.leaky_relu(transposed(64, (4, 4), strides=(2, 2))(h), 0.1)
        h = nn.Dropout(0.4, deterministic=not train)(h)
        h = nn.leaky_relu(transposed(16, (4, 4), strides=(2, 2))(h), 0.1)
        h = conv(channels, (4, 4), strides=(2, 2))(h)
        return nn.tanh(h.astype(jnp.float32))[:, :height, :width]


class ConvolutionalCritic(nn.Module):
    """The convolutional critic of section 3.1.4, without its sigmoid, which is part of the loss."""

    n_classes: int
    pools: bool = True
    dtype: Any = None
    """Dtype of the computation but for the last layer, see `synthjax.nets.precision`."""

    @nn.compact
    def __call__(self, x: jax.Array, y: jax.Array, weight: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """x (B, H, W, C), y (B,) -> logits (B,), features (B, F); F is 800 for 28x28 pixels."""
        rows, columns = (max(-(-side // 4), 3) for side in x.shape[1:3])
        flat = x.reshape(len(x), -1)
        label = nn.Embed(self.n_classes, flat.shape[-1], embedding_init=nn.initializers.normal(1.0))(y)
        h = _Dense(rows * columns * 128, dtype=self.dtype)(flat * label)
        h = nn.leaky_relu(h, 0.2).reshape(len(x), rows, columns, 128)
        for size in (64, 32):
            h = nn.leaky_relu(_Conv(size, (3, 3), dtype=self.dtype)(h), 0.1)
            h = _pool(h) if self.pools else h
        features = h.reshape(len(x), -1).astype(jnp.float32)
        return _Dense(1)(features)[:, 0], features


def _pool(x: jax.Array) -> jax.Array:
    """Max pooling, 2x2 with stride 1: (B, H, W, C) -> (B, H - 1, W - 1, C)."""
    rows = jnp.maximum(x[:, 1:], x[:, :-1])
    return jnp.maximum(rows[:, :, 1:], rows[:, :, :-1])


def _optimiser(config: Config) -> optax.GradientTransformation:
    """The optimiser without its learning rate. Constants that the study does not state are PyTorch's defaults."""
    rms = optax.scale_by_rms(0.99, eps_in_sqrt=False)
    update = optim.adam(config.b1) if config.optimiser == "adam" else rms
    return optax.chain(optax.add_decayed_weights(config.weight_decay), update) if config.weight_decay else update


def build(config: Config, spec: DataSpec, grad: optim.Grad = optim.mean_grad) -> Model:
    """A conditional GAN of labelled images. For other networks or losses, call `adversarial.game`.

    Args:
      config: of the networks and their training.
      spec: of labelled images.
      grad: turns the critic's loss into a gradient function.

    Raises:
      InputError: the data is a table or has no labels, or fields of the Config contradict each other.
    """
    if spec.kind != "image":
        raise InputError(f"models cgan to cwdcgan make images; the data is a {spec.kind} of {spec.dims} values a row")
    if not spec.n_classes:
        raise InputError(
            "--model=cgan ... cwdcgan: conditional, and the data has no labels; see --dataset, --model=dcgan"
        )
    generator: nn.Module
    critic: nn.Module
    dtype = precision.current().compute
    if config.layers == "dense":
        generator, critic = DenseGenerator(spec.shape, spec.n_classes, dtype), DenseCritic(spec.n_classes, dtype)
    else:
        generator = ConvolutionalGenerator(spec.shape, spec.n_classes, config.embedding, dtype)
        critic = ConvolutionalCritic(spec.n_classes, config.pools, dtype)
    return adversarial.game(
        config.rules,
        adversarial.Networks(generator, critic, config.noise),
        adversarial.Optimisers(
            _optimiser(config), _optimiser(config), lambda i: config.learning_rate, config.ema_decay
        ),
        gan_losses.label_frequencies(spec, True),
        config.steps,
        grad=grad,
    )
