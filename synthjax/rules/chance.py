"""Whether a rule counts: it holds on the rows that it was found on and on unseen ones, and chance does not explain it.

Chance is what is left of the rule when its columns are shuffled, each by itself: the share of rows that keep it then,
given the marginals. Of a key, one column is shuffled, the one that makes the key; of a rule of one column, numbers are
drawn evenly between its least and its greatest. A rule counts if, on both sets of rows,

    - at least 99 % of the rows of which it says something keep it (of few unseen rows: not significantly less),
    - (rate - chance) / (1 - chance), the agreement beyond chance, is at least .9 (as Cohen's kappa), and
    - so many rows would keep it by chance with a probability below .001 (unseen rows: .05), divided by the number of
      rules that were tried (Bonferroni). The binomial tail is bounded by exp(-n KL(rate, chance)), after Chernoff.
      What few unseen rows lack in probability, though not below .05 itself, the training rows may make up for.
"""

import dataclasses
import math

import numpy as np

from synthjax.errors import InputError
from synthjax.rules.columns import Columns, Form
from synthjax.rules.kinds import Determined, Equation, Evidence, Rule, Unique

NEAR = 0.99
"""Least share of rows that keep a rule which counts."""
BEYOND = 0.9
"""Least agreement beyond chance."""
_LEVEL, _UNSEEN_LEVEL = 1e-3, 0.05
_SLACK = 1.6  # standard deviations that few unseen rows may stay below NEAR
_LEAST_ROWS = 10
_LOOSE, _PLAIN, _EQUAL, _TRIVIAL = 0.3, 0.5, 0.9, 0.99
_ROWS, _ROUNDS = 3000, 3  # of shuffling


def log_tail(hits: float, n: int, chance: float) -> float:
    """Upper bound of log P(Binomial(n, chance) >= hits)."""
    if not n or hits <= n * chance:
        return 0.0
    rate = hits / n
    other = (1 - rate) * math.log((1 - rate) / (1 - chance)) if rate < 1 else 0.0
    return -n * (rate * math.log(rate / chance) + other)


def level(rule: Rule, columns: Columns, seed: int = 0) -> float:
    """The share of rows that keep a rule by chance, from some rounds of shuffling."""
    if len(columns) > _ROWS:
        columns = columns.take(np.random.default_rng(seed).choice(len(columns), _ROWS, replace=False))
    rng = np.random.default_rng((seed, 1))
    if len(rule.names) == 1:
        return _by_chance(rule, [_even(columns, rule.names[0], rng) for _ in range(_ROUNDS)])
    ways = [(name,) for name in rule.names] if isinstance(rule, Unique) else [rule.shuffled]
    return min(_by_chance(rule, [columns.shuffled(way, rule.names, rng) for _ in range(_ROUNDS)]) for way in ways)


def _by_chance(rule: Rule, drawn: list[Columns]) -> float:
    verdicts = [rule.verdict(columns) for columns in drawn]
    rows = sum(int(applies.sum()) for applies, _ in verdicts)
    return (sum(int((applies & kept).sum()) for applies, kept in verdicts) + 1) / (rows + 2)


def _even(columns: Columns, name: str, rng: np.random.Generator) -> Columns:
    """A column of numbers or dates drawn evenly between its least and its greatest; any other as it is."""
    import pandas as pd

    form = columns.form(name)
    if form.kind not in ("number", "date") or columns.missing(name).all():
        return columns
    numbers = columns.numbers(name)
    low, high = np.nanmin(numbers), np.nanmax(numbers)
    drawn = form.rounded(rng.uniform(low - form.unit / 2, high + form.unit / 2, len(numbers)))
    dtype = "float64" if form.kind == "number" else "datetime64[us]"
    return Columns(pd.DataFrame({name: Form(form.kind, form.unit, dtype).values(np.clip(drawn, low, high))}))


def rates(rule: Rule, columns: Columns) -> tuple[int, int]:
    """Rows of which a rule says something, and those that keep it."""
    applies, kept = rule.verdict(columns)
    return int(applies.sum()), int((applies & kept).sum())


def confirmed(
    rule: Rule, train: Columns, unseen: Columns, log_tried: float, candidates: int, min_count: int
) -> Rule | None:
    """The rule, fitted and with its evidence, if it counts.

    Args:
        rule: a candidate.
        train: the rows that it was found on.
        unseen: rows that nobody has looked at.
        log_tried: log of how many rules were tried.
        candidates: how many of them are tried on unseen rows.
        min_count: see `Rule.fit`.
    """
    rule = rule.fit(train, min_count)
    rows, hits = rates(rule, train)
    if rows < _LEAST_ROWS or hits < NEAR * rows:
        return None
    chance = level(rule, train)
    if chance > _most(rule, hits == rows):
        return None
    limit = math.log(_LEVEL) - log_tried
    if not _counts(rows, hits, chance, limit):
        return None
    spare = limit - log_tail(hits, rows, chance)
    unseen_rows, unseen_hits = rates(rule, unseen)
    slack = _SLACK * math.sqrt(unseen_rows * NEAR * (1 - NEAR))
    others = max(math.log(candidates or 1) - spare, 0.0)
    if not _counts(unseen_rows, unseen_hits, chance, math.log(_UNSEEN_LEVEL) - others, slack):
        return None
    evidence = Evidence(rows, hits / rows, unseen_rows, unseen_hits / unseen_rows, chance)
    return dataclasses.replace(rule, evidence=evidence)


def _most(rule: Rule, exact: bool) -> float:
    """The chance level above which a rule hardly says anything."""
    if isinstance(rule, Equation):
        return _LOOSE if rule.loose else _EQUAL if exact else _PLAIN
    if isinstance(rule, Determined):
        return _TRIVIAL if exact else _PLAIN
    return 1.0


def _counts(rows: int, hits: int, chance: float, log_level: float, slack: float = 0.0) -> bool:
    if not rows or hits < NEAR * rows - slack:
        return False
    beyond = (hits / rows - chance) / (1 - chance)
    return beyond >= BEYOND and log_tail(hits, rows, chance) < log_level


def contradiction(rule: Rule, columns: Columns) -> str:
    """What the rows say against a rule, in a line with its rate and an example; "" if they keep it."""
    columns.check(rule.names, rule.text)
    try:
        applies, kept = rule.verdict(columns)
    except InputError as error:
        return str(error) if rule.text in str(error) else f"rule {rule.text!r}: {error}"
    broken = applies & ~kept
    if not broken.any():
        return ""
    row = int(np.argmax(broken))
    values = ", ".join(f"{name} = {columns.series(name).iloc[row]}" for name in rule.names)
    rate = 1 - broken.sum() / applies.sum()
    return (
        f"rule {rule.text!r} holds in {100 * rate:.2f} % of {applies.sum():,} rows; row {row + 1} breaks it: {values}"
    )
