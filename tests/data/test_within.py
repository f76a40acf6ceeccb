"""Columns that are constant within an identifier: new identifiers of several rows keep that."""

import json

import numpy as np
import pandas as pd
import pytest

from synthjax import data
from synthjax.data import within
from synthjax.data.encoding import Encoder

CHILDREN = 400


def families(seed=0):
    """Rows of children: parents and number of children are those of the family, height and place among them are not."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 6, CHILDREN // 2)
    family = np.repeat(np.arange(len(sizes)), sizes)
    father, mother = rng.normal(69, 2.5, len(sizes)).round(1), rng.normal(64, 2.3, len(sizes)).round(1)
    numbers = np.concatenate([np.arange(size) + 1 for size in sizes])
    height = (father + mother)[family] / 2 + rng.normal(0, 1.5, len(family))
    code = rng.permutation(np.arange(10_000, 99_000, 97))[: len(sizes)]
    return pd.DataFrame(
        {
            "family": [f"F{own}" for own in code[family]],
            "father": father[family],
            "mother": mother[family],
            "mid": ((father + mother) / 2).round(2)[family],
            "children": sizes[family],
            "child": numbers,
            "height": height.round(1),
        }
    )


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    path = tmp_path_factory.mktemp("within") / "families.csv"
    families().to_csv(path, index=False)
    return data.load(str(path), rules=True)


def check(rows):
    groups = rows.groupby("family")
    assert (groups[["father", "mother", "mid", "children"]].nunique() == 1).all().all()
    assert groups.size().max() > 1
    assert (rows["child"] <= rows["children"]).all()
    assert not rows.duplicated(["family", "child"]).any()
    assert (np.rint(100 * rows["mid"]) == np.floor(50 * (rows["father"] + rows["mother"]) + 0.5 + 1e-6)).all()


def test_columns_of_an_identifier_are_found_and_shared_whatever_is_drawn(found):
    field = found.table.schema["family"]
    assert set(field.within) == {"father", "mother", "mid", "children"}
    texts = {rule.text for rule in found.table.rules}
    assert {"family -> father", "family -> children", "unique(family, child)"} <= texts
    assert [rule.text for rule in found.encoder.plan.unique] == ["unique(family, child)"]
    encoder = Encoder.from_dict(json.loads(json.dumps(found.encoder.to_dict())))
    x = 2 * np.random.default_rng(1).standard_normal((900, encoder.width))
    rows = encoder.decode(x)
    check(rows)
    parts = [encoder.decode(x[start : start + 300], seed=3, start=start) for start in (0, 300, 600)]
    check(pd.concat(parts))
    assert not [code for code in families()["family"] if code in json.dumps(found.encoder.to_dict())]


def test_alike_rows_get_the_same_identifier(found):
    rows = found.encoder.decode(found.train.x)
    real = found.frame("train").reset_index(drop=True)
    assert (rows["height"] == real["height"]).mean() > 0.8
    assert np.corrcoef(rows["father"], real["father"])[0, 1] > 0.9
    # Some rows join another family, so that no place of a child repeats: .899, without that above .9.
    assert np.corrcoef(rows["mother"], real["mother"])[0, 1] > 0.89


def test_a_schema_file_may_say_so_or_not(tmp_path):
    path, schema = tmp_path / "families.csv", tmp_path / "schema.yaml"
    families().to_csv(path, index=False)
    schema.write_text('rules: [family -> father, "unique(family, child)"]\n')
    loaded = data.load(str(path), schema=str(schema))
    assert loaded.table.schema["family"].within == ("father",) and len(loaded.encoder.plan.unique) == 1
    rows = loaded.encoder.decode(loaded.train.x)
    assert (rows.groupby("family")["father"].nunique() == 1).all()
    assert (rows.groupby("family")["mother"].nunique() > 1).any()
    schema.write_text("rules: []\n")
    assert data.load(str(path), schema=str(schema), rules=True).table.schema["family"].within == ()


def test_columns_that_agree_by_chance_are_not_shared(tmp_path):
    frame = families(1)
    frame["odd"] = np.where(np.arange(len(frame)) == 5, "a", "b")
    frame[["family", "odd", "height"]].to_csv(tmp_path / "rows.csv", index=False)
    assert data.load(str(tmp_path / "rows.csv"), rules=True).table.schema["family"].within == ()


def test_the_order_of_alike_rows_is_one_of_all_rows():
    points = np.random.default_rng(2).random((1000, 3))
    order = within.alike(points, 3)
    assert sorted(order) == list(range(1000))
    near = np.linalg.norm(np.diff(points[order], axis=0), axis=1)
    assert near.mean() < 0.3 * np.linalg.norm(points[:-1] - points[1:], axis=1).mean()


def persons(n=1500):
    """Rows of persons that a number names, as no column's name says, beside a price that decides a band of prices."""
    rng = np.random.default_rng(3)
    person, own = rng.choice(np.arange(125_000, 632_000, 37), 900, replace=False), rng.integers(0, 900, n)
    sex, site = rng.choice(["f", "m"], 900), rng.integers(1, 7, 900)
    price = rng.integers(100, 900, n)
    return pd.DataFrame(
        {
            "zper": person[own],
            "sex": sex[own],
            "site": site[own],
            "price": price,
            "band": price // 300,
            "low": price // 99,
        }
    )


