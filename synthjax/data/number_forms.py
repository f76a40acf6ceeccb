"""Numbers as people write them, 1.234,5 or $1,234.50 or 12 %: read as numbers, and written the same way again.

A form is named by an example, 1234.5 as its column has it, which `format:` in a schema file takes as well: "1.234,5",
"1 234.5", "$1,234.5", "1234,5 %", "+1234.5" where positive numbers have a plus sign.
"""

import functools
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple, Self

import pyarrow as pa
import pyarrow.compute as pc

SHARE = 0.9
"""Of the rows of a column that a form has to fit."""
_LOOKS = 200
_LONGEST = 12  # letters of a number with a plus sign; what is longer is a telephone number
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
    """How the numbers of a column are written."""

    before: str = ""
    """A currency, and the blank after it."""
    group: str = ""
    """What stands between thousands."""
    point: str = "."
    after: str = ""
    """A unit, and the blank before it."""
    plus: bool = False
    """Whether positive numbers have a plus sign."""
    minus: str = "-"
    inside: bool = False
    """Whether the sign stands after `before`."""

    @property
    def example(self) -> str:
        """1234.5 in this form, with its signs if they are not the usual ones."""
        sign = "+" * self.plus + (self.minus if self.minus != "-" else "-" * (self.inside and not self.plus))
        front = self.before + sign if self.inside else sign + self.before
        return f"{front}1{self.group}234{self.point}5{self.after}"

    @classmethod
    @functools.lru_cache(maxsize=512)
    def of(cls, example: str) -> Self | None:
        """The form of an example such as "1.234,5"; None: it is none."""
        found = _CELL.fullmatch(example)
        if not found or re.fullmatch(r"\.\d+[eE]", example):  # a power of ten, see `schema.POWER`
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
        """A regular expression of RE2 for cells of this form; currency and unit may be absent."""
        group, point = re.escape(self.group), re.escape(self.point)
        whole = rf"(?:[1-9]\d{{0,2}}(?:{group}\d{{3}})+|0|[1-9]\d*)" if self.group else r"(?:0|[1-9]\d*)"
        sign = f"[{_SIGNS}]?"
        before, after = (f"(?:{re.escape(text)})?" for text in (self.before, self.after))
        return rf"^{sign}{before}{sign}(?:{whole}(?:{point}\d*)?|{point}\d+){after}$"

    def plain(self, cells: pa.Array) -> pa.Array:
        """The cells as Python writes numbers; null where they have another form."""
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
        """Numbers as Python writes them in this form: the way back."""
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
        """Whether all cells are of this form, with its currency and its unit."""
        pattern = re.compile(self.pattern)
        return all(self.before in cell and cell.endswith(self.after) and pattern.match(cell) for cell in cells)


PLAIN = Form()


def find(counts: Mapping[str, int]) -> Form | None:
    """The form of most of a column's cells; None: they are no numbers, or are written as Python writes them.

    Args:
        counts: distinct cell -> rows that hold it.
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
    """What stands between thousands, and the decimal mark; None: this cannot be told."""
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
    """Whether a mark that some bodies hold is a decimal one; one before three digits everywhere is for thousands."""
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
    # Decimals beside whole numbers are those without their last zeros.
    return mark == "." and not (bare and any(body.endswith("0") for body in own))
