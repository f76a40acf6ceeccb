"""The verdict on privacy: do the attacks recognise training examples, by the synthetic file alone?

A test is named mia.ATTACK.FIGURE, persons.ATTACK.FIGURE, mia.ATTACK.isolated, duplicates.KIND or
attributes.COLUMN.ATTACKER; `findings` holds the p-values of all tests of one file, corrected together by Holm, and
which of them are significant.
"""

from synthjax.evals.privacy.distances import exceeds
from synthjax.evals.privacy.protocol import Privacy, TablePrivacy
from synthjax.evals.privacy.summary import Attacks
from synthjax.evals.report.model import Evidence, Verdict
from synthjax.evals.report.shared import Level
from synthjax.evals.report.words import attack, p_value, percent

SURE = 0.01
"""Corrected p-value up to which an attack that is sure of some members counts as one that recognises them."""
SHOWN = 3
"""Tests that a sentence names at most."""
REPEATED = 0.05
"""Share of unseen examples equal to a training example from which on the verdict says so."""
ISOLATED = "isolated"
"""What tests on isolated records alone end with."""
_TAIL = "tpr_at_fpr_0p1pct"
_GUESSES = {"boosting": "by boosting", "nearest": "by the nearest synthetic row"}


def private(privacy: Privacy) -> Verdict:
    """What the privacy part says."""
    unit = "row" if isinstance(privacy, TablePrivacy) else "example"
    level: Level = "poor" if copied(privacy) else level_of(privacy)
    answer = {
        "poor": f"Yes: training {unit}s can be recognised from it.",
        "fair": f"Traces of training {unit}s were found.",
        "good": "These attacks found nothing. That is no proof that nothing leaks.",
    }[level]
    auc, tails = _best(privacy, unit)
    evidence = [*_tests(privacy, unit), auc, *_clearest(privacy.mia, unit), tails, _copies(privacy, unit)]
    if privacy.mia.persons is not None:
        evidence.append(_persons(privacy.mia.persons, unit))
    if privacy.mia.model_auc is not None:
        evidence.append(Evidence("model", of_model(privacy, unit)))
    if privacy.exact_matches_reference > REPEATED:
        text = (
            f"{percent(privacy.exact_matches_reference)} of the unseen real {unit}s equal a training {unit}: the two "
            f"sets overlap, or such {unit}s repeat by nature. Training and unseen {unit}s are then hard to tell apart, "
            "and a leak is hard to see."
        )
        evidence.append(Evidence("overlap", text))
    question = f"Does it give its training {unit}s away?"
    return Verdict("private", question, level, answer, evidence)


def copied(privacy: Privacy) -> bool:
    """Whether more synthetic examples equal training examples than by nature, going by how many unseen real ones do."""
    made, unseen = privacy.n_synthetic, privacy.mia.n_others
    return exceeds(privacy.exact_matches, made, round(privacy.exact_matches_reference * unseen), unseen)


def level_of(privacy: Privacy) -> Level:
    """How much the attacks show: "poor", members are recognised; "fair", there are traces of them; "good", nothing.

    "poor" if the clearest attack's interval lies above 0.55, or one finds more than 5 % of the members at 0.1 % false
    alarms, and surely not by chance, which soon gives as much where others are few; "fair" if any test is significant
    after correction, the clearest attack's interval excludes 0.5, a headline figure is out of chance's reach, or
    synthetic examples are nearer to the training set. Attacks on records and on persons count alike.
    """
    families = {"mia": privacy.mia} | ({"persons": privacy.mia.persons} if privacy.mia.persons else {})
    shares, traces = [], [bool(privacy.findings.flagged), privacy.dcr.interval[0] > 0.5]
    for family, of in families.items():
        # Bonferroni: all headline figures are looked at.
        traced = [key for key, p in of.p_value.items() if p < 0.01 / (len(of.p_value) * len(families))]
        shares += [of.tpr_at_fpr_0p1pct] if _TAIL in traced else []
        shares += _sure(privacy, family, of)
        traces += [bool(traced), of.surest.auc_interval[0] > 0.5]
    low = max(of.surest.auc_interval[0] for of in families.values())
    if low > 0.55 or max(shares, default=0.0) > 0.05:
        return "poor"
    return "fair" if any(traces) else "good"


def _sure(privacy: Privacy, family: str, of: Attacks) -> list[float]:
    """What attacks find at 0.1 % false alarms that surely do not find it by chance."""
    holm, end = privacy.findings.holm, f".{_TAIL}"
    tails = [name for name in privacy.findings.flagged if name.startswith(f"{family}.") and name.endswith(end)]
    return [of.attacks[name.split(".")[1]].tpr_at_fpr_0p1pct for name in tails if holm[name] <= SURE]


def of_model(privacy: Privacy, unit: str) -> str:
    """What attacks on the model itself found, a sentence; there is a model."""
    mia = privacy.mia
    assert mia.model is not None
    low, high = mia.model.auc_interval
    return (
        f"Whoever has the model itself tells training {unit}s from others with an AUC of {mia.model_auc:.3f} (interval "
        f"{low:.3f} to {high:.3f}; guessing gives 0.5)."
    )