def test_numbers_of_persons_are_made_anew_with_what_they_determine(tmp_path):
    frame = persons()
    frame.to_csv(tmp_path / "rows.csv", index=False)
    found = data.load(str(tmp_path / "rows.csv"), rules=True)
    field = found.table.schema["zper"]
    assert field.kind == "id" and set(field.within) == {"sex", "site"} and found.table.schema["price"].kind == "integer"
    (note,) = [note for note in found.table.notes if note.startswith("zper: identifies")]
    assert "determines sex, site" in note and "`zper: {kind: integer}`" in note
    rows = found.encoder.decode(found.train.x)
    assert not set(rows["zper"].astype(int)) & set(frame["zper"])
    assert (rows.groupby("zper")[["sex", "site"]].nunique() == 1).all().all()
    (tmp_path / "schema.yaml").write_text("columns: {zper: {kind: integer}}\n")
    kept = data.load(str(tmp_path / "rows.csv"), rules=True, schema=str(tmp_path / "schema.yaml"))
    assert kept.table.schema["zper"].kind == "integer"


def visits(n=250, noise=0):
    """Rows of patients with their visits, counted from 1, beside `noise` columns of small numbers."""
    rng = np.random.default_rng(noise)
    sizes = rng.integers(1, 6, n)
    patient, age = np.repeat(rng.permutation(90_000)[:n] + 10_000, sizes), np.repeat(rng.integers(20, 80, n), sizes)
    number = np.concatenate([np.arange(size) + 1 for size in sizes])
    columns = {"patient_id": patient, "age": age, "visit": number, "score": number + rng.integers(0, 9, len(age))}
    return pd.DataFrame(columns | {f"n{i}": rng.integers(1, 6, len(age)) for i in range(noise)})


def test_a_column_that_counts_the_rows_of_an_identifier_does_so_in_new_ones(tmp_path):
    frame = visits(noise=3)
    frame.to_csv(tmp_path / "rows.csv", index=False)
    found = data.load(str(tmp_path / "rows.csv"), rules=True)
    assert [rule.text for rule in found.encoder.plan.unique] == ["numbered(patient_id, visit)"]
    rows = found.encoder.decode(2 * np.random.default_rng(1).standard_normal((400, found.encoder.width)))
    for _, own in rows.groupby("patient_id")["visit"]:
        assert sorted(own) == list(range(1, len(own) + 1))
    frame["visit"] = np.random.default_rng(2).permutation(frame["visit"])  # the same numbers, of no patient
    frame.to_csv(tmp_path / "rows.csv", index=False)
    assert not [rule for rule in data.load(str(tmp_path / "rows.csv"), rules=True).table.rules if "visit" in rule.text]


def test_a_schema_file_may_say_what_counts_the_rows(tmp_path):
    path, schema = tmp_path / "rows.csv", tmp_path / "schema.yaml"
    visits().to_csv(path, index=False)
    schema.write_text('rules: [patient_id -> age, "numbered(patient_id, visit)"]\n')
    rows = (found := data.load(str(path), schema=str(schema))).encoder.decode(found.train.x)
    assert (rows.groupby("patient_id")["visit"].max() == rows.groupby("patient_id").size()).all()
