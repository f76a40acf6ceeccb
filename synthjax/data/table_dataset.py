"""From a table in files to a `Dataset`: splits, schema, encoder and encoded rows, each chunk in memory by itself.

The file is read three times: for the target, which the splits are cut by; for the schema, from training rows only; and
to encode. Rules between columns may need it once more. What is kept is the encoded rows (f32) and, to fit encodings and
to find rules, a sample of at most 100,000 training and as many holdout rows.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from synthjax.data import identifiers, table_rules
from synthjax.data.arrays import fault, shown
from synthjax.data.codings import PRESETS
from synthjax.data.description import Description
from synthjax.data.encoding import Encoder
from synthjax.data.groups import Group
from synthjax.data.number_forms import find as find_form
from synthjax.data.readers import KNOWN_DELIMITERS, Reader
from synthjax.data.schema import NUMERIC, Overrides, Schema, check_known, read_overrides
from synthjax.data.schema_inference import CLASSES, class_order, infer
from synthjax.data.text_values import NUMBER, Chunk, missing_in, to_numbers, typed
from synthjax.errors import InputError
from synthjax.rules import Plan, Rule

if TYPE_CHECKING:
    import pandas as pd

SAMPLE = 100_000
"""Training rows that encodings are fitted on at most; a fixed random sample of more."""
_SAMPLE_SEED = 3


class Found(NamedTuple):
    """A table before its splits are cut."""

    train: Reader
    test: Reader | None = None
    """None: the files have no test split."""
    target: str | None = None
    classes: tuple[str, ...] | None = None
    """Order of the classes; None: alphabetical."""
    group: Group | None = None
    """Which rows are of one subject; None: each is its own."""


class Rows(NamedTuple):
    """One split of a table, encoded."""

    x: np.ndarray
    """(n, D) f32."""
    y: np.ndarray
    """(n,) i32; zeros for regression."""
    index: np.ndarray  # type: ignore[assignment]  # hides tuple.index, as in Batch
    """(n,) i32 row of the source."""


class Table(NamedTuple):
    """The rows behind a data set, as people see them."""

    train: Reader
    """Of the train and holdout splits, and of the test split where the files have none."""
    test: Reader | None
    schema: Schema
    rules: tuple[Rule, ...] = ()
    """Between its columns, which synthetic rows keep as training rows do."""
    notes: tuple[str, ...] = ()
    """What had to be changed in rows that training never saw, and what encoding takes: a line each."""

    @property
    def description(self) -> Description:
        """What the table holds, for people."""
        return Description(self.schema, self.rules, self.notes)

    def frame(self, index: np.ndarray, test: bool = False) -> "pd.DataFrame":
        """Rows as a typed frame (see `text_values`), nothing clipped or merged.

        Args:
            index: (n,) numbers of rows, increasing.
            test: of the test file, where there is one.

        Returns:
            (n, columns), indexed by row number; `text_values` says of what types.
        """
        reader = self.test if test and self.test else self.train
        return _selected(reader, index, self.schema)


# --- the target, which splits are cut by -------------------------------------------------------------------------


def strata(found: Found) -> tuple[np.ndarray, tuple[str, ...]]:
    """What splits are stratified by: the target's classes, or nothing where it is a quantity or absent.

    Returns:
        (N,) i32 labels, zeros without classes; the classes' names, () without.

    Raises:
        InputError: there is no such column, or a row whose label is missing.
    """
    reader, target = found.train, found.target
    if target:
        check_known(target, reader.names, reader.where, "target")
    parts = []
    for chunk in reader.chunks([target or reader.names[0]]):
        cells = chunk.cells.column(0).combine_chunks()
        if target and (absent := missing_in(cells, reader.tokens)).any():
            row = int(chunk.rows[np.argmax(absent)]) + 1
            raise fault(reader.where, f"row {row}, target {shown(target)!r}: no label; leave such rows out")
        parts.append(cells.dictionary_encode() if target else pa.nulls(len(cells)))
    n = sum(map(len, parts))
    if not target:
        return np.zeros(n, np.int32), ()
    joined = pa.chunked_array(parts).unify_dictionaries()
    names = joined.chunk(0).dictionary
    if (numbers := _numbers(names)) is not None and (len(names) > CLASSES or (numbers % 1).any()):
        return np.zeros(n, np.int32), ()
    order = list(found.classes or sorted(names.to_pylist(), key=class_order))
    places = {name: i for i, name in enumerate(order)}
    place = np.array([places[name] for name in names.to_pylist()], np.int32)
    return place[np.concatenate([np.asarray(part.indices) for part in joined.chunks])], tuple(order)


def _numbers(names: pa.Array) -> np.ndarray | None:
    """The cells as numbers, however they are written; None: some are none."""
    if not pc.all(pc.match_substring_regex(names, NUMBER)).as_py():
        cells = names.to_pylist()
        form = find_form(dict.fromkeys(cells, 1))
        if form is None or len(cells) <= CLASSES or not form.fits(cells):
            return None
        names = form.plain(names)
    return to_numbers(names)


# --- encoding ----------------------------------------------------------------------------------------------------


class Options(NamedTuple):
    """How a table is measured and encoded."""

    target: str | None = None
    """The column to predict; None: that of a data set known by name."""
    encoding: str = "quantile"
    """One of `codings.PRESETS`."""
    schema: str | Path | None = None
    """A schema file, see `schema.read_overrides`."""
    min_count: int = 5
    """See `schema`."""
    rules: bool = False
    """Whether rules between columns are looked for, where the schema file lists none."""


class Measured(NamedTuple):
    """What training rows say of a table."""

    schema: Schema
    between: table_rules.Between
    """Rules between its columns."""
    said: Mapping[str, Mapping[str, Any]]
    """Column -> what the schema file says of it."""
    sample: "pd.DataFrame"
    """Typed training rows, at most SAMPLE, that encodings are fitted on: numbers and dates, all columns if rules were
    looked for."""


def measure(found: Found, splits: Mapping[str, np.ndarray], options: Options) -> Measured:
    """The schema of a table whose splits are known, and the rules between its columns.

    Args:
        found: the table.
        splits: "train" and "holdout" (confirms rules) -> increasing row numbers.
        options: how.

    Raises:
        InputError: as `infer` and `table_rules.of` do; a test file with other columns.
    """
    _check(found, options)
    reader = found.train
    said = read_overrides(options.schema, reader.names) if options.schema else Overrides({})
    if found.group:
        said.columns.setdefault(found.group.name, {}).setdefault("kind", "id")
    wanted = options.rules or said.rules is not None
    samples = {split: _sampled(splits[split]) for split in (("train", "holdout") if wanted else ("train",))}
    kept: dict[str, list[pa.Table]] = {split: [] for split in samples}

    def training() -> Iterator[Chunk]:
        for chunk in reader.chunks():
            for split, sample in samples.items():
                kept[split].append(_taken(chunk, sample).cells)
            part = _taken(chunk, splits["train"])
            if len(part.rows):
                yield part

    schema = infer(
        training(),
        target=found.target,
        min_count=options.min_count,
        overrides=said.columns,
        tokens=reader.tokens,
        classes=found.classes,
        storage=reader.storage,
        where=reader.where,
    )
    if len(reader.names) == 1 and schema.fields[0].kind in ("constant", "id", "text"):
        what = f"one column only, {shown(reader.names[0])!r}, {schema.fields[0].holds()}"
        raise fault(reader.where, f"{what}; is it another delimiter? Those known are {KNOWN_DELIMITERS}")
    needed = schema if wanted else replace(schema, fields=tuple(f for f in schema.fields if f.kind in NUMERIC))
    frames = {
        split: typed(Chunk(pa.concat_tables(kept.pop(split)), sample), needed, reader.tokens, reader.where)
        for split, sample in samples.items()
    }
    between = table_rules.Between()
    if wanted:
        where = str(options.schema or reader.where)
        between = table_rules.of(said.rules, frames["train"], frames["holdout"], schema, where)
    grouped = [found.group.note] if found.group else []
    if not found.group and said.group is None and (shared := [shown(f.name) for f in schema.fields if f.sizes]):
        names = " or ".join(f"`group: {name}`" for name in shared)
        grouped = [f"rows of one {shared[0]} may be in train and in test; {names} in a schema file keeps them together"]
    notes = (*reader.notes, *grouped, *schema.advice(), *between.notes)
    return Measured(schema, between._replace(notes=notes), said.columns, frames["train"])


def encode(found: Found, splits: dict[str, np.ndarray], options: Options) -> tuple[dict[str, Rows], Encoder, Table]:
    """Measures and encodes a table whose splits are known.

    Args:
        found: the table.
        splits: "train", "holdout", "test" -> increasing row numbers; "test" is absent where the files have their own.
        options: how.

    Raises:
        InputError: as `measure`, `Encoder.fit` and `Encoder.preflight` do.
    """
    schema, between, _, sample = measure(found, splits, options)
    reader = found.train
    free = _learnt(reader, splits["train"], between.plan, schema) if between.plan else None
    encoder = _fitted(sample, schema, options.encoding, between.plan, free, reader.where)
    del sample
    notes = [*between.notes, encoder.preflight(sum(map(len, splits.values())))]
    made = (field for field in schema.fields if field.kind == "id" and field.pattern not in ("", identifiers.MARK))
    taken = {field.name: identifiers.Taken(field, sum(map(len, splits.values()))) for field in made}
    rows, unseen = _encoded(reader, splits, encoder, taken)
    if found.test:
        extra, more = _encoded(found.test, {"test": None}, encoder, taken)
        rows, unseen = {**rows, **extra}, {**unseen, **more}
    encoder = replace(encoder, schema=_marked(schema, taken), free=free and _marked(free, taken))
    for split, counts in unseen.items():
        told = ", ".join(f"{shown(name)} {count}" for name, count in counts.items())
        notes += [f"{split}: rows whose category training never saw, or too rarely: {told}"] if told else []
    return rows, encoder, Table(found.train, found.test, encoder.schema, between.rules, tuple(notes))


def _marked(schema: Schema, taken: Mapping[str, identifiers.Taken]) -> Schema:
    """The schema, its identifiers with what is taken of them."""
    fields = (replace(f, taken=taken[f.name].hex()) if f.name in taken else f for f in schema.fields)
    return replace(schema, fields=tuple(fields))


def _learnt(reader: Reader, train: np.ndarray, plan: Plan, schema: Schema) -> Schema:
    """The schema of the columns that the plan leaves to the model."""
    parts = (_taken(chunk, train) for chunk in reader.chunks())
    frames = (typed(part, schema, reader.tokens, reader.where) for part in parts if len(part.rows))
    return table_rules.learnt((plan.encode(frame) for frame in frames), plan, schema, reader.where)


def _fitted(
    frame: "pd.DataFrame", schema: Schema, encoding: str, plan: Plan | None, free: Schema | None, where: str
) -> Encoder:
    try:
        return Encoder.fit(frame, schema, encoding, plan, free)
    except InputError as error:
        raise fault(where, str(error)) from error


def _check(found: Found, options: Options) -> None:
    if options.encoding not in PRESETS:
        raise InputError(f"encoding={options.encoding}: unknown; there are {', '.join(PRESETS)}")
    if options.min_count < 1:
        raise InputError(f"min_count={options.min_count}: at least 1 is needed, which gives every value away")
    if found.test and set(found.test.names) != set(found.train.names):
        odd = sorted(set(found.test.names) ^ set(found.train.names))[0]
        raise fault(found.test.where, f"column {shown(odd)!r} is in only one of the train and the test file")


def _sampled(rows: np.ndarray) -> np.ndarray:
    """At most SAMPLE of these row numbers, increasing."""
    if len(rows) <= SAMPLE:
        return rows
    return np.sort(np.random.default_rng(_SAMPLE_SEED).choice(rows, SAMPLE, replace=False))


def _taken(chunk: Chunk, index: np.ndarray) -> Chunk:
    """The chunk's rows that are in `index`, which increases."""
    own = _places(chunk, index)
    return Chunk(chunk.cells.take(pa.array(own)), chunk.rows[own])


