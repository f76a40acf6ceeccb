"""Conversion of Arrow columns, of Parquet files and DataFrames, to text and back. All tables are read as text."""

import re
from dataclasses import replace
from datetime import time
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from synthjax.data.arrays import fault, shown
from synthjax.data.schema import DISCRETE, RARE, Field

if TYPE_CHECKING:
    import pandas as pd


def readable(kind: pa.DataType) -> bool:
    """Whether an Arrow type can be read: numbers, text, booleans, times and null."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or str(kind) == "string_view"
    plain = pa.types.is_null(kind) or pa.types.is_boolean(kind) or pa.types.is_decimal(kind)
    numbers = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    return text or plain or numbers or (pa.types.is_temporal(kind) and not pa.types.is_interval(kind))


def as_text(table: pa.Table, where: object = "table", passed_over: bool = False) -> pa.Table:
    """Converts typed Arrow columns to strings. Missing values become empty strings.

    Args:
        table: the columns.
        where: name of the file, for messages.
        passed_over: if True, each cell of a column that is not `readable` is the name of its type. If False, such a
            column is an error.

    Raises:
        InputError: a column is not `readable`.
    """
    columns = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if not readable(kind) and not passed_over:
            raise fault(where, unreadable(name, str(kind)))
        if not readable(kind):
            text = pa.repeat(pa.scalar(str(kind)), len(column))
        elif pa.types.is_date(kind):
            text = pc.strftime(column, format="%Y-%m-%d")
        elif pa.types.is_timestamp(kind):  # nanoseconds are truncated
            text = pc.strftime(column.cast(pa.timestamp("us"), safe=False), format="%Y-%m-%d %H:%M:%S")
        elif pa.types.is_time64(kind):
            text = column.cast(pa.time64("us"), safe=False).cast(pa.string())
        else:
            text = column.cast(pa.string())
        columns.append(pc.fill_null(text, ""))
    return pa.table(columns, names=table.column_names)


def unreadable(name: str, kind: str) -> str:
    """The message about a column that is not `readable`."""
    return f"column {shown(name)} holds {kind}: numbers, text, truth values and times are read"


def from_frame(frame: "pd.DataFrame", where: object = "table") -> pa.Table:
    """Converts a DataFrame to text; InputError, which names `where`, if a column has mixed or unreadable types."""
    frame = frame.rename(columns=str)
    try:
        table = pa.Table.from_pandas(frame, preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise fault(where, f"mixed types in a column: {' '.join(str(error).split())}") from error
    return as_text(table, where)


def storage_type(field: Field) -> pa.DataType:
    """The Arrow type of a field's values in a Parquet file."""
    if field.kind in DISCRETE and RARE in field.categories:
        return pa.string()
    name = field.storage
    if name.startswith("dictionary<values=") and not name.startswith(
        ("dictionary<values=string", "dictionary<values=large_string")
    ):
        return storage_type(replace(field, storage=name.removeprefix("dictionary<values=").rpartition(", indices=")[0]))
    if zoned := re.fullmatch(r"timestamp\[(\w+), tz=(.+)\]", name):
        return pa.timestamp(zoned[1], zoned[2])
    if decimal := re.fullmatch(r"decimal(32|64|128|256)\((\d+), (-?\d+)\)", name):
        return getattr(pa, f"decimal{decimal[1]}")(int(decimal[2]), int(decimal[3]))
    if coded := re.fullmatch(r"dictionary<values=(string|large_string), indices=(\w+), ordered=([01])>", name):
        values, indices = map(pa.type_for_alias, (coded[1], coded[2]))
        return pa.dictionary(indices, values, coded[3] == "1")
    try:
        return pa.type_for_alias(name)
    except ValueError:
        return pa.string()


def stored(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """Converts a typed column to an Arrow type of a Parquet file.

    Floating-point numbers are rounded if the type has fewer digits.

    Raises:
        ArrowException, ValueError: the values cannot be converted, such as integers outside the range of the type.
    """
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if column.type == kind:
        return column
    if pa.types.is_null(kind):
        return pa.nulls(len(column))
    if pa.types.is_decimal(kind) and pa.types.is_integer(column.type):  # Arrow requires digits for the whole range
        return column.cast(pa.decimal256(76, 0)).cast(kind)
    if pa.types.is_time(kind) and pa.types.is_timestamp(column.type):
        return column.cast(pa.time64("us")).cast(kind)
    if pa.types.is_time(kind):  # Arrow has no cast from text
        return pa.array([text and time.fromisoformat(text) for text in column.to_pylist()], kind)
    if pa.types.is_dictionary(kind):
        return column.cast(kind.value_type).dictionary_encode().cast(kind)
    return column.cast(kind, safe=pa.types.is_integer(kind))
