"""Judges linked tables in folders: `launch.eval --real=DIR1 --synthetic=DIR2 --key=...`.

A folder holds a file for each table, of the same names. A fifth of the topmost real parents, with all rows below them,
count as unseen: those that `launch.synthesize` keeps from its models. For tables of another generator, put only the
rows that it was given into DIR1 and judge by --holdout=DIR3, a folder of real rows that it has not seen.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa

from synthjax import files
from synthjax.data.arrays import fault
from synthjax.data.keys import Key, cells_of
from synthjax.data.linked import HOLDOUT, TEST, TRAIN, Linked
from synthjax.data.schema import MISSING, Schema
from synthjax.data.text_values import Chunk, typed
from synthjax.errors import InputError
from synthjax.evals import linked as measures
from synthjax.evals import linked_persons
from synthjax.evals.linked import Family
from synthjax.evals.page import linked as page
from synthjax.evals.report.linked import Checked, OfKey, OfPersons, Report, sentences
from synthjax.launch import linked_files
from synthjax.launch.console import say
from synthjax.launch.linked_files import Source
from synthjax.launch.subjects import halves

SHOWN = 5
"""Parents whose children are shown in the page."""


class Sets:
    """Real and synthetic tables, typed."""

    def __init__(self, source: Source, synthetic: Mapping[str, pa.Table], unseen: Source | None = None):
        """`unseen`: other real tables; None: those of the splits of `source`."""
        self._source, self._unseen = source, unseen
        self._frames = {
            "real": {name: self._typed(name, cells) for name, cells in source.linked.cells.items()},
            "synthetic": {name: self._typed(name, cells) for name, cells in synthetic.items()},
        }
        if unseen:
            self._frames["unseen"] = {name: self._typed(name, cells) for name, cells in unseen.linked.cells.items()}
        self._synthetic = synthetic

    def _typed(self, name: str, cells: pa.Table) -> pd.DataFrame:
        schema, where = self._source.schemas[name], self._source.where[name]
        fields = tuple(one for one in schema.fields if one.name in cells.column_names)
        part = Chunk(cells.select([one.name for one in fields]), np.arange(len(cells)))
        return typed(part, Schema(fields, None, schema.min_count), MISSING, f"{name}, judged as {where}")

    def judge(self, key: Key, seed: int) -> OfKey:
        """Judges a key."""
        linked = self._source.linked
        kinds = self._kinds(key.parent), self._kinds(key.child)
        found, checked = self._found(key)
        families = {"train": self._real(key, TRAIN, HOLDOUT), "unseen": self._real(key, TEST)}
        if self._unseen is not None:
            families["unseen"] = self._all(self._unseen.linked, key, "unseen")
            families["train"] = self._all(linked, key, "real")
        parents, children = (self._frames["synthetic"][table] for table in (key.parent, key.child))
        families["synthetic"] = Family(parents, children, found)
        copies = linked.table_keys[key.parent].kept
        return measures.judge(str(key), families, kinds, checked, copies=copies, seed=seed)

    def _kinds(self, table: str) -> dict[str, str]:
        """Column -> kind, of those that no key has."""
        keys = [key for key in self._source.linked.keys if table in (key.child, key.parent)]
        without = {name for key in keys for name in (*key.columns * (key.child == table),
                                                     *key.parent_columns * (key.parent == table))}  # fmt: skip
        return {n: k for n, k in self._source.schemas[table].comparable_kinds().items() if n not in without}

    def persons(self, seed: int) -> list[OfPersons]:
        """Attacks on the rows of each topmost table that has rows below it."""
        table_keys, found = self._source.linked.table_keys, []
        for name in self._source.linked.order:
            below = [other for other in self._source.linked.order if self._topmost(other) == name != other]
            if not table_keys[name].kept and table_keys[name].main is None and below:
                kinds = {table: self._kinds(table) for table in (name, *below)}
                found.append(linked_persons.judge(name, self._families(name, below), kinds, seed=seed))
        return [one for one in found if one is not None]

    def _topmost(self, table: str) -> str:
        """The table at the top of a table's main keys; "" if rows on the way name rows of their own table."""
        while (main := self._source.linked.table_keys[table].main) is not None:
            if main.within:
                return ""
            table = main.parent
        return table

    def _families(self, name: str, below: list[str]) -> dict[str, dict[str, Family]]:
        """The rows of tables below a topmost one, by its rows: see `linked_persons.judge`."""
        linked = self._source.linked
        other = self._unseen.linked if self._unseen else linked
        side = "unseen" if self._unseen else "real"
        train = linked.rows(name, *((TRAIN, HOLDOUT, TEST) if self._unseen else (TRAIN, HOLDOUT)))
        unseen = other.rows(name, *((TRAIN, HOLDOUT, TEST) if self._unseen else (TEST,)))
        attacked, known = (unseen[part] for part in halves(len(unseen)))
        parts = {"train": (linked, "real", train), "unseen": (other, side, attacked), "reference": (other, side, known)}
        made = {name: np.arange(len(self._synthetic[name]))}
        families: dict[str, dict[str, Family]] = {}
        for table in below:
            main = linked.table_keys[table].main
            assert main is not None
            of, _ = self._found(main)
            made[table] = np.where(of < 0, -1, np.append(made[main.parent], -1)[of])
            families[table] = {
                set_: _part(self._frames[of_side][name], self._frames[of_side][table], _rows(tables, name, table), rows)
                for set_, (tables, of_side, rows) in parts.items()
            }
            frames = self._frames["synthetic"]
            families[table]["synthetic"] = Family(frames[name], frames[table], made[table])
        return families

    def _real(self, key: Key, *splits: int) -> Family:
        """Real parents of some splits, and all of their children."""
        linked = self._source.linked
        parents, children = (self._frames["real"][table] for table in (key.parent, key.child))
        if linked.table_keys[key.parent].kept:
            rows = linked.rows(key.child, *splits)
            return Family(parents, children.iloc[rows], linked.parents[key][rows])
        return _part(parents, children, linked.parents[key], linked.rows(key.parent, *splits))

    def _all(self, linked: Linked, key: Key, side: str) -> Family:
        parents, children = (self._frames[side][table] for table in (key.parent, key.child))
        return Family(parents, children, linked.parents[key])

    def _found(self, key: Key) -> tuple[np.ndarray, Checked]:
        """The parent of each synthetic child, -1 if there is none; and whether the key holds."""
        child, parent = (self._synthetic[table] for table in (key.child, key.parent))
        names = pd.Index(cells_of(parent, key.parent_columns)[0].to_pandas())
        cells, absent = cells_of(child, key.columns)
        first = ~names.duplicated()
        place = np.flatnonzero(first)
        index = names[first].get_indexer(pd.Index(cells.to_pandas()))
        found = np.where(absent | (index < 0), -1, place[np.maximum(index, 0)] if len(place) else -1)
        real = self._source.linked.parents[key]
        return found, Checked(
            valid=float((found[~absent] >= 0).mean()) if (~absent).any() else 1.0,
            duplicates=int((~first).sum()),
            without=float(absent.mean()) if len(absent) else 0.0,
            without_real=float((real < 0).mean()),
        )

    def examples(self, key: Key) -> tuple[list[str], list[list[str]], list[list[str]]]:
        """Names of columns, and rows of some synthetic parents and of their children, as text."""
        found, _ = self._found(key)
        parents, children = (self._synthetic[table] for table in (key.parent, key.child))
        some = np.unique(found[found >= 0])[:SHOWN]
        rows = np.flatnonzero(np.isin(found, some))[: 4 * SHOWN]
        names = [f"{key.parent}.{name}" for name in parents.column_names] + list(children.column_names)
        above = parents.take(pa.array(found[rows])).to_pylist()
        below = children.take(pa.array(rows)).to_pylist()
        return names, [list(row.values()) for row in above], [list(row.values()) for row in below]


