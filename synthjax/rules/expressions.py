"""Arithmetic expressions over columns: their tree, their text, and their evaluation, without Python's `eval`.

Dates are seconds since 1970-01-01, so `days(end - start)` is a number of days. If a value is missing, the result is
missing, except for `coalesce`, `min` and `max`, which ignore missing values.

    >>> import pandas as pd
    >>> node = Binary("*", Number(2.0), Binary("+", Name("a"), Name("b")))
    >>> spelt(node), names(node), linear(node)
    ('2 * (a + b)', ('a', 'b'), ({'a': 2.0, 'b': 2.0}, 0.0))
    >>> evaluate(node, Columns(pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, None]}))).tolist()
    [8.0, nan]
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from synthjax.rules.columns import DAY, Columns

OPERATORS: dict[str, Callable] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "%": np.mod,
}
_RANK = {"+": 1, "-": 1, "*": 2, "/": 2, "%": 2}
"""Precedence of operators."""


@dataclass(frozen=True)
class Number:
    """A constant."""

    value: float


@dataclass(frozen=True)
class Name:
    """A column."""

    name: str


@dataclass(frozen=True)
class Binary:
    """An operation on two expressions with one of OPERATORS."""

    operator: str
    left: "Expression"
    right: "Expression"


@dataclass(frozen=True)
class Call:
    """A call of one of FUNCTIONS."""

    function: str
    arguments: tuple["Expression", ...]


Expression = Number | Name | Binary | Call


def _calendar(seconds: np.ndarray, unit: str, of: str) -> np.ndarray:
    """Number of units since the start of a larger unit `of`, such as months since the start of the year, from 0."""
    days = _days(seconds)
    return (days.astype(f"datetime64[{unit}]") - days.astype(f"datetime64[{of}]").astype(f"datetime64[{unit}]")).astype(
        np.float64
    )


def _days(seconds: np.ndarray) -> np.ndarray:
    """Seconds as datetime64[D]; NaN becomes 1970-01-01."""
    return np.floor(np.where(np.isnan(seconds), 0, seconds) / DAY).astype(np.int64).astype("datetime64[D]")


def _week(seconds: np.ndarray) -> np.ndarray:
    thursday = seconds - _weekday(seconds) * DAY + 3 * DAY  # a week is in the year of its Thursday (ISO 8601)
    return np.floor(_calendar(thursday, "D", "Y") / 7) + 1


def _weekday(seconds: np.ndarray) -> np.ndarray:
    return np.mod(np.floor(seconds / DAY) + 3, 7)


def _monthdays(month: np.ndarray, year: np.ndarray | float = 2000.0) -> np.ndarray:
    months = np.where((month >= 1) & (month <= 12), month, 1).astype(np.int64)
    leap = (np.mod(year, 4) == 0) & ((np.mod(year, 100) != 0) | (np.mod(year, 400) == 0))
    return np.array([31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])[months - 1] + 1.0 * ((months == 2) & leap)


def _leapday(seconds: np.ndarray) -> np.ndarray:
    year, month = _days(seconds).astype("datetime64[Y]").astype(np.float64) + 1970, _calendar(seconds, "M", "Y") + 1
    return _calendar(seconds, "D", "Y") + 1 + ((month > 2) & (_monthdays(np.full_like(month, 2), year) == 28))


def _round(x: np.ndarray, digits: np.ndarray | float = 0.0) -> np.ndarray:
    power = 10.0 ** np.asarray(digits)
    return np.sign(x) * np.floor(np.abs(x) * power + 0.5 + 1e-7) / power


def _hhmm(minutes: np.ndarray) -> np.ndarray:
    minutes = np.mod(minutes, 1440)
    return np.floor(minutes / 60) * 100 + np.mod(minutes, 60)


def _age(birth: np.ndarray, at: np.ndarray) -> np.ndarray:
    early = _calendar(at, "M", "Y") * 31 + _calendar(at, "D", "M") < _calendar(birth, "M", "Y") * 31 + _calendar(
        birth, "D", "M"
    )
    years = (_days(at).astype("datetime64[Y]") - _days(birth).astype("datetime64[Y]")).astype(np.float64) - early
    return np.where(np.isnan(at), np.nan, years)


FUNCTIONS: dict[str, tuple[Callable, tuple[int, ...], str]] = {
    "seconds": (lambda x: x, (1,), "of a time span"),
    "minutes": (lambda x: x / 60, (1,), "of a time span"),
    "hours": (lambda x: x / 3600, (1,), "of a time span"),
    "days": (lambda x: x / DAY, (1,), "of a time span"),
    "year": (lambda x: _days(x).astype("datetime64[Y]").astype(np.float64) + 1970, (1,), "of a date"),
    "quarter": (lambda x: np.floor(_calendar(x, "M", "Y") / 3) + 1, (1,), "of a date, 1 to 4"),
    "month": (lambda x: _calendar(x, "M", "Y") + 1, (1,), "of a date, 1 to 12"),
    "week": (_week, (1,), "of a date, 1 to 53 (ISO 8601)"),
    "day": (lambda x: _calendar(x, "D", "M") + 1, (1,), "of the month, 1 to 31"),
    "yearday": (lambda x: _calendar(x, "D", "Y") + 1, (1,), "of a date, 1 to 366"),
    "leapday": (_leapday, (1,), "of a date, 1 to 366, where each year has a 29th of February"),
    "weekday": (_weekday, (1,), "of a date, Monday 0 to Sunday 6"),
    "hour": (lambda x: np.floor(np.mod(x, DAY) / 3600), (1,), "of a date and time, 0 to 23"),
    "minute": (lambda x: np.floor(np.mod(x, 3600) / 60), (1,), "of the hour"),
    "second": (lambda x: np.mod(x, 60), (1,), "of the minute"),
    "date": (lambda x: np.floor(x / DAY) * DAY, (1,), "a time stamp's day, at midnight"),
    "monthdays": (_monthdays, (1, 2), "of a month, 1 to 12 or its English name, and of a year: 28 to 31"),
    "age": (_age, (2,), "complete years from one date to another"),
    "clock": (lambda x: np.floor(x / 100) * 60 + np.mod(x, 100), (1,), "minutes since midnight of hhmm, 930 say"),
    "hhmm": (_hhmm, (1,), "minutes since midnight as hhmm, modulo a day"),
    "log": (np.log, (1,), "natural logarithm"),
    "exp": (np.exp, (1,), "the number whose logarithm it is"),
    "sqrt": (np.sqrt, (1,), "square root"),
    "floor": (lambda x: np.floor(x + 1e-9 * np.maximum(np.abs(x), 1)), (1,), "whole number below"),
    "ceil": (lambda x: np.ceil(x - 1e-9 * np.maximum(np.abs(x), 1)), (1,), "whole number above"),
    "round": (_round, (1, 2), "to so many digits after the point"),
    "abs": (np.abs, (1,), "without sign"),
    "min": (lambda *x: _least(np.fmin, x), tuple(range(2, 10)), "the least that is there"),
    "max": (lambda *x: _least(np.fmax, x), tuple(range(2, 10)), "the greatest that is there"),
    "coalesce": (lambda x, y: np.where(np.isnan(x), y, x), (2,), "the second where the first is missing"),
}
"""Name -> function of (n,) f64 arrays, its possible numbers of arguments, and its description."""
_KEEPS_MISSING = {"min", "max", "coalesce"}


def _least(function: np.ufunc, arrays: tuple) -> np.ndarray:
    result = arrays[0]
    for array in arrays[1:]:
        result = function(result, array)
    return result


def evaluate(node: Expression, columns: Columns) -> np.ndarray:
    """Evaluates an expression for each row.

    Args:
        node: the expression.
        columns: must have its columns, as numbers or dates.

    Returns:
        (n,) f64; NaN if a value is missing, or if the result is not finite.

    Raises:
        InputError: a column is text.
    """
    with np.errstate(all="ignore"):
        result = _value(node, columns.numbers, columns.months)
    result = np.broadcast_to(np.asarray(result, np.float64), (len(columns),))
    return np.where(np.isinf(result), np.nan, result)


def _value(
    node: Expression, column: Callable[[str], np.ndarray], months: Callable[[str], np.ndarray] | None = None
) -> np.ndarray | float:
    if isinstance(node, Number):
        return node.value
    if isinstance(node, Name):
        return column(node.name)
    if isinstance(node, Binary):
        return OPERATORS[node.operator](_value(node.left, column, months), _value(node.right, column, months))
    if node.function == "monthdays" and months:
        column = months
    arguments = [np.asarray(_value(argument, column, months), np.float64) for argument in node.arguments]
    result = FUNCTIONS[node.function][0](*arguments)
    if node.function in _KEEPS_MISSING:
        return result
    return np.where(np.isnan(arguments[0]), np.nan, result)  # functions of dates convert NaN to 1970-01-01


def rounding(node: Expression, columns: Columns, units: dict[str, float]) -> np.ndarray:
    """The maximum error of an expression that the rounding of its columns can cause.

    Args:
        node: the expression.
        columns: must have its columns.
        units: column -> unit to which it is rounded.

    Returns:
        (n,) f64.
    """
    total = np.zeros(len(columns))
    middle = evaluate(node, columns)
    with np.errstate(all="ignore"):
        for name, unit in units.items():
            worst = np.zeros(len(columns))
            for half in (-unit / 2, unit / 2):
                moved = _value(node, lambda other: columns.numbers(other) + half * (other == name))  # noqa: B023
                worst = np.fmax(worst, np.abs(np.broadcast_to(moved, worst.shape) - middle))
            total += np.where(np.isinf(worst), 0, worst)
    return total


def names(node: Expression) -> tuple[str, ...]:
    """The distinct columns of an expression, in order."""
    return tuple(dict.fromkeys(_names(node)))


def _names(node: Expression) -> Iterator[str]:
    if isinstance(node, Name):
        yield node.name
    elif isinstance(node, Binary):
        yield from _names(node.left)
        yield from _names(node.right)
    elif isinstance(node, Call):
        for argument in node.arguments:
            yield from _names(argument)


def spelt_number(value: float) -> str:
    """Writes a number without unnecessary decimals."""
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))


def spelt_name(name: str) -> str:
    """Writes the name of a column in the language of rules: in backticks unless it is a word."""
    plain = name.isidentifier() and name.isascii() and name not in RESERVED
    return name if plain else "`" + name.replace("`", "``") + "`"


RESERVED = {"and"}
"""Words that must be in backticks if they are names of columns."""


def spelt(node: Expression, rank: int = 0) -> str:
    """Writes an expression without unnecessary brackets; `rank` is the precedence of the surrounding operator."""
    if isinstance(node, Number):
        return spelt_number(node.value)
    if isinstance(node, Name):
        return spelt_name(node.name)
    if isinstance(node, Call):
        return f"{node.function}({', '.join(map(spelt, node.arguments))})"
    own = _RANK[node.operator]
    text = f"{spelt(node.left, own)} {node.operator} {spelt(node.right, own + 1)}"
    return f"({text})" if own < rank else text


def linear(node: Expression) -> tuple[dict[str, float], float] | None:
    """The coefficients by column, and the constant, of a linear expression; None if it is not linear."""
    if isinstance(node, Number):
        return {}, node.value
    if isinstance(node, Name):
        return {node.name: 1.0}, 0.0
    if isinstance(node, Call):
        scale = {"seconds": 1.0, "minutes": 1 / 60, "hours": 1 / 3600, "days": 1 / DAY}.get(node.function)
        inner = linear(node.arguments[0]) if scale else None
        return _scaled(inner, scale) if inner and scale else None
    left, right = linear(node.left), linear(node.right)
    if not left or not right:
        return None
    if node.operator in "+-":
        right = _scaled(right, 1.0 if node.operator == "+" else -1.0)
        both = {name: left[0].get(name, 0) + right[0].get(name, 0) for name in {**left[0], **right[0]}}
        return both, left[1] + right[1]
    if node.operator == "*" and (not left[0] or not right[0]):
        return _scaled(left, right[1]) if not right[0] else _scaled(right, left[1])
    if node.operator == "/" and not right[0] and right[1]:
        return _scaled(left, 1 / right[1])
    return None


def _scaled(form: tuple[dict[str, float], float], factor: float) -> tuple[dict[str, float], float]:
    return {name: value * factor for name, value in form[0].items()}, form[1] * factor


def combination(terms: list[tuple[float, Expression]], constant: float = 0.0) -> Expression:
    """Makes an expression: the sum of products (coefficient, expression), positive ones first, and a constant."""
    result: Expression | None = None
    for coefficient, term in sorted(terms, key=lambda pair: pair[0] < 0):
        size = abs(coefficient)
        part = term if size == 1 else Binary("*", Number(size), term)
        if result is None:
            result = part if coefficient > 0 else Binary("*", Number(coefficient), term)
        else:
            result = Binary("+" if coefficient > 0 else "-", result, part)
    if result is None:
        return Number(constant)
    if not constant:
        return result
    return Binary("+" if constant > 0 else "-", result, Number(abs(constant)))
