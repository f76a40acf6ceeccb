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
    state = model.init(key)
    state, metrics = model.step(key, 0, state, batch)
    x = model.sample(key, state, labels, steps=50)

`model` takes parts of one's own: a network, an optimiser, a loss.
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
from synthjax.nets import diffusion, precision
from synthjax.nets.network import Network, check_shape, linen
from synthjax.nets.options import with_options
from synthjax.nets.unet import UNet
from synthjax.train import optim
from synthjax.train.optim import TrainState


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

    def __post_init__(self):
        if self.width % 16 or self.width < 16:
            raise InputError(f"model.width={self.width}: must be a positive multiple of 16")
        if len(self.blocks) != len(self.multipliers):
            raise InputError(f"model.blocks={self.blocks}: must be as many as model.multipliers={self.multipliers}")
        if self.folding < 1:
            raise InputError(f"model.folding={self.folding}: must be at least 1")
        if self.timesteps < 1:
            raise InputError(f"model.timesteps={self.timesteps}: must be at least 1")
        diffusion.check_share("model.dropout", self.dropout)
        diffusion.check_share("model.label_dropout", self.label_dropout)
        diffusion.check_steps("model.sample_steps", self.sample_steps, self.timesteps)
        optim.check_rates(self.learning_rate, self.ema_decay, self.warmup, self.clip)


PRESETS = {"ddpm": Config()}


@dataclass(frozen=True)
class Sampling(diffusion.Sampling):
    """Those of every diffusion model, and given pixels."""

    given: tuple[jax.Array, jax.Array] | None = None
    """(mask, x), each (*spec.shape) or (B, *spec.shape): where mask is True, pixels are led to those of x."""


class Prediction(NamedTuple):
    """What a network's output says of x_t, each like x_t."""

    output: jax.Array
    """As the network gives it: v or e."""
    clean: jax.Array
    """x_0."""


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
        """From x_t (B, H, W, C) at times t (B,) i32, with labels y (B,), `spec.n_classes` for none."""
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
        """From T to 0 along evenly spaced times; x_0's prediction is clipped to [-1, 1]."""
        chosen = Sampling.of(self.config, **options)
        key, key_start = jax.random.split(key)
        start = jax.random.normal(key_start, (len(labels), *self.spec.shape), jnp.float32)

        def clean(x_t, t):
            x = jnp.clip(self.guided(state.ema, x_t, t, labels, chosen.guidance), -1, 1)
            return x if chosen.given is None else jnp.where(chosen.given[0], chosen.given[1], x)

        solver = diffusion.Solver(self.levels, chosen.steps, chosen.eta, chosen.order)
        return solver.run(key, start, clean)

    def guided(self, params, x_t, t, labels, guidance) -> jax.Array:
        """The prediction of x_0 at time t (), led away from that without a label."""
        times = jnp.full(len(labels), t)
        if isinstance(guidance, int | float) and guidance == 0:
            return self.predict(params, x_t, times, labels).clean
        both = jnp.concatenate([labels, jnp.full_like(labels, self.spec.n_classes)])
        made = self.predict(params, jnp.tile(x_t, (2, 1, 1, 1)), jnp.tile(times, 2), both).clean
        with_label, without = jnp.split(made, 2)
        return (1 + guidance) * with_label - guidance * without

    def score(self, key, state: TrainState, batch: Batch) -> jax.Array:
        """Denoising loss, averaged over ten fixed times; the noise comes from `key`."""

        def at(key, t):
            return self.error(state.ema, key, batch.x, batch.y, jnp.full(len(batch.x), t))

        return diffusion.mean_error(key, self.config.timesteps, at)

    def log_prob(self, key, state: TrainState, batch: Batch, times: int = 100) -> jax.Array:
        """The variational bound on log p(x | y) of grey levels (Ho et al. 2020, eq. 5, with the posterior's variance).

        Args:
          key: typed.
          state: of the model.
          batch: x in [-1, 1] on the grid of `spec.levels` grey values.
          times: forward passes that stand for the T - 1 transitions: each is taken at a time drawn for each example
            from a stratum of its own, and counts as many times as the stratum holds. 0: every time, once.

        Returns:
          (B,) f32 nats; in expectation at most log p(x | y), whatever `times`.
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
    """The times 2 ... T cut into `count` strata, shorter at small times, whose transitions cost most; 0: one each.

    Returns:
      (n,) i32 first time of each, (n,) i32 number of times in it, n = min(count, T - 1).
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
      config: the process; and the network and the optimiser, where none is handed in.
      spec: of the data.
      net: x_t (B, H, W, C), t (B,) f32 in [0, 1], label (B,) i32 -> (B, H, W, C), the prediction of v or of the noise.
        A label of `spec.n_classes` means none. Default: the U-Net of the Config.
      optimiser: any optax transformation, with a learning rate of its own. Default: Adam, as the Config says.
      loss: (params, key, batch) -> `optim.Losses` of the network's params. Default: the denoising loss.
      grad: turns the loss into a gradient.

    Raises:
      InputError: the data is no image, or the network makes another shape.
    """
    if spec.kind != "image":
        raise InputError(f"model ddpm makes images; the data is a {spec.kind} of {spec.dims} values a row")
    inputs = (
        jax.ShapeDtypeStruct((2, *spec.shape), jnp.float32),
        jax.ShapeDtypeStruct((2,), jnp.float32),
        jax.ShapeDtypeStruct((2,), jnp.int32),
    )
    if net is None:
        net = _unet(config, spec)
    else:
        check_shape(net, (2, *spec.shape), "net", *inputs)
    one = _Diffusion(config, spec, net)
    init, step = optim.init_and_step(config, net.init, loss or one.loss, optimiser, grad, b2=0.99)
    return Model(
        init,
        step,
        with_options(one.sample, Sampling, **Sampling.defaults(config)),
        one.score,
        one.log_prob,
        log_prob_kind="lower bound",
        log_prob_of="grey levels",
        conditional=spec.n_classes > 0,
        n_classes=spec.n_classes,
        empty_classes=spec.empty_classes,
    )


def _unet(config: Config, spec: DataSpec) -> Network:
    widths = tuple(config.width * multiplier for multiplier in config.multipliers)
    labels = spec.n_classes and spec.n_classes + 1
    module = UNet(widths, config.blocks, config.folding, True, config.dropout, labels, precision.current().compute)
    x, zero = jnp.zeros((1, *spec.shape), jnp.float32), jnp.zeros(1, jnp.int32)
    return linen(module, x, jnp.zeros(1, jnp.float32), zero, dropout=config.dropout > 0)


def build(config: Config, spec: DataSpec, grad: optim.Grad = optim.mean_grad) -> Model:
    """The diffusion model of a Config; see `model`."""
    return model(config, spec, grad=grad)


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
