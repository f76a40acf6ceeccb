import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from synthjax import data
from synthjax.errors import InputError
from synthjax.evals import classifiers, keras_cnn
from synthjax.model import DataSpec
from synthjax.studies import s1_cnn

BOTH = [keras_cnn.PROTOCOL, s1_cnn.PROTOCOL]
FAST_S1 = dataclasses.replace(s1_cnn.PROTOCOL, rate=optax.constant_schedule(1e-3))
"""At the protocol's own rate nothing is learnt within a test's time."""
DIGITS = data.load("digits")
ROWS = len(DIGITS.train.y)


def enlarged(protocol, x):
    """Digits as large as the network needs them."""
    times = -(-protocol.min_side // 8)
    return np.repeat(np.repeat(x, times, 1), times, 2)


def shapes(protocol, side, n_classes=10):
    """Of the parameters, for grey images of a side."""
    net = protocol.net(n_classes)
    return jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, side, side, 1)))["params"]


def test_parameter_counts_by_hand():
    keras = (3 * 3 * 1 + 1) * 32 + (3 * 3 * 32 + 1) * 64 + (12 * 12 * 64 + 1) * 128 + (128 + 1) * 10
    s1 = (5 * 5 * 1 + 1) * 32 + (5 * 5 * 32 + 1) * 64 + (4 * 4 * 64 + 1) * 1024 + (1024 + 1) * 10
    # What Keras' `model.summary()` says of its example; CS231n's discriminator has 1,102,721 with one output.
    assert keras == 1_199_882 and s1 == 1_102_721 + 9 * 1025
    for protocol, count in zip(BOTH, (keras, s1), strict=True):
        assert sum(leaf.size for leaf in jax.tree.leaves(shapes(protocol, 28))) == count


@pytest.mark.parametrize("protocol", BOTH, ids=lambda p: p.net.__name__)
def test_smallest_image(protocol):
    assert shapes(protocol, protocol.min_side)["Dense_0"]["kernel"].shape[0] == 64, "1x1 pixel in 64 channels"
    shape = (protocol.min_side - 1, 40, 1)
    with pytest.raises(InputError, match=rf"{shape[0]}x40 pixels .* {protocol.name}"):
        classifiers.train(
            jax.random.key(0), (np.zeros((9, *shape)), np.zeros(9)), DataSpec("image", shape), protocol=protocol
        )


def _keras(p, x):
    """The layers in the order that the Keras example has them."""
    for name, width in (("Conv_0", 32), ("Conv_1", 64)):
        x = nn.relu(nn.Conv(width, (3, 3), padding="VALID").apply({"params": p[name]}, x))
    x = nn.max_pool(x, (2, 2), (2, 2)).reshape(len(x), -1)
    features = jnp.maximum(x @ p["Dense_0"]["kernel"] + p["Dense_0"]["bias"], 0)
    return features @ p["Dense_1"]["kernel"] + p["Dense_1"]["bias"], features


def _s1(p, x):
    def leaky(x):
        return jnp.where(x > 0, x, 0.01 * x)

    for name, width in (("Conv_0", 32), ("Conv_1", 64)):
        x = leaky(nn.Conv(width, (5, 5), padding="VALID").apply({"params": p[name]}, x))
        x = nn.max_pool(x, (2, 2), (2, 2))
    features = leaky(x.reshape(len(x), -1) @ p["Dense_0"]["kernel"] + p["Dense_0"]["bias"])
    return features @ p["Dense_1"]["kernel"] + p["Dense_1"]["bias"], features


