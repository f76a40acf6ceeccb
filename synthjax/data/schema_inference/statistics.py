"""Statistics of a table's columns, collected chunk by chunk, from which `infer` decides their kinds."""

import math
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from synthjax.data.number_forms import Form
from synthjax.data.schema import DISCRETE
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
TRACKED = 1 << 15
"""Maximum number of distinct numbers in `Frequent`."""
LOOKS = 24
"""Number of cells of a chunk that are examined to find the format of its dates."""


class Extremes:
    """The smallest and largest numbers so far, from which bounds are computed that at least `k` rows support."""

    def __init__(self, k: int):
        self.k = k
        self.low = self.high = np.empty(0)

    def add(self, values: np.ndarray, counts: np.ndarray) -> None:
        """Adds distinct `values` (m,) f64, each with `counts` rows."""
        most = 3 * self.k  # a window of k after the first k - 1, and k repeats of its last number
        order = np.argsort(values)
        for end, name in ((order[:most], "low"), (order[::-1][:most], "high")):
            several = np.repeat(values[end], np.minimum(counts[end], most))
            kept = np.sort(np.concatenate([getattr(self, name), several]))
            setattr(self, name, kept[:most] if name == "low" else kept[-most:])

    def bounds(self) -> tuple[float, float, int] | None:
        """Lower and upper bound, and the number of rows outside them; None if there are too few rows.

        A bound is computed from rows k to 2 k - 1, counted from its end: the first number that at least k rows share,
        or else the mean of these rows. So it is never the number of a few rows.
        """
        low, high = _bound(self.low, self.k), _bound(-self.high[::-1], self.k)
        if low is None or high is None:
            return None
        (least, low_shared), (most, high_shared) = low, (-high[0], high[1])
        if least > most:
            if not (low_shared or high_shared):
                return None
            least = most = least if low_shared else most
        return least, most, int((self.low < least).sum() + (self.high > most).sum())


def _bound(ordered: np.ndarray, k: int) -> tuple[float, bool] | None:
    """The lower bound of ascending numbers, and whether at least `k` rows share it; see `Extremes.bounds`."""
    values, counts = np.unique(ordered, return_counts=True)
    window = ordered[k - 1 : 2 * k - 1]
    for value in values[counts >= k]:
        if value in window:
            return float(value), True
    if len(window) < k:
        return None
    mean = float(window.mean())
    if mean in values:  # by coincidence the number of a row
        following = values[values > mean]
        mean = (mean + float(following[0])) / 2 if len(following) else np.nextafter(mean, np.inf)
    return mean, False


