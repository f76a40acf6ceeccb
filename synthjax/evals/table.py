"""Tables as scores read them: data frames, checked once, as arrays of numbers and of category codes.

Whoever made the frames (a CSV file, pandas, another generator), a value means the same in each of them afterwards: a
number is a float, a date the seconds since 1970, a category a code that all frames share, and a missing value is NaN
or -1. Nothing is scaled or binned here.

    tables = table.from_frames({"train": train, "test": test, "synthetic": synthetic}, kinds, target="income")
    tables["train"].numbers   # (N, A) f64, NaN where missing
    tables["train"].codes     # (N, C) i32, -1 where missing
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from synthjax.errors import InputError
from synthjax.evals import subsample

LARGEST = 1e19
"""Size of a number at most: all of int64, and its square is within the range of f32."""
NUMERIC = ("continuous", "integer", "datetime")
"""Kinds of columns that are compared as numbers."""
DISCRETE = ("categorical", "boolean")
"""Kinds of columns that are compared as categories."""
LEFT_OUT = ("id", "text", "constant")
"""Kinds of columns that nothing can be learnt from: they may be there, and are not looked at."""
_BOOLEANS = {"true": "True", "1": "True", "yes": "True", "false": "False", "0": "False", "no": "False"}


@dataclass(frozen=True)
class Schema:
    """What the arrays of a `Table` hold."""

    numeric: tuple[str, ...]
    """Names of the columns of `numbers`."""
    discrete: tuple[str, ...]
    """Names of the columns of `codes`."""
    categories: tuple[tuple[str, ...], ...]
    """What the codes of each discrete column stand for: every value that any of the frames has, sorted."""
    target: str | None = None
    """The column that classifiers predict; None: there is none."""
    dates: tuple[str, ...] = ()
    """Those of `numeric` that hold seconds since 1970."""
    left_out: tuple[str, ...] = ()
    """Columns that are not looked at."""

    @property
    def regression(self) -> bool:
        """Whether the target is a number."""
        return self.target in self.numeric

    @property
    def classes(self) -> tuple[str, ...]:
        """Values of a target that is a category."""
        return self.categories[self.discrete.index(self.target)] if self.target in self.discrete else ()


@dataclass(frozen=True)
class Table:
    """Rows of a data frame; two of one `from_frames` can be compared."""

    schema: Schema
    numbers: np.ndarray
    """(N, A) f64; NaN: missing."""
    codes: np.ndarray
    """(N, C) i32 indices into `schema.categories`; -1: missing."""

    def __len__(self) -> int:
        return len(self.codes)

    def take(self, rows: np.ndarray) -> "Table":
        """The rows with these indices, or where a mask (N,) is True."""
        return Table(self.schema, self.numbers[rows], self.codes[rows])

    def sample(self, rng: np.random.Generator, n: int) -> "Table":
        """At most `n` rows, drawn without replacement and left in their order."""
        return self if n >= len(self) else self.take(subsample.sample(rng, len(self), n))

    def select(self, names: Collection[str]) -> "Table":
        """The columns with these names, in their order; the target is forgotten if it is not among them."""
        numeric, discrete = (
            [place for place, name in enumerate(kind) if name in names]
            for kind in (self.schema.numeric, self.schema.discrete)
        )
        schema = Schema(
            tuple(self.schema.numeric[place] for place in numeric),
            tuple(self.schema.discrete[place] for place in discrete),
            tuple(self.schema.categories[place] for place in discrete),
            self.schema.target if self.schema.target in names else None,
            tuple(name for name in self.schema.dates if name in names),
            self.schema.left_out,
        )
        return Table(schema, self.numbers[:, numeric], self.codes[:, discrete])

    def column(self, name: str) -> np.ndarray:
        """Values (N,) of a column: f64, NaN where missing, or codes, -1 where missing."""
        if name in self.schema.numeric:
            return self.numbers[:, self.schema.numeric.index(name)]
        return self.codes[:, self.schema.discrete.index(name)]

    def known(self, name: str) -> "Table":
        """The rows that have a value in a column."""
        return self.take(_present(self.column(name)))

    def target(self) -> np.ndarray:
        """The column of the target."""
        if self.schema.target is None:
            raise InputError("the table has no target column")
        return self.column(self.schema.target)

    def with_target(self) -> "Table":
        """The rows that have a target."""
        return self.take(_present(self.target()))


def _present(values: np.ndarray) -> np.ndarray:
    return ~np.isnan(values) if values.dtype.kind == "f" else values >= 0


def concat(*tables: Table) -> Table:
    """The rows of several tables of one `from_frames`, one after another."""
    numbers, codes = (np.concatenate([getattr(table, part) for table in tables]) for part in ("numbers", "codes"))
    return Table(tables[0].schema, numbers, codes)


def from_frames(frames: Mapping[str, Any], kinds: Mapping[str, str], target: str | None = None) -> dict[str, Table]:
    """Checks data frames and brings them into one form.

    Args:
        frames: name ("train", "synthetic", ...) -> pandas DataFrame with at least one row, and the columns of `kinds`
            in any order.
        kinds: column -> one of "continuous", "integer", "datetime", "categorical", "boolean"; or "id", "text",
            "constant", which are not looked at and may be absent. Its order is that of all results.
        target: the column that is predicted; numeric: regression.

    Returns:
        The tables by the names of their frames.

    Raises:
        InputError: one line that names the frame, the column and the first row that is wrong.
    """
    _check_kinds(kinds, target)
    numeric = tuple(name for name, kind in kinds.items() if kind in NUMERIC)
    discrete = tuple(name for name, kind in kinds.items() if kind in DISCRETE)
    for frame_name, frame in frames.items():
        _check_columns(frame_name, frame, kinds)
    numbers = {
        frame_name: np.empty((len(frame), len(numeric)), np.float64, order="F") for frame_name, frame in frames.items()
    }
    for place, name in enumerate(numeric):
        for frame_name, frame in frames.items():
            numbers[frame_name][:, place] = _numbers(f"{frame_name}: column {name!r}", frame[name], kinds[name])
    codes = {frame_name: np.empty((len(frame), len(discrete)), np.int32) for frame_name, frame in frames.items()}
    categories = []
    for place, name in enumerate(discrete):
        found = {frame_name: _values(frame[name], kinds[name]) for frame_name, frame in frames.items()}
        known = sorted(set().union(*(values for _, values in found.values())))
        index = {value: code for code, value in enumerate(known)}
        for frame_name, (local, values) in found.items():
            # The last entry is what -1, missing, points at.
            lookup = np.array([*(index[value] for value in values), -1], np.int32)
            codes[frame_name][:, place] = lookup[local]
        categories.append(tuple(known))
    dates = tuple(name for name in numeric if kinds[name] == "datetime")
    left_out = tuple(name for name, kind in kinds.items() if kind in LEFT_OUT)
    schema = Schema(numeric, discrete, tuple(categories), target, dates, left_out)
    return {frame_name: Table(schema, numbers[frame_name], codes[frame_name]) for frame_name in frames}


def independent_columns(rng: np.random.Generator, table: Table, n: int) -> Table:
    """The floor of every score: `n` rows whose columns, the target included, are drawn from `table` independently."""
    numbers, codes = (
        np.take_along_axis(part, rng.integers(0, len(table), (n, part.shape[1])), axis=0)
        for part in (table.numbers, table.codes)
    )
    return Table(table.schema, numbers, codes)


def _check_kinds(kinds: Mapping[str, str], target: str | None) -> None:
    for name, kind in kinds.items():
        if kind not in (*NUMERIC, *DISCRETE, *LEFT_OUT):
            allowed = ", ".join((*NUMERIC, *DISCRETE, *LEFT_OUT))
            raise InputError(f"column {name!r} has kind {kind!r}; known are {allowed}")
    if target is not None and target not in kinds:
        raise InputError(f"target {target!r} is not a column; the columns are {', '.join(map(str, kinds))}")
    if target is not None and kinds[target] in LEFT_OUT:
        raise InputError(f"target {target!r} has kind {kinds[target]!r}: it cannot be predicted")
    if not any(kind in (*NUMERIC, *DISCRETE) for kind in kinds.values()):
        raise InputError("no column can be compared: each is an id, text or constant")


def _check_columns(frame_name: str, frame: Any, kinds: Mapping[str, str]) -> None:
    import pandas as pd

    if not isinstance(frame, pd.DataFrame):
        raise InputError(f"{frame_name}: expected a pandas DataFrame, not {type(frame).__name__}")
    if not len(frame):
        raise InputError(f"{frame_name}: there are no rows")
    if not frame.columns.is_unique:
        raise InputError(f"{frame_name}: column {frame.columns[frame.columns.duplicated()][0]!r} occurs twice")
    absent = [name for name, kind in kinds.items() if name not in frame.columns and kind not in LEFT_OUT]
    if absent:
        there = ", ".join(map(str, frame.columns[:20]))
        raise InputError(f"{frame_name}: column {absent[0]!r} is missing; there are {there}")
    unknown = [name for name in frame.columns if name not in kinds]
    if unknown:
        raise InputError(f"{frame_name}: column {unknown[0]!r} is not among the columns of the real data")


def _numbers(where: str, column: Any, kind: str) -> np.ndarray:
    """Values (N,) f64, NaN where missing; dates as seconds since 1970 UTC."""
    import pandas as pd

    missing = column.isna().to_numpy()
    if kind == "datetime":
        try:
            dates = pd.to_datetime(column, errors="coerce", utc=True)
        except (TypeError, ValueError) as error:
            raise InputError(f"{where} should hold dates ({error})") from None
        wrong = dates.isna().to_numpy() & ~missing
        values = dates.dt.tz_localize(None).astype("datetime64[us]").to_numpy().astype(np.int64) / 1e6
        values[missing] = np.nan
    else:
        if isinstance(column.dtype, pd.CategoricalDtype):
            column = column.astype(object)
        values = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
        wrong = ~(np.abs(values) <= LARGEST) & ~missing
    if wrong.any():
        row = int(wrong.argmax())
        finite = f"numbers up to {LARGEST:g}" if np.isfinite(values[row]) else "finite numbers"
        expected = "dates" if kind == "datetime" else finite
        value = column.iloc[row]
        shown = repr(value) if isinstance(value, str) else value
        raise InputError(f"{where} should hold {expected}, row {row} has {shown}")
    return values


def _values(column: Any, kind: str) -> tuple[np.ndarray, list[str]]:
    """Codes (N,) of the column alone, -1 where missing, and the text of each code."""
    import pandas as pd

    codes, values = pd.factorize(column)
    return codes, [_text(value, kind) for value in values]


def _text(value: Any, kind: str) -> str:
    """One spelling per value: 1, 1.0 and numpy's are "1", as a column of integers with a gap is read as floats."""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        value = int(value)
    text = str(value)
    return _BOOLEANS.get(text.lower(), text) if kind == "boolean" else text
