"""Bounds under a condition: `kind == 'child' => age <= 12`, `study == 'first' => day <= '2008-06-01'`.

The maximum of some numbers is not necessarily a bound. It is a candidate if many other rows of the table are beyond it,
and many rows that meet the condition are close to it.
"""

from collections.abc import Iterable

import numpy as np

from synthjax.rules.kinds import Rule, When
from synthjax.rules.predicates import Compare
from synthjax.rules.search.sample import Sample, tied
from synthjax.rules.search.thresholds import cut

_LEVELS = 12  # maximum number of levels of a column in conditions
_LEAST_ROWS = 20  # minimum number of rows that meet a condition
_BEYOND = 0.2  # minimum fraction of all rows that are beyond the bound
_NEAR = 0.05  # rows are close to the bound within this fraction of their range
_DENSE = 0.5  # minimum number of close rows, relative to a uniform distribution
_ON = 5  # minimum number of close rows
_TRIED = 2000  # maximum number of pairs of columns


def rules(sample: Sample, known: Iterable[Rule]) -> list[When]:
    """Bounds of numbers and dates under conditions on columns with few levels.

    Args:
        sample: the rows.
        known: rules; pairs of columns that they relate are not searched.
    """
    together = tied(known)
    small = [name for name, size in zip(sample.kinds, sample.levels, strict=True) if size <= _LEVELS]
    numbers = [name for name in sample.numeric if name not in small]
    found: list[When] = []
    for other in small[: max(_TRIED // max(len(numbers), 1), 1)]:
        codes, levels = sample.columns.codes(other)
        if sample.kinds[other] == "date":
            continue
        text = sample.kinds[other] == "text"
        for name in numbers:
            if frozenset((name, other)) in together:
                continue
            sample.count("bound", 2 * len(levels))
            for code, level in enumerate(levels):
                condition = Compare(other, "==", str(level) if text else float(level))
                found += _bounds(condition, codes == code, name, sample)
    return found


def _bounds(condition: Compare, rows: np.ndarray, name: str, sample: Sample) -> list[When]:
    """The bounds of a column in the rows (n,) bool that meet a condition."""
    numbers = sample.columns.numbers(name)
    own, every = numbers[rows & ~np.isnan(numbers)], numbers[~np.isnan(numbers)]
    if len(own) < _LEAST_ROWS or own.min() == own.max():
        return []
    found = []
    near = _NEAR * (own.max() - own.min())
    for bound, beyond, way in ((own.min(), every[every < own.min()], -1), (own.max(), every[every > own.max()], 1)):
        dense = np.sum(np.abs(own - bound) <= near) >= max(_ON, _DENSE * _NEAR * len(own))
        if len(beyond) >= _BEYOND * len(every) and dense:
            following = beyond.max() if way < 0 else beyond.min()
            claim = cut(sample, name, float(bound), float(following), strict=False)
            found += [When((condition,), claim)] if claim else []
    return found
