"""The first page: a verdict per question of whoever has to decide, with its evidence and how sure it is.

    May I publish it?               what attacks found; never "yes", since no attack proves that nothing leaks
    Is it any good?                 usefulness and likeness together, the worse of the two deciding
    What is lost?                   points, classes, columns and kinds of examples that went missing
    May I share the checkpoint?     no, unless it was trained with differential privacy

The verdicts on single parts (`report.useful`, `report.alike`, `report.private` and those of `tabular_report`) are what
these answers are made of.

    for verdict in answers.answers(report):
        print(verdict.question, verdict.answer, verdict.confidence)
"""

from collections.abc import Mapping
from typing import Any

from synthjax.evals import report as image_report
from synthjax.evals import tabular_report, traces
from synthjax.evals.privacy import overlap
from synthjax.evals.report import Level, Verdict, percent

_ORDER: tuple[Level, ...] = ("poor", "fair", "good")
LOST = (1.0, 5.0)
"""Points lost up to which a loss is small, and visible."""
FEW = 500
"""Attacked examples below which an attack that finds nothing says little."""
WIDE = 0.05
"""Half width of the interval of an AUC above which it says little."""
SHOWN = 3
"""Classes, columns and pairs that are named at most."""


def answers(report: Mapping[str, Any]) -> list[Verdict]:
    """The four verdicts, in the order of the first page."""
    return [publish(report), good(report), lost(report), checkpoint(report)]


def plain_words(loss: Mapping[str, Any]) -> str:
    """What is lost, in a sentence; `loss` is that of the utility part (see `synthjax.evals.bootstrap`)."""
    low, high = loss["ci"]
    points, half = loss["points"], (high - low) / 2
    if low <= 0 <= high:
        amount = f"{points:.1f} ± {half:.1f} points of {loss['measure']}"
        return f"{loss['who']} trained on this data loses nothing that could be told from chance: {amount}."
    verb = "loses" if points >= 0 else "gains"
    return f"{loss['who']} trained on this data {verb} {abs(points):.1f} ± {half:.1f} points of {loss['measure']}."


def _unit(report: Mapping[str, Any]) -> str:
    return "row" if report["manifest"]["kind"] == "table" else "example"


def _table(report: Mapping[str, Any]) -> bool:
    return report["manifest"]["kind"] == "table"


def publish(report: Mapping[str, Any]) -> Verdict:
    """May I publish it? What the attacks on the file found."""
    privacy, unit = report["privacy"], _unit(report)
    found = tabular_report.private(privacy) if _table(report) else image_report.private(privacy)
    answer = {
        "poor": f"No: training {unit}s can be recognised from it.",
        "fair": f"Not as it is: there are traces of the training {unit}s in it.",
        "good": "Nothing that was tried speaks against it. That is no proof that nothing leaks.",
    }[found.level]
    level, seen = found.level, _seen(report)
    if level != "poor" and seen:
        level = "fair"
        answer = f"This cannot tell: {percent(seen['taken'])} of the {unit}s taken for unseen are training {unit}s."
    elif level == "good" and _weak(report):
        level, answer = "fair", f"This cannot tell: too few {unit}s were attacked. Nothing was found among them."
    # What the model itself gives away belongs to the question about the checkpoint.
    evidence = [sentence for sentence in found.evidence if not sentence.startswith("Whoever gets the model")]
    return Verdict("May I publish it?", level, answer, evidence, _sure_of_privacy(report, found.level))


