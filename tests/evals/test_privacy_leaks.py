"""The figures that the privacy part stands for: copies of 5 % are caught and named, honest files are left alone."""

from types import SimpleNamespace

import numpy as np
import pytest
from customers import KINDS, customers
from sklearn.datasets import load_digits

from synthjax.evals import encoders, privacy, report
from synthjax.evals.domains.images import Images
from synthjax.evals.domains.tables import Tables
from synthjax.evals.privacy import AttackedRows, Attacker, Keys, attacks, judge, roc
from synthjax.evals.privacy.attacks import ATTACKS, from_file
from synthjax.evals.privacy.summary import findings
from synthjax.evals.report import private
from synthjax.evals.sets import Sets
from synthjax.evals.table import from_frames
from synthjax.model import DataSpec

MEMBERS, OTHERS, REFERENCE, SYNTHETIC = 600, 400, 300, 400
COPIED = 30


ENDS = np.cumsum([MEMBERS, OTHERS, REFERENCE, SYNTHETIC])


def images(seed):
    return load_digits().images.astype(np.uint8)[np.random.default_rng(seed).permutation(1797)][: ENDS[-1]]


def table(seed):
    return from_frames({"all": customers(seed, int(ENDS[-1]), gaps=0.02)}, KINDS, "churned")["all"]


def rows(kind, seed):
    """Disjoint members, others, reference and other real rows, as vectors."""
    if kind == "digits":
        return np.split(images(seed), ENDS[:-1])
    whole = table(seed)
    return np.split(encoders.metric(whole.take(np.arange(MEMBERS)))(whole), ENDS[:-1])


def verdict(kind, seed, copied):
    """What the page says of a file of other real rows, `copied` of them members, and the privacy part behind it."""
    parts = np.split(np.arange(ENDS[-1]), ENDS[:-1])
    order = [np.concatenate([parts[0][:copied], parts[3][copied:]]), *parts[:3]]
    if kind == "digits":
        x = images(seed)[..., None]
        made, train, unseen, reference = (SimpleNamespace(x=x[part], y=None) for part in order)
        domain = Images(DataSpec("image", (8, 8, 1), levels=17))
    else:
        made, train, unseen, reference = (table(seed).take(part) for part in order)
        domain = Tables(train.schema)
    found = privacy.evaluate(Sets(domain, made, train, reference, unseen, reference), Attacker(seed=seed))
    typed = report.part("image" if kind == "digits" else kind, "privacy", found)
    return private.private(typed), typed


@pytest.mark.parametrize("kind", ["digits", "table"])
@pytest.mark.parametrize("seeds", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_the_page_accuses_at_most_two_honest_files_of_twenty_and_those_that_copy(kind, seeds):
    """Every test of the file, corrected together, and what else the verdict looks at."""
    accused = 0
    for seed in range(seeds):
        honest, _ = verdict(kind, seed, 0)
        accused += honest.level != "good"
        if seed < max(seeds // 4, 1):
            leaking, found = verdict(kind, seed, COPIED)
            assert leaking.level == "poor" and private.level_of(found) != "good"
            assert "duplicates.exact" in found.findings.flagged and leaking.evidence[0].text.startswith("Significant")
    print(f"{kind}: {accused} of {seeds} honest files accused")
    assert accused <= seeds // 10


@pytest.mark.parametrize("kind", ["digits", "table"])
def test_a_generator_that_copies_one_member_in_twenty(kind, tmp_path):
    members, others, reference, synthetic = rows(kind, 0)
    synthetic = np.concatenate([members[:COPIED], synthetic[COPIED:]])
    save = tmp_path / "attacks.npz"
    attacker = Attacker(seed=1)
    exact = Keys.of(synthetic, members, others)
    vectors = {"synthetic": synthetic, "train": members, "unseen": others, "reference": reference}
    found = judge(vectors, exact, attacker, record_limit=500, save=save)
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
@pytest.mark.parametrize("seeds", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_a_generator_that_drew_from_other_rows_is_flagged_in_at_most_two_of_twenty_seeds(kind, seeds):
    """All attacks, those on columns too, by Holm."""
    asked = AttackedRows(np.arange(MEMBERS), np.arange(OTHERS))
    flagged = 0
    for seed in range(seeds):
        members, others, reference, synthetic = rows(kind, seed)
        ends = np.cumsum([MEMBERS + OTHERS, REFERENCE, SYNTHETIC])
        real, known, made = (table(seed).take(part) for part in np.split(np.arange(ENDS[-1]), ends[:-1]))
        more = {"tables": attacks.Tables(real, made, known)} if kind == "table" else {}
        guesses, _ = from_file(np.concatenate([members, others]), synthetic, reference, seed=seed, **more)
        assert len(guesses) == len(ATTACKS) - (kind == "digits")
        p = {
            f"{name}.{key}": value
            for name, guess in guesses.items()
            for key, value in roc.p_values(guess, asked.is_member).items()
        }
        flagged += bool(findings(p)["flagged"])
    print(f"{kind}: {flagged} of {seeds} honest files flagged")
    assert flagged <= seeds // 10


def test_who_knows_some_members_is_judged_by_the_others_alone():
    members, others, reference, synthetic = rows("digits", 1)
    synthetic = np.concatenate([members[:300], synthetic[300:]])
    exact = Keys.of(synthetic, members, others)
    vectors = {"synthetic": synthetic, "train": members, "unseen": others, "reference": reference}
    found = judge(vectors, exact, Attacker(public=50, seed=2), record_limit=100)["mia"]
    assert (found["n_members"], found["n_others"], found["n_public"]) == (550, 350, 100)
    assert found["attacks"]["informed"]["auc"] > 0.7  # half of the members are copied
    assert len(set(found["worst_hit"]["records"])) == len(found["worst_hit"]["records"])
