r"""The partition function of a Boltzmann machine: by enumeration, and by annealed importance sampling (AIS).

AIS (Neal 2001; Salakhutdinov & Murray 2008, ICML) anneals from the machine without couplings, p_0, whose Z_0 is known,
to the whole one through p_t of `machine.Temper`, with f_t the unnormalised p_t:

    x_1 ~ p_0,  x_(k+1) ~ T_k(x_k),   log w = sum_k log f_k(x_k) - log f_(k-1)(x_k),    E[w] = Z / Z_0

T_k is one block-Gibbs sweep at t_k. Annealing backwards from exact draws of the whole machine gives E[w'] = Z_0 / Z. By
Jensen's inequality the mean of forward log weights is below log Z, that of backward ones above (Burda et al. 2015,
arXiv:1412.8566): the gap bounds the error of either. The layers of one parity are always summed out in closed form.

    weights = forward(machine, key, params, base, times(1000), runs=100)
    log_z = estimate(weights, log_z_base(machine, params, base))
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from synthjax.errors import InputError
from synthjax.gibbs.machine import Layers, Machine, Params, Temper

MOST = 24
"""Largest number of units that are enumerated: 2^24 states."""
BLOCK = 2**12
"""States enumerated at once."""


class Estimate(NamedTuple):
    """log Z with its error bar."""

    log_z: jax.Array
    """log of the mean weight, + log Z_0."""
    low: jax.Array
    """log of the mean weight less three standard errors; -inf where that is negative."""
    high: jax.Array
    """log of the mean weight and three standard errors."""
    mean_log: jax.Array
    """Mean log weight + log Z_0: a lower bound of log Z from forward runs, an upper one from backward runs."""
    effective: jax.Array
    """(sum w)^2 / sum w^2: effective sample size. Near 1, a single run dominates."""


def times(count: int) -> jax.Array:
    """t_0 = 0 ... t_count = 1, denser near 0 and near 1: (count + 1,) f32.

    The mean of an even schedule and of one whose steps shrink towards both ends, where the distributions change most.
    """
    even = jnp.linspace(0.0, 1.0, count + 1, dtype=jnp.float32)
    return 0.5 * even + 0.5 * (3 * even**2 - 2 * even**3)


def log_z_base(machine: Machine, params: Params, base: tuple[jax.Array, ...]) -> jax.Array:
    """log Z_0 of the machine without couplings and with biases `base`: a scalar."""
    total = jnp.zeros((), jnp.float32)
    for j, b in enumerate(base):
        total = total + machine.log_sum(params, j, b[None], b[None])[0]
    return total


def summed(machine: Machine) -> int:
    """The parity of the layers with more units, which are the ones to sum out."""
    even, odd = (sum(machine.sizes[j] for j in machine.parity(p)) for p in (0, 1))
    return int(odd > even)


def enumerated(machine: Machine, kept: int, index: jax.Array) -> Layers:
    """States number `index` (B,) of the layers of one parity, the others 0: a tuple of (B, n_j) f32."""
    layers = [jnp.zeros((len(index), n), jnp.float32) for n in machine.sizes]
    for j in machine.parity(kept):
        n = machine.sizes[j]
        if machine.units[j] == "softmax":
            layers[j] = jax.nn.one_hot(index % n, n, dtype=jnp.float32)
            index = index // n
        else:
            layers[j] = jnp.float32(index[:, None] >> jnp.arange(n)[None] & 1)
            index = index >> n
    return tuple(layers)


def state_count(machine: Machine, parity: int) -> int:
    """States that the layers of one parity have together.

    Raises:
      InputError: more than 2^MOST, or layers that cannot be counted (Gaussian).
    """
    count = 1
    for j in machine.parity(parity):
        if machine.units[j] == "gaussian":
            raise InputError("Gaussian units cannot be enumerated")
        count *= machine.sizes[j] if machine.units[j] == "softmax" else 2 ** machine.sizes[j]
    if count > 2**MOST:
        raise InputError(f"enumeration: 2^{math.log2(count):.0f} states of the smaller half, at most 2^{MOST}")
    return count


def log_z(machine: Machine, params: Params) -> jax.Array:
    """log Z, exactly: the layers of one parity are enumerated, the others summed out. A scalar, nats.

    Raises:
      InputError: too many units.
    """
    kept = 1 if machine.units[0] == "gaussian" else 1 - summed(machine)
    count = state_count(machine, kept)
    block = min(count, BLOCK)

    def body(k, total):
        index = k * block + jnp.arange(block)
        free = machine.free_energy(params, enumerated(machine, kept, index), kept)
        return jnp.logaddexp(total, jax.nn.logsumexp(jnp.where(index < count, -free, -jnp.inf)))

    return jax.lax.fori_loop(0, -(-count // block), body, jnp.float32(-jnp.inf))


def forward(
    machine: Machine, key: jax.Array, params: Params, base: tuple[jax.Array, ...], t: jax.Array, runs: int
) -> jax.Array:
    """Log weights of AIS from the machine without couplings to the whole one: (runs,) f32.

    Args:
      machine: of any architecture.
      key: typed.
      params: of the machine.
      base: biases without couplings: the data's for layer 0, zeros elsewhere.
      t: (K + 1,) rising from 0 to 1.
      runs: number of independent chains.
    """
    key_start, key_anneal = jax.random.split(key)
    return _annealed(machine, key_anneal, params, base, t, machine.start(key_start, params, base, runs))


def backward(
    machine: Machine, key: jax.Array, params: Params, base: tuple[jax.Array, ...], t: jax.Array, layers: Layers
) -> jax.Array:
    """Minus the log weights of annealing from the whole machine to the one without couplings: (B,) f32.

    Their mean is an upper bound of log Z - log Z_0 if `layers` (B, n_j) are exact draws from the machine. It is no
    bound if they come from chains that have not mixed.
    """
    return -_annealed(machine, key, params, base, t[::-1], layers)


def _annealed(machine: Machine, key, params: Params, base, t: jax.Array, layers: Layers) -> jax.Array:
    """Sum of log f_k(x_k) - log f_(k-1)(x_k) along t, from x_1 = layers."""
    drop = summed(machine)
    kept = 1 - drop

    def body(carry, inputs):
        layers, total = carry
        k, before, now = inputs
        energies = [machine.free_energy(params, layers, kept, Temper(at, base)) for at in (before, now)]
        layers = machine.sweep(jax.random.fold_in(key, k), params, layers, temper=Temper(now, base), first=drop)
        return (layers, total + energies[0] - energies[1]), None

    steps = jnp.arange(len(t) - 1), t[:-1], t[1:]
    return jax.lax.scan(body, (layers, jnp.zeros(len(layers[0]), jnp.float32)), steps)[0][1]


def estimate(log_weights: jax.Array, log_z_base: jax.Array) -> Estimate:
    """log Z from the log weights (runs,) of `forward`."""
    runs = len(log_weights)
    top = log_weights.max()
    w = jnp.exp(log_weights - top)
    mean, error = w.mean(), 3 * w.std(ddof=1) / math.sqrt(runs)
    offset = top + log_z_base
    return Estimate(
        log_z=offset + jnp.log(mean),
        low=offset + jnp.log(jnp.maximum(mean - error, 0.0)),
        high=offset + jnp.log(mean + error),
        mean_log=log_weights.mean() + log_z_base,
        effective=w.sum() ** 2 / (w**2).sum(),
    )
