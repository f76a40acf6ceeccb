"""What a `Plan` does with a column: each step takes one from the rows that a model sees, or corrects it afterwards.

`encode` sees whole rows and says what stands for a column in the model's rows; `decode` writes the step's columns once
those that they depend on are there. `Masked`, `Bounded` and `Shared` only correct: the model sees their columns as they
are.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from synthjax.rules import expressions
from synthjax.rules.columns import Columns, Draft, Form, joint, written
from synthjax.rules.expressions import Expression, evaluate
from synthjax.rules.kinds import Equation
from synthjax.rules.predicates import Compare, Missing, Multiple, Predicate
from synthjax.rules.tables import RARE, Cell, Table, cells, repeated

Free = dict[str, Any]
"""The model's columns by name."""


@dataclass(frozen=True)
class Computed:
    """A number that an expression gives, but for a rest: of an equation (0, mostly), or the gap of an order (>= 0)."""

    target: str
    value: Expression
    form: Form
    rest: str | None = None
    """The model's column for the rest; None: there is none in any row."""
    other: str | None = None
    """The model's column for the number where the expression has no value; None: missing there."""
    low: float = 0.0
    """Least and greatest rest."""
    high: float = 0.0
    scale: float = 1.0
    """Of the rest: seconds in its unit where the column is a date; below 0 where it is taken away."""
    loose: Equation | None = None
    """The rule that says row by row how great a rest may be."""

    @property
    def inputs(self) -> set[str]:
        """Columns that have to be decoded before."""
        return set(expressions.names(self.value))

    @property
    def targets(self) -> tuple[str, ...]:
        """Columns that it writes."""
        return (self.target,)

    def encode(self, columns: Columns) -> Free:
        """The model's columns in place of the targets."""
        actual, base = columns.numbers(self.target), self.form.rounded(evaluate(self.value, columns))
        free: Free = {}
        if self.rest:
            free[self.rest] = _plain(self._steps().rounded((actual - base) / self.scale))
        if self.other:
            free[self.other] = self.form.values(np.where(np.isnan(base), actual, np.nan))
        return free

    def decode(self, draft: Draft) -> None:
        """Writes the targets."""
        exact = evaluate(self.value, draft)
        base = self.form.rounded(exact)
        if self.rest:
            rest = np.clip(draft.numbers(self.rest) * self.scale, self.low, self.high)
            values = self.form.rounded(base + rest)
            if self.loose:
                with np.errstate(invalid="ignore"):
                    draft.put(self.target, values, self.form)
                    far = np.abs(values - exact) > self.loose.allowance(draft)
                values = np.where(far, base, values)
        else:
            values = base
        if self.other:
            values = np.where(np.isnan(base), draft.numbers(self.other), values)
        draft.put(self.target, values, self.form)

    def _steps(self) -> Form:
        return Form("number", self.form.unit) if self.form.kind == "number" else Form("number", 1e-6)


def _plain(numbers: np.ndarray) -> np.ndarray:
    """Whole numbers as i64, where all are."""
    whole = (
        not np.isnan(numbers).any() and np.all(numbers == np.rint(numbers)) and np.abs(numbers).max(initial=0) < 2**52
    )
    return numbers.astype(np.int64) if whole else numbers


