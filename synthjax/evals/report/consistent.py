"""The verdict on rows: does each of them make sense, or do some break rules that real rows keep?

It is never a plain yes where synthetic rows break a rule that no real row breaks.
"""

from collections.abc import Mapping, Sequence

from synthjax.evals.report.model import Evidence, Verdict
from synthjax.evals.report.shared import Level
from synthjax.evals.report.words import percent
from synthjax.evals.rules import ALLOWED, JudgedRule, Rules

QUESTION = "Does each row make sense?"
FEW = 0.05
"""Share of rows that break a rule, beyond that of real rows, up to which they are few."""
SHOWN = 3
"""Rules that are named at most."""
COLUMNS = 12
"""Columns that are named at most."""
KINDS = {"id": "identifiers", "text": "free text", "constant": "one value"}
"""What columns hold that are not judged."""


def consistent(rules: Rules) -> Verdict:
    """What the rules part says."""
    if rules.reason:
        evidence = [Evidence("not_measured", rules.reason)]
        return Verdict("consistent", QUESTION, "fair", "This cannot be told.", evidence + of_columns(rules.left_out))
    level, answer = _level(rules)
    evidence = [*_broken(rules), *_worst(rules), *_near(rules), *of_columns(rules.left_out)]
    return Verdict("consistent", QUESTION, level, answer, evidence)


def _level(rules: Rules) -> tuple[Level, str]:
    ours, real, more, interval = rules.broken, rules.broken_real, rules.difference, rules.difference_interval
    if ours and real and more is not None and interval:
        by_chance = real.mean > 0 and interval[0] <= 0 and more <= ALLOWED
        if more > 0 and not by_chance:
            said = f"{percent(ours.mean)} of the rows break a rule that real rows keep."
            return ("poor", f"No: {said}") if more > FEW else ("fair", f"Not all: {said}")
    if rules.near is not None and rules.near < 1:
        return "fair", "Nearly: some rules are broken more often than by real rows."
    if ours is not None and ours.mean > 0:
        return "good", "Yes: as few rows break a rule as of the real ones."
    return "good", "Yes: no row breaks a rule that real rows keep."


def _broken(rules: Rules) -> list[Evidence]:
    ours, real = rules.broken, rules.broken_real
    if ours is None or real is None or ours.ci is None:
        return []
    text = (
        f"{percent(ours.mean)} of the synthetic rows (95 % interval {percent(ours.ci[0])} to {percent(ours.ci[1])}) "
        f"break at least one of {_count(rules.n_exact, 'rule')} that no training row breaks; of real rows not seen in "
        f"training {percent(real.mean)}."
    )
    return [Evidence("broken", text)]


def _worst(rules: Rules) -> list[Evidence]:
    worst = [(text, rule) for text, rule in rules.each.items() if rule.as_real is False][:SHOWN]
    if not worst:
        return []
    said = "; ".join(f"“{text}” ({_rates(rule)})" for text, rule in worst)
    return [Evidence("worst", f"Broken by most rows: {said}.")]


def _rates(rule: JudgedRule) -> str:
    assert rule.synthetic is not None and rule.real is not None
    return (
        f"by {percent(1 - rule.synthetic.mean)} of the rows that it speaks of, real rows {percent(1 - rule.real.mean)}"
    )


def _near(rules: Rules) -> list[Evidence]:
    if rules.near is None:
        return []
    text = (
        f"Of {_count(rules.n_near, 'rule')} that a few real rows break too, {percent(rules.near)} are kept as often as "
        "by real rows, within half a point."
    )
    return [Evidence("near", text)]


def of_columns(left_out: Mapping[str, str], missing: Sequence[str] = ()) -> list[Evidence]:
    """The columns that no figure speaks of, and those of them that the synthetic table lacks."""
    if not left_out:
        return []
    named = [f"{name} ({'absent' if name in missing else KINDS[kind]})" for name, kind in left_out.items()]
    more = f" and {len(named) - COLUMNS} more" if len(named) > COLUMNS else ""
    text = f"Not judged, since no row can be compared by them: {', '.join(named[:COLUMNS])}{more}."
    return [Evidence("not_judged", text)]


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}{'s' * (n != 1)}"
