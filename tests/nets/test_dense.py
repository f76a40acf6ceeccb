"""Dense layers: Flax's own at JAX's default precision, products of rounded factors where bfloat16 is asked for."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from synthjax.nets import dense

RANDOM = np.random.default_rng(0)
X, W, G = (RANDOM.standard_normal(shape, np.float32) for shape in ((6, 5), (5, 3), (6, 3)))
LOW = jax.default_matmul_precision("bfloat16")
on_cpu = pytest.mark.skipif(jax.default_backend() != "cpu", reason="rounds on CPUs alone; a GPU may keep more digits")


def rounded(a):
    """Nearest bfloat16, ties to even, as f64."""
    return np.asarray(a).astype(ml_dtypes.bfloat16).astype(np.float64)


def product(x, w):
    return dense.dot_general(x, w, (((x.ndim - 1,), (0,)), ((), ())))


@pytest.mark.parametrize("module", [nn.Dense, dense.Dense], ids=["flax", "ours"])
def test_at_the_default_precision_it_is_flax_to_the_bit(module):
    layer = module(4)
    params = layer.init(jax.random.key(0), X)
    expected = nn.Dense(4).init(jax.random.key(0), X)
    jax.tree.map(np.testing.assert_array_equal, params, expected)
    got, gradient = jax.value_and_grad(lambda p: (layer.apply(p, X) ** 2).sum())(params)
    other, reference = jax.value_and_grad(lambda p: (nn.Dense(4).apply(p, X) ** 2).sum())(expected)
    np.testing.assert_array_equal(got, other)
    jax.tree.map(np.testing.assert_array_equal, gradient, reference)


@on_cpu
@pytest.mark.parametrize("setting", dense.BFLOAT16)
def test_factors_are_rounded_and_sums_are_not(setting):
    with jax.default_matmul_precision(setting):
        value, pullback = jax.vjp(product, X, W)
        dx, dw = pullback(G)
    for got, a, b in ((value, X, W), (dx, G, W.T), (dw, X.T, G)):
        np.testing.assert_allclose(got, rounded(a) @ rounded(b), rtol=1e-5, atol=1e-5)
    assert np.abs(value - X @ W).max() > 1e-3  # float32 would be exact to 1e-6


@pytest.mark.parametrize("rows", [dense.SLOW, 7])
def test_every_number_of_rows_gives_the_same_products(rows):
    """An odd number cannot be turned in halves, and some are padded."""
    x, g = (RANDOM.standard_normal((rows, size), np.float32) for size in (5, 3))
    for got, a, b in (
        (dense.forward(x, W), x, W),
        (dense.backward(g, W), g, W.T),
        (dense.outer(x, g), x.T, g),
    ):
        np.testing.assert_allclose(got, rounded(a) @ rounded(b), rtol=1e-4, atol=1e-4)


def test_gradient_of_a_slope():
    """As a gradient penalty takes it, of a quadratic: d/dw sum |grad_x |x w|^2 / 2|^2 in closed form, to rounding."""

    def penalty(w):
        slope = jax.grad(lambda x: (product(x, w) ** 2).sum() / 2)(jnp.asarray(X))
        return (slope**2).sum()

    with LOW:
        value, got = jax.value_and_grad(penalty)(jnp.asarray(W))
    a, b = X.astype(np.float64), W.astype(np.float64)
    slope = a @ b @ b.T  # of the sum, d/db |a b b'|^2 = 2 (a' s b + s' a b)
    np.testing.assert_allclose(value, (slope**2).sum(), rtol=8 * 2**-8)
    exact = 2 * (a.T @ slope @ b + slope.T @ a @ b)
    np.testing.assert_allclose(got, exact, atol=8 * 2**-8 * np.abs(exact).max())


@on_cpu
def test_leading_axes_and_vmap():
    x, w = RANDOM.standard_normal((2, 4, 5), np.float32), RANDOM.standard_normal((2, 5, 3), np.float32)
    with LOW:
        flat = product(x, W)
        both = jax.vmap(product)(x, w)
        shared = jax.grad(lambda w: jax.vmap(product, (0, None))(x, w).sum())(jnp.asarray(W))
    np.testing.assert_allclose(flat, rounded(x) @ rounded(W), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(both, rounded(x) @ rounded(w), rtol=1e-5, atol=1e-5)
    expected = np.repeat(rounded(x).sum((0, 1))[:, None], 3, axis=1)
    np.testing.assert_allclose(shared, expected, rtol=1e-5, atol=1e-5)


def test_other_types_and_an_asked_precision_are_left_alone():
    with LOW:
        half = product(X.astype(np.float16), W.astype(np.float16))
        highest = dense.dot_general(X, W, (((1,), (0,)), ((), ())), precision="highest")
    assert half.dtype == np.float16
    np.testing.assert_allclose(highest, X @ W, rtol=1e-5, atol=1e-6)


def energy(w, x):
    """Of two layers, not quadratic: every derivative of it differs."""
    return jnp.sin(product(jnp.tanh(product(x, w)), w.T))


def exact(w, x):
    return jnp.sin(jnp.tanh(x @ w) @ w.T)


def total(f):
    return lambda *a: f(*a).sum()


MODES = {
    "jvp": lambda f, w, x, dw, dx: jax.jvp(f, (w, x), (dw, dx))[1],
    "linearize": lambda f, w, x, dw, dx: jax.linearize(f, w, x)[1](dw, dx),
    "forward over reverse": lambda f, w, x, dw, dx: jax.jvp(jax.grad(total(f)), (w, x), (dw, dx))[1],
    "reverse over forward": lambda f, w, x, dw, dx: jax.grad(lambda w: jax.jvp(total(f), (w, x), (dw, dx))[1])(w),
    "hessian": lambda f, w, x, dw, dx: jax.hessian(total(f))(w, x),
}


@pytest.mark.parametrize("mode", MODES)
def test_forward_mode_in_bfloat16(mode):
    """Against f32 products, to rounding; alone and under `vmap` over weights."""
    random = np.random.default_rng(1)
    dw, dx = (random.standard_normal(a.shape, np.float32) for a in (W, X))
    arguments = jnp.asarray(0.3 * W), jnp.asarray(0.3 * X), dw, dx
    many = tuple(jnp.stack([a, 0.5 * a]) for a in arguments)
    with LOW:
        got = jax.jit(lambda *a: MODES[mode](energy, *a))(*arguments)
        both = jax.jit(jax.vmap(lambda *a: MODES[mode](energy, *a)))(*many)
    for found, given in ((got, arguments), (both[0], arguments), (both[1], tuple(0.5 * a for a in arguments))):
        reference = np.asarray(MODES[mode](exact, *given))
        np.testing.assert_allclose(found, reference, atol=8 * 2**-8 * np.abs(reference).max())


def test_64_bit_mode_and_strict_ranks_change_nothing():
    with LOW, jax.enable_x64(True), jax.numpy_rank_promotion("raise"):
        layer = dense.Dense(4)
        params = layer.init(jax.random.key(0), X)
        found = jax.value_and_grad(lambda p: (layer.apply(p, X) ** 2).sum())(params)
    assert {a.dtype for a in jax.tree.leaves(found)} == {np.dtype(np.float32)}


@on_cpu
def test_a_layer_of_bfloat16_rounds_its_factors_and_keeps_parameters_in_f32():
    layer = dense.Dense(3, dtype=jnp.bfloat16, use_bias=False)
    params = layer.init(jax.random.key(0), X)
    value, pullback = jax.vjp(lambda p: layer.apply(p, X), params)
    (gradient,) = pullback(jnp.bfloat16(G))
    kernel, slope = params["params"]["kernel"], gradient["params"]["kernel"]
    assert value.dtype == jnp.bfloat16 and kernel.dtype == slope.dtype == jnp.float32
    np.testing.assert_array_equal(value, rounded(np.float32(rounded(X) @ rounded(kernel))))
    np.testing.assert_allclose(slope, rounded(X).T @ rounded(G), rtol=2**-7, atol=1e-2)
    assert "bilinear" in str(jax.make_jaxpr(layer.apply)(params, X))
