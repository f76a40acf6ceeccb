"""Steps of a `Plan`. Each step replaces columns by free columns, or corrects a column after decoding.

`encode` computes the free columns of a step from complete rows. `decode` writes the columns of the step, after all
columns on which they depend. `Masked`, `Bounded`, `Shared` and `Snapped` only correct columns, which are free columns
themselves.
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
from synthjax.rules.snapping import Snapped
from synthjax.rules.tables import RARE, Cell, Table, cells, repeated, values_of

Free = dict[str, Any]
"""Free columns: name -> values."""


@dataclass(frozen=True)
class Computed:
    """A number computed by an expression, plus a difference: of an equation (usually 0) or of an order (at least 0)."""

    target: str
    value: Expression
    form: Form
    rest: str | None = None
    """The free column with the difference; None if it is 0 in all rows."""
    other: str | None = None
    """The free column with the target for rows in which the expression has no value; None: it is missing in them."""
    low: float = 0.0
    """Minimum of the difference."""
    high: float = 0.0
    """Maximum of the difference."""
    scale: float = 1.0
    """Unit of the free column: seconds if the target is a date, otherwise 1; negative if it is subtracted."""
    loose: Equation | None = None
    """The rule that limits the difference in each row."""
    floor: float = -math.inf
    """Minimum of the target, of an order, as far as the order allows."""
    ceiling: float = math.inf
    """Maximum of the target, of an order, as far as the order allows."""
    shown: bool = False
    """Whether the target is a free column as well, which a step `Snapped` reads."""

    @property
    def inputs(self) -> set[str]:
        """The columns that must be decoded before."""
        return set(expressions.names(self.value))

    @property
    def targets(self) -> tuple[str, ...]:
        """The columns that the step writes."""
        return (self.target,)

    def encode(self, columns: Columns) -> Free:
        """Computes the free columns that replace the targets."""
        actual, base = columns.numbers(self.target), self.form.rounded(evaluate(self.value, columns))
        free: Free = {self.target: columns.series(self.target).array} if self.shown else {}
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
            values = np.where(values < self.floor, np.minimum(self.floor, base + self.high), values)
            values = np.where(values > self.ceiling, np.maximum(self.ceiling, base + self.low), values)
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
    """Converts numbers to i64 if all are integers."""
    whole = (
        not np.isnan(numbers).any() and np.all(numbers == np.rint(numbers)) and np.abs(numbers).max(initial=0) < 2**52
    )
    return numbers.astype(np.int64) if whole else numbers


class _Keyed:
    """The columns of a step that gives one column by keys."""

    keys: tuple[str, ...]
    target: str

    @property
    def inputs(self) -> set[str]:
        return set(self.keys)

    @property
    def targets(self) -> tuple[str, ...]:
        return (self.target,)


@dataclass(frozen=True)
class Looked(_Keyed):
    """A value that keys determine: it is looked up in a table, or is in a free column if the table has no value."""

    target: str
    keys: tuple[str, ...]
    table: Table
    form: Form
    rest: str | None = None
    """The free column; None if the table has all keys. It may be the target itself."""
    near: bool = False
    """Whether values of the free column replace those of the table."""
    back: frozenset[Cell] = frozenset()
    """Values that only rows with keys of the table may have."""
    fill: Cell = None
    """The value if neither the table nor the free column has one; None: missing."""

    def encode(self, columns: Columns) -> Free:  # noqa: D102
        if not self.rest or self.rest == self.target:
            return {self.rest: columns.series(self.target).array} if self.rest else {}
        found, known = self.find(columns)
        actual = values_of(columns, self.target)
        keep = ~known | (_differ(actual, found) & self.near)
        values = np.where(keep, actual, _nothing(len(actual)))
        return {self.rest: written(_array(values, self.form), self.form)}

    def decode(self, draft: Draft) -> None:  # noqa: D102
        values, known = self.find(draft)
        if self.rest:
            rest = values_of(draft, self.rest)
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
        if not self.near:  # rows with the same keys have the same value, if the table has none
            values = np.array(values, object)
            rows, head = repeated(draft, self.keys, ~known & np.array([value is not None for value in values], bool))
            values[rows] = values[head]
        draft.put(self.target, _array(values, self.form), self.form)

    def find(self, columns: Columns) -> tuple[np.ndarray, np.ndarray]:
        """The values of the table, (n,) object; whether it has the keys of each row, (n,) bool."""
        group, first = joint([columns.codes(key)[0] for key in self.keys])
        table, absent = dict(self.table), object()
        found = [table.get(key, absent) for key in cells(columns, self.keys, first)]
        known = np.array([value is not absent for value in found], bool)
        values = np.array([None if value is absent else value for value in found] + [None], object)[:-1]
        return (values[group], known[group]) if len(found) else (_nothing(0), np.zeros(0, bool))


def _nothing(n: int) -> np.ndarray:
    """(n,) missing values."""
    return np.full(n, None, object)


def _differ(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.array([a != b for a, b in zip(first, second, strict=True)], bool)


def _array(values: np.ndarray, form: Form) -> np.ndarray:
    """Converts values (n,) object for `Draft.put`: numbers to f64, with NaN for None."""
    if form.kind == "text":
        return values
    return np.array([np.nan if value is None else value for value in values], np.float64)


@dataclass(frozen=True)
class Joint:
    """Columns of which only some combinations occur. They are replaced by one free column with the combination."""

    columns: tuple[str, ...]
    table: tuple[tuple[Cell, ...], ...]
    """The combinations, in descending order of frequency."""
    forms: tuple[Form, ...]
    name: str
    """Name of the free column."""

    @property
    def inputs(self) -> set[str]:  # noqa: D102
        return set()

    @property
    def targets(self) -> tuple[str, ...]:  # noqa: D102
        return self.columns

    def texts(self) -> list[str]:
        """The text of each combination in the free column: its values, with a number if the text is not unique."""
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
        """The number of the combination with the most values in common; of several, the most frequent one."""
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
    """Corrects a column in rows that meet all conditions, but not the claim."""

    conditions: tuple[Predicate, ...]
    claim: Predicate
    form: Form
    fill: Cell = None
    """The corrected value, if the claim does not determine it."""
    unless: bool = False
    """If True, rows are corrected that do not meet all conditions, but meet the claim."""

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
        values = values_of(draft, name) if text else draft.numbers(name).copy()
        if isinstance(self.claim, Multiple) and not self.unless:
            values[wrong] = self.claim.snapped(values[wrong])
        else:
            new = self._value()
            values[wrong] = new if text or new is not None else np.nan
        draft.put(name, values, self.form)

    def _value(self) -> Cell:
        """The corrected value; None: missing."""
        if self.unless or (isinstance(self.claim, Compare) and self.claim.operator != "=="):
            return self.fill
        if not isinstance(self.claim, Compare):
            return None
        value = self.claim.value
        if self.form.kind == "text":
            return value if isinstance(value, str) else self.fill
        return self.claim.number(self.form.kind)


@dataclass(frozen=True)
class Shared(_Keyed):
    """Corrects a column so that rows with the same keys have the same value: that of the table, or of the first row."""

    keys: tuple[str, ...]
    target: str
    form: Form
    table: Table = ()
    """The values of keys that `min_count` training rows share."""

    def decode(self, draft: Draft) -> None:  # noqa: D102
        values, there = values_of(draft, self.target), ~draft.missing(self.target)
        found, known = Looked(self.target, self.keys, self.table, self.form).find(draft)
        values[known & there] = found[known & there]
        rows, head = repeated(draft, self.keys, ~known & there)
        values[rows] = values[head]
        draft.put(self.target, _array(values, self.form), self.form)


@dataclass(frozen=True)
class Bounded:
    """Corrects a number to the nearest one within bounds, so that it keeps an order."""

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
        """The smallest numbers with the precision of the column that are not below `bound` (n,)."""
        near = self.form.rounded(bound)
        return np.where(near < bound - 1e-12 * np.abs(bound), self.form.rounded(near + self.form.unit), near)


Base = Computed | Looked | Joint
Step = Base | Masked | Bounded | Shared | Snapped


def ends(numbers: np.ndarray, min_count: int) -> tuple[float, float]:
    """The minimum and maximum of numbers (n,) if `min_count` rows share it, else infinities."""
    numbers = np.sort(numbers[~np.isnan(numbers)])
    if len(numbers) < min_count:
        return -math.inf, math.inf
    first, last = numbers[:min_count], numbers[-min_count:]
    low = float(first[0]) if first[0] == first[-1] else -math.inf
    return low, float(last[0]) if last[0] == last[-1] else math.inf


def typical(columns: Columns, name: str, rows: np.ndarray, min_count: int) -> Cell:
    """A typical value of rows that is not private.

    Args:
        columns: training rows.
        name: of the column.
        rows: (n,) bool, the rows.
        min_count: minimum number of rows that share the value.

    Returns:
        The most frequent value if `min_count` rows share it; otherwise RARE for text, or the mean of the `min_count`
        numbers around the median. None if there are too few numbers, or no values.
    """
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
