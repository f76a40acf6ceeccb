"""Numbers with commas and times with offsets: told, or read and written as they stand."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from synthjax import data
from synthjax.data import readers
from synthjax.data.schema_inference import infer
from synthjax.data.schema_inference.spelling import misspelt
from synthjax.data.text_values import Chunk
from synthjax.errors import InputError

N = 120


def load(folder: Path, cells: list[str]) -> data.Dataset:
    """A table with these cells and a number beside them."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"cell": cells, "other": rng.normal(size=len(cells)).round(3)})
    frame.to_csv(folder / "a.csv", index=False)
    return data.load(str(folder / "a.csv"))


NUMBERS = np.random.default_rng(1).normal(5000, 3000, N).round(2)


@pytest.mark.parametrize(
    ("cells", "what"),
    [
        ([f"{value:.2f}".replace(".", ",") for value in NUMBERS], "a number with a decimal comma"),
        ([f"{value:,.0f}" for value in NUMBERS * 10], "a number with commas in it"),
        ([f"{value:,.2f}".translate({44: 46, 46: 44}) for value in NUMBERS], "points and a decimal comma"),
        ([f"2021-03-{1 + i % 28:02d} 10:{i % 60:02d}:00+0{1 + i % 2}:00" for i in range(N)], "a time with a zone"),
        ([f"+{abs(value):.2f}" for value in NUMBERS], "a number with a plus sign"),
        ([f"${abs(value):,.2f}" for value in NUMBERS], "an amount with its currency"),
        ([f"{value:.0f} €" for value in NUMBERS], "an amount with its currency"),
        ([f"{value:.2f}%" for value in NUMBERS], "a number with a percent sign"),
        ([f"2021-03-{1 + i % 28:02d} 10:{i % 60:02d}:00 CEST" for i in range(N)], "a time with a zone"),
    ],
)
def test_what_would_be_lost_is_told_with_row_and_column(tmp_path, cells, what):
    with pytest.raises(
        InputError, match=rf"a.csv: row \d+, column 'cell': '.*' is .*{what}.*, or say `kind: categ"
    ) as e:
        load(tmp_path, cells)
    row = int(str(e.value).split("row ")[1].split(",")[0])
    assert f"'{cells[row - 1]}'" in str(e.value)


def test_a_person_may_say_that_they_are_categories(tmp_path):
    (tmp_path / "schema.yaml").write_text("columns:\n  cell: {kind: categorical}\n")
    cells = [f"{i % 25},{i % 5}" for i in range(N)]
    pd.DataFrame({"cell": cells, "other": range(N)}).to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(InputError, match="decimal comma"):
        data.load(str(tmp_path / "a.csv"))
    found = data.load(str(tmp_path / "a.csv"), schema=str(tmp_path / "schema.yaml"))
    assert found.table.schema["cell"].kind == "categorical"


@pytest.mark.parametrize("cell", ["Bath, Ayr", "1,a", "A-12", "1;2", "12:30", "2021-01-01", "1.234.567", ","])
def test_other_words_are_words(cell):
    assert misspelt({cell: 9, "1,5": 1}) is None and misspelt({}) is None


def test_nearly_all_must_fit():
    assert misspelt({"1,5": 9, "word": 1}) and misspelt({"1,5": 8, "word": 2}) is None
    assert misspelt({"1,5": 4, "1.234,5": 5, "word": 1})


@pytest.mark.parametrize("offset", ["+02:00", "-0330", "Z", ""])
@pytest.mark.parametrize("fraction", [False, True])
def test_times_at_one_offset_come_back_as_they_were(tmp_path, offset, fraction):
    rng = np.random.default_rng(2)
    times = pd.Timestamp("2021-01-04") + pd.to_timedelta(rng.integers(0, 9 * 10**8, N), "ms")
    ends = [f".{t.microsecond // 1000:03d}" if fraction else "" for t in times]
    cells = [t.strftime("%Y-%m-%dT%H:%M:%S") + end + offset for t, end in zip(times, ends, strict=True)]
    found = load(tmp_path, cells)
    field = found.table.schema["cell"]
    assert field.kind == "datetime" and field.format.endswith(offset)
    frame = found.frame("train")
    with readers.writing(tmp_path / "b.csv", found.table.schema) as write:
        write(frame)
    assert pd.read_csv(tmp_path / "b.csv", dtype=str).cell.tolist() == [cells[i] for i in found.train.index]


TOLD = r"table: row \d+, column 'x': "


