r"""Convolutional variational auto-encoder, optionally conditional on a label (Kingma & Welling 2014, arXiv:1312.6114).

    z ~ N(0, I),  x ~ p(x | z, y);   q(z | x, y) = N(mean(x, y), diag std(x, y)^2)
    log p(x | y)  >=  E_q [ log w ],   log w = log p(x | z, y) + log p(z) - log q(z | x, y)    the ELBO
    log p(x | y)  >=  E_q [ log 1/K sum_k w_k ]    the importance-weighted bound, tight as K grows (Burda et al. 2016,
                                                   arXiv:1509.00519)

p(x | z, y) is one of two distributions. "bernoulli": a Bernoulli distribution per pixel; with `binarise` the pixels are
new binary draws each time, otherwise the grey value takes the place of the expectation of such a draw. "discretised": a
logistic distribution discretised to the grey levels (Kingma et al. 2016, arXiv:1606.04934), with one learned scale per
channel. The unit is nats per image.

    model = build(Config(latents=16), spec)
    state = model.init(key)
    state, metrics = model.step(key, 0, state, batch)
    x = model.sample(key, state, labels)

`model` takes custom parts: an encoder, a decoder, an optimiser or a loss.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from synthjax.errors import InputError
from synthjax.model import Batch, DataSpec, Model
from synthjax.nets import precision
from synthjax.nets.conv import Conv, ConvTranspose
from synthjax.nets.gaussian import importance_bound, kl, log_weight
from synthjax.nets.network import Network, check_shape, linen
from synthjax.nets.options import with_options
from synthjax.train import optim
from synthjax.train.optim import TrainState


@dataclass(frozen=True)
class Config:
    """The networks, the likelihood and the training. The defaults suit 28x28 and 32x32x3 images."""

    latents: int = 32
    """Dimension of z."""
    channels: tuple[int, ...] = (32, 64)
    """Channels of the 4x4 convolutions of stride 2, from the image inwards; the decoder mirrors them. (): only dense
    layers."""
    hidden: tuple[int, ...] = (512,)
    """Widths of the dense layers between the convolutions and z; the decoder mirrors them."""
    likelihood: Literal["bernoulli", "discretised"] = "bernoulli"
    """Distribution of pixels, see the module's docstring."""
    binarise: bool = False
    """Whether training and scoring draw binary pixels with the grey value as probability ("bernoulli" only)."""
    conditional: bool = True
    """Whether encoder and decoder take the label, if the data has labels."""
    importance_samples: int = 1
    """K of the bound that training maximises; 1: the ELBO."""
    sample_mean: bool = True
    """Default of `Sampling.mean`."""
    batch_size: int = 128
    steps: int = 20_000
    """Number of training steps, over which the learning rate decays to 0 by a cosine."""
    learning_rate: float = 1e-3
    """Maximum learning rate of Adam."""
    warmup: int = 200
    """Number of steps over which the learning rate increases linearly."""
    clip: float = 100.0
    """Maximum global norm of the gradient of the loss in nats per image."""
    ema_decay: float = 0.999
    """Decay of the average of the parameters that sampling and scoring use, see `optim.ema`."""

    def __post_init__(self):
        if self.binarise and self.likelihood != "bernoulli":
            raise InputError(f"model.binarise=True: needs model.likelihood=bernoulli, not {self.likelihood}")
        for name in ("latents", "importance_samples"):
            if getattr(self, name) < 1:
                raise InputError(f"model.{name}={getattr(self, name)}: must be at least 1")
        optim.check_rates(self.learning_rate, self.ema_decay, self.warmup, self.clip)


PRESETS = {"vae": Config()}


@dataclass(frozen=True)
class Sampling:
    """Options of `Model.sample`; the default is the Config's."""

    mean: bool
    """Whether images are the mean of p(x | z, y), instead of draws from it."""


