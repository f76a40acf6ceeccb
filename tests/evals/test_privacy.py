"""Privacy measures on generators that leak by construction and on one that cannot; figures beside scikit-learn's."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from synthjax.errors import InputError
from synthjax.evals import privacy
from synthjax.evals.domains.images import Images
from synthjax.evals.sets import Sets
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


def evaluate(synthetic, unseen=HOLDOUT, reference=TEST, **known):
    sets = Sets(Images(SPEC), synthetic, TRAIN, TEST, unseen, reference)
    return privacy.evaluate(sets, privacy.Attacker(**known))


@pytest.fixture(scope="module")
def found():
    return {share: evaluate(leak(share)) for share in (0, 0.05, 1)}


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
    again = evaluate(leak(0.05))
    assert json.dumps(again, allow_nan=False) == json.dumps(found[0.05], allow_nan=False)


def test_without_reference_data_there_is_no_calibrated_attack():
    nothing = SimpleNamespace(x=TEST.x[:0], y=TEST.y[:0])
    mia = evaluate(leak(0), reference=nothing)["mia"]
    assert set(mia["attacks"]) == {"distance", "monte_carlo"}
    assert mia["control_auc"] is None and mia["model_auc"] is None


def test_model_scores_low_means_member():
    rng = np.random.default_rng(4)
    scores = {"members": rng.normal(0, 1, 600), "others": rng.normal(1, 1, 300)}
    mia = evaluate(leak(0), scores=scores)["mia"]
    assert mia["model_auc"] == pytest.approx(0.760, abs=0.03)  # Phi(1 / sqrt 2)
    assert mia["auc"] < 0.6  # the headline is of the files alone
    assert mia["model_attacks"]["findings"]["flagged"] and set(mia["model_attacks"]["attacks"]) == {"score"}


def test_audience_takes_rows_once_and_at_most_four_members_per_other():
    members, others = privacy.attacked_rows(1000, 50, seed=3)
    assert len(members) == len(set(members)) == 200 and members.max() < 1000
    np.testing.assert_array_equal(others, np.arange(50))
    assert len(privacy.attacked_rows(1000, 500, limit=30).members) == 30


@pytest.mark.parametrize(
    "parts, message",
    [({"unseen": 1}, "unseen: 1 examples, at least 2 needed"), ({"synthetic": 0}, "synthetic: 0 examples, at least 1")],
)
def test_sets_that_are_too_small_are_refused(parts, message):
    few = {name: SimpleNamespace(x=TEST.x[:n], y=TEST.y[:n]) for name, n in parts.items()}
    with pytest.raises(InputError, match=message):
        evaluate(**{"synthetic": leak(0), **few})
