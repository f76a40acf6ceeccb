"""Finds keys between tables: a column of one table whose cells are all in a column of another that names its rows.

A candidate has

- uniqueness: the cells of the parent's columns are there and differ in all rows;
- inclusion: nearly all cells of the child's column are among them;
- names that agree: `customer_id` and `customers.id`, or `userID` and `userID`.

Whole numbers from 1 are in many columns by chance. So a key is sure only if all cells are found and the names agree.
Keys of several columns are looked for among columns with the same names in both tables.

    >>> people = pa.table({"id": ["1", "2", "3"], "age": ["5", "5", "6"]})
    >>> visits = pa.table({"people_id": ["1", "1", "3"], "cost": ["2", "2", "1"]})
    >>> [(str(one.key), one.sure) for one in find({"people": people, "visits": visits})]
    [('visits.people_id -> people.id', True), ('visits.cost -> people.id', False)]
"""

import itertools
import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from synthjax.data.arrays import shown
from synthjax.data.keys import Key, cells_of

INCLUDED = 0.9
"""Smallest share of the different cells of a child that a parent must have."""
WIDEST = 3
"""Most columns of a key."""
_LISTED = 3  # cells that are not found, in a message


class Candidate(NamedTuple):
    """A key that may hold."""

    key: Key
    sure: bool
    """Whether all cells are found and the names agree."""
    found: float
    """Share of the rows with a cell whose cell is found."""
    why: str
    """In words: what speaks for it, and what does not resolve."""


class _Values(NamedTuple):
    """Cells of a key."""

    different: pa.Array
    rows: int
    missing: int

    @property
    def unique(self) -> bool:
        return self.rows > 1 and not self.missing and len(self.different) == self.rows


def find(tables: Mapping[str, pa.Table]) -> list[Candidate]:
    """Finds keys between tables.

    Args:
        tables: name -> text, without nulls.

    Returns:
        The candidates of each child column, sure ones first. If there is a sure one, those that are not are left out.
    """
    values: dict[tuple[str, tuple[str, ...]], _Values] = {}

    def of(table: str, columns: tuple[str, ...]) -> _Values:
        if (table, columns) not in values:
            cells, absent = cells_of(tables[table], columns)
            values[table, columns] = _Values(cells.filter(pa.array(~absent)).unique(), len(cells), int(absent.sum()))
        return values[table, columns]

    found: list[Candidate] = []
    for child, cells in tables.items():
        for column in cells.column_names:
            own = of(child, (column,))
            tried = [
                _candidate(Key(child, (column,), parent, (other,)), own, of(parent, (other,)), tables)
                for parent, others in tables.items()
                for other in others.column_names
                if (parent, other) != (child, column) and len(own.different) > 1 and of(parent, (other,)).unique
            ]
            good = [one for one in tried if one]
            found += [one for one in good if one.sure] or good
    found += _of_several(tables, of, found)
    return _one_way(sorted(found, key=lambda one: -one.found), list(tables))


def _candidate(key: Key, own: _Values, other: _Values, tables: Mapping[str, pa.Table]) -> Candidate | None:
    """The candidate of a key; None if too few cells are found."""
    known = np.asarray(pc.is_in(own.different, value_set=other.different))
    if known.mean() < INCLUDED:
        return None
    agree = _agree(key)
    if key.within and not agree and not key.columns[0].lower().endswith(key.parent_columns[0].lower()):
        return None  # of one table, half of the columns are within the numbers of its rows
    cells, absent = cells_of(tables[key.child], key.columns)
    hits = np.asarray(pc.is_in(cells, value_set=other.different))[~absent]
    whole = bool(known.all())
    parts = ["all cells are found" if whole else f"{hits.mean():.2%} of the cells are found"]
    if not whole:
        odd = own.different.filter(pa.array(~known))
        parts.append(f"not {', '.join(repr(shown(cell)) for cell in odd[:_LISTED].to_pylist())}")
    parts.append("names agree" if agree else "names do not agree, so that it may be chance")
    if own.missing:
        parts.append(f"{own.missing:,} rows have no parent")
    return Candidate(key, whole and agree, float(hits.mean()), ", ".join(parts))


def _agree(key: Key) -> bool:
    """Whether the names of columns say that they belong together."""
    if len(key.columns) > 1:
        return True
    own, other = (re.sub(r"[^a-z0-9]", "", name.lower()) for name in (key.columns[0], key.parent_columns[0]))
    table = re.sub(r"[^a-z0-9]", "", key.parent.lower())
    singular = re.sub("ies$", "y", table) if table.endswith("ies") else table.removesuffix("s")
    if own == other:
        return own not in ("id", "key", "nr", "no", "name", "code") and not key.within
    return own in {f"{name}{end}" for name in (table, singular) for end in (other, "id", "key", "nr", "no", "code", "")}


def _of_several(tables: Mapping[str, pa.Table], of, single: list[Candidate]) -> list[Candidate]:
    """Keys of several columns with the same names in both tables."""
    found: list[Candidate] = []
    for child, parent in itertools.permutations(tables, 2):
        if any(one.sure and (one.key.child, one.key.parent) == (child, parent) for one in single):
            continue
        shared = [name for name in tables[parent].column_names if name in tables[child].column_names]
        wide = [
            names
            for size in range(2, min(WIDEST, len(shared)) + 1)
            for names in itertools.combinations(shared[:8], size)
        ]
        for names in wide:
            if any(set(one.key.columns) < set(names) for one in found if one.key.parent == parent):
                continue
            if of(parent, names).unique and (one := _candidate(Key(child, names, parent, names), of(child, names),
                                                               of(parent, names), tables)):  # fmt: skip
                found.append(one)
    return found


def _one_way(found: list[Candidate], tables: list[str]) -> list[Candidate]:
    """Of a key that holds in both directions, or to several tables, that whose parent stands first among the tables."""
    kept: list[Candidate] = []
    found = sorted(found, key=lambda one: (not one.sure, tables.index(one.key.parent)))
    sides = {((one.key.child, one.key.columns), (one.key.parent, one.key.parent_columns)) for one in found if one.sure}
    for one in found:
        own, other = (one.key.child, one.key.columns), (one.key.parent, one.key.parent_columns)
        both = (other, own) in sides and (own, other) in sides
        again = any(other.sure and other.key[:2] == one.key[:2] for other in kept)
        if not again and (not both or tables.index(one.key.parent) < tables.index(one.key.child)):
            kept.append(one)
    return kept
