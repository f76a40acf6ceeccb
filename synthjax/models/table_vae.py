r"""Variational auto-encoder of tables, optionally conditional on a label (Kingma & Welling 2014, arXiv:1312.6114).

    z ~ N(0, I),  v ~ p(v | z, y);   q(z | v, y) = N(mean(v, y), diag std(v, y)^2)
    log p(v | z, y) = sum over reals      log N(r; mean(z, y), s^2)        one learned s per column
                    + sum over choices    log softmax(logits(z, y))[c]
    loss = -ELBO = KL(q || p) - log p(v | z, y)

v is the row as `synthjax.nets.columns` encodes it: standardised reals, and choices for categories, digits of codes and
missing values. The real of a missing value does not contribute to the density. The model is TVAE (Xu et al. 2019,
arXiv:1907.00503), except that the mixtures of its mode-specific normalisation are part of the table encoding, as
choices. The unit is nats per row, with numeric values in units of their standard deviation.

    model = build(Config(latents=16), spec)
    state = model.init(key)
    state, metrics = model.step(key, 0, state, batch)
    x = model.sample(key, state, labels)

    >>> import numpy as np
    >>> spec = DataSpec.from_arrays(np.float32(np.arange(40).reshape(20, 2)), np.arange(20) % 2)
    >>> model = build(Config(latents=2, hidden=(8,)), spec)
    >>> state = jax.eval_shape(model.init, jax.random.key(0))  # shapes alone
    >>> jax.eval_shape(model.sample, jax.random.key(1), state, jnp.zeros(3, jnp.int32)).shape
    (3, 2)

`model` takes custom parts: an encoder, a decoder, an optimiser or a loss.
"""

import math
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from synthjax.errors import InputError
from synthjax.model import Batch, DataSpec, Model
from synthjax.nets import precision
from synthjax.nets.columns import Columns
from synthjax.nets.dense import Dense
from synthjax.nets.dense_norms import dense_squares
from synthjax.nets.gaussian import importance_bound, kl
from synthjax.nets.network import Network, check_shape, linen
from synthjax.nets.options import with_options
from synthjax.train import optim
from synthjax.train.optim import TrainState

LEAST_LOG_SCALE = -4.0
"""Lower bound of log s. Without it the density of a column with atoms, and so the loss, would be unbounded."""


@dataclass(frozen=True)
class Config:
    """The networks and their training. The defaults are not tuned."""

    conditional: bool = True
    """Whether encoder and decoder take the label, if the data has labels."""
    latents: int = 32
    """Dimension of z."""
    hidden: tuple[int, ...] = (256, 256)
    """Widths of the encoder's hidden layers; the decoder mirrors them."""
    kl_weight: float = 1.0
    """Coefficient of the KL in the loss, the beta of Higgins et al. 2017. TVAE's factor 2 of the reconstruction
    corresponds to 0.5."""
    sample_mean: bool = False
    """Default of `Sampling.mean`."""
    batch_size: int = 256
    steps: int = 10_000
    """Number of training steps, over which the learning rate decays to 0 by a cosine."""
    learning_rate: float = 1e-3
    """Maximum learning rate of Adam."""
    warmup: int = 200
    """Number of steps over which the learning rate increases linearly."""
    clip: float = 100.0
    """Maximum global norm of the gradient of the loss in nats per row."""
    ema_decay: float = 0.999
    """Decay of the average of the parameters that sampling and scoring use, see `optim.ema`."""

    def __post_init__(self):
        if self.latents < 1:
            raise InputError(f"model.latents={self.latents}: must be at least 1")
        if not isinstance(self.kl_weight, jax.core.Tracer) and not 0 < self.kl_weight < math.inf:
            raise InputError(f"model.kl_weight={self.kl_weight}: must be a finite number above 0")
        optim.check_rates(self.learning_rate, self.ema_decay, self.warmup, self.clip)


PRESETS = {"table_vae": Config()}


@dataclass(frozen=True)
class Sampling:
    """Options of `Model.sample`; the default is the Config's."""

    mean: bool
    """Whether values are the mode of p(v | z, y), instead of draws from it."""


class Net(nn.Module):
    """A multilayer perceptron of a vector and a label: the encoder or the decoder."""

    hidden: tuple[int, ...]
    """Widths of the hidden layers."""
    out: int
    """Length of the output."""
    dtype: Any = None
    """Dtype of the computation, see `synthjax.nets.precision`."""

    @nn.compact
    def __call__(self, h: jax.Array, onehot: jax.Array) -> jax.Array:
        """h (B, inputs), onehot (B, classes or 0) -> (B, out)."""
        h = jnp.concatenate([h, onehot], axis=-1)
        for width in self.hidden:
            h = nn.gelu(Dense(width, dtype=self.dtype)(h))
        return Dense(self.out, dtype=self.dtype)(h)


