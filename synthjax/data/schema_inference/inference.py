"""Inference of a table's schema from its training rows, in one pass and in bounded memory.

Each column of a chunk is reduced to its distinct cells and their counts before they are parsed. If a column has more
than `statistics.DISTINCT` different numbers, its cells are no longer counted. Of other columns, at most
`statistics.CATEGORIES` distinct cells are kept; cells that occurred only once are dropped first.

    schema = infer([Chunk(cells, rows), ...], target="income")
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from synthjax.data import identifiers
from synthjax.data.arrays import fault, shown
from synthjax.data.arrow_types import unreadable
from synthjax.data.number_forms import Form, find
from synthjax.data.schema import DISCRETE, MISSING, NUMERIC, RARE, Field, Kind, Schema, check_known, entry
from synthjax.data.schema_inference.spelling import codes, measured, odd_cell
from synthjax.data.schema_inference.statistics import Tally
from synthjax.data.text_values import COMPACT, INFINITE, NUMBER, WEAK, Chunk, class_order, to_seconds
from synthjax.errors import InputError

CLASSES = 20
"""Maximum number of distinct integers of a target that is a class label; with more, it is numeric."""
FEWEST = 6
"""A column of digits only is of dates if more than so many distinct numbers are all dates, which is no coincidence."""
FEW = 31
"""Maximum number of distinct months or times of day in a column of categories, if many rows share each of them."""
MANY = 20
"""Minimum number of rows of a column of identifiers or free text."""
GROUP = 20
"""Maximum mean number of rows per identifier, for numbers that are identifiers because of the column's name."""
SPARSE = 10
"""Minimum ratio of a column's range to its distinct numbers, for a "number" with several rows to be an identifier."""
SHARED = 500_000
"""Maximum number of shared numbers and dates that are kept of all columns together; of a column at most 1,000."""
SHARE = 1e-6
"""Minimum share of a column's rows that must have a number for it to be kept as a shared number."""
TRUTHS = ({"true", "false"}, {"yes", "no"}, {"y", "n"}, {"t", "f"}, {"0", "1"}, {"on", "off"})  # in lower case
_NUMBER_NAME = re.compile(r"(nr|nbr|no|number)$", re.I)
_INFINITE = re.compile(INFINITE)


