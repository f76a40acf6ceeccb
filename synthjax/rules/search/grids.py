"""Grids of numbers, for all rows or under a condition (`tariff == 1 => fare % 0.5 = 0`), and keys of 1 to 3 columns."""

import math
from itertools import combinations

import numpy as np

from synthjax.rules.columns import joint
from synthjax.rules.keys import Unique
from synthjax.rules.kinds import Determined, Equation, Rule, When
from synthjax.rules.predicates import Compare, Multiple
from synthjax.rules.search.sample import Sample

_STEPS = (2, 3, 4, 5, 7, 10, 12, 15, 20, 25, 30, 50, 60, *(k * 10**n for n in range(1, 6) for k in (10, 25, 50)))
"""Multiples of a column's unit that are tried, in addition to the greatest common divisor."""
_LEAST_LEVELS = 6  # minimum number of levels of a column on a grid
_LEAST_ROWS = 40  # minimum number of rows on a grid
_LEVELS = 12  # maximum number of levels of a column in conditions
_GOOD = 0.985  # minimum fraction of rows on a grid
_TRIED = 2000  # maximum number of pairs of a number and a condition
_GLANCE = 20  # number of rows that are checked first, which rejects most pairs
_WIDE = 5  # minimum step under a condition, in units
_SURE = 12.0  # minimum -log of the probability that so many levels are on a grid by chance
_CERTAIN = 5.0  # minimum expected number of equal pairs of rows, in addition to the log of the number of tried keys
_UNIQUE_KEYS, _THREES = 40, 16  # maximum number of columns for keys of two and of three columns
_GLANCED = 500  # number of rows that are checked first for a key
_SPREAD = 20  # maximum number of possible keys, divided by the squared number of rows


