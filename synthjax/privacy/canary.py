r"""Trainings with and without a canary, the worst record for private gradients: scores for audits.

The canary's gradient has a fixed direction u and is as long as clipping allows. The attacker sees every private
gradient and knows all other records, so that the sum of their clipped gradients can be subtracted. What is left is

    s_t = <u, expected g_t - sum of the others> / (noise clip)  ~  N(0, 1) without the canary, N(1 / noise, 1) with it

if the gradient is what `gradients.dp_grad` promises. The score of a run of T steps, the sum of s_t over the square root
of T, is the best test between the two. `synthjax.evals.privacy.audit` turns scores into lower bounds on epsilon. The
canary goes through the same clipping, weighting and noise as any record, so a fault there is seen in the bounds.

If the canary is in each batch with probability q (`run` with a rate), the score is the logarithm of the likelihood
ratio of the private gradients, the sum of log(1 - q + q exp(s_t / noise - 1 / (2 noise^2))). `ideal` draws such scores.

One training can have many canaries, each in or out by a fair coin (`run_once`): the gradient of each is along another
parameter, so that their scores are independent.

    scores = run(lambda grad: table_ar.build(config, spec, grad=grad), grad, batch, key, runs=1000, steps=10)
    audit.gaussian(scores.with_canary, scores.without, delta=1e-5)
"""

import math
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
_FIRST = -2  # `Batch.index` of the first canary; those of others are below
_LENGTH = 1e4  # of their gradients before clipping, in units of `clip`
_AT_ONCE, _NUMBERS = 50, 2**27  # maximum number of runs or canaries at once, and of numbers in gradients of runs


class Scores(NamedTuple):
    """Scores of independent runs."""

    with_canary: np.ndarray
    """(runs,) f64."""
    without: np.ndarray
    """(runs,) f64."""


class Once(NamedTuple):
    """Scores of the canaries of one run."""

    scores: np.ndarray
    """(canaries,) f64."""
    inside: np.ndarray
    """(canaries,) bool: whether it was trained on."""


@dataclass(frozen=True)
class CanaryGrad:
    """The `optim.Grad` of a private gradient that meets canaries, and reports their s_t as the metric `METRIC`."""

    grad: DpGrad
    canaries: int | None = None
    """Their number, each along a parameter; the metric is (canaries,). None: one in a random direction; ()."""
    private: ClassVar[bool] = True

    def __call__(self, loss: optim.Loss) -> Callable[..., optim.Gradient]:
        """The gradient function of a loss."""
        clip, noise, expected = self.grad.clip, self.grad.noise, self.grad.expected

        def with_canaries(params: optim.Params, key: jax.Array, batch: Batch) -> optim.Losses:
            found = optim.as_losses(loss(params, key, batch))
            pulls = _LENGTH * clip * self.along(params)
            pull = pulls[jnp.maximum(_FIRST - batch.index, 0)]
            return found._replace(losses=jnp.where(batch.index <= _FIRST, pull, found.losses))

        audited: optim.Loss = with_canaries
        if isinstance(loss, optim.NormedLoss):  # the gradients of canaries have norms of their own

            def squares(params: optim.Params, key: jax.Array, batch: Batch) -> jax.Array:
                return jnp.where(batch.index <= _FIRST, (_LENGTH * clip) ** 2, loss.squares(params, key, batch))

            audited = replace(loss, loss=with_canaries, squares=squares)
        private, total = self.grad(audited), clipped_sum(audited, clip, self.grad.microbatch)

        def gradient(params: optim.Params, key: jax.Array, batch: Batch) -> optim.Gradient:
            released = private(params, key, batch)
            others = batch._replace(weight=jnp.where(batch.index <= _FIRST, 0.0, batch.weight))
            known = total(params, jax.random.split(key)[0], others).gradient
            rest = jax.tree.map(lambda g, k: expected * g.astype(jnp.float32) - k, released.gradient, known)
            scores = self.along(rest) / (noise * clip)
            score = scores[0] if self.canaries is None else scores
            return released._replace(metrics=released.metrics | {METRIC: score})

        return gradient

    def along(self, tree: Any) -> jax.Array:
        """The lengths of `tree`, which is like the parameters, along the directions of the canaries: (canaries,) f32.

        Raises:
            InputError: there are fewer parameters than canaries.
        """
        if self.canaries is None:
            return _dot(_direction(tree), tree)[None]
        flat = jnp.concatenate([leaf.astype(jnp.float32).ravel() for leaf in jax.tree.leaves(tree)])
        if self.canaries > flat.size:
            raise InputError(
                f"--canaries={self.canaries}: each needs a parameter of its own; the model has {flat.size:,}"
            )
        return flat[np.random.default_rng(0).permutation(flat.size)[: self.canaries]]


def _direction(params: optim.Params) -> Any:
    """A fixed random direction of length 1, like the parameters; NumPy draws it, so that XLA need not fold it."""
    rng = np.random.default_rng(0)
    drawn = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), params)
    length = np.sqrt(sum(np.square(leaf).sum() for leaf in jax.tree.leaves(drawn)))
    return jax.tree.map(lambda leaf: leaf / length, drawn)


def _dot(a: Any, b: Any) -> jax.Array:
    products = jax.tree.map(lambda x, y: (x * y.astype(jnp.float32)).sum(), a, b)
    return sum(jax.tree.leaves(products), jnp.float32(0))


