"""Rows of linked tables as models learn them: with columns of the parent, the row before, and numbers of children.

    orders.customer_id -> customers.id;   customers are made first, then the orders of each, one after the other

    table        its own columns, and                  given when a row is drawn
    customers    number of orders
    orders                                             customers.age, ..., customers.number of orders,
                                                       position within customers,
                                                       previous amount, ... of the customer's order before

So an order depends on its customer, on how many orders there are, and through the previous row on those before. From
position `POSITIONS` on, the row "before" is the one at the position less the power of two at or below it: rows
p = 32 ... 63 follow 0 ... 31, and so on. A parent with 100,000 children is drawn in 32 + 12 rounds.

Keys are in none of these columns. Columns of the parent that hold identifiers or free text are left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from synthjax.data.keys import Key, levels
from synthjax.data.linked import Linked, TableKeys
from synthjax.data.schema import DISCRETE, MISSING, NUMERIC, Field, Schema
from synthjax.data.text_values import Chunk, typed

POSITIONS = 32
"""Rows of one parent that are drawn one by one; further ones are drawn in groups whose size doubles."""
MOST_GIVEN = 40
"""Columns of the parent, and of the row before, at most; the first ones of the file are taken."""


@dataclass(frozen=True)
class Sheet:
    """Names of the columns of a linked table as a model learns them."""

    table_keys: TableKeys
    own: tuple[str, ...]
    """Columns of the file, without keys and identifiers that are made anew."""
    counts: dict[Key, str]
    """Number of rows with this key to the row."""
    chosen: dict[Key, str]
    """What is known of the row that another key names: its group, or the key itself if that table is kept."""
    above: dict[str, str] = field(default_factory=dict)
    """Column -> column of the parent's sheet."""
    level: str = ""
    """Rows above, in a table whose rows name one another; "" in others."""
    position: str = ""
    """Position of a row among those of its parent, from 0; "" if no parent has several."""
    previous: dict[str, str] = field(default_factory=dict)
    """Column -> column of the row before."""

    @property
    def learnt(self) -> tuple[str, ...]:
        """Columns that are drawn."""
        return (*self.own, *self.counts.values(), *self.chosen.values())

    @property
    def given(self) -> tuple[str, ...]:
        """Columns that are known when a row is drawn."""
        others = tuple(name for name in (self.level, self.position) if name)
        return (*self.above, *others, *self.previous)


def sheet_of(linked: Linked, table: str, schemas: Mapping[str, Schema], above: Sheet | None) -> Sheet:
    """The columns of a table's sheet.

    Args:
        linked: the tables.
        table: which.
        schemas: table -> its schema.
        above: the parent's sheet; None: the table has no main key, or it is one to itself.
    """
    table_keys = linked.table_keys[table]
    own = tuple(n for n in linked.cells[table].column_names if n not in (*table_keys.foreign, *table_keys.named))
    taken = set(linked.cells[table].column_names)
    children = {
        key: _free(taken, f"number of {key.child}", f" by {', '.join(key.columns)}") for key in table_keys.children
    }
    chosen = {key: _free(taken, f"{key.parent} by {', '.join(key.columns)}") for key in table_keys.others}
    sheet = Sheet(table_keys, own, children, chosen)
    if table_keys.main is None:
        return sheet
    useful = [name for name in own if schemas[table][name].kind in (*NUMERIC, *DISCRETE)][:MOST_GIVEN]
    if above is None:
        seen = {_free(taken, f"above {name}"): name for name in (*useful, *children.values(), *chosen.values())}
        level = _free(taken, "level")
    else:
        kinds = schemas[table_keys.main.parent]
        known = [name for name in above.own if kinds[name].kind in (*NUMERIC, *DISCRETE)][:MOST_GIVEN]
        names = (*known, *above.counts.values(), *above.chosen.values())
        seen, level = {_free(taken, f"{table_keys.main.parent}.{name}"): name for name in names}, ""
    sizes = np.bincount(linked.parents[table_keys.main][linked.parents[table_keys.main] >= 0], minlength=1)
    if sizes.max() <= 1:
        return Sheet(table_keys, own, children, chosen, seen, level)
    previous = {_free(taken, f"previous {name}"): name for name in (*useful, *chosen.values())}
    position = _free(taken, f"position within {table_keys.main.parent}")
    return Sheet(table_keys, own, children, chosen, seen, level, position, previous)


