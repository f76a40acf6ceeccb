"""Distances of tables against brute force and scipy; a table that copies is caught, one that cannot is not."""

import numpy as np
import pandas as pd
import pytest
from customers import KINDS, customers
from scipy import stats

from synthjax.errors import InputError
from synthjax.evals import encoders, privacy
from synthjax.evals.domains.tables import Tables
from synthjax.evals.privacy import distance_tests
from synthjax.evals.sets import Sets
from synthjax.evals.table import from_frames


def read(*made):
    return list(from_frames({str(i): frame for i, frame in enumerate(made)}, KINDS, "churned").values())


def distances(rows, train, test, **limit):
    return distance_tests.distances(*map(encoders.metric(train), (rows, train, test)), **limit)


def evaluate(synthetic, train, unseen, reference, **limit):
    sets = Sets(Tables(train.schema), synthetic, train, reference, unseen, reference)
    return privacy.evaluate(sets, privacy.Attacker(**limit))


def test_distances_against_brute_force():
    rows, train, test = read(customers(2, 80), customers(0, 80), customers(1, 80))
    found = distances(rows, train, test)
    encode = encoders.metric(train)
    for distance, real in zip(found, (train, test), strict=True):
        apart = np.linalg.norm(encode(rows)[:, None] - encode(real), axis=-1)
        np.testing.assert_allclose(distance, apart.min(1), atol=1e-9)


def test_samples_are_of_one_size():
    rows, train, test = read(customers(2, 90), customers(0, 200), customers(1, 60))
    to_train, to_test = distances(rows, train, test)
    assert len(to_train) == len(to_test) == 60
    few = distances(rows, train, test, limit=20)[0]
    # Among fewer rows the nearest is further away.
    assert len(few) == 20 and few.mean() > to_train.mean()
    # The same rows, in the same order, to both.
    again = distances(train, train, test)
    assert again[0].mean() < again[1].mean()


def test_the_three_tests_against_scipy():
    rng = np.random.default_rng(0)
    a = rng.gamma(2, size=300)
    b = a + rng.normal(0.1, 0.5, 300)
    found = distance_tests.compare_distances(a, b)
    for name, theirs in {
        "mann_whitney": stats.mannwhitneyu(a, b, alternative="two-sided"),
        "wilcoxon": stats.wilcoxon(a, b),
        "kruskal_wallis": stats.kruskal(a, b),
    }.items():
        assert found[name] == pytest.approx({"statistic": theirs.statistic, "p": theirs.pvalue})
    assert found["pearson"]["r"] == pytest.approx(np.corrcoef(a, b)[0, 1])
    # Paired, the small shift is seen; apart it is not.
    assert found["wilcoxon"]["p"] < 0.01 < 0.05 < found["mann_whitney"]["p"]
    assert (found["n"], found["median_train"]) == (300, np.median(a))


def test_equal_and_constant_distances():
    same = distance_tests.compare_distances(np.ones(5), np.ones(5))
    assert [same[name]["p"] for name in ("mann_whitney", "wilcoxon", "kruskal_wallis")] == [1, 1, 1]
    assert same["pearson"] is None
    copied = distance_tests.compare_distances(np.zeros(30), np.linspace(1, 2, 30))
    assert copied["pearson"] is None and max(copied[name]["p"] for name in ("mann_whitney", "wilcoxon")) < 1e-5


@pytest.fixture(scope="module")
def found():
    """What is said of a table that copies 20 % of its training rows, and of one that was drawn apart."""
    train, holdout, test, clean = (customers(seed, 300, gaps=0.02) for seed in range(4))
    leaky = pd.concat([clean[:240], train[:60]])
    *tables, leaky, clean = read(train, holdout, test, leaky, clean)
    return [evaluate(table, *tables, limit=300) for table in (leaky, clean)]


def test_copies_are_counted(found):
    leaky, clean = found
    assert leaky["exact_matches"] == 60 and leaky["exact_matches_share"] == 0.2
    assert clean["exact_matches"] == 0 and leaky["exact_matches_reference"] == 0
    assert leaky["near_matches"]["share"] > 0.15 > 0.05 > clean["near_matches"]["share"]
    assert {pair["distance"] for pair in leaky["closest"]} == {0}
    assert all(pair["synthetic"] - 240 == pair["train"] for pair in leaky["closest"])


def test_a_leak_shows_in_every_diagnostic(found):
    leaky, clean = found
    assert leaky["dcr"]["interval"][0] > 0.5 and clean["dcr"]["interval"][0] < 0.5 < clean["dcr"]["interval"][1]
    assert leaky["mia"]["p_value"]["tpr_at_fpr_1pct"] < 0.01 < 0.05 < clean["mia"]["p_value"]["tpr_at_fpr_1pct"]
    assert leaky["tests"]["wilcoxon"]["p"] < 0.01 < 0.05 < clean["tests"]["wilcoxon"]["p"]
    assert leaky["tests"]["reference"] == clean["tests"]["reference"]


def test_rows_are_copies_only_if_every_value_is_equal(monkeypatch):
    monkeypatch.setattr(encoders, "WIDEST", 2)
    kinds = {"n": "continuous", "c": "categorical"}
    real = pd.DataFrame({"n": [0.0, 1, None, None], "c": ["a", "a", "b", "c"]})
    # -0 is 0; the third differs in a category that the vectors do not tell from c; a missing value equals another.
    fake = pd.DataFrame({"n": [-0.0, 1.5, None, None], "c": ["a", "a", "d", "b"]})
    real, fake = from_frames({"real": real, "fake": fake}, kinds).values()
    found = evaluate(fake, real, real, real)
    assert found["exact_matches"] == 2 and found["exact_matches_reference"] == 1


def test_too_few_rows_are_answered_in_one_line():
    train, one = read(customers(0, 30), customers(1, 1))
    with pytest.raises(InputError, match="unseen: 1 rows, at least 2 needed"):
        evaluate(train, train, one, train)
