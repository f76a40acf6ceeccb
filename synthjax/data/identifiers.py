"""Identifiers: what they are made of, and new ones of the same look of which none is a real one.

A pattern says what a column's identifiers look like: 9 a digit, a and A letters, f and F hexadecimal digits, x, X and z
digits or letters (small, capital, both), all else itself, as after a backslash; a bare | stands between several forms.
New ones are made of a pattern that has room for `ROOM` times as many as there are rows. Of others, whose gaps would
show the real ones, marked running numbers are made: synthetic-1, or numbers above all real ones.

Rare codes in a column of categories are made anew likewise (`of_rare`), within a room of `ROOM` times as many as there
are different ones; where there is less, or they have no form, they stay merged.

To keep clear of the real ones, an encoder stores which of `m` classes the real ones are in (`Taken`), where `m` is
about 1.5 times their number: a class holds dozens of possible identifiers at least, and says that one of them is real
or none is.
"""

import math
import re
import zlib
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from synthjax.data.schema import RARE, Field

if TYPE_CHECKING:
    import pandas as pd

ROOM = 100
"""Possible identifiers per row that a pattern needs for new ones to be made of it."""
FORMS = 16
"""Forms of identifiers that are kept at most."""
MARK = "synthetic-"
"""What running numbers in a column of text begin with."""
_SIZES = 1000
"""Groups of rows with one identifier in a cycle, at most."""
_DIGITS, _SMALL = "0123456789", "abcdefghijklmnopqrstuvwxyz"
_LETTERS = {"9": _DIGITS, "a": _SMALL, "A": _SMALL.upper(), "f": _DIGITS + "abcdef", "F": _DIGITS + "ABCDEF"}
_LETTERS |= {"x": _DIGITS + _SMALL, "X": _DIGITS + _SMALL.upper(), "z": _DIGITS + _SMALL + _SMALL.upper()}
_CODE = re.compile(r"(?=.*[0-9])(?!.* .* .* )(?!.*[a-z]{4})(?!.* .*[a-z])(?!.*[a-z].* )[!-~ ]{2,24}")
_CODES = 0.9  # of rare cells that are codes, for them to be made anew
_TAIL = 2**31  # numbers of new identifiers are below it, so that their products are below 2**62


class Look(NamedTuple):
    """What new identifiers of a column look like, as a `Field` has it."""

    pattern: str = ""
    """Empty: running numbers."""
    counts: tuple[int, ...] = ()
    """How often each form is."""
    low: float = 0.0
    """Of running numbers, the one before the first."""
    storage: str = "string"
    """In which a file holds them."""


# --- what there is -----------------------------------------------------------------------------------------------


def of_numbers(low: float, high: float, rows: int, storage: str) -> Look:
    """The look of whole numbers of at most 15 digits; `storage`: their type in a Parquet file, "" in others."""
    digits = len(str(int(high)))
    storage = storage or "int64"
    if "int" in storage and low >= 10 ** (digits - 1) and 9 * 10 ** (digits - 1) >= ROOM * rows:
        return Look("9" * digits, storage=storage)
    first = 10 ** len(str(int(max(high, -low))))
    wide = "int" in storage and first + _TAIL > np.iinfo(storage).max
    return Look(low=float(first), storage="int64" if wide else storage)


