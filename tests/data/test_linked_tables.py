"""Linked tables: splits by the topmost parent, and the columns that a model of a child sees."""

import numpy as np
import pyarrow as pa
import pytest

from synthjax.data import linked_frames
from synthjax.data.keys import Key
from synthjax.data.linked import HOLDOUT, TEST, TRAIN, Linked
from synthjax.data.schema_inference import infer
from synthjax.data.text_values import Chunk
from synthjax.errors import InputError

PEOPLE = 50
OF = Key("visits", ("person",), "people", ("id",))
TESTS = Key("tests", ("visit",), "visits", ("id",))
BOSS = Key("people", ("boss",), "people", ("id",))


@pytest.fixture(scope="module")
def cells():
    rng = np.random.default_rng(0)
    people = {"id": [f"p{i}" for i in range(PEOPLE)], "age": [str(30 + i % 20) for i in range(PEOPLE)]}
    people["boss"] = [""] * 20 + [f"p{i}" for i in rng.integers(0, 20, PEOPLE - 20)]
    of = rng.integers(0, PEOPLE, 200)
    visits = {"id": [f"v{i}" for i in range(200)], "person": [f"p{i}" for i in of]}
    visits["day"] = [str(day) for day in rng.integers(0, 99, 200)]
    tests = {"visit": [f"v{i}" for i in rng.integers(0, 200, 300)], "score": ["1", "2", "3"] * 100}
    return {name: pa.table(values) for name, values in (("tests", tests), ("visits", visits), ("people", people))}


WHERE = {name: f"{name}.csv" for name in ("people", "visits", "tests", "lists")}


def test_no_topmost_parent_is_in_two_splits(cells):
    linked = Linked.of(cells, [OF, TESTS], WHERE)
    assert linked.order == ("people", "visits", "tests")
    visit, person = linked.parents[TESTS], linked.parents[OF]
    np.testing.assert_array_equal(linked.split["tests"], linked.split["people"][person[visit]])
    assert np.bincount(linked.split["people"]).tolist() == [36, 4, 10]  # as `splits.cut`
    assert {TRAIN, HOLDOUT, TEST} == set(linked.split["visits"].tolist())


def test_rows_below_a_row_of_the_same_table_are_in_its_split(cells):
    linked = Linked.of(cells, [OF, BOSS], WHERE)
    boss = linked.parents[BOSS]
    led = boss >= 0
    np.testing.assert_array_equal(linked.split["people"][led], linked.split["people"][boss[led]])
    assert linked.table_keys["people"].main == BOSS and linked.table_keys["people"].foreign == ("boss",)


def test_what_cannot_be_linked_is_one_line(cells):
    with pytest.raises(InputError, match="its columns are those of another key"):
        Linked.of(cells, [OF, OF], WHERE)
    with pytest.raises(InputError, match="--keep=visits: it has a key to people"):
        Linked.of(cells, [OF], WHERE, kept=["visits"])
    few = {**cells, "people": cells["people"].slice(0, 5), "visits": cells["visits"].slice(0, 0)}
    with pytest.raises(InputError, match=r"people.csv: has 5 rows without a parent; 10 are needed"):
        Linked.of(few, [OF], WHERE)


def test_a_key_within_a_wider_one_follows_from_it():
    house = [str(i) for i in range(12)]
    tables = {
        "lists": pa.table({"house": house}),
        "people": pa.table({"house": house * 2, "room": ["1"] * 12 + ["2"] * 12}),
        "visits": pa.table({"house": house, "room": ["1"] * 12}),
    }
    keys = [
        Key("people", ("house",), "lists", ("house",)),
        Key("visits", ("house", "room"), "people", ("house", "room")),
        Key("visits", ("house",), "lists", ("house",)),
    ]
    linked = Linked.of(tables, keys, WHERE)
    assert linked.table_keys["visits"].others == () and linked.table_keys["people"].named == ("room",)


def test_a_child_sees_its_parent_and_the_row_before(cells):
    linked = Linked.of(cells, [OF, TESTS], WHERE)
    schemas = {name: infer([Chunk(table, np.arange(len(table)))]) for name, table in cells.items()}
    above = linked_frames.sheet_of(linked, "people", schemas, None)
    sheet = linked_frames.sheet_of(linked, "visits", schemas, above)
    assert above.learnt == ("age", "boss", "number of visits") and sheet.learnt == ("day", "number of tests")
    assert sheet.given[0] == "people.age" and {"people.number of visits", "previous day"} < set(sheet.given)
    made = {
        "people": linked_frames.made_cells(linked, above, {}),
        "visits": linked_frames.made_cells(linked, sheet, {}),
    }
    order = linked_frames.order_values(cells["visits"], schemas["visits"], "day", "visits.csv")
    rows = linked_frames.real_rows(linked, sheet, made, order, "visits.csv").to_pandas()
    person = linked.parents[OF]
    assert rows["people.age"].astype(int).tolist() == (30 + person % 20).tolist()
    assert rows["people.number of visits"].astype(int).tolist() == np.bincount(person)[person].tolist()
    for i in np.unique(person):
        own = rows[person == i].astype({"position within people": int}).sort_values("position within people")
        days = own["day"].astype(int).tolist()
        assert days == sorted(days)
        assert own["previous day"].tolist() == ["", *own["day"][:-1]]


def test_100_000_children_take_44_rounds_that_only_look_back():
    groups = linked_frames.rounds(100_000)
    assert len(groups) == 44 and groups[0] == (0, 1)
    assert [start for start, _ in groups[1:]] == [stop for _, stop in groups[:-1]]
    for start, stop in groups[1:]:
        earlier = linked_frames.before(np.arange(start, stop))
        assert 0 <= earlier.min() and earlier.max() < start


def test_positions_of_rows_without_a_parent_are_0():
    position, before = linked_frames.positions(np.array([-1, 2, -1, 2]), np.array([0.0, 5, 1, np.nan]))
    assert position.tolist() == [0, 0, 0, 1] and before.tolist() == [-1, -1, -1, 1]
    assert linked_frames.positions(np.zeros(0, np.int64), np.zeros(0))[0].shape == (0,)
