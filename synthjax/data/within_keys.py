"""Columns that tell the rows of one identifier apart, such as the place of a child in its family or a patient's visit.

New identifiers are given to rows that a model drew one by one, so two rows of one may have the same number. They get
numbers that are left (`settled`):

    unique(family, child)        a number that repeats becomes the nearest one with which the row keeps all other rules
    numbered(patient, visit)     the rows of each patient are counted 1, 2, ... in the order of the numbers drawn
"""

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from synthjax.data import within
from synthjax.data.schema import NUMERIC, Schema
from synthjax.rules import Plan, Rule
from synthjax.rules.chance import confirmed
from synthjax.rules.columns import Columns
from synthjax.rules.keys import Numbered, Unique
from synthjax.rules.kinds import Determined, Equation

if TYPE_CHECKING:
    import pandas as pd

_CHOICES = 60
"""Most numbers that are tried for a row."""
_ALIKE = 40
"""Most other identifiers that are tried for a row."""
_TOGETHER = 50_000
"""Rows that are decoded at once."""


def find(schema: Schema, train: "pd.DataFrame", unseen: "pd.DataFrame") -> list[Unique]:
    """Finds the columns that differ in all rows of an identifier.

    Args:
        schema: of the table.
        train: typed training rows, or a sample of them.
        unseen: typed holdout rows.

    Returns:
        Rules `numbered(identifier, column)`, and `unique(identifier, column)` of the other columns.
    """
    if (halves := within.searched(schema, train, unseen)) is None:
        return []
    identifier, names, first, second = halves
    tried = math.log(max(2 * len(names), 1))
    found: list[Unique] = []
    for name in names:
        if 2 * len(first.codes(name)[1]) >= len(first):
            continue
        counts = [Numbered((identifier, name))] if schema[name].kind in NUMERIC else []
        for rule in (*counts, Unique((identifier, name))):
            known = confirmed(rule, first, second, tried, 2 * len(names), schema.min_count)
            if isinstance(known, Unique) and known.exact:
                found.append(known)
                break
    return found


def settling(keys: Iterable[Unique], rules: Iterable[Rule], schema: Schema) -> tuple[str, ...]:
    """The columns of `keys` that can be changed in drawn rows: not the target, and not tied to others by equality."""
    tied = {name for rule in rules if isinstance(rule, Equation | Determined) for name in rule.names}
    return tuple(rule.columns[-1] for rule in keys if rule.columns[-1] not in (*tied, schema.target))


def settled(rows: "pd.DataFrame", plan: Plan, schema: Schema) -> "pd.DataFrame":
    """Changes the columns that tell the rows of one identifier apart, where they do not.

    Args:
        rows: free columns of the plan, with new identifiers; alike rows have the same one.
        plan: of the rules, with such keys in `unique`.
        schema: of the table.

    Returns:
        The rows; those for which no number was found are unchanged.
    """
    field = within.key(schema)
    keys = [rule for rule in plan.unique if field and rule.columns[0] == field.name and len(rule.columns) == 2]
    for rule in keys:
        name = rule.columns[1]
        if name not in rows or name in plan.computed or schema[name].kind not in NUMERIC:
            continue
        if isinstance(rule, Numbered):
            ranks = rows.groupby(rule.columns[0], sort=False, dropna=False)[name].rank(method="first")
            rows = rows.assign(**{name: ranks.fillna(1).astype(rows[name].dtype)})
        else:
            assert field is not None
            rows = _Mover(rows, plan, rule, plan.free_of(field.within)).moved()
    return rows


