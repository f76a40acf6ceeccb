"""Statistics of a table's columns, collected chunk by chunk, from which `infer` decides their kinds."""

import math
import re
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from synthjax.data.number_forms import Form
from synthjax.data.persons import Holders
from synthjax.data.schema import DISCRETE
from synthjax.data.schema_inference.extremes import Extremes, Frequent
from synthjax.data.text_values import INFINITE, NUMBER, date_formats, missing_in, offset, to_numbers, to_seconds

_DIGITS = r"^(\d{6}|\d{8}|\d{12}|\d{14})$"
DISTINCT = 1000
"""Maximum number of distinct numbers of a column whose cells are counted."""
ID_NAME = re.compile(
    r"(^|[_\s.-])(id|ID|uuid|guid|UUID|GUID|nr|nbr|no|No|number)$|^id[_\s.-]|[a-z](I[dD]|Nr|No|Number)$", re.ASCII
)
"""Matches names of columns of identifiers."""
CATEGORIES = 1_000_000
"""Maximum number of distinct cells of a column that are kept."""
LOOKS = 24
"""Number of cells of a chunk that are examined to find the format of its dates."""


class Part(NamedTuple):
    """The cells of a column in one chunk."""

    cells: pa.Array
    rows: np.ndarray
    """(n,) row numbers."""
    which: np.ndarray | None = None
    """(m,) i64 numbers of cells among the distinct ones, and"""
    persons: np.ndarray | None = None
    """(m,) i64 the persons who have them; None: each row is its own."""

    def of(self, distinct: pa.Array, persons: np.ndarray | None) -> "Part":
        """The part with the pairs of a distinct cell and a person, whose rows are `persons` (n,)."""
        if persons is None:
            return self
        index = np.asarray(pc.fill_null(pc.index_in(self.cells, value_set=distinct), -1)).astype(np.int64)
        return self._replace(which=index[index >= 0], persons=persons[index >= 0])

    def held(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """Those of `values` (distinct,) f64 that are not NaN, and whose they are; None: each row is its own."""
        if self.persons is None:
            return None
        found = values[self.which]
        return found[~np.isnan(found)], self.persons[~np.isnan(found)]


class Tally:
    """Statistics of one column so far."""

    def __init__(self, name: str, forced: Mapping[str, Any], min_count: int, tokens: tuple[str, ...]):
        """Arguments as for `infer`; `forced` is the column's entry in the schema file."""
        self.name, self.forced = name, forced
        self.tokens = (*tokens, *forced.get("missing", ()))
        self.rows = self.present = self.numbers = self.dates = 0
        self.missing: Counter[str] = Counter()
        self.counts: Counter[str] | None = Counter()
        self.pruned = False
        self.no_number: tuple[int, str] | None = None
        self.no_date: tuple[int, str] | None = None
        self.first_date: tuple[int, str] | None = None
        self.infinite: tuple[int, str] | None = None
        self.form = Form.of(forced.get("format", ""))
        dates = "%" in forced.get("format", "") and not self.form
        self.forms: list[str] | None = [forced["format"]] if dates else None
        self.unpadded: set[str] = set()
        self.digits = [99, 0]
        self.decimals: set[int] = set()
        self.compact = True
        self.named = bool(ID_NAME.search(name))
        self.scientific = False
        self.figures = 0
        self.powers: set[str] = set()
        self.whole = self.rising = True
        self.last = -math.inf
        self.finest = 86400.0
        self.number_ends, self.date_ends = Extremes(min_count), Extremes(min_count)
        self.number_counts, self.date_counts = Frequent(min_count), Frequent(min_count)
        self.codes: dict[str, int] = {}
        self.holders, self.grouped = Holders(min_count), False

    def add(self, cells: pa.Array, rows: np.ndarray, persons: np.ndarray | None) -> None:
        """Adds the column's cells in one chunk; `rows` are the row numbers, `persons` whose they are, or None."""
        self.rows += len(cells)
        self.grouped = persons is not None
        pairs = pc.value_counts(cells)
        distinct, counts = pairs.field("values"), np.asarray(pairs.field("counts"))
        absent = missing_in(distinct, self.tokens)
        if absent.any():
            for token, count in zip(distinct.filter(pa.array(absent)).to_pylist(), counts[absent], strict=True):
                self.missing[token] += int(count)
            distinct, counts = distinct.filter(pa.array(~absent)), counts[~absent]
        if not len(distinct):
            return
        self._add(distinct, counts, Part(cells, rows).of(distinct, persons))

    def kept(self, min_count: int) -> dict[str, int]:
        """The cells that `min_count` rows have, or persons, where they are known; and their numbers of rows."""
        counts: Mapping[str, int] = self.counts or {}
        if not self.grouped:
            return {cell: n for cell, n in counts.items() if n >= min_count}
        held = self.holders.number(np.array([self.codes[cell] for cell in counts], np.float64))
        return {cell: n for (cell, n), own in zip(counts.items(), held, strict=True) if own >= min_count}

    def held(self, cells: Collection[str]) -> int:
        """How many distinct cells these are; or persons who have them, where they are known, see `Holders.together`."""
        return self.holders.together(self.codes[cell] for cell in cells) if self.grouped else len(cells)

    def held_by_few(self, min_count: int) -> tuple[str, str] | None:
        """The rarest cell that is not `kept`, and how many have it, in words; None if all are kept."""
        kept = self.kept(min_count)
        few = {cell: n for cell, n in (self.counts or {}).items() if cell not in kept}
        if not few:
            return None
        name = min(few, key=lambda cell: few[cell])
        return name, f"rows of {self.held([name])} persons" if self.grouped else f"{few[name]} training rows"

    def respell(self, form: Form) -> Self:
        """The statistics of the same column, with its cells read as numbers of this format."""
        other = type(self)(self.name, {**self.forced, "format": form.example}, self.number_ends.k, self.tokens)
        other.rows, other.missing, other.grouped = self.rows, self.missing, self.grouped
        cells = pa.array(self.counts or (), pa.string())
        part = Part(cells, np.arange(len(cells)))
        if self.grouped:
            order = {code: i for i, code in enumerate(self.codes[cell] for cell in self.counts or ())}
            which = np.array([order[int(code)] for code in self.holders.values.tolist()], np.int64)
            part = part._replace(which=which, persons=self.holders.persons)
        other._add(cells, np.array(list((self.counts or {}).values())), part)
        other.rising = False
        return other

    def _add(self, distinct: pa.Array, counts: np.ndarray, part: Part) -> None:
        self.present += int(counts.sum())
        plain = self.form.plain(distinct) if self.form else distinct
        numeric = np.asarray(pc.fill_null(pc.match_substring_regex(plain, NUMBER), False))
        self._add_numbers(distinct, plain, counts, numeric, part)
        if not numeric.all() or self._compact(distinct, self.present - int(counts.sum())):
            self._add_dates(distinct, counts, part)
        self._count(distinct, counts, bool(numeric.all()), part)

    def _compact(self, distinct: pa.Array, before: int) -> bool:
        """Whether numbers may be dates as well: numbers of 6 to 14 digits, or with a format in the schema file."""
        if "format" in self.forced:
            return not self.form
        self.compact = (
            self.compact and self.dates == before and bool(pc.all(pc.match_substring_regex(distinct, _DIGITS)).as_py())
        )
        return self.compact

    def _add_numbers(self, distinct, plain, counts, numeric, part) -> None:
        if not numeric.all():
            self.rising = False
            infinite = np.asarray(pc.match_substring_regex(distinct, INFINITE))
            self.infinite = self.infinite or _first(distinct, infinite, part)
            self.no_number = self.no_number or _first(distinct, ~numeric, part)
        if not numeric.any():
            return
        texts, counts = plain.filter(pa.array(numeric)), counts[numeric]
        values = to_numbers(texts)
        each = np.full(len(distinct), np.nan)
        each[numeric] = np.where(np.isfinite(values), values, np.nan)
        if not np.isfinite(values).all():
            self.infinite = self.infinite or _first(texts, ~np.isfinite(values), part)
            texts, counts, values = (
                texts.filter(pa.array(np.isfinite(values))),
                *(array[np.isfinite(values)] for array in (counts, values)),
            )
        if not len(values):
            return
        self.numbers += int(counts.sum())
        held = part.held(each)
        self.number_ends.add(values, counts, held)
        self.number_counts.add(values, counts, held)
        self.whole = self.whole and bool((values == np.rint(values)).all())
        self._add_digits(texts, values)
        self.rising = self.rising and self.whole and not self.missing and bool(numeric.all()) and not self.form
        if self.rising:
            steps = np.diff(to_numbers(part.cells), prepend=self.last)
            self.rising, self.last = bool((steps > 0).all()), float(to_numbers(part.cells[-1:])[0])

    def _add_digits(self, texts: pa.Array, values: np.ndarray) -> None:
        point = np.asarray(pc.find_substring(texts, "."))
        digits = np.where(point < 0, 0, np.asarray(pc.utf8_length(texts)) - point - 1)
        self.digits = [min(self.digits[0], int(digits.min())), max(self.digits[1], int(digits.max()))]
        if len(self.decimals) < 3:
            self.decimals |= set(np.unique(digits).tolist())
        powers = np.asarray(pc.match_substring_regex(texts, "[eE]"))
        plain = ~powers & (values != 0)
        if plain.any():  # digits before the point, or minus the zeros that follow it
            before = np.floor(np.log10(np.abs(values[plain]))).astype(int) + 1
            self.figures = max(self.figures, int((digits[plain] + before).max()))
        if powers.any():
            mantissas = pc.replace_substring_regex(texts.filter(pa.array(powers)), r"^[-+]?0*\.?0*|[eE].*|[-+.]", "")
            self.scientific, self.figures = True, max(self.figures, pc.max(pc.utf8_length(mantissas)).as_py())
        if len(self.powers) < 2:
            self.powers |= {_power(text) for text in texts.to_pylist()} if powers.all() else {""}

    @property
    def power(self) -> str:
        """The format, such as ".2e", if all numbers are in scientific notation; else ""."""
        return next(iter(self.powers)) if len(self.powers) == 1 else ""

    def _add_dates(self, distinct: pa.Array, counts: np.ndarray, part: Part) -> None:
        parsed = {form: to_seconds(distinct, form) for form in self.forms or _candidates(distinct)}
        share = {form: int(counts[~np.isnan(seconds)].sum()) for form, seconds in parsed.items()}
        most = max(share.values(), default=0)
        if self.forms and most < 0.5 * counts.sum() and "format" not in self.forced:
            # The first rows may have been exceptions. The format of most rows is used, whatever their order.
            others = {form: to_seconds(distinct, form) for form in _candidates(distinct) if form not in parsed}
            fits = {form: int(counts[~np.isnan(seconds)].sum()) for form, seconds in others.items()}
            if (best := max(fits.values(), default=0)) > self.dates + most:
                parsed, share, most = others, fits, best
                self._restart_dates()
        if not most:
            self.no_date = self.no_date or _first(distinct, np.ones(len(distinct), bool), part)
            return
        before = self.forms
        self.forms = [form for form in parsed if share[form] == most]
        if before and "%z" in self.forms[0] and "%z" not in before[0]:  # so far all dates had the same offset
            self._shift(-offset(before[0]))
        seconds = parsed[self.forms[0]]
        good = ~np.isnan(seconds)
        if not good.all():
            self.no_date = self.no_date or _first(distinct, ~good, part)
        self.first_date = self.first_date or _first(distinct, good, part)
        self.dates += int(counts[good].sum())
        held = part.held(seconds)
        self.date_ends.add(seconds[good], counts[good], held)
        self.date_counts.add(seconds[good], counts[good], held)
        texts = distinct.filter(pa.array(good))
        for what, pattern in (("date", r"(^|[/. -])\d([/., T-]|$)"), ("hour", r"(^|[ T])\d:")):
            if pc.any(pc.match_substring_regex(texts, pattern)).as_py():
                self.unpadded.add(what)
        if "%f" in self.forms[0]:
            fraction = pc.replace_substring_regex(texts, r"^.*\.|(Z|[+-]\d\d:?\d\d)$", "")
            self.digits[1] = max(self.digits[1], pc.max(pc.utf8_length(fraction)).as_py())
            self.finest = min(self.finest, _finest(seconds[good]))

    def _shift(self, seconds: float) -> None:
        """Adds `seconds` to all dates so far."""
        self.date_ends.low, self.date_ends.high = self.date_ends.low + seconds, self.date_ends.high + seconds
        self.date_counts.values = self.date_counts.values + seconds
        self.date_counts.holders.values = self.date_counts.holders.values + seconds

    def _restart_dates(self) -> None:
        """Discards the dates so far, whose format few rows have; the first of them no longer counts as a date."""
        self.no_date = min(filter(None, (self.no_date, self.first_date)), default=None)
        self.first_date, self.dates, self.finest = None, 0, 86400.0
        self.unpadded.clear()
        self.digits[1] = 0
        self.date_ends, self.date_counts = Extremes(self.date_ends.k), Frequent(self.date_ends.k)

    def _count(self, distinct: pa.Array, counts: np.ndarray, numeric: bool, part: Part) -> None:
        if self.counts is None:
            return
        wanted = self.forced.get("kind") in (*DISCRETE, "id")
        plain = (
            self.numbers == self.present and self.decimals != {0, 3} and not self.named
        )  # else: points between thousands
        if numeric and not wanted and len(distinct) > DISTINCT and plain:
            self._stop_counting()
            return
        names = distinct.to_pylist()
        self.counts.update(dict(zip(names, counts.tolist(), strict=True)))
        if part.persons is not None:
            codes = [self.codes.setdefault(name, len(self.codes)) for name in names]
            self.holders.add(np.array(codes, np.float64)[part.which], part.persons)
        if not wanted and len(self.counts) > DISTINCT and plain:
            self._stop_counting()
        elif len(self.counts) > CATEGORIES:
            self.counts, self.pruned = Counter({cell: n for cell, n in self.counts.items() if n > 1}), True
            self.holders.keep(np.array([self.codes[cell] for cell in self.counts] if self.grouped else [], np.float64))

    def _stop_counting(self) -> None:
        self.counts, self.codes, self.holders = None, {}, Holders(self.holders.k)


def _candidates(distinct: pa.Array) -> list[str]:
    """Formats of dates that fit some of the distinct cells, of which LOOKS evenly spaced ones are examined."""
    looked = np.unique(np.linspace(0, len(distinct) - 1, LOOKS).astype(int))
    return list(
        dict.fromkeys(form for cell in distinct.take(pa.array(looked)).to_pylist() for form in date_formats(cell))
    )


def _finest(seconds: np.ndarray) -> float:
    """The unit of the times: 86400 if all are whole days, 1 if all are whole seconds, else 0."""
    return next((step for step in (86400.0, 1.0) if not (seconds % step).any()), 0.0)


def _first(distinct: pa.Array, bad: np.ndarray, part: Part) -> tuple[int, str] | None:
    """Row number and text of the first cell that is among the distinct cells marked as `bad`; None if none is."""
    if not bad.any():
        return None
    index = int(np.argmax(np.asarray(pc.is_in(part.cells, value_set=distinct.filter(pa.array(bad))))))
    return int(part.rows[index]), part.cells[index].as_py()


def _power(text: str) -> str:
    """The format of a number in scientific notation, such as ".2e"; "" if the text is none, or of another format."""
    found = re.fullmatch(r"-?\d(?:\.(\d+))?([eE])[+-]\d\d+", text)
    return f".{len(found[1] or '')}{found[2]}" if found else ""