class _Column(Tally):
    """Decides the kind of a column from its counts."""

    def field(self, min_count: int, target: bool, storage: str, most: int, where: object) -> Field:
        """The column's field.

        Args:
            min_count: see `infer`.
            target: whether this is the target.
            storage: Arrow type in the Parquet file; "" for other files.
            most: maximum number of shared numbers.
            where: name of the file, for messages.
        """
        if form := self._form_of_numbers(min_count):
            return self.respell(form).field(min_count, target, storage, most, where)
        if not _readable(storage) and self.forced.get("kind") != "text":
            line = entry(self.name, kind="text")
            raise fault(where, f"{unreadable(self.name, storage)}; put {line} into a schema file to leave it out")
        kind = self._kind(min_count, storage, where)
        if target and kind == "id" and self.numbers == self.present and "kind" not in self.forced:
            kind = "integer"  # whatever its name is
        if target and kind == "integer" and self.counts and len(self.counts) <= CLASSES and "kind" not in self.forced:
            kind = "categorical"
        field = Field(
            self.name,
            kind,
            self.rows,
            self.rows - self.present,
            self.missing.most_common(1)[0][0] if self.missing else "",
            storage=storage or "string",
            encoding=self.forced.get("encoding", ""),
            tokens=tuple(self.forced.get("missing", ())),
        )
        if kind in NUMERIC:
            return self._numeric(field, min_count, most, where)
        changes: dict[str, Any] = {}
        if kind == "constant" and not self.kept(min_count):
            changes = {"suppressed": self.present, "decimals": None}
        elif kind == "constant":
            changes = {"categories": tuple(self.counts or ()), "counts": tuple((self.counts or {}).values())}
        elif kind in DISCRETE:
            changes = dict(zip(("categories", "counts", "suppressed"), self._categories(min_count), strict=True))
            changes |= {} if target else self._rare(min_count, storage)
        elif kind == "id":
            changes = self._identifiers(min_count, storage)
        return replace(field, **changes)

    def _form_of_numbers(self, min_count: int) -> Form | None:
        """The format of the cells, if all of them are numbers in a format that differs from Python's."""
        if "format" in self.forced or self.forced.get("kind", "integer") not in ("continuous", "integer"):
            return None
        if not self.counts or self.pruned or (self.numbers == self.present and self.decimals != {0, 3}):
            return None
        if "kind" not in self.forced and len(self.counts) <= MANY and not self._erased(min_count):
            return None
        form = None if self.dates == self.present else find(self.counts)
        return form if form and form.fits(self.counts) else None

    def _kind(self, min_count: int, storage: str, where: object) -> Kind:
        """The kind that the schema file gives, or the first that fits."""
        forced = self.forced.get("kind")
        distinct = len(self.counts) if self.counts is not None else self.present
        if forced or not self.present:
            return self._checked(forced, where) if forced and self.present else "constant"
        if self.infinite and self.numbers and self._numbers_and_infinities():
            raise self._odd(self.infinite, "not a finite number", [*filter(_INFINITE.match, self.counts or ())], where)
        if distinct == 1 and not self.missing and self.kept(min_count):
            return "constant"
        if distinct == 2 and self.counts and {cell.lower() for cell in self.counts} in TRUTHS:
            return "boolean"
        if self.dates == self.present and self._dated(distinct, min_count, storage):
            return "datetime"
        if self.numbers == self.present:
            return self._number_kind()
        if self.no_date and storage.startswith(("date", "timestamp")):
            raise self._odd(self.no_date, "a date that cannot be read: years 1 to 9999 can", [self.no_date[1]], where)
        if not codes(self.counts or {}, self._erased(min_count)):
            self._check_words(distinct, min_count, where)
        return self._text_kind(distinct, min_count)

    def _dated(self, distinct: int, min_count: int, storage: str) -> bool:
        """Whether cells that are all dates are not better described as numbers or categories."""
        form = self.forms[0] if self.forms else ""
        if form not in WEAK or storage.startswith(("date", "time")):
            return True
        if form in COMPACT:
            return distinct > FEWEST
        return distinct > FEW or self._erased(min_count)

    def _check_words(self, distinct: int, min_count: int, where: object) -> None:
        """Raises InputError if most cells of a column of words look like numbers, dates or times."""
        counts: Mapping[str, int] = self.counts or {}
        if distinct <= MANY:
            return
        if self.no_number and "format" not in self.forced and (form := find(counts)):
            odd = [cell for cell in counts if not form.fits([cell])]
            bad = self.no_number if self.no_number[1] in odd or not odd else (-1, odd[0])
            raise self._odd(bad, f"not a number like {form.example}, as nearly all others are", odd, where, form)
        weak = (self.forms or [""])[0] in WEAK
        for good, first, what in ((self.numbers, self.no_number, "number"), (self.dates, self.no_date, "date")):
            likely = 2 * good > self.present or self.counts is None  # None: far too many different numbers
            likely = likely and not (weak and what == "date")
            if first and (good >= 0.9 * self.present or (likely and self._erased(min_count))):
                odd = self._no_numbers() if what == "number" else self._no_dates()
                raise self._odd(first, f"not a {what}, as {good:,} of the {self.present:,} values are", odd, where)
        if self._erased(min_count) and 2 * (found := measured(counts)) > self.present and self.no_date:
            what = f"of no form that is known, while {found:,} of the {self.present:,} cells look like numbers or times"
            raise self._odd(self.no_date, what, [], where)

    def _no_numbers(self) -> list[str]:
        """Distinct cells that are not numbers."""
        return [cell for cell in self.counts or () if not re.match(NUMBER, cell)]

    def _no_dates(self) -> list[str]:
        """Distinct cells that are not dates."""
        cells = pa.array(self.counts or (), pa.string())
        return cells.filter(pa.array(np.isnan(to_seconds(cells, (self.forms or [""])[0])))).to_pylist()

    def _odd(
        self, found: tuple[int, str], what: str, odd: list[str], where: object, form: Form | None = None
    ) -> InputError:
        """The error that cell `found`, and the cells `odd`, do not fit; see `spelling.odd_cell`."""
        said = {"format": form.example} if form else {}
        return odd_cell(where, found, self.name, what, odd, {**said, "missing": list(self.forced.get("missing", ()))})

    def _erased(self, min_count: int) -> bool:
        """Whether most rows would be merged into RARE if the cells were categories."""
        return 2 * sum(n for n in self.kept(min_count).values() if n > 1) < self.present

    def _numbers_and_infinities(self) -> bool:
        """Whether all cells are numbers or infinities."""
        if self.counts is None:
            return True
        cells = pa.array(list(self.counts), pa.string())
        return bool(
            pc.all(pc.or_(pc.match_substring_regex(cells, INFINITE), pc.match_substring_regex(cells, NUMBER))).as_py()
        )

    def _checked(self, forced: Kind, where: object) -> Kind:
        """The kind that the schema file gives; InputError if the cells do not fit it."""
        numbers = forced in ("continuous", "integer")
        bad = self.no_number or self.infinite if numbers else self.no_date
        like = f" like {self.forced['format']}" if "format" in self.forced else ""
        if forced in NUMERIC and bad:
            form = None if like or not numbers else find(self.counts or {})
            odd = self._no_numbers() if numbers and not form else self._no_dates() if not numbers else []
            raise self._odd(bad, f"not of kind {forced}{like}, which the schema file asks for", odd, where, form)
        if forced == "datetime" and self.dates < self.present:
            line = entry(self.name, kind="datetime", format="%Y%m%d")
            what = f"holds no dates that are recognised{like}; give their format, as in {line}"
            raise fault(where, f"column {shown(self.name)!r} {what}")
        if forced == "constant" and len(self.counts or ()) != 1:
            raise fault(where, f"column {shown(self.name)!r} holds several values; it is not constant")
        return forced

    def _number_kind(self) -> Kind:
        """The kind of a column of numbers."""
        if not self.whole or self.scientific:
            return "continuous"
        low, high = self.number_ends.low[0], self.number_ends.high[-1]
        dense = self.present >= MANY and self.rising and self.present > 0.5 * (high - low + 1)
        return "id" if dense or self._named(low, high) else "integer"

    def _named(self, low: float, high: float) -> bool:
        """Whether integers are identifiers because of the column's name; each must have one row, or a few."""
        distinct = self.present if self.counts is None else len(self.counts)
        if self.present < MANY or distinct < MANY or not self.named:
            return False
        sparse = high - low + 1 >= SPARSE * distinct or not _NUMBER_NAME.search(self.name)
        return distinct == self.present or (self.present <= GROUP * distinct and sparse)

    def _text_kind(self, distinct: int, min_count: int) -> Kind:
        """The kind of a column of words.

        They are categories if rows share them. Otherwise single words are identifiers, and longer texts free text.
        """
        counts: Mapping[str, int] = self.counts or {}
        kept = sum(counts.values())  # less than `present` if the rarest cells were dropped
        repeated = kept > 0.5 * self.present if self.pruned else distinct <= 0.5 * self.present
        single = all(len(cell) <= 64 and not re.search(r"\s", cell) for cell in list(counts)[:1000])
        coded = single and sum(bool(re.search("[0-9]", cell)) for cell in counts) > 0.9 * len(counts)
        kept = sum(self.kept(min_count).values())
        if not kept and self.present < MANY:
            return "id" if coded else "text"
        if not coded and distinct < self.present >= MANY and 2 * kept < self.present:
            return "text"
        if self.present < MANY or (repeated and not (coded and self._erased(min_count))):
            return "categorical"
        if not single:
            return "text"
        own = self.pruned or distinct == self.present
        return "id" if own or (coded and self._erased(min_count)) else "categorical"

    def _numeric(self, field: Field, min_count: int, most: int, where: object) -> Field:
        """The field of numbers or dates. If too few rows have a value, it is constant and always missing."""
        dates = field.kind == "datetime"
        ends, counts = (self.date_ends, self.date_counts) if dates else (self.number_ends, self.number_counts)
        public = [self.forced.get(end) for end in ("min", "max")]
        if dates and public != [None, None]:
            raise fault(where, f"column {shown(self.name)!r}: min and max are for numbers, not for dates")
        measured = ends.bounds()
        if measured is None and None in public:
            form = self._form(field.storage) if dates else ""
            return replace(field, kind="constant", suppressed=self.present, format=form)
        *found, clipped = measured or (0.0, 0.0, 0)
        low, high = (own if given is None else float(given) for own, given in zip(found, public, strict=True))
        if low > high:
            raise fault(where, f"column {shown(self.name)!r}: the values lie outside {public[0]} ... {public[1]}")
        scientific = self.scientific and not dates
        least = max(min_count, 2, math.ceil(self.present * SHARE))
        shared, shared_rows = counts.shared(least, most, low, high)
        return replace(
            field,
            low=low,
            high=high,
            clipped=clipped if public == [None, None] else 0,
            shared=shared,
            shared_rows=shared_rows,
            decimals=None if scientific else (min(self.digits), self.digits[1]),
            figures=self.figures if scientific else 0,
            format=self._form(field.storage) if dates else self.form.example if self.form else self.power,
        )

    def _form(self, storage: str) -> str:
        """The format of dates, without parts that all dates lack."""
        form = (self.forms or [""])[0]
        if storage.startswith("time") and self.finest >= 1:  # as text it has microseconds, even if all are 0
            form = form[: form.index(" ")] if " " in form and self.finest == 86400 else form.replace(".%f", "")
        if "date" in self.unpadded:
            form = form.replace("%d", "%-d").replace("%m", "%-m")
        return form.replace("%H", "%-H").replace("%I", "%-I") if "hour" in self.unpadded else form

    def _categories(self, min_count: int) -> tuple[tuple[str, ...], tuple[int, ...], int]:
        """Names, first those that the schema lists, then by count, RARE last; their counts; how many were merged."""
        counts: Mapping[str, int] = self.counts or {}
        listed = {name: i for i, name in enumerate(self.forced.get("categories", ()))}
        kept = [*self.kept(min_count).items()]
        kept.sort(key=lambda pair: (listed.get(pair[0], len(listed)), -pair[1], pair[0]))
        rare = len(counts) - len(kept)
        if rare or self.pruned:
            left = self.present - sum(n for name, n in kept if name != RARE)
            kept = [*(pair for pair in kept if pair[0] != RARE), (RARE, left)]
        return tuple(name for name, _ in kept), tuple(n for _, n in kept), rare

    def _rare(self, min_count: int, storage: str) -> dict[str, Any]:
        """What a field of categories says of codes that are made anew for its rare ones; nothing if these are words."""
        kept = self.kept(min_count)
        counts = {cell: n for cell, n in (self.counts or {}).items() if cell not in kept}
        if self.pruned or self.held(counts) < min_count:
            return {}
        cells, different = list(counts), identifiers.different(len(self.counts or ()))
        look = identifiers.of_rare(cells[:: len(cells) // 1000 + 1], different, min_count, storage, self.held)
        if not look.pattern:
            return {}
        found = {"pattern": look.pattern, "forms": look.counts, "storage": look.storage}
        return found | {"sizes": identifiers.sizes(counts, min_count, self.held)}

    def _identifiers(self, min_count: int, storage: str) -> dict[str, Any]:
        """The entries of a field that describe identifiers."""
        counts = self.counts if self.counts is not None and not self.pruned else {}
        if self.numbers == self.present and self.whole:
            look = identifiers.of_numbers(self.number_ends.low[0], self.number_ends.high[-1], self.present, storage)
        else:
            cells = list(self.counts or ())
            look = identifiers.of_texts(cells[:: len(cells) // 1000 + 1], self.present, min_count, storage, self.held)
        return look._asdict() | {"sizes": identifiers.sizes(counts, min_count, self.held)}


def _readable(storage: str) -> bool:
    """Whether a column of a Parquet file has values that can be read, given its Arrow type."""
    return not re.match(
        r"(large_|fixed_size_)?(list|binary)|struct|map|union|dense_|sparse_|month_|extension|run_end", storage
    )


def infer(
    chunks: Iterable[Chunk],
    *,
    target: str | None = None,
    min_count: int = 5,
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
    tokens: tuple[str, ...] = MISSING,
    storage: Mapping[str, str] | None = None,
    where: object = "table",
) -> Schema:
    """Measures the columns of a table on its training rows.

    Args:
        chunks: the rows, as text.
        target: the column to predict.
        min_count: minimum number of rows that must share a category or an extreme value for it to be stored, or of
            persons, where the chunks name them; 1 stores every value.
        overrides: the entries of a schema file, see `schema_file.read_overrides`.
        tokens: cells that mean that a value is missing.
        storage: column -> Arrow type in the Parquet file.
        where: name of the file, for messages.

    Returns:
        The schema. The target's classes are in alphabetical order, numbers by value.

    Raises:
        InputError: there are no rows; a column contains numbers and words, or an infinity; or the target is not a
            column, is constant or missing in some row, or has a class with fewer than `min_count` rows or persons.
    """
    overrides = overrides or {}
    columns: dict[str, _Column] = {}
    for chunk in chunks:
        if not columns:
            names = chunk.cells.column_names
            columns = {name: _Column(name, overrides.get(name, {}), min_count, tokens) for name in names}
        for name, column in columns.items():
            column.add(chunk.cells.column(name).combine_chunks(), chunk.rows, chunk.persons)
    if not columns or not next(iter(columns.values())).rows:
        raise fault(where, "has no rows")
    for name in [*overrides, *([target] if target else [])]:
        check_known(name, columns, where, "target" if name == target else "schema file:")
    most = int(np.clip(SHARED // len(columns), 32, 1000))
    fields = [
        column.field(min_count, name == target, (storage or {}).get(name, ""), most, where)
        for name, column in columns.items()
    ]
    if target:
        index = list(columns).index(target)
        fields[index] = _target(fields[index], columns[target], min_count, where)
    return Schema(tuple(fields), target, min_count)


def _target(field: Field, column: _Column, min_count: int, where: object) -> Field:
    """The target's field with its classes in order; InputError if the column cannot be a target."""
    where = f"{shown(where)}: target {shown(field.name)!r}"
    if field.kind in ("constant", "id", "text"):
        if field.suppressed:
            raise InputError(f"{where} has too few values to learn from: {field.suppressed}")
        held = f"always {shown(field.categories[0])!r}" if field.categories else f"of kind {field.kind}"
        raise InputError(f"{where} is {held}: there is nothing to predict")
    if field.missing:
        raise InputError(f"{where} is missing in {field.missing} rows: leave them out, or fill them in")
    if field.kind not in DISCRETE:
        return field
    counts = dict(column.counts or {})
    smallest = min(counts, key=lambda name: counts[name])
    if len(counts) < 2:
        raise InputError(f"{where} is always {shown(smallest)!r}: there is nothing to predict")
    if few := column.held_by_few(min_count):
        raise InputError(
            f"{where}: class {shown(few[0])!r} has {few[1]}; classes of fewer than {min_count} (min_count) would "
            "single people out: merge or drop it, or set min_count=1"
        )
    order = sorted(counts, key=class_order)
    return replace(field, categories=tuple(order), counts=tuple(counts[name] for name in order))