class Encoder(nn.Module):
    """Maps x and the label to mean and log variance of q(z | x, y)."""

    config: Config
    dtype: Any = None
    """Dtype of the computation, see `synthjax.nets.precision`."""

    @nn.compact
    def __call__(self, x: jax.Array, onehot: jax.Array) -> tuple[jax.Array, jax.Array]:
        """x (B, H, W, C) in [-1, 1], onehot (B, classes or 0) -> mean and log variance, (B, latents) each."""
        for channels in self.config.channels:
            x = nn.gelu(Conv(channels, (4, 4), strides=(2, 2), dtype=self.dtype)(x))
        h = jnp.concatenate([x.reshape(len(x), -1), onehot], axis=-1)
        for width in self.config.hidden:
            h = nn.gelu(nn.Dense(width, dtype=self.dtype)(h))
        mean, log_var = jnp.split(nn.Dense(2 * self.config.latents, dtype=self.dtype)(h), 2, axis=-1)
        return mean, jnp.clip(log_var, -15.0, 10.0)


class Decoder(nn.Module):
    """Maps z and the label to one parameter per pixel and channel: a logit ("bernoulli") or a mean ("discretised")."""

    config: Config
    shape: tuple[int, ...]
    """(H, W, C) of the image."""
    dtype: Any = None
    """Dtype of the computation, see `synthjax.nets.precision`."""

    @nn.compact
    def __call__(self, z: jax.Array, onehot: jax.Array) -> jax.Array:
        """z (B, latents), onehot (B, classes or 0) -> (B, H, W, C)."""
        height, width, channels = self.shape
        h = jnp.concatenate([z, onehot], axis=-1)
        for size in reversed(self.config.hidden):
            h = nn.gelu(nn.Dense(size, dtype=self.dtype)(h))
        if not self.config.channels:
            return nn.Dense(math.prod(self.shape), dtype=self.dtype)(h).reshape(len(z), *self.shape)
        factor = 2 ** len(self.config.channels)
        rows, columns, deepest = -(-height // factor), -(-width // factor), self.config.channels[-1]
        h = nn.gelu(nn.Dense(rows * columns * deepest, dtype=self.dtype)(h)).reshape(len(z), rows, columns, deepest)
        for size in reversed(self.config.channels[:-1]):
            h = nn.gelu(ConvTranspose(size, (4, 4), strides=(2, 2), dtype=self.dtype)(h))
        return ConvTranspose(channels, (4, 4), strides=(2, 2), dtype=self.dtype)(h)[:, :height, :width]


def _sum(x: jax.Array) -> jax.Array:
    """Sum over all axes but the first."""
    return x.reshape(len(x), -1).sum(axis=-1)


def bernoulli(logits: jax.Array, x: jax.Array) -> jax.Array:
    """Bernoulli log-likelihood, summed over pixels: (B,) f32, nats.

    Args:
      logits: (B, H, W, C) f32.
      x: (B, H, W, C) f32 in [-1, 1]; (x + 1) / 2 is the target.

    >>> round(bernoulli(jnp.zeros((1, 2, 2, 1)), jnp.ones((1, 2, 2, 1))).item() / math.log(2), 4)
    -4.0
    """
    return -_sum(optax.sigmoid_binary_cross_entropy(logits, (x + 1) / 2))


def discretised_logistic(mean: jax.Array, log_scale: jax.Array, x: jax.Array, levels: int) -> jax.Array:
    """Log-likelihood of grey levels under a discretised logistic distribution, summed over pixels: (B,) f32, nats.

    The probability of a grey level is that of the interval of values nearest to it. The intervals of the first and the
    last level extend to infinity.

    Args:
      mean: (B, H, W, C) f32.
      log_scale: (C,) f32.
      x: (B, H, W, C) f32 in [-1, 1], on the grid of `levels` values.
      levels: number of grey levels.
    """
    half = 1 / (levels - 1)
    above, below = ((x - mean + side) * jnp.exp(-log_scale)[None, None, None] for side in (half, -half))
    first, last = x < -1 + half, x > 1 - half
    # log(sigmoid(a) - sigmoid(b)) = log(1 - e^(b - a)) + log sigmoid(a) + log sigmoid(-b), finite also in the tails.
    inside = jnp.log(-jnp.expm1(below - above)) + jax.nn.log_sigmoid(above) + jax.nn.log_sigmoid(-below)
    return _sum(jnp.where(first, jax.nn.log_sigmoid(above), jnp.where(last, jax.nn.log_sigmoid(-below), inside)))


@dataclass(frozen=True, eq=False)
class _Vae:
    """The functions of the model, for one Config, DataSpec and pair of networks."""

    config: Config
    spec: DataSpec
    encoder: Network
    decoder: Network

    def onehot(self, y: jax.Array) -> jax.Array:
        """(B, classes) f32, or (B, 0) if the model is unconditional."""
        return jax.nn.one_hot(y, self.spec.n_classes if self.config.conditional else 0, dtype=jnp.float32)

    def observe(self, key, x: jax.Array) -> jax.Array:
        """The pixels whose likelihood is computed: binary draws, or x unchanged."""
        if not self.config.binarise:
            return x
        return 2 * jax.random.bernoulli(key, (x + 1) / 2).astype(jnp.float32) - 1

    def encode(self, params, x: jax.Array, y: jax.Array):
        """Mean and log variance of q(z | x, y), (B, latents) each, and z -> log p(x | z, y), for x from `observe`."""
        onehot = self.onehot(y)
        mean, log_var = self.encoder.apply(params["encoder"], x, onehot)

        def log_likelihood(z):
            out = self.decoder.apply(params["decoder"], z, onehot)
            if self.config.likelihood == "bernoulli":
                return bernoulli(out, x)
            return discretised_logistic(out, params["log_scale"], x, self.spec.levels)

        return mean, log_var, log_likelihood

    def init(self, key) -> Any:
        key_encoder, key_decoder = jax.random.split(key)
        return {
            "encoder": self.encoder.init(key_encoder),
            "decoder": self.decoder.init(key_decoder),
            "log_scale": jnp.full(self.spec.shape[-1], -2.0, jnp.float32),
        }

    def loss(self, params, key, batch: Batch) -> optim.Losses:
        """The negative of the bound that training maximises."""
        key_x, key_z = jax.random.split(key)
        mean, log_var, log_likelihood = self.encode(params, self.observe(key_x, batch.x), batch.y)
        if self.config.importance_samples > 1:
            keys = jax.random.split(key_z, self.config.importance_samples)
            weights = jax.vmap(lambda key: log_weight(key, mean, log_var, log_likelihood))(keys)
            bound = jax.nn.logsumexp(weights, axis=0) - math.log(self.config.importance_samples)
            return optim.Losses(-bound, {"elbo": weights.mean(axis=0), "kl": kl(mean, log_var)})
        z = mean + jnp.exp(log_var / 2) * jax.random.normal(key_z, mean.shape, jnp.float32)
        reconstruction, divergence = log_likelihood(z), kl(mean, log_var)
        return optim.Losses(divergence - reconstruction, {"reconstruction": reconstruction, "kl": divergence})

    def sample(self, key, state: TrainState, labels, **options: Any) -> jax.Array:
        """Images (B, H, W, C) in [-1, 1]."""
        mean = Sampling(**{"mean": self.config.sample_mean, **options}).mean
        key_z, key_x = jax.random.split(key)
        z = jax.random.normal(key_z, (len(labels), self.config.latents), jnp.float32)
        out = self.decoder.apply(state.ema["decoder"], z, self.onehot(labels))
        if self.config.likelihood == "discretised":
            noise = jax.random.logistic(key_x, out.shape, jnp.float32)
            return jnp.clip(out if mean else out + jnp.exp(state.ema["log_scale"])[None, None, None] * noise, -1, 1)
        p = nn.sigmoid(out)
        return 2 * (p if mean else jax.random.bernoulli(key_x, p).astype(jnp.float32)) - 1

    def score(self, key, state: TrainState, batch: Batch) -> jax.Array:
        """-ELBO with the KL in closed form, from one draw of z: (B,) f32, nats."""
        key_x, key_z = jax.random.split(key)
        mean, log_var, log_likelihood = self.encode(state.ema, self.observe(key_x, batch.x), batch.y)
        z = mean + jnp.exp(log_var / 2) * jax.random.normal(key_z, mean.shape, jnp.float32)
        return kl(mean, log_var) - log_likelihood(z)

    def log_prob(self, key, state: TrainState, batch: Batch, samples: int = 100) -> jax.Array:
        """Importance-weighted lower bound on log p(x | y), tighter with more `samples`: (B,) f32, nats.

        With `binarise`, x are binary draws by `key`; images that are already binary do not change.
        """
        key_x, key_z = jax.random.split(key)
        mean, log_var, log_likelihood = self.encode(state.ema, self.observe(key_x, batch.x), batch.y)
        return importance_bound(key_z, mean, log_var, log_likelihood, samples)


def model(
    config: Config,
    spec: DataSpec,
    *,
    encoder: Network | None = None,
    decoder: Network | None = None,
    optimiser: optax.GradientTransformation | None = None,
    loss: optim.Loss | None = None,
    grad: optim.Grad = optim.mean_grad,
) -> Model:
    """A VAE of images.

    Args:
      config: of the likelihood, and of the networks and the optimiser if these are not given.
      spec: of images.
      encoder: x (B, H, W, C), one-hot label (B, classes or 0) -> mean and log variance, (B, latents) each.
      decoder: z (B, latents), one-hot label -> (B, H, W, C), logits ("bernoulli") or means ("discretised").
      optimiser: any optax transformation with its own learning rate. Default: Adam, see the Config.
      loss: (params, key, batch) -> `optim.Losses`, with params {"encoder", "decoder", "log_scale"}. Default: -ELBO.
      grad: turns the loss into a gradient function.

    Raises:
      InputError: the data is a table, or the output of a network has the wrong shape.
    """
    if spec.kind != "image":
        raise InputError(f"model vae makes images; the data is a {spec.kind} of {spec.dims} values a row")
    classes = spec.n_classes if config.conditional else 0
    x, z, onehot = (jnp.zeros(shape, jnp.float32) for shape in ((2, *spec.shape), (2, config.latents), (2, classes)))
    if encoder is not None:
        check_shape(encoder, (z.shape, z.shape), "encoder", x, onehot)
    if decoder is not None:
        check_shape(decoder, x.shape, "decoder", z, onehot)
    dtype = precision.current().compute
    encoder = encoder or linen(Encoder(config, dtype), x, onehot)
    decoder = decoder or linen(Decoder(config, spec.shape, dtype), z, onehot)
    vae = _Vae(config, spec, encoder, decoder)
    init, step = optim.init_and_step(config, vae.init, loss or vae.loss, optimiser, grad)
    # A Bernoulli "likelihood" of grey values is not a probability.
    normalised = config.binarise or config.likelihood == "discretised"
    return Model(
        init,
        step,
        with_options(vae.sample, Sampling, mean=config.sample_mean),
        vae.score,
        vae.log_prob if normalised else None,
        log_prob_kind="lower bound" if normalised else "",
        log_prob_of=("binary pixels" if config.binarise else "grey levels") if normalised else "",
        conditional=classes > 0,
        n_classes=spec.n_classes,
        empty_classes=spec.empty_classes,
    )


def build(config: Config, spec: DataSpec, grad: optim.Grad = optim.mean_grad) -> Model:
    """The VAE of a Config; see `model`."""
    return model(config, spec, grad=grad)
