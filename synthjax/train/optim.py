"""From a per-example loss to an update: gradients, schedules, clipping, averages of parameters.

A model writes its loss per example, `loss(params, key, batch) -> (losses, terms)` with `losses` (B,) and `terms` a dict
of (B,) to report, and takes whatever turns that into a gradient from outside, as `build(config, spec, grad=mean_grad)`.
"""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from synthjax.model import Batch

Params = Any
Loss = Callable[..., tuple]
Grad = Callable[[Loss], Callable[..., tuple]]


def mean_grad(loss: Loss) -> Callable[..., tuple]:
    """The gradient of the weighted mean over the batch.

    Args:
      loss: (params, key, batch) -> (losses (B,), terms), or (losses, terms, statistics) where a network keeps running
        statistics (batch norm); those are any pytree, computed over the whole batch, and handed on.

    Returns:
      (params, key, batch) -> (gradient like params, metrics), with the statistics as a third value if there are any.
      metrics: "loss" and every term, each the weighted mean.
    """

    def mean(params: Params, key: jax.Array, batch: Batch):
        losses, terms, *statistics = loss(params, key, batch)
        weight = batch.weight / jnp.maximum(batch.weight.sum(), 1.0)
        metrics = {name: weight @ term for name, term in {"loss": losses, **terms}.items()}
        return metrics["loss"], (metrics, *statistics)

    def grad(params: Params, key: jax.Array, batch: Batch):
        gradient, (metrics, *statistics) = jax.grad(mean, has_aux=True)(params, key, batch)
        return gradient, metrics, *statistics

    return grad


def accumulate(grad: Grad, parts: int) -> Grad:
    """The same gradient from `parts` equal slices of the batch in turn: less memory, and batches no device could hold.

    Slices are weighted by their share of `batch.weight`, so that padding changes nothing. Statistics (batch norm) are
    those of the last slice.
    """

    def accumulated(loss: Loss) -> Callable[..., tuple]:
        one = grad(loss)

        def sliced(params: Params, key: jax.Array, batch: Batch):
            slices = jax.tree.map(lambda a: a.reshape(parts, -1, *a.shape[1:]), batch)
            share = slices.weight.sum(axis=1) / jnp.maximum(batch.weight.sum(), 1.0)

            def body(total, inputs):
                key, part, share = inputs
                gradient, metrics, *statistics = one(params, key, part)
                scaled = jax.tree.map(lambda a: share * a, (gradient, metrics))
                return jax.tree.map(jnp.add, total, scaled), statistics

            shapes = jax.eval_shape(one, params, key, jax.tree.map(lambda a: a[0], slices))
            zero = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes[:2])
            (gradient, metrics), statistics = jax.lax.scan(body, zero, (jax.random.split(key, parts), slices, share))
            return gradient, metrics, *jax.tree.map(lambda a: a[-1], statistics)

        return sliced

    return accumulated


def schedule(
    learning_rate: float, steps: int, warmup: int = 0, decay: Literal["constant", "cosine", "linear"] = "constant"
) -> optax.Schedule:
    """Linear warm-up from 0 over `warmup` steps, then constant, or down to 0 at step `steps`."""
    warmup = min(warmup, max(steps // 10, 1)) if warmup else 0
    rest = max(steps - warmup, 1)
    shapes = {
        "constant": optax.constant_schedule(learning_rate),
        "cosine": optax.cosine_decay_schedule(learning_rate, rest),
        "linear": optax.linear_schedule(learning_rate, 0.0, rest),
    }
    return optax.join_schedules([optax.linear_schedule(0.0, learning_rate, warmup), shapes[decay]], [warmup])


def adam(
    learning_rate: float | optax.Schedule, b1: float = 0.9, b2: float = 0.999, clip: float | None = None
) -> optax.GradientTransformation:
    """Adam (Kingma & Ba 2015) behind clipping of the gradient's global norm to `clip`, if given."""
    update = optax.adam(learning_rate, b1, b2)
    return optax.chain(optax.clip_by_global_norm(clip), update) if clip else update


def ema(average: Params, params: Params, i: jax.Array, decay: float) -> Params:
    """The moving average after step `i` (from 0): a + (1 - d) (p - a), with d = min(decay, (1 + i) / (10 + i)).

    The decay warms up, so that early averages forget the initial parameters (Abadi et al.,
    `tf.train.ExponentialMovingAverage`): with a flat 0.999 samples after 1,000 steps would still be noise.
    """
    d = jnp.minimum(decay, (1.0 + i) / (10.0 + i))
    return jax.tree.map(lambda a, p: a + (1 - d) * (p - a), average, params)
