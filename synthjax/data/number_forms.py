"""Formats of numbers with separators, currencies and units, such as 1.234,5 or $1,234.50 or 12 %.

Cells are read as numbers and written in the same format. A format is described by the number 1234.5 in it, as in the
`format` of a schema file: "1.234,5", "1 234.5", "$1,234.5", "1234,5 %", or "+1234.5" if positive numbers have a sign.

    >>> form = find({"$1,200.50": 3, "$70": 1})
    >>> form.example
    '$1,234.5'
    >>> form.plain(pa.array(["$1,200.50", "-$3"])).to_pylist()
    ['1200.50', '-3']
    >>> form.spelt(pa.array(["1200.50", "-3"])).to_pylist()
    ['$1,200.50', '-$3']
"""

import functools
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple, Self

import pyarrow as pa
import pyarrow.compute as pc

SHARE = 0.9
"""Minimum share of a column's rows that a format must fit."""
_LOOKS = 200  # number of cells that are examined first
_LONGEST = 12  # maximum length of a number with a plus sign; longer ones are telephone numbers
_BLANK = "[ \u00a0\u2009\u202f]"
_SIGNS = "+\u2212-"
_CURRENCY = (
    r"(?:[A-Z]{0,2}[$€£¥₹₽₩₪₺₴฿]|Fr\.|R\$|zł|Kč|kr\.?|(?:AUD|BRL|CAD|CHF|CNY|CZK|DKK|EUR|GBP|HKD|HUF|INR|JPY|KRW|MXN|"
    r"NOK|NZD|PLN|RUB|SEK|SGD|TRY|USD|ZAR))"
)
_UNIT = rf"(?:[%‰]|{_CURRENCY}|°[CF]?|[A-Za-zµμΩ]{{1,5}}[²³23]?(?:/[a-z]{{1,3}}[²³23]?)?)"
_CELL = re.compile(
    rf"([{_SIGNS}]*)({_CURRENCY}{_BLANK}?)?([{_SIGNS}]*)"
    rf"((?:\d[\d.,'’ \u00a0\u2009\u202f]*)?[.,]?\d)({_BLANK}?{_UNIT})?"
)


class Form(NamedTuple):
    """The format of a column of numbers."""

    before: str = ""
    """Currency, with the space after it."""
    group: str = ""
    """Separator of thousands."""
    point: str = "."
    """Decimal separator."""
    after: str = ""
    """Unit, with the space before it."""
    plus: bool = False
    """Whether positive numbers have a plus sign."""
    minus: str = "-"
    """The minus sign, "-" or U+2212."""
    inside: bool = False
    """Whether the sign comes after `before`."""

    @property
    def example(self) -> str:
        """The number 1234.5 in this format, with signs if they are not the usual ones."""
        sign = "+" * self.plus + (self.minus if self.minus != "-" else "-" * (self.inside and not self.plus))
        front = self.before + sign if self.inside else sign + self.before
        return f"{front}1{self.group}234{self.point}5{self.after}"

    @classmethod
    @functools.lru_cache(maxsize=512)
    def of(cls, example: str) -> Self | None:
        """The format of an example such as "1.234,5"; None if it is not a number."""
        found = _CELL.fullmatch(example)
        if not found or re.fullmatch(r"\.\d+[eE]", example):  # scientific notation, see `schema.POWER`
            return None
        outer, before, inner, body, after = (part or "" for part in found.groups())
        marks = re.sub(r"\d", "", body)
        if len(marks) > 2 or len(set(marks)) < len(marks):
            return None
        if len(marks) == 2:
            group, point = marks[0], marks[1]
        elif marks in (".", ",") and not re.fullmatch(r"\d{1,3}.\d{3}", body):
            group, point = "", marks
        else:
            group, point = marks, "," if marks == "." else "."
        signs = outer + inner
        minus = "\u2212" if "\u2212" in signs else "-"
        return cls(before, group, point, after, "+" in signs, minus, bool(inner)) if point in ".," else None

    @property
    def pattern(self) -> str:
        """A regular expression (RE2) that matches cells of this format; currency and unit are optional."""
        group, point = re.escape(self.group), re.escape(self.point)
        whole = rf"(?:[1-9]\d{{0,2}}(?:{group}\d{{3}})+|0|[1-9]\d*)" if self.group else r"(?:0|[1-9]\d*)"
        sign = f"[{_SIGNS}]?"
        before, after = (f"(?:{re.escape(text)})?" for text in (self.before, self.after))
        return rf"^{sign}{before}{sign}(?:{whole}(?:{point}\d*)?|{point}\d+){after}$"

    def plain(self, cells: pa.Array) -> pa.Array:
        """Converts cells to numbers in Python's format; null for cells of another format."""
        fits = pc.match_substring_regex(cells, self.pattern)
        text = cells
        for part in filter(None, (self.before, self.after)):
            text = pc.replace_substring(text, part, "")
        digits = pc.replace_substring_regex(text, rf"[^0-9{re.escape(self.point)}]", "")
        digits = pc.replace_substring(digits, self.point, ".")
        less = pc.match_substring_regex(text, "[\u2212-]")
        signed = pc.if_else(less, pc.binary_join_element_wise(pa.scalar("-"), digits, ""), digits)
        return pc.if_else(fits, signed, pa.scalar(None, pa.string()))

    def spelt(self, text: pa.Array) -> pa.Array:
        """Converts numbers in Python's format to this format, the inverse of `plain`."""
        less = pc.starts_with(text, "-")
        digits = pc.utf8_ltrim(text, "-")
        whole = pc.replace_substring_regex(digits, r"\..*$", "")
        rest = pc.replace_substring_regex(digits, r"^\d*", "")
        for _ in range(6 if self.group else 0):
            whole = pc.replace_substring_regex(
                whole, rf"^(\d+)(\d{{3}})((?:{re.escape(self.group)}\d{{3}})*)$", rf"\1{self.group}\2\3"
            )
        number = pc.binary_join_element_wise(whole, pc.replace_substring(rest, ".", self.point), "")
        positive = pc.match_substring_regex(digits, "[1-9]") if self.plus else pa.scalar(False)
        sign = pc.if_else(less, self.minus, pc.if_else(positive, "+", ""))
        parts = [pa.scalar(self.before), sign] if self.inside else [sign, pa.scalar(self.before)]
        return pc.binary_join_element_wise(*parts, number, pa.scalar(self.after), "")

    def fits(self, cells: Iterable[str]) -> bool:
        """Whether all cells have this format, with its currency and unit."""
        pattern = re.compile(self.pattern)
        return all(self.before in cell and cell.endswith(self.after) and pattern.match(cell) for cell in cells)


