"""Keys between tables: a row of a child table names a row of a parent table.

    orders.customer_id -> customers.id
    results.(module, term) -> courses.(module, term)      several columns together are one key
    staff.manager_id -> staff.id                          a row may name another row of its own table

An empty cell in a child means that the row has no parent. Cells are compared as text; `12.0` is `12`, since programs
write whole numbers so where some are missing.

    >>> columns = {"orders": ("id", "customer_id"), "customers": ("id", "age")}
    >>> key = parse("orders.customer_id -> customers.id", columns)
    >>> key.child, key.columns, key.parent, key.parent_columns
    ('orders', ('customer_id',), 'customers', ('id',))
    >>> str(key)
    'orders.customer_id -> customers.id'
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from synthjax.data.arrays import fault, shown
from synthjax.data.schema import MISSING, check_known
from synthjax.data.text_values import NUMBER, missing_in
from synthjax.errors import InputError

_JOINED = "\x1f"  # between the cells of a key of several columns
_FLOAT = r"^(-?\d+)\.0+$"


class Key(NamedTuple):
    """Columns of a child table whose cells are those of a row of a parent table."""

    child: str
    columns: tuple[str, ...]
    parent: str
    parent_columns: tuple[str, ...]
    """As many as `columns`, in the same order."""

    def __str__(self) -> str:
        return f"{_side(self.child, self.columns)} -> {_side(self.parent, self.parent_columns)}"

    @property
    def within(self) -> bool:
        """Whether child and parent are the same table."""
        return self.child == self.parent


def _side(table: str, columns: tuple[str, ...]) -> str:
    return f"{table}.{columns[0]}" if len(columns) == 1 else f"{table}.({', '.join(columns)})"


def parse(text: str, columns: Mapping[str, Sequence[str]]) -> Key:
    """Parses a key.

    Args:
        text: `CHILD.COLUMN -> PARENT.COLUMN`; of several columns `CHILD.(A, B) -> PARENT.(C, D)`.
        columns: table -> names of its columns.

    Raises:
        InputError: the text has another form, or names a table or a column that does not exist.
    """
    where = f"key {shown(text)!r}"
    sides = text.split("->")
    if len(sides) != 2:
        raise fault(where, "write it as 'orders.customer_id -> customers.id': child, arrow, parent")
    (child, own), (parent, others) = (_parsed(side.strip(), columns, where) for side in sides)
    if len(own) != len(others):
        raise fault(where, f"{len(own)} columns on the left and {len(others)} on the right; as many are needed")
    if child == parent and own == others:
        raise fault(where, "a column does not name its own rows; give another column on the left")
    return Key(child, own, parent, others)


def _parsed(side: str, columns: Mapping[str, Sequence[str]], where: str) -> tuple[str, tuple[str, ...]]:
    """The table and the columns of one side of a key."""
    known = [name for name in columns if side.startswith(f"{name}.")]
    if not known:
        tables = ", ".join(map(shown, columns))
        raise fault(where, f"{shown(side)!r} does not begin with the name of a table and a point; tables are {tables}")
    table = max(known, key=len)
    rest = side[len(table) + 1 :].strip()
    names = (rest,) if rest in columns[table] else tuple(part.strip() for part in rest.strip("()").split(","))
    for i, name in enumerate(names):
        check_known(name, columns[table], f"{where}: table {table}", "column")
        if name in names[:i]:
            raise fault(where, f"names column {shown(name)!r} twice")
    return table, names


def in_order(tables: Iterable[str], keys: Iterable[Key]) -> tuple[str, ...]:
    """The tables, each after its parents; else in the given order.

    Raises:
        InputError: keys form a cycle of several tables, which the message names.

    >>> keys = [Key("lines", ("order",), "orders", ("id",)), Key("orders", ("buyer",), "people", ("id",))]
    >>> in_order(["lines", "orders", "people"], keys)
    ('people', 'orders', 'lines')
    """
    parents: dict[str, list[str]] = {name: [] for name in tables}
    for key in keys:
        if not key.within:
            parents[key.child].append(key.parent)
    done: dict[str, None] = {}

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            cycle = " -> ".join((*path[path.index(name) :], name))
            raise InputError(f"keys form a cycle, {cycle}: no table can be made first; leave one of these keys out")
        if name not in done:
            for parent in parents[name]:
                visit(parent, (*path, name))
            done[name] = None

    for name in parents:
        visit(name, ())
    return tuple(done)


def cells_of(table: pa.Table, columns: Sequence[str], tokens: tuple[str, ...] = MISSING) -> tuple[pa.Array, np.ndarray]:
    """The cells of a key.

    Args:
        table: text, without nulls.
        columns: of the key.
        tokens: cells that mean that a value is missing.

    Returns:
        (n,) text, joined if there are several columns; (n,) bool, whether one of them is missing.
    """
    parts, absent = [], np.zeros(len(table), bool)
    for name in columns:
        cells = table.column(name).combine_chunks()
        absent |= missing_in(cells, tokens)
        parts.append(pc.replace_substring_regex(cells, _FLOAT, r"\1"))
    return (parts[0] if len(parts) == 1 else pc.binary_join_element_wise(*parts, _JOINED)), absent


def split_cells(cells: pa.Array, columns: int) -> list[pa.Array]:
    """The columns of joined cells, the inverse of `cells_of`; an empty cell is empty in all columns."""
    if columns == 1:
        return [cells]
    empty = pa.scalar(_JOINED * (columns - 1))
    parts = pc.split_pattern(pc.if_else(pc.equal(cells, ""), empty, cells), _JOINED)
    return [pc.list_element(parts, i) for i in range(columns)]


def resolve(
    key: Key, child: pa.Table, parent: pa.Table, where: Mapping[str, str], tokens: tuple[str, ...] = MISSING
) -> np.ndarray:
    """The parent of each row of a child table.

    Args:
        key: which columns.
        child: text, without nulls.
        parent: the same.
        where: table -> name of its file, for messages.
        tokens: cells that mean that a value is missing.

    Returns:
        (n,) i64 row numbers in the parent table; -1 for rows without a parent.

    Raises:
        InputError: a parent's key is missing or that of another row, or a row of the child names no parent.

    >>> parent, child = pa.table({"id": ["a", "b"]}), pa.table({"of": ["b", "", "b", "a"]})
    >>> resolve(Key("c", ("of",), "p", ("id",)), child, parent, {"c": "c.csv", "p": "p.csv"}).tolist()
    [1, -1, 1, 0]
    """
    import pandas as pd

    names, gone = cells_of(parent, key.parent_columns, tokens)
    index = pd.Index(names.to_pandas())
    named = _named(key.parent_columns)
    if gone.any():
        raise fault(where[key.parent], f"row {int(gone.argmax()) + 1}, {named}: a key of {key.child} cannot be empty")
    if (twice := index.duplicated()).any():
        row = int(twice.argmax())
        first, many = int(index.get_indexer_for([index[row]])[0]), int(twice.sum())
        what = f"rows {first + 1} and {row + 1} both have {_shown(index[row])} ({many:,} rows repeat one)"
        raise fault(where[key.parent], f"{named}: {what}; a key of {key.child} must name one row")
    cells, absent = cells_of(child, key.columns, tokens)
    found = np.where(absent, -1, index.get_indexer(pd.Index(cells.to_pandas()))).astype(np.int64)
    orphan = (found < 0) & ~absent
    if orphan.any():
        raise _unresolved(key, cells, orphan, names, where)
    return found


def _unresolved(key: Key, cells: pa.Array, orphan: np.ndarray, names: pa.Array, where: Mapping[str, str]) -> InputError:
    """The error about rows of a child that name no parent."""
    row, many = int(orphan.argmax()), int(orphan.sum())
    example = _shown(cells[row].as_py())
    place = fault(where[key.child], f"row {row + 1}, {_named(key.columns)}")
    if many == (cells.filter(pc.not_equal(cells, "")) if len(key.columns) == 1 else cells).__len__() and many > 1:
        kinds = [_kind(part) for part in (cells.filter(pa.array(orphan)), names)]
        if kinds[0] != kinds[1]:
            target = _side(key.parent, key.parent_columns)
            return InputError(
                f"{place}: no cell is one of {target}: the column holds {kinds[0]} such as {example}, {target} "
                f"{kinds[1]} such as {_shown(names[0].as_py())}; is it the right key?"
            )
    share = f"{many:,} of {len(cells):,} rows name no parent"
    return InputError(
        f"{place}: {example} is no {_side(key.parent, key.parent_columns)} ({share}); leave such rows out, or their "
        "cells empty if they have none"
    )


def _kind(cells: pa.Array) -> str:
    """What cells of a key are, in words."""
    return "numbers" if pc.all(pc.match_substring_regex(cells, NUMBER)).as_py() else "text"


def _named(columns: Sequence[str]) -> str:
    return f"column{'s' * (len(columns) > 1)} {', '.join(repr(shown(name)) for name in columns)}"


def _shown(cell: str) -> str:
    return repr(shown(re.sub(_JOINED, ", ", cell)))


def levels(parents: np.ndarray, where: str, key: Key) -> np.ndarray:
    """How many rows are above each row of a table whose rows name one another.

    Args:
        parents: (n,) row numbers in the same table; -1: none.
        where: name of the file, for messages.
        key: for messages.

    Returns:
        (n,) i64, 0 for rows without a parent.

    Raises:
        InputError: rows name one another in a circle.

    >>> levels(np.array([-1, 0, 1, 0]), "staff.csv", Key("staff", ("boss",), "staff", ("id",))).tolist()
    [0, 1, 2, 1]
    """
    level = np.where(parents < 0, 0, -1)
    for depth in range(1, len(parents) + 1):
        new = (level < 0) & (level[parents] == depth - 1) & (parents >= 0)
        if not new.any():
            break
        level[new] = depth
    if (level < 0).any():
        row = int((level < 0).argmax())
        raise fault(where, f"row {row + 1}, {_named(key.columns)}: the rows that it names lead back to it, in a circle")
    return level
