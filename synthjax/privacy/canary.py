r"""Trainings with and without a canary, the worst record for private gradients: scores for audits.

The canary's gradient has a fixed direction u and is as long as clipping allows. The attacker sees every private
gradient and knows all other records, so that the sum of their clipped gradients can be subtracted. What is left is

    s_t = <u, expected g_t - sum of the others> / (noise clip)  ~  N(0, 1) without the canary, N(1 / noise, 1) with it

if the gradient is what `gradients.dp_grad` promises. The score of a run of T steps, the sum of s_t over the square root
of T, is the best test between the two. `synthjax.evals.privacy.audit` turns scores into lower bounds on epsilon. The
canary goes through the same clipping, weighting and noise as any record, so a fault there is seen in the bounds.

    scores = run(lambda grad: table_ar.build(config, spec, grad=grad), grad, batch, key, runs=1000, steps=10)
    audit.gaussian(scores.with_canary, scores.without, delta=1e-5)
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from synthjax.errors import InputError
from synthjax.model import Batch, Model
from synthjax.privacy.gradients import DpGrad, clipped_sum
from synthjax.train import optim

METRIC = "canary"
"""Name of the metric with s_t."""
_INDEX = -2  # `Batch.index` of the canary
_LENGTH = 1e4  # of its gradient before clipping, in units of `clip`
_AT_ONCE, _NUMBERS = 50, 2**27  # maximum number of runs that are vectorised, and of numbers in their gradients


class Scores(NamedTuple):
    """Scores of independent runs."""

    with_canary: np.ndarray
    """(runs,) f64."""
    without: np.ndarray
    """(runs,) f64."""


@dataclass(frozen=True)
class CanaryGrad:
    """The `optim.Grad` of a private gradient that meets the canary, and reports s_t as the metric `METRIC`."""

    grad: DpGrad
    private: ClassVar[bool] = True

    def __call__(self, loss: optim.Loss) -> Callable[..., optim.Gradient]:
        """The gradient function of a loss."""
        clip, noise, expected = self.grad.clip, self.grad.noise, self.grad.expected

        def with_canary(params: optim.Params, key: jax.Array, batch: Batch) -> optim.Losses:
            found = optim.Losses(*loss(params, key, batch))
            pull = _LENGTH * clip * _dot(_direction(params), params)
            return found._replace(losses=jnp.where(batch.index == _INDEX, pull, found.losses))

        audited: optim.Loss = with_canary
        if isinstance(loss, optim.NormedLoss):  # the canary's gradient has a norm of its own

            def squares(params: optim.Params, key: jax.Array, batch: Batch) -> jax.Array:
                return jnp.where(batch.index == _INDEX, (_LENGTH * clip) ** 2, loss.squares(params, key, batch))

            audited = replace(loss, loss=with_canary, squares=squares)
        private, total = self.grad(audited), clipped_sum(audited, clip)

        def gradient(params: optim.Params, key: jax.Array, batch: Batch) -> optim.Gradient:
            released = private(params, key, batch)
            others = batch._replace(weight=jnp.where(batch.index == _INDEX, 0.0, batch.weight))
            known = total(params, jax.random.split(key)[0], others).gradient
            rest = jax.tree.map(lambda g, k: expected * g.astype(jnp.float32) - k, released.gradient, known)
            score = _dot(_direction(params), rest) / (noise * clip)
            return released._replace(metrics=released.metrics | {METRIC: score})

        return gradient


def _direction(params: optim.Params) -> Any:
    """A fixed random direction of length 1, like the parameters; NumPy draws it, so that XLA need not fold it."""
    rng = np.random.default_rng(0)
    drawn = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), params)
    length = np.sqrt(sum(np.square(leaf).sum() for leaf in jax.tree.leaves(drawn)))
    return jax.tree.map(lambda leaf: leaf / length, drawn)


def _dot(a: Any, b: Any) -> jax.Array:
    products = jax.tree.map(lambda x, y: (x * y.astype(jnp.float32)).sum(), a, b)
    return sum(jax.tree.leaves(products), jnp.float32(0))


def run(
    build: Callable[[optim.Grad], Model], grad: DpGrad, batch: Batch, key: jax.Array, *, runs: int, steps: int
) -> Scores:
    """Trains a model many times with the canary, and as many times without it.

    Args:
        build: makes the model with a gradient function.
        grad: the private gradient that is audited.
        batch: the other records, all of which are in every batch. The canary is, too: there is no sampling, so that the
            mechanism is the Gaussian one, `steps` times.
        key: of the runs, which differ in their randomness.
        runs: number of runs of either kind.
        steps: training steps of a run.

    Returns:
        The scores of all runs.

    Raises:
        InputError: the model has several batches a step, or a step does not report the metric of the canary.
    """
    model = build(CanaryGrad(grad))
    if model.feed != "batch":
        raise InputError("audit: a step of this model takes more than one batch; a model with one gradient is needed")
    canary = jax.tree.map(lambda a: a[:1], batch)._replace(index=jnp.full(1, _INDEX, jnp.int32))
    canary = canary._replace(weight=jnp.ones(1, jnp.float32))
    joined = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), batch, canary)
    key_init, key_runs = jax.random.split(key)
    state = model.init(key_init)
    metrics = jax.eval_shape(model.step, key_init, 0, state, joined)[1]
    if METRIC not in metrics:
        raise InputError("audit: a step of this model has several gradients; a model with one is needed")

    def one(inputs: tuple[jax.Array, jax.Array]) -> jax.Array:
        key, there = inputs
        weights = joined._replace(weight=joined.weight.at[-1].set(there))

        def step(state: Any, i: jax.Array) -> tuple[Any, jax.Array]:
            state, found = model.step(jax.random.fold_in(key, i), i, state, weights)
            return state, found[METRIC]

        return jax.lax.scan(step, state, jnp.arange(steps))[1].sum() / np.sqrt(steps)

    there = (jnp.arange(2 * runs) < runs).astype(jnp.float32)
    of_run = sum(a.size for a in jax.tree.leaves(state)) * len(joined.weight)
    at_once = int(np.clip(_NUMBERS // of_run, 1, min(_AT_ONCE, 2 * runs)))
    each = jax.jit(lambda keys: jax.lax.map(one, (keys, there), batch_size=at_once))
    return Scores(*np.split(np.asarray(each(jax.random.split(key_runs, 2 * runs)), np.float64), 2))
