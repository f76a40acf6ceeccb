"""What is lost of a column is told, with a line for the schema file that works as it stands."""

import json
import re

import numpy as np
import pandas as pd
import yaml

from synthjax import data

N = 300
RNG = np.random.default_rng(0)


def few(make, count):
    """Cells of which so many hold something."""
    return [make(i) if i % (N // count) == 0 else "" for i in range(N)]


FRAME = pd.DataFrame(
    {
        "street": [f"{i} High Street, flat {i % 7}" for i in range(N)],
        "sur name": ["".join(RNG.choice(list("abcdefg"), 5)) for _ in range(N)],
        "yes": few(lambda i: str(i * 3), 6),
        "died_on": few(lambda i: f"2020-{1 + i % 12:02d}-11", 6),
        "visits": [f"V{10_000 + 7 * (i // 2)}" for i in range(N)],
        "age": RNG.integers(20, 90, N),
    }
)
FRAME.loc[:3, "sur name"] = "smith"


def load(tmp_path, text=None):
    FRAME.to_csv(tmp_path / "a.csv", index=False)
    if text is None:
        return data.load(str(tmp_path / "a.csv"))
    (tmp_path / "s.yaml").write_text(text)
    return data.load(str(tmp_path / "a.csv"), schema=str(tmp_path / "s.yaml"))


def test_each_lost_column_has_a_line_that_keeps_more_of_it(tmp_path):
    found = load(tmp_path)
    notes = "\n".join(found.table.notes)
    lines = re.findall(r"`([^`]*\})`", notes)
    said = yaml.safe_load("\n".join(lines))
    assert set(said) == {"street", "sur name", "yes", "died_on"}
    assert "visits: several rows have one identifier: they are treated as independent" in notes
    again = load(tmp_path, "columns:\n" + "".join(f"  {line}\n" for line in lines))
    kinds = {field.name: field.kind for field in again.table.schema.fields}
    assert kinds["street"] == kinds["sur name"] == "id" and kinds["yes"] == "integer"
    assert kinds["died_on"] == "categorical" and again.table.schema["died_on"].missing > 0
    rows = again.encoder.decode(again.encoder.encode(again.frame("test")))
    assert 0 < rows["died_on"].isna().mean() < 1 and rows["yes"].notna().any()
    assert (
        rows["street"].str.fullmatch(r"\d+ High Street, flat \d").all() or rows["street"].str.startswith("synth").all()
    )


def test_a_table_that_loses_nothing_has_no_advice(tmp_path):
    FRAME[["age"]].assign(town=np.arange(N) % 3).to_csv(tmp_path / "b.csv", index=False)
    assert data.load(str(tmp_path / "b.csv")).table.schema.advice() == []


def test_a_saved_schema_is_a_schema_file(tmp_path):
    """Of a table with sparse columns, identifiers and dates."""
    schema = load(tmp_path).table.schema
    (tmp_path / "s.json").write_text(json.dumps(schema.to_dict()))
    assert data.load(str(tmp_path / "a.csv"), schema=str(tmp_path / "s.json")).table.schema == schema


def test_a_target_may_have_the_name_of_an_identifier(tmp_path):
    FRAME.assign(number=np.arange(N) * 37 + 5)[["age", "number"]].sample(N, random_state=0).to_csv(
        tmp_path / "c.csv", index=False
    )
    assert data.load(str(tmp_path / "c.csv"), target="number").table.schema["number"].kind == "integer"
    assert data.load(str(tmp_path / "c.csv"), target="age").table.schema["number"].kind == "id"
