"""(seed, step) -> batch: a pure function, so that a resumed run needs no iterator state and sees the same batches.

Batches stay as stored (uint8 images) until they are on the device; `spec.encode` is compiled into the training step.

    >>> feed = Feed(np.arange(6, dtype=np.uint8)[:, None], np.array([0, 1] * 3), batch_size=4, seed=1)
    >>> batch = feed.batch(7)
    >>> batch.x.shape, batch.weight.tolist()
    ((4, 1), [1.0, 1.0, 1.0, 1.0])
    >>> bool((batch.x == feed.batch(7).x).all()), bool((batch.index == feed.rows(7)).all())
    (True, True)
    >>> feed.rows(0).tolist() + feed.rows(1).tolist()[:2]  # an epoch
    [4, 0, 2, 1, 5, 3]

A model that takes the whole training set gets it padded, here to a multiple of 4 devices:

    >>> whole = Feed(feed.x, feed.y, 4, kind="dataset", multiple=4)
    >>> whole.rows(0).tolist()
    [0, 1, 2, 3, 4, 5, -1, -1]
"""

import functools
import math
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np

from synthjax.errors import InputError
from synthjax.model import Batch, Model


@dataclass(frozen=True, eq=False)
class Feed:
    """Draws batches from arrays. `rows` and `batch` depend on nothing but their arguments."""

    x: np.ndarray
    """(N, *shape), as stored."""
    y: np.ndarray
    """(N,) i32."""
    batch_size: int
    seed: int = 0
    kind: Literal["batch", "batches", "dataset"] = "batch"
    """What a step takes, as `Model.feed`."""
    n_batches: int = 1
    """As `Model.n_batches`."""
    class_weights: tuple[float, ...] | None = None
    """Relative frequency of each class in a batch, drawn with replacement; None: shuffled epochs, without.

    What the rows of a class, few or many, share equally; 0: never drawn."""
    multiple: int = 1
    """Whole-set batches are padded with weight 0 to a multiple of this (the number of devices)."""

    @classmethod
    def of(cls, model: Model, x: np.ndarray, y: np.ndarray, batch_size: int, seed: int = 0, multiple: int = 1) -> Self:
        """What that model takes."""
        return cls(x, y, batch_size, seed, model.feed, model.n_batches, None, multiple)

    def rows(self, step: int) -> np.ndarray:
        """Rows of the training set that step `step` sees, in order; -1 marks padding. i64.

        Without class weights the rows are consecutive slices of an endless sequence of permutations, one an epoch.
        """
        count = len(self.y)
        if self.kind == "dataset":
            padded = np.full(-(-count // self.multiple) * self.multiple, -1)
            padded[:count] = np.arange(count)
            return padded
        size = self.batch_size * self.n_batches
        if self.class_weights is not None:
            return self._sampled(np.random.default_rng((self.seed, 1, step)), size)
        first, last = step * size, (step + 1) * size
        parts = []
        while first < last:
            start = first % count
            part = _permutation(self.seed, first // count, count)[start : start + last - first]
            parts.append(part)
            first += len(part)
        return np.concatenate(parts)

    def batch(self, step: int, part: slice = slice(None)) -> Batch:
        """The batch of step `step`, x as stored; `part` cuts the share of one process out of the batch axis."""
        rows = self.rows(step)
        if self.kind == "batches":
            rows = rows.reshape(self.n_batches, self.batch_size)
        rows = rows[..., part]
        if self.kind == "dataset" and len(rows) and rows[-1] >= 0:  # consecutive: a view, no copy of the training set
            whole = slice(rows[0], rows[-1] + 1)
            return Batch(self.x[whole], self.y[whole], np.ones(len(rows), np.float32), rows.astype(np.int32))  # type: ignore[arg-type]
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
        if self.kind != "dataset" and self.batch_size > len(self.y):
            raise InputError(
                f"batch_size={self.batch_size}: larger than the training set, which has {len(self.y)} rows"
            )
        if self.class_weights is not None:
            self._check_weights(n_classes, self.class_weights)

    def _check_weights(self, n_classes: int, weights: tuple[float, ...]) -> None:
        if not n_classes:
            raise InputError("class_weights, or feed=balanced: the data has no labels")
        if self.kind == "dataset":
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

    def _sampled(self, rng: np.random.Generator, size: int) -> np.ndarray:
        """(size,) rows drawn with replacement by their chances."""
        rows = np.searchsorted(self._chances, rng.random(size), side="right")
        return np.minimum(rows, len(self.y) - 1)

    @functools.cached_property
    def _chances(self) -> np.ndarray:
        """(N,) f64 cumulative chances of the rows under `class_weights`."""
        counts = np.bincount(self.y, minlength=len(self.class_weights or ()))
        chances = np.cumsum(np.asarray(self.class_weights)[self.y] / counts[self.y])
        return chances / chances[-1]


@functools.lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, count: int) -> np.ndarray:
    return np.random.default_rng((seed, 0, epoch)).permutation(count)
