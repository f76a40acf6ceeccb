"""Readers and writers of CSV and Parquet files, one chunk of rows in memory at a time.

    reader = open_table("customers.csv")           # .csv, .tsv, .data (also .gz, .bz2, .zst) or .parquet
    for chunk in reader.chunks(): ...              # Chunk(cells, rows): text, about 8 MiB of the file each
    with writing("synthetic.csv", schema) as write:
        write(encoder.decode(x))                   # any number of times

A CSV file is UTF-8 text, or UTF-16 with a byte order mark. Its first line contains the names of the columns; see
`csv_layout` for what may come before. The delimiter is the character of `, ; tab |` that occurs most often in this
line. Quotes and line breaks in cells follow RFC 4180. Spaces around cells and names are removed. Empty lines are
skipped, but in a file with a single column they are missing values. Rows are counted from 1, below the header.
"""

import contextlib
import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from synthjax import files
from synthjax.data import csv_layout
from synthjax.data.arrays import check_file, fault, shown
from synthjax.data.arrow_types import as_text, from_frame, storage_type, stored
from synthjax.data.csv_layout import BLOCK, Layout
from synthjax.data.schema import MISSING, NUMERIC, Field, Schema
from synthjax.data.text_values import NUMBER, Chunk, number_text, written
from synthjax.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

COLUMN_BLOCK = 8 << 10
"""Bytes of a chunk per column, if this is more than `BLOCK` in total: the overhead of a chunk is per column."""
KNOWN_DELIMITERS = ", ; tab |"
"""Delimiters of CSV files, for messages."""
_NO_HEADER = "is the header a row? The first line must name the columns; add one that does"


class Reader(NamedTuple):
    """A table that can be read any number of times."""

    where: str
    """Name of the file, for messages."""
    names: tuple[str, ...]
    """Names of the columns, in order."""
    chunks: Callable[..., Iterator[Chunk]]
    """(columns=None) -> the chunks, in order. `columns`: names of the columns to read, None for all."""
    storage: dict[str, str] = {}  # noqa: RUF012  (a NamedTuple's default, never written to)
    """Arrow type of each column in the file; empty for CSV files."""
    tokens: tuple[str, ...] = MISSING
    """Cells that mean that a value is missing."""
    notes: tuple[str, ...] = ()
    """Lines for the user about parts of the file that are not read."""


def open_table(
    path: str | Path,
    *,
    names: tuple[str, ...] | None = None,
    skip: int = 0,
    tokens: tuple[str, ...] = MISSING,
    clean: Callable[[pa.Array], pa.Array] | None = None,
    block: int | None = None,
) -> Reader:
    """Opens a CSV or Parquet file. Its header is read immediately, its rows by `Reader.chunks`.

    Args:
        path: of the file.
        names: names of the columns, for a CSV file without a header.
        skip: number of lines before the header, or before the first row if there is no header.
        tokens: cells that mean that a value is missing.
        clean: is applied to every column of cells (strings) of a CSV file.
        block: bytes of the file per chunk. Default: the larger of `BLOCK` and `COLUMN_BLOCK` times the columns.

    Raises:
        InputError: the file cannot be read or is empty, or a column has no name or the name of another. `chunks` raises
            it for rows with too few or too many cells and for text that is not UTF-8; it gives the row and the column.
    """
    path = Path(path)
    check_file(path)
    if path.suffix.lower() == ".parquet":
        return _parquet(path, tokens, block)
    layout = csv_layout.find(path, skip, names)
    _check_names(layout.kept, path)
    if names is None:
        _check_header(layout.kept, path)
    size = block or _block(layout.names)

    def chunks(columns: list[str] | None = None) -> Iterator[Chunk]:
        for chunk in _csv_chunks(path, layout, columns, clean, size):
            if names is None and columns is None and chunk.rows[0] == 0:
                _check_first(chunk.cells, path)
            yield chunk

    return Reader(str(path), layout.kept, chunks, tokens=tokens, notes=layout.notes)


