"""Verdicts: a question of whoever has to decide, its answer, the evidence, and how sure it is.

On the first page stand four:

    publish      May I publish it? What attacks found; never "yes", since no attack proves that nothing leaks
    good         Is it any good? Usefulness, likeness and rows that make sense, the worst of them deciding
    lost         What is lost? Points, classes, columns and kinds of examples that went missing
    checkpoint   May I share the checkpoint? No, unless it was trained with differential privacy

and each part of the report has one: `useful`, `alike`, `consistent`, `private`. They are computed once, when a report
is assembled, and read back by page, console and comparison. Programs go by the topics of the evidence, never by its
words.

    for verdict in verdicts.of_report(report):
        print(verdict.question, verdict.answer, verdict.confidence)
"""

from collections.abc import Callable, Mapping
from typing import Any

from synthjax.evals.bootstrap import Loss
from synthjax.evals.privacy import overlap
from synthjax.evals.privacy.overlap import Overlap
from synthjax.evals.report.alike import alike, trend
from synthjax.evals.report.consistent import consistent, of_columns
from synthjax.evals.report.model import Evidence, Guarantee, ImageReport, Report, TableReport, Verdict
from synthjax.evals.report.private import of_model, private
from synthjax.evals.report.shared import Level
from synthjax.evals.report.tables import TableFidelity
from synthjax.evals.report.useful import kept_in_words, useful
from synthjax.evals.report.words import attack, lower, missing_classes, percent

_ORDER: tuple[Level, ...] = ("poor", "fair", "good")
LOST = (1.0, 5.0)
"""Points lost up to which a loss is small, and visible."""
FEW = 500
"""Attacked examples below which an attack that finds nothing says little."""
WIDE = 0.05
"""Half width of the interval of an AUC above which it says little."""
SEEN = 0.05
"""Share of the unseen examples taken over from the training set above which they cannot stand for unseen ones."""
PRIVATE_ENOUGH = 1.0
"""The largest ε that is called a strong promise."""
SHOWN = 3
"""Classes, columns and pairs that are named at most."""
PARTS: dict[str, Callable[[Any], Verdict]] = {
    "utility": useful,
    "fidelity": alike,
    "rules": consistent,
    "privacy": private,
}
"""Parts of a report that have a verdict, and what gives it."""


def of_parts(parts: Mapping[str, Any]) -> dict[str, Verdict]:
    """The verdicts on those parts of a report that were measured, by name."""
    return {name: verdict(parts[name]) for name, verdict in PARTS.items() if parts.get(name) is not None}


def of_report(report: Report) -> list[Verdict]:
    """The four verdicts of the first page; `report` has those of its parts already."""
    return [publish(report), good(report), lost(report), checkpoint(report)]


def in_plain_words(loss: Loss) -> str:
    """What is lost, in a sentence."""
    low, high = loss.ci
    unsure = f"± {(high - low) / 2:.1f} points of {loss.measure}"
    if low <= 0 <= high:
        return f"{loss.who} trained on this data loses no more than chance explains: {loss.points:.1f} {unsure}."
    verb = "loses" if loss.points >= 0 else "gains"
    return f"{loss.who} trained on this data {verb} {abs(loss.points):.1f} {unsure}."


# --- may I publish it? ---------------------------------------------------------------------------------------------


def publish(report: Report) -> Verdict:
    """May I publish it? What the attacks on the file found."""
    unit, found = report.unit, report.parts["privacy"]
    level = found.level
    guarantee = report.manifest.model.guarantee if report.manifest.model else None
    answer = {
        "poor": f"No: training {unit}s can be recognised from it.",
        "fair": f"Not as it is: traces of training {unit}s were found.",
        "good": "The attacks found nothing that speaks against it. That is no proof that nothing leaks.",
    }[level]
    if level != "poor" and (seen := _seen(report)):
        level = "fair"
        what = f"the {unit}s taken for unseen are training {unit}s"
        if seen.rows_of == overlap.SYNTHETIC:
            what = f"the synthetic {unit}s are {seen.found_in} {unit}s"
        answer = f"This cannot be told: {percent(seen.taken)} of {what}."
    elif level == "good" and guarantee:
        found_nothing = f"too few {unit}s were attacked to tell" if _weak(report) else "the attacks found nothing"
        level = "good" if guarantee.epsilon <= PRIVATE_ENOUGH else "fair"
        promise = "bounds what any attack can find" if level == "good" else "promises little"
        answer = f"Differential privacy {promise}: ε = {guarantee.epsilon:.3g}. Beside it, {found_nothing}."
    elif level == "good" and _weak(report):
        level, answer = "fair", f"This cannot be told: too few {unit}s were attacked. Nothing was found among them."
    # What the model itself gives away belongs to the question about the checkpoint.
    evidence = [one for one in found.evidence if one.topic != "model"]
    if guarantee:
        text = f"{_guaranteed(guarantee)} That bounds what any attack can find in it, those of this report and others."
        evidence.insert(0, Evidence("guarantee", text))
    return Verdict("publish", "May I publish it?", level, answer, evidence, _sure_of_privacy(report, found.level))


