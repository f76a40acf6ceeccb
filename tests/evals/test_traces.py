"""What the tests of the privacy part amount to: the verdict and its words, on reports written by hand."""

import pytest

from synthjax.evals import answers, report, tabular_report, traces

NASTY = "<b>in.come"
CHANCE = {"auc": {"mean": 0.5, "q95": 0.52}, "tpr_at_fpr_1pct": {"mean": 0.01, "q95": 0.02}}
CHANCE["tpr_at_fpr_0p1pct"] = CHANCE["tpr_at_fpr_1pct"]


def attack(auc=0.5, half=0.01, tail=0.001):
    return {"auc": auc, "auc_interval": [auc - half, auc + half], "tpr_at_fpr_1pct": 0.01, "tpr_at_fpr_0p1pct": tail}


def made(holm=None, *, copy=None, interval=(0.45, 0.55)):
    """The privacy part of a file where nothing was found but the tests of small corrected p."""
    attacks = {"distance": attack(), "copy": copy or attack(half=0.0005)}
    surest = max(attacks, key=lambda name: attacks[name]["auc_interval"][0])
    adjusted = {"mia.distance.auc": 0.9, "duplicates.exact": 1.0, **(holm or {})}
    best = attack()
    return {
        **{"n_synthetic": 500, "exact_matches": 0, "exact_matches_share": 0.0, "exact_matches_reference": 0.0},
        "near_matches": {"share": 0.01, "reference": 0.01},
        "dcr": {"interval": list(interval)},
        "mia": {
            **best,
            **{"attacks": attacks, "chance": CHANCE, "p_value": dict.fromkeys(CHANCE, 0.5), "model_auc": None},
            **{"surest": {"attack": surest, **attacks[surest]}, "n_members": 8_000, "n_others": 2_000},
        },
        "findings": {"holm": adjusted, "flagged": [k for k, p in adjusted.items() if p <= 0.05], "level": 0.05},
    }


@pytest.mark.parametrize("judge", [report.private, tabular_report.private])
def test_good_only_if_nothing_counts_and_the_old_thresholds_hold(judge):
    safe = judge(made())
    assert safe.level == "good" and safe.evidence[0].startswith("Nothing counts, all 2 tests of the file")
    assert "smallest p is 0.9." in safe.evidence[0]
    assert judge(made({"duplicates.near": 0.04})).level == "fair"
    assert judge(made({"duplicates.near": 0.06})).level == "good"
    assert judge(made(interval=(0.51, 0.6))).level == "fair"
    traced = made()
    traced["mia"]["p_value"] = {**traced["mia"]["p_value"], "auc": 0.001}
    assert judge(traced).level == "fair"


@pytest.mark.parametrize(
    "copy, level",
    [
        (attack(0.505, 0.004), "fair"),  # a small AUC, and a smaller variance: guessing is excluded
        (attack(0.505, 0.006), "good"),
        (attack(0.6, 0.04), "poor"),
        (attack(0.6, 0.06), "fair"),
    ],
)
def test_the_surest_attack_decides_whatever_the_best_one_says(copy, level):
    verdict = report.private(made(copy=copy))
    assert verdict.level == level
    said = any("excludes the 0.5 of guessing" in sentence for sentence in verdict.evidence)
    assert said == (level != "good")
    assert not said or "“a synthetic example nearer than any by chance”" in verdict.evidence[1]


def test_a_share_of_false_alarms_below_one_record_is_said_to_be_none():
    few = made()
    few["mia"]["n_others"] = 46
    said = [" ".join(report.private(found).evidence) for found in (few, made())]
    assert "with 0.1 % false alarms (of 46 others: none) " in said[0] and ": none" not in said[1]


def test_few_who_are_recognised_for_sure_are_a_leak():
    tail = {"mia.copy.tpr_at_fpr_0p1pct": 1e-9}
    assert report.private(made(tail, copy=attack(half=0.001, tail=0.06))).level == "poor"
    assert report.private(made(tail, copy=attack(half=0.001, tail=0.04))).level == "fair"
    assert report.private(made(copy=attack(half=0.001, tail=0.06))).level == "good"  # as by chance
    unsure = {"mia.copy.tpr_at_fpr_0p1pct": 0.04}  # one in twenty-five honest files has as much
    assert report.private(made(unsure, copy=attack(half=0.001, tail=0.2))).level == "fair"


def test_what_counts_is_named_in_plain_words_smallest_p_first():
    names = {
        "mia.domias_kernel.auc": 0.03,
        "mia.domias_kernel.tpr_at_fpr_1pct": 0.02,
        "duplicates.exact": 1e-12,
        f"attributes.{NASTY}.nearest": 0.01,
        "attributes.age.boosting": 0.05,
    }
    (said,) = traces.sentences(made(names), "row")
    first = said.index("synthetic rows equal training rows more often than unseen ones (p < 0.0001)")
    second = said.index(
        f"“{NASTY}” is guessed better of training rows than of unseen ones by the nearest synthetic row"
    )
    third = said.index("“density over that of other real data, kernels” (p = 0.02)")
    assert first < second < third and said.count("kernels") == 1
    assert said.endswith("; and 1 more.") and "all 6 tests" in said


def test_reports_made_before_tests_were_corrected_are_judged_by_what_they_have():
    old = made()
    del old["findings"], old["mia"]["surest"]
    verdict = report.private(old)
    assert verdict.level == "good" and "best attack" in verdict.evidence[0]


def test_the_answer_on_publishing_follows():
    manifest = {"kind": "image", "quick": False, "model": None, "non_members": "test"}
    found = {"manifest": manifest, "privacy": made({"duplicates.exact": 0.001})}
    verdict = answers.publish(found)
    assert verdict.level == "fair" and "synthetic examples equal training examples" in verdict.evidence[0]
    assert answers.publish({**found, "privacy": made()}).level == "good"


def test_the_answer_on_the_checkpoint_names_the_attack_that_counts():
    model = {"auc": 0.7, "auc_interval": [0.68, 0.72]}
    privacy = made()
    counted = {"flagged": ["lira.auc"], "holm": {"lira.auc": 0.001}, "level": 0.05}
    privacy["mia"] |= {"model_auc": 0.7, "model": model, "model_attacks": {"findings": counted}}
    report_made = {"manifest": {"kind": "table", "model": {"name": "vae", "guarantee": None}}, "privacy": privacy}
    said = " ".join(answers.checkpoint(report_made).evidence)
    assert "“asks the model, likelihood ratio over shadow models” recognises training rows" in said
