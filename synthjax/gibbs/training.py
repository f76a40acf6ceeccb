r"""What the training of Boltzmann machines shares: state, momentum, centred gradient, diagnostics.

The gradient of -log p is that of the energy, data minus model: <dE>_data - <dE>_model. Centred units x - o make its
parts nearly orthogonal (Montavon & Müller 2012, Melchior et al. 2016, JMLR 17:99). In the parameters of the machine as
it stands that is the gradient g with

    g'(W_j) = g(W_j) - o_(j-1) g(b_j)^T - g(b_(j-1)) o_j^T
    g'(b_j) = g(b_j) - g'(W_j)^T o_(j-1) - g'(W_(j+1)) o_(j+1)

for the means o of the layers, kept as moving averages. It vanishes where g does.

The averages are statistics of batches that `grad` does not see. Under a private `grad`, turn centring off.
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
"""The same for biases (log odds, or values of Gaussian pixels), and for log s^2."""
TRACE = 100
"""Number of latest steps that the diagnostics of persistent chains use."""
OFFSET_RATE = 0.01
"""Rate of the moving averages of the layers' means (Melchior et al. 2016, section 4.3)."""


class State(NamedTuple):
    """What training carries along."""

    params: Params
    ema: Params
    """Moving average of `params`: what samples and scores use."""
    opt: optax.OptState
    base: tuple[jax.Array, ...]
    """(n_j,) each: biases of the machine without couplings that annealing starts from."""
    offsets: tuple[jax.Array, ...]
    """Moving averages of the layers' means over the data, (n_j,) each."""
    chains: Layers
    """Of persistent sampling: (chains, n_j) each; () where there are none."""
    trace: jax.Array
    """(chains, TRACE) free energy of each chain after the latest steps, in order; 0 before the first."""

    @classmethod
    def create(
        cls, machine: Machine, params: Params, optimiser: optax.GradientTransformation, chains: Layers, traced: int
    ) -> Self:
        """The state before the first step, with `base` and `offsets` from the biases.

        Args:
          machine: of any architecture.
          params: of it.
          optimiser: any optax transformation.
          chains: persistent chains, () for none.
          traced: number of chains that are diagnosed.
        """
        # Copies: a state that is donated may not hold one array twice.
        base = jax.tree.map(jnp.copy, params.biases)
        offsets = tuple(machine.mean(j, jnp.copy(b)) for j, b in enumerate(params.biases))
        trace = jnp.zeros((traced, TRACE), jnp.float32)
        return cls(*optim.TrainState.create(params, optimiser), base, offsets, chains, trace)

    @property
    def train(self) -> optim.TrainState:
        """The part that `optim.train_update` takes."""
        return optim.TrainState(self.params, self.ema, self.opt)

    def updated(self, new: optim.TrainState) -> Self:
        """The same with new parameters, their average and the optimiser's state."""
        return self._replace(params=new.params, ema=new.ema, opt=new.opt)


