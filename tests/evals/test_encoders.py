import numpy as np
import pandas as pd
import pytest
from customers import KINDS, customers
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from synthjax.evals import encoders
from synthjax.evals.table import Table, from_frames


@pytest.fixture(scope="module")
def tables():
    return from_frames({"a": customers(0), "b": customers(1)}, KINDS, "churned")


def test_dense_against_scikit_learn():
    a, b = (customers(seed, gaps=0) for seed in (0, 1))
    one, two = from_frames({"a": a, "b": b}, KINDS, "churned").values()
    found = encoders.dense(one)(two)
    np.testing.assert_allclose(found[:, :2], StandardScaler().fit(a[["age", "income"]]).transform(b[["age", "income"]]))
    hot = OneHotEncoder(sparse_output=False).fit(a[["city", "member"]].astype(str))
    # Ours come in the order of their frequency.
    theirs = {tuple(column) for column in hot.transform(b[["city", "member"]].astype(str)).T}
    assert {tuple(column) for column in found[:, 3:].T} == theirs and found.shape[1] == 3 + 5


def test_dense_says_what_is_missing_and_knows_no_unseen_category():
    kinds = {"n": "continuous", "k": "constant", "c": "categorical", "same": "continuous"}
    fit = pd.DataFrame({"n": [0.0, 2, None], "k": 1, "c": ["x", "y", "x"], "same": 5.0})
    new = pd.DataFrame({"n": [None, 3.0], "k": 1, "c": ["new", None], "same": 6.0})
    a, b = from_frames({"fit": fit, "new": new}, kinds).values()
    encode = encoders.dense(a)
    np.testing.assert_allclose(encode(a), [[-1, 0, 0, 1, 0], [1, 0, 0, 0, 1], [0, 0, 1, 1, 0]])
    np.testing.assert_allclose(encode(b), [[0, 0, 1, 0, 0], [2, 0, 0, 0, 0]])


def test_the_target_is_no_feature(tables):
    a = tables["a"]
    other = Table(a.schema, a.numbers, a.codes.copy())
    other.codes[:, a.schema.discrete.index("churned")] ^= 1
    np.testing.assert_array_equal(encoders.dense(a)(a), encoders.dense(a)(other))
    encode, categorical = encoders.ordinal(a)
    np.testing.assert_array_equal(encode(a), encode(other))
    assert categorical.tolist() == [False] * 3 + [True] * 2
    assert (encoders.metric(a)(a) != encoders.metric(a)(other)).any(1).all()


def test_ordinal_keeps_the_most_frequent_categories(monkeypatch):
    monkeypatch.setattr(encoders, "TREE_CATEGORIES", 2)
    kinds = {"n": "continuous", "c": "categorical"}
    frame = pd.DataFrame({"n": [1.0, None, 3, 4, 5, 6], "c": ["a", "b", "b", "c", "c", None]})
    (table,) = from_frames({"t": frame}, kinds).values()
    encode, categorical = encoders.ordinal(table)
    np.testing.assert_array_equal(encode(table)[:, 1], [np.nan, 0, 0, 1, 1, np.nan])
    np.testing.assert_array_equal(encode(table)[:, 0], frame["n"])
    assert categorical.tolist() == [False, True]


def test_metric_is_scaled_numbers_and_hamming(tables):
    a, b = tables["a"], tables["b"]
    whole = ~np.isnan(a.numbers).any(1), ~np.isnan(b.numbers).any(1)
    one, two = a.take(whole[0]), b.take(whole[1])
    x, y = encoders.metric(a)(one), encoders.metric(a)(two)
    width = np.nanmax(a.numbers, 0) - np.nanmin(a.numbers, 0)
    gower = (((one.numbers[:, None] - two.numbers) / width) ** 2).sum(-1)
    hamming = (one.codes[:, None] != two.codes).sum(-1)  # missing is a value
    np.testing.assert_allclose(((x[:, None] - y) ** 2).sum(-1), gower + hamming, atol=1e-9)
    assert (one.codes < 0).any()


def test_metric_of_missing_numbers_and_rare_categories(monkeypatch):
    monkeypatch.setattr(encoders, "WIDEST", 1)
    kinds = {"n": "continuous", "c": "categorical", "empty": "continuous"}
    frame = pd.DataFrame({"n": [0.0, 5, 10, None, None], "c": ["a", "a", "b", "c", None], "empty": np.nan})
    (table,) = from_frames({"t": frame}, kinds).values()
    x = encoders.metric(table)(table)
    square = ((x[:, None] - x) ** 2).sum(-1)
    assert square[0, 1] == pytest.approx(0.25)
    assert square[0, 3] == pytest.approx(1 + 1) and square[1, 3] == pytest.approx(0.75 + 1)
    assert square[2, 3] == pytest.approx(1), "b and c are both rare: only n is missing"
    assert square[3, 4] == pytest.approx(1), "c is there, and missing; n is missing twice"
