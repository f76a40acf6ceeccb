"""DCGAN and WGAN-GP: nets as the papers build them, labels, padding, and what is refused."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from synthjax.errors import InputError
from synthjax.gan_losses import Rules
from synthjax.model import Batch, DataSpec
from synthjax.models import dcgan
from synthjax.nets import precision

SPEC = DataSpec.from_arrays(np.zeros((20, 28, 28, 1), np.uint8), np.arange(20) % 10)
SMALL = dcgan.Config(noise=8, channels=(8, 16))


def batch(spec=SPEC, size=6) -> Batch:
    x = jax.random.uniform(jax.random.key(0), (size, *spec.shape), minval=-1, maxval=1)
    return Batch(x, jnp.arange(size) % 10, jnp.ones(size), jnp.arange(size))


def variables(config, spec=SPEC):
    state = dcgan.build(config, spec).init(jax.random.key(0))
    return state.generator, state.critic


@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (32, 32, 3), (15, 9, 1)])
@pytest.mark.parametrize("name", ["dcgan", "wgan_gp"])
def test_images_of_any_size_are_made(name, shape):
    spec = dataclasses.replace(SPEC, shape=shape)
    model = dcgan.build(dcgan.PRESETS[name], spec)
    state = jax.eval_shape(model.init, jax.random.key(0))
    assert jax.eval_shape(model.sample, jax.random.key(0), state, jnp.zeros(3, jnp.int32)).shape == (3, *shape)
    assert jax.eval_shape(model.score, jax.random.key(0), state, batch(spec)).shape == (6,)


def test_bfloat16_changes_images_and_values_by_its_rounding_errors_alone():
    state = dcgan.build(SMALL, SPEC).init(jax.random.key(0))
    made = []
    for name in ("float32", "bfloat16"):
        with precision.use(name):
            model = dcgan.build(SMALL, SPEC)
        made.append((model.sample(jax.random.key(1), state, jnp.arange(6)), model.score(None, state, batch())))
    for exact, rounded in zip(*made, strict=True):
        assert 1e-5 < np.abs(rounded - exact).max() / np.abs(exact).max() < 0.05


def test_weights_start_as_normal_with_deviation_of_a_fiftieth():
    generator, critic = variables(dcgan.PRESETS["dcgan"])
    for params in (generator["params"], critic["params"]):
        for path, leaf in jax.tree_util.tree_leaves_with_path(params):
            name = path[-1].key
            if name == "kernel":
                assert abs(float(leaf.std()) - 0.02) < 0.002, path
                assert abs(float(leaf.mean())) < 0.002, path
            elif name == "scale":
                assert abs(float(leaf.mean()) - 1) < 0.02, path
            elif name == "bias":
                assert not leaf.any(), path


def test_norms_are_where_the_papers_put_them():
    """None beside the image: one in each net of two layers; layer norm keeps no statistics."""
    generator, critic = variables(SMALL)
    assert [a.shape for a in jax.tree.leaves(generator["batch_stats"])] == [(16,), (16,), (8,), (8,)]
    assert [a.shape for a in jax.tree.leaves(critic["batch_stats"])] == [(16,), (16,)]
    for norm in ("layer", "none"):
        _, critic = variables(dataclasses.replace(SMALL, norm=norm))
        assert "batch_stats" not in critic
        assert ("LayerNorm_0" in critic["params"]) == (norm == "layer")


def test_the_critic_projects_onto_the_label():
    """D(x, y) - D(x, y') = (v_y - v_y') . h(x)."""
    critic = dcgan.Critic(dataclasses.replace(SMALL, norm="none"), 10)
    one = batch()
    v = critic.init(jax.random.key(0), one.x, one.y, one.weight, False)
    zeros = jnp.zeros_like(one.y)
    value, features = critic.apply(v, one.x, one.y, one.weight, False)
    other, same = critic.apply(v, one.x, zeros, one.weight, False)
    np.testing.assert_array_equal(features, same)
    table = v["params"]["Embed_0"]["embedding"]
    np.testing.assert_allclose(value - other, ((table[one.y] - table[0]) * features).sum(-1), rtol=1e-4, atol=1e-5)


def test_unconditional_players_do_not_see_labels():
    model = dcgan.build(dataclasses.replace(SMALL, conditional=False), SPEC)
    state = model.init(jax.random.key(0))
    assert not model.conditional and "Embed_0" not in state.critic["params"]
    labels = jnp.arange(6)
    one, other = (model.sample(jax.random.key(1), state, y) for y in (labels, labels[::-1]))
    np.testing.assert_array_equal(one, other)


def test_minibatch_stddev_adds_one_input_to_the_last_layer():
    _, plain = variables(SMALL)
    _, seeing = variables(dataclasses.replace(SMALL, minibatch_stddev=True))
    assert len(seeing["params"]["Dense_0"]["kernel"]) == len(plain["params"]["Dense_0"]["kernel"]) + 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rules": Rules(r1=1.0)}, "r1: not defined per example, since the critic has batch norm"),
        ({"norm": "layer", "minibatch_stddev": True, "rules": Rules(gradient_penalty=1.0)}, "minibatch standard"),
        ({"channels": ()}, "needs at least one convolution"),
        ({"channels": (8, 0)}, "model.channels=(8, 0): each must be at least 1"),
        ({"noise": 0}, "model.noise=0: must be at least 1"),
        ({"channels": (8,) * 8}, "too many convolutions of stride 2 for 28x28 pixels"),
    ],
)
def test_refusals_are_one_line(options, words):
    with pytest.raises(InputError) as error:
        dcgan.build(dataclasses.replace(SMALL, **options), SPEC)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_tables_are_refused():
    with pytest.raises(InputError, match="make images; the data is a table"):
        dcgan.build(SMALL, DataSpec.from_arrays(np.zeros((4, 3)), np.arange(4) % 2))
