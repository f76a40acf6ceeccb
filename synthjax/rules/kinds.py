"""The kinds of rules. Each has its text, the columns it names, and a verdict on every row.

A rule says nothing of a row in which a value that it needs is missing; such a row does not break it.
"""

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Self

import numpy as np

from synthjax.rules import expressions
from synthjax.rules.columns import Columns, joint
from synthjax.rules.expressions import Expression, Name, Number, evaluate, spelt, spelt_name
from synthjax.rules.predicates import Missing, Predicate
from synthjax.rules.tables import Cell, Table, cells, looked_up, most_frequent

if TYPE_CHECKING:
    import pandas as pd

MIN_COUNT = 5
_FUZZ = 1e-6  # of a column's unit
_PRECISION = 2e-7  # relative, that of a few f32 or numbers of eight digits: of columns with more than _DECIMALS
_DECIMALS = 6


@dataclass(frozen=True)
class Evidence:
    """What a rule was found by."""

    rows: int
    """Training rows of which the rule says something."""
    rate: float
    """Share of these that keep it."""
    unseen_rows: int
    unseen_rate: float
    """The same of rows that the search did not see."""
    chance: float
    """Share that would keep it if its columns were independent, each as it is."""

    @property
    def exact(self) -> bool:
        """Whether no row breaks the rule."""
        return self.rate == 1 and self.unseen_rate == 1


@dataclass(frozen=True)
class Rule(ABC):
    """What every kind of rule has."""

    evidence: Evidence | None = field(default=None, compare=False, kw_only=True)
    """None: a person gave the rule."""

    @property
    @abstractmethod
    def text(self) -> str:
        """The rule in the language that `parse` reads."""

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """The columns that it speaks of."""

    @abstractmethod
    def verdict(self, columns: Columns) -> tuple[np.ndarray, np.ndarray]:
        """(n,) bool: whether the rule says something of each row, and whether it is kept where it does."""

    @property
    def shuffled(self) -> tuple[str, ...]:
        """The columns that are shuffled to see what chance keeps."""
        return self.names[1:]

    @property
    def exact(self) -> bool:
        """Whether every row has to keep it."""
        return self.evidence is None or self.evidence.exact

    def holds(self, frame: "pd.DataFrame | Columns") -> np.ndarray:
        """Whether each row keeps the rule.

        Args:
            frame: rows with the rule's columns: numbers, dates (datetime64) and text.

        Returns:
            (n,) bool.

        Raises:
            InputError: a column is not there, or holds text where numbers are needed.
        """
        columns = Columns.of(frame)
        columns.check(self.names, self.text)
        applies, kept = self.verdict(columns)
        return kept | ~applies

    def fit(self, frame: "pd.DataFrame | Columns", min_count: int = MIN_COUNT) -> Self:
        """The rule with what it needs of the training rows: tables of values, units of rounding."""
        return self

    def __str__(self) -> str:
        if self.evidence is None or self.exact:
            return self.text
        return f"{self.text} ({100 * self.evidence.rate:.2f} % of rows)"


@dataclass(frozen=True)
class Equation(Rule):
    """`total = fare + tip`, to the precision of the column on the left.

    With `~=`, as near as the rounding of all its columns allows.
    """

    target: str
    value: Expression
    loose: bool = False
    units: tuple[tuple[str, float], ...] = ()
    """Units of the columns' rounding in the training rows; (): those of the rows at hand."""

    @property
    def text(self) -> str:  # noqa: D102
        return f"{spelt_name(self.target)} {'~=' if self.loose else '='} {spelt(self.value)}"

    @property
    def names(self) -> tuple[str, ...]:  # noqa: D102
        return tuple(dict.fromkeys((self.target, *expressions.names(self.value))))

    @property
    def shuffled(self) -> tuple[str, ...]:  # noqa: D102
        return (self.target,)

    def fit(self, frame, min_count=MIN_COUNT):  # noqa: D102
        columns = Columns.of(frame)
        return dataclasses.replace(self, units=tuple((name, columns.unit(name)) for name in self.names))

    def verdict(self, columns):  # noqa: D102
        actual, expected = columns.numbers(self.target), evaluate(self.value, columns)
        applies = ~np.isnan(actual) & ~np.isnan(expected)
        with np.errstate(invalid="ignore"):
            return applies, np.abs(actual - expected) <= self.allowance(columns)

    def allowance(self, columns: Columns) -> np.ndarray:
        """(n,) f64: how far the target may be from the value of the expression."""
        units = dict(self.units) if self.units else {name: columns.unit(name) for name in self.names}
        half = units[self.target] / 2 * (1 + _FUZZ)
        expected = np.abs(evaluate(self.value, columns))
        size = np.maximum(expected, 1) if "log(" in self.text else expected  # a log has the digits of what it is of
        precision = _PRECISION if units[self.target] < 0.9 * 10.0**-_DECIMALS else 1e-12
        least = np.maximum(half, precision * size) + 1e-12 * expected
        if not self.loose:
            return least + np.zeros(len(columns))
        return least + expressions.rounding(self.value, columns, {k: v for k, v in units.items() if k != self.target})


