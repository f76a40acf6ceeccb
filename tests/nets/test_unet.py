"""The U-Net, and the blocks that it stands on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from synthjax.nets import precision
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


def test_64_bit_mode_and_strict_ranks_change_nothing():
    x, t, label = np.zeros((2, 7, 5, 1), np.float32), np.float32([0.1, 0.5]), np.int32([0, 1])
    expected = fourier(jnp.asarray(t), 8)
    with jax.enable_x64(True), jax.numpy_rank_promotion("raise"):
        params = jax.eval_shape(NET.init, jax.random.key(0), x, t, label)
        jaxpr = jax.make_jaxpr(lambda p: jax.grad(lambda p: NET.apply(p, x, t, label).sum())(p))(params)
        found = fourier(jnp.asarray(t), 8)
    assert {a.dtype for a in [*jax.tree.leaves(params), *jaxpr.out_avals, found]} == {np.dtype(np.float32)}
    assert "f64[2" not in str(jaxpr)
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.slow
def test_forward_mode_reaches_the_whole_network():
    """A Hessian-vector product forward over reverse is that of reverse over forward, and not zero; in f64."""
    with jax.enable_x64(True):
        _forward_mode_reaches_the_whole_network()


def _forward_mode_reaches_the_whole_network():
    x, t, label = jax.random.normal(jax.random.key(0), (1, 4, 4, 1)), jnp.array([0.3]), jnp.array([1])
    net = UNet(widths=(16,), blocks=(1,), n_labels=3)
    params = jax.tree.map(lambda p: p + jnp.float64(0.05), net.init(jax.random.key(1), x, t, label))
    direction = jax.tree.map(lambda p: jnp.cos(jnp.arange(p.size, dtype=p.dtype)).reshape(p.shape), params)

    def loss(p):
        return (net.apply(p, x, t, label) ** 2).sum()

    @jax.jit
    def both(p):
        forward = jax.jvp(jax.grad(loss), (p,), (direction,))[1]
        return forward, jax.grad(lambda p: jax.jvp(loss, (p,), (direction,))[1])(p)

    for one, other in zip(*map(jax.tree.leaves, both(params)), strict=True):
        assert one.dtype == np.float64
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6 * np.abs(other).max() + 1e-9)
    assert max(np.abs(a).max() for a in jax.tree.leaves(both(params)[0])) > 1e-2


def test_bfloat16_computes_so_and_keeps_parameters_gradients_and_output_in_f32():
    x, t, label = jax.random.normal(jax.random.key(0), (2, 4, 4, 1)), jnp.array([0.3, 0.31]), jnp.array([1, 2])
    with precision.use("bfloat16") as policy:
        assert precision.current() is policy
    assert precision.current() is precision.POLICIES["float32"]
    low, full = (UNet(widths=(16,), blocks=(1,), n_labels=3, dtype=d) for d in (policy.compute, None))
    params = jax.tree.map(lambda p: p + 0.05, low.init(jax.random.key(1), x, t, label))

    @jax.jit
    def both(p):
        made, exact = (net.apply(p, x, t, label) for net in (low, full))
        return made, exact, jax.grad(lambda p: low.apply(p, x, t, label).sum())(p)

    made, exact, gradient = both(params)
    assert {a.dtype for a in [made, *jax.tree.leaves(params), *jax.tree.leaves(gradient)]} == {np.dtype(np.float32)}
    scale = np.abs(exact).max()
    assert 1e-5 * scale < np.abs(made - exact).max() < 0.05 * scale
    assert "bf16[2,2,2,16]" in str(jax.make_jaxpr(low.apply)(params, x, t, label))
