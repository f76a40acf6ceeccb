"""Training batches as a pure function of (seed, step), so that a resumed run needs no iterator state.

Batches are transferred to the device as stored (uint8 images); `spec.encode` is compiled into the training step.

    >>> feed = Feed(np.arange(6, dtype=np.uint8)[:, None], np.array([0, 1] * 3), batch_size=4, seed=1)
    >>> batch = feed.batch(7)
    >>> batch.x.shape, batch.weight.tolist()
    ((4, 1), [1.0, 1.0, 1.0, 1.0])
    >>> bool((batch.x == feed.batch(7).x).all()), bool((batch.index == feed.rows(7)).all())
    (True, True)
    >>> feed.rows(0).tolist() + feed.rows(1).tolist()[:2]  # an epoch
    [4, 0, 2, 1, 5, 3]

For a model that takes the whole training set, the set is padded, here to a multiple of 4 devices:

    >>> whole = Feed(feed.x, feed.y, 4, kind="dataset", multiple=4)
    >>> whole.rows(0).tolist()
    [0, 1, 2, 3, 4, 5, -1, -1]

For differential privacy each row is in a batch with the same probability, independently of the others. Batches differ
in the number of rows, and are padded:

    >>> private = Feed(feed.x, feed.y, 6, seed=3, poisson=0.5)
    >>> private.rows(0).tolist(), private.rows(1).tolist()
    ([0, 3, 4, 5, -1, -1], [1, 5, -1, -1, -1, -1])
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
    """Draws batches from arrays. `rows` and `batch` depend only on the fields and their arguments."""

    x: np.ndarray
    """(N, *shape), as stored."""
    y: np.ndarray
    """(N,) i32."""
    batch_size: int
    seed: int = 0
    kind: Literal["batch", "batches", "dataset"] = "batch"
    """What a step takes, see `Model.feed`."""
    n_batches: int = 1
    """See `Model.n_batches`."""
    class_weights: tuple[float, ...] | None = None
    """Relative frequency of each class in batches that are drawn with replacement; None: shuffled epochs.

    It is the frequency of the whole class, whatever its number of rows, and all its rows are equally likely. Rows of a
    class with weight 0 are never drawn."""
    multiple: int = 1
    """Batches of the whole training set are padded with weight 0 to a multiple of this, the number of devices."""
    poisson: float | None = None
    """Probability of each row to be in a batch, independently of other rows and batches; None: shuffled epochs.

    `batch_size` is the largest number of rows that fit. Further rows are left out, which has to be accounted for
    (`privacy.accounting.truncation`). Batches are padded with zeros of weight 0. `seed` should then be secret and
    random, as `privacy.noise.Key.integer` is."""

    @classmethod
    def of(cls, model: Model, x: np.ndarray, y: np.ndarray, batch_size: int, seed: int = 0, multiple: int = 1) -> Self:
        """The feed for a model."""
        return cls(x, y, batch_size, seed, model.feed, model.n_batches, None, multiple)

    def rows(self, step: int) -> np.ndarray:
        """Indices of the training rows of a step, i64, in order; -1 for padding.

        Without class weights and Poisson sampling, the rows of consecutive steps are consecutive slices of random
        permutations, one per epoch. Poisson samples come in ascending order, and padding last, in each of the
        `n_batches` batches.
        """
        count = len(self.y)
        if self.kind == "dataset":
            padded = np.full(-(-count // self.multiple) * self.multiple, -1)
            padded[:count] = np.arange(count)
            return padded
        size = self.batch_size * self.n_batches
        if self.poisson is not None:
            rng = np.random.default_rng((self.seed, 2, step))
            return np.concatenate([self._poisson(rng, self.poisson) for _ in range(self.n_batches)])
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
        """The batch of a step, with x as stored. `part` selects the part of one process from the batch axis."""
        rows = self.rows(step)
        if self.kind == "batches":
            rows = rows.reshape(self.n_batches, self.batch_size)
        rows = rows[..., part]
        if self.kind == "dataset" and len(rows) and rows[-1] >= 0:  # a slice gives views, not copies, of the arrays
            span = slice(rows[0], rows[-1] + 1)
            return Batch(self.x[span], self.y[span], np.ones(len(rows), np.float32), rows.astype(np.int32))  # type: ignore[arg-type]
        x, y, real = self.x[rows], self.y[rows], rows >= 0
        if not real.all():
            x[~real], y[~real] = 0, 0
        return Batch(x, y, real.astype(np.float32), rows.astype(np.int32))  # type: ignore[arg-type]

    def check(self, n_classes: int) -> None:
        """Checks the batch size, the class weights and the rate of Poisson samples.

        Args:
          n_classes: number of classes of the data, 0 if it is unlabelled. The largest label does not give it, since the
            last class may be empty.

        Raises:
          InputError: batches cannot be drawn.
        """
        if self.batch_size < 1:
            raise InputError(f"batch_size={self.batch_size}: must be at least 1")
        if self.poisson is not None:
            self._check_poisson(self.poisson)
        elif self.kind != "dataset" and self.batch_size > len(self.y):
            raise InputError(
                f"batch_size={self.batch_size}: larger than the training set, which has {len(self.y)} rows"
            )
        if self.class_weights is not None:
            self._check_weights(n_classes, self.class_weights)

    def _check_poisson(self, rate: float) -> None:
        if not 0 < rate <= 1:
            raise InputError(f"poisson={rate}: must be above 0 and at most 1")
        if self.kind == "dataset":
            raise InputError("poisson: the model sees the whole training set in every step")
        if self.class_weights is not None:
            raise InputError("differential privacy: class_weights, or feed=balanced, draw rows of rare classes more "
                             "often than the accounting says; leave them out")  # fmt: skip

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
            raise InputError("class_weights: all are 0; at least one must be above 0")

    def _poisson(self, rng: np.random.Generator, rate: float) -> np.ndarray:
        """A Poisson sample, padded with -1 or truncated: (batch_size,) i64."""
        rows = np.flatnonzero(rng.random(len(self.y)) < rate)[: self.batch_size]
        return np.pad(rows, (0, self.batch_size - len(rows)), constant_values=-1)

    def _sampled(self, rng: np.random.Generator, size: int) -> np.ndarray:
        """Draws rows with replacement by the class weights: (size,) i64."""
        rows = np.searchsorted(self._cdf, rng.random(size), side="right")
        return np.minimum(rows, len(self.y) - 1)

    @functools.cached_property
    def _cdf(self) -> np.ndarray:
        """(N,) f64 cumulative probabilities of the rows under `class_weights`."""
        counts = np.bincount(self.y, minlength=len(self.class_weights or ()))
        cdf = np.cumsum(np.asarray(self.class_weights)[self.y] / counts[self.y])
        return cdf / cdf[-1]


@functools.lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, count: int) -> np.ndarray:
    """The order of the rows in an epoch, (count,) i64."""
    return np.random.default_rng((seed, 0, epoch)).permutation(count)
