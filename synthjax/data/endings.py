"""Endings: the frequencies of the last digits of numbers, and of the times of day and weekdays of dates.

Many prices end in .00 or .99, and many appointments are at full or half hours on working days. If few rows share a
value, the value itself is not stored, but the frequencies of endings are, so that decoded numbers have the endings of
training rows.

Numbers are measured in steps of their last digit (`step`). A unit is a number of steps. An ending is the number of
units modulo a modulus, and endings of different units are independent of each other:

    numbers     one unit: the last digit, then the digit before it if the last digit is frequent, and so on
    dates       seconds, minutes, and hours together with the day of the week

All endings repeat after a number of steps, which is called a period. Endings are stored as rows
(start, unit, ending, modulus, share). Of the values from period `start` on, up to that of the next part, the fraction
`share` has this ending. An ending is stored only if at least `least` training rows have it.

`spread` moves each number within its period, without a change of their order, so that each ending has an interval of
the length of its share. `gather` is the inverse. It moves any number to the ending of the interval that contains it:

    >>> table = fit(np.repeat(np.arange(1000.0), 4) * 100 + np.tile([0, 0, 0, 50], 1000), [(1, (10, 10))], 5)
    >>> table
    ((0, 1, 0, 100, 0.75), (0, 1, 50, 100, 0.25))
    >>> gather(np.array([12300.0, 12374.0, 12376.0]), table).tolist()
    [12300.0, 12300.0, 12350.0]
    >>> gather(spread(np.array([12300.0, 12350.0]), table), table).tolist()
    [12300.0, 12350.0]
"""

import functools
import itertools
import math
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from synthjax.data.schema import Field
from synthjax.data.text_values import resolution

Table = tuple[tuple[float, ...], ...]
"""Rows (start, unit, ending, modulus, share)."""
Unit = tuple[int, tuple[int, ...]]
"""Size in steps; number of values of each of its digits, from the last one on."""
FEWEST = 60
"""Minimum number of values that are not shared."""
PERIODS = 10
"""Minimum number of periods between the 5 % and the 95 % quantile of the values."""
LONGEST = 10**6
"""Maximum number of endings of a unit."""
_LEFT = 1e-3  # fraction of a period for endings that no row has, so that `spread` keeps the order of all numbers
_CHANCE = 1e-6  # significance level of the tests whether endings are equally frequent
_PARTS = 4  # maximum number of parts of a column, by size of the values
_PART = 500  # minimum number of values of a part
_NEAR = 10_000  # number of candidates for a bound with a known ending
_DIGITS = 9  # maximum number of decimals
_CLOCK = ((1, (60,)), (60, (60,)), (3600, (24, 7)))  # units of dates: seconds, and numbers of values of their digits


class _Intervals(NamedTuple):
    """The intervals of the endings of one unit within a period."""

    unit: int
    modulus: int
    ends: np.ndarray
    """(modulus + 1,) f64, increasing: cumulative shares of the endings, from 0 to 1."""
    known: np.ndarray
    """(modulus,) i64 the largest ending of training rows that is not above each; the smallest one if there is none."""


# --- of a field --------------------------------------------------------------------------------------------------


def step(field: Field) -> float | None:
    """The value of the last digit of a field's numbers, in seconds for dates; None if they are not rounded."""
    if field.kind == "datetime":
        return resolution(field)
    if field.kind == "integer":
        return 1.0
    digits = field.decimals[1] if field.decimals and not field.figures else None
    return 10.0**-digits if digits is not None and digits <= _DIGITS else None


def steps(numbers: np.ndarray, field: Field) -> np.ndarray:
    """Converts numbers (n,) of a field to integer numbers of steps, f64."""
    size = step(field) or 1.0
    return np.rint(numbers / size if size >= 1 else numbers * round(1 / size))


def of(field: Field, values: np.ndarray, least: int) -> Table:
    """Fits the endings of a column.

    Args:
        field: a column of numbers or dates.
        values: (n,) f64 numbers of training rows, dates in seconds; NaN for missing values.
        least: minimum number of rows with each stored ending.

    Returns:
        The endings of the values that are not shared; () if there are too few values, or if they are not rounded.
    """
    size = step(field)
    free = values[~np.isnan(values)]
    free = free[(free >= field.low) & (free <= field.high) & ~np.isin(free, field.shared)]
    if size is None or len(free) < FEWEST or np.abs(free).max() / size > 2.0**52:
        return ()
    if field.kind != "datetime":
        return fit(np.abs(steps(free, field)), [(1, (10,) * round(math.log10(LONGEST)))], least)
    units = [(round(base / size), radices) for base, radices in _CLOCK if base >= size]
    return fit(steps(free, field), units or [(1, (7,))], least, parts=1)


