"""Several tables that keys link: reading them, their splits, and in which order and by which key each is made.

    linked = Linked.of({"customers": cells, "orders": more}, keys, where)
    linked.order                    # parents before their children
    linked.split["orders"]          # (n,) TRAIN, HOLDOUT or TEST: that of the topmost parent of each row

The first key of a child is its *main* key: its rows are made for the rows of that parent, one after the other. What its
other keys name is chosen afterwards, unless their columns are part of the main key. A row's topmost parent is reached
by main keys; all rows below it are in the same split, so that no person is in two.

Tables in `kept` are public lists, such as countries or courses: they are copied as they are, and a key to them is a
column like any other. They are no main parents and have no splits.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from synthjax.data.arrays import fault
from synthjax.data.keys import Key, in_order, levels, resolve
from synthjax.data.readers import Reader
from synthjax.data.splits import HOLDOUT_SEED, TEST_SEED, TEST_SHARE, stratified
from synthjax.errors import InputError

TRAIN, HOLDOUT, TEST = 0, 1, 2
HOLDOUT_SHARE = 0.1
FEWEST = 10
"""Fewest topmost parents."""


class TableKeys(NamedTuple):
    """The keys of a table, by which its rows are made."""

    table: str
    main: Key | None
    """The key to the parent for whose rows they are made; None: they have none."""
    others: tuple[Key, ...]
    """Keys to tables whose rows are chosen afterwards."""
    children: tuple[Key, ...]
    """Keys to this table. The number of rows that have one is a column of it."""
    kept: bool
    """Whether its rows are copied."""

    @property
    def foreign(self) -> tuple[str, ...]:
        """Columns that hold keys of other rows, or of none."""
        keys = (*([self.main] if self.main else []), *self.others)
        return tuple(dict.fromkeys(name for key in keys for name in key.columns))

    @property
    def named(self) -> tuple[str, ...]:
        """Columns that name the table's rows in others, and are made anew: without those that hold keys themselves."""
        own = dict.fromkeys(name for key in self.children for name in key.parent_columns)
        return tuple(name for name in own if name not in self.foreign)


@dataclass(frozen=True)
class Linked:
    """Tables with resolved keys."""

    cells: dict[str, pa.Table]
    """Table -> text, without nulls."""
    keys: tuple[Key, ...]
    parents: dict[Key, np.ndarray]
    """Key -> (n,) i64, the row in the parent table of each row of the child; -1: none."""
    order: tuple[str, ...]
    """The tables, parents first."""
    table_keys: dict[str, TableKeys]
    """Of each table."""
    split: dict[str, np.ndarray]
    """Table -> (n,) i8: TRAIN, HOLDOUT or TEST. Of a kept table, TRAIN."""
    persons: dict[str, np.ndarray]
    """Table -> (n,) i64, the topmost parent of each row: its number among the rows of all tables."""

    @classmethod
    def of(
        cls, cells: Mapping[str, pa.Table], keys: Sequence[Key], where: Mapping[str, str], kept: Collection[str] = ()
    ) -> "Linked":
        """Resolves the keys and splits the rows.

        Args:
            cells: table -> text, without nulls.
            keys: the first of a child is its main key, unless its parent is kept.
            where: table -> name of its file, for messages.
            kept: tables that are copied.

        Raises:
            InputError: keys form a cycle, are given twice, do not resolve (`keys.resolve`), or there are too few rows.

        >>> people = pa.table({"id": [str(i) for i in range(20)]})
        >>> visits = pa.table({"of": [str(i % 5) for i in range(40)]})
        >>> key = Key("visits", ("of",), "people", ("id",))
        >>> linked = Linked.of({"visits": visits, "people": people}, [key], {"visits": "v.csv", "people": "p.csv"})
        >>> linked.order, linked.split["people"].tolist().count(TEST)
        (('people', 'visits'), 4)
        >>> bool((linked.split["visits"] == linked.split["people"][linked.parents[key]]).all())
        True
        """
        for i, key in enumerate(keys):
            if key[:2] in [other[:2] for other in keys[:i]]:
                raise InputError(f"key {key}: its columns are those of another key; give one of them")
            if key.parent in kept and key.child in kept:
                raise InputError(f"key {key}: both tables are kept as they are; leave the key out")
            for other in keys[:i]:
                if key.child == other.child and _overlap(key.columns, other.columns):
                    raise InputError(
                        f"keys {other} and {key}: share a column, but neither has all columns of the other"
                    )
            if key.child in kept:
                raise InputError(f"--keep={key.child}: it has a key to {key.parent}, which is made anew; keep both")
        order = in_order(cells, keys)
        parents = {key: resolve(key, cells[key.child], cells[key.parent], where) for key in keys}
        table_keys = {name: _table_keys(name, keys, kept) for name in cells}
        for key in keys:
            if key.within:
                levels(parents[key], where[key.child], key)
        split: dict[str, np.ndarray] = {}
        persons: dict[str, np.ndarray] = {}
        for name in order:
            persons[name] = _topmost(table_keys[name], len(cells[name]), parents, persons)
            split[name] = _split(table_keys[name], len(cells[name]), parents, split, where[name])
        return cls(dict(cells), tuple(keys), parents, order, table_keys, split, persons)

    def rows(self, table: str, *splits: int) -> np.ndarray:
        """Row numbers of a table in these splits, ascending."""
        return np.flatnonzero(np.isin(self.split[table], splits))


