"""Tables in files: CSV and Parquet read chunk by chunk as text, and written part by part.

    reader = open_table("customers.csv")           # .csv, .tsv, .data, .parquet; the former also as .gz, .bz2, .zst
    for chunk in reader.chunks(): ...              # Chunk(cells, rows), about 8 MiB of the file each
    with writing("synthetic.csv", schema) as write:
        write(encoder.decode(x))                   # any number of times, while sampling

A CSV file is UTF-8 text (a byte order mark is passed over) whose first line names the columns; its delimiter is that of
`, ; tab |` which its first line holds most of. Quotes and line breaks in cells are as in RFC 4180. Blanks around cells
and names are passed over; so are empty lines, save in files of one column, where they are missing values. Row 1 is the
first one below the header.
"""

import contextlib
import csv
import io
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
from synthjax.data.arrays import check_file, fault, shown
from synthjax.data.schema import MISSING, NUMERIC, Field, Schema
from synthjax.data.text_values import NUMBER, Chunk, as_text, from_frame, storage_type, stored, written
from synthjax.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

BLOCK = 8 << 20
"""Bytes of a file that a chunk holds, roughly; a row must be shorter."""
COLUMN_BLOCK = 8 << 10
"""The same for each column of a table of more than 1,024: what a chunk costs, it costs per column."""
_DELIMITERS = ",;\t|"
KNOWN_DELIMITERS = ", ; tab |"
"""Delimiters of CSV files, for messages."""
SUFFIXES = (".csv", ".tsv", ".data", ".parquet")
"""Endings of file names that are tables."""
_NO_HEADER = "is the header a row? The first line must name the columns; add one that does"


class Reader(NamedTuple):
    """A table that can be read as often as one likes."""

    where: str
    """The file, for messages."""
    names: tuple[str, ...]
    """Of the columns, in order."""
    chunks: Callable[..., Iterator[Chunk]]
    """(columns=None) -> chunks in order; `columns`: names of those to read."""
    storage: dict[str, str] = {}  # noqa: RUF012  (a NamedTuple's default, never written to)
    """Column -> Arrow type in which the file holds it; of Parquet files."""
    tokens: tuple[str, ...] = MISSING
    """Cells that say that a value is missing."""


def is_table(path: str | Path) -> bool:
    """Whether a file's name says that it is a table."""
    return any(suffix.lower() in SUFFIXES for suffix in Path(path).suffixes)


def open_table(
    path: str | Path,
    *,
    names: tuple[str, ...] | None = None,
    skip: int = 0,
    tokens: tuple[str, ...] = MISSING,
    clean: Callable[[pa.Array], pa.Array] | None = None,
    block: int | None = None,
) -> Reader:
    """A reader of a CSV or Parquet file, whose header is read at once.

    Args:
        path: the file.
        names: the columns of a CSV file without a header.
        skip: lines above the first row, or above the header.
        tokens: cells that say that a value is missing.
        clean: applied to every column of text.
        block: bytes of the file per chunk; default: `BLOCK`, or `COLUMN_BLOCK` for each column if that is more.

    Raises:
        InputError: the file cannot be read, is empty, or has columns without a name or with the same one. `chunks`
            raises it of rows with too few or too many cells, and of text that is not UTF-8, with the row and column.
    """
    path = Path(path)
    check_file(path)
    if path.suffix.lower() == ".parquet":
        return _parquet(path, tokens, block)
    header, delimiter = _header(path, skip, names)
    _check_names(header, path)
    if names is None:
        _check_header(header, path)
    above, size = skip + (names is None), block or _block(header)

    def chunks(columns: list[str] | None = None) -> Iterator[Chunk]:
        for chunk in _csv_chunks(path, header, delimiter, above, columns, clean, size):
            if names is None and columns is None and chunk.rows[0] == 0:
                _check_first(chunk.cells, path)
            yield chunk

    return Reader(str(path), header, chunks, tokens=tokens)


def _block(names: tuple[str, ...]) -> int:
    return max(BLOCK, COLUMN_BLOCK * len(names))


def frame_reader(frame: "pd.DataFrame", where: str) -> Reader:
    """A reader of a DataFrame's rows."""
    cells = from_frame(frame, where)
    _check_names(tuple(cells.column_names), where)

    def chunks(columns: list[str] | None = None) -> Iterator[Chunk]:
        yield Chunk(cells.select(columns or cells.column_names), np.arange(len(cells)))

    return Reader(where, tuple(cells.column_names), chunks)


def _check_names(names: tuple[str, ...], where: object) -> None:
    seen: dict[str, int] = {}
    for i, name in enumerate(names, 1):
        if not name.strip():
            raise fault(where, f"column {i} of {len(names)} has no name in the header")
        if name in seen:
            raise fault(where, f"duplicate column name {shown(name)!r}: columns {seen[name]} and {i}")
        seen[name] = i


