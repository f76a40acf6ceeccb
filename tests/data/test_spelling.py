"""Numbers with commas and times with offsets: told, or read and written as they stand."""

import re
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import yaml
from hypothesis import given, settings

from synthjax import data
from synthjax.data import readers
from synthjax.data.number_forms import Form
from synthjax.data.schema import MISSING
from synthjax.data.schema_inference import infer
from synthjax.data.text_values import Chunk, typed, written
from synthjax.errors import InputError

N = 120


def load(folder: Path, cells: list[str]) -> data.Dataset:
    """A table with these cells and a number beside them."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"cell": cells, "other": rng.normal(size=len(cells)).round(3)})
    frame.to_csv(folder / "a.csv", index=False)
    return data.load(str(folder / "a.csv"))


NUMBERS = np.random.default_rng(1).normal(5000, 3000, N).round(2)


GERMAN = {44: 46, 46: 44}
WHOLE = NUMBERS.astype(int)


def measured(cells, where="table", **said):
    """The field of a column of these cells, in chunks of 50 rows, and the cells as values."""
    parts = [
        Chunk(pa.table({"x": cells[i : i + 50]}), np.arange(i, i + len(cells[i : i + 50])))
        for i in range(0, len(cells), 50)
    ]
    schema = infer(parts, overrides={"x": said} if said else None, where=where)
    frame = pd.concat([typed(part, schema, MISSING, where) for part in parts])
    return schema["x"], frame["x"], written(frame, schema)["x"].to_pylist()


@pytest.mark.parametrize(
    ("cells", "form", "values"),
    [
        ([f"{value:.2f}".replace(".", ",") for value in NUMBERS], "1234,5", NUMBERS),
        ([f"{value:,}" for value in WHOLE], "1,234.5", WHOLE),
        ([f"{value:,.2f}".translate(GERMAN) for value in NUMBERS], "1.234,5", NUMBERS),
        ([f"{value:,}".replace(",", ".") for value in WHOLE], "1.234,5", WHOLE),
        ([f"{value:,.2f}".replace(",", "'") for value in NUMBERS], "1'234.5", NUMBERS),
        ([f"{value:,.2f}".translate({44: 0x202F, 46: 44}) for value in NUMBERS], "1\u202f234,5", NUMBERS),
        ([f"{value:+.2f}" for value in NUMBERS], "+1234.5", NUMBERS),
        ([f"{value:.1f}".replace("-", "\u2212") for value in NUMBERS.round(1)], "\u22121234.5", NUMBERS.round(1)),
        ([f"${value:,.2f}".replace("$-", "-$") for value in NUMBERS], "$1,234.5", NUMBERS),
        ([f"$ {value:.2f}" for value in NUMBERS], "$ -1234.5", NUMBERS),
        ([f"CHF {abs(value)}" for value in WHOLE], "CHF 1234.5", abs(WHOLE)),
        ([f"{value} €" for value in WHOLE], "1234.5 €", WHOLE),
        ([f"{value:.2f}%" for value in NUMBERS], "1234.5%", NUMBERS),
        ([f"{value:,.1f} km/h".translate(GERMAN) for value in NUMBERS.round(1)], "1.234,5 km/h", NUMBERS.round(1)),
    ],
)
def test_numbers_are_read_and_written_as_they_stand(cells, form, values):
    field, read, text = measured(cells)
    assert field.kind in ("continuous", "integer") and field.format == form
    np.testing.assert_array_equal(read.to_numpy(float), values)
    assert text == cells
    assert measured(cells, format=form)[2] == cells  # what the report shows is what a schema file takes


forms = st.builds(
    Form,
    st.sampled_from(["", "$", "CHF ", "€ "]),
    st.sampled_from(["", ",", ".", " ", "'", "\u202f"]),
    st.sampled_from([".", ","]),
    st.sampled_from(["", "%", " kg", " €", "m²"]),
    st.booleans(),
    st.sampled_from(["-", "\u2212"]),
    st.booleans(),
).filter(lambda form: form.group != form.point and (form.before or not form.inside))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(forms, st.lists(st.decimals(-(10**12), 10**12, places=2), min_size=1))
def test_any_form_is_named_by_its_example_and_reads_what_it_writes(form, numbers):
    plain = [f"{number + 0:.2f}".replace("-0.00", "0.00") for number in numbers]
    assert Form.of(form.example) in (form, form._replace(inside=False))
    spelt = form.spelt(pa.array(plain))
    assert form.plain(spelt).to_pylist() == plain and form.fits(spelt.to_pylist())


def test_points_are_decimal_unless_that_cannot_be():
    """987 beside 1.230 would be 1.23, or 987.000, if the points were decimal ones."""
    thousands = [*("987", "12", "1.230", "4.567"), *(f"{i}.{i:03d}" for i in range(10, 60))]
    assert measured(thousands)[1].max() == 59_059
    for cells in (
        [f"{i}.{i:03d}" for i in range(10, 60)],  # all have three digits
        ["987", "0.5", *(f"{i}.{i:03d}" for i in range(10, 60))],
        ["1987", *(f"{i}.{i:03d}" for i in range(10, 60))],
        ["987", *(f"{i}.{i:03d}" for i in range(10, 60) if i % 10)],  # no zero at an end
    ):
        assert measured(cells)[1].max() == max(map(float, cells))
    assert measured(thousands, kind="continuous", format="1234.5")[1].max() == 987


def test_points_between_thousands_are_seen_whatever_the_number_of_numbers():
    cells = [f"{i:,}".replace(",", ".") for i in range(0, 90_000, 37)]
    assert measured(cells)[1].tolist() == list(range(0, 90_000, 37))


@pytest.mark.parametrize(
    "cells",
    [
        [f"{i % 4} h" for i in range(N)],
        [f"{i} {'kg' if i % 2 else 'g'}" for i in range(N)],  # two units
        [f"C{i:05d}" for i in range(N)],
        [f"{i % 99},{i % 7}.{i % 5}" for i in range(N)],
        [f"+{4_917_000_000_000 + i}" for i in range(N)],
        [f"Room {i}" for i in range(N)],
        [f"{i}-{i}" for i in range(N)],
    ],
)
def test_other_cells_are_no_numbers(cells):
    assert measured(cells)[0].kind in ("categorical", "id", "text")


def test_few_spelt_numbers_are_categories():
    assert measured([f"{i % 9},5" for i in range(N)])[0].kind == "categorical"
    assert measured([f"{i % 9}.5" for i in range(N)])[0].kind == "continuous"


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


TOLD = r"table: (row [1-9]\d*, )?column 'x': "


def remedies(error):
    """The lines for a schema file that a message names."""
    return [yaml.safe_load(line) for line in re.findall(r"`(x: \{[^`]*\})`", str(error))]


@pytest.mark.parametrize(
    ("cells", "what", "missing"),
    [
        ([*map(str, NUMBERS[:80]), *["?"] * 20], r"'\?' is not a number, as 80 of the 100 values are", "?"),
        ([*map(str, NUMBERS), *(f"w{i}" for i in range(21))], r"'w\d+' is not a number, as 120 of the 141", None),
        ([*(f"{i % 24}:{i % 60:02d}" for i in range(N)), *["n"] * 9], "'n' is not a date, as 120 of the 129", "n"),
        ([*(f"{i},5 kg" for i in range(N)), "7,5 g"], "'7,5 g' is not a number like 1234,5 kg", "7,5 g"),
        ([*(f"{i},5" for i in range(N)), *["no: 1"] * 5], "'no: 1' is not a number like 1234,5", "no: 1"),
        ([*map(str, NUMBERS), "inf"], "'inf' is not a finite number", "inf"),
        ([f"2021-03-{1 + i % 28:02d} 10:{i % 60:02d}:00 CEST" for i in range(N)], "look like numbers or times", None),
        ([f"{i}:{i % 60:02d}" for i in range(30, 30 + N)], "look like numbers or times", None),
    ],
)
@pytest.mark.parametrize("order", [1, -1])
def test_a_column_that_would_be_lost_is_refused_with_lines_that_work(cells, what, missing, order):
    cells = cells[::order]
    with pytest.raises(InputError, match=TOLD + ".*" + what) as caught:
        measured(cells)
    said = [line["x"] for line in remedies(caught.value)]
    kinds = [measured(cells, **line)[0] for line in said]
    assert len(said) >= 2
    if missing:
        assert missing in said[0]["missing"] and kinds[0].kind in ("continuous", "integer", "datetime")
        assert kinds[0].missing == cells.count(missing)


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
        ([f"{'V' if i % 37 < 2 else ''}{100 + i % 80}" for i in range(900)], "categorical"),  # diseases
        ([f"{i % 204:03d}{'A' if i % 204 == 136 else ''}" for i in range(270)], "id"),  # families, most of them rare
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
