r"""Denoising diffusion of tables: Gaussian for numeric and categorical columns, optionally conditional on a label.

The diffusion process of `synthjax.models.ddpm` is applied to a row v_0 (`synthjax.nets.columns`: standardised reals,
one-hot choices), v_t = a_t v_0 + s_t e. One network takes v_t, t and the label, and predicts

    reals     v = a_t e - s_t r_0 (Salimans & Ho 2022, arXiv:2202.00512); loss |v - v^|^2 of values that are not missing
    choices   logits of the category; loss -log softmax(logits)[c]

Both losses are sums over reals and choices divided by the number of both. The mean of a one-hot vector given v_t is
softmax(logits), so there is a prediction of v_0 for all columns, and all are sampled together by the same solvers:
ancestral, DDIM or DPM-Solver++(2M), with any number of steps. This is diffusion of embedded categories trained with
cross-entropy (Dieleman et al. 2022, arXiv:2211.15089), with one-hot vectors as embeddings. It replaces the multinomial
diffusion of TabDDPM (Kotelnikov et al. 2023, arXiv:2209.15421), which needs hundreds of steps. At the end categories
are drawn from the last softmax. Guidance is that of `synthjax.models.ddpm`, and applies to the logits of choices.

    model = build(Config(width=128), spec)
    state = model.init(key)
    state, metrics = model.step(key, 0, state, batch)
    x = model.sample(key, state, labels, steps=50)

    >>> import numpy as np
    >>> spec = DataSpec.from_arrays(np.float32(np.arange(40).reshape(20, 2)), np.arange(20) % 2)
    >>> model = build(Config(width=8), spec)
    >>> state = jax.eval_shape(model.init, jax.random.key(0))  # shapes alone
    >>> jax.eval_shape(model.sample, jax.random.key(1), state, jnp.zeros(3, jnp.int32)).shape
    (3, 2)

`model` takes custom parts: a network, an optimiser or a loss.
"""

import functools
from dataclasses import dataclass
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from synthjax.errors import InputError
from synthjax.model import Batch, DataSpec, Model
from synthjax.nets import diffusion, precision
from synthjax.nets.columns import Columns
from synthjax.nets.dense import Dense
from synthjax.nets.dense_norms import dense_squares
from synthjax.nets.diffusion import Sampling
from synthjax.nets.embeddings import TimeLabel
from synthjax.nets.network import Network, check_shape, linen
from synthjax.nets.options import with_options
from synthjax.train import optim
from synthjax.train.optim import TrainState


@dataclass(frozen=True)
class Config:
    """The diffusion process, its network and its training. The defaults are not tuned."""

    conditional: bool = True
    """Whether the network takes the label, if the data has labels."""
    width: int = 256
    """Width of all hidden layers, even."""
    blocks: int = 3
    """Number of residual blocks, of two layers each."""
    schedule: Literal["cosine", "linear"] = "cosine"
    """a_t: Nichol & Dhariwal 2021 (arXiv:2102.09672) or the linear betas of Ho et al. 2020."""
    timesteps: int = 1000
    """T, the number of steps of the diffusion process."""
    label_dropout: float = 0.1
    """Share of examples that are trained without their label, for guidance."""
    sample_steps: int = 25
    """Default of `Sampling.steps`."""
    eta: float = 0.0
    """Default of `Sampling.eta`."""
    order: Literal[1, 2] = 2
    """Default of `Sampling.order`."""
    guidance: float = 0.0
    """Default of `Sampling.guidance`."""
    batch_size: int = 512
    steps: int = 10_000
    """Number of training steps, over which the learning rate decays to 0 by a cosine."""
    learning_rate: float = 2e-3
    """Maximum learning rate of Adam."""
    warmup: int = 200
    """Number of steps over which the learning rate increases linearly."""
    clip: float = 1.0
    """Maximum global norm of the gradient."""
    ema_decay: float = 0.999
    """Decay of the average of the parameters that sampling and scoring use, see `optim.ema`."""

    def __post_init__(self):
        for name in ("blocks", "timesteps"):
            if getattr(self, name) < 1:
                raise InputError(f"model.{name}={getattr(self, name)}: must be at least 1")
        if self.width < 2 or self.width % 2:
            raise InputError(f"model.width={self.width}: must be even and at least 2")
        diffusion.check_share("model.label_dropout", self.label_dropout)
        diffusion.check_steps("model.sample_steps", self.sample_steps, self.timesteps)
        optim.check_rates(self.learning_rate, self.ema_decay, self.warmup, self.clip)


