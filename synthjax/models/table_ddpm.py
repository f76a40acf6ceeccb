r"""Denoising diffusion of tables: Gaussian for numbers and for categories alike, conditional on a label or not.

A row v_0 (`synthjax.nets.columns`: standardised reals, one-hot choices) is noised by the chain of
`synthjax.models.ddpm`, v_t = a_t v_0 + s_t e. One network sees v_t, t and the label, and predicts

    reals     v = a_t e - s_t r_0 (Salimans & Ho 2022, arXiv:2202.00512); loss |v - v^|^2, where the value is present
    choices   logits of the category; loss -log softmax(logits)[c]

Both losses are means over columns. The mean of a choice's one-hot vector given v_t is softmax(logits), so that every
column has its x_0^ and all are led back together by the same steps: ancestral, DDIM or DPM-Solver++(2M), in any number.
That is diffusion of embedded categories trained with cross-entropy (Dieleman et al. 2022, arXiv:2211.15089), with
one-hot vectors for embeddings, in place of the multinomial chain of TabDDPM (Kotelnikov et al. 2023,
arXiv:2209.15421), which needs its hundreds of steps. At the end categories are drawn from the last softmax. Guidance is
that of `synthjax.models.ddpm`, on the logits of choices.

    model = build(Config(width=128), spec)
    state = model.init(key, batch)
    state, metrics = model.step(key, 0, state, batch)
    x = model.sample(key, state, labels, steps=50)
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from synthjax.errors import InputError
from synthjax.model import Batch, DataSpec, Model
from synthjax.nets.columns import Columns, Scale, scaling
from synthjax.nets.dense import Dense
from synthjax.nets.diffusion import even_times, extrapolation, leap, signal
from synthjax.nets.embeddings import TimeLabel
from synthjax.train import optim


@dataclass(frozen=True)
class Config:
    """The diffusion process, its network and how both are trained. The defaults are not tuned yet."""

    conditional: bool = True
    """The network sees the label, where the data has one."""
    width: int = 256
    """Of all hidden layers, even."""
    blocks: int = 3
    """Residual blocks of two layers."""
    schedule: Literal["cosine", "linear"] = "cosine"
    """a_t: Nichol & Dhariwal 2021 (arXiv:2102.09672) or the linear betas of Ho et al. 2020."""
    timesteps: int = 1000
    """T, the length of the chain in training."""
    label_dropout: float = 0.1
    """Share of examples that are trained without their label, for guidance."""
    sample_steps: int = 25
    """Steps from noise to row, 1 ... timesteps; default of `sample`. In a single one numbers are but their mean."""
    eta: float = 0.0
    """0 deterministic (DDIM), 1 ancestral (DDPM); default of `sample`."""
    order: Literal[1, 2] = 2
    """2: DPM-Solver++(2M) where eta is 0; 1: DDIM as it is; default of `sample`."""
    guidance: float = 0.0
    """w: sharper for the label than the data is; 0 samples from the model itself; default of `sample`."""
    batch_size: int = 512
    steps: int = 10_000
    """Training steps; the learning rate falls to 0 (cosine) over them."""
    learning_rate: float = 2e-3
    """Adam's, after a linear warm-up of `warmup` steps."""
    warmup: int = 200
    clip: float = 1.0
    """Largest global norm of a gradient."""
    ema_decay: float = 0.999
    """Of the parameters that samples and scores use; warms up, see `optim.ema`."""


PRESETS = {"table_ddpm": Config()}


class State(NamedTuple):
    """What training carries along."""

    params: Any
    ema: Any
    opt: optax.OptState
    scale: Scale
    """Of the continuous columns, from the first batch."""