class Frequent:
    """Frequent numbers and their counts, in bounded memory.

    If there are more than `limit` distinct numbers, the least frequent are dropped; they are counted from 0 if they
    occur again. So a count is a lower bound of the number of rows.
    """

    def __init__(self, limit: int = TRACKED):
        self.limit = limit
        self.values, self.counts = np.empty(0), np.empty(0, np.int64)

    def add(self, values: np.ndarray, counts: np.ndarray) -> None:
        """Adds distinct `values` (m,) f64, each with `counts` rows."""
        joined = np.concatenate([self.values, values + 0.0])  # -0 becomes 0
        self.values, owner = np.unique(joined, return_inverse=True)
        rows = np.concatenate([self.counts, counts]).astype(np.float64)
        self.counts = np.bincount(owner, rows, len(self.values)).astype(np.int64)
        if len(self.values) > self.limit:
            kept = np.sort(np.argpartition(-self.counts, self.limit)[: self.limit])
            self.values, self.counts = self.values[kept], self.counts[kept]

    def shared(self, least: int, most: int, low: float, high: float) -> tuple[tuple[float, ...], tuple[int, ...]]:
        """The at most `most` most frequent numbers in [low, high] that at least `least` rows have, ascending, and their
        counts."""
        chosen = np.flatnonzero((self.counts >= least) & (self.values >= low) & (self.values <= high))
        chosen = np.sort(chosen[np.argsort(-self.counts[chosen], kind="stable")][:most])
        return tuple(self.values[chosen].tolist()), tuple(self.counts[chosen].tolist())


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
        self.number_counts, self.date_counts = Frequent(), Frequent()

    def add(self, cells: pa.Array, rows: np.ndarray) -> None:
        """Adds the column's cells in one chunk; `rows` are the row numbers."""
        self.rows += len(cells)
        pairs = pc.value_counts(cells)
        distinct, counts = pairs.field("values"), np.asarray(pairs.field("counts"))
        absent = missing_in(distinct, self.tokens)
        if absent.any():
            for token, count in zip(distinct.filter(pa.array(absent)).to_pylist(), counts[absent], strict=True):
                self.missing[token] += int(count)
            distinct, counts = distinct.filter(pa.array(~absent)), counts[~absent]
        if not len(distinct):
            return
        self._add(distinct, counts, cells, rows)

    def respell(self, form: Form) -> Self:
        """The statistics of the same column, with its cells read as numbers of this format."""
        other = type(self)(self.name, {**self.forced, "format": form.example}, self.number_ends.k, self.tokens)
        cells = pa.array(self.counts or (), pa.string())
        other._add(cells, np.array(list((self.counts or {}).values())), cells, np.arange(len(cells)))
        other.rows, other.missing, other.rising = self.rows, self.missing, False
        return other

    def _add(self, distinct: pa.Array, counts: np.ndarray, cells: pa.Array, rows: np.ndarray) -> None:
        self.present += int(counts.sum())
        plain = self.form.plain(distinct) if self.form else distinct
        numeric = np.asarray(pc.fill_null(pc.match_substring_regex(plain, NUMBER), False))
        self._add_numbers(distinct, plain, counts, numeric, cells, rows)
        if not numeric.all() or self._compact(distinct, self.present - int(counts.sum())):
            self._add_dates(distinct, counts, cells, rows)
        self._count(distinct, counts, bool(numeric.all()))

    def _compact(self, distinct: pa.Array, before: int) -> bool:
        """Whether numbers may be dates as well: numbers of 6 to 14 digits, or with a format in the schema file."""
        if "format" in self.forced:
            return not self.form
        self.compact = (
            self.compact and self.dates == before and bool(pc.all(pc.match_substring_regex(distinct, _DIGITS)).as_py())
        )
        return self.compact

    def _add_numbers(self, distinct, plain, counts, numeric, cells, rows) -> None:
        if not numeric.all():
            self.rising = False
            infinite = np.asarray(pc.match_substring_regex(distinct, INFINITE))
            self.infinite = self.infinite or _first(distinct, infinite, cells, rows)
            self.no_number = self.no_number or _first(distinct, ~numeric, cells, rows)
        if not numeric.any():
            return
        texts, counts = plain.filter(pa.array(numeric)), counts[numeric]
        values = to_numbers(texts)
        if not np.isfinite(values).all():
            self.infinite = self.infinite or _first(texts, ~np.isfinite(values), cells, rows)
            texts, counts, values = (
                texts.filter(pa.array(np.isfinite(values))),
                *(array[np.isfinite(values)] for array in (counts, values)),
            )
        if not len(values):
            return
        self.numbers += int(counts.sum())
        self.number_ends.add(values, counts)
        self.number_counts.add(values, counts)
        self.whole = self.whole and bool((values == np.rint(values)).all())
        self._add_digits(texts, values)
        self.rising = self.rising and self.whole and not self.missing and bool(numeric.all()) and not self.form
        if self.rising:
            steps = np.diff(to_numbers(cells), prepend=self.last)
            self.rising, self.last = bool((steps > 0).all()), float(to_numbers(cells[-1:])[0])

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

    def _add_dates(self, distinct: pa.Array, counts: np.ndarray, cells: pa.Array, rows: np.ndarray) -> None:
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
            self.no_date = self.no_date or _first(distinct, np.ones(len(distinct), bool), cells, rows)
            return
        before = self.forms
        self.forms = [form for form in parsed if share[form] == most]
        if before and "%z" in self.forms[0] and "%z" not in before[0]:  # so far all dates had the same offset
            self._shift(-offset(before[0]))
        seconds = parsed[self.forms[0]]
        good = ~np.isnan(seconds)
        if not good.all():
            self.no_date = self.no_date or _first(distinct, ~good, cells, rows)
        self.first_date = self.first_date or _first(distinct, good, cells, rows)
        self.dates += int(counts[good].sum())
        self.date_ends.add(seconds[good], counts[good])
        self.date_counts.add(seconds[good], counts[good])
        texts = distinct.filter(pa.array(good))
        for part, pattern in (("date", r"(^|[/. -])\d([/., T-]|$)"), ("hour", r"(^|[ T])\d:")):
            if pc.any(pc.match_substring_regex(texts, pattern)).as_py():
                self.unpadded.add(part)
        if "%f" in self.forms[0]:
            fraction = pc.replace_substring_regex(texts, r"^.*\.|(Z|[+-]\d\d:?\d\d)$", "")
            self.digits[1] = max(self.digits[1], pc.max(pc.utf8_length(fraction)).as_py())
            self.finest = min(self.finest, _finest(seconds[good]))

    def _shift(self, seconds: float) -> None:
        """Adds `seconds` to all dates so far."""
        self.date_ends.low, self.date_ends.high = self.date_ends.low + seconds, self.date_ends.high + seconds
        self.date_counts.values = self.date_counts.values + seconds

    def _restart_dates(self) -> None:
        """Discards the dates so far, whose format few rows have; the first of them no longer counts as a date."""
        self.no_date = min(filter(None, (self.no_date, self.first_date)), default=None)
        self.first_date, self.dates, self.finest = None, 0, 86400.0
        self.unpadded.clear()
        self.digits[1] = 0
        self.date_ends, self.date_counts = Extremes(self.date_ends.k), Frequent()

    def _count(self, distinct: pa.Array, counts: np.ndarray, numeric: bool) -> None:
        if self.counts is None:
            return
        wanted = self.forced.get("kind") in (*DISCRETE, "id")
        plain = (
            self.numbers == self.present and self.decimals != {0, 3} and not self.named
        )  # else: points between thousands
        if numeric and not wanted and len(distinct) > DISTINCT and plain:
            self.counts = None
            return
        self.counts.update(dict(zip(distinct.to_pylist(), counts.tolist(), strict=True)))
        if not wanted and len(self.counts) > DISTINCT and plain:
            self.counts = None
        elif len(self.counts) > CATEGORIES:
            self.counts, self.pruned = Counter({cell: n for cell, n in self.counts.items() if n > 1}), True


