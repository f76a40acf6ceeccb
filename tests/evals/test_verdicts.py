"""The verdicts: levels, answers and evidence by topic, on reports whose figures are set by hand."""

import pytest
import reports
from reports import attack, estimate, loss, scores, texts

from synthjax.evals.bootstrap import Loss
from synthjax.evals.privacy import overlap
from synthjax.evals.report import verdicts
from synthjax.evals.report.alike import trend
from synthjax.evals.report.model import Guarantee
from synthjax.evals.report.private import copied
from synthjax.evals.report.tables import Pair

KINDS, NASTY = ("image", "table"), "<b>in.come"


def judged(name, kind="image", changes=None, **how):
    return reports.verdict(name, reports.make(kind, changes, **how))


# --- parts: usefulness ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "tstr, floor, level",
    [(0.96, 0.5, "good"), (0.95, 0.5, "fair"), (0.8, 0.5, "poor"), (0.96, 0.965, "poor")],
)
def test_images_are_useful_by_ceiling_and_floor(tstr, floor, level):
    changes = {"utility.cnn.tstr.mean": tstr, "utility.cnn.floor.mean": floor, "utility.n.trained_on": 60}
    verdict = judged("useful", "image", changes)
    assert verdict.level == level and ("mean image" in verdict.answer) == (tstr <= floor)
    said = texts(verdict)
    assert f"alone, 60 of its examples, has an accuracy of {100 * tstr:.1f} %" in said["accuracy"]
    assert "97.0 %: ratio 0.990" in said["accuracy"] and f"{100 * floor:.1f} %" in said["floor"]


@pytest.mark.parametrize("kept, level", [(0.95, "good"), (1.0, "good"), (0.85, "fair"), (0.55, "poor"), (0.0, "poor")])
def test_tables_are_useful_by_the_share_of_what_real_rows_teach(kept, level):
    verdict = judged("useful", "table", {"utility.boosting.kept": kept})
    assert verdict.level == level and ("independent columns would do" in verdict.answer) == (kept == 0)
    said = texts(verdict)
    assert all(figure in said["boosting"] for figure in ("0.900", "0.930", "0.530", "ROC AUC"))
    assert f"{100 * kept:.1f} % of what" in said["boosting"] or kept == 0
    assert "support vector machine: 0.800 instead of 0.930" in said["weakest"] and "balanced" in said["judges"]


def test_below_the_floor_nothing_is_kept():
    said = texts(judged("useful", "table", {"utility.boosting.kept": -0.2}))["boosting"]
    assert said.endswith(" Nothing of what real rows teach beyond independent columns is kept.") and "-" not in said


def test_where_nothing_can_be_learnt_nothing_is_claimed():
    sides = {f"utility.boosting.{side}": scores(None) for side in ("tstr", "trtr")}
    verdict = judged("useful", "table", {"utility.boosting.kept": None, **sides})
    assert verdict.level == "fair" and "cannot be told" in verdict.answer
    assert "no ROC AUC, since the rows tested are all alike" in texts(verdict)["boosting"]


def test_a_quantity_is_judged_by_the_variance_explained():
    changes = {f"utility.{who}.{side}": scores(0.6, "regression") for who in ("boosting", "mean", "judges.linear",
               "judges.svm") for side in ("tstr", "trtr", "floor")}  # fmt: skip
    said = texts(judged("useful", "table", {"utility.task": "regression", "utility.positive": None, **changes}))
    assert "a R² of 0.600" in said["boosting"] and "weakest" not in said


@pytest.mark.parametrize("kind, unit", [("image", "example"), ("table", "row")])
def test_missing_classes_are_said_wherever_they_matter(kind, unit):
    changes = {"utility.n.missing_classes": ["a", "b"], "utility.loss": loss(0.1)}
    changes |= {"utility.boosting.kept": 0.99} if kind == "table" else {}
    found = reports.make(kind, changes)
    useful, lost = reports.verdict("useful", found), reports.verdict("lost", found)
    assert useful.level == "fair" and "but for the classes that are missing" in useful.answer
    assert f"No synthetic {unit} is of classes “a”, “b”: " in texts(useful)["missing_classes"]
    assert lost.level == "fair" and lost.answer.startswith("Classes are missing. ")
    assert lost.evidence[0].topic == "missing_classes"
    assert (
        "“e” and 2 more: "
        in texts(judged("lost", kind, {"utility.n.missing_classes": list("abcdefg")}))["missing_classes"]
    )