@dataclass(frozen=True)
class Looked:
    """A value that others determine, from a table; the model's column `rest` holds it where the table does not."""

    target: str
    keys: tuple[str, ...]
    table: Table
    form: Form
    rest: str | None = None
    """None: the table has all keys. The target's own name: the model sees the column as it is."""
    near: bool = False
    """Whether the rest goes before the table."""
    back: frozenset[Cell] = frozenset()
    """Values that belong to keys of the table only."""
    fill: Cell = None
    """What stands where there is neither; None: missing."""

    @property
    def inputs(self) -> set[str]:  # noqa: D102
        return set(self.keys)

    @property
    def targets(self) -> tuple[str, ...]:  # noqa: D102
        return (self.target,)

    def encode(self, columns: Columns) -> Free:  # noqa: D102
        if not self.rest or self.rest == self.target:
            return {self.rest: columns.series(self.target).array} if self.rest else {}
        found, known = self.find(columns)
        actual = _cells(columns, self.target)
        keep = ~known | (_differ(actual, found) & self.near)
        values = np.where(keep, actual, _nothing(len(actual)))
        return {self.rest: written(_array(values, self.form), self.form)}

    def decode(self, draft: Draft) -> None:  # noqa: D102
        values, known = self.find(draft)
        if self.rest:
            rest = _cells(draft, self.rest)
            present = np.array([value is not None for value in rest], bool)
            if self.rest == self.target:
                values = np.where(known & present, values, rest)
            else:
                whole = ~np.any([draft.missing(key) for key in self.keys], axis=0)
                odd = np.array([value in self.back for value in rest], bool) & ~known & whole
                rest[odd] = RARE if self.form.kind == "text" else None
                values = np.where(known & ~(present & self.near), values, rest)
        if self.fill is not None:
            values = np.where([value is None for value in values], np.array([self.fill], object), values)
        if not self.near:  # one value to all rows with keys that the table does not have
            values = np.array(values, object)
            rows, head = repeated(draft, self.keys, ~known & np.array([value is not None for value in values], bool))
            values[rows] = values[head]
        draft.put(self.target, _array(values, self.form), self.form)

    def find(self, columns: Columns) -> tuple[np.ndarray, np.ndarray]:
        """The table's values (n,) object, and (n,) bool: whether it has the keys."""
        group, first = joint([columns.codes(key)[0] for key in self.keys])
        table, absent = dict(self.table), object()
        found = [table.get(key, absent) for key in cells(columns, self.keys, first)]
        known = np.array([value is not absent for value in found], bool)
        values = np.array([None if value is absent else value for value in found] + [None], object)[:-1]
        return (values[group], known[group]) if len(found) else (_nothing(0), np.zeros(0, bool))


def _nothing(n: int) -> np.ndarray:
    return np.full(n, None, object)


def _cells(columns: Columns, name: str) -> np.ndarray:
    """(n,) object: text or float; None where missing."""
    codes, levels = columns.codes(name)
    own = np.array([*(level if isinstance(level, str) else float(level) for level in levels), None], object)
    return own[codes]


