"""Judges and measures against scikit-learn, and what evaluate makes of good, bad and strange tables."""

import numpy as np
import pandas as pd
import pytest
from customers import KINDS, customers
from scipy import stats
from sklearn import metrics
from sklearn.svm import SVC, SVR
from threadpoolctl import threadpool_limits

from synthjax.errors import InputError
from synthjax.evals import utility
from synthjax.evals.domains import panel, tables
from synthjax.evals.domains.tables import Tables
from synthjax.evals.sets import Sets
from synthjax.evals.table import from_frames


def read(*made, target="churned"):
    return list(from_frames({str(i): frame for i, frame in enumerate(made)}, KINDS, target).values())


def evaluate(synthetic, train, test, *, limit=5_000, limit_tested=None, **how):
    domain = Tables.of(train, limit=limit, limit_tested=limit_tested)
    return utility.evaluate(Sets(domain, synthetic, train, test), **how)


@pytest.fixture(scope="module")
def found():
    """A table as good as the real one."""
    synthetic, train, test = read(customers(2), customers(0), customers(1))
    shares = []
    result = evaluate(synthetic, train, test, seeds=2, limit=150, progress=shares.append)
    assert shares == pytest.approx(np.arange(1, 7) / 6)
    return result


def test_a_good_table_reaches_the_ceiling(found):
    assert found["task"] == "classification" and found["n"]["synthetic"] == 400
    assert found["n"] == {"synthetic": 400, "ceiling": 400, "test": 400, "missing_classes": []}
    for part in (found["boosting"], found["mean"]):
        tstr, trtr, floor, trts = (part[key]["roc_auc"]["mean"] for key in ("tstr", "trtr", "floor", "trts"))
        assert trtr - 0.07 < tstr and trts > 0.8 and floor < 0.7 < 0.8 < trtr
    assert set(found["judges"]) == set(panel.JUDGES)
    for judge in panel.JUDGES:
        leaves = found["judges"][judge]["tstr"]
        assert set(leaves) == {"accuracy", "balanced_accuracy", "macro_f1", "roc_auc", "pr_auc"}
        assert leaves["balanced_accuracy"]["mean"] > 0.65, judge
    each = [found["judges"][judge]["tstr"]["balanced_accuracy"]["values"] for judge in panel.JUDGES]
    assert sum(one != other for one, other in each) >= 4  # every seed has its own rows; a few score alike by chance


def test_rows_that_are_tested():
    synthetic, train, test = read(customers(2), customers(0), customers(1))
    found = evaluate(synthetic, train, test, seeds=1, limit=60, limit_tested=37)
    for of in found["judges"].values():
        for key in ("tstr", "trtr", "floor", "trts"):
            right = 37 * of[key]["accuracy"]["mean"]
            assert right == pytest.approx(round(right), abs=1e-6)
    assert "on at most 60 rows, tested on at most 37" in found["protocol"]["judges"]


def test_the_mean_is_that_of_the_judges(found):
    each = [found["judges"][judge]["floor"]["macro_f1"]["values"] for judge in panel.JUDGES]
    np.testing.assert_allclose(found["mean"]["floor"]["macro_f1"]["values"], np.mean(each, axis=0))


def test_measures_against_scikit_learn():
    kinds = {"y": "categorical", "x": "continuous"}
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 60)
    frame = pd.DataFrame({"y": np.array(list("abc"))[y], "x": 0.0})
    (rows,) = from_frames({"rows": frame}, kinds, "y").values()
    scores = rng.random((60, 3)) + 0.5 * np.eye(3)[y]
    scores /= scores.sum(1, keepdims=True)
    found = tables.measures(rows, scores, None)
    predicted = scores.argmax(1)
    assert found == pytest.approx(
        {
            "accuracy": metrics.accuracy_score(y, predicted),
            "balanced_accuracy": metrics.balanced_accuracy_score(y, predicted),
            "macro_f1": metrics.f1_score(y, predicted, average="macro"),
            "roc_auc": metrics.roc_auc_score(y, scores, multi_class="ovr"),
            "pr_auc": metrics.average_precision_score(np.eye(3)[y], scores),
        }
    )
    two = tables.measures(rows, scores, 1)
    assert two["roc_auc"] == pytest.approx(metrics.roc_auc_score(y == 1, scores[:, 1]))
    only = tables.measures(rows.take(y == 0), scores[y == 0], 1)
    assert only["roc_auc"] is None and only["balanced_accuracy"] == pytest.approx((predicted[y == 0] == 0).mean())