# --- parts: likeness -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes, level, answer",
    [
        ({"precision": 0.95, "coverage": 0.95}, "good", "Yes"),
        ({"precision": 0.95, "coverage": 0.5}, "fair", "In kind"),
        ({"precision": 0.5, "coverage": 0.95}, "fair", "In variety"),
        ({"precision": 0.5, "coverage": 0.5}, "poor", "No"),
        ({"precision": 0.95, "coverage": 0.95, "collapsed": ["a"]}, "poor", "collapsed"),
        ({"precision": 0.95, "coverage": 0.95, "collapsed": ["a"], "per_class.0.n_synthetic": 0}, "poor", "missing"),
        ({"precision": 0.86, "coverage": 0.86, "reference": None}, "good", "Yes"),
    ],
)
def test_images_are_alike_beside_real_ones(changes, level, answer):
    verdict = judged("alike", "image", {f"fidelity.{key}": value for key, value in changes.items()})
    assert verdict.level == level and answer in verdict.answer
    said = texts(verdict)
    assert f"{100 * changes['precision']:.1f} %" in said["precision"]
    assert ("real data: 95.0 %" in said["precision"]) == ("reference" not in changes)
    assert ("collapsed" in said) == ("collapsed" in changes)


def test_the_two_sample_test_stands_beside_real_data():
    test = {"score": 0.4, "auc": 0.8, "values": [0.4], "n": 40}
    real = {"score": 0.98, "auc": 0.51, "values": [0.98], "n": 40}
    said = texts(judged("alike", "image", {"fidelity.c2st": test, "fidelity.reference.c2st": real}))["c2st"]
    assert "0.800 (0.5: it cannot tell them apart; real data: 0.510)" in said
    assert "c2st" not in texts(
        judged("alike", "image", {"fidelity.c2st": dict.fromkeys(("score", "auc", "values")) | {"n": 2}})
    )
    twins = {"fidelity.synthetic.c2st": {**test, "auc": 0.2}}
    assert "copies of its rows" in texts(judged("alike", "table", twins))["c2st"]


def side(name, shapes, trends, score, auc):
    key = f"fidelity.{name}"
    pairs = [{"columns": ["a", "b"], "score": trends}, {"columns": ["a", "c"], "score": None}]
    return {
        **{f"{key}.shapes": {"score": shapes, "columns": {"a": shapes, "b": None}}},
        **{f"{key}.trends": {"score": trends, "score_real_edges": trends, "pairs": pairs}},
        **{f"{key}.c2st": {"score": score, "auc": auc, "values": None, "n": 40}},
    }


BESIDE = side("ceiling", 0.99, 0.98, 0.98, 0.51) | side("floor", 0.99, 0.9, 0.05, 0.97)


@pytest.mark.parametrize(
    "made, level, answer",
    [
        ((0.985, 0.975, 0.84, 0.58), "good", "Yes"),
        ((0.97, 0.95, 0.4, 0.8), "fair", "Partly"),
        ((0.99, 0.92, 0.5, 0.75), "poor", "hardly depend"),
        ((0.99, 0.97, 0.1, 0.95), "poor", "easily told"),
        ((0.8, 0.97, 0.9, 0.55), "poor", "easily told"),
    ],
)
def test_tables_are_alike_beside_real_test_rows_and_independent_columns(made, level, answer):
    verdict = judged("alike", "table", {**BESIDE, **side("synthetic", *made)})
    assert verdict.level == level and answer in verdict.answer
    expected = "(real test rows: 98.0 %; independent columns: 90.0 %). Least alike: a and b"
    assert expected in texts(verdict)["pairs"]


@pytest.mark.parametrize("made, level", [((0.985, 0.975, 0.84, 0.58), "fair"), ((0.99, 0.97, 0.1, 0.95), "poor")])
def test_of_few_rows_no_difference_says_little(made, level):
    few = {"fidelity.n": {"real": 60, "synthetic": 60, "ceiling": 20, "floor": 60}}
    verdict = judged("alike", "table", {**BESIDE, **side("synthetic", *made), **few})
    assert verdict.level == level and (level == "poor" or "cannot be told: too few rows" in verdict.answer)


def test_a_table_of_one_column_has_no_pairs():
    sides = [side(name, 0.99, None, 0.9, 0.55) for name in ("synthetic", "ceiling", "floor")]
    verdict = judged("alike", "table", sides[0] | sides[1] | sides[2])
    assert verdict.level == "good" and "Pairs of columns are not compared" in texts(verdict)["pairs"]