def _check_header(header: tuple[str, ...], path: Path) -> None:
    """Raises InputError where names are numbers that look like a row; 2016, 2017 or 0, 1, 2 may name columns."""
    numbers = [name for name in header if re.match(NUMBER, name)]
    whole = all(name.isdigit() for name in numbers)
    rising = whole and all(int(one) < int(other) for one, other in itertools.pairwise(numbers))
    if rising or (whole and all(1900 <= int(name) <= 2100 for name in numbers)):
        return
    raise fault(path, f"the header names a column {shown(numbers[0])!r}: {_NO_HEADER}")


def _check_first(cells: pa.Table, path: Path) -> None:
    """Raises InputError where every column has its own name among its first values, as words of a row have.

    Numbers may name columns (`_check_header`), and then may well be among their values.
    """
    words = [name for name in cells.column_names if not re.match(NUMBER, name)]
    if words and all(pc.any(pc.equal(cells[name], name)).as_py() for name in words):
        raise fault(path, f"each column holds its name, {shown(words[0])!r} the first: {_NO_HEADER}")


# --- CSV ---------------------------------------------------------------------------------------------------------


def _header(path: Path, skip: int, names: tuple[str, ...] | None) -> tuple[tuple[str, ...], str]:
    """The columns' names and the delimiter, from the first line."""
    try:
        with pa.input_stream(str(path), compression="detect") as file:
            head = file.read(BLOCK)
        _check_text(head, path)
        text = head.decode("utf-8-sig", errors="strict" if len(head) < BLOCK else "ignore")
    except UnicodeDecodeError as error:
        text = head[: error.start].decode("utf-8-sig")
        if "\n" not in text:
            raise fault(path, f"byte {error.start} of the header is not UTF-8: save the file as UTF-8") from error
    except (OSError, pa.ArrowException) as error:
        raise fault(path, f"cannot be read: {_line(error)}") from error
    lines = text.split("\n", skip)[-1] if text.count("\n") >= skip else ""
    if not lines.strip():
        raise fault(path, "an empty file")
    first = lines.partition("\n")[0]
    bare = re.sub(r'"[^"]*"', "", first)
    delimiter = max(_DELIMITERS, key=bare.count)
    delimiter = delimiter if delimiter in bare else ","
    if names is not None:
        return names, delimiter
    try:
        header = next(csv.reader(io.StringIO(lines), delimiter=delimiter, skipinitialspace=True))
        return tuple(name.strip().lstrip("\ufeff") for name in header), delimiter  # some files have two marks
    except csv.Error as error:
        raise fault(path, f"the header cannot be read: {error}") from error


def _check_text(head: bytes, path: Path) -> None:
    """Raises InputError where the first bytes of a file are those of no UTF-8 text with lines."""
    if head[:4] == b"PK\3\4":
        raise fault(path, "a zip archive: unpack it, or pack the table with gzip")
    if b"\0" in head or head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise fault(path, "holds bytes of value 0 as UTF-16 and binary files do: save the file as UTF-8")
    if b"\r" in head and b"\n" not in head:
        raise fault(path, "its lines end in a carriage return alone: save the file with line feeds")


def _csv_chunks(
    path: Path,
    header: tuple[str, ...],
    delimiter: str,
    above: int,
    columns: list[str] | None,
    clean: Callable[[pa.Array], pa.Array] | None,
    block: int,
) -> Iterator[Chunk]:
    """The chunks of a CSV file whose first row follows after `above` lines."""
    start = 0
    try:
        stream = pa.input_stream(str(path), compression="detect")
        reader = pyarrow.csv.open_csv(
            stream,
            read_options=pyarrow.csv.ReadOptions(
                use_threads=False, column_names=header, skip_rows=above, block_size=block
            ),
            parse_options=pyarrow.csv.ParseOptions(
                delimiter=delimiter, newlines_in_values=True, ignore_empty_lines=len(header) > 1
            ),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(header, pa.string()), strings_can_be_null=False, include_columns=columns
            ),
        )
        with stream, reader:
            for batch in reader:
                cells = pa.table([_stripped(column) for column in batch.columns], names=batch.schema.names)
                if clean:
                    cells = pa.table([clean(column) for column in cells.columns], names=cells.column_names)
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


def _ends_quoted(path: Path) -> bool:
    """Whether the last row of a file ends with a quote."""
    end = b""
    with pa.input_stream(str(path), compression="detect") as file:
        while part := file.read(BLOCK):
            end = (end + part).rstrip()[-1:] or end
    return end == b'"'


