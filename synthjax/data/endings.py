"""The last digits of numbers and the times of day of dates: which are frequent, learnt, and given back.

Prices end in .00 or .99, salaries in 000, appointments lie on quarters of an hour of working days. Where few rows share
each single value, only their endings are shared. What is learnt is how often each ending is among the values that are
not kept exactly, as a table with a row (start, unit, ending, modulus, share): of the values from `start` periods on,
those whose number of `unit`s is `ending` modulo `modulus` have that share. A period is after how many steps of the
last digit all endings repeat. Endings of different units are independent of each other.

    digits      one unit; the last digit, then the next one of those with a frequent last digit, and so on
    dates       seconds, minutes, and hours with the day of the week

`spread` moves each number within its period so that an ending has room in proportion to its share, in the order of the
numbers; `gather` is the way back. So whatever lies between the numbers of training rows comes back with their endings:

    >>> learnt = fit(np.repeat(np.arange(1000.0), 4) * 100 + np.tile([0, 0, 0, 50], 1000), [(1, (10, 10))], 5)
    >>> learnt
    ((0, 1, 0, 100, 0.75), (0, 1, 50, 100, 0.25))
    >>> gather(np.array([12300.0, 12374.0, 12376.0]), learnt).tolist()
    [12300.0, 12300.0, 12350.0]
    >>> gather(spread(np.array([12300.0, 12350.0]), learnt), learnt).tolist()
    [12300.0, 12350.0]

No ending that fewer than `least` rows have is stored.
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
Unit = tuple[int, tuple[int, ...]]
"""In steps, and the sizes of its digits, from the last one on."""
FEWEST = 60
"""Values that are not kept exactly, for their endings to be looked at."""
PERIODS = 10
"""Periods that the middle nine tenths of the values span at least."""
LONGEST = 10**6
"""Endings of a unit at most."""
_LEFT = 1e-3  # of a period for endings that no row has, so that numbers stay in order
_CHANCE = 1e-6  # of endings that are all alike to be taken for others
_PARTS = 4  # of a column by size
_PART = 500  # values of a part at least
_NEAR = 10_000  # numbers from a bound on among which one of a known ending is looked for
_DIGITS = 9  # after the point
_CLOCK = ((1, (60,)), (60, (60,)), (3600, (24, 7)))  # seconds of a second, a minute, an hour; how many there are


class _Room(NamedTuple):
    """The endings of one unit."""

    unit: int
    modulus: int
    above: np.ndarray
    """(modulus + 1,) f64 share of the endings below each, increasing."""
    known: np.ndarray
    """(modulus,) i64 the next ending from each downwards that training rows have; where there is none, upwards."""


# --- of a field --------------------------------------------------------------------------------------------------


def step(field: Field) -> float | None:
    """The distance between two numbers of a field that differ in the last digit; None: it has no last digit."""
    if field.kind == "datetime":
        return resolution(field)
    if field.kind == "integer":
        return 1.0
    digits = field.decimals[1] if field.decimals and not field.figures else None
    return 10.0**-digits if digits is not None and digits <= _DIGITS else None


def steps(numbers: np.ndarray, field: Field) -> np.ndarray:
    """Numbers (n,) of a field as whole numbers of steps, f64."""
    size = step(field) or 1.0
    return np.rint(numbers / size if size >= 1 else numbers * round(1 / size))


def of(field: Field, values: np.ndarray, least: int) -> Table:
    """The endings of a column.

    Args:
        field: of numbers or dates.
        values: (n,) f64 numbers of training rows, of dates in seconds; NaN where missing.
        least: rows that must have an ending for it to be stored.
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
    """`spread` for numbers (n,) of a field, those that it has no endings of unchanged."""
    if not field.endings:
        return numbers
    whole = steps(numbers, field)
    if field.kind == "datetime":
        return spread(whole, field.endings)
    return np.sign(whole) * spread(np.abs(whole), field.endings)


