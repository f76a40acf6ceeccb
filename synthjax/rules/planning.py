"""`plan`: which columns a model has to learn so that the others, and every rule, follow from them.

    plan = rules.plan(found, train)
    free = plan.encode(frame)      # what the model sees: gaps instead of ends, rests instead of sums
    frame = plan.decode(free)      # all columns again; every rule holds that `plan.left` does not name

    equation      its column is left out and computed; where it holds nearly, or within rounding, the rest is learnt
    determined    looked up in a table of what `min_count` rows share; the model sees the values that are not in it; of
                  keys that few rows have, the first row says what the others have
    order         the gap is learnt instead of the greater one, so chains become gaps
    condition     the column is corrected where the condition is met
    combinations  one column says which of them it is
    grid          the number is moved onto it

`decode(encode(frame))` is `frame` wherever its rows keep the rules. Rules that cannot be kept together are found by
decoding shuffled rows, and named in `plan.left`; `plan.keeps` says which rows keep all of them.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from synthjax.errors import InputError
from synthjax.rules.columns import Columns, Draft, Form
from synthjax.rules.expressions import Name, names
from synthjax.rules.kinds import MIN_COUNT, Order, Rule, Unique, When
from synthjax.rules.predicates import Compare
from synthjax.rules.steps import Base, Computed, Joint, Looked, Step

if TYPE_CHECKING:
    import pandas as pd

_TRIED = 2000  # rows that a plan is tried on


@dataclass(frozen=True)
class Plan:
    """How the columns of a table follow from the free ones."""

    names: tuple[str, ...]
    """All columns, in the order of the table."""
    steps: tuple[Step, ...]
    """In the order in which they decode."""
    rules: tuple[Rule, ...] = ()
    """Those that every row has to keep."""
    left: tuple[Rule, ...] = ()
    """Those of them that decoding alone does not keep."""

    @property
    def computed(self) -> tuple[str, ...]:
        """Columns that the model does not see as they are."""
        return tuple(name for name in self.names if name in self._bases())

    def encode(self, frame: "pd.DataFrame") -> "pd.DataFrame":
        """The rows that a model sees.

        Args:
            frame: rows with all columns of the plan.

        Raises:
            InputError: a column is missing.
        """
        import pandas as pd

        columns, bases = Columns.of(frame), self._bases()
        _check(columns, self.names, "a plan of rules")
        free = {}
        for name in self.names:
            step = bases.get(name)
            if step is None:
                free[name] = columns.series(name)
            elif step.targets[0] == name:
                index = columns.frame.index
                free.update({own: pd.Series(values, index=index) for own, values in step.encode(columns).items()})
        return pd.DataFrame(free)

    def decode(self, free: "pd.DataFrame") -> "pd.DataFrame":
        """Rows with all columns, from those that a model has drawn.

        Args:
            free: the columns that `encode` gives, with any values.

        Raises:
            InputError: a column is missing.
        """
        import pandas as pd

        draft, bases = Draft(free), self._bases()
        needed = [name for name in self.names if name not in bases]
        needed += [extra for step in self.steps for extra in _extra(step)]
        _check(draft, needed, "rows to decode")
        for step in self.steps:
            step.decode(draft)
        return pd.DataFrame({name: draft.series(name) for name in self.names})

    def keeps(self, frame: "pd.DataFrame") -> np.ndarray:
        """(n,) bool: whether each row keeps every rule of `rules`."""
        columns, kept = Columns.of(frame), np.ones(len(frame), bool)
        for rule in self.rules:
            kept &= rule.holds(columns)
        return kept

    def _bases(self) -> dict[str, Base]:
        return {name: step for step in self.steps if isinstance(step, Base) for name in step.targets}


def _extra(step: Step) -> list[str]:
    """The model's columns that a step brings."""
    if isinstance(step, Computed):
        return [name for name in (step.rest, step.other) if name]
    if isinstance(step, Looked):
        return [step.rest] if step.rest else []
    return [step.name] if isinstance(step, Joint) else []


def _check(columns: Columns, names: Iterable[str], what: str) -> None:
    for name in names:
        if name not in columns:
            raise InputError(f"{what}: column {name!r} is missing; there are {', '.join(columns.names[:12])}")


