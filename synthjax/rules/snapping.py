"""Steps of a `Plan` that move a number or date, so that its functions have the values of free columns.

A model sees a date as one number. Its weekday, month or hour are functions of it that a model can hardly see, so they
stay free columns. After decoding, the date is moved to the nearest one that has them, and they are computed from it:

    >>> import pandas as pd
    >>> from synthjax.rules.parsing import parse_expression
    >>> drawn = Draft(pd.DataFrame({"day": [np.datetime64("2024-05-01", "s")] * 2, "weekday": [2, 5]}))
    >>> ends = [np.datetime64(day, "s").astype(float) for day in ("2024-01-01", "2024-12-31")]
    >>> form, number = Form("date", DAY, "datetime64[s]"), Form("number", 1, "int64")
    >>> Snapped("day", form, ("weekday",), (parse_expression("weekday(day)"),), (number,), DAY, *ends).decode(drawn)
    >>> drawn.series("day").dt.strftime("%a %d").tolist()
    ['Wed 01', 'Sat 04']
"""

from dataclasses import dataclass

import numpy as np

from synthjax.rules.columns import DAY, Columns, Draft, Form, joint
from synthjax.rules.expressions import Expression, evaluate
from synthjax.rules.tables import Table, values_of

LEVELS = 31
"""Maximum number of levels of a function that stays a free column: days of a month have as many."""
_ALTERNATING = 2  # minimum number of changes along the numbers, by level, of a function that bins of numbers hide
_KNOWN = 0.9  # minimum fraction of codes that tables must have, for all to be in them
_GAPS = 2  # minimum range of codes, by number of codes
_UNITS = (DAY, 3600.0, 60.0, 1.0)
_MOST = 1_000_000  # maximum number of places


@dataclass(frozen=True)
class Snapped:
    """Moves a number or date to the nearest place at which functions of it have the values of free columns.

    If there is no such place, the last functions are ignored. Of dates, a place is a day or a time of day, and the rest
    of the date is kept. Of other numbers, the places are the keys of tables.
    """

    target: str
    form: Form
    parts: tuple[str | None, ...]
    """The free columns, those with fewest levels first; None, last: a function only has to have a value."""
    values: tuple[Expression | Table, ...]
    """The function for each part: an expression of the target, or a table with the target as its only key."""
    forms: tuple[Form, ...]
    """Of the parts."""
    unit: float = 0.0
    """Size of a place in seconds: a day, or less for times of day; 0: the functions are tables."""
    low: float = 0.0
    """The first day, in seconds."""
    high: float = 0.0
    """The last day."""
    every: bool = False
    """Whether numbers that are not in a table are moved too."""

    @property
    def inputs(self) -> set[str]:
        """The columns that must be decoded before: none, since `parts` are read as they were drawn."""
        return set()

    @property
    def targets(self) -> tuple[str, ...]:
        """The column that the step writes."""
        return (self.target,)

    def decode(self, draft: Draft) -> None:
        """Writes the target."""
        numbers = draft.numbers(self.target)
        old = self._place(numbers)
        places = self._places()
        # The first code is that of all places: the nearest one is the last resort.
        known, now, asked = ([np.zeros(size, np.int64)] for size in (len(places), len(old), len(old)))
        for name, value, form in zip(self.parts, self.values, self.forms, strict=True):
            own = self._function(value, form, np.append(places, old))
            drawn = values_of(draft, name) if name else np.full(len(old), None)
            codes = _codes(np.concatenate([own, drawn]))
            there, here, free = np.split(codes, [len(places), len(own)])
            known.append(there)
            now.append(here)
            asked.append(np.where(free >= 0, free, here))
        found = np.min(now, axis=0) >= 0
        rows = np.flatnonzero(np.any(np.not_equal(now, asked), axis=0) & found | ~found & self.every)
        rows = rows[~np.isnan(numbers[rows])]
        if not len(rows) or not len(places):
            return
        new = nearest(places, np.array(known).T, old[rows], np.array(asked).T[rows])
        numbers = numbers.copy()
        numbers[rows] += new - old[rows]
        draft.put(self.target, numbers, self.form)

    def _place(self, numbers: np.ndarray) -> np.ndarray:
        """The place of each number, (n,) f64."""
        if not self.unit:
            return Form("number", self.form.unit).rounded(numbers) if self.form.kind == "number" else numbers
        within = numbers if self.unit == DAY else np.mod(numbers, DAY)
        return np.floor(within / self.unit) * self.unit

    def _places(self) -> np.ndarray:
        """All places, ascending."""
        if self.unit == DAY:
            return np.arange(self.low, self.high + 1, DAY)
        if self.unit:
            return np.arange(0, DAY, self.unit)
        return np.unique([key for table in self.values for (key,), _ in table])  # type: ignore[union-attr]

    def _function(self, value: Expression | Table, form: Form, places: np.ndarray) -> np.ndarray:
        """The value of a part at each place: (n,) object, None where there is none."""
        import pandas as pd

        if isinstance(value, tuple):
            table = {key: own for (key,), own in value}
            return np.array([*(table.get(place) for place in places.tolist()), None], object)[:-1]
        found = form.rounded(evaluate(value, Columns(pd.DataFrame({self.target: places}))))
        values = found.astype(object)
        values[np.isnan(found)] = None
        return values


