"""Plans: a `Plan` replaces the columns of a table by free columns, from which all columns are computed.

    plan = rules.plan(found, train)
    free = plan.encode(frame)      # free columns, which a model learns
    frame = plan.decode(free)      # all columns; rows keep all rules except those in `plan.left`

The free columns depend on the rules:

    equation      the target is computed. If some rows break the rule, or if it is `~=`, the difference is a free column
    determined    the target is looked up in a table of values that `min_count` rows share. Values that are not in the
                  table are in a free column. Rows with the same keys have the target of the first such row
    order         the difference of two terms is a free column, in place of the larger one
    condition     the column is corrected in rows that meet the condition
    combinations  a single free column has the combination of several columns
    grid          the number is rounded to the grid

Free columns must show a model what matters. A column that a date or number determines, and that bins of this one hide,
such as the weekday, is a free column too: the date is moved to the nearest one with this weekday.

`decode(encode(frame))` is equal to `frame` in rows that keep the rules. Some rules cannot be kept at the same time.
They are found by decoding shuffled rows, and are in `plan.left`. `plan.keeps` tests which rows keep all rules, and
`plan.repeats` which rows have a key that should be unique and is not.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import TYPE_CHECKING

import numpy as np

from synthjax.errors import InputError
from synthjax.rules.columns import Columns, Draft, Form
from synthjax.rules.expressions import Name, linear, names
from synthjax.rules.keys import Unique
from synthjax.rules.kinds import MIN_COUNT, Equation, Order, Rule, When
from synthjax.rules.predicates import Compare
from synthjax.rules.steps import Base, Computed, Joint, Looked, Step

if TYPE_CHECKING:
    import pandas as pd

_TRIED = 2000  # number of shuffled rows with which a plan is tested


@dataclass(frozen=True)
class Plan:
    """Computes the columns of a table from free columns."""

    names: tuple[str, ...]
    """All columns, in the order of the table."""
    steps: tuple[Step, ...]
    """In the order of decoding."""
    rules: tuple[Rule, ...] = ()
    """The rules that all rows must keep."""
    left: tuple[Rule, ...] = ()
    """The rules in `rules` that decoded rows may break."""
    unique: tuple[Unique, ...] = ()
    """Keys that no two rows share. Decoded rows may."""

    @property
    def computed(self) -> tuple[str, ...]:
        """The columns that are not free columns."""
        free = {name for step in self.steps for name in _extra(step)}
        return tuple(name for name in self.names if name in self._bases() and name not in free)

    def encode(self, frame: "pd.DataFrame") -> "pd.DataFrame":
        """Computes the free columns.

        Args:
            frame: rows with all columns of the plan.

        Returns:
            The free columns, with the index of `frame`.

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
        """Computes all columns from the free ones.

        Args:
            free: the free columns, with any values.

        Returns:
            All columns, in the order of the table.

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
        """Whether each row keeps all of `rules`: (n,) bool."""
        columns, kept = Columns.of(frame), np.ones(len(frame), bool)
        for rule in self.rules:
            kept &= rule.holds(columns)
        return kept

    def repeats(self, frame: "pd.DataFrame") -> np.ndarray:
        """Whether an earlier row has one of the `unique` keys of each row: (n,) bool."""
        columns = Columns.of(frame)
        return ~np.all([np.ones(len(frame), bool), *(rule.holds(columns) for rule in self.unique)], axis=0)

    def free_of(self, names: Iterable[str]) -> tuple[str, ...]:
        """The free columns on which columns that are only computed from one another depend."""
        names = list(names)
        replaced = {name: step for step in self.steps for name in step.targets if name in names}
        own = dict.fromkeys(name for name in names if name not in self._bases())
        return tuple(own | dict.fromkeys(extra for step in replaced.values() for extra in _extra(step)))

    def _bases(self) -> dict[str, Base]:
        return {name: step for step in self.steps if isinstance(step, Base) for name in step.targets}


def _extra(step: Step) -> list[str]:
    """The free columns that a step adds."""
    if isinstance(step, Computed):
        return [name for name in (step.shown and step.target, step.rest, step.other) if name]
    if isinstance(step, Looked):
        return [step.rest] if step.rest else []
    return [step.name] if isinstance(step, Joint) else []


def _check(columns: Columns, names: Iterable[str], what: str) -> None:
    """Raises InputError if a column is missing."""
    for name in names:
        if name not in columns:
            raise InputError(f"{what}: column {name!r} is missing; there are {', '.join(columns.names[:12])}")


def plan(
    rules: Sequence[Rule],
    frame: "pd.DataFrame",
    *,
    keep: Iterable[str] = (),
    subject: Iterable[str] = (),
    limits: Sequence[Rule] = (),
    min_count: int = MIN_COUNT,
    seed: int = 0,
) -> Plan:
    """Makes a plan so that decoded rows keep rules.

    Args:
        rules: from `find` or `parse`. Rules with columns that `frame` does not have are ignored.
        frame: training rows, to which rules, tables and units are fitted.
        keep: columns that are not replaced, such as the target of a conditional model.
        subject: columns that several rows of one subject share. They are only computed from one another.
        limits: from `synthjax.rules.limits`. Decoded rows keep them as far as the steps for `rules` allow.
        min_count: minimum number of rows that share each stored value.
        seed: of the shuffled rows with which the plan is tested.

    Returns:
        The plan. If orders imply some of the conditions, or if there are limits, this is the best one of the plans with
        and without these.

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
    unique = tuple(rule for rule in fitted if rule.exact and isinstance(rule, Unique))
    below = _below(fitted, columns)
    implied = tuple(rule for rule in fitted if isinstance(rule, When) and _zero_below(rule, below))
    best: tuple[float, Plan] | None = None
    for left_out, also in dict.fromkeys(product(((), implied), (tuple(limits), ()))):
        builder = Builder(columns, frozenset(keep), frozenset(subject), min_count)
        for rule in _in_order([*(rule for rule in fitted if rule not in left_out), *also]):
            if not _is_part(rule, also):
                builder.add(rule)
        whole = Plan(columns.names, builder.ordered(), exact)
        rate, left = _broken(whole, columns, seed)
        if best is None or rate < best[0]:
            best = rate, Plan(whole.names, whole.steps, exact, left, unique)
    assert best
    return best[1]


