r"""Variational auto-encoder of tables, conditional on a label or not (Kingma & Welling 2014, arXiv:1312.6114).

    z ~ N(0, I),  v ~ p(v | z, y);   q(z | v, y) = N(mean(v, y), diag std(v, y)^2)
    log p(v | z, y) = sum over reals      log N(r; mean(z, y), s^2)        one learnt s a column
                    + sum over choices    log softmax(logits(z, y))[c]
    loss = -ELBO = KL(q || p) - log p(v | z, y)

where v is the row as `synthjax.nets.columns` lays it out: standardised reals, and choices for categories, digits of
codes and whether a value is missing; a missing value's real has no density. It is TVAE (Xu et al. 2019,
arXiv:1907.00503) with the mixtures of its mode-specific encoding left to the encoding, as choices.
Units are nats per row, numbers in units of their deviation.

    model = build(Config(latents=16), spec)
    state = model.init(key, batch)
    state, metrics = model.step(key, 0, state, batch)
    x = model.sample(key, state, labels)
"""

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from synthjax.errors import InputError
from synthjax.model import Batch, DataSpec, Model
from synthjax.nets.columns import Columns, Scale, scaling
from synthjax.nets.dense import Dense
from synthjax.nets.gaussian import kl
from synthjax.train import optim

LEAST_LOG_SCALE = -4.0
"""Of a real's deviation: a column with atoms would drive its density, and the loss, without bound."""


@dataclass(frozen=True)
class Config:
    """The networks and how they are trained. The defaults are not tuned yet."""

    conditional: bool = True
    """Encoder and decoder see the label, where the data has one."""
    latents: int = 32
    """Dimensions of z."""
    hidden: tuple[int, ...] = (256, 256)
    """Widths of the encoder's layers; the decoder mirrors them."""
    kl_weight: float = 1.0
    """Of the KL in the loss (Higgins et al. 2017's beta); below 1 rows are sharper. TVAE's factor 2 is 0.5 here."""
    sample_mean: bool = False
    """`sample` gives likeliest values rather than draws from p(v | z, y); default of its option `mean`."""
    batch_size: int = 256
    steps: int = 10_000
    """Training steps; the learning rate falls to 0 (cosine) over them."""
    learning_rate: float = 1e-3
    """Adam's, after a linear warm-up of `warmup` steps."""
    warmup: int = 200
    clip: float = 100.0
    """Largest global norm of a gradient, which is that of nats per row."""
    ema_decay: float = 0.999
    """Of the parameters that samples and scores use; warms up, see `optim.ema`."""


PRESETS = {"table_vae": Config()}


class State(NamedTuple):
    """What training carries along."""

    params: Any
    ema: Any
    opt: optax.OptState
    scale: Scale
    """Of the continuous columns, from the first batch."""


class Net(nn.Module):
    """A vector and a label through hidden layers to a vector: either half of the model."""

    hidden: tuple[int, ...]
    out: int

    @nn.compact
    def __call__(self, h: jax.Array, onehot: jax.Array) -> jax.Array:
        """h (B, inputs), onehot (B, classes or 0) -> (B, out)."""
        h = jnp.concatenate([h, onehot], axis=-1)
        for width in self.hidden:
            h = nn.gelu(Dense(width)(h))
        return Dense(self.out)(h)


def _check(config: Config) -> None:
    if config.latents < 1:
        raise InputError(f"model.latents={config.latents}: must be at least 1")
    if config.kl_weight <= 0:
        raise InputError(f"model.kl_weight={config.kl_weight}: must be above 0")


def deviation(params: dict[str, Any]) -> jax.Array:
    """log of the standard deviation of each continuous value."""
    return jnp.maximum(params["log_scale"], LEAST_LOG_SCALE)


def build(config: Config, spec: DataSpec, grad: optim.Grad = optim.mean_grad) -> Model:
    """A VAE of tables of those columns.

    Raises:
      InputError: the data is no table, or a field of the Config is out of its range.
    """
    _check(config)
    classes = spec.n_classes if config.conditional else 0
    columns = Columns(spec, classes > 0)
    encoder, decoder = Net(config.hidden, 2 * config.latents), Net(config.hidden[::-1], columns.width)
    rate = optim.schedule(config.learning_rate, config.steps, config.warmup, "cosine")
    adam = optim.adam(rate, clip=config.clip)
    onehot = functools.partial(jax.nn.one_hot, num_classes=classes)

    def init(key, batch: Batch) -> State:
        key_encoder, key_decoder = jax.random.split(key)
        scale = scaling(columns, batch.x, batch.weight)
        v, z = columns.enter(batch.x, scale), jnp.zeros((len(batch.x), config.latents))
        params = {
            "encoder": encoder.init(key_encoder, v, onehot(batch.y)),
            "decoder": decoder.init(key_decoder, z, onehot(batch.y)),
            "log_scale": jnp.zeros(len(columns.reals)),
        }
        return State(params, jax.tree.map(jnp.copy, params), adam.init(params), scale)

    def terms(params, key, v, y) -> tuple[jax.Array, jax.Array]:
        """KL and log p(v | z, y) for one draw of z, each (B,)."""
        moments: Any = encoder.apply(params["encoder"], v, onehot(y))
        mean, log_var = jnp.split(moments, 2, axis=-1)
        log_var = jnp.clip(log_var, -15.0, 10.0)
        z = mean + jnp.exp(log_var / 2) * jax.random.normal(key, mean.shape)
        raw: Any = decoder.apply(params["decoder"], z, onehot(y))
        return kl(mean, log_var), columns.log_likelihood(raw, deviation(params), v).sum(axis=-1)

    def step(key, i, state: State, batch: Batch):
        def loss(params, key, batch: Batch):
            divergence, reconstruction = terms(params, key, columns.enter(batch.x, state.scale), batch.y)
            return config.kl_weight * divergence - reconstruction, {"reconstruction": reconstruction, "kl": divergence}

        gradient, metrics = grad(loss)(state.params, key, batch)
        update, opt = adam.update(gradient, state.opt, state.params)
        params = optax.apply_updates(state.params, update)
        metrics |= {"grad_norm": optax.tree.norm(gradient), "learning_rate": rate(i)}
        return State(params, optim.ema(state.ema, params, i, config.ema_decay), opt, state.scale), metrics

    def sample(key, state: State, labels, *, mean: bool = config.sample_mean):
        key_z, key_choices, key_reals = jax.random.split(key, 3)
        z = jax.random.normal(key_z, (len(labels), config.latents))
        raw: Any = decoder.apply(state.ema["decoder"], z, onehot(labels))
        if not mean:
            noise = jnp.exp(deviation(state.ema)) * jax.random.normal(key_reals, (len(labels), len(columns.reals)))
            raw = raw.at[:, : len(columns.reals)].add(noise)
        return columns.leave(columns.draw(None if mean else key_choices, raw), state.scale, labels)

    def score(key, state: State, batch: Batch):
        """-ELBO with the KL in closed form, from one draw of z."""
        divergence, reconstruction = terms(state.ema, key, columns.enter(batch.x, state.scale), batch.y)
        return divergence - reconstruction

    return Model(init, step, sample, score, conditional=classes > 0, n_classes=classes)
