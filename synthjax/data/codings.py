"""Encodings of single columns: their choice, their fitted parameters, and the layout of a table's encoded rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from synthjax.data import column_units, scalers
from synthjax.data.arrays import shown
from synthjax.data.schema import DISCRETE, NUMERIC, Field
from synthjax.errors import InputError
from synthjax.statistics import apart

if TYPE_CHECKING:
    import pandas as pd

PRESETS = {
    "minmax": ("minmax", "onehot"),
    "interval": ("minmax", "interval"),
    "quantile": ("quantile", "onehot"),
    "mode": ("mode", "onehot"),
    "code": ("quantile", "code"),
}
"""Preset -> encoding of numbers and dates, encoding of categories."""
NUMBERS = ("minmax", "quantile", "mode")
UNEVEN = ("quantile", "mode")
"""Encodings that use the endings of numbers (`synthjax.data.endings`); minmax does not, since it is linear."""
CATEGORIES = ("onehot", "interval", "code")
ONEHOT = 256
"""Maximum number of categories of a one-hot column; with more, presets use `code`."""
KNOTS = 500_000
"""Maximum number of knots of all quantile columns together."""


@dataclass(frozen=True)
class Coding:
    """The fitted encoding of one column, see `learn`."""

    name: str
    encoding: str
    codes: int = 0
    """Of a discrete column: number of codes, including the last one for missing values, if there are any."""
    missing: bool = False
    """Whether values are missing in training rows."""
    forward: tuple[tuple[float, ...], ...] = ()
    """Of `quantile`: two rows, u and z, of the piecewise linear function from u to z."""
    inverse: tuple[tuple[float, ...], ...] = ()
    """Of `quantile`: two rows, z and u, of the piecewise linear function from z to u."""
    modes: tuple[tuple[float, ...], ...] = ()
    """Of `mode`: three rows, means, standard deviations and weights."""

    @property
    def size(self) -> int:
        """Number of positions of the column in an encoded row."""
        if self.encoding == "onehot":
            return self.codes
        if self.encoding == "mode":
            return 1 + len(self.modes[0]) + self.missing
        return 1 + (self.missing and self.encoding in NUMBERS)

    @property
    def tolerance(self) -> float:
        """Absolute error of a scaled value after decoding, in addition to the rounding of f32."""
        return 2.0**-22 if self.encoding == "mode" else 0.0


def choose(field: Field, target: str | None, preset: str) -> str:
    """Chooses the encoding of a column.

    Args:
        field: the column. Its own encoding, if it has one, replaces that of the preset.
        target: name of the target, if there is one.
        preset: one of PRESETS.

    Returns:
        One of NUMBERS or CATEGORIES, or "" if columns of this kind are not encoded. A discrete target is one-hot, or
        `code` if it has more than ONEHOT categories.

    Raises:
        InputError: the column's own encoding does not fit its kind.

    >>> choose(Field("age", "integer", rows=9), None, "mode")
    'mode'
    >>> choose(Field("sex", "categorical", rows=9), None, "mode")
    'onehot'
    """
    if field.kind not in (*NUMERIC, *DISCRETE):
        return ""
    known = NUMBERS if field.kind in NUMERIC else CATEGORIES
    if field.encoding and field.encoding not in known:
        raise InputError(
            f"column {shown(field.name)!r} is {field.kind}: encoding {field.encoding!r} does not fit; "
            f"there are {', '.join(known)}"
        )
    if field.name == target and field.kind in DISCRETE:
        return "onehot" if len(field.categories) <= ONEHOT else "code"
    name = field.encoding or PRESETS[preset][field.kind in DISCRETE]
    wide = name == "onehot" and len(field.categories) > ONEHOT and not field.encoding
    return "code" if wide else name


def learn(
    field: Field,
    encoding: str,
    frame: "pd.DataFrame",
    knots: int,
    min_count: int,
    persons: np.ndarray | None = None,
) -> Coding:
    """Fits the encoding of a column.

    Args:
        field: the column.
        encoding: see `choose`.
        frame: typed training rows.
        knots: maximum number of knots of a quantile column.
        min_count: minimum number of rows for each stored mean; with `persons`, of persons.
        persons: (n,) i64 whose row each is; None: each is its own.

    Raises:
        InputError: a category is too rare for the encoding `interval`, or a value is not of the column's kind.
    """
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
    persons = None if persons is None else persons[~np.isnan(u)]
    u = u[~np.isnan(u)]
    if encoding == "mode":
        u = u if persons is None else u[apart(u, persons, min_count)]
        return Coding(field.name, encoding, missing=missing, modes=_tuples(scalers.fit_modes(u, min_count)))
    expected = np.array(field.shared_rows) * (len(u) / max(field.rows - field.missing, 1))
    shared = column_units.shared_scaled(field)
    forward, inverse = scalers.quantile_tables(u, shared, expected, knots, min_count, persons)
    return Coding(field.name, encoding, missing=missing, forward=_tuples(forward), inverse=_tuples(inverse))


def _tuples(table: np.ndarray) -> tuple[tuple[float, ...], ...]:
    return tuple(map(tuple, table.tolist()))


def layout(codings: Sequence[Coding], fields: Mapping[str, Field]) -> scalers.Layout:
    """Makes the layout of encoded rows, in which columns are grouped by encoding.

    Args:
        codings: of the encoded columns, in order.
        fields: name -> field of these columns.
    """
    groups: dict[str, list[tuple[int, int, Coding]]] = {name: [] for name in (*NUMBERS, *CATEGORIES)}
    start = 0
    for i, coding in enumerate(codings):
        groups[coding.encoding].append((i, start, coding))
        start += coding.size
    units = len(codings)
    hot = [(i, start, coding.codes) for i, start, coding in groups["onehot"]]
    hot += [(units + i, at + 1, coding.size - 1) for i, (_, at, coding) in enumerate(groups["mode"])]
    cuts = []
    for i, at, coding in groups["interval"]:
        field = fields[coding.name]
        cuts.append(scalers.cut(i, at, np.array([*field.counts, *[field.missing] * coding.missing])))
    slots = [(i, at + 1) for name in ("minmax", "quantile") for i, at, coding in groups[name] if coding.missing]
    modes = [np.array(coding.modes, np.float32) for _, _, coding in groups["mode"]]
    padded = scalers.stacked(modes, 3)
    for row, table in zip(padded, modes, strict=True):
        row[2, table.shape[1] :] = 0
    return scalers.Layout(
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
    """Units and positions of the columns of one encoding, (c, 2) i64."""
    return np.array([pair[:2] for pair in group], np.int64).reshape(-1, 2)


def _choices(hot: list[tuple[int, int, int]]) -> tuple[scalers.Choice, ...]:
    """Groups one-hot columns (source, start, size) by size."""
    choices = []
    for size in sorted({size for _, _, size in hot}):
        sources, starts = np.array([(source, start) for source, start, n in hot if n == size], np.int64).T
        choices.append(scalers.Choice(size, sources, starts[:, None] + np.arange(size)))
    return tuple(choices)
