r"""Variational auto-encoder, convolutional, conditional on a label or not (Kingma & Welling 2014, arXiv:1312.6114).

    z ~ N(0, I),  x ~ p(x | z, y);   q(z | x, y) = N(mean(x, y), diag std(x, y)^2)
    log p(x | y)  >=  E_q [ log w ],   log w = log p(x | z, y) + log p(z) - log q(z | x, y)    the ELBO
    log p(x | y)  >=  E_q [ log 1/K sum_k w_k ]    the importance-weighted bound, tight as K grows (Burda et al. 2016,
                                                   arXiv:1509.00519)

p(x | z, y) is Bernoulli per pixel, read either as the grey value's expectation or, with `binarise`, over images that
are drawn black and white afresh each time they are seen; or a logistic distribution over the grey values, discretised
(Kingma et al. 2016, arXiv:1606.04934), with one learnt scale per channel. Units are nats per image.

    model = build(Config(latents=16), spec)
    state = model.init(key, batch)
    state, metrics = model.step(key, 0, state, batch)
    x = model.sample(key, state, labels)
"""

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from synthjax.errors import InputError
from synthjax.model import Batch, DataSpec, Model
from synthjax.nets.conv import Conv, ConvTranspose
from synthjax.nets.gaussian import kl
from synthjax.train import optim


@dataclass(frozen=True)
class Config:
    """The networks, the likelihood, and how both are trained. Defaults suit 28x28 and 32x32x3 images."""

    latents: int = 32
    """Dimensions of z."""
    channels: tuple[int, ...] = (32, 64)
    """Of the 4x4 convolutions of stride 2, from the image inwards; the decoder mirrors them. (): dense layers alone."""
    hidden: tuple[int, ...] = (512,)
    """Widths of the dense layers between the convolutions and z; the decoder mirrors them."""
    likelihood: Literal["bernoulli", "discretised"] = "bernoulli"
    binarise: bool = False
    """Draw pixels black or white with their grey value as probability, in training and scoring (Bernoulli only)."""
    conditional: bool = True
    """Encoder and decoder see the label, where the data has one."""
    importance_samples: int = 1
    """K of the bound that training maximises; 1: the ELBO."""
    sample_mean: bool = True
    """`sample` gives the mean of p(x | z, y) rather than a draw from it; default of its option `mean`."""
    batch_size: int = 128
    steps: int = 20_000
    """Training steps; the learning rate falls to 0 (cosine) over them."""
    learning_rate: float = 1e-3
    """Adam's, after a linear warm-up of `warmup` steps."""
    warmup: int = 200
    clip: float = 100.0
    """Largest global norm of a gradient, which is that of nats per image."""
    ema_decay: float = 0.999
    """Of the parameters that samples and scores use; warms up, see `optim.ema`."""


PRESETS = {"vae": Config()}


class State(NamedTuple):
    """What training carries along."""

    params: Any
    ema: Any
    opt: optax.OptState


class Encoder(nn.Module):
    """x and label to the moments of q(z | x, y)."""

    config: Config

    @nn.compact
    def __call__(self, x: jax.Array, onehot: jax.Array) -> tuple[jax.Array, jax.Array]:
        """x (B, H, W, C) in [-1, 1], onehot (B, classes or 0) -> mean and log-variance, each (B, latents)."""
        for channels in self.config.channels:
            x = nn.gelu(Conv(channels, (4, 4), strides=(2, 2))(x))
        h = jnp.concatenate([x.reshape(len(x), -1), onehot], axis=-1)
        for width in self.config.hidden:
            h = nn.gelu(nn.Dense(width)(h))
        mean, log_var = jnp.split(nn.Dense(2 * self.config.latents)(h), 2, axis=-1)
        return mean, jnp.clip(log_var, -15.0, 10.0)


