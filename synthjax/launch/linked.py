"""From linked tables to synthetic ones and a report: `launch.synthesize` with several --table, or with --key.

    OUT/NAME.csv                 the synthetic tables
    OUT/linked.yaml              the keys, as --schema takes them
    OUT/models/NAME/             a run of each table: its model, checkpoints, encoder and schema
    OUT/eval/report.json, .html  what the tables are worth, see `synthjax.evals.linked`

Each table is learnt by `table_ar`, with columns of its parent and of the row before (`synthjax.data.linked_frames`) as
its first columns, which are given when rows are drawn (`launch.linked_drawing`).
"""

import dataclasses
import json
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

import synthjax
from synthjax import files, sampling
from synthjax.data import Dataset, identifiers, linked_frames, sources, table_dataset
from synthjax.data.arrays import shown
from synthjax.data.keys import Key, cells_of, levels, split_cells
from synthjax.data.linked import HOLDOUT, TEST, TRAIN, TableKeys
from synthjax.data.linked_frames import Sheet
from synthjax.data.readers import Reader
from synthjax.data.schema import Field
from synthjax.data.schema_inference import infer
from synthjax.data.splits import Split
from synthjax.data.table_options import TableOptions
from synthjax.data.text_values import Chunk
from synthjax.errors import InputError
from synthjax.launch import linked_drawing, linked_eval, linked_files, runs, train
from synthjax.launch.config import Experiment
from synthjax.launch.linked_drawing import Groups, Made, Rows, TableModel
from synthjax.launch.linked_files import Source, write_tables

MODEL = "table_ar"
"""The model that draws some columns given others."""
SHOWN = 20
"""Rows of each table that are shown."""


class Asked(NamedTuple):
    """What is to be made."""

    chosen: Experiment
    """The experiment of each table, but for its data set."""
    said: Collection[str]
    """Fields of it that a person set."""
    out: Path
    minutes: float
    """Of training, of all tables together; 0: no limit."""
    rows: int | None
    """Rows of the first table without a parent; None: as many as are trained on."""


class Request(NamedTuple):
    """What a person says about linked tables."""

    tables: tuple[str, ...]
    """Paths."""
    keys: tuple[str, ...] = ()
    """None: those of the schema file, or those that are sure."""
    keep: tuple[str, ...] = ()
    """Names of tables that are copied."""
    schema: str | None = None
    """A file, see `launch.linked_files`."""
    data_dir: str | None = None


def make(request: Request, asked: Asked) -> None:
    """Reads, trains, draws, writes and judges linked tables.

    Raises:
        InputError: see `linked_files.read`.
    """
    described = linked_files.describe(request.schema)
    described = described._replace(keys=request.keys or described.keys)
    readers = linked_files.open_tables(request.tables, request.data_dir)
    source = linked_files.read(readers, described, request.keep, asked.chosen.min_count)
    tables = Maker(source, asked).run()
    for name in source.linked.order:
        print(f"\n{name}, its first rows:\n{look(tables[name])}", flush=True)
    print("\njudging the synthetic tables ...", flush=True)
    named = str(asked.out), ", ".join(request.tables)
    linked_eval.judge(source, tables, asked.out / "eval", named=named, seed=asked.chosen.seed)
    print(f"the synthetic tables: {asked.out}, with their keys in {linked_files.FILE}", flush=True)


def look(table: pa.Table) -> str:
    """The first rows of a table, for a terminal."""
    frame = table.slice(0, SHOWN).to_pandas()
    return str(frame.map(shown).rename(columns=shown).to_string(index=False, max_cols=12, max_colwidth=24))


