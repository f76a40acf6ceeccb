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
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from synthjax.data import column_units, memory, scalers
from synthjax.data.arrays import shown
from synthjax.data.schema import DISCRETE, NUMERIC, Field, Schema
from synthjax.errors import InputError
from synthjax.model import Column, DataSpec

if TYPE_CHECKING:
    import pandas as pd

PRESETS = {
    "minmax": ("minmax", "onehot"),
    "interval": ("minmax", "interval"),
    "quantile": ("quantile", "onehot"),
    "mode": ("mode", "onehot"),
    "code": ("quantile", "code"),
}
"""Name -> encoding of numbers and dates, encoding of categories."""
NUMBERS = ("minmax", "quantile", "mode")
CATEGORIES = ("onehot", "interval", "code")
ONEHOT = 256
"""Most categories that a preset makes one-hot."""
_KNOTS = 500_000  # of all quantile columns together
_HIDDEN, _BATCH = 512, 512  # of the network whose memory `Encoder.needs` estimates


@dataclass(frozen=True)
class Coding:
    """How one column is encoded: what `fit` learnt of it."""

    name: str
    encoding: str
    codes: int = 0
    """Of a discrete column: number of codes, the missing one (the last) included."""
    missing: bool = False
    """Whether training rows lack values."""
    forward: tuple[tuple[float, ...], ...] = ()
    """quantile: two rows, u and z."""
    inverse: tuple[tuple[float, ...], ...] = ()
    """quantile: two rows, z and u."""
    modes: tuple[tuple[float, ...], ...] = ()
    """mode: three rows, means, standard deviations and weights."""

    @property
    def size(self) -> int:
        """Positions that the column takes."""
        if self.encoding == "onehot":
            return self.codes
        if self.encoding == "mode":
            return 1 + len(self.modes[0]) + self.missing
        return 1 + (self.missing and self.encoding in NUMBERS)

    @property
    def tolerance(self) -> float:
        """Absolute error of a scaled value after decoding, beside the rounding of f32."""
        return 2.0**-22 if self.encoding == "mode" else 0.0


