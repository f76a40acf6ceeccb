"""Reader of synthetic tables from other programs, according to the schema of the real table.

Nothing is dropped silently. If the file does not fit the schema, the error names the file, the row and the column.
Categories that the real table does not have are reported.

    frame, notes = read("synthetic.csv", real.table.schema, {"city": {"Ayr", "Bath"}})
"""

import re
from collections.abc import Mapping, Set
from pathlib import Path
from typing import TYPE_CHECKING

from synthjax.data.arrays import fault, shown
from synthjax.data.identifiers import matches
from synthjax.data.readers import Reader, open_table
from synthjax.data.schema import DISCRETE, MISSING, RARE, Field, Schema
from synthjax.data.table_names import ENDINGS, is_table_file
from synthjax.data.text_values import Chunk, cell_fault, typed

if TYPE_CHECKING:
    import pandas as pd

OPTIONAL = ("text", "id", "constant")
"""Kinds of columns that a synthetic table need not have; models do not learn them."""
_TRUTHS = {"true": True, "yes": True, "y": True, "t": True, "1": True, "on": True}
_TRUTHS |= {"false": False, "no": False, "n": False, "f": False, "0": False, "off": False}
_LISTED = 5
"""Maximum number of columns or values in a message."""


def read(
    path: str | Path, schema: Schema, known: Mapping[str, Set[str]], tokens: tuple[str, ...] = MISSING
) -> tuple["pd.DataFrame", list[str]]:
    """Reads a CSV or Parquet file.

    Args:
        path: of the file.
        schema: of the real table.
        known: discrete column -> all values of the real rows.
        tokens: cells that mean a missing value in the real file. The usual ones, `MISSING`, mean this too, unless a
            real column has them as a category.

    Returns:
        frame: the rows (see `synthjax.data.text_values`), with the columns of the schema that the file has, in the
            order of the schema.
        notes: for each column with categories that the real table does not have, a line for the user.

    Raises:
        InputError: the file cannot be read; a column is missing or unknown; a cell does not fit the kind of its column;
            a label is not a class of the target; or a column has no category of the real table.
    """
    if not is_table_file(path):
        raise fault(path, f"not a table: the real data is one, so its name must end in {', '.join(ENDINGS)}")
    reader = open_table(path)
    # In files for spreadsheets, names that would be run as a formula have a leading '.
    names = {name if name in schema.names else name.removeprefix("'"): name for name in reader.names}
    fields = _fields(tuple(names), schema, path)
    present = Schema(fields, schema.target, schema.min_count)
    values = set().union(*known.values()) if known else set()
    tokens = (*tokens, *(token for token in MISSING if token not in tokens and token not in values))
    frame = _typed(reader, names, present, tokens)
    notes = []
    for field in fields:
        if field.kind in DISCRETE:
            truths = _TRUTHS if field.kind == "boolean" else {}
            frame[field.name] = _respelled(frame[field.name], known[field.name], truths)
            notes += _unknown(frame[field.name], known[field.name], path, field, target=field.name == schema.target)
    return frame, notes


def _typed(reader: Reader, names: Mapping[str, str], schema: Schema, tokens: tuple[str, ...]) -> "pd.DataFrame":
    """Reads all rows; `names` maps the columns of the schema to their names in the file."""
    import pandas as pd

    wanted = [names[name] for name in schema.names]
    chunks = reader.chunks(wanted)
    renamed = (Chunk(chunk.cells.select(wanted).rename_columns(schema.names), chunk.rows) for chunk in chunks)
    return pd.concat([typed(chunk, schema, tokens, reader.where) for chunk in renamed])


def _fields(names: tuple[str, ...], schema: Schema, path: str | Path) -> tuple[Field, ...]:
    """The fields of the columns in the file; InputError if columns are missing or unknown."""
    absent = [field.name for field in schema.fields if field.name not in names and field.kind not in OPTIONAL]
    extra = [name for name in names if name not in schema.names]
    faults = []
    if absent:
        faults.append(f"lacks the {_columns(absent)} of the real table")
    if extra:
        faults.append(f"has the {_columns(extra)}, which the real table has not")
    if faults:
        raise fault(path, "; ".join(faults))
    return tuple(field for field in schema.fields if field.name in names)


def _columns(names: list[str]) -> str:
    """Names of columns for a message, of which at most _LISTED are listed."""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"column{'s' * (len(names) > 1)} {', '.join(repr(shown(name)) for name in names[:_LISTED])}{more}"


def _respelled(column: "pd.Series", known: Set[str], truths: Mapping[str, bool]) -> "pd.Series":
    """Replaces other spellings of known values.

    These are integers with the .0 that pandas adds if values are missing, text with the ' of spreadsheets, and the
    words in `truths`.
    """
    unknown = {value for value in column.dropna().unique() if value not in known}
    own = {truths[value.lower()]: value for value in known if value.lower() in truths}
    short = {value: re.sub(r"^(-?\d+)\.0+$", r"\1", value).removeprefix("'") for value in unknown}
    for value, spelling in short.items():
        if spelling.lower() in truths:
            short[value] = own.get(truths[spelling.lower()], spelling)
    return column.replace({value: spelling for value, spelling in short.items() if spelling in known})


def _unknown(column: "pd.Series", known: Set[str], path: str | Path, field: Field, *, target: bool) -> list[str]:
    """A line about values that no real row has; InputError if they are labels, or if all values are unknown."""
    present = column.dropna()
    unknown = ~present.isin(known)
    if field.pattern:  # codes made anew
        unknown &= ~matches(field, present)
    # Models merge rare categories into RARE, so it is expected.
    unexpected = present[unknown & (present != RARE)]
    examples = ", ".join(repr(shown(value)) for value in sorted(known)[:_LISTED]) + (", ..." * (len(known) > _LISTED))
    if len(unexpected) and (target or unknown.all()):
        what = "none of the classes" if target else "like all values of the column no category of the real table:"
        raise cell_fault(path, (int(unexpected.index[0]), unexpected.iloc[0]), str(column.name), f"{what} {examples}")
    if not unknown.any():
        return []
    counts = present[unknown].value_counts()
    named = ", ".join(f"{shown(value)!r} {count}" for value, count in counts.head(_LISTED).items())
    more = f" and {len(counts) - _LISTED} more" if len(counts) > _LISTED else ""
    share = unknown.sum() / len(column)
    rows = f"{unknown.sum():,} synthetic rows ({share:.1%})"
    return [f"column {shown(column.name)!r}: {rows} hold categories that no real row has: {named}{more}"]
