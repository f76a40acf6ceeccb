r"""Denoising diffusion, discrete in time and conditional on a label (Ho et al. 2020, arXiv:2006.11239).

    q(x_t | x_0) = N(a_t x_0, s_t^2 I),   a_t^2 + s_t^2 = 1,   t = 1 ... T   the noising chain
    x_t = a_t x_0 + s_t e                 e ~ N(0, I)
    v   = a_t e - s_t x_0                                                    Salimans & Ho 2022, arXiv:2202.00512
    loss = |target - network(x_t, t, y)|^2, target e or v, mean over pixels and over t

The chain is inverted by the Gaussian posterior of a step t -> s < t, with x_0 replaced by its prediction x^:

    q(x_s | x_t, x_0) = N( a_s (1 - g) / s_t^2 x_0 + a_t / a_s s_s^2 / s_t^2 x_t,  (1 - g) s_s^2 / s_t^2 I ),
    g = (a_t / a_s)^2

or, with the same marginals, by the family of Song et al. 2021 (DDIM, arXiv:2010.02502), where eta scales that standard
deviation: eta = 1 is ancestral sampling, eta = 0 deterministic. The deterministic path is an ODE, whose second-order
solver DPM-Solver++(2M) (Lu et al. 2022, arXiv:2211.01095) is the same step with x^ extrapolated from the step before:
fewer steps for the same images. Classifier-free guidance (Ho & Salimans 2022,
arXiv:2207.12598) trains with labels dropped and samples from (1 + w) f(x, y) - w f(x, none).

    model = build(Config(width=32), spec)
    state = model.init(key, batch)
    state, metrics = model.step(key, 0, state, batch)
    x = model.sample(key, state, labels, steps=50)
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from synthjax.errors import InputError
from synthjax.model import Batch, DataSpec, Model
from synthjax.nets.diffusion import even_times, extrapolation, leap, posterior, signal
from synthjax.nets.unet import UNet
from synthjax.train import optim


@dataclass(frozen=True)
class Config:
    """The diffusion process, its network and how both are trained. Defaults suit 28x28 and 32x32x3 images."""

    width: int = 32
    """Channels of the U-Net at its finest resolution, a multiple of 16."""
    multipliers: tuple[int, ...] = (1, 3)
    """Channels on each resolution, fine to coarse, as multiples of `width`; each halves the sides."""
    blocks: tuple[int, ...] = (1, 2)
    """Residual blocks on each resolution, way down and way up alike."""
    folding: int = 2
    """Pixels folded into channels at the entrance of the network, per side."""
    dropout: float = 0.0
    prediction: Literal["v", "eps"] = "v"
    """What the network predicts: v (Salimans & Ho 2022) or the noise e (Ho et al. 2020)."""
    schedule: Literal["cosine", "linear"] = "cosine"
    """a_t: Nichol & Dhariwal 2021 (arXiv:2102.09672) or the linear betas 1e-4 ... 0.02 of Ho et al. 2020."""
    timesteps: int = 1000
    """T, the length of the chain in training."""
    label_dropout: float = 0.1
    """Share of examples that are trained without their label, for guidance."""
    sample_steps: int = 20
    """Steps from noise to image, 1 ... timesteps; default of `sample`."""
    eta: float = 0.0
    """0 deterministic (DDIM), 1 ancestral (DDPM); default of `sample`."""
    order: Literal[1, 2] = 2
    """2: DPM-Solver++(2M) where eta is 0; 1: DDIM as it is; default of `sample`."""
    guidance: float = 0.0
    """w above; 0 samples from the conditional model itself; default of `sample`."""
    batch_size: int = 128
    steps: int = 20_000
    """Training steps; the learning rate falls to 0 (cosine) over them."""
    learning_rate: float = 1e-3
    """Adam's, after a linear warm-up of `warmup` steps."""
    warmup: int = 500
    clip: float = 1.0
    """Largest global norm of a gradient."""
    ema_decay: float = 0.999
    """Of the parameters that samples and scores use; warms up, see `optim.ema`."""


PRESETS = {"ddpm": Config()}


class State(NamedTuple):
    """What training carries along."""

    params: Any
    ema: Any
    opt: optax.OptState


def _check(config: Config, spec: DataSpec) -> None:
    if spec.kind != "image":
        raise InputError(f"model ddpm makes images; the data is a {spec.kind} of {spec.dims} values a row")
    if config.width % 16 or config.width < 16:
        raise InputError(f"model.width={config.width}: must be a positive multiple of 16")
    if len(config.blocks) != len(config.multipliers):
        raise InputError(f"model.blocks={config.blocks}: must be as many as model.multipliers={config.multipliers}")
    if not 1 <= config.sample_steps <= config.timesteps:
        raise InputError(f"model.sample_steps={config.sample_steps}: must be in 1 ... timesteps={config.timesteps}")