@dataclass(frozen=True)
class Order(Rule):
    """`start <= end`, `low < mid <= high`, `0 <= age`: terms in order, those that are missing left out."""

    terms: tuple[Expression, ...]
    operators: tuple[str, ...]
    """`<` or `<=` between each two."""

    @property
    def text(self) -> str:  # noqa: D102
        parts = [spelt(self.terms[0])]
        for operator, term in zip(self.operators, self.terms[1:], strict=True):
            parts += [operator, spelt(term)]
        return " ".join(parts)

    @property
    def names(self) -> tuple[str, ...]:  # noqa: D102
        return tuple(dict.fromkeys(name for term in self.terms for name in expressions.names(term)))

    def verdict(self, columns):  # noqa: D102
        last = np.full(len(columns), -np.inf)
        strict = np.zeros(len(columns), bool)  # whether a `<` stands between the last term and this one
        seen = np.zeros(len(columns), np.int64)
        kept = np.ones(len(columns), bool)
        for operator, term in zip(("<=", *self.operators), self.terms, strict=True):
            value = evaluate(term, columns)
            present = ~np.isnan(value)
            strict |= operator == "<"
            kept &= ~present | np.where(strict, last < value, last <= value)
            last, strict = np.where(present, value, last), strict & ~present
            seen += present
        return seen > 1, kept

    @property
    def pairs(self) -> list[tuple[Expression, str, Expression]]:
        """Each two neighbours."""
        return [(low, op, high) for (low, high), op in zip(pairwise(self.terms), self.operators, strict=True)]


def order(low: str | float, operator: str, high: str | float) -> Order:
    """An order of two columns or numbers."""
    terms = tuple(Name(term) if isinstance(term, str) else Number(term) for term in (low, high))
    return Order(terms, (operator,))


@dataclass(frozen=True)
class Determined(Rule):
    """`city -> country`, `origin, dest -> distance`: one value of the target to each combination of keys.

    `code <-> label` holds both ways.
    """

    keys: tuple[str, ...]
    target: str
    both: bool = False
    table: Table | None = None
    """Combinations of keys and the value that goes with each, held together by `min_count` training rows at least; of
    rows with other keys the first says what goes with them. None: as most of the rows at hand have it."""
    back: Table | None = None
    """The other way, where it holds both ways."""

    @property
    def text(self) -> str:  # noqa: D102
        keys = ", ".join(map(spelt_name, self.keys))
        return f"{keys} {'<->' if self.both else '->'} {spelt_name(self.target)}"

    @property
    def names(self) -> tuple[str, ...]:  # noqa: D102
        return (*self.keys, self.target)

    @property
    def shuffled(self) -> tuple[str, ...]:  # noqa: D102
        return (self.target,)

    def fit(self, frame, min_count=MIN_COUNT):  # noqa: D102
        columns = Columns.of(frame)
        back = most_frequent(columns, (self.target,), self.keys[0], min_count) if self.both else None
        return dataclasses.replace(self, table=most_frequent(columns, self.keys, self.target, min_count), back=back)

    def verdict(self, columns):  # noqa: D102
        rule = self if self.table is not None else self.fit(columns, 1)
        applies, kept = looked_up(columns, self.keys, self.target, rule.table or ())
        if self.both:
            other, agrees = looked_up(columns, (self.target,), self.keys[0], rule.back or ())
            kept, applies = (kept | ~applies) & (agrees | ~other), applies | other
        return applies, kept


