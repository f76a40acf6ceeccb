"""`find`: the rules of a table, looked for in a sample, checked on all rows, confirmed on rows not seen before.

Kinds are taken in order, so that what one explains is not told again by the next: equations, the calendar, what
determines what, conditions, bounds and thresholds, orders and bounded sums, combinations, grids, keys.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from synthjax.errors import InputError
from synthjax.rules.chance import confirmed
from synthjax.rules.columns import Columns
from synthjax.rules.kinds import MIN_COUNT, Determined, Equation, Order, Rule
from synthjax.rules.predicates import Compare
from synthjax.rules.search import (
    bounds,
    conditions,
    functions,
    grids,
    linear,
    lookups,
    orders,
    products,
    thresholds,
    times,
)
from synthjax.rules.search import sums as sums_
from synthjax.rules.search.sample import Sample

if TYPE_CHECKING:
    import pandas as pd

HELD_OUT = 0.25
"""Share of the rows that confirm, where none are handed in for that."""
_KINDS = 14  # of candidates, each with its own count of tries
_FAINT = 0.95  # chance level
_HEAVY = 0.02  # share of rows
_FEWEST = 40  # rows of a table in which rules are looked for


def find(
    frame: "pd.DataFrame", unseen: "pd.DataFrame | None" = None, *, min_count: int = MIN_COUNT, seed: int = 0
) -> list[Rule]:
    """The rules between the columns of a table.

    A rule counts if at least 99 % of the training rows and of the unseen rows keep it, and chance does not explain that
    (see `synthjax.rules.chance`). Each says by its `evidence` how many rows keep it and how many would by chance.

    Args:
        frame: training rows: numbers, dates (datetime64), text. Other columns are left out.
        unseen: rows of the same table that confirm the rules; None: a quarter of `frame`, kept back for that.
        min_count: tables of values, and the text of rules, hold what so many rows share.
        seed: of the sample, the rows kept back and the shuffling.

    Returns:
        Rules, each fitted on the training rows; none where there are fewer than 40 rows.

    Raises:
        InputError: two columns of one name, a column that only one of the frames has, min_count below 1.

    >>> import numpy as np, pandas as pd
    >>> rng = np.random.default_rng(0)
    >>> fare, tip = rng.integers(500, 3000, 400) / 100, rng.integers(0, 500, 400) / 100
    >>> trips = pd.DataFrame({"fare": fare, "tip": tip, "total": (fare + tip).round(2)})
    >>> rules = find(trips)
    >>> print(*rules)
    total = fare + tip
    >>> rules[0].evidence.rate
    1.0
    """
    if min_count < 1:
        raise InputError(f"min_count={min_count}: at least 1 is needed, which gives every value away")
    train = Columns(frame)
    if unseen is None:
        back = np.random.default_rng((seed, 2)).permutation(len(frame)) < HELD_OUT * len(frame)
        train, rest = train.take(np.flatnonzero(~back)), train.take(np.flatnonzero(back))
    else:
        rest = Columns(unseen)
        if odd := sorted(set(train.names) ^ set(rest.names)):
            raise InputError(f"column {odd[0]!r} is in only one of the training and the unseen rows")
    if len(train) < _FEWEST * (1 - HELD_OUT) or not len(rest):
        return []
    return _Search(train, rest, min_count, seed).rules()


class _Search:
    def __init__(self, train: Columns, unseen: Columns, min_count: int, seed: int):
        self.train, self.unseen, self.min_count = train, unseen, min_count
        self.sample = Sample.of(train, seed)

    def rules(self) -> list[Rule]:
        sample = self.sample
        equations = self.kept("time", times.equations(sample))
        equations += self.kept("function", functions.equations(sample, _equations(equations)))
        equations += self.kept("equation", _new(linear.equations(sample), equations))
        equations += self.kept("product", _new(products.equations(sample, _equations(equations)), equations))
        ranges = self.kept("calendar", times.ranges(sample, equations))
        found = self.kept("determined", lookups.determined(sample, equations))
        # Of one shared key, such as the 0 among amounts, a condition says more.
        known = equations + [rule for rule in found if isinstance(rule, Determined) and not _of_one_key(rule, sample)]
        known = [*_minimal(known), *ranges]
        known += self.kept("when", conditions.rules(sample, [rule for rule in known if not _faint(rule)]))
        known += self.kept("bound", bounds.rules(sample, known))
        known += self.kept("threshold", thresholds.rules(sample, known))
        pairs = self.kept("order", orders.pairs(sample))
        twos = [rule for rule in pairs if isinstance(rule, Order)]
        sums = self.kept("sum", sums_.bounded(sample, twos, known))
        known += orders.chained(orders.reduced(twos, _equations(known), sample))
        known = [rule for rule in known if not sums_.implied(rule, sums)] + sums
        known += self.kept("seen", lookups.seen(sample, known))
        known += self.kept("grid", grids.lattices(sample, known))
        known += self.kept("unique", grids.keys(sample))
        return known

    def kept(self, kind: str, candidates: Sequence[Rule]) -> list[Rule]:
        """Those of the candidates that count."""
        tried = self.sample.tried.get(kind, 0.0) + math.log(_KINDS)
        checked = (
            confirmed(rule, self.train, self.unseen, tried, len(candidates), self.min_count) for rule in candidates
        )
        return [rule for rule in checked if rule is not None and _shared(rule, self.train, self.min_count)]


def _shared(rule: Rule, columns: Columns, min_count: int) -> bool:
    """Whether each value in the rule's text is one that `min_count` rows hold, or none; the 0 of a sign is nobody's."""
    parts = (*getattr(rule, "conditions", ()), *getattr(rule, "parts", ()), getattr(rule, "claim", None))
    values = [part for part in parts if isinstance(part, Compare)]
    own = [replace(part, operator="==") for part in values if part.operator == "==" or part.value != 0]
    return all((held := part.test(columns).sum()) >= min_count or not held for part in own)


def _of_one_key(rule: Determined, sample: Sample) -> bool:
    """Whether a rule knows one key only, and many rows have it."""
    codes = sample.columns.codes(rule.keys[0])[0]
    return len(rule.table or ()) == 1 and np.bincount(codes + 1)[1:].max() > _HEAVY * len(codes)


def _faint(rule: Rule) -> bool:
    """Whether a column is determined that hardly varies: a condition says more of it."""
    return isinstance(rule, Determined) and rule.evidence is not None and rule.evidence.chance > _FAINT


def _equations(rules: Iterable[Rule]) -> list[Equation]:
    return [rule for rule in rules if isinstance(rule, Equation)]


def _new(candidates: list[Equation], known: list[Rule]) -> list[Equation]:
    """Equations that do not follow from others, by what can be computed from what."""
    kept = _equations(known)
    found = []
    for equation in candidates:
        if equation.target not in _computed(set(equation.names) - {equation.target}, kept):
            kept.append(equation)
            found.append(equation)
    return found


def _computed(names: set[str], equations: list[Equation]) -> set[str]:
    """The columns that equations give from these."""
    reached = set(names)
    grown = True
    while grown:
        grown = False
        for equation in equations:
            inputs = set(equation.names) - {equation.target}
            if equation.target not in reached and inputs <= reached:
                reached.add(equation.target)
                grown = True
    return reached


def _minimal(rules: list[Rule]) -> list[Rule]:
    """Without what two keys determine where others of the same target say it with columns that these determine."""
    single: Callable[[str], set[str]] = lambda name: {  # noqa: E731
        rule.target for rule in rules if isinstance(rule, Determined) and rule.keys == (name,)
    }
    kept = []
    for rule in rules:
        if isinstance(rule, Determined) and len(rule.keys) == 2:
            others = [
                set(other.keys)
                for other in rules
                if isinstance(other, Determined) and other.target == rule.target and other is not rule
            ]
            reach = set(rule.keys) | single(rule.keys[0]) | single(rule.keys[1])
            finer = [keys for keys in others if keys <= reach and not keys >= set(rule.keys) and keys != set(rule.keys)]
            if finer:
                continue
        kept.append(rule)
    return kept
