"""Tables under differential privacy: splits by coins, a schema and an encoder that depend on noisy histograms alone.

From the histograms of its columns (`private_histograms`) a table of independent columns is made, with as many rows as
the noisy number of rows says, and values inside the histograms' cells. What is measured of training rows elsewhere
(`infer`, `Encoder.fit`, `DataSpec.measured`) is measured of these made rows. Real rows are only encoded with the
finished encoder: cells that its schema has no place for count as missing, or as the nearest bound; training rows
whose label is not among the classes are left out.

    private = public_entries(found, TableOptions(schema="public.yaml"), unit="customer")
    splits = cut(private, coins, holdout=0.1)
    rows, encoder, made = learn(private, splits, spend, "quantile")      # pays
    encoded, table = encode(private, splits, encoder)

Formal guarantees. What `learn` returns is a function of `private_histograms.release`, of the schema file
and of the names and types of the columns: equal histograms give equal ones, whatever the rows. What `encode` returns is
private, and so are the splits.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from synthjax.data.arrays import fault, shown
from synthjax.data.encoding import Encoder
from synthjax.data.groups import by_name, subjects
from synthjax.data.private_histograms import KEPT, Spend, counted, release
from synthjax.data.private_kinds import Histogram
from synthjax.data.private_rows import kind_of, made_cells, without_noise
from synthjax.data.readers import Reader
from synthjax.data.schema import DISCRETE, NUMERIC, Field, Schema, check_known, entry
from synthjax.data.schema_file import Overrides, read_overrides
from synthjax.data.schema_inference import infer
from synthjax.data.schema_inference.inference import TRUTHS
from synthjax.data.splits import TEST_SHARE
from synthjax.data.table_dataset import Found, Rows, Table, encoded, part_of
from synthjax.data.table_options import TableOptions
from synthjax.data.text_values import Chunk, missing_in, plain_numbers, to_seconds, typed
from synthjax.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

LIMIT = 100_000
"""Rows that are made at most."""
FEWEST = 20
"""Noisy number of rows below which nothing is learnt."""


class Private(NamedTuple):
    """A table with what is public of it."""

    found: Found
    public: Mapping[str, Mapping[str, Any]]
    """Column -> its public entries."""
    unit: str | None
    """The column that names the person of a row; None: each row is a unit."""


def public_entries(found: Found, options: TableOptions, unit: str | None) -> Private:
    """Reads what the schema file says is public.

    Args:
        found: the table.
        options: with the schema file.
        unit: the column of the units; None: rows.

    Raises:
        InputError: an entry does not say `public: true`, there are rules, or a column does not exist.
    """
    reader, where = found.train, str(options.schema)
    if unit is not None:
        check_known(unit, reader.names, reader.where, "--dp.unit")
    if found.target is not None:
        check_known(found.target, reader.names, reader.where, "target")
    if unit is not None and unit == found.target:
        raise fault(reader.where, f"--dp.unit={shown(unit)} is the target; name the column of persons")
    said = read_overrides(options.schema, reader.names) if options.schema else Overrides({})
    for name, column in said.columns.items():
        check_known(name, reader.names, where, "schema file:")
        if not (said.public or column.get("public")):
            line = entry(name, **{key: value for key, value in column.items() if key != "public"}, public=True)
            raise fault(
                where,
                f"columns: {shown(name)}: under differential privacy its entries must be public knowledge, not read "
                f"off the data; if they are, write {line}",
            )
    if said.group and unit is None:
        raise fault(
            where,
            f"group: {shown(said.group)}: give --dp.unit={shown(said.group)}, which uses one row of each, "
            "or --dp.rows_per_unit",
        )
    if said.rules:
        raise fault(where, "rules: are not kept under differential privacy; leave them out")
    public = {name: {k: v for k, v in column.items() if k != "public"} for name, column in said.columns.items()}
    return Private(found, public, unit)


def digest(reader: Reader) -> bytes:
    """SHA-256 of all cells of a table."""
    found = hashlib.sha256("\0".join(reader.names).encode())
    for chunk in reader.chunks():
        for batch in chunk.cells.combine_chunks().to_batches():
            found.update(batch.serialize())
    return found.digest()


def notes(private: Private, schema: Schema) -> list[str]:
    """Lines on columns that are left out, and on those that, by their names, may be shared by rows of one person."""
    lines = []
    said = [name for name, column in private.public.items() if column.get("kind") == "text"]
    if gone := [shown(field.name) for field in schema.fields if field.kind == "text" and field.name not in said]:
        lines.append(
            f"{', '.join(gone)}: left out, as free text, or since too few rows share values under this epsilon; public "
            "bounds, categories or formats in a schema file keep a column"
        )
    names = [name for name in by_name(private.found.train.names) if name != private.found.target]
    if private.unit is None and names:
        name = shown(names[0])
        lines.append(f"each row is a unit; if rows of one person share {name}, --dp.unit={name} protects the person")
    return lines


# --- splits ------------------------------------------------------------------------------------------------------


def cut(
    private: Private, coins: Callable[[str, int], np.ndarray], holdout: float, most: int = 1
) -> dict[str, np.ndarray]:
    """Splits the rows by an independent coin for each unit; of a unit with more rows than `most` so many are kept.

    Args:
        private: the table.
        coins: (name, n) -> (n,) f64 uniform in [0, 1), independent for different names.
        holdout: share of the rows that are not test rows.
        most: number of rows of a unit, drawn at random, that are used at most. All of them are in one split.

    Returns:
        "train", "holdout" and, if there is no test file, "test": ascending row numbers.
    """
    reader = private.found.train
    rows = sum(len(chunk.rows) for chunk in reader.chunks([reader.names[0]]))
    unit = subjects(reader, private.unit) if private.unit is not None else np.arange(rows)
    kept = np.arange(rows)
    if private.unit is not None:
        order = np.lexsort((coins("row of a unit", rows), unit))
        first = np.flatnonzero(np.diff(unit[order], prepend=-1))
        rank = np.arange(rows) - np.repeat(first, np.diff(first, append=rows))  # among the rows of its unit
        kept = np.sort(order[rank < most])
    coin = coins("splits", int(unit.max(initial=-1)) + 1)[unit[kept]]
    test = 0.0 if private.found.test else TEST_SHARE
    splits = {"train": kept[coin >= test + (1 - test) * holdout]}
    splits["holdout"] = kept[(coin >= test) & (coin < test + (1 - test) * holdout)]
    return splits if private.found.test else {**splits, "test": kept[coin < test]}


# --- from histograms to schema and encoder -----------------------------------------------------------------------


def kept_histograms(histograms: Sequence[Histogram], rows: int) -> list[Histogram]:
    """The histograms without noise; a column of which hardly any row is left is treated as free text."""

    def rare(one: Histogram) -> bool:
        return (
            one.kind == "category"
            and not one.public
            and (not one.labels or sum(one.counts) < KEPT * (rows - one.missing))
        )

    return [Histogram(one.name) if rare(one) else without_noise(one) for one in histograms]


def _forced(one: Histogram, public: Mapping[str, Any], target: str | None) -> dict[str, Any]:
    """The entry of a schema file that makes `infer` read the made cells as what they are."""
    said = {key: public[key] for key in ("encoding", "missing", "min", "max") if key in public}
    if one.kind in ("id", "text"):
        return said | {"kind": one.kind}
    if one.kind == "category":
        truths = {label.lower() for label in one.labels} in TRUTHS and not one.others
        return said if truths and public.get("kind") != "categorical" else said | {"kind": "categorical"}
    said |= {"format": one.format} if one.format else {}
    few = one.kind == "number" and len(one.edges) == 3 and one.edges[0] == 0 and one.step == 1
    if (few or len(one.counts) < 2) and one.name != target and "kind" not in public:
        return said  # 0 and 1: a boolean; one number: a constant
    return said | {"kind": public.get("kind", kind_of(one))}


class Measured(NamedTuple):
    """What histograms amount to."""

    schema: Schema
    rows: "pd.DataFrame"
    """The made rows, typed."""


def measure(private: Private, rows: int, histograms: Sequence[Histogram]) -> Measured:
    """The schema, and made rows, of released histograms.

    Raises:
        InputError: too few rows are left to learn from, or too few classes of the target.
    """
    reader, target = private.found.train, private.found.target
    if rows < FEWEST:
        raise fault(reader.where, f"about {rows} training rows: too few to learn from under this epsilon")
    histograms = kept_histograms(histograms, rows)
    for one in histograms:
        if one.name == target and (one.kind in ("id", "text") or (one.kind == "category" and len(one.labels) < 2)):
            raise fault(
                reader.where,
                f"target {shown(one.name)!r}: no two classes have enough rows to be released under this epsilon; give "
                f"them in a schema file if they are public: {entry(one.name, categories=['no', 'yes'], public=True)}",
            )
    histograms = [replace(one, missing=0, others=0) if one.name == target else one for one in histograms]
    tokens = {one.name: (*private.public.get(one.name, {}).get("missing", ()), *reader.tokens)[0] for one in histograms}
    chunk = Chunk(made_cells(histograms, min(rows, LIMIT), tokens), np.arange(min(rows, LIMIT)))
    schema = infer(
        [chunk],
        target=target,
        min_count=1,
        overrides={one.name: _forced(one, private.public.get(one.name, {}), target) for one in histograms},
        tokens=reader.tokens,
        storage=reader.storage,
        where=reader.where,
    )
    if private.found.classes and set(private.found.classes) == set(schema.classes):
        schema = schema.with_classes(private.found.classes)
    return Measured(schema, typed(chunk, schema, reader.tokens, reader.where))


# --- real rows ---------------------------------------------------------------------------------------------------


def coerced(reader: Reader, schema: Schema) -> Reader:
    """A reader whose cells all fit the schema.

    Cells of numbers and dates that cannot be read become missing. Labels that are none of the classes become the first
    class; `with_label` says which rows have one.
    """
    token = reader.tokens[0]

    def chunks(columns: list[str] | None = None) -> Any:
        for chunk in reader.chunks(columns):
            cells = chunk.cells
            for field in schema.fields:
                if field.name not in cells.column_names:
                    continue
                at, old = cells.column_names.index(field.name), cells.column(field.name).combine_chunks()
                new = _fitting(old, field, schema, token)
                cells = cells if new is None else cells.set_column(at, field.name, new)
            yield Chunk(cells, chunk.rows)

    return reader._replace(chunks=chunks)


def _fitting(cells: pa.Array, field: Field, schema: Schema, token: str) -> pa.Array | None:
    """The cells with those replaced that do not fit; None: all do."""
    if field.name == schema.target and schema.classes:
        odd = ~_among(cells, field)
        return pc.if_else(pa.array(odd), pa.scalar(schema.classes[0]), cells) if odd.any() else None
    if field.kind not in NUMERIC:
        return None
    odd = ~np.isfinite(_values(cells, field))
    return pc.if_else(pa.array(odd), pa.scalar(token), cells) if odd.any() else None


def _values(cells: pa.Array, field: Field) -> np.ndarray:
    """The numbers of cells, or seconds; NaN for cells that are none."""
    if field.kind == "datetime":
        return to_seconds(cells, field.format)
    return np.asarray(plain_numbers(cells, field.format).cast(pa.float64()).fill_null(np.nan))


def _among(cells: pa.Array, field: Field) -> np.ndarray:
    """Whether each cell is one of the field's categories."""
    if field.kind == "boolean":
        return missing_in(pc.utf8_lower(cells), tuple(name.lower() for name in field.categories))
    return missing_in(cells, field.categories)