def of_texts(cells: list[str], rows: int, min_count: int, storage: str) -> Look:
    """The look of texts, of a fair sample of different ones.

    A form that fewer than `min_count` of them share is left out, for it could single one out. Outside of Parquet files
    (`storage` is ""), digits that do not begin with 0 are whole numbers.
    """
    if cells and not storage and all(re.fullmatch(r"[1-9]\d*", cell) for cell in cells):
        most = max(map(int, cells))
        storage = next((kind for kind in ("int64", "uint64") if most <= np.iinfo(kind).max), storage)
    storage = storage or "string"
    groups = _grouped(cells, _mask)
    if len(groups) > FORMS:
        groups = _grouped(cells, lambda cell: re.sub(r"[0-9A-Za-z]", "z", cell))
    if len(groups) > 1 and storage in ("int64", "uint64"):
        return Look("9" * max(len(mask.lstrip("-")) for mask in groups), storage=storage)
    shared = sorted((own for own in groups.values() if len(own) >= min_count), key=len, reverse=True)[:FORMS]
    for free in range(1 + max(map(len, cells), default=0)):
        pattern = "|".join(_form(own, free) for own in shared)
        if shared and sum(_room(form) for form in _forms(pattern)) >= ROOM * rows:
            return Look(pattern, tuple(map(len, shared)) if len(shared) > 1 else (), storage=storage)
    return Look(MARK)


def of_rare(cells: list[str], different: int, min_count: int, storage: str) -> Look:
    """The look of the rare ones among codes that are categories; without a pattern, they are words, or have no room.

    Args:
        cells: a fair sample of different ones.
        different: how many there may be in all rows.
        min_count: of a form, see `of_texts`.
        storage: as for `of_texts`.
    """
    if sum(map(bool, map(_CODE.fullmatch, cells))) < _CODES * len(cells):
        return Look()
    shared = sum(len(own) for own in _grouped(cells, _mask).values() if len(own) >= min_count)
    look = of_texts(cells, different, min_count, storage) if 2 * shared > len(cells) else Look()
    return Look() if look.pattern in ("", MARK) else look


def different(categories: int) -> int:
    """How many different codes a column has at most in all rows, by those of its training rows."""
    return 2 * categories


def room_for(field: Field, rows: int) -> int:
    """How many different identifiers or codes of a field there are at most in so many rows."""
    if field.kind == "id":
        return rows
    return min(rows, different(len(field.categories) + field.suppressed))


def rare(field: Field) -> Field:
    """What identifiers look like that are made for the rare codes of a column."""
    return replace(field, kind="id", counts=field.forms, missing=0)


def sizes(rows: Iterable[int], min_count: int) -> tuple[int, ...]:
    """How many rows have one identifier, in turn, for groups to be as large as real ones; () if all have their own.

    A size that fewer than `min_count` groups have becomes the next smaller one that they do, or 1.
    """
    found, counts = np.unique(np.fromiter(rows, int), return_counts=True)
    known = np.union1d(found[counts >= min_count], [1])
    found = known[np.searchsorted(known, found, side="right") - 1]
    every = np.repeat(found, counts)
    if every.max(initial=1) == 1:
        return ()
    middles = (np.arange(min(len(every), _SIZES)) + 0.5) / min(len(every), _SIZES)
    chosen = every[(middles * len(every)).astype(int)]
    return tuple(np.random.default_rng(0).permutation(chosen).tolist())


def _grouped(cells: list[str], mask: Any) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for cell in cells:
        groups.setdefault(mask(cell), []).append(cell)
    return groups


def _mask(cell: str) -> str:
    """9 for a digit, a and A for letters, punctuation as it is; what is beyond ASCII is a letter."""
    return re.sub(r"[^\x00-\x7f]", "a", re.sub("[a-z]", "a", re.sub("[A-Z]", "A", re.sub("[0-9]", "9", cell))))


def _form(cells: list[str], free: int) -> str:
    """The form of cells of one length: what all share in its position, else letters; as are the last `free` digits."""
    form: list[str] = []
    for letters in reversed([set(column) for column in zip(*cells, strict=True)]):
        shared = len(letters) == 1
        if shared and not (free and letters <= set(_DIGITS)):
            form.append(f"\\{letters.pop()}")
        else:
            form.append(next((name for name, known in _LETTERS.items() if letters <= set(known)), "a"))
            free -= shared
    return "".join(reversed(form))


