r"""The partition function of a Boltzmann machine, by enumeration and by annealed importance sampling (AIS).

AIS (Neal 2001; Salakhutdinov & Murray 2008, ICML) anneals from the machine without couplings, p_0, whose Z_0 is known,
to the full machine through p_t of `machine.Temper`, with f_t the unnormalised p_t:

    x_1 ~ p_0,  x_(k+1) ~ T_k(x_k),   log w = sum_k log f_k(x_k) - log f_(k-1)(x_k),    E[w] = Z / Z_0

T_k is one block-Gibbs sweep at t_k. Annealing backwards from exact samples of the full machine gives E[w'] = Z_0 / Z.
By Jensen's inequality, log Z_0 plus the mean log weight of forward runs is a lower bound of log Z in expectation, and
that of backward runs an upper bound (Burda et al. 2015, arXiv:1412.8566). Their difference bounds the error of both.
The layers of one parity are always summed out in closed form.

    weights = forward(machine, key, params, base, times(1000), runs=100)
    log_z = estimate(weights, log_z_base(machine, params, base))

    >>> machine = Machine((4, 3), ("bernoulli", "bernoulli"))
    >>> base = machine.zero_biases()
    >>> params = machine.init(jax.random.key(0), base)
    >>> weights = forward(machine, jax.random.key(1), params, base, times(20), runs=50)
    >>> difference = estimate(weights, log_z_base(machine, params, base)).log_z - log_z(machine, params)
    >>> abs(difference).item() < 0.01
    True
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from synthjax.errors import InputError
from synthjax.gibbs.machine import Layers, Machine, Params, Temper

MAX_UNITS = 24
"""Maximum number of binary units that are enumerated: 2^24 states."""
BLOCK = 2**12
"""Number of states enumerated at once."""


class Estimate(NamedTuple):
    """An estimate of log Z from AIS, with error bars; scalars in nats, f32."""

    log_z: jax.Array
    """log Z_0 + log of the mean weight."""
    low: jax.Array
    """log Z_0 + log of (mean weight - 3 standard errors); -inf if that difference is negative."""
    high: jax.Array
    """log Z_0 + log of (mean weight + 3 standard errors)."""
    mean_log: jax.Array
    """log Z_0 + mean log weight: a lower bound of log Z from forward runs, an upper bound from backward runs."""
    effective: jax.Array
    """Effective sample size (sum w)^2 / sum w^2, not in nats. If it is near 1, a single run dominates."""


def times(count: int) -> jax.Array:
    """Annealing schedule t_0 = 0 ... t_count = 1: (count + 1,) f32, increasing.

    It is the mean of an evenly spaced schedule and of one whose steps shrink towards 0 and 1, where the distributions
    change most.
    """
    even = jnp.linspace(0.0, 1.0, count + 1, dtype=jnp.float32)
    return 0.5 * even + 0.5 * (3 * even**2 - 2 * even**3)


def log_z_base(machine: Machine, params: Params, base: tuple[jax.Array, ...]) -> jax.Array:
    """log Z_0 of the machine without couplings, whose biases are `base` ((n_j,) each): () f32, nats."""
    total = jnp.zeros((), jnp.float32)
    for j, b in enumerate(base):
        total = total + machine.log_sum(params, j, b[None], b[None])[0]
    return total


def summed(machine: Machine) -> int:
    """The parity whose layers have more units in total. These layers are summed out."""
    even, odd = (sum(machine.sizes[j] for j in machine.parity(p)) for p in (0, 1))
    return int(odd > even)


def enumerated(machine: Machine, kept: int, index: jax.Array) -> Layers:
    """Joint states of the layers of one parity, by their number.

    Args:
      machine: without Gaussian units in these layers.
      kept: the parity.
      index: (B,) i32 in 0 ... state_count(machine, kept) - 1.

    Returns:
      (B, n_j) f32 each; the layers of the other parity are 0.
    """
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
    """Number of joint states of the layers of one parity.

    Raises:
      InputError: there are more than 2^MAX_UNITS states, or a layer has Gaussian units.
    """
    count = 1
    for j in machine.parity(parity):
        if machine.units[j] == "gaussian":
            raise InputError("Gaussian units cannot be enumerated")
        count *= machine.sizes[j] if machine.units[j] == "softmax" else 2 ** machine.sizes[j]
    if count > 2**MAX_UNITS:
        raise InputError(f"enumeration: 2^{math.log2(count):.0f} states of the smaller half, at most 2^{MAX_UNITS}")
    return count


def log_z(machine: Machine, params: Params) -> jax.Array:
    """The exact log Z: the layers of one parity are enumerated, the others summed out.

    Returns:
      () f32, nats.

    Raises:
      InputError: there are too many states, see `state_count`.
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
    """Log weights of AIS from the machine without couplings to the full machine.

    Args:
      machine: of any architecture.
      key: typed PRNG key.
      params: of the machine.
      base: (n_j,) each, biases of the machine without couplings; for a low variance, those of the mean of the data for
        layer 0 and zeros for other layers.
      t: (K + 1,) f32, increasing from 0 to 1.
      runs: number of independent chains.

    Returns:
      (runs,) f32.
    """
    key_start, key_anneal = jax.random.split(key)
    return _anneal(machine, key_anneal, params, base, t, machine.start(key_start, params, base, runs))


def backward(
    machine: Machine, key: jax.Array, params: Params, base: tuple[jax.Array, ...], t: jax.Array, layers: Layers
) -> jax.Array:
    """Negative log weights of annealing from the full machine to the machine without couplings.

    The expectation of their mean is an upper bound of log Z - log Z_0 if `layers` are exact samples from the machine.
    It is not a bound if they come from chains that have not converged. `layers` are (B, n_j) each; the other arguments
    are those of `forward`.

    Returns:
      (B,) f32.
    """
    return -_anneal(machine, key, params, base, t[::-1], layers)


def _anneal(machine: Machine, key, params: Params, base, t: jax.Array, layers: Layers) -> jax.Array:
    """Sum of log f_k(x_k) - log f_(k-1)(x_k) along t, from x_1 = `layers`: (B,) f32."""
    removed = summed(machine)
    kept = 1 - removed

    def body(carry, inputs):
        layers, total = carry
        k, previous, t = inputs
        energies = [machine.free_energy(params, layers, kept, Temper(at, base)) for at in (previous, t)]
        layers = machine.sweep(jax.random.fold_in(key, k), params, layers, temper=Temper(t, base), first=removed)
        return (layers, total + energies[0] - energies[1]), None

    steps = jnp.arange(len(t) - 1), t[:-1], t[1:]
    return jax.lax.scan(body, (layers, jnp.zeros(len(layers[0]), jnp.float32)), steps)[0][1]


def estimate(log_weights: jax.Array, log_z_base: jax.Array) -> Estimate:
    """Estimates log Z.

    Args:
      log_weights: (runs,) f32, from `forward`.
      log_z_base: () f32, from `log_z_base`.
    """
    runs = len(log_weights)
    largest = log_weights.max()
    w = jnp.exp(log_weights - largest)
    mean, error = w.mean(), 3 * w.std(ddof=1) / math.sqrt(runs)
    offset = largest + log_z_base
    return Estimate(
        log_z=offset + jnp.log(mean),
        low=offset + jnp.log(jnp.maximum(mean - error, 0.0)),
        high=offset + jnp.log(mean + error),
        mean_log=log_weights.mean() + log_z_base,
        effective=w.sum() ** 2 / (w**2).sum(),
    )
