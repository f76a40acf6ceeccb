"""The fixed splits of a data set.

They depend on the data alone, never on a run's seed, so that two runs, and two models, are judged on the same examples.
Each is drawn per class (stratified) from the frozen stream of `numpy.random.RandomState`:

- test: the source's own; where it has none, 20 % of its rows (`TEST_SEED`);
- holdout: 10 % of what is left for training (`HOLDOUT_SEED`), never trained on: model selection and privacy need it;
- train: the rest.

Within a split, rows keep the order of their source; `Split.index` says which row each was. Rows of a table whose target
is a quantity, or that has none, are drawn alike instead of per class.
"""

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


def cut(examples: Split, test: Split | None, holdout: float) -> tuple[Split, Split, Split]:
    """The train, holdout and test splits.

    Args:
        examples: those of the source, without those of `test`.
        test: the source's own test split; None: it is cut from `examples`.
        holdout: share of the training examples to hold out, in [0, 1).
    """
    if test is None:
        examples, test = _halves(examples, TEST_SHARE, TEST_SEED)
    return (*_halves(examples, holdout, HOLDOUT_SEED), test)


def _halves(split: Split, share: float, seed: int) -> tuple[Split, Split]:
    """What is left, and the stratified sample."""
    chosen = stratified(split.y, share, seed) if share else np.zeros(len(split.y), bool)
    return split.take(~chosen), split.take(chosen)
