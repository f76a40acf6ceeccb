"""Fine-tuning: the network at its start is the machine's mean-field inference, and training lowers its error."""

import brute
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from brute import B, G, S

from synthjax.errors import InputError
from synthjax.gibbs import finetune
from synthjax.gibbs.machine import Machine

KEY = jax.random.key(0)
RBM = Machine((6, 5), (B, B))
LABELLED_RBM = Machine((6, 5, 3), (B, B, S))
DBM = Machine((6, 5, 4), (B, B, B))
LABELLED_DBM = Machine((6, 5, 4, 3), (B, B, B, S))
X = jnp.float32(np.random.default_rng(0).random((40, 6)))
DRAWN = jax.jit(
    lambda network, x, keys, dropout: jax.vmap(lambda key: finetune.logits(network, x, key, dropout))(keys),
    static_argnums=3,
)
"""Logits of dropout with each of several keys."""


@pytest.fixture(autouse=True)
def full_precision():
    """GPUs and TPUs round the factors of a classifier's products otherwise."""
    with jax.default_matmul_precision("float32"):
        yield


def test_of_a_labelled_rbm_the_network_is_its_mean_field_posterior():
    """p(y | E[h | x]) by hand."""
    params = brute.params(LABELLED_RBM, 1)
    network = finetune.unroll(KEY, LABELLED_RBM, params, 3)
    h = 1 / (1 + np.exp(-(np.asarray(X @ params.weights[0]) + params.biases[1])))
    found = finetune.logits(network, finetune.inputs(LABELLED_RBM, params, X, 1))
    np.testing.assert_allclose(found, h @ params.weights[1] + params.biases[2], rtol=1e-4, atol=1e-5)


def test_a_deep_network_begins_with_the_inferred_activations():
    """h_1 and h_2 are q_1 and q_2, once inference has converged."""
    params = brute.params(DBM, 2, 0.7)
    network = finetune.unroll(KEY, DBM, params, 3)
    network = network._replace(weights=(*network.weights[:2], jnp.eye(4, 3)))
    x = finetune.inputs(DBM, params, X, 60)
    q = DBM.infer(params, X, None, 60)
    np.testing.assert_allclose(x[1], q[2])
    np.testing.assert_allclose(finetune.logits(network, x), q[2][:, :3], atol=1e-4)
    lonely = network._replace(feedback=())
    assert np.abs(finetune.logits(lonely, x) - q[2][:, :3]).max() > 0.01


def test_gaussian_pixels_are_seen_by_their_variance():
    machine = Machine((6, 5), (G, B))
    params = brute.params(machine, 3, 0.7)
    network = finetune.unroll(KEY, machine, params, 5)
    network = network._replace(weights=(network.weights[0], jnp.eye(5)), biases=(network.biases[0], jnp.zeros(5)))
    expected = machine.mean(1, machine.field(params, (X, jnp.zeros((40, 5))), 1))
    np.testing.assert_allclose(finetune.logits(network, (X,)), expected, rtol=1e-4)


def test_of_a_labelled_dbm_labels_are_no_input():
    params = brute.params(LABELLED_DBM, 4)
    network = finetune.unroll(KEY, LABELLED_DBM, params, 3)
    x = finetune.inputs(LABELLED_DBM, params, X, 10)
    assert [a.shape for a in x] == [(40, 6), (40, 4)] and [a.shape for a in network.feedback] == [(4, 5)]
    assert finetune.logits(network, x).shape == (40, 3)


def test_dropout_leaves_out_its_share_and_keeps_the_mean():
    network = finetune.unroll(KEY, RBM, brute.params(RBM), 3)
    network = network._replace(weights=(network.weights[0], jnp.eye(5)), biases=(network.biases[0], jnp.zeros(5)))
    whole = finetune.logits(network, (X,))
    drawn = np.asarray(DRAWN(network, (X,), jax.random.split(KEY, 4000), (0, 0.3)))
    np.testing.assert_allclose((drawn == 0).mean(), 0.3, atol=0.005)
    np.testing.assert_allclose(drawn.mean(0), whole, rtol=0.06)