class Decoder(nn.Module):
    """z and label to one parameter a pixel value: a logit (Bernoulli) or a mean (discretised)."""

    config: Config
    shape: tuple[int, ...]

    @nn.compact
    def __call__(self, z: jax.Array, onehot: jax.Array) -> jax.Array:
        """z (B, latents), onehot (B, classes or 0) -> (B, H, W, C)."""
        height, width, channels = self.shape
        h = jnp.concatenate([z, onehot], axis=-1)
        for size in reversed(self.config.hidden):
            h = nn.gelu(nn.Dense(size)(h))
        if not self.config.channels:
            return nn.Dense(math.prod(self.shape))(h).reshape(len(z), *self.shape)
        factor = 2 ** len(self.config.channels)
        rows, columns, deepest = -(-height // factor), -(-width // factor), self.config.channels[-1]
        h = nn.gelu(nn.Dense(rows * columns * deepest)(h)).reshape(len(z), rows, columns, deepest)
        for size in reversed(self.config.channels[:-1]):
            h = nn.gelu(ConvTranspose(size, (4, 4), strides=(2, 2))(h))
        return ConvTranspose(channels, (4, 4), strides=(2, 2))(h)[:, :height, :width]


def _sum(x: jax.Array) -> jax.Array:
    """Over all axes but the first."""
    return x.reshape(len(x), -1).sum(axis=-1)


def bernoulli(logits: jax.Array, x: jax.Array) -> jax.Array:
    """log p(x | logits), summed over pixels: (B,). x (B, H, W, C) in [-1, 1] is read as a probability."""
    return -_sum(optax.sigmoid_binary_cross_entropy(logits, (x + 1) / 2))


def discretised_logistic(mean: jax.Array, log_scale: jax.Array, x: jax.Array, levels: int) -> jax.Array:
    """log of the logistic's mass on the grey value of x, summed over pixels: (B,); the ends are open.

    mean and x (B, H, W, C) in [-1, 1], x on the grid of `levels` values; log_scale (C,).
    """
    half = 1 / (levels - 1)
    above, below = ((x - mean + side) * jnp.exp(-log_scale) for side in (half, -half))
    first, last = x < -1 + half, x > 1 - half
    # log(sigmoid(a) - sigmoid(b)) = a - b + log(1 - e^(b - a)) + log sigmoid(b) ... kept finite by its closed form:
    inside = jnp.log(-jnp.expm1(below - above)) + jax.nn.log_sigmoid(above) + jax.nn.log_sigmoid(-below)
    return _sum(jnp.where(first, jax.nn.log_sigmoid(above), jnp.where(last, jax.nn.log_sigmoid(-below), inside)))


def log_normal(z: jax.Array, mean: jax.Array | float = 0.0, log_var: jax.Array | float = 0.0) -> jax.Array:
    """log N(z; mean, e^log_var), summed over the last axis."""
    return -0.5 * (math.log(2 * math.pi) + log_var + (z - mean) ** 2 * jnp.exp(-log_var)).sum(axis=-1)


def log_weight(key: jax.Array, mean: jax.Array, log_var: jax.Array, log_likelihood) -> jax.Array:
    """log w of one draw z ~ N(mean, e^log_var): (B,). log_likelihood: z (B, latents) -> log p(x | z) (B,)."""
    z = mean + jnp.exp(log_var / 2) * jax.random.normal(key, mean.shape)
    return log_likelihood(z) + log_normal(z) - log_normal(z, mean, log_var)


def importance_bound(key: jax.Array, mean: jax.Array, log_var: jax.Array, log_likelihood, samples: int) -> jax.Array:
    """log 1/K sum_k w_k over K = samples draws, one after the other: (B,). Arguments as those of `log_weight`."""

    def body(total, key):
        return jnp.logaddexp(total, log_weight(key, mean, log_var, log_likelihood)), None

    start = jnp.full(len(mean), -jnp.inf)
    return jax.lax.scan(body, start, jax.random.split(key, samples))[0] - math.log(samples)


class _Nets(NamedTuple):
    """What training, sampling and scoring share, for one Config and DataSpec."""

    encoder: Encoder
    decoder: Decoder
    onehot: Any  # labels (B,) -> (B, classes), or (B, 0) where the model sees no label
    log_likelihood: Any  # (params, decoder's output, x) -> (B,)
    observe: Any  # (key, x) -> x as the likelihood sees it: binarised or as it is


def _nets(config: Config, spec: DataSpec) -> _Nets:
    if spec.kind != "image":
        raise InputError(f"model vae makes images; the data is a {spec.kind} of {spec.dims} values a row")
    if config.binarise and config.likelihood != "bernoulli":
        raise InputError(f"model.binarise=True: needs model.likelihood=bernoulli, not {config.likelihood}")
    for name, least in (("latents", 1), ("importance_samples", 1)):
        if getattr(config, name) < least:
            raise InputError(f"model.{name}={getattr(config, name)}: must be at least {least}")
    classes = spec.n_classes if config.conditional else 0

    def onehot(y):
        return jax.nn.one_hot(y, classes)

    def log_likelihood(params, out, x):
        if config.likelihood == "bernoulli":
            return bernoulli(out, x)
        return discretised_logistic(out, params["log_scale"], x, spec.levels)

    def observe(key, x):
        return 2.0 * jax.random.bernoulli(key, (x + 1) / 2) - 1 if config.binarise else x

    return _Nets(Encoder(config), Decoder(config, spec.shape), onehot, log_likelihood, observe)


def _encode(nets: _Nets, params: Any, batch: Batch, x: jax.Array) -> tuple[jax.Array, jax.Array, Any]:
    """Moments of q(z | x, y), each (B, latents), and z -> log p(x | z, y), for x as observed."""
    onehot = nets.onehot(batch.y)
    moments: Any = nets.encoder.apply(params["encoder"], x, onehot)

    def log_likelihood(z):
        return nets.log_likelihood(params, nets.decoder.apply(params["decoder"], z, onehot), x)

    return *moments, log_likelihood


def _loss(config: Config, nets: _Nets) -> optim.Loss:
    """(params, key, batch) -> (minus the bound that training maximises (B,), terms)."""

    def loss(params, key, batch: Batch):
        key_x, key_z = jax.random.split(key)
        mean, log_var, log_likelihood = _encode(nets, params, batch, nets.observe(key_x, batch.x))
        if config.importance_samples > 1:
            keys = jax.random.split(key_z, config.importance_samples)
            weights = jax.vmap(lambda key: log_weight(key, mean, log_var, log_likelihood))(keys)
            bound = jax.nn.logsumexp(weights, axis=0) - math.log(config.importance_samples)
            return -bound, {"elbo": weights.mean(axis=0), "kl": kl(mean, log_var)}
        z = mean + jnp.exp(log_var / 2) * jax.random.normal(key_z, mean.shape)
        reconstruction, divergence = log_likelihood(z), kl(mean, log_var)
        return divergence - reconstruction, {"reconstruction": reconstruction, "kl": divergence}

    return loss


def build(config: Config, spec: DataSpec, grad: optim.Grad = optim.mean_grad) -> Model:
    """A VAE of images of that shape.

    Raises:
      InputError: the data is no image, or fields of the Config contradict each other.
    """
    nets = _nets(config, spec)
    rate = optim.schedule(config.learning_rate, config.steps, config.warmup, "cosine")
    adam = optim.adam(rate, clip=config.clip)

    def init(key, batch: Batch) -> State:
        key_encoder, key_decoder = jax.random.split(key)
        onehot, z = nets.onehot(batch.y), jnp.zeros((len(batch.x), config.latents))
        params = {
            "encoder": nets.encoder.init(key_encoder, batch.x, onehot),
            "decoder": nets.decoder.init(key_decoder, z, onehot),
            "log_scale": jnp.full(spec.shape[-1], -2.0, jnp.float32),
        }
        return State(params, jax.tree.map(jnp.copy, params), adam.init(params))

    def step(key, i, state: State, batch: Batch):
        gradient, metrics = grad(_loss(config, nets))(state.params, key, batch)
        update, opt = adam.update(gradient, state.opt, state.params)
        params = optax.apply_updates(state.params, update)
        metrics |= {"grad_norm": optax.tree.norm(gradient), "learning_rate": rate(i)}
        return State(params, optim.ema(state.ema, params, i, config.ema_decay), opt), metrics

    def sample(key, state: State, labels, *, mean: bool = config.sample_mean):
        key_z, key_x = jax.random.split(key)
        z = jax.random.normal(key_z, (len(labels), config.latents))
        out: jax.Array = nets.decoder.apply(state.ema["decoder"], z, nets.onehot(labels))  # type: ignore[assignment]
        if config.likelihood == "discretised":
            noise = 0.0 if mean else jnp.exp(state.ema["log_scale"]) * jax.random.logistic(key_x, out.shape)
            return jnp.clip(out + noise, -1, 1)
        return 2 * nn.sigmoid(out) - 1 if mean else 2.0 * jax.random.bernoulli(key_x, nn.sigmoid(out)) - 1

    def score(key, state: State, batch: Batch):
        """-ELBO with the KL in closed form, from one draw of z."""
        key_x, key_z = jax.random.split(key)
        mean, log_var, log_likelihood = _encode(nets, state.ema, batch, nets.observe(key_x, batch.x))
        z = mean + jnp.exp(log_var / 2) * jax.random.normal(key_z, mean.shape)
        return kl(mean, log_var) - log_likelihood(z)

    conditional = config.conditional and spec.n_classes > 0
    return Model(init, step, sample, score, conditional, n_classes=spec.n_classes)


def negative_log_likelihood(
    config: Config, spec: DataSpec, key: jax.Array, state: State, batch: Batch, samples: int = 1000
) -> jax.Array:
    """-log p(x | y) by the importance-weighted bound, an upper bound in expectation: (B,), nats.

    With `config.binarise` the images are to be black and white already (-1 and 1): they are taken as they are.
    """
    return -importance_bound(key, *_encode(_nets(config, spec), state.ema, batch, batch.x), samples)