def _block(names: tuple[str, ...]) -> int:
    """Default bytes per chunk of a table with these columns."""
    return max(BLOCK, COLUMN_BLOCK * len(names))


def frame_reader(frame: "pd.DataFrame", where: str) -> Reader:
    """A reader of a DataFrame's rows."""
    cells = from_frame(frame, where)
    _check_names(tuple(cells.column_names), where)

    def chunks(columns: list[str] | None = None) -> Iterator[Chunk]:
        yield Chunk(cells.select(columns or cells.column_names), np.arange(len(cells)))

    return Reader(where, tuple(cells.column_names), chunks)


def _check_names(names: tuple[str, ...], where: object) -> None:
    """Raises InputError if a column has no name, or the name of another."""
    seen: dict[str, int] = {}
    for i, name in enumerate(names, 1):
        if not name.strip():
            raise fault(where, f"column {i} of {len(names)} has no name in the header: give it one")
        if name in seen:
            raise fault(where, f"duplicate column name {shown(name)!r}: columns {seen[name]} and {i}")
        seen[name] = i


def _check_header(header: tuple[str, ...], path: Path) -> None:
    """Raises InputError if names are numbers, as in a row of values. Years and ascending integers may be names."""
    numbers = [name for name in header if re.match(NUMBER, name)]
    whole = all(name.isdigit() for name in numbers)
    ascending = whole and all(int(one) < int(other) for one, other in itertools.pairwise(numbers))
    if ascending or (whole and all(1900 <= int(name) <= 2100 for name in numbers)):
        return
    raise fault(path, f"the header names a column {shown(numbers[0])!r}: {_NO_HEADER}")


def _check_first(cells: pa.Table, path: Path) -> None:
    """Raises InputError if each column contains its own name, which suggests that the header is a row.

    Names that are numbers are ignored: a column such as 2016 may well contain its name.
    """
    words = [name for name in cells.column_names if not re.match(NUMBER, name)]
    if words and all(pc.any(pc.equal(cells[name], name)).as_py() for name in words):
        raise fault(path, f"each column holds its name, {shown(words[0])!r} the first: {_NO_HEADER}")


# --- CSV ---------------------------------------------------------------------------------------------------------


def _csv_chunks(
    path: Path,
    layout: Layout,
    columns: list[str] | None,
    clean: Callable[[pa.Array], pa.Array] | None,
    block: int,
) -> Iterator[Chunk]:
    """The chunks of a CSV file."""
    start = 0
    header, above = layout.names, layout.above
    try:
        stream = csv_layout.stream(path)
        reader = pyarrow.csv.open_csv(
            stream,
            read_options=pyarrow.csv.ReadOptions(
                use_threads=False, column_names=header, skip_rows=above, block_size=block
            ),
            parse_options=pyarrow.csv.ParseOptions(
                delimiter=layout.delimiter, newlines_in_values=True, ignore_empty_lines=len(header) > 1
            ),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(header, pa.string()),
                strings_can_be_null=False,
                include_columns=columns or [*layout.kept, *layout.empty],
            ),
        )
        with stream, reader:
            for batch in reader:
                cells = pa.table([_stripped(column) for column in batch.columns], names=batch.schema.names)
                if clean:
                    cells = pa.table([clean(column) for column in cells.columns], names=cells.column_names)
                if layout.empty and columns is None:
                    _check_empty(cells.select(layout.empty), start, path)
                    cells = cells.select(layout.kept)
                if len(cells):
                    last = cells.column_names[-1], cells.column(-1)[-1].as_py()
                    yield Chunk(cells, np.arange(start, start + len(cells)))
                start += len(cells)
        if start and last[0] == header[-1] and "\n" in last[1] and not _ends_quoted(path):
            what = (
                f"row {start}, column {shown(last[0])!r}: a quote is left open, so that the rest of the file is in it"
            )
            raise fault(path, what)
    except (OSError, pa.ArrowException) as error:
        raise _csv_fault(error, path, header, above, block) from error
    if not start:
        raise fault(path, "has a header and no rows" if above else "an empty file")


