"""The schema of a table, measured on its training rows in one pass, in memory that does not grow with the rows.

Every chunk is reduced to its distinct cells and their counts, column by column, before anything is parsed. A column
that turns out to be of more than `DISTINCT` different numbers is no longer counted; of other columns at most
`CATEGORIES` distinct cells are kept, those met only once going first, so that what is lost is rare anyway.

    schema = infer([Chunk(cells, rows), ...], target="income")
    print(schema.report())
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from synthjax.data.arrays import fault, shown
from synthjax.data.cells import INFINITE, NUMBER, Chunk, cell_fault, date_formats, missing_in, to_numbers, to_seconds
from synthjax.data.schema import DISCRETE, MISSING, NUMERIC, RARE, Field, Kind, Schema, check_known
from synthjax.data.spelling import misspelt
from synthjax.errors import InputError

DISTINCT = 1000
"""Distinct numbers up to which a numeric column's values are counted one by one."""
CATEGORIES = 1_000_000
"""Distinct cells of a column that are kept at most."""
CLASSES = 20
"""Distinct whole numbers up to which an integer target is a class label; beyond, it is a quantity."""
MANY = 20
"""Fewest rows that let a column be called identifiers or free text."""
_TRUTHS = ({"true", "false"}, {"yes", "no"}, {"y", "n"}, {"t", "f"}, {"0", "1"}, {"on", "off"})
_ID_NAME = re.compile(r"(^|[_\s.-])(id|uuid|guid)$|[a-z]I[dD]$", re.ASCII)


