r"""What the training of every Boltzmann machine needs besides its gradient: state, momentum, centring, alarms.

The gradient of -log p is that of the energy, data minus model: <dE>_data - <dE>_model. Centred units x - o make its
parts nearly orthogonal (Montavon & Müller 2012, Melchior et al. 2016, JMLR 17:99). In the parameters of the machine as
it stands that is the gradient g with

    g'(W_j) = g(W_j) - o_(j-1) g(b_j)^T - g(b_(j-1)) o_j^T
    g'(b_j) = g(b_j) - g'(W_j)^T o_(j-1) - g'(W_(j+1)) o_(j+1)

for the means o of the layers, kept as moving averages. It vanishes where g does.
"""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from synthjax.errors import InputError
from synthjax.gibbs import chains
from synthjax.gibbs.machine import Layers, Machine, Params
from synthjax.model import Batch

LARGEST = 60.0
"""Units whose couplings have a norm beyond this belong to a run that blew up: the metric becomes infinite, at which the
loop stops and names it. Training that goes well stays far below (784-500 on MNIST: 25); a machine that falls into two
modes of all units together comes here with no single coupling large."""
LARGEST_BIAS, LARGEST_LOG_VAR = 100.0, 20.0
"""The same of biases, which are log odds or, of Gaussian units, standardised grey values, and of log s^2."""
TRACE = 100
"""Steps that the diagnostics of persistent chains look back."""
OFFSET_RATE = 0.01
"""Of the moving averages of the layers' means (Melchior et al. 2016, section 4.3)."""


class State(NamedTuple):
    """What training carries along."""

    params: Params
    ema: Params
    velocity: Params
    """Of momentum."""
    base: tuple[jax.Array, ...]
    """Biases of the machine without couplings that annealing starts from."""
    offsets: tuple[jax.Array, ...]
    """Moving averages of the layers' means over the data, (n_j,) each."""
    chains: Layers
    """Of persistent sampling: (chains, n_j) each; () where there are none."""
    trace: jax.Array
    """(chains, TRACE) free energy of each chain after the latest steps, the last one last; 0 before there are any."""


def check(config: Any, positive: tuple[str, ...]) -> None:
    """Raises InputError for a Config of a Boltzmann machine with a field out of its range.

    Args:
      config: with the fields that every family of them has.
      positive: those that must be at least 1.
    """
    for name in positive:
        if getattr(config, name) < 1:
            raise InputError(f"model.{name}={getattr(config, name)}: must be at least 1")
    for name in ("anneal", "weight_decay", "sparsity_cost"):
        if getattr(config, name) < 0:
            raise InputError(f"model.{name}={getattr(config, name)}: must not be negative")
    if not 0 < config.sparsity_target < 1:
        raise InputError(f"model.sparsity_target={config.sparsity_target}: must be between 0 and 1")


def first(
    machine: Machine, params: Params, base: tuple[jax.Array, ...], chains: Layers, count: int | None = None
) -> State:
    """The state before the first step; the first `count` of the chains are traced, all by default."""
    offsets = tuple(machine.mean(j, b) for j, b in enumerate(params.biases))
    zero = jax.tree.map(jnp.zeros_like, params)
    if count is None:
        count = len(chains[0]) if chains else 0
    return State(params, jax.tree.map(jnp.copy, params), zero, base, offsets, chains, jnp.zeros((count, TRACE)))