def _candidates(distinct: pa.Array) -> list[str]:
    """Formats of dates that fit some of the distinct cells, of which LOOKS evenly spaced ones are examined."""
    looked = np.unique(np.linspace(0, len(distinct) - 1, LOOKS).astype(int))
    return list(
        dict.fromkeys(form for cell in distinct.take(pa.array(looked)).to_pylist() for form in date_formats(cell))
    )


def _finest(seconds: np.ndarray) -> float:
    """The unit of the times: 86400 if all are whole days, 1 if all are whole seconds, else 0."""
    return next((step for step in (86400.0, 1.0) if not (seconds % step).any()), 0.0)


def _first(distinct: pa.Array, bad: np.ndarray, cells: pa.Array, rows: np.ndarray) -> tuple[int, str] | None:
    """Row number and text of the first cell that is among the distinct cells marked as `bad`; None if none is."""
    if not bad.any():
        return None
    index = int(np.argmax(np.asarray(pc.is_in(cells, value_set=distinct.filter(pa.array(bad))))))
    return int(rows[index]), cells[index].as_py()


def _power(text: str) -> str:
    """The format of a number in scientific notation, such as ".2e"; "" if the text is none, or of another format."""
    found = re.fullmatch(r"-?\d(?:\.(\d+))?([eE])[+-]\d\d+", text)
    return f".{len(found[1] or '')}{found[2]}" if found else ""
