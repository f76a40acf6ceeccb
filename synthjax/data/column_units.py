"""Conversion of the columns of a frame to the units of `scalers`, and of units to typed columns.

Text, dates, rounding and identifiers are processed here, in f64 on the host, so that `scalers` needs only f32 numbers.
"""

import functools
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from synthjax.data import endings, identifiers
from synthjax.data.arrays import shown
from synthjax.data.schema import DISCRETE, NUMERIC, RARE, Field, Schema, check_known
from synthjax.data.text_values import as_times, resolution, to_seconds
from synthjax.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

_APART = 2.0**-21
"""Minimum distance between the scaled values of two shared numbers: a few times the spacing of f32 near 1."""
_ROUNDING = 2.0**-22
"""Relative error of a scaled value after encoding and decoding in f32."""


def column(frame: "pd.DataFrame", field: Field) -> "pd.Series":
    """Gets the column of a field from a frame; InputError if there is none."""
    if field.name not in frame.columns:
        check_known(field.name, map(str, frame.columns), "the rows to encode", "column")
    return frame[field.name]


def scaled(values: "pd.Series", field: Field) -> np.ndarray:
    """Scales numbers or dates to [0, 1] by the bounds of the field.

    Args:
        values: (n,) numbers, dates or text.
        field: the column.

    Returns:
        (n,) f32; NaN for missing values.

    Raises:
        InputError: a value is infinite or not of the field's kind. The message names its row and column.
    """
    return _interp(endings.spread_of(_numbers(values, field), field), *_knots(field)).astype(np.float32)


def with_endings(field: Field, frame: "pd.DataFrame", least: int) -> Field:
    """Adds to a field the endings of its training rows; at least `least` rows have each of them."""
    return replace(field, endings=endings.of(field, _numbers(column(frame, field), field), least))


def typed(frame: "pd.DataFrame", field: Field) -> Any:
    """Gets the column of a field from a frame, with the type of `text_values.typed`, but f64 for integers.

    Raises:
        InputError: see `scaled`.
    """
    values = column(frame, field)
    if field.kind == "boolean":
        return _categories(field).take(pa.array(codes(values, field)[0])).to_pandas().array
    if field.kind in DISCRETE:
        return _texts(values).to_pandas().array
    numbers = _numbers(values, field)
    return as_times(numbers) if field.kind == "datetime" else numbers


def _categories(field: Field) -> pa.Array:
    """The text of each code: the categories, and a missing value at the end."""
    return pa.array([*field.categories, None], pa.string())


