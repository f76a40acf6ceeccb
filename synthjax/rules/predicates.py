"""What can be said of one cell: it is equal to, above or below a value, missing, or a multiple of a step."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np

from synthjax.errors import InputError
from synthjax.rules.columns import Columns
from synthjax.rules.expressions import spelt_name, spelt_number

COMPARISONS = {
    "==": np.equal,
    "!=": np.not_equal,
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
}


@dataclass(frozen=True)
class Compare:
    """A column beside a value: `tip == 0`, `plan == 'basic'`, `start >= '2020-01-31'`. Not so of a missing value."""

    name: str
    operator: str
    value: float | str

    @property
    def text(self) -> str:
        """In the language of rules."""
        return f"{spelt_name(self.name)} {self.operator} {spelt_value(self.value)}"

    def test(self, columns: Columns) -> np.ndarray:
        """(n,) bool."""
        compare, kind = COMPARISONS[self.operator], columns.kind(self.name)
        if kind in ("number", "date"):
            numbers = columns.numbers(self.name)
            return compare(numbers, self.number(kind)) & ~np.isnan(numbers)
        codes, levels = columns.codes(self.name)
        if isinstance(self.value, str):
            if self.operator not in ("==", "!="):
                raise InputError(f"rule {self.text!r}: column {self.name!r} holds text, which has no order")
            fits = compare(levels, self.value).astype(bool)
        else:
            fits = compare(np.array([_float(level) for level in levels], np.float64), self.value)
        return np.append(fits, False)[codes]

    def number(self, kind: str) -> float:
        """The value beside a column of numbers or dates."""
        if not isinstance(self.value, str):
            return self.value
        try:
            if kind == "date":
                return np.datetime64(datetime.fromisoformat(self.value), "us").astype(np.int64) / 1e6
            return float(self.value)
        except ValueError:
            what = "a date like 2020-01-31" if kind == "date" else "a number"
            raise InputError(f"rule {self.text!r}: {self.value!r} is not {what}") from None


@dataclass(frozen=True)
class Missing:
    """`missing(arrival)`: the cell is empty."""

    name: str

    @property
    def text(self) -> str:
        """In the language of rules."""
        return f"missing({spelt_name(self.name)})"

    def test(self, columns: Columns) -> np.ndarray:
        """(n,) bool."""
        return columns.missing(self.name)


@dataclass(frozen=True)
class Multiple:
    """`fare % 0.5 = 0`: a number on a grid of this step, moved by `offset`."""

    name: str
    step: float
    offset: float = 0.0

    @property
    def text(self) -> str:
        """In the language of rules."""
        return f"{spelt_name(self.name)} % {spelt_number(self.step)} = {spelt_number(self.offset)}"

    def test(self, columns: Columns) -> np.ndarray:
        """(n,) bool."""
        numbers = columns.numbers(self.name)
        steps = (numbers - self.offset) / self.step
        return np.abs(steps - np.rint(steps)) <= 1e-6

    def snapped(self, numbers: np.ndarray, up: bool = False) -> np.ndarray:
        """The multiples nearest to numbers (n,), or the least that are not below them."""
        steps = (numbers - self.offset) / self.step
        steps = np.ceil(steps - 1e-6) if up else np.rint(steps)
        size = round(1 / self.step) if self.step < 1 and abs(1 / self.step - round(1 / self.step)) < 1e-9 else 0
        return (steps / size if size else steps * self.step) + self.offset


Predicate = Compare | Missing | Multiple


def spelt_value(value: float | str) -> str:
    """A value as the language takes it."""
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return spelt_number(value)


def _float(text: object) -> float:
    try:
        return float(str(text))
    except ValueError:
        return np.nan
