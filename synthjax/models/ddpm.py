r"""Discrete-time denoising diffusion of images, conditional on a label (Ho et al. 2020, arXiv:2006.11239).

    q(x_t | x_0) = N(a_t x_0, s_t^2 I),   a_t^2 + s_t^2 = 1,   t = 1 ... T   the diffusion process
    x_t = a_t x_0 + s_t e                 e ~ N(0, I)
    v   = a_t e - s_t x_0                                                    Salimans & Ho 2022, arXiv:2202.00512
    loss = |target - network(x_t, t, y)|^2, target e or v, mean over pixels and over t

The process is reversed by the Gaussian posterior of a step t -> s < t, with x_0 replaced by its prediction x^:

    q(x_s | x_t, x_0) = N( a_s (1 - g) / s_t^2 x_0 + a_t / a_s s_s^2 / s_t^2 x_t,  (1 - g) s_s^2 / s_t^2 I ),
    g = (a_t / a_s)^2

or, with the same marginals, by the family of Song et al. 2021 (DDIM, arXiv:2010.02502), where eta scales this standard
deviation: eta = 1 is ancestral sampling, eta = 0 is deterministic. The deterministic path solves an ODE. Its
second-order solver DPM-Solver++(2M) (Lu et al. 2022, arXiv:2211.01095) is the same step with x^ extrapolated from the
previous step, and needs fewer steps. Classifier-free guidance (Ho & Salimans 2022, arXiv:2207.12598) drops labels in
training and samples with the prediction (1 + w) f(x, y) - w f(x, none).

    model = build(Config(width=32), spec)
    state = model.init(key)
    state, metrics = model.step(key, 0, state, batch)
    x = model.sample(key, state, labels, steps=50)

`model` takes custom parts: a network, an optimiser or a loss.
"""

import functools
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from synthjax.errors import InputError
from synthjax.model import Batch, DataSpec, Model
from synthjax.nets import diffusion, unet
from synthjax.nets.network import Network, check_shape
from synthjax.nets.options import with_options
from synthjax.train import optim
from synthjax.train.optim import TrainState


@dataclass(frozen=True)
class Config:
    """The diffusion process, its network and its training. The defaults suit 28x28 and 32x32x3 images."""

    width: int = 32
    """Channels of the U-Net at its finest resolution, a multiple of 16."""
    multipliers: tuple[int, ...] = (1, 3)
    """Channels on each resolution, from fine to coarse, as multiples of `width`. Each resolution has half the sides of
    the one before."""
    blocks: tuple[int, ...] = (1, 2)
    """Residual blocks on each resolution, in the encoder and again in the decoder."""
    folding: int = 2
    """Side f of the f x f pixels that are folded into channels at the input."""
    dropout: float = 0.0
    """Dropout rate of the residual blocks."""
    prediction: Literal["v", "eps"] = "v"
    """What the network predicts: v (Salimans & Ho 2022) or the noise e (Ho et al. 2020)."""
    schedule: Literal["cosine", "linear"] = "cosine"
    """a_t: Nichol & Dhariwal 2021 (arXiv:2102.09672) or the linear betas 1e-4 ... 0.02 of Ho et al. 2020."""
    timesteps: int = 1000
    """T, the number of steps of the diffusion process."""
    label_dropout: float = 0.1
    """Share of examples that are trained without their label, for guidance."""
    sample_steps: int = 20
    """Default of `Sampling.steps`."""
    eta: float = 0.0
    """Default of `Sampling.eta`."""
    order: Literal[1, 2] = 2
    """Default of `Sampling.order`."""
    guidance: float = 0.0
    """Default of `Sampling.guidance`."""
    batch_size: int = 128
    steps: int = 20_000
    """Number of training steps, over which the learning rate decays to 0 by a cosine."""
    learning_rate: float = 1e-3
    """Maximum learning rate of Adam."""
    warmup: int = 500
    """Number of steps over which the learning rate increases linearly."""
    clip: float = 1.0
    """Maximum global norm of the gradient."""
    ema_decay: float = 0.999
    """Decay of the average of the parameters that sampling and scoring use, see `optim.ema`."""

    def __post_init__(self):
        unet.check(self)
        if self.timesteps < 1:
            raise InputError(f"model.timesteps={self.timesteps}: must be at least 1")
        diffusion.check_share("model.label_dropout", self.label_dropout)
        diffusion.check_steps("model.sample_steps", self.sample_steps, self.timesteps)
        optim.check_rates(self.learning_rate, self.ema_decay, self.warmup, self.clip)


PRESETS = {"ddpm": Config()}


@dataclass(frozen=True)
class Sampling(diffusion.Sampling):
    """The options of all diffusion models, and in-painting."""

    given: tuple[jax.Array, jax.Array] | None = None
    """(mask, x) for in-painting, each (*spec.shape) or (B, *spec.shape): where the mask is True, the prediction of x_0
    is replaced by x, in [-1, 1]."""


class Prediction(NamedTuple):
    """Predictions from x_t, of the same shape."""

    output: jax.Array
    """The output of the network: v or e."""
    clean: jax.Array
    """The prediction of x_0."""