@pytest.mark.parametrize(("protocol", "reference"), [(keras_cnn.PROTOCOL, _keras), (s1_cnn.PROTOCOL, _s1)])
def test_layers_against_linens(protocol, reference):
    net = protocol.net(4)
    rng = np.random.default_rng(0)
    x = rng.random((3, 17, 18, 2), np.float32)
    variables = jax.eval_shape(net.init, jax.random.key(1), x)
    params = jax.tree.map(lambda leaf: rng.normal(0, 0.05, leaf.shape).astype(np.float32), variables["params"])
    for ours, theirs in zip(jax.jit(net.apply)({"params": params}, x), jax.jit(reference)(params, x), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_dropout_of_the_keras_net_and_only_in_training():
    net, x = keras_cnn.KerasCNN(3), jnp.zeros((40, 12, 12, 1))
    params = jax.tree.map(lambda s: jnp.full(s.shape, 1e-3), shapes(keras_cnn.PROTOCOL, 12, 3))

    @jax.jit
    def run(*weight):
        rngs = {"dropout": jax.random.key(0)}
        return net.apply({"params": params}, x, *weight, rngs=rngs, capture_intermediates=dropouts)[1]

    def dropouts(module, _):
        return isinstance(module, nn.Dropout)

    def zeros(*weight):
        seen = run(*weight)
        return [float((seen["intermediates"][f"Dropout_{i}"]["__call__"][0] == 0).mean()) for i in (0, 1)]

    # Every activation is positive: zeros are dropped values, 40 x 1024 and 40 x 128 of them drawn.
    assert zeros(jnp.ones(40)) == [pytest.approx(0.25, abs=0.01), pytest.approx(0.5, abs=0.035)]
    assert zeros() == [0, 0]


def test_adadelta_by_hand():
    """Zeiler's algorithm 1, with epsilon inside both roots, as Keras had it."""
    rng = np.random.default_rng(0)
    start = params = rng.normal(size=5)
    squares = updates = np.zeros(5)
    theirs, state = jnp.asarray(start), keras_cnn.PROTOCOL.optimiser.init(jnp.asarray(start))
    for step in range(3):
        gradient = rng.normal(size=5) * 10.0 ** np.arange(-4, 1)
        squares = 0.95 * squares + 0.05 * gradient**2
        update = np.sqrt(updates + 1e-7) / np.sqrt(squares + 1e-7) * gradient
        updates = 0.95 * updates + 0.05 * update**2
        params = params - 1.0 * update
        move, state = keras_cnn.PROTOCOL.optimiser.update(jnp.asarray(gradient), state)
        theirs = theirs - keras_cnn.PROTOCOL.rate(jnp.float32(step / 3)) * move
        # f32 against f64, and moves of 1e-3 in numbers of 1.
        np.testing.assert_allclose(theirs - start, params - start, rtol=1e-3, atol=1e-6)
    assert np.abs(params - start).min() > 1e-5


@pytest.mark.parametrize(
    ("protocol", "pixels"), [(keras_cnn.PROTOCOL, {28: 2, 32: 3, 8: 0, 10: 1}), (s1_cnn.PROTOCOL, {28: 0, 32: 0})]
)
def test_largest_shift(protocol, pixels):
    for side, most in pixels.items():
        assert classifiers.largest_shift(DataSpec("image", (side, side + 10, 1)), protocol) == most


def one_step(protocol, x, n):
    """State before and after the first step on the first `n` rows, compiled as `train` compiles it for all digits."""
    net, keys = protocol.net(10), jax.random.split(jax.random.key(1), 1)
    x, y = jnp.asarray(enlarged(protocol, x)), jnp.asarray(DIGITS.train.y)
    before = classifiers._init(net, keys, x[:1], protocol.optimiser)
    kept = jax.tree.map(np.asarray, before)
    task = classifiers.Task(net, protocol, 17, 0)
    return kept, classifiers._steps(task, keys, before, (x, y, n), (0, 1, 0, 1))


@pytest.mark.parametrize("protocol", [keras_cnn.PROTOCOL, FAST_S1], ids=lambda p: p.net.__name__)
def test_padding_changes_nothing_and_the_count_is_not_compiled(protocol, monkeypatch):
    x = DIGITS.train.x
    zeros = x.copy()
    zeros[90:] = 0
    _, a = one_step(protocol, zeros, 90)
    monkeypatch.delattr(classifiers, "_step")  # whoever traces again will miss it
    (_, b), (_, more) = one_step(protocol, x, 90), one_step(protocol, x, 91)
    assert all(np.array_equal(p, q) for p, q in zip(*map(jax.tree.leaves, (a, b)), strict=True))
    assert not all(np.array_equal(p, q) for p, q in zip(*map(jax.tree.leaves, (b, more)), strict=True))


def test_start_of_the_weights_and_first_step_of_adam():
    for protocol, limits in (
        (keras_cnn.PROTOCOL, {"Conv_1": (6 / (9 * 32 + 9 * 64)) ** 0.5, "Dense_0": (6 / (256 + 128)) ** 0.5}),
        (FAST_S1, {"Conv_1": (25 * 32) ** -0.5, "Dense_0": 64**-0.5}),
    ):
        (before, _), (after, _) = one_step(protocol, DIGITS.train.x, ROWS)
        for name, limit in limits.items():
            kernel = before["params"][name]["kernel"]
            assert 0.99 * limit < np.abs(kernel).max() <= limit * (1 + 1e-6)
            assert kernel.std() == pytest.approx(limit / 3**0.5, rel=0.02), "uniform"
            assert not before["params"][name]["bias"].any()
    # Of S1, the last: the rate times the gradient's sign, where the gradient is far above Adam's epsilon.
    moves = np.asarray(after["params"]["Dense_1"]["kernel"]) - before["params"]["Dense_1"]["kernel"]
    assert np.median(np.abs(moves)) == pytest.approx(1e-3, rel=1e-3)
    assert s1_cnn.PROTOCOL.rate(0.0) == s1_cnn.PROTOCOL.rate(0.9) == 1e-5


def test_mirrored_classes_cannot_be_told_apart_and_only_with_flips():
    def sides(seed, n):
        """Noisy images whose label says which half is bright: left, right or top."""
        rng = np.random.default_rng(seed)
        y = rng.integers(0, 3, n).astype(np.int32)
        x = rng.integers(0, 9, (n, 8, 8, 1), np.uint8)
        x[y == 0, :, :4] += 8
        x[y == 1, :, 4:] += 8
        x[y == 2, :4] += 8
        return x, y

    x, y = sides(1, 600)
    right = {}
    for flip in (True, False):
        protocol = dataclasses.replace(keras_cnn.PROTOCOL, flip=flip)
        nets = classifiers.train(jax.random.key(0), sides(0, 300), DIGITS.spec, seeds=1, protocol=protocol, pad_to=ROWS)
        right[flip] = classifiers.predict(nets, x)[0].argmax(-1) == y
    assert right[False].mean() > 0.95
    # Left and right change places: a coin's throw. Top stays top.
    assert right[True][y < 2].mean() < 0.65 and right[True][y == 2].mean() > 0.95


@pytest.mark.parametrize(
    "protocol",
    [keras_cnn.PROTOCOL, pytest.param(FAST_S1, marks=pytest.mark.slow)],
    ids=lambda p: p.net.__name__,
)
def test_learns_digits(protocol):
    train, test = (enlarged(protocol, part.x) for part in (DIGITS.train, DIGITS.test))
    spec = DataSpec.from_arrays(train, DIGITS.train.y, levels=17)
    examples, chosen = (train, DIGITS.train.y), protocol.with_epochs(12)
    nets = classifiers.train(jax.random.key(0), examples, spec, seeds=1, protocol=chosen)
    assert (classifiers.predict(nets, test)[0].argmax(-1) == DIGITS.test.y).mean() > 0.85
    assert classifiers.features(nets, test[:3]).shape == (3, 128 if protocol is keras_cnn.PROTOCOL else 1024)
