r"""Convergence diagnostics of Markov chains (autocorrelation, effective sample size, split R-hat); parallel tempering.

For values (chains C, draws N) of one quantity along several chains (Gelman et al., Bayesian Data Analysis, 3rd ed.,
11.4; Geyer 1992, Stat. Sci. 7:473):

    W     mean of the chains' variances;  B / N  variance of their means;  var+ = (N - 1)/N W + B/N
    R-hat = sqrt(var+ / W), with each chain split into halves, so that it also detects drift within a chain
    rho_t = 1 - (W - mean autocovariance at lag t) / var+
    ESS   = C N / (1 + 2 sum rho_t), over pairs of lags up to the first pair whose sum is not positive, with the sums of
            pairs replaced by their running minimum

Parallel tempering (Swendsen & Wang 1986; for RBMs Desjardins et al. 2010, AISTATS 9:145) runs replicas at several t of
`machine.Temper` and swaps adjacent ones with probability min(1, p_t(x') p_t'(x) / (p_t(x) p_t'(x'))).

    >>> draws = jax.random.normal(jax.random.key(0), (4, 1000))
    >>> abs(split_r_hat(draws) - 1).item() < 0.01  # independent draws have converged
    True
    >>> split_r_hat(draws + 3 * jnp.arange(4)[:, None]).item() > 2  # chains with different means have not
    True
    >>> sorted(diagnose(draws))
    ['autocorrelation', 'effective_samples', 'r_hat']
"""

import math

import jax
import jax.numpy as jnp

from synthjax.gibbs.machine import Layers, Machine, Params, Temper


def autocovariance(values: jax.Array) -> jax.Array:
    """Autocovariance of each chain at lags 0 ... N - 1, divided by N: (C, N) -> (C, N)."""
    count = values.shape[-1]
    centred = values - values.mean(axis=-1, keepdims=True)
    spectrum = jnp.fft.rfft(centred, 2 * count)
    return jnp.fft.irfft(jnp.abs(spectrum) ** 2, 2 * count)[..., :count] / count


def autocorrelation(values: jax.Array) -> jax.Array:
    """Autocorrelation at lags 0 ... N - 1, from autocovariances averaged over chains: (C, N) -> (N,).

    It is NaN if all chains are constant.
    """
    covariance = autocovariance(values).mean(axis=0)
    return covariance / covariance[0]


def _moments(values: jax.Array) -> tuple[jax.Array, jax.Array]:
    """W and var+ of (C, N)."""
    count = values.shape[-1]
    within = values.var(axis=-1, ddof=1).mean()
    between = values.mean(axis=-1).var(ddof=1) if len(values) > 1 else jnp.zeros((), values.dtype)
    return within, (count - 1) / count * within + between


def split_r_hat(values: jax.Array) -> jax.Array:
    """Split R-hat of values (C, N), N at least 4: a scalar, near 1 if the chains have converged.

    If N is odd, the middle draw is ignored.
    """
    half = values.shape[-1] // 2
    within, total = _moments(jnp.concatenate([values[:, :half], values[:, -half:]]))
    return jnp.sqrt(total / within)


def effective_sample_size(values: jax.Array) -> jax.Array:
    """Effective sample size of values (C, N): a scalar.

    It is the number of independent draws whose mean has the same variance.
    """
    chains, count = values.shape
    within, total = _moments(values)
    covariance = autocovariance(values).mean(axis=0) * (count / (count - 1))
    rho = (1 - (within - covariance) / total).at[0].set(1.0)
    pairs = rho[: count // 2 * 2].reshape(-1, 2).sum(axis=-1)
    positive = jnp.cumprod(pairs > 0)
    monotone = jax.lax.cummin(jnp.where(positive, pairs, 0.0))
    return chains * count / jnp.maximum(2 * monotone.sum() - 1, 1 / math.log10(chains * count))


def diagnose(values: jax.Array) -> dict[str, jax.Array]:
    """Split R-hat, effective sample size and autocorrelation at lag 1 of values (C, N)."""
    return {
        "r_hat": split_r_hat(values),
        "effective_samples": effective_sample_size(values),
        "autocorrelation": autocorrelation(values)[1],
    }


def trace(machine: Machine, key: jax.Array, params: Params, layers: Layers, steps: int) -> tuple[Layers, jax.Array]:
    """Runs chains and records their free energy, for `diagnose`.

    Args:
      machine: of any architecture.
      key: typed PRNG key.
      params: of the machine.
      layers: (C, n_j) each, the state of C chains.
      steps: number of sweeps.

    Returns:
      The layers after the last sweep, and the free energy of the chains after each sweep, (C, steps) f32.
    """

    def body(layers, k):
        layers = machine.sweep(jax.random.fold_in(key, k), params, layers)
        return layers, machine.free_energy(params, layers)

    layers, energies = jax.lax.scan(body, layers, jnp.arange(steps))
    return layers, energies.T


def temperatures(count: int, chains: int) -> jax.Array:
    """t of `count` replicas of `chains` chains each, evenly spaced from 0 to 1: (count * chains, 1) f32."""
    return jnp.repeat(jnp.linspace(0.0, 1.0, count, dtype=jnp.float32), chains)[:, None]


def temper(
    machine: Machine, key: jax.Array, params: Params, layers: Layers, base: tuple[jax.Array, ...], count: int
) -> tuple[Layers, jax.Array]:
    """One step of parallel tempering: a sweep of each replica, then swaps of adjacent replicas.

    The swaps are between even pairs or between odd pairs of replicas, at random.

    Args:
      machine: of any architecture.
      key: typed PRNG key.
      params: of the machine.
      layers: (count * C, n_j) each, for C chains, grouped by replica; the last C rows are at t = 1.
      base: (n_j,) each, biases at t = 0.
      count: number of replicas, at least 2.

    Returns:
      The new layers, and the share of proposed swaps that were accepted, () f32.
    """
    key_sweep, key_pairs, key_swap = jax.random.split(key, 3)
    chains = len(layers[0]) // count
    temper = Temper(temperatures(count, chains), base)
    layers = machine.sweep(key_sweep, params, layers, temper=temper)
    replica = jnp.arange(count)
    partner = replica + jnp.where((replica + jax.random.bernoulli(key_pairs)) % 2 == 0, 1, -1)
    partner = jnp.where((partner < 0) | (partner >= count), replica, partner)

    def swap(x):
        return x.reshape(count, chains, -1)[partner].reshape(x.shape)

    other = tuple(swap(x) for x in layers)
    gain = machine.free_energy(params, layers, 0, temper) - machine.free_energy(params, other, 0, temper)
    gain = gain.reshape(count, chains)
    # Both replicas of a pair must use the same random number.
    log_uniform = jnp.log(jax.random.uniform(key_swap, (count, chains), jnp.float32))[jnp.minimum(replica, partner)]
    proposed = (partner != replica)[:, None]
    accepted = (log_uniform < gain + gain[partner]) & proposed
    row = accepted.reshape(-1, 1)
    share = accepted.sum(dtype=jnp.float32) / jnp.maximum(proposed.sum(dtype=jnp.float32) * chains, 1)
    return tuple(jnp.where(row, o, x) for o, x in zip(other, layers, strict=True)), share
