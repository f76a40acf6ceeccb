"""Fixed splits of a data set into training, holdout and test examples.

The splits depend only on the data, not on the seed of a run. So all runs and all models are evaluated on the same
examples. Samples are drawn per class (stratified) with `numpy.random.RandomState`, whose stream does not change between
versions of NumPy:

- test: the test split of the source; if there is none, 20 % of the rows (`TEST_SEED`);
- holdout: 10 % of the other rows (`HOLDOUT_SEED`). It is not used for training, but to select models and to evaluate
  privacy;
- train: the remaining rows.

Rows of the same subject (`synthjax.data.groups`) are in the same split. A subject is drawn like a single row of its
rarest class. Tables with a numeric target or no target are not stratified. The rows of a split are in the order of the
source.

    >>> y = np.array([0] * 8 + [1] * 2)
    >>> y[stratified(y, 0.5, seed=1)].tolist()
    [0, 0, 0, 0, 1]
    >>> split = Split(np.zeros((3, 1), np.float32), np.array([0, 1, 1], np.int32), np.arange(3, dtype=np.int32))
    >>> split.take(split.y == 1).index.tolist()
    [1, 2]
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from synthjax.data.arrays import Part, examples, fault, shown

TEST_SEED = 1
HOLDOUT_SEED = 2
TEST_SHARE = 0.2


class Split(NamedTuple):
    """The examples of one split."""

    x: np.ndarray
    """(N, *spec.shape): uint8 grey values 0 ... spec.levels - 1 for images, f32 encoded rows for a table."""
    y: np.ndarray
    """(N,) int32 labels 0 ... spec.n_classes - 1; zeros if there are no labels."""
    index: np.ndarray  # type: ignore[assignment]  # hides tuple.index, as in Batch
    """(N,) int32: the row number of each example in the source, counted within its train or test split."""

    def take(self, rows: np.ndarray) -> "Split":
        """Selects examples by indices (n,), or by a boolean mask (N,)."""
        return Split(*(array[rows] for array in self))


def stratified(y: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Draws a stratified sample of rows without replacement.

    Args:
        y: (N,) labels; each class must have at least two rows.
        share: fraction of the rows to draw, in (0, 1).
        seed: of `numpy.random.RandomState`.

    Returns:
        (N,) bool mask of the drawn rows. Of n rows of a class, share * n are drawn, to within one, but at least 1 and
        at most n - 1. The total is round(share * N) unless classes are tiny.
    """
    order = np.random.RandomState(seed).permutation(len(y))
    order = order[np.argsort(y[order], kind="stable")]
    counts = np.unique(y, return_counts=True)[1]
    ends = np.cumsum(counts)
    # The cumulative sum is rounded, not each class, so that the total is exact.
    take = np.diff(np.rint(share * ends).astype(np.int64), prepend=0).clip(1, counts - 1)
    chosen = np.zeros(len(y), bool)
    for start, size in zip(ends - counts, take, strict=True):
        chosen[order[start : start + size]] = True
    return chosen


def together(y: np.ndarray, groups: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Draws a sample of whole groups of rows, stratified by the rarest class of each group.

    Args:
        y: (N,) labels.
        groups: (N,) numbers of the rows' groups.
        share: fraction of the groups to draw, in (0, 1).
        seed: of `numpy.random.RandomState`.

    Returns:
        (N,) bool mask of the drawn rows.
    """
    names, group = np.unique(groups, return_inverse=True)
    rarity = np.argsort(np.argsort(np.bincount(y), kind="stable"), kind="stable")
    label = np.full(len(names), len(rarity))
    np.minimum.at(label, group, rarity[y])
    return stratified(label, share, seed)[group]


def check_groups(splits: Sequence[Split], classes: tuple[str, ...], where: str, name: str) -> None:
    """Raises InputError if a split by the groups of column `name` has no example of a class, or no rows at all."""
    for split in splits:
        counts = np.bincount(split.y, minlength=max(len(classes), 1))
        if not counts.min():
            what = f"class {shown(classes[counts.argmin()])} has" if classes else "there are"
            raise fault(
                where,
                f"{what} too few different {shown(name)!r} for each of train, holdout and test to have one; to split "
                "by rows, put `group: false` at the top of a schema file",
            )


def check_counts(y: np.ndarray, classes: tuple[str, ...], where: str, holdout: float, cut_test: bool) -> None:
    """Raises InputError if a class, or an unlabelled data set, has fewer examples than there are splits."""
    splits = ["train"] + ["holdout"] * (holdout > 0) + ["test"] * cut_test
    counts = np.bincount(y)
    if counts.min() < len(splits):
        smallest = int(counts.argmin())
        what = f"class {smallest} ({shown(classes[smallest])})" if classes else "the data set"
        raise fault(
            where,
            f"{what} has {examples(counts[smallest])}, too few to split: one each is needed for {', '.join(splits)}",
        )


def whole(part: Part) -> Split:
    """Makes a split of all examples of a file."""
    n = len(part.x)
    return Split(part.x, np.zeros(n, np.int32) if part.y is None else part.y, np.arange(n, dtype=np.int32))


def cut(
    examples: Split, test: Split | None, holdout: float, groups: np.ndarray | None = None
) -> tuple[Split, Split, Split]:
    """Divides the examples of a source into the train, holdout and test splits.

    Args:
        examples: all examples of the source except those in `test`.
        test: the test split of the source; None: it is drawn from `examples`.
        holdout: fraction of the training examples to hold out, in [0, 1).
        groups: (rows of the source,) number of each row's group; groups are not divided. None: there are no groups.

    Returns:
        Train, holdout and test.
    """
    if test is None:
        examples, test = _halves(examples, TEST_SHARE, TEST_SEED, groups)
    return (*_halves(examples, holdout, HOLDOUT_SEED, groups), test)


def _halves(split: Split, share: float, seed: int, groups: np.ndarray | None) -> tuple[Split, Split]:
    """Draws a sample from a split: the other examples, and the sample."""
    if not share:
        chosen = np.zeros(len(split.y), bool)
    elif groups is None:
        chosen = stratified(split.y, share, seed)
    else:
        chosen = together(split.y, groups[split.index], share, seed)
    return split.take(~chosen), split.take(chosen)
