"""Encoding of tables: an `Encoder` converts typed rows to f32 vectors for models, and vectors to rows.

    encoder = Encoder.fit(frame, schema, "quantile")     # fitted to training rows only
    x = encoder.encode(frame)                            # (N, D) f32
    frame = encoder.decode(x)                            # typed; columns in the order of the file
    units = encoder.inverse(x)                           # only the numeric part: NumPy or JAX, can be jitted

The encoding of a column is that of the preset, unless the schema file sets another (`encoding:`):

    preset      numbers and dates    categories
    minmax      minmax               onehot       study S2, numeric columns
    interval    minmax               interval     study S2, all columns
    quantile    quantile             onehot
    mode        mode                 onehot       as in CTGAN
    code        quantile             code

The encodings are defined in `synthjax.data.scalers`. There are two exceptions. A categorical target is always one-hot,
since labels are written into its positions. One-hot columns with more than `ONEHOT` categories are encoded as codes.
Missing values are encoded: a number has an indicator as an additional position (mode: an additional mode), and a
categorical column an additional category. Constants, identifiers and free text are not encoded. `decode` restores
constants, generates new identifiers and omits free text.

Numbers are clipped to the bounds of the schema. Numbers and dates that the schema lists as shared are decoded exactly.
Otherwise, encodings store only means of at least `min_count` training rows; or persons, where they are known. A
category that does not occur in training rows, or too rarely, is encoded as `(rare)` if this is a category, or as
missing if values are missing in training rows, or as the most frequent category. `unseen` counts such cells.

    >>> import pyarrow as pa
    >>> from synthjax.data.schema_inference import infer
    >>> from synthjax.data.text_values import Chunk, typed
    >>> cells = {"age": [str(20 + i % 30) for i in range(300)], "town": ["Ayr", "Bath"] * 150}
    >>> chunk = Chunk(pa.table(cells), np.arange(300))
    >>> schema = infer([chunk])
    >>> encoder = Encoder.fit(typed(chunk, schema, "", "file"), schema, "minmax")
    >>> x = encoder.encode(typed(chunk, schema, "", "file"))
    >>> x.shape, encoder.decode(x)["town"].tolist()[:2]
    ((300, 3), ['Ayr', 'Bath'])
"""

import functools
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from synthjax.data import column_units, identifiers, memory, scalers, within, within_keys
from synthjax.data.arrays import shown
from synthjax.data.codings import KNOTS, NUMBERS, PRESETS, UNEVEN, Coding, choose, layout, learn
from synthjax.data.persons import few
from synthjax.data.schema import DISCRETE, Field, Schema
from synthjax.errors import InputError
from synthjax.model import Column, DataSpec
from synthjax.rules import Plan, stored

if TYPE_CHECKING:
    import pandas as pd

_HIDDEN, _BATCH = 512, 512  # sizes of the network for which `Encoder.needs` estimates memory


