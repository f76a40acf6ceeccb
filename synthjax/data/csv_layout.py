"""Detection of the layout of a CSV file: encoding, delimiter, lines before the header, and columns without a name.

Additions of common programs are skipped, with a note for the user: row numbers, which pandas writes as a first column
without a name, and titles before the header. The line `sep=;` of spreadsheets and delimiters at the end of each row are
skipped as well.
"""

import csv
import io
import itertools
import re
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from synthjax.data.arrays import fault, shown

BLOCK = 8 << 20
"""Approximate number of bytes of the file in a chunk. A row must be shorter."""
DELIMITERS = ",;\t|"
_ROWS = 20
"""Number of rows that are examined."""
_UNNAMED = "\0"  # prefix of the internal names of columns without a name
_BYTES = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


class Layout(NamedTuple):
    """The layout of a file."""

    names: tuple[str, ...]
    """Names of all columns; those without a name get an internal one."""
    delimiter: str = ","
    above: int = 0
    """Number of lines before the first row."""
    notes: tuple[str, ...] = ()
    """Lines for the user about parts that are skipped."""

    @property
    def kept(self) -> tuple[str, ...]:
        """The columns that are read."""
        return tuple(name for name in self.names if not name.startswith(_UNNAMED))

    @property
    def empty(self) -> tuple[str, ...]:
        """Internal names of the columns without a name, whose cells must be empty; a first column may have cells."""
        return tuple(name for name in self.names[1:] if name.startswith(_UNNAMED))


def stream(path: Path) -> pa.NativeFile:
    """Opens a file as UTF-8, decompressed."""
    with pa.input_stream(str(path), compression="detect") as file:
        encoding = _BYTES.get(file.read(2))
    opened = pa.input_stream(str(path), compression="detect")
    return pa.transcoding_input_stream(opened, encoding, "utf-8") if encoding else opened


def find(path: Path, skip: int, names: tuple[str, ...] | None) -> Layout:
    """Detects the layout of a file.

    Args:
        path: of the file.
        skip: number of lines to skip before the header, or before the first row if there is none.
        names: names of the columns, for a file without a header.

    Raises:
        InputError: the file cannot be read, is empty, or has no header.
    """
    lines = _lines(path, skip)
    first = lines.partition("\n")[0]
    if names is not None and lines.strip():
        return Layout(names, _delimiter(first), skip)
    above, notes = skip, []
    said = re.fullmatch(r"sep=(.)", first.strip(" \r"))
    if said:
        lines, above = lines.partition("\n")[2], above + 1
        first = lines.partition("\n")[0]
    if not lines.strip():
        raise fault(path, "an empty file")
    delimiter = said[1] if said else _delimiter(first)
    try:
        rows, ends = _rows(lines, delimiter)
        if not said and (title := _title(lines)):
            delimiter, count = title
            rows, ends = _rows(lines, delimiter)
            skipped = "1 line" if ends[count - 1] == 1 else f"{ends[count - 1]} lines"
            notes.append(f"skipped before the header: {skipped}, {shown(first.strip()[:60])!r}")
            rows, above = rows[count:], above + ends[count - 1]
            ends = [end - ends[count - 1] for end in ends[count:]]
    except csv.Error as error:
        raise fault(path, f"the header cannot be read: {error}") from error
    header = [name.strip().lstrip("\ufeff") for name in (rows or [[]])[0]]  # some files have two marks
    if header and re.fullmatch("|Unnamed: 0", header[0]) and any(header[1:]):
        notes.append(
            "the first column has no name: it is left out, as the row numbers that pandas writes without index=False; "
            "if it is data, give it a name"
        )
        header[0] = _UNNAMED
    while len(header) > 1 and not header[-1]:
        header.pop()
    header += [f"{_UNNAMED}{i}" for i in range(len(header), len((rows or [[]])[0]))]
    return Layout(tuple(header), delimiter, above + (ends or [1])[0], tuple(notes))


def _lines(path: Path, skip: int) -> str:
    """The text of the first block of a file, without the first `skip` lines."""
    try:
        with stream(path) as file:
            head = file.read(BLOCK)
    except (OSError, pa.ArrowException) as error:
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise fault(path, f"cannot be read: {shown(line)}") from error
    _check_text(head, path)
    try:
        text = head.decode("utf-8-sig", errors="strict" if len(head) < BLOCK else "ignore")
    except UnicodeDecodeError as error:
        text = head[: error.start].decode("utf-8-sig")
        if "\n" not in text:
            raise fault(path, f"byte {error.start} of the header is not UTF-8: save the file as UTF-8") from error
    text = text if "\n" in text else text.replace("\r", "\n")
    return text.split("\n", skip)[-1] if text.count("\n") >= skip else ""


def _check_text(head: bytes, path: Path) -> None:
    """Raises InputError if the first bytes of a file are not text."""
    if head[:4] == b"PK\3\4":
        raise fault(path, "a zip archive: unpack it, or pack the table with gzip")
    if b"\0" in head:
        raise fault(path, "holds bytes of value 0 as UTF-16 and binary files do: save the file as UTF-8")


def _delimiter(line: str) -> str:
    """The most frequent delimiter outside quotes; a comma if there is none."""
    bare = re.sub(r'"[^"]*"', "", line)
    most = max(DELIMITERS, key=bare.count)
    return most if most in bare else ","


def _rows(lines: str, delimiter: str) -> tuple[list[list[str]], list[int]]:
    """The first rows, and the number of lines up to the end of each."""
    reader = csv.reader(io.StringIO(lines), delimiter=delimiter, skipinitialspace=True)
    rows, ends = [], []
    for row in itertools.islice(reader, _ROWS):
        rows.append(row)
        ends.append(reader.line_num)
    return rows, ends


def _title(lines: str) -> tuple[str, int] | None:
    """The delimiter and the number of title rows before the header; None if the first row is the header.

    Title rows have at most one cell, and a header has several. All rows after a header have as many cells as it has. If
    this is true of the first row with any delimiter, it is the header: `a;b` before `1,5;2,5` is not a title.
    """
    parsed = {}
    for delimiter in DELIMITERS:
        try:
            parsed[delimiter], _ = _rows(lines, delimiter)
        except csv.Error:
            continue
    if any(map(_is_table, parsed.values())):
        return None
    for delimiter, rows in parsed.items():
        filled = [sum(bool(cell.strip()) for cell in row) for row in rows]
        count = next((i for i, n in enumerate(filled) if n > 1), 0)
        widths = [len(row) for row in rows[count:] if row]
        if count and len(widths) > 2 and len(set(widths[:-1])) == 1 and filled[count] == widths[0]:
            return delimiter, count
    return None


def _is_table(rows: list[list[str]]) -> bool:
    """Whether the first row has several names, and all others as many cells, or more that are empty."""
    if not rows or sum(bool(name.strip()) for name in rows[0]) < 2:
        return False
    width = len(rows[0])
    full = [row for row in rows[1:-1] or rows[1:] if row]  # the last one may be incomplete
    return bool(full) and all(len(row) >= width and not any(row[width:]) for row in full)