def with_label(reader: Reader, schema: Schema) -> np.ndarray:
    """Whether each row has a label: (rows,) bool; all of them without classes or with a numeric target."""
    target = schema.target
    parts = []
    for chunk in reader.chunks([target or reader.names[0]]):
        cells = chunk.cells.column(0).combine_chunks()
        if target is None:
            parts.append(np.ones(len(cells), bool))
        elif schema[target].kind in DISCRETE:
            parts.append(_among(cells, schema[target]))
        else:
            new = _fitting(cells, schema[target], replace(schema, target=None), reader.tokens[0])
            parts.append(~missing_in(cells if new is None else new, reader.tokens))
    return np.concatenate(parts)


def misfits(private: Private, index: np.ndarray, schema: Schema) -> dict[str, int]:
    """Column -> number of rows, exactly, with a cell that its schema has no place for. This is private.

    Args:
        private: the table.
        index: ascending row numbers.
        schema: of `learn`.
    """
    reader = private.found.train
    found: dict[str, int] = {}
    for chunk in reader.chunks():
        own = part_of(chunk, index)
        for field in schema.fields:
            cells = own.cells.column(field.name).combine_chunks()
            present = ~missing_in(cells, (*reader.tokens, *field.tokens))
            if field.kind in NUMERIC:
                values = _values(cells, field)
                odd = present & ~((values >= field.low) & (values <= field.high))
            elif field.kind in DISCRETE:
                odd = present & ~_among(cells, field)
            else:
                continue
            if odd.any():
                found[field.name] = found.get(field.name, 0) + int(odd.sum())
    return found


