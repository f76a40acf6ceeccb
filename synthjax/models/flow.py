r"""Flow matching of images, conditional on a label, and MeanFlow, which samples in one to four steps.

    x_t = (1 - t) x + t e,   e ~ N(0, I),   0 <= t <= 1     straight paths from data to noise
    v(x_t, t) = E[e - x | x_t]                              the velocity of their probability flow
    x_r = x_t - integral of v(x_s, s) over s from r to t    takes noise (t = 1) to data (r = 0)

`flow` (Lipman et al. 2023, arXiv:2210.02747; rectified flow, Liu et al. 2023, arXiv:2209.03003) learns v by regression
on e - x and integrates it by Heun's method. `meanflow` (Geng et al. 2025, arXiv:2505.13447) learns the mean velocity

    u(x_t, r, t) = 1 / (t - r) * integral of v(x_s, s) over s from r to t,    so that x_r = x_t - (t - r) u(x_t, r, t)

with any number of steps, also a single one. It is the solution of u = v - (t - r) du/dt, where du/dt is the derivative
along the path, (v d/dx + d/dt) u, a Jacobian-vector product. The network is regressed on the right side, in which v is
replaced by e - x, without a gradient through it:

    loss = w |u(x_t, r, t) - stop(e - x - (t - r) du/dt)|^2,   w = stop(1 / (|...|^2 + 0.001)^p),   mean over pixels

r is t in a share of the examples, for which this is flow matching. Labels are dropped in a share of the examples, so
that samples can be guided: (1 + w) u(x, y) - w u(x, none).

    model = build(Config(width=32), spec)
    state = model.init(key)
    state, metrics = model.step(key, 0, state, batch)
    x = model.sample(key, state, labels, steps=2)

    >>> import numpy as np
    >>> spec = DataSpec.from_arrays(np.zeros((20, 8, 8, 1), np.uint8), np.arange(20) % 2)
    >>> model = build(Config(width=16, multipliers=(1,), blocks=(1,)), spec)
    >>> state = jax.eval_shape(model.init, jax.random.key(0))  # shapes alone
    >>> jax.eval_shape(model.sample, jax.random.key(1), state, jnp.zeros(3, jnp.int32)).shape
    (3, 8, 8, 1)

`model` takes custom parts: a network, an optimiser or a loss.
"""

import functools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax

from synthjax.errors import InputError
from synthjax.model import Batch, DataSpec, Model
from synthjax.nets import diffusion, unet
from synthjax.nets.network import Network, check_shape
from synthjax.nets.options import with_options
from synthjax.train import optim
from synthjax.train.optim import TrainState

_LEAST = 1e-3  # added to the squared error in the weight w
_TIMES = 10  # number of times over which `score` is averaged


def _check_steps(name: str, steps: Any) -> None:
    """Raises InputError if `steps` is below 1. A traced value is not checked."""
    if not isinstance(steps, jax.core.Tracer) and steps < 1:
        raise InputError(f"{name}={steps}: must be at least 1")


@dataclass(frozen=True)
class Config:
    """The flow, its network and its training. The defaults suit 28x28 and 32x32x3 images."""

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
    mean_share: float = 0.0
    """Share of examples with r < t: 0 for flow matching, above 0 for MeanFlow."""
    adaptive: float = 0.0
    """The power p of the loss weight w; 0: all examples have the same weight."""
    time_mean: float = 0.0
    """Mean of the logit of t."""
    time_std: float = 1.0
    """Standard deviation of the logit of t. r is the smaller one of two such times."""
    label_dropout: float = 0.1
    """Share of examples that are trained without their label, for guidance."""
    sample_steps: int = 12
    """Default of `Sampling.steps`."""
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
        for name in ("label_dropout", "mean_share"):
            diffusion.check_share(f"model.{name}", getattr(self, name))
        for name, least in (("adaptive", 0), ("time_std", 1e-6)):
            value = getattr(self, name)
            if not isinstance(value, jax.core.Tracer) and not least <= value < 100:
                raise InputError(f"model.{name}={value}: must be at least {least}, and below 100")
        _check_steps("model.sample_steps", self.sample_steps)
        optim.check_rates(self.learning_rate, self.ema_decay, self.warmup, self.clip)