def _tests(privacy: Privacy, unit: str) -> list[Evidence]:
    """What is significant after correction."""
    findings = privacy.findings
    if not findings.holm:
        return []
    together = f"corrected for all {len(findings.holm)} tests of this file (Holm, {100 * findings.level:g} % level)"
    smallest: dict[str, float] = {}
    for name in sorted(findings.flagged, key=findings.holm.__getitem__):
        smallest.setdefault(finding(name, unit), findings.holm[name])
    if not smallest:
        p = p_value(min(findings.holm.values()))
        return [Evidence("tests", f"No test is significant, {together}: the smallest p-value is {p}.")]
    listed = "; ".join(f"{words} (p {_equals(p)})" for words, p in list(smallest.items())[:SHOWN])
    more = f"; and {len(smallest) - SHOWN} more" if len(smallest) > SHOWN else ""
    return [Evidence("tests", f"Significant, {together}: {listed}{more}.")]


def finding(test: str, unit: str) -> str:
    """What a test found, in words; the figures of one attack are the same finding."""
    family, _, rest = test.partition(".")
    if family == "persons":
        name = rest.partition(".")[0]
        return f"persons are told by all of their training {unit}s, “{attack(name, unit)}”"
    if family == "mia":
        name, _, figure = rest.partition(".")
        which = "isolated training" if figure == ISOLATED else "training"
        return f"{which} {unit}s are told from others by “{attack(name, unit)}”"
    if family == "duplicates":
        near = "equal" if rest == "exact" else "come very near to"
        return f"synthetic {unit}s {near} training {unit}s more often than unseen ones"
    # A column may have dots in its name.
    column, _, guesser = rest.rpartition(".")
    return f"“{column}” is guessed better of training {unit}s than of unseen ones {_GUESSES[guesser]}"


def _equals(p: float) -> str:
    text = p_value(p)
    return text if text.startswith("<") else f"= {text}"


def _clearest(mia: Attacks, unit: str) -> list[Evidence]:
    """The attack whose interval reaches furthest above 1/2, where it is better than guessing."""
    low, high = mia.surest.auc_interval
    if low <= 0.5:
        return []
    text = (
        f"The clearest attack, “{attack(mia.surest.attack, unit)}”, has an AUC of {mia.surest.auc:.3f}; its interval, "
        f"{low:.3f} to {high:.3f}, holds for all attacks at once and excludes 0.5, which is guessing."
    )
    return [Evidence("clearest", text)]


def _best(privacy: Privacy, unit: str) -> tuple[Evidence, Evidence]:
    """The largest figures over all attacks, beside what they would be without a leak."""
    mia = privacy.mia
    low, high = mia.auc_interval
    none = f" (fewer than one of {mia.n_others:,} unseen ones)" if mia.n_others < 1_000 else ""
    auc = (
        f"An attacker who has only the file and guesses which {unit}s were in the training set reaches an AUC of "
        f"{mia.auc:.3f} at best: the chance that a training {unit} is ranked above an unseen one (interval {low:.3f} "
        f"to {high:.3f}; guessing gives 0.5; without a leak the best attack stays below {mia.chance['auc']['q95']:.3f} "
        "nineteen times in twenty)."
    )
    tails = (
        f"With 1 % false alarms the attacks find {percent(mia.tpr_at_fpr_1pct)} of the training {unit}s (without a "
        f"leak: {percent(mia.chance['tpr_at_fpr_1pct']['mean'])}), with 0.1 % false alarms{none} "
        f"{percent(mia.tpr_at_fpr_0p1pct)} (without a leak: {percent(mia.chance['tpr_at_fpr_0p1pct']['mean'])})."
    )
    return Evidence("mia", auc), Evidence("false_alarms", tails)


def _persons(found: Attacks, unit: str) -> Evidence:
    """How well persons are told by all of their rows."""
    low, high = found.auc_interval
    text = (
        f"Taken together, the {unit}s of a person tell {found.n_members:,} persons of the training set from "
        f"{found.n_others:,} others with an AUC of {found.auc:.3f} at best (interval {low:.3f} to {high:.3f}; guessing "
        f"gives 0.5; without a leak the best attack stays below {found.chance['auc']['q95']:.3f} nineteen times in "
        "twenty)."
    )
    return Evidence("persons", text)


def _copies(privacy: Privacy, unit: str) -> Evidence:
    near = privacy.near_matches
    text = (
        f"{privacy.exact_matches:,} of {privacy.n_synthetic:,} synthetic {unit}s are exact copies of training {unit}s "
        f"({percent(privacy.exact_matches_share)}; of unseen real {unit}s: {percent(privacy.exact_matches_reference)})"
        f", {percent(near.share)} come very near to one (of unseen real {unit}s: {percent(near.reference)})."
    )
    return Evidence("copies", text)
