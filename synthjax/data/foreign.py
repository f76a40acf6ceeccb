"""A table that somebody else made, read as the real table that it imitates says: same columns, kinds and spellings.

Nothing is guessed and nothing silently dropped: what does not fit is one line that names file, row and column, and what
was read otherwise than it stands there is told.

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
"""Kinds of columns that a synthetic table may lack: nothing is learnt from them."""
_TRUTHS = {"true": True, "yes": True, "y": True, "t": True, "1": True, "on": True}
_TRUTHS |= {"false": False, "no": False, "n": False, "f": False, "0": False, "off": False}
_LISTED = 5
"""Columns and values that a line names at most."""


def read(
    path: str | Path, schema: Schema, known: Mapping[str, Set[str]], tokens: tuple[str, ...] = MISSING
) -> tuple["pd.DataFrame", list[str]]:
    """Reads a CSV or Parquet file against the schema of the real table.

    Args:
        path: the file.
        schema: of the real table.
        known: discrete column -> every value that the real rows hold.
        tokens: cells that say in the real file that a value is missing. Those that are usual elsewhere count too,
            unless some real column has them for a category.

    Returns:
        The rows as a typed frame (`synthjax.data.text_values`), with those columns of the schema that the file has, in
        the schema's order; and for the user a line per column whose categories differ from the real ones.

    Raises:
        InputError: the file cannot be read; a column is missing, or is none of the real ones; a cell is not of its
            column's kind; a label is none of the target's classes; no category of a column is a real one.
    """
    if not is_table_file(path):
        raise fault(path, f"is no table: the real data is one, so its name must end in {', '.join(ENDINGS)}")
    reader = open_table(path)
    # What was written for spreadsheets has a ' before what they would take for a formula.
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
            frame[field.name] = _spelt(frame[field.name], known[field.name], truths)
            notes += _strangers(frame[field.name], known[field.name], path, field, target=field.name == schema.target)
    return frame, notes


def _typed(reader: Reader, names: Mapping[str, str], schema: Schema, tokens: tuple[str, ...]) -> "pd.DataFrame":
    """All rows; `names`: column of the schema -> its name in the file."""
    import pandas as pd

    wanted = [names[name] for name in schema.names]
    chunks = reader.chunks(wanted)
    renamed = (Chunk(chunk.cells.select(wanted).rename_columns(schema.names), chunk.rows) for chunk in chunks)
    return pd.concat([typed(chunk, schema, tokens, reader.where) for chunk in renamed])


def _fields(names: tuple[str, ...], schema: Schema, path: str | Path) -> tuple[Field, ...]:
    """The schema's fields that the file has, if it has all that are needed and no others."""
    absent = [field.name for field in schema.fields if field.name not in names and field.kind not in OPTIONAL]
    extra = [name for name in names if name not in schema.names]
    told = []
    if absent:
        told.append(f"lacks the {_columns(absent)} of the real table")
    if extra:
        told.append(f"has the {_columns(extra)}, which the real table has not")
    if told:
        raise fault(path, "; ".join(told))
    return tuple(field for field in schema.fields if field.name in names)


def _columns(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"column{'s' * (len(names) > 1)} {', '.join(repr(shown(name)) for name in names[:_LISTED])}{more}"


def _spelt(column: "pd.Series", known: Set[str], truths: Mapping[str, bool]) -> "pd.Series":
    """The column spelt as the real one: no .0, which pandas adds to integers beside gaps, no ' of spreadsheets.

    `truths`: what is spelt in several ways.
    """
    odd = {value for value in column.dropna().unique() if value not in known}
    own = {truths[value.lower()]: value for value in known if value.lower() in truths}
    short = {value: re.sub(r"^(-?\d+)\.0+$", r"\1", value).removeprefix("'") for value in odd}
    for value, spelling in short.items():
        if spelling.lower() in truths:
            short[value] = own.get(truths[spelling.lower()], spelling)
    return column.replace({value: spelling for value, spelling in short.items() if spelling in known})


def _strangers(column: "pd.Series", known: Set[str], path: str | Path, field: Field, *, target: bool) -> list[str]:
    """A line on values that no real row has; InputError where they are labels, or all there are."""
    there = column.dropna()
    strange = ~there.isin(known)
    if field.pattern:  # codes made anew
        strange &= ~matches(field, there)
    # What models merge rare categories into is expected.
    odd = there[strange & (there != RARE)]
    examples = ", ".join(repr(shown(value)) for value in sorted(known)[:_LISTED]) + (", ..." * (len(known) > _LISTED))
    if len(odd) and (target or strange.all()):
        what = "none of the classes" if target else "like all values of the column no category of the real table:"
        raise cell_fault(path, (int(odd.index[0]), odd.iloc[0]), str(column.name), f"{what} {examples}")
    if not strange.any():
        return []
    counts = there[strange].value_counts()
    named = ", ".join(f"{shown(value)!r} {count}" for value, count in counts.head(_LISTED).items())
    more = f" and {len(counts) - _LISTED} more" if len(counts) > _LISTED else ""
    share = strange.sum() / len(column)
    rows = f"{strange.sum():,} synthetic rows ({share:.1%})"
    return [f"column {shown(column.name)!r}: {rows} hold categories that no real row has: {named}{more}"]