def _check_empty(cells: pa.Table, start: int, path: Path) -> None:
    """Raises InputError if a column without a name has a cell that is not empty."""
    for column in cells.columns:
        if pc.any(full := pc.not_equal(column, "")).as_py():
            row = int(np.argmax(np.asarray(full)))
            what = f"{shown(column[row].as_py())!r} is in a column without a name: name the column in the header"
            raise fault(path, f"row {start + row + 1}: {what}")


def _ends_quoted(path: Path) -> bool:
    """Whether the last row of a file ends with a quote."""
    end = b""
    with csv_layout.stream(path) as file:
        while part := file.read(BLOCK):
            end = (end + part).rstrip()[-1:] or end
    return end == b'"'


def _stripped(cells: pa.Array) -> pa.Array:
    """Removes spaces around cells, and quotes around a cell that followed a space, which Arrow keeps."""
    blank = pc.or_(pc.starts_with(cells, " "), pc.ends_with(cells, " "))
    if not pc.any(blank).as_py():
        return cells
    bare = pc.replace_substring_regex(pc.utf8_trim(cells, " "), '^"([^"]*)"$', r"\1")
    return pc.if_else(blank, bare, cells)


def _csv_fault(error: Exception, path: Path, header: tuple[str, ...], above: int, block: int) -> InputError:
    """Converts an error of Arrow, which counts lines from the start of the file, to one that counts rows."""
    text = str(error)
    number = re.search(r"Row #(\d+)", text)
    row = f"row {int(number[1]) - above}" if number else "a row"
    if ragged := re.search(r"Expected (\d+) columns, got (\d+)", text):
        begins = shown(text[ragged.end() :].lstrip(": ").splitlines()[0][:60] if text[ragged.end() :].strip() else "")
        one = int(ragged[2]) == int(ragged[1]) + 1 and row == "row 1"
        advice = "; is the first a name of the row? Give its column a name in the header" if one else ""
        return fault(path, f"{row} has {ragged[2]} cells, the header {ragged[1]}: {begins!r}{advice}")
    if column := re.search(r"column #(\d+).*UTF8", text):
        return fault(path, f"{row}, column {shown(header[int(column[1])])!r}: not UTF-8 text; save the file as UTF-8")
    if "straddl" in text:
        return fault(path, f"a row is longer than {block:,} bytes; is a quote left open?")
    return fault(path, f"cannot be read: {_line(error)}")


def _line(error: Exception) -> str:
    """The first line of an error's message."""
    return shown((str(error).strip().splitlines() or [type(error).__name__])[0])


# --- Parquet -----------------------------------------------------------------------------------------------------


