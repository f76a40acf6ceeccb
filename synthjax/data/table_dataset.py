"""Loads tables: from files to splits, schema, encoder and encoded rows, one chunk of the file in memory at a time.

The file is read three times: for the target, by which the splits are stratified; for the schema, which is measured on
training rows only; and for encoding. With rules between columns, it may be read once more. In memory are the encoded
rows (f32) and samples of at most 100,000 training rows and 100,000 holdout rows, which are used to fit encodings and to
find rules.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
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
from synthjax.data.schema import NUMERIC, Schema, check_known
from synthjax.data.schema_file import Overrides, read_overrides
from synthjax.data.schema_inference import CLASSES, infer
from synthjax.data.table_options import TableOptions
from synthjax.data.text_values import NUMBER, Chunk, class_order, missing_in, to_numbers, typed
from synthjax.errors import InputError
from synthjax.rules import Plan, Rule

if TYPE_CHECKING:
    import pandas as pd

SAMPLE = 100_000
"""Maximum number of training rows on which encodings are fitted; of more rows, a fixed random sample is used."""
_SAMPLE_SEED = 3


class Found(NamedTuple):
    """A table before it is split."""

    train: Reader
    test: Reader | None = None
    """None if the files have no test split."""
    target: str | None = None
    """The column to predict."""
    classes: tuple[str, ...] | None = None
    """Order of the classes; None: alphabetical, numbers by value."""
    group: Group | None = None
    """The column of subjects, which splits keep together; None if there is none."""
    persons: np.ndarray | None = None
    """(N,) i64 whose row each is, of `train`: those of `group`, or of linked tables. None: each is its own."""
    test_persons: np.ndarray | None = None
    """(M,) i64 the same, of `test`."""


class Rows(NamedTuple):
    """One split of a table, encoded."""

    x: np.ndarray
    """(n, D) f32."""
    y: np.ndarray
    """(n,) i32 labels; zeros for regression."""
    index: np.ndarray  # type: ignore[assignment]  # hides tuple.index, as in Batch
    """(n,) i32 row number in the source."""


class Table(NamedTuple):
    """The original rows of a data set."""

    train: Reader
    """Contains the train and holdout splits, and the test split if there is no test file."""
    test: Reader | None
    """The test file, if there is one."""
    schema: Schema
    rules: tuple[Rule, ...] = ()
    """Rules between the columns, which synthetic rows obey as often as training rows do."""
    notes: tuple[str, ...] = ()
    """Lines for the user: columns that lose information, categories that are not in the training rows, and memory."""
    persons: np.ndarray | None = None
    test_persons: np.ndarray | None = None
    """See `Found`."""

    def persons_of(self, index: np.ndarray, test: bool = False) -> np.ndarray | None:
        """Whose the rows with these numbers are, as in `frame`: (n,) i64; None: each is its own."""
        persons = self.test_persons if test and self.test else self.persons
        return None if persons is None else persons[index]

    @property
    def description(self) -> Description:
        """A report of the columns and rules."""
        return Description(self.schema, self.rules, self.notes)

    def frame(self, index: np.ndarray, test: bool = False) -> "pd.DataFrame":
        """Reads rows as a typed frame. Values are not clipped, and categories are not merged.

        Args:
            index: (n,) row numbers, ascending.
            test: whether to read the test file, if there is one.

        Returns:
            (n, columns), indexed by row number, with the types of `text_values`.
        """
        reader = self.test if test and self.test else self.train
        return _selected(reader, index, self.schema)


# --- the target, by which the splits are stratified --------------------------------------------------------------


def strata(found: Found) -> tuple[np.ndarray, tuple[str, ...]]:
    """Classes of the target, by which the splits are stratified.

    Returns:
        labels: (N,) i32; zeros if the table has no target or a numeric one.
        classes: names of the classes; () if there are none.

    Raises:
        InputError: the target is not a column, or is missing in a row.
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
    codes = {name: i for i, name in enumerate(order)}
    code = np.array([codes[name] for name in names.to_pylist()], np.int32)
    return code[np.concatenate([np.asarray(part.indices) for part in joined.chunks])], tuple(order)


def _numbers(names: pa.Array) -> np.ndarray | None:
    """The cells as numbers in any format; None if some are not numbers."""
    if not pc.all(pc.match_substring_regex(names, NUMBER)).as_py():
        cells = names.to_pylist()
        form = find_form(dict.fromkeys(cells, 1))
        if form is None or len(cells) <= CLASSES or not form.fits(cells):
            return None
        names = form.plain(names)
    return to_numbers(names)


# --- encoding ----------------------------------------------------------------------------------------------------


class Measured(NamedTuple):
    """Measurements of the training rows of a table."""

    schema: Schema
    between: table_rules.Between
    """Rules between the columns."""
    overrides: Mapping[str, Mapping[str, Any]]
    """The entries of the schema file: column -> entry."""
    sample: "pd.DataFrame"
    """At most SAMPLE training rows, typed, on which encodings are fitted: numeric columns only, or all columns if rules
    were searched for."""