def _free(taken: set[str], *parts: str) -> str:
    """A name that no other column has: the first of the parts, with further ones or a number if need be."""
    name = parts[0]
    for part in parts[1:]:
        name = name if name not in taken else name + part
    number = 2
    while name in taken:
        name, number = f"{parts[0]} ({number})", number + 1
    taken.add(name)
    return name


def entries(sheet: Sheet, schemas: Mapping[str, Schema], above: Sheet | None) -> dict[str, dict[str, Any]]:
    """Entries of a schema file for the columns that a sheet adds: as those of the columns that they repeat."""
    numbers = (*sheet.counts.values(), sheet.level, sheet.position)
    found: dict[str, dict[str, Any]] = {name: {"kind": "integer"} for name in numbers if name}
    found |= {name: {"kind": "categorical"} for name in sheet.chosen.values()}
    fields = {one.name: one for one in schemas[sheet.table_keys.table].fields}
    if above is not None:
        parent_fields = {one.name: one for one in schemas[above.table_keys.table].fields}
        numbers = tuple(above.counts.values())
    else:
        parent_fields = fields
    for name, source in sheet.above.items():
        found[name] = _entry(parent_fields.get(source), source in numbers)
    for name, source in sheet.previous.items():
        found[name] = _entry(fields.get(source), False)
    return found


def _entry(one: Field | None, number: bool) -> dict[str, Any]:
    if one is None:
        return {"kind": "integer" if number else "categorical"}
    entry: dict[str, Any] = {"kind": one.kind}
    entry |= {"format": one.format} if one.format else {}
    return entry | ({"missing": list(one.tokens)} if one.tokens else {})


# --- rows --------------------------------------------------------------------------------------------------------


def taken(table: pa.Table, names: Mapping[str, str], index: np.ndarray) -> list[pa.Array]:
    """Cells of a table.

    Args:
        table: text.
        names: new name -> name in the table.
        index: (n,) row numbers; -1: none.

    Returns:
        (n,) text for each name; "" where there is no row.
    """
    rows = pa.array(index, pa.int64(), mask=index < 0)
    return [pc.fill_null(pc.take(table.column(name), rows), "") for name in names.values()]


def given_cells(
    sheet: Sheet,
    above: pa.Table | None,
    parent: np.ndarray,
    position: np.ndarray,
    level: np.ndarray | int,
    before: tuple[pa.Table, np.ndarray],
) -> pa.Table:
    """What is known when rows are drawn.

    Args:
        sheet: of the table.
        above: the rows of the parent's sheet, text.
        parent: (n,) rows of `above`; -1: none.
        position: (n,) positions.
        level: (n,) rows above each.
        before: rows of the sheet, text, and (n,) which of them is before each row; -1: none.

    Returns:
        (n, len(sheet.given)) text.
    """
    columns = taken(above, sheet.above, parent) if above is not None else []
    names = list(sheet.above)
    for name, values in ((sheet.level, np.broadcast_to(level, parent.shape)), (sheet.position, position)):
        if name:
            columns.append(numbers_text(values))
            names.append(name)
    columns += taken(before[0], sheet.previous, before[1])
    return pa.table(columns, names=[*names, *sheet.previous])


def numbers_text(values: np.ndarray) -> pa.Array:
    """Whole numbers (n,) as text."""
    return pa.array(np.asarray(values, np.int64)).cast(pa.string())


def before(position: np.ndarray) -> np.ndarray:
    """The position of the row before, (n,) i64: -1 for the first.

    >>> before(np.array([0, 1, 2, 31, 32, 63, 64, 100])).tolist()
    [-1, 0, 1, 30, 0, 31, 0, 36]
    """
    power = np.exp2(np.floor(np.log2(np.maximum(position, 1)))).astype(np.int64)
    return np.where(position < POSITIONS, position - 1, position - power)