@dataclass(frozen=True, eq=False)
class _Diffusion:
    """The functions of the model, for one Config, DataSpec and network."""

    config: Config
    spec: DataSpec
    net: Network

    @functools.cached_property
    def levels(self) -> diffusion.Level:
        return diffusion.levels(self.config.schedule, self.config.timesteps)

    def predict(self, params: Any, x_t: jax.Array, t: jax.Array, y: jax.Array, key: jax.Array | None = None):
        """Predicts from x_t (B, H, W, C) at times t (B,) i32 with labels y (B,); `spec.n_classes` means no label."""
        options = {} if key is None else {"key": key}
        out = self.net.apply(params, x_t, t.astype(jnp.float32) / self.config.timesteps, y, **options)
        level = self.levels.at(t).expand(3)
        if self.config.prediction == "v":
            return Prediction(out, level.a * x_t - level.s * out)
        return Prediction(out, (x_t - level.s * out) / level.a)

    def error(self, params, key, x, y, t, train_key=None) -> jax.Array:
        """|target - prediction|^2, mean over pixels: (B,), at times t (B,) i32 in 1 ... T."""
        noise = jax.random.normal(key, x.shape, jnp.float32)
        level = self.levels.at(t).expand(3)
        target = level.a * noise - level.s * x if self.config.prediction == "v" else noise
        out = self.predict(params, level.a * x + level.s * noise, t, y, train_key).output
        return ((target - out) ** 2).mean(axis=(1, 2, 3))

    def loss(self, params, key, batch: Batch) -> optim.Losses:
        key_time, key_noise, key_label, key_net = jax.random.split(key, 4)
        t = diffusion.even_times(key_time, len(batch.x), self.config.timesteps)
        dropped = jax.random.bernoulli(key_label, jnp.float32(self.config.label_dropout), batch.y.shape)
        y = jnp.where(dropped, self.spec.n_classes, batch.y)
        train_key = key_net if self.config.dropout else None
        return optim.Losses(self.error(params, key_noise, batch.x, y, t, train_key))

    def sample(self, key, state: TrainState, labels, **options: Any) -> jax.Array:
        """Images (B, H, W, C) in [-1, 1]. The prediction of x_0 is clipped to [-1, 1] in each step."""
        chosen = Sampling.of(self.config, **options)
        key, key_start = jax.random.split(key)
        start = jax.random.normal(key_start, (len(labels), *self.spec.shape), jnp.float32)

        def clean(x_t, t):
            x = jnp.clip(self.guided(state.ema, x_t, t, labels, chosen.guidance), -1, 1)
            return x if chosen.given is None else jnp.where(chosen.given[0], chosen.given[1], x)

        solver = diffusion.Solver(self.levels, chosen.steps, chosen.eta, chosen.order)
        return solver.run(key, start, clean)

    def guided(self, params, x_t, t, labels, guidance) -> jax.Array:
        """The prediction of x_0 at time t (), with classifier-free guidance: (B, H, W, C)."""

        def clean(x_t, t, labels):
            return self.predict(params, x_t, t, labels).clean

        return diffusion.guided(clean, (x_t, jnp.full(len(labels), t)), labels, self.spec.n_classes, guidance)

    def score(self, key, state: TrainState, batch: Batch) -> jax.Array:
        """Denoising loss with noise from `key`, averaged over ten fixed times: (B,) f32."""

        def error_at(key, t):
            return self.error(state.ema, key, batch.x, batch.y, jnp.full(len(batch.x), t))

        return diffusion.mean_error(key, self.config.timesteps, error_at)

    def log_prob(self, key, state: TrainState, batch: Batch, times: int = 100) -> jax.Array:
        """The variational bound on log p(x | y) of grey levels (Ho et al. 2020, eq. 5, with the posterior's variance).

        Args:
          key: typed PRNG key.
          state: of the model.
          batch: x in [-1, 1] on the grid of `spec.levels` grey levels.
          times: number of strata into which the T - 1 transitions are divided. One transition is drawn from each
            stratum for each example, and is weighted with the size of the stratum. 0: all transitions.

        Returns:
          (B,) f32, nats. The expectation is at most log p(x | y), for any `times`.
        """
        x, y = batch.x, batch.y
        key_middle, key_first = jax.random.split(key)
        first, size = strata(self.config.timesteps, times)

        def clean_and_level(key, t):
            key_time, key_noise = jax.random.split(key)
            low, count = t
            t = low + jax.random.randint(key_time, y.shape, 0, count)
            level = self.levels.at(t).expand(3)
            noisy = level.a * x + level.s * jax.random.normal(key_noise, x.shape, jnp.float32)
            return jnp.clip(self.predict(state.ema, noisy, t, y).clean, -1, 1), level, self.levels.at(t - 1).expand(3)

        def transition(total, inputs):
            key, *stratum = inputs
            clean, level_t, level_s = clean_and_level(key, stratum)
            c_0, _, variance = diffusion.posterior(level_s, level_t)
            kl = (c_0**2 * (x - clean) ** 2 / (2 * variance)).sum(axis=(1, 2, 3))
            return total + stratum[1].astype(jnp.float32) * kl, None

        keys = jax.random.split(key_middle, len(first))
        start = jnp.zeros(len(x), jnp.float32)
        middle = jax.lax.scan(transition, start, (keys, jnp.asarray(first), jnp.asarray(size)))[0]
        last = self.levels.at(jnp.int32(self.config.timesteps))
        prior = 0.5 * (last.a**2 * (x**2 - 1) - 2 * jnp.log(last.s)).sum(axis=(1, 2, 3))
        clean, level, _ = clean_and_level(key_first, (1, 1))
        decoder = discretised_log_likelihood(x, clean, level.s, self.spec.levels).sum(axis=(1, 2, 3))
        return decoder - prior - middle


