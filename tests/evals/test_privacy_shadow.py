"""Attacks on a model's scores: the likelihood ratio by hand, against theory, and what cannot be used."""

import numpy as np
import pytest
from scipy import stats

from synthjax.evals.privacy import shadow
from synthjax.evals.privacy.shadow import Shadows


def simulate(models, records, *, gap, seed=0):
    """Scores that a model lowers by `gap` on its own records, of records that differ in difficulty by much more."""
    rng = np.random.default_rng(seed)
    difficulty = 5 * rng.normal(size=records)
    inside = rng.random((models + 1, records)) < 0.5
    scores = difficulty - gap * inside + rng.normal(size=(models + 1, records))
    return scores[0], inside[0], Shadows(scores[1:], inside[1:])


def auc(guess, is_member):
    return stats.mannwhitneyu(guess[is_member], guess[~is_member]).statistic / is_member.sum() / (~is_member).sum()


def test_the_likelihood_ratio_by_hand_with_variances_of_each_record():
    rng = np.random.default_rng(1)
    inside = np.tile(np.arange(40) % 2 == 0, (3, 1)).T
    scores = rng.normal(size=(40, 3)) - inside * [1.0, 2.0, 3.0]
    surprise = np.array([0.1, -1.0, 2.0])
    found = shadow.from_scores(surprise, Shadows(scores, inside))
    for j in range(3):
        ours, theirs = scores[::2, j], scores[1::2, j]
        expected = stats.norm(ours.mean(), ours.std(ddof=1)).logpdf(surprise[j])
        expected -= stats.norm(theirs.mean(), theirs.std(ddof=1)).logpdf(surprise[j])
        assert found["lira"][j] == pytest.approx(expected)
        assert found["difficulty"][j] == pytest.approx(theirs.mean() - surprise[j])
    np.testing.assert_array_equal(found["score"], -surprise)


@pytest.mark.parametrize("models", [12, 64])  # pooled variances, and each record's own
def test_calibration_removes_the_difficulty_of_records(models):
    surprise, is_member, shadows = simulate(models, 3000, gap=1.5)
    found = shadow.from_scores(surprise, shadows)
    best = stats.norm.cdf(1.5 / np.sqrt(2))  # of the true likelihood ratio: 0.856
    assert auc(found["score"], is_member) < 0.62
    for name in ("difficulty", "lira"):
        assert best - 0.05 < auc(found[name], is_member) < best + 0.02


def test_a_model_that_learnt_nothing_gives_nothing_away():
    surprise, is_member, shadows = simulate(16, 3000, gap=0)
    for guess in shadow.from_scores(surprise, shadows).values():
        assert auc(guess, is_member) == pytest.approx(0.5, abs=0.04)


def test_a_memory_that_scores_all_it_saw_alike_has_finite_ratios():
    inside = np.random.default_rng(2).random((10, 50)) < 0.5
    inside[:, 0], inside[:, 1] = True, False  # nothing to compare with
    surprise = np.where(np.arange(50) < 25, 0.0, 3.0)
    found = shadow.from_scores(surprise, Shadows(np.where(inside, 0.0, 3.0), inside))
    assert all(np.isfinite(guess).all() for guess in found.values())
    assert found["lira"][0] == found["lira"][1] == found["difficulty"][0] == 0
    assert found["lira"][2:25].min() > 0 > found["lira"][25:].max()


def test_scores_that_cannot_be_used_are_named():
    scores = np.zeros((3, 4))
    with pytest.raises(ValueError, match="record 2 has a score that is not finite"):
        shadow.from_scores(np.array([0.0, 1, np.nan, np.inf]))
    with pytest.raises(ValueError, match=r"should be \(K, N\), N = 5"):
        shadow.from_scores(np.zeros(5), Shadows(scores, scores > 0))
    scores[1, 3] = np.inf
    with pytest.raises(ValueError, match="model 1 gives record 3"):
        shadow.from_scores(np.zeros(4), Shadows(scores, scores > 0))
