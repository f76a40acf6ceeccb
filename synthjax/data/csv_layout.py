"""How a CSV file is laid out: its encoding, its delimiter, the lines above the header, columns without a name.

What people's programs add is passed over and told: the row numbers that pandas writes as a first column without a name,
lines with a title above the header, the line `sep=;` of spreadsheets, delimiters at the end of each row.
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
"""Bytes of a file that a chunk holds, roughly; a row must be shorter."""
DELIMITERS = ",;\t|"
_ROWS = 20
"""Rows that are looked at."""
_UNNAMED = "\0"  # what the names of columns without one begin with
_BYTES = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


class Layout(NamedTuple):
    """How a file is laid out."""

    names: tuple[str, ...]
    """Of its columns, those without a name too."""
    delimiter: str = ","
    above: int = 0
    """Lines above the first row."""
    notes: tuple[str, ...] = ()
    """What is passed over."""

    @property
    def kept(self) -> tuple[str, ...]:
        """The columns that are read."""
        return tuple(name for name in self.names if not name.startswith(_UNNAMED))

    @property
    def empty(self) -> tuple[str, ...]:
        """Columns without a name whose cells must be empty."""
        return tuple(name for name in self.names[1:] if name.startswith(_UNNAMED))


def stream(path: Path) -> pa.NativeFile:
    """The text of a file, unpacked, as UTF-8."""
    with pa.input_stream(str(path), compression="detect") as file:
        encoding = _BYTES.get(file.read(2))
    opened = pa.input_stream(str(path), compression="detect")
    return pa.transcoding_input_stream(opened, encoding, "utf-8") if encoding else opened


def find(path: Path, skip: int, names: tuple[str, ...] | None) -> Layout:
    """The layout of a file.

    Args:
        path: the file.
        skip: lines above the header, or above the first row.
        names: of the columns of a file without a header.

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
            passed = "1 line" if ends[count - 1] == 1 else f"{ends[count - 1]} lines"
            notes.append(f"passed over above the header: {passed}, {shown(first.strip()[:60])!r}")
            rows, above = rows[count:], above + ends[count - 1]
            ends = [end - ends[count - 1] for end in ends[count:]]
    except csv.Error as error:
        raise fault(path, f"the header cannot be read: {error}") from error
    header = [name.strip().lstrip("\ufeff") for name in (rows or [[]])[0]]  # some files have two marks
    if header and re.fullmatch("|Unnamed: 0", header[0]) and any(header[1:]):
        notes.append(
            "the first column has no name: it is taken for row numbers, as pandas writes them (index=False leaves them "
            "out), and left out; give it a name if it is data"
        )
        header[0] = _UNNAMED
    while len(header) > 1 and not header[-1]:
        header.pop()
    header += [f"{_UNNAMED}{i}" for i in range(len(header), len((rows or [[]])[0]))]
    return Layout(tuple(header), delimiter, above + (ends or [1])[0], tuple(notes))


def _lines(path: Path, skip: int) -> str:
    """The first lines of a file, below those that are skipped."""
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
    """Raises InputError where the first bytes of a file are those of no text with lines."""
    if head[:4] == b"PK\3\4":
        raise fault(path, "a zip archive: unpack it, or pack the table with gzip")
    if b"\0" in head:
        raise fault(path, "holds bytes of value 0 as UTF-16 and binary files do: save the file as UTF-8")


def _delimiter(line: str) -> str:
    bare = re.sub(r'"[^"]*"', "", line)
    most = max(DELIMITERS, key=bare.count)
    return most if most in bare else ","


def _rows(lines: str, delimiter: str) -> tuple[list[list[str]], list[int]]:
    """The first rows, and the number of the line after each."""
    reader = csv.reader(io.StringIO(lines), delimiter=delimiter, skipinitialspace=True)
    rows, ends = [], []
    for row in itertools.islice(reader, _ROWS):
        rows.append(row)
        ends.append(reader.line_num)
    return rows, ends


def _title(lines: str) -> tuple[str, int] | None:
    """The delimiter, and how many rows of one cell or none stand above a header of several; None: the header is first.

    Below the header all rows have as many cells as it has. Where this is so of the first row too, with any delimiter,
    it is the header: `a;b` above `1,5;2,5` is no title.
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
    """Whether the first row is one of several names, above rows of as many cells; empty ones may follow."""
    if not rows or sum(bool(name.strip()) for name in rows[0]) < 2:
        return False
    width = len(rows[0])
    full = [row for row in rows[1:-1] or rows[1:] if row]  # the last one may be cut off
    return bool(full) and all(len(row) >= width and not any(row[width:]) for row in full)
