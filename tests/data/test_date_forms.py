"""Dates, months and times of day in the forms that files have: read as times, and written the same way again."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import yaml

from synthjax import data
from synthjax.data.schema import MISSING
from synthjax.data.schema_inference import infer
from synthjax.data.text_values import Chunk, typed, written

N = 150
TIMES = pd.Timestamp("1999-11-03 00:00:00") + pd.to_timedelta(
    np.random.default_rng(0).integers(0, 3 * 10**8, N) // 60 * 60, "s"
)
DAY, MONTH = TIMES.normalize(), TIMES.to_period("M").to_timestamp()


def measured(cells, size=40, **said):
    """The field of a column of these cells, in chunks of some rows, and the cells as values and as text again."""
    starts = range(0, len(cells), size)
    parts = [Chunk(pa.table({"x": cells[i : i + size]}), np.arange(i, min(i + size, len(cells)))) for i in starts]
    schema = infer(parts, overrides={"x": said} if said else None)
    frame = pd.concat([typed(part, schema, MISSING, "file") for part in parts])
    return schema["x"], frame["x"], written(frame, schema)["x"].to_pylist()


@pytest.mark.parametrize(
    ("form", "times"),
    [
        ("%d/%m/%y", DAY),
        ("%m/%d/%y", DAY),
        ("%d.%m.%y %H:%M", TIMES),
        ("%d-%b-%y", DAY),
        ("%-d %B %Y", DAY),
        ("%d %b %Y", DAY),
        ("%B %-d, %Y", DAY),
        ("%Y-%m-%d %H:%M:%S.%f", TIMES + pd.Timedelta("0.25s")),
        ("%m/%d/%Y %I:%M %p", TIMES),
        ("%Y-%m-%d %-I:%M %p", TIMES),
        ("%Y-%m", MONTH),
        ("%m/%Y", MONTH),
        ("%Y%m%d", DAY),
        ("%d%m%Y", DAY),
        ("%m%d%Y", DAY),
        ("%Y%m", MONTH),
        ("%Y%m%d%H%M", TIMES),
        ("%Y%m%d%H%M%S", TIMES),
    ],
)
def test_dates_are_read_and_written_as_they_stand(form, times):
    cells = [time.strftime(form) for time in times]
    field, read, text = measured(cells)
    assert field.kind == "datetime" and field.format == form
    assert (read.to_numpy() == times.to_numpy()).all() and text == cells
    assert measured(cells, kind="datetime", format=form)[2] == cells


@pytest.mark.parametrize("form", ["%H:%M", "%H:%M:%S", "%I:%M %p", "%-H:%M"])
def test_times_of_day_are_read_and_their_bounds_have_no_date(form):
    cells = [time.strftime(form) for time in TIMES]
    field, read, text = measured(cells)
    assert field.kind == "datetime" and text == cells and "1900" not in field.holds()
    assert (read.dt.strftime("%H%M").to_numpy() == TIMES.strftime("%H%M")).all()


def test_times_at_several_offsets_are_one_line_of_time():
    """One place with summer time, sorted: its first chunks hold one offset alone."""
    times = TIMES.sort_values().tz_localize("UTC").tz_convert("Europe/Paris")
    cells = [time.isoformat() for time in times]
    assert len({cell[-6:] for cell in cells[:3]}) == 1 < len({cell[-6:] for cell in cells})
    field, read, text = measured(cells, size=3)
    assert field.format == "%Y-%m-%dT%H:%M:%S%z" and (read.to_numpy() == TIMES.sort_values().to_numpy()).all()
    assert (pd.to_datetime(text) == times).all() and all(cell.endswith("+00:00") for cell in text)
    whole = measured(cells, size=N)[0]
    assert (field.low, field.high) == (whole.low, whole.high)


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        ([f"{i % 24:02d}:00" for i in range(600)], "categorical"),
        ([f"2020-{1 + i % 12:02d}" for i in range(600)], "categorical"),
        ([str(202_001 + i % 5) for i in range(600)], "integer"),  # five numbers may be months by chance
        ([str(20_190_100 + i % 90) for i in range(600)], "integer"),  # the 32nd to 89th of January
        ([str(10_000_000 + 7919 * i % 10**7) for i in range(600)], "integer"),
        ([f"{i % 9}.{i % 7}.{i % 30}" for i in range(600)], "id"),  # versions
        ([f"{1 + i % 12}/{1 + i % 5}" for i in range(600)], "categorical"),
        ([f"{i % 60:02d}-{i % 600:05d}" for i in range(600)], "id"),
    ],
)
def test_what_only_looks_like_a_date_is_none(cells, kind):
    assert measured(cells)[0].kind == kind


def test_a_day_that_stands_for_never_is_a_date_too():
    cells = [time.strftime("%Y%m%d") for time in DAY[:-9]] + ["99991231"] * 9
    field, _, text = measured(cells)
    assert field.kind == "datetime" and text == cells


def test_a_schema_file_takes_the_format_that_a_report_shows(tmp_path):
    """Whole numbers that are dates, in a file."""
    frame = pd.DataFrame({"day": [int(time.strftime("%Y%m%d")) for time in DAY], "y": np.arange(N) % 7 / 4})
    frame.to_csv(tmp_path / "a.csv", index=False)
    for said in ({"kind": "datetime", "format": "%Y%m%d"}, {"kind": "datetime"}, {}):
        (tmp_path / "s.yaml").write_text(yaml.safe_dump({"columns": {"day": said}}))
        found = data.load(str(tmp_path / "a.csv"), schema=str(tmp_path / "s.yaml"))
        drawn = found.encoder.decode(found.train.x)
        assert found.table.schema["day"].format == "%Y%m%d" and drawn["day"].dtype.kind == "M"
    (tmp_path / "s.yaml").write_text("columns: {day: {kind: integer}}")
    assert data.load(str(tmp_path / "a.csv"), schema=str(tmp_path / "s.yaml")).table.schema["day"].kind == "integer"