def mixing(trace: jax.Array, energies: jax.Array, taken: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
    """How well persistent chains mix, from their free energy along the latest steps.

    Parameters move between steps, which shifts the free energy of all chains alike: their mean is taken off each step.

    Args:
      trace: (C, TRACE), of the steps before.
      energies: (C,) after this one.
      taken: steps that the chains have taken, this one not counted.

    Returns:
      the new trace, and metrics: split R-hat (1: the chains agree), the effective share of the C TRACE draws and the
      autocorrelation from one step to the next, 0 before the trace is full, and where chains do not move; no metrics of
      a single chain.
    """
    trace = jnp.concatenate([trace[:, 1:], energies[:, None]], axis=1)
    if len(trace) < 2:
        return trace, {}
    values = trace - trace.mean(axis=0)
    full = taken + 1 >= TRACE
    found = {
        "chains_r_hat": chains.split_r_hat(values),
        "chains_effective_share": chains.effective_sample_size(values) / trace.size,
        "chains_autocorrelation": chains.autocorrelation(values)[1],
    }
    # Chains that do not move have no R-hat; what stops a run are the weights.
    return trace, {name: jnp.where(full & jnp.isfinite(value), value, 0.0) for name, value in found.items()}


def model_side(free_energy: Callable[[Params], jax.Array], params: Params) -> tuple[jax.Array, Params]:
    """Free energy of each chain, (C,), and the gradient of its mean: what is taken off the data's."""
    value, back = jax.vjp(free_energy, params)
    (gradient,) = back(jnp.full(len(value), 1 / len(value)))
    return value, gradient


def centred(machine: Machine, params: Params, gradient: Params, offsets: tuple[jax.Array, ...]) -> Params:
    """g' of the module's docstring. A layer is centred as its neighbours see it (`Machine.seen`)."""
    seen = [machine.seen(params, j, o) for j, o in enumerate(offsets)]
    weights, biases = [], list(gradient.biases)
    for j, g in enumerate(gradient.weights):
        below, above = gradient.biases[j], gradient.biases[j + 1]
        g = g - jnp.outer(seen[j], above) - jnp.outer(below, seen[j + 1])
        weights.append(g)
        biases[j] = biases[j] - g @ seen[j + 1]
        # Of one row the product makes XLA:CPU lay g out the other way round, which takes a third of a training step.
        twice = jnp.stack([seen[j], seen[j]])
        biases[j + 1] = biases[j + 1] - (twice @ jax.lax.optimization_barrier(g))[0]
    return Params(tuple(weights), tuple(biases), gradient.log_var)


def moved(offsets: tuple[jax.Array, ...], layers: Layers, batch: Batch) -> tuple[jax.Array, ...]:
    """The averages after one more batch, whose layers have means (B, n_j)."""
    share = batch.weight / jnp.maximum(batch.weight.sum(), 1e-8)
    return tuple(o + OFFSET_RATE * (share @ x - o) for o, x in zip(offsets, layers, strict=True))


def momentum(i: jax.Array, ends: tuple[float, float], ramp: int) -> jax.Array:
    """From the first to the second of `ends`, linear over `ramp` steps (Hinton 2010, section 9)."""
    return ends[0] + (ends[1] - ends[0]) * jnp.minimum(i / max(ramp, 1), 1.0)


def moving(velocity: Params, gradient: Params, rate: jax.Array, inertia: jax.Array) -> Params:
    """The velocity after this gradient: v <- m v - rate g."""
    return jax.tree.map(lambda v, g: inertia * v - rate * g, velocity, gradient)


def clipped(gradient: Params, largest: float) -> Params:
    """The gradient, shortened to the norm `largest` where it is longer."""
    norm = jnp.sqrt(sum(jnp.vdot(g, g) for g in jax.tree.leaves(gradient)))
    return jax.tree.map(lambda g: g * jnp.minimum(1, largest / jnp.maximum(norm, 1e-12)), gradient)


def decayed(gradient: Params, params: Params, decay: float) -> Params:
    """The gradient with that of decay / 2 |W|^2; biases do not decay."""
    weights = tuple(g + decay * w for g, w in zip(gradient.weights, params.weights, strict=True))
    return gradient._replace(weights=weights)


def sparsity(activity: jax.Array, target: float) -> jax.Array:
    """Cross-entropy of hidden units with their target, less its minimum: (B, n) logits -> (B,), nats.

    Its gradient is p - target, as if the penalty were on the mean over all data (Hinton 2010, section 11), yet each
    example has its own.
    """
    entropy = jax.scipy.special.entr(jnp.float32(target)) + jax.scipy.special.entr(jnp.float32(1 - target))
    return (jax.nn.softplus(activity) - target * activity - entropy).sum(axis=-1)


def sizes(machine: Machine, params: Params) -> dict[str, jax.Array]:
    """How large the parameters are, each metric named after the layers that it is of, infinite where it blew up.

    Layers are called pixels, hidden_1, hidden_2 ... and labels.

    Returns:
      "norm_pixels_to_hidden_1" ...: the largest L2 norm of one unit's couplings to the layer below; "bias_pixels" ...:
      the largest |bias|; "log_var_pixels", of Gaussian units: the largest |log s^2|.
    """
    names = ["labels" if units == "softmax" else f"hidden_{j}" for j, units in enumerate(machine.units)]
    names[0] = "pixels"
    found = {
        f"norm_{below}_to_{above}": (jnp.sqrt(jnp.square(w).sum(axis=0).max()), LARGEST)
        for (below, above), w in zip(itertools.pairwise(names), params.weights, strict=True)
    }
    found |= {f"bias_{name}": (jnp.abs(b).max(), LARGEST_BIAS) for name, b in zip(names, params.biases, strict=True)}
    if machine.units[0] == "gaussian":
        found["log_var_pixels"] = jnp.abs(params.log_var).max(), LARGEST_LOG_VAR
    return {name: jnp.where(value < most, value, jnp.inf) for name, (value, most) in found.items()}
