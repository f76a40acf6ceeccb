"""Rows of one subject: which column names it, and splits that keep them together."""

import os

import numpy as np
import pandas as pd
import pytest

from synthjax import data
from synthjax.data import splits
from synthjax.errors import InputError

RNG = np.random.default_rng(0)


def visits(subjects: int = 300, each: int = 4) -> pd.DataFrame:
    """Rows of subjects with one to seven rows each, in no order; what they have in common is their age."""
    who = np.repeat(np.arange(subjects), RNG.integers(1, 2 * each, subjects))
    who = RNG.permutation(who)
    age = RNG.integers(20, 80, subjects)[who]
    return pd.DataFrame({"who": who, "age": age, "ill": np.where(RNG.random(len(who)) < 0.3, "yes", "no")})


def written(folder, frame: pd.DataFrame, schema: str = "") -> dict:
    frame.to_csv(folder / "t.csv", index=False)
    (folder / "s.yaml").write_text(schema)
    return {"name": str(folder / "t.csv"), "schema": str(folder / "s.yaml") if schema else None}


def subjects_of(found: data.Dataset, frame: pd.DataFrame, column: str) -> list[set]:
    return [set(frame[column].iloc[getattr(found, split).index]) for split in ("train", "holdout", "test")]


@pytest.mark.parametrize(
    ("column", "spell"),
    [
        ("patient_id", str),
        ("Subject", str),
        ("id", str),
        ("customerNo", str),
        ("order_id", "ORD-{:05d}".format),
        ("person", "P{}".format),
    ],
)
def test_rows_of_one_subject_fall_into_one_split(tmp_path, column, spell):
    frame = visits()
    frame[column] = [spell(who) for who in frame.pop("who")]
    how = written(tmp_path, frame)
    found = data.load(**how, target="ill")
    apart = subjects_of(found, frame, column)
    assert not (apart[0] & apart[1] or apart[0] & apart[2] or apart[1] & apart[2])
    sizes = [len(getattr(found, split).y) / len(frame) for split in ("train", "holdout", "test")]
    np.testing.assert_allclose(sizes, [0.72, 0.08, 0.2], atol=0.03)
    rates = [getattr(found, split).y.mean() for split in ("train", "holdout", "test")]
    assert np.ptp(rates) < 0.15
    assert found.table.schema[column].kind == "id"
    assert [note for note in found.table.notes if note.startswith(f"{column}: ") and "stay together" in note]
    again = data.load(**how, target="ill")
    assert again.fingerprint == found.fingerprint


def test_a_schema_file_names_the_column_or_says_that_there_is_none(tmp_path):
    frame = visits(30, 40).rename(columns={"who": "machine"})
    plain = data.load(**written(tmp_path, frame), target="ill")
    assert plain.table.schema["machine"].kind == "integer"  # many rows each, and no name of a subject
    assert not [note for note in plain.table.notes if "stay together" in note]
    found = data.load(**written(tmp_path, frame, "group: machine"), target="ill")
    apart = subjects_of(found, frame, "machine")
    assert not apart[0] & (apart[1] | apart[2]) and found.table.schema["machine"].kind == "id"
    frame = visits().rename(columns={"who": "patient"})
    rows = data.load(**written(tmp_path, frame, "group: false"), target="ill")
    every = splits.Split(np.empty((len(frame), 0)), (frame.ill == "yes").to_numpy(int), np.arange(len(frame)))
    expected = splits.cut(every, None, 0.1)
    for split, own in zip(("train", "holdout", "test"), expected, strict=True):
        np.testing.assert_array_equal(getattr(rows, split).index, own.index)


