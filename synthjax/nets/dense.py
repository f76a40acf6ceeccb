r"""Dense layers whose products can be taken in bfloat16: `flax.linen.Dense`, but for how fast it is on CPUs with AMX.

JAX's own setting says how precise products are, `jax.config.update("jax_default_matmul_precision", "bfloat16")` (the
launchers' --precision): factors are rounded to bfloat16, 8 bits, and their products summed in float32. TPUs have units
for that and obey; XLA:CPU (jaxlib 0.10) ignores the setting, though CPUs from Sapphire Rapids on have such units too
(AMX). So on a CPU the layers here round by themselves; elsewhere, and at any other precision, they are Flax's.

Every product of a layer and of its gradients is one of three, and the gradient of each is made of the others:

    forward(x, w) = x w        d x = backward(g, w)      d w = outer(x, g)
    backward(g, w) = g w^T     d g = forward(u, w)       d w = outer(u, g)
    outer(x, g) = x^T g        d x = backward(g, c)      d g = forward(x, c)

with x (N, I), w (I, O) and g (N, O): so that penalties on a gradient, which take its gradient again, are fast as well.

A layer of `dtype=jnp.bfloat16` takes the same way, and its output is rounded as well.

    h = nn.relu(Dense(256)(x))
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from synthjax.nets.bilinear import bilinear

BFLOAT16 = ("bfloat16", "BF16_BF16_F32")
"""Values of `jax_default_matmul_precision` that ask for it."""

SLOW = 256
"""Rows of a left factor that jaxlib 0.10.2 takes twice as long for as for a few more, here 16."""


def _rounded(x: jax.Array, w: jax.Array, contracted: int) -> jax.Array:
    """x (N, K) by w, over the axis `contracted` of w, rounded to bfloat16 and summed in f32: (N, M)."""
    dimensions = (((1,), (contracted,)), ((), ()))
    low = x.astype(jnp.bfloat16), w.astype(jnp.bfloat16)
    return lax.dot_general(*low, dimensions, preferred_element_type=jnp.float32)


def _padded(x: jax.Array, w: jax.Array, contracted: int) -> jax.Array:
    """`_rounded`, by way of more rows where that is faster."""
    more = 16 if len(x) == SLOW else 0
    return _rounded(jnp.pad(x, ((0, more), (0, 0))), w, contracted)[: len(x)]


def _turned(x: jax.Array) -> jax.Array:
    """x^T, in a form that XLA does not make part of the product: with its left factor transposed it uses no AMX."""
    rows, columns = x.shape
    parts = 2 if rows % 2 == 0 else 1
    return x.reshape(parts, rows // parts, columns).transpose(2, 0, 1).reshape(columns, rows)


def _flattened(product: Callable[..., jax.Array], batched: tuple[bool, bool], x: jax.Array, w: jax.Array) -> jax.Array:
    """`forward` and `backward` under `vmap`: with weights in common the members are more rows."""
    if batched[1] or x.ndim > 3:
        return _aligned(product, batched, x, w)
    return product(x.reshape(-1, x.shape[-1]), w).reshape(*x.shape[:2], -1)


def _aligned(product: Callable[..., jax.Array], batched: tuple[bool, bool], a: jax.Array, b: jax.Array) -> jax.Array:
    """A product under `vmap`: of two stacks."""
    size = len(a) if batched[0] else len(b)
    a, b = (x if of else jnp.broadcast_to(x, (size, *x.shape)) for x, of in zip((a, b), batched, strict=True))
    return product(a, b)


def _stacked(f: Callable[[jax.Array, jax.Array], jax.Array]) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """`f` of two matrices, or member by member of two stacks of them."""

    @functools.wraps(f)
    def product(a: jax.Array, b: jax.Array) -> jax.Array:
        return jax.vmap(product)(a, b) if a.ndim > 2 else f(a, b)

    return product


@functools.partial(bilinear, batch=_flattened)
@_stacked
def forward(x: jax.Array, w: jax.Array) -> jax.Array:
    """x (N, I) f32, w (I, O) f32 -> x w, (N, O) f32."""
    return _padded(x, w, 0)


@functools.partial(bilinear, batch=_flattened)
@_stacked
def backward(g: jax.Array, w: jax.Array) -> jax.Array:
    """g (N, O) f32, w (I, O) f32 -> g w^T, (N, I) f32."""
    return _padded(g, w, 1)


@functools.partial(bilinear, batch=_aligned)
@_stacked
def outer(x: jax.Array, g: jax.Array) -> jax.Array:
    """x (N, I) f32, g (N, O) f32 -> x^T g, (I, O) f32."""
    return _rounded(_turned(x.astype(jnp.bfloat16)), g, 0)


forward.transposes(backward, lambda g, x: outer(x, g))
backward.transposes(forward, lambda u, g: outer(u, g))
outer.transposes(lambda c, g: backward(g, c), lambda c, x: forward(x, c))


def dot_general(x: jax.Array, w: jax.Array, dimension_numbers: Any, precision: Any = None, **options: Any) -> jax.Array:
    """`jax.lax.dot_general` as `flax.linen.Dense` calls it: the last axis of x (..., I) by the first of w (I, O)."""

    def standard(x: jax.Array, w: jax.Array) -> jax.Array:
        return lax.dot_general(x, w, dimension_numbers, precision=precision, **options)

    def low(x: jax.Array, w: jax.Array) -> jax.Array:
        y = forward(jnp.float32(x).reshape(-1, x.shape[-1]), jnp.float32(w))
        return y.reshape(*x.shape[:-1], w.shape[-1]).astype(x.dtype)

    setting = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
    rounded = x.dtype == w.dtype == jnp.float32 and setting in BFLOAT16
    if precision is not None or not (rounded or x.dtype == w.dtype == jnp.bfloat16):
        return standard(x, w)
    product: jax.Array = lax.platform_dependent(x, w, cpu=low, default=standard)
    return product


Dense = functools.partial(nn.Dense, dot_general=dot_general)
"""`flax.linen.Dense`, of the same parameters under the same names."""
