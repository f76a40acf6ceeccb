"""The kinds of rules. A rule has a text and names of columns, and checks rows.

A row keeps a rule or breaks it. A rule does not apply to rows in which a value that it needs is missing; they keep it.

    >>> import pandas as pd
    >>> rule = Equation("total", expressions.Binary("+", Name("fare"), Name("tip")))
    >>> print(rule)
    total = fare + tip
    >>> rule.holds(pd.DataFrame({"fare": [3.0, 4.0, 5.0], "tip": [1.0, 1.0, None], "total": [4.0, 9.0, 9.0]})).tolist()
    [True, False, True]
"""

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
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
"""Default minimum number of rows that share a stored value."""
_FUZZ = 1e-6  # relative tolerance of half a column's unit
_PRECISION = 2e-7  # relative tolerance, about that of f32, for columns with more than _DECIMALS decimals
_DECIMALS = 6


@dataclass(frozen=True)
class Evidence:
    """Statistics of a rule that `find` found."""

    rows: int
    """Number of training rows to which the rule applies."""
    rate: float
    """Fraction of them that keep it."""
    unseen_rows: int
    """Number of rows that were not used to find rules and to which the rule applies."""
    unseen_rate: float
    """Fraction of them that keep it."""
    chance: float
    """Fraction of rows that would keep it if its columns were independent, with the same marginals."""

    @property
    def exact(self) -> bool:
        """Whether no row breaks the rule."""
        return self.rate == 1 and self.unseen_rate == 1


@dataclass(frozen=True)
class Rule(ABC):
    """Base class of rules."""

    evidence: Evidence | None = field(default=None, compare=False, kw_only=True)
    """None if the rule was not found by `find`, but given by the user."""

    @property
    @abstractmethod
    def text(self) -> str:
        """The rule in the language of `parse`."""

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """The names of its columns."""

    @abstractmethod
    def verdict(self, columns: Columns) -> tuple[np.ndarray, np.ndarray]:
        """Checks rows.

        Returns:
            (n,) bool: whether the rule applies to each row; (n,) bool: whether the row keeps the rule if it applies.
        """

    @property
    def shuffled(self) -> tuple[str, ...]:
        """The columns that are shuffled to measure how many rows keep the rule by chance."""
        return self.names[1:]

    @property
    def exact(self) -> bool:
        """Whether all rows must keep the rule."""
        return self.evidence is None or self.evidence.exact

    def holds(self, frame: "pd.DataFrame | Columns") -> np.ndarray:
        """Whether each row keeps the rule.

        Args:
            frame: rows with the columns of the rule: numbers, dates (datetime64) and text.

        Returns:
            (n,) bool; True if the rule does not apply.

        Raises:
            InputError: a column is missing, or is text although numbers are needed.
        """
        columns = Columns.of(frame)
        columns.check(self.names, self.text)
        applies, kept = self.verdict(columns)
        return kept | ~applies

    def fit(self, frame: "pd.DataFrame | Columns", min_count: int = MIN_COUNT) -> Self:
        """Adds to the rule what it needs from training rows: tables of values and units of rounding.

        Args:
            frame: training rows with the columns of the rule.
            min_count: minimum number of rows that share each value of a table.
        """
        return self

    def __str__(self) -> str:
        if self.evidence is None or self.exact:
            return self.text
        return f"{self.text} ({100 * self.evidence.rate:.2f} % of rows)"


@dataclass(frozen=True)
class Equation(Rule):
    """`total = fare + tip`: a column is equal to an expression, to the precision of the column.

    With `~=`, the difference may be as large as the rounding of all columns of the expression can cause.
    """

    target: str
    value: Expression
    loose: bool = False
    """Whether the operator is `~=`."""
    units: tuple[tuple[str, float], ...] = ()
    """Column -> unit of rounding in training rows; if empty, the units of the rows to check are used."""

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
        """The maximum difference between the target and the value of the expression, (n,) f64."""
        units = dict(self.units) if self.units else {name: columns.unit(name) for name in self.names}
        half = units[self.target] / 2 * (1 + _FUZZ)
        expected = np.abs(evaluate(self.value, columns))
        size = np.maximum(expected, 1) if "log(" in self.text else expected  # a log has the digits of its argument
        precision = _PRECISION if units[self.target] < 0.9 * 10.0**-_DECIMALS else 1e-12
        least = np.maximum(half, precision * size) + 1e-12 * expected
        if not self.loose:
            return least + np.zeros(len(columns))
        return least + expressions.rounding(self.value, columns, {k: v for k, v in units.items() if k != self.target})


@dataclass(frozen=True)
class Order(Rule):
    """`start <= end`, `low < mid <= high`, `0 <= age`: terms are increasing. Missing terms are skipped."""

    terms: tuple[Expression, ...]
    operators: tuple[str, ...]
    """(terms - 1,) `<` or `<=`."""

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
        strict = np.zeros(len(columns), bool)  # whether there is a `<` between the last present term and this one
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

    def pairs(self, columns: Columns) -> list[tuple[Expression, str, Expression]]:
        """Two terms and their operator: neighbours, then those with terms between them that are missing in some row."""
        gone = [bool(np.isnan(evaluate(term, columns)).any()) for term in self.terms]
        found = []
        for distance in range(1, len(self.terms)):
            for i in range(len(self.terms) - distance):
                if all(gone[i + 1 : i + distance]):
                    operator = "<" if "<" in self.operators[i : i + distance] else "<="
                    found.append((self.terms[i], operator, self.terms[i + distance]))
        return found


def order(low: str | float, operator: str, high: str | float) -> Order:
    """Makes an `Order` of two columns or numbers."""
    terms = tuple(Name(term) if isinstance(term, str) else Number(term) for term in (low, high))
    return Order(terms, (operator,))


@dataclass(frozen=True)
class Determined(Rule):
    """`city -> country`, `origin, dest -> distance`: rows with the same values of the keys have the same target.

    `code <-> label` is a rule in both directions.
    """

    keys: tuple[str, ...]
    target: str
    both: bool = False
    table: Table | None = None
    """Combinations of keys, and the target of each; at least `min_count` training rows share both. Rows with other keys
    must have the target of the first such row. None: the most frequent target of the rows to check."""
    back: Table | None = None
    """The table of the other direction, if `both`."""

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
    """`seen(origin, dest)`: rows have only combinations of values that occur in training rows."""

    columns: tuple[str, ...]
    table: frozenset[tuple[Cell, ...]] | None = None
    """The combinations of at least `min_count` training rows; None: those of the rows to check."""

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
    """`pay == 'cash' => tip == 0`: a claim about rows that meet conditions; about all rows if there are none."""

    conditions: tuple[Predicate, ...]
    """The rule applies to rows that meet all of them."""
    claim: Predicate | Equation | Order
    """What must be true of these rows."""

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
    """`missing(arrival) <=> missing(delay)`: rows meet all of the conditions or none."""

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
