"""How single columns are encoded: which encoding, what it learns of its column, and all of a table together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from synthjax.data import column_units, scalers
from synthjax.data.arrays import shown
from synthjax.data.schema import DISCRETE, NUMERIC, Field
from synthjax.errors import InputError

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
UNEVEN = ("quantile", "mode")
"""Encodings of numbers whose endings are learnt; minmax is linear."""
CATEGORIES = ("onehot", "interval", "code")
ONEHOT = 256
"""Most categories that a preset makes one-hot."""
KNOTS = 500_000
"""Of all quantile columns together."""


@dataclass(frozen=True)
class Coding:
    """How one column is encoded: what `learn` found."""

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


def choose(field: Field, target: str | None, preset: str) -> str:
    """The encoding of a column; "": it is not encoded."""
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


def learn(field: Field, encoding: str, frame: "pd.DataFrame", knots: int, min_count: int) -> Coding:
    """What an encoding learns of its column from typed training rows; `knots` at most for quantiles."""
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


def layout(codings: Sequence[Coding], fields: Mapping[str, Field]) -> scalers.Layout:
    """The columns' encodings in the form that `scalers` works with, grouped by encoding."""
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
    return np.array([pair[:2] for pair in group], np.int64).reshape(-1, 2)


def _choices(hot: list[tuple[int, int, int]]) -> tuple[scalers.Choice, ...]:
    """One-hot columns (source, start, size) grouped by size."""
    choices = []
    for size in sorted({size for _, _, size in hot}):
        sources, starts = np.array([(source, start) for source, start, n in hot if n == size], np.int64).T
        choices.append(scalers.Choice(size, sources, starts[:, None] + np.arange(size)))
    return tuple(choices)