def _guaranteed(guarantee: Guarantee) -> str:
    """What training promises."""
    unit = f", for all examples of one {guarantee.unit}" if guarantee.unit else ""
    return f"It was trained with differential privacy: ε = {guarantee.epsilon:.3g}, δ = {guarantee.delta:.1g}{unit}."


def _seen(report: Report) -> Overlap | None:
    """The overlap that makes the unseen examples useless: with the training set, or of synthetic examples with them."""
    manifest = report.manifest
    for one in manifest.overlap:
        used = (one.rows_of, one.found_in) == (manifest.non_members, "train") or one.rows_of == overlap.SYNTHETIC
        if used and one.taken > SEEN:
            return one
    return None


def _half_width(report: Report) -> float:
    low, high = report.privacy.mia.auc_interval
    return (high - low) / 2


def _weak(report: Report) -> bool:
    """Whether the attacks are too few to say that nothing leaks."""
    return report.manifest.quick or report.privacy.mia.n_others < FEW or _half_width(report) > WIDE


def _sure_of_privacy(report: Report, level: Level) -> str:
    mia, unit = report.privacy.mia, report.unit
    basis = (
        f"{mia.n_members:,} training and {mia.n_others:,} unseen {unit}s were attacked; the AUC is known to "
        f"±{_half_width(report):.3f}"
    )
    if level == "poor":
        return f"high: what was found is there, whatever else may be. {basis}."
    if seen := _seen(report):
        base = "training" if seen.found_in == "train" else seen.found_in
        return f"none: {seen.shared:,} of {seen.n:,} {seen.rows_of} {unit}s equal a {base} one."
    if _weak(report):
        return f"low: so few {unit}s say little either way. {basis}."
    return f"moderate: stronger attacks may find what these did not. {basis}."


# --- is it any good? -----------------------------------------------------------------------------------------------


def good(report: Report) -> Verdict:
    """Is it any good? Usefulness, likeness and rows that make sense, the worst of them deciding."""
    named = {"utility": "To learn from", "fidelity": "To look at"}
    if isinstance(report, TableReport) and report.rules and not report.rules.reason:
        named["rules"] = "Row by row"
    parts = {name: report.parts[key] for key, name in named.items() if key in report.parts}
    utility, rare = report.utility, report.studies and report.studies.top_up
    if not parts:
        reason = "Without labels and a network that was trained with them, neither usefulness nor likeness is measured."
        level: Level = "fair"
        answer, evidence = "This was not measured.", [Evidence("not_measured", reason)]
        sure = "none: nothing was measured."
    else:
        level = min((verdict.level for verdict in parts.values()), key=_ORDER.index)
        answer = " ".join(f"{name}: {lower(verdict.answer)}" for name, verdict in parts.items())
        evidence = [Evidence("loss", in_plain_words(utility.loss))] if utility and utility.loss else []
        evidence += [one for verdict in parts.values() for one in verdict.evidence]
        evidence += _not_judged(report) if isinstance(report, TableReport) else []
        if rare and rare.reason is None:
            evidence.append(Evidence("top_up", rare.said))
        sure = _sure_of_utility(report)
    return Verdict("good", "Is it any good?", level, answer, evidence, sure)


def _not_judged(report: TableReport) -> list[Evidence]:
    """The columns that no figure speaks of."""
    return [] if report.rules is None else of_columns(report.rules.left_out, report.manifest.missing_columns)