def measure(found: Found, splits: Mapping[str, np.ndarray], options: TableOptions) -> Measured:
    """Measures the schema of a table, and the rules between its columns.

    Args:
        found: the table.
        splits: "train", and "holdout", which confirms rules: ascending row numbers.
        options: see `TableOptions`.

    Raises:
        InputError: see `infer` and `table_rules.of`; or the test file has other columns.
    """
    _check(found, options)
    reader = found.train
    overrides = read_overrides(options.schema, reader.names) if options.schema else Overrides({})
    if found.group:
        overrides.columns.setdefault(found.group.name, {}).setdefault("kind", "id")
    with_rules = options.rules or overrides.rules is not None
    samples = {split: _sampled(splits[split]) for split in (("train", "holdout") if with_rules else ("train",))}
    kept: dict[str, list[pa.Table]] = {split: [] for split in samples}

    def training() -> Iterator[Chunk]:
        for chunk in reader.chunks():
            for split, sample in samples.items():
                kept[split].append(part_of(chunk, sample).cells)
            part = part_of(chunk, splits["train"])
            if len(part.rows):
                yield part.of(found.persons)

    how: dict[str, Any] = {"min_count": options.min_count, "tokens": reader.tokens, "storage": reader.storage}
    how["where"] = reader.where
    schema = infer(training(), target=found.target, overrides=overrides.columns, **how)
    schema = schema.with_classes(found.classes) if found.classes else schema
    if len(reader.names) == 1 and schema.fields[0].kind in ("constant", "id", "text"):
        what = f"one column only, {shown(reader.names[0])!r}, {schema.fields[0].holds()}"
        raise fault(reader.where, f"{what}; is it another delimiter? Those known are {KNOWN_DELIMITERS}")
    needed = schema if with_rules else replace(schema, fields=tuple(f for f in schema.fields if f.kind in NUMERIC))
    frames = {
        split: typed(Chunk(pa.concat_tables(kept.pop(split)), sample), needed, reader.tokens, reader.where)
        for split, sample in samples.items()
    }
    between = table_rules.Between()
    if with_rules:

        def as_identifiers(names: Collection[str]) -> Schema:
            parts = (part_of(chunk, splits["train"]) for chunk in reader.chunks([*names]))
            chunks = (part.of(found.persons) for part in parts if len(part.rows))
            return infer(chunks, overrides={name: {"kind": "id"} for name in names}, **how)

        where = str(options.schema or reader.where)
        sampled = table_rules.Sampled(frames["train"], frames["holdout"], _persons(found, samples["train"]))
        between = table_rules.of(overrides, sampled, schema, where, as_identifiers, options.keep)
        schema = between.schema or schema
    grouped = [found.group.note(options.min_count)] if found.group else []
    if not found.group and overrides.group is None and (shared := [shown(f.name) for f in schema.fields if f.sizes]):
        names = " or ".join(f"`group: {name}`" for name in shared)
        grouped = [f"rows of one {shared[0]} may be in train and in test; {names} in a schema file keeps them together"]
    notes = (*reader.notes, *grouped, *schema.advice(), *between.notes)
    return Measured(schema, between._replace(notes=notes), overrides.columns, frames["train"])


def encode(
    found: Found, splits: dict[str, np.ndarray], options: TableOptions
) -> tuple[dict[str, Rows], Encoder, Table]:
    """Measures and encodes a table.

    Args:
        found: the table.
        splits: "train", "holdout" and, if there is no test file, "test": ascending row numbers.
        options: see `TableOptions`.

    Returns:
        The rows of each split, the encoder, and the table.

    Raises:
        InputError: see `measure`, `Encoder.fit` and `Encoder.preflight`.
    """
    schema, between, _, sample = measure(found, splits, options)
    reader = found.train
    free = _learnt(found, splits["train"], between.plan, schema) if between.plan else None
    whose = _persons(found, _sampled(splits["train"]))
    try:
        encoder = Encoder.fit(sample, schema, options.encoding, between.plan, free, whose)
    except InputError as error:
        raise fault(reader.where, str(error)) from error
    del sample
    notes = [*between.notes, encoder.preflight(sum(map(len, splits.values())))]
    total = sum(map(len, splits.values()))
    made = [field for field in schema.fields if field.pattern not in ("", identifiers.MARK)]
    taken = {field.name: identifiers.Taken(field, identifiers.room_for(field, total)) for field in made}
    rows, unseen = encoded(reader, splits, encoder, taken)
    if found.test:
        extra, more = encoded(found.test, {"test": None}, encoder, taken)
        rows, unseen = {**rows, **extra}, {**unseen, **more}
    encoder = replace(
        encoder, schema=_marked(encoder.schema, taken), free=encoder.free and _marked(encoder.free, taken)
    )
    for split, counts in unseen.items():
        listed = ", ".join(f"{shown(name)} {count}" for name, count in counts.items())
        notes += [f"{split}: rows whose category is not in the training rows, or too rare: {listed}"] if listed else []
    persons = found.persons, found.test_persons
    return rows, encoder, Table(found.train, found.test, encoder.schema, between.rules, tuple(notes), *persons)