class Denoiser(nn.Module):
    """A noisy row, a time and a label to the target of each real and the logits of each choice. Zero at first."""

    width: int
    blocks: int
    out: int
    n_labels: int
    """See `TimeLabel`."""

    @nn.compact
    def __call__(self, v: jax.Array, t: jax.Array, label: jax.Array) -> jax.Array:
        """v (B, out), t (B,) in [0, 1], label (B,) i32 -> (B, out)."""
        condition = TimeLabel(self.width, self.n_labels)(t, label)
        h = Dense(self.width)(v)
        for _ in range(self.blocks):
            inner = nn.silu(Dense(self.width)(nn.LayerNorm()(h)) + Dense(self.width)(condition))
            h = h + Dense(self.width)(inner)
        return Dense(self.out, kernel_init=nn.initializers.zeros)(nn.silu(nn.LayerNorm()(h)))


class _Process(NamedTuple):
    """What training, sampling and scoring share, for one Config and DataSpec."""

    config: Config
    columns: Columns
    net: Denoiser
    a: jax.Array  # (T + 1,)
    null: int  # the label that means "no label"

    def losses(self, params, key, v, y, t) -> tuple[jax.Array, dict[str, jax.Array]]:
        """(B,), and its two terms: v (B, width), times t (B,) i32 in 1 ... T."""
        noise = jax.random.normal(key, v.shape)
        a_t = self.a[t][:, None]
        s_t = jnp.sqrt(1 - a_t**2)
        raw: Any = self.net.apply(params, a_t * v + s_t * noise, t / self.config.timesteps, y)
        target = (a_t * noise - s_t * v)[:, : self.reals]
        squares = self.columns.present((target - raw[:, : self.reals]) ** 2, self.columns.split(v)[1])
        surprises = -self.columns.log_chosen(raw, v)
        count = squares.shape[1] + surprises.shape[1]
        terms = {"reals": squares.sum(axis=-1) / count, "choices": surprises.sum(axis=-1) / count}
        return terms["reals"] + terms["choices"], terms

    @property
    def reals(self) -> int:
        """How many positions of v are numbers."""
        return len(self.columns.reals)

    def predict(self, params, v_t, t, y) -> tuple[jax.Array, jax.Array]:
        """(reals of v_0 (B, reals), logits (B, width - reals)) from v_t at time t, a scalar i32."""
        raw: Any = self.net.apply(params, v_t, jnp.full(len(v_t), t / self.config.timesteps), y)
        a_t = self.a[t]
        return a_t * v_t[:, : self.reals] - jnp.sqrt(1 - a_t**2) * raw[:, : self.reals], raw[:, self.reals :]

    def guided(self, params, v_t, t, y, guidance: float) -> jax.Array:
        """The same as one row (B, width), led away from what the model predicts without a label."""
        raw = jnp.concatenate(self.predict(params, v_t, t, y), axis=-1)
        if not guidance or not self.null:
            return raw
        without = jnp.concatenate(self.predict(params, v_t, t, jnp.full_like(y, self.null)), axis=-1)
        return (1 + guidance) * raw - guidance * without

    def sample(self, key, params, labels, steps: int, eta: float, order: int, guidance: float) -> jax.Array:
        """v (B, width) from T to 0 along `steps` evenly spaced times; choices are exact."""
        grid = np.round(np.linspace(self.config.timesteps, 0, steps + 1)).astype(np.int32)
        times = jnp.asarray(grid)
        ahead = extrapolation(signal(self.config)[grid[:-1]]) if order == 2 and not eta else jnp.zeros(steps)
        key, key_start, key_choices = jax.random.split(key, 3)
        v = jax.random.normal(key_start, (len(labels), self.columns.width))

        def body(k, carry):
            v_t, before = carry
            raw = self.guided(params, v_t, times[k], labels, guidance)
            clean = self.columns.over_choices(jax.nn.softmax, raw, [])
            before, clean = clean, clean + ahead[k] * (clean - before)
            a_t, a_s = self.a[times[k]], self.a[times[k + 1]]
            return leap(jax.random.fold_in(key, k), v_t, clean, a_t, a_s, eta), before

        v_last, _ = jax.lax.fori_loop(0, steps - 1, body, (v, jnp.zeros_like(v)))
        raw = self.guided(params, v_last, times[steps - 1], labels, guidance)
        return self.columns.draw(key_choices, raw)


