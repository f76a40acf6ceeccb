"""Detection of rules: candidates are found in a sample of the rows, and tested on all rows and on unseen rows.

Rules of some kinds follow from others. To avoid redundant rules, the kinds are searched in this order: equations, the
calendar, determined columns, conditions, bounds and thresholds, orders and bounded sums, combinations, grids, keys.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from synthjax.errors import InputError
from synthjax.rules.chance import confirmed
from synthjax.rules.columns import Columns
from synthjax.rules.kinds import MIN_COUNT, Determined, Equation, Evidence, Order, Rule
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
"""Fraction of the rows that are used as unseen rows, if there are no others."""
_KINDS = 14  # number of kinds of candidates, for which tried rules are counted separately
_FAINT = 0.95  # see _faint
_HEAVY = 0.02  # see _of_one_key
_FEWEST = 40  # minimum number of rows of a table


def find(
    frame: "pd.DataFrame", unseen: "pd.DataFrame | None" = None, *, min_count: int = MIN_COUNT, seed: int = 0
) -> list[Rule]:
    """Finds rules between the columns of a table.

    At least 99 % of the training rows and of the unseen rows keep each rule, and not only by chance (see
    `synthjax.rules.chance`). The `evidence` of a rule has these fractions, and the one expected by chance.

    Args:
        frame: training rows: numbers, dates (datetime64) and text. Other columns are ignored.
        unseen: other rows of the same table, for tests of the rules; None: a quarter of the rows of `frame`.
        min_count: minimum number of rows that share each value in the text or in a table of a rule.
        seed: of the sample, the choice of unseen rows and the shuffling.

    Returns:
        Rules, fitted to the training rows; [] if there are fewer than 40 rows.

    Raises:
        InputError: two columns have the same name, only one of the frames has a column, or min_count is below 1.

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


def limits(frame: "pd.DataFrame", unseen: "pd.DataFrame", found: Sequence[Rule]) -> list[Order]:
    """Bounds that no row exceeds, for `plan`: sums of columns, and the days of a month.

    Too few rows show that they are rules: their chance level is near 1.

    Args:
        frame: training rows.
        unseen: other rows of the same table.
        found: the rules from `find`.
    """
    train, rest = Columns(frame), Columns(unseen)
    evidence = Evidence(len(train), 1.0, len(rest), 1.0, 1.0)
    known = [rule.text for rule in found]
    days = [rule for rule in times.days(Sample.of(train, 0), list(found)) if rule.text not in known]
    days = [rule for rule in days if rule.holds(train).all() and rule.holds(rest).all()]
    return [replace(rule, evidence=evidence) for rule in (*sums_.unclaimed(train, rest, found), *days)]


class _Search:
    """The search for rules in one table."""

    def __init__(self, train: Columns, unseen: Columns, min_count: int, seed: int):
        self.train, self.unseen, self.min_count = train, unseen, min_count
        self.sample = Sample.of(train, seed)

    def rules(self) -> list[Rule]:
        """The accepted rules of all kinds."""
        sample = self.sample
        equations = self.kept("time", times.equations(sample))
        equations += self.kept("function", functions.equations(sample, _equations(equations)))
        equations += self.kept("equation", _new(linear.equations(sample), equations))
        equations += self.kept("product", _new(products.equations(sample, _equations(equations)), equations))
        ranges = self.kept("calendar", times.ranges(sample, equations))
        found = self.kept("determined", lookups.determined(sample, equations))
        # If only one key is frequent, such as the 0 of amounts, a condition has more information.
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
        """The accepted candidates of one kind."""
        tried = self.sample.tried.get(kind, 0.0) + math.log(_KINDS)
        checked = (
            confirmed(rule, self.train, self.unseen, tried, len(candidates), self.min_count) for rule in candidates
        )
        return [rule for rule in checked if rule is not None and _shared(rule, self.train, self.min_count)]


def _shared(rule: Rule, columns: Columns, min_count: int) -> bool:
    """Whether at least `min_count` rows, or none, have each value in the text of a rule; 0 in `x > 0` is exempt."""
    parts = (*getattr(rule, "conditions", ()), *getattr(rule, "parts", ()), getattr(rule, "claim", None))
    values = [part for part in parts if isinstance(part, Compare)]
    own = [replace(part, operator="==") for part in values if part.operator == "==" or part.value != 0]
    return all((held := part.test(columns).sum()) >= min_count or not held for part in own)


def _of_one_key(rule: Determined, sample: Sample) -> bool:
    """Whether the table of a rule has a single key, and many rows have the same key."""
    codes = sample.columns.codes(rule.keys[0])[0]
    return len(rule.table or ()) == 1 and np.bincount(codes + 1)[1:].max() > _HEAVY * len(codes)


def _faint(rule: Rule) -> bool:
    """Whether a rule determines a column that hardly varies; a condition about it has more information."""
    return isinstance(rule, Determined) and rule.evidence is not None and rule.evidence.chance > _FAINT


def _equations(rules: Iterable[Rule]) -> list[Equation]:
    return [rule for rule in rules if isinstance(rule, Equation)]


def _new(candidates: list[Equation], known: list[Rule]) -> list[Equation]:
    """Equations that do not follow from others: their target cannot be computed from their other columns."""
    kept = _equations(known)
    found = []
    for equation in candidates:
        if equation.target not in _computed(set(equation.names) - {equation.target}, kept):
            kept.append(equation)
            found.append(equation)
    return found


def _computed(names: set[str], equations: list[Equation]) -> set[str]:
    """The columns that can be computed from `names` with equations, and `names`."""
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
    """Removes rules with two keys if another rule has the same target, and its keys are determined by these keys."""
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
