"""Detection of cells that are meant as numbers or times but cannot be read as such.

If some cells of a numeric column are words, or its times have an unknown format, the column would become categorical.
Most of its values would then be too rare to be stored, and lost. So such cells are an error.
"""

import re
from collections.abc import Mapping
from typing import Any

from synthjax.data.arrays import fault, shown
from synthjax.data.schema import entry
from synthjax.data.text_values import NUMBER, cell_fault
from synthjax.errors import InputError

_LISTED = 8
"""Maximum number of cells in a message."""
_TIMES = (
    r"\d{1,2}:\d\d(:\d\d(\.\d+)?)?( ?[AaPp]\.?[Mm]\.?)?",
    r"(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{4}|\d{1,2}/\d{1,2}/\d\d)([ T].*)?",
    r"[+-]?[$€£¥₹]? ?[+-]?\d{1,9}([.,]\d{3})*([.,]\d+)?( ?[$€£¥₹%])?",
)
_MEASURED = re.compile("|".join(f"(?:{pattern})$" for pattern in (NUMBER, *_TIMES)))
_CODE = re.compile(r"0\d+$")
_ONE_LETTER = re.compile(r"[A-Za-z]?\d+[A-Za-z]?$")
_LETTERED = re.compile(r"[A-Za-z][\d.]+$")
_SEVERAL = 5


def measured(counts: Mapping[str, int]) -> int:
    """Number of rows with a cell that looks like a number, a date or a time of day in any format."""
    return sum(n for cell, n in counts.items() if _MEASURED.match(cell))


def codes(counts: Mapping[str, int], erased: bool) -> bool:
    """Whether cells are codes, not quantities.

    Codes are digits, some with leading zeros (postcodes), of which a few may have a letter before or after them; or
    numbers of which several have a letter in front (codes of diseases), only if they would not mostly be `erased` as
    categories.
    """
    others = [cell for cell in counts if not re.match(NUMBER, cell)]
    leading = sum(map(bool, map(_CODE.match, others)))
    if leading and (leading == len(others) or (leading >= _SEVERAL and all(map(_ONE_LETTER.match, others)))):
        return all(map(_ONE_LETTER.match, counts))
    lettered = [cell for cell in others if _LETTERED.match(cell)]
    return not erased and len(lettered) >= max(_SEVERAL, 0.9 * len(others))


def odd_cell(
    where: object, found: tuple[int, str], name: str, what: str, odd: list[str], said: dict[str, Any]
) -> InputError:
    """The error that a cell does not fit its column, with entries of a schema file that resolve it.

    Args:
        where: the file.
        found: row number (negative if unknown) and text of the cell.
        name: of the column.
        what: describes the cell.
        odd: all such cells; empty if they cannot be missing values.
        said: the column's entry so far, with `missing`.
    """
    lines = []
    if odd and len(odd) <= _LISTED and all(len(cell) <= 64 for cell in odd):
        means = f"{shown(odd[0])!r} means" if len(odd) == 1 else "these cells mean"
        line = entry(name, **{**said, "missing": [*said["missing"], *odd]})
        lines.append(f"{line} if {means} that a value is missing")
    lines.append(f"{entry(name, kind='categorical')} if the cells are names")
    lines.append(f"{entry(name, kind='id')} to make new ones of the same look")
    lines.append(f"{entry(name, kind='text')} to leave the column out")
    what = f"{what}: correct it, or put {', or '.join(lines)}, below `columns:` in a schema file"
    if found[0] < 0:
        return fault(where, f"column {shown(name)!r}: {shown(found[1])!r} is {what}")
    return cell_fault(where, found, name, what)