def check(config: Any, positive: tuple[str, ...]) -> None:
    """Checks the fields that the Configs of all Boltzmann machines share. Traced numbers pass.

    Args:
      config: of any of them.
      positive: further fields that must be at least 1.

    Raises:
      InputError: a field is out of its range.
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


def momentum(ends: tuple[Any, Any], ramp: int) -> optax.GradientTransformationExtraArgs:
    """Momentum v <- m(i) v + g: an optax transformation whose `update` takes the step number i as `step`.

    Args:
      ends: m at step 0, and from step `ramp` on; linear in between (Hinton 2010, section 9).
      ramp: in steps.
    """

    def update(gradient, velocity, params=None, *, step, **_):
        share = jnp.minimum(jnp.asarray(step, jnp.float32) / max(ramp, 1), 1.0)
        m = ends[0] + (ends[1] - ends[0]) * share
        velocity = jax.tree.map(lambda v, g: m.astype(v.dtype) * v + g, velocity, gradient)
        return velocity, velocity

    return optax.GradientTransformationExtraArgs(lambda params: jax.tree.map(jnp.zeros_like, params), update)


def mixing(trace: jax.Array, energies: jax.Array, taken: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
    """How well persistent chains mix, from their free energy after the latest steps.

    Parameters change between steps, which shifts the free energy of all chains alike. So the mean over chains is
    subtracted at each step.

    Args:
      trace: (C, TRACE), of the steps before.
      energies: (C,) after this one.
      taken: number of steps before this one.

    Returns:
      the new trace, and metrics: split R-hat (1: the chains agree), the effective share of the C TRACE draws and the
      autocorrelation at lag 1. They are 0 before the trace is full and if no chain moves; a single chain has none.
    """
    trace = jnp.concatenate([trace[:, 1:], energies[:, None].astype(trace.dtype)], axis=1)
    if len(trace) < 2:
        return trace, {}
    values = trace - trace.mean(axis=0, keepdims=True)
    full = taken + 1 >= TRACE
    found = {
        "chains_r_hat": chains.split_r_hat(values),
        "chains_effective_share": chains.effective_sample_size(values) / trace.size,
        "chains_autocorrelation": chains.autocorrelation(values)[1],
    }
    # Chains that do not move have no R-hat. A metric that is not finite would stop the run.
    return trace, {name: jnp.where(full & jnp.isfinite(value), value, 0.0) for name, value in found.items()}


def model_side(free_energy: Callable[[Params], jax.Array], params: Params) -> tuple[jax.Array, Params]:
    """Free energy of each chain, (C,), and the gradient of its mean, to be subtracted from that of the data."""
    value, back = jax.vjp(free_energy, params)
    (gradient,) = back(jnp.full(len(value), 1 / len(value), value.dtype))
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
        # With one row the product makes XLA:CPU transpose g, which takes a third of a training step.
        twice = jnp.stack([seen[j], seen[j]])
        biases[j + 1] = biases[j + 1] - (twice @ jax.lax.optimization_barrier(g))[0]
    return Params(tuple(weights), tuple(biases), gradient.log_var)


def update_offsets(offsets: tuple[jax.Array, ...], layers: Layers, weight: jax.Array) -> tuple[jax.Array, ...]:
    """The moving averages after one more batch, whose layers have means (B, n_j); weight (B,), all 0: no change."""
    total = weight.sum()
    share = weight / jnp.where(total > 0, total, 1.0)
    rate = OFFSET_RATE * share.sum()
    return tuple(
        o + (OFFSET_RATE * (share @ x) - rate * o).astype(o.dtype) for o, x in zip(offsets, layers, strict=True)
    )


def decayed(gradient: Params, params: Params, decay: float) -> Params:
    """The gradient plus that of decay / 2 |W|^2; biases do not decay."""
    weights = tuple((g + decay * w).astype(g.dtype) for g, w in zip(gradient.weights, params.weights, strict=True))
    return gradient._replace(weights=weights)


def is_zero(value: Any) -> bool:
    """Whether a field of a Config is known to be 0 (a traced one is not), so that its term can be left out."""
    return not isinstance(value, jax.core.Tracer) and value == 0


def sparsity(logits: jax.Array, target: Any) -> jax.Array:
    """Cross-entropy of hidden units with their target, minus its minimum: (B, n) logits -> (B,), nats.

    Its gradient is p - target, as if the penalty were on the mean over all data (Hinton 2010, section 11), but each
    example has its own.
    """
    target = jnp.asarray(target, jnp.float32)
    entropy = jax.scipy.special.entr(target) + jax.scipy.special.entr(1 - target)
    return (jax.nn.softplus(logits) - target * logits - entropy).sum(axis=-1)


def sizes(machine: Machine, params: Params) -> dict[str, jax.Array]:
    """Metrics of how large the parameters are, named after their layers; inf where training has diverged.

    Layers are called pixels, hidden_1, hidden_2 ... and labels.

    Returns:
      "norm_pixels_to_hidden_1" ...: the largest L2 norm of one unit's weights to the layer below; "bias_pixels" ...:
      the largest |bias|; "log_var_pixels", of Gaussian units: the largest |log s^2|.
    """
    names = ["labels" if units == "softmax" else f"hidden_{j}" for j, units in enumerate(machine.units)]
    names[0] = "pixels"
    found = {
        f"norm_{below}_to_{above}": (jnp.sqrt(jnp.square(w).sum(axis=0).max()), MAX_NORM)
        for (below, above), w in zip(itertools.pairwise(names), params.weights, strict=True)
    }
    found |= {f"bias_{name}": (jnp.abs(b).max(), MAX_BIAS) for name, b in zip(names, params.biases, strict=True)}
    if machine.units[0] == "gaussian":
        found["log_var_pixels"] = jnp.abs(params.log_var).max(), MAX_LOG_VAR
    return {name: jnp.where(value < most, value, jnp.inf).astype(jnp.float32) for name, (value, most) in found.items()}
