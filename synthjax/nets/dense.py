r"""Dense layers with bfloat16 matrix products that are fast on CPUs with AMX; otherwise `flax.linen.Dense`.

`jax.config.update("jax_default_matmul_precision", "bfloat16")` (the launchers' --precision) asks for products whose
factors are rounded to bfloat16 (8 significant bits) and which are summed in float32. TPUs follow this setting. XLA:CPU
(jaxlib 0.10) ignores it, although CPUs since Sapphire Rapids have units for such products (AMX). So on CPU these layers
round the factors themselves. On other platforms, and at any other precision, they are Flax's.

Every product in a layer and its gradients is one of three, and the gradient of each consists of the other two:

    forward(x, w) = x w        d x = backward(g, w)      d w = outer(x, g)
    backward(g, w) = g w^T     d g = forward(u, w)       d w = outer(u, g)
    outer(x, g) = x^T g        d x = backward(g, c)      d g = forward(x, c)

with x (N, I), w (I, O) and g (N, O). So gradient penalties, which need second derivatives, are fast as well.

A layer of `dtype=jnp.bfloat16` uses the same products and rounds its output too.

    h = nn.relu(Dense(256)(x))

    >>> import jax, jax.numpy as jnp
    >>> y, variables = Dense(3).init_with_output(jax.random.key(0), jnp.ones((5, 2)))
    >>> y.shape, variables["params"]["kernel"].shape
    ((5, 3), (2, 3))
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
"""Values of `jax_default_matmul_precision` that select bfloat16 products."""

SLOW = 256
"""Number of rows of a left factor that is slow in jaxlib 0.10.2: a product with 16 more rows takes half the time."""


def _rounded(x: jax.Array, w: jax.Array, contracted: int) -> jax.Array:
    """Product of x (N, K) and w over the axis `contracted` of w, rounded to bfloat16 and summed in f32: (N, M)."""
    dimensions = (((1,), (contracted,)), ((), ()))
    factors = x.astype(jnp.bfloat16), w.astype(jnp.bfloat16)
    return lax.dot_general(*factors, dimensions, preferred_element_type=jnp.float32)


def _padded(x: jax.Array, w: jax.Array, contracted: int) -> jax.Array:
    """`_rounded`, with additional rows where that is faster."""
    extra = 16 if len(x) == SLOW else 0
    return _rounded(jnp.pad(x, ((0, extra), (0, 0))), w, contracted)[: len(x)]


def _transposed(x: jax.Array) -> jax.Array:
    """x^T in a form that XLA does not fuse into the product: XLA does not use AMX if the left factor is transposed."""
    rows, columns = x.shape
    parts = 2 if rows % 2 == 0 else 1
    return x.reshape(parts, rows // parts, columns).transpose(2, 0, 1).reshape(columns, rows)


def _flattened(product: Callable[..., jax.Array], batched: tuple[bool, bool], x: jax.Array, w: jax.Array) -> jax.Array:
    """Batching rule of `forward` and `backward`: with shared weights, the mapped axis becomes more rows."""
    if batched[1] or x.ndim > 3:
        return _aligned(product, batched, x, w)
    return product(x.reshape(-1, x.shape[-1]), w).reshape(*x.shape[:2], -1)


def _aligned(product: Callable[..., jax.Array], batched: tuple[bool, bool], a: jax.Array, b: jax.Array) -> jax.Array:
    """Batching rule of any product: both factors become stacks of matrices."""
    size = len(a) if batched[0] else len(b)
    a, b = (x if mapped else jnp.broadcast_to(x, (size, *x.shape)) for x, mapped in zip((a, b), batched, strict=True))
    return product(a, b)


def _stacked(f: Callable[[jax.Array, jax.Array], jax.Array]) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """Extends `f` from two matrices to two stacks of matrices, with any number of leading axes."""

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
    return _rounded(_transposed(x.astype(jnp.bfloat16)), g, 0)


forward.transposes(backward, lambda g, x: outer(x, g))
backward.transposes(forward, lambda u, g: outer(u, g))
outer.transposes(lambda c, g: backward(g, c), lambda c, x: forward(x, c))


def dot_general(x: jax.Array, w: jax.Array, dimension_numbers: Any, precision: Any = None, **options: Any) -> jax.Array:
    """Replaces `jax.lax.dot_general` in `flax.linen.Dense`: the product of x (..., I) and w (I, O), (..., O).

    Products of two f32 arrays at a bfloat16 precision setting, and of two bfloat16 arrays, use `forward` on CPU.
    """

    def standard(x: jax.Array, w: jax.Array) -> jax.Array:
        return lax.dot_general(x, w, dimension_numbers, precision=precision, **options)

    def bfloat16(x: jax.Array, w: jax.Array) -> jax.Array:
        y = forward(jnp.float32(x).reshape(-1, x.shape[-1]), jnp.float32(w))
        return y.reshape(*x.shape[:-1], w.shape[-1]).astype(x.dtype)

    setting = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
    rounded = x.dtype == w.dtype == jnp.float32 and setting in BFLOAT16
    if precision is not None or not (rounded or x.dtype == w.dtype == jnp.bfloat16):
        return standard(x, w)
    product: jax.Array = lax.platform_dependent(x, w, cpu=bfloat16, default=standard)
    return product


Dense = functools.partial(nn.Dense, dot_general=dot_general)
"""`flax.linen.Dense` with `dot_general` from this module; parameters and their names are the same."""