def spread_of(numbers: np.ndarray, field: Field) -> np.ndarray:
    """`spread` for numbers (n,) of a field; they are unchanged if the field has no endings."""
    if not field.endings:
        return numbers
    whole = steps(numbers, field)
    if field.kind == "datetime":
        return spread(whole, field.endings)
    return np.sign(whole) * spread(np.abs(whole), field.endings)


def bounds(field: Field) -> np.ndarray:
    """The minimum and maximum number of a field that are shared or have a known ending: (2,) f64."""
    ends, size = [], step(field) or 1.0
    for end, towards, whole in ((field.low, 1, math.ceil), (field.high, -1, math.floor)):
        near = (whole(end / size) + towards * np.arange(_NEAR)) * size
        good = (gather_of(spread_of(near, field), field) == near) & (near >= field.low) & (near <= field.high)
        ends.append(end if end in field.shared or not good.any() else near[np.argmax(good)])
    return np.array(ends)


def gather_of(values: np.ndarray, field: Field) -> np.ndarray:
    """The inverse of `spread_of`: numbers (n,) of a field."""
    if not field.endings:
        return values
    mirrored = field.kind != "datetime"
    whole = gather(np.abs(values) if mirrored else values, field.endings)
    size = step(field) or 1.0
    whole = np.sign(values) * whole if mirrored else whole
    return whole * size if size >= 1 else whole / round(1 / size)


# --- learning ----------------------------------------------------------------------------------------------------


def fit(values: np.ndarray, units: Sequence[Unit], least: int, parts: int = _PARTS) -> Table:
    """Fits the endings of integers.

    Args:
        values: (n,) f64 integers.
        units: see `Unit`.
        least: minimum number of values with each stored ending.
        parts: maximum number of parts, by size of the values, that have different endings.

    Returns:
        The endings of all parts; () if endings are about equally frequent.
    """
    span = np.quantile(values, 0.95) - np.quantile(values, 0.05)
    known = []
    for unit, radices in units:
        moduli = itertools.accumulate(radices, operator.mul)
        known.append((unit, radices[: sum(unit * modulus * PERIODS <= span for modulus in moduli)]))
    whole = _endings(values, known, least)
    known = [(unit, _prefix(radices, max(row[2] for row in whole if row[0] == unit))) for unit, radices in known]
    known = [(unit, radices) for unit, radices in known if radices]
    if not known:
        return ()
    period = max(unit * math.prod(radices) for unit, radices in known)
    found = list(_parts(values, period, parts))
    if len(found) > 1 and _same([part for _, part in found], whole):
        found = [(0, values)]
    return tuple((start, *row) for start, part in found for row in _endings(part, known, least))


