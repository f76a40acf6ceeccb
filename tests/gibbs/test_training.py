"""Centring against automatic differentiation in centred parameters; the small parts by hand."""

import brute
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from brute import DBM, LABELLED, B, G

from synthjax.gibbs import partition, training
from synthjax.gibbs.machine import Machine, Params


@pytest.mark.parametrize("machine", [LABELLED, DBM, Machine((3, 2), (G, B))], ids=["rbm", "dbm", "gaussian"])
def test_centred_gradient_is_the_gradient_in_centred_parameters(machine):
    """In b'_j = b_j + W o (both neighbours), a step along the gradient moves W and b as `centred` says."""
    params = brute.params(machine, scale=0.5)
    rng = np.random.default_rng(1)
    offsets = tuple(jnp.asarray(rng.uniform(size=n), jnp.float32) for n in machine.sizes)
    seen = [machine.seen(params, j, o) for j, o in enumerate(offsets)]

    def shifts(weights):
        found = [jnp.zeros(n) for n in machine.sizes]
        for j, w in enumerate(weights):
            found[j] += w @ seen[j + 1]
            found[j + 1] += seen[j] @ w
        return found

    def plain(weights, centred_biases):
        biases = tuple(c - s for c, s in zip(centred_biases, shifts(weights), strict=True))
        return Params(weights, biases, params.log_var)

    data = tuple(jnp.asarray(rng.normal(size=(5, n)), jnp.float32) for n in machine.sizes)

    def loss(params):  # minus log-likelihood of fully observed states: any function of the parameters would do
        return machine.energy(params, data).mean() + partition.log_z(machine, params)

    weights = params.weights
    biases = tuple(b + s for b, s in zip(params.biases, shifts(weights), strict=True))
    toward, toward_biases = jax.grad(lambda w, b: loss(plain(w, b)), (0, 1))(weights, biases)
    # The way that a step moves the plain parameters: the Jacobian of `plain` times the gradient.
    _, moved = jax.jvp(plain, (weights, biases), (toward, toward_biases))
    found = training.centred(machine, params, jax.grad(loss)(params), offsets)
    for a, b in zip((*found.weights, *found.biases), (*moved.weights, *moved.biases), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4)


def test_momentum_is_a_transformation_with_the_step_for_a_clock():
    """v <- m v + g with m = 0.5, 0.7, 0.9, 0.9 at steps 0, 5, 10 and 100, also in a chain."""
    one = {"a": jnp.ones(2)}
    for optimiser in (
        training.momentum((0.5, 0.9), 10),
        optax.chain(optax.identity(), training.momentum((0.5, 0.9), 10)),
    ):
        state, expected = optimiser.init(one), 0.0
        for step, m in ((0, 0.5), (5, 0.7), (10, 0.9), (100, 0.9)):
            update, state = optimiser.update(one, state, one, step=jnp.int32(step))
            expected = m * expected + 1
            np.testing.assert_allclose(update["a"], expected, rtol=1e-6)


def test_couplings_decay_and_biases_do_not():
    one = Params((jnp.ones((1, 1)),), (jnp.ones(1),), jnp.zeros(()))
    decayed = training.decayed(one, jax.tree.map(lambda a: 2 * a, one), 0.25)
    assert float(decayed.weights[0][0, 0]) == 1.5 and float(decayed.biases[0][0]) == 1


def test_sparsity_pulls_towards_its_target():
    logits = jnp.array([[-3.0, 0.0, 2.0]])
    gradient = jax.grad(lambda a: training.sparsity(a, 0.1).sum())(logits)
    np.testing.assert_allclose(gradient, jax.nn.sigmoid(logits) - 0.1, rtol=1e-5)
    at_target = jnp.log(jnp.array([[0.1 / 0.9]]))
    assert float(training.sparsity(at_target, 0.1)[0]) == pytest.approx(0, abs=1e-6)