def test_dropout_of_pixels():
    """A single white pixel is left out, or counts 1 / (1 - share): its hidden units have two values."""
    network = finetune.unroll(KEY, RBM, brute.params(RBM), 3)
    network = network._replace(weights=(network.weights[0], jnp.eye(5)), biases=(network.biases[0], jnp.zeros(5)))
    x = (jnp.eye(6)[:1],)
    drawn = np.asarray(DRAWN(network, x, jax.random.split(KEY, 4000), (0.3, 0)))[:, 0]
    without = 1 / (1 + np.exp(-network.biases[0]))
    with_it = 1 / (1 + np.exp(-network.biases[0] - network.weights[0][0] / 0.7))
    left_out = np.isclose(drawn, without, atol=1e-5).all(axis=1)
    np.testing.assert_allclose(left_out.mean(), 0.3, atol=0.03)
    np.testing.assert_allclose(drawn[~left_out], np.tile(with_it, ((~left_out).sum(), 1)), atol=1e-5)


def test_training_learns_a_rule():
    params = brute.params(DBM, 5, 0.5)
    x = np.float32(np.random.default_rng(1).random((600, 6)))
    y = np.int32(x[:, 0] > x[:, 1]) + np.int32(x[:, 0] > x[:, 2])
    features = finetune.inputs(DBM, params, x, 10)
    train, test = [tuple(np.asarray(a)[rows] for a in (*features, y)) for rows in (slice(500), slice(500, None))]
    protocol = finetune.Protocol(steps=1500, learning_rate=0.02)
    network = finetune.train(KEY, finetune.unroll(KEY, DBM, params, 3), train[:-1], train[-1], protocol)
    found = finetune.logits(network, test[:-1]).argmax(-1)
    assert (found == test[-1]).mean() > 0.85 > 0.6 > np.bincount(test[-1]).max() / 100


def test_one_step_on_all_examples_is_adams_first():
    """Each parameter moves by the learning rate against the sign of its gradient; a batch beyond the set is the set."""
    params = brute.params(RBM, 6)
    network = finetune.unroll(KEY, RBM, params, 3)
    y = np.arange(40) % 3

    def loss(network):
        found = jax.nn.log_softmax(finetune.logits(network, (X,)))
        return -found[jnp.arange(40), y].mean()

    gradient = jax.jit(jax.grad(loss))(network)
    new = finetune.train(KEY, network, (X,), y, finetune.Protocol(steps=1, learning_rate=0.1))
    for a, b, g in zip(*map(jax.tree.leaves, (network, new, gradient)), strict=True):
        a, b, g = map(np.asarray, (a, b, g))
        clear = np.abs(g) > 1e-5
        np.testing.assert_allclose((a - b)[clear], 0.1 * np.sign(g)[clear], rtol=1e-2)


def test_from_scratch_there_is_no_second_input():
    network = finetune.scratch(KEY, LABELLED_DBM, 3)
    assert [w.shape for w in network.weights] == [(6, 5), (5, 4), (4, 3)] and network.feedback == ()
    wide = finetune.scratch(KEY, Machine((400, 300), (B, B)), 10)
    np.testing.assert_allclose([np.std(w) for w in wide.weights], [400**-0.5, 300**-0.5], rtol=0.05)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda n: finetune.train(KEY, n, (X,), X[:, 0], finetune.Protocol(steps=0)), "steps=0"),
        (lambda n: finetune.train(KEY, n, (X,), X[:, 0], finetune.Protocol(dropout=1.0)), "dropout=1.0"),
        (lambda n: finetune.train(KEY, n, (X,), X[:, 0], finetune.Protocol(pixel_dropout=-0.1)), "pixel_dropout=-0.1"),
        (lambda n: finetune.train(KEY, n, (X[:0],), X[:0, 0], finetune.Protocol()), "no examples"),
        (lambda n: finetune.unroll(KEY, LABELLED_RBM, brute.params(LABELLED_RBM), 4), "3 classes; the data has 4"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call(finetune.unroll(KEY, RBM, brute.params(RBM), 3))
