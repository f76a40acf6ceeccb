"""Sampling from a trained model: a request of any size, drawn in blocks of a fixed size.

A request for N examples with block size B is split into ceil(N / B) blocks. Block b is drawn with the key
`fold_in(key, b)` and always has size B; the last block is padded with label 0 and then truncated. So

- one compilation serves all blocks of all requests with the same model, B and options, on all devices;
- a block depends only on the key, b, B and its own labels. It does not depend on N, on the process or device that draws
  it, or on other blocks. So processes can divide the blocks in any way, and an interrupted request can continue with
  the missing ones.

    key = jax.random.key(0)
    x = np.concatenate(list(draw(model, state, key, np.zeros(1200, np.int32), steps=25)))

    >>> def sample(key, state, labels):
    ...     return state * jax.random.normal(key, (len(labels), 2))
    >>> model = Model(lambda key: 2.0, lambda key, i, state, batch: (state, {}), sample)
    >>> blocks = draw(model, 2.0, request_key(0), np.zeros(7, np.int32), block=3)
    >>> [x.shape for x in blocks]
    [(3, 2), (3, 2), (1, 2)]
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
    """The key of a request with this seed. Training with the same seed uses different keys.

    Raises:
      InputError: the seed is not an integer 0 ... 2**32 - 1, of which JAX's keys use the low 32 bits.
    """
    if not isinstance(seed, int | np.integer) or not 0 <= seed < 2**32:
        raise InputError(f"seed={seed!r}: must be an integer, at least 0 and at most {2**32 - 1}")
    return jax.random.fold_in(jax.random.key(seed), 0x5A3B1E)


def draw(
    model: Model, state: State, key: jax.Array, labels: np.ndarray, *, block: int = 500, **options: Any
) -> Iterator[np.ndarray]:
    """Draws one example per label, block by block.

    Args:
      model: the model.
      state: of the model. Blocks are drawn on all devices of this process, one block per device at a time.
      key: typed PRNG key that is not used elsewhere.
      labels: (N,) integers below `model.n_classes`; an unconditional model uses only their number.
      block: number of examples in a block. Another block size gives other samples, as another seed does.
      **options: sampling options of the model (`steps=25`). Each new set of plain values is compiled once, and arrays
        or tuples of them (`given=(mask, x)`) once per shape. Every block gets the whole array; to give one row for
        each label, use block=len(labels).

    Yields:
      (B, *spec.shape) f32 in the space of `Batch.x`, where B is `block`, or less for the last block; never empty.

    Raises:
      InputError: the block size is below 1, or labels are not a 1-D array of integers, are out of range, or are of a
        class without training rows.
    """
    labels = np.asarray(labels)
    if block < 1:
        raise InputError(f"block: must be at least 1, not {block}")
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise InputError(f"labels: must be (N,) integers, not {labels.dtype} of shape {labels.shape}")
    _check_classes(model, labels)
    blocks = {b: labels[b * block : (b + 1) * block] for b in range(-(-len(labels) // block))}
    yield from Sampler(model, state, block, len(blocks), **options)(key, blocks)


class Sampler:
    """Draws blocks of requests on all devices of this process, one block per device at a time."""

    def __init__(self, model: Model, state: State, block: int, blocks: int, **options: Any):
        """Makes a sampler for requests of up to `blocks` blocks; the other arguments are those of `draw`."""
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
        """Draws some blocks of a request.

        Args:
          key: typed PRNG key of the whole request.
          labels: block number, from 0 -> labels of the block, (n,) integers with n at most the block size.

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
                yield from _unpad(*pending.pop(0))
        for last in pending:
            yield from _unpad(*last)


def _unpad(x: jax.Array, counts: list[int]) -> Iterator[np.ndarray]:
    """The first `counts` examples of each block; blocks beyond `counts` are padding and are dropped."""
    for block, count in zip(np.asarray(x), counts, strict=False):
        yield block[:count]


def local_copy(state: State) -> State:
    """Replaces arrays that are replicated over a mesh by their copy on this process's first device, without transfer.

    A single process can use such a state without the other processes.
    """

    def first(leaf: Any) -> Any:
        replicated = isinstance(leaf, jax.Array) and leaf.is_fully_replicated and len(leaf.sharding.device_set) > 1
        return leaf.addressable_data(0) if replicated else leaf

    return jax.tree.map(first, state)


def _check_classes(model: Model, labels: np.ndarray) -> None:
    """Raises InputError for the first label that is out of range or of a class without training rows."""
    if not (model.conditional and model.n_classes):
        return
    wrong = np.flatnonzero((labels < 0) | (labels >= model.n_classes))
    if len(wrong):
        index, last = wrong[0], model.n_classes - 1
        raise InputError(f"labels: {labels[index]} in place {index} is out of range: there are classes 0 ... {last}")
    empty = np.flatnonzero(np.isin(labels, model.empty_classes))
    if len(empty):
        index = empty[0]
        raise InputError(f"labels: class {labels[index]}, in place {index}, has no training row to learn from")


def _has_arrays(value: Any) -> bool:
    return any(isinstance(leaf, np.ndarray | jax.Array) for leaf in jax.tree.leaves(value))


@functools.lru_cache(maxsize=16, typed=True)
def _compiled(
    sample: Callable[..., jax.Array], devices: tuple[jax.Device, ...], /, **options: Any
) -> Callable[..., jax.Array]:
    """`sample` over devices, with its plain options bound: ((key, state, arrays), (numbers, labels)) -> x.

    The function is cached, so that it is compiled once.
    """

    def sample_block(shared: tuple[jax.Array, State, dict[str, Any]], block: tuple[jax.Array, jax.Array]) -> jax.Array:
        (key, state, arrays), (number, labels) = shared, block
        return sample(jax.random.fold_in(key, number), state, labels, **options, **arrays)

    return over_devices(sample_block, devices)
