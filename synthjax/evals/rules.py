"""Does each row make sense? Rules between columns that real rows keep, and how many synthetic rows break them.

A trip that ends before it begins, a total that is not the sum of its parts: `synthjax.rules` finds what real rows keep
in the training rows, and three sets of real rows have one task each, so that no rule is confirmed on the rows that its
rate is reported of:

    train                              the rules are looked for here
    reference, or unseen of a run      they are confirmed here
    unseen, or test of a run           the real rates beside the synthetic ones

Exact rules are those that none of the rows of the first two breaks, and those that a person hands in; a row that breaks
one does not make sense. Near rules (at least 99 %) are to be kept as often as real rows keep them. Columns that nothing
is learnt from (identifiers, text, constants) are no part of it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from synthjax import rules
from synthjax.evals import estimate
from synthjax.evals.figure import Count, Estimate, Interval, Share, figure, part
from synthjax.evals.sets import Sets
from synthjax.evals.streams import stream
from synthjax.evals.table import Table
from synthjax.rules.columns import Columns

if TYPE_CHECKING:
    import pandas as pd

LIMIT = 100_000
"""Rows of each set that are looked at, at most."""
SMALLEST = 40
"""Training rows below which no rules are looked for."""
ALLOWED = 0.005
"""What the rate of a near rule may differ from that of real rows: half a point."""
EXAMPLES = 3
"""Synthetic rows that are shown of each rule, at most."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """A synthetic row that breaks a rule: its place in the file, from 0, and the values of the rule's columns."""

    row: Count
    values: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class JudgedRule:
    """A rule, and how often it is kept."""

    exact: bool
    """Whether no real row that it was found on and confirmed on breaks it, or a person has handed it in."""
    given: bool
    """Whether a person has handed it in."""
    columns: list[str]
    rows: dict[str, Count]
    """Rows of which it says something: `train`, `real` and `synthetic`."""
    synthetic: Estimate | None = figure(
        "kept by synthetic rows", "Share of the synthetic rows that keep one rule, of those that it speaks of.", "high"
    )
    real: Estimate | None = figure("kept by real rows", "The same of real rows that were not seen in training.")
    as_real: bool | None
    """Whether synthetic rows break it no more often than real rows do, by half a point at most if it is a near rule;
    None: it says nothing of the rows of one of them."""
    examples: list[Example]


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Does each row make sense? None where there is no rule of that sort."""

    broken: Estimate | None = figure(
        "rows that break a rule",
        "Share of the synthetic rows that break at least one exact rule between columns, which no real row that it "
        "was found and confirmed on breaks.",
        "low",
        reference="broken_real",
    )
    broken_real: Estimate | None = figure(
        "real rows that break a rule", "The same of real rows that were not seen in training.", detail=True
    )
    difference: float | None = figure(
        "rows that break a rule, beyond real ones",
        "Share of the synthetic rows that break an exact rule, less that of real rows not seen in training.",
        "low",
        bounds=(-1, 1),
        reference=0.0,
        interval="difference_interval",
    )
    difference_interval: Interval | None
    near: Share | None = figure(
        "near rules kept as by real rows",
        "Share of the near rules (kept by at least 99 %, not all, of the real rows) whose rate in synthetic rows is "
        "within half a point of that in real rows, or above it.",
        "high",
        reference=1.0,
    )
    n_exact: Count
    n_near: Count
    each: dict[str, JudgedRule] = part("NAME")
    """By its text, the one that most synthetic rows break first."""
    left_out: dict[str, str]
    """Columns that no rule is looked for in, and their kinds: id, text, constant."""
    reason: str | None
    """Why nothing was measured: a sentence; None: it was."""
    n: dict[str, Count]
    """Rows looked at: `train`, `confirm`, `real` and `synthetic`."""


def evaluate(
    sets: Sets, kinds: Mapping[str, str], *, given: Sequence[rules.Rule] = (), limit: int = LIMIT, seed: int = 0
) -> dict[str, Any]:
    """Judges the rows of a synthetic table.

    Args:
        sets: of tables.
        kinds: column -> kind, in the order of the real table.
        given: rules beside those that are found here: of a schema file, or of the training. Those of columns that
            nothing is learnt from are not judged.
        limit: rows of each set that are looked at, at most.
        seed: of the rows that are drawn and of the search.

    Returns:
        Plain values of `Rules`.

    Raises:
        InputError: a rule that was handed in names a column that is not there.
    """
    # Of a run the test rows are the attacker's reference: there the holdout, which chose the model too, confirms.
    by_reference = sets.reference is not sets.test
    parts = {"train": sets.train, "confirm": sets.reference if by_reference else sets.unseen}
    parts |= {"real": sets.unseen if by_reference else sets.test, "synthetic": sets.synthetic}
    rng = stream(seed, "rules")
    rows = {name: np.sort(rng.permutation(len(table))[:limit]) for name, table in parts.items()}
    frames = {name: to_frame(table.take(rows[name]), tuple(kinds)) for name, table in parts.items()}
    columns = {name: Columns(frame) for name, frame in frames.items()}
    given = [rule for rule in given if not set(rule.names) & set(sets.train.schema.left_out)]
    for rule in given:
        columns["train"].check(rule.names, rule.text)
    found = {}
    if len(sets.train) >= SMALLEST:
        found = {rule.text: rule for rule in rules.find(frames["train"], frames["confirm"], seed=seed)}
    found |= {rule.text: rule.fit(columns["train"]) for rule in given}
    broken = {side: np.zeros(len(columns[side]), bool) for side in ("real", "synthetic")}
    judged = {}
    for text, rule in found.items():
        verdicts = {name: rule.verdict(columns[name]) for name in ("train", *broken)}
        judged[text] = _judged(rule, verdicts, frames["synthetic"], rows["synthetic"])
        if rule.exact:
            for side, any_broken in broken.items():
                applies, kept = verdicts[side]
                any_broken |= applies & ~kept
    return {
        **_in_all(judged, broken),
        "each": dict(sorted(judged.items(), key=lambda item: -_times_broken(item[1]))),
        "left_out": {name: kinds[name] for name in sets.train.schema.left_out},
        "reason": None if judged else _why_none(len(sets.train)),
        "n": {name: len(frame) for name, frame in frames.items()},
    }


def to_frame(table: Table, order: Sequence[str]) -> "pd.DataFrame":
    """A table as people write it: numbers, dates (datetime64) and text, None where missing; columns as in `order`."""
    import pandas as pd

    schema = table.schema
    columns: dict[str, Any] = {}
    for name, numbers in zip(schema.numeric, table.numbers.T, strict=True):
        columns[name] = numbers
        if name in schema.dates:
            micro = np.rint(np.nan_to_num(numbers) * 1e6).astype(np.int64).astype("datetime64[us]")
            columns[name] = np.where(np.isnan(numbers), np.datetime64("NaT", "us"), micro)
    for name, values, codes in zip(schema.discrete, schema.categories, table.codes.T, strict=True):
        columns[name] = np.array([*values, None], object)[codes]
    return pd.DataFrame({name: columns[name] for name in order if name in columns})


def _judged(
    rule: rules.Rule, verdicts: Mapping[str, tuple[np.ndarray, np.ndarray]], made: "pd.DataFrame", rows: np.ndarray
) -> dict[str, Any]:
    """Plain values of `JudgedRule`."""
    sides = {side: _share(verdicts[side][1][verdicts[side][0]]) for side in ("real", "synthetic")}
    applies, kept = verdicts["synthetic"]
    examples = np.flatnonzero(applies & ~kept)[:EXAMPLES]
    as_real = None
    if sides["real"] and sides["synthetic"]:
        worse = sides["real"]["mean"] - sides["synthetic"]["mean"]
        as_real = bool(worse <= (0.0 if rule.exact else ALLOWED))
    return {
        "exact": rule.exact,
        "given": rule.evidence is None,
        "columns": list(rule.names),
        "rows": {side: int(verdicts[side][0].sum()) for side in verdicts},
        **sides,
        "as_real": as_real,
        "examples": [
            {"row": int(rows[row]), "values": {name: _cell(made[name].iloc[row]) for name in rule.names}}
            for row in examples
        ],
    }


def _cell(value: Any) -> str:
    """A value as a person writes it; "" where it is missing."""
    import pandas as pd

    if pd.isna(value):
        return ""
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def _share(hits: np.ndarray) -> dict[str, Any] | None:
    """The share of these (n,) bool that are true, as `Estimate`; None of none."""
    if not len(hits):
        return None
    mean = float(hits.mean())
    return {"mean": mean, "std": 0.0, "values": [mean], "ci": estimate.wilson(mean, len(hits))}


def _in_all(judged: Mapping[str, Mapping[str, Any]], broken: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Of all rules."""
    exact = sum(one["exact"] for one in judged.values())
    near = [one["as_real"] for one in judged.values() if not one["exact"] and one["as_real"] is not None]
    ours, real = (_share(broken[side]) if exact else None for side in ("synthetic", "real"))
    return {
        "broken": ours,
        "broken_real": real,
        "difference": ours["mean"] - real["mean"] if ours and real else None,
        "difference_interval": _difference(ours, real) if ours and real else None,
        "near": sum(near) / len(near) if near else None,
        "n_exact": exact,
        "n_near": len(judged) - exact,
    }


def _difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[float]:
    """Newcombe's interval of the difference of two shares, from Wilson's of each."""
    (low, high), (other_low, other_high) = one["ci"], other["ci"]
    middle = one["mean"] - other["mean"]
    return [
        middle - math.hypot(one["mean"] - low, other_high - other["mean"]),
        middle + math.hypot(high - one["mean"], other["mean"] - other_low),
    ]


def _times_broken(judged: Mapping[str, Any]) -> float:
    """Synthetic rows that break a rule: what the rules are sorted by."""
    return judged["rows"]["synthetic"] * (1 - judged["synthetic"]["mean"]) if judged["synthetic"] else 0.0


def _why_none(rows: int) -> str:
    if rows < SMALLEST:
        return f"Rules between columns are looked for in {SMALLEST} training rows or more; there are {rows}."
    return "No rule between the columns was found that the real rows keep, so that none can be broken."