def _places(chunk: Chunk, index: np.ndarray) -> np.ndarray:
    """Where in a chunk the rows lie that are in `index`, which increases."""
    first, last = np.searchsorted(index, [chunk.rows[0], chunk.rows[-1] + 1])
    return index[first:last] - chunk.rows[0]


def _encoded(
    reader: Reader,
    splits: Mapping[str, np.ndarray | None],
    encoder: Encoder,
    taken: Mapping[str, identifiers.Taken],
) -> tuple[dict[str, Rows], dict[str, dict[str, int]]]:
    """All rows of the splits (None: every row), encoded; and per split the categories that training never saw."""
    rows = {split: _Growing(encoder.width, None if index is None else len(index)) for split, index in splits.items()}
    unseen: dict[str, dict[str, int]] = {split: {} for split in splits}
    for chunk in reader.chunks():
        frame = typed(chunk, encoder.schema, reader.tokens, reader.where)
        units, known = encoder.units(frame)
        for name, classes in taken.items():
            classes.add(frame[name])
        try:
            y = encoder.labels(frame)
        except InputError as error:
            raise fault(reader.where, str(error)) from error
        for split, index in splits.items():
            own = np.arange(len(units)) if index is None else _places(chunk, index)
            if not len(own):
                continue
            x = encoder.encode_units(units[own], seed=int(chunk.rows[own[0]]))
            rows[split].add(Rows(x, y[own], chunk.rows[own].astype(np.int32)))
            if split != "train":
                for name, count in encoder.unseen(known[own]).items():
                    unseen[split][name] = unseen[split].get(name, 0) + count
    return {split: growing.rows() for split, growing in rows.items()}, unseen


class _Growing:
    """Encoded rows, written into place as they come: parts that are joined at the end would take twice the memory."""

    def __init__(self, width: int, size: int | None):
        self.n, self.room = 0, _empty(width, size or 0)

    def add(self, part: Rows) -> None:
        stop = self.n + len(part.x)
        if stop > len(self.room.x):  # a file whose rows nobody has counted
            larger = _empty(part.x.shape[1], max(stop, 3 * self.n // 2))
            for old, new in zip(self.room, larger, strict=True):
                new[: self.n] = old[: self.n]
            self.room = larger
        for array, values in zip(self.room, part, strict=True):
            array[self.n : stop] = values
        self.n = stop

    def rows(self) -> Rows:
        return Rows(*(array[: self.n] for array in self.room))


def _empty(width: int, n: int) -> Rows:
    return Rows(np.empty((n, width), np.float32), np.empty(n, np.int32), np.empty(n, np.int32))


def _selected(reader: Reader, index: np.ndarray, schema: Schema) -> "pd.DataFrame":
    parts = [_taken(chunk, index) for chunk in reader.chunks()]
    cells = pa.concat_tables([part.cells for part in parts])
    return typed(Chunk(cells, np.asarray(index)), schema, reader.tokens, reader.where)