PRESETS = {
    "flow": Config(),
    "meanflow": Config(mean_share=0.75, adaptive=0.75, time_std=2.0, sample_steps=2),
}


@dataclass(frozen=True)
class Sampling:
    """Options of `Model.sample`; the defaults are the Config's. Under `jit` and `vmap`, they may be traced."""

    steps: int
    """Number of steps, at least 1. `flow` evaluates the network twice in each but the last one, `meanflow` once."""
    guidance: float
    """Guidance weight w: above 0, examples are more typical of their label; 0 samples from the model itself."""
    given: tuple[jax.Array, jax.Array] | None = None
    """(mask, x) for in-painting, each (*spec.shape) or (B, *spec.shape): where the mask is True, each x_t is that of x,
    in [-1, 1]."""


@dataclass(frozen=True, eq=False)
class _Flow:
    """The functions of the model, for one Config, DataSpec and network."""

    config: Config
    spec: DataSpec
    net: Network

    def velocity(self, params: Any, x_t: jax.Array, r: jax.Array, t: jax.Array, y: jax.Array, key=None) -> jax.Array:
        """u(x_t, r, t), (B, H, W, C), from x_t (B, H, W, C), r and t (B,), and labels y (B,)."""
        options = {} if key is None else {"key": key}
        return self.net.apply(params, x_t, jnp.stack([t, t - r], axis=1), y, **options)

    def times(self, key: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
        """r <= t, (count,) f32 each."""
        key_times, key_equal = jax.random.split(key)
        logits = self.config.time_mean + self.config.time_std * jax.random.normal(key_times, (2, count), jnp.float32)
        first, second = jax.nn.sigmoid(logits)
        apart = jax.random.bernoulli(key_equal, jnp.float32(self.config.mean_share), (count,))
        t = jnp.where(apart, jnp.maximum(first, second), first)
        return jnp.where(apart, jnp.minimum(first, second), t), t

    def loss(self, params: Any, key: jax.Array, batch: Batch) -> optim.Losses:
        key_time, key_noise, key_label, key_net = jax.random.split(key, 4)
        r, t = self.times(key_time, len(batch.x))
        dropped = jax.random.bernoulli(key_label, jnp.float32(self.config.label_dropout), batch.y.shape)
        y = jnp.where(dropped, self.spec.n_classes, batch.y)
        noise = jax.random.normal(key_noise, batch.x.shape, jnp.float32)
        direction, x_t = noise - batch.x, _between(batch.x, noise, t)
        train_key = key_net if self.config.dropout else None

        def mean_velocity(x_t, r, t):
            return self.velocity(params, x_t, r, t, y, train_key)

        if self.config.mean_share:
            tangents = (direction, jnp.zeros_like(r), jnp.ones_like(t))
            found, change = jax.jvp(mean_velocity, (x_t, r, t), tangents)
            target = direction - _expand(t - r) * change
        else:
            found, target = mean_velocity(x_t, r, t), direction
        error = ((found - jax.lax.stop_gradient(target)) ** 2).mean(axis=(1, 2, 3))
        weight = jax.lax.stop_gradient(error + _LEAST) ** -self.config.adaptive
        return optim.Losses(weight * error, {"error": error})

    def sample(self, key: jax.Array, state: TrainState, labels: jax.Array, **options: Any) -> jax.Array:
        """Images (B, H, W, C) in [-1, 1]."""
        chosen = Sampling(**{"steps": self.config.sample_steps, "guidance": self.config.guidance, **options})
        _check_steps("sample.steps", chosen.steps)
        noise = jax.random.normal(key, (len(labels), *self.spec.shape), jnp.float32)

        def guided(x_t, r, t):
            return self.guided(state.ema, x_t, r, t, labels, chosen.guidance)

        def known(x, t):
            return x if chosen.given is None else jnp.where(chosen.given[0], _between(chosen.given[1], noise, t), x)

        def body(k, x):
            t, r = 1 - k / jnp.float32(chosen.steps), 1 - (k + 1) / jnp.float32(chosen.steps)
            if self.config.mean_share:
                return known(x - (t - r) * guided(x, r, t), r)
            slope = guided(x, t, t)
            euler = x - (t - r) * slope
            last = k + 1 == chosen.steps
            heun = jax.lax.cond(last, lambda: euler, lambda: x - (t - r) * (slope + guided(euler, r, r)) / 2)
            return known(heun, r)

        return jnp.clip(jax.lax.fori_loop(0, chosen.steps, body, known(noise, jnp.float32(1))), -1, 1)

    def guided(self, params, x_t, r, t, labels, guidance) -> jax.Array:
        """u(x_t, r, t) at times r and t (), with classifier-free guidance: (B, H, W, C)."""
        inputs = x_t, jnp.full(len(labels), r), jnp.full(len(labels), t)
        predict = functools.partial(self.velocity, params)
        return diffusion.guided(predict, inputs, labels, self.spec.n_classes, guidance)

    def score(self, key: jax.Array, state: TrainState, batch: Batch) -> jax.Array:
        """Squared error of the velocity with noise from `key`, averaged over ten fixed times: (B,) f32."""

        def error(inputs):
            key, t = inputs
            noise = jax.random.normal(key, batch.x.shape, jnp.float32)
            times = jnp.full(len(batch.x), t)
            found = self.velocity(state.ema, _between(batch.x, noise, times), times, times, batch.y)
            return ((found - (noise - batch.x)) ** 2).mean(axis=(1, 2, 3))

        times = (jnp.arange(_TIMES) + 0.5) / _TIMES
        return jax.lax.map(error, (jax.random.split(key, _TIMES), times)).mean(axis=0)


def _expand(t: jax.Array) -> jax.Array:
    """(B,) or () -> with axes that broadcast with images."""
    return t.reshape(*t.shape, *[1] * 3 * (t.ndim > 0))


def _between(x: jax.Array, noise: jax.Array, t: jax.Array) -> jax.Array:
    """x_t at times t (B,) or ()."""
    return (1 - _expand(t)) * x + _expand(t) * noise


def model(
    config: Config,
    spec: DataSpec,
    *,
    net: Network | None = None,
    optimiser: optax.GradientTransformation | None = None,
    loss: optim.Loss | None = None,
    grad: optim.Grad = optim.mean_grad,
) -> Model:
    """A flow model of images, conditional if they are labelled.

    Args:
      config: of the flow, and of the network and the optimiser if these are not given.
      spec: of images.
      net: x_t (B, H, W, C), times (B, 2) f32 in [0, 1], t and t - r, label (B,) i32 -> (B, H, W, C), the mean velocity
        u. The label `spec.n_classes` means no label. Default: the U-Net of the Config.
      optimiser: any optax transformation with its own learning rate. Default: Adam, see the Config.
      loss: (params, key, batch) -> `optim.Losses`, with the network's params. Default: that of the Config.
      grad: turns the loss into a gradient function.

    Raises:
      InputError: the data is a table, or the output of the network has the wrong shape.
    """
    if spec.kind != "image":
        raise InputError(f"model flow makes images; the data is a {spec.kind} of {spec.dims} values a row")
    inputs = (
        jax.ShapeDtypeStruct((2, *spec.shape), jnp.float32),
        jax.ShapeDtypeStruct((2, 2), jnp.float32),
        jax.ShapeDtypeStruct((2,), jnp.int32),
    )
    if net is None:
        net = unet.network(config, spec, times=2)
    else:
        check_shape(net, (2, *spec.shape), "net", *inputs)
    flow = _Flow(config, spec, net)
    init, step = optim.init_and_step(config, net.init, loss or flow.loss, optimiser, grad, b2=0.99)
    return Model(
        init,
        step,
        with_options(flow.sample, Sampling, steps=config.sample_steps, guidance=config.guidance),
        flow.score,
        conditional=spec.n_classes > 0,
        n_classes=spec.n_classes,
        empty_classes=spec.empty_classes,
    )


def build(config: Config, spec: DataSpec, grad: optim.Grad = optim.mean_grad) -> Model:
    """The flow model of a Config; see `model`."""
    return model(config, spec, grad=grad)