def _codes(values: np.ndarray) -> np.ndarray:
    """Numbers the distinct values (n,) object: (n,) i64, -1 for None."""
    import pandas as pd

    return pd.factorize(values)[0].astype(np.int64)


def nearest(places: np.ndarray, codes: np.ndarray, numbers: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The nearest place with the wanted codes, for each number.

    Args:
        places: (m,) f64, ascending, at least one.
        codes: (m, parts) i64 codes of each place.
        numbers: (n,) f64.
        wanted: (n, parts) i64 codes. If no place has all of them, the last ones are ignored, until a place has them.

    Returns:
        (n,) f64; the number itself if no place has the first code.

    >>> codes = np.array([[0, 0], [1, 0], [0, 1], [1, 1]])
    >>> nearest(np.array([10.0, 20.0, 30.0, 40.0]), codes, np.array([11.0, 41.0]), np.array([[1, 1], [0, 7]])).tolist()
    [40.0, 30.0]
    """
    found = np.array(numbers, np.float64)
    left = np.arange(len(numbers))
    m = len(places)
    for count in range(codes.shape[1], 0, -1):
        group, _ = joint([np.concatenate([codes[:, i], wanted[left, i]]) for i in range(count)])
        order = np.argsort(group[:m], kind="stable")
        keys = group[:m][order] * (m + 1) + order
        at = np.searchsorted(keys, group[m:] * (m + 1) + np.searchsorted(places, numbers[left]))
        sides = [np.clip(at - 1, 0, m - 1), np.clip(at, 0, m - 1)]
        far = [
            np.where(group[:m][order[side]] == group[m:], np.abs(places[order[side]] - numbers[left]), np.inf)
            for side in sides
        ]
        best = np.where(far[0] < far[1], places[order[sides[0]]], places[order[sides[1]]])
        there = np.isfinite(np.minimum(*far))
        found[left[there]] = best[there]
        left = left[~there]
    return found


def unit_of(value: Expression, name: str, columns: Columns) -> float:
    """The unit of dates of which an expression is a function: a day, or 3,600, 60 or 1 seconds of the time of day.

    Args:
        value: an expression of the column only.
        name: of the column, of dates.
        columns: training rows.

    Returns:
        Seconds; 0: it is no function of the day alone, or of the time of day alone.
    """
    import pandas as pd

    numbers = columns.numbers(name)
    numbers = numbers[~np.isnan(numbers)]

    def same(other: np.ndarray) -> bool:
        first, second = (evaluate(value, Columns(pd.DataFrame({name: part}))) for part in (numbers, other))
        return bool(np.array_equal(first, second, equal_nan=True))

    if same(np.floor(numbers / DAY) * DAY):
        return DAY
    times = np.mod(numbers, DAY)
    return next((unit for unit in _UNITS[1:] if same(np.floor(times / unit) * unit)), 0.0)


def hidden(columns: Columns, name: str, part: str) -> bool:
    """Whether a column has few levels and changes too often along the numbers of another for bins of these to show it.

    Args:
        columns: training rows.
        name: of a column of numbers or dates, of which the other one is a function.
        part: of the other column.
    """
    numbers, codes = columns.numbers(name), columns.codes(part)[0]
    full = ~np.isnan(numbers) & (codes >= 0)
    levels = len(np.unique(codes[full]))
    if not 2 <= levels <= LEVELS or 2 * levels > len(np.unique(numbers[full])):
        return False
    along = codes[full][np.argsort(numbers[full], kind="stable")]
    return bool(np.sum(along[1:] != along[:-1]) > _ALTERNATING * levels)


def following(
    columns: Columns,
    name: str,
    shown: list[tuple[str, Expression | Table]],
    tables: list[Table],
    min_count: int,
) -> list[Snapped]:
    """The steps with which a number or date follows free columns.

    Args:
        columns: training rows.
        name: of the number or date.
        shown: the free columns, and the function for each.
        tables: all tables with the number as their key. If it is a code, it only has values that they all have.
        min_count: minimum number of rows that share the first and the last day.
    """
    form, found = columns.form(name), []
    shown = sorted(shown, key=lambda pair: len(columns.codes(pair[0])[1]))
    groups: dict[str, list[tuple[str | None, Expression | Table, float]]] = {}
    for part, value in shown:
        unit = 0.0 if isinstance(value, tuple) else unit_of(value, name, columns) if form.kind == "date" else -1.0
        if unit >= 0:
            groups.setdefault({0.0: "table", DAY: "day"}.get(unit, "time"), []).append((part, value, unit))
    if every := _is_code(columns, name, tables):
        own = groups.setdefault("table", [])
        own += [(None, table, 0.0) for table in tables if all(table is not value for _, value, _ in own)]
    for kind, own in groups.items():
        ends = _days(columns, name, min_count) if kind == "day" else (0.0, 0.0)
        if ends is not None:
            parts, values, units = zip(*own, strict=True)
            forms = tuple(columns.form(part) if part else Form("text") for part in parts)
            step = Snapped(name, form, parts, values, forms, min(units), *ends, every=every and kind == "table")
            found.append(step)
    return found


def _is_code(columns: Columns, name: str, tables: list[Table]) -> bool:
    """Whether a column has integers that are codes: nearly all are keys of all tables, with gaps between them."""
    if not tables or columns.kind(name) != "number" or columns.unit(name) < 1:
        return False
    numbers = columns.numbers(name)
    numbers = numbers[~np.isnan(numbers)]
    keys: list[set] = [{key for (key,), _ in table} for table in tables]
    known = np.sort(np.array([*set.intersection(*keys)], np.float64))
    if len(known) < 2 or np.mean(np.isin(numbers, known)) < _KNOWN:
        return False
    return bool(_GAPS * len(known) <= known[-1] - known[0] + 1)


def _days(columns: Columns, name: str, min_count: int) -> tuple[float, float] | None:
    """The first and the last day of a column of dates that are not private, in seconds; None: too few or too many."""
    numbers = columns.numbers(name)
    numbers = np.sort(np.floor(numbers[~np.isnan(numbers)] / DAY) * DAY)
    if len(numbers) < 2 * min_count:
        return None
    low, high = float(numbers[min_count - 1]), float(numbers[-min_count])
    return (low, high) if (high - low) / DAY < _MOST else None