def test_pairs_are_judged_at_the_real_columns_cuts():
    cut = Pair(columns=("education_num", "sex"), score=0.48, score_real_edges=0.97)
    assert trend(cut) == 0.97 and trend(Pair(columns=("a", "b"), score=0.9)) == 0.9
    assert trend(Pair(columns=("a", "b"), score=0.9, score_real_edges=None)) is None
    one = {"columns": ["education_num", "sex"], "score": 0.48, "score_real_edges": 0.96}
    other = {"columns": ["age", "sex"], "score": 0.99, "score_real_edges": 0.95}
    real = [{**pair, "score_real_edges": 0.97} for pair in (one, other)]
    changes = {"fidelity.synthetic.trends.pairs": [one, other], "fidelity.ceiling.trends.pairs": real}
    said = texts(judged("lost", "table", changes))["pairs"]
    assert "48.0 %" not in said and said.index("age and sex") < said.index("education_num and sex")


# --- parts: privacy ------------------------------------------------------------------------------------------------


def findings(holm):
    return {"privacy.findings": {"holm": holm, "flagged": [k for k, p in holm.items() if p <= 0.05], "level": 0.05}}


@pytest.mark.parametrize("kind", KINDS)
def test_private_only_if_no_test_is_significant_and_nothing_is_out_of_chances_reach(kind):
    safe = judged("private", kind)
    assert safe.level == "good" and "no proof" in safe.answer
    assert texts(safe)["tests"].startswith("No test is significant, corrected for all 2 tests of this file (Holm, 5 %")
    assert "smallest p-value is 0.9." in texts(safe)["tests"] and "clearest" not in texts(safe)
    assert judged("private", kind, findings({"duplicates.near": 0.04})).level == "fair"
    assert judged("private", kind, findings({"duplicates.near": 0.06})).level == "good"
    assert judged("private", kind, {"privacy.dcr.interval": [0.51, 0.6]}).level == "fair"
    traced = judged("private", kind, {"privacy.mia.p_value.auc": 0.001})
    assert traced.level == "fair" and traced.answer.startswith("Traces of training")


@pytest.mark.parametrize(
    "copy, level",
    [
        (attack(0.505, 0.004), "fair"),  # a small AUC, and a smaller variance: guessing is excluded
        (attack(0.505, 0.006), "good"),
        (attack(0.6, 0.04), "poor"),
        (attack(0.6, 0.06), "fair"),
    ],
)
def test_the_clearest_attack_decides_whatever_the_best_one_says(copy, level):
    verdict = judged("private", attacks={"distance": attack(), "copy": copy})
    assert verdict.level == level and ("clearest" in texts(verdict)) == (level != "good")
    if level != "good":
        assert "“a synthetic example nearer than any by chance”" in texts(verdict)["clearest"]


def test_a_share_of_false_alarms_below_one_record_is_said():
    few, many = (texts(judged("private", "image", {"privacy.mia.n_others": n}))["false_alarms"] for n in (46, 2_000))
    assert "(fewer than one of 46 unseen ones)" in few and "fewer" not in many


def test_few_who_are_recognised_for_sure_are_a_leak():
    def level(p, tail, half=0.001):
        changes = findings({"mia.copy.tpr_at_fpr_0p1pct": p})
        attacks = {"distance": attack(), "copy": attack(half=half, tail=tail)}
        return judged("private", "image", changes, attacks=attacks).level

    assert level(1e-9, 0.06) == "poor" and level(1e-9, 0.04) == "fair"
    assert level(0.9, 0.06) == "good"  # as by chance
    assert level(0.04, 0.2) == "fair"  # one in twenty-five honest files has as much


def test_what_is_significant_is_named_in_plain_words_smallest_p_first():
    names = {
        "mia.domias_kernel.auc": 0.03,
        "mia.domias_kernel.tpr_at_fpr_1pct": 0.02,
        "duplicates.exact": 1e-12,
        f"attributes.{NASTY}.nearest": 0.01,
        "attributes.age.boosting": 0.05,
        "mia.distance.auc": 0.9,
    }
    said = texts(judged("private", "table", findings(names)))["tests"]
    first = said.index("synthetic rows equal training rows more often than unseen ones (p < 0.0001)")
    second = said.index(
        f"“{NASTY}” is guessed better of training rows than of unseen ones by the nearest synthetic row"
    )
    third = said.index("“density over that of other real data, kernels” (p = 0.02)")
    assert first < second < third and said.count("kernels") == 1
    assert said.endswith("; and 1 more.") and said.startswith("Significant, corrected for all 6 tests")
    said = texts(judged("private", "table", findings({"mia.ensemble.isolated": 0.01})))["tests"]
    assert "isolated training rows are told from others by “mean rank of all attacks” (p = 0.01)" in said


