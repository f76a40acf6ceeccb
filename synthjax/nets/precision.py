"""Mixed-precision policy: networks compute in f32 or in bfloat16; parameters, averages and optimisers are in f32.

A model reads the policy when it is built and passes it to its networks, as the `dtype` of Flax layers:

    with precision.use("bfloat16"):
        model = build(config, spec)                       # calls UNet(..., dtype=precision.current().compute)

    >>> with use("bfloat16"):
    ...     current().compute.dtype, current().params.dtype
    (dtype(bfloat16), dtype('float32'))
    >>> current().compute.dtype
    dtype('float32')
"""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax.numpy as jnp


class Policy(NamedTuple):
    """The dtypes that a network uses."""

    compute: Any
    """Dtype of activations, and of parameters when they are applied: the `dtype` of a layer."""
    params: Any = jnp.float32
    """Dtype of the stored parameters: the `param_dtype` of a layer."""
    output: Any = jnp.float32
    """Dtype of a network's output, and so of the loss."""


POLICIES = {"float32": Policy(jnp.float32), "bfloat16": Policy(jnp.bfloat16)}
_CURRENT = contextvars.ContextVar("precision", default=POLICIES["float32"])


def current() -> Policy:
    """The policy of the innermost `use`; "float32" outside any."""
    return _CURRENT.get()


@contextlib.contextmanager
def use(name: str) -> Iterator[Policy]:
    """Context manager: models that are built inside use the policy of this name.

    Args:
      name: a key of `POLICIES`.

    Raises:
      KeyError: no policy has this name.
    """
    token = _CURRENT.set(POLICIES[name])
    try:
        yield POLICIES[name]
    finally:
        _CURRENT.reset(token)