def strata(timesteps: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Divides the times 2 ... T into `count` strata, shorter ones at small times, whose transitions have a larger KL.

    Args:
      timesteps: T, at least 1.
      count: number of strata; 0: one for each time.

    Returns:
      (n,) i32 first time of each stratum, and (n,) i32 number of times in it, with n = min(count, T - 1).

    >>> first, size = strata(9, 3)
    >>> first.tolist(), size.tolist()
    ([2, 3, 6], [1, 3, 4])
    """
    middle = timesteps - 1
    count = min(count, middle) or middle
    edges = np.round(middle * (np.arange(count + 1) / count) ** 2).astype(np.int64)
    edges = np.maximum.accumulate(edges - np.arange(count + 1)) + np.arange(count + 1)  # at least one time in each
    first = np.minimum(edges, middle - count + np.arange(count + 1)).astype(np.int32)
    return 2 + first[:-1], np.diff(first)


def model(
    config: Config,
    spec: DataSpec,
    *,
    net: Network | None = None,
    optimiser: optax.GradientTransformation | None = None,
    loss: optim.Loss | None = None,
    grad: optim.Grad = optim.mean_grad,
) -> Model:
    """A diffusion model of images, conditional if they are labelled.

    Args:
      config: of the diffusion process, and of the network and the optimiser if these are not given.
      spec: of images.
      net: x_t (B, H, W, C), t (B,) f32 in [0, 1], label (B,) i32 -> (B, H, W, C), the prediction of v or of the noise.
        The label `spec.n_classes` means no label. Default: the U-Net of the Config.
      optimiser: any optax transformation with its own learning rate. Default: Adam, see the Config.
      loss: (params, key, batch) -> `optim.Losses`, with the network's params. Default: the denoising loss.
      grad: turns the loss into a gradient function.

    Raises:
      InputError: the data is a table, or the output of the network has the wrong shape.
    """
    if spec.kind != "image":
        raise InputError(f"model ddpm makes images; the data is a {spec.kind} of {spec.dims} values a row")
    inputs = (
        jax.ShapeDtypeStruct((2, *spec.shape), jnp.float32),
        jax.ShapeDtypeStruct((2,), jnp.float32),
        jax.ShapeDtypeStruct((2,), jnp.int32),
    )
    if net is None:
        net = unet.network(config, spec)
    else:
        check_shape(net, (2, *spec.shape), "net", *inputs)
    ddpm = _Diffusion(config, spec, net)
    init, step = optim.init_and_step(config, net.init, loss or ddpm.loss, optimiser, grad, b2=0.99)
    return Model(
        init,
        step,
        with_options(ddpm.sample, Sampling, **Sampling.defaults(config)),
        ddpm.score,
        ddpm.log_prob,
        log_prob_kind="lower bound",
        log_prob_of="grey levels",
        conditional=spec.n_classes > 0,
        n_classes=spec.n_classes,
        empty_classes=spec.empty_classes,
    )


def build(config: Config, spec: DataSpec, grad: optim.Grad = optim.mean_grad) -> Model:
    """The diffusion model of a Config; see `model`."""
    return model(config, spec, grad=grad)


def discretised_log_likelihood(x, mean, std, levels: int) -> jax.Array:
    """Log-probability of grey levels under a discretised N(mean, std^2) (Ho et al. 2020, eq. 13), nats.

    The probability of a grey level is that of the interval of values nearest to it. The intervals of the first and the
    last level extend to infinity.

    Args:
      x: f32 in [-1, 1], on the grid of `levels` values.
      mean: f32; broadcasts with `x`.
      std: f32, above 0; broadcasts with `x`.
      levels: number of grey levels.
    """
    half = 1 / (levels - 1)
    above, first, last = x > mean, x < -1 + half, x > 1 - half
    # The probability is a difference of two values of the cdf, which cancels if both are near 1. So intervals above the
    # mean are mirrored to below it, where the values are near 0.
    distance = -jnp.abs(x - mean)
    upper = jax.scipy.stats.norm.cdf((distance + half) / std)
    lower = jax.scipy.stats.norm.cdf((distance - half) / std)
    mass = jnp.where(jnp.where(above, first, last), 1.0, upper) - jnp.where(jnp.where(above, last, first), 0.0, lower)
    return jnp.log(jnp.maximum(mass, 1e-12))
