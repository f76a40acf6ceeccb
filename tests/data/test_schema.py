"""The schema of a table: kinds, missing values, what is held back, overrides, and the cells' way there and back."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from synthjax.data.arrow_types import as_text, from_frame
from synthjax.data.column_units import values_of
from synthjax.data.schema import MISSING, RARE, Schema
from synthjax.data.schema_file import read_overrides
from synthjax.data.schema_inference import infer
from synthjax.data.text_values import Chunk, date_formats, number_text, typed, written
from synthjax.errors import InputError


def chunks(columns, size=50):
    """A table of text in chunks of `size` rows."""
    table = pa.table({name: pa.array([str(cell) for cell in cells]) for name, cells in columns.items()})
    rows = np.arange(len(table))
    return [Chunk(table.slice(i, size), rows[i : i + size]) for i in range(0, len(table), size)]


def one(cells, **options):
    """The field of a single column."""
    return infer(chunks({"x": cells}), **options).fields[0]


N = 200
RNG = np.random.default_rng(0)
COLUMNS = {
    "continuous": [f"{value:.2f}" for value in RNG.normal(size=N)],
    "integer": RNG.integers(0, 40, N),
    "datetime": [f"2016-03-{1 + i % 28:02d}" for i in range(N)],
    "categorical": [f"c{i % 7}" for i in range(N)],
    "boolean": ["Yes" if i % 3 else "No" for i in range(N)],
    "id": [f"A-{7 * i:05d}" for i in range(N)],
    "text": [f"a remark of {i} words" for i in range(N)],
    "constant": ["same"] * N,
}


def test_every_kind_is_recognised_whatever_the_chunks():
    schema = infer(chunks(COLUMNS))
    assert [field.kind for field in schema.fields] == list(COLUMNS)
    assert schema == infer(chunks(COLUMNS, 7)) == infer(chunks(COLUMNS, N))
    assert Schema.from_dict(json.loads(json.dumps(schema.to_dict()))) == schema
    assert schema.comparable_kinds() == {kind: kind for kind in COLUMNS} | {"boolean": "categorical"}


@pytest.mark.parametrize(
    "cells, kind",
    [
        (["007", "012", "100"] * 20, "categorical"),  # leading zeros: codes
        (range(1000, 1300), "id"),  # counts rows
        (RNG.permutation(300), "integer"),  # each number once, but in no order
        ([f"{i % 5}.0" for i in range(60)], "integer"),  # how pandas writes whole numbers beside missing ones
        (["1e-3", "2.5E2", "1"] * 20, "continuous"),
        (["3/1/2016 7:05", "12/31/2016 17:45"] * 20, "datetime"),
        (["9999-12-31", "0001-01-01"] * 20, "datetime"),
        (["?", "a"] * 20, "categorical"),  # a question mark is a word, save where a data set says otherwise
        (["", "NA"] * 20, "constant"),
        (
            [f"w{chr(97 + i % 70 // 26)}{chr(97 + i % 26)}" for i in range(100)],
            "text",
        ),  # words, most of which are too rare
        ([f"w{i % 70}" for i in range(100)], "id"),  # codes, most of which are too rare to be kept
        ([f"w{i % 70} and more" for i in range(100)], "text"),
        (["x"] * 3, "text"),  # too few rows share it to give it away: nothing is left
    ],
)
def test_kinds_of_unusual_columns(cells, kind):
    assert one(cells).kind == kind


def test_numbers_are_clipped_at_bounds_that_single_out_no_row():
    field = one([*range(100), 10_000, -10_000])
    # Rows 5 to 9 are 3 ... 7, whose mean is a row's own number: half way to the next.
    assert (field.low, field.high, field.clipped) == (5.5, 93.5, 14)
    free = one([*range(100), 10_000, -10_000], min_count=1)
    assert (free.low, free.high, free.clipped) == (-10_000, 10_000, 0)
    shared = one([0] * 5 + [*range(1, 100)] + [100] * 5)  # five rows share either end: nothing to clip
    assert (shared.low, shared.high, shared.clipped) == (0, 100, 0)


@pytest.mark.parametrize(
    "cells", [["2020-07-15"], ["812345"], [1, 2, 3, 1000], [3.25, 4.5] * 3, ["2020-07-15"] * 4, range(12)]
)
def test_a_column_with_too_few_values_is_always_missing(cells):
    cells = [*cells, *[""] * (400 - len(cells))]
    schema = infer(chunks({"x": cells, "y": ["a", "b"] * 200}))
    field, values = schema["x"], sum(cell != "" for cell in cells)
    assert (field.kind, field.categories, field.suppressed) == ("constant", (), values)
    assert f"{values} values of 1 columns that have too few" in schema.report()
    assert "always missing" in field.holds()
    kept = one([7, 7, 7, 7, 7, 1, *[""] * 100])  # one number is shared by enough rows
    assert (kept.kind, kept.low, kept.high) == ("integer", 7, 7)


def test_rare_categories_are_merged_and_the_report_says_so():
    cells = ["often"] * 50 + ["five"] * 5 + ["four"] * 4 + ["once"]
    field = one(cells)
    assert field.categories == ("often", "five", RARE) and field.counts == (50, 5, 5) and field.suppressed == 2
    report = infer(chunks({"x": cells})).report()
    assert "2 rare ones merged into (rare), 5 rows" in report and "once" not in report and "four" not in report
    assert one(cells, min_count=1).categories == ("often", "five", "four", "once")


def test_missing_cells_are_counted_and_keep_their_spelling():
    field = one(["1", "2", "NA", "NA", ""] * 20)
    assert (field.kind, field.missing, field.token, field.rate) == ("integer", 60, "NA", 0.6)
    assert one(["a", "b", "?"] * 20, tokens=("?",)).missing == 20


def test_identifiers_are_made_anew_from_what_they_share():
    assert one(COLUMNS["id"]).pattern == r"\A\-99999"  # with the shared 0 there is room for 50 times the rows only
    assert infer(chunks({"user_id": RNG.permutation(300)})).fields[0].kind == "id"


DATES = [f"2016-{1 + i % 12:02d}-{1 + i % 28:02d}" for i in range(300)]


@pytest.mark.parametrize("place", [0, 150, 300])
@pytest.mark.parametrize("size", [7, 1000])
@pytest.mark.parametrize(
    "good, bad, message",
    [
        (range(300), "abc", "'abc' is not a number, as 300 of the 301 values are"),
        (range(300), "inf", "'inf' is not a finite number"),
        (DATES, "2016-02-30", "'2016-02-30' is not a date, as 300 of the 301 values are"),
        (DATES, "unknown", "'unknown' is not a date, as 300 of the 301"),
        (DATES, "2016-1-1x", "'2016-1-1x' is not a date"),
        (DATES, "12016-01-01", "'12016-01-01' is not a date"),
        (DATES, "01/02/2016", "'01/02/2016' is not a date"),
    ],
)
def test_a_cell_unlike_the_others_is_named(good, bad, message, place, size):
    cells = [*[*good][:place], bad, *[*good][place:]]
    with pytest.raises(InputError, match=rf"table: row {place + 1}, column 'x': {message}"):
        infer(chunks({"x": cells}, size))


@pytest.mark.parametrize(
    "cells, message",
    [
        ([0, 1, "-Infinity"], r"row 3, column 'x': '-Infinity' is not a finite number"),
        ([0.5, "1e999"], r"row 2, column 'x': '1e999' is not a finite number"),
    ],
)
def test_infinities_are_named(cells, message):
    with pytest.raises(InputError, match=message):
        one(cells)


def test_dates_of_a_file_that_no_form_can_spell_are_named():
    days = pa.table({"x": pa.array([3_700_000, *range(99)], pa.date32())})
    chunk = Chunk(as_text(days), np.arange(100))
    with pytest.raises(InputError, match=r"row 1, column 'x': '12\d+-.*' is a date that cannot be read"):
        infer([chunk], storage={"x": "date32[day]"})


@pytest.mark.parametrize(
    "cells, message",
    [
        (["a"] * 50, "is always 'a': there is nothing to predict"),
        (["a"] * 50 + [""], "is missing in 1 rows"),
        (["a"] * 50 + ["b"], r"class 'b' has 1 training rows; classes of fewer than 5 \(min_count\)"),
        ([f"a{i}" for i in range(50)], "of kind id"),
    ],
)
def test_a_target_that_cannot_be_one_is_refused(cells, message):
    with pytest.raises(InputError, match=message):
        one(cells, target="x")
    with pytest.raises(InputError, match="target 'z' is not a column; there are x"):
        one(cells, target="z")


def test_a_target_of_few_whole_numbers_is_a_class_and_of_many_a_quantity():
    assert infer(chunks({"x": RNG.integers(0, 3, N)}), target="x").classes == ("0", "1", "2")
    assert infer(chunks({"x": RNG.integers(0, 90, N)}), target="x").classes == ()
    ten = infer(chunks({"x": [10, 9, 2] * 20}), target="x")
    assert ten.classes == ("2", "9", "10")  # by value
    assert ten.with_classes(("9", "10", "2")).classes == ("9", "10", "2")


def test_overrides_from_yaml_and_from_a_saved_schema(tmp_path):
    path = tmp_path / "schema.yaml"
    path.write_text("columns:\n  integer: {kind: categorical}\n  continuous: {min: -9, max: 9, encoding: mode}\n")
    schema = infer(chunks(COLUMNS), overrides=read_overrides(path).columns)
    assert schema["integer"].kind == "categorical" and schema["continuous"].encoding == "mode"
    assert (schema["continuous"].low, schema["continuous"].high, schema["continuous"].clipped) == (-9, 9, 0)
    saved = tmp_path / "saved.json"
    saved.write_text(json.dumps(schema.to_dict()))
    again = infer(chunks(COLUMNS), overrides=read_overrides(saved).columns)
    assert [field.kind for field in again.fields] == [field.kind for field in schema.fields]


@pytest.mark.parametrize(
    "text, message",
    [
        ("columns: {x: {kind: number}}", "columns: x: unknown kind 'number'; there are continuous"),
        ("columns: {x: {sort: id}}", "unknown key 'sort'"),
        ("columns: {x: {min: a}}", "min: 'a' is not a number"),
        ("columns: {x: {min: 2, max: 1}}", "min 2 is above max 1"),
        ("kinds: 3", "a schema file holds `columns:`"),
        ("columns: {x: {missing: '?'}}", "columns: x: missing: '\\?' is no list of cells"),
        ("missing: [[1]]", "is no list of cells"),
        ("{", "not valid"),
    ],
)
def test_a_wrong_schema_file_is_refused(tmp_path, text, message):
    path = tmp_path / "schema.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_overrides(path)


def test_cells_may_be_declared_missing_for_a_column_or_the_table(tmp_path):
    path = tmp_path / "schema.yaml"
    path.write_text('missing: ["?"]\ncolumns:\n  height: {missing: [-999]}\n')
    heights, towns = [*range(150, 190), -999, -999, "?"], ["a", "b", "-999", "?"] * 10 + ["a", "NA", "b"]
    (chunk,) = chunks({"height": heights, "town": towns}, 1000)
    schema = infer([chunk], min_count=1, overrides=read_overrides(path, ("height", "town")).columns)
    assert (schema["height"].kind, schema["height"].low, schema["height"].missing) == ("integer", 150, 3)
    assert schema["height"].token == "-999" and schema["height"].tokens == ("?", "-999")
    assert set(schema["town"].categories) == {"a", "b", "-999"} and schema["town"].missing == 11
    frame = typed(chunk, schema, MISSING, "file")
    assert frame["height"].isna().sum() == 3 and frame["town"].isna().sum() == 11
    assert written(frame, schema)["height"].to_pylist()[40:42] == ["-999", "-999"]
    saved = tmp_path / "saved.json"
    saved.write_text(json.dumps(schema.to_dict()))
    assert infer([chunk], min_count=1, overrides=read_overrides(saved).columns) == schema
    assert Schema.from_dict(json.loads(saved.read_text())) == schema


def test_overrides_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="schema file: 'y' is not a column"):
        one(["1", "2"], overrides={"y": {"kind": "text"}})
    with pytest.raises(InputError, match="row 2, column 'x': 'b' is not of kind integer"):
        one(["1", "b"], overrides={"x": {"kind": "integer"}})


@pytest.mark.parametrize(
    "cells",
    [
        ["9.0", "0.5", "12.35", "-0.75"],
        ["12.50", "0.00", "-3.10"],
        ["1", "-20", "999999999999999"],
        ["1.22965763450793", "-0.0051590028825098", "22"],
        ["2016-03-01 00:07:55", "1899-12-31 23:59:59"],
        ["3/1/2016 7:05", "12/31/2016 17:45"],
        ["01.02.2016", "31.12.1999"],
        ["2016-03-01T00:07:55.123Z", "2016-03-01T00:07:55.000Z"],
        ["05-Mar-2016", "31-Dec-1999"],
        ["1.0", "", "3.0"],
        ["TRUE", "FALSE", ""],
    ],
)
def test_cells_come_back_as_they_were_spelt(cells):
    (chunk,) = chunks({"x": cells * 10}, 1000)
    schema = infer([chunk])
    frame = typed(chunk, schema, MISSING, "file")
    assert written(frame, schema)["x"].to_pylist() == cells * 10


def test_typed_frames_hold_numbers_dates_and_text():
    (chunk,) = chunks({"i": [1, 2, 3], "m": [1, "", 3], "d": ["2016-03-01"] * 2 + [""], "s": ["a", "NA", "b"]})
    chunk = Chunk(chunk.cells, np.array([7, 8, 9]))
    frame = typed(chunk, infer([chunk], min_count=1), MISSING, "file")
    assert frame["i"].tolist() == [1, 2, 3] and frame["i"].dtype == np.int64 and frame.index.tolist() == [7, 8, 9]
    assert frame["m"].isna().tolist() == [False, True, False] and frame["m"].dtype == np.float64
    assert frame["d"].dt.day.tolist()[:2] == [1, 1] and frame["d"].isna().tolist() == [False, False, True]
    assert frame["s"].isna().tolist() == [False, True, False]


def test_rows_that_training_never_saw_are_checked_against_the_kinds():
    schema = infer(chunks({"x": range(5)}), min_count=1)
    (bad,) = chunks({"x": [1, "a"]})
    with pytest.raises(InputError, match=r"file: row 2, column 'x': 'a' is not a finite number"):
        typed(bad, schema, MISSING, "file")


def test_text_that_a_spreadsheet_would_run_gets_an_apostrophe():
    risky = ["=SUM(A1)", "=1+1", "@SUM(1)", "+cmd|' /C calc'!A0", "-1+Sheet2!A1", "\t=1", "=x"]
    plain = ["+", "-", "++", "-5%", "+5%", "@a", "-none-", "=", ">=5", "+49 30 123", "x=1", "-5", "a(b)"]
    (chunk,) = chunks({"x": (risky + plain) * 5, "=n": range(100), "+": range(100)}, size=100)
    schema = infer([chunk])
    safe = written(typed(chunk, schema, MISSING, "file"), schema, safe=True)
    assert safe["x"].to_pylist()[:20] == [*(f"'{cell}" for cell in risky), *plain]
    assert safe.column_names == ["x", "'=n", "+"]


def test_numbers_of_any_size_keep_their_values():
    field = one([f"{i}.5e-18" for i in range(1, 100)], min_count=1)
    values = values_of(np.linspace(0, 1, 99), field)
    np.testing.assert_allclose(values, [(i + 0.5) * 1e-18 for i in range(1, 100)], rtol=1e-12)


def test_numbers_in_scientific_notation_keep_their_significant_digits():
    cells = ["1.5e-05", "-0.25e-3", "0.0031", "2.75E+4", "0", "-3e2", "120.5", "1e0"] * 10
    field = one(cells, min_count=1)
    assert field.kind == "continuous" and field.decimals is None and field.figures == 4  # those of 120.5
    values = values_of(np.random.default_rng(0).random(500), field)
    np.testing.assert_array_equal(values, [float(f"{value:.3e}") for value in values])
    low = one([f"{i}.5e-08" for i in range(1, 10)] * 9, min_count=1)
    drawn = number_text(values_of(np.random.default_rng(1).random(200), low), low).to_pylist()
    assert low.figures == 2 and {len(text.partition("e")[0].replace(".", "")) for text in drawn} == {2}
    assert all(text.endswith("e-08") for text in drawn)


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["3.2e-04", "-1.5e+10", "7.0e+00"], ["3.2e-04", "-1.5e+10", "7.0e+00"]),
        (["1E-05", "2E-05", "3E+15"], ["1E-05", "2E-05", "3E+15"]),
        (["3.2e-04", "0.5", "1.5e-05"], ["0.00032", "0.5", "0.000015"]),  # some without: as numbers
        (["3.25e-04", "1.5e-05", "1.5e-05"], ["0.000325", "0.000015", "0.000015"]),  # unequal
    ],
)
def test_powers_of_ten_are_written_where_all_cells_have_them_alike(cells, expected):
    field = one(cells * 10, min_count=1)
    assert number_text(np.array([float(cell) for cell in cells]), field).to_pylist() == expected
    absent = number_text(np.array([np.nan, float(cells[1])]), field).to_pylist()
    assert absent == [None, expected[1]]


def test_frames_of_any_types_become_text():
    frame = pd.DataFrame(
        {"f": [1.5, None], "t": np.array(["2016-03-01", "2016-03-02T01:02:03"], "M8[ns]"), "b": [True, False]}
    )
    text = from_frame(frame)
    assert text.to_pydict() == {
        "f": ["1.5", ""],
        "t": ["2016-03-01 00:00:00.000000", "2016-03-02 01:02:03.000000"],
        "b": ["true", "false"],
    }
    with pytest.raises(InputError, match="column l holds list"):
        as_text(pa.table({"l": [[1], [2]]}))
    with pytest.raises(InputError, match="mixed types in a column"):
        from_frame(pd.DataFrame({"x": [1, "a", {}]}))


def test_forms_of_dates_are_told_by_their_shape():
    assert date_formats("2016-03-01") == ["%Y-%m-%d"]
    assert date_formats("03/01/2016") == ["%d/%m/%Y", "%m/%d/%Y"]
    assert date_formats("hello") == []
    assert one(["03/13/2016", "03/01/2016"] * 5).format == "%m/%d/%Y"  # the thirteenth decides