def plan(
    rules: Sequence[Rule], frame: "pd.DataFrame", *, keep: Iterable[str] = (), min_count: int = MIN_COUNT, seed: int = 0
) -> Plan:
    """Splits the columns of a table into free ones, which a model learns, and those that rules give.

    Args:
        rules: from `find` or `parse`. Those that name other columns are ignored.
        frame: training rows, which tables, rests and units are measured on.
        keep: columns that stay as they are: the target of a conditional model, say.
        min_count: tables hold what so many rows share.
        seed: of the rows that the plan is tried on.

    >>> import pandas as pd
    >>> from synthjax.rules import parse
    >>> stays = pd.DataFrame({"from": [3, 5, 9] * 9, "to": [4, 9, 9] * 9, "nights": [1, 4, 0] * 9})
    >>> stays_plan = plan([parse("nights = to - from"), parse("from <= to")], stays)
    >>> free = stays_plan.encode(stays)
    >>> list(free)
    ['from', 'to - from']
    >>> stays_plan.decode(free).equals(stays)
    True
    """
    from synthjax.rules.building import Builder

    columns = Columns(frame)
    usable = [rule for rule in rules if all(name in columns for name in rule.names)]
    fitted = [_fitted(rule, columns, min_count) for rule in usable]
    exact = tuple(rule for rule in fitted if rule.exact and not isinstance(rule, Unique))
    below = _below(fitted, columns)
    implied = [rule for rule in fitted if isinstance(rule, When) and _zero_below(rule, below)]
    best: tuple[float, Plan] | None = None
    for left_out in ([], implied)[: 2 if implied else 1]:
        builder = Builder(columns, frozenset(keep), min_count)
        for rule in _in_order([rule for rule in fitted if rule not in left_out]):
            builder.add(rule)
        whole = Plan(columns.names, builder.ordered(), exact)
        rate, left = _broken(whole, columns, seed)
        if best is None or rate < best[0]:
            best = rate, Plan(whole.names, whole.steps, exact, left)
    assert best
    return best[1]


def _fitted(rule: Rule, columns: Columns, min_count: int) -> Rule:
    """A rule that a person gave, with what it needs of the rows; one that was found has that."""
    return rule.fit(columns, min_count) if rule.evidence is None else rule


def _below(rules: list[Rule], columns: Columns) -> set[tuple[str, str]]:
    """Pairs of columns from 0 on, the first of which an exact order says to be no greater than the second."""
    found: set[tuple[str, str]] = set()
    for rule in rules:
        if isinstance(rule, Order) and rule.exact:
            for low, high in combinations(rule.terms, 2):
                parts = names(low) if not isinstance(low, Name) and set(rule.names) >= set(names(low)) else ()
                if isinstance(high, Name):
                    found |= {(part, high.name) for part in ((low.name,) if isinstance(low, Name) else parts)}
    return {(low, high) for low, high in found if not (columns.numbers(low) < 0).any()}


def _zero_below(rule: When, below: set[tuple[str, str]]) -> bool:
    """Whether an order keeps `high == 0 => low == 0`."""
    parts = [*rule.conditions, rule.claim]
    zeros = [part.name for part in parts if isinstance(part, Compare) and part.operator == "==" and part.value == 0]
    return len(parts) == len(zeros) == 2 and (zeros[1], zeros[0]) in below


def _in_order(rules: list[Rule]) -> list[Rule]:
    kinds = ("Equation", "Determined", "Seen", "Together", "When", "Order", "Unique")
    return sorted(rules, key=lambda rule: (kinds.index(type(rule).__name__), not rule.exact))


def _broken(whole: Plan, columns: Columns, seed: int) -> tuple[float, tuple[Rule, ...]]:
    """Share of rows that break a rule, and the rules that they break: every free column drawn by itself.

    Half of the rows have values of the table; in the others numbers are drawn within their bounds as well.
    """
    import pandas as pd

    rng = np.random.default_rng(seed)
    rows = rng.choice(len(columns), min(len(columns), _TRIED), replace=False)
    free = Columns(whole.encode(columns.frame.iloc[rows]))
    even = np.arange(len(rows)) % 2 == 0
    mixed = {}
    for name in free.names:
        series = free.series(name).take(rng.permutation(len(rows)))
        if free.kind(name) == "number":
            numbers = free.numbers(name)[rng.permutation(len(rows))]
            low, high = np.nanmin(numbers, initial=math.inf), np.nanmax(numbers, initial=-math.inf)
            drawn = (
                Form("number", free.unit(name)).rounded(rng.uniform(low, high, len(rows))) if low < high else numbers
            )
            numbers = np.where(even & (rng.random(len(rows)) < 0.5) & ~np.isnan(numbers), drawn, numbers)
            series = pd.Series(free.form(name).values(numbers))
        mixed[name] = series.array
    decoded = Columns(whole.decode(pd.DataFrame(mixed)))
    kept = {rule: rule.holds(decoded) for rule in whole.rules}
    rate = 1 - float(np.mean(np.all([*kept.values()], axis=0))) if kept and len(rows) else 0.0
    return rate, tuple(rule for rule, held in kept.items() if not held.all())
