"""Bilinear products with custom gradients.

`jax.custom_vjp` supports reverse mode only, so it gives no Hessian-vector products. A bilinear primitive supports every
mode of differentiation, to any order, and needs two transpose rules: JAX derives the tangent f(da, b) + f(a, db) and
transposes each term with the rules given here.

    product = bilinear(f, batch)                                     # a primitive: (a, b, **options) -> array
    product.transposes(lambda ct, b: ..., lambda ct, a: ...)         # cotangents of a and of b

For example, a matrix product:

    >>> import jax, jax.numpy as jnp
    >>> product = bilinear(lambda a, b: a @ b, lambda product, batched, a, b: jax.vmap(product)(a, b))
    >>> product.transposes(lambda ct, b: product(ct, b.T), lambda ct, a: product(a.T, ct))
    >>> jax.grad(lambda a: product(a, 2 * jnp.eye(2)).sum())(jnp.ones((1, 2))).tolist()
    [[2.0, 2.0]]
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
    """A primitive of two arrays that is linear in each of them. Keyword options are static and must be hashable."""

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
        """Sets the transpose rules.

        Args:
          left: (ct, b, **options) -> cotangent of the first array, where `ct` is the cotangent of the product.
          right: (ct, a, **options) -> cotangent of the second array.
        """
        ad.defbilinear(
            self._primitive,
            lambda ct, a, b, **options: left(ct, b, **options),
            lambda ct, a, b, **options: right(ct, a, **options),
        )

    def _batched(self, arrays: Any, axes: Any, **options: Any) -> tuple[jax.Array, int]:
        batched = tuple(axis is not None for axis in axes)
        a, b = (x if axis is None else jnp.moveaxis(x, axis, 0) for x, axis in zip(arrays, axes, strict=True))
        return self._batch(functools.partial(self, **options), batched, a, b), 0


def bilinear(f: Product, batch: Callable[..., jax.Array]) -> Bilinear:
    """Makes a primitive that computes f(a, b, **options).

    Args:
      f: the product, linear in `a` and in `b`.
      batch: the batching rule used by `vmap`: (product, (a is batched, b is batched), a, b) -> array. Batch axes come
        first. It must call `product`, not `f`; otherwise derivatives under `vmap` do not use the transpose rules.

    Returns:
      The primitive. Call `transposes` on it before differentiating.
    """
    return Bilinear(f, batch)