def _sure_of_utility(report: Report) -> str:
    manifest, robust = report.manifest, report.robustness
    if not report.utility:
        return "moderate: one network and one sample of each set."
    seeds = f"{manifest.seeds} seed" + "s" * (manifest.seeds != 1)
    if not robust:
        word = "low" if manifest.quick or manifest.seeds < 3 else "moderate"
        return f"{word}: {seeds}, and nothing was varied."
    same = sum(check.level == robust.level for check in robust.checks)
    which = [check.name for check in robust.checks if check.level != robust.level]
    said = f"{seeds}; the verdict on usefulness stays the same in {same} of {len(robust.checks)} variations"
    said += f" (not with {', '.join(which)})." if which else "."
    if manifest.quick or same <= len(robust.checks) / 2:
        return f"low: {said}"
    return f"{'high' if same == len(robust.checks) else 'moderate'}: {said}"


# --- what is lost? -------------------------------------------------------------------------------------------------


def lost(report: Report) -> Verdict:
    """What is lost? Points, classes, columns and kinds of examples."""
    utility = report.utility
    loss = utility.loss if utility else None
    evidence = _lost_points(loss, report.unit) if loss else []
    evidence += _lost_of_table(report) if isinstance(report, TableReport) else _lost_of_images(report)
    level, answer = _how_much(report, loss)
    if utility and (missing := utility.n.missing_classes):
        level = "fair" if level == "good" else level
        answer = f"{'Classes are' if len(missing) > 1 else 'A class is'} missing. {answer}"
        evidence.insert(0, Evidence("missing_classes", missing_classes(missing, report.unit)))
    return Verdict("lost", "What is lost?", level, answer, evidence, _sure_of_loss(report, loss))


def _lost_points(loss: Loss, unit: str) -> list[Evidence]:
    low, high = loss.ci
    text = (
        f"The {loss.measure} of {lower(loss.who)} is {percent(loss.ours)} instead of {percent(loss.real)}: "
        f"{abs(loss.points):.2f} points {'lost' if loss.points >= 0 else 'gained'} (95 % interval of the loss "
        f"{low:.2f} to {high:.2f}, by a paired bootstrap over {loss.n:,} test {unit}s and the seeds of each side, "
        f"{loss.seeds})."
    )
    return [Evidence("loss", text)]


def _how_much(report: Report, loss: Loss | None) -> tuple[Level, str]:
    if loss:
        low, high = loss.ci
        if low <= 0 <= high:
            return ("good" if high < LOST[1] else "fair"), "No more than chance explains."
        level: Level = "good" if loss.points <= LOST[0] else "fair" if loss.points <= LOST[1] else "poor"
        return level, in_plain_words(loss)
    if "fidelity" not in report.parts:
        return "fair", "This was not measured."
    return report.parts["fidelity"].level, "No classifier was trained; what differs to look at is listed below."


def _sure_of_loss(report: Report, loss: Loss | None) -> str:
    if not loss:
        return "low: no classifier was trained."
    half = (loss.ci[1] - loss.ci[0]) / 2
    word = "low" if report.manifest.quick or half > 2 else "high" if half <= 0.5 else "moderate"
    return f"{word}: known to ±{half:.1f} points; what other uses lose is not known."


def _worst(ours: Mapping[str, float | None], real: Mapping[str, float | None]) -> list[tuple[str, float, float]]:
    """Names and both shares of the entries that lose most, at most `SHOWN`."""
    lose = [
        (name, one, other)
        for name, one in ours.items()
        if one is not None and (other := real[name]) is not None and one < other
    ]
    return sorted(lose, key=lambda item: item[2] - item[1], reverse=True)[:SHOWN]


def _lost_of_images(report: Report) -> list[Evidence]:
    assert isinstance(report, ImageReport)
    utility, fidelity, evidence = report.utility, report.fidelity, []
    if utility and (worst := _worst(utility.cnn.tstr.recall, utility.cnn.trtr.recall)):
        said = ", ".join(f"{name} ({percent(one)} instead of {percent(other)})" for name, one, other in worst)
        text = f"Classes that lose most, by the share of their examples that is recognised: {said}."
        evidence.append(Evidence("classes", text))
    if fidelity:
        real = fidelity.reference.coverage if fidelity.reference else None
        evidence.append(_not_covered(fidelity.coverage or 0.0, real, "examples", "real data"))
        if fidelity.collapsed:
            text = f"Collapsed to a few examples: {', '.join(fidelity.collapsed)}."
            evidence.append(Evidence("collapsed", text))
    return evidence