def bounds(field: Field) -> np.ndarray:
    """The least and the greatest number of a field that are shared, or have a known ending: (2,) f64."""
    ends, size = [], step(field) or 1.0
    for end, towards, whole in ((field.low, 1, math.ceil), (field.high, -1, math.floor)):
        near = (whole(end / size) + towards * np.arange(_NEAR)) * size
        good = (gather_of(spread_of(near, field), field) == near) & (near >= field.low) & (near <= field.high)
        ends.append(end if end in field.shared or not good.any() else near[np.argmax(good)])
    return np.array(ends)


def gather_of(places: np.ndarray, field: Field) -> np.ndarray:
    """The way back."""
    if not field.endings:
        return places
    mirrored = field.kind != "datetime"
    whole = gather(np.abs(places) if mirrored else places, field.endings)
    size = step(field) or 1.0
    whole = np.sign(places) * whole if mirrored else whole
    return whole * size if size >= 1 else whole / round(1 / size)


# --- learning ----------------------------------------------------------------------------------------------------


def fit(values: np.ndarray, units: Sequence[Unit], least: int, parts: int = _PARTS) -> Table:
    """The endings of whole numbers.

    Args:
        values: (n,) f64.
        units: each unit in steps, and the sizes of its digits, from the last one on.
        least: values that must have an ending for it to be stored.
        parts: of the values by size at most, each with endings of its own.
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
    """Whether the endings of all parts may be equally frequent, by Pearson's test."""
    from scipy.stats import chi2_contingency

    counts = np.array([[(part // row[0] % row[2] == row[1]).sum() for row in rows] for part in parts])
    counts = counts[:, counts.sum(axis=0) > 0]
    return bool(chi2_contingency(counts).pvalue > _CHANCE)


def _prefix(radices: tuple[int, ...], modulus: int) -> tuple[int, ...]:
    """The first of the radices, whose product is the modulus."""
    return radices[: [1, *itertools.accumulate(radices, operator.mul)].index(modulus)]


def _parts(values: np.ndarray, period: int, parts: int) -> Iterator[tuple[int, np.ndarray]]:
    """Values by size: the number of the period with which each part starts, and its values."""
    parts = max(min(parts, len(values) // _PART), 1)
    cuts = np.quantile(values, np.arange(1, parts) / parts) // period + 1
    starts = np.unique(np.concatenate([[0], cuts])) if parts > 1 else np.zeros(1)
    index = np.searchsorted(starts, values // period, side="right") - 1
    for i, start in enumerate(starts):
        yield int(start), values[index == i] if parts > 1 else values


def _endings(values: np.ndarray, units: Sequence[Unit], least: int) -> list[tuple[int, int, int, float]]:
    """Rows (unit, ending, modulus, share) of the values of one part."""
    return [(unit, *row) for unit, radices in units for row in _tree(values // unit, radices, least)]


def _tree(values: np.ndarray, radices: tuple[int, ...], least: int) -> list[tuple[int, int, float]]:
    """Endings, moduli and shares; no ending is that of another. Only frequent ones are looked at further."""
    leaves: list[tuple[int, int, float]] = []
    open_ = [(values, 0, 1, 1.0, 0)]
    while open_:
        rest, ending, modulus, share, depth = open_.pop()
        if depth == len(radices) or len(rest) < max(FEWEST, 2 * least):
            leaves.append((ending, modulus, share))
            continue
        digit = (rest % radices[depth]).astype(int)
        counts = np.bincount(digit, minlength=radices[depth]).astype(float)
        if _alike(counts):
            leaves.append((ending, modulus, share))
            continue
        few = counts < least
        counts[few] = counts[few].mean() if counts[few].sum() >= least else 0
        for i in np.flatnonzero(counts):
            own = rest[digit == i] // radices[depth] if not few[i] else rest[:0]
            part = share * counts[i] / counts.sum()
            open_.append((own, ending + int(i) * modulus, modulus * radices[depth], float(part), depth + 1))
    return sorted(leaves)


def _alike(counts: np.ndarray) -> bool:
    """Whether digits may all be equally frequent, by Pearson's test."""
    from scipy.special import chdtrc

    mean = counts.mean()
    return bool(chdtrc(len(counts) - 1, ((counts - mean) ** 2 / mean).sum()) > _CHANCE)


# --- use ---------------------------------------------------------------------------------------------------------


def spread(steps: np.ndarray, table: Table) -> np.ndarray:
    """Whole numbers (n,) f64, each moved to the middle of the room that its ending has in its period."""
    return _moved(steps, table, _spread)


def gather(places: np.ndarray, table: Table) -> np.ndarray:
    """The whole numbers (n,) f64 in whose room places lie."""
    return _moved(places, table, _gather)


def _moved(values: np.ndarray, table: Table, move: Callable[..., np.ndarray]) -> np.ndarray:
    """The values moved as the table says of their size; NaN stays."""
    parts = _rooms(table)
    period = parts[0][1][-1].unit * parts[0][1][-1].modulus
    starts = [start for start, _ in parts]
    which = np.maximum(np.searchsorted(starts, np.nan_to_num(values) // period, side="right") - 1, 0)
    moved = np.array(values, np.float64)
    for i, (_, rooms) in enumerate(parts):
        own = (which == i) & ~np.isnan(values)
        moved[own] = move(moved[own], rooms)
    return moved


@functools.lru_cache(maxsize=32)
def _rooms(table: Table) -> tuple[tuple[int, tuple[_Room, ...]], ...]:
    """Of each part its start and its units, the smallest first."""
    moduli: dict[int, int] = {}
    for _, unit, _, modulus, _ in table:
        moduli[int(unit)] = max(moduli.get(int(unit), 1), int(modulus))
    parts = []
    for start in sorted({int(row[0]) for row in table}):
        rooms = []
        for unit, most in sorted(moduli.items()):
            room = np.zeros(most)
            for _, _, ending, modulus, share in (row for row in table if row[0] == start and row[1] == unit):
                room[int(ending) :: int(modulus)] += share * modulus / most
            rooms.append(_room(unit, room / room.sum()))
        parts.append((start, tuple(rooms)))
    return tuple(parts)


def _room(unit: int, share: np.ndarray) -> _Room:
    index = np.maximum.accumulate(np.where(share > 0, np.arange(len(share)), -1))
    share = (1 - _LEFT) * share + _LEFT / len(share)
    return _Room(unit, len(share), np.append(0.0, np.cumsum(share)), np.where(index < 0, np.argmax(index >= 0), index))


def _spread(steps: np.ndarray, rooms: tuple[_Room, ...]) -> np.ndarray:
    """Whole numbers moved: the share of the endings below, and the place among what has the same one, unit by unit."""
    place, below = np.full(len(steps), 0.5), 1
    for one in rooms:
        between = steps // below % (one.unit // below) if one.unit > below else 0.0
        place = (between + place) / (one.unit // below)
        ending = (steps // one.unit % one.modulus).astype(int)
        place = one.above[ending] + place * (one.above[ending + 1] - one.above[ending])
        below = one.unit * one.modulus
    return (steps // below + place) * below


def _gather(places: np.ndarray, rooms: tuple[_Room, ...]) -> np.ndarray:
    """The way back."""
    period = rooms[-1].unit * rooms[-1].modulus
    steps = np.floor(places / period)
    place = np.clip(places / period - steps, 0, 1 - 1e-12)
    steps = steps * period
    for i, one in reversed(list(enumerate(rooms))):
        ending = np.clip(np.searchsorted(one.above, place, side="right") - 1, 0, one.modulus - 1)
        place = (place - one.above[ending]) / np.maximum(one.above[ending + 1] - one.above[ending], 1e-300)
        steps = steps + one.known[ending] * one.unit
        below = rooms[i - 1].unit * rooms[i - 1].modulus if i else 1
        between = np.minimum(np.floor(place * (one.unit // below)), one.unit // below - 1)
        place = np.clip(place * (one.unit // below) - between, 0, 1 - 1e-12)
        steps = steps + between * below
    return steps
