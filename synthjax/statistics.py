"""Statistics of single columns and pixels over the training rows: all that a model may know of data before it trains.

They are measured once, over all training rows, and are part of the `DataSpec`. There they can be looked at, replaced
by private estimates, or declared public. Models read them in `build` and `init`, and never a row itself.

The distribution of a numeric column is a histogram of two kinds of bins, in ascending order: a value that at least
`least` rows share is a bin of its own (an atom, of equal edges), and each run of values between atoms is cut into cells
of about equal numbers of rows. Edges are such that no number of fewer rows is stored:

    between two cells      the midpoint of the values beside it
    of a cell at an atom   the mean of its outermost `least` rows; the atom itself if the cell has fewer than twice that
    at the column's end    the mean of the outermost `least` rows

A run of fewer than `least` rows is one cell between its two atoms; at an end of the column it is counted with the atom
beside it. A column of fewer than `least` values has one bin, at 0.

    found = measure(x, columns=spec.columns)     # x (N, D) of a table, or (N, H, W, C) of images in [-1, 1]
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

LEAST = 5
"""Default of the fewest rows that share an atom or fill a cell."""
_BINS = 500_000  # of all numeric columns together
_BLOCK = 2**16  # values that are converted at once


class Statistics(NamedTuple):
    """Of the training rows, as NumPy arrays. K is the number of bins of the widest of the N numeric columns.

    Numeric columns are those of kind "continuous" and "code", in the order of the spec.
    """

    mean: np.ndarray
    """(*shape,) f32 mean of each value as models see it; of a continuous column over the rows that have a value."""
    variance: np.ndarray
    """(*shape,) f32, of the same rows."""
    low: np.ndarray
    """(N, K) f32 lower edge of each bin; past a column's last one, `high` of that."""
    high: np.ndarray
    """(N, K) f32 upper edge; that of an atom equals `low`."""
    rows: np.ndarray
    """(N, K) f32 rows in each bin; 0 past a column's last one."""


