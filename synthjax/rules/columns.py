"""Access to the columns of a frame as arrays (numbers, codes, missing values), and conversion of arrays to columns."""

import calendar
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from synthjax.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

DAY = 86400.0
"""Seconds of a day."""
_DIGITS = 9  # maximum number of decimals of a rounded column
_TIME_UNITS = (DAY, 3600.0, 60.0, 1.0)
_MICROSECONDS = 1e6
_FLOAT = 1e-14  # relative error of a decimal
_MONTHS = {name[:k].lower(): i for i, name in enumerate(calendar.month_name) if i for k in (3, len(name))} | {"sept": 9}
_GLANCE = 1000  # number of rows that are checked first


@dataclass(frozen=True)
class Form:
    """The type and precision of a column.

    >>> Form("number", unit=0.1, dtype="float64").rounded(np.array([0.25, -0.25])).tolist()
    [0.3, -0.3]
    """

    kind: str
    """number, date, text or other; rules do not use columns of kind other."""
    unit: float = 0.0
    """The unit to which numbers are rounded: 10 ** -digits, or seconds for dates; 0 if they are not rounded."""
    dtype: str = "object"
    single: bool = False
    """Whether the numbers are not rounded, but have the precision of f32, with at most 15 digits."""

    @property
    def digits(self) -> int | None:
        """Number of decimals; None if numbers are not rounded."""
        return round(-np.log10(self.unit)) if self.kind == "number" and self.unit else None

    def rounded(self, numbers: np.ndarray) -> np.ndarray:
        """Rounds numbers (n,) f64 to the unit; halves are rounded away from 0, as in accounting."""
        if self.single:
            return np.array([float(f"{number:.15g}") for number in numbers.astype(np.float32)])
        if not self.unit:
            return numbers
        size = np.abs(numbers)
        if self.digits is None:  # dates
            whole = np.floor(size / self.unit + 0.5)
            return np.sign(numbers) * whole * self.unit
        power = 10.0**self.digits
        return np.sign(numbers) * np.floor(size * power + 0.5 + 1e-7) / power + 0.0

    def values(self, numbers: np.ndarray) -> Any:
        """Converts numbers (n,) f64, NaN for missing values, to the type of the column.

        Integers are f64 if values are missing and the type has no missing values.
        """
        import pandas as pd

        absent = np.isnan(numbers)
        if self.kind == "date":
            micro = np.rint(np.where(absent, 0, numbers) * _MICROSECONDS).astype(np.int64).astype("datetime64[us]")
            micro[absent] = np.datetime64("NaT", "us")
            if not self.dtype.startswith("datetime64[") or "," not in self.dtype:
                return micro.astype(self.dtype) if self.dtype.startswith("datetime64[") else micro
            zone = self.dtype.split(",")[1].strip(" ]")
            local = pd.Series(micro).dt.tz_localize(
                zone, ambiguous=np.zeros(len(micro), bool), nonexistent="shift_forward"
            )
            return local.astype(pd.api.types.pandas_dtype(self.dtype)).array
        if not isinstance(pd.api.types.pandas_dtype(self.dtype), np.dtype):
            return pd.array(np.where(absent, None, numbers), dtype=self.dtype)  # type: ignore[call-overload]
        if np.dtype(self.dtype).kind in "iu":
            return numbers if absent.any() else np.rint(numbers).astype(self.dtype)
        return numbers.astype(self.dtype)


