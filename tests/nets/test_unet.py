"""The U-Net, and the blocks that it stands on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from synthjax.nets.embeddings import TimeLabel, fourier
from synthjax.nets.unet import ResidualBlock, UNet, fold, unfold

NET = UNet(widths=(16, 32), blocks=(1, 1), n_labels=3)


def test_fold_by_hand():
    x = jnp.arange(16).reshape(1, 4, 4, 1)
    np.testing.assert_array_equal(fold(x, 2)[0, 0, 1], [2, 3, 6, 7])
    np.testing.assert_array_equal(fold(x, 2)[0, 1, 0], [8, 9, 12, 13])


@pytest.mark.parametrize("factor", [1, 2, 3])
@pytest.mark.parametrize("channels", [1, 3])
def test_unfold_is_the_inverse_of_fold(factor, channels):
    x = jax.random.normal(jax.random.key(0), (2, 6, 12, channels))
    folded = fold(x, factor)
    assert folded.shape == (2, 6 // factor, 12 // factor, factor**2 * channels)
    np.testing.assert_array_equal(unfold(folded, factor), x)
    np.testing.assert_array_equal(fold(unfold(folded, factor), factor), folded)


def test_fourier_by_hand():
    found = fourier(jnp.array([0.0, 0.25]), 4)
    frequencies = np.array([1, 1e-2])
    np.testing.assert_allclose(found[0], [1, 1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(found[1], [*np.cos(250 * frequencies), *np.sin(250 * frequencies)], atol=1e-4)


def test_neighbouring_times_can_be_told_apart():
    vectors = np.asarray(fourier(jnp.arange(1001) / 1000, 64))
    assert np.linalg.norm(np.diff(vectors, axis=0), axis=1).min() > 0.5


def test_time_and_label_both_count():
    net = TimeLabel(8, 3)
    t, label = jnp.array([0.1, 0.1, 0.7]), jnp.array([0, 1, 0])
    params = net.init(jax.random.key(0), t, label)
    out = np.asarray(net.apply(params, t, label))
    assert out.shape == (3, 8)
    assert np.abs(out[0] - out[1]).max() > 1e-3 and np.abs(out[0] - out[2]).max() > 1e-3
    blind = TimeLabel(8, 0)
    params = blind.init(jax.random.key(0), t, label)
    np.testing.assert_array_equal(blind.apply(params, t, label), blind.apply(params, t, jnp.zeros(3, int)))


@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (32, 32, 3), (7, 5, 2)])
def test_the_output_has_the_shape_of_the_image(shape):
    arguments = jnp.zeros((2, *shape)), jnp.zeros(2), jnp.zeros(2, int)
    out, _ = jax.eval_shape(NET.init_with_output, jax.random.key(0), *arguments)
    assert out.shape == (2, *shape) and out.dtype == jnp.float32


def test_a_new_network_is_zero_and_then_sees_all_its_inputs():
    net = NET
    x = jax.random.normal(jax.random.key(0), (4, 8, 8, 1)).at[1:3].set(0).at[1].add(1).at[2].add(1)
    x = x.at[3].set(x[0])
    t, label = jnp.array([0.2, 0.2, 0.9, 0.2]), jnp.array([0, 1, 1, 2])

    @jax.jit
    def run(key):
        params = net.init(key, x, t, label)
        moved = jax.tree.map(lambda p: p + 0.1 * jax.random.normal(jax.random.key(p.size), p.shape), params)
        return net.apply(params, x, t, label), net.apply(moved, x, t, label)

    new, moved = map(np.asarray, run(jax.random.key(1)))
    np.testing.assert_array_equal(new, 0)
    assert np.isfinite(moved).all()
    for one, other in ((0, 1), (1, 2), (0, 3)):  # image and label, time alone, label alone
        assert np.abs(moved[one] - moved[other]).max() > 1e-3
    corner = np.abs(moved[:, 0, 0]).max()
    assert corner > 1e-3 and np.abs(moved[:, -1, -1]).max() > 1e-3


def test_dropout_acts_in_training_alone():
    block = ResidualBlock(16, dropout=0.5)
    x, condition = jax.random.normal(jax.random.key(0), (1, 4, 4, 16)), jnp.ones((1, 8))
    params = jax.tree.map(lambda p: p + 0.1, block.init(jax.random.key(1), x, condition))
    apply = jax.jit(block.apply, static_argnums=3)
    one, other = (apply(params, x, condition, True, rngs={"dropout": jax.random.key(s)}) for s in (2, 3))
    assert np.abs(np.asarray(one - other)).max() > 1e-3
    np.testing.assert_array_equal(apply(params, x, condition, False), apply(params, x, condition, False))
