"""CSV files as programs write them: row numbers, title lines, delimiters at the end of rows, other encodings."""

import io
import re

import numpy as np
import pandas as pd
import pytest

from synthjax import data
from synthjax.data.readers import open_table
from synthjax.errors import InputError

N = 60
FRAME = pd.DataFrame(
    {"age": np.arange(N) % 50 + 20, "größe": np.arange(N) % 9 / 4, "left": ["no", "yes", ""] * (N // 3)}
)


def text(**options):
    out = io.StringIO()
    FRAME.to_csv(out, index=False, **options)
    return out.getvalue()


def read(path):
    """The cells of a file as columns, and what was said of it."""
    reader = open_table(path)
    (chunk,) = reader.chunks()
    assert reader.names == tuple(chunk.cells.column_names) and chunk.rows.tolist() == list(range(len(chunk.rows)))
    assert next(reader.chunks(["left"])).cells.column_names == ["left"]
    return chunk.cells.to_pydict(), reader.notes


INDEX = FRAME.to_csv()
TRAILING = "".join(line + ",,\n" for line in text().splitlines())


@pytest.mark.parametrize(
    ("content", "note"),
    [
        (text().encode(), None),
        (INDEX.encode(), "the first column has no name: .*index=False"),
        (INDEX.replace(",", "Unnamed: 0,", 1).encode(), "the first column has no name"),
        (("sep=;\r\n" + text(sep=";", lineterminator="\r\n")).encode("utf-8-sig"), None),
        (TRAILING.encode(), None),
        (("Sales, 2020\n\n" + text(sep=";")).encode(), "skipped before the header: 2 lines, 'Sales, 2020'"),
        (("# made by hand\n# in May\n" + text()).encode(), "header: 2 lines, '# made by hand'"),
        (("Report,,\n" + text()).encode(), "header: 1 line, 'Report,,'"),
        (text(lineterminator="\r").encode(), None),
        (text(sep="\t").encode("utf-16"), None),
        (text(lineterminator="\r\n").encode("utf-16"), None),
    ],
    ids=[
        "plain",
        "index",
        "saved again",
        "sep",
        "trailing",
        "title",
        "comments",
        "wide title",
        "mac",
        "utf16",
        "utf16crlf",
    ],
)
def test_the_same_table_is_read(tmp_path, content, note):
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    cells, notes = read(path)
    assert cells == {name: FRAME[name].astype(str).tolist() for name in FRAME}
    assert len(notes) == (note is not None)
    assert note is None or re.search(note, notes[0])


@pytest.mark.parametrize("name", ["Preis", "Größe in m"])
def test_a_header_above_decimal_commas_is_no_title(tmp_path, name):
    path = tmp_path / "a.csv"
    path.write_text(f"Ort;{name}\nKöln;187,2\nBonn;3,5\nKöln;1,0\n")
    reader = open_table(path)
    (chunk,) = reader.chunks()
    assert chunk.cells.to_pydict() == {"Ort": ["Köln", "Bonn", "Köln"], name: ["187,2", "3,5", "1,0"]}
    assert not reader.notes


def test_what_is_passed_over_is_told(tmp_path):
    (tmp_path / "a.csv").write_text(INDEX)
    found = data.load(str(tmp_path / "a.csv"))
    assert found.table.notes[0].startswith("the first column has no name")
    assert list(found.frame("test")) == list(FRAME)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("a,b,\n1,2,\n3,4,x\n", r"row 2: 'x' is in a column without a name: name the column in the header"),
        ("a,,b\n1,2,3\n", r"column 2 of 3 has no name in the header: give it one"),
        ("a,b\n1,2,3\n4,5,6\n7,8,9\n", r"row 1 has 3 cells, the header 2: .*Give its column a name in the header"),
        ("Title\na,b\n1,2\n3,4,5\n6,7\n", r"row \d has \d cells, the header \d"),
        (",,\n1,2,3\n", "has no name|names a column"),
        ("sep=;\n", "an empty file"),
    ],
)
def test_what_cannot_be_passed_over_is_refused(tmp_path, content, what):
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(InputError, match=what):
        for _ in open_table(tmp_path / "a.csv").chunks():
            pass


def test_lines_above_the_header_count_in_no_row(tmp_path):
    (tmp_path / "a.csv").write_text("A title\n\na,b\n1,2\n3,4\n5,6\n7\n")
    with pytest.raises(InputError, match="row 4 has 1 cells, the header 2"):
        for _ in open_table(tmp_path / "a.csv").chunks():
            pass