def _rows(linked: Linked, name: str, table: str) -> np.ndarray:
    """The row of the topmost table `name` above each row of `table`, (n,) i64; -1: it has another topmost parent."""
    own = linked.persons[name]
    rows = linked.persons[table] - (own[0] if len(own) else 0)
    return np.where((rows >= 0) & (rows < len(own)), rows, -1)


def _part(parents: pd.DataFrame, children: pd.DataFrame, of: np.ndarray, rows: np.ndarray) -> Family:
    """The parents with these row numbers, ascending, and their children."""
    place = np.full(len(parents) + 1, -1)
    place[rows] = np.arange(len(rows))
    own = place[of]
    return Family(parents.iloc[rows], children.iloc[np.flatnonzero(own >= 0)], own[own >= 0])


def judge(
    source: Source, synthetic: Mapping[str, pa.Table], out: Path, *, named: tuple[str, str], seed: int = 0,
    unseen: Source | None = None,
) -> Report:  # fmt: skip
    """Judges synthetic tables, prints what was found, and writes report.json and report.html.

    Args:
        source: the real tables.
        synthetic: table -> text.
        out: folder of the report.
        named: what the synthetic and the real tables are called.
        seed: of the samples and the classifiers.
        unseen: real tables that the generator has not seen; None: the test split of `source`.
    """
    sets = Sets(source, synthetic, unseen)
    keys = [sets.judge(key, seed) for key in source.linked.keys]
    report = Report(synthetic=named[0], real=named[1], seed=seed, keys=keys, persons=sets.persons(seed))
    for line in sentences(report):
        say(line)
    examples = {str(key): sets.examples(key) for key in source.linked.keys}
    files.write(out / "report.json", msgspec.json.format(msgspec.json.encode(report), indent=1))
    files.write(out / "report.html", page.render(report, examples))
    say(f"\nwrote {out}/report.json and report.html")
    return report


