"""Equations of dates, `hour = hour(stamp)`, `years = age(birth, seen)`, and of clock times; rules of the calendar.

Rules of the calendar are `weekday(day) <= 4` or `day <= monthdays(month)`.
"""

from itertools import permutations, product

import numpy as np

from synthjax.rules.columns import DAY
from synthjax.rules.expressions import Binary, Call, Expression, Name, Number, evaluate
from synthjax.rules.kinds import Equation, Order, Rule
from synthjax.rules.search.sample import Sample

_PARTS = ("year", "quarter", "month", "week", "day", "yearday", "leapday", "weekday", "hour", "minute", "second")
_GOOD = 0.97  # minimum rate of a rule
_RANGES = {"weekday": (0, 6), "month": (1, 12), "day": (1, 31), "hour": (0, 23)}
"""Parts of dates, with their minimum and maximum."""
_EDGE = 0.25  # minimum number of rows at both ends of a range, relative to the mean of its values
_MONTH_LEVELS, _DAY_LEVELS = 8, 25  # minimum number of levels of columns of months and of days
_CLOCK_LEVELS = 30  # minimum number of levels of a column of clock times


def equations(sample: Sample) -> list[Equation]:
    """Columns that are computed from dates or clock times; for each set of columns, the first equation that fits."""
    dates = [name for name in sample.numeric if sample.kinds[name] == "date"]
    numbers = [name for name in sample.numeric if sample.kinds[name] == "number"]
    found = [*_parts(sample, dates, numbers), *_ages(sample, dates, numbers), *_clocks(sample, numbers)]
    return _once(found)


def _parts(sample: Sample, dates: list[str], numbers: list[str]) -> list[Equation]:
    """Parts of dates, such as the year or the weekday."""
    found = []
    for stamp in dates:
        forms: list[Expression] = []
        for part in _PARTS:
            call = Call(part, (Name(stamp),))
            forms += [call, *(Binary("+", call, Number(1.0)) for _ in [0] if part == "weekday")]
            # Weeks that start on Sunday, from 0 or from 1.
            sunday = Binary("%", Binary("+", call, Number(1.0)), Number(7.0))
            forms += [sunday, Binary("+", sunday, Number(1.0))] if part == "weekday" else []
        for name in numbers:
            found += _first(sample, name, forms)
        for name in dates:
            if name != stamp:
                found += _first(sample, name, [Call("date", (Name(stamp),))])
    return found


def _ages(sample: Sample, dates: list[str], numbers: list[str]) -> list[Equation]:
    """Years between two dates."""
    found = []
    for early, late in permutations(dates, 2):
        forms: list[Expression] = [
            Call("age", (Name(early), Name(late))),
            Binary("-", Call("year", (Name(late),)), Call("year", (Name(early),))),
        ]
        for name in numbers:
            found += _first(sample, name, forms)
    return found


def _clocks(sample: Sample, numbers: list[str]) -> list[Equation]:
    """Clock times that are another clock time plus a delay in minutes, modulo a day."""
    clocks = [name for name in numbers if _is_clock(sample, name)]
    found = []
    for later, earlier in permutations(clocks, 2):
        for delay in numbers:
            if delay not in (later, earlier):
                sum_ = Binary("+", Call("clock", (Name(earlier),)), Name(delay))
                found += _first(sample, later, [Call("hhmm", (sum_,))])
    return found


def _is_clock(sample: Sample, name: str) -> bool:
    """Whether the numbers of a column are clock times hhmm."""
    values = sample.columns.numbers(name)
    values = values[~np.isnan(values)]
    fits = len(values) and np.all((values >= 0) & (values <= 2400) & (values % 100 < 60) & (values % 1 == 0))
    return bool(fits) and len(np.unique(values)) >= _CLOCK_LEVELS and bool((values > 100).any())


def _first(sample: Sample, target: str, forms: list[Expression]) -> list[Equation]:
    """The first equation that enough rows keep; [] if there is none."""
    sample.count("time", len(forms))
    first = sample.glance.numbers(target)
    for form in forms:
        expected = evaluate(form, sample.glance)
        both = ~np.isnan(first) & ~np.isnan(expected)
        if np.sum(first == expected) < 0.9 * both.sum():
            continue
        expected, actual = evaluate(form, sample.columns), sample.columns.numbers(target)
        expected = expected[~np.isnan(actual) & ~np.isnan(expected)]
        if len(np.unique(expected)) > 1 and sample.rate(Equation(target, form)) >= _GOOD:
            return [Equation(target, form)]
    return []


def _once(found: list[Equation]) -> list[Equation]:
    """Keeps the first equation of each set of columns."""
    kept: dict[frozenset[str], Equation] = {}
    for equation in found:
        kept.setdefault(frozenset(equation.names), equation)
    return list(kept.values())


def ranges(sample: Sample, known: list[Rule]) -> list[Order]:
    """Rules of the calendar: parts of dates with only some of the possible values, and days within their month.

    Args:
        sample: the rows.
        known: rules; columns that equations compute are not searched.
    """
    computed = {rule.target for rule in known if isinstance(rule, Equation)}
    found = []
    for name in sample.numeric:
        if sample.kinds[name] == "date" and name not in computed:
            found += [rule for part, ends in _RANGES.items() if (rule := _range(sample, name, part, ends))]
    return found + days(sample, known)


def days(sample: Sample, known: list[Rule]) -> list[Order]:
    """Days within their month, `day <= monthdays(month)`; arguments as for `ranges`."""
    computed = {rule.target for rule in known if isinstance(rule, Equation)}
    found = []
    numbers = [name for name in sample.numeric if sample.kinds[name] == "number" and name not in computed]
    of_month = [name for name in numbers if _within(sample.columns.numbers(name), 31, _DAY_LEVELS)]
    months = [name for name in sample.kinds if sample.kinds[name] != "date" and name not in (*computed, *of_month)]
    months = [name for name in months if _within(sample.columns.months(name), 12, _MONTH_LEVELS)]
    for day, month in product(of_month, months):
        sample.count("calendar", 1)
        rule = Order((Name(day), Call("monthdays", (Name(month),))), ("<=",))
        if sample.rate(rule) >= _GOOD:
            found.append(rule)
    return found


def _range(sample: Sample, name: str, part: str, ends: tuple[int, int]) -> Order | None:
    """A range such as `1 <= weekday(day) <= 5`, if both ends of it are frequent."""
    if part == "hour" and sample.columns.unit(name) >= DAY:
        return None
    values = evaluate(Call(part, (Name(name),)), sample.columns)
    counts = np.bincount(values[~np.isnan(values)].astype(np.int64), minlength=ends[1] + 1)
    there = np.flatnonzero(counts >= (1 - _GOOD) / 10 * counts.sum())
    low, high = int(there[0]), int(there[-1])
    own = counts[low : high + 1]
    sample.count("calendar", 1)
    if (low, high) == ends or min(own[0], own[-1]) < _EDGE * own.mean():
        return None
    terms: list[Expression] = [Call(part, (Name(name),))]
    terms = [Number(low), *terms] if low > ends[0] else terms
    terms = [*terms, Number(high)] if high < ends[1] else terms
    return Order(tuple(terms), ("<=",) * (len(terms) - 1))


def _within(values: np.ndarray, most: int, levels: int) -> bool:
    """Whether values are integers from 1 to `most`, including `most`, with at least so many levels."""
    values = np.unique(values[~np.isnan(values)])
    return len(values) >= levels and values[0] >= 1 and values[-1] == most and bool(np.all(values % 1 == 0))