def test_regression_measures_by_hand():
    kinds = {"y": "continuous"}
    (rows,) = from_frames({"rows": pd.DataFrame({"y": [1.0, 2, 3, 6]})}, kinds, "y").values()
    found = tables.measures(rows, np.array([1.0, 2, 5, 6]), None)
    assert found == pytest.approx({"r2": 1 - 4 / 14, "rmse": 1})
    assert tables.measures(rows.take(np.array([0])), np.array([3.0]), None) == {"r2": None, "rmse": 2}


def test_a_summary_is_students():
    leaf = tables.summary([{"a": 0.5, "b": None}, {"a": 0.7, "b": 1.0}, {"a": 0.9, "b": 1.0}])
    low, high = stats.t.interval(0.95, 2, 0.7, 0.2 / np.sqrt(3))
    assert leaf["a"]["ci"] == pytest.approx([low, high]) and leaf["a"]["mean"] == pytest.approx(0.7)
    assert leaf["b"] is None
    assert tables.summary([{"a": 0.5}])["a"] == {"mean": 0.5, "std": 0, "values": [0.5], "ci": None}


def test_the_kernel_by_matrix_product_is_scikit_learns():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(80, 5)), rng.integers(0, 3, 80)
    ours, theirs = panel.KernelMachine(SVC(kernel="precomputed")), SVC().fit(x, y)
    ours.fit(x, y)
    np.testing.assert_allclose(ours.decision_function(x + 0.1), theirs.decision_function(x + 0.1), atol=2e-3)
    ours = panel.KernelMachine(SVR(kernel="precomputed"))
    ours.fit(x, x[:, 0])
    np.testing.assert_allclose(ours.predict(x + 0.1), SVR().fit(x, x[:, 0]).predict(x + 0.1), atol=2e-3)


def test_resampling_balances_the_classes():
    y = np.repeat([0, 2], [900, 100])
    rows = panel._balanced_rows(np.random.default_rng(0), y)
    assert len(rows) == 1000 and abs((y[rows] == 2).mean() - 0.5) < 0.06


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_balanced_judges_find_the_rare_class():
    rng = np.random.default_rng(0)
    kinds = {"x": "continuous", "z": "categorical", "y": "categorical"}
    y = rng.random(600) < 0.08
    frame = pd.DataFrame({"x": rng.normal(size=600) + 1.5 * y, "z": rng.choice(list("ab"), 600), "y": y})
    train, test = (table for table in from_frames({"a": frame[:300], "b": frame[300:]}, kinds, "y").values())
    for judge in panel.JUDGES:
        with threadpool_limits(1):  # as `evaluate` does
            answers = panel.train_judge(judge, train, 0)(test)
        recall = (answers.argmax(1) == 1)[test.target() == 1].mean()
        assert recall > (0.2 if judge in ("forest", "boosting") else 0.5), judge


def test_a_numeric_target_is_regressed():
    synthetic, train, test = read(customers(2), customers(0), customers(1), target="income")
    found = evaluate(synthetic, train, test, seeds=1, limit=150)
    assert found["task"] == "regression" and found["positive"] is None
    missing = customers(1)["income"].isna().sum()
    assert missing > 0 and found["n"]["test"] == 400 - missing
    for judge in panel.JUDGES:
        leaves = found["judges"][judge]
        assert leaves["tstr"]["r2"]["mean"] > max(0.3, leaves["floor"]["r2"]["mean"] + 0.2), judge
        assert 4_000 < leaves["tstr"]["rmse"]["mean"] < 9_000  # the noise alone has 5,000


def test_collapsed_and_strange_tables_are_scored():
    odd = customers(2).assign(churned="no", city="Atlantis")
    odd.loc[0, "churned"] = "perhaps"
    collapsed, train, test = read(odd, customers(0), customers(1))
    assert train.schema.classes == ("no", "perhaps", "yes")
    found = evaluate(collapsed, train, test, seeds=1, limit=50)
    share = (customers(1)["churned"] == "no").mean()
    assert found["boosting"]["tstr"]["accuracy"]["mean"] == pytest.approx(share)
    assert found["boosting"]["tstr"]["balanced_accuracy"]["mean"] == pytest.approx(0.5)
    assert found["positive"] == ("yes" if (customers(0)["churned"] == "no").mean() > 0.5 else "no")


def test_no_target_gives_a_reason():
    with pytest.raises(InputError, match="there is no target"):
        evaluate(*read(customers(2), customers(0), customers(1), target=None))


@pytest.mark.parametrize(
    ("synthetic", "train", "message"),
    [
        (customers(2, 4), customers(0), "synthetic: 4 rows have a 'churned'; at least 5 are needed"),
        (customers(2), customers(0).assign(churned="no"), "train: target 'churned' is 'no' in every row"),
    ],
)
def test_what_cannot_be_scored_is_answered_in_one_line(synthetic, train, message):
    with pytest.raises(InputError, match=message):
        evaluate(*read(synthetic, train, customers(1)))
