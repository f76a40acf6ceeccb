"""The rows that candidates are looked for in, as matrices."""

import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import combinations, product

import numpy as np

from synthjax.rules.columns import Columns
from synthjax.rules.kinds import Determined, Rule

ROWS = 10_000
"""Rows that are looked at for candidates, at most."""
_CELLS = 2_000_000  # of the matrices: wide tables are looked at in fewer rows
_GLANCE = 300  # rows that settle most candidates
_WHOLE = 2.0**52


def tied(rules: Iterable[Rule]) -> set[frozenset[str]]:
    """Pairs of columns that rules say something of: of keys and what they determine, each key and that column."""
    found: set[frozenset[str]] = set()
    for rule in rules:
        pairs = product(rule.keys, (rule.target,)) if isinstance(rule, Determined) else combinations(rule.names, 2)
        found |= {frozenset(pair) for pair in pairs}
    return found


@dataclass
class Sample:
    """Some rows of a table, and how many rules have been tried on them."""

    columns: Columns
    tried: dict[str, float] = field(default_factory=dict)
    """Kind -> log of the number of rules tried."""

    @classmethod
    def of(cls, columns: Columns, seed: int) -> "Sample":
        """At most ROWS rows, fewer of many columns."""
        n = int(np.clip(_CELLS // max(len(columns.names), 1), 2000, ROWS))
        if len(columns) <= n:
            return cls(columns)
        rows = np.sort(np.random.default_rng(seed).choice(len(columns), n, replace=False))
        return cls(columns.take(rows))

    def __len__(self) -> int:
        return len(self.columns)

    @functools.cached_property
    def glance(self) -> Columns:
        """The first rows, which settle most candidates."""
        return self.columns.take(np.arange(min(len(self), _GLANCE)))

    @functools.cached_property
    def kinds(self) -> dict[str, str]:
        """Column -> kind, of those that are not constant."""
        kinds = {}
        for name in self.columns.names:
            kind = self.columns.kind(name)
            if kind in ("number", "date", "text") and len(self.columns.codes(name)[1]) > 1:
                kinds[name] = kind
        return kinds

    @functools.cached_property
    def numeric(self) -> list[str]:
        """Numbers and dates whose arithmetic is exact."""
        names = [name for name, kind in self.kinds.items() if kind != "text"]
        return [name for name in names if np.nanmax(np.abs(self.columns.numbers(name))) < _WHOLE]

    @functools.cached_property
    def matrix(self) -> np.ndarray:
        """(n, numeric) f64, NaN where missing."""
        parts = [self.columns.numbers(name) for name in self.numeric]
        return np.array(parts).T.reshape(len(self), len(parts))

    @functools.cached_property
    def codes(self) -> np.ndarray:
        """(n, columns of `kinds`) i64, -1 where missing."""
        parts = [self.columns.codes(name)[0] for name in self.kinds]
        return np.array(parts, np.int64).T.reshape(len(self), len(parts))

    @functools.cached_property
    def levels(self) -> np.ndarray:
        """(columns of `kinds`,) number of different values."""
        return np.array([len(self.columns.codes(name)[1]) for name in self.kinds], np.int64)

    def spread(self, name: str) -> float:
        """Standard deviation of a column."""
        return float(np.nanstd(self.columns.numbers(name))) or 1.0

    def rate(self, rule: Rule) -> float:
        """Share of the rows of which a rule says something that keep it; 0 where these are few, or it is far from 1."""
        applies, kept = rule.verdict(self.glance)
        if applies.sum() > 50 and (applies & kept).sum() < 0.8 * applies.sum():
            return 0.0
        applies, kept = rule.verdict(self.columns)
        rows = int(applies.sum())
        return float((applies & kept).sum() / rows) if rows >= 15 else 0.0

    def coverage(self, rule: Rule) -> float:
        """Share of the rows of which a rule says something, to two digits."""
        return round(float(rule.verdict(self.columns)[0].mean()), 2)

    def count(self, kind: str, tried: float) -> None:
        """Notes that so many rules of a kind were tried."""
        self.tried[kind] = float(np.logaddexp(self.tried.get(kind, -math.inf), math.log(max(tried, 1.0))))
