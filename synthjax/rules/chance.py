"""Tests of candidate rules. A rule is accepted if training rows and unseen rows keep it, and not only by chance.

The chance level of a rule is the fraction of rows that keep it after its columns are shuffled independently, which
preserves the marginals. For a unique key, one column is shuffled, and the minimum over its columns is taken. For a rule
of one column, numbers are drawn uniformly between its minimum and maximum. A rule is accepted if, on both sets of rows,

    - at least 99 % of the rows to which it applies keep it (of few unseen rows: not significantly less),
    - (rate - chance) / (1 - chance), the agreement beyond chance (as Cohen's kappa), is at least 0.9, and
    - the probability that as many rows keep it by chance is below 0.001 (unseen rows: 0.05), divided by the number of
      tried rules (Bonferroni). The binomial tail is bounded by exp(-n KL(rate, chance)) (Chernoff). If the tail of the
      training rows is below its limit, the limit for unseen rows is raised by the same factor, up to 0.05.

    >>> round(math.exp(log_tail(hits=3, n=3, chance=0.5)), 9)
    0.125
    >>> log_tail(hits=1, n=3, chance=0.5)
    0.0
"""

import dataclasses
import math

import numpy as np

from synthjax.errors import InputError
from synthjax.rules.columns import Columns, Form
from synthjax.rules.keys import Unique
from synthjax.rules.kinds import Determined, Equation, Evidence, Rule

NEAR = 0.99
"""Minimum fraction of rows that keep a rule."""
BEYOND = 0.9
"""Minimum agreement beyond chance."""
_LEVEL, _UNSEEN_LEVEL = 1e-3, 0.05  # significance levels
_SLACK = 1.6  # standard deviations by which the rate of unseen rows may be below NEAR
_LEAST_ROWS = 10
_LOOSE, _PLAIN, _EQUAL, _TRIVIAL = 0.3, 0.5, 0.9, 0.99  # maximum chance levels, see _most
_ROWS, _ROUNDS = 3000, 3  # number of shuffled rows, and how often they are shuffled


def log_tail(hits: float, n: int, chance: float) -> float:
    """An upper bound of log P(Binomial(n, chance) >= hits); chance is in (0, 1)."""
    if not n or hits <= n * chance:
        return 0.0
    rate = hits / n
    other = (1 - rate) * math.log((1 - rate) / (1 - chance)) if rate < 1 else 0.0
    return -n * (rate * math.log(rate / chance) + other)


def level(rule: Rule, columns: Columns, seed: int = 0) -> float:
    """Estimates the chance level of a rule.

    Args:
        rule: fitted to training rows.
        columns: training rows, of which at most 3,000 are shuffled.
        seed: of the shuffling.

    Returns:
        The fraction of rows that keep the rule by chance, in (0, 1).
    """
    if len(columns) > _ROWS:
        columns = columns.take(np.random.default_rng(seed).choice(len(columns), _ROWS, replace=False))
    rng = np.random.default_rng((seed, 1))
    if len(rule.names) == 1:
        return _by_chance(rule, [_even(columns, rule.names[0], rng) for _ in range(_ROUNDS)])
    ways = [(name,) for name in rule.names] if isinstance(rule, Unique) else [rule.shuffled]
    return min(_by_chance(rule, [columns.shuffled(way, rule.names, rng) for _ in range(_ROUNDS)]) for way in ways)


def _by_chance(rule: Rule, drawn: list[Columns]) -> float:
    """The fraction of shuffled rows that keep a rule, with one success and one failure added."""
    verdicts = [rule.verdict(columns) for columns in drawn]
    rows = sum(int(applies.sum()) for applies, _ in verdicts)
    return (sum(int((applies & kept).sum()) for applies, kept in verdicts) + 1) / (rows + 2)


def _even(columns: Columns, name: str, rng: np.random.Generator) -> Columns:
    """Draws numbers or dates uniformly between the minimum and maximum of a column; other columns are unchanged."""
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
    """The number of rows to which a rule applies, and how many of them keep it."""
    applies, kept = rule.verdict(columns)
    return int(applies.sum()), int((applies & kept).sum())


def confirmed(
    rule: Rule, train: Columns, unseen: Columns, log_tried: float, candidates: int, min_count: int
) -> Rule | None:
    """Tests a candidate rule.

    Args:
        rule: the candidate.
        train: the rows in which it was found.
        unseen: rows that were not used to find rules.
        log_tried: log of the number of rules tried on training rows.
        candidates: number of rules tested on unseen rows.
        min_count: see `Rule.fit`.

    Returns:
        The fitted rule with its evidence; None if it is rejected.
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
    """The maximum chance level of a rule; above it, the rule has little information."""
    if isinstance(rule, Equation):
        return _LOOSE if rule.loose else _EQUAL if exact else _PLAIN
    if isinstance(rule, Determined):
        return _TRIVIAL if exact else _PLAIN
    return 1.0


def _counts(rows: int, hits: int, chance: float, log_level: float, slack: float = 0.0) -> bool:
    """Whether a rule passes the tests on one set of rows; `slack` is subtracted from the required hits."""
    if not rows or hits < NEAR * rows - slack:
        return False
    beyond = (hits / rows - chance) / (1 - chance)
    return beyond >= BEYOND and log_tail(hits, rows, chance) < log_level


def contradiction(rule: Rule, columns: Columns) -> str:
    """A line about rows that break a rule, with its rate and an example; "" if all rows keep it."""
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
