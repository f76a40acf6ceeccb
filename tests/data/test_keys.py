"""Keys between tables: how they are written, found and resolved, and what is said of those that do not hold."""

import numpy as np
import pyarrow as pa
import pytest

from synthjax.data import key_candidates
from synthjax.data.keys import Key, cells_of, in_order, levels, parse, resolve, split_cells
from synthjax.errors import InputError

COLUMNS = {"orders": ("id", "customer_id"), "customers": ("id", "name"), "orders.old": ("a.b", "c")}
KEY = Key("orders", ("customer_id",), "customers", ("id",))
WHERE = {"orders": "orders.csv", "customers": "customers.csv"}
CUSTOMERS = pa.table({"id": ["7", "8", "9"], "name": ["a", "b", "c"]})


def orders(*cells: str) -> pa.Table:
    return pa.table({"id": [str(i) for i in range(len(cells))], "customer_id": list(cells)})


def test_a_key_is_what_its_text_says():
    for key in (KEY, Key("orders", ("id", "customer_id"), "customers", ("id", "name"))):
        assert parse(str(key), COLUMNS) == key
    dotted = parse("orders.old.a.b -> customers.id", COLUMNS)
    assert (dotted.child, dotted.columns) == ("orders.old", ("a.b",))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("orders.customer_id", "write it as"),
        ("order.customer_id -> customers.id", "does not begin with the name of a table and a point"),
        ("orders.customer -> customers.id", "'customer' is not a column; did you mean customer_id?"),
        ("orders.(id, customer_id) -> customers.id", "2 columns on the left and 1 on the right"),
        ("orders.(id, id) -> customers.(id, name)", "names column 'id' twice"),
        ("customers.id -> customers.id", "a column does not name its own rows"),
    ],
)
def test_what_is_no_key_is_one_line(text, line):
    with pytest.raises(InputError) as error:
        parse(text, COLUMNS)
    assert line in str(error.value) and "\n" not in str(error.value)


def test_cells_of_several_columns_are_joined_and_split():
    table = pa.table({"a": ["1.0", "2", ""], "b": ["x", "y", "z"]})
    cells, absent = cells_of(table, ["a", "b"])
    assert absent.tolist() == [False, False, True]
    a, b = split_cells(cells, 2)
    assert (a.to_pylist(), b.to_pylist()) == (["1", "2", ""], ["x", "y", "z"])
    assert [part.to_pylist() for part in split_cells(pa.array([""]), 2)] == [[""], [""]]


def test_whole_numbers_are_the_same_with_and_without_a_point():
    assert resolve(KEY, orders("7.0", "", "9.0"), CUSTOMERS, WHERE).tolist() == [0, -1, 2]


@pytest.mark.parametrize(
    ("cells", "ids", "line"),
    [
        (
            ["7", "5"],
            ["7", "8"],
            "orders.csv: row 2, column 'customer_id': '5' is no customers.id (1 of 2 rows",
        ),
        (
            ["a", "b"],
            ["7", "8"],
            "the column holds text such as 'a', customers.id numbers such as '7'; is it",
        ),
        (["7"], ["7", "7"], "customers.csv: column 'id': rows 1 and 2 both have '7' (1 rows repeat one)"),
        (["7"], ["7", ""], "customers.csv: row 2, column 'id': a key of orders cannot be empty"),
    ],
)
def test_keys_that_do_not_hold_are_one_line(cells, ids, line):
    with pytest.raises(InputError) as error:
        resolve(KEY, orders(*cells), pa.table({"id": ids}), WHERE)
    assert line in str(error.value) and "\n" not in str(error.value)


def test_a_cycle_of_tables_is_named():
    keys = [Key("a", ("x",), "b", ("id",)), Key("b", ("x",), "c", ("id",)), Key("c", ("x",), "a", ("id",))]
    with pytest.raises(InputError, match="a -> b -> c -> a"):
        in_order("abc", keys)
    assert in_order("cba", keys[:2]) == ("c", "b", "a")


def test_a_circle_of_rows_is_named():
    within = Key("staff", ("boss",), "staff", ("id",))
    assert levels(np.array([1, 3, 1, -1]), "staff.csv", within).tolist() == [2, 1, 2, 0]
    with pytest.raises(InputError, match=r"staff.csv: row 1, column 'boss': .* in a circle"):
        levels(np.array([1, 0, -1]), "staff.csv", within)


def candidates(**tables):
    found = key_candidates.find({name: pa.table(columns) for name, columns in tables.items()})
    return {str(one.key): one for one in found}


def test_sure_keys_are_found_by_cells_and_names():
    numbers = [str(i) for i in range(1, 13)]
    found = candidates(
        products={"id": numbers, "weight": ["1", "2"] * 6},
        orders={"order": [f"A{i}" for i in range(24)], "product_id": numbers * 2, "amount": ["3", "4", "5"] * 8},
    )
    assert [name for name, one in found.items() if one.sure] == ["orders.product_id -> products.id"]
    assert "orders.amount -> products.id" in found  # whole numbers from 1 are in many columns


def test_what_does_not_resolve_is_said():
    cells = [str(i) for i in range(20)]
    one = candidates(people={"person": cells}, visits={"person": [*cells, "99", ""]})["visits.person -> people.person"]
    assert not one.sure and one.found == pytest.approx(20 / 21)
    assert "95.24% of the cells are found" in one.why and "not '99'" in one.why and "1 rows have no parent" in one.why


def test_keys_of_several_columns_and_within_a_table():
    places = [(a, b) for a in "xy" for b in "123"]
    found = candidates(
        rooms={"house": [a for a, _ in places], "room": [b for _, b in places]},
        beds={"house": ["x", "x", "y"] * 3, "room": ["1", "3", "2"] * 3},
        staff={"id": ["10", "20", "30"], "manager_id": ["", "10", "20"]},
    )
    assert found["beds.(house, room) -> rooms.(house, room)"].sure
    assert not found["staff.manager_id -> staff.id"].sure  # numbers alone do not say it


def test_of_one_to_one_tables_the_first_is_the_parent():
    found = candidates(person={"person_id": ["1", "2"]}, passport={"person_id": ["2", "1"]})
    assert list(found) == ["passport.person_id -> person.person_id"]
