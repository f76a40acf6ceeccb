"""Statistics of single columns and pixels over the training rows: all that a model may know of data before training.

They are measured once, over all training rows, and are part of the `DataSpec`. There they can be inspected, replaced by
private estimates, or declared public. `build` and `init` of models use these statistics and no training rows.

The distribution of a numeric column is a histogram of two kinds of bins, in ascending order. A value that at least
`least` rows share is a separate bin, an atom, whose edges are equal. Each run of values between atoms is split into
cells of about equal numbers of rows. The edges of cells are chosen so that no value of fewer rows is stored:

    between two cells      the midpoint of the adjacent values
    of a cell at an atom   the mean of the outermost `least` rows of the cell; the atom itself if the cell has fewer
                           than twice as many rows
    at the column's end    the mean of the outermost `least` rows

A run of fewer than `least` rows is one cell between its two atoms; at an end of the column it belongs to the bin of the
adjacent atom. A column with fewer than `least` values has a single bin, at 0. Where rows belong to persons, bins are
those of rows of which any `least` consecutive ones are of different persons (`apart`).

    statistics = measure(x, columns=spec.columns)     # x (N, D) of a table, or (N, H, W, C) of images in [-1, 1]

    >>> mean = measure(np.array([[1.0], [3.0]])).mean
    >>> mean.tolist()
    [2.0]
    >>> starts, atoms = partition(np.array([5, 1, 1, 1, 1, 1, 5]), np.ones(7, bool), bins=3, cells=3, least=5)
    >>> starts.tolist()  # three bins: a value of 5 rows, a cell of 5 values, a value of 5 rows
    [True, True, False, False, False, False, True]
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

LEAST = 5
"""Default minimum number of rows of an atom or a cell."""
_BINS = 500_000  # maximum number of bins of all numeric columns together
_BLOCK = 2**16  # number of values that are converted at once


class Statistics(NamedTuple):
    """Statistics of the training rows, as NumPy arrays.

    The N numeric columns are those of kind "continuous" and "code", in the order of the spec. K is the largest number
    of bins of one of them.
    """

    mean: np.ndarray
    """(*shape,) f32 mean of each value in the model's space; for continuous columns over the rows that have a value."""
    variance: np.ndarray
    """(*shape,) f32 variance over the same rows."""
    low: np.ndarray
    """(N, K) f32 lower edge of each bin. Unused entries, which come last, repeat the column's last `high`."""
    high: np.ndarray
    """(N, K) f32 upper edge of each bin, equal to `low` for an atom."""
    rows: np.ndarray
    """(N, K) f32 number of rows in each bin; 0 for unused entries."""