def measure(
    x: np.ndarray, columns: Sequence[Any] = (), encode: Callable[[Any], Any] | None = None, least: int = LEAST
) -> Statistics:
    """The statistics of training rows.

    Args:
      x: (N, *shape), as stored.
      columns: of a table, `DataSpec.columns`; a column has `kind`, `start` and `missing`.
      encode: from stored values to those that models see, block by block; default: they are the same.
      least: fewest rows that share an atom or fill a cell.

    Returns:
      Statistics of `encode(x)`.

    Raises:
      ValueError: a number that is not missing is not finite.
    """
    mean, variance = _moments(x, columns, encode)
    if not np.isfinite(mean).all():
        raise ValueError(f"x: a value at {np.argwhere(~np.isfinite(mean))[0].tolist()} of a row is not finite")
    numeric = [column for column in columns if column.kind != "onehot"]
    most = int(np.clip(_BINS // max(len(numeric), 1), 64, 2048))
    bins = [_bins(_values(x, column), most, least) for column in numeric]
    width = max((len(rows) for _, _, rows in bins), default=1)
    padded = np.zeros((3, len(bins), width), np.float32)
    for place, (low, high, rows) in enumerate(bins):
        padded[:2, place] = high[-1]
        padded[:, place, : len(rows)] = low, high, rows
    return Statistics(mean, variance, *padded)


def _moments(x: np.ndarray, columns: Sequence[Any], encode: Callable[[Any], Any] | None) -> tuple[Any, Any]:
    """Mean and variance of each value, (*shape,) f32, block by block (Chan, Golub & LeVeque 1983)."""
    maybe = [c for c in columns if c.kind == "continuous" and c.missing is not None]
    positions, slots = np.array([c.start for c in maybe], int), np.array([c.missing for c in maybe], int)
    shape, size = x.shape[1:], int(np.prod(x.shape[1:]))
    count, mean, squares = np.zeros((3, size))
    step = max(_BLOCK // max(size, 1), 1)
    for start in range(0, len(x), step):
        block = x[start : start + step]
        block = np.asarray(block if encode is None else encode(block), np.float64).reshape(len(block), size)
        absent = np.zeros(block.shape, bool)
        absent[:, positions] = block[:, slots] > 0.5
        here = len(block) - absent.sum(axis=0)
        center = np.where(absent, 0.0, block).sum(axis=0) / np.maximum(here, 1)
        squares += (np.where(absent, 0.0, block - center) ** 2).sum(axis=0)
        shift, count = center - mean, count + here
        share = here / np.maximum(count, 1)
        squares += shift**2 * share * (count - here)
        mean += shift * share
    variance = squares / np.maximum(count, 1)
    variance = np.where(variance > 1e-24 * mean**2, variance, 0.0)  # a constant's is rounding
    return mean.reshape(shape).astype(np.float32), variance.reshape(shape).astype(np.float32)


def _values(x: np.ndarray, column: Any) -> np.ndarray:
    """The numbers of one numeric column where rows have one, sorted, f32 as models see them."""
    values = x[:, column.start]
    return np.sort(values if column.missing is None else values[x[:, column.missing] <= 0.5]).astype(np.float32)


def _bins(values: np.ndarray, most: int, least: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lower and upper edges, f32, and rows of at most `most` bins of sorted values (n,) f32."""
    if len(values) < least:
        return np.zeros(1), np.zeros(1), np.full(1, len(values))
    heads = np.flatnonzero(np.append(True, values[1:] != values[:-1]))
    distinct, counts = values[heads], np.diff(np.append(heads, len(values)))
    new, of_atom = partition(counts, np.ones(len(counts), bool), most, most, least)
    starts = np.flatnonzero(new)
    rows, atom = np.add.reduceat(counts, starts), np.logical_or.reduceat(of_atom, starts)
    lowest, highest = distinct[starts], distinct[np.append(starts[1:], len(distinct)) - 1]
    lowest[atom] = highest[atom] = distinct[of_atom]
    outer, stop = np.arange(least), np.cumsum(rows)[:, None]
    first = values[np.minimum(stop - rows[:, None] + outer, stop - 1)].mean(axis=1, dtype=np.float64).astype(np.float32)
    last = values[np.maximum(stop - 1 - outer, stop - rows[:, None])].mean(axis=1, dtype=np.float64).astype(np.float32)
    few = rows < 2 * least
    first[1:], last[:-1] = np.where(few[1:], highest[:-1], first[1:]), np.where(few[:-1], lowest[1:], last[:-1])
    middle = between(highest[:-1], lowest[1:])
    inner = ~atom[:-1] & ~atom[1:]
    first[1:], last[:-1] = np.where(inner, middle, first[1:]), np.where(inner, middle, last[:-1])
    # Rounding may not make an atom of a cell: one of its edges moves outwards, within the cell.
    same = ~atom & (first >= last) & (lowest < highest)
    last = np.where(same & (last < highest), np.nextafter(last, highest), last)
    first = np.where(same & (first >= last), np.nextafter(first, lowest), first)
    return np.where(atom, lowest, first), np.where(atom, lowest, last), rows


def between(below: np.ndarray, above: np.ndarray) -> np.ndarray:
    """The midpoint of two f32 numbers, f32, above the lower and at most the upper one."""
    middle = ((below.astype(np.float64) + above) / 2).astype(np.float32)
    return np.where(middle <= below, above, middle)


def partition(
    counts: np.ndarray, exact: np.ndarray, bins: int, cells: float, least: float
) -> tuple[np.ndarray, np.ndarray]:
    """Cuts a column into bins, by the smallest grain whose bins are few enough.

    Atoms are shared by at least as many rows as the grain. A run of values between atoms is cut into cells of about as
    many rows, and of at least `least`, or is one cell; a run of fewer rows at an end is part of the atom's bin.

    Args:
      counts: (n,) rows of each value, in ascending order of the values; n and all counts above 0.
      exact: (n,) bool, which of them can be atoms.
      bins: at most so many.
      cells: about so many of them are cells; more only as each run has one.
      least: the smallest grain.

    Returns:
      (n,) bool whether a bin starts at the value, (n,) bool whether the value is an atom.
    """
    ends = np.cumsum(counts)
    able = exact & (counts >= least)
    places, shared = np.flatnonzero(able), counts[able]
    largest = counts[~able].max(initial=0)
    grain = float(least)
    while True:
        at = places[shared >= grain]
        runs = np.append(ends[at] - counts[at], ends[-1]) - np.append(0, ends[at])
        # A cell may start late by all but one of the rows of one value.
        late = max(largest, shared[shared < grain].max(initial=1)) - 1
        rows = max(grain, least + late, runs.sum() / cells)
        number = np.where(runs > 0, np.maximum(runs // rows, 1), 0)
        if len(at) + number.sum() <= bins:
            break
        grain *= 1.25
    atom = np.zeros(len(counts), bool)
    atom[at] = True
    run = np.cumsum(atom)
    before = ends - counts - np.append(0, ends[at])[run]
    cell = np.floor(before * number[run] / np.maximum(runs[run], 1))
    new = atom | np.append(True, atom[:-1]) | np.append(True, cell[1:] != cell[:-1])
    if len(at) and 0 < runs[0] < least:
        new[at[0]] = False
    if len(at) and 0 < runs[-1] < least:
        new[at[-1] + 1] = False
    return new, atom
