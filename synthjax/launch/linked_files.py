"""Files of linked tables: reading tables and keys, the file that describes them, writing synthetic tables.

keys:                                       # the first key of a table is its main one
  - orders.customer_id -> customers.id
  - orders.country -> countries.code
keep: [countries]                           # public lists, copied as they are
order: {orders: bought}                     # by what the orders of one customer are sorted; default: the first date
tables:                                     # of each table what a schema file holds, see docs/howto/schema.md
  orders: {columns: {amount: {min: 0}}, rules: ["bought <= sent"]}
"""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from synthjax import files
from synthjax.data import key_candidates, sources
from synthjax.data.arrays import fault, quoted, shown
from synthjax.data.key_candidates import Candidate
from synthjax.data.keys import Key, parse
from synthjax.data.linked import Linked, read_cells
from synthjax.data.readers import Reader, csv_lines
from synthjax.data.schema import NUMERIC, Schema, check_known
from synthjax.data.schema_file import overrides_of, read_values
from synthjax.data.schema_inference import infer
from synthjax.data.text_values import Chunk, guard_name, guarded
from synthjax.errors import InputError

FILE = "linked.yaml"
"""What describes the tables, in the folder of the synthetic ones."""
ENTRIES = ("keys", "keep", "order", "tables")
ENDINGS = (".csv", ".csv.gz", ".parquet", ".tsv")
"""Of the files of a folder that are tables."""


class Description(NamedTuple):
    """What a person says about linked tables."""

    keys: tuple[str, ...] | None = None
    """None: they are looked for."""
    keep: tuple[str, ...] = ()
    order: Mapping[str, str] = {}
    tables: Mapping[str, Any] = {}


class Source(NamedTuple):
    """Linked tables, and how they were read."""

    linked: Linked
    readers: dict[str, Reader]
    where: dict[str, str]
    """Table -> its file."""
    schemas: dict[str, Schema]
    entries: dict[str, dict[str, Any]]
    """Table -> column -> its entry, as in a schema file."""
    rules: dict[str, list[Any]]
    """Table -> its rules, where the description lists any."""
    order: dict[str, str]
    """Table -> column by which rows of one parent are sorted."""


def describe(path: str | None) -> Description:
    """Reads a file as in the module's docstring; InputError if it is none."""
    if path is None:
        return Description()
    place, values = read_values(path)
    if not isinstance(values, dict) or not values.keys() <= set(ENTRIES):
        odd = next((name for name in values if name not in ENTRIES), "") if isinstance(values, dict) else ""
        raise fault(place, f"{quoted(odd)}: of several tables, a schema file holds {', '.join(ENTRIES)}")
    lists = [values.get(name) or [] for name in ("keys", "keep")]
    if not all(isinstance(one, list) and all(isinstance(text, str) for text in one) for one in lists):
        raise fault(place, "keys and keep: lists of text are needed, such as ['orders.customer_id -> customers.id']")
    order, tables = values.get("order") or {}, values.get("tables") or {}
    if not isinstance(order, dict) or not isinstance(tables, dict):
        raise fault(place, "order and tables: a line `NAME: VALUE` for each table is needed")
    return Description(tuple(lists[0]) if "keys" in values else None, tuple(lists[1]), order, tables)


def open_tables(paths: Sequence[str], data_dir: str | None) -> dict[str, Reader]:
    """Name -> a reader of each file; InputError if one cannot be read, or two have the same name."""
    readers: dict[str, Reader] = {}
    for path in paths:
        name = sources.short_name(path)
        if name in readers:
            raise InputError(f"--table={path}: another table is named {name} too; give its file another name")
        readers[name] = sources.find_table(path, data_dir).train
    return readers


def in_folder(folder: Path, flag: str) -> list[str]:
    """Paths of the tables in a folder; InputError if there are none."""
    if not folder.is_dir():
        raise InputError(f"--{flag}={folder}: is no folder; of linked tables, a folder with a file for each is needed")
    found = sorted(str(path) for path in folder.iterdir() if path.name.endswith(ENDINGS))
    if not found:
        raise InputError(f"--{flag}={folder}: holds no table; files end in {', '.join(ENDINGS)}")
    return found


def candidates(cells: Mapping[str, pa.Table]) -> list[Candidate]:
    """Keys that may hold between tables."""
    return key_candidates.find(cells)


def keys_of(texts: Sequence[str] | None, cells: Mapping[str, pa.Table]) -> list[Key]:
    """The keys that a person gives, else those that are sure.

    Raises:
        InputError: a key cannot be parsed, or none is given and none is sure; the message has what may be one.
    """
    if texts:
        return [parse(text, {name: table.column_names for name, table in cells.items()}) for text in texts]
    found = candidates(cells)
    if sure := [one for one in found if one.sure]:
        for one in sure:
            print(f"key {one.key}: {one.why}", flush=True)
        return [one.key for one in sure]
    maybe = "; ".join(f"--key='{one.key}' ({one.why})" for one in found[:3])
    hint = f"perhaps {maybe}" if maybe else "such as --key='orders.customer_id -> customers.id'"
    raise InputError(f"--key: no key between {', '.join(cells)} is sure; say which holds, {hint}")


