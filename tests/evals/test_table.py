"""Frames become arrays that mean the same for all of them; what cannot is answered in one line."""

import numpy as np
import pandas as pd
import pytest
from customers import KINDS, customers

from synthjax.errors import InputError
from synthjax.evals.table import Schema, from_frames, independent_columns


def test_values_mean_the_same_whoever_wrote_them(tmp_path):
    real = customers(0)
    real.to_csv(tmp_path / "t.csv", index=False)
    again = pd.read_csv(tmp_path / "t.csv")  # dates are text now, booleans may be objects, ids are there
    again = again[again.columns[::-1]]
    assert str(again["joined"].dtype) != str(real["joined"].dtype)
    a, b = from_frames({"real": real, "again": again}, KINDS, "churned").values()
    np.testing.assert_allclose(a.numbers, b.numbers, rtol=1e-12)
    np.testing.assert_array_equal(a.codes, b.codes)
    assert a.schema is b.schema and a.schema.left_out == ("id",)
    assert a.schema.categories == (("Ayr", "Bath", "Deal"), ("False", "True"), ("no", "yes"))


def test_arrays_by_hand():
    kinds = {"n": "integer", "when": "datetime", "code": "categorical", "flag": "boolean"}
    one = pd.DataFrame({"n": [1, 2], "when": ["1970-01-02", None], "code": [1.0, np.nan], "flag": [True, False]})
    two = pd.DataFrame({"flag": [1, 0], "code": ["2", "1"], "when": ["1970-01-01T00:00:01Z"] * 2, "n": ["3", None]})
    a, b = from_frames({"one": one, "two": two}, kinds).values()
    np.testing.assert_array_equal(a.numbers, [[1, 86400], [2, np.nan]])
    np.testing.assert_array_equal(b.numbers, [[3, 1], [np.nan, 1]])
    # "1" and "2"; False and True. A gap made a float of the integer 1.
    np.testing.assert_array_equal(a.codes, [[0, 1], [-1, 0]])
    np.testing.assert_array_equal(b.codes, [[1, 1], [0, 0]])


def test_categories_of_pandas_and_nullable_types():
    kinds = {"n": "integer", "c": "categorical", "b": "boolean"}
    plain = pd.DataFrame({"n": [1.0, np.nan], "c": ["x", None], "b": [None, True]})
    typed = pd.DataFrame(
        {
            "n": pd.array([1, None], dtype="Int64"),
            "c": pd.Categorical(["x", None], categories=["never", "x"]),
            "b": pd.array([None, True], dtype="boolean"),
        }
    )
    a, b = from_frames({"plain": plain, "typed": typed}, kinds).values()
    np.testing.assert_array_equal(a.numbers, b.numbers)
    np.testing.assert_array_equal(a.codes, b.codes)
    assert a.schema.categories == (("x",), ("True",))


def test_the_floor_keeps_columns_and_breaks_pairs():
    (table,) = from_frames({"t": customers(0, 2_000, gaps=0)}, KINDS, "churned").values()
    floor = independent_columns(np.random.default_rng(0), table, 5_000)
    assert len(floor) == 5_000 and floor.numbers.shape[1] == 3
    for column, drawn in zip(table.numbers.T, floor.numbers.T, strict=True):
        assert np.isin(drawn, column).all()
    np.testing.assert_allclose((floor.codes == 1).mean(0), (table.codes == 1).mean(0), atol=0.04)
    assert np.corrcoef(table.numbers.T)[0, 1] > 0.7 > 0.1 > abs(np.corrcoef(floor.numbers.T)[0, 1])


def test_columns_can_be_selected():
    (table,) = from_frames({"t": customers(0)}, KINDS, "churned").values()
    few = table.select({"member", "joined", "id"})
    assert few.schema == Schema(("joined",), ("member",), (("False", "True"),), None, ("joined",), ("id",))
    np.testing.assert_array_equal(few.numbers, table.numbers[:, [2]])
    np.testing.assert_array_equal(few.codes, table.codes[:, [1]])
    assert table.select(KINDS).schema == table.schema


def changed(**columns):
    return customers(1, 5).assign(**columns)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (customers(1, 5).drop(columns="age"), "synthetic: column 'age' is missing"),
        (changed(extra=1), "synthetic: column 'extra' is not among"),
        (changed(age=["7", "8", "x", "9", "y"]), "synthetic: column 'age' should hold finite numbers, row 2 has 'x'"),
        (changed(income=[1, 2, 3, np.inf, 5]), "column 'income' should hold finite numbers, row 3 has inf"),
        (changed(joined=["2020-01-01", "soon", None, None, None]), "'joined' should hold dates, row 1 has 'soon'"),
        (customers(1, 5)[:0], "synthetic: there are no rows"),
        (pd.concat([changed(), changed()[["age"]]], axis=1), "column 'age' occurs twice"),
        (np.zeros((3, 7)), "synthetic: expected a pandas DataFrame, not ndarray"),
    ],
)
def test_wrong_frames_are_answered_in_one_line(frame, message):
    with pytest.raises(InputError) as error:
        from_frames({"real": customers(0, 5), "synthetic": frame}, KINDS, "churned")
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("kinds", "target", "message"),
    [
        (KINDS, "income_", "target 'income_' is not a column"),
        (KINDS, "id", "target 'id' has kind 'id'"),
        (KINDS | {"age": "float"}, None, "column 'age' has kind 'float'; known are continuous"),
        ({"id": "id"}, None, "no column can be compared"),
    ],
)
def test_wrong_schemas_are_answered_in_one_line(kinds, target, message):
    with pytest.raises(InputError, match=message):
        from_frames({"real": customers(0, 5)}, kinds, target)
