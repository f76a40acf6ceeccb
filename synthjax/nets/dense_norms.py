r"""Norms of the gradients of single examples for networks with Linen's dense layers, without their outer products.

The gradient of an example with respect to the kernel of a layer y = x W + b is x^T d, where the rows of x are the
inputs of all calls of the layer for this example and those of d the gradients with respect to its outputs. Its squared
norm is the sum over pairs of rows of (x_i . x_j) (d_i . d_j), and |x|^2 |d|^2 for a single row (Goodfellow 2015,
arXiv:1510.01799). The gradients with respect to all other parameters are computed as they are.

    loss = optim.NormedLoss(loss, dense_squares(loss), single=True)

    >>> import flax.linen as nn, numpy as np
    >>> layer = nn.Dense(2, use_bias=False)
    >>> params = {"params": {"kernel": jnp.ones((3, 2))}}
    >>> def loss(params, key, batch):
    ...     return (layer.apply(params, batch.x) ** 2).sum(axis=1) / 2, {}
    >>> x = jnp.array([[1.0, 2.0, 3.0]])
    >>> batch = Batch(x, jnp.zeros(1, jnp.int32), jnp.ones(1), jnp.arange(1))
    >>> dense_squares(loss)(params, jax.random.key(0), batch).tolist()  # |x|^2 = 14, d = (6, 6)
    [1008.0]
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from synthjax.model import Batch


def dense_squares(loss: Callable[..., Any]) -> Callable[..., jax.Array]:
    """The squared norm of the gradient of a loss for a single example.

    Args:
      loss: (params, key, batch) -> losses (B,), and anything else. It may use the kernels of its `nn.Dense` layers by
        calling the layers alone, and not inside of another gradient (a gradient penalty).

    Returns:
      (params, key, batch of one example) -> (1,) f32.
    """

    def squares(params: Any, key: jax.Array, batch: Batch) -> jax.Array:
        leaves, structure = jax.tree.flatten(params)
        calls: list[tuple[int, jax.Array]] = []

        def run(leaves: list[jax.Array], taps: list[jax.Array] | None) -> tuple[jax.Array, list[jax.Array]]:
            recorder = _Recorder(leaves, taps)
            with nn.intercept_methods(recorder):
                result = loss(jax.tree.unflatten(structure, leaves), key, batch)
            calls[:] = recorder.calls
            return result[0].sum(), recorder.inputs

        jax.eval_shape(lambda leaves: run(leaves, None)[0], leaves)  # which layers are called
        outputs = list(calls)
        kernels = [index for index, _ in outputs]
        rest = [leaf for index, leaf in enumerate(leaves) if index not in kernels]
        zeros = [jnp.zeros(shape.shape, shape.dtype) for _, shape in outputs]

        def total(rest: list[jax.Array], taps: list[jax.Array]) -> tuple[jax.Array, list[jax.Array]]:
            others = iter(rest)
            return run([leaf if i in kernels else next(others) for i, leaf in enumerate(leaves)], taps)

        (gradients, deltas), inputs = jax.grad(total, (0, 1), has_aux=True)(rest, zeros)
        sums = [jnp.square(g.astype(jnp.float32)).sum() for g in gradients]
        for index in dict.fromkeys(kernels):
            own = [n for n, kernel in enumerate(kernels) if kernel == index]
            sums.append(_outer_square(*(jnp.concatenate([_rows(a[n]) for n in own]) for a in (inputs, deltas))))
        return sum(sums, jnp.float32(0))[None]

    return squares


class _Recorder:
    """Intercepts the calls of dense layers whose kernels are among `leaves`, and adds the taps to their outputs."""

    def __init__(self, leaves: list[jax.Array], taps: list[jax.Array] | None):
        self.leaves, self.taps = leaves, taps
        self.calls: list[tuple[int, jax.Array]] = []
        """Index of the kernel, and output, of each call."""
        self.inputs: list[jax.Array] = []

    def __call__(self, call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        output = call(*args, **kwargs)
        if not (isinstance(context.module, nn.Dense) and context.method_name == "__call__"):
            return output
        kernel: Any = context.module.get_variable("params", "kernel")
        index = next((i for i, leaf in enumerate(self.leaves) if leaf is kernel), None)
        if index is None:  # the kernel is computed from parameters, whose gradients are computed as they are
            return output
        number = len(self.calls)
        self.calls.append((index, output))
        self.inputs.append(args[0] if args else kwargs["inputs"])
        return output if self.taps is None else output + self.taps[number]


def _rows(a: jax.Array) -> jax.Array:
    """(..., K) -> (N, K) f32."""
    return a.reshape(-1, a.shape[-1]).astype(jnp.float32)


def _outer_square(x: jax.Array, d: jax.Array) -> jax.Array:
    """Squared norm of x^T d for x (N, I) and d (N, O)."""
    if len(x) == 1:
        return jnp.square(x).sum() * jnp.square(d).sum()
    products = (jnp.einsum("ni,mi->nm", a, a, precision="highest") for a in (x, d))
    first, second = products
    return jnp.maximum((first * second).sum(), 0)