PRESETS = {"table_ddpm": Config()}


class Denoiser(nn.Module):
    """Maps a noisy row, a time and a label to v of each real and logits of each choice. Zero at initialisation."""

    width: int
    """Width of the hidden layers."""
    blocks: int
    """Number of residual blocks."""
    out: int
    """Length of the row."""
    n_labels: int
    """See `TimeLabel`."""
    dtype: Any = None
    """Dtype of the computation, see `synthjax.nets.precision`."""

    @nn.compact
    def __call__(self, v: jax.Array, t: jax.Array, label: jax.Array) -> jax.Array:
        """v (B, out), t (B,) in [0, 1], label (B,) i32 -> (B, out)."""
        dense, norm = functools.partial(Dense, dtype=self.dtype), functools.partial(nn.LayerNorm, dtype=self.dtype)
        condition = TimeLabel(self.width, self.n_labels, self.dtype)(t, label)
        h = dense(self.width)(v)
        for _ in range(self.blocks):
            inner = nn.silu(dense(self.width)(norm()(h)) + dense(self.width)(condition))
            h = h + dense(self.width)(inner)
        return dense(self.out, kernel_init=nn.initializers.zeros)(nn.silu(norm()(h)))


@dataclass(frozen=True, eq=False)
class _Diffusion:
    """The functions of the model, for one Config, DataSpec and network."""

    config: Config
    columns: Columns
    net: Network
    null: int
    """The label that means "no label"; 0 if the model is unconditional."""

    @functools.cached_property
    def levels(self) -> diffusion.Level:
        return diffusion.levels(self.config.schedule, self.config.timesteps)

    def output(self, params, v_t, t, y) -> tuple[jax.Array, jax.Array]:
        """Predicts v of the reals (B, reals) and logits (B, width - reals) from v_t (B, width) at times t (B,) i32."""
        raw = self.net.apply(params, v_t, t.astype(jnp.float32) / self.config.timesteps, y)
        return raw[:, : len(self.columns.reals)], raw[:, len(self.columns.reals) :]

    def losses(self, params, key, v, y, t) -> optim.Losses:
        """Losses for v (B, width) at times t (B,) i32 in 1 ... T."""
        noise = jax.random.normal(key, v.shape, jnp.float32)
        level = self.levels.at(t).expand(1)
        reals, logits = self.output(params, level.a * v + level.s * noise, t, y)
        target = (level.a * noise - level.s * v)[:, : len(self.columns.reals)]
        squares = self.columns.mask_missing((target - reals) ** 2, self.columns.split(v)[1])
        cross_entropies = -self.columns.log_chosen(jnp.concatenate([reals, logits], axis=-1), v)
        count = squares.shape[1] + cross_entropies.shape[1]
        terms = {"reals": squares.sum(axis=-1) / count, "choices": cross_entropies.sum(axis=-1) / count}
        return optim.Losses(terms["reals"] + terms["choices"], terms)

    def loss(self, params, key, batch: Batch) -> optim.Losses:
        key_time, key_noise, key_label = jax.random.split(key, 3)
        t = diffusion.even_times(key_time, len(batch.y), self.config.timesteps)
        dropped = jax.random.bernoulli(key_label, jnp.float32(self.config.label_dropout), batch.y.shape)
        return self.losses(params, key_noise, self.columns.encode(batch.x), jnp.where(dropped, self.null, batch.y), t)

    def guided(self, params, v_t, t, y, guidance) -> jax.Array:
        """The prediction of the reals of v_0 and of logits at time t (), with classifier-free guidance: (B, width)."""

        def predict(y):
            times = jnp.full(len(v_t), t)
            reals, logits = self.output(params, v_t, times, y)
            level = self.levels.at(t)
            return jnp.concatenate([level.a * v_t[:, : reals.shape[1]] - level.s * reals, logits], axis=-1)

        if not self.null or (isinstance(guidance, int | float) and guidance == 0):
            return predict(y)
        return (1 + guidance) * predict(y) - guidance * predict(jnp.full_like(y, self.null))

    def sample(self, key, state: TrainState, labels, **options: Any) -> jax.Array:
        """Rows (B, D) f32. Categories are drawn in the last step."""
        chosen = Sampling.of(self.config, **options)
        key, key_start, key_choices = jax.random.split(key, 3)
        start = jax.random.normal(key_start, (len(labels), self.columns.width), jnp.float32)

        def raw(v_t, t):
            return self.guided(state.ema, v_t, t, labels, chosen.guidance)

        def clean(v_t, t):
            return self.columns.over_choices(jax.nn.softmax, raw(v_t, t), [])

        solver = diffusion.Solver(self.levels, chosen.steps, chosen.eta, chosen.order)
        v = raw(solver.run(key, start, clean, last=1), solver.time(chosen.steps - 1))
        return self.columns.decode(self.columns.draw(key_choices, v), labels)

    def score(self, key, state: TrainState, batch: Batch) -> jax.Array:
        """Denoising loss with noise from `key`, averaged over ten fixed times: (B,) f32."""
        v = self.columns.encode(batch.x)

        def loss_at(key, t):
            return self.losses(state.ema, key, v, batch.y, jnp.full(len(v), t)).losses

        return diffusion.mean_error(key, self.config.timesteps, loss_at)


