"""The first page, the exports and the comparison, on reports written by hand."""

import csv
import io
import json
import re

import pytest

from synthjax.errors import InputError
from synthjax.evals import answers, comparison, exports, report, tabular_report
from synthjax.evals.privacy import overlap

NASTY = "<script>&_x"


def leaf(mean):
    return {"mean": mean, "ci": [mean - 0.01, mean + 0.01], "values": [mean], "std": 0.0, "n": 1}


def loss(points, half=0.2):
    return {
        **{"points": points, "ci": [points - half, points + half], "ours": 0.97 - points / 100, "real": 0.97},
        **{"n": 1_000, "seeds": 5, "resamples": 1_000, "who": "A CNN", "measure": "accuracy"},
    }


def mia(auc=0.5, model_auc=None, others=2_000):
    interval = [auc - 0.01, auc + 0.01]
    return {
        **{"auc": auc, "auc_interval": interval, "tpr_at_fpr_1pct": 0.01, "tpr_at_fpr_0p1pct": 0.001},
        "chance": {key: {"mean": 0.01, "q95": 0.02} for key in ("auc", "tpr_at_fpr_1pct", "tpr_at_fpr_0p1pct")},
        "p_value": dict.fromkeys(("auc", "tpr_at_fpr_1pct", "tpr_at_fpr_0p1pct"), 0.5),
        **{"model_auc": model_auc, "model": model_auc and {"auc": model_auc, "auc_interval": interval}},
        **{"n_members": 8_000, "n_others": others},
    }


def made(points=1.2, *, auc=0.5, model=None, model_auc=None, robust=("good", "good"), name="a.npz", quick=False):
    """A report on images."""
    tstr = {**leaf(0.96), "recall": {NASTY: 0.8, "b": 0.99, "c": None}}
    part = {"tstr": tstr, "trtr": {**leaf(0.97), "recall": {NASTY: 0.9, "b": 0.99, "c": None}}, "floor": leaf(0.7)}
    part |= {"trts": leaf(0.95), "tstr_over_trtr": 0.96 / 0.97}
    manifest = {
        **{"dataset": NASTY, "kind": "image", "fingerprint": "f" * 64, "seeds": 5, "seed": 0, "quick": quick},
        **{"synthetic": {"file": name, "sha256": "a" * 64, "examples": 500}, "model": model, "notes": []},
        **{"seconds": {"privacy": 1.0}, "non_members": "test", "created": "2026-01-02", "level": "quick"},
    }
    likeness = {"precision": 0.93, "recall": 0.9, "density": 1.0, "coverage": 0.9, "frechet": 1.5, "kernel": 0.1}
    checks = [{"name": f"variation {i}", "level": level} for i, level in enumerate(robust)]
    near = {"share": 0.01, "reference": 0.01}
    privacy = {"n_synthetic": 500, "exact_matches": 0, "exact_matches_share": 0.0, "exact_matches_reference": 0.0}
    dcr = {"share_nearer_train": 0.5, "interval": [0.45, 0.55]}
    return report.assemble(
        manifest,
        utility={
            **{"cnn": part, "svm": part, "n": {"synthetic": 500, "trained_on": 500}},
            "loss": loss(points) if points is not None else None,
        },
        fidelity={**likeness, "reference": {**likeness, "coverage": 0.95}, "collapsed": []},
        robustness={"level": "good", "checks": checks},
        privacy={**privacy, "near_matches": near, "dcr": dcr, "mia": mia(auc, model_auc)},
    )


def answer_to(question, found):
    return next(verdict for verdict in answers.answers(found) if question in verdict.question)


# --- the four questions --------------------------------------------------------------------------------------------


def test_there_is_a_verdict_per_question_with_evidence_and_confidence():
    found = answers.answers(made())
    assert [verdict.question.split()[-1] for verdict in found] == ["it?", "good?", "lost?", "checkpoint?"]
    for verdict in found:
        assert verdict.evidence and verdict.confidence.split(":")[0] in ("high", "moderate", "low")


def test_what_is_lost_is_said_in_plain_words():
    assert answers.plain_words(loss(1.2)) == "A CNN trained on this data loses 1.2 ± 0.2 points of accuracy."
    assert answers.plain_words(loss(-1.2)) == "A CNN trained on this data gains 1.2 ± 0.2 points of accuracy."
    chance = "A CNN trained on this data loses nothing that could be told from chance: 0.1 ± 0.2 points of accuracy."
    assert answers.plain_words(loss(0.1)) == chance
    assert answer_to("any good", made()).evidence[0] == answers.plain_words(loss(1.2))


