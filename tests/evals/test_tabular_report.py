"""Verdicts on tables by hand: shares of what can be learnt, likeness of pairs, copies beside natural twins."""

import pytest
from synthjax.evals.tabular_report import JUDGES

from synthjax.evals import tabular_report


def leaf(mean):
    return None if mean is None else {"mean": mean, "ci": [mean, mean]}


def utility(tstr, trtr, floor, task="classification"):
    first, second = tabular_report.measures({"task": task})
    part = {
        name: {measure: leaf(value) for measure in (first, second)}
        for name, value in (("tstr", tstr), ("trtr", trtr), ("floor", floor))
    }
    judges = {**dict.fromkeys(JUDGES, part), "svm": {**part, "tstr": {second: leaf(tstr and tstr - 0.1)}}}
    return tabular_report.with_shares({"task": task, "boosting": part, "mean": part, "judges": judges})


@pytest.mark.parametrize(
    "tstr, share, level",
    [(0.91, 0.95, "good"), (0.93, 1.0, "good"), (0.87, 0.85, "fair"), (0.75, 0.55, "poor"), (0.53, 0.0, "poor")],
)
def test_usefulness_is_the_share_of_what_real_rows_teach(tstr, share, level):
    found = utility(tstr, 0.93, 0.53)
    assert found["boosting"]["kept"] == pytest.approx(share)
    verdict = tabular_report.useful(found)
    assert verdict.level == level
    assert all(figure in verdict.evidence[0] for figure in (f"{tstr:.3f}", "0.930", "0.530", "ROC AUC"))
    assert f"support vector machine: {tstr - 0.1:.3f} instead of 0.930" in verdict.evidence[-1]


def test_below_the_floor_nothing_is_kept_and_of_no_class_nothing_is_learnt():
    below = tabular_report.useful(utility(0.45, 0.93, 0.53)).evidence[0]
    assert below.endswith(" Nothing of what real rows teach is kept.") and "-" not in below.split("(the floor)")[1]
    found = {**utility(0.93, 0.93, 0.53), "n": {"missing_classes": ["a", "b"]}}
    verdict = tabular_report.useful(found)
    assert verdict.level == "fair" and "No synthetic row is of classes “a”, “b”: " in verdict.evidence[-1]


def test_where_nothing_can_be_learnt_nothing_is_claimed():
    for found in (utility(0.5, 0.51, 0.5), utility(None, None, 0.5)):
        assert found["boosting"]["kept"] is None and tabular_report.useful(found).level == "fair"
        assert "cannot be told" in tabular_report.useful(found).answer


def test_a_quantity_is_judged_by_the_variance_explained():
    found = utility(0.6, 0.7, -0.1, task="regression")
    assert found["mean"]["kept"] == pytest.approx(0.7 / 0.8)
    assert "a R² of 0.600" in tabular_report.useful(found).evidence[0]


def side(shapes, trends, score, auc):
    pairs = [{"columns": ["a", "b"], "score": trends}, {"columns": ["a", "c"], "score": None}]
    return {
        "shapes": {"score": shapes, "columns": {"a": shapes, "b": None}},
        "trends": {"score": trends, "score_real_edges": trends, "pairs": pairs},
        "c2st": {"score": score, "auc": auc},
    }


CEILING, FLOOR = side(0.99, 0.98, 0.98, 0.51), side(0.99, 0.9, 0.05, 0.97)


@pytest.mark.parametrize(
    "found, level, answer",
    [
        (side(0.985, 0.975, 0.84, 0.58), "good", "Yes"),
        (side(0.97, 0.95, 0.4, 0.8), "fair", "Partly"),
        (side(0.99, 0.92, 0.5, 0.75), "poor", "hardly depend"),
        (side(0.99, 0.97, 0.1, 0.95), "poor", "easily told"),
        (side(0.8, 0.97, 0.9, 0.55), "poor", "easily told"),
    ],
)
def test_likeness_is_measured_by_real_test_rows_and_columns_drawn_alone(found, level, answer):
    verdict = tabular_report.alike({"synthetic": found, "ceiling": CEILING, "floor": FLOOR})
    assert verdict.level == level and answer in verdict.answer
    assert "(real test rows: 98.0 %; columns drawn alone: 90.0 %). Least: a and b" in verdict.evidence[1]


def test_a_table_of_one_column_has_no_pairs():
    one = side(0.99, None, 0.9, 0.55)
    verdict = tabular_report.alike({"synthetic": one, "ceiling": one, "floor": one})
    assert verdict.level == "good" and "Pairs of columns are not compared" in verdict.evidence[1]
