"""`synthjax.synthesize(frame, epsilon=...)`: rows with a certificate, the ledger, and what cells are as text."""

import json

import numpy as np
import pandas as pd
import polars
import pyarrow as pa
import pytest
from shop import shop

import synthjax
from synthjax.errors import InputError
from synthjax.launch import private_frames
from synthjax.privacy import certificate
from synthjax.privacy.ledger import VARIABLE, Ledger

ASKED = {"target": "churned", "epsilon": 8, "dataset": "customers", "model": "independent"}


@pytest.fixture(autouse=True)
def ledger(tmp_path, monkeypatch):
    """The folder of ledgers."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "ledger"))
    return tmp_path / "ledger"


def people() -> pd.DataFrame:
    frame = shop(1500)
    frame["member"] = frame["member"].map({"true": True, "false": False})
    frame["joined"] = pd.Timestamp("2020-01-01") + pd.to_timedelta(np.arange(1500) % 900, "D")
    return frame


def test_rows_come_with_a_certificate_and_are_paid_for(ledger, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    synthetic, made = synthjax.synthesize(people(), **ASKED, total=10, rows=300)
    assert list(synthetic.columns) == [name for name in people().columns if name != "notes"] and len(synthetic) == 300
    assert synthetic["member"].dtype == "boolean" and set(synthetic["churned"]) == {"yes", "no"}
    assert (synthetic["joined"].dt.normalize() == synthetic["joined"]).all()
    assert 6 < certificate.verify(made.values) <= 8
    assert "(8, 1e-06)-differential privacy" in str(made) and "accuses 1 in 100 people" in str(made)
    assert made.html.startswith("<!doctype html>") and "srcdoc" in made._repr_html_()
    made.save(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text() == made.html
    account = Ledger(ledger, "customers")
    assert [line["event"] for line in account.lines()] == ["total", "fit", "done"] and account.total() == 10
    assert list((tmp_path / "temporary").rglob("*.csv")) == []  # no real rows are left
    with pytest.raises(InputError, match="epsilon 8 is spent of the owner's total of 10"):
        synthjax.synthesize(people(), **ASKED)


def test_a_folder_keeps_what_may_be_published_apart(tmp_path, monkeypatch):
    monkeypatch.setattr("synthjax.launch.evaluate.run", lambda subject, out, **more: out.mkdir())
    frame = polars.from_pandas(people().drop(columns="member"))
    synthetic, made = synthjax.synthesize(frame, **ASKED, workdir=tmp_path / "out", level="look")
    assert isinstance(synthetic, polars.DataFrame)
    assert len(synthetic) == len(pd.read_csv(tmp_path / "out/publish/synthetic.csv"))
    assert json.loads((tmp_path / "out/publish/certificate.json").read_text()) == made.values
    assert (tmp_path / "out/publish/privacy.html").read_text() == made.html
    assert (tmp_path / "out/internal/eval").is_dir()
    assert len(synthjax.load(tmp_path / "out/publish/model").sample(9)) == 9
    with pytest.raises(InputError, match="is finished, and its key destroyed"):
        synthjax.synthesize(frame, **ASKED, workdir=tmp_path / "out")
    with pytest.raises(InputError, match=r"table.csv: holds other rows than the frame; give another workdir"):
        synthjax.synthesize(frame[1:], **ASKED, workdir=tmp_path / "out")


def test_a_missing_cell_changes_the_text_of_no_other():
    """The type of its column, which a library chooses by all rows, does."""
    frame = pd.DataFrame({"n": [34, 10**15, 7], "b": [True, False, True], "c": pd.Categorical(["x", "y", "x"])})
    frame["d"] = pd.to_datetime(["2020-01-02", "2020-01-03 10:20:30", "2020-01-04 00:00:00.5"], format="mixed")
    other = frame.copy()
    other.loc[2, "n"], other["b"] = np.nan, frame["b"].astype(object).where([True, True, False], None)
    assert other["n"].dtype == float
    whole, gaps = (private_frames.plain_text(pa.Table.from_pandas(one)).to_pylist() for one in (frame, other))
    assert whole[:2] == gaps[:2]
    assert whole[0] == {"n": "34", "b": "true", "c": "x", "d": "2020-01-02"}
    assert [row["d"] for row in whole[1:]] == ["2020-01-03 10:20:30", "2020-01-04 00:00:00.500000"]
    assert (gaps[2]["n"], gaps[2]["b"]) == ("", "")
    codes = pa.table({"id": [2**53 + 1, 2**53 + 2], "n": [-1.5, 1e20]})
    assert private_frames.plain_text(codes, unit="id").to_pylist() == [
        {"id": "9007199254740993", "n": "-1.5"},
        {"id": "9007199254740994", "n": "1e+20"},
    ]


def test_persons_with_several_rows_are_units():
    frame = people().assign(customer_id=lambda f: np.arange(len(f)) // 3)
    _, made = synthjax.synthesize(frame, **ASKED, unit="customer_id", rows_per_unit=2, delta=1e-7)
    assert made.values["unit"] == {"column": "customer_id", "rows": 2} and made.values["delta"] == 1e-7
    assert "all rows with one value of customer_id" in str(made)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"dataset": None}, "dataset: name the data set, as in dataset='customers'"),
        ({"epsilon": None}, "dataset: is understood with epsilon alone"),
        ({"epsilon": -1}, "epsilon=-1"),
        ({"test_seed": 1}, "test_seed: a test publishes nothing"),
        ({"seed": 1}, "--seed: with --dp.epsilon all randomness comes from a secret key"),
        ({"final": "all"}, "final=all: is a second fit"),
        ({"minutes": 2}, "minutes=2: a fit that is cut short has paid: give a workdir"),
        ({"unit": "person"}, "--dp.unit 'person' is not a column"),
        ({"model": "smote"}, "--model=smote: cannot be trained with --dp.epsilon"),
        ({"delat": 1e-7}, "has no field 'delat'"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_costs_nothing(asked, message, ledger):
    with pytest.raises(InputError, match=message) as caught:
        synthjax.synthesize(shop(60), **{**ASKED, **asked})
    assert "\n" not in str(caught.value) and not list(ledger.glob("*.jsonl"))