def _forms(pattern: str) -> list[list[str]]:
    """Of each form in a pattern, the letters that each position may hold."""
    forms: list[list[str]] = [[]]
    literal = False
    for letter in pattern:
        if letter in "\\|" and not literal:
            literal = letter == "\\"
            forms += [[]] if letter == "|" else []
            continue
        forms[-1].append(letter if literal else _LETTERS.get(letter, letter))
        literal = False
    return forms


def _room(form: list[str]) -> int:
    return math.prod(map(len, form))


def _allowed(field: Field) -> list[list[str]]:
    """The forms of a field; of whole numbers, without leading zeros and within their type."""
    forms = _forms(field.pattern)
    if "int" in field.storage:
        return [_within(form, str(np.iinfo(field.storage).max)) for form in forms]
    return forms


def _within(choices: list[str], top: str) -> list[str]:
    """The digits that each position may hold for the number to begin with none of 0 and to be below `top`."""
    choices = [choices[0].lstrip("0") or choices[0], *choices[1:]]
    for i, limit in enumerate(top if len(choices) == len(top) else ""):
        if max(choices[i]) < limit:
            break
        if lower := "".join(digit for digit in choices[i] if digit < limit):
            choices[i] = lower
            break
        choices[i] = limit
    return choices


def _tail(form: list[str]) -> tuple[int, int]:
    """The first of the last positions that hold a number below `_TAIL`, and how many such numbers there are."""
    room, first = 1, len(form)
    while first and room * len(form[first - 1]) < _TAIL:
        first -= 1
        room *= len(form[first])
    return first, room