def read(readers: Mapping[str, Reader], described: Description, keep: Sequence[str], min_count: int) -> Source:
    """Reads tables and resolves their keys.

    Args:
        readers: of the tables.
        described: what a person says.
        keep: further tables that are copied.
        min_count: of the schemas.

    Raises:
        InputError: see `Linked.of`; or what is said does not fit.
    """
    where = {name: reader.where for name, reader in readers.items()}
    kept = tuple(dict.fromkeys((*described.keep, *keep)))
    for name in (*kept, *described.order, *described.tables):
        if name not in readers:
            near = difflib.get_close_matches(name, list(readers), 1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise InputError(f"table {shown(name)!r} is not there; {hint}there are {', '.join(readers)}")
    cells = {name: read_cells(reader) for name, reader in readers.items()}
    keys = keys_of(described.keys, cells)
    if loose := [name for name in cells if not any(name in (key.child, key.parent) for key in keys)]:
        raise InputError(f"{where[loose[0]]}: no key links it to the other tables; give one, or leave it out")
    entries, rules = {}, {}
    for name, values in described.tables.items():
        said = overrides_of(values, Path(f"tables: {name}"), readers[name].names)
        entries[name] = said.columns
        if said.rules is not None:
            rules[name] = said.rules
    for name, column in described.order.items():
        check_known(str(column), readers[name].names, f"order: {name}", "column")
    linked = Linked.of(cells, keys, where, kept)
    schemas = {
        name: schema_of(readers[name], cells[name], entries.get(name, {}), min_count, linked.persons[name])
        for name in cells
    }
    return Source(linked, dict(readers), where, schemas, entries, rules, dict(described.order))


def schema_of(
    reader: Reader, cells: pa.Table, entries: Mapping[str, Any], min_count: int, persons: np.ndarray | None = None
) -> Schema:
    """The schema of a whole file; `persons` (n,) are the topmost parents of its rows, if they are known."""
    return infer(
        [Chunk(cells, np.arange(len(cells)), persons)],
        overrides=entries,
        min_count=min_count,
        tokens=reader.tokens,
        storage=reader.storage,
        where=reader.where,
    )


# --- writing -----------------------------------------------------------------------------------------------------


def to_yaml(
    keys: Sequence[Key], why: Mapping[Key, str], keep: Sequence[str] = (), order: Mapping[str, str] | None = None
) -> str:
    """A file as in the module's docstring; `why` are remarks on keys."""
    lines = ["# Keys between tables. Correct what is wrong; the first key of a table is its main one."]
    lines.append("keys:" if keys else "keys: []")
    for key in keys:
        line = "  - " + yaml.safe_dump(str(key), width=10**9).removesuffix("\n").removesuffix("\n...")
        lines.append(line + (f"  # {why[key]}" if key in why else ""))
    lines += [f"keep: [{', '.join(keep)}]"] if keep else []
    if order:
        lines.append("order: " + yaml.safe_dump(dict(order), default_flow_style=True, width=10**9).strip())
    return "\n".join(lines) + "\n"


def write_tables(folder: Path, tables: Mapping[str, pa.Table], source: Source) -> None:
    """Writes tables, and what links them, into a folder: Parquet files if the real one is one, else CSV files."""
    for name, table in tables.items():
        ending = ".parquet" if source.where[name].endswith(".parquet") else ".csv"
        with files.atomic(folder / f"{name}{ending}") as file:
            if ending == ".parquet":
                pq.write_table(_stored(table, source.readers[name].storage), file)
            else:
                file.write(csv_lines(_safe(table, source.schemas[name])))
    kept = [name for name, keys in source.linked.table_keys.items() if keys.kept]
    files.write(folder / FILE, to_yaml(source.linked.keys, {}, kept, source.order))


def _safe(table: pa.Table, schema: Schema) -> pa.Table:
    """Cells for a CSV file: text that a spreadsheet would run gets a `'` before it."""
    kinds = {one.name: one.kind for one in schema.fields}
    columns = [
        column if kinds[name] in NUMERIC else guarded(column.combine_chunks())
        for name, column in zip(table.column_names, table.columns, strict=True)
    ]
    return pa.table(columns, names=[guard_name(name) for name in table.column_names])


def _stored(table: pa.Table, storage: Mapping[str, str]) -> pa.Table:
    """Cells in the types of the real file, where they can be; else as text."""
    columns = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        empty = pa.compute.if_else(pa.compute.equal(column, ""), pa.scalar(None, pa.string()), column)
        try:
            columns.append(empty.cast(pa.type_for_alias(storage.get(name, "string"))))
        except (ValueError, pa.ArrowException):
            columns.append(empty)
    return pa.table(columns, names=table.column_names)
