"""Grids of numbers, for all rows or under a condition (`tariff == 1 => fare % 0.5 = 0`), and keys of 1 to 6 columns."""

import math
from itertools import combinations

import numpy as np

from synthjax.rules.columns import joint
from synthjax.rules.kinds import Determined, Equation, Rule, Unique, When
from synthjax.rules.predicates import Compare, Multiple
from synthjax.rules.search.sample import Sample

_STEPS = (2, 3, 4, 5, 7, 10, 12, 15, 20, 25, 30, 50, 60, *(k * 10**n for n in range(1, 6) for k in (10, 25, 50)))
"""Multiples of a column's unit that are tried beside the greatest common one."""
_LEAST_LEVELS = 6
_LEAST_ROWS = 40
_LEVELS = 12  # of a column of conditions
_GOOD = 0.985
_TRIED = 2000  # pairs of a number and a condition, at most
_GLANCE = 20  # rows that settle most pairs
_WIDE = 5  # units, of a step under a condition
_SURE = 12.0  # -log of the chance that so many different values lie on a grid
_UNIQUE_KEYS, _ANCHORS, _LONGEST = 40, 5, 6
_REPEATED = 0.005  # share of rows that repeat a key, at most


def lattices(sample: Sample, known: list[Rule]) -> list[When]:
    """Steps that are wider than a column's unit, of columns that no known rule computes."""
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
            found.append(When((), _multiple(name, whole, unit)))
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
    """Step and offset of whole numbers, if nearly all lie on a grid wider than 1."""
    if len(steps) < _LEAST_ROWS or len(np.unique(steps)) < _LEAST_LEVELS:
        return None
    common = int(np.gcd.reduce(steps - steps[0]))
    if common > 1:
        return common, int(steps[0] % common)
    for step in sorted(_STEPS, reverse=True):
        offsets = steps % step
        offset = int(np.bincount(offsets).argmax())
        on = offsets == offset
        if np.mean(on) >= _GOOD and len(np.unique(steps[on])) >= _LEAST_LEVELS:
            return step, offset
    return None


def _multiple(name: str, grid: tuple[int, int], unit: float) -> Multiple:
    digits = max(round(-np.log10(unit)), 0)
    return Multiple(name, round(grid[0] * unit, digits), round(grid[1] * unit, digits))


def keys(sample: Sample) -> list[Unique]:
    """Columns that together name a row, and none of which can be left out."""
    n, codes, sizes, names = len(sample), sample.codes, sample.levels, list(sample.kinds)
    found: list[tuple[int, ...]] = [(i,) for i, name in enumerate(names) if _single(sample, name)]
    single = {i for (i,) in found}
    rounded = [kind == "text" or sample.columns.unit(name) > 0 for name, kind in sample.kinds.items()]
    full = (codes >= 0).mean(axis=0) > 1 - _REPEATED
    usable = [i for i in np.argsort(-sizes) if full[i] and rounded[i] and i not in single and sizes[i] < n][
        :_UNIQUE_KEYS
    ]
    sample.count("unique", len(names) + len(usable) ** 2 / 2)
    for a, b in combinations(sorted(usable), 2):
        enough = n**0.25 <= max(sizes[a], sizes[b]) and n < sizes[a] * sizes[b] <= 20 * n * n
        if enough and len(joint([codes[:, a], codes[:, b]])[1]) == n:
            found.append((a, b))
    for anchor in usable[:_ANCHORS]:
        key = _grown(codes, anchor, usable, sample)
        if key and not any(set(other) <= set(key) for other in found):
            found.append(key)
    return [Unique(tuple(names[i] for i in key)) for key in found]


def _single(sample: Sample, name: str) -> bool:
    """Whether the whole numbers or dates of a column all differ, though so many drawn evenly would not."""
    if sample.kinds[name] == "text" or sample.columns.unit(name) <= 0:
        return False
    numbers = sample.columns.numbers(name)
    numbers = numbers[~np.isnan(numbers)]
    places = np.ptp(numbers) / sample.columns.unit(name) + 1
    return len(np.unique(numbers)) == len(numbers) >= 0.9 * len(sample) and len(numbers) ** 2 > 2 * _SURE * places


def _grown(codes: np.ndarray, anchor: int, usable: list[int], sample: Sample) -> tuple[int, ...] | None:
    """The shortest key that grows from a column by the one that leaves fewest rows alike; None: none is that short."""
    key, rows = [anchor], np.arange(len(codes))
    while True:
        group, first = joint([codes[rows, i] for i in key])
        alike = len(rows) - len(first)
        if alike <= _REPEATED * len(codes):
            break
        rows = rows[np.bincount(group)[group] > 1]
        others = [i for i in usable if i not in key]
        if len(key) == _LONGEST or not others:
            return None
        sample.count("unique", len(others))
        left = [len(rows) - len(joint([codes[rows, j] for j in (*key, i)])[1]) for i in others]
        if min(left) > 0.9 * alike:
            return None
        key.append(others[int(np.argmin(left))])
    for i in sorted(key, key=lambda i: sample.levels[i]):
        rest = [j for j in key if j != i]
        if rest and len(codes) - len(joint([codes[:, j] for j in rest])[1]) <= _REPEATED * len(codes):
            key = rest
    return tuple(sorted(key)) if len(key) > 1 else None
