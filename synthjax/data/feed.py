"""(seed, step) -> batch: a pure function, so that a resumed run needs no iterator state and sees the same batches.

Batches stay as stored (uint8 images) until they are on the device; `spec.encode` is compiled into the training step.
"""

import functools
import math
from typing import NamedTuple

import numpy as np

from synthjax.errors import InputError
from synthjax.model import Batch


class Feed(NamedTuple):
    """Draws batches from arrays. `rows` and `batch` depend on nothing but their arguments."""

    x: np.ndarray
    """(N, *shape), as stored."""
    y: np.ndarray
    """(N,) i32."""
    batch_size: int
    seed: int = 0
    minibatches: int | None = 1
    """As in `synthjax.model.Model`."""
    class_weights: tuple[float, ...] | None = None
    """Relative frequency of each class in a batch, drawn with replacement; None: shuffled epochs, without.

    What the rows of a class, few or many, share equally; 0: never drawn."""
    multiple: int = 1
    """Whole-set batches are padded with weight 0 to a multiple of this (the number of devices)."""

    def rows(self, step: int) -> np.ndarray:
        """Rows of the training set that step `step` sees, in order; -1 marks padding. i64.

        Without class weights the rows are consecutive slices of an endless sequence of permutations, one an epoch.
        """
        count = len(self.y)
        if self.minibatches is None:
            padded = np.full(-(-count // self.multiple) * self.multiple, -1)
            padded[:count] = np.arange(count)
            return padded
        size = self.batch_size * self.minibatches
        if self.class_weights is not None:
            weights = _row_weights(self.y.tobytes(), self.class_weights)
            return np.random.default_rng((self.seed, 1, step)).choice(count, size, p=weights)
        first, last = step * size, (step + 1) * size
        epochs = [_permutation(self.seed, epoch, count) for epoch in range(first // count, (last - 1) // count + 1)]
        return np.concatenate(epochs)[first % count :][:size]

    def batch(self, step: int, part: slice = slice(None)) -> Batch:
        """The batch of step `step`, x as stored; `part` cuts the share of one process out of the batch axis."""
        rows = self.rows(step)
        if self.minibatches is not None and self.minibatches > 1:
            rows = rows.reshape(self.minibatches, self.batch_size)
        rows = rows[..., part]
        return Batch(self.x[rows], self.y[rows], (rows >= 0).astype(np.float32), rows.astype(np.int32))  # type: ignore[arg-type]

    def check(self, n_classes: int) -> None:
        """Checks that batches can be drawn as asked.

        Args:
          n_classes: of the data, 0 if it is unlabelled. The labels alone do not tell: the last class may be empty.

        Raises:
          InputError: they cannot.
        """
        if self.batch_size < 1:
            raise InputError(f"batch_size={self.batch_size}: must be at least 1")
        if self.minibatches is not None and self.batch_size > len(self.y):
            raise InputError(
                f"batch_size={self.batch_size}: larger than the training set, which has {len(self.y)} rows"
            )
        if self.class_weights is not None:
            self._check_weights(n_classes, self.class_weights)

    def _check_weights(self, n_classes: int, weights: tuple[float, ...]) -> None:
        if not n_classes:
            raise InputError("class_weights, or feed=balanced: the data has no labels")
        if self.minibatches is None:
            raise InputError("class_weights, or feed=balanced: the model sees the whole training set in every step")
        if len(weights) != n_classes:
            raise InputError(f"class_weights: {len(weights)} weights for {n_classes} classes")
        counts = np.bincount(self.y, minlength=n_classes)
        for label, (weight, count) in enumerate(zip(weights, counts.tolist(), strict=True)):
            if not 0 <= weight < math.inf:
                raise InputError(f"class_weights: {weight} of class {label} must be a finite number, at least 0")
            if weight and not count:
                raise InputError(f"class_weights: {weight} of class {label}, which has no examples to draw, must be 0")
        if not any(weights):
            raise InputError("class_weights: all are 0, so that nothing can be drawn")


@functools.lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, count: int) -> np.ndarray:
    return np.random.default_rng((seed, 0, epoch)).permutation(count)


@functools.lru_cache(maxsize=4)
def _row_weights(labels: bytes, class_weights: tuple[float, ...]) -> np.ndarray:
    y = np.frombuffer(labels, np.int32)
    weights = np.asarray(class_weights)[y] / np.bincount(y, minlength=len(class_weights))[y]
    return weights / weights.sum()