def _marked(schema: Schema, taken: Mapping[str, identifiers.Taken]) -> Schema:
    """The schema with the classes of real identifiers, `Field.taken`."""
    fields = (replace(f, taken=taken[f.name].hex()) if f.name in taken else f for f in schema.fields)
    return replace(schema, fields=tuple(fields))


def _persons(found: Found, index: np.ndarray) -> np.ndarray | None:
    return None if found.persons is None else found.persons[index]


def _learnt(found: Found, train: np.ndarray, plan: Plan, schema: Schema) -> Schema:
    """The schema of the columns that a model learns under the plan of rules."""
    reader = found.train
    parts = (part_of(chunk, train) for chunk in reader.chunks())
    frames = (typed(part, schema, reader.tokens, reader.where) for part in parts if len(part.rows))
    return table_rules.learnt((plan.encode(frame) for frame in frames), plan, schema, reader.where, found.persons)


def _check(found: Found, options: TableOptions) -> None:
    """Raises InputError if an option is invalid, or the test file has other columns than the training file."""
    if options.encoding not in PRESETS:
        raise InputError(f"encoding={options.encoding}: unknown; there are {', '.join(PRESETS)}")
    if options.min_count < 1:
        raise InputError(f"min_count={options.min_count}: at least 1 is needed, which gives every value away")
    if found.test and set(found.test.names) != set(found.train.names):
        odd = sorted(set(found.test.names) ^ set(found.train.names))[0]
        raise fault(found.test.where, f"column {shown(odd)!r} is in only one of the train and the test file")


def _sampled(rows: np.ndarray) -> np.ndarray:
    """At most SAMPLE of these row numbers, ascending."""
    if len(rows) <= SAMPLE:
        return rows
    return np.sort(np.random.default_rng(_SAMPLE_SEED).choice(rows, SAMPLE, replace=False))


def part_of(chunk: Chunk, index: np.ndarray) -> Chunk:
    """The chunk's rows that are in `index`, which is ascending."""
    own = _positions(chunk, index)
    return Chunk(chunk.cells.take(pa.array(own)), chunk.rows[own])


def _positions(chunk: Chunk, index: np.ndarray) -> np.ndarray:
    """Positions in a chunk of the rows that are in `index`, which is ascending."""
    first, last = np.searchsorted(index, [chunk.rows[0], chunk.rows[-1] + 1])
    return index[first:last] - chunk.rows[0]


def encoded(
    reader: Reader,
    splits: Mapping[str, np.ndarray | None],
    encoder: Encoder,
    taken: Mapping[str, identifiers.Taken],
) -> tuple[dict[str, Rows], dict[str, dict[str, int]]]:
    """Encodes the rows of the splits; for a split None, all rows of the file.

    Also returns, for each split but "train": column -> number of rows whose category is not in the training rows.
    """
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
            own = np.arange(len(units)) if index is None else _positions(chunk, index)
            if not len(own):
                continue
            x = encoder.encode_units(units[own], seed=int(chunk.rows[own[0]]))
            rows[split].add(Rows(x, y[own], chunk.rows[own].astype(np.int32)))
            if split != "train":
                for name, count in encoder.unseen(known[own]).items():
                    unseen[split][name] = unseen[split].get(name, 0) + count
    return {split: growing.rows() for split, growing in rows.items()}, unseen


class _Growing:
    """Arrays of encoded rows that grow; to concatenate parts at the end would need twice the memory."""

    def __init__(self, width: int, size: int | None):
        """`size` is the number of rows, None if it is not known."""
        self.n, self.arrays = 0, _empty(width, size or 0)

    def add(self, part: Rows) -> None:
        """Appends rows."""
        stop = self.n + len(part.x)
        if stop > len(self.arrays.x):
            larger = _empty(part.x.shape[1], max(stop, 3 * self.n // 2))
            for old, new in zip(self.arrays, larger, strict=True):
                new[: self.n] = old[: self.n]
            self.arrays = larger
        for array, values in zip(self.arrays, part, strict=True):
            array[self.n : stop] = values
        self.n = stop

    def rows(self) -> Rows:
        """The rows so far."""
        return Rows(*(array[: self.n] for array in self.arrays))


def _empty(width: int, n: int) -> Rows:
    """Arrays for `n` rows. `x` is aligned to 64 bytes: on CPU, JAX then uses it without a copy."""
    memory = np.empty(4 * n * width + 64, np.uint8)
    start = -memory.ctypes.data % 64
    x = memory[start : start + 4 * n * width].view(np.float32).reshape(n, width)
    return Rows(x, np.empty(n, np.int32), np.empty(n, np.int32))


def _selected(reader: Reader, index: np.ndarray, schema: Schema) -> "pd.DataFrame":
    """The rows with these numbers, ascending, as a typed frame."""
    parts = [part_of(chunk, index) for chunk in reader.chunks()]
    cells = pa.concat_tables([part.cells for part in parts])
    return typed(Chunk(cells, np.asarray(index)), schema, reader.tokens, reader.where)