def _parquet(path: Path, tokens: tuple[str, ...], block: int | None) -> Reader:
    try:
        schema = pq.read_schema(path)
    except (OSError, pa.ArrowException) as error:
        raise fault(path, f"not a Parquet file that can be read: {_line(error)}") from error
    names = tuple(schema.names)
    if not names:
        raise fault(path, "has no columns")
    _check_names(names, path)
    size = max((block or _block(names)) // (16 * len(names)), 1)

    def chunks(columns: list[str] | None = None) -> Iterator[Chunk]:
        start = 0
        try:
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                for batch in file.iter_batches(size, columns=columns, use_threads=False):
                    yield Chunk(as_text(pa.table(batch), path, passed_over=True), np.arange(start, start + len(batch)))
                    start += len(batch)
        except (OSError, pa.ArrowException) as error:
            raise fault(path, f"cannot be read after row {start}: {_line(error)}") from error
        if not start:
            raise fault(path, "has no rows")

    return Reader(str(path), names, chunks, {field.name: str(field.type) for field in schema}, tokens)


# --- writing -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def writing(path: str | Path, schema: Schema) -> Iterator[Callable[["pd.DataFrame"], None]]:
    """Opens a .csv or .parquet file and gives a function that appends the rows of a typed frame.

    The file appears at `path` only when it is complete. A .csv file has commas as delimiters and the formats of the
    schema; text that a spreadsheet would run as a formula gets a leading `'` (see `text_values.written`). A .parquet
    file has one row group per call, and the column types of the schema's file if that was Parquet.

    Args:
        path: of the file.
        schema: of the table.

    Raises:
        InputError: `path` has another ending, or the file cannot be written.
    """
    path = files.path(path)
    if path.suffix.lower() not in (".csv", ".parquet"):
        raise InputError(f"{shown(path)}: tables are written as .csv or .parquet")
    with files.atomic(path) as file:
        if path.suffix.lower() == ".csv":
            yield _csv_writer(file, schema)
        else:
            fields = [field for field in schema.fields if field.kept]
            types = pa.schema([pa.field(field.name, _written_type(field)) for field in fields])
            with pq.ParquetWriter(file, types, write_page_checksum=True) as writer:
                yield lambda frame: writer.write_table(_typed_table(frame, fields, types, path))


def _csv_writer(file: IO[bytes], schema: Schema) -> Callable[["pd.DataFrame"], None]:
    """A function that appends the rows of a typed frame, after a header at its first call."""
    empty = True

    def write(frame: "pd.DataFrame") -> None:
        nonlocal empty
        file.write(csv_lines(written(frame, schema, safe=True), header=empty))
        empty = False

    return write


def csv_lines(table: pa.Table, header: bool = True) -> bytes:
    """Rows of text as lines of a CSV file in UTF-8, with a line of the names if `header`.

    >>> csv_lines(pa.table({"a": ["1", 'x "y", z'], "b": ["", "2"]}))
    b'a,b\\n1,\\n"x ""y"", z",2\\n'
    """
    found = ""
    if header:
        names = [_quoted(pa.array([name]), table.num_columns)[0].as_py() for name in table.column_names]
        found = ",".join(names) + "\n"
    if len(table):
        lines = pc.binary_join_element_wise(*(_quoted(column, table.num_columns) for column in table.columns), ",")
        found += "\n".join(lines.to_pylist()) + "\n"
    return found.encode()


def _quoted(column: pa.Array, columns: int) -> pa.Array:
    """Quotes the cells that RFC 4180 requires to be quoted, and, if there is only one column, empty cells."""
    special = pc.match_substring_regex(column, '[",\r\n]')
    if columns == 1:
        special = pc.or_(special, pc.equal(column, ""))
    if not pc.any(special).as_py():
        return column
    inner = pc.replace_substring(column, '"', '""')
    return pc.if_else(special, pc.binary_join_element_wise('"', inner, '"', ""), column)


def _written_type(field: Field) -> pa.DataType:
    """Arrow type of a column of a Parquet file: that of the schema's file if that was Parquet, else by kind."""
    if field.storage != "string":
        return storage_type(field)
    if field.kind == "datetime":
        return pa.timestamp("us")
    whole = field.kind == "integer" or (field.kind == "id" and not field.pattern and not field.low)
    return pa.int64() if whole else pa.float64() if field.kind in NUMERIC else pa.string()


def _typed_table(frame: "pd.DataFrame", fields: list[Field], types: pa.Schema, path: Path) -> pa.Table:
    """Converts a typed frame to the Arrow types of a Parquet file."""
    columns = []
    for field, kind in zip(fields, types.types, strict=True):
        values = frame[field.name]
        dates = field.kind == "datetime" and not pa.types.is_temporal(kind)
        is_text = dates or (field.kind in NUMERIC and (pa.types.is_large_string(kind) or str(kind) == "string_view"))
        try:
            column = number_text(values.to_numpy(), field) if is_text else pa.array(values, from_pandas=True)
            columns.append(stored(column, kind))
        except (pa.ArrowException, ValueError) as error:
            what = f"column {shown(field.name)!r} cannot be written as {kind}: {_line(error)}"
            raise fault(path, f"{what}; write a .csv file") from error
    return pa.table(columns, schema=types)
