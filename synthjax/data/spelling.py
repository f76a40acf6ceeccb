"""Cells that people read as numbers or times and programs do not: they are told, not taken for words.

A column of "0,5" would become a categorical one, whose values are too rare to be given away, and one of times at
several offsets from UTC (a clock that changes in summer) free text, which is dropped: both lost without a word.
"""

import re
from collections.abc import Mapping

SHARE = 0.9
"""Of the cells that a spelling has to fit to be told."""
SPELLINGS = {
    r"[+-]?\d{1,3}(\.\d{3})+,\d+": "a number with points and a decimal comma: write 1234.5",
    r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?": "a number with commas in it: write 1234.5, or 1.234 if it is a decimal comma",
    r"[+-]?\d*,\d+": "a number with a decimal comma: write decimal points",
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)? ?([+-]\d\d:?\d\d|[A-Z]{3,4})": "a time with a zone, which differs "
    "from row to row or has a name: write all times in one zone, as +02:00, Z or nothing",
}
"""Regular expression -> what a cell that it fits is. Later ones also take what earlier ones do."""


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
