"""Conversion of cells from text to typed values and back.

    text (pyarrow table of strings)  --typed-->  pandas DataFrame  --written-->  text in the format of the file

The type of a column depends on the kind of its field: f64 for continuous; i64 for integer, or f64 if values are
missing; datetime64[us] for datetime; strings for all other kinds. Missing values are NaN, NaT or None. In messages, row
1 is the first row after the header.

    >>> date_formats("24.12.2025 18:30")
    ['%d.%m.%Y %H:%M']
    >>> to_seconds(pa.array(["02.01.1970", "30.02.1970"]), "%d.%m.%Y").tolist()
    [86400.0, nan]
"""

import functools
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from synthjax.data.arrays import fault, shown
from synthjax.data.number_forms import Form
from synthjax.data.schema import NUMERIC, POWER, Field, Schema, entry
from synthjax.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

NUMBER = r"^-?((0|[1-9]\d{0,14})(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?$"
"""Pattern of numbers. Excluded are leading zeros (of codes), plus signs, and more than 15 digits before the point."""
INFINITE = r"(?i)^[+-]?(inf|infinity)$"
_DATES = ("%Y-%m-%d", "%Y/%m/%d", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y", "%d-%b-%Y")
_WORDS = ("%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y")
_TIMES = (" %H:%M:%S", "T%H:%M:%S", " %H:%M", "T%H:%M", " %H:%M:%S.%f", "T%H:%M:%S.%f")
_HALVES = (" %I:%M %p", " %I:%M:%S %p")
COMPACT = ("%Y%m%d", "%d%m%Y", "%m%d%Y", "%Y%m", "%Y%m%d%H%M", "%Y%m%d%H%M%S")
"""Formats of dates that contain only digits; numbers and codes may match them too."""
_SHORT = ("%d/%m/%y", "%m/%d/%y", "%d.%m.%y", "%d-%m-%y", "%m-%d-%y", "%d-%b-%y")
WEAK = (
    *(date + time for date in _SHORT for time in ("", " %H:%M", " %H:%M:%S", *_HALVES)),
    *("%Y-%m", "%Y/%m", "%m/%Y", "%m.%Y", "%H:%M", "%H:%M:%S", "%H:%M:%S.%f", "%I:%M %p", "%I:%M:%S %p"),
    *COMPACT,
)
"""Formats of dates, months and times of day; columns with few distinct ones are categorical."""
FORMATS = (
    *(date + time for date in (*_DATES, *_WORDS) for time in ("", *_TIMES, *_HALVES)),
    *WEAK,
)
"""Formats of dates that are detected, in the order in which they are tried."""
_CODES = {"Y": r"\d{4}", "f": r"\d{1,6}", "b": "[A-Za-z]{3}", "B": "[A-Za-z]{3,9}", "p": "[AaPp][Mm]"}
_CODES |= dict.fromkeys("yMS", r"\d{2}")
_MONTH = re.compile(r"(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)", re.I)
_EXACT = 9  # maximum number of decimals that are written from the rounded decimal number
_INJECTION = r"^([\t\r]|=.*[0-9A-Za-z]|[+\-@].*[(|!])"
"""Cells that spreadsheets would evaluate as formulas; +, -5%, ++ and @a are not."""


class Chunk(NamedTuple):
    """Some rows of a table."""

    cells: pa.Table
    """Strings only; no nulls."""
    rows: np.ndarray
    """(n,) i64 row numbers, from 0."""
    persons: np.ndarray | None = None
    """(n,) i64 whose row each is; None: each is its own."""

    def take(self, chosen: np.ndarray) -> "Chunk":
        """Selects the rows where `chosen` (n,) bool is True."""
        persons = None if self.persons is None else self.persons[chosen]
        return Chunk(self.cells.filter(pa.array(chosen)), self.rows[chosen], persons)

    def of(self, persons: np.ndarray | None) -> "Chunk":
        """The rows with their persons: (N,) i64 of all row numbers; None: each row is its own."""
        return self if persons is None else self._replace(persons=persons[self.rows])


# --- text to values ----------------------------------------------------------------------------------------------


def to_numbers(cells: pa.Array) -> np.ndarray:
    """Converts cells, which must all match NUMBER, to f64; chunked arrays are accepted."""
    return np.asarray(cells.cast(pa.float64()))


def plain_numbers(cells: pa.Array, form: str) -> pa.Array:
    """Converts numbers in the format `form` of a field to the format of Python; null for other cells."""
    known = Form.of(form)
    plain = known.plain(cells) if known else cells
    good = pc.match_substring_regex(plain, NUMBER)
    return pc.if_else(good, plain, pa.scalar(None, pa.string()))


def to_seconds(cells: pa.Array, form: str) -> np.ndarray:
    """Parses dates.

    Args:
        cells: (n,) strings; null for missing values.
        form: the format.

    Returns:
        (n,) f64 seconds since 1970-01-01; NaN for cells of another format and for dates that do not exist.
    """
    import pandas as pd

    if "%f" not in form:  # in Parquet files, all times have fractions, and all dates have times
        cells = pc.replace_substring_regex(cells, r"\.0+$" if "H" in form else r" 00:00:00(\.0+)?$", "")
    text = cells.to_pandas()
    zoned = "%z" in form
    times = pd.to_datetime(text, format=plain_format(form), errors="coerce", utc=zoned)
    times = (times.dt.tz_localize(None) if zoned else times).astype("datetime64[us]")
    numbers = times.to_numpy().astype(np.int64) / 1e6
    return np.where(times.isna(), np.nan, numbers)


def plain_format(form: str) -> str:
    """The format for `strptime`, which reads numbers with and without padding: %d for %-d."""
    return form.replace("%-", "%")


def date_formats(cell: str) -> list[str]:
    """The formats in FORMATS whose `shape` matches a cell.

    If the cell ends with an offset from UTC, each format is returned twice: with this offset, such as +02:00, and with
    %z, for columns in which offsets differ.
    """
    if not cell[:1].isdecimal() and not _MONTH.match(cell):  # all dates start so; faster for columns of text
        return []
    offset = re.search(r"(?<=:\d\d)(\.\d+)?([+-]\d\d:?\d\d|Z)$", cell)
    end = offset[2] if offset else ""
    forms = [form for form in FORMATS if re.fullmatch(shape(form), cell.removesuffix(end))]
    return [form + end for form in forms] + ([form + "%z" for form in forms] if end else [])


def offset(form: str) -> float:
    """The offset from UTC at the end of a format, in seconds; 0 if there is none."""
    found = re.search(r"([+-])(\d\d):?(\d\d)$", form)
    return float(f"{found[1]}{int(found[2]) * 3600 + int(found[3]) * 60}") if found else 0.0


@functools.cache
def shape(form: str) -> str:
    """A regular expression that matches dates of a format, with and without padding."""
    pieces = re.split(r"%-?(\w)", form)
    other = r"\d{2}" if form in COMPACT else r"\d{1,2}"
    return "".join(_CODES.get(piece, other) if i % 2 else re.escape(piece) for i, piece in enumerate(pieces))


def resolution(field: Field) -> float:
    """The resolution of a field's format in seconds, such as 60 if it has no seconds."""
    for code, seconds in (("f", 10.0 ** -field.decimals[1] if field.decimals else 1e-6), ("S", 1.0), ("M", 60.0)):
        if re.search(f"%-?{code}", field.format):
            return seconds
    return 86400.0


def missing_in(cells: pa.Array, tokens: tuple[str, ...]) -> np.ndarray:
    """Whether each cell is one of the tokens for missing values: (n,) bool."""
    return np.asarray(pc.is_in(cells, options=_among(tokens)))


@functools.lru_cache(maxsize=16)
def _among(tokens: tuple[str, ...]) -> pc.SetLookupOptions:
    """Options for `pc.is_in`; cached, since making them is slow."""
    return pc.SetLookupOptions(pa.array(tokens, pa.string()))


def typed(chunk: Chunk, schema: Schema, tokens: tuple[str, ...], where: object) -> "pd.DataFrame":
    """Converts text to a typed frame.

    Args:
        chunk: rows with all columns of the schema.
        schema: of the columns.
        tokens: tokens for missing values, in addition to those of the fields.
        where: name of the file, for messages.

    Returns:
        The typed rows; the index of the frame has their row numbers, from 0.

    Raises:
        InputError: a cell does not fit the kind of its column. The message names file, row and column.
    """
    import pandas as pd

    columns: dict[str, Any] = {}
    for field in schema.fields:
        cells = chunk.cells.column(field.name).combine_chunks()
        absent = missing_in(cells, (*tokens, *field.tokens))
        if field.kind in NUMERIC:
            columns[field.name] = _numeric(cells, absent, field, chunk.rows, where)
        else:
            text = pc.if_else(pa.array(absent), pa.scalar(None, pa.string()), cells) if absent.any() else cells
            columns[field.name] = text.to_pandas().array
    return pd.DataFrame(columns, index=chunk.rows)


def _numeric(cells: pa.Array, absent: np.ndarray, field: Field, rows: np.ndarray, where: object) -> np.ndarray:
    """Converts a column of numbers or dates: i64, f64 or datetime64[us]."""
    present = cells.filter(pa.array(~absent)) if absent.any() else cells
    if field.kind == "datetime":
        values = to_seconds(present, field.format)
        good = ~np.isnan(values)
    else:
        values = to_numbers(plain_numbers(present, field.format))
        good = np.isfinite(values)
    if not good.all():
        place = int(np.argmin(good))
        what = "a finite number" + (f" like {field.format}" if field.format else "")
        what = f"a date like {field.format}" if field.kind == "datetime" else what
        found = int(rows[~absent][place]), present[place].as_py()
        remedy = f"correct it, or put {entry(field.name, missing=[*field.tokens, found[1][:64]])} into a schema file"
        raise cell_fault(where, found, field.name, f"not {what}: {remedy} if that says that a value is missing")
    full = np.full(len(cells), np.nan)
    full[~absent] = values
    if field.kind == "datetime":
        return as_times(full)
    whole = field.kind == "integer" and not absent.any() and np.array_equal(full, np.rint(full))
    return full.astype(np.int64) if whole else full


def as_times(seconds: np.ndarray) -> np.ndarray:
    """Converts seconds since 1970-01-01, f64, to datetime64[us]; NaN to NaT."""
    absent = np.isnan(seconds)
    times = np.rint(np.where(absent, 0, seconds) * 1e6).astype(np.int64).astype("datetime64[us]")
    times[absent] = np.datetime64("NaT", "us")
    return times


def cell_fault(where: object, found: tuple[int, str], column: str, what: str) -> InputError:
    """Makes the error about a cell.

    Args:
        where: name of the file.
        found: row number, from 0, and cell. The message counts rows from 1.
        column: name of the column.
        what: the end of the message.
    """
    row, cell = found
    return fault(where, f"row {row + 1}, column {shown(column)!r}: {shown(cell)!r} is {what}")


# --- values to text ----------------------------------------------------------------------------------------------


def written(frame: "pd.DataFrame", schema: Schema, safe: bool = False) -> pa.Table:
    """Converts a typed frame to text in the formats of the schema.

    Args:
        frame: some or all columns of the schema.
        schema: of the columns.
        safe: whether to put a `'` before text that spreadsheets would evaluate as a formula: text that starts with a
            tab, text that starts with = and has letters or digits, and text that starts with + - @ and contains a call.
            Numbers are unchanged.

    Returns:
        Strings, without nulls; missing values are the token of the field.
    """
    columns = []
    for name in frame.columns:
        field = schema[str(name)]
        if field.kind in NUMERIC or (field.kind == "id" and frame[name].dtype.kind in "if"):  # generated numbers
            text = number_text(frame[name].to_numpy(), field)
        else:
            text = pa.array(frame[name], pa.string(), from_pandas=True)
            text = guarded(text) if safe else text
        columns.append(pc.fill_null(text, field.token))
    return pa.table(columns, names=[guard_name(name) if safe else str(name) for name in frame.columns])


def number_text(values: np.ndarray, field: Field) -> pa.Array:
    """Writes numbers or times in the format of the field; null for missing values."""
    if field.kind == "datetime":
        return _time_text(values.astype("datetime64[us]"), field)
    text = _plain_text(np.asarray(values, np.float64), field)
    form = Form.of(field.format)
    return form.spelt(text) if form else text


def _plain_text(values: np.ndarray, field: Field) -> pa.Array:
    """Writes numbers in the format of Python, with the decimals of the field."""
    absent = np.isnan(values)
    if re.fullmatch(POWER, field.format):
        return pa.array(
            [None if gone else format(value, field.format) for value, gone in zip(values, absent, strict=True)]
        )
    if field.decimals is None:
        return pa.array(values, pa.float64(), mask=absent).cast(pa.string())
    least, most = field.decimals
    if most == 0:
        return pa.array(np.rint(np.where(absent, 0, values)).astype(np.int64), pa.int64(), mask=absent).cast(
            pa.string()
        )
    if most > _EXACT:
        return _shortest(values, absent, least, most)
    fixed = pa.array(values, pa.float64(), mask=absent).cast(pa.decimal128(38, most), safe=False).cast(pa.string())
    fixed = _positional(fixed, values, most)
    if least == most:
        return fixed
    short = pc.replace_substring_regex(fixed, rf"(\.\d{{{least}}}\d*?)0+$", r"\1")
    return pc.replace_substring_regex(short, r"\.$", "")


def _shortest(values: np.ndarray, absent: np.ndarray, least: int, most: int) -> pa.Array:
    """Writes numbers with too many decimals for rounding: with the fewest digits that identify the f64 number."""
    text = pa.array(values, pa.float64(), mask=absent).cast(pa.string())
    text = _positional(text, values, most)
    return pc.replace_substring_regex(text, r"^(-?\d+)$", r"\1.0") if least else text


def _positional(text: pa.Array, values: np.ndarray, most: int) -> pa.Array:
    """Rewrites numbers for which Arrow uses exponents, those near 0 and very large ones, without exponents."""
    if not pc.any(pc.match_substring_regex(text, "[eE]")).as_py():
        return text
    cells = text.to_pylist()
    return pa.array(
        [
            f"{value:.{most}f}" if cell and "E" in cell.upper() else cell
            for cell, value in zip(cells, values, strict=True)
        ]
    )


def _time_text(times: np.ndarray, field: Field) -> pa.Array:
    """Writes times in `field.format`. It is divided into pieces, since Arrow supports neither `%-d` nor `%f`."""
    digits = field.decimals[1] if field.decimals else 6
    micro = pa.array(times, pa.timestamp("us"))
    whole = micro.cast(pa.timestamp("s"), safe=False)
    pieces = []
    for piece in filter(None, re.split(r"(%-\w|%f|%z)", field.format)):
        if piece == "%z":
            pieces.append(pa.scalar("+00:00"))
        elif piece == "%f":
            fraction = pc.strftime(micro, format="%S")
            pieces.append(pc.utf8_slice_codeunits(fraction, 3, 3 + digits))
        else:
            text = pc.strftime(whole, format=plain_format(piece))
            pieces.append(pc.replace_substring_regex(text, "^0", "") if piece.startswith("%-") else text)
    return pc.binary_join_element_wise(*pieces, "")


def guarded(text: pa.Array) -> pa.Array:
    """Puts a `'` before text that spreadsheets would evaluate as a formula; see `written`."""
    risky = pc.and_(pc.match_substring_regex(text, _INJECTION), pc.invert(pc.match_substring_regex(text, NUMBER)))
    return pc.if_else(risky, pc.binary_join_element_wise(pa.scalar("'"), text, ""), text)


def guard_name(name: object) -> str:
    """The name of a column in the header, with a `'` if spreadsheets would evaluate it as a formula.

    >>> guard_name("=A1+B1"), guard_name("-5%")
    ("'=A1+B1", '-5%')
    """
    return f"'{name}" if re.match(_INJECTION, str(name)) else str(name)


def class_order(name: str) -> tuple[bool, float, str]:
    """Sort key for class names: numbers by value, before other names."""
    number = bool(re.fullmatch(NUMBER, name))
    return (not number, float(name) if number else 0.0, name)
