"""Diagnostics against processes whose answers are known, and tempered chains against enumeration."""

import brute
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from brute import DBM, B

from synthjax.gibbs import chains
from synthjax.gibbs.machine import Machine, Params

EFFECTIVE = jax.jit(chains.effective_sample_size)
DIAGNOSE = jax.jit(chains.diagnose)


def autoregressive(rho: float, count: int = 20_000, number: int = 4, seed: int = 0) -> np.ndarray:
    """x_t = rho x_(t-1) + noise, of variance 1 from the start: (number, count)."""
    noise = np.random.default_rng(seed).normal(size=(number, count))
    x = [noise[:, 0]]
    for t in range(1, count):
        x.append(rho * x[-1] + np.sqrt(1 - rho**2) * noise[:, t])
    return np.stack(x, axis=1)


def test_autocovariance_against_its_definition():
    values = np.random.default_rng(0).normal(size=(2, 7)).cumsum(axis=1)
    found = chains.autocovariance(jnp.asarray(values))
    centred = values - values.mean(axis=1, keepdims=True)
    for lag in range(7):
        expected = (centred[:, : 7 - lag] * centred[:, lag:]).sum(axis=1) / 7
        np.testing.assert_allclose(found[:, lag], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9, -0.5])
def test_effective_samples_of_an_autoregressive_process(rho):
    x = autoregressive(rho)
    expected = x.size * (1 - rho) / (1 + rho)
    assert float(EFFECTIVE(x)) == pytest.approx(expected, rel=0.15)
    correlation = np.asarray(jax.jit(chains.autocorrelation)(x))
    np.testing.assert_allclose(correlation[:4], rho ** np.arange(4), atol=0.03)


def test_r_hat_by_hand_and_where_chains_disagree():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(3, 100))
    halves = np.concatenate([x[:, :50], x[:, 50:]])
    within = halves.var(axis=1, ddof=1).mean()
    expected = np.sqrt((49 / 50 * within + halves.mean(axis=1).var(ddof=1)) / within)
    assert float(jax.jit(chains.split_r_hat)(x)) == pytest.approx(expected, rel=1e-5)
    assert expected < 1.05
    apart = x + 3 * np.arange(3)[:, None]
    drifting = x + np.linspace(0, 4, 100)
    for wrong in (apart, drifting):
        found = {name: float(value) for name, value in DIAGNOSE(wrong).items()}
        assert found["r_hat"] > 1.3
    assert float(EFFECTIVE(apart)) < 20


def test_a_trace_is_the_free_energy_of_the_chain():
    params = brute.params(DBM)
    start = jax.jit(DBM.start, static_argnums=3)(jax.random.key(0), params, DBM.zero_biases(), 3)
    layers, energies = jax.jit(chains.trace, static_argnums=(0, 4))(DBM, jax.random.key(1), params, start, 5)
    assert energies.shape == (3, 5)
    np.testing.assert_allclose(np.asarray(energies)[:, -1], DBM.free_energy(params, layers), rtol=1e-5)


def two_valleys() -> tuple[Machine, Params]:
    """All units on, or all off, each half of the time but for an offset: plain Gibbs chains stay where they are."""
    machine = Machine((4, 4), (B, B))
    coupling = jnp.full((4, 4), 3.5)
    bias = jnp.full(4, -7.0)
    return machine, Params((coupling,), (bias, bias + 0.1), jnp.zeros(()))


def test_tempered_chains_cross_from_valley_to_valley_in_the_right_share():
    machine, params = two_valleys()
    count, number = 6, 4000
    start = tuple(np.zeros((count * number, n), np.float32) for n in machine.sizes)

    @jax.jit
    def run(key, layers):
        def body(layers, key):
            return chains.temper(machine, key, params, layers, machine.zero_biases(), count)

        return jax.lax.scan(body, layers, jax.random.split(key, 300))

    layers, swaps = run(jax.random.key(0), start)
    layers = [np.asarray(x) for x in layers]
    coldest = tuple(x[-number:] for x in layers)
    expected = brute.probabilities(machine, params)
    chain = jax.jit(machine.chain, static_argnums=3)
    plain = chain(jax.random.key(1), params, tuple(x[-number:] for x in start), 300)
    assert brute.total_variation(machine, plain, expected) > 0.3
    # The odd layer was swapped along: it is of an earlier state and drawn afresh by a sweep.
    coldest = jax.jit(machine.sweep)(jax.random.key(2), params, coldest)
    assert brute.total_variation(machine, coldest, expected) < 0.05
    assert 0.05 < float(swaps.mean()) < 0.95
    hottest = np.concatenate([x[:number] for x in layers], axis=1)
    np.testing.assert_allclose(hottest.mean(axis=0), 0.5, atol=0.05)
