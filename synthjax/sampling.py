"""Drawing from a trained model: a request of any size, in blocks of one fixed size.

A request for N examples with block size B is cut into ceil(N / B) blocks. Block b is drawn from `fold_in(key, b)` and
always at size B, the last one padded with label 0 and cut afterwards. So

- one compilation serves every block of every request (same model, same B, same options);
- a block depends on the key, on b, on B and on its own labels alone: not on N, not on which process or device draws it,
  not on what was drawn before. Processes may share the blocks as they like, and a request that was interrupted goes on
  with the blocks that are missing.

    key = jax.random.key(0)
    x = np.concatenate(list(draw(model, state, key, np.zeros(1200, np.int32), steps=25)))
"""

import collections
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from synthjax.errors import InputError
from synthjax.jit import jit
from synthjax.model import Model, State

BLOCKS_EACH = 4
"""Blocks that a device has to draw before it is worth another compilation."""


def request_key(seed: int) -> jax.Array:
    """The key of a request of that seed: a run of the same seed has no key in common with it."""
    return jax.random.fold_in(jax.random.key(seed), 0x5A3B1E)


def draw(
    model: Model, state: State, key: jax.Array, labels: np.ndarray, *, block: int = 500, **options: Any
) -> Iterator[np.ndarray]:
    """Draws one example per label, block by block.

    Args:
      model: whose `sample` is called.
      state: a state of that model. A long request is drawn on all devices of this process, a copy of it on each.
      key: typed PRNG key, not used elsewhere.
      labels: (N,) integers, below `model.n_classes`; only their number matters to an unconditional model.
      block: examples drawn at once; part of what is drawn, as a seed is: another block size gives other examples.
      **options: sampling options of the model (`steps=25`). Each new set of plain values compiles once; arrays, and
        tuples of them (`given=(mask, x)`), only for a new shape. They go whole to every block: for an x of its own
        for each label, let block=len(labels).

    Yields:
      (B, *spec.shape) f32 in the space of `Batch.x`, B = `block` for all but the last one; never an empty array.

    Raises:
      InputError: the block size is below 1, labels are not one row of integers, or one is out of range.
    """
    labels = np.asarray(labels)
    if block < 1:
        raise InputError(f"block: must be at least 1, not {block}")
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise InputError(f"labels: must be (N,) integers, not {labels.dtype} of shape {labels.shape}")
    if model.conditional and model.n_classes:
        _check_range(labels, model.n_classes)
    blocks = -(-len(labels) // block)
    copies = local_copies(state, blocks)
    pending: collections.deque[tuple[jax.Array, int]] = collections.deque()
    for b in range(blocks):
        own = labels[b * block : (b + 1) * block]
        pending.append((_dispatch(model, copies[b % len(copies)], key, b, own, block, options), len(own)))
        if len(pending) == len(copies):
            x, count = pending.popleft()
            yield np.asarray(x)[:count]
    for x, count in pending:
        yield np.asarray(x)[:count]


def draw_block(
    model: Model, state: State, key: jax.Array, b: int, labels: np.ndarray, *, block: int, **options: Any
) -> np.ndarray:
    """Draws block `b` of a request: `draw` for those who share the blocks out themselves.

    Args:
      model: whose `sample` is called.
      state: a state of that model.
      key: the key of the whole request.
      b: number of the block, from 0.
      labels: (n,) integers, n <= `block`: the labels of this block alone.
      block: size of every block of the request.
      **options: as in `draw`.

    Returns:
      (n, *spec.shape) f32.
    """
    return np.asarray(_dispatch(model, state, key, b, labels, block, options))[: len(labels)]


def _dispatch(
    model: Model, state: State, key: jax.Array, b: int, labels: np.ndarray, block: int, options: dict[str, Any]
) -> jax.Array:
    """Block `b`, padded, (block, *spec.shape): being computed where the state is."""
    padded = np.zeros(block, np.int32)
    padded[: len(labels)] = labels
    arrays = {name: value for name, value in options.items() if _has_arrays(value)}
    plain = {name: value for name, value in sorted(options.items()) if name not in arrays}
    return _compiled(model.sample, **plain)(key, np.uint32(b), state, padded, arrays)


def local_copy(state: State) -> State:
    """The state on this process's first device, where it is replicated over a mesh; no data moves.

    A block is then drawn by one device, with the same program however many there are, and by one process alone.
    """

    def first(leaf: Any) -> Any:
        replicated = isinstance(leaf, jax.Array) and leaf.is_fully_replicated and len(leaf.sharding.device_set) > 1
        return leaf.addressable_data(0) if replicated else leaf

    return jax.tree.map(first, state)


def devices_for(blocks: int) -> list[jax.Device]:
    """This process's devices that so many blocks are worth compiling for: all, or the first alone."""
    devices = jax.local_devices()
    return devices if blocks >= BLOCKS_EACH * len(devices) else devices[:1]


def local_copies(state: State, blocks: int) -> list[State]:
    """Copies of the state, one on each of `devices_for(blocks)`.

    Block b belongs to copy b % len(copies). Every device runs the same program, so that it does not show which did.
    """
    here, devices = local_copy(state), devices_for(blocks)
    return [here] if len(devices) == 1 else [jax.device_put(here, device) for device in devices]


def _check_range(labels: np.ndarray, n_classes: int) -> None:
    wrong = np.flatnonzero((labels < 0) | (labels >= n_classes))
    if len(wrong):
        place = wrong[0]
        raise InputError(
            f"labels: {labels[place]} in place {place} is out of range: there are classes 0 ... {n_classes - 1}"
        )


def _has_arrays(value: Any) -> bool:
    return any(isinstance(leaf, np.ndarray | jax.Array) for leaf in jax.tree.leaves(value))


@functools.lru_cache(maxsize=16, typed=True)
def _compiled(sample: Callable[..., jax.Array], /, **options: Any) -> Callable[..., jax.Array]:
    """`sample` under jit with its plain options bound: (key, b, state, labels, other options) -> x.

    Kept, so that it compiles once.
    """

    @jit
    def run(key: jax.Array, b: jax.Array, state: State, labels: jax.Array, arrays: dict[str, Any]) -> jax.Array:
        return sample(jax.random.fold_in(key, b), state, labels, **options, **arrays)

    return run