def _ratio(score: Any, noise: float, rate: float) -> Any:
    """The logarithm of the likelihood ratio of a private gradient, of its score s_t."""
    numbers = jnp if isinstance(score, jax.Array) else np
    return numbers.logaddexp(np.log1p(-rate), np.log(rate) + score / noise - 1 / (2 * noise**2))


def ideal(noise: float, rate: float, steps: int, runs: int) -> Scores:
    """Scores of `run` with a rate, drawn from the law that they have if the gradient is what it promises.

    Args:
        noise: standard deviation of the noise, divided by the clipping norm.
        rate: probability of the canary to be in a batch, below 1.
        steps: training steps of a run.
        runs: number of runs of either kind.
    """
    rng = np.random.default_rng(1)
    drawn = rng.normal(size=(2, runs, steps))
    drawn[0] += (rng.random((runs, steps)) < rate) / noise
    return Scores(*_ratio(drawn, noise, rate).sum(axis=2))


def run(
    build: Callable[[optim.Grad], Model],
    grad: DpGrad,
    batch: Batch,
    key: jax.Array,
    *,
    runs: int,
    steps: int,
    rate: float = 1.0,
) -> Scores:
    """Trains a model many times with the canary, and as many times without it.

    Args:
        build: makes the model with a gradient function.
        grad: the private gradient that is audited.
        batch: the other records, all of which are in every batch.
        key: of the runs, which differ in their randomness.
        runs: number of runs of either kind.
        steps: training steps of a run.
        rate: probability of the canary to be in a batch, in a run with it. 1: it always is, so that the mechanism is
            the Gaussian one, `steps` times.

    Returns:
        The scores of all runs.

    Raises:
        InputError: the model has several batches a step, or a step does not report the metric of the canary.
    """
    model, joined, state, key_runs = _begin(build, CanaryGrad(grad), batch, key)

    def one(inputs: tuple[jax.Array, jax.Array]) -> jax.Array:
        key, there = inputs
        key_coins, key_steps = (key, key) if rate == 1 else jax.random.split(key)

        def step(state: Any, i: jax.Array) -> tuple[Any, jax.Array]:
            drawn = there if rate == 1 else there * jax.random.bernoulli(jax.random.fold_in(key_coins, i), rate)
            weights = joined._replace(weight=joined.weight.at[-1].set(drawn))
            state, found = model.step(jax.random.fold_in(key_steps, i), i, state, weights)
            return state, found[METRIC]

        found = jax.lax.scan(step, state, jnp.arange(steps))[1]
        return found.sum() / np.sqrt(steps) if rate == 1 else _ratio(found, grad.noise, rate).sum()

    there = (jnp.arange(2 * runs) < runs).astype(jnp.float32)
    of_run = sum(a.size for a in jax.tree.leaves(state)) * len(joined.weight)
    at_once = int(np.clip(_NUMBERS // of_run, 1, min(_AT_ONCE, 2 * runs)))
    each = jax.jit(lambda keys: jax.lax.map(one, (keys, there), batch_size=at_once))
    return Scores(*np.split(np.asarray(each(jax.random.split(key_runs, 2 * runs)), np.float64), 2))


def run_once(
    build: Callable[[optim.Grad], Model], grad: DpGrad, batch: Batch, key: jax.Array, *, canaries: int, steps: int
) -> Once:
    """Trains a model once, with canaries of which each is in every batch, or in none, by a fair coin.

    The arguments are those of `run`, and the number of canaries.

    Raises:
        InputError: as of `run`, or the model has fewer parameters than canaries.
    """
    grad = replace(grad, microbatch=math.gcd(len(batch.weight) + canaries, _AT_ONCE))
    model, joined, state, key = _begin(build, CanaryGrad(grad, canaries), batch, key)
    key_coins, key_steps = jax.random.split(key)
    inside = jax.random.bernoulli(key_coins, shape=(canaries,))
    there = joined._replace(weight=joined.weight.at[-canaries:].set(inside.astype(jnp.float32)))

    def step(state: Any, i: jax.Array) -> tuple[Any, jax.Array]:
        state, found = model.step(jax.random.fold_in(key_steps, i), i, state, there)
        return state, found[METRIC]

    found = jax.jit(lambda state: jax.lax.scan(step, state, jnp.arange(steps))[1].sum(axis=0) / np.sqrt(steps))(state)
    return Once(np.asarray(found, np.float64), np.asarray(inside))


def _begin(
    build: Callable[[optim.Grad], Model], grad: CanaryGrad, batch: Batch, key: jax.Array
) -> tuple[Model, Batch, Any, jax.Array]:
    """The model, the batch with the canaries at its end, the initial state, and a key for the rest.

    InputError: see `run`.
    """
    model = build(grad)
    if model.feed != "batch":
        raise InputError("audit: a step of this model takes more than one batch; a model with one gradient is needed")
    count = grad.canaries or 1
    canary = jax.tree.map(lambda a: jnp.repeat(a[:1], count, axis=0), batch)
    canary = canary._replace(index=_FIRST - jnp.arange(count, dtype=jnp.int32), weight=jnp.ones(count, jnp.float32))
    joined = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), batch, canary)
    key_init, key_rest = jax.random.split(key)
    state = model.init(key_init)
    metrics = jax.eval_shape(model.step, key_init, 0, state, joined)[1]
    if METRIC not in metrics:
        raise InputError("audit: a step of this model has several gradients; a model with one is needed")
    return model, joined, state, key_rest
