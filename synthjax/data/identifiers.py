"""New identifiers with the pattern of a column's real ones, none of which is real.

A pattern describes the characters of identifiers: 9 is a digit; a and A are letters (lower and upper case); f and F are
hexadecimal digits; x, X and z are digits or letters (lower, upper, either case); any other character, and any after a
backslash, is itself; | separates several forms. New identifiers are drawn from the pattern if it has at least `ROOM`
possible identifiers per row. Otherwise, avoiding the real ones would reveal them, and new identifiers are consecutive:
synthetic-1, synthetic-2, ..., or numbers above all real ones.

Rare codes in a column of categories are replaced by new ones in the same way (`of_rare`), if the pattern has at least
`ROOM` possible codes per distinct one. Otherwise, and if they have no pattern, they stay merged.

To avoid real identifiers, an encoder divides the possible ones into `m` classes and stores which classes contain a real
one (`Taken`). `m` is about 1.5 times the number of real ones, and a class has dozens of possible identifiers or more,
so it is not known which of them is real.
"""

import math
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from synthjax.data.schema import RARE, Field

if TYPE_CHECKING:
    import pandas as pd

ROOM = 100
"""Minimum number of possible identifiers per row for a pattern to be used."""
FORMS = 16
"""Maximum number of forms in a pattern."""
MARK = "synthetic-"
"""Prefix of consecutive identifiers in a column of text."""
_SIZES = 1000
"""Maximum length of the cycle of `sizes`."""
_DIGITS, _SMALL = "0123456789", "abcdefghijklmnopqrstuvwxyz"
_LETTERS = {"9": _DIGITS, "a": _SMALL, "A": _SMALL.upper(), "f": _DIGITS + "abcdef", "F": _DIGITS + "ABCDEF"}
_LETTERS |= {"x": _DIGITS + _SMALL, "X": _DIGITS + _SMALL.upper(), "z": _DIGITS + _SMALL + _SMALL.upper()}
_CODE = re.compile(r"(?=.*[0-9])(?!.* .* .* )(?!.*[a-z]{4})(?!.* .*[a-z])(?!.*[a-z].* )[!-~ ]{2,24}")
_CODES = 0.9  # of rare cells that are codes, for them to be made anew
_TAIL = 2**31  # numbers of new identifiers are below it, so that their products are below 2**62


class Look(NamedTuple):
    """The description of new identifiers, as in a `Field`."""

    pattern: str = ""
    """Empty: consecutive numbers."""
    counts: tuple[int, ...] = ()
    """Frequency of each form."""
    low: float = 0.0
    """Consecutive numbers start after this."""
    storage: str = "string"
    """Arrow type in a file."""


# --- real identifiers --------------------------------------------------------------------------------------------


def of_numbers(low: float, high: float, rows: int, storage: str) -> Look:
    """Describes identifiers that are integers of at most 15 digits.

    Args:
        low: the smallest.
        high: the largest.
        rows: number of rows.
        storage: Arrow type in a Parquet file; "" for other files.
    """
    digits = len(str(int(high)))
    storage = storage or "int64"
    if "int" in storage and low >= 10 ** (digits - 1) and 9 * 10 ** (digits - 1) >= ROOM * rows:
        return Look("9" * digits, storage=storage)
    first = 10 ** len(str(int(max(high, -low))))
    wide = "int" in storage and first + _TAIL > np.iinfo(storage).max
    return Look(low=float(first), storage="int64" if wide else storage)


