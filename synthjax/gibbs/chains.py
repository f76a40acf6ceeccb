r"""Whether chains have mixed: autocorrelation, effective sample size, split R-hat; and parallel tempering.

For values (chains C, draws N) of one quantity along several chains (Gelman et al., Bayesian Data Analysis, 3rd ed.,
11.4; Geyer 1992, Stat. Sci. 7:473):

    W     mean of the chains' variances;  B / N  variance of their means;  var+ = (N - 1)/N W + B/N
    R-hat = sqrt(var+ / W), with each chain cut into halves, so that a drift shows too
    rho_t = 1 - (W - mean autocovariance at lag t) / var+
    ESS   = C N / (1 + 2 sum rho_t), summed over pairs of lags as long as they are positive, and made to fall

Parallel tempering (Swendsen & Wang 1986; for RBMs Desjardins et al. 2010, AISTATS 9:145) runs chains at several t of
`machine.Temper` and swaps neighbours with probability min(1, p_t(x') p_t'(x) / (p_t(x) p_t'(x'))).
"""

import math

import jax
import jax.numpy as jnp

from synthjax.gibbs.machine import Layers, Machine, Params, Temper


def autocovariance(values: jax.Array) -> jax.Array:
    """Of each chain, (C, N) -> (C, N): lag 0 ... N - 1, divided by N."""
    count = values.shape[-1]
    centred = values - values.mean(axis=-1, keepdims=True)
    spectrum = jnp.fft.rfft(centred, 2 * count)
    return jnp.fft.irfft(jnp.abs(spectrum) ** 2, 2 * count)[..., :count] / count


def autocorrelation(values: jax.Array) -> jax.Array:
    """(C, N) -> (N,): autocorrelation, its covariances averaged over the chains; NaN if no chain moves."""
    covariance = autocovariance(values).mean(axis=0)
    return covariance / covariance[0]


def _moments(values: jax.Array) -> tuple[jax.Array, jax.Array]:
    """W and var+ of (C, N)."""
    count = values.shape[-1]
    within = values.var(axis=-1, ddof=1).mean()
    between = values.mean(axis=-1).var(ddof=1) if len(values) > 1 else jnp.zeros((), values.dtype)
    return within, (count - 1) / count * within + between


def split_r_hat(values: jax.Array) -> jax.Array:
    """(C, N) -> a scalar, 1 where the chains agree. N at least 4; of an odd number the middle draw is dropped."""
    half = values.shape[-1] // 2
    within, total = _moments(jnp.concatenate([values[:, :half], values[:, -half:]]))
    return jnp.sqrt(total / within)


def effective_sample_size(values: jax.Array) -> jax.Array:
    """(C, N) -> a scalar: the number of independent draws that would estimate the mean as well."""
    chains, count = values.shape
    within, total = _moments(values)
    covariance = autocovariance(values).mean(axis=0) * (count / (count - 1))
    rho = (1 - (within - covariance) / total).at[0].set(1.0)
    pairs = rho[: count // 2 * 2].reshape(-1, 2).sum(axis=-1)
    positive = jnp.cumprod(pairs > 0)
    falling = jax.lax.cummin(jnp.where(positive, pairs, 0.0))
    return chains * count / jnp.maximum(2 * falling.sum() - 1, 1 / math.log10(chains * count))


def diagnose(values: jax.Array) -> dict[str, jax.Array]:
    """R-hat, effective sample size and the autocorrelation at lag 1 of values (C, N)."""
    return {
        "r_hat": split_r_hat(values),
        "effective_samples": effective_sample_size(values),
        "autocorrelation": autocorrelation(values)[1],
    }


def trace(machine: Machine, key: jax.Array, params: Params, layers: Layers, steps: int) -> tuple[Layers, jax.Array]:
    """The layers (C, n_j) after `steps` sweeps, and the chains' free energy after each: (C, steps) for `diagnose`."""

    def body(layers, k):
        layers = machine.sweep(jax.random.fold_in(key, k), params, layers)
        return layers, machine.free_energy(params, layers)

    layers, energies = jax.lax.scan(body, layers, jnp.arange(steps))
    return layers, energies.T


def temperatures(count: int, chains: int) -> jax.Array:
    """t of `count` replicas of `chains` chains, evenly spaced from 0 to 1, replica by replica: (count * chains, 1)."""
    return jnp.repeat(jnp.linspace(0.0, 1.0, count, dtype=jnp.float32), chains)[:, None]


def temper(
    machine: Machine, key: jax.Array, params: Params, layers: Layers, base: tuple[jax.Array, ...], count: int
) -> tuple[Layers, jax.Array]:
    """One sweep of each of `count` replicas, then swaps of neighbours, of even or of odd pairs at random.

    Args:
      machine: of any architecture.
      key: typed.
      params: of the machine.
      layers: (count * C, n_j) each, replica by replica; the last C rows are at t = 1.
      base: biases at t = 0.
      count: replicas, at least 2.

    Returns:
      layers, and the share of proposed swaps that were accepted.
    """
    key_sweep, key_pairs, key_swap = jax.random.split(key, 3)
    chains = len(layers[0]) // count
    ladder = Temper(temperatures(count, chains), base)
    layers = machine.sweep(key_sweep, params, layers, temper=ladder)
    replica = jnp.arange(count)
    partner = replica + jnp.where((replica + jax.random.bernoulli(key_pairs)) % 2 == 0, 1, -1)
    partner = jnp.where((partner < 0) | (partner >= count), replica, partner)

    def swapped(x):
        return x.reshape(count, chains, -1)[partner].reshape(x.shape)

    other = tuple(swapped(x) for x in layers)
    gain = machine.free_energy(params, layers, 0, ladder) - machine.free_energy(params, other, 0, ladder)
    gain = gain.reshape(count, chains)
    # Both replicas of a pair use one random number.
    log_uniform = jnp.log(jax.random.uniform(key_swap, (count, chains), jnp.float32))[jnp.minimum(replica, partner)]
    proposed = (partner != replica)[:, None]
    accepted = (log_uniform < gain + gain[partner]) & proposed
    row = accepted.reshape(-1, 1)
    share = accepted.sum(dtype=jnp.float32) / jnp.maximum(proposed.sum(dtype=jnp.float32) * chains, 1)
    return tuple(jnp.where(row, o, x) for o, x in zip(other, layers, strict=True)), share