@dataclass(frozen=True, eq=False)
class _Vae:
    """The functions of the model, for one Config, DataSpec and pair of networks."""

    config: Config
    columns: Columns
    classes: int
    encoder: Network
    decoder: Network

    def onehot(self, y: jax.Array) -> jax.Array:
        """(B, classes) f32, or (B, 0) if the model is unconditional."""
        return jax.nn.one_hot(y, self.classes, dtype=jnp.float32)

    def log_scale(self, params) -> jax.Array:
        """log s of each real, (reals,) f32; a smooth lower bound of LEAST_LOG_SCALE keeps the gradient above 0."""
        return LEAST_LOG_SCALE + jax.nn.softplus(params["log_scale"] - LEAST_LOG_SCALE)

    def encode(self, params, v: jax.Array, y: jax.Array):
        """Mean and log variance of q(z | v, y), (B, latents) each, and z -> log p(v | z, y)."""
        onehot = self.onehot(y)
        mean, log_var = jnp.split(self.encoder.apply(params["encoder"], v, onehot), 2, axis=-1)

        def log_likelihood(z):
            raw = self.decoder.apply(params["decoder"], z, onehot)
            return self.columns.log_likelihood(raw, self.log_scale(params), v).sum(axis=-1)

        return mean, jnp.clip(log_var, -15.0, 10.0), log_likelihood

    def init(self, key) -> Any:
        key_encoder, key_decoder = jax.random.split(key)
        return {
            "encoder": self.encoder.init(key_encoder),
            "decoder": self.decoder.init(key_decoder),
            "log_scale": jnp.zeros(len(self.columns.reals), jnp.float32),
        }

    def terms(self, params, key, batch: Batch) -> tuple[jax.Array, jax.Array]:
        """KL and log p(v | z, y) for one draw of z: (B,) f32 each, nats."""
        mean, log_var, log_likelihood = self.encode(params, self.columns.encode(batch.x), batch.y)
        z = mean + jnp.exp(log_var / 2) * jax.random.normal(key, mean.shape, jnp.float32)
        return kl(mean, log_var), log_likelihood(z)

    def loss(self, params, key, batch: Batch) -> optim.Losses:
        divergence, reconstruction = self.terms(params, key, batch)
        terms = {"reconstruction": reconstruction, "kl": divergence}
        return optim.Losses(self.config.kl_weight * divergence - reconstruction, terms)

    def sample(self, key, state: TrainState, labels, **options: Any) -> jax.Array:
        """Rows (B, D)."""
        mean = Sampling(**{"mean": self.config.sample_mean, **options}).mean
        key_z, key_choices, key_reals = jax.random.split(key, 3)
        z = jax.random.normal(key_z, (len(labels), self.config.latents), jnp.float32)
        raw = self.decoder.apply(state.ema["decoder"], z, self.onehot(labels))
        reals = len(self.columns.reals)
        if not mean:
            noise = jax.random.normal(key_reals, (len(labels), reals), jnp.float32)
            raw = raw.at[:, :reals].add(jnp.exp(self.log_scale(state.ema))[None] * noise)
        return self.columns.decode(self.columns.draw(None if mean else key_choices, raw), labels)

    def score(self, key, state: TrainState, batch: Batch) -> jax.Array:
        """-ELBO with the KL in closed form, from one draw of z: (B,) f32, nats; reals are standardised."""
        divergence, reconstruction = self.terms(state.ema, key, batch)
        return divergence - reconstruction

    def log_prob(self, key, state: TrainState, batch: Batch, samples: int = 100) -> jax.Array:
        """Importance-weighted lower bound on log p(x | y), where x is the encoded vector: (B,) f32, nats."""
        v = self.columns.encode(batch.x)
        mean, log_var, log_likelihood = self.encode(state.ema, v, batch.y)
        bound = importance_bound(key, mean, log_var, log_likelihood, samples)
        # The density of x is that of the standardised values divided by their scales; missing values have no density.
        present = self.columns.mask_missing(jnp.ones_like(v[:, : len(self.columns.reals)]), self.columns.split(v)[1])
        return bound - present @ jnp.log(jnp.asarray(self.columns.scale))


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
    """A VAE of tables.

    Args:
      config: of the loss, and of the networks and the optimiser if these are not given.
      spec: of a table, with statistics.
      encoder: v (B, width), one-hot label (B, classes or 0) -> (B, 2 latents), mean and log variance.
      decoder: z (B, latents), one-hot label -> (B, width), means of reals and logits of choices (see `Columns`).
      optimiser: any optax transformation with its own learning rate. Default: Adam, see the Config.
      loss: (params, key, batch) -> `optim.Losses`, with params {"encoder", "decoder", "log_scale"}. Default: -ELBO.
      grad: turns the loss into a gradient function.

    Raises:
      InputError: the data is not a table, or the output of a network has the wrong shape.
    """
    classes = spec.n_classes if config.conditional else 0
    columns = Columns(spec, classes > 0)
    sizes = columns.width, config.latents, classes
    v, z, onehot = (jnp.zeros((2, size), jnp.float32) for size in sizes)
    if encoder is not None:
        check_shape(encoder, (2, 2 * config.latents), "encoder", v, onehot)
    if decoder is not None:
        check_shape(decoder, v.shape, "decoder", z, onehot)
    dtype = precision.current().compute
    encoder = encoder or linen(Net(config.hidden, 2 * config.latents, dtype), v, onehot)
    decoder = decoder or linen(Net(config.hidden[::-1], columns.width, dtype), z, onehot)
    vae = _Vae(config, columns, classes, encoder, decoder)
    normed = optim.NormedLoss(vae.loss, dense_squares(vae.loss), single=True)
    init, step = optim.init_and_step(config, vae.init, loss or normed, optimiser, grad)
    return Model(
        init,
        step,
        with_options(vae.sample, Sampling, mean=config.sample_mean),
        vae.score,
        vae.log_prob,
        log_prob_kind="lower bound",
        log_prob_of="encoded vector",
        conditional=classes > 0,
        n_classes=classes,
        empty_classes=spec.empty_classes,
    )


def build(config: Config, spec: DataSpec, grad: optim.Grad = optim.mean_grad) -> Model:
    """The VAE of a Config; see `model`."""
    return model(config, spec, grad=grad)
