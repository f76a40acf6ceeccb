"""log Z by enumeration and by annealing, against brute force."""

import brute
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from brute import DBM, DEEP, LABELLED, MACHINES, B, G, Mixture, S

from synthjax.errors import InputError
from synthjax.gibbs import partition
from synthjax.gibbs.machine import Machine

LARGE = Machine((6, 5), (B, B))


@pytest.mark.parametrize("machine", [*MACHINES, Machine((13, 5), (B, B))])
def test_log_z_by_enumeration(machine):
    params = brute.params(machine)
    assert float(partition.log_z(machine, params)) == pytest.approx(brute.log_z(machine, params), rel=1e-5)


def test_log_z_of_more_states_than_a_block():
    """15 units without couplings: a product; the other half is larger still, so that it is summed out."""
    machine = Machine((15, 16), (B, B))
    params = brute.params(machine)
    params = params._replace(weights=(jnp.zeros((15, 16)),))
    expected = float(sum(np.logaddexp(0, b).sum() for b in params.biases))
    assert float(partition.log_z(machine, params)) == pytest.approx(expected, rel=1e-5)
    assert float(partition.log_z_base(machine, params, params.biases)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("machine", [LABELLED, DBM, LARGE], ids=["labelled", "dbm", "rbm"])
def test_annealing_finds_log_z_within_its_error_bar_and_between_its_bounds(machine):
    params = brute.params(machine, seed=4)
    exact = brute.log_z(machine, params)
    base = machine.zero_biases()
    t, log_z_base = partition.times(60), partition.log_z_base(machine, params, base)
    weights = partition.forward(machine, jax.random.key(7), params, base, t, runs=2000)
    found = partition.estimate(weights, log_z_base)
    assert found.low < exact < found.high and found.high - found.low < 0.3
    assert float(found.log_z) == pytest.approx(exact, abs=0.1)
    p = brute.probabilities(machine, params)
    chosen = np.random.default_rng(0).choice(len(p), 1000, p=p)
    layers = tuple(jnp.asarray(x[chosen], jnp.float32) for x in brute.states(machine))
    back = partition.backward(machine, jax.random.key(1), params, base, t, layers)
    upper = float(back.mean() + log_z_base)
    assert found.mean_log < exact < upper and upper - found.mean_log < 0.5
    assert -np.log(np.mean(np.exp(-np.asarray(back)))) + log_z_base == pytest.approx(exact, abs=0.1)


def test_with_one_step_the_weights_are_those_of_importance_sampling():
    """K = 1: the mean weight is Z / Z_0 however bad p_0 is; here the sum can be done over all states."""
    params = brute.params(DEEP, seed=1, scale=0.5)
    weights = partition.forward(DEEP, jax.random.key(0), params, DEEP.zero_biases(), partition.times(1), runs=40_000)
    log_z_base = partition.log_z_base(DEEP, params, DEEP.zero_biases())
    assert float(log_z_base) == pytest.approx(6 * np.log(2), rel=1e-6)
    assert float(partition.estimate(weights, log_z_base).log_z) == pytest.approx(brute.log_z(DEEP, params), abs=0.03)


def test_annealing_of_gaussian_units():
    machine = Machine((3, 2), (G, B))
    params = brute.params(machine, seed=5, scale=0.7)
    exact = Mixture(machine, params).log_z
    assert float(partition.log_z(machine, params)) == pytest.approx(exact, rel=1e-5)
    base = (jnp.array([0.3, -0.2, 0.1]), jnp.zeros(2))
    weights = partition.forward(machine, jax.random.key(0), params, base, partition.times(60), runs=1000)
    found = partition.estimate(weights, partition.log_z_base(machine, params, base))
    assert found.low < exact < found.high and found.high - found.low < 0.5


def test_an_estimate_by_hand():
    found = partition.estimate(jnp.log(jnp.array([1.0, 2.0, 3.0])), jnp.float32(1.0))
    error = 3 * 1.0 / np.sqrt(3)
    assert float(found.log_z) == pytest.approx(np.log(2) + 1)
    assert float(found.high) == pytest.approx(np.log(2 + error) + 1)
    assert float(found.low) == pytest.approx(np.log(2 - error) + 1, rel=1e-5)
    assert float(found.mean_log) == pytest.approx(np.log(6) / 3 + 1)
    assert float(found.effective) == pytest.approx(36 / 14)


def test_times_rise_from_0_to_1():
    t = np.asarray(partition.times(100))
    assert t[0] == 0 and t[-1] == 1 and (np.diff(t) > 0).all()
    assert np.diff(t)[0] < np.diff(t)[50] > np.diff(t)[-1]


def test_machines_too_large_are_refused():
    with pytest.raises(InputError, match=r"enumeration: 2\^40 states"):
        machine = Machine((40, 50), (B, B))
        partition.log_z(machine, brute.params(machine))
    with pytest.raises(InputError, match="Gaussian units cannot be enumerated"):
        partition.state_count(Machine((3, 2), (G, B)), 0)
    assert partition.state_count(Machine((3, 2, 5), (B, B, S)), 0) == 8 * 5