def _not_covered(coverage: float, real: float | None, units: str, beside: str) -> Evidence:
    said = f" ({beside}: {percent(1 - real)})" if real is not None else ""
    text = f"{percent(1 - coverage)} of the real {units} have no synthetic one nearby{said}."
    return Evidence("coverage", text)


def _lost_of_table(report: TableReport) -> list[Evidence]:
    utility, made, real = report.utility, report.fidelity.synthetic, report.fidelity.ceiling
    evidence = []
    if utility and utility.boosting.kept is not None:
        evidence.append(Evidence("kept", kept_in_words(utility.boosting.kept)))
    if worst := _worst(made.shapes.columns, real.shapes.columns):
        evidence.append(Evidence("columns", f"Columns that differ most: {_against_real(worst)}."))
    if worst := _worst(*_trends(report.fidelity)):
        evidence.append(Evidence("pairs", f"Pairs of columns that differ most: {_against_real(worst)}."))
    if made.missing.largest_difference >= 0.01:
        text = f"Missing values: the share of one column is off by {percent(made.missing.largest_difference)}."
        evidence.append(Evidence("missing_values", text))
    if made.neighbours.coverage is not None and real.neighbours.coverage is not None:
        evidence.append(_not_covered(made.neighbours.coverage, real.neighbours.coverage, "rows", "real test rows"))
    return evidence


def _trends(fidelity: TableFidelity) -> tuple[dict[str, float | None], dict[str, float | None]]:
    """Likeness by pair of columns, of the synthetic table and of real test rows."""
    made, real = (
        {" and ".join(pair.columns): trend(pair) for pair in side.trends.pairs}
        for side in (fidelity.synthetic, fidelity.ceiling)
    )
    return made, real


def _against_real(worst: list[tuple[str, float, float]]) -> str:
    return ", ".join(f"{name} ({percent(one)} alike, real rows {percent(other)})" for name, one, other in worst)


# --- may I share the checkpoint? -----------------------------------------------------------------------------------


def checkpoint(report: Report) -> Verdict:
    """May I share the checkpoint? No, unless it was trained privately."""
    model = report.manifest.model
    evidence = _of_checkpoint(report)
    level: Level = "poor"
    if model and (guarantee := model.guarantee):
        evidence.append(Evidence("guarantee", _guaranteed(guarantee)))
        private_enough = guarantee.epsilon <= PRIVATE_ENOUGH
        level = "good" if private_enough else "fair"
        answer = "Yes, as far as this ε goes." if private_enough else "With care: this ε promises little."
        sure = "high: the guarantee holds against every attack."
    else:
        text = (
            "Parameters can hold more of the training data than any file drawn from them, and an attack that finds "
            "nothing is no proof. Only training with differential privacy bounds what they give away."
        )
        evidence.append(Evidence("no_guarantee", text))
        answer = "No: it was not trained privately." if model else "No, unless you know that it was trained privately."
        follows = "high: this follows from how it was trained, not from a measurement."
        sure = follows if model else "moderate: by default."
    question = "May I share the checkpoint?"
    return Verdict("checkpoint", question, level, answer, evidence, sure)


def _of_checkpoint(report: Report) -> list[Evidence]:
    """What attacks on the model found, or why there were none."""
    mia, unit = report.privacy.mia, report.unit
    if mia.model_auc is None:
        if report.manifest.model:
            text = "This kind of model gives no score of single examples, so that it was not attacked."
            return [Evidence("no_score", text)]
        text = "The file alone was judged: nothing is known of the model that made it."
        return [Evidence("file_alone", text)]
    evidence = [Evidence("model", of_model(report.privacy, unit))]
    if mia.model_attacks and (significant := mia.model_attacks.findings.flagged):
        name = attack(significant[0].split(".")[0], unit)
        text = f"Corrected for all attacks on it (Holm), “{name}” recognises training {unit}s."
        evidence.append(Evidence("model_attack", text))
    return evidence
