"""The sample of rows that is searched for candidates, as matrices."""

import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import combinations, product

import numpy as np

from synthjax.rules.columns import Columns
from synthjax.rules.kinds import Determined, Rule

ROWS = 10_000
"""Maximum number of rows of a sample."""
_CELLS = 2_000_000  # approximate maximum number of cells of the matrices
_GLANCE = 300  # number of rows that are checked first, which rejects most candidates
_WHOLE = 2.0**52  # maximum number whose arithmetic is exact in f64


def tied(rules: Iterable[Rule]) -> set[frozenset[str]]:
    """Pairs of columns that rules relate: the pairs of a rule's columns; of `Determined`, each key and the target."""
    found: set[frozenset[str]] = set()
    for rule in rules:
        pairs = product(rule.keys, (rule.target,)) if isinstance(rule, Determined) else combinations(rule.names, 2)
        found |= {frozenset(pair) for pair in pairs}
    return found


@dataclass
class Sample:
    """Some rows of a table, and the number of rules that were tried on them."""

    columns: Columns
    tried: dict[str, float] = field(default_factory=dict)
    """Kind -> log of the number of rules tried."""

    @classmethod
    def of(cls, columns: Columns, seed: int) -> "Sample":
        """Draws at most ROWS rows, fewer if there are many columns."""
        n = int(np.clip(_CELLS // max(len(columns.names), 1), 2000, ROWS))
        if len(columns) <= n:
            return cls(columns)
        rows = np.sort(np.random.default_rng(seed).choice(len(columns), n, replace=False))
        return cls(columns.take(rows))

    def __len__(self) -> int:
        return len(self.columns)

    @functools.cached_property
    def glance(self) -> Columns:
        """The first rows, which are checked first."""
        return self.columns.take(np.arange(min(len(self), _GLANCE)))

    @functools.cached_property
    def kinds(self) -> dict[str, str]:
        """Column -> kind, for numbers, dates and text that are not constant."""
        kinds = {}
        for name in self.columns.names:
            kind = self.columns.kind(name)
            if kind in ("number", "date", "text") and len(self.columns.codes(name)[1]) > 1:
                kinds[name] = kind
        return kinds

    @functools.cached_property
    def numeric(self) -> list[str]:
        """Columns of numbers and dates that are small enough for exact arithmetic."""
        names = [name for name, kind in self.kinds.items() if kind != "text"]
        return [name for name in names if np.nanmax(np.abs(self.columns.numbers(name))) < _WHOLE]

    @functools.cached_property
    def matrix(self) -> np.ndarray:
        """(n, columns of `numeric`) f64; NaN for missing values."""
        parts = [self.columns.numbers(name) for name in self.numeric]
        return np.array(parts).T.reshape(len(self), len(parts))

    @functools.cached_property
    def codes(self) -> np.ndarray:
        """(n, columns of `kinds`) i64 codes; -1 for missing values."""
        parts = [self.columns.codes(name)[0] for name in self.kinds]
        return np.array(parts, np.int64).T.reshape(len(self), len(parts))

    @functools.cached_property
    def levels(self) -> np.ndarray:
        """(columns of `kinds`,) i64 numbers of distinct values."""
        return np.array([len(self.columns.codes(name)[1]) for name in self.kinds], np.int64)

    def spread(self, name: str) -> float:
        """The standard deviation of a column; 1 if it is 0."""
        return float(np.nanstd(self.columns.numbers(name))) or 1.0

    def rate(self, rule: Rule) -> float:
        """The rate of a rule: the fraction of rows to which it applies that keep it; 0 if it is low or rows are few."""
        applies, kept = rule.verdict(self.glance)
        if applies.sum() > 50 and (applies & kept).sum() < 0.8 * applies.sum():
            return 0.0
        applies, kept = rule.verdict(self.columns)
        rows = int(applies.sum())
        return float((applies & kept).sum() / rows) if rows >= 15 else 0.0

    def coverage(self, rule: Rule) -> float:
        """The fraction of rows to which a rule applies, to two decimals."""
        return round(float(rule.verdict(self.columns)[0].mean()), 2)

    def count(self, kind: str, tried: float) -> None:
        """Adds to the number of tried rules of a kind."""
        self.tried[kind] = float(np.logaddexp(self.tried.get(kind, -math.inf), math.log(max(tried, 1.0))))
