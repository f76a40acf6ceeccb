"""What dtype networks compute in: f32, or bfloat16 with parameters, averages, optimisers and outputs in f32.

A model reads the policy when it is built and hands it to its networks, as flax's own layers take it:

    with precision.use("bfloat16"):
        model = build(config, spec)                       # in it: UNet(..., dtype=precision.current().compute)
"""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax.numpy as jnp


class Policy(NamedTuple):
    """Dtypes of a network."""

    compute: Any
    """Of activations and of the parameters as the products see them: the `dtype` of a layer."""
    params: Any = jnp.float32
    """Of the parameters that are trained: the `param_dtype` of a layer."""
    output: Any = jnp.float32
    """Of what a network returns, and so of the loss."""


POLICIES = {"float32": Policy(jnp.float32), "bfloat16": Policy(jnp.bfloat16)}
_CURRENT = contextvars.ContextVar("precision", default=POLICIES["float32"])


def current() -> Policy:
    """The policy of the innermost `use`; f32 outside."""
    return _CURRENT.get()


@contextlib.contextmanager
def use(name: str) -> Iterator[Policy]:
    """Models built inside compute as the policy of that name says.

    Raises:
      KeyError: no policy has this name; `POLICIES` holds those there are.
    """
    token = _CURRENT.set(POLICIES[name])
    try:
        yield POLICIES[name]
    finally:
        _CURRENT.reset(token)
