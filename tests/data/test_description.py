"""Descriptions of tables: the schema file that is written says what was found, and finds it again."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import yaml

from synthjax import data
from synthjax.data.description import SHOWN, Description, Doubt
from synthjax.data.schema import Schema
from synthjax.errors import InputError


def orders(path, n=800, seed=0):
    """Rows with a column of every kind, three rules, and columns of which there is doubt."""
    rng = np.random.default_rng(seed)
    start = pd.Timestamp("2021-01-04") + pd.to_timedelta(rng.integers(0, 10**7, n), "s")
    fare, tip = rng.integers(300, 6000, n) / 100, rng.integers(50, 900, n) / 100
    wait = np.where(rng.random(n) < 0.1, -999, rng.integers(0, 60, n))
    total = (fare + tip).round(2)
    total[::250] += 1
    frame = pd.DataFrame(
        {
            "order_id": [f"A-{i:05d}" for i in rng.permutation(n)],
            "count": np.arange(n) + 7,
            "start": start.strftime("%d/%m/%Y %H:%M:%S"),
            "end": (start + pd.to_timedelta(rng.integers(60, 4000, n), "s")).strftime("%d/%m/%Y %H:%M:%S"),
            "fare": fare,
            "tip": tip,
            "total: all": total,
            "wait": wait,
            "branch": rng.choice([1, 4, 9], n),
            "account": rng.integers(100_000, 999_999, n),
            "yes": rng.choice(["yes", "no"], n),
            "town": rng.choice([f"t{i}" for i in range(400)], n),
            "said": [f"{i} words {i}" for i in range(n)],
            "land": "UK",
        }
    )
    frame.to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return str(orders(tmp_path_factory.mktemp("orders") / "orders.csv"))


@pytest.fixture(scope="module")
def described(table):
    return data.describe(table)


def test_a_description_is_what_training_would_find(table, described):
    loaded = data.load(table, rules=True)
    fields = [dataclasses.replace(field, taken="") for field in loaded.table.schema.fields]  # of all splits
    assert list(described.schema.fields) == fields and described.rules == loaded.table.rules
    report = described.report()
    assert "start <= end" in report and f"{len(loaded.train.y):,} training rows" in report


def test_the_schema_file_finds_the_same_again(table, described, tmp_path):
    path = tmp_path / "schema.yaml"
    path.write_text(described.to_yaml("orders.csv"))
    values = yaml.safe_load(path.read_text())
    assert list(values["columns"]) == list(described.schema.names)
    assert values["columns"]["start"] == {"kind": "datetime", "format": "%d/%m/%Y %H:%M:%S"}
    again = data.describe(table, schema=str(path))
    assert again.schema == described.schema
    texts = [(rule.text, rule.exact) for rule in described.rules]
    assert [(rule.text, rule.exact) for rule in again.rules] == texts
    assert ("start <= end", True) in texts and ("`total: all` = fare + tip", False) in texts
    assert not again.doubts()  # all of it was said


def test_what_is_said_in_a_file_stays_in_what_is_written(table, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("columns:\n  fare: {min: 0, max: 100}\n  wait: {missing: [-999]}\nrules: [start < end]\n")
    found = data.describe(table, schema=str(path))
    (tmp_path / "more.yaml").write_text(found.to_yaml("orders.csv"))
    values = yaml.safe_load((tmp_path / "more.yaml").read_text())
    assert values["columns"]["fare"] == {"kind": "continuous", "min": 0, "max": 100}
    assert values["columns"]["wait"] == {"kind": "integer", "missing": ["-999"]} and values["rules"] == ["start < end"]
    again = data.describe(table, schema=str(tmp_path / "more.yaml"))
    assert again.schema == found.schema and again.schema["wait"].missing > 0


def test_doubts_name_the_line_that_settles_them(table, described, tmp_path):
    doubts = {doubt.column: doubt for doubt in described.doubts()}
    entries = {name: doubt.entry for name, doubt in doubts.items()}
    assert entries == {
        "count": {"kind": "integer"},
        "wait": {"missing": [-999]},
        "branch": {"kind": "categorical"},
        "account": {"kind": "id"},
    }
    assert str(doubts["wait"]).endswith("then put `wait: {missing: [-999]}`")
    for doubt in doubts.values():  # each line works where it is put
        line = str(doubt).partition("`")[2][:-1]
        (tmp_path / "one.yaml").write_text(f"columns:\n  {line}\n")
        found = data.describe(table, schema=str(tmp_path / "one.yaml"))
        assert doubt.entry.get("kind", "integer") == found.schema[doubt.column].kind
        assert doubt.column not in {other.column for other in found.doubts()}


def test_names_that_yaml_would_misread_are_quoted():
    names = ["yes", "12", "a: b", "# c", "ünï", "- d", "{e}", "null", 'f "g"']
    lines = [str(Doubt(name, "x", {"kind": "id"})).partition("`")[2][:-1] for name in names]
    assert list(yaml.safe_load("\n".join(lines))) == names


def test_long_tables_are_cut_short_in_the_report(described):
    many = tuple(dataclasses.replace(described.schema["fare"], name=f"n{i}") for i in range(SHOWN + 3))
    report = Description(Schema(many), described.rules * SHOWN).report()
    assert f"n{SHOWN - 1} " in report and f"n{SHOWN} " not in report and "... and 3 columns more" in report
    assert f"  ... and {len(described.rules) * SHOWN - SHOWN:,} rules more" in report and "kept back: " in report


def test_images_are_refused():
    with pytest.raises(InputError, match="digits: not a table; tables are adult"):
        data.describe("digits")
