"""Measures of tables against SDMetrics, scipy, scikit-learn and cases by hand."""

import itertools

import numpy as np
import pandas as pd
import pytest
from customers import KINDS, customers
from scipy import stats
from sklearn.metrics import normalized_mutual_info_score

from synthjax.evals.fidelity import tables as fidelity
from synthjax.evals.table import from_frames, independent_columns

NUMERIC = ["age", "income", "joined"]


def read(*made, target="churned"):
    return list(from_frames({str(i): frame for i, frame in enumerate(made)}, KINDS, target).values())


@pytest.fixture(scope="module")
def both():
    """A real frame and one that differs in every respect, gaps included."""
    fake = customers(1, 350, gaps=0.2)
    fake["income"] = fake["income"] * 1.3 + 500 * np.random.default_rng(0).normal(size=350)
    fake["city"] = fake["city"].where(fake["city"] != "Deal", "Eton")
    return customers(0), fake


@pytest.fixture(scope="module")
def sd():
    """SDMetrics, and the metadata of the frames for it."""
    pytest.importorskip("sdmetrics", reason="sdmetrics is not installed (pip install -e '.[bench]')")
    sdtypes = {"integer": "numerical", "continuous": "numerical", "id": "id"}
    return {"columns": {name: {"sdtype": sdtypes.get(kind, kind)} for name, kind in KINDS.items()}}


def test_shapes_against_sdmetrics(both, sd):
    from sdmetrics.reports.single_table._properties import ColumnShapes

    theirs = ColumnShapes()
    score = theirs.get_score(*(frame.copy() for frame in both), sd)
    found = fidelity.shapes(*read(*both))
    assert found["score"] == pytest.approx(score, abs=1e-6)
    assert found["columns"] == pytest.approx(theirs.details.set_index("Column")["Score"].to_dict(), abs=1e-6)
    assert 0.5 < min(found["columns"].values()) < 0.99, "a case that decides nothing"


def test_trends_against_sdmetrics(both, sd):
    from sdmetrics.reports.single_table._properties import ColumnPairTrends

    theirs = ColumnPairTrends()
    score = theirs.get_score(*(frame.copy() for frame in both), sd)
    found = fidelity.trends(*read(*both))
    table = {frozenset(row[:2]): row.Score for row in theirs.details.itertuples(index=False)}
    assert {frozenset(p["columns"]): p["score"] for p in found["pairs"]} == pytest.approx(table, abs=1e-6)
    assert found["score"] == pytest.approx(score, abs=1e-6) and len(table) == 15


def test_mixed_pairs_at_the_real_edges_against_sdmetrics(both, sd):
    from sdmetrics.column_pairs import ContingencySimilarity

    pairs = {frozenset(p["columns"]): p for p in fidelity.trends(*read(*both))["pairs"]}
    for name, other in itertools.product(["age", "income"], ["city", "churned"]):
        columns = [frame[[name, other]].copy() for frame in both]
        score = ContingencySimilarity.compute(*columns, continuous_column_names=[name])
        assert pairs[frozenset([name, other])]["score_real_edges"] == pytest.approx(score, abs=1e-6)


def test_shapes_against_scipy(both):
    found = fidelity.shapes(*read(*both))["columns"]
    for name in NUMERIC:
        statistic = stats.ks_2samp(*(frame[name].dropna() for frame in both)).statistic
        assert found[name] == pytest.approx(1 - statistic, abs=1e-12)
    a, b = (frame["city"].value_counts(normalize=True) for frame in both)
    assert found["city"] == pytest.approx(1 - a.sub(b, fill_value=0).abs().sum() / 2)


def test_trends_by_hand():
    kinds = {"n": "continuous", "a": "categorical", "b": "categorical"}
    real = pd.DataFrame({"n": [0.0, 0, 10, 10], "a": list("xxyy"), "b": list("pqpq")})
    fake = pd.DataFrame({"n": [0.0, 10, 0, 10], "a": list("xxyy"), "b": ["p", "p", "q", None]})
    one, two = from_frames({"real": real, "fake": fake}, kinds).values()
    found = {tuple(p["columns"]): p["score"] for p in fidelity.trends(one, two)["pairs"]}
    # n-a: half of the mass moves; a-b: quarters at xp xq yp yq against 1/2 xp, 1/4 yq, 1/4 y-missing; n-b: one
    # quarter moves to the missing b.
    assert found == {("a", "b"): 0.5, ("n", "a"): 0.5, ("n", "b"): 0.75}


def test_another_scale_is_seen_at_the_real_edges_alone():
    real = customers(0, gaps=0)
    one, two = read(real, real.assign(income=real["income"] * 3))
    (pair,) = (p for p in fidelity.trends(one, two)["pairs"] if p["columns"] == ["income", "city"])
    assert pair["score"] == 1 and pair["score_real_edges"] < 0.5


def pearson(frame):
    days = (frame["joined"] - pd.Timestamp("2000-01-01")) / pd.Timedelta(days=1)
    columns = frame[NUMERIC].assign(joined=days).to_numpy(float).T
    found = np.empty((len(NUMERIC), len(NUMERIC)))
    for i, j in np.ndindex(found.shape):
        there = ~np.isnan(columns[i] + columns[j])
        found[i, j] = np.corrcoef(columns[i][there], columns[j][there])[0, 1]
    return found


def test_pearson_leaves_out_missing_values_pair_by_pair(both):
    for frame, table in zip(both, read(*both), strict=True):
        np.testing.assert_allclose(fidelity.pearson(table.numbers), pearson(frame), atol=1e-10)


