"""An `Encoder`: rows of a table as vectors that a model learns from, and a model's vectors as rows of the table.

    encoder = Encoder.fit(frame, schema, "quantile")     # of training rows only
    x = encoder.encode(frame)                            # (N, D) f32
    frame = encoder.decode(x)                            # typed, columns in the order of the file
    units = encoder.inverse(x)                           # the numeric part alone: NumPy or JAX, can be jitted

Which encoding a column gets is a preset's choice, or its own (`encoding:` in a schema file):

    preset      numbers and dates    categories
    minmax      minmax               onehot       study S2, numeric columns
    interval    minmax               interval     study S2, all columns
    quantile    quantile             onehot
    mode        mode                 onehot       as CTGAN does
    code        quantile             code

`synthjax.data.scalers` defines them. Two columns depart from their preset: a categorical target is one-hot always,
since labels are written into its slice, and beyond `ONEHOT` categories one-hot columns become codes. Missing is a
state: a position of its own beside a number, one more category elsewhere. Constants, identifiers and free text are
not encoded; `decode` puts the former back, makes identifiers anew and leaves free text out.

What is encoded is clipped to the schema's bounds. A number or date that the schema lists as shared is decoded exactly.
All else that an encoding stores of training numbers are means of at least `min_count` rows. A category that training
never saw becomes `(rare)` where there is one, else missing where that occurs, else the most frequent; `unseen` counts
them.
"""

import functools
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from synthjax.data import column_units, identifiers, memory, scalers
from synthjax.data.arrays import shown
from synthjax.data.codings import KNOTS, NUMBERS, PRESETS, UNEVEN, Coding, choose, layout, learn
from synthjax.data.schema import DISCRETE, Field, Schema
from synthjax.errors import InputError
from synthjax.model import Column, DataSpec
from synthjax.rules import Plan, stored

if TYPE_CHECKING:
    import pandas as pd

_HIDDEN, _BATCH = 512, 512  # of the network whose memory `Encoder.needs` estimates