@dataclass(frozen=True)
class Encoder:
    """Encodes and decodes the rows of one table."""

    schema: Schema
    codings: tuple[Coding, ...]
    """Of the encoded columns, in the order of the schema `learnt`."""
    plan: Plan | None = None
    """Computes rows from the columns that models learn, so that rules between columns hold. None: models learn the
    columns of the table."""
    free: Schema | None = None
    """Schema of the columns that models learn, if there is a plan."""

    @classmethod
    def fit(
        cls,
        frame: "pd.DataFrame",
        schema: Schema,
        encoding: str = "quantile",
        plan: Plan | None = None,
        free: Schema | None = None,
        persons: np.ndarray | None = None,
    ) -> Self:
        """Fits the encoding of each column.

        Args:
            frame: typed training rows, or a random sample of them (100,000 rows are sufficient). Without a plan, only
                the columns of numbers and dates are needed.
            schema: measured on all training rows.
            encoding: one of PRESETS.
            plan: see `synthjax.rules`.
            free: the schema of the columns that models learn; only with a plan.
            persons: (n,) i64 whose row each is, who count for `min_count`; None: each row is its own.

        Raises:
            InputError: the encoding is unknown or does not fit its column, or there are no columns to encode.
        """
        if encoding not in PRESETS:
            raise InputError(f"encoding={encoding}: unknown; there are {', '.join(PRESETS)}")
        frame = plan.encode(frame) if plan else frame
        chosen = {field.name: choose(field, schema.target, encoding) for field in (free or schema).fields}
        rows, least = few(persons, schema.min_count)
        fields = tuple(
            column_units.with_endings(field, frame.iloc[rows], least) if chosen[field.name] in UNEVEN else field
            for field in (free or schema).fields
        )
        schema, free = (schema, replace(free, fields=fields)) if free else (replace(schema, fields=fields), None)
        count = sum(name == "quantile" for name in chosen.values())
        knots = int(np.clip(KNOTS // max(count, 1), 32, 1000))
        codings = tuple(
            learn(field, chosen[field.name], frame, knots, schema.min_count, persons)
            for field in fields
            if chosen[field.name]
        )
        if not codings:
            raise InputError("the table has no column to learn: all are constant, identifiers or free text")
        return cls(schema, codings, plan, free)

    @property
    def learnt(self) -> Schema:
        """The schema of the columns that models learn."""
        return self.free or self.schema

    # --- the numeric part

    @functools.cached_property
    def columns(self) -> tuple[Column, ...]:
        """The positions of each column in encoded rows; a column with the encoding mode has two, NAME and NAME:mode."""
        columns, start = [], 0
        for coding in self.codings:
            target = coding.name == self.schema.target
            gone = start + coding.size - 1 if coding.missing and coding.encoding in (*NUMBERS, "onehot") else None
            if coding.encoding == "mode":
                modes = Column(f"{coding.name}:mode", "onehot", start + 1, coding.size - 1, gone, target)
                columns += [Column(coding.name, "continuous", start, 1, None, target), modes]
            else:
                kind = coding.encoding if coding.encoding in ("onehot", "code") else "continuous"
                codes = coding.codes if kind == "code" else 0
                columns.append(Column(coding.name, kind, start, coding.size, gone, target, codes))  # type: ignore[arg-type]
            start += coding.size
        return tuple(columns)

    @property
    def width(self) -> int:
        """Number of positions of an encoded row."""
        return sum(coding.size for coding in self.codings)

    @functools.cached_property
    def layout(self) -> scalers.Layout:
        """The layout of encoded rows for `scalers`."""
        return layout(self.codings, self._fields)

    def forward(self, units, noise):
        """Encodes units: (n, D) f32; see `scalers.forward`. Can be jitted."""
        return scalers.forward(self.layout, units, noise)

    def inverse(self, x):
        """Decodes x (n, D) f32, any real numbers, to units (n, columns) f32; see `scalers.inverse`. Can be jitted."""
        return scalers.inverse(self.layout, x)

    # --- from and to frames

    def units(self, frame: "pd.DataFrame") -> tuple[np.ndarray, np.ndarray]:
        """Converts a frame to units.

        Args:
            frame: typed rows with the columns of the schema, in any order.

        Returns:
            (n, columns) f32 units, see `scalers`; (n, columns) bool mask for `unseen`.

        Raises:
            InputError: a column is missing, or has a value that is not of its kind.
        """
        if self.plan:
            import pandas as pd

            typed = {name: column_units.typed(frame, self.schema[name]) for name in self.plan.names}
            frame = self.plan.encode(pd.DataFrame(typed, index=frame.index))
        units = np.empty((len(self.codings), len(frame)), np.float32)
        known = np.ones((len(self.codings), len(frame)), bool)
        for i, coding in enumerate(self.codings):
            field = self._fields[coding.name]
            values = column_units.column(frame, field)
            if field.kind in DISCRETE:
                units[i], known[i] = column_units.codes(values, field)
            else:
                units[i] = column_units.scaled(values, field)
        return units.T, known.T

    def encode(self, frame: "pd.DataFrame", seed: int = 0) -> np.ndarray:
        """Encodes rows.

        Args:
            frame: typed rows with the columns of the schema, in any order; other columns are ignored.
            seed: of the noise for the encoding interval. Other encodings are deterministic.

        Returns:
            (n, D) f32.

        Raises:
            InputError: a column is missing, or has a value that is not of its kind.
        """
        return self.encode_units(self.units(frame)[0], seed)

    def encode_units(self, units: np.ndarray, seed: int = 0) -> np.ndarray:
        """Encodes rows, given as `units` (n, columns) f32: (n, D) f32."""
        noise = np.random.default_rng((seed, 1)).standard_normal((len(units), len(self.layout.interval)), np.float32)
        return self.forward(units, noise)

    def labels(self, frame: "pd.DataFrame") -> np.ndarray:
        """Codes of the target.

        Returns:
            (n,) i32; zeros if there is no target, or if it is numeric.

        Raises:
            InputError: a label is missing, or does not occur in training rows.
        """
        if not self.schema.classes:
            return np.zeros(len(frame), np.int32)
        field = self.schema[self.schema.target or ""]
        codes, known = column_units.codes(column_units.column(frame, field), field)
        if not known.all() or (codes == len(field.categories)).any():
            row = int(np.argmax(~known | (codes == len(field.categories))))
            value = frame[field.name].iloc[row]
            raise InputError(
                f"row {frame.index[row] + 1}, target {shown(field.name)!r}: {shown(value)!r} is none of the classes "
                f"{', '.join(map(shown, field.categories))}"
            )
        return codes.astype(np.int32)

    def unseen(self, known: np.ndarray) -> dict[str, int]:
        """Counts rows with categories that do not occur in training rows, or too rarely.

        Args:
            known: (n, columns) bool, False for such categories: the second result of `units`.

        Returns:
            Column -> number of rows, for columns with at least one.
        """
        counts = zip(self.codings, (~known).sum(axis=0).tolist(), strict=True)
        return {coding.name: count for coding, count in counts if count}

    def decode(
        self, x: np.ndarray, *, seed: int = 0, start: int = 0, given: "pd.DataFrame | None" = None
    ) -> "pd.DataFrame":
        """Decodes vectors.

        Args:
            x: (n, D), any real numbers.
            seed: of the identifiers.
            start: number of rows of the synthetic table before these. Identifiers of all rows are distinct.
            given: (n, k) typed columns whose values are known. They replace those of x before columns are computed by
                rules.

        Returns:
            Typed rows, with the columns in the order of the file.

        Raises:
            InputError: a value is NaN.
        """
        x = np.asarray(x, np.float32)
        if np.isnan(x).any():
            row, position = np.argwhere(np.isnan(x))[0]
            name = next(column.name for column in self.columns if position < column.start + column.size)
            raise InputError(f"row {start + row + 1}, column {shown(name)!r}: NaN, which no value is encoded as")
        return self.rows(self.inverse(x), seed=seed, start=start, given=given)

    def rows(
        self, units: np.ndarray, *, seed: int = 0, start: int = 0, given: "pd.DataFrame | None" = None
    ) -> "pd.DataFrame":
        """Converts units (n, columns) f32, from `inverse`, to typed rows; see `decode`."""
        import pandas as pd

        names = tuple(coding.name for coding in self.codings)
        tolerances = {coding.name: coding.tolerance for coding in self.codings}
        rows = column_units.decoded(self.learnt, names, units, seed, start, tolerances)
        if given is not None:
            rows = rows.assign(**{str(name): given[name].array for name in given})
        for field in self.schema.fields:
            if field.within:
                rows = within.spread(rows, field, self.plan.free_of(field.within) if self.plan else field.within)
        if self.plan is not None:
            rows = within_keys.settled(rows, self.plan, self.schema) if self.plan.unique else rows
            whole = self.plan.decode(rows)
            kept = [field.name for field in self.schema.fields if field.kept]
            rows = pd.DataFrame({name: (whole if name in whole else rows)[name] for name in kept})
        for field in self.schema.fields:
            if field.kind in DISCRETE and field.pattern:
                cells = identifiers.filled(
                    rows[field.name], field, seed, start, alone=bool(self.plan and (self.plan.steps or self.plan.left))
                )
                rows[field.name] = pd.array(cells, dtype=rows[field.name].dtype)
        return rows

    @functools.cached_property
    def _fields(self) -> dict[str, Field]:
        return {field.name: field for field in self.learnt.fields}

    # --- description and memory

    def spec(self) -> DataSpec:
        """The specification of the data for models, with the class frequencies of the training rows."""
        classes = self.schema.classes
        counts = np.array(self.schema[self.schema.target or ""].counts if classes else (), float)
        frequencies = tuple((counts / counts.sum()).tolist()) if classes else ()
        return DataSpec("table", (self.width,), 0, classes, frequencies, self.columns)

    def needs(self, rows: int) -> int:
        """Estimates the bytes of memory for training on `rows` rows: the encoded rows, and two dense networks.

        Each network has layers D -> 512 -> D, gradients, the moments of Adam, and activations for a batch of 512.
        """
        weights = 2 * 2 * self.width * _HIDDEN
        return 4 * (rows * self.width + 4 * weights + 8 * _BATCH * (self.width + _HIDDEN))

    def preflight(self, rows: int, available: int | None = None) -> str:
        """Checks that training fits into memory.

        Args:
            rows: number of rows that are encoded at once.
            available: bytes of memory; default: `memory.limit()`.

        Returns:
            A line with the width of the encoding and the memory that training needs.

        Raises:
            InputError: training needs more memory than available.
        """
        available = available or memory.limit()
        widest = max(self.codings, key=lambda coding: coding.size)
        line = (
            f"{len(self.codings)} columns are encoded as {self.width:,} positions (widest: {shown(widest.name)}, "
            f"{widest.encoding}, {widest.size:,}); training on {rows:,} rows takes about "
            + memory.shown(self.needs(rows))
        )
        if self.needs(rows) > available:
            advice = "encode wide columns as `code` or `interval`, or train on fewer rows"
            raise InputError(f"{line}, and there are {memory.shown(available)}: {advice}")
        return line

    def to_dict(self) -> dict[str, Any]:
        """The encoder as plain values for JSON; see `from_dict`."""
        values = {"schema": self.schema.to_dict(), "codings": [asdict(coding) for coding in self.codings]}
        if self.plan is None:
            return values
        return values | {"plan": stored.to_dict(self.plan), "free": self.learnt.to_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Makes an encoder from the values of `to_dict`."""
        tables = ("forward", "inverse", "modes")
        codings = [
            Coding(**{**coding, **{name: tuple(map(tuple, coding[name])) for name in tables}})
            for coding in values["codings"]
        ]
        schema = Schema.from_dict(values["schema"])
        if "plan" not in values:
            return cls(schema, tuple(codings))
        return cls(schema, tuple(codings), stored.from_dict(values["plan"]), Schema.from_dict(values["free"]))