class Columns:
    """A frame, or some of its rows. Columns are converted when they are first used, and cached."""

    def __init__(self, frame: "pd.DataFrame", rows: np.ndarray | None = None):
        """Uses all rows of `frame`, or those with the numbers `rows`; InputError if two columns have the same name."""
        names = [str(name) for name in frame.columns]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise InputError(f"two columns are named {twice!r}; rename one")
        self.frame, self.rows = frame, rows
        self.names = tuple(names)
        self._place = {name: i for i, name in enumerate(names)}
        self._series: dict[str, pd.Series] = {}
        self._numbers: dict[str, np.ndarray] = {}
        self._codes: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self._units: dict[str, float] = {}

    @classmethod
    def of(cls, frame: "pd.DataFrame | Columns") -> "Columns":
        """Makes `Columns` of a frame; `Columns` are returned unchanged."""
        return frame if isinstance(frame, Columns) else cls(frame)

    def __len__(self) -> int:
        return len(self.frame) if self.rows is None else len(self.rows)

    def __contains__(self, name: str) -> bool:
        return name in self._place

    def check(self, names: Iterable[str], rule: str) -> None:
        """Raises InputError if a column of a rule is missing; `rule` is its text."""
        import difflib

        for name in names:
            if name not in self._place:
                near = difflib.get_close_matches(name, self.names, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(self.names[:12])}"
                raise InputError(f"rule {rule!r}: {name!r} is not a column{hint}")

    def take(self, rows: np.ndarray) -> "Columns":
        """Selects rows by number."""
        return Columns(self.frame, rows if self.rows is None else self.rows[rows])

    def shuffled(self, names: Iterable[str], others: Iterable[str], rng: np.random.Generator) -> "Columns":
        """Copies the columns `names` and `others`, and shuffles each of `names` independently."""
        import pandas as pd

        moved = {name: self.series(name).take(rng.permutation(len(self))).array for name in names}
        return Columns(pd.DataFrame({**{name: self.series(name).array for name in others}, **moved}))

    def series(self, name: str) -> "pd.Series":
        """The column as a pandas Series."""
        if name not in self._series:
            series = self.frame.iloc[:, self._place[name]]
            self._series[name] = series if self.rows is None else series.take(self.rows)
        return self._series[name]

    def kind(self, name: str) -> str:
        """The kind of a column: number, date, text or other. Booleans are text."""
        import pandas as pd

        dtype = self.series(name).dtype
        if pd.api.types.is_bool_dtype(dtype):
            return "text"
        if pd.api.types.is_numeric_dtype(dtype):
            return "other" if pd.api.types.is_complex_dtype(dtype) else "number"
        if pd.api.types.is_datetime64_any_dtype(dtype):
            return "date"
        text = pd.api.types.is_string_dtype(dtype) or pd.api.types.is_object_dtype(dtype)
        return "text" if text or isinstance(dtype, pd.CategoricalDtype) else "other"

    def numbers(self, name: str) -> np.ndarray:
        """The numbers of a column, or its dates in seconds since 1970-01-01.

        Returns:
            (n,) f64; NaN for missing values.

        Raises:
            InputError: the column is text.
        """
        if name not in self._numbers:
            series, kind = self.series(name), self.kind(name)
            if kind == "date":
                times = series.dt.tz_localize(None) if getattr(series.dt, "tz", None) else series
                micro = times.to_numpy().astype("datetime64[us]")
                seconds = micro.astype(np.int64) / _MICROSECONDS
                self._numbers[name] = np.where(np.isnat(micro), np.nan, seconds)
            elif kind == "number":
                numbers = series.to_numpy(np.float64, na_value=np.nan)
                self._numbers[name] = np.where(np.isinf(numbers), np.nan, numbers)
            elif self.missing(name).all():
                self._numbers[name] = np.full(len(self), np.nan)
            else:
                raise InputError(f"column {name!r} holds {kind}, not numbers or dates")
        return self._numbers[name]

    def months(self, name: str) -> np.ndarray:
        """`numbers`, or for text, the numbers 1 to 12 of English names of months: (n,) f64; NaN for other text."""
        if self.kind(name) != "text":
            return self.numbers(name)
        codes, levels = self.codes(name)
        return np.append([_MONTHS.get(str(level).strip().lower().rstrip("."), np.nan) for level in levels], np.nan)[
            codes
        ]

    def codes(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """The categories of a column.

        Returns:
            (n,) i64 codes, -1 for missing values; (levels,) the value of each code, text or f64.
        """
        if name not in self._codes:
            import pandas as pd

            kind = self.kind(name)
            values: Any = self.numbers(name) if kind in ("number", "date") else self.series(name)
            if kind == "number" and self.unit(name) < 1:  # 69.28999999999999 is 69.29
                values = Form(kind, self.unit(name)).rounded(values)
            if kind == "text" and pd.api.types.is_object_dtype(values.dtype):  # may hold anything
                values = values.map(str, na_action="ignore")
            codes, levels = pd.factorize(values)
            if kind not in ("number", "date"):
                levels = np.array([str(level) for level in levels], object)
            self._codes[name] = codes.astype(np.int64), np.asarray(levels)
        return self._codes[name]

    def missing(self, name: str) -> np.ndarray:
        """Whether each value is missing, (n,) bool."""
        return self.series(name).isna().to_numpy()

    def unit(self, name: str) -> float:
        """The unit to which a column is rounded, see `Form`."""
        if name not in self._units:
            numbers = self.numbers(name)
            numbers = numbers[~np.isnan(numbers)]
            date = self.kind(name) == "date"
            units = (*_TIME_UNITS, 1 / _MICROSECONDS) if date else [10.0**-digits for digits in range(_DIGITS + 1)]
            fits = (unit for unit in units if _on_grid(numbers[:_GLANCE], unit) and _on_grid(numbers, unit))
            self._units[name] = next(fits, 1 / _MICROSECONDS if date else 0.0)
        return self._units[name]

    def form(self, name: str) -> Form:
        """The type and precision of a column."""
        kind, dtype = self.kind(name), str(self.series(name).dtype)
        unit = self.unit(name) if kind in ("number", "date") else 0.0
        return Form(kind, unit, dtype, kind == "number" and not unit and _is_single(self.numbers(name)))


def _on_grid(numbers: np.ndarray, unit: float) -> bool:
    """Whether numbers are multiples of a unit; decimals may have the rounding errors of a few sums."""
    if unit >= 1:
        return bool(np.all(numbers % unit == 0))
    if numbers.size and np.abs(numbers).max() / unit > 2.0**52:
        return False
    return bool(np.all(np.abs(np.rint(numbers / unit) / round(1 / unit) - numbers) <= _FLOAT * np.abs(numbers)))


def _is_single(numbers: np.ndarray) -> bool:
    """Whether numbers are f32 numbers, except for digits after the 15th."""
    for part in (numbers[:_GLANCE], numbers):
        part = part[~np.isnan(part)]
        with np.errstate(over="ignore"):
            if not np.all(np.abs(part.astype(np.float32) - part) <= _FLOAT * np.abs(part)):
                return False
    return bool(len(part))


def joint(codes: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Combines columns of codes into one.

    Args:
        codes: columns (n,) i64, -1 for missing values.

    Returns:
        (n,) i64, the number of each row's combination, from 0; (combinations,) i64, the first row of each.

    >>> joint([np.array([0, 0, 1]), np.array([2, 2, 2])])[0].tolist()
    [0, 0, 1]
    """
    total = np.zeros(len(codes[0]), np.int64)
    size = 1
    for part in codes:
        base = int(part.max(initial=-1)) + 2
        if size * base > 2**62:
            total = np.unique(total, return_inverse=True)[1]
            size = int(total.max(initial=0)) + 1
        total = total * base + part + 1
        size *= base
    if 0 < size <= 4 * len(total) + 1000:  # a table of counts is faster than sorting
        seen = np.full(size, -1)
        seen[total[::-1]] = np.arange(len(total))[::-1]
        kept = np.flatnonzero(seen >= 0)
        number = np.zeros(size, np.int64)
        number[kept] = np.arange(len(kept))
        return number[total], seen[kept]
    _, first, inverse = np.unique(total, return_index=True, return_inverse=True)
    return inverse, first


class Draft(Columns):
    """Columns to which steps of a plan write."""

    def __init__(self, frame: "pd.DataFrame"):
        super().__init__(frame)
        self._series = {name: super(Draft, self).series(name) for name in self.names}

    def series(self, name: str) -> "pd.Series":
        """The column, as last written."""
        return self._series[name]

    def put(self, name: str, values: np.ndarray, form: Form) -> None:
        """Writes a column: numbers (n,) f64, NaN for missing values, or text (n,) object, None for missing values."""
        import pandas as pd

        for cache in (self._numbers, self._codes, self._units):
            cache.pop(name, None)  # type: ignore[attr-defined]
        self._place.setdefault(name, len(self._place))
        self._series[name] = pd.Series(written(values, form), index=self.frame.index)


def written(values: np.ndarray, form: Form) -> Any:
    """Converts numbers or text, see `Draft.put`, to the type of a column."""
    import pandas as pd

    if form.kind in ("number", "date"):
        return form.values(np.asarray(values, np.float64))
    if form.dtype in ("bool", "boolean"):
        absent = np.array([value is None for value in values], bool)
        true = np.where(absent, None, values == "True") if absent.any() else (values == "True").astype(bool)
        return true if form.dtype == "bool" else pd.array(np.asarray(true, object), dtype="boolean")
    return pd.array(values, dtype=form.dtype)  # type: ignore[call-overload]
