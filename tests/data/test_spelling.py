"""Numbers with commas and times with offsets: told, or read and written as they stand."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from synthjax import data
from synthjax.data import tables
from synthjax.data.spelling import misspelt
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
    with tables.writing(tmp_path / "b.csv", found.table.schema) as write:
        write(frame)
    assert pd.read_csv(tmp_path / "b.csv", dtype=str).cell.tolist() == [cells[i] for i in found.train.index]