class _Process(NamedTuple):
    """The pieces that training, sampling and the bound share, for one Config and DataSpec."""

    predict: Any  # (params, x_t, t (B,) i32, y, train key or None) -> (target's prediction, x_0's, e's)
    a: jax.Array  # (T + 1,)
    null: int  # the label that means "no label"


def _process(config: Config, spec: DataSpec) -> tuple[UNet, _Process]:
    widths = tuple(config.width * multiplier for multiplier in config.multipliers)
    net = UNet(widths, config.blocks, config.folding, True, config.dropout, spec.n_classes and spec.n_classes + 1)
    a = jnp.asarray(signal(config), jnp.float32)

    def predict(params, x_t, t, y, key=None):
        rngs = None if key is None else {"dropout": key}
        out = net.apply(params, x_t, t / config.timesteps, y, key is not None, rngs=rngs)
        a_t = a[t].reshape(-1, 1, 1, 1)
        s_t = jnp.sqrt(1 - a_t**2)
        if config.prediction == "v":
            return out, a_t * x_t - s_t * out, s_t * x_t + a_t * out
        return out, (x_t - s_t * out) / a_t, out

    return net, _Process(predict, a, spec.n_classes)


def _denoising_error(config: Config, process: _Process, params, key, x, y, t, train_key=None) -> jax.Array:
    """|target - prediction|^2, mean over pixels: (B,), at times t (B,) i32 in 1 ... T."""
    noise = jax.random.normal(key, x.shape)
    a_t = process.a[t].reshape(-1, 1, 1, 1)
    s_t = jnp.sqrt(1 - a_t**2)
    target = a_t * noise - s_t * x if config.prediction == "v" else noise
    out, _, _ = process.predict(params, a_t * x + s_t * noise, t, y, train_key)
    return ((target - out) ** 2).mean(axis=(1, 2, 3))


def build(config: Config, spec: DataSpec, grad: optim.Grad = optim.mean_grad) -> Model:
    """A diffusion model of images of that shape, conditional if they are labelled.

    Raises:
      InputError: the data is no image, or a field of the Config is out of its range.
    """
    _check(config, spec)
    net, process = _process(config, spec)
    rate = optim.schedule(config.learning_rate, config.steps, config.warmup, "cosine")
    adam = optim.adam(rate, b2=0.99, clip=config.clip)

    def init(key, batch: Batch) -> State:
        params = net.init(key, batch.x, jnp.zeros(len(batch.x)), batch.y)
        return State(params, jax.tree.map(jnp.copy, params), adam.init(params))

    def loss(params, key, batch: Batch):
        key_time, key_noise, key_label, key_net = jax.random.split(key, 4)
        count = len(batch.x)
        t = even_times(key_time, count, config.timesteps)
        dropped = jax.random.bernoulli(key_label, config.label_dropout, (count,))
        y = jnp.where(dropped, process.null, batch.y)
        train_key = key_net if config.dropout else None
        return _denoising_error(config, process, params, key_noise, batch.x, y, t, train_key), {}

    def step(key, i, state: State, batch: Batch):
        gradient, metrics = grad(loss)(state.params, key, batch)
        update, opt = adam.update(gradient, state.opt, state.params)
        params = optax.apply_updates(state.params, update)
        metrics |= {"grad_norm": optax.tree.norm(gradient), "learning_rate": rate(i)}
        return State(params, optim.ema(state.ema, params, i, config.ema_decay), opt), metrics

    def sample(
        key,
        state: State,
        labels,
        *,
        steps: int = config.sample_steps,
        eta: float = config.eta,
        order: int = config.order,
        guidance: float = config.guidance,
        given: tuple[jax.Array, jax.Array] | None = None,
    ):
        return _sample(config, spec, process, key, state.ema, labels, steps, eta, guidance, given, order)

    def score(key, state: State, batch: Batch):
        """Denoising loss, averaged over ten fixed times; the noise comes from `key`."""
        times = jnp.linspace(0.05, 0.95, 10) * config.timesteps

        def at(inputs):
            key, t = inputs
            t = jnp.full(len(batch.x), jnp.maximum(t.astype(jnp.int32), 1))
            return _denoising_error(config, process, state.ema, key, batch.x, batch.y, t)

        return jax.lax.map(at, (jax.random.split(key, len(times)), times)).mean(axis=0)

    return Model(init, step, sample, score, conditional=spec.n_classes > 0, n_classes=spec.n_classes)


