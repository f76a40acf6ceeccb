"""`synthjax.synthesize`: frames of several libraries in and out, and a report that a notebook shows."""

import html
import json
import re

import numpy as np
import pandas as pd
import polars
import pyarrow as pa
import pytest

import synthjax
from synthjax.errors import InputError


def people(n=240, seed=0):
    rng = np.random.default_rng(seed)
    low = rng.integers(0, 50, n)
    frame = pd.DataFrame(
        {
            "low": low,
            "high": low + rng.integers(0, 9, n),
            "size": rng.normal(size=n).astype(np.float32).round(2),
            "town": pd.Categorical(rng.choice(["Ayr", "Bath"], n)),
            "member": rng.random(n) < 0.5,
            "seen": pd.Timestamp("2021-01-04") + pd.to_timedelta(rng.integers(0, 900, n), "D"),
            "word": rng.choice(["a", "b", "c"], n),
        }
    )
    frame.index = frame.index + 7
    return frame


FEW = {"level": "look", "model": "independent"}


@pytest.fixture(scope="module")
def made(tmp_path_factory, small_look):
    folder = tmp_path_factory.mktemp("frames") / "run"
    return synthjax.synthesize(people(), "word", rows=50, workdir=folder, seed=3, **FEW), folder


def test_a_pandas_frame_comes_back_with_its_columns_and_types(made):
    (synthetic, _), folder = made
    assert len(synthetic) == 50 and (synthetic.dtypes == people().dtypes).all()
    assert set(synthetic.town) <= {"Ayr", "Bath"} and synthetic.seen.between("2021-01-04", "2023-06-23").all()
    assert (synthetic.low <= synthetic.high).all()  # a rule that the columns keep
    run = synthjax.load(folder)
    assert run.config.seed == 3 and run.config.rules and run.config.name == "independent"


def test_the_report_shows_itself(made, tmp_path):
    (_, report), folder = made
    assert report.values.manifest.target == "word" and "May I publish" in str(report)
    shown = report._repr_html_()
    page = html.unescape(re.fullmatch('<iframe srcdoc="([^"]*)" .*></iframe>', shown, re.DOTALL)[1])
    assert page == report.html == (folder / "eval" / "report.html").read_text()
    report.save(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text() == report.html
    assert json.loads((folder / "eval" / "report.json").read_text())["manifest"]["target"] == "word"


def test_a_pyarrow_table_comes_back_as_one_and_nothing_is_left(small_look, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    table = pa.Table.from_pandas(people(), preserve_index=False).drop_columns(["town"])
    synthetic, _ = synthjax.synthesize(table, rows=30, **FEW)
    assert isinstance(synthetic, pa.Table) and synthetic.num_rows == 30
    assert synthetic.schema.names == table.schema.names and synthetic.schema.types == table.schema.types
    assert list(tmp_path.iterdir()) == []


def test_a_polars_frame_comes_back_as_one(small_look):
    synthetic, _ = synthjax.synthesize(polars.from_pandas(people()), rows=30, **FEW)
    assert isinstance(synthetic, polars.DataFrame) and synthetic.shape == (30, 7)


def test_a_final_model_learns_from_all_rows(small_look, tmp_path):
    synthetic, report = synthjax.synthesize(people(), final="all", workdir=tmp_path / "run", **FEW)
    assert len(synthetic) == 240 and synthjax.load(tmp_path / "run" / "final").config.all_rows
    assert any("They are not judged" in note for note in report.values.manifest.notes)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"frame": [1, 2]}, "frame: a list is no pandas, Polars or PyArrow data frame"),
        ({"target": "wrod"}, "target 'wrod' is not a column; did you mean word"),
        ({"model": "ddmp"}, "ddmp"),
        ({"sede": 1}, "sede: .* no field 'sede'; did you mean 'seed'"),
        ({"rows": 0}, "rows=0: at least 1 is needed"),
        ({"minutes": -1.0}, "minutes=-1.0: a finite number is needed, 0 for no limit"),
        ({"level": "slow"}, "level=slow: unknown; there are look, quick, full"),
        ({"final": "most"}, "final=most: unknown; there are train and all"),
        ({"model": "auto", "freeze": "x"}, "freeze"),
    ],
)
def test_what_cannot_be_done_is_one_line(asked, message):
    with pytest.raises(InputError, match=message):
        synthjax.synthesize(**{"frame": people(), **FEW, **asked})