@dataclass(frozen=True)
class Encoder:
    """Encodes and decodes the rows of one table."""

    schema: Schema
    codings: tuple[Coding, ...]
    """Of the encoded columns, in the order of the schema."""

    @classmethod
    def fit(cls, frame: "pd.DataFrame", schema: Schema, encoding: str = "quantile") -> Self:
        """Learns the encoding of each column.

        Args:
            frame: typed training rows, or a fair sample of them (100,000 are plenty); numbers and dates are enough.
            schema: measured on all training rows.
            encoding: one of PRESETS.

        Raises:
            InputError: an unknown encoding, one that does not fit its column, or no column to encode.
        """
        if encoding not in PRESETS:
            raise InputError(f"encoding={encoding}: unknown; there are {', '.join(PRESETS)}")
        chosen = {field.name: _choice(field, schema, encoding) for field in schema.fields}
        count = sum(name == "quantile" for name in chosen.values())
        knots = int(np.clip(_KNOTS // max(count, 1), 32, 1000))
        codings = tuple(
            _coding(field, chosen[field.name], frame, knots, schema.min_count)
            for field in schema.fields
            if chosen[field.name]
        )
        if not codings:
            raise InputError("the table has no column to learn: all are constant, identifiers or free text")
        return cls(schema, codings)

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
    def plan(self) -> scalers.Plan:
        """The columns' encodings in the form that `scalers` works with."""
        return _plan(self)

    def forward(self, units, noise):
        """Positions (n, D) f32 of units; see `scalers.forward`. Can be jitted."""
        return scalers.forward(self.plan, units, noise)

    def inverse(self, x):
        """Units (n, columns) f32 of rows x (n, D) f32, whatever real numbers they hold. Can be jitted."""
        return scalers.inverse(self.plan, x)

    # --- from and to frames

    def units(self, frame: "pd.DataFrame") -> tuple[np.ndarray, np.ndarray]:
        """The numeric matrix of a frame, (n, columns) f32, see `scalers`; and (n, columns) bool, see `unseen`."""
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
        noise = np.random.default_rng((seed, 1)).standard_normal((len(units), len(self.plan.interval)), np.float32)
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
        names = tuple(coding.name for coding in self.codings)
        tolerances = {coding.name: coding.tolerance for coding in self.codings}
        return column_units.decoded(self.schema, names, units, seed, start, tolerances)

    @functools.cached_property
    def _fields(self) -> dict[str, Field]:
        return {field.name: field for field in self.schema.fields}

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
        return {"schema": self.schema.to_dict(), "codings": [asdict(coding) for coding in self.codings]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The encoder that `to_dict` wrote."""
        tables = ("forward", "inverse", "modes")
        codings = [
            Coding(**{**coding, **{name: tuple(map(tuple, coding[name])) for name in tables}})
            for coding in values["codings"]
        ]
        return cls(Schema.from_dict(values["schema"]), tuple(codings))


# --- fitting -----------------------------------------------------------------------------------------------------


def _choice(field: Field, schema: Schema, preset: str) -> str:
    """The encoding of a column; "": it is not encoded."""
    if field.kind not in (*NUMERIC, *DISCRETE):
        return ""
    known = NUMBERS if field.kind in NUMERIC else CATEGORIES
    if field.encoding and field.encoding not in known:
        raise InputError(
            f"column {shown(field.name)!r} is {field.kind}: encoding {field.encoding!r} does not fit; "
            f"there are {', '.join(known)}"
        )
    if field.name == schema.target and field.kind in DISCRETE:
        return "onehot" if len(field.categories) <= ONEHOT else "code"
    name = field.encoding or PRESETS[preset][field.kind in DISCRETE]
    wide = name == "onehot" and len(field.categories) > ONEHOT and not field.encoding
    return "code" if wide else name


def _coding(field: Field, encoding: str, frame: "pd.DataFrame", knots: int, min_count: int) -> Coding:
    missing = field.missing > 0
    if field.kind in DISCRETE:
        codes = len(field.categories) + missing
        if encoding == "interval" and min([*field.counts, field.missing or field.rows]) < 1e-6 * field.rows:
            raise InputError(
                f"column {shown(field.name)!r}: categories too rare for intervals of f32; encode as `code`"
            )
        return Coding(field.name, encoding, codes, missing)
    if encoding == "minmax":
        return Coding(field.name, encoding, missing=missing)
    u = column_units.scaled(column_units.column(frame, field), field)
    u = u[~np.isnan(u)]
    if encoding == "mode":
        return Coding(field.name, encoding, missing=missing, modes=_tuples(scalers.fit_modes(u, min_count)))
    expected = np.array(field.shared_rows) * (len(u) / max(field.rows - field.missing, 1))
    forward, inverse = scalers.quantile_tables(u, column_units.shared_scaled(field), expected, knots, min_count)
    return Coding(field.name, encoding, missing=missing, forward=_tuples(forward), inverse=_tuples(inverse))


def _tuples(table: np.ndarray) -> tuple[tuple[float, ...], ...]:
    return tuple(map(tuple, table.tolist()))


def _plan(encoder: Encoder) -> scalers.Plan:
    """Groups the columns by encoding."""
    groups: dict[str, list[tuple[int, int, Coding]]] = {name: [] for name in (*NUMBERS, *CATEGORIES)}
    start = 0
    for i, coding in enumerate(encoder.codings):
        groups[coding.encoding].append((i, start, coding))
        start += coding.size
    units = len(encoder.codings)
    hot = [(i, start, coding.codes) for i, start, coding in groups["onehot"]]
    hot += [(units + i, at + 1, coding.size - 1) for i, (_, at, coding) in enumerate(groups["mode"])]
    cuts = []
    for i, at, coding in groups["interval"]:
        field = encoder._fields[coding.name]
        cuts.append(scalers.cut(i, at, np.array([*field.counts, *[field.missing] * coding.missing])))
    slots = [(i, at + 1) for name in ("minmax", "quantile") for i, at, coding in groups[name] if coding.missing]
    modes = [np.array(coding.modes, np.float32) for _, _, coding in groups["mode"]]
    padded = scalers.stacked(modes, 3)
    for row, table in zip(padded, modes, strict=True):
        row[2, table.shape[1] :] = 0
    return scalers.Plan(
        width=start,
        units=units,
        minmax=_pairs(groups["minmax"]),
        quantile=_pairs(groups["quantile"]),
        forward=scalers.stacked([np.array(coding.forward, np.float32) for _, _, coding in groups["quantile"]], 2),
        inverse=scalers.stacked([np.array(coding.inverse, np.float32) for _, _, coding in groups["quantile"]], 2),
        mode=_pairs(groups["mode"]),
        modes=padded,
        mode_missing=np.array([len(c.modes[0]) if c.missing else -1 for _, _, c in groups["mode"]], np.int32),
        choices=_choices(hot),
        interval=tuple(cuts),
        code=np.array([(i, at, coding.codes) for i, at, coding in groups["code"]], np.int64).reshape(-1, 3),
        slots=np.array(slots, np.int64).reshape(-1, 2),
    )


def _pairs(group: list[tuple[int, int, Coding]]) -> np.ndarray:
    return np.array([pair[:2] for pair in group], np.int64).reshape(-1, 2)


def _choices(hot: list[tuple[int, int, int]]) -> tuple[scalers.Choice, ...]:
    """One-hot columns (source, start, size) grouped by size."""
    choices = []
    for size in sorted({size for _, _, size in hot}):
        sources, starts = np.array([(source, start) for source, start, n in hot if n == size], np.int64).T
        choices.append(scalers.Choice(size, sources, starts[:, None] + np.arange(size)))
    return tuple(choices)