def of_texts(cells: list[str], rows: int, min_count: int, storage: str, held: Callable[[list[str]], int] = len) -> Look:
    """Describes identifiers that are texts.

    A form with fewer than `min_count` cells is left out, since it could identify one of them.

    Args:
        cells: distinct identifiers, or a sample of them.
        rows: number of rows.
        min_count: see above.
        storage: Arrow type in a Parquet file; "" for other files, in which digits without a leading 0 are integers.
        held: how many cells some are; or persons who have them.
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
    shared = sorted((own for own in groups.values() if held(own) >= min_count), key=len, reverse=True)[:FORMS]
    for free in range(1 + max(map(len, cells), default=0)):
        pattern = "|".join(_form(own, free) for own in shared)
        if shared and sum(_room(form) for form in _forms(pattern)) >= ROOM * rows:
            return Look(pattern, tuple(map(len, shared)) if len(shared) > 1 else (), storage=storage)
    return Look(MARK)


def of_rare(
    cells: list[str], different: int, min_count: int, storage: str, held: Callable[[list[str]], int] = len
) -> Look:
    """The look of the rare ones among codes that are categories; without a pattern, they are words, or have no room.

    Args:
        cells: a fair sample of different ones.
        different: how many there may be in all rows.
        min_count: of a form, see `of_texts`.
        storage: as for `of_texts`.
        held: as for `of_texts`.
    """
    if sum(map(bool, map(_CODE.fullmatch, cells))) < _CODES * len(cells):
        return Look()
    shared = sum(len(own) for own in _grouped(cells, _mask).values() if held(own) >= min_count)
    look = of_texts(cells, different, min_count, storage, held) if 2 * shared > len(cells) else Look()
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


def sizes(rows: Mapping[str, int], min_count: int, held: Callable[[list[str]], int] = len) -> tuple[int, ...]:
    """Numbers of rows per identifier, as a cycle with the distribution of the real ones; () if all are 1.

    A number that fewer than `min_count` identifiers have (or persons, see `of_texts`) is replaced by the next smaller
    one that enough have, or 1.
    """
    found, counts = np.unique(np.fromiter(rows.values(), int), return_counts=True)
    of_size: dict[int, list[str]] = {size: [] for size in found.tolist()}
    for cell, size in rows.items():
        of_size[size].append(cell)
    known = np.union1d([size for size, cells in of_size.items() if held(cells) >= min_count], [1]).astype(int)
    found = known[np.searchsorted(known, found, side="right") - 1]
    every = np.repeat(found, counts)
    if every.max(initial=1) == 1:
        return ()
    middles = (np.arange(min(len(every), _SIZES)) + 0.5) / min(len(every), _SIZES)
    chosen = every[(middles * len(every)).astype(int)]
    return tuple(np.random.default_rng(0).permutation(chosen).tolist())


def _grouped(cells: list[str], mask: Any) -> dict[str, list[str]]:
    """Groups cells by `mask(cell)`."""
    groups: dict[str, list[str]] = {}
    for cell in cells:
        groups.setdefault(mask(cell), []).append(cell)
    return groups


def _mask(cell: str) -> str:
    """The cell with digits replaced by 9, and letters and non-ASCII characters by a or A."""
    return re.sub(r"[^\x00-\x7f]", "a", re.sub("[a-z]", "a", re.sub("[A-Z]", "A", re.sub("[0-9]", "9", cell))))


def _form(cells: list[str], free: int) -> str:
    """The form of cells of equal length: characters that all cells share are fixed, but for the last `free` digits."""
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
    """The possible characters at each position, for each form of a pattern."""
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
    """Number of possible identifiers of a form."""
    return math.prod(map(len, form))


def _allowed(field: Field) -> list[list[str]]:
    """The forms of a field; of integers, without leading zeros and within the range of their type."""
    forms = _forms(field.pattern)
    if "int" in field.storage:
        return [_within(form, str(np.iinfo(field.storage).max)) for form in forms]
    return forms


def _within(choices: list[str], top: str) -> list[str]:
    """The possible digits at each position of numbers that do not start with 0 and are less than `top`."""
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
    """The start of the longest suffix with fewer than `_TAIL` possible values, and the number of these values."""
    room, first = 1, len(form)
    while first and room * len(form[first - 1]) < _TAIL:
        first -= 1
        room *= len(form[first])
    return first, room


class Taken:
    """The classes that contain real identifiers of a field; the class is the number of the suffix modulo `m`."""

    def __init__(self, field: Field, rows: int):
        """`rows` is the number of rows."""
        self.forms = _allowed(field)
        self.classes = np.zeros(8 * (3 * rows // 16 + 1), bool)

    def add(self, cells: "pd.Series") -> None:
        """Adds real identifiers; those that match no form are ignored."""
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
                digit = order[np.searchsorted(np.array(list(form[i]))[order], letters[:, i])]
                number = number * len(form[i]) + digit
            self.classes[number % len(self.classes)] = True

    def hex(self) -> str:
        """The classes as hexadecimal text, as in `Field.taken`."""
        return np.packbits(self.classes).tobytes().hex()


# --- new identifiers ---------------------------------------------------------------------------------------------


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
    """New identifiers of rows start ... start + n - 1, distinct for each row, or group of rows with one identifier.

    Args:
        field: of identifiers.
        n: number of rows.
        seed: of the identifiers of all rows.
        start: number of the first row.

    Returns:
        (n,) array of text or numbers; missing values with the field's frequency.
    """
    import pandas as pd

    rows = np.arange(start, start + n)
    absent = np.random.default_rng((*seed, start)).random(n) < field.rate
    if field.sizes:  # the first row has a new identifier, so that none is divided between calls
        first = np.searchsorted(np.cumsum(field.sizes), start % sum(field.sizes), side="right")
        ends = np.cumsum(np.roll(field.sizes, -first))
        places = np.arange(n)
        rows = start + places // ends[-1] * len(ends) + np.searchsorted(ends, places % ends[-1], side="right")
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
    beyond = number >= free[which]  # no form has identifiers left
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
    """The form of each row, and a number that is distinct for each row of a form.

    Each form has its share of every 100 rows. If a form has no identifiers left, its rows get the form with the most
    identifiers. Its numbers are the row numbers, so they are distinct in any case.
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
    """A permutation of 0 ... room - 1, applied to `numbers`."""
    if not room:
        return numbers
    factor = int(rng.integers(room)) or 1
    while math.gcd(factor, room) != 1:
        factor += 1
    return (numbers * factor + int(rng.integers(room))) % room


def _drawn(form: list[str], numbers: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Identifiers (n,) of a form whose suffixes have these numbers; the other characters are drawn."""
    first, _ = _tail(form)
    text = np.empty((len(numbers), len(form)), "U1")
    for i in range(len(form) - 1, -1, -1):
        letters = np.array(list(form[i]))
        text[:, i] = letters[numbers % len(letters) if i >= first else rng.integers(len(letters), size=len(numbers))]
        numbers = numbers // len(letters) if i >= first else numbers
    return text.view(f"U{len(form)}")[:, 0] if len(numbers) else np.empty(0, object)
