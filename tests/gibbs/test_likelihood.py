"""The figures of benchmarks/boltzmann.py against enumeration."""

import sys
from pathlib import Path

import brute
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from brute import DBM, LABELLED, RBM

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks import boltzmann


@pytest.mark.parametrize(("machine", "labelled"), [(RBM, False), (LABELLED, True), (DBM, True)])
def test_the_likelihood_of_images_alone(machine, labelled):
    params = brute.params(machine, 3, 0.7)
    states, minus = brute.states(machine), -brute.energy(params, brute.states(machine))
    rows = np.unique(states[0], axis=0)
    exact = [-scipy.special.logsumexp(minus[(states[0] == row).all(axis=1)]) for row in rows]
    found = np.asarray(boltzmann.free_energy(machine, params, jnp.asarray(rows), labelled, 40))
    if machine is DBM:
        assert (found > np.array(exact) - 1e-4).all() and (found < np.array(exact) + 1).all()
    else:
        np.testing.assert_allclose(found, exact, rtol=1e-4)


def test_log_z_and_its_bounds():
    params = brute.params(RBM, 3, 0.7)
    found = boltzmann.log_z(RBM, params, RBM.zero_biases(), jax.random.key(0), 400, 50, 100)
    exact = brute.log_z(RBM, params)
    assert found["low"] < exact < found["high"] and found["mean_log"] < exact < found["upper"]
    assert found["r_hat"] < 1.05 and found["effective_samples"] > 1000