def _fitted(rule: Rule, columns: Columns, min_count: int) -> Rule:
    """Fits a rule that the user gave; rules from `find` are already fitted."""
    return rule.fit(columns, min_count) if rule.evidence is None else rule


def _below(rules: list[Rule], columns: Columns) -> set[tuple[str, str]]:
    """Pairs (low, high) of columns for which exact rules imply low <= high, and low has no negative numbers.

    Also pairs of a sum (low) of such columns: it is 0 where high is 0.
    """
    found: set[tuple[str, str]] = set()
    for rule in rules:
        if isinstance(rule, Order) and rule.exact:
            for low, high in combinations(rule.terms, 2):
                parts = names(low) if not isinstance(low, Name) and set(rule.names) >= set(names(low)) else ()
                if isinstance(high, Name):
                    found |= {(part, high.name) for part in ((low.name,) if isinstance(low, Name) else parts)}
    for middle in {low for low, _ in found} & {high for _, high in found}:
        found |= {(low, high) for low, one in found if one == middle for other, high in found if other == middle}
    found = {(low, high) for low, high in found if not (columns.numbers(low) < 0).any()}
    for rule in rules:
        if isinstance(rule, Equation) and rule.exact and not rule.loose:
            terms, constant = linear(rule.value) or ({}, 1.0)
            shared = [{high for low, high in found if low == part} | {part} for part in terms]
            found |= {(rule.target, high) for high in set.intersection(*shared)} if shared and not constant else set()
    return found


def _is_part(rule: Rule, limits: Sequence[Rule]) -> bool:
    """Whether a rule is the order of two columns that one of the limits, a sum below a bound, implies."""
    return (
        isinstance(rule, Order)
        and rule.operators == ("<=",)
        and all(isinstance(term, Name) for term in rule.terms)
        and any(
            rule.terms[0] != other.terms[0] and set(rule.names) <= set(other.names) and rule.terms[1] == other.terms[1]
            for other in limits
            if isinstance(other, Order)
        )
    )


def _zero_below(rule: When, below: set[tuple[str, str]]) -> bool:
    """Whether an order implies a rule of the form `high == 0 => low == 0`."""
    parts = [*rule.conditions, rule.claim]
    zeros = [part.name for part in parts if isinstance(part, Compare) and part.operator == "==" and part.value == 0]
    return len(parts) == len(zeros) == 2 and (zeros[1], zeros[0]) in below


def _in_order(rules: list[Rule]) -> list[Rule]:
    """Rules in the order in which they are added to a plan: by kind, exact ones first, sums before single columns."""
    kinds = ("Equation", "Determined", "Seen", "Together", "When", "Order", "Unique", "Numbered")
    single = lambda rule: isinstance(rule, Order) and all(isinstance(term, Name) for term in rule.terms)  # noqa: E731
    return sorted(rules, key=lambda rule: (kinds.index(type(rule).__name__), not rule.exact, single(rule)))


def _broken(whole: Plan, columns: Columns, seed: int) -> tuple[float, tuple[Rule, ...]]:
    """Tests a plan with free columns that are drawn independently.

    Half of the rows have values of the table. In the other rows, half of the numbers are drawn uniformly within their
    bounds.

    Returns:
        The fraction of rows that break a rule, and the rules that they break.
    """
    import pandas as pd

    if not whole.rules:
        return 0.0, ()
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
