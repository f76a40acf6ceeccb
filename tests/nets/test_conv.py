"""Convolutions against Linen's: values, both gradients, transformations; and the traps of XLA:CPU that they avoid."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from synthjax.nets import conv

OURS = {"conv": conv.Conv, "transpose": conv.ConvTranspose}
LINEN = {"conv": nn.Conv, "transpose": nn.ConvTranspose}


def close(actual, desired, tolerance=1e-4):
    """Same tree, same shapes, and a largest difference within `tolerance` of the largest value of each leaf."""
    assert jax.tree.structure(actual) == jax.tree.structure(desired)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(desired), strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * float(jnp.abs(b).max()) + 1e-9)


def loss(module, variables, x):
    return jnp.sin(module.apply(variables, x)).sum()


def both_gradients(module, variables, x):
    return jax.jit(jax.value_and_grad(lambda v, x: loss(module, v, x), argnums=(0, 1)))(variables, x)


@pytest.mark.parametrize("kind", ["conv", "transpose"])
@pytest.mark.parametrize(
    "kernel_size, strides, padding",
    [
        ((1, 1), (1, 1), "SAME"),
        ((3, 3), (1, 1), "SAME"),
        ((3, 3), (1, 1), "VALID"),
        ((2, 5), (1, 1), ((1, 0), (0, 1))),
        ((1, 1), (2, 2), "SAME"),
        ((2, 2), (2, 2), "VALID"),
        ((3, 3), (2, 2), ((1, 0), (0, 1))),
        ((4, 4), (2, 2), "SAME"),
        ((5, 2), (2, 3), "SAME"),
        ((5, 2), (2, 3), "VALID"),
    ],
)
def test_agrees_with_linen(kind, kernel_size, strides, padding):
    settings = dict(features=4, kernel_size=kernel_size, strides=strides, padding=padding)
    ours, linen = OURS[kind](**settings), LINEN[kind](**settings)
    x = jax.random.normal(jax.random.key(0), (3, 7, 6, 2))
    variables = linen.init(jax.random.key(1), x)
    close(ours.init(jax.random.key(1), x), variables, tolerance=0)
    close(both_gradients(ours, variables, x), both_gradients(linen, variables, x))


@pytest.mark.parametrize(
    "batch, side, channels, features",
    [(67, 14, 3, 4), (67, 14, 1, 9), (67, 14, 9, 1), (40, 9, 160, 208), (3, 2, 4, 5), (2, 1, 4, 5)],
    ids=["chunks-padded", "few-entering", "few-leaving", "many-channels", "image-below-kernel", "one-pixel"],
)
def test_every_branch_of_the_rule_agrees_with_linen(batch, side, channels, features, monkeypatch):
    monkeypatch.setattr(conv, "CHUNK_VALUES", 2**14)
    x = jax.random.normal(jax.random.key(0), (batch, side, side, channels))
    ours, linen = conv.Conv(features, (3, 3)), nn.Conv(features, (3, 3))
    variables = linen.init(jax.random.key(1), x)
    close(both_gradients(ours, variables, x), both_gradients(linen, variables, x))


@pytest.mark.parametrize("kind", ["conv", "transpose"])
def test_padding_beyond_the_kernel(kind):
    """Against an input padded by hand: XLA:CPU has returned wrong gradients where an edge exceeds the kernel."""
    padding = ((4, 0), (2, 5))
    stride = 2 if kind == "transpose" else 1
    x = jax.random.normal(jax.random.key(0), (2, 7, 6, 3))
    ours = OURS[kind](4, (3, 3), strides=stride, padding=padding)
    variables = ours.init(jax.random.key(1), x)

    def padded(variables, x):
        dilated = jnp.zeros((2, 6 * stride + 1, 5 * stride + 1, 3)).at[:, ::stride, ::stride].set(x)
        by_hand = jnp.pad(dilated, ((0, 0), *padding, (0, 0)))
        return loss(nn.Conv(4, (3, 3), padding="VALID"), variables, by_hand)

    expected = jax.jit(jax.value_and_grad(padded, argnums=(0, 1)))(variables, x)
    close(both_gradients(ours, variables, x), expected)


def critic_penalty(module, variables, x):
    """The shape of WGAN-GP: a function of per-example input gradients, which is differentiated once more."""
    slopes = jax.vmap(jax.grad(lambda x: loss(module, variables, x[None])))(x)
    return (slopes**2).sum()


TRANSFORMS = {
    "seeds": lambda f: jax.vmap(jax.value_and_grad(f), (0, None)),
    "seeds, own inputs": lambda f: lambda v, x: jax.vmap(jax.grad(f))(v, jnp.stack([x, 2 * x])),
    "grad of vmap": lambda f: jax.grad(lambda v, x: jax.vmap(f, (0, None))(v, x).sum()),
    "per example": lambda f: lambda v, x: jax.vmap(jax.vmap(jax.grad(f), (None, 0)), (0, None))(v, x[:, None]),
    "remat": lambda f: jax.vmap(jax.grad(jax.checkpoint(f)), (0, None)),
    "scan": lambda f: (
        lambda v, x: jax.lax.scan(
            lambda v, _: (jax.tree.map(lambda p, g: p - 0.01 * g, v, jax.vmap(jax.grad(f), (0, None))(v, x)), None),
            v,
            length=3,
        )[0]
    ),
}


@pytest.fixture(scope="module", params=["conv", "transpose"])
def pair(request):
    """Two seeds of a strided module, ours and Linen's, and an input."""
    settings = dict(features=4, kernel_size=(4, 4), strides=(2, 2))
    ours, linen = OURS[request.param](**settings), LINEN[request.param](**settings)
    x = jax.random.normal(jax.random.key(0), (4, 6, 6, 3))
    variables = jax.vmap(lambda key: linen.init(key, x))(jax.random.split(jax.random.key(1)))
    return ours, linen, variables, x


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_transforms(pair, transform):
    ours, linen, variables, x = pair
    actual, desired = (
        jax.jit(TRANSFORMS[transform](lambda v, x, m=module: loss(m, v, x)))(variables, x) for module in (ours, linen)
    )
    close(actual, desired)


