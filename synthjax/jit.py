"""`jax.jit` with the compiler options that fast networks need: for training steps, sampling and scores of models.

XLA:CPU (jaxlib 0.10) gives a convolution that it cannot fuse with its neighbours to a kernel that runs on one thread;
without that rule Eigen computes it on all of them, and a training step of the U-Net takes a sixth less time. Nothing is
asked of GPU and TPU. Options hold for a whole compiled program: within another `jax.jit` its options are used.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

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


def over_devices(function: Callable[[Any, Any], Any], devices: Sequence[jax.Device]) -> Callable[[Any, Any], Any]:
    """`function` of several blocks at once, one on each device.

    It is compiled once for all devices, to the program that a single one would run: results do not depend on which
    device computed them, nor on how many there are.

    Args:
      function: (shared, block) -> result, pytrees of arrays.
      devices: of this process.

    Returns:
      (shared, blocks) -> results; the leaves of `blocks` and `results` have one block for each device along their first
      axis, those of `shared` are as `replicate` gives them.
    """

    def one(shared: Any, blocks: Any) -> Any:
        return jax.tree.map(lambda a: a[None], function(shared, jax.tree.map(lambda a: a[0], blocks)))

    everywhere, split = PartitionSpec(), PartitionSpec("blocks")
    mesh = _mesh(tuple(devices))
    return jit(jax.shard_map(one, mesh=mesh, in_specs=(everywhere, split), out_specs=split, check_vma=False))


def replicate(tree: Any, devices: Sequence[jax.Device]) -> Any:
    """A copy of each JAX array on every device; NumPy's stay on the host, which the program copies if it reads them."""
    sharding = NamedSharding(_mesh(tuple(devices)), PartitionSpec())
    return jax.tree.map(lambda a: jax.device_put(a, sharding) if isinstance(a, jax.Array) else a, tree)


@functools.cache
def _mesh(devices: tuple[jax.Device, ...]) -> jax.sharding.Mesh:
    return jax.make_mesh((len(devices),), ("blocks",), axis_types=(AxisType.Auto,), devices=devices)