class _Mover:
    """Moves the numbers that repeat within an identifier, or that break a rule, to the nearest ones that do not."""

    def __init__(self, rows: "pd.DataFrame", plan: Plan, rule: Unique, constant: tuple[str, ...]):
        """`constant` are the free columns that rows of one identifier share; for the others, see `settled`."""
        self.rows, self.plan, self.constant = rows, plan, constant
        self.key, self.name = rule.columns
        self.related = [other for other in plan.rules if self.name in other.names]
        bad = ~self._keeps(rows) | rows.duplicated([self.key, self.name]).to_numpy()
        self.values, known = rows[self.name].to_numpy().copy(), rows[self.name].notna().to_numpy()
        self.group = Columns(rows[[self.key]]).codes(self.key)[0]
        self.choices = np.unique(self.values[known])
        self.used = set(zip(self.group[~bad].tolist(), self.values[~bad].tolist(), strict=True))
        self.bad = np.flatnonzero(bad & known & (self.group >= 0))
        self.head = np.arange(len(rows))

    def moved(self) -> "pd.DataFrame":
        """The rows. One for which no number is left gets the identifier of rows that are alike."""
        left = self._move(self.bad, self.bad[:, None])
        if len(left) and self.constant:
            points = np.array([within.ranks(Columns(self.rows[[name]]), name) for name in self.constant])
            heads = np.unique(self.group, return_index=True)[1]  # a row of each identifier
            far = np.abs(points[:, left, None] - points[:, None, heads]).sum(axis=0)  # (rows left, identifiers)
            ranks = np.unique(np.geomspace(1, len(heads), _ALIKE).astype(int)) - 1  # mostly near ones
            self._move(left, heads[np.argsort(far, axis=1, kind="stable")[:, ranks]])
        shared = {name: self.rows[name].array.take(self.head) for name in (self.key, *self.constant)}
        return self.rows.assign(**shared, **{self.name: self.values})

    def _keeps(self, rows: "pd.DataFrame") -> np.ndarray:
        """Whether each row keeps all rules of the column once it is decoded: (n,) bool."""
        whole = Columns(self.plan.decode(rows))
        return np.all([np.ones(len(rows), bool), *(rule.holds(whole) for rule in self.related)], axis=0)

    def _move(self, places: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Gives the rows at `places` (m,) a number, as rows of the identifier of one of `others` (m, k).

        Returns:
            The places of the rows for which none is left; they have one with which they keep the other rules.
        """
        left = []
        for i, heads, numbers, kept in self._tried(places, others):
            used = [
                [(group, number) in self.used for number in numbers.tolist()] for group in self.group[heads].tolist()
            ]
            far, own = np.abs(numbers - self.values[i]).astype(np.float64), kept & ~np.array(used)
            if own.any():
                first = int(np.argmax(own.any(axis=1)))
                self.head[i] = heads[first]
                self.values[i] = numbers[np.where(own[first], far, np.inf).argmin()]
                self.used.add((int(self.group[heads[first]]), self.values[i].item()))
                continue
            left.append(i)
            if kept[0].any() and heads[0] == i:
                self.values[i] = numbers[np.where(kept[0], far, np.inf).argmin()]
        return np.array(left, np.int64)

    def _tried(
        self, places: np.ndarray, others: np.ndarray
    ) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
        """For each place its row of `others` (k,), the numbers tried (c,), and which keep the rules: (k, c) bool."""
        most = min(_CHOICES, len(self.choices))
        first = np.searchsorted(self.choices, self.values[places]) - most // 2
        numbers = self.choices[np.clip(first, 0, len(self.choices) - most)[:, None] + np.arange(most)]
        size = others.shape[1] * most
        for start in range(0, len(places), max(_TOGETHER // max(size, 1), 1)):
            own = slice(start, start + max(_TOGETHER // max(size, 1), 1))
            heads = np.repeat(others[own].ravel(), most)
            tried = np.repeat(numbers[own], others.shape[1], axis=0).ravel()
            shared = {name: self.rows[name].array.take(heads) for name in self.constant}
            rows = self.rows.iloc[np.repeat(places[own], size)].assign(**shared, **{self.name: tried})
            kept = self._keeps(rows.reset_index(drop=True)).reshape(-1, others.shape[1], most)
            yield from zip(places[own].tolist(), others[own], numbers[own], kept, strict=True)