def _stripped(cells: pa.Array) -> pa.Array:
    """Cells without the blanks around them; a quote after a blank begins a quoted cell, for Arrow it does not."""
    blank = pc.or_(pc.starts_with(cells, " "), pc.ends_with(cells, " "))
    if not pc.any(blank).as_py():
        return cells
    bare = pc.replace_substring_regex(pc.utf8_trim(cells, " "), '^"([^"]*)"$', r"\1")
    return pc.if_else(blank, bare, cells)


def _csv_fault(error: Exception, path: Path, header: tuple[str, ...], above: int, block: int) -> InputError:
    """Arrow's message, which counts lines from the top of the file, in our words."""
    text = str(error)
    row = re.search(r"Row #(\d+)", text)
    place = f"row {int(row[1]) - above}" if row else "a row"
    if ragged := re.search(r"Expected (\d+) columns, got (\d+)", text):
        begins = shown(text[ragged.end() :].lstrip(": ").splitlines()[0][:60] if text[ragged.end() :].strip() else "")
        return fault(path, f"{place} has {ragged[2]} cells, the header {ragged[1]}: {begins!r}")
    if column := re.search(r"column #(\d+).*UTF8", text):
        return fault(path, f"{place}, column {shown(header[int(column[1])])!r}: not UTF-8 text; save the file as UTF-8")
    if "straddl" in text:
        return fault(path, f"a row is longer than {block:,} bytes; is a quote left open?")
    return fault(path, f"cannot be read: {_line(error)}")


def _line(error: Exception) -> str:
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
                    yield Chunk(as_text(pa.table(batch), path), np.arange(start, start + len(batch)))
                    start += len(batch)
        except (OSError, pa.ArrowException) as error:
            raise fault(path, f"cannot be read after row {start}: {_line(error)}") from error
        if not start:
            raise fault(path, "has no rows")

    return Reader(str(path), names, chunks, {field.name: str(field.type) for field in schema}, tokens)


# --- writing -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def writing(path: str | Path, schema: Schema) -> Iterator[Callable[["pd.DataFrame"], None]]:
    """A function that adds the rows of a typed frame to a file, which appears at `path` whole or not at all.

    A .csv file spells values as the schema's own file did, with commas; text that a spreadsheet would run as a formula
    (it begins with = + - @ or a tab) gets a `'` in front, numbers never do. A .parquet file holds the types of the
    schema's own file, where that was Parquet too, one row group per call.

    Raises:
        InputError: another ending, or the file cannot be written.
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
                yield lambda frame: writer.write_table(_typed_table(frame, types, path))


def _csv_writer(file: IO[bytes], schema: Schema) -> Callable[["pd.DataFrame"], None]:
    empty = True

    def write(frame: "pd.DataFrame") -> None:
        nonlocal empty
        table = written(frame, schema, safe=True)
        lines = pc.binary_join_element_wise(*(_quoted(column, table.num_columns) for column in table.columns), ",")
        if empty:
            header = [_quoted(pa.array([name]), table.num_columns)[0].as_py() for name in table.column_names]
            file.write((",".join(header) + "\n").encode())
            empty = False
        if len(table):
            file.write(("\n".join(lines.to_pylist()) + "\n").encode())

    return write


def _quoted(column: pa.Array, columns: int) -> pa.Array:
    """Cells with quotes where RFC 4180 asks for them; an empty cell that is a line by itself too."""
    odd = pc.match_substring_regex(column, '[",\r\n]')
    if columns == 1:
        odd = pc.or_(odd, pc.equal(column, ""))
    if not pc.any(odd).as_py():
        return column
    inner = pc.replace_substring(column, '"', '""')
    return pc.if_else(odd, pc.binary_join_element_wise('"', inner, '"', ""), column)


def _written_type(field: Field) -> pa.DataType:
    """The type of a column of a Parquet file: that of the file it came from, or by kind."""
    if field.storage != "string":
        return storage_type(field)
    if field.kind == "datetime":
        return pa.timestamp("us")
    whole = field.kind == "integer" or (field.kind == "id" and not field.pattern)
    return pa.int64() if whole else pa.float64() if field.kind in NUMERIC else pa.string()


def _typed_table(frame: "pd.DataFrame", types: pa.Schema, path: Path) -> pa.Table:
    columns = []
    for field in types:
        try:
            columns.append(stored(pa.array(frame[field.name], from_pandas=True), field.type))
        except (pa.ArrowException, ValueError) as error:
            what = f"column {shown(field.name)!r} cannot be written as {field.type}: {_line(error)}"
            raise fault(path, f"{what}; write a .csv file") from error
    return pa.table(columns, schema=types)