@pytest.mark.parametrize(
    "points, half, level",
    [(0.1, 0.2, "good"), (0.6, 0.2, "good"), (1.2, 0.2, "fair"), (8, 0.5, "poor"), (3, 9, "fair")],
)
def test_how_much_is_lost(points, half, level):
    found = made()
    found["utility"]["loss"] = loss(points, half)
    verdict = answer_to("lost", found)
    assert verdict.level == level
    assert f"<script>&_x ({80.0} % instead of {90.0} %)" in verdict.evidence[1]  # the class that loses most comes first
    assert "10.0 % of the real examples have no synthetic one nearby (real data: 5.0 %)" in verdict.evidence[2]


def test_publishing_never_gets_a_plain_yes():
    safe, leaky = answer_to("publish", made()), answer_to("publish", made(auc=0.7))
    assert safe.level == "good" and "no proof" in safe.answer and safe.confidence.startswith("moderate")
    assert leaky.level == "poor" and leaky.answer.startswith("No") and leaky.confidence.startswith("high")
    few = made()
    few["privacy"]["mia"]["n_others"] = 100
    assert answer_to("publish", few).confidence.startswith("low")
    assert answer_to("publish", few).level == "fair" and "cannot tell" in answer_to("publish", few).answer
    assert answer_to("publish", made(quick=True)).confidence.startswith("low")


def test_non_members_that_were_trained_on_tell_nothing():
    """A verbatim copy passes where the rows taken for unseen are training rows: nothing green may be said."""
    rows = [bytes([i, j]) for i in range(30) for j in range(20)]
    found = made()
    for train, test, told in ((rows, rows, True), (rows[:500], rows[480:], True), (rows[:500], rows[500:], False)):
        found["manifest"]["overlap"] = overlap.find(train=train, holdout=[], test=test)
        verdict = answer_to("publish", found)
        assert ("cannot tell" in verdict.answer and verdict.level == "fair") == told
        assert verdict.confidence.startswith("none" if told else "moderate")
    found["manifest"] |= {"overlap": overlap.find(train=rows, holdout=[], test=rows), "non_members": "holdout"}
    assert answer_to("publish", found).level == "good"  # the attacks asked other rows
    caught = made(auc=0.7)
    caught["manifest"]["overlap"] = found["manifest"]["overlap"]
    assert answer_to("publish", caught).level == "poor"


def test_the_checkpoint_may_be_shared_only_if_it_was_trained_privately():
    model = {"name": "ddpm", "guarantee": None}
    plain = answer_to("checkpoint", made(model=model, model_auc=0.5))
    assert plain.level == "poor" and plain.answer.startswith("No") and "AUC of 0.500" in plain.evidence[0]
    assert answer_to("checkpoint", made()).answer.startswith("No, unless")
    private = {**model, "guarantee": {"epsilon": 0.9, "delta": 1e-5}}
    assert answer_to("checkpoint", made(model=private)).level == "good"
    weak = {**model, "guarantee": {"epsilon": 20.0, "delta": 1e-5}}
    assert answer_to("checkpoint", made(model=weak)).level == "fair"


def test_a_verdict_that_does_not_hold_is_less_sure():
    assert answer_to("any good", made()).confidence.startswith("high")
    shaken = answer_to("any good", made(robust=("good", "good", "poor"))).confidence
    assert shaken.startswith("moderate") and "2 of 3" in shaken and "not with variation 2" in shaken
    assert answer_to("any good", made(robust=("poor", "fair"))).confidence.startswith("low")


def test_without_labels_less_is_answered():
    found = {**made(), "utility": None, "studies": None, "robustness": None}
    assert answer_to("any good", found).answer.startswith("To look at:")
    assert "No classifier was trained" in answer_to("lost", found).answer
    nothing = {**found, "fidelity": None}
    assert answer_to("any good", nothing).answer == answer_to("lost", nothing).answer == "This was not measured."


def test_what_rare_classes_gain_is_said_where_it_was_measured():
    for reason in (None, "the classes are balanced"):
        found = {**made(), "studies": {"top_up": {"reason": reason, "said": "Filling up helps."}}}
        assert ("Filling up helps." in answer_to("any good", found).evidence) == (reason is None)