@pytest.mark.parametrize(
    "made, reference, told",
    [
        (0, 0.0, False),
        (1, 0.0, False),  # one of 10,000 rows is no rate
        (50, 0.0, True),
        (24, 0.002, False),  # natural twins
        (500, 0.002, True),
        (9_000, 0.88, False),  # few distinct rows: surely more than by chance, and still by nature
    ],
)
def test_copies_are_told_from_natural_twins(made, reference, told):
    changes = {
        "n_synthetic": 10_000,
        "exact_matches": made,
        "exact_matches_reference": reference,
        "mia.n_others": 5_000,
    }
    found = reports.make("table", {f"privacy.{key}": value for key, value in changes.items()})
    assert copied(found.privacy) is told
    verdict = reports.verdict("private", found)
    assert (verdict.level == "poor") == told and ("overlap" in texts(verdict)) == (reference > 0.05)
    assert f"{made:,} of 10,000 synthetic rows are exact copies" in texts(verdict)["copies"]


# --- the first page ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_there_is_a_verdict_per_question_with_evidence_and_confidence(kind):
    found = reports.make(kind).verdicts
    assert [verdict.question.split()[-1] for verdict in found] == ["it?", "good?", "lost?", "checkpoint?"]
    for verdict in found:
        assert verdict.evidence and verdict.confidence.split(":")[0] in ("high", "moderate", "low")


def test_what_is_lost_is_said_in_plain_words():
    said = [verdicts.in_plain_words(Loss(**loss(points))) for points in (1.2, -1.2, 0.1)]
    assert said[0] == "A CNN trained on this data loses 1.2 ± 0.2 points of accuracy."
    assert said[1] == "A CNN trained on this data gains 1.2 ± 0.2 points of accuracy."
    assert said[2] == "A CNN trained on this data loses no more than chance explains: 0.1 ± 0.2 points of accuracy."
    assert texts(judged("good"))["loss"] == said[0]


@pytest.mark.parametrize(
    "points, half, level",
    [(0.1, 0.2, "good"), (0.6, 0.2, "good"), (1.2, 0.2, "fair"), (8, 0.5, "poor"), (3, 9, "fair")],
)
def test_how_much_is_lost(points, half, level):
    verdict = judged("lost", "image", {"utility.loss": loss(points, half)})
    assert verdict.level == level
    said = texts(verdict)
    assert f"{points:.2f} points lost" in said["loss"]
    assert said["classes"].endswith(": a (80.0 % instead of 90.0 %).")  # of those that lose, and no other
    assert "10.0 % of the real examples have no synthetic one nearby (real data: 5.0 %)" in said["coverage"]
    assert "1.20 points gained" in texts(judged("lost", "image", {"utility.loss": loss(-1.2)}))["loss"]


def test_publishing_never_gets_a_plain_yes():
    safe = judged("publish")
    leaky = judged("publish", attacks={"distance": attack(0.7), "copy": attack()})
    assert safe.level == "good" and "no proof" in safe.answer and safe.confidence.startswith("moderate")
    assert leaky.level == "poor" and leaky.answer.startswith("No") and leaky.confidence.startswith("high")
    few = judged("publish", "image", {"privacy.mia.n_others": 100})
    assert few.confidence.startswith("low") and few.level == "fair" and "cannot be told" in few.answer
    assert judged("publish", "image", {"manifest.quick": True}).confidence.startswith("low")
    traces = judged("publish", "image", findings({"duplicates.exact": 0.001}))
    assert traces.level == "fair" and "traces of training examples were found" in traces.answer
    assert "synthetic examples equal training examples" in texts(traces)["tests"]


def test_non_members_that_were_trained_on_tell_nothing():
    """A verbatim copy passes where the rows taken for unseen are training rows: nothing green may be said."""
    rows = [bytes([i, j]) for i in range(30) for j in range(20)]
    for train, test, told in ((rows, rows, True), (rows[:500], rows[480:], True), (rows[:500], rows[500:], False)):
        verdict = judged("publish", "image", {"manifest.overlap": overlap.find(train=train, holdout=[], test=test)})
        assert ("cannot be told" in verdict.answer and verdict.level == "fair") == told
        assert verdict.confidence.startswith("none" if told else "moderate")
    whole = {"manifest.overlap": overlap.find(train=rows, holdout=[], test=rows)}
    asked_others = judged("publish", "image", {**whole, "manifest.non_members": "holdout"})
    assert asked_others.level == "good"
    attacks = {"distance": attack(0.7), "copy": attack()}
    assert judged("publish", "image", whole, attacks=attacks).level == "poor"


