"""Figures, intervals and p-values of attacks beside scikit-learn, scipy and enumeration."""

import itertools

import numpy as np
import pytest
from scipy import stats

from synthjax.evals.privacy import roc


@pytest.mark.parametrize("levels", [3, 1000])  # many ties, few ties
def test_roc_figures_equal_sklearns(levels):
    from sklearn.metrics import roc_auc_score, roc_curve

    rng = np.random.default_rng(5)
    is_member = rng.random(3000) < 0.6
    guess = np.round((rng.normal(size=3000) + 0.8 * is_member) * levels / 4)
    fpr, tpr = roc.roc(guess, is_member)
    expected_fpr, expected_tpr, _ = roc_curve(is_member, guess, drop_intermediate=False)
    np.testing.assert_allclose(fpr, expected_fpr)
    np.testing.assert_allclose(tpr, expected_tpr)
    found = roc.judge(guess, is_member)
    assert found["auc"] == pytest.approx(roc_auc_score(is_member, guess))
    assert found["tpr_at_fpr_1pct"] == expected_tpr[expected_fpr <= 0.01].max()
    assert found["tpr_at_fpr_0p1pct"] == expected_tpr[expected_fpr <= 0.001].max()


def test_delong_variance_equals_the_definition_by_pairs():
    rng = np.random.default_rng(6)
    members, others = rng.integers(0, 5, 20).astype(float), rng.integers(0, 4, 15).astype(float)
    won = (members[:, None] > others) + 0.5 * (members[:, None] == others)
    expected = won.mean(axis=1).var(ddof=1) / 20 + won.mean(axis=0).var(ddof=1) / 15
    found = roc.delong_variance(np.concatenate([members, others]), np.arange(35) < 20)
    assert found == pytest.approx(expected)


def test_chance_is_the_maximum_over_every_relabelling():
    """Few examples: the shuffles' mean comes near that over all relabellings, enumerated with scikit-learn."""
    from sklearn.metrics import roc_auc_score

    guesses = np.random.default_rng(7).normal(size=(2, 7))
    exact = []
    for chosen in itertools.combinations(range(7), 3):
        is_member = np.isin(np.arange(7), chosen)
        exact.append(max(roc_auc_score(is_member, guess) for guess in guesses))
    found = roc.by_chance(guesses, np.arange(7) < 3, seed=0)["auc"]
    assert len(found) == roc.SHUFFLES
    assert found.mean() == pytest.approx(np.mean(exact), abs=4 * np.std(exact) / np.sqrt(roc.SHUFFLES))


def exhaustive(guess, members, figure):
    """P(figure is at least the observed one) over all choices of members among the records."""
    n = len(guess)
    observed = figure(guess, np.arange(n) < members)
    found = [figure(guess, np.isin(np.arange(n), chosen)) for chosen in itertools.combinations(range(n), members)]
    return np.mean([value >= observed - 1e-12 for value in found])


def test_the_tail_p_value_is_that_of_all_relabellings():
    guess = np.array([9.0, 8, 7, 3, 2.5, 6, 5, 1, 0, -1])
    for most in (0.0, 0.2, 0.4):

        def figure(g, m, most=most):
            fpr, tpr = roc.roc(g, m)
            return tpr[fpr <= most].max()

        assert roc.tail_p(guess, np.arange(10) < 5, most) == pytest.approx(exhaustive(guess, 5, figure))


def test_ties_make_the_tail_p_value_larger_than_that_of_all_relabellings():
    def figure(g, m):
        fpr, tpr = roc.roc(g, m)
        return tpr[fpr <= 0.2].max()

    guess = np.array([2.0, 2, 2, 1, 0, 2, 1, 1, 0, 0])
    assert roc.tail_p(guess, np.arange(10) < 5, 0.2) >= exhaustive(guess, 5, figure)


def test_the_auc_p_value_against_a_permutation_test_and_without_any_difference():
    rng = np.random.default_rng(8)
    guess = np.concatenate([rng.normal(0.3, 1, 120), rng.normal(size=80)])
    is_member = np.arange(200) < 120
    shuffled = roc.by_chance(guess[None], is_member, seed=0)["auc"]
    auc = roc.judge(guess, is_member)["auc"]
    assert roc.auc_p(guess, is_member) == pytest.approx((shuffled >= auc).mean(), abs=0.02)
    assert roc.auc_p(np.ones(200), is_member) == 1


def test_holm_by_hand_and_against_its_definition():
    """Smallest p times 4, next times 3, ...; never below the one before, never above 1."""
    found = roc.holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.6})
    assert found == pytest.approx({"a": 0.04, "b": 0.09, "c": 0.09, "d": 0.6})
    assert roc.holm({"a": 0.5, "b": 0.5}) == {"a": 1.0, "b": 1.0}


def test_the_bootstrap_agrees_with_delong():
    rng = np.random.default_rng(9)
    guess = np.concatenate([rng.normal(1, 1, 400), rng.normal(size=300)])
    is_member = np.arange(700) < 400
    low, high = roc.bootstrap(guess, is_member)["auc"]
    half = stats.norm.ppf(0.975) * np.sqrt(roc.delong_variance(guess, is_member))
    assert (high - low) / 2 == pytest.approx(half, rel=0.2)
    assert (high + low) / 2 == pytest.approx(roc.judge(guess, is_member)["auc"], abs=half / 3)
    tail = roc.bootstrap(guess, is_member)["tpr_at_fpr_1pct"]
    assert tail[0] <= roc.judge(guess, is_member)["tpr_at_fpr_1pct"] <= tail[1]