@dataclass(frozen=True)
class Seen(Rule):
    """`seen(origin, dest)`: only combinations of values that the training rows have."""

    columns: tuple[str, ...]
    table: frozenset[tuple[Cell, ...]] | None = None
    """Those that `min_count` training rows hold at least; None: those of the rows at hand."""

    @property
    def text(self) -> str:  # noqa: D102
        return f"seen({', '.join(map(spelt_name, self.columns))})"

    @property
    def names(self) -> tuple[str, ...]:  # noqa: D102
        return self.columns

    def fit(self, frame, min_count=MIN_COUNT):  # noqa: D102
        columns = Columns.of(frame)
        group, first = joint([columns.codes(name)[0] for name in self.columns])
        often = first[np.bincount(group) >= min_count] if len(first) else first
        full = (key for key in cells(columns, self.columns, often) if None not in key)
        return dataclasses.replace(self, table=frozenset(full))

    def verdict(self, columns):  # noqa: D102
        table = self.table if self.table is not None else self.fit(columns, 1).table or frozenset()
        group, first = joint([columns.codes(name)[0] for name in self.columns])
        found = np.array([key in table for key in cells(columns, self.columns, first)], bool)
        applies = np.all([columns.codes(name)[0] >= 0 for name in self.columns], axis=0)
        return applies, found[group] if len(found) else np.zeros(0, bool)


@dataclass(frozen=True)
class When(Rule):
    """`pay == 'cash' => tip == 0`: what holds of rows under a condition; without one, of all rows."""

    conditions: tuple[Predicate, ...]
    """All of them."""
    claim: Predicate | Equation | Order

    @property
    def text(self) -> str:  # noqa: D102
        if not self.conditions:
            return self.claim.text
        return f"{' and '.join(part.text for part in self.conditions)} => {self.claim.text}"

    @property
    def names(self) -> tuple[str, ...]:  # noqa: D102
        return tuple(dict.fromkeys((*(part.name for part in self.conditions), *self.claimed)))

    @property
    def claimed(self) -> tuple[str, ...]:
        """The columns of the claim."""
        return self.claim.names if isinstance(self.claim, Rule) else (self.claim.name,)

    @property
    def shuffled(self) -> tuple[str, ...]:  # noqa: D102
        return self.claimed

    def fit(self, frame, min_count=MIN_COUNT):  # noqa: D102
        claim = self.claim.fit(frame, min_count) if isinstance(self.claim, Rule) else self.claim
        return dataclasses.replace(self, claim=claim)

    def verdict(self, columns):  # noqa: D102
        applies = np.ones(len(columns), bool)
        for part in self.conditions:
            applies &= part.test(columns)
        if isinstance(self.claim, Rule):
            also, kept = self.claim.verdict(columns)
            return applies & also, kept
        if not isinstance(self.claim, Missing):
            applies &= ~columns.missing(self.claim.name)
        return applies, self.claim.test(columns)


@dataclass(frozen=True)
class Together(Rule):
    """`missing(arrival) <=> missing(delay)`: conditions of which a row meets all or none."""

    parts: tuple[Predicate, ...]

    @property
    def text(self) -> str:  # noqa: D102
        return " <=> ".join(part.text for part in self.parts)

    @property
    def names(self) -> tuple[str, ...]:  # noqa: D102
        return tuple(dict.fromkeys(part.name for part in self.parts))

    def verdict(self, columns):  # noqa: D102
        met = np.array([part.test(columns) for part in self.parts])
        return np.ones(len(columns), bool), met.all(axis=0) | ~met.any(axis=0)


@dataclass(frozen=True)
class Unique(Rule):
    """`unique(order, line)`: no two rows have the same values; the second of such rows breaks it."""

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