class Said(NamedTuple):
    """What a person says about the tables."""

    keys: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    schema: str | None = None
    """A file, see `launch.linked_files`; None: that beside the synthetic tables, if there is one."""


def run(real: str, synthetic: str, *, said: Said, holdout: str | None, out: str | None, seed: int) -> Report:
    """`launch.eval` of linked tables in folders.

    Raises:
        InputError: a folder holds no tables, a synthetic one lacks a table or column, or see `linked_files.read`.
    """
    folder, made = files.path(real), files.path(synthetic)
    described = linked_files.describe(said.schema or _description(made))
    described = described._replace(keys=said.keys or described.keys, keep=(*described.keep, *said.keep))
    source = linked_files.read(linked_files.open_tables(linked_files.in_folder(folder, "real"), None), described, (), 5)
    unseen = None
    if holdout:
        readers = linked_files.open_tables(linked_files.in_folder(files.path(holdout), "holdout"), None)
        plain = described._replace(keys=tuple(map(str, source.linked.keys)))
        unseen = linked_files.read(readers, plain, (), 5)
    tables: dict[str, Any] = {}
    for name, reader in linked_files.open_tables(linked_files.in_folder(made, "synthetic"), None).items():
        if name in source.linked.cells:
            tables[name] = linked_files.read_cells(reader)
    for key in source.linked.keys:
        for table, columns in ((key.child, key.columns), (key.parent, key.parent_columns)):
            if table not in tables:
                raise InputError(f"--synthetic={synthetic}: holds no table {table}, as {real} does")
            if absent := [name for name in columns if name not in tables[table].column_names]:
                raise fault(f"--synthetic={synthetic}", f"{table} has no column {absent[0]!r}, which is part of {key}")
    return judge(
        source,
        tables,
        files.path(out) if out else made / "eval",
        named=(synthetic, real),
        seed=seed,
        unseen=unseen,
    )


def _description(folder: Path) -> str | None:
    """The description of tables in a folder that `launch.synthesize` made."""
    path = folder / linked_files.FILE
    return str(path) if path.exists() else None
