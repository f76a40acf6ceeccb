"""Rules between columns, from the file to decoded rows: whatever a model draws, they hold."""

import json

import numpy as np
import pandas as pd
import pytest

from synthjax import data
from synthjax.data import conditions
from synthjax.data.encoding import Encoder
from synthjax.errors import InputError

N = 600


def trips(path):
    rng = np.random.default_rng(0)
    start = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 10**6, N), "s")
    fare, tip = rng.integers(300, 6000, N) / 100, rng.integers(50, 900, N) / 100
    pay = rng.choice(["card", "cash"], N)
    tip[pay == "cash"] = 0
    town = rng.choice(["Bern", "Genf", "Rom", "Mailand", "Lyon"], N)
    land = pd.Series(town).map({"Bern": "CH", "Genf": "CH", "Rom": "IT", "Mailand": "IT", "Lyon": "FR"})
    frame = pd.DataFrame(
        {
            "id": [f"T{number}" for number in rng.permutation(10**5)[:N]],
            "start": start.astype(str),
            "end": (start + pd.to_timedelta(rng.integers(60, 4000, N), "s")).astype(str),
            "fare": fare,
            "tip": tip,
            "total": (fare + tip).round(2),
            "pay": pay,
            "town": town,
            "land": land,
        }
    )
    frame.to_csv(path, index=False)
    return frame


def kept(frame):
    """(n,) bool: the rules of `trips`, written by hand."""
    land = frame["town"].map({"Bern": "CH", "Genf": "CH", "Rom": "IT", "Mailand": "IT", "Lyon": "FR"})
    cents = np.rint(100 * frame["total"]) == np.rint(100 * frame["fare"]) + np.rint(100 * frame["tip"])
    return (
        cents
        & (frame["start"] <= frame["end"])
        & (land == frame["land"])
        & ~((frame["pay"] == "cash") & (frame["tip"] > 0))
    )


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    path = tmp_path_factory.mktemp("rules") / "trips.csv"
    trips(path)
    return data.load(str(path), rules=True)


@pytest.mark.parametrize("encoding", ["minmax", "interval", "quantile", "mode", "code"])
def test_rules_hold_whatever_is_decoded(tmp_path, encoding):
    trips(tmp_path / "trips.csv")
    dataset = data.load(str(tmp_path / "trips.csv"), rules=True, encoding=encoding)
    x = 2 * np.random.default_rng(1).standard_normal((2000, dataset.encoder.width))
    rows = dataset.encoder.decode(x)
    assert kept(rows).all()
    assert list(rows) == ["id", "start", "end", "fare", "tip", "total", "pay", "town", "land"]
    plain = data.load(str(tmp_path / "trips.csv"), encoding=encoding).encoder
    x = 2 * np.random.default_rng(1).standard_normal((2000, plain.width))
    assert plain.plan is None and kept(plain.decode(x)).mean() < 0.01


def test_rules_and_the_columns_that_are_learnt(found):
    texts = [rule.text for rule in found.table.rules]
    assert {"total = fare + tip", "start <= end", "town -> land"} <= set(texts), texts
    learnt = [coding.name for coding in found.encoder.codings]
    assert "total" not in learnt and "land" not in learnt and "end - start" in learnt


def test_rows_of_the_file_come_back(found):
    real = found.frame("train").reset_index(drop=True)
    back = found.encoder.decode(found.train.x)
    assert kept(back).all()
    for name in ("town", "land", "pay"):
        assert (back[name] == real[name]).all()
    assert (back["total"] - real["total"]).abs().max() < 10  # clipped at the bounds of what five rows share
    assert (back["total"] == real["total"]).mean() > 0.9


def test_an_encoder_with_rules_is_read_back(found):
    again = Encoder.from_dict(json.loads(json.dumps(found.encoder.to_dict())))
    x = np.random.default_rng(2).standard_normal((50, again.width))
    pd.testing.assert_frame_equal(again.decode(x), found.encoder.decode(x))
    assert again.to_dict() == found.encoder.to_dict()


def test_conditions_on_computed_columns(found):
    rows = found.encoder.decode(found.train.x)
    condition = conditions.parse("land=IT", found.encoder)
    np.testing.assert_array_equal(condition.holds(rows), rows["land"] == "IT")


def test_a_constant_is_never_missing_where_its_value_is_kept(tmp_path):
    path, schema = tmp_path / "rows.csv", tmp_path / "schema.yaml"
    pd.DataFrame({"a": range(60), "c": ["only", None] * 30}).to_csv(path, index=False)
    schema.write_text("columns: {c: {kind: constant}, a: {kind: integer}}\n")
    encoder = data.load(str(path), schema=str(schema)).encoder
    assert conditions.parse("c=only", encoder).holds(encoder.decode(np.zeros((3, encoder.width)))).all()
    with pytest.raises(InputError, match="no row has ''"):
        conditions.parse("c=", encoder)


def test_rules_of_a_schema_file(tmp_path):
    path, schema = tmp_path / "trips.csv", tmp_path / "schema.yaml"
    trips(path)
    schema.write_text("rules:\n  - total = fare + tip\n  - tip <= 1\n  - {rule: fare <= 50, exact: false}\n")
    found = data.load(str(path), schema=str(schema))
    assert [rule.text for rule in found.table.rules] == ["total = fare + tip", "tip <= 1", "fare <= 50"]
    assert [rule.exact for rule in found.table.rules] == [True, True, False]
    (note,) = [note for note in found.table.notes if note.startswith("rule")]
    broken = (found.frame("train")["tip"] > 1).mean()
    assert f"'tip <= 1' holds in {100 * (1 - broken):.2f} %" in note and "exact: false" in note
    rows = found.encoder.decode(np.random.default_rng(3).standard_normal((500, found.encoder.width)))
    assert (rows["tip"] <= 1).all()
    schema.write_text("rules: []\n")
    assert data.load(str(path), schema=str(schema), rules=True).table.rules == ()


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ("total == fare + tip", "schema.yaml: rules: 'total == fare + tip' is not a list"),
        ("[total = fore + tip]", "'fore' is not a column; did you mean fare?"),
        ("[total = fare +]", "entry 1: rule 'total = fare +'"),
        ("[id -> town]", "'id' is never copied"),
        ("[{rule: fare <= 50, always: true}]", "entry 1"),
        ("[town <= 5]", "town"),
    ],
)
def test_a_rule_that_cannot_be_used_is_refused(tmp_path, rules, said):
    path, schema = tmp_path / "trips.csv", tmp_path / "schema.yaml"
    trips(path)
    schema.write_text(f"rules: {rules}\n")
    with pytest.raises(InputError) as error:
        data.load(str(path), schema=str(schema))
    assert said in str(error.value) and "\n" not in str(error.value)
