"""Rules about the keys of rows: values that no two rows share, and numbers that count the rows of a group.

>>> import pandas as pd
>>> lines = pd.DataFrame({"order": ["a", "a", "b", "b"], "line": [2, 1, 1, 3]})
>>> Unique(("order", "line")).holds(lines).tolist()
[True, True, True, True]
>>> Numbered(("order", "line")).holds(lines).tolist()
[True, True, True, False]
"""

from dataclasses import dataclass

import numpy as np

from synthjax.rules.columns import joint
from synthjax.rules.expressions import spelt_name
from synthjax.rules.kinds import Rule


@dataclass(frozen=True)
class Unique(Rule):
    """`unique(order, line)`: no two rows have the same values. If they do, the later row breaks the rule."""

    columns: tuple[str, ...]

    @property
    def text(self) -> str:  # noqa: D102
        return f"unique({', '.join(map(spelt_name, self.columns))})"

    @property
    def names(self) -> tuple[str, ...]:  # noqa: D102
        return self.columns

    @property
    def shuffled(self) -> tuple[str, ...]:  # noqa: D102
        return self.columns

    def verdict(self, columns):  # noqa: D102
        codes = [columns.codes(name)[0] for name in self.columns]
        _, first = joint(codes)
        kept = np.zeros(len(columns), bool)
        kept[first] = True
        return np.all([part >= 0 for part in codes], axis=0), kept


@dataclass(frozen=True)
class Numbered(Unique):
    """`numbered(order, line)`: the last column counts the rows that are alike in the others: 1, 2, ..., each once."""

    @property
    def text(self) -> str:  # noqa: D102
        return f"numbered({', '.join(map(spelt_name, self.columns))})"

    @property
    def shuffled(self) -> tuple[str, ...]:  # noqa: D102
        return self.columns[-1:]

    def verdict(self, columns):  # noqa: D102
        applies, first = super().verdict(columns)
        numbers = columns.numbers(self.columns[-1])
        group, _ = joint([columns.codes(name)[0] for name in self.columns[:-1]])
        sizes = np.bincount(group, weights=applies, minlength=1)
        with np.errstate(invalid="ignore"):
            counted = (numbers >= 1) & (numbers <= sizes[group]) & (numbers == np.rint(numbers))
        return applies, first & counted
