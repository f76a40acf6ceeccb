"""The figures that the privacy part stands for: copies of 5 % are caught and named, honest files are left alone."""

import numpy as np
import pytest
from customers import KINDS, customers
from sklearn.datasets import load_digits

from synthjax.evals import encoders, frames
from synthjax.evals.privacy import Attacker, Audience, Keys, judge, roc
from synthjax.evals.privacy.attacks import from_file
from synthjax.evals.privacy.summary import findings

MEMBERS, OTHERS, REFERENCE, SYNTHETIC = 600, 400, 300, 400
COPIED = 30


def rows(kind, seed):
    """Disjoint members, others, reference and other real rows, as vectors."""
    ends = np.cumsum([MEMBERS, OTHERS, REFERENCE])
    if kind == "digits":
        images = load_digits().images.astype(np.uint8)
        parts = np.split(images[np.random.default_rng(seed).permutation(len(images))][: ends[-1] + SYNTHETIC], ends)
        return parts
    frame = customers(seed, int(ends[-1]) + SYNTHETIC, gaps=0.02)
    table = frames.read({"all": frame}, KINDS, "churned")["all"]
    return np.split(encoders.metric(table.take(np.arange(MEMBERS)))(table), ends)


@pytest.mark.parametrize("kind", ["digits", "table"])
def test_a_generator_that_copies_one_member_in_twenty(kind, tmp_path):
    members, others, reference, synthetic = rows(kind, 0)
    synthetic = np.concatenate([members[:COPIED], synthetic[COPIED:]])
    save = tmp_path / "attacks.npz"
    attacker = Attacker(seed=1)
    exact = Keys.of(synthetic, members, others)
    found = judge(synthetic, members, others, reference, exact, attacker, record_limit=500, save=save)
    mia = found["mia"]
    assert mia["tpr_at_fpr_0p1pct"] >= 30 * 0.001
    assert mia["surest"]["auc_interval"][0] > 0.5
    assert "mia.copy.auc" in found["findings"]["flagged"] and "duplicates.exact" in found["findings"]["flagged"]
    named = mia["worst_hit"]["records"]
    assert np.isin(np.arange(COPIED), named[: 2 * COPIED]).mean() >= 0.95
    assert max(mia["worst_hit"]["false_alarms"][:COPIED]) <= 0.01
    assert found["duplicates"]["exact"]["records"][:COPIED] == list(range(COPIED))
    saved = np.load(save)
    np.testing.assert_array_equal(saved["row"], [*range(MEMBERS), *range(OTHERS)])
    assert saved["member"].sum() == MEMBERS
    assert roc.judge(saved["copy"], saved["member"])["auc"] == mia["attacks"]["copy"]["auc"]


@pytest.mark.parametrize("kind", ["digits", "table"])
def test_a_generator_that_drew_from_other_rows_is_flagged_in_at_most_two_of_twenty_seeds(kind):
    asked = Audience(np.arange(MEMBERS), np.arange(OTHERS))
    flagged = 0
    for seed in range(20):
        members, others, reference, synthetic = rows(kind, seed)
        guesses, _ = from_file(np.concatenate([members, others]), synthetic, reference, seed=seed)
        p = {
            f"{name}.{key}": value
            for name, guess in guesses.items()
            for key, value in roc.p_values(guess, asked.is_member).items()
        }
        flagged += bool(findings(p)["flagged"])
    assert flagged <= 2


def test_who_knows_some_members_is_judged_by_the_others_alone():
    members, others, reference, synthetic = rows("digits", 1)
    synthetic = np.concatenate([members[:300], synthetic[300:]])
    exact = Keys.of(synthetic, members, others)
    found = judge(synthetic, members, others, reference, exact, Attacker(public=50, seed=2), record_limit=100)["mia"]
    assert (found["n_members"], found["n_others"], found["n_public"]) == (550, 350, 100)
    assert found["attacks"]["informed"]["auc"] > 0.7  # half of the members are copied
    assert len(set(found["worst_hit"]["records"])) == len(found["worst_hit"]["records"])
