"""Conditions on a single column: comparisons with a value, missing values, and multiples of a step."""

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
    """A comparison: `tip == 0`, `plan == 'basic'`, `start >= '2020-01-31'`. Missing values do not meet it.

    >>> import pandas as pd
    >>> Compare("tip", ">", 1.0).test(Columns(pd.DataFrame({"tip": [0.0, 2.0, None]}))).tolist()
    [False, True, False]
    """

    name: str
    """Name of the column."""
    operator: str
    """One of COMPARISONS."""
    value: float | str

    @property
    def text(self) -> str:
        """In the language of rules."""
        return f"{spelt_name(self.name)} {self.operator} {spelt_value(self.value)}"

    def test(self, columns: Columns) -> np.ndarray:
        """Whether each row meets the condition, (n,) bool; InputError if the value does not fit the column."""
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
        """The value as a number, dates in seconds, for a column of kind `kind`; InputError if it is not a number."""
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
    """`missing(arrival)`: the value is missing."""

    name: str

    @property
    def text(self) -> str:
        """In the language of rules."""
        return f"missing({spelt_name(self.name)})"

    def test(self, columns: Columns) -> np.ndarray:
        """Whether each row meets the condition, (n,) bool."""
        return columns.missing(self.name)


@dataclass(frozen=True)
class Multiple:
    """`fare % 0.5 = 0`: a number is a multiple of `step` plus `offset`. Missing values do not meet it."""

    name: str
    step: float
    offset: float = 0.0

    @property
    def text(self) -> str:
        """In the language of rules."""
        return f"{spelt_name(self.name)} % {spelt_number(self.step)} = {spelt_number(self.offset)}"

    def test(self, columns: Columns) -> np.ndarray:
        """Whether each row meets the condition, (n,) bool."""
        numbers = columns.numbers(self.name)
        steps = (numbers - self.offset) / self.step
        return np.abs(steps - np.rint(steps)) <= 1e-6

    def snapped(self, numbers: np.ndarray, up: bool = False) -> np.ndarray:
        """Rounds numbers (n,) to multiples: to the nearest ones, or if `up`, to the smallest ones not below."""
        steps = (numbers - self.offset) / self.step
        steps = np.ceil(steps - 1e-6) if up else np.rint(steps)
        size = round(1 / self.step) if self.step < 1 and abs(1 / self.step - round(1 / self.step)) < 1e-9 else 0
        return (steps / size if size else steps * self.step) + self.offset


Predicate = Compare | Missing | Multiple


def spelt_value(value: float | str) -> str:
    """A value in the language of rules."""
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return spelt_number(value)


def _float(text: object) -> float:
    """The number in a text; NaN if it is none."""
    try:
        return float(str(text))
    except ValueError:
        return np.nan
