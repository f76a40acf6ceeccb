"""Cells that people read as numbers or times and programs do not: they are told, not taken for words.

A column of "0,5" would become a categorical one, whose values are too rare to be given away, and one of times at
several offsets from UTC (a clock that changes in summer) free text, which is dropped: both lost without a word.
"""

import re
from collections.abc import Mapping

from synthjax.data.text_values import NUMBER

SHARE = 0.9
"""Of the cells that a spelling has to fit to be told."""
SPELLINGS = {
    r"[+-]?\d{1,3}(\.\d{3})+,\d+": "a number with points and a decimal comma: write 1234.5",
    r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?": "a number with commas in it: write 1234.5, or 1.234 if it is a decimal comma",
    r"[+-]?\d*,\d+": "a number with a decimal comma: write decimal points",
    r"\+\d{1,9}(\.\d*)?": "a number with a plus sign: leave the sign out",
    r"[+-]?[$€£¥₹] ?[+-]?\d[\d,.]*|[+-]?\d[\d,.]* ?[$€£¥₹]": "an amount with its currency: write the number alone",
    r"[+-]?\d[\d,.]* ?%": "a number with a percent sign: write the number alone",
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)? ?([+-]\d\d:?\d\d|[A-Z]{3,4})": "a time with a zone, which differs "
    "from row to row or has a name: write all times in one zone, as +02:00, Z or nothing",
}
"""Regular expression -> what a cell that it fits is. Later ones also take what earlier ones do."""
_TIMES = (
    r"\d{1,2}:\d\d(:\d\d(\.\d+)?)?( ?[AaPp]\.?[Mm]\.?)?",
    r"(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{4}|\d{1,2}/\d{1,2}/\d\d)([ T].*)?",
)
_MEASURED = re.compile("|".join(f"(?:{pattern})$" for pattern in (NUMBER, *SPELLINGS, *_TIMES)))
_CODE = re.compile(r"0\d+$")


def misspelt(counts: Mapping[str, int]) -> str | None:
    """What the cells of a column are, if nearly all of them are of one of the SPELLINGS; None: none of them.

    Args:
        counts: distinct cell -> rows that hold it.
    """
    if not counts:
        return None
    needed = SHARE * sum(counts.values())
    fitting: set[str] = set()
    for pattern, what in SPELLINGS.items():
        fitting |= {cell for cell in counts if re.fullmatch(pattern, cell)}
        if sum(counts[cell] for cell in fitting) >= needed:
            return what
    return None


def measured(counts: Mapping[str, int]) -> int:
    """How many rows hold a cell that people read as a number, a date or a time of day, however it is spelt."""
    return sum(n for cell, n in counts.items() if _MEASURED.match(cell))


def codes(counts: Mapping[str, int]) -> bool:
    """Whether cells are digits only, some with leading zeros, as those of postcodes, which are no quantities."""
    others = [cell for cell in counts if not re.match(NUMBER, cell)]
    return bool(others) and all(map(_CODE.match, others)) and all(map(str.isdigit, counts))


def filler(counts: Mapping[str, int]) -> str | None:
    """The cell that most of those which are no numbers, dates or times hold, as `?` or `unknown`; None: no such."""
    others = {cell: n for cell, n in counts.items() if not _MEASURED.match(cell)}
    most = max(others, key=lambda cell: others[cell], default=None)
    return most if most is not None and 1 < others[most] >= 0.5 * sum(others.values()) else None