def _table_keys(name: str, keys: Sequence[Key], kept: Collection[str]) -> TableKeys:
    own = [key for key in keys if key.child == name]
    main = next((key for key in own if key.within), None)
    main = main or next((key for key in own if key.parent not in kept), None)
    children = () if name in kept else tuple(key for key in keys if key.parent == name)
    implied = set(main.columns) if main else set()
    others = tuple(key for key in own if key is not main and not set(key.columns) <= implied)
    return TableKeys(name, main, others, children, name in kept)


def _overlap(first: tuple[str, ...], second: tuple[str, ...]) -> bool:
    """Whether two keys share columns, but neither has all columns of the other."""
    one, other = set(first), set(second)
    return bool(one & other) and not (one <= other or other <= one)


def _split(
    table_keys: TableKeys, n: int, parents: Mapping[Key, np.ndarray], done: Mapping[str, np.ndarray], where: str
) -> np.ndarray:
    """The split of each row of a table whose parents are split."""
    if table_keys.kept:
        return np.zeros(n, np.int8)
    if table_keys.main is None:
        return _drawn(n, where)
    of = parents[table_keys.main]
    if not table_keys.main.within:
        above = done[table_keys.main.parent]
        none = of < 0
        split = np.where(none, 0, above[of]) if len(above) else np.zeros(n)
        if none.sum() >= FEWEST:
            split[none] = _drawn(int(none.sum()), where)
        return split.astype(np.int8)
    top = _roots(of)
    roots = np.flatnonzero(of < 0)
    split = np.zeros(n, np.int8)
    split[roots] = _drawn(len(roots), where)
    return split[top]


def _roots(of: np.ndarray) -> np.ndarray:
    """The topmost row above each row, in a table whose rows name one another; `of` (n,) i64 parents, -1: none."""
    top = np.arange(len(of))
    while (moving := of[top] >= 0).any():
        top[moving] = of[top[moving]]
    return top


def _topmost(
    table_keys: TableKeys, n: int, parents: Mapping[Key, np.ndarray], done: Mapping[str, np.ndarray]
) -> np.ndarray:
    """See `Linked.persons`; a row without a parent is its own."""
    own = sum(map(len, done.values())) + np.arange(n)
    if table_keys.main is None:
        return own
    of = parents[table_keys.main]
    if table_keys.main.within:
        return own[_roots(of)]
    above = done[table_keys.main.parent]
    return np.where(of < 0, own, above[of]) if len(above) else own


def _drawn(n: int, where: str) -> np.ndarray:
    """(n,) i8, the splits of topmost parents: those of `splits.cut`."""
    if n < FEWEST:
        raise fault(where, f"has {n:,} rows without a parent; {FEWEST} are needed, for some to be unseen")
    split = np.zeros(n, np.int8)
    split[stratified(np.zeros(n, np.int32), TEST_SHARE, TEST_SEED)] = TEST
    rest = np.flatnonzero(split == TRAIN)
    split[rest[stratified(np.zeros(len(rest), np.int32), HOLDOUT_SHARE, HOLDOUT_SEED)]] = HOLDOUT
    return split


def read_cells(reader: Reader) -> pa.Table:
    """All cells of a table as text; InputError as `readers.open_table`."""
    return pa.concat_tables(chunk.cells for chunk in reader.chunks()).combine_chunks()