def _interp(x: np.ndarray, xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
    """`np.interp` that keeps NaN; NumPy does not if there is only one knot."""
    return np.where(np.isnan(x), np.nan, np.interp(x, xs, ys))


@functools.lru_cache(maxsize=512)
def _knots(field: Field) -> tuple[np.ndarray, np.ndarray]:
    """The knots of the piecewise linear scaling: numbers (m,) f64, increasing, and their scaled values.

    The knots are the bounds and the shared numbers, after `endings.spread_of`. Scaling is linear unless two scaled
    values would be closer than _APART. Then the scaled values are moved apart: the i-th one by i * _APART.
    """
    ends = endings.bounds(field) if field.endings else (field.low, field.high)
    numbers = np.unique(endings.spread_of(np.array([*ends, *field.shared]), field))
    exact = (numbers - numbers[0]) / ((numbers[-1] - numbers[0]) or 1.0)
    if np.diff(exact).min(initial=1.0) < _APART:
        exact = (exact + _APART * np.arange(len(numbers))) / (1 + _APART * (len(numbers) - 1))
    return numbers, exact.astype(np.float32).astype(np.float64)


def shared_scaled(field: Field) -> np.ndarray:
    """The scaled values of the field's shared numbers: (m,) f32, increasing."""
    return np.interp(endings.spread_of(np.array(field.shared), field), *_knots(field)).astype(np.float32)


def _numbers(values: "pd.Series", field: Field) -> np.ndarray:
    """The finite numbers of a column: (n,) f64, dates in seconds since 1970-01-01; NaN for missing values."""
    numbers = _read(values, field)
    if (odd := np.isinf(numbers)).any():
        raise _fault(values, field, odd, "not a finite number")
    return numbers


def _read(values: "pd.Series", field: Field) -> np.ndarray:
    """The numbers of a column of any type, see `_numbers`; they may be infinite."""
    import pandas as pd

    if isinstance(values.dtype, np.dtype) and values.dtype.kind in "biuf":  # most columns; faster than pandas' tests
        return values.to_numpy(np.float64)
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        times = values.to_numpy().astype("datetime64[us]")
        return np.where(np.isnat(times), np.nan, times.astype(np.int64) / 1e6)
    if pd.api.types.is_numeric_dtype(values.dtype):
        return values.to_numpy(np.float64, na_value=np.nan)
    absent = values.isna().to_numpy()
    if field.kind == "datetime":
        numbers = to_seconds(pa.array(values, pa.string(), from_pandas=True), field.format)
    else:
        numbers = pd.to_numeric(values, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    if (odd := np.isnan(numbers) & ~absent).any():
        raise _fault(values, field, odd, f"not of kind {field.kind}")
    return numbers


def codes(values: "pd.Series", field: Field) -> tuple[np.ndarray, np.ndarray]:
    """Converts categories to codes.

    A missing value has the code after the last category. A value that is not a category of the schema has the code of
    RARE if this is a category, or of a missing value if values are missing in training rows, or of the most frequent
    category.

    Returns:
        (n,) i64 codes; (n,) bool, False for values that are not in the schema.
    """
    text = _texts(values)
    names = list(field.categories)
    if field.kind == "boolean":  # pandas converts `true` to True
        text, names = pc.utf8_lower(text), [name.lower() for name in names]
    index = pc.index_in(text, value_set=pa.array(names, pa.string()))
    absent = np.asarray(text.is_null())
    known = np.asarray(index.is_valid()) & ~absent | (absent & (field.missing > 0))
    found = np.asarray(pc.fill_null(index, -1)).astype(np.int64)
    if field.missing:
        found[absent] = len(names)
    if not known.all():
        other = names.index(RARE) if RARE in names else len(names) if field.missing else int(np.argmax(field.counts))
        found[~known] = other
    return found, known


def _texts(values: "pd.Series") -> pa.Array:
    """Converts values of any type to text; null for missing values."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(values.dtype) and not pd.api.types.is_bool_dtype(values.dtype):
        return pa.array(values, from_pandas=True).cast(pa.string())
    if not pd.api.types.is_string_dtype(values.dtype):
        values = values.astype(object).map(str, na_action="ignore")
    return _single(pa.array(values, pa.string(), from_pandas=True))


def _single(array: Any) -> pa.Array:
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _fault(values: "pd.Series", field: Field, odd: np.ndarray, what: str) -> InputError:
    """The error about the first value where `odd` (n,) is True."""
    index = int(np.argmax(odd))
    row = values.index[index]
    number = row + 1 if isinstance(row, int | np.integer) else row
    return InputError(f"row {number}, column {shown(field.name)!r}: {shown(values.iloc[index])!r} is {what}")


def decoded(
    schema: Schema,
    names: tuple[str, ...],
    units: np.ndarray,
    seed: int,
    start: int,
    tolerances: Mapping[str, float] = MappingProxyType({}),
) -> "pd.DataFrame":
    """Converts units to a typed frame.

    Args:
        schema: of the table.
        names: names of the columns of `units`.
        units: (n, len(names)) f32.
        seed: of the identifiers.
        start: number of the first row, from 0.
        tolerances: column -> tolerance, see `values_of`; default: 0.

    Returns:
        Typed rows, with the columns in the order of the schema.
    """
    import pandas as pd

    unit_of = {name: i for i, name in enumerate(names)}
    index = pd.RangeIndex(start, start + len(units))
    columns: dict[str, Any] = {}
    for number, field in enumerate(schema.fields):
        if field.kind in NUMERIC:
            u = units[:, unit_of[field.name]].astype(np.float64)
            columns[field.name] = values_of(u, field, tolerances.get(field.name, 0.0))
        elif field.kind in DISCRETE:
            drawn = pa.array(units[:, unit_of[field.name]].astype(np.int64))
            columns[field.name] = _categories(field).take(drawn).to_pandas().array
        elif field.kind == "constant":
            value = field.categories[0] if field.categories else None
            columns[field.name] = pa.repeat(pa.scalar(value, pa.string()), len(units)).to_pandas().array
        elif field.kind == "id":
            columns[field.name] = identifiers.made(field, len(units), (seed, number), start)
    return pd.DataFrame(columns, index=index)


def values_of(u: np.ndarray, field: Field, tolerance: float = 0.0) -> np.ndarray:
    """Converts scaled values to numbers or times.

    A value within rounding of the scaled value of a shared number is converted to exactly this number. Other numbers
    have the same precision as the training rows.

    Args:
        u: (n,) f64 in [0, 1]; NaN for missing values.
        field: the column.
        tolerance: absolute error of `u`, in addition to that of f32.

    Returns:
        (n,) datetime64[us] for dates, i64 for integers without missing values, otherwise f64.
    """
    knots, at = _knots(field)
    numbers = _rounded(endings.gather_of(_interp(u, at, knots), field), field)
    if field.shared:
        known = shared_scaled(field).astype(np.float64)
        nearest = np.clip(np.searchsorted((known[1:] + known[:-1]) / 2, u), 0, len(known) - 1)
        same = np.abs(u - known[nearest]) <= np.maximum(_ROUNDING * known[nearest], tolerance)
        numbers = np.where(same, np.array(field.shared)[nearest], numbers)
    if field.kind == "datetime":
        return as_times(numbers)
    whole = field.kind == "integer" and not np.isnan(numbers).any()
    return numbers.astype(np.int64) if whole else numbers


def _rounded(numbers: np.ndarray, field: Field) -> np.ndarray:
    """Rounds numbers to the precision of the training rows and clips them to the bounds."""
    low, high = field.low, field.high
    if field.kind == "datetime":
        step = resolution(field)
        numbers = np.rint(numbers / step) * step
        low, high = np.ceil(low / step) * step, np.floor(high / step) * step
    elif field.kind == "continuous" and field.decimals is None:
        numbers = significant(numbers, field.figures) if field.figures else numbers
    elif (digits := field.decimals[1] if field.kind == "continuous" and field.decimals else 0) <= 15:
        numbers = np.round(numbers, digits)
        low = low if round(low, digits) == low else np.ceil(low * 10**digits) / 10**digits
        high = high if round(high, digits) == high else np.floor(high * 10**digits) / 10**digits
    return np.clip(numbers, low, max(low, high))


def significant(numbers: np.ndarray, figures: int) -> np.ndarray:
    """Rounds numbers to a number of significant digits; from 16 digits on, they are unchanged.

    >>> significant(np.array([0.012345, 98765.0]), 2).tolist()
    [0.012, 99000.0]
    >>> significant(np.array([0.1 + 0.2]), 17).tolist()
    [0.30000000000000004]
    """
    if figures > 15:
        return numbers
    with np.errstate(divide="ignore"):
        size = np.log10(np.abs(numbers))
    power = figures - 1 - np.floor(np.where(np.isfinite(size), size, 0))
    up, down = 10.0 ** np.maximum(power, 0), 10.0 ** np.maximum(-power, 0)  # exact; 10**power < 1 is not
    return np.round(numbers * up / down) / up * down
