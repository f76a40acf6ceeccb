"""`min_count` counts persons: what one has in fifty rows is not stored, printed or drawn; what enough have is."""

import json
import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from synthjax import data
from synthjax.data import persons
from synthjax.data.encoding import PRESETS
from synthjax.data.keys import Key
from synthjax.data.linked import Linked
from synthjax.data.schema_inference import infer
from synthjax.data.text_values import Chunk
from synthjax.errors import InputError
from synthjax.statistics import apart, measure

MIN, PEOPLE, EACH = 5, 120, 20
RARE = 7
"""A person of the training split."""
ONE = {"town": "Zork", "cost": "98765", "paid": "321.9876", "day": "1987-06-05", "code": "ZZ-99-7", "kind": "76543"}
"""What one person alone has, in all rows."""
ALL = {"town": "Quux", "cost": "4242", "paid": "234.5678", "day": "2011-02-03", "code": "QQ-77-3", "kind": "24"}
"""What MIN persons have, in four rows each."""


def visits(seed=0):
    """Rows of persons in no order, as text."""
    rng = np.random.default_rng(seed)
    who = rng.permutation(np.repeat(np.arange(PEOPLE), EACH))
    n = len(who)
    day = np.datetime64("2000-01-01")
    frame = pd.DataFrame(
        {
            "patient": [f"P{w:04d}" for w in who],
            "town": rng.choice(["Ayr", "Bath", "Cork"], n),
            "cost": (2 * rng.integers(100, 9000, n) + 1).astype(str),
            "paid": [f"{v:.4f}" for v in rng.lognormal(5, 1, n)],
            "day": [str(day + np.timedelta64(int(d), "D")) for d in rng.integers(0, 5000, n)],
            "code": [f"AB-{a}-{b}" for a, b in zip(rng.integers(10, 20, n), rng.integers(0, 9, n), strict=True)],
            "kind": rng.choice(["1", "2", "3"], n),
        }
    )
    frame.loc[who == RARE, list(ONE)] = list(ONE.values())
    for one in range(10, 10 + MIN):
        frame.loc[np.flatnonzero(who == one)[:4], list(ALL)] = list(ALL.values())
    return frame


def loaded(folder, frame, **options):
    frame.to_csv(folder / "t.csv", index=False)
    return data.load(str(folder / "t.csv"), holdout=0.0, **options)


def training(frame, found):
    """Cells of training rows, by column."""
    return frame.iloc[found.train.index]


@pytest.mark.parametrize("encoding", PRESETS)
@pytest.mark.parametrize("rules", [False, True])
def test_what_one_person_has_in_all_rows_is_neither_stored_nor_printed_nor_drawn(tmp_path, encoding, rules):
    frame = visits()
    found = loaded(tmp_path, frame, encoding=encoding, rules=rules)
    own = training(frame, found)
    assert (own.town == ONE["town"]).sum() == EACH
    stored = json.dumps(found.encoder.to_dict()) + json.dumps(found.spec.to_dict())
    printed = found.table.description.report() + found.table.description.to_yaml("t.csv")
    seconds = str(int(np.datetime64(ONE["day"]).astype("M8[s]").astype(int)))
    for cell in ("Zork", "98765", "321.9876", "1987-06-05", seconds, "ZZ-99", "76543"):
        assert not re.search(rf"(?<![\d.]){cell}(?!\d)", stored + printed), cell
    numbers = np.random.default_rng(0).normal(size=(4000, found.encoder.width)).astype(np.float32)
    drawn = found.encoder.decode(numbers).astype(str)
    for name, cell in ONE.items():
        assert not drawn[name].isin([cell, f"{cell}.0"]).any(), name
    again = found.encoder.decode(found.train.x).astype(str)
    for name in ("town", "cost", "day", "code", "kind"):  # the number in the middle is the model's to learn
        assert not again[name].isin([ONE[name], f"{ONE[name]}.0"]).any(), name
    assert drawn.patient.isin(frame.patient).sum() == 0


def test_numbers_that_only_one_has_are_no_atoms_or_edges_of_the_spec(tmp_path):
    frame = visits()
    found = loaded(tmp_path, frame)
    rare = found.train.x[(training(frame, found).paid == ONE["paid"]).to_numpy()]
    assert len(rare) == EACH
    known = found.spec.known()
    numeric = [column for column in found.spec.columns if column.kind != "onehot"]
    for i, column in enumerate(numeric):
        if column.name == "paid":
            edges = np.concatenate([known.low[i], known.high[i]])
            assert np.abs(edges - rare[0, column.start]).min() > 1e-6


def test_what_enough_persons_have_is_stored():
    frame = visits()
    cells = pa.table({name: pa.array(frame[name].tolist()) for name in frame})
    whose = pd.factorize(frame.patient)[0]
    schema = infer([Chunk(cells, np.arange(len(frame))).of(whose)])
    assert ALL["town"] in schema["town"].categories and ONE["town"] not in schema["town"].categories
    assert 4242 in schema["cost"].shared and 234.5678 in schema["paid"].shared
    assert np.datetime64(ALL["day"]).astype("M8[s]").astype(int) in schema["day"].shared
    assert ALL["code"] in schema["code"].categories and 24 in schema["kind"].shared
    first, other = (whose[frame.patient == name][0] for name in ("P0010", "P0011"))
    whose[whose == other] = first  # two of the five are one person
    schema = infer([Chunk(cells, np.arange(len(frame))).of(whose)])
    assert ALL["town"] not in schema["town"].categories and 4242 not in schema["cost"].shared
    assert ALL["code"] not in schema["code"].categories and 24 not in schema["kind"].shared


