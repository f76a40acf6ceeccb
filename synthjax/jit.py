"""`jax.jit` with compiler options for faster networks; used for training steps, sampling and scores.

XLA:CPU (jaxlib 0.10) computes a convolution that it cannot fuse with other operations by a single-threaded kernel.
Without that rule Eigen computes it on all threads, and a training step of the U-Net takes a sixth less time. There are
no options for GPU and TPU. Options apply to a whole compiled program, so those of an outer `jax.jit` have precedence.

    >>> import jax.numpy as jnp
    >>> jit(lambda x: 2 * x)(jnp.ones(2)).tolist()
    [2.0, 2.0]
    >>> devices = jax.devices()[:1]
    >>> add = over_devices(lambda shared, block: shared + block, devices)
    >>> add(replicate(jnp.ones(3), devices), jnp.zeros((1, 3))).tolist()
    [[1.0, 1.0, 1.0]]
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

# The default of jaxlib 0.10 without LIBRARY_FUSION_TYPE_INDIVIDUAL_CONVOLUTION.
_CPU = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE"}


@functools.cache
def compiler_options() -> dict[str, str]:
    """The options for the default backend; {} if it is not CPU or if this jaxlib does not support them."""
    if jax.default_backend() != "cpu":
        return {}
    try:
        jax.jit(lambda: 0, compiler_options=_CPU).lower().compile()
    except jax.errors.JaxRuntimeError:
        return {}
    return _CPU


def jit(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """`jax.jit` with the compiler options. The backend is not initialised before the function is called."""

    @functools.cache
    def compiled() -> Callable[..., Any]:
        return jax.jit(function, compiler_options=compiler_options(), **options)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return compiled()(*args, **kwargs)

    return call


def over_devices(function: Callable[[Any, Any], Any], devices: Sequence[jax.Device]) -> Callable[[Any, Any], Any]:
    """Applies `function` to several blocks at once, one block per device.

    It is compiled once for all devices, to the program that a single device would run. So results do not depend on
    which device computed them, or on the number of devices.

    Args:
      function: (shared, block) -> result, pytrees of arrays.
      devices: of this process.

    Returns:
      (shared, blocks) -> results. The leaves of `blocks` and `results` have one block per device along their first
      axis. The leaves of `shared` must be replicated, see `replicate`.
    """

    def apply(shared: Any, blocks: Any) -> Any:
        return jax.tree.map(lambda a: a[None], function(shared, jax.tree.map(lambda a: a[0], blocks)))

    replicated, split = PartitionSpec(), PartitionSpec("blocks")
    mesh = _mesh(tuple(devices))
    return jit(jax.shard_map(apply, mesh=mesh, in_specs=(replicated, split), out_specs=split, check_vma=False))


def replicate(tree: Any, devices: Sequence[jax.Device]) -> Any:
    """Copies each JAX array to all devices. NumPy arrays stay on the host and are copied by programs that use them."""
    sharding = NamedSharding(_mesh(tuple(devices)), PartitionSpec())
    return jax.tree.map(lambda a: jax.device_put(a, sharding) if isinstance(a, jax.Array) else a, tree)


@functools.cache
def _mesh(devices: tuple[jax.Device, ...]) -> jax.sharding.Mesh:
    return jax.make_mesh((len(devices),), ("blocks",), axis_types=(AxisType.Auto,), devices=devices)