class _Extremes:
    """The `k` smallest and the `k` greatest of all numbers seen, with repetition."""

    def __init__(self, k: int):
        self.k = k
        self.low = self.high = np.empty(0)

    def add(self, values: np.ndarray, counts: np.ndarray) -> None:
        """Distinct `values` (m,) f64, each seen `counts` times."""
        order = np.argsort(values)
        for end, name in ((order[: self.k], "low"), (order[::-1][: self.k], "high")):
            several = np.repeat(values[end], np.minimum(counts[end], self.k))
            kept = np.sort(np.concatenate([getattr(self, name), several]))
            setattr(self, name, kept[: self.k] if name == "low" else kept[-self.k :])

    def bounds(self) -> tuple[float, float, int]:
        """The k-th smallest and the k-th greatest number, and how many rows lie beyond them.

        Of fewer than 2 k - 1 numbers, both are the middle one.
        """
        low, high = float(self.low[-1]), float(self.high[0])
        if len(self.low) < self.k or low > high:
            everything = np.unique(np.concatenate([self.low, self.high]))
            low = high = float(everything[len(everything) // 2])
        return low, high, int((self.low < low).sum() + (self.high > high).sum())


class _Tally:
    """What is known of one column so far."""

    def __init__(self, name: str, forced: Mapping[str, Any], min_count: int, tokens: tuple[str, ...]):
        self.name, self.forced, self.tokens = name, forced, tokens
        self.rows = self.present = self.numbers = self.dates = 0
        self.missing: Counter[str] = Counter()
        self.counts: Counter[str] | None = Counter()
        self.pruned = False
        self.no_number: tuple[int, str] | None = None
        self.no_date: tuple[int, str] | None = None
        self.infinite: tuple[int, str] | None = None
        self.forms: list[str] | None = [forced["format"]] if "format" in forced else None
        self.unpadded: set[str] = set()
        self.digits = [99, 0]
        self.scientific = False
        self.whole = self.rising = True
        self.last = -math.inf
        self.finest = 86400.0
        self.number_ends, self.date_ends = _Extremes(min_count), _Extremes(min_count)

    def add(self, cells: pa.Array, rows: np.ndarray) -> None:
        """The column's cells in one chunk, and the rows' numbers."""
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
        self.present += int(counts.sum())
        numeric = np.asarray(pc.match_substring_regex(distinct, NUMBER))
        self._add_numbers(distinct, counts, numeric, cells, rows)
        if not numeric.all():
            self._add_dates(distinct, counts, cells, rows)
        self._count(distinct, counts, bool(numeric.all()))

    def _add_numbers(self, distinct, counts, numeric, cells, rows) -> None:
        if not numeric.all():
            self.rising = False
            infinite = np.asarray(pc.match_substring_regex(distinct, INFINITE))
            self.infinite = self.infinite or _first(distinct, infinite, cells, rows)
            self.no_number = self.no_number or _first(distinct, ~numeric, cells, rows)
        if not numeric.any():
            return
        texts, counts = distinct.filter(pa.array(numeric)), counts[numeric]
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
        self.whole = self.whole and bool((values == np.rint(values)).all())
        self.scientific = self.scientific or bool(pc.any(pc.match_substring_regex(texts, "[eE]")).as_py())
        self._add_digits(texts)
        self.rising = self.rising and self.whole and not self.missing and bool(numeric.all())
        if self.rising:
            steps = np.diff(to_numbers(cells), prepend=self.last)
            self.rising, self.last = bool((steps > 0).all()), float(to_numbers(cells[-1:])[0])

    def _add_digits(self, texts: pa.Array) -> None:
        point = pc.find_substring(texts, ".")
        digits = np.where(np.asarray(point) < 0, 0, np.asarray(pc.utf8_length(texts)) - np.asarray(point) - 1)
        self.digits = [min(self.digits[0], int(digits.min())), max(self.digits[1], int(digits.max()))]

    def _add_dates(self, distinct: pa.Array, counts: np.ndarray, cells: pa.Array, rows: np.ndarray) -> None:
        if self.forms is None:
            self.forms = date_formats(distinct[0].as_py())
        if not self.forms:
            return
        parsed = {form: to_seconds(distinct, form) for form in self.forms}
        share = {form: int(counts[~np.isnan(seconds)].sum()) for form, seconds in parsed.items()}
        most = max(share.values())
        self.forms = [form for form in self.forms if share[form] == most]
        seconds = parsed[self.forms[0]]
        good = ~np.isnan(seconds)
        if not good.all():
            self.no_date = self.no_date or _first(distinct, ~good, cells, rows)
        if not good.any():
            return
        self.dates += int(counts[good].sum())
        self.date_ends.add(seconds[good], counts[good])
        texts = distinct.filter(pa.array(good))
        for part, pattern in (("date", r"(^|[/.-])\d([/. T-]|$)"), ("hour", r"[ T]\d:")):
            if pc.any(pc.match_substring_regex(texts, pattern)).as_py():
                self.unpadded.add(part)
        if "%f" in self.forms[0]:
            fraction = pc.replace_substring_regex(texts, r"^.*\.|(Z|[+-]\d\d:?\d\d)$", "")
            self.digits[1] = max(self.digits[1], pc.max(pc.utf8_length(fraction)).as_py())
            self.finest = min(self.finest, _finest(seconds[good]))

    def _count(self, distinct: pa.Array, counts: np.ndarray, numeric: bool) -> None:
        if self.counts is None:
            return
        wanted = self.forced.get("kind") in DISCRETE
        if numeric and not wanted and len(distinct) > DISTINCT and self.numbers == self.present:
            self.counts = None
            return
        self.counts.update(dict(zip(distinct.to_pylist(), counts.tolist(), strict=True)))
        if not wanted and len(self.counts) > DISTINCT and self.numbers == self.present:
            self.counts = None
        elif len(self.counts) > CATEGORIES:
            self.counts, self.pruned = Counter({cell: n for cell, n in self.counts.items() if n > 1}), True

    # --- the verdict

    def field(self, min_count: int, target: bool, storage: str, where: object) -> Field:
        """The column's field, with what `min_count` holds back left out."""
        kind = self._kind(min_count, where)
        if target and kind == "integer" and self.counts and len(self.counts) <= CLASSES and "kind" not in self.forced:
            kind = "categorical"
        token = self.missing.most_common(1)[0][0] if self.missing else ""
        encoding = self.forced.get("encoding", "")
        field = Field(self.name, kind, self.rows, self.rows - self.present, token, storage=storage, encoding=encoding)
        if kind in NUMERIC:
            return self._numeric(field, where)
        changes: dict[str, Any] = {}
        if kind == "constant":
            changes = {"categories": tuple(self.counts or ()), "counts": tuple((self.counts or {}).values())}
        elif kind in DISCRETE:
            changes = dict(zip(("categories", "counts", "suppressed"), self._categories(min_count), strict=True))
        elif kind == "id":
            changes = {"pattern": self._pattern()}
        return replace(field, **changes)

    def _kind(self, min_count: int, where: object) -> Kind:
        forced = self.forced.get("kind")
        distinct = len(self.counts) if self.counts is not None else self.present
        if forced or not self.present:
            return self._checked(forced, where) if forced and self.present else "constant"
        if self.infinite and self.numbers and self._numbers_and_infinities():
            raise cell_fault(where, self.infinite, self.name, "not a finite number")
        if distinct == 1 and not self.missing and self.present >= min_count:
            return "constant"
        if distinct == 2 and self.counts and {cell.lower() for cell in self.counts} in _TRUTHS:
            return "boolean"
        if self.numbers == self.present:
            return self._number_kind()
        if self.dates == self.present:
            return "datetime"
        advice = "or say `kind: categorical` of the column in a schema file"
        if distinct > MANY and self.no_number and (what := misspelt(self.counts or {})):
            raise cell_fault(where, self.no_number, self.name, f"{what}, {advice}")
        for good, bad, what in ((self.numbers, self.no_number, "number"), (self.dates, self.no_date, "date")):
            if bad and good >= 0.9 * self.present and distinct > MANY:
                most = f"as {good:,} of the {self.present:,} values are: mend it"
                raise cell_fault(where, bad, self.name, f"not a {what}, {most}, {advice}")
        return self._text_kind(distinct)

    def _numbers_and_infinities(self) -> bool:
        if self.counts is None:
            return True
        cells = pa.array(list(self.counts), pa.string())
        return bool(
            pc.all(pc.or_(pc.match_substring_regex(cells, INFINITE), pc.match_substring_regex(cells, NUMBER))).as_py()
        )

    def _checked(self, forced: Kind, where: object) -> Kind:
        """A kind that a person chose, if the cells allow it."""
        bad = self.no_number or self.infinite if forced in ("continuous", "integer") else self.no_date
        if forced in NUMERIC and bad:
            raise cell_fault(where, bad, self.name, f"not of kind {forced}, which the schema file asks for")
        if forced == "datetime" and self.dates < self.present:
            raise fault(where, f"column {shown(self.name)!r} holds no dates that are recognised; give their format")
        if forced == "constant" and len(self.counts or ()) != 1:
            raise fault(where, f"column {shown(self.name)!r} holds several values; it is not constant")
        return forced

    def _number_kind(self) -> Kind:
        if not self.whole or self.scientific:
            return "continuous"
        low, high = self.number_ends.low[0], self.number_ends.high[-1]
        dense = self.present >= MANY and self.rising and self.present > 0.5 * (high - low + 1)
        different = self.counts is None or len(self.counts) == self.present
        named = self.present >= MANY and different and bool(_ID_NAME.search(self.name))
        return "id" if dense or named else "integer"

    def _text_kind(self, distinct: int) -> Kind:
        """Categories, unless most rows hold a text of their own: identifiers if single words, each of them once."""
        counts: Mapping[str, int] = self.counts or {}
        kept = sum(counts.values())  # less than `present` where the rarest were no longer counted
        repeated = kept > 0.5 * self.present if self.pruned else distinct <= 0.5 * self.present
        if self.present < MANY or repeated:
            return "categorical"
        if not all(len(cell) <= 64 and not re.search(r"\s", cell) for cell in list(counts)[:1000]):
            return "text"
        return "id" if self.pruned or distinct == self.present else "categorical"

    def _numeric(self, field: Field, where: object) -> Field:
        ends = self.date_ends if field.kind == "datetime" else self.number_ends
        low, high, clipped = ends.bounds()
        public = [self.forced.get(end) for end in ("min", "max")]
        if field.kind == "datetime" and any(end is not None for end in public):
            raise fault(where, f"column {shown(self.name)!r}: min and max are for numbers, not for dates")
        low, high = (own if given is None else float(given) for own, given in zip((low, high), public, strict=True))
        if low > high:
            raise fault(where, f"column {shown(self.name)!r}: the values lie outside {public[0]} ... {public[1]}")
        decimals = None if self.scientific and field.kind != "datetime" else (min(self.digits), self.digits[1])
        form = self._form(field.storage) if field.kind == "datetime" else ""
        clipped = clipped if public == [None, None] else 0
        return replace(field, low=low, high=high, clipped=clipped, decimals=decimals, format=form)

    def _form(self, storage: str) -> str:
        form = (self.forms or [""])[0]
        if storage.startswith("timestamp") and self.finest >= 1:  # written to the microsecond, whatever it means
            form = form[: form.index(" ")] if self.finest == 86400 else form.replace(".%f", "")
        if "date" in self.unpadded:
            form = form.replace("%d", "%-d").replace("%m", "%-m")
        return form.replace("%H", "%-H") if "hour" in self.unpadded else form

    def _categories(self, min_count: int) -> tuple[tuple[str, ...], tuple[int, ...], int]:
        """Names by falling count, their counts, and how many were merged into RARE, which comes last."""
        counts: Mapping[str, int] = self.counts or {}
        kept = sorted(((name, n) for name, n in counts.items() if n >= min_count), key=lambda pair: (-pair[1], pair[0]))
        rare = len(counts) - len(kept)
        if rare or self.pruned:
            left = self.present - sum(n for name, n in kept if name != RARE)
            kept = [*(pair for pair in kept if pair[0] != RARE), (RARE, left)]
        return tuple(name for name, _ in kept), tuple(n for _, n in kept), rare

    def _pattern(self) -> str:
        """The form that all identifiers share; whole numbers count on from 1."""
        if self.numbers == self.present:
            return ""
        some = list(self.counts or ())[:1000]
        masks = {_mask(cell) for cell in some}
        if len(masks) > 1:
            return "a" * min(max(map(len, masks)), 16)
        columns = zip(masks.pop(), zip(*some, strict=True), strict=True)
        return "".join(f"\\{letters[0]}" if len(set(letters)) == 1 else mask for mask, letters in columns)


def _finest(seconds: np.ndarray) -> float:
    """Whether all are whole days, 86400, whole seconds, 1, or neither, 0."""
    return next((step for step in (86400.0, 1.0) if not (seconds % step).any()), 0.0)


def _mask(cell: str) -> str:
    """9 for a digit, a and A for letters, punctuation as it is; what is beyond ASCII is a letter."""
    return re.sub(r"[^\x00-\x7f]", "a", re.sub("[a-z]", "a", re.sub("[A-Z]", "A", re.sub("[0-9]", "9", cell))))


def _first(distinct: pa.Array, bad: np.ndarray, cells: pa.Array, rows: np.ndarray) -> tuple[int, str] | None:
    """Row and text of the first cell that is one of the `bad` distinct ones."""
    if not bad.any():
        return None
    place = int(np.argmax(np.asarray(pc.is_in(cells, value_set=distinct.filter(pa.array(bad))))))
    return int(rows[place]), cells[place].as_py()


def infer(
    chunks: Iterable[Chunk],
    *,
    target: str | None = None,
    min_count: int = 5,
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
    tokens: tuple[str, ...] = MISSING,
    classes: tuple[str, ...] | None = None,
    storage: Mapping[str, str] | None = None,
    where: object = "table",
) -> Schema:
    """Measures the columns of a table on its training rows.

    Args:
        chunks: the rows, as text.
        target: the column that is to be predicted.
        min_count: fewest rows that must share a category or an extreme value; 1 gives everything away.
        overrides: what a person says about columns (`schema.read_overrides`).
        tokens: cells that say that a value is missing.
        classes: order of the target's classes; default: alphabetical, numbers by value.
        storage: column -> the Arrow type in which a Parquet file held it.
        where: the file, for messages.

    Raises:
        InputError: no rows, a column that holds numbers and words, an infinity, a target that is absent, constant,
            missing in some row, or of a class held by fewer than `min_count` rows.
    """
    overrides = overrides or {}
    tallies: dict[str, _Tally] = {}
    for chunk in chunks:
        if not tallies:
            names = chunk.cells.column_names
            tallies = {name: _Tally(name, overrides.get(name, {}), min_count, tokens) for name in names}
        for name, tally in tallies.items():
            tally.add(chunk.cells.column(name).combine_chunks(), chunk.rows)
    if not tallies or not next(iter(tallies.values())).rows:
        raise fault(where, "has no rows")
    for name in [*overrides, *([target] if target else [])]:
        check_known(name, tallies, where, "target" if name == target else "schema file:")
    fields = [
        tally.field(min_count, name == target, (storage or {}).get(name, "string"), where)
        for name, tally in tallies.items()
    ]
    if target:
        place = list(tallies).index(target)
        fields[place] = _target(fields[place], tallies[target], min_count, classes, where)
    return Schema(tuple(fields), target, min_count)


def _target(field: Field, tally: _Tally, min_count: int, classes: tuple[str, ...] | None, where: object) -> Field:
    """The target's field with its classes in order, if it can be a target at all."""
    where = f"{shown(where)}: target {shown(field.name)!r}"
    if field.kind in ("constant", "id", "text"):
        held = f"always {shown(field.categories[0])!r}" if field.categories else f"of kind {field.kind}"
        raise InputError(f"{where} is {held}: there is nothing to predict")
    if field.missing:
        raise InputError(f"{where} is missing in {field.missing} rows: leave them out, or fill them in")
    if field.kind not in DISCRETE:
        return field
    counts = dict(tally.counts or {})
    smallest = min(counts, key=lambda name: counts[name])
    if len(counts) < 2:
        raise InputError(f"{where} is always {shown(smallest)!r}: there is nothing to predict")
    if counts[smallest] < min_count:
        raise InputError(
            f"{where}: class {shown(smallest)!r} has {counts[smallest]} training rows; classes of fewer than "
            f"{min_count} (min_count) would single people out: merge or drop it, or set min_count=1"
        )
    order = list(classes or sorted(counts, key=class_order))
    return replace(field, categories=tuple(order), counts=tuple(counts[name] for name in order))


def class_order(name: str) -> tuple[bool, float, str]:
    """What classes are sorted by: numbers by value, then words."""
    number = bool(re.fullmatch(NUMBER, name))
    return (not number, float(name) if number else 0.0, name)
