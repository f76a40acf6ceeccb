r"""Training of Boltzmann machines: state, momentum, centred gradient and diagnostics.

The gradient g of -log p is the difference of the expected energy gradients under data and model,
<dE>_data - <dE>_model. With centred units x - o, its components are nearly orthogonal (Montavon & Müller 2012,
Melchior et al. 2016, JMLR 17:99). Expressed in the parameters of the uncentred machine, the centred gradient is

    g'(W_j) = g(W_j) - o_(j-1) g(b_j)^T - g(b_(j-1)) o_j^T
    g'(b_j) = g(b_j) - g'(W_j)^T o_(j-1) - g'(W_(j+1)) o_(j+1)

where the offsets o are moving averages of the layers' means. It is 0 where g is 0.

The offsets are statistics of batches that `grad` does not see. So a private `grad` is refused with centring.

    >>> transform = momentum((0.5, 0.9), ramp=100)
    >>> velocity = transform.init(jnp.zeros(2))
    >>> update, velocity = transform.update(jnp.ones(2), velocity, step=0)
    >>> update, velocity = transform.update(jnp.ones(2), velocity, step=100)
    >>> [round(float(v), 4) for v in update]
    [1.9, 1.9]
    >>> is_zero(0.0), is_zero(0.1)
    (True, False)
"""

import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import optax

from synthjax.errors import InputError
from synthjax.gibbs import chains
from synthjax.gibbs.machine import Layers, Machine, Params
from synthjax.train import optim

MAX_NORM = 60.0
"""If the weight norm of any unit exceeds this, training has diverged. The metric is set to inf, which stops the loop.

Norms of a stable run stay far below: 25 for 784-500 units on MNIST. The norm also detects a machine with two modes, in
which all units are on or off together, though no single weight is large.
"""
MAX_BIAS, MAX_LOG_VAR = 100.0, 20.0
"""Limits of the same kind for biases (log odds, or values of Gaussian pixels) and for log s^2."""
TRACE = 100
"""Number of the latest steps that the diagnostics of persistent chains use."""
OFFSET_RATE = 0.01
"""Rate of the moving averages of the layers' means (Melchior et al. 2016, section 4.3)."""


class State(NamedTuple):
    """State of the training."""

    params: Params
    ema: Params
    """Moving average of `params`; sampling and scoring use it."""
    opt: optax.OptState
    base: tuple[jax.Array, ...]
    """(n_j,) each: biases of the machine without couplings from which annealing starts."""
    offsets: tuple[jax.Array, ...]
    """(n_j,) each: moving averages of the layers' means over the data."""
    chains: Layers
    """(chains, n_j) each: persistent chains; () if there are none."""
    trace: jax.Array
    """(chains, TRACE) free energy of each chain after the latest steps, oldest first; 0 for steps not yet taken."""

    @classmethod
    def create(
        cls, machine: Machine, params: Params, optimiser: optax.GradientTransformation, chains: Layers, traced: int
    ) -> Self:
        """The initial state, with `base` and `offsets` derived from the biases.

        Args:
          machine: of any architecture.
          params: of the machine.
          optimiser: any optax transformation.
          chains: persistent chains, () for none.
          traced: number of chains whose free energy is recorded.
        """
        # Copy the biases: a donated state must not contain the same array twice.
        base = jax.tree.map(jnp.copy, params.biases)
        offsets = tuple(machine.mean(j, jnp.copy(b)) for j, b in enumerate(params.biases))
        trace = jnp.zeros((traced, TRACE), jnp.float32)
        return cls(*optim.TrainState.create(params, optimiser), base, offsets, chains, trace)

    @property
    def train(self) -> optim.TrainState:
        """Parameters, average and optimiser state, as `optim.train_update` takes them."""
        return optim.TrainState(self.params, self.ema, self.opt)

    def updated(self, new: optim.TrainState) -> Self:
        """This state with parameters, average and optimiser state replaced by those of `new`."""
        return self._replace(params=new.params, ema=new.ema, opt=new.opt)


