"""Columns of a frame as units of `scalers`, and units as the typed columns of a frame.

Text, dates, rounding and identifiers are handled here, in f64 and on the host, so that what `scalers` sees are plain
f32 numbers.
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
"""Least distance between the scaled values of two shared numbers: some steps of f32 near 1."""
_ROUNDING = 2.0**-22
"""Relative error of a scaled value that f32 arithmetic between encoding and decoding leaves."""


def column(frame: "pd.DataFrame", field: Field) -> "pd.Series":
    """The frame's column for a field; InputError if it has none."""
    if field.name not in frame.columns:
        check_known(field.name, map(str, frame.columns), "the rows to encode", "column")
    return frame[field.name]


def scaled(values: "pd.Series", field: Field) -> np.ndarray:
    """(n,) f32: numbers and dates scaled to [0, 1] by the field's bounds; NaN where missing.

    Raises:
        InputError: an infinity, or a value that is not of the field's kind; row and column are named.
    """
    return _interp(endings.spread_of(_numbers(values, field), field), *_knots(field)).astype(np.float32)


def with_endings(field: Field, frame: "pd.DataFrame", least: int) -> Field:
    """The field with the endings that training rows show, each of at least so many."""
    return replace(field, endings=endings.of(field, _numbers(column(frame, field), field), least))


def typed(frame: "pd.DataFrame", field: Field) -> Any:
    """The frame's column for a field, as `text_values.typed` has it; whole numbers are f64 here.

    Raises:
        InputError: as `scaled`.
    """
    values = column(frame, field)
    if field.kind == "boolean":
        return _categories(field).take(pa.array(codes(values, field)[0])).to_pandas().array
    if field.kind in DISCRETE:
        return _texts(values).to_pandas().array
    numbers = _numbers(values, field)
    return as_times(numbers) if field.kind == "datetime" else numbers


def _categories(field: Field) -> pa.Array:
    """The text of each code: the categories, then a missing value."""
    return pa.array([*field.categories, None], pa.string())


def _interp(x: np.ndarray, xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(x), np.nan, np.interp(x, xs, ys))  # of one knot NumPy makes a constant, NaN included


@functools.lru_cache(maxsize=512)
def _knots(field: Field) -> tuple[np.ndarray, np.ndarray]:
    """Numbers (m,) f64, increasing, and their scaled values, linear in between.

    The numbers are the bounds and the shared ones, spread by their endings. Scaling is linear over all numbers, unless
    some would be so close that f32 cannot tell them apart: then each is moved up by _APART more than the one before.
    """
    ends = endings.bounds(field) if field.endings else (field.low, field.high)
    numbers = np.unique(endings.spread_of(np.array([*ends, *field.shared]), field))
    exact = (numbers - numbers[0]) / ((numbers[-1] - numbers[0]) or 1.0)
    if np.diff(exact).min(initial=1.0) < _APART:
        exact = (exact + _APART * np.arange(len(numbers))) / (1 + _APART * (len(numbers) - 1))
    return numbers, exact.astype(np.float32).astype(np.float64)


def shared_scaled(field: Field) -> np.ndarray:
    """(m,) f32: scaled values of the field's shared numbers, increasing."""
    return np.interp(endings.spread_of(np.array(field.shared), field), *_knots(field)).astype(np.float32)


def _numbers(values: "pd.Series", field: Field) -> np.ndarray:
    """(n,) f64 finite numbers, of dates in seconds since 1970-01-01; NaN where missing."""
    numbers = _read(values, field)
    if (odd := np.isinf(numbers)).any():
        raise _fault(values, field, odd, "not a finite number")
    return numbers


def _read(values: "pd.Series", field: Field) -> np.ndarray:
    import pandas as pd

    if isinstance(values.dtype, np.dtype) and values.dtype.kind in "biuf":  # most columns: without pandas' tests
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
    """Codes of categories and whether training knew each.

    A missing value has the code after the last category. What training never saw, or too rarely, is RARE where that is
    a category, else missing where training rows lack values, else the most frequent category.

    Returns:
        (n,) i64, (n,) bool.
    """
    text = _texts(values)
    names = list(field.categories)
    if field.kind == "boolean":  # pandas turns `true` into True
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
    """Values of any type as text; null where missing."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(values.dtype) and not pd.api.types.is_bool_dtype(values.dtype):
        return pa.array(values, from_pandas=True).cast(pa.string())
    if not pd.api.types.is_string_dtype(values.dtype):
        values = values.astype(object).map(str, na_action="ignore")
    return _single(pa.array(values, pa.string(), from_pandas=True))


def _single(array: Any) -> pa.Array:
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _fault(values: "pd.Series", field: Field, odd: np.ndarray, what: str) -> InputError:
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
    """A typed frame from units.

    Args:
        schema: of the table.
        names: of the columns of `units`.
        units: (n, len(names)) f32.
        seed: of identifiers.
        start: number of the first row, from 0.
        tolerances: column -> see `values_of`.
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
    """Numbers or times of scaled values.

    Args:
        u: (n,) f64 in [0, 1], NaN where missing.
        field: the column. A scaled value within rounding of that of a shared number is this number, exactly; others are
            rounded as training rows are.
        tolerance: absolute error of `u`, beside that of f32.
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
    """Numbers as precise as those of training rows, within the bounds."""
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
    """Numbers rounded to so many significant digits; from 16 on as they are."""
    if figures > 15:
        return numbers
    with np.errstate(divide="ignore"):
        size = np.log10(np.abs(numbers))
    power = figures - 1 - np.floor(np.where(np.isfinite(size), size, 0))
    up, down = 10.0 ** np.maximum(power, 0), 10.0 ** np.maximum(-power, 0)  # exact, where 10**power < 1 is not
    return np.round(numbers * up / down) / up * down