def _sample(config, spec, process, key, params, labels, steps, eta, guidance, given, order=1) -> jax.Array:
    """From T to 0 along `steps` evenly spaced times; x_0's prediction is clipped to [-1, 1]."""
    if not 1 <= steps <= config.timesteps:
        raise InputError(f"sample.steps={steps}: must be in 1 ... timesteps={config.timesteps}")
    if order not in (1, 2):
        raise InputError(f"sample.order={order}: must be 1 or 2")
    grid = np.round(np.linspace(config.timesteps, 0, steps + 1)).astype(np.int32)
    times = jnp.asarray(grid)
    ahead = extrapolation(signal(config)[grid[:-1]]) if order == 2 and not eta else jnp.zeros(steps)
    key, key_start = jax.random.split(key)
    count = len(labels)
    x = jax.random.normal(key_start, (count, *spec.shape))

    def guided(x_t, t):
        if not guidance:
            return process.predict(params, x_t, t, labels)[1]
        both = jnp.concatenate([labels, jnp.full_like(labels, process.null)])
        _, clean, _ = process.predict(params, jnp.tile(x_t, (2, 1, 1, 1)), jnp.tile(t, 2), both)
        return (1 + guidance) * clean[:count] - guidance * clean[count:]

    def body(k, carry):
        x_t, before = carry
        t, s = times[k], times[k + 1]
        a_t, a_s = process.a[t], process.a[s]
        clean = jnp.clip(guided(x_t, jnp.full(count, t)), -1, 1)
        if given is not None:
            clean = jnp.where(given[0], given[1], clean)
        before, clean = clean, clean + ahead[k] * (clean - before)
        return leap(jax.random.fold_in(key, k), x_t, clean, a_t, a_s, eta), before

    return jax.lax.fori_loop(0, steps, body, (x, jnp.zeros_like(x)))[0]


def bits_per_dim(config: Config, spec: DataSpec, key, state: State, batch: Batch, times: int = 0) -> jax.Array:
    """The variational bound on -log2 p(x | y), per pixel value (Ho et al. 2020, eq. 5, with the posterior's variance).

    Args:
      batch: x in [-1, 1] on the grid of `spec.levels` grey values.
      times: evenly spread steps that stand for all T - 1 of the middle terms; 0: every one.

    Returns:
      (B,) f32: prior + transitions + decoder, in bits per dimension.
    """
    _, process = _process(config, spec)
    key_middle, key_first = jax.random.split(key)
    a, x, count = process.a, batch.x, len(batch.x)
    chosen = np.arange(2, config.timesteps + 1)
    if times:
        chosen = np.unique(np.round(np.linspace(2, config.timesteps, times)).astype(int))

    def clean_and_noisy(key, t):
        noisy = a[t] * x + jnp.sqrt(1 - a[t] ** 2) * jax.random.normal(key, x.shape)
        clean = process.predict(state.ema, noisy, jnp.full(count, t), batch.y)[1]
        return jnp.clip(clean, -1, 1), noisy

    def transition(inputs):
        key, t = inputs
        c_0, _, variance = posterior(a[t - 1], a[t])
        clean, _ = clean_and_noisy(key, t)
        return (c_0**2 * (x - clean) ** 2 / (2 * variance)).sum(axis=(1, 2, 3))

    keys = jax.random.split(key_middle, len(chosen))
    middle = jax.lax.map(transition, (keys, jnp.asarray(chosen, jnp.int32))).mean(axis=0) * (config.timesteps - 1)
    prior = 0.5 * (a[-1] ** 2 * x**2 - a[-1] ** 2 - jnp.log1p(-(a[-1] ** 2))).sum(axis=(1, 2, 3))
    clean, _ = clean_and_noisy(key_first, 1)
    decoder = -discretised_log_likelihood(x, clean, jnp.sqrt(1 - a[1] ** 2), spec.levels).sum(axis=(1, 2, 3))
    return (prior + middle + decoder) / (spec.dims * jnp.log(2.0))


def discretised_log_likelihood(x, mean, std, levels: int) -> jax.Array:
    """log of the mass that N(mean, std^2) gives to the grey value of x (Ho et al. 2020, eq. 13); the ends are open.

    x in [-1, 1] on the grid of `levels` values; shapes broadcast; nats.
    """
    half = 1 / (levels - 1)
    above, first, last = x > mean, x < -1 + half, x > 1 - half
    # Masses are differences of numbers near 0 below the mean, but near 1 above it, where digits are lost: mirrored.
    distance = -jnp.abs(x - mean)
    upper = jax.scipy.stats.norm.cdf((distance + half) / std)
    lower = jax.scipy.stats.norm.cdf((distance - half) / std)
    mass = jnp.where(jnp.where(above, first, last), 1.0, upper) - jnp.where(jnp.where(above, last, first), 0.0, lower)
    return jnp.log(jnp.maximum(mass, 1e-12))