PLAIN = Form()


def find(counts: Mapping[str, int]) -> Form | None:
    """The format of most of a column's cells; None if they are not numbers, or have Python's format.

    Args:
        counts: distinct cell -> number of rows.
    """
    looked = list(counts)[:: max(len(counts) // _LOOKS, 1)]
    if sum(map(bool, map(_CELL.fullmatch, looked))) < SHARE * len(looked):
        return None
    parsed = [tuple(part or "" for part in found.groups()) for found in map(_CELL.fullmatch, counts) if found]
    if not parsed:
        return None
    (before, after), _ = Counter((part[1], part[4]) for part in parsed).most_common(1)[0]
    parsed = [part for part in parsed if (part[1], part[4]) == (before, after)]
    marks = _marks([part[3] for part in parsed])
    if marks is None:
        return None
    outer, inner = ("".join({sign for part in parsed for sign in part[i]}) for i in (0, 2))
    minus = "\u2212" if "\u2212" in outer + inner else "-"
    if "+" in outer + inner and max(len(part[3]) for part in parsed) > _LONGEST:
        return None
    form = Form(before, *marks, after, "+" in outer + inner, minus, bool(inner) and bool(before))
    pattern = re.compile(form.pattern)
    good = sum(n for cell, n in counts.items() if pattern.match(cell))
    return form if form != PLAIN and good >= SHARE * sum(counts.values()) else None


def _marks(bodies: list[str]) -> tuple[str, str] | None:
    """The separator of thousands and the decimal separator; None if they cannot be determined."""
    blanks = {mark for body in bodies for mark in body if mark not in ".," and not mark.isdigit()}
    used = {mark for mark in ".," if any(mark in body for body in bodies)}
    if len(blanks) > 1 or (blanks and len(used) > 1):
        return None
    if blanks:
        return blanks.pop(), used.pop() if used else "."
    points = {mark for mark in used if _decimal(mark, bodies)}
    if len(used) < 2:
        mark = next(iter(used), ".")
        return ("", mark) if not used or points else (mark, "," if mark == "." else ".")
    return (({"."} if points == {","} else {","}).pop(), points.pop()) if len(points) == 1 else None


def _decimal(mark: str, bodies: list[str]) -> bool:
    """Whether a mark is the decimal separator. If three digits always follow it, it separates thousands."""
    own = [body for body in bodies if mark in body]
    if any(body.count(mark) > 1 for body in own):
        return False
    other = "," if mark == "." else "."
    if any(other in body for body in own):
        return all(body.rfind(mark) > body.rfind(other) for body in own if other in body)
    if any(not re.fullmatch(rf"[1-9]\d{{0,2}}\{mark}\d{{3}}", body) for body in own):
        return True
    bare = [body for body in bodies if mark not in body and other not in body]
    if any(len(body) > 3 for body in bare):
        return True
    # If there are integers as well, decimals have no trailing zeros.
    return mark == "." and not (bare and any(body.endswith("0") for body in own))