@pytest.mark.parametrize(
    ("cells", "what"),
    [
        ([*map(str, NUMBERS[:80]), *["?"] * 20], r"'\?' is not a number, as 80 of .*is '\?' a missing value\?"),
        ([*map(str, NUMBERS), *(f"w{i}" for i in range(21))], r"'w\d+' is not a number, as 120 of the 141 values are"),
        ([f"{i % 24:02d}:{i % 60:02d}" for i in range(N)], "look like numbers or times: write .*full dates"),
        ([*(f"{i % 24}:{i % 60:02d}" for i in range(N)), *["n"] * 9], "120 of the 129 cells .*is 'n' a missing value"),
        ([f"{1 + i % 28}/{1 + i % 12}/{i % 60:02d}" for i in range(N)], "120 of the 120 cells look like"),
    ],
)
@pytest.mark.parametrize("order", [1, -1])
def test_a_column_that_would_be_erased_is_refused(cells, what, order):
    cells = cells[::order]
    with pytest.raises(InputError, match=TOLD + ".*" + what):
        infer([Chunk(pa.table({"x": cells}), np.arange(len(cells)))])
    field = infer([Chunk(pa.table({"x": cells}), np.arange(len(cells)))], overrides={"x": {"kind": "categorical"}})
    assert field["x"].kind == "categorical"


def test_numbers_that_are_no_longer_counted_when_words_come_are_not_lost():
    """Of more than 1,000 distinct numbers no counts are kept: what follows them is told all the same."""
    first, second = [f"{i}.5" for i in range(1500)], ["?"] * 400
    parts = [Chunk(pa.table({"x": part}), np.arange(len(part)) + 1500 * i) for i, part in enumerate((first, second))]
    with pytest.raises(InputError, match=r"row 1501, column 'x': '\?' is not a number, as 1,500 of the 1,900"):
        infer(parts)
    with pytest.raises(InputError, match=r"row 1501, column 'x': '\?' is not a number, as 1,500 of the 3,500"):
        infer([*parts, Chunk(pa.table({"x": ["a"] * 1600}), np.arange(1900, 3500))])


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        ([f"{i:05d}" for i in range(0, 99_999, 97)], "id"),  # all different
        ([f"{i % 90 * 1111:05d}" for i in range(900)], "categorical"),  # postcodes
        ([f"w{i % 4}{'' if i % 3 else i}" for i in range(300)], "categorical"),  # words of which many are rare
        ([f"{i % 24:02d}:00" for i in range(600)], "categorical"),  # each hour is held by many
        ([f"10.0.{i % 9}.{i % 200}" for i in range(300)], "id"),  # addresses
    ],
)
def test_honest_categories_stay(cells, kind):
    field = infer([Chunk(pa.table({"x": cells}), np.arange(len(cells)))], min_count=5)["x"]
    assert field.kind == kind
    if cells[1].isdigit() and kind == "categorical":
        assert set(field.categories) == set(cells)  # zeros are kept


def test_blanks_around_cells_and_names_are_passed_over(tmp_path):
    (tmp_path / "a.csv").write_text('a, b, "c d"\n1, 2.5, "x y"\n 2 ,3.5,z\n')
    (chunk,) = readers.open_table(tmp_path / "a.csv").chunks()
    assert chunk.cells.to_pydict() == {"a": ["1", "2"], "b": ["2.5", "3.5"], "c d": ["x y", "z"]}


def test_a_file_with_another_delimiter_is_told_with_the_known_ones(tmp_path):
    (tmp_path / "a.csv").write_text("a b c\n" + "".join(f"{i} {i * i} {i % 7}\n" for i in range(N)))
    with pytest.raises(InputError, match=r"a.csv: one column only, 'a b c', .* Those known are , ; tab \|"):
        data.load(str(tmp_path / "a.csv"))


@pytest.mark.parametrize(
    ("header", "row"),
    [("39,State-gov,77516,13", True), ("5.1,3.5,setosa", True), ("-1,2", True), ("a,2017,2016", False), ("0,1", False)],
)
def test_a_first_row_is_not_taken_for_a_header(tmp_path, header, row):
    (tmp_path / "a.csv").write_text(f"{header}\n{header}\n")
    if not row:
        assert readers.open_table(tmp_path / "a.csv").names == tuple(header.split(","))
        return
    with pytest.raises(InputError, match=r"a.csv: the header names a column '[\d.-]+': is the header a row\?"):
        readers.open_table(tmp_path / "a.csv")


def test_a_header_of_words_that_all_columns_hold_is_a_row(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("red,small,yes\n" + "blue,large,no\nred,small,yes\nred,large,no\n" * 20)
    with pytest.raises(InputError, match=r"a.csv: each column holds its name, 'red' the first: is the header a row\?"):
        data.load(str(path), target="yes")
    path.write_text("red,small,answer\n" + "blue,large,no\nred,small,yes\n" * 20)  # one column has a name of its own
    assert data.load(str(path), target="answer").table.schema.names == ("red", "small", "answer")