def test_pairs_are_judged_at_the_real_columns_cuts():
    pair = {"columns": ["education_num", "sex"], "score": 0.48, "score_real_edges": 0.97}
    assert tabular_report.trend(pair) == 0.97 and tabular_report.trend({"columns": ["a", "b"], "score": 0.9}) == 0.9
    better = {"columns": ["age", "sex"], "score": 0.99, "score_real_edges": 0.95}
    sides = {"synthetic": {"trends": {"pairs": [pair, better]}}, "ceiling": {"trends": {"pairs": [pair, pair]}}}
    said = answers._lost_pairs(sides)[0]
    assert "48.0 %" not in said and said.index("age and sex") < said.index("education_num and sex")


# --- exports -------------------------------------------------------------------------------------------------------


def test_every_figure_is_where_its_key_says():
    found = made(model={"name": "ddpm", "values": 5, "train_seconds": 2.0}, model_auc=0.5)
    rows = exports.figures(found)
    assert len({row.key for row in rows}) == len(rows) > 15
    for row in rows:
        value = found
        for name in row.key.split("."):
            value = value[name]
        assert value == row.value, row.key


def test_csv_reads_back_and_names_are_no_formulas():
    rows = exports.figures(made())
    read = list(csv.DictReader(io.StringIO(exports.to_csv({"=1+1": rows, "b": rows}))))
    assert len(read) == 2 * len(rows) and {row["set"] for row in read} == {"'=1+1", "b"}
    first = next(row for row in read if row["key"] == "utility.cnn.tstr.mean")
    assert [float(first[name]) for name in ("value", "low", "high", "reference", "floor")] == [
        *(0.96, 0.95, 0.97, 0.97),
        0.7,
    ]


def test_latex_is_balanced_and_escaped_and_marks_the_best():
    text = exports.to_latex({"a_b": exports.figures(made(1.2)), "c%": exports.figures(made(0.5))})
    lines = text.splitlines()
    assert lines[0] == r"\begin{tabular}{lrrr}" and lines[-1] == r"\end{tabular}"
    assert r"a\_b & c\% & reference" in text and text.count("{") == text.count("}")
    lost = next(line for line in lines if line.startswith("points lost"))
    assert lost == r"points lost & 1.200 & \textbf{0.500} & 0.000 \\"
    body = [line for line in lines if line.endswith(r"\\") and "multicolumn" not in line]
    assert {line.count(" & ") for line in body} == {3}
    assert exports.latex("\\{") == r"\textbackslash{}\{"


# --- comparison ----------------------------------------------------------------------------------------------------


def test_a_comparison_has_all_sets_and_marks_the_best():
    found = comparison.assemble({"a": made(1.2, auc=0.6), NASTY: made(0.4, auc=0.5)})
    json.dumps(found, allow_nan=False)
    row = next(row for row in found["figures"] if row["key"] == "utility.loss.points")
    assert row["values"] == {"a": 1.2, NASTY: 0.4} and row["best"] == [NASTY]
    same = next(row for row in found["figures"] if row["key"] == "fidelity.coverage")
    assert same["best"] == []
    auc = next(row for row in found["figures"] if row["key"] == "privacy.mia.auc")
    assert auc["best"] == [NASTY]  # low is better
    page = comparison.render(found)
    assert NASTY not in page and "&lt;script&gt;" in page and "$" not in re.sub(r"<style>.*</style>", "", page)
    assert page.count('class="dot') == 2 and "Worth against leak" in page
    assert "Which of these" in page and page.count("May I publish it?") == 1


def test_what_differs_is_said():
    other = made()
    other["manifest"] |= {"seeds": 2, "synthetic": {**other["manifest"]["synthetic"], "examples": 100}}
    notes = comparison.assemble({"a": made(), "b": other})["notes"]
    assert "seeds differs" in notes[0] and "a: 5, b: 2" in notes[0] and "not equally large" in notes[1]
    assert comparison.assemble({"a": made(), "b": made()})["notes"] == []


def test_sets_that_do_not_compare_are_refused():
    other = made()
    other["manifest"] |= {"fingerprint": "e" * 64}
    with pytest.raises(InputError, match=r"^b: was judged against .*eeee.*do not compare"):
        comparison.assemble({"a": made(), "b": other})
    with pytest.raises(InputError, match="protocol version 1"):
        comparison.assemble({"a": made(), "b": {**made(), "protocol_version": 1}})
    with pytest.raises(InputError, match="at least two"):
        comparison.assemble({"a": made()})
