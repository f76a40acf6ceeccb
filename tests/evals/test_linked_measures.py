"""Measures of linked tables, against counts and dependences that are known."""

import dataclasses
import json

import msgspec
import numpy as np
import pandas as pd
import pytest

from synthjax.evals import linked
from synthjax.evals.page import linked as page
from synthjax.evals.report import linked as words

ABOVE, BELOW = {"age": "integer", "town": "categorical"}, {"cost": "continuous", "kind": "categorical"}
CHECKED = words.Checked(valid=1.0, duplicates=0, without=0.0, without_real=0.0)


def family(seed: int, n: int = 150, *, linked_to_age: bool = True, most: int = 4) -> linked.Family:
    """Parents with 0 ... `most` - 1 children, whose cost is that of the parent's age, and at least 10."""
    rng = np.random.default_rng(seed)
    age = rng.integers(20, 80, n)
    of = np.repeat(np.arange(n), rng.integers(0, most, n))
    level = age[of] if linked_to_age else rng.permutation(age[of])
    children = pd.DataFrame({"cost": level + rng.normal(0, 1, len(of)), "kind": rng.choice(["x", "y"], len(of))})
    return linked.Family(pd.DataFrame({"age": age, "town": rng.choice(["a", "b"], n)}), children, of)


def judged(synthetic: linked.Family) -> words.OfKey:
    families = {"train": family(0), "unseen": family(1), "synthetic": synthetic}
    return linked.judge("a.b -> c.d", families, (ABOVE, BELOW), CHECKED)


@pytest.fixture(scope="module")
def good():
    return judged(family(2))


@pytest.fixture(scope="module")
def bad():
    return judged(family(2, linked_to_age=False, most=2))


def test_real_parents_are_as_good_as_real_ones(good):
    assert good.auc.synthetic == pytest.approx(0.5, abs=0.1) and abs(good.cardinality.excess) < 0.1
    assert good.dependence.synthetic < 0.15 and good.checked == CHECKED
    assert abs(good.copied) < 3 * good.copied_error + 0.1


def test_what_does_not_belong_together_is_seen(good, bad):
    assert bad.auc.synthetic > 0.75 > good.auc.synthetic
    assert bad.cardinality.synthetic > 0.3
    assert bad.dependence.synthetic > good.dependence.synthetic + 0.05
    synthetic, unseen = bad.largest["age and mean of cost"]
    assert abs(synthetic) < 0.3 and unseen > 0.99


def test_total_variation_is_that_of_the_distributions():
    counts = np.random.default_rng(0).poisson(2, 500)
    assert linked.total_variation(counts, counts) == 0
    assert linked.total_variation(np.zeros(4, int), np.ones(4, int)) == 1


def test_aggregates_are_those_of_the_children():
    own = linked.Family(
        pd.DataFrame({"children": [1, 2, 3]}),
        pd.DataFrame({"day": pd.to_datetime(["2020-01-01", "2020-01-03", None]), "kind": ["x", "y", "x"]}),
        np.array([2, 2, 0]),
    )
    frames, kinds = linked.aggregated({"train": own}, {"children": "integer"}, {"day": "datetime", "kind": "boolean"})
    found = frames["train"]
    assert found["children (children)"].tolist() == [1, 0, 2] and kinds["mean of day"] == "continuous"
    assert found["mean of day"][2] == pd.Timestamp("2020-01-02").timestamp() and np.isnan(found["mean of day"][0])
    assert found["share of kind = x"].fillna(-1).tolist() == [1, -1, 0.5]


def test_rules_between_child_and_parent_are_counted():
    def dated(seed: int, wrong: int) -> linked.Family:
        rng = np.random.default_rng(seed)
        start = rng.integers(0, 1000, 200)
        of = np.repeat(np.arange(200), 2)
        end = start[of] + rng.integers(0, 300, 400)
        end[:wrong] = start[of[:wrong]] - 5
        return linked.Family(pd.DataFrame({"start": start}), pd.DataFrame({"end": end}), of)

    families = {"train": dated(0, 0), "unseen": dated(1, 0), "synthetic": dated(2, 40)}
    found = linked.judge("a.b -> c.d", families, ({"start": "integer"}, {"end": "integer"}), CHECKED)
    assert found.broken == words.Beside(synthetic=0.1, real=0.0) and "parent's start" in found.rules[0].rule


def test_lists_that_are_copied_are_not_compared():
    one = family(0)
    found = linked.judge(
        "k", dict.fromkeys(("train", "unseen", "synthetic"), one), (ABOVE, BELOW), CHECKED, copies=True
    )
    assert found.auc is None and found.cardinality is None


def test_the_page_and_the_json_hold_what_was_found(good):
    odd = dataclasses.replace(good, key="<b>.a -> c.d")
    report = words.Report(synthetic="DIR", real="a.csv", seed=0, keys=[odd])
    text = page.render(report, {odd.key: (["x", "y"], [["1"]], [["<i>"]])})
    assert (
        "&lt;b&gt;.a" in text and "&lt;i&gt;" in text and "<i>" not in text and "http" not in text.split("</style>")[1]
    )
    assert json.loads(msgspec.json.encode(report))["keys"][0]["cardinality"]["real"] == good.cardinality.real
    assert any("AUC" in line for line in words.sentences(report))
