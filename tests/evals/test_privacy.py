"""Privacy measures on generators that leak by construction and on one that cannot; figures beside scikit-learn's."""

import itertools
import json
from types import SimpleNamespace

import numpy as np
import pytest

from synthjax.evals import privacy
from synthjax.model import DataSpec

SPEC = DataSpec("image", (4, 4, 1), 256, ("a", "b"), (0.5, 0.5))


def draw(seed, n):
    """Images with a smooth class mean and noise, as a generator that knows the distribution and nobody's data."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n).astype(np.int32)
    x = 128 + 40 * np.sin(np.arange(16) + 2 * y[:, None]) + 20 * rng.normal(size=(n, 16))
    return SimpleNamespace(x=np.clip(x, 0, 255).astype(np.uint8).reshape(n, 4, 4, 1), y=y)


TRAIN, HOLDOUT, TEST = draw(0, 600), draw(1, 300), draw(2, 300)


def leak(share):
    """Fresh examples, the first of which are replaced by that share of the training set."""
    fresh, n = draw(3, 600), int(share * 600)
    return SimpleNamespace(x=np.concatenate([TRAIN.x[:n], fresh.x[n:]]), y=np.concatenate([TRAIN.y[:n], fresh.y[n:]]))


@pytest.fixture(scope="module")
def found():
    return {share: privacy.evaluate(leak(share), TRAIN, HOLDOUT, TEST, SPEC) for share in (0, 0.05, 1)}


def test_a_generator_that_cannot_leak(found):
    none = found[0]
    low, high = none["mia"]["auc_interval"]
    assert low < 0.5 < high
    assert min(none["mia"]["p_value"].values()) > 0.05
    assert none["mia"]["tpr_at_fpr_1pct"] <= none["mia"]["chance"]["tpr_at_fpr_1pct"]["q95"]
    low, high = none["dcr"]["interval"]
    assert low < 0.5 < high
    assert none["exact_matches"] == 0
    assert none["near_matches"]["share"] < 0.05


def test_a_generator_that_copies_one_example_in_twenty(found):
    some = found[0.05]
    assert some["exact_matches"] == 30
    assert some["exact_matches_share"] == 0.05
    assert some["exact_matches_reference"] == 0
    assert some["near_matches"]["share"] > 0.05
    assert some["mia"]["tpr_at_fpr_0p1pct"] == pytest.approx(30 / 600, abs=0.02)
    assert some["mia"]["p_value"]["tpr_at_fpr_0p1pct"] < 0.01
    for pair in some["closest"]:
        np.testing.assert_array_equal(leak(0.05).x[pair["synthetic"]], TRAIN.x[pair["train"]])


def test_a_generator_that_copies_everything(found):
    everything = found[1]
    assert everything["exact_matches"] == 600
    assert everything["mia"]["auc"] == everything["mia"]["tpr_at_fpr_0p1pct"] == 1
    assert max(everything["mia"]["p_value"].values()) < 0.01
    assert everything["dcr"]["share_nearer_train"] > 0.7  # half of the copied examples are outside the subsample
    assert everything["dcr"]["interval"][0] > 0.5
    assert everything["dcr"]["median_train"] < everything["dcr"]["median_holdout"]


def test_result_is_strict_json_and_repeats_with_its_seed(found):
    again = privacy.evaluate(leak(0.05), TRAIN, HOLDOUT, TEST, SPEC)
    assert json.dumps(again, allow_nan=False) == json.dumps(found[0.05], allow_nan=False)


def test_without_reference_data_there_is_no_calibrated_attack():
    nothing = SimpleNamespace(x=TEST.x[:0], y=TEST.y[:0])
    mia = privacy.evaluate(leak(0), TRAIN, HOLDOUT, nothing, SPEC)["mia"]
    assert set(mia["attacks"]) == {"distance", "density"}
    assert mia["control_auc"] is None and mia["model_auc"] is None


def test_model_scores_low_means_member():
    rng = np.random.default_rng(4)
    scores = {"members": rng.normal(0, 1, 600), "others": rng.normal(1, 1, 300)}
    mia = privacy.membership(leak(0).x, TRAIN.x, HOLDOUT.x, TEST.x, scores=scores)
    assert mia["model_auc"] == pytest.approx(0.760, abs=0.03)  # Phi(1 / sqrt 2)
    assert mia["auc"] < 0.6  # the headline is of the files alone


@pytest.mark.parametrize("levels", [3, 1000])  # many ties, few ties
def test_roc_figures_equal_sklearns(levels):
    from sklearn.metrics import roc_auc_score, roc_curve

    rng = np.random.default_rng(5)
    is_member = rng.random(3000) < 0.6
    guess = np.round((rng.normal(size=3000) + 0.8 * is_member) * levels / 4)
    fpr, tpr = privacy.roc(guess, is_member)
    expected_fpr, expected_tpr, _ = roc_curve(is_member, guess, drop_intermediate=False)
    np.testing.assert_allclose(fpr, expected_fpr)
    np.testing.assert_allclose(tpr, expected_tpr)
    found = privacy.judge(guess, is_member)
    assert found["auc"] == pytest.approx(roc_auc_score(is_member, guess))
    assert found["tpr_at_fpr_1pct"] == expected_tpr[expected_fpr <= 0.01].max()
    assert found["tpr_at_fpr_0p1pct"] == expected_tpr[expected_fpr <= 0.001].max()


def test_delong_variance_equals_the_definition_by_pairs():
    rng = np.random.default_rng(6)
    members, others = rng.integers(0, 5, 20).astype(float), rng.integers(0, 4, 15).astype(float)
    won = (members[:, None] > others) + 0.5 * (members[:, None] == others)
    expected = won.mean(axis=1).var(ddof=1) / 20 + won.mean(axis=0).var(ddof=1) / 15
    found = privacy.delong_variance(np.concatenate([members, others]), np.arange(35) < 20)
    assert found == pytest.approx(expected)


def test_chance_is_the_maximum_over_every_relabelling():
    """Few examples: the shuffles' mean comes near that over all relabellings, enumerated with scikit-learn."""
    from sklearn.metrics import roc_auc_score

    guesses = np.random.default_rng(7).normal(size=(2, 7))
    exact = []
    for chosen in itertools.combinations(range(7), 3):
        is_member = np.isin(np.arange(7), chosen)
        exact.append(max(roc_auc_score(is_member, guess) for guess in guesses))
    found = privacy.by_chance(guesses, np.arange(7) < 3, seed=0)["auc"]
    assert len(found) == privacy.SHUFFLES
    assert found.mean() == pytest.approx(np.mean(exact), abs=4 * np.std(exact) / np.sqrt(privacy.SHUFFLES))


