"""Conditions COLUMN=VALUE on the rows of a synthetic table.

    condition = parse("income=>50K", encoder)
    kept = condition.holds(frame)              # (n,) bool for decoded rows

A value has the format of the file. An empty one, or a token for missing values, selects rows without a value. A value
that no synthetic row can have is an error, whose message lists the possible ones.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

from synthjax.data.arrays import shown
from synthjax.data.schema import MISSING, NUMERIC, Field, check_known
from synthjax.data.text_values import as_times, plain_numbers, to_numbers, to_seconds
from synthjax.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from synthjax.data.encoding import Encoder

_LISTED = 30
"""Maximum number of categories in a message."""


class Condition(NamedTuple):
    """One condition."""

    field: Field
    value: str | float | None
    """A category, a number, a time in seconds since 1970-01-01; None: a missing value."""

    def holds(self, frame: "pd.DataFrame") -> np.ndarray:
        """Whether each row of a typed frame meets the condition: (n,) bool."""
        values = frame[self.field.name]
        if self.value is None:
            return values.isna().to_numpy()
        value = as_times(np.array([self.value]))[0] if self.field.kind == "datetime" else self.value
        return (values == value).fillna(False).to_numpy(bool)


def parse(text: str, encoder: "Encoder") -> Condition:
    """Parses a condition COLUMN=VALUE.

    Raises:
        InputError: there is no such column, models do not learn it, or no row can have the value.
    """
    names = encoder.schema.names
    cuts = [i for i, letter in enumerate(text) if letter == "="]
    if not cuts:
        raise InputError(f"--where={shown(text)}: write COLUMN=VALUE")
    cut = next((i for i in cuts if text[:i] in names), cuts[0])  # a column's name may contain =
    name, cell = text[:cut], text[cut + 1 :]
    check_known(name, names, f"--where={text}", "column")
    field = encoder.schema[name]
    if field.kind in ("id", "text"):
        raise InputError(f"--where={shown(text)}: {shown(name)} is {field.holds()}")
    if cell not in field.categories and cell in (*MISSING, field.token, *field.tokens):
        value, known = None, field.missing > 0 and not (field.kind == "constant" and field.categories)
    else:
        value = _number(field, cell) if field.kind in NUMERIC else _category(field, cell)
        known = value is not None
    if not known:
        raise InputError(f"--where={shown(text)}: {shown(name)} {_has(field)}; no row has {shown(cell)!r}")
    return Condition(field, value)


def _category(field: Field, cell: str) -> str | None:
    """The category of a cell, None if there is none; case is ignored for booleans."""
    names = field.categories
    if field.kind != "boolean":
        return cell if cell in names else None
    return next((name for name in names if name.lower() == cell.lower()), None)


def _number(field: Field, cell: str) -> float | None:
    """The number or time of a cell; None if it is outside the column's bounds or has too many digits."""
    if field.kind == "datetime":
        value = float(to_seconds(pa.array([cell]), field.format)[0])
    else:
        value = float(to_numbers(plain_numbers(pa.array([cell]), field.format))[0])
    digits = 0 if field.kind == "integer" else field.decimals[1] if field.decimals else None
    if not field.low <= value <= field.high or (
        field.kind != "datetime" and digits is not None and round(value, digits) != value
    ):
        return None
    return value


def _has(field: Field) -> str:
    """The possible values of a column, for a message."""
    gaps = " or nothing" if field.missing else ""
    if field.kind in NUMERIC:
        whole = "whole numbers " if field.kind == "integer" else ""
        form = f" (as {field.format})" if field.kind == "datetime" else ""
        return f"has {whole}{field.number(field.low)} ... {field.number(field.high)}{form}{gaps}"
    names = ", ".join(map(shown, field.categories[:_LISTED])) or "no value"
    more = len(field.categories) - _LISTED
    return f"has {names}{f' and {more:,} more' if more > 0 else ''}{gaps}"
