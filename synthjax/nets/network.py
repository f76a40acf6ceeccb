"""Networks as two pure functions, the form in which models take them, whatever library they are written in.

    Network(init, apply)                             plain functions
    linen(module, x, t, label)                       Flax Linen
    Network(init, apply) of nnx.graphdef, nnx.state and nnx.merge    Flax NNX, see below and README

    >>> import flax.linen as nn, jax, jax.numpy as jnp
    >>> net = linen(nn.Dense(3), jnp.zeros((1, 2)))
    >>> params = net.init(jax.random.key(0))
    >>> net.apply(params, jnp.ones((5, 2))).shape
    (5, 3)

For Flax NNX, whose modules hold their parameters:

    >>> from flax import nnx
    >>> structure = nnx.graphdef(nnx.Linear(2, 3, rngs=nnx.Rngs(0)))
    >>> net = Network(
    ...     lambda key: nnx.state(nnx.Linear(2, 3, rngs=nnx.Rngs(key))),
    ...     lambda params, x, key=None: nnx.merge(structure, params)(x),
    ... )
    >>> net.apply(net.init(jax.random.key(0)), jnp.ones((5, 2))).shape
    (5, 3)
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np

from synthjax.errors import InputError
from synthjax.nets import precision


class Network(NamedTuple):
    """A network as a pair of pure functions."""

    init: Callable[[jax.Array], Any]
    """(key) -> params, any pytree of arrays."""
    apply: Callable[..., Any]
    """(params, *inputs, key=None) -> output. `key` is given in training only, for example for dropout."""


def linen(module: nn.Module, *inputs: Any, dropout: bool = False) -> Network:
    """Makes a Network from a Linen module.

    Args:
      module: must have no state besides its parameters (no batch norm).
      *inputs: example inputs, of any batch size, which determine the shapes of the parameters.
      dropout: whether the last argument of the module is `train`, and its dropout uses the rng "dropout".

    Returns:
      A Network whose params are the module's variables. Params and outputs have the dtypes of the policy that is
      current at this call (`synthjax.nets.precision`).
    """
    policy = precision.current()

    def cast(tree: Any, dtype: Any) -> Any:
        return jax.tree.map(lambda a: a.astype(dtype), tree)

    def init(key: jax.Array) -> Any:
        return cast(module.init(key, *inputs), policy.params)

    def apply(params: Any, *inputs: Any, key: jax.Array | None = None) -> Any:
        if not dropout or key is None:
            return cast(module.apply(params, *inputs), policy.output)
        return cast(module.apply(params, *inputs, True, rngs={"dropout": key}), policy.output)

    return Network(init, apply)


def check_shape(network: Network, expected: tuple[Any, ...], what: str, *inputs: Any) -> None:
    """Checks the output shape of a network without running it.

    Args:
      network: to be checked.
      expected: shape of its output for `inputs`, or a tuple of shapes if the output is a tuple of arrays.
      what: name of the network in the error.
      *inputs: arrays or `jax.ShapeDtypeStruct`.

    Raises:
      InputError: the network cannot be applied to `inputs`, or its output has another shape.

        >>> import jax.numpy as jnp
        >>> double = Network(lambda key: 2.0, lambda factor, x: factor * x)
        >>> check_shape(double, (4, 3), "net", jnp.zeros((4, 3)))
        >>> check_shape(double, (4, 1), "net", jnp.zeros((4, 3)))
        Traceback (most recent call last):
        synthjax.errors.InputError: net: makes an array of shape (4, 3) of inputs of shapes (4, 3); it must make (4, 1)
    """

    def run(key, *inputs):
        return network.apply(network.init(key), *inputs)

    found, words = _made(run, what, *inputs)
    if jax.tree.map(lambda a: a.shape, found) != expected:
        raise InputError(f"{words}; it must make {expected}")


def check_game(generator: Any, critic: Any, noise: int) -> None:
    """Checks the output shapes of the networks of a GAN (see `synthjax.adversarial`) without running them.

    Args:
      generator: Linen module or an object with the same `init` and `apply`; (z, y, weight, train) -> x.
      critic: likewise; (x, y, weight, train) -> values, features.
      noise: length of z.

    Raises:
      InputError: `noise` is below 1, a network cannot be applied, the generator does not make one example per row of
        z, or the critic does not make values (B,) and features (B, F) of them.
    """

    def run(module):
        return lambda key, *inputs: module.apply(module.init(key, *inputs, False), *inputs, False)

    if noise < 1:
        raise InputError(f"model.noise={noise}: must be at least 1")
    y, weight = jax.ShapeDtypeStruct((2,), np.int32), jax.ShapeDtypeStruct((2,), np.float32)
    x, words = _made(run(generator), "generator", jax.ShapeDtypeStruct((2, noise), np.float32), y, weight)
    if not hasattr(x, "shape") or x.shape[:1] != (2,):
        raise InputError(f"{words}; it must make one example for each row of the first, (2, ...)")
    found, words = _made(run(critic), "critic", x, y, weight)
    shapes = [a.shape for a in jax.tree.leaves(found)]
    if not (isinstance(found, tuple) and len(found) == len(shapes) == 2) or not (
        shapes[0] == (2,) and shapes[1][:1] == (2,) and len(shapes[1]) == 2
    ):
        raise InputError(f"{words}; it must make values and features ((2,), (2, F))")


def _made(run: Callable[..., Any], what: str, *inputs: Any) -> tuple[Any, str]:
    """What a function of a key and inputs makes, traced and not run; and its shape in words, for an error."""
    given = ", ".join(str(tuple(a.shape)) for a in inputs)
    try:
        found = jax.eval_shape(run, jax.random.key(0), *inputs)
    except InputError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{what}: cannot be applied to inputs of shapes {given}: {reason}") from error
    shapes = jax.tree.map(lambda a: a.shape, found)
    made = f"an array of shape {shapes}" if hasattr(found, "shape") else f"a {type(found).__name__} {shapes}"
    return found, f"{what}: makes {made} of inputs of shapes {given}"
