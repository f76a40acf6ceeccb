"""The fixed splits of a data set.

They depend on the data alone, never on a run's seed, so that two runs, and two models, are judged on the same examples.
Each is drawn per class (stratified) from the frozen stream of `numpy.random.RandomState`:

- test: the source's own; where it has none, 20 % of its rows (`TEST_SEED`);
- holdout: 10 % of what is left for training (`HOLDOUT_SEED`), never trained on: model selection and privacy need it;
- train: the rest.

Rows of one subject (`synthjax.data.groups`) are drawn together, each subject as if it were one row of the rarest class
that it has.

Within a split, rows keep the order of their source; `Split.index` says which row each was. Rows of a table whose target
is a quantity, or that has none, are drawn alike instead of per class.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from synthjax.data.arrays import Part, examples, fault, shown

TEST_SEED = 1
HOLDOUT_SEED = 2
TEST_SHARE = 0.2


class Split(NamedTuple):
    """Some examples of a data set."""

    x: np.ndarray
    """(N, *spec.shape): uint8 grey values 0 ... spec.levels - 1 of images, f32 encoded rows of a table."""
    y: np.ndarray
    """(N,) int32 labels 0 ... spec.n_classes - 1; zeros where there are none."""
    index: np.ndarray  # type: ignore[assignment]  # hides tuple.index, as in Batch
    """(N,) int32: the row of the source (its train or its test split) that each example is."""

    def take(self, rows: np.ndarray) -> "Split":
        """The examples with these indices, or where a mask (N,) is True."""
        return Split(*(array[rows] for array in self))


def stratified(y: np.ndarray, share: float, seed: int) -> np.ndarray:
    """A fixed sample of rows with each class in its share.

    Args:
        y: (N,) labels; each class needs two rows or more.
        share: of the rows, in (0, 1).
        seed: of `numpy.random.RandomState`, whose stream NumPy keeps frozen.

    Returns:
        (N,) bool, true for the rows drawn: round(share * N) of them, of each class within one of its share, at least
        one and never all (which may change the total where classes are tiny).
    """
    order = np.random.RandomState(seed).permutation(len(y))
    order = order[np.argsort(y[order], kind="stable")]
    counts = np.unique(y, return_counts=True)[1]
    ends = np.cumsum(counts)
    # Rounding the running total, not each class, keeps the sum exact.
    take = np.diff(np.rint(share * ends).astype(np.int64), prepend=0).clip(1, counts - 1)
    chosen = np.zeros(len(y), bool)
    for start, size in zip(ends - counts, take, strict=True):
        chosen[order[start : start + size]] = True
    return chosen


def together(y: np.ndarray, groups: np.ndarray, share: float, seed: int) -> np.ndarray:
    """A fixed sample of rows, as `stratified`, of groups that are drawn whole.

    Args:
        y: (N,) labels.
        groups: (N,) numbers, the same for rows of one group.
        share: of the groups, in (0, 1).
        seed: as of `stratified`.

    Returns:
        (N,) bool, true for the rows drawn.
    """
    names, group = np.unique(groups, return_inverse=True)
    rarity = np.argsort(np.argsort(np.bincount(y), kind="stable"), kind="stable")
    label = np.full(len(names), len(rarity))
    np.minimum.at(label, group, rarity[y])
    return stratified(label, share, seed)[group]


def check_groups(splits: Sequence[Split], classes: tuple[str, ...], where: str, name: str) -> None:
    """Raises InputError if one of these splits, cut by the groups of column `name`, lacks a class, or has no row."""
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
    """Raises InputError if a class, or an unlabelled set, is too small to give each split an example."""
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
    """All examples of a file."""
    n = len(part.x)
    return Split(part.x, np.zeros(n, np.int32) if part.y is None else part.y, np.arange(n, dtype=np.int32))


def cut(
    examples: Split, test: Split | None, holdout: float, groups: np.ndarray | None = None
) -> tuple[Split, Split, Split]:
    """The train, holdout and test splits.

    Args:
        examples: those of the source, without those of `test`.
        test: the source's own test split; None: it is cut from `examples`.
        holdout: share of the training examples to hold out, in [0, 1).
        groups: (rows of the source,) the group that each is in, of which none is divided; None: each is its own.
    """
    if test is None:
        examples, test = _halves(examples, TEST_SHARE, TEST_SEED, groups)
    return (*_halves(examples, holdout, HOLDOUT_SEED, groups), test)


def _halves(split: Split, share: float, seed: int, groups: np.ndarray | None) -> tuple[Split, Split]:
    """What is left, and the sample."""
    if not share:
        chosen = np.zeros(len(split.y), bool)
    elif groups is None:
        chosen = stratified(split.y, share, seed)
    else:
        chosen = together(split.y, groups[split.index], share, seed)
    return split.take(~chosen), split.take(chosen)