def lattices(sample: Sample, known: list[Rule]) -> list[When]:
    """Grids that are wider than a column's unit.

    Args:
        sample: the rows.
        known: rules; columns that they compute from one key or an equation are not searched.
    """
    computed = {rule.names[0] for rule in known if isinstance(rule, Equation)}
    looked_up = {rule.target for rule in known if isinstance(rule, Determined) and len(rule.keys) == 1}
    found: list[When] = []
    small = [name for name, size in zip(sample.kinds, sample.levels, strict=True) if size <= _LEVELS]
    most = max(_TRIED // max(len(sample.numeric), 1), 1)
    for name in sample.numeric:
        if sample.kinds[name] != "number" or name in computed | looked_up:
            continue
        unit, numbers = sample.columns.unit(name), sample.columns.numbers(name)
        present = ~np.isnan(numbers)
        if not unit or len(np.unique(numbers[present])) < _LEAST_LEVELS:
            continue
        steps = np.where(present, np.rint(np.where(present, numbers, 0) / unit), 0).astype(np.int64)
        sample.count("grid", len(_STEPS) + 1)
        whole = _grid(steps[present])
        if whole and math.log(whole[0]) * (len(np.unique(steps[present])) - 1) > _SURE:
            wider = _near_grid(steps[present], whole[0])
            found += [When((), _multiple(name, grid, unit)) for grid in (whole, wider) if grid]
            continue
        for other in small[:most]:
            if other == name:
                continue
            codes, levels = sample.columns.codes(other)
            text = sample.kinds[other] == "text"
            sample.count("grid", (len(_STEPS) + 1) * len(levels))
            for code, level in enumerate(levels):
                own = steps[present & (codes == code)]
                if len(own) < _LEAST_ROWS or int(np.gcd.reduce(own[:_GLANCE] - own[0])) < _WIDE:
                    continue
                step = _grid(own)
                if step and step[0] >= _WIDE:
                    condition = Compare(other, "==", str(level) if text else float(level))
                    found.append(When((condition,), _multiple(name, step, unit)))
    return found


def _grid(steps: np.ndarray) -> tuple[int, int] | None:
    """The step and offset of a grid for integers, if nearly all are on a grid wider than 1."""
    if len(steps) < _LEAST_ROWS or len(np.unique(steps)) < _LEAST_LEVELS:
        return None
    common = int(np.gcd.reduce(steps - steps[0]))
    return (common, int(steps[0] % common)) if common > 1 else _near_grid(steps, 1)


def _near_grid(steps: np.ndarray, common: int) -> tuple[int, int] | None:
    """The step and offset of the widest grid for nearly all integers; the step is a multiple of `common`."""
    widest = np.ptp(steps) / (_LEAST_LEVELS - 1)
    for step in sorted((step for step in _STEPS if common < step <= widest and step % common == 0), reverse=True):
        offsets = steps % step
        offset = int(np.bincount(offsets).argmax())
        on = offsets == offset
        if np.mean(on) >= _GOOD and len(np.unique(steps[on])) >= _LEAST_LEVELS:
            return step, offset
    return None


def _multiple(name: str, grid: tuple[int, int], unit: float) -> Multiple:
    """The condition for a grid in units."""
    digits = max(round(-np.log10(unit)), 0)
    return Multiple(name, round(grid[0] * unit, digits), round(grid[1] * unit, digits))


def keys(sample: Sample) -> list[Unique]:
    """Minimal sets of at most three columns with unique values."""
    n, codes, sizes, names = len(sample), sample.codes, sample.levels, list(sample.kinds)
    found: list[tuple[int, ...]] = [(i,) for i, name in enumerate(names) if _single(sample, name)]
    single = {i for (i,) in found}
    rounded = [kind == "text" or sample.columns.unit(name) > 0 for name, kind in sample.kinds.items()]
    full = np.all(codes >= 0, axis=0).tolist()
    usable = [i for i in np.argsort(-sizes) if full[i] and rounded[i] and i not in single and sizes[i] < n][
        :_UNIQUE_KEYS
    ]
    sample.count("unique", len(names) + len(usable) ** 2 / 2)
    for a, b in combinations(sorted(usable), 2):
        if n**0.25 <= max(sizes[a], sizes[b]) and _is_key(codes, (a, b), sizes):
            found.append((a, b))
    whole = [i for i in usable if sample.kinds[names[i]] != "number" or sample.columns.unit(names[i]) >= 1][:_THREES]
    sample.count("unique", len(whole) ** 3 / 6)
    for key in combinations(sorted(whole), 3):
        if not any(set(other) <= set(key) for other in found) and _is_key(codes, key, sizes):
            found.append(key)
    limit = _CERTAIN + math.log(1 + len(usable) ** 2 / 2 + len(whole) ** 3 / 6)
    keys_ = [key for key in found if len(key) == 1 or _expected(codes, key) > limit]
    return [Unique(tuple(names[i] for i in key)) for key in keys_]


def _single(sample: Sample, name: str) -> bool:
    """Whether numbers or dates are unique, although as many draws from a uniform distribution would not be."""
    if sample.kinds[name] == "text" or sample.columns.unit(name) <= 0:
        return False
    numbers = sample.columns.numbers(name)
    numbers = numbers[~np.isnan(numbers)]
    places = np.ptp(numbers) / sample.columns.unit(name) + 1
    return len(np.unique(numbers)) == len(numbers) >= 0.9 * len(sample) and len(numbers) ** 2 > 2 * _SURE * places


def _is_key(codes: np.ndarray, key: tuple[int, ...], sizes: np.ndarray) -> bool:
    """Whether no two rows have the same key, and there are not too few or too many possible keys."""
    n = len(codes)
    possible = float(np.prod(sizes[list(key)].astype(float)))
    for rows in (min(n, _GLANCED), n):
        if len(joint([codes[:rows, i] for i in key])[1]) < rows:
            return False
    return n < possible <= _SPREAD * n * n


def _expected(codes: np.ndarray, key: tuple[int, ...]) -> float:
    """The expected number of pairs of rows with the same key if one of its columns were independent; the maximum."""

    def alike(columns: list[int]) -> float:
        counts = np.bincount(joint([codes[:, i] for i in columns])[0]).astype(float)
        return float(np.sum(counts * (counts - 1)) / 2)

    pairs = len(codes) * (len(codes) - 1) / 2
    return max(alike([i]) / pairs * alike([j for j in key if j != i]) for i in key)