class Taken:
    """Which classes of identifiers the real ones of a field are in: the number of an identifier modulo their count."""

    def __init__(self, field: Field, rows: int):
        self.forms = _allowed(field)
        self.classes = np.zeros(8 * (3 * rows // 16 + 1), bool)

    def add(self, cells: "pd.Series") -> None:
        """Real identifiers; others than those of the forms are passed over."""
        text = pa.array(cells.dropna(), pa.string()).unique()
        for form in self.forms:
            pattern = "".join(f"[{re.escape(letters)}]" for letters in form)
            own = text.filter(pc.match_substring_regex(text, f"^{pattern}$"))
            if not len(own):
                continue
            letters = np.array(own.to_pylist(), f"U{len(form)}").view("U1").reshape(len(own), len(form))
            number = np.zeros(len(own), np.int64)
            for i in range(_tail(form)[0], len(form)):
                order = np.argsort(list(form[i]))
                place = order[np.searchsorted(np.array(list(form[i]))[order], letters[:, i])]
                number = number * len(form[i]) + place
            self.classes[number % len(self.classes)] = True

    def hex(self) -> str:
        """The classes as `Field.taken` has them."""
        return np.packbits(self.classes).tobytes().hex()


# --- new ones ----------------------------------------------------------------------------------------------------


def filled(cells: Any, field: Field, seed: int, start: int, alone: bool) -> Any:
    """Cells (n,) of a column of categories, with codes made anew where they are RARE.

    Args:
        cells: of rows start ... start + n - 1.
        field: of the column, with the pattern of its rare codes.
        seed: of the draws; columns of the same codes have the same ones in the same rows.
        start: see `made`.
        alone: whether each row has a code of its own, else as many share one as in training rows.
    """
    own = np.flatnonzero(np.asarray(cells == RARE))
    if not len(own):
        return cells
    key = (seed, zlib.crc32(f"{field.pattern} {field.taken}".encode()))
    look = replace(rare(field), sizes=()) if alone else rare(field)
    codes = np.asarray(made(look, len(own), key, start))
    cells = np.asarray(cells, object).copy()
    cells[np.random.default_rng((*key, start)).permutation(own)] = codes
    return cells


def matches(field: Field, cells: "pd.Series") -> np.ndarray:
    """(n,) bool: which cells may be rare codes made anew."""
    forms = ("".join(f"[{re.escape(letters)}]" for letters in form) for form in _forms(field.pattern))
    return cells.str.fullmatch(f"{'|'.join(forms)}|{MARK}[0-9]+").to_numpy(bool)


def made(field: Field, n: int, seed: tuple[int, int], start: int) -> Any:
    """Identifiers of rows start ... start + n - 1, different for each row or group of rows."""
    import pandas as pd

    rows = np.arange(start, start + n)
    absent = np.random.default_rng((*seed, start)).random(n) < field.rate
    if field.sizes:
        ends = np.cumsum(field.sizes)
        rows = rows // ends[-1] * len(ends) + np.searchsorted(ends, rows % ends[-1], side="right")
    if not field.pattern:
        numbers = rows + 1 + int(field.low)
        return np.where(absent, np.nan, numbers) if absent.any() else numbers
    if field.pattern == MARK:
        return pd.Series([f"{MARK}{row + 1}" for row in rows], dtype="str").mask(absent).array
    forms = _allowed(field)
    classes = np.unpackbits(np.frombuffer(bytes.fromhex(field.taken or "00"), np.uint8))
    empty = np.flatnonzero(classes == 0)
    room = [_tail(form)[1] for form in forms]
    free = np.array([size // len(classes) * len(empty) + np.searchsorted(empty, size % len(classes)) for size in room])
    which, number = _dealt(free, field.counts, rows, seed)
    text = np.empty(n, object)
    beyond = number >= free[which]  # the room of all forms
    above = 10 ** max(map(len, forms)) if "int" in field.storage else None
    text[beyond] = [f"{MARK}{row + 1}" if above is None else str(above + int(row)) for row in rows[beyond]]
    for i, form in enumerate(forms):
        own = (which == i) & (number < free[i])
        values = _shuffled(number[own], int(free[i]), np.random.default_rng((*seed, i) if i else seed))
        values = values // len(empty) * len(classes) + empty[values % len(empty)]
        text[own] = _drawn(form, values, np.random.default_rng((*seed, start, i + 1)))
    return pd.Series(text, dtype="str").mask(absent).array


def _dealt(
    free: np.ndarray, counts: tuple[int, ...], rows: np.ndarray, seed: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Which form each row has, and a number that differs between the rows of one form.

    Of every 100 rows each form has its share. Where one has no room for more, its rows go to the widest, whose numbers
    are those of the rows, so that they differ whatever else is there.
    """
    if len(free) == 1:
        return np.zeros(len(rows), int), rows
    edges = np.rint(np.cumsum(counts) / sum(counts) * 100).astype(int)
    slots = np.random.default_rng(seed).permutation(np.searchsorted(edges, np.arange(100), side="right"))
    share = np.bincount(slots, minlength=len(free))
    rank = np.array([np.sum(slots[:i] == slot) for i, slot in enumerate(slots)])
    which = slots[rows % 100]
    number = rows // 100 * share[which] + rank[rows % 100]
    which = np.where(number >= free[which], int(np.argmax(free)), which)
    return which, np.where(which == np.argmax(free), rows, number)


def _shuffled(numbers: np.ndarray, room: int, rng: np.random.Generator) -> np.ndarray:
    """Numbers below `room` sent one to one to such numbers."""
    if not room:
        return numbers
    factor = int(rng.integers(room)) or 1
    while math.gcd(factor, room) != 1:
        factor += 1
    return (numbers * factor + int(rng.integers(room))) % room


def _drawn(form: list[str], numbers: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Texts (n,) of a form whose last positions hold these numbers; the others are drawn."""
    first, _ = _tail(form)
    text = np.empty((len(numbers), len(form)), "U1")
    for i in range(len(form) - 1, -1, -1):
        letters = np.array(list(form[i]))
        text[:, i] = letters[numbers % len(letters) if i >= first else rng.integers(len(letters), size=len(numbers))]
        numbers = numbers // len(letters) if i >= first else numbers
    return text.view(f"U{len(form)}")[:, 0] if len(numbers) else np.empty(0, object)