def _same(parts: list[np.ndarray], rows: list[tuple[int, int, int, float]]) -> bool:
    """Whether endings have the same frequencies in all parts, by Pearson's chi-squared test."""
    from scipy.stats import chi2_contingency

    counts = np.array([[(part // row[0] % row[2] == row[1]).sum() for row in rows] for part in parts])
    counts = counts[:, counts.sum(axis=0) > 0]
    return bool(chi2_contingency(counts).pvalue > _CHANCE)


def _prefix(radices: tuple[int, ...], modulus: int) -> tuple[int, ...]:
    """The first radices, whose product is the modulus."""
    return radices[: [1, *itertools.accumulate(radices, operator.mul)].index(modulus)]


def _parts(values: np.ndarray, period: int, parts: int) -> Iterator[tuple[int, np.ndarray]]:
    """Divides values by size; yields the number of the first period of each part, and its values."""
    parts = max(min(parts, len(values) // _PART), 1)
    cuts = np.quantile(values, np.arange(1, parts) / parts) // period + 1
    starts = np.unique(np.concatenate([[0], cuts])) if parts > 1 else np.zeros(1)
    index = np.searchsorted(starts, values // period, side="right") - 1
    for i, start in enumerate(starts):
        yield int(start), values[index == i] if parts > 1 else values


def _endings(values: np.ndarray, units: Sequence[Unit], least: int) -> list[tuple[int, int, int, float]]:
    """The endings (unit, ending, modulus, share) of one part."""
    return [(unit, *row) for unit, radices in units for row in _tree(values // unit, radices, least)]


def _tree(values: np.ndarray, radices: tuple[int, ...], least: int) -> list[tuple[int, int, float]]:
    """The disjoint endings (ending, modulus, share) of one unit. Only frequent ones are divided by further digits."""
    leaves: list[tuple[int, int, float]] = []
    open_ = [(values, 0, 1, 1.0, 0)]
    while open_:
        rest, ending, modulus, share, depth = open_.pop()
        if depth == len(radices) or len(rest) < max(FEWEST, 2 * least):
            leaves.append((ending, modulus, share))
            continue
        digit = (rest % radices[depth]).astype(int)
        counts = np.bincount(digit, minlength=radices[depth]).astype(float)
        if _uniform(counts):
            leaves.append((ending, modulus, share))
            continue
        few = counts < least
        counts[few] = counts[few].mean() if counts[few].sum() >= least else 0
        for i in np.flatnonzero(counts):
            own = rest[digit == i] // radices[depth] if not few[i] else rest[:0]
            part = share * counts[i] / counts.sum()
            open_.append((own, ending + int(i) * modulus, modulus * radices[depth], float(part), depth + 1))
    return sorted(leaves)


def _uniform(counts: np.ndarray) -> bool:
    """Whether digits are equally frequent, by Pearson's chi-squared test."""
    from scipy.special import chdtrc

    mean = counts.mean()
    return bool(chdtrc(len(counts) - 1, ((counts - mean) ** 2 / mean).sum()) > _CHANCE)


# --- use ---------------------------------------------------------------------------------------------------------


def spread(steps: np.ndarray, table: Table) -> np.ndarray:
    """Moves integers to the middle of the intervals of their endings; NaN is unchanged.

    Args:
        steps: (n,) f64 integers.
        table: see `fit`.

    Returns:
        (n,) f64.
    """
    return _moved(steps, table, _spread)


def gather(values: np.ndarray, table: Table) -> np.ndarray:
    """The inverse of `spread`, for any numbers; NaN is unchanged.

    Args:
        values: (n,) f64.
        table: see `fit`.

    Returns:
        (n,) f64 integers, with the endings of the intervals that contain the values.
    """
    return _moved(values, table, _gather)


def _moved(values: np.ndarray, table: Table, move: Callable[..., np.ndarray]) -> np.ndarray:
    """Applies `move` to the values of each part, with the intervals of this part."""
    parts = _intervals(table)
    period = parts[0][1][-1].unit * parts[0][1][-1].modulus
    starts = [start for start, _ in parts]
    which = np.maximum(np.searchsorted(starts, np.nan_to_num(values) // period, side="right") - 1, 0)
    moved = np.array(values, np.float64)
    for i, (_, units) in enumerate(parts):
        own = (which == i) & ~np.isnan(values)
        moved[own] = move(moved[own], units)
    return moved


@functools.lru_cache(maxsize=32)
def _intervals(table: Table) -> tuple[tuple[int, tuple[_Intervals, ...]], ...]:
    """The start of each part, and the intervals of its units, the smallest unit first."""
    moduli: dict[int, int] = {}
    for _, unit, _, modulus, _ in table:
        moduli[int(unit)] = max(moduli.get(int(unit), 1), int(modulus))
    parts = []
    for start in sorted({int(row[0]) for row in table}):
        units = []
        for unit, most in sorted(moduli.items()):
            shares = np.zeros(most)
            for _, _, ending, modulus, share in (row for row in table if row[0] == start and row[1] == unit):
                shares[int(ending) :: int(modulus)] += share * modulus / most
            units.append(_unit_intervals(unit, shares / shares.sum()))
        parts.append((start, tuple(units)))
    return tuple(parts)


def _unit_intervals(unit: int, share: np.ndarray) -> _Intervals:
    """The intervals of a unit's endings with these shares (modulus,)."""
    index = np.maximum.accumulate(np.where(share > 0, np.arange(len(share)), -1))
    share = (1 - _LEFT) * share + _LEFT / len(share)
    known = np.where(index < 0, np.argmax(index >= 0), index)
    return _Intervals(unit, len(share), np.append(0.0, np.cumsum(share)), known)


def _spread(steps: np.ndarray, units: tuple[_Intervals, ...]) -> np.ndarray:
    """`spread` for one part: for each unit, the number is moved into the interval of its ending."""
    value, below = np.full(len(steps), 0.5), 1
    for one in units:
        between = steps // below % (one.unit // below) if one.unit > below else 0.0
        value = (between + value) / (one.unit // below)
        ending = (steps // one.unit % one.modulus).astype(int)
        value = one.ends[ending] + value * (one.ends[ending + 1] - one.ends[ending])
        below = one.unit * one.modulus
    return (steps // below + value) * below


def _gather(values: np.ndarray, units: tuple[_Intervals, ...]) -> np.ndarray:
    """`gather` for one part, from the largest unit to the smallest."""
    period = units[-1].unit * units[-1].modulus
    steps = np.floor(values / period)
    value = np.clip(values / period - steps, 0, 1 - 1e-12)
    steps = steps * period
    for i, one in reversed(list(enumerate(units))):
        ending = np.clip(np.searchsorted(one.ends, value, side="right") - 1, 0, one.modulus - 1)
        value = (value - one.ends[ending]) / np.maximum(one.ends[ending + 1] - one.ends[ending], 1e-300)
        steps = steps + one.known[ending] * one.unit
        below = units[i - 1].unit * units[i - 1].modulus if i else 1
        between = np.minimum(np.floor(value * (one.unit // below)), one.unit // below - 1)
        value = np.clip(value * (one.unit // below) - between, 0, 1 - 1e-12)
        steps = steps + between * below
    return steps