def _differ(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.array([a != b for a, b in zip(first, second, strict=True)], bool)


def _array(values: np.ndarray, form: Form) -> np.ndarray:
    if form.kind == "text":
        return values
    return np.array([np.nan if value is None else value for value in values], np.float64)


@dataclass(frozen=True)
class Joint:
    """Columns of which only some combinations occur, as one: the model's column `name` says which combination it is."""

    columns: tuple[str, ...]
    table: tuple[tuple[Cell, ...], ...]
    """By falling count."""
    forms: tuple[Form, ...]
    name: str

    @property
    def inputs(self) -> set[str]:  # noqa: D102
        return set()

    @property
    def targets(self) -> tuple[str, ...]:  # noqa: D102
        return self.columns

    def texts(self) -> list[str]:
        """What each combination is called: its values, with a number where two are alike."""
        seen: dict[str, int] = {}
        texts = []
        for values in self.table:
            text = ", ".join(
                "" if v is None else v if isinstance(v, str) else expressions.spelt_number(v) for v in values
            )
            seen[text] = seen.get(text, 0) + 1
            texts.append(text if seen[text] == 1 else f"{text} ({seen[text]})")
        return texts

    def encode(self, columns: Columns) -> Free:  # noqa: D102
        group, first = joint([columns.codes(name)[0] for name in self.columns])
        place = {key: i for i, key in enumerate(self.table)}
        nearest = {
            key: self._nearest(key) if key not in place else place[key] for key in cells(columns, self.columns, first)
        }
        texts = np.array(self.texts(), object)
        own = np.array([nearest[key] for key in cells(columns, self.columns, first)], np.int64)
        return {self.name: texts[own[group]] if len(own) else _nothing(0)}

    def _nearest(self, key: tuple[Cell, ...]) -> int:
        """The combination that shares most values; of these the most frequent one."""
        return int(np.argmax([sum(a == b for a, b in zip(key, other, strict=True)) for other in self.table]))

    def decode(self, draft: Draft) -> None:  # noqa: D102
        place = {text: i for i, text in enumerate(self.texts())}
        codes, levels = draft.codes(self.name)
        own = np.array([*(place.get(str(level), 0) for level in levels), 0], np.int64)[codes]
        for i, (name, form) in enumerate(zip(self.columns, self.forms, strict=True)):
            values = np.array([*(row[i] for row in self.table), None], object)[:-1]
            draft.put(name, _array(values[own], form), form)


@dataclass(frozen=True)
class Masked:
    """A column that is corrected where a condition is met and the claim is not; the model sees it as it is."""

    conditions: tuple[Predicate, ...]
    claim: Predicate
    form: Form
    fill: Cell = None
    """A value that meets a claim that leaves a choice."""
    unless: bool = False
    """Corrected where the conditions are not all met and the claim is, by `fill`."""

    @property
    def inputs(self) -> set[str]:  # noqa: D102
        return {part.name for part in self.conditions}

    @property
    def targets(self) -> tuple[str, ...]:  # noqa: D102
        return (self.claim.name,)

    def decode(self, draft: Draft) -> None:  # noqa: D102
        name, met = self.claim.name, np.ones(len(draft), bool)
        for part in self.conditions:
            met &= part.test(draft)
        kept = self.claim.test(draft)
        gone = draft.missing(name) & (not isinstance(self.claim, Missing))
        wrong = (~met & kept) if self.unless else (met & ~kept & ~gone)
        if not wrong.any():
            return
        text = self.form.kind == "text"
        values = _cells(draft, name) if text else draft.numbers(name).copy()
        if isinstance(self.claim, Multiple) and not self.unless:
            values[wrong] = self.claim.snapped(values[wrong])
        else:
            new = self._value()
            values[wrong] = new if text or new is not None else np.nan
        draft.put(name, values, self.form)

    def _value(self) -> Cell:
        if self.unless or (isinstance(self.claim, Compare) and self.claim.operator != "=="):
            return self.fill
        if not isinstance(self.claim, Compare):
            return None
        value = self.claim.value
        if self.form.kind == "text":
            return value if isinstance(value, str) else self.fill
        return self.claim.number(self.form.kind)


@dataclass(frozen=True)
class Shared:
    """A column that has one value in all rows of a key, mostly that of the first; the model sees it as it is."""

    keys: tuple[str, ...]
    target: str
    form: Form
    table: Table = ()
    """The value of keys that `min_count` training rows have."""

    @property
    def inputs(self) -> set[str]:  # noqa: D102
        return set(self.keys)

    @property
    def targets(self) -> tuple[str, ...]:  # noqa: D102
        return (self.target,)

    def decode(self, draft: Draft) -> None:  # noqa: D102
        values, there = _cells(draft, self.target), ~draft.missing(self.target)
        found, known = Looked(self.target, self.keys, self.table, self.form).find(draft)
        values[known & there] = found[known & there]
        rows, head = repeated(draft, self.keys, ~known & there)
        values[rows] = values[head]
        draft.put(self.target, _array(values, self.form), self.form)


@dataclass(frozen=True)
class Bounded:
    """A number that is moved to where an order needs it; the model sees it as it is."""

    target: str
    form: Form
    low: Expression | None = None
    high: Expression | None = None
    strict: bool = False

    @property
    def inputs(self) -> set[str]:  # noqa: D102
        return {name for side in (self.low, self.high) if side is not None for name in expressions.names(side)}

    @property
    def targets(self) -> tuple[str, ...]:  # noqa: D102
        return (self.target,)

    def decode(self, draft: Draft) -> None:  # noqa: D102
        values = draft.numbers(self.target)
        unit = self.form.unit or 1e-9
        step = unit if self.strict else 0.0
        with np.errstate(invalid="ignore"):
            if self.low is not None:
                bound = evaluate(self.low, draft) + step
                values = np.where(values < bound, self._up(bound), values)
            if self.high is not None:
                bound = evaluate(self.high, draft) - step
                values = np.where(values > bound, -self._up(-bound), values)
        draft.put(self.target, values, self.form)

    def _up(self, bound: np.ndarray) -> np.ndarray:
        """The least numbers of the column's form that are not below."""
        near = self.form.rounded(bound)
        return np.where(near < bound - 1e-12 * np.abs(bound), self.form.rounded(near + self.form.unit), near)


Base = Computed | Looked | Joint
Step = Base | Masked | Bounded | Shared


def typical(columns: Columns, name: str, rows: np.ndarray, min_count: int) -> Cell:
    """A value of these rows that may be given away: one that `min_count` share, else a mean of so many; or None."""
    codes, levels = columns.codes(name)
    own = codes[rows & (codes >= 0)]
    if not len(own):
        return None
    counts = np.bincount(own)
    best = int(np.argmax(counts))
    if counts[best] >= min_count:
        return levels[best] if isinstance(levels[best], str) else float(levels[best])
    if columns.kind(name) == "text" or len(own) < min_count:
        return RARE if columns.kind(name) == "text" else None
    numbers = np.sort(columns.numbers(name)[rows & (codes >= 0)])
    first = max((len(numbers) - min_count) // 2, 0)
    mean = columns.form(name).rounded(np.array([numbers[first : first + min_count].mean()]))[0]
    return None if math.isnan(mean) else float(mean)