def test_pearson_of_constant_and_empty_columns():
    numbers = np.array([[0.1, 1, np.nan, 1e9 + 1], [0.1, 2, np.nan, 1e9 + 2], [0.1, 4, np.nan, 1e9 + 4.5]])
    r = fidelity.pearson(numbers)
    assert np.isnan(r[[0, 0, 2, 2, 1], [0, 1, 2, 1, 2]]).all()
    assert r[1, 3] == pytest.approx(np.corrcoef(numbers[:, 1], numbers[:, 3])[0, 1])


def test_correlation_difference(both):
    found = fidelity.correlation_difference(*read(*both))
    apart = pearson(both[1]) - pearson(both[0])
    np.testing.assert_allclose(np.array(found["difference"]), apart, atol=1e-10)
    three = np.abs(apart[np.triu_indices(3, 1)])
    assert (found["mean"], found["max"]) == pytest.approx((three.mean(), three.max()))
    assert found["columns"] == NUMERIC


def test_missing_shares(both):
    found = fidelity.missing(*read(*both))
    assert found["columns"]["city"] == [frame["city"].isna().mean() for frame in both]
    assert found["columns"]["age"] == [frame["age"].isna().mean() for frame in both]
    assert 0.05 < found["largest_difference"] < 0.2


def test_information_against_scikit_learn(both):
    real, _ = read(*both)
    for i, j in itertools.combinations(range(3), 2):
        theirs = normalized_mutual_info_score(real.codes[:, i], real.codes[:, j])
        assert fidelity.normalised_information(real.codes[:, i], real.codes[:, j]) == pytest.approx(theirs, abs=1e-9)
    assert fidelity.information_difference(real, real) == {"weighted": 0, "mean": 0}
    floor = independent_columns(np.random.default_rng(0), real, len(real))
    found = [
        fidelity.information_difference(real, table)["weighted"] for table in (read(*both, customers(5))[2], floor)
    ]
    assert found[0] < found[1] / 2


def test_information_difference_by_hand():
    kinds = {"a": "categorical", "b": "categorical", "c": "categorical"}
    real = pd.DataFrame({"a": list("xxyy"), "b": list("xxyy"), "c": list("xyxy")})
    fake = pd.DataFrame({"a": list("xxyy"), "b": list("xyxy"), "c": list("xyxy")})
    tables = from_frames({"real": real, "fake": fake}, kinds).values()
    # Information of ab, ac, bc: 1, 0, 0 against 0, 0, 1; only ab has weight.
    assert fidelity.information_difference(*tables) == pytest.approx({"weighted": 1, "mean": 2 / 3})


def test_two_samples_of_one_table_cannot_be_told_apart():
    real, same, other = read(customers(0, 900), customers(1, 900), customers(2, 900, gaps=0.5))
    found = fidelity.c2st(real, same)
    assert found["score"] > 0.85 and abs(found["auc"] - 0.5) < 0.075 and len(found["values"]) == 3
    apart = fidelity.c2st(real, other)
    assert apart["score"] == pytest.approx(2 - 2 * apart["auc"]) and apart["score"] < 0.3
    assert fidelity.c2st(real, other) == apart
    assert fidelity.c2st(real, same, limit=2) == {"score": None, "auc": None, "values": None, "n": 2}


def test_neighbours_find_what_lacks():
    real, same, narrow = read(customers(0, 600), customers(1, 600), pd.concat([customers(1, 20)] * 30))
    alike, few = (fidelity.neighbours(real, table) for table in (same, narrow))
    assert alike["coverage"] > 0.9 > 0.4 > few["coverage"] and few["precision"] > 0.8
    assert (alike["k"], alike["n"]) == (5, 600)
    assert fidelity.neighbours(real, real.take(np.array([0])))["recall"] is None


def test_evaluate_stands_between_floor_and_ceiling(both):
    real, test, fake = read(customers(0, 600), customers(1, 600), both[1])
    found = fidelity.evaluate(fake, real, test)
    assert found["n"] == {"real": 600, "synthetic": 350, "ceiling": 600, "floor": 350}
    assert found["ceiling"]["shapes"]["score"] > found["synthetic"]["shapes"]["score"]
    for name in ("ceiling", "synthetic"):
        assert found[name]["trends"]["score"] > found["floor"]["trends"]["score"]
    assert found["ceiling"]["c2st"]["score"] > found["synthetic"]["c2st"]["score"]


def test_many_columns_are_compared_in_part(monkeypatch, both):
    monkeypatch.setattr(fidelity, "PAIRED_COLUMNS", 3)
    real, fake = read(*both)
    found = fidelity.compare(real.take(np.arange(2)), fake)
    assert len(found["shapes"]["columns"]) == 6 and len(found["trends"]["pairs"]) == 3


def test_columns_of_one_kind_and_no_values():
    kinds = {"a": "categorical", "n": "continuous"}
    real = pd.DataFrame({"a": ["x", "y"], "n": [1.0, 2.0]})
    fake = pd.DataFrame({"a": [None, None], "n": [np.nan, np.nan]})
    tables = list(from_frames({"real": real, "fake": fake}, kinds).values())
    assert fidelity.shapes(*tables) == {"score": None, "columns": {"n": None, "a": None}}
    assert fidelity.missing(*tables)["largest_difference"] == 1
    assert fidelity.trends(*tables)["score"] == 0
    alone = list(from_frames({"real": real, "fake": fake}, kinds | {"n": "constant"}).values())
    assert fidelity.trends(*alone)["score"] is None and fidelity.correlation_difference(*alone)["mean"] is None
    assert fidelity.information_difference(*alone) == {"weighted": None, "mean": None}
