r"""Private gradients: per-example clipping and Gaussian noise (Abadi et al. 2016, arXiv:1607.00133).

    gradient = (sum_i clip(w_i grad loss_i, C) + noise C z) / expected,    clip(g, C) = g min(1, C / |g|),  z ~ N(0, I)

w_i is the weight of example i, and `expected` the expected number of examples in a Poisson sample, which is public; the
actual number is not. Padding counts 0, and so does an example whose gradient is not finite.

    grad = dp_grad(clip=1.0, noise=4.8, expected=rate * rows)
    model = table_ar.build(config, spec, grad=grad)
    feed = Feed(x, y, batch_size=capacity, seed=key.fold_in("rows").integer(), poisson=rate)
    spent = epsilon([release("gradients", model, steps, noise=4.8, rate=rate)], delta)

The gradients of all examples at once would take too much memory and time. So there are two passes: the first computes
the norm of each example's gradient, the second the gradient of the weighted sum of losses, as in plain training (Li et
al. 2022, arXiv:2110.05679). A loss may give the norms in closed form (`optim.NormedLoss`).

    >>> def loss(params, key, batch):
    ...     return optim.Losses((batch.x @ params) ** 2 / 2)
    >>> x, ones = jnp.array([[3.0, 4.0], [0.3, 0.4], [9.0, 9.0]]), jnp.array([1.0, 1.0, 0.0])
    >>> batch = Batch(x, jnp.zeros(3, jnp.int32), ones, jnp.arange(3))
    >>> total = clipped_sum(loss, clip=1.0)(jnp.array([1.0, 0.0]), jax.random.key(0), batch)
    >>> [round(float(g), 2) for g in total.gradient]  # (3, 4) / 5 * 1 + (0.09, 0.12)
    [0.69, 0.92]
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from synthjax.errors import InputError
from synthjax.model import Batch, Metrics, Model
from synthjax.privacy.accounting import Release
from synthjax.train import optim

_SLACK = 1e-4
"""Relative margin of the norms, for their rounding errors."""


@dataclass(frozen=True)
class DpGrad:
    """The `optim.Grad` of `dp_grad`."""

    clip: float
    noise: float
    expected: float
    microbatch: int | None = None
    private: ClassVar[bool] = True
    """Models refuse what cannot be private, see `optim.is_private`."""

    def __call__(self, loss: optim.Loss) -> Callable[..., optim.Gradient]:
        """The private gradient function of a loss."""
        total = clipped_sum(loss, self.clip, self.microbatch)

        def gradient(params: optim.Params, key: jax.Array, batch: Batch) -> optim.Gradient:
            key_loss, key_noise = jax.random.split(key)
            clipped = total(params, key_loss, batch)
            leaves, structure = jax.tree.flatten(clipped.gradient)
            keys = jax.random.split(key_noise, max(len(leaves), 1))
            noisy = [
                (a + self.noise * self.clip * jax.random.normal(k, a.shape, a.dtype)) / self.expected
                for k, a in zip(keys, leaves, strict=False)
            ]
            private = jax.tree.unflatten(structure, noisy)
            return clipped._replace(gradient=jax.tree.map(lambda g, p: g.astype(p.dtype), private, params))

        return gradient


def dp_grad(clip: float, noise: float, expected: float, microbatch: int | None = None) -> DpGrad:
    """A private gradient, for the argument `grad` of models.

    Args:
      clip: maximum L2 norm C of the gradient of an example, over all parameters together.
      noise: standard deviation of the noise divided by `clip`.
      expected: expected number of examples in a batch.
      microbatch: number of examples that are differentiated at once, to save memory; it must divide the batch. None:
        all.

    Returns:
      A gradient function that reports 0 for the loss and its terms: nothing about the examples leaves it but the noisy
      gradient.

    Raises:
      InputError: an argument is out of range. The gradient function raises it if the loss has running statistics (batch
        norm), or is not of shape (B,).

    Formal guarantees: let each example be in the batch with probability q, independently. The gradient function is then
    the Gaussian mechanism on a Poisson sample, with sensitivity `clip` (one example added or removed) and standard
    deviation `noise * clip`, if the loss of each example depends on the batch by this example alone, and not on arrays
    of other examples that it closes over. What is computed from the gradient and from no example is covered too. The
    noise is drawn in f32 by JAX's generator (keys of 64 bits), so the guarantee holds up to the rounding of f32, which
    an attacker who sees exact parameters could exploit in theory (Mironov 2012). Norms are f32 too, and get a margin of
    1e-4.
    """
    for name, value in (("clip", clip), ("noise", noise), ("expected", expected)):
        if not 0 < value < math.inf:
            raise InputError(f"dp.{name}={value}: must be a finite number above 0")
    if microbatch is not None and microbatch < 1:
        raise InputError(f"dp.microbatch={microbatch}: must be at least 1")
    return DpGrad(clip, noise, expected, microbatch)


def clipped_sum(loss: optim.Loss, clip: float, microbatch: int | None = None) -> Callable[..., optim.Gradient]:
    """The sum of clipped gradients, before the noise.

    Args:
      loss: (params, key, batch) -> `optim.Losses`.
      clip: see `dp_grad`.
      microbatch: see `dp_grad`.

    Returns:
      (params, key, batch) -> `optim.Gradient`. The sum is like the parameters, at least f32; the metrics, "loss" and
      the terms of the loss, are all 0. The example at position j of the batch uses the key j of `jax.random.split`. If
      an `optim.NormedLoss` gives the norms of whole batches, a microbatch uses its first key.

    Formal guarantees: if one example is added or removed (its weight is set to 0), the L2 norm of the sum changes by at
    most `clip`, up to rounding.
    """

    def total(params: optim.Params, key: jax.Array, batch: Batch) -> optim.Gradient:
        size = len(batch.weight)
        part = microbatch or size
        if size % part:
            raise InputError(f"dp.microbatch={part}: must divide the batch, which has {size} examples")
        metrics, statistics = _outputs(loss, params, key, batch)
        inputs = jax.random.split(key, size), batch
        if part == size:
            return optim.Gradient(_clipped(loss, clip, params, *inputs), metrics, statistics)

        def body(sums: Any, inputs: Any) -> tuple[Any, None]:
            def add() -> Any:
                return jax.tree.map(jnp.add, sums, _clipped(loss, clip, params, *inputs))

            return jax.lax.cond((inputs[1].weight != 0).any(), add, lambda: sums), None  # padding comes last

        parts = jax.tree.map(lambda a: a.reshape(-1, part, *a.shape[1:]), inputs)
        zeros = jax.tree.map(lambda p: jnp.zeros(p.shape, _at_least_f32(p)), params)
        return optim.Gradient(jax.lax.scan(body, zeros, parts)[0], metrics, statistics)

    return total


def release(
    name: str, model: Model, steps: int, noise: float, rate: float, truncation: float = 0.0, rows: int = 1
) -> Release:
    """What training by `dp_grad` on batches of `Feed(poisson=rate)` releases.

    Args:
      name: of the release.
      model: gives the number of batches in a step.
      steps: number of training steps.
      noise: that of `dp_grad`.
      rate: probability of each row to be in a batch.
      truncation: probability that a batch of a run is truncated, see `accounting.truncation` (for steps * n_batches).
      rows: rows of a unit at most.

    Raises:
      InputError: a step of the model takes the whole training set.
    """
    if model.feed == "dataset":
        raise InputError("a step of this model takes the whole training set, and no gradient on batches")
    return Release(name, "gaussian", noise, rate, steps * model.n_batches, truncation, rows)


def _outputs(loss: optim.Loss, params: optim.Params, key: jax.Array, batch: Batch) -> tuple[Metrics, Any]:
    """Zeros for the metrics that the loss reports, and its statistics, which must be empty; checks what it returns."""
    one = jax.tree.map(lambda a: a[:1], batch)
    losses, terms, statistics = optim.as_losses(jax.eval_shape(loss, params, key, one))
    if jax.tree.leaves(statistics):
        raise InputError("loss: has running statistics (batch norm), which depend on all examples of a batch together; "
                         "a private gradient needs another norm")  # fmt: skip
    for name, term in {"loss": losses, **terms}.items():
        if term.shape != (1,):
            raise InputError(f"loss: makes {name!r} of shape {term.shape} for one example; it must make (1,)")
    return {name: jnp.zeros((), term.dtype) for name, term in {"loss": losses, **terms}.items()}, statistics


def _clipped(loss: optim.Loss, clip: float, params: optim.Params, keys: jax.Array, batch: Batch) -> Any:
    """The sum of clipped gradients of a microbatch, whose examples have the keys `keys` (B,)."""

    def one(params: optim.Params, key: jax.Array, example: Batch) -> jax.Array:
        single = jax.tree.map(lambda a: a[None], example)
        return single.weight[0] * optim.Losses(*loss(params, key, single)).losses[0]

    def square(key: jax.Array, example: Batch) -> jax.Array:
        if isinstance(loss, optim.NormedLoss):
            return loss.squares(params, key, jax.tree.map(lambda a: a[None], example))[0] * example.weight**2
        gradient = jax.grad(one)(params, key, example)
        squares = [jnp.square(g.astype(jnp.float32)).sum() for g in jax.tree.leaves(gradient)]
        return sum(squares, jnp.float32(0))

    if normed := isinstance(loss, optim.NormedLoss) and not loss.single:
        squares = loss.squares(params, keys[0], batch) * batch.weight**2
    else:
        squares = jax.vmap(square)(keys, batch)
    norms = jnp.sqrt(squares) * (1 + _SLACK)
    counts = jnp.isfinite(norms) & (batch.weight != 0)
    factors = jnp.where(counts, jnp.minimum(1.0, clip / jnp.maximum(norms, 1e-30)), 0.0)
    # 0 times a gradient that is not finite would not be 0; so such an example is replaced by padding.
    batch = jax.tree.map(lambda a: jnp.where(counts.reshape(-1, *[1] * (a.ndim - 1)), a, jnp.zeros_like(a)), batch)

    def weighted(params: optim.Params) -> jax.Array:
        if normed:
            return (factors * batch.weight) @ optim.Losses(*loss(params, keys[0], batch)).losses
        return factors @ jax.vmap(one, (None, 0, 0))(params, keys, batch)

    return jax.tree.map(lambda g: g.astype(_at_least_f32(g)), jax.grad(weighted)(params))


def _at_least_f32(a: jax.Array) -> Any:
    return jnp.promote_types(a.dtype, jnp.float32)
