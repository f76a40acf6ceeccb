"""Grids of numbers, for all rows or under a condition (`tariff == 1 => fare % 0.5 = 0`), and composite keys."""

from itertools import combinations

import numpy as np

from synthjax.rules.columns import joint
from synthjax.rules.kinds import Determined, Equation, Rule, Unique, When
from synthjax.rules.predicates import Compare, Multiple
from synthjax.rules.search.sample import Sample

_STEPS = (2, 3, 4, 5, 7, 10, 12, 15, 20, 25, 30, 50, 60, 100, 500, 1000)
"""Multiples of a column's unit that are tried beside the greatest common one."""
_LEAST_LEVELS = 6
_LEAST_ROWS = 40
_LEVELS = 12  # of a column of conditions
_GOOD = 0.985
_TRIED = 2000  # pairs of a number and a condition, at most
_GLANCE = 20  # rows that settle most pairs
_WIDE = 5  # units, of a step under a condition
_UNIQUE_KEYS = 40


def lattices(sample: Sample, known: list[Rule]) -> list[When]:
    """Steps that are wider than a column's unit, of columns that no known rule computes."""
    computed = {rule.names[0] for rule in known if isinstance(rule, Equation)}
    computed |= {rule.target for rule in known if isinstance(rule, Determined)}
    found: list[When] = []
    small = [name for name, size in zip(sample.kinds, sample.levels, strict=True) if size <= _LEVELS]
    most = max(_TRIED // max(len(sample.numeric), 1), 1)
    for name in sample.numeric:
        if sample.kinds[name] != "number" or name in computed:
            continue
        unit, numbers = sample.columns.unit(name), sample.columns.numbers(name)
        present = ~np.isnan(numbers)
        if not unit or len(np.unique(numbers[present])) < _LEAST_LEVELS:
            continue
        steps = np.where(present, np.rint(np.where(present, numbers, 0) / unit), 0).astype(np.int64)
        sample.count("grid", len(_STEPS) + 1)
        whole = _grid(steps[present])
        if whole:
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
    """Pairs of columns that together name a row, and neither by itself."""
    n, codes, sizes = len(sample), sample.codes, sample.levels
    usable = [i for i in np.argsort(-sizes) if n**0.25 <= sizes[i] <= 0.9 * n][:_UNIQUE_KEYS]
    names = list(sample.kinds)
    found = []
    sample.count("unique", len(usable) ** 2 / 2)
    for a, b in combinations(sorted(usable), 2):
        if sizes[a] * sizes[b] > 20 * n * n:
            continue
        if len(joint([codes[:, a], codes[:, b]])[1]) == n and (codes[:, [a, b]] >= 0).all():
            found.append(Unique((names[a], names[b])))
    return found