def check(config: Any, positive: tuple[str, ...]) -> None:
    """Checks the fields that the Configs of all Boltzmann machines share. Traced values are not checked.

    Args:
      config: of a Boltzmann machine.
      positive: further fields that must be at least 1.

    Raises:
      InputError: a field is out of range.
    """

    def require(name: str, holds: Callable[[Any], bool], range: str) -> None:
        value = getattr(config, name)
        if not any(isinstance(a, jax.core.Tracer) for a in jax.tree.leaves(value)) and not holds(value):
            raise InputError(f"model.{name}={value}: must {range}")

    for name in positive:
        require(name, lambda value: value >= 1, "be at least 1")
    for name in ("anneal", "weight_decay", "sparsity_cost"):
        require(name, lambda value: value >= 0, "not be negative")
    require("sparsity_target", lambda value: 0 < value < 1, "be between 0 and 1")
    require("momentum_ramp", lambda value: 0 <= value <= 1, "be at least 0 and at most 1")
    require("momentum", lambda value: all(0 <= m < 1 for m in value), "be at least 0 and below 1")
    if hasattr(config, "pretraining_rate"):
        require("pretraining_rate", lambda value: 0 < value < math.inf, "be a finite number above 0")
    require("visible", lambda value: value in ("bernoulli", "gaussian"), "be bernoulli or gaussian")
    optim.check_rates(
        config.learning_rate, config.ema_decay, getattr(config, "warmup", 0), getattr(config, "clip", None)
    )


def check_parts(config: Any, optimiser: Any, grad: optim.Grad) -> None:
    """Raises InputError if `optimiser`, unless None, is no optax transformation, or for a private `grad` of a centred
    gradient, whose offsets are measured on training rows."""
    if optimiser is not None:
        optim.check_optimiser(optimiser)
    message = "model.centred=True: the offsets are means of training rows; set it to False"
    optim.refuse_private(grad, config.centred, message)


def momentum(ends: tuple[Any, Any], ramp: int) -> optax.GradientTransformationExtraArgs:
    """Momentum v <- m(i) v + g, with a coefficient m that changes over time (Hinton 2010, section 9).

    Args:
      ends: m at step 0, and m from step `ramp` on; it is linear in between.
      ramp: number of steps.

    Returns:
      An optax transformation whose `update` takes the step number i as the keyword argument `step`.
    """

    def update(gradient, velocity, params=None, *, step, **_):
        share = jnp.minimum(jnp.asarray(step, jnp.float32) / max(ramp, 1), 1.0)
        m = ends[0] + (ends[1] - ends[0]) * share
        velocity = jax.tree.map(lambda v, g: m.astype(v.dtype) * v + g, velocity, gradient)
        return velocity, velocity

    return optax.GradientTransformationExtraArgs(lambda params: jax.tree.map(jnp.zeros_like, params), update)


