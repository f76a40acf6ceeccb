"""The four nets of the study: sizes as it states them, labels where it puts them, optimisers as PyTorch has them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from synthjax.errors import InputError
from synthjax.model import Batch, DataSpec
from synthjax.models import cgan

SPEC = DataSpec.from_arrays(np.zeros((20, 28, 28, 1), np.uint8), np.arange(20) % 10)


def count(tree) -> int:
    return sum(a.size for a in jax.tree.leaves(tree))


def linear(inputs, outputs) -> int:
    return inputs * outputs + outputs


def conv(taps, inputs, outputs) -> int:
    return taps * taps * inputs * outputs + outputs


def norm(features) -> int:
    return 2 * features


DENSE = (
    linear(50 + 10, 256) + linear(256, 512) + linear(512, 1024) + linear(1024, 784) + norm(256 + 512 + 1024),
    linear(784 + 10, 1024) + linear(1024, 512) + linear(512, 256) + linear(256, 1),
)
CONVOLUTIONAL = (
    10 * 50 + linear(50, 128 * 14 * 14) + norm(128) + conv(4, 128, 64) + conv(4, 64, 16) + conv(4, 16, 1),
    10 * 784 + linear(784, 128 * 7 * 7) + conv(3, 128, 64) + conv(3, 64, 32) + linear(800, 1),
)


def batch(spec=SPEC, size=4) -> Batch:
    x = jax.random.uniform(jax.random.key(0), (size, *spec.shape), minval=-1, maxval=1)
    return Batch(x, jnp.arange(size) % 10, jnp.ones(size), jnp.arange(size))


@pytest.mark.parametrize(
    ("name", "sizes"),
    [("cgan", DENSE), ("cwgan", DENSE), ("cdcgan", CONVOLUTIONAL), ("cwdcgan", CONVOLUTIONAL)],
)
def test_parameters_are_as_many_as_the_study_says(name, sizes):
    model = cgan.build(cgan.PRESETS[name], SPEC)
    state = jax.eval_shape(model.init, jax.random.key(0))
    assert (count(state.generator["params"]), count(state.critic["params"])) == sizes


@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (32, 32, 3), (15, 9, 1)])
@pytest.mark.parametrize("options", [{}, {"embedding": "stacked", "pools": False}, {"layers": "dense"}])
def test_images_of_any_size_are_made(shape, options):
    spec = dataclasses.replace(SPEC, shape=shape)
    model = cgan.build(cgan.Config(**options), spec)
    state = jax.eval_shape(model.init, jax.random.key(0))
    assert jax.eval_shape(model.sample, jax.random.key(0), state, jnp.zeros(3, jnp.int32)).shape == (3, *shape)
    assert jax.eval_shape(model.score, jax.random.key(0), state, batch(spec)).shape == (4,)


def test_the_last_features_of_the_convolutional_critic_are_800():
    critic = cgan.ConvolutionalCritic(10)
    one = batch()
    variables = jax.eval_shape(critic.init, jax.random.key(0), one.x, one.y, one.weight, False)
    _, features = jax.eval_shape(lambda v: critic.apply(v, one.x, one.y, one.weight, False), variables)
    assert features.shape == (4, 800)


def test_pools_are_maxima_of_two_by_two():
    x = np.random.default_rng(0).normal(size=(2, 4, 5, 3)).astype(np.float32)
    expected = np.stack([np.stack([x[:, i : i + 2, j : j + 2].max((1, 2)) for j in range(4)], 1) for i in range(3)], 1)
    np.testing.assert_array_equal(cgan._pool(jnp.asarray(x)), expected)


def test_product_embedding_of_ones_changes_nothing_and_of_zeros_everything():
    """The label only enters by the product: with an embedding of ones the players see z and x as they are."""
    one = batch()
    critic = cgan.ConvolutionalCritic(10)
    variables = critic.init(jax.random.key(0), one.x, one.y, one.weight, False)
    variables["params"]["Embed_0"]["embedding"] = jnp.ones((10, 784))
    plain, _ = critic.apply(variables, one.x, one.y, one.weight, False)
    other, _ = critic.apply(variables, one.x, one.y[::-1], one.weight, False)
    np.testing.assert_array_equal(plain, other)
    variables["params"]["Embed_0"]["embedding"] = jnp.zeros((10, 784))
    empty, _ = critic.apply(variables, one.x, one.y, one.weight, False)
    np.testing.assert_array_equal(empty, jnp.full(4, empty[0]))


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_adam_with_l2_is_pytorchs(decay):
    optimiser = cgan._optimiser(cgan.Config(weight_decay=decay))
    params, mean, square = np.array([1.0, -2.0]), np.zeros(2), np.zeros(2)
    ours, state = jnp.asarray(params), optimiser.init(jnp.asarray(params))
    for t in range(1, 4):
        gradient = np.array([0.3, -0.1]) * t
        update, state = optimiser.update(jnp.asarray(gradient), state, ours)
        ours = ours - 0.01 * update
        full = gradient + decay * params
        mean, square = 0.9 * mean + 0.1 * full, 0.999 * square + 0.001 * full**2
        params = params - 0.01 * (mean / (1 - 0.9**t)) / (np.sqrt(square / (1 - 0.999**t)) + 1e-8)
        np.testing.assert_allclose(ours, params, rtol=1e-5)


def test_rmsprop_is_pytorchs():
    optimiser = cgan._optimiser(cgan.PRESETS["cwgan"])
    params, square = np.array([1.0, -2.0]), np.zeros(2)
    ours, state = jnp.asarray(params), optimiser.init(jnp.asarray(params))
    for t in range(1, 4):
        gradient = np.array([0.3, -0.1]) * t
        update, state = optimiser.update(jnp.asarray(gradient), state, ours)
        ours = ours - 0.01 * update
        square = 0.99 * square + 0.01 * gradient**2
        params = params - 0.01 * gradient / (np.sqrt(square) + 1e-8)
        np.testing.assert_allclose(ours, params, rtol=1e-5)


def test_a_step_scales_the_updates_by_the_learning_rate():
    """The first step of Adam moves each parameter that has a gradient by the rate."""
    one = batch()
    model = cgan.build(dataclasses.replace(cgan.PRESETS["cgan"], learning_rate=0.01), SPEC)
    start = jax.jit(model.init)(jax.random.key(0))
    state, metrics = jax.jit(model.step)(jax.random.key(1), 0, start, one)
    assert metrics["learning_rate"] == np.float32(0.01)
    for before, after in ((start.generator, state.generator), (start.critic, state.critic)):
        change = np.abs(before["params"]["Dense_3"]["bias"] - after["params"]["Dense_3"]["bias"])
        np.testing.assert_allclose(change, 0.01, rtol=1e-2)


def test_refusals_are_one_line():
    for fields, words in (({"noise": 0}, "noise=0: must be"), ({"weight_decay": -1.0}, "weight_decay=-1.0: must not")):
        with pytest.raises(InputError, match=rf"^model\.{words}"):
            cgan.Config(**fields)
    table = DataSpec.from_arrays(np.zeros((4, 3)), np.arange(4) % 2)
    bare = DataSpec.from_arrays(np.zeros((4, 8, 8, 1), np.uint8))
    for spec, words in ((table, "make images; the data is a table"), (bare, "the data has no labels")):
        with pytest.raises(InputError, match=words):
            cgan.build(cgan.Config(), spec)
