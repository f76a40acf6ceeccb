"""Training steps from per-example losses: gradients, schedules, clipping and averages of parameters.

A model defines its loss per example, `loss(params, key, batch) -> Losses`. The function that turns the loss into a
gradient is an argument of the model, `build(config, spec, grad=mean_grad)`. `train_step` makes a `Model.step` of both.
For example, to learn the mean of some numbers:

    >>> def loss(params, key, batch):
    ...     return Losses((params - batch.x) ** 2)
    >>> step = train_step(loss, adam(clip=1.0), schedule(0.1, steps=100, decay="linear"), ema_decay=0.9)
    >>> state = TrainState.create(jnp.float32(0), adam(clip=1.0))
    >>> x, ones = jnp.float32([1, 2, 3, 100]), jnp.float32([1, 1, 1, 0])       # the last is padding
    >>> batch = Batch(x, jnp.zeros(4, jnp.int32), ones, jnp.arange(4))
    >>> for i in range(100):
    ...     state, metrics = jax.jit(step)(jax.random.key(i), i, state, batch)
    >>> print(f"{state.params:.1f}, by {metrics['learning_rate']:.3f} a step")
    2.0, by 0.001 a step
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Self

import jax
import jax.numpy as jnp
import optax

from synthjax.errors import InputError
from synthjax.model import Batch, Metrics

Params = Any


class Losses(NamedTuple):
    """The result of a loss function, which may also return a plain tuple of the first fields."""

    losses: jax.Array
    """(B,) loss of each example, which depends on no other example."""
    terms: dict[str, jax.Array] = {}  # noqa: RUF012
    """(B,) each, reported as metrics."""
    statistics: Any = ()
    """New running statistics (batch norm): any pytree, computed over the whole batch; () for none."""


def as_losses(found: Any) -> Losses:
    """What a loss function returned, as Losses; InputError if it is neither that nor a tuple of the first fields."""
    if not isinstance(found, tuple) or not 1 <= len(found) <= 3:
        made = f"an array of shape {found.shape}" if hasattr(found, "shape") else f"a {type(found).__name__}"
        raise InputError(f"loss: returns {made}; it must return optim.Losses(losses), where losses has shape (B,)")
    return Losses(*found)


class Gradient(NamedTuple):
    """The result of a gradient function."""

    gradient: Params
    """Like the parameters."""
    metrics: Metrics
    """"loss" and every term of the loss, scalars."""
    statistics: Any = ()
    """The statistics that the loss returned."""


Loss = Callable[..., Any]
"""(params, key, batch) -> Losses."""


@dataclass(frozen=True, eq=False)
class NormedLoss:
    """A loss that knows the norms of its gradients in closed form, for private gradients."""

    loss: Loss
    squares: Callable[..., jax.Array]
    """(params, key, batch) -> (B,) f32: the squared L2 norm of the gradient of each loss, with the same key."""
    single: bool = False
    """Whether `squares` takes batches of one example only, and is to be mapped over examples with keys of their own."""

    def __call__(self, params: Params, key: jax.Array, batch: Batch) -> Losses:
        """The loss."""
        return self.loss(params, key, batch)


Grad = Callable[[Loss], Callable[..., Gradient]]
"""Loss -> ((params, key, batch) -> Gradient)."""
Count = Callable[..., jax.Array]
"""(key, counts, sensitivity, share=1) -> counts, as a counting model may see them; see `exact_count`."""


def exact_count(key: jax.Array, counts: jax.Array, sensitivity: float, share: float = 1.0) -> jax.Array:
    """The counts as they are: the default of the argument `count` of models that are fitted to sums over rows.

    A private `count` returns them with noise, and the model uses nothing else of the rows. Several releases of a model
    divide a budget: noise of standard deviation z * sensitivity / sqrt(share) each, with shares that sum to 1, together
    cost as much as one Gaussian release with noise multiplier z.

    Args:
      key: typed PRNG key, for the noise of these counts alone.
      counts: of rows, floating, each of which a row changes by at most 1; or sums of integers, int32, of which it
        changes those of one place on all axes but the last, by any integers. Any shape.
      sensitivity: the L2 norm of the largest change of `counts` if one row of weight 1 is added or removed. It depends
        on no row.
      share: of the budget, above 0 and at most 1.

    Returns:
      An array of the shape and the dtype of `counts`.
    """
    return counts


def _total(weight: jax.Array) -> jax.Array:
    """The sum of weights, or 1 if all are 0, so that weighted means are then 0."""
    total = weight.sum()
    return jnp.where(total > 0, total, 1.0)


def mean_grad(loss: Loss) -> Callable[..., Gradient]:
    """The gradient of the mean loss over the batch, weighted by `batch.weight`; metrics are weighted means as well.

    The gradient function raises InputError if the loss, or one of its terms, is not of shape (B,).
    """

    def mean(params: Params, key: jax.Array, batch: Batch):
        losses, terms, statistics = as_losses(loss(params, key, batch))
        for name, term in {"loss": losses, **terms}.items():
            if term.shape != batch.weight.shape:
                raise InputError(f"loss: makes {name!r} of shape {term.shape}; it must make {batch.weight.shape}")
        weight = batch.weight / _total(batch.weight)
        metrics = {name: weight @ term for name, term in {"loss": losses, **terms}.items()}
        return metrics["loss"], (metrics, statistics)

    def grad(params: Params, key: jax.Array, batch: Batch) -> Gradient:
        gradient, (metrics, statistics) = jax.grad(mean, has_aux=True)(params, key, batch)
        return Gradient(gradient, metrics, statistics)

    return grad


def is_private(grad: Grad) -> bool:
    """Whether `grad` is differentially private, as `privacy.gradients.dp_grad` is. Models use rows through it only."""
    return getattr(grad, "private", False)


def refuse_private(grad: Grad, fault: Any, message: str) -> None:
    """Refuses a private `grad` for a model that uses training rows, or couples them, in another way.

    Args:
      grad: of the model.
      fault: whether the model does so.
      message: what cannot be private, and what to do.

    Raises:
      InputError: there is a fault and the gradient is private.
    """
    if fault and is_private(grad):
        raise InputError(f"differential privacy: {message}")


def accumulate(grad: Grad, parts: int) -> Grad:
    """Gradient accumulation: the same gradient, computed from `parts` equal slices of the batch in turn to save memory.

    Slices are weighted by their share of `batch.weight`, so padding has no effect. Each slice spans all devices over
    which the batch is sharded. Statistics (batch norm) are those of the last slice. The gradient function raises
    InputError if `parts` does not divide the batch.

    Raises:
      InputError: the gradient is private, and its noise would be scaled by the actual number of examples.
    """
    refuse_private(grad, True, f"accumulate={parts} divides by the number of examples; use microbatches instead")

    def accumulated(loss: Loss) -> Callable[..., Gradient]:
        slice_gradient = grad(loss)

        def sliced(params: Params, key: jax.Array, batch: Batch) -> Gradient:
            if len(batch.weight) % parts:
                raise InputError(f"accumulate={parts}: must divide the batch, which has {len(batch.weight)} examples")
            slices = jax.tree.map(lambda a: jnp.moveaxis(a.reshape(-1, parts, *a.shape[1:]), 1, 0), batch)
            share = slices.weight.sum(axis=1) / _total(batch.weight)

            def body(total, inputs):
                key, part, share = inputs
                gradient, metrics, statistics = slice_gradient(params, key, part)
                scaled = jax.tree.map(lambda a: share * a, (gradient, metrics))
                return jax.tree.map(jnp.add, total, scaled), statistics

            shapes = jax.eval_shape(slice_gradient, params, key, jax.tree.map(lambda a: a[0], slices))
            zero = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), tuple(shapes[:2]))
            (gradient, metrics), statistics = jax.lax.scan(body, zero, (jax.random.split(key, parts), slices, share))
            return Gradient(gradient, metrics, jax.tree.map(lambda a: a[-1], statistics))

        return sliced

    return accumulated


def schedule(
    learning_rate: float, steps: int, warmup: int = 0, decay: Literal["constant", "cosine", "linear"] = "constant"
) -> optax.Schedule:
    """Learning-rate schedule: linear warm-up, then constant, or decaying to 0 at step `steps`.

    The rate in step i = 0, 1, ... of the warm-up is (i + 1) / (warmup + 1) of `learning_rate`. The warm-up takes at
    most a tenth of all steps.

        >>> rate = schedule(0.3, steps=100, warmup=2, decay="linear")
        >>> [round(float(rate(i)), 3) for i in (0, 1, 2, 51, 100)]
        [0.1, 0.2, 0.3, 0.15, 0.0]
    """
    warmup = min(warmup, max(steps // 10, 1)) if warmup else 0
    rest = max(steps - warmup, 1)
    first = learning_rate / (warmup + 1)
    shapes = {
        "constant": optax.constant_schedule(learning_rate),
        "cosine": optax.cosine_decay_schedule(learning_rate, rest),
        "linear": optax.linear_schedule(learning_rate, 0.0, rest),
    }
    return optax.join_schedules([optax.linear_schedule(first, learning_rate, warmup), shapes[decay]], [warmup])


def adam(b1: float = 0.9, b2: float = 0.999, clip: float | None = None) -> optax.GradientTransformation:
    """Adam (Kingma & Ba 2015) without a learning rate, which is a separate argument of `train_step`.

    If `clip` is given, the global norm of the gradient is first clipped to it.
    """
    update = optax.scale_by_adam(b1, b2)
    return optax.chain(optax.clip_by_global_norm(clip), update) if clip else update


class TrainState(NamedTuple):
    """State of gradient-based training."""

    params: Params
    ema: Params
    """Moving average of `params`, at least f32; sampling and scoring use it."""
    opt: optax.OptState

    @classmethod
    def create(cls, params: Params, optimiser: optax.GradientTransformation) -> Self:
        """The initial state."""

        def average(a: jax.Array) -> jax.Array:
            # A copy, since a donated state must not contain the same array twice. At least f32, since the updates of a
            # moving average are smaller than the rounding errors of bfloat16.
            return jnp.array(a, jnp.promote_types(a.dtype, jnp.float32), copy=True)

        return cls(params, jax.tree.map(average, params), optimiser.init(params))


def train_step(
    loss: Loss,
    optimiser: optax.GradientTransformation,
    learning_rate: optax.Schedule | None = None,
    *,
    ema_decay: float = 0.999,
    grad: Grad = mean_grad,
) -> Callable[[jax.Array, Any, TrainState, Batch], tuple[TrainState, Metrics]]:
    """Makes a `Model.step`, which computes a gradient and updates the parameters and their moving average.

    The learning rate depends only on the step number i, and not on the number of steps that the optimiser has taken
    before. So training can continue from any state with a new schedule.

    Args:
      loss: (params, key, batch) -> Losses.
      optimiser: any optax transformation.
      learning_rate: step -> learning rate, by which the negated updates of the optimiser are scaled (see `adam`). None:
        the optimiser has its own learning rate, as `optax.adamw(1e-3)` has; it is not reported.
      ema_decay: decay of the moving average of the parameters, see `ema`.
      grad: turns the loss into a gradient function.

    Returns:
      (key, i, state, batch) -> (state, metrics). The metrics are the loss, its terms, "grad_norm" and "learning_rate".
    """

    update = train_update(optimiser, learning_rate, ema_decay=ema_decay)

    def step(key: jax.Array, i: Any, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        gradient, metrics, _ = grad(loss)(state.params, key, batch)
        state, more = update(i, state, gradient)
        return state, metrics | more

    return step


def train_update(
    optimiser: optax.GradientTransformation, learning_rate: optax.Schedule | None = None, *, ema_decay: float
) -> Callable[[Any, TrainState, Params], tuple[TrainState, Metrics]]:
    """The part of `train_step` after the gradient, for models whose gradient is not just that of a loss.

    Args:
      optimiser: any optax transformation; one that takes extra arguments gets the step number as `step`.
      learning_rate: as for `train_step`.
      ema_decay: as for `train_step`.

    Returns:
      (i, state, gradient) -> (state, metrics). The metrics are "grad_norm" and "learning_rate".

    Raises:
      InputError: `optimiser` is not an optax transformation.
    """
    check_optimiser(optimiser)
    optimiser = optax.with_extra_args_support(optimiser)

    def update(i: Any, state: TrainState, gradient: Params) -> tuple[TrainState, Metrics]:
        updates, opt = optimiser.update(gradient, state.opt, state.params, step=i)
        metrics = {"grad_norm": optax.tree.norm(gradient)}
        if learning_rate is not None:
            rate = jnp.asarray(learning_rate(i), jnp.float32)
            updates = jax.tree.map(lambda u: (-rate).astype(u.dtype) * u, updates)
            metrics["learning_rate"] = rate
        params = optax.apply_updates(state.params, updates)
        return TrainState(params, ema(state.ema, params, i, ema_decay), opt), metrics

    return update


def init_and_step(
    config: Any,
    params: Callable[[jax.Array], Params],
    loss: Loss,
    optimiser: optax.GradientTransformation | None = None,
    grad: Grad = mean_grad,
    b2: float = 0.999,
) -> tuple[Callable[[jax.Array], TrainState], Callable[..., tuple[TrainState, Metrics]]]:
    """`Model.init` and `Model.step` of a model that is trained by gradients.

    Args:
      config: with the fields learning_rate, steps, warmup, clip and ema_decay.
      params: key -> parameters.
      loss: (params, key, batch) -> Losses.
      optimiser: with its own learning rate. Default: Adam with the learning rate of the Config, which decays to 0 by a
        cosine.
      grad: turns the loss into a gradient function.
      b2: second decay rate of Adam.
    """
    rate = None if optimiser else schedule(config.learning_rate, config.steps, config.warmup, "cosine")
    update = optimiser or adam(b2=b2, clip=config.clip)
    step = train_step(loss, update, rate, ema_decay=config.ema_decay, grad=grad)
    return lambda key: TrainState.create(params(key), update), step


def ema(average: Params, params: Params, i: jax.Array, decay: float) -> Params:
    """The moving average after step `i` (from 0): a + (1 - d) (p - a), with d = min(decay, (1 + i) / (10 + i)).

    The decay d increases over the first steps, so that the average forgets the initial parameters (as in
    `tf.train.ExponentialMovingAverage`). With a constant decay of 0.999, samples after 1,000 steps would be noise.
    """
    i = jnp.asarray(i, jnp.float32)
    d = jnp.minimum(decay, (1.0 + i) / (10.0 + i))
    return jax.tree.map(lambda a, p: a + (1 - d).astype(jnp.result_type(a)) * (p - a), average, params)


def check_optimiser(optimiser: Any, what: str = "optimiser") -> None:
    """Raises InputError if `optimiser` is not an optax transformation; `what` is its name in the error."""
    if not (hasattr(optimiser, "init") and hasattr(optimiser, "update")):
        raise InputError(f"{what}: must be an optax transformation such as optax.adam(1e-3), not {optimiser!r}")


def check_rates(learning_rate: float, ema_decay: float, warmup: int = 0, clip: float | None = None) -> None:
    """Checks the fields of a Config that belong to the optimiser. Traced values are not checked.

    Raises:
      InputError: a field is out of range.
    """
    if not isinstance(learning_rate, jax.core.Tracer) and not 0 < learning_rate < math.inf:
        raise InputError(f"model.learning_rate={learning_rate}: must be a finite number above 0")
    if not isinstance(ema_decay, jax.core.Tracer) and not 0 <= ema_decay < 1:
        raise InputError(f"model.ema_decay={ema_decay}: must be at least 0 and below 1")
    if not isinstance(warmup, jax.core.Tracer) and warmup < 0:
        raise InputError(f"model.warmup={warmup}: must not be negative")
    if clip is not None and not isinstance(clip, jax.core.Tracer) and not clip > 0:
        raise InputError(f"model.clip={clip}: must be above 0")
