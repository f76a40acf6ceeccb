"""Bilinear products whose gradients have a form of our own choosing.

`jax.custom_vjp` would do for reverse mode alone: it has no forward mode, and so no Hessian-vector products. A bilinear
primitive has every mode, to any order, from its two transposes: JAX derives the tangent f(da, b) + f(a, db) itself and
transposes each term with the rules given here.

    product = bilinear(f, batch)                                     # a primitive: (a, b, **options) -> array
    product.transposes(lambda ct, b: ..., lambda ct, a: ...)         # cotangents of a and of b
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

Product = Callable[..., jax.Array]


class Bilinear:
    """A primitive of two arrays, linear in each; `options` of a call are static and hashable."""

    def __init__(self, f: Product, batch: Callable[..., jax.Array]):
        self._primitive = primitive = Primitive(f"bilinear_{f.__name__}")
        self._batch = batch

        def run(a: jax.Array, b: jax.Array, **options: Any) -> jax.Array:
            return jax.jit(f, static_argnames=tuple(options))(a, b, **options)

        def shape(a: Any, b: Any, **options: Any) -> Any:
            return jax.make_jaxpr(functools.partial(f, **options))(a, b).out_avals[0]

        primitive.def_impl(run)
        primitive.def_abstract_eval(shape)
        mlir.register_lowering(primitive, mlir.lower_fun(f, multiple_results=False))
        batching.primitive_batchers[primitive] = self._batched

    def __call__(self, a: jax.Array, b: jax.Array, **options: Any) -> jax.Array:
        """The product of `a` and `b`."""
        product: jax.Array = self._primitive.bind(a, b, **options)
        return product

    def transposes(self, left: Product, right: Product) -> None:
        """Sets the cotangent of the first array, left(ct, b, **options), and of the second, right(ct, a, **options)."""
        ad.defbilinear(
            self._primitive,
            lambda ct, a, b, **options: left(ct, b, **options),
            lambda ct, a, b, **options: right(ct, a, **options),
        )

    def _batched(self, arrays: Any, axes: Any, **options: Any) -> tuple[jax.Array, int]:
        batched = tuple(axis is not None for axis in axes)
        a, b = (jnp.moveaxis(x, axis, 0) if of else x for x, axis, of in zip(arrays, axes, batched, strict=True))
        return self._batch(functools.partial(self, **options), batched, a, b), 0


def bilinear(f: Product, batch: Callable[..., jax.Array]) -> Bilinear:
    """A primitive that computes f(a, b, **options).

    Args:
      f: the product, linear in `a` and in `b`.
      batch: what `vmap` makes of it: (product, (a is batched, b is batched), a, b) -> array, batch axes first. What it
        calls must be `product`, or derivatives of the result have another form.
    """
    return Bilinear(f, batch)