@dataclass(frozen=True)
class Encoder:
    """Encodes and decodes the rows of one table."""

    schema: Schema
    codings: tuple[Coding, ...]
    """Of the encoded columns, in the order of the schema `learnt`."""
    plan: Plan | None = None
    """How rows follow from the columns that are learnt, so that rules between columns hold; None: they are the same."""
    free: Schema | None = None
    """Of the columns that are learnt, with a plan."""

    @classmethod
    def fit(
        cls,
        frame: "pd.DataFrame",
        schema: Schema,
        encoding: str = "quantile",
        plan: Plan | None = None,
        free: Schema | None = None,
    ) -> Self:
        """Learns the encoding of each column.

        Args:
            frame: typed training rows, or a fair sample of them (100,000 are plenty); without a plan, numbers and dates
                are enough.
            schema: measured on all training rows.
            encoding: one of PRESETS.
            plan: which columns are learnt, see `synthjax.rules`.
            free: the schema of these columns; with a plan only.

        Raises:
            InputError: an unknown encoding, one that does not fit its column, or no column to encode.
        """
        if encoding not in PRESETS:
            raise InputError(f"encoding={encoding}: unknown; there are {', '.join(PRESETS)}")
        frame = plan.encode(frame) if plan else frame
        chosen = {field.name: choose(field, schema.target, encoding) for field in (free or schema).fields}
        fields = tuple(
            column_units.with_endings(field, frame, schema.min_count) if chosen[field.name] in UNEVEN else field
            for field in (free or schema).fields
        )
        schema, free = (schema, replace(free, fields=fields)) if free else (replace(schema, fields=fields), None)
        count = sum(name == "quantile" for name in chosen.values())
        knots = int(np.clip(KNOTS // max(count, 1), 32, 1000))
        codings = tuple(
            learn(field, chosen[field.name], frame, knots, schema.min_count) for field in fields if chosen[field.name]
        )
        if not codings:
            raise InputError("the table has no column to learn: all are constant, identifiers or free text")
        return cls(schema, codings, plan, free)

    @property
    def learnt(self) -> Schema:
        """The schema of the columns that are learnt."""
        return self.free or self.schema

    # --- the numeric part

    @functools.cached_property
    def columns(self) -> tuple[Column, ...]:
        """Where each column lies in the vector; a column encoded by mode is two, NAME and NAME:mode."""
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
        """Positions of an encoded row."""
        return sum(coding.size for coding in self.codings)

    @functools.cached_property
    def layout(self) -> scalers.Layout:
        """The columns' encodings in the form that `scalers` works with."""
        return layout(self.codings, self._fields)

    def forward(self, units, noise):
        """Positions (n, D) f32 of units; see `scalers.forward`. Can be jitted."""
        return scalers.forward(self.layout, units, noise)

    def inverse(self, x):
        """Units (n, columns) f32 of rows x (n, D) f32, whatever real numbers they hold. Can be jitted."""
        return scalers.inverse(self.layout, x)

    # --- from and to frames

    def units(self, frame: "pd.DataFrame") -> tuple[np.ndarray, np.ndarray]:
        """The numeric matrix of a frame, (n, columns) f32, see `scalers`; and (n, columns) bool, see `unseen`."""
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
        """Rows as vectors.

        Args:
            frame: typed rows with the schema's columns, in any order; others are ignored.
            seed: of the draws within intervals; nothing else is random.

        Returns:
            (n, D) f32.

        Raises:
            InputError: a column is missing, or holds a value that is not of its kind.
        """
        return self.encode_units(self.units(frame)[0], seed)

    def encode_units(self, units: np.ndarray, seed: int = 0) -> np.ndarray:
        """The same of rows' `units`, (n, columns) f32."""
        noise = np.random.default_rng((seed, 1)).standard_normal((len(units), len(self.layout.interval)), np.float32)
        return self.forward(units, noise)

    def labels(self, frame: "pd.DataFrame") -> np.ndarray:
        """(n,) i32 codes of the target; zeros where there is none, or a numeric one.

        Raises:
            InputError: a row without a label, or with one that training never saw.
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
        """Column -> rows that hold a category which training never saw, or too rarely; only columns with any.

        Args:
            known: (n, columns) bool, where neither is so: the second part of `units`.
        """
        counts = zip(self.codings, (~known).sum(axis=0).tolist(), strict=True)
        return {coding.name: count for coding, count in counts if count}

    def decode(self, x: np.ndarray, *, seed: int = 0, start: int = 0) -> "pd.DataFrame":
        """Vectors as typed rows, in the columns' order.

        Args:
            x: (n, D) of any real numbers.
            seed: of the letters of identifiers.
            start: rows of the synthetic table before these: identifiers go on from there and do not repeat.

        Raises:
            InputError: a NaN, whose row and column are named.
        """
        x = np.asarray(x, np.float32)
        if np.isnan(x).any():
            row, position = np.argwhere(np.isnan(x))[0]
            name = next(column.name for column in self.columns if position < column.start + column.size)
            raise InputError(f"row {start + row + 1}, column {shown(name)!r}: NaN, which no value is encoded as")
        return self.rows(self.inverse(x), seed=seed, start=start)

    def rows(self, units: np.ndarray, *, seed: int = 0, start: int = 0) -> "pd.DataFrame":
        """Units (n, columns) f32, as `inverse` gives them, as typed rows; the rest as in `decode`."""
        import pandas as pd

        names = tuple(coding.name for coding in self.codings)
        tolerances = {coding.name: coding.tolerance for coding in self.codings}
        rows = column_units.decoded(self.learnt, names, units, seed, start, tolerances)
        if self.plan is not None:
            whole = self.plan.decode(rows)
            kept = [field.name for field in self.schema.fields if field.kept]
            rows = pd.DataFrame({name: (whole if name in whole else rows)[name] for name in kept})
        for field in self.schema.fields:
            if field.kind in DISCRETE and field.pattern:
                cells = identifiers.filled(rows[field.name], field, seed, start, alone=self.plan is not None)
                rows[field.name] = pd.array(cells, dtype=rows[field.name].dtype)
        return rows

    @functools.cached_property
    def _fields(self) -> dict[str, Field]:
        return {field.name: field for field in self.learnt.fields}

    # --- what it is and what it costs

    def spec(self) -> DataSpec:
        """What models are told of the data; class frequencies as in the training rows."""
        classes = self.schema.classes
        counts = np.array(self.schema[self.schema.target or ""].counts if classes else (), float)
        frequencies = tuple((counts / counts.sum()).tolist()) if classes else ()
        return DataSpec("table", (self.width,), 0, classes, frequencies, self.columns)

    def needs(self, rows: int) -> int:
        """Bytes that training on so many rows takes, roughly: the encoded rows, and two dense networks over them.

        Each network has layers D -> 512 -> D with gradients and Adam's moments, and the activations of a batch of 512.
        """
        weights = 2 * 2 * self.width * _HIDDEN
        return 4 * (rows * self.width + 4 * weights + 8 * _BATCH * (self.width + _HIDDEN))

    def preflight(self, rows: int, there: int | None = None) -> str:
        """One line that says how wide the encoding is and what training needs.

        Args:
            rows: encoded at once.
            there: bytes of memory; default: this machine's, or this container's if that is less.

        Raises:
            InputError: training needs more than there is.
        """
        there = there or memory.limit()
        widest = max(self.codings, key=lambda coding: coding.size)
        line = (
            f"{len(self.codings)} columns are encoded as {self.width:,} positions (widest: {shown(widest.name)}, "
            f"{widest.encoding}, {widest.size:,}); training on {rows:,} rows takes about "
            + memory.shown(self.needs(rows))
        )
        if self.needs(rows) > there:
            advice = "encode wide columns as `code` or `interval`, or train on fewer rows"
            raise InputError(f"{line}, and there are {memory.shown(there)}: {advice}")
        return line

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `from_dict` is the way back."""
        values = {"schema": self.schema.to_dict(), "codings": [asdict(coding) for coding in self.codings]}
        if self.plan is None:
            return values
        return values | {"plan": stored.to_dict(self.plan), "free": self.learnt.to_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The encoder that `to_dict` wrote."""
        tables = ("forward", "inverse", "modes")
        codings = [
            Coding(**{**coding, **{name: tuple(map(tuple, coding[name])) for name in tables}})
            for coding in values["codings"]
        ]
        schema = Schema.from_dict(values["schema"])
        if "plan" not in values:
            return cls(schema, tuple(codings))
        return cls(schema, tuple(codings), stored.from_dict(values["plan"]), Schema.from_dict(values["free"]))