def test_what_enough_persons_have_comes_back(tmp_path):
    frame = visits()
    often = frame.patient.str[-1].isin(list("02468"))  # half of the persons, in one row of each town
    frame.loc[often & ~frame[["patient", "town"]].duplicated(), list(ALL)] = list(ALL.values())
    found = loaded(tmp_path, frame)
    back, own = found.encoder.decode(found.train.x), training(frame, found).reset_index(drop=True)
    for name, cell in ALL.items():
        same = back[name].astype(str).str.removesuffix(".0") == cell
        assert same[own[name] == cell].all(), name


def test_chunks_do_not_matter():
    frame = visits()
    cells = pa.table({name: pa.array(frame[name].tolist()) for name in frame})
    whose, rows = pd.factorize(frame.patient)[0], np.arange(len(frame))
    whole = infer([Chunk(cells, rows).of(whose)])
    parts = [Chunk(cells.slice(i, 97), rows[i : i + 97]).of(whose) for i in range(0, len(rows), 97)]
    assert infer(parts) == whole
    alone = infer([Chunk(cells, rows).of(rows)])  # each row its own person: as if none were known
    assert alone == infer([Chunk(cells, rows)])


def test_bounds_are_those_of_persons():
    """Persons 0 ... 19 have the numbers i and 100 + i; one of them also fifty that are larger than all."""
    own = np.arange(20)
    values = np.concatenate([own, 100 + own, 1000 + np.arange(50)])
    whose = np.concatenate([own, own, np.zeros(50, int)])
    cells = pa.table({"x": pa.array([str(v) for v in values]), "y": pa.array(["a", "b"] * 45)})
    field = infer([Chunk(cells, np.arange(90)).of(whose)])["x"]
    # The largest numbers of persons are 1049, 119, 118, ...: the mean of the fifth to the ninth, moved off a number.
    assert field.high == 113.5 and field.low == 6.5
    assert infer([Chunk(cells, np.arange(90))])["x"].high > 1000


def test_consecutive_rows_are_of_different_persons():
    rng = np.random.default_rng(0)
    values, whose = rng.integers(0, 50, 3000).astype(float), rng.integers(0, 30, 3000)
    order = apart(values, whose, 5)
    own = whose[order]
    assert (np.diff(values[order]) >= 0).all()
    assert all(len(set(own[i : i + 5])) == 5 for i in range(len(own) - 4))
    assert len(order) > 0.4 * len({*zip(values, whose, strict=True)})
    rows = np.arange(3000)
    np.testing.assert_array_equal(apart(values, rows, 5), np.argsort(values, kind="stable"))
    assert len(apart(values, np.zeros(3000, int), 5)) < 1 + 50 / 5


def test_bins_of_single_rows_are_unchanged_and_count_all_rows():
    rng = np.random.default_rng(0)
    x = np.where(rng.random((2000, 1)) < 0.3, 1.5, rng.normal(size=(2000, 1))).astype(np.float32)
    column = type("Column", (), {"kind": "continuous", "start": 0, "missing": None})()
    plain = measure(x, [column])
    for one, other in zip(plain, measure(x, [column], persons=np.arange(2000)), strict=True):
        np.testing.assert_array_equal(one, other)
    assert measure(x, [column], persons=np.arange(2000) // 10).rows.sum() == 2000


def test_rows_of_few_and_how_many_only_enough_persons_have():
    whose = np.repeat(np.arange(300), 20)
    rows, least = persons.few(whose, 5)
    counts = np.bincount(whose[rows])
    assert counts.max() == counts.min() == 7 and least == 7 * 4 + 1  # 7 * 300 are the first that are 2,000
    assert persons.few(whose, 1) == (slice(None), 1) and persons.few(None, 5) == (slice(None), 5)


def test_a_class_of_few_persons_is_refused(tmp_path):
    frame = visits()
    frame["ill"] = np.where(frame.patient.isin([f"P{w:04d}" for w in range(20, 24)]), "yes", "no")
    with pytest.raises(InputError, match=r"class 'yes' has rows of \d persons; classes of fewer than 5 \(min_count\)"):
        loaded(tmp_path, frame, target="ill")
    assert loaded(tmp_path, frame, target="ill", min_count=1).spec.classes == ("no", "yes")


def test_persons_of_linked_tables_are_topmost_parents():
    people = pa.table({"id": [str(i) for i in range(20)]})
    trips = pa.table({"id": [f"t{i}" for i in range(40)], "of": [*(str(i % 5) for i in range(39)), ""]})
    stops = pa.table({"trip": [f"t{i % 40}" for i in range(80)]})
    keys = [Key("trips", ("of",), "people", ("id",)), Key("stops", ("trip",), "trips", ("id",))]
    tables = {"people": people, "trips": trips, "stops": stops}
    linked = Linked.of(tables, keys, {name: f"{name}.csv" for name in tables})
    np.testing.assert_array_equal(linked.persons["people"], np.arange(20))
    np.testing.assert_array_equal(linked.persons["trips"], [*(i % 5 for i in range(39)), 20 + 39])
    np.testing.assert_array_equal(linked.persons["stops"], np.tile(linked.persons["trips"], 2))