def mixing(trace: jax.Array, energies: jax.Array, taken: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Convergence diagnostics of persistent chains, from their free energy after the latest steps.

    Parameters change between steps, which shifts the free energy of all chains alike. So the mean over chains is
    subtracted at each step.

    Args:
      trace: (C, TRACE) f32, free energy after the previous steps.
      energies: (C,) f32, free energy after this step.
      taken: () i32, number of previous steps.

    Returns:
      The new trace, and metrics: split R-hat (near 1 if the chains have converged), the effective sample size divided
      by the number of draws C TRACE, and the autocorrelation at lag 1. The metrics are 0 before the trace is full and
      if all chains are constant. A single chain has no metrics.
    """
    trace = jnp.concatenate([trace[:, 1:], energies[:, None].astype(trace.dtype)], axis=1)
    if len(trace) < 2:
        return trace, {}
    values = trace - trace.mean(axis=0, keepdims=True)
    full = taken + 1 >= TRACE
    metrics = {
        "chains_r_hat": chains.split_r_hat(values),
        "chains_effective_share": chains.effective_sample_size(values) / trace.size,
        "chains_autocorrelation": chains.autocorrelation(values)[1],
    }
    # The R-hat of constant chains is NaN, and a metric that is not finite stops the run.
    return trace, {name: jnp.where(full & jnp.isfinite(value), value, 0.0) for name, value in metrics.items()}


def model_side(free_energy: Callable[[Params], jax.Array], params: Params) -> tuple[jax.Array, Params]:
    """The model term of the gradient.

    Args:
      free_energy: params -> (C,) f32, free energy of each chain.
      params: of the machine.

    Returns:
      The free energy (C,) f32 and the gradient of its mean, which is subtracted from the gradient of the data term.
    """
    value, vjp = jax.vjp(free_energy, params)
    (gradient,) = vjp(jnp.full(len(value), 1 / len(value), value.dtype))
    return value, gradient


def centred(machine: Machine, params: Params, gradient: Params, offsets: tuple[jax.Array, ...]) -> Params:
    """The centred gradient g' of the module's docstring.

    The offsets of Gaussian units are divided by their variance, as the units are in the energy (`Machine.seen`).
    """
    seen = [machine.seen(params, j, o) for j, o in enumerate(offsets)]
    weights, biases = [], list(gradient.biases)
    for j, g in enumerate(gradient.weights):
        below, above = gradient.biases[j], gradient.biases[j + 1]
        g = g - jnp.outer(seen[j], above) - jnp.outer(below, seen[j + 1])
        weights.append(g)
        biases[j] = biases[j] - g @ seen[j + 1]
        # For a product with a single row XLA:CPU transposes g, which takes a third of a training step. So use two.
        two_rows = jnp.stack([seen[j], seen[j]])
        biases[j + 1] = biases[j + 1] - (two_rows @ jax.lax.optimization_barrier(g))[0]
    return Params(tuple(weights), tuple(biases), gradient.log_var)


def update_offsets(offsets: tuple[jax.Array, ...], layers: Layers, weight: jax.Array) -> tuple[jax.Array, ...]:
    """Updates the moving averages of the layers' means.

    Args:
      offsets: (n_j,) each.
      layers: (B, n_j) each, means of the layers for a batch.
      weight: (B,) f32. If all weights are 0, the offsets do not change.

    Returns:
      The new offsets, (n_j,) each.
    """
    total = weight.sum()
    share = weight / jnp.where(total > 0, total, 1.0)
    rate = OFFSET_RATE * share.sum()
    return tuple(
        o + (OFFSET_RATE * (share @ x) - rate * o).astype(o.dtype) for o, x in zip(offsets, layers, strict=True)
    )


def decayed(gradient: Params, params: Params, decay: float) -> Params:
    """Adds the gradient of the penalty decay / 2 |W|^2 on the weights; biases are not penalised."""
    weights = tuple((g + decay * w).astype(g.dtype) for g, w in zip(gradient.weights, params.weights, strict=True))
    return gradient._replace(weights=weights)


def is_zero(value: Any) -> bool:
    """Whether a field of a Config is 0, so that its term can be left out; False for a traced value."""
    return not isinstance(value, jax.core.Tracer) and value == 0


def sparsity(logits: jax.Array, target: Any) -> jax.Array:
    """Sparsity penalty: cross-entropy between target and activation of hidden units, minus its minimum.

    Its gradient with respect to the logits is p - target, as for a penalty on the mean activation over all data (Hinton
    2010, section 11), but the penalty is computed per example.

    Args:
      logits: (B, n) f32.
      target: desired probability of activation.

    Returns:
      (B,) f32, nats.
    """
    target = jnp.asarray(target, jnp.float32)
    entropy = jax.scipy.special.entr(target) + jax.scipy.special.entr(1 - target)
    return (jax.nn.softplus(logits) - target * logits - entropy).sum(axis=-1)


def sizes(machine: Machine, params: Params) -> dict[str, jax.Array]:
    """Metrics of the size of the parameters, by layer; inf if training has diverged.

    Layers are named pixels, hidden_1, hidden_2, ... and labels.

    Returns:
      Metrics, () f32 each. "norm_pixels_to_hidden_1" and its like: the largest L2 norm of the weights from a unit to
      the layer below. "bias_pixels" and its like: the largest |bias|. "log_var_pixels", for Gaussian units: the
      largest |log s^2|.
    """
    names = ["labels" if units == "softmax" else f"hidden_{j}" for j, units in enumerate(machine.units)]
    names[0] = "pixels"
    sizes = {
        f"norm_{below}_to_{above}": (jnp.sqrt(jnp.square(w).sum(axis=0).max()), MAX_NORM)
        for (below, above), w in zip(itertools.pairwise(names), params.weights, strict=True)
    }
    sizes |= {f"bias_{name}": (jnp.abs(b).max(), MAX_BIAS) for name, b in zip(names, params.biases, strict=True)}
    if machine.units[0] == "gaussian":
        sizes["log_var_pixels"] = jnp.abs(params.log_var).max(), MAX_LOG_VAR
    return {name: jnp.where(size < limit, size, jnp.inf).astype(jnp.float32) for name, (size, limit) in sizes.items()}
