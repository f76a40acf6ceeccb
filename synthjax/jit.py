"""`jax.jit` with the compiler options that fast networks need: for training steps, sampling and scores of models.

XLA:CPU (jaxlib 0.10) gives a convolution that it cannot fuse with its neighbours to a kernel that runs on one thread;
without that rule Eigen computes it on all of them, and a training step of the U-Net takes a sixth less time. Nothing is
asked of GPU and TPU. Options hold for a whole compiled program: under somebody else's `jax.jit` theirs do.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax

# jaxlib 0.10's own choice, less LIBRARY_FUSION_TYPE_INDIVIDUAL_CONVOLUTION.
_CPU = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE"}


@functools.cache
def compiler_options() -> dict[str, str]:
    """The options for the default backend; none where it is no CPU or this jaxlib does not know them."""
    if jax.default_backend() != "cpu":
        return {}
    try:
        jax.jit(lambda: 0, compiler_options=_CPU).lower().compile()
    except jax.errors.JaxRuntimeError:
        return {}
    return _CPU


def jit(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """As `jax.jit`, which is called on first use: making one starts no backend."""

    @functools.cache
    def compiled() -> Callable[..., Any]:
        return jax.jit(function, compiler_options=compiler_options(), **options)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return compiled()(*args, **kwargs)

    return call