def test_gradient_of_a_gradient(pair):
    ours, linen, variables, x = pair
    actual, desired = (
        jax.jit(jax.vmap(jax.grad(lambda v, x, m=module: critic_penalty(m, v, x), argnums=(0, 1)), (0, None)))(
            variables, x
        )
        for module in (ours, linen)
    )
    close(actual, desired)


def test_kernel_gradient_of_kernel_gradient(pair):
    ours, linen, variables, x = pair
    one = jax.tree.map(lambda p: p[0], variables)

    def squared(module):
        inner = jax.grad(lambda v, x: loss(module, v, x))
        return jax.grad(lambda v, x: sum((g**2).sum() for g in jax.tree.leaves(inner(v, x))), argnums=(0, 1))

    close(jax.jit(squared(ours))(one, x), jax.jit(squared(linen))(one, x))


@pytest.mark.parametrize("kind", ["conv", "transpose"])
def test_computes_in_the_dtype_asked_for(kind):
    x = jax.random.normal(jax.random.key(0), (2, 8, 8, 3))
    module = OURS[kind](4, (4, 4), strides=2, dtype=jnp.bfloat16)
    variables = module.init(jax.random.key(1), x)
    assert variables["params"]["kernel"].dtype == jnp.float32
    assert module.apply(variables, x).dtype == jnp.bfloat16
    value, (gradient, dx) = both_gradients(module, variables, x)
    assert value.dtype == jnp.bfloat16 and gradient["params"]["kernel"].dtype == jnp.float32 and dx.dtype == jnp.float32
    # Of the kernel alone: XLA:CPU sums the bias's gradient in bf16, Linen's as ours.
    exact = both_gradients(OURS[kind](4, (4, 4), strides=2), variables, x)[1][0]
    close(gradient["params"]["kernel"], exact["params"]["kernel"], tolerance=0.05)