def measure(
    x: np.ndarray,
    columns: Sequence[Any] = (),
    encode: Callable[[Any], Any] | None = None,
    least: int = LEAST,
    persons: np.ndarray | None = None,
) -> Statistics:
    """Measures the statistics of training rows.

    Args:
      x: (N, *shape), as stored.
      columns: `DataSpec.columns` of a table; a column has `kind`, `start` and `missing`.
      encode: converts a block of stored values to the model's space; None: they are in that space.
      least: minimum number of rows of an atom or a cell; with `persons`, of persons.
      persons: (N,) i64 whose row each is; None: each is its own.

    Returns:
      Statistics of `encode(x)`.

    Raises:
      ValueError: a value that is not missing is not finite.
    """
    mean, variance = _moments(x, columns, encode)
    if not np.isfinite(mean).all():
        raise ValueError(f"x: a value at {np.argwhere(~np.isfinite(mean))[0].tolist()} of a row is not finite")
    numeric = [column for column in columns if column.kind != "onehot"]
    max_bins = int(np.clip(_BINS // max(len(numeric), 1), 64, 2048))
    bins = [_bins(*_values(x, column, persons), max_bins, least) for column in numeric]
    width = max((len(rows) for _, _, rows in bins), default=1)
    padded = np.zeros((3, len(bins), width), np.float32)
    for i, (low, high, rows) in enumerate(bins):
        padded[:2, i] = high[-1]
        padded[:, i, : len(rows)] = low, high, rows
    return Statistics(mean, variance, *padded)


def check_arrays(x: np.ndarray, y: np.ndarray | None, levels: int) -> None:
    """Checks the arrays of `DataSpec.from_arrays`.

    Args:
      x: (N, H, W, C) images as integers 0 ... levels - 1, of any dtype, or (N, D) rows.
      y: (N,) integer labels from 0 on, or None.
      levels: number of grey levels of images.

    Raises:
      ValueError: x has another number of axes, a pixel is not an integer 0 ... levels - 1, or y is not an array of one
        integer label for each example.
    """
    if x.ndim not in (2, 4):
        raise ValueError(f"x must be (N, H, W, C) images or (N, D) rows, not of shape {x.shape}")
    if y is not None and (y.shape != x.shape[:1] or not np.issubdtype(y.dtype, np.integer)):
        raise ValueError(
            f"y: must be {x.shape[:1]} integers, a label for each example, not {y.dtype} of shape {y.shape}"
        )
    if y is not None and y.min(initial=0) < 0:
        raise ValueError(f"y: has the label {y.min()}; labels are 0 ... n_classes - 1")
    step = max(_BLOCK // max(int(np.prod(x.shape[1:])), 1), 1)
    for start in range(0, len(x) if x.ndim == 4 else 0, step):
        block = x[start : start + step]
        wrong = ~((block >= 0) & (block < levels) & (block == np.floor(block)))
        if wrong.any():
            row, value = start + np.argwhere(wrong)[0][0], block[wrong][0]
            raise ValueError(
                f"x: image {row} has a pixel {value}; with levels={levels} all are integers 0 ... {levels - 1}"
            )


def _moments(x: np.ndarray, columns: Sequence[Any], encode: Callable[[Any], Any] | None) -> tuple[Any, Any]:
    """Mean and variance of each value, (*shape,) f32, merged block by block (Chan, Golub & LeVeque 1983)."""
    incomplete = [c for c in columns if c.kind == "continuous" and c.missing is not None]
    positions, slots = np.array([c.start for c in incomplete], int), np.array([c.missing for c in incomplete], int)
    shape, size = x.shape[1:], int(np.prod(x.shape[1:]))
    count, mean, squares = np.zeros((3, size))
    step = max(_BLOCK // max(size, 1), 1)
    for start in range(0, len(x), step):
        block = x[start : start + step]
        block = np.asarray(block if encode is None else encode(block), np.float64).reshape(len(block), size)
        absent = np.zeros(block.shape, bool)
        absent[:, positions] = block[:, slots] > 0.5
        block_count = len(block) - absent.sum(axis=0)
        block_mean = np.where(absent, 0.0, block).sum(axis=0) / np.maximum(block_count, 1)
        squares += (np.where(absent, 0.0, block - block_mean) ** 2).sum(axis=0)
        shift, count = block_mean - mean, count + block_count
        share = block_count / np.maximum(count, 1)
        squares += shift**2 * share * (count - block_count)
        mean += shift * share
    variance = squares / np.maximum(count, 1)
    variance = np.where(variance > 1e-24 * mean**2, variance, 0.0)  # below that it is a constant's rounding error
    return mean.reshape(shape).astype(np.float32), variance.reshape(shape).astype(np.float32)


def apart(values: np.ndarray, persons: np.ndarray, least: int) -> np.ndarray:
    """Row numbers, by ascending value, so that of any `least` consecutive rows no two are of one person.

    A person has at most one row of each value. Of others that are too near each other some are left out.

    >>> apart(np.array([1.0, 2, 2, 3, 4]), np.array([7, 7, 8, 9, 7]), 3).tolist()
    [0, 2, 3, 4]
    """
    order = np.lexsort((persons, values))
    again = (np.diff(values[order]) == 0) & (np.diff(persons[order]) == 0)
    order = order[np.append(True, ~again)[: len(order)]]
    while True:
        own = persons[order]
        by = np.argsort(own, kind="stable")
        near = np.append(False, (np.diff(own[by]) == 0) & (np.diff(by) < least))[: len(by)]
        if not near.any():
            return order
        places = np.arange(len(by))
        since = places - np.maximum.accumulate(np.where(near, 0, places))
        order = np.delete(order, by[near & (since % 2 == 1)])  # of a chain of near ones every other


def _values(x: np.ndarray, column: Any, persons: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
    """The values of one numeric column that are not missing, (n,) f32 in the model's space, and whose they are."""
    values = np.asarray(x[:, column.start], np.float32)
    present = slice(None) if column.missing is None else x[:, column.missing] <= 0.5
    return values[present], None if persons is None else persons[present]


def _bins(
    values: np.ndarray, persons: np.ndarray | None, max_bins: int, least: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lower edges, upper edges and numbers of rows of the bins of values (n,) f32."""
    every = np.sort(values)
    values = every if persons is None else values[apart(values, persons, least)]
    if len(values) < least:
        return np.zeros(1), np.zeros(1), np.full(1, len(every))
    first_rows = np.flatnonzero(np.append(True, values[1:] != values[:-1]))
    distinct, counts = values[first_rows], np.diff(np.append(first_rows, len(values)))
    new, is_atom = partition(counts, np.ones(len(counts), bool), max_bins, max_bins, least)
    starts = np.flatnonzero(new)
    rows, atom = np.add.reduceat(counts, starts), np.logical_or.reduceat(is_atom, starts)
    lowest, highest = distinct[starts], distinct[np.append(starts[1:], len(distinct)) - 1]
    lowest[atom] = highest[atom] = distinct[is_atom]
    # Mean of the first and of the last `least` rows of each bin.
    outer, stop = np.arange(least), np.cumsum(rows)[:, None]
    first = values[np.minimum(stop - rows[:, None] + outer, stop - 1)].mean(axis=1, dtype=np.float64).astype(np.float32)
    last = values[np.maximum(stop - 1 - outer, stop - rows[:, None])].mean(axis=1, dtype=np.float64).astype(np.float32)
    few = rows < 2 * least
    first[1:], last[:-1] = np.where(few[1:], highest[:-1], first[1:]), np.where(few[:-1], lowest[1:], last[:-1])
    middle = between(highest[:-1], lowest[1:])
    inner = ~atom[:-1] & ~atom[1:]
    first[1:], last[:-1] = np.where(inner, middle, first[1:]), np.where(inner, middle, last[:-1])
    # If rounding makes the edges of a cell equal, as those of an atom, one of them moves outwards within the cell.
    same = ~atom & (first >= last) & (lowest < highest)
    last = np.where(same & (last < highest), np.nextafter(last, highest), last)
    first = np.where(same & (first >= last), np.nextafter(first, lowest), first)
    rows = np.diff(np.append(0, np.append(np.searchsorted(every, lowest[1:]), len(every))))
    return np.where(atom, lowest, first), np.where(atom, lowest, last), rows


def between(below: np.ndarray, above: np.ndarray) -> np.ndarray:
    """The midpoint of f32 numbers `below` < `above`, rounded to f32 so that below < midpoint <= above."""
    middle = ((below.astype(np.float64) + above) / 2).astype(np.float32)
    return np.where(middle <= below, above, middle)


def partition(
    counts: np.ndarray, exact: np.ndarray, bins: int, cells: float, least: float
) -> tuple[np.ndarray, np.ndarray]:
    """Splits the values of a column into bins: atoms and cells, see the module's docstring.

    Atoms are values of at least `threshold` rows, and cells have about as many rows. The threshold is the smallest one
    from `least` up, in steps of 25 %, that gives few enough bins. A run of fewer than `least` rows between two atoms is
    one cell; at an end of the column it belongs to the bin of the adjacent atom.

    Args:
      counts: (n,) number of rows of each value, in ascending order of the values; n and all counts are above 0.
      exact: (n,) bool, which values may be atoms.
      bins: maximum number of bins.
      cells: number of cells to aim at; there are more only if there are more runs, since each has at least one.
      least: minimum number of rows of an atom or a cell.

    Returns:
      (n,) bool, whether a bin starts at the value; (n,) bool, whether the value is an atom.
    """
    ends = np.cumsum(counts)
    eligible = exact & (counts >= least)
    candidates, candidate_rows = np.flatnonzero(eligible), counts[eligible]
    largest = counts[~eligible].max(initial=0)
    threshold = float(least)
    while True:
        atoms = candidates[candidate_rows >= threshold]
        runs = np.append(ends[atoms] - counts[atoms], ends[-1]) - np.append(0, ends[atoms])
        # A cell starts at a value, so it may lack up to all but one of that value's rows.
        lacking = max(largest, candidate_rows[candidate_rows < threshold].max(initial=1)) - 1
        rows = max(threshold, least + lacking, runs.sum() / cells)
        number = np.where(runs > 0, np.maximum(runs // rows, 1), 0)
        if len(atoms) + number.sum() <= bins:
            break
        threshold *= 1.25
    is_atom = np.zeros(len(counts), bool)
    is_atom[atoms] = True
    run = np.cumsum(is_atom)
    rows_before = ends - counts - np.append(0, ends[atoms])[run]
    cell = np.floor(rows_before * number[run] / np.maximum(runs[run], 1))
    new = is_atom | np.append(True, is_atom[:-1]) | np.append(True, cell[1:] != cell[:-1])
    if len(atoms) and 0 < runs[0] < least:
        new[atoms[0]] = False
    if len(atoms) and 0 < runs[-1] < least:
        new[atoms[-1] + 1] = False
    return new, is_atom
