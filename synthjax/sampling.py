"""Sampling from a trained model: a request of any size, in blocks of one fixed size.

A request for N examples with block size B is cut into ceil(N / B) blocks. Block b is drawn from `fold_in(key, b)` and
always at size B; the last one is padded with label 0 and cut afterwards. So

- one compilation serves every block of every request (same model, same B, same options), on all devices together;
- a block depends only on the key, b, B and its own labels: not on N, the process or device that draws it, or the blocks
  before it. Processes may share the blocks in any way, and an interrupted request continues with the missing ones.

    key = jax.random.key(0)
    x = np.concatenate(list(draw(model, state, key, np.zeros(1200, np.int32), steps=25)))
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from synthjax.errors import InputError
from synthjax.jit import over_devices, replicate
from synthjax.model import Model, State


def request_key(seed: int) -> jax.Array:
    """The key of a request; a run of the same seed uses other keys."""
    return jax.random.fold_in(jax.random.key(seed), 0x5A3B1E)


def draw(
    model: Model, state: State, key: jax.Array, labels: np.ndarray, *, block: int = 500, **options: Any
) -> Iterator[np.ndarray]:
    """Draws one example per label, block by block.

    Args:
      model: whose `sample` is called.
      state: a state of that model. The blocks are drawn on all devices of this process, one on each at a time.
      key: typed PRNG key, not used elsewhere.
      labels: (N,) integers, below `model.n_classes`; only their number matters to an unconditional model.
      block: examples drawn at once; another block size gives other samples, as another seed does.
      **options: sampling options of the model (`steps=25`). Each new set of plain values compiles once; arrays, and
        tuples of them (`given=(mask, x)`), once for each shape. Every block gets all of an array: for one row for
        each label, use block=len(labels).

    Yields:
      (B, *spec.shape) f32 in the space of `Batch.x`, B = `block` for all but the last one; never an empty array.

    Raises:
      InputError: the block size is below 1, labels are not one row of integers, or one is out of range or of a class
        without training rows.
    """
    labels = np.asarray(labels)
    if block < 1:
        raise InputError(f"block: must be at least 1, not {block}")
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise InputError(f"labels: must be (N,) integers, not {labels.dtype} of shape {labels.shape}")
    _check_classes(model, labels)
    cut = {b: labels[b * block : (b + 1) * block] for b in range(-(-len(labels) // block))}
    yield from Sampler(model, state, block, len(cut), **options)(key, cut)


class Sampler:
    """Draws blocks of requests on all devices of this process, one on each at a time."""

    def __init__(self, model: Model, state: State, block: int, blocks: int, **options: Any):
        """A sampler for requests of `blocks` blocks of `block` examples; other arguments as those of `draw`."""
        arrays = {name: value for name, value in options.items() if _has_arrays(value)}
        plain = {name: value for name, value in sorted(options.items()) if name not in arrays}
        self._devices = tuple(jax.local_devices()[: max(blocks, 1)])
        self._block, self._shared = block, replicate((local_copy(state), arrays), self._devices)
        self._run = _compiled(model.sample, self._devices, **plain)

    @property
    def together(self) -> int:
        """Number of blocks drawn at once."""
        return len(self._devices)

    def __call__(self, key: jax.Array, labels: Mapping[int, np.ndarray]) -> Iterator[np.ndarray]:
        """Draws the blocks with these numbers; a block is the same in all requests with this key and block size.

        Args:
          key: of the whole request.
          labels: number of a block, from 0 -> its labels, (n,) integers with n at most the block size.

        Yields:
          (n, *spec.shape) f32 for each block in turn, while the devices draw the next ones.
        """
        shared, numbers, n = (replicate(key, self._devices), *self._shared), list(labels), self.together
        pending: list[tuple[jax.Array, list[int]]] = []
        for start in range(0, len(numbers), n):
            group = numbers[start : start + n]
            padded = np.zeros((n, self._block), np.int32)
            for row, b in zip(padded, group, strict=False):
                row[: len(labels[b])] = labels[b]
            x = self._run(shared, (np.resize(np.array(group, np.uint32), n), padded))
            pending.append((x, [len(labels[b]) for b in group]))
            if len(pending) > 1:
                yield from _cut(*pending.pop(0))
        for drawn in pending:
            yield from _cut(*drawn)


def _cut(x: jax.Array, counts: list[int]) -> Iterator[np.ndarray]:
    """The blocks of a call without padding; those beyond `counts` only fill up the devices."""
    for block, count in zip(np.asarray(x), counts, strict=False):
        yield block[:count]


def local_copy(state: State) -> State:
    """The state on this process's first device, where it is replicated over a mesh; no data moves.

    One process can then work with it without the others.
    """

    def first(leaf: Any) -> Any:
        replicated = isinstance(leaf, jax.Array) and leaf.is_fully_replicated and len(leaf.sharding.device_set) > 1
        return leaf.addressable_data(0) if replicated else leaf

    return jax.tree.map(first, state)


def _check_classes(model: Model, labels: np.ndarray) -> None:
    """Raises InputError for the first label that the model cannot draw."""
    if not (model.conditional and model.n_classes):
        return
    wrong = np.flatnonzero((labels < 0) | (labels >= model.n_classes))
    if len(wrong):
        place, top = wrong[0], model.n_classes - 1
        raise InputError(f"labels: {labels[place]} in place {place} is out of range: there are classes 0 ... {top}")
    empty = np.flatnonzero(np.isin(labels, model.empty_classes))
    if len(empty):
        place = empty[0]
        raise InputError(f"labels: class {labels[place]}, in place {place}, has no training row to learn from")


def _has_arrays(value: Any) -> bool:
    return any(isinstance(leaf, np.ndarray | jax.Array) for leaf in jax.tree.leaves(value))


@functools.lru_cache(maxsize=16, typed=True)
def _compiled(
    sample: Callable[..., jax.Array], devices: tuple[jax.Device, ...], /, **options: Any
) -> Callable[..., jax.Array]:
    """`sample` with its plain options bound, over those devices: ((key, state, arrays), (numbers, labels)) -> x.

    Cached, so that it compiles once.
    """

    def one(shared: tuple[jax.Array, State, dict[str, Any]], block: tuple[jax.Array, jax.Array]) -> jax.Array:
        (key, state, arrays), (number, labels) = shared, block
        return sample(jax.random.fold_in(key, number), state, labels, **options, **arrays)

    return over_devices(one, devices)
