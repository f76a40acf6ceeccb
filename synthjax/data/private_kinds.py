"""Kinds of the columns of a private table: what the schema file says of them, or what their cells read as.

known_kind(column, left_out)         # Histogram without counts, or None
look(column, release)                # the same, of a noisy histogram of what the cells read as
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from synthjax.data.schema_inference import ID_NAME
from synthjax.data.text_values import COMPACT, FORMATS, NUMBER, plain_numbers, shape, to_numbers, to_seconds

DECIMALS = 6
"""Decimals that are told apart; a number with more counts as one with so many."""
MOST = 0.9
"""Share of a column's cells that must be numbers, or dates, for it to be a column of these."""
_DATES = tuple(form for form in FORMATS if form not in COMPACT)
_LOOKS = (*range(DECIMALS + 1), "whole", "scientific", *_DATES, "other", "missing")
_MAYBE = r"(?i)^([0-9]|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)"


class Cells(NamedTuple):
    """The cells of a column."""

    distinct: pa.Array
    """(m,) strings."""
    counts: np.ndarray
    """(m,) i64 number of rows with each."""


@dataclass(frozen=True)
class Histogram:
    """What is released of one column."""

    name: str
    kind: str = "text"
    """One of "number", "date", "category", "id" and "text"; of the last two nothing is learnt."""
    labels: tuple[str, ...] = ()
    """Of categories."""
    public: bool = False
    """Whether the categories, or both bounds, are public."""
    edges: tuple[float, ...] = ()
    """Of numbers and dates (seconds since 1970-01-01): m + 1 boundaries of the cells, which include their left one. A
    cell that ends within its `step` holds one number."""
    counts: tuple[int, ...] = ()
    """(m,) noisy number of rows in each cell."""
    missing: int = 0
    """Noisy number of rows without a value; 0 if it may be none."""
    others: int = 0
    """Noisy number of rows with a category that is not released; 0 if it may be none."""
    sigma: float = 0.0
    """Standard deviation of the noise of `counts`."""
    decimals: tuple[int, int] = (0, 0)
    """Of numbers: how many they have."""
    step: float = 1.0
    """Of numbers and dates: distance of neighbouring values in the format of the column."""
    format: str = ""
    """Of dates, and of numbers that are written unlike Python's."""


class Column(NamedTuple):
    """A column on its way."""

    name: str
    cells: Cells
    """Those that are not missing."""
    missing: int
    public: Mapping[str, Any]
    """What the schema file says of it."""
    target: bool


def known_kind(column: Column, left_out: Collection[str]) -> Histogram | None:
    """What is known of a column without looking at its rows; None if its kind is open."""
    public, name = column.public, column.name
    kind = public.get("kind", "category" if "categories" in public else "")
    if name in left_out or kind == "id" or (not kind and ID_NAME.search(name) and not column.target):
        return Histogram(name, "id")
    if kind in ("text", "constant"):
        return Histogram(name)
    if kind == "datetime" and "format" in public:
        return _dated(Histogram(name, "date", format=public["format"]))
    if kind == "integer" or (kind == "continuous" and "decimals" in public):
        digits = int(public.get("decimals", 0))
        return Histogram(name, "number", decimals=(digits, digits), step=10.0**-digits, format=public.get("format", ""))
    if kind in ("categorical", "boolean", "category"):
        return Histogram(name, "category")
    return None


def _dated(found: Histogram) -> Histogram:
    """With the distance of neighbouring dates."""
    for code, seconds in (("f", 1e-6), ("S", 1.0), ("M", 60.0), ("[HI]", 3600.0)):
        if re.search(f"%-?{code}", found.format):
            return replace(found, step=seconds, decimals=(6, 6) if code == "f" else (0, 0))
    return replace(found, step=86400.0)


def look_of(cells: pa.Array) -> np.ndarray:
    """What each cell, none of them missing, reads as: (n,) i64 positions in the looks."""
    found = np.full(len(cells), _LOOKS.index("other"))
    number = np.asarray(pc.match_substring_regex(cells, NUMBER)).astype(bool)
    if number.any():
        texts = cells.filter(pa.array(number))
        values = to_numbers(texts)
        point = np.asarray(pc.find_substring(texts, "."))
        digits = np.where(point < 0, 0, np.asarray(pc.utf8_length(texts)) - point - 1)
        looks = np.minimum(digits, DECIMALS)
        looks[(digits > 0) & (values == np.rint(values))] = _LOOKS.index("whole")
        looks[np.asarray(pc.match_substring_regex(texts, "[eE]")).astype(bool)] = _LOOKS.index("scientific")
        looks[~np.isfinite(values)] = _LOOKS.index("other")
        found[number] = looks
    left = np.flatnonzero(~number)
    left = left[np.asarray(pc.match_substring_regex(cells.take(left), _MAYBE)).astype(bool)]
    for form in _DATES:
        if not len(left):
            break
        texts = cells.take(left)
        fits = np.asarray(pc.match_substring_regex(texts, f"^{shape(form)}$")).astype(bool)
        if fits.any():
            fits[fits] = ~np.isnan(to_seconds(texts.filter(pa.array(fits)), form))
            found[left[fits]] = _LOOKS.index(form)
            left = left[~fits]
    return found


def look(column: Column, release: Callable[[np.ndarray], np.ndarray]) -> Histogram:
    """Releases what the cells of a column read as, and decides its kind.

    Args:
        column: without a known kind.
        release: counts -> noisy counts, 0 where there may be no row.
    """
    counts = np.bincount(look_of(column.cells.distinct), column.cells.counts, len(_LOOKS)).astype(np.int64)
    counts[_LOOKS.index("missing")] = column.missing
    noisy = release(counts)
    seen: dict[Any, int] = dict(zip(_LOOKS[:-1], noisy[:-1].tolist(), strict=True))
    present = max(sum(seen.values()), 1)
    digits = [n for n in range(DECIMALS + 1) if seen[n]]
    numbers = sum(seen[n] for n in (*range(DECIMALS + 1), "whole", "scientific"))
    dates = sum(seen[form] for form in _DATES)
    kind = column.public.get("kind")
    if kind == "datetime" or (not kind and dates >= MOST * present):
        # Cells that several formats fit count for the first one: a later one is right if many cells fit it alone.
        form = next((form for form in reversed(_DATES) if seen[form] >= 0.2 * max(dates, 1)), _DATES[0])
        return _dated(Histogram(column.name, "date", format=form))
    if kind == "continuous" or (not kind and numbers >= MOST * present):
        least, most = (min(digits), max(digits)) if digits else (DECIMALS, DECIMALS)
        if seen["whole"] and seen["whole"] + seen[0] >= 0.95 * numbers:
            return Histogram(column.name, "number", decimals=(0 if seen[0] else 1, 1), step=1.0)
        return Histogram(column.name, "number", decimals=(least, most), step=10.0**-most)
    return Histogram(column.name, "category")


def numbers_of(column: Column, found: Histogram) -> tuple[np.ndarray, np.ndarray]:
    """The numbers (dates: seconds) of a column and the number of rows with each; cells that are none are left out."""
    cells = column.cells.distinct
    if found.kind == "date":
        values = to_seconds(cells, found.format) if len(cells) else np.zeros(0)
    else:
        values = np.asarray(plain_numbers(cells, found.format).cast(pa.float64()).fill_null(np.nan))
    good = np.isfinite(values)
    return values[good], column.cells.counts[good]