def test_share_nearer_train_by_hand():
    """Two of five nearer to train, one tied; train 0 and holdout 1 decide 1.5 of 5 each, train 1 and holdout 0 one."""
    share, interval, effective = privacy.share_nearer(
        np.array([1.0, 2, 3, 4, 4]),
        np.array([2.0, 3, 3, 1, 1]),
        np.array([0, 1, 0, 0, 1]),
        np.array([1, 1, 1, 0, 1]),
    )
    assert share == 0.5
    weights = np.array([1.5, 1, 1, 1.5]) / 5
    assert effective == pytest.approx(1 / np.sum(weights**2))
    assert interval[0] < 0.5 < interval[1]


def test_the_dcr_interval_covers_a_half_when_nothing_leaks():
    """Many synthetic examples around few real ones: without the effective number, most intervals would miss."""
    missed = 0
    for seed in range(20):
        rng = np.random.default_rng([8, seed])
        found = privacy.closest_record(*(rng.normal(size=(n, 3)) for n in (1000, 20, 20)))
        low, high = found["interval"]
        missed += not low < 0.5 < high
    assert missed <= 3


def test_wilson_equals_scipy():
    from scipy.stats import binomtest

    expected = binomtest(7, 40).proportion_ci(method="wilson")
    assert privacy.wilson(7 / 40, 40) == pytest.approx([expected.low, expected.high])


def test_audience_takes_rows_once_and_at_most_four_members_per_other():
    members, others = privacy.audience(1000, 50, seed=3)
    assert len(members) == len(set(members)) == 200 and members.max() < 1000
    np.testing.assert_array_equal(others, np.arange(50))
    assert len(privacy.audience(1000, 500, limit=30).members) == 30


@pytest.mark.parametrize(
    "part, message", [("synthetic", r"synthetic\.x holds .* \(8, 8, 1\)"), ("holdout", "holdout.*few")]
)
def test_unusable_arrays_are_refused(part, message):
    parts = {"synthetic": leak(0), "train": TRAIN, "holdout": HOLDOUT, "test": TEST}
    wrong = np.zeros((9, 8, 8, 1), np.uint8) if part == "synthetic" else HOLDOUT.x[:1]
    parts[part] = SimpleNamespace(x=wrong, y=np.zeros(len(wrong), np.int32))
    with pytest.raises(ValueError, match=message):
        privacy.evaluate(**parts, spec=SPEC)