def test_offsets_follow_the_weighted_mean():
    offsets, layers = (jnp.ones(1),), (jnp.array([[1.0], [3.0], [99.0]]),)
    (found,) = training.update_offsets(offsets, layers, jnp.array([2.0, 2.0, 0.0]))
    assert float(found[0]) == pytest.approx(1 + training.OFFSET_RATE)
    (found,) = training.update_offsets(offsets, layers, jnp.zeros(3))
    assert float(found[0]) == 1


def wrong(machine, params) -> list[str]:
    return [name for name, value in training.sizes(machine, params).items() if not np.isfinite(value)]


def test_what_blew_up_is_infinite_and_named_after_its_layers():
    params = brute.params(DBM)
    found = training.sizes(DBM, params)
    assert list(found) == [
        *("norm_pixels_to_hidden_1", "norm_hidden_1_to_hidden_2", "norm_hidden_2_to_labels"),
        *("bias_pixels", "bias_hidden_1", "bias_hidden_2", "bias_labels"),
    ]
    assert float(found["norm_pixels_to_hidden_1"]) == pytest.approx(np.linalg.norm(params.weights[0], axis=0).max())
    assert float(found["bias_hidden_2"]) == pytest.approx(np.abs(params.biases[2]).max())
    for j, name in enumerate(("norm_pixels_to_hidden_1", "norm_hidden_1_to_hidden_2", "norm_hidden_2_to_labels")):
        for change in (1e3, np.nan):
            weights = tuple(w + change if k == j else w for k, w in enumerate(params.weights))
            assert wrong(DBM, params._replace(weights=weights)) == [name]
    for j, name in enumerate(("bias_pixels", "bias_hidden_1", "bias_hidden_2", "bias_labels")):
        for change in (-1e3, np.nan):
            biases = tuple(b.at[0].add(change) if k == j else b for k, b in enumerate(params.biases))
            assert wrong(DBM, params._replace(biases=biases)) == [name]


def test_a_variance_that_blew_up_is_named():
    machine = Machine((3, 2), ("gaussian", "bernoulli"))
    params = machine.init(jax.random.key(0), machine.zero_biases())
    assert wrong(machine, params) == []
    assert wrong(machine, params._replace(log_var=params.log_var.at[1].set(-25.0))) == ["log_var_pixels"]


def test_mixing_sees_chains_that_disagree_and_no_common_drift():
    """Against R-hat of the same values; a drift that all chains share is that of the parameters."""
    rng = np.random.default_rng(0)
    drift = 5 * np.arange(training.TRACE + 20)
    values = rng.normal(size=(20, training.TRACE + 20))
    for levels, low, high in ((0.0, 0.97, 1.03), (3.0, 2.0, 5.0)):
        seen = values + levels * rng.normal(size=(20, 1)) + drift
        trace, found = jnp.zeros((20, training.TRACE)), {}
        for i in range(seen.shape[1]):
            before = found
            trace, found = MIXING(trace, jnp.float32(seen[:, i]), i)
            if i == training.TRACE - 2:
                assert set(map(float, before.values())) == {0.0}
        np.testing.assert_allclose(trace, seen[:, 20:], rtol=1e-6)
        assert low < float(found["chains_r_hat"]) < high
    centred = seen[:, 20:] - seen[:, 20:].mean(0)
    halves = np.concatenate([centred[:, :50], centred[:, 50:]])
    within = halves.var(1, ddof=1).mean()
    expected = np.sqrt((0.98 * within + halves.mean(1).var(ddof=1)) / within)
    np.testing.assert_allclose(found["chains_r_hat"], expected, rtol=1e-3)
    alone = centred - centred.mean(1, keepdims=True)
    expected = (alone[:, 1:] * alone[:, :-1]).sum() / (alone**2).sum()
    np.testing.assert_allclose(found["chains_autocorrelation"], expected, atol=1e-4)
    assert abs(expected) > 1e-3
    assert training.mixing(jnp.zeros((1, 5)), jnp.ones(1), 9)[1] == {}


MIXING = jax.jit(training.mixing)