def test_batch_split_over_devices_agrees_with_one(pair):
    if jax.device_count() < 2:
        pytest.skip("needs two devices")
    ours = pair[0]
    x = jax.random.normal(jax.random.key(0), (64, 14, 14, 3))
    variables = jax.tree.map(lambda p: p[0], pair[2])
    mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:2])
    split = jax.device_put(x, jax.NamedSharding(mesh, jax.P("data")))
    whole = jax.device_put(variables, jax.NamedSharding(mesh, jax.P()))
    close(both_gradients(ours, whole, split), both_gradients(ours, variables, x))


def test_other_platforms_keep_one_convolution():
    """Exported for a GPU, the forward pass is XLA's convolution with its stride, and nothing of the CPU form."""
    x, kernel = jnp.zeros((2, 8, 8, 3)), jnp.zeros((4, 4, 3, 4))
    f = jax.jit(lambda x, k: conv.conv(x, k, (2, 2), ((1, 1), (1, 1))))
    text = jax.export.export(f, platforms=["cuda"])(x, kernel).mlir_module()
    assert text.count("stablehlo.convolution") == 1 and "stablehlo.reshape" not in text


def directions(tree, seed):
    """A random direction for every leaf."""
    leaves, structure = jax.tree.flatten(tree)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    return jax.tree.unflatten(
        structure, [jax.random.normal(k, a.shape, a.dtype) for k, a in zip(keys, leaves, strict=True)]
    )


def forward_over_reverse(f, v, x, dv, dx):
    return jax.jvp(jax.grad(f, argnums=(0, 1)), (v, x), (dv, dx))[1]


def reverse_over_forward(f, v, x, dv, dx):
    return jax.grad(lambda v, x: jax.jvp(f, (v, x), (dv, dx))[1], argnums=(0, 1))(v, x)


MODES = {
    "jvp": lambda f, v, x, dv, dx: jax.jvp(f, (v, x), (dv, dx)),
    "linearize": lambda f, v, x, dv, dx: jax.linearize(f, v, x)[1](dv, dx),
    "forward over reverse": forward_over_reverse,
    "reverse over forward": reverse_over_forward,
}


@pytest.mark.parametrize("seeds", [False, True], ids=["one", "vmap"])
@pytest.mark.parametrize("mode", MODES)
def test_forward_mode_agrees_with_linen(pair, mode, seeds):
    ours, linen, variables, x = pair
    dv, dx = directions(variables, 2), directions(x, 3)

    def run(module):
        one = functools.partial(MODES[mode], functools.partial(loss, module))
        if seeds:
            return jax.jit(jax.vmap(one, (0, None, 0, None)))(variables, x, dv, dx)
        first = functools.partial(jax.tree.map, lambda a: a[0])
        return jax.jit(one)(first(variables), x, first(dv), dx)

    close(run(ours), run(linen))


@pytest.mark.parametrize("kind", ["conv", "transpose"])
def test_hessian(kind):
    """Of all parameters: `jax.hessian` maps forward mode over every direction at once."""
    x = jax.random.normal(jax.random.key(0), (2, 3, 3, 1))
    ours, linen = OURS[kind](2, (2, 2)), LINEN[kind](2, (2, 2))
    variables = linen.init(jax.random.key(1), x)
    actual, desired = (jax.jit(jax.hessian(functools.partial(loss, m)))(variables, x) for m in (ours, linen))
    close(actual, desired)


@pytest.mark.parametrize("kind", ["conv", "transpose"])
def test_64_bit_mode_and_strict_ranks_change_nothing(kind):
    x = np.random.default_rng(0).standard_normal((2, 6, 6, 3), np.float32)
    module = OURS[kind](4, (4, 4), strides=2)
    with jax.enable_x64(True), jax.numpy_rank_promotion("raise"):
        variables = module.init(jax.random.key(1), x)
        found = jax.value_and_grad(lambda v, x: jnp.sin(module.apply(v, x)).sum(), (0, 1))(variables, x)
    assert {a.dtype for a in jax.tree.leaves(found)} == {np.dtype(np.float32)}
    close(found, both_gradients(LINEN[kind](4, (4, 4), strides=2), variables, x))