def model(
    config: Config,
    spec: DataSpec,
    *,
    net: Network | None = None,
    optimiser: optax.GradientTransformation | None = None,
    loss: optim.Loss | None = None,
    grad: optim.Grad = optim.mean_grad,
) -> Model:
    """A diffusion model of tables.

    Args:
      config: of the diffusion process, and of the network and the optimiser if these are not given.
      spec: of a table, with statistics.
      net: v_t (B, width), t (B,) f32 in [0, 1], label (B,) i32 -> (B, width), the prediction of v of each real and the
        logits of each choice, with the width of `Columns`. The label `spec.n_classes` means no label. Default: a
        `Denoiser`.
      optimiser: any optax transformation with its own learning rate. Default: Adam, see the Config.
      loss: (params, key, batch) -> `optim.Losses`, with the network's params. Default: that of the module's docstring.
      grad: turns the loss into a gradient function.

    Raises:
      InputError: the data is not a table, or the output of the network has the wrong shape.
    """
    classes = spec.n_classes if config.conditional else 0
    columns = Columns(spec, classes > 0)
    v, t, label = jnp.zeros((2, columns.width), jnp.float32), jnp.zeros(2, jnp.float32), jnp.zeros(2, jnp.int32)
    if net is None:
        labels = classes and classes + 1
        module = Denoiser(config.width, config.blocks, columns.width, labels, precision.current().compute)
        net = linen(module, v, t, label)
    else:
        check_shape(net, v.shape, "net", v, t, label)
    ddpm = _Diffusion(config, columns, net, classes)
    normed = optim.NormedLoss(ddpm.loss, dense_squares(ddpm.loss), single=True)
    init, step = optim.init_and_step(config, net.init, loss or normed, optimiser, grad, b2=0.99)
    sample = with_options(ddpm.sample, Sampling, **Sampling.defaults(config))
    return Model(
        init,
        step,
        sample,
        ddpm.score,
        conditional=classes > 0,
        n_classes=classes,
        empty_classes=spec.empty_classes,
    )


def build(config: Config, spec: DataSpec, grad: optim.Grad = optim.mean_grad) -> Model:
    """The diffusion model of a Config; see `model`."""
    return model(config, spec, grad=grad)