def rounds(most: int) -> list[tuple[int, int]]:
    """First and last positions (exclusive) that are drawn together, for parents of up to `most` rows.

    >>> rounds(3), len(rounds(100_000))
    ([(0, 1), (1, 2), (2, 3)], 44)
    """
    found = [(p, p + 1) for p in range(min(most, POSITIONS))]
    start = POSITIONS
    while start < most:
        found.append((start, 2 * start))
        start *= 2
    return found


def positions(parent: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rank of each row among those of its parent.

    Args:
        parent: (n,) row numbers of parents; -1: none.
        order: (n,) by what rows of one parent are sorted; NaN comes last, equal ones keep their order.

    Returns:
        position: (n,) i64 from 0; 0 for rows without a parent.
        row_before: (n,) i64, the row at `before(position)` of the same parent; -1: none.

    >>> position, row_before = positions(np.array([7, 3, 7, -1]), np.array([2.0, 0, 1, 0]))
    >>> position.tolist(), row_before.tolist()
    ([1, 0, 0, 0], [2, -1, -1, -1])
    """
    sequence = np.lexsort((order, parent))
    ordered = parent[sequence]
    first = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])) if len(parent) else np.zeros(0, np.int64)
    start = np.repeat(first, np.diff(np.append(first, len(parent))))
    rank = np.where(ordered < 0, 0, np.arange(len(parent)) - start)
    earlier = before(rank)
    source = np.where(earlier < 0, -1, sequence[np.maximum(start + earlier, 0)]) if len(parent) else start
    position, row_before = np.empty(len(parent), np.int64), np.empty(len(parent), np.int64)
    position[sequence], row_before[sequence] = rank, source
    return position, row_before


def order_values(cells: pa.Table, schema: Schema, name: str | None, where: str) -> np.ndarray:
    """By what rows of one parent are sorted: (n,) f64 of column `name`, else of the first date, else all equal."""
    dates = [one.name for one in schema.fields if one.kind == "datetime"]
    name = name or (dates[0] if dates else None)
    if name is None or schema[name].kind not in NUMERIC:
        return np.zeros(len(cells))
    part = Schema((schema[name],), None, schema.min_count)
    values = typed(Chunk(cells.select([name]), np.arange(len(cells))), part, MISSING, where)[name]
    numbers = values.to_numpy()
    if numbers.dtype.kind == "M":
        return np.where(np.isnat(numbers), np.nan, numbers.astype(np.int64).astype(np.float64))
    return numbers.astype(np.float64)


def made_cells(linked: Linked, sheet: Sheet, chosen: Mapping[Key, pa.Array]) -> pa.Table:
    """The columns of real rows that are drawn: those of the file, numbers of children, and what other keys name."""
    table = linked.cells[sheet.table_keys.table]
    columns = [table.column(name) for name in sheet.own]
    for key in sheet.counts:
        parent = linked.parents[key]
        columns.append(numbers_text(np.bincount(parent[parent >= 0], minlength=len(table))))
    columns += [chosen[key] for key in sheet.chosen]
    return pa.table(columns, names=list(sheet.learnt)) if columns else table.select([])


def real_rows(linked: Linked, sheet: Sheet, made: Mapping[str, pa.Table], order: np.ndarray, where: str) -> pa.Table:
    """The real rows of a sheet, in the order of the file.

    Args:
        linked: the tables.
        sheet: of the table.
        made: table -> what `made_cells` gives for it, of this one and its parent.
        order: (n,) see `positions`.
        where: name of the file, for messages.
    """
    own, main = made[sheet.table_keys.table], sheet.table_keys.main
    if main is None:
        return own
    parent = linked.parents[main]
    level = levels(parent, where, main) if main.within else 0
    position, row_before = positions(parent, order)
    above = own if main.within else made[main.parent]
    given = given_cells(sheet, above, parent, position, level, (own, row_before))
    return pa.table([*given.columns, *own.columns], names=[*given.column_names, *own.column_names])