def _seen(report: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The overlap with the training set that makes the non-members useless; reports made earlier do not tell."""
    manifest = report["manifest"]
    return overlap.seen(manifest.get("overlap", ()), manifest["non_members"])


def _weak(report: Mapping[str, Any]) -> bool:
    """Whether the attacks are too few to say that nothing leaks."""
    mia = report["privacy"]["mia"]
    low, high = mia["auc_interval"]
    return report["manifest"]["quick"] or mia["n_others"] < FEW or (high - low) / 2 > WIDE


def _sure_of_privacy(report: Mapping[str, Any], level: Level) -> str:
    mia = report["privacy"]["mia"]
    low, high = mia["auc_interval"]
    half = (high - low) / 2
    basis = (
        f"{mia['n_members']:,} members and {mia['n_others']:,} others were attacked; the AUC is known to ±{half:.3f}"
    )
    if level == "poor":
        return f"high: what was found is there, whatever else may be. {basis}."
    if seen := _seen(report):
        return f"none: {seen['shared']:,} of {seen['n']:,} {seen['rows_of']} {_unit(report)}s equal a training one."
    if _weak(report):
        return f"low: so few {_unit(report)}s say little either way. {basis}."
    return f"moderate: stronger attacks may find what these did not. {basis}."


def good(report: Mapping[str, Any]) -> Verdict:
    """Is it any good? Usefulness and likeness, the worse of the two deciding."""
    module = tabular_report if _table(report) else image_report
    utility, fidelity = report["utility"], report["fidelity"]
    parts = {}
    if utility:
        parts["To learn from"] = module.useful(utility)
    if fidelity:
        parts["To look at"] = module.alike(fidelity)
    question = "Is it any good?"
    if not parts:
        reason = "Without labels and a network that was trained with them, neither usefulness nor likeness is measured."
        return Verdict(question, "fair", "This was not measured.", [reason], "none: nothing was measured.")
    level = min((verdict.level for verdict in parts.values()), key=_ORDER.index)
    answer = " ".join(f"{name}: {_small(verdict.answer)}" for name, verdict in parts.items())
    evidence = [plain_words(utility["loss"])] if utility and utility.get("loss") else []
    evidence += [sentence for verdict in parts.values() for sentence in verdict.evidence]
    rare = (report.get("studies") or {}).get("top_up")
    if rare and rare["reason"] is None:
        evidence.append(rare["said"])
    return Verdict(question, level, answer, evidence, _sure_of_utility(report))


def _small(text: str) -> str:
    return text[:1].lower() + text[1:]


def _sure_of_utility(report: Mapping[str, Any]) -> str:
    utility, manifest, robust = report["utility"], report["manifest"], report.get("robustness")
    if not utility:
        return "moderate: one network and one sample of each set."
    seeds = f"{manifest['seeds']} seed" + "s" * (manifest["seeds"] != 1)
    if not robust:
        word = "low" if manifest["quick"] or manifest["seeds"] < 3 else "moderate"
        return f"{word}: {seeds}, and nothing was varied."
    checks = robust["checks"]
    same = sum(check["level"] == robust["level"] for check in checks)
    which = [check["name"] for check in checks if check["level"] != robust["level"]]
    said = f"{seeds}; the verdict on usefulness stays the same in {same} of {len(checks)} variations"
    said += f" (not with {', '.join(which)})." if which else "."
    word = "low" if manifest["quick"] or same <= len(checks) / 2 else "high" if same == len(checks) else "moderate"
    return f"{word}: {said}"


def lost(report: Mapping[str, Any]) -> Verdict:
    """What is lost? Points, classes, columns and kinds of examples."""
    utility = report["utility"]
    loss = utility.get("loss") if utility else None
    evidence = []
    if loss:
        low, high = loss["ci"]
        evidence.append(
            f"The {loss['measure']} of {_small(loss['who'])} is {percent(loss['ours'])} instead of "
            f"{percent(loss['real'])}: "
            f"{loss['points']:.2f} points lost (95 % interval {low:.2f} to {high:.2f}, paired bootstrap over "
            f"{loss['n']:,} test {_unit(report)}s and the seeds of each side, {loss['seeds']})."
        )
    evidence += _lost_of_table(report) if _table(report) else _lost_of_images(report)
    level, answer = _how_much(report, loss)
    if missing := image_report.missing(utility):
        level = "fair" if level == "good" else level
        answer = f"{'Classes are' if len(missing) > 1 else 'A class is'} missing. {answer}"
        evidence.insert(0, image_report.lacks(missing, _unit(report)))
    return Verdict("What is lost?", level, answer, evidence, _sure_of_loss(report, loss))


def _how_much(report: Mapping[str, Any], loss: Mapping[str, Any] | None) -> tuple[Level, str]:
    if loss:
        low, high = loss["ci"]
        if low <= 0 <= high:
            return ("good" if high < LOST[1] else "fair"), "Nothing that could be told from chance."
        level: Level = "good" if loss["points"] <= LOST[0] else "fair" if loss["points"] <= LOST[1] else "poor"
        return level, plain_words(loss)
    if not report["fidelity"]:
        return "fair", "This was not measured."
    module = tabular_report if _table(report) else image_report
    found = module.alike(report["fidelity"]).level
    return found, "No classifier was trained; what differs to look at is listed below."


def _sure_of_loss(report: Mapping[str, Any], loss: Mapping[str, Any] | None) -> str:
    if not loss:
        return "low: no classifier was trained."
    half = (loss["ci"][1] - loss["ci"][0]) / 2
    word = "low" if report["manifest"]["quick"] or half > 2 else "high" if half <= 0.5 else "moderate"
    return f"{word}: known to ±{half:.1f} points; what other uses lose is not known."


def _lost_of_images(report: Mapping[str, Any]) -> list[str]:
    utility, fidelity, evidence = report["utility"], report["fidelity"], []
    recalls = utility and utility["cnn"]["tstr"].get("recall")
    if recalls:
        real = utility["cnn"]["trtr"]["recall"]
        drops = {name: real[name] - recalls[name] for name in recalls if None not in (real[name], recalls[name])}
        worst = sorted(drops, key=drops.__getitem__, reverse=True)[:SHOWN]
        said = ", ".join(f"{name} ({percent(recalls[name])} instead of {percent(real[name])})" for name in worst)
        evidence.append(f"Classes that lose most, by the share of their examples that is recognised: {said}.")
    if fidelity:
        beside = (fidelity["reference"] or {}).get("coverage")
        missed = f"{percent(1 - fidelity['coverage'])} of the real examples have no synthetic one nearby"
        evidence.append(missed + (f" (real data: {percent(1 - beside)})." if beside is not None else "."))
        if fidelity.get("collapsed"):
            evidence.append(f"Collapsed to a few examples: {', '.join(fidelity['collapsed'])}.")
    return evidence


def _lost_of_table(report: Mapping[str, Any]) -> list[str]:
    utility, fidelity = report["utility"], report["fidelity"]
    evidence = []
    if utility and utility["boosting"]["kept"] is not None:
        share = tabular_report.kept_share(utility["boosting"]["kept"])
        evidence.append(f"{share} of what real rows teach gradient boosting is kept.")
    columns = fidelity["synthetic"]["shapes"]["columns"]
    ceiling = fidelity["ceiling"]["shapes"]["columns"]
    drops = {n: ceiling[n] - s for n, s in columns.items() if s is not None and ceiling[n] is not None}
    worst = sorted(drops, key=drops.__getitem__, reverse=True)[:SHOWN]
    if worst:
        said = ", ".join(
            f"{name} ({percent(columns[name])} alike, real rows {percent(ceiling[name])})" for name in worst
        )
        evidence.append(f"Columns that differ most: {said}.")
    evidence += _lost_pairs(fidelity)
    largest = fidelity["synthetic"]["missing"]["largest_difference"]
    if largest >= 0.01:
        evidence.append(f"Missing values: the share of one column is off by {percent(largest)}.")
    neighbours, beside = (fidelity[side]["neighbours"]["coverage"] for side in ("synthetic", "ceiling"))
    if neighbours is not None and beside is not None:
        missed = f"{percent(1 - neighbours)} of the real rows have no synthetic one nearby"
        evidence.append(f"{missed} (real test rows: {percent(1 - beside)}).")
    return evidence


def _lost_pairs(fidelity: Mapping[str, Any]) -> list[str]:
    """The pairs of columns that lose most against real rows, numbers cut where real ones are."""
    both = [fidelity[side]["trends"]["pairs"] for side in ("synthetic", "ceiling")]
    drops = []
    for ours, real in zip(*both, strict=True):
        a, b = tabular_report.trend(ours), tabular_report.trend(real)
        if a is not None and b is not None:
            drops.append((b - a, " and ".join(ours["columns"]), a, b))
    worst = sorted(drops, reverse=True)[:SHOWN]
    if not worst:
        return []
    said = ", ".join(f"{name} ({percent(a)} alike, real rows {percent(b)})" for _, name, a, b in worst)
    return [f"Pairs of columns that differ most: {said}."]


def checkpoint(report: Mapping[str, Any]) -> Verdict:
    """May I share the checkpoint? No, unless it was trained privately."""
    model, mia, unit = report["manifest"]["model"], report["privacy"]["mia"], _unit(report)
    question = "May I share the checkpoint?"
    guarantee = (model or {}).get("guarantee")
    evidence = []
    if mia["model_auc"] is not None:
        low, high = mia["model"]["auc_interval"]
        evidence.append(
            f"Whoever gets the model itself tells training {unit}s from others with an AUC of {mia['model_auc']:.3f} "
            f"(interval {low:.3f} to {high:.3f}; guessing gives 0.5)."
        )
        counted = mia.get("model_attacks") and mia["model_attacks"]["findings"]["flagged"]
        if counted:
            best = traces.attack(counted[0].split(".")[0], unit)
            evidence.append(f"Its attacks taken together (Holm), “{best}” recognises training {unit}s.")
    elif model:
        evidence.append("This kind of model gives no score of single examples, so that it was not attacked.")
    else:
        evidence.append("The file alone was judged: nothing is known of the model that made it.")
    if guarantee:
        epsilon, delta = guarantee["epsilon"], guarantee["delta"]
        evidence.append(f"It was trained with differential privacy: ε = {epsilon:.3g}, δ = {delta:.1g}.")
        level: Level = "good" if epsilon <= 1 else "fair"
        answer = "Yes, as far as this ε goes." if epsilon <= 1 else "With care: this ε promises little."
        return Verdict(question, level, answer, evidence, "high: the guarantee holds against every attack.")
    evidence.append(
        "Parameters can hold more of the training data than any file drawn from them, and an attack that finds nothing "
        "is no proof. Only training with differential privacy bounds what they give away."
    )
    answer = "No: it was not trained privately."
    if not model:
        answer = "No, unless you know that it was trained privately."
    sure = "high: this follows from how it was trained, not from a measurement." if model else "moderate: by default."
    return Verdict(question, "poor", answer, evidence, sure)