MODEL = {"workdir": "runs/a", "name": "ddpm", "state_sha256": "b" * 64}


def test_what_the_model_gives_away_belongs_to_the_checkpoint():
    counted = {"holm": {"lira.auc": 0.001}, "flagged": ["lira.auc"], "level": 0.05}
    stored = reports._stored("image")["privacy"]["mia"]["model_attacks"]
    changes = {
        **{"manifest.model": MODEL, "privacy.mia.model_auc": 0.7, "privacy.mia.model": attack(0.7, 0.02)},
        "privacy.mia.model_attacks": {**stored, "findings": counted},
    }
    found = reports.make("image", changes)
    publish, checkpoint = (reports.verdict(name, found) for name in ("publish", "checkpoint"))
    assert "model" not in texts(publish) and "model" in texts(reports.verdict("private", found))
    assert "AUC of 0.700 (interval 0.680 to 0.720" in texts(checkpoint)["model"]
    assert (
        "“asks the model, likelihood ratio over shadow models” recognises training examples"
        in texts(checkpoint)["model_attack"]
    )


def test_the_checkpoint_may_be_shared_only_if_it_was_trained_privately():
    plain = judged("checkpoint", "image", {"manifest.model": MODEL})
    assert plain.level == "poor" and plain.answer.startswith("No:") and "no_score" in texts(plain)
    assert judged("checkpoint").answer.startswith("No, unless") and "file_alone" in texts(judged("checkpoint"))
    for epsilon, level, promise in ((0.9, "good", "bounds what any attack can find"), (20, "fair", "promises little")):
        changes = {"manifest.model": {**MODEL, "guarantee": {"epsilon": epsilon, "delta": 1e-5}}}
        verdict, publish = judged("checkpoint", "image", changes), verdicts.publish(reports.make("image", changes))
        assert verdict.level == publish.level == level
        assert f"ε = {epsilon}, δ = 1e-05" in texts(verdict)["guarantee"] and "bounds" in texts(publish)["guarantee"]
        assert publish.answer.startswith(f"Differential privacy {promise}: ε = {epsilon}. Beside it, ")
    assert reports.make("image", changes).manifest.model.guarantee == Guarantee(epsilon=20, delta=1e-5)


def variations(*ours):
    return {"robustness.checks": [{"name": f"variation {i}", "ours": v, "real": 0.97} for i, v in enumerate(ours)]}


def test_a_verdict_that_does_not_hold_is_less_sure():
    assert judged("good").confidence.startswith("high")
    shaken = judged("good", "image", variations(0.96, 0.96, 0.5)).confidence
    assert shaken.startswith("moderate") and "2 of 3" in shaken and "not with variation 2" in shaken
    assert judged("good", "image", variations(0.5, 0.9)).confidence.startswith("low")
    levels = [check.level for check in reports.make("image", variations(0.96, 0.94, 0.5)).robustness.checks]
    assert levels == ["good", "fair", "poor"]
    shares = [{"name": "a", "kept": kept} for kept in (0.96, 0.0, None)]
    found = reports.make("table", {"robustness.checks": shares}).robustness
    assert [check.level for check in found.checks] == ["good", "poor", "fair"] and found.level == "fair"


def test_without_labels_less_is_answered():
    found = {"utility": None, "studies": None, "robustness": None}
    values = reports.values("image")
    parts = {**{name: values[name] for name in ("fidelity", "privacy")}, **found}
    some = reports.report.assemble(values["manifest"], parts)
    assert reports.verdict("good", some).answer.startswith("To look at:")
    assert "No classifier was trained" in reports.verdict("lost", some).answer
    nothing = reports.report.assemble(values["manifest"], parts | {"fidelity": None})
    assert (
        reports.verdict("good", nothing).answer == reports.verdict("lost", nothing).answer == "This was not measured."
    )
    assert "alike" not in {verdict.id for verdict in nothing.parts.values()}


def test_what_rare_classes_gain_is_said_where_it_was_measured():
    gained = {**{side: estimate(0.8) for side in ("real", "filled", "repeated")}, "points": 1.0, "ci": [0.5, 1.5]}
    for reason in (None, "the classes are balanced"):
        changes = {"reason": reason, "said": "Filling up helps.", "balanced_accuracy": gained, "recall": gained}
        found = judged("good", "image", {f"studies.top_up.{key}": value for key, value in changes.items()})
        assert ("top_up" in texts(found)) == (reason is None)