def _check(config: Config) -> None:
    for name in ("blocks", "timesteps"):
        if getattr(config, name) < 1:
            raise InputError(f"model.{name}={getattr(config, name)}: must be at least 1")
    if config.width < 2 or config.width % 2:
        raise InputError(f"model.width={config.width}: must be even and at least 2")
    _check_sampling(config, "model.sample_steps", config.sample_steps, config.order)


def _check_sampling(config: Config, name: str, steps: int, order: int) -> None:
    if not 1 <= steps <= config.timesteps:
        raise InputError(f"{name}={steps}: must be in 1 ... timesteps={config.timesteps}")
    if order not in (1, 2):
        raise InputError(f"order={order}: must be 1 or 2")


def build(config: Config, spec: DataSpec, grad: optim.Grad = optim.mean_grad) -> Model:
    """A diffusion model of tables of those columns.

    Raises:
      InputError: the data is no table, or a field of the Config is out of its range.
    """
    _check(config)
    classes = spec.n_classes if config.conditional else 0
    columns = Columns(spec, classes > 0)
    net = Denoiser(config.width, config.blocks, columns.width, classes and classes + 1)
    process = _Process(config, columns, net, jnp.asarray(signal(config), jnp.float32), classes)
    rate = optim.schedule(config.learning_rate, config.steps, config.warmup, "cosine")
    adam = optim.adam(rate, b2=0.99, clip=config.clip)

    def init(key, batch: Batch) -> State:
        scale = scaling(columns, batch.x, batch.weight)
        params = net.init(key, columns.enter(batch.x, scale), jnp.zeros(len(batch.x)), batch.y)
        return State(params, jax.tree.map(jnp.copy, params), adam.init(params), scale)

    def step(key, i, state: State, batch: Batch):
        def loss(params, key, batch: Batch):
            key_time, key_noise, key_label = jax.random.split(key, 3)
            t = even_times(key_time, len(batch.y), config.timesteps)
            dropped = jax.random.bernoulli(key_label, config.label_dropout, batch.y.shape)
            y = jnp.where(dropped, process.null, batch.y)
            return process.losses(params, key_noise, columns.enter(batch.x, state.scale), y, t)

        gradient, metrics = grad(loss)(state.params, key, batch)
        update, opt = adam.update(gradient, state.opt, state.params)
        params = optax.apply_updates(state.params, update)
        metrics |= {"grad_norm": optax.tree.norm(gradient), "learning_rate": rate(i)}
        return State(params, optim.ema(state.ema, params, i, config.ema_decay), opt, state.scale), metrics

    def sample(
        key,
        state: State,
        labels,
        *,
        steps: int = config.sample_steps,
        eta: float = config.eta,
        order: int = config.order,
        guidance: float = config.guidance,
    ):
        _check_sampling(config, "sample.steps", steps, order)
        v = process.sample(key, state.ema, labels, steps, eta, order, guidance)
        return columns.leave(v, state.scale, labels)

    def score(key, state: State, batch: Batch):
        """Denoising loss, averaged over ten fixed times; the noise comes from `key`."""
        times = jnp.linspace(0.05, 0.95, 10) * config.timesteps
        v = columns.enter(batch.x, state.scale)

        def at(inputs):
            key, t = inputs
            t = jnp.full(len(v), jnp.maximum(t.astype(jnp.int32), 1))
            return process.losses(state.ema, key, v, batch.y, t)[0]

        return jax.lax.map(at, (jax.random.split(key, len(times)), times)).mean(axis=0)

    return Model(init, step, sample, score, conditional=classes > 0, n_classes=classes)
