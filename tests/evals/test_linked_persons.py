"""Attacks on topmost parents with the rows below them: one whose rows are copied is told, an honest set is not."""

import numpy as np
import pandas as pd
import pytest

from synthjax.evals import linked_persons
from synthjax.evals.linked import Family
from synthjax.evals.page import linked as page
from synthjax.evals.report import linked as words

KINDS = {"people": {"age": "integer"}, "visits": {"cost": "continuous", "ward": "categorical"}}


def family(rng, n=150, each=8):
    """People, and visits that are alike for each of them."""
    people = pd.DataFrame({"age": rng.integers(20, 80, n)})
    of = np.repeat(np.arange(n), rng.integers(1, each, n))
    level = rng.normal(100, 30, n)[of]
    visits = pd.DataFrame(
        {"cost": np.round(level + rng.normal(0, 5, len(of)), 2), "ward": rng.choice(["a", "b", "c"], len(of))}
    )
    return Family(people, visits, of)


def sets(seed):
    rng = np.random.default_rng(seed)
    return {name: family(rng) for name in linked_persons.SETS}


def judged(families, seed=0):
    return linked_persons.judge("people", {"visits": families}, KINDS, seed=seed)


def test_people_whose_rows_are_shuffled_and_shifted_are_told_by_all_of_them():
    families = sets(0)
    rng, own = np.random.default_rng(1), families["train"]
    order = rng.permutation(len(own.children))
    near = own.children.iloc[order].reset_index(drop=True)
    near["cost"] += rng.normal(0, 1, len(near)).round(2)
    found = judged({**families, "synthetic": Family(own.parents, near, own.of[order])})
    assert found.auc > 0.9 and found.flagged and found.auc_interval[0] > 0.5 and found.members == found.others == 150
    assert found.below == ["visits"] and "significant: " in words.said(found)


@pytest.mark.parametrize("seed", range(4))
def test_honest_tables_are_not_accused(seed):
    found = judged(sets(10 + seed), seed)
    assert found.flagged == [] and "no test is significant" in words.said(found)


def test_two_tables_below_one_are_one_record_and_few_people_are_not_attacked():
    families = sets(2)
    both = {"visits": families, "calls": {name: one for name, one in families.items()}}
    frames, kinds = linked_persons.records("people", both, {**KINDS, "calls": KINDS["visits"]})
    assert {"age", "visits: children", "calls: children", "visits: mean of cost"} <= set(kinds)
    assert all(list(frame) == list(kinds) and len(frame) == 150 for frame in frames.values())
    few = family(np.random.default_rng(3), linked_persons.LEAST - 1)
    assert judged({**families, "unseen": few}) is None


def test_the_page_and_the_lines_say_it():
    found = judged(sets(4))
    report = words.Report(synthetic="made", real="real", seed=0, keys=[], persons=[found])
    assert words.sentences(report)[0] == "people" and "are told from 150 unseen ones" in words.sentences(report)[1]
    text = page.render(report, {})
    assert "Who was in the training set?" in text and "visits" in text