class Maker:
    """Trains and draws linked tables."""

    def __init__(self, source: Source, asked: Asked):
        """`source`: the tables and their keys."""
        self._linked, self._source, self._asked = source.linked, source, asked
        self._sheets: dict[str, Sheet] = {}
        self._made: dict[str, pa.Table] = {}
        self._trained: dict[str, TableModel] = {}
        self._groups: dict[str, Groups] = {}

    @property
    def _tables(self) -> list[str]:
        return [name for name in self._linked.order if not self._linked.table_keys[name].kept]

    def run(self) -> dict[str, pa.Table]:
        """Trains, draws and writes the tables; returns them as text, all columns."""
        for name in self._tables:
            self._train(name)
        drawn: dict[str, Made] = {}
        for name in self._tables:
            drawn[name] = self._draw(name, drawn)
        tables = {name: self._table(name, drawn) for name in self._tables}
        tables = self._with_keys(tables, drawn)
        tables |= {name: self._linked.cells[name] for name in self._linked.order if name not in tables}
        write_tables(self._asked.out, tables, self._source)
        return tables

    # --- training

    def _train(self, name: str) -> None:
        linked, table_keys = self._linked, self._linked.table_keys[name]
        main = table_keys.main
        above = self._sheets[main.parent] if main and not main.within else None
        sheet = linked_frames.sheet_of(linked, name, self._source.schemas, above)
        chosen = {key: self._named_by(key) for key in sheet.chosen}
        self._sheets[name], self._made[name] = sheet, linked_frames.made_cells(linked, sheet, chosen)
        order = linked_frames.order_values(
            linked.cells[name], self._source.schemas[name], self._source.order.get(name), self._source.where[name]
        )
        rows = linked_frames.real_rows(linked, sheet, self._made, order, self._source.where[name])
        folder = self._asked.out / "models" / name
        print(f"\n--- {name}: {said(table_keys)} ---", flush=True)
        data = self._dataset(name, sheet, rows, above, folder)
        asked = self._asked
        experiment = dataclasses.replace(
            asked.chosen,
            dataset=self._source.where[name],
            schema=str(folder / "schema.json"),
            model=dataclasses.replace(
                asked.chosen.model, order=tuple(one.name for one in data.spec.columns if one.name in sheet.given)
            ),
        )
        assert data.table is not None
        print(data.table.description.report(), flush=True)
        train.run(train.fitted(experiment, asked.said, data), data, folder, asked.minutes / len(self._tables))
        self._trained[name] = self._model(name, sheet, folder)
        if any(key.parent == name for other in linked.table_keys.values() for key in other.others):
            self._groups[name] = Groups(self._trained[name].encoder, self._made[name], linked.rows(name, TRAIN))

    def _named_by(self, key: Key) -> pa.Array:
        """What a sheet says of the row that another key names: the key if the table is kept, else its group."""
        linked, parent = self._linked, self._linked.parents[key]
        if linked.table_keys[key.parent].kept:
            names = cells_of(linked.cells[key.parent], key.parent_columns)[0]
        else:
            names = self._groups[key.parent](self._made[key.parent])
        return pc.fill_null(pc.take(names, pa.array(parent, mask=parent < 0)), "")

    def _dataset(self, name: str, sheet: Sheet, rows: pa.Table, above: Sheet | None, folder: Path) -> Dataset:
        """The rows of a sheet, split and encoded."""
        linked, source = self._linked, self._source
        entries = linked_frames.entries(sheet, source.schemas, above)
        own = {column: entry for column, entry in source.entries.get(name, {}).items() if column in sheet.own}
        schema: dict[str, Any] = {"columns": {**own, **entries}, "group": False}
        schema |= {"rules": source.rules[name]} if name in source.rules else {}
        files.write(folder / "schema.json", json.dumps(schema, indent=1))

        def chunks(columns: list[str] | None = None) -> Any:
            part = rows.select(columns or rows.column_names)
            for start in range(0, len(part), _CHUNK):
                yield Chunk(part.slice(start, _CHUNK), np.arange(start, min(start + _CHUNK, len(part))))

        storage = {column: kind for column, kind in source.readers[name].storage.items() if column in sheet.own}
        reader = Reader(source.where[name], tuple(rows.column_names), chunks, storage)
        splits = {what: linked.rows(name, at) for what, at in (("train", TRAIN), ("holdout", HOLDOUT), ("test", TEST))}
        if few := [what for what, found in splits.items() if not len(found)]:
            raise InputError(f"{source.where[name]}: no row is left for the {few[0]} split; are there too few parents?")
        chosen = self._asked.chosen
        options = TableOptions(
            None,
            chosen.encoding or "quantile",
            folder / "schema.json",
            chosen.min_count,
            chosen.rules,
            tuple(sheet.given),
        )
        found = table_dataset.Found(reader, persons=linked.persons[name])
        parts, encoder, table = table_dataset.encode(found, splits, options)
        train_, held, test = (Split(*parts[what]) for what in ("train", "holdout", "test"))
        spec = encoder.spec().measured(train_.x, chosen.min_count, table.persons_of(train_.index))
        digest = sources.fingerprint(spec, train_, held, test)
        return Dataset(sources.short_name(name), spec, train_, held, test, digest, encoder, table)

    def _model(self, name: str, sheet: Sheet, folder: Path) -> TableModel:
        """The trained model of a table, and what is drawn without it."""
        linked, main = self._linked, sheet.table_keys.main
        model, state, _ = synthjax.load(folder)
        names = {column: self._identifiers(name, column) for column in sheet.table_keys.named}
        alone, deepest = 0.0, 0
        once: set[Key] = set()
        if main is not None:
            rows = linked.rows(name, TRAIN)
            parent = linked.parents[main][rows]
            alone = float((parent < 0).sum() / max((parent >= 0).sum(), 1))
            if main.within:
                deepest = int(levels(linked.parents[main], self._source.where[name], main).max())
            for key in sheet.chosen:
                other = linked.parents[key][rows]
                both = (parent >= 0) & (other >= 0)
                pairs = np.stack([parent[both], other[both]])
                if pairs.shape[1] and len(np.unique(pairs, axis=1).T) == pairs.shape[1]:
                    once.add(key)
        return TableModel(sheet, model, state, runs.encoder(folder), names, alone, deepest, frozenset(once))

    def _identifiers(self, name: str, column: str) -> Field:
        """What new keys of a column look like."""
        cells, chosen = self._linked.cells[name].select([column]), self._asked.chosen
        reader = self._source.readers[name]
        schema = infer(
            [Chunk(cells, np.arange(len(cells)), self._linked.persons[name])],
            overrides={column: {"kind": "id"}},
            min_count=chosen.min_count,
            tokens=reader.tokens,
            storage=reader.storage,
            where=reader.where,
        )
        field = dataclasses.replace(schema[column], sizes=(), missing=0)
        if field.pattern in ("", identifiers.MARK):
            return field
        taken = identifiers.Taken(field, identifiers.room_for(field, len(cells)))
        taken.add(cells.column(column).to_pandas())
        return dataclasses.replace(field, taken=taken.hex())

    # --- drawing

    def _draw(self, name: str, drawn: Mapping[str, Made]) -> Made:
        """The columns of a table's sheet, and its rows' parents."""
        trained, seed = self._trained[name], self._asked.chosen.seed
        number = zlib.crc32(name.encode())
        draw = Rows(trained, jax.random.fold_in(sampling.request_key(seed), number), seed)
        main = trained.sheet.table_keys.main
        with runs.precision(self._asked.chosen):
            if main is None:
                made = linked_drawing.roots(trained, draw, self._rows(name))
            elif main.within:
                share = np.mean(self._linked.parents[main][self._linked.rows(name, TRAIN)] < 0)
                n = self._rows(name)
                made = linked_drawing.tree(trained, draw, max(round(share * n), 1), linked_drawing.GROWTH * n)
            else:
                above = drawn[main.parent].cells
                counts = linked_drawing.whole_numbers(above.column(self._sheets[main.parent].counts[main]))
                if not counts.any():
                    raise InputError(f"{name}: no synthetic row of {main.parent} has one; more --rows or --minutes")
                made = self._sorted(name, linked_drawing.children(trained, draw, above, counts))
        for key in trained.sheet.chosen:
            made.parents[key] = self._chosen(key, made, drawn)
        print(f"{name}: {len(made.cells):,} rows drawn", flush=True)
        return made

    def _sorted(self, name: str, made: Made) -> Made:
        """The rows of each parent in order, by the column by which real ones are."""
        (key,) = made.parents
        source, parent = self._source, made.parents[key]
        order = linked_frames.order_values(made.cells, source.schemas[name], source.order.get(name), name)
        rows = np.lexsort((order, np.where(parent < 0, len(parent), parent)))
        return Made(made.cells.take(pa.array(rows)), {key: parent[rows]})

    def _rows(self, name: str) -> int:
        """How many rows a table without a parent gets."""
        known = len(self._linked.rows(name, TRAIN))
        if self._asked.rows is None:
            return known
        first = next(other for other in self._tables if self._linked.table_keys[other].main is None or other == name)
        return max(round(known * self._asked.rows / len(self._linked.rows(first, TRAIN))), 1)

    def _chosen(self, key: Key, made: Made, drawn: Mapping[str, Made]) -> np.ndarray:
        """The rows that a key other than the main one names."""
        linked, sheet = self._linked, self._sheets[key.child]
        rng = np.random.default_rng((self._asked.chosen.seed, zlib.crc32(str(key).encode())))
        wanted = made.cells.column(sheet.chosen[key]).combine_chunks()
        if linked.table_keys[key.parent].kept:
            import pandas as pd

            known = cells_of(linked.cells[key.parent], key.parent_columns)[0]
            real = self._named_by(key).take(pa.array(linked.rows(key.child, TRAIN)))
            cells = linked_drawing.unknown_replaced(wanted, known, real, rng)
            return np.asarray(pd.Index(known.to_pandas()).get_indexer(pd.Index(cells.to_pandas())), np.int64)
        above = drawn[key.parent].cells
        counts = linked_drawing.whole_numbers(above.column(self._sheets[key.parent].counts[key]))
        text = np.asarray(wanted.to_numpy(zero_copy_only=False), str)
        group = np.asarray(self._groups[key.parent](above).to_numpy(zero_copy_only=False), str)
        found = linked_drawing.assign(text, group, counts, rng)
        main = sheet.table_keys.main
        if main is not None and key in self._trained[key.child].once:
            found = linked_drawing.without_repeats(made.parents[main], found, text, rng)
        return found

    # --- columns of the file

    def _table(self, name: str, drawn: Mapping[str, Made]) -> pa.Table:
        """The columns of a synthetic table that are no keys to others, with new names of its rows."""
        trained, made = self._trained[name], drawn[name]
        columns = {
            column: made.cells.column(column) for column in trained.sheet.own if column in made.cells.column_names
        }
        seed = self._asked.chosen.seed
        made_anew = {one.name: one for one in trained.encoder.schema.fields if one.kind == "id"}
        for column, field in {**made_anew, **trained.names}.items():
            found = identifiers.made(field, len(made.cells), (seed, zlib.crc32(column.encode())), 0)
            columns[column] = pa.array(_texts(found), pa.string())
        return pa.table(columns)

    def _with_keys(self, tables: dict[str, pa.Table], drawn: Mapping[str, Made]) -> dict[str, pa.Table]:
        """The tables with their keys, columns in the order of the files."""
        done: dict[str, pa.Table] = {
            name: self._linked.cells[name] for name in self._linked.order if self._linked.table_keys[name].kept
        }
        for name in self._tables:
            table, table_keys = tables[name], self._linked.table_keys[name]
            main = [table_keys.main] if table_keys.main else []
            for key in reversed([*main, *table_keys.others]):  # the main key is written last
                parent = table if key.within else done[key.parent]
                rows = drawn[name].parents[key]
                names = pc.take(cells_of(parent, key.parent_columns)[0], pa.array(rows, mask=rows < 0))
                for column, cells in zip(
                    key.columns, split_cells(pc.fill_null(names, ""), len(key.columns)), strict=True
                ):
                    if column in table.column_names:
                        table = table.drop_columns([column])
                    table = table.append_column(column, cells)
            order = [column for column in self._linked.cells[name].column_names if column in table.column_names]
            done[name] = table.select(order)
        return {name: done[name] for name in self._tables}


def _texts(values: Any) -> list[str]:
    """New identifiers as text; missing ones are empty."""
    listed = np.asarray(values, object).tolist()
    return ["" if v is None or v != v else str(int(v)) if isinstance(v, float) else str(v) for v in listed]


_CHUNK = 100_000  # rows that are read at once


def said(table_keys: TableKeys) -> str:
    """How the rows of a table are made, in words."""
    parts = []
    if table_keys.main is None:
        parts.append("its rows are drawn first" if table_keys.children else "its rows are drawn by themselves")
    elif table_keys.main.within:
        parts.append(f"rows without a parent are drawn first, then those below them ({table_keys.main})")
    else:
        parts.append(f"its rows are drawn for each row of {table_keys.main.parent} ({table_keys.main})")
    parts += [f"then {', '.join(key.columns)} is chosen among the rows of {key.parent}" for key in table_keys.others]
    return "; ".join(parts)