def encode(private: Private, splits: Mapping[str, np.ndarray], encoder: Encoder) -> tuple[dict[str, Rows], Table]:
    """Encodes the real rows of the splits with a finished encoder."""
    found, schema = private.found, encoder.schema
    labelled = with_label(found.train, schema)
    kept: dict[str, np.ndarray] = {split: index[labelled[index]] for split, index in splits.items()}
    train = coerced(found.train, schema)
    rows, _ = encoded(train, kept, encoder, {})
    test = found.test and coerced(found.test, schema)
    if test and found.test:
        good = np.flatnonzero(with_label(found.test, schema))
        rows |= encoded(test, {"test": good}, encoder, {})[0]
    return rows, Table(train, test, schema)


def learn(
    private: Private, splits: Mapping[str, np.ndarray], spend: Spend, encoding: str
) -> tuple[int, Encoder, np.ndarray]:
    """Releases histograms of the training rows, and fits an encoder to what is made of them.

    Args:
        private: the table.
        splits: with "train", ascending row numbers.
        spend: what the release may spend.
        encoding: one of `codings.PRESETS`.

    Returns:
        The noisy number of rows, the encoder, and the made rows, encoded: (n, D) f32.

    Raises:
        InputError: see `measure` and `Encoder.fit`.
    """
    reader = private.found.train
    training = (part_of(chunk, splits["train"]) for chunk in reader.chunks())
    cells = counted(training, reader.names)
    left_out = [private.unit] if private.unit else []
    rows, histograms = release(
        cells,
        len(splits["train"]),
        spend,
        private.public,
        target=private.found.target,
        tokens=reader.tokens,
        left_out=left_out,
    )
    schema, frame = measure(private, rows, histograms)
    try:
        encoder = Encoder.fit(frame, schema, encoding)
    except InputError as error:
        raise fault(reader.where, str(error)) from error
    return rows, encoder, encoder.encode(frame)