@pytest.mark.parametrize(
    ("column", "cells"),
    [
        ("location_id", RNG.integers(1, 260, 900)),  # dense codes of many places
        ("customer_id", np.arange(900)),  # a row each
        ("user", RNG.choice(["web", "app", "shop"], 900)),
        ("customer_name", RNG.choice([f"Name {'abcdefghij'[i % 10]}{'klmnopqrst'[i // 10]}" for i in range(90)], 900)),
        ("visits", RNG.integers(0, 10**6, 300).repeat(3)),
        ("client_age", RNG.integers(20, 90, 900)),
        ("customers", RNG.integers(1, 90, 900)),
    ],
)
def test_what_names_no_subject_without_doubt_changes_no_split(tmp_path, column, cells):
    frame = pd.DataFrame({column: cells, "x": RNG.normal(size=900).round(3)})
    found = data.load(**written(tmp_path, frame))
    held = splits.stratified(np.zeros(900, int), 0.2, splits.TEST_SEED)
    np.testing.assert_array_equal(found.test.index, np.flatnonzero(held))


def test_identifiers_of_several_rows_that_are_not_grouped_come_with_the_line_that_groups_them(tmp_path):
    frame = visits().rename(columns={"who": "parcel"})
    frame["parcel"] = "P-" + frame.parcel.astype(str).str.zfill(5)
    notes = data.load(**written(tmp_path, frame)).table.notes
    line = "rows of one parcel may be in train and in test; `group: parcel` in a schema file keeps them together"
    assert line in notes and any("treated as independent" in note for note in notes)
    assert line not in data.load(**written(tmp_path, frame, "group: parcel")).table.notes
    assert line not in data.load(**written(tmp_path, frame, "group: false")).table.notes


def test_rows_without_a_subject_are_subjects_of_their_own(tmp_path):
    frame = visits().astype({"who": object}).rename(columns={"who": "client"})
    frame.loc[RNG.random(len(frame)) < 0.2, "client"] = None
    found = data.load(**written(tmp_path, frame))
    parts = [set(frame.client.iloc[getattr(found, split).index].dropna()) for split in ("train", "holdout", "test")]
    assert not parts[0] & (parts[1] | parts[2])
    assert all(frame.client.iloc[getattr(found, split).index].isna().any() for split in ("train", "holdout", "test"))


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ("group: patient", "t.csv: group 'patient' is not a column; did you mean patients? there are"),
        ("group: ill", "t.csv: group: 'ill' is the target; name the column of subjects"),
        ("group: [patients]", "s.yaml: group: ['patients'] is neither a column's name nor false"),
        ("group: rare", "t.csv: class yes has too few different 'rare' for each of train, holdout and test to "
                        "have one; to split by rows, put `group: false` at the top of a schema file"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_group_is_one_line(tmp_path, schema, said):
    frame = visits().rename(columns={"who": "patients"})
    frame["rare"] = np.where(frame.ill == "yes", 0, np.arange(len(frame)))
    with pytest.raises(InputError) as error:
        data.load(**written(tmp_path, frame, schema), target="ill")
    assert said in str(error.value)


def test_the_described_schema_names_the_group(tmp_path):
    frame = visits().rename(columns={"who": "patient"})
    how = written(tmp_path, frame)
    described = data.sources.describe(how["name"])
    (tmp_path / "made.yaml").write_text(described.to_yaml("t.csv"))
    assert "group: patient  # rows" in (tmp_path / "made.yaml").read_text()
    again = data.load(how["name"], schema=str(tmp_path / "made.yaml"))
    np.testing.assert_array_equal(again.test.index, data.load(how["name"]).test.index)


REAL = os.environ.get("SYNTHJAX_DATA_DIR", "")


@pytest.mark.skipif(not os.path.isdir(os.path.join(REAL, "oulad")), reason="needs the data sets")
@pytest.mark.parametrize(
    ("file", "column", "rows", "subjects"),
    [
        ("oulad/studentInfo.csv.gz", "id_student", 32_593, 28_785),
        ("diabetes130/diabetic_data.csv.gz", "patient_nbr", 101_766, 71_518),
    ],
)
def test_subjects_of_real_tables(file, column, rows, subjects):
    from synthjax.data import groups
    from synthjax.data.readers import open_table
    from synthjax.data.schema_file import Overrides

    found = groups.find(open_table(os.path.join(REAL, file)), None, Overrides({}))
    assert (found.name, len(found.rows), len(np.unique(found.rows))) == (column, rows, subjects)
