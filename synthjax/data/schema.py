"""The schema of a table: kinds, missing values, formats and ranges of its columns, without values of single rows.

A `Schema` is measured on training rows (`synthjax.data.schema_inference`), printed (`Schema.report`), stored with a
checkpoint (`to_dict`) and corrected in a YAML or JSON file (`schema_file`):

    columns:
      postcode: {kind: categorical}          # one of KINDS
      age: {min: 0, max: 100}                # public bounds, which are then not measured
      visited: {kind: datetime, format: "%d/%m/%Y"}
      price: {format: "1.234,5 €"}           # the number 1234.5 in the format of the column
      income: {encoding: mode}               # see synthjax.data.encoding
      height: {missing: [-999, "?"]}         # cells that mean that a value is missing
      sex: {categories: [f, m], public: true}    # not read off the data, see docs/howto/privacy.md
      height_m: {kind: continuous, decimals: 2, min: 0, max: 3, public: true}
    missing: [unknown]                       # the same for all columns; both in addition to MISSING
    rules: ["start <= end"]                  # see synthjax.data.table_rules
    group: patient_id                        # see synthjax.data.groups

No value that fewer than `min_count` training rows have is stored exactly (5 by default; 1 switches this off):

    categories           rarer ones are merged into `(rare)`; codes of a common form are replaced by new ones instead
    numbers and dates    clipped to bounds that `min_count` rows share, or that are the mean of `min_count` rows
    sparse columns       a column with too few numbers or dates for such bounds is always missing

The report says for which columns this was done.
"""

import dataclasses
import difflib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, Self, get_args

import numpy as np

from synthjax.data.arrays import shown
from synthjax.errors import InputError

Kind = Literal["continuous", "integer", "datetime", "categorical", "boolean", "id", "text", "constant"]
KINDS: tuple[Kind, ...] = get_args(Kind)
NUMERIC: tuple[Kind, ...] = ("continuous", "integer", "datetime")
DISCRETE: tuple[Kind, ...] = ("categorical", "boolean")
RARE = "(rare)"
"""The category into which those with fewer than `min_count` rows are merged, before new codes are made for it."""
MISSING = ("", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "<NA>", "#N/A")
"""Cells that mean that a value is missing."""
_TOLD = 0.05  # minimum share of a column's cells that become RARE for a line of advice
_LISTED = 8  # maximum number of columns in a line of advice
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
POWER = r"\.\d+[eE]"
"""Regular expression of formats of numbers in scientific notation."""
_WORDS = ("y", "n", "yes", "no", "on", "off", "true", "false", "null")  # YAML does not read these as text


@dataclass(frozen=True)
class Field:
    """One column of a table, measured on its training rows."""

    name: str
    kind: Kind
    rows: int
    """Number of rows, including those without a value."""
    missing: int = 0
    """Number of rows without a value."""
    token: str = ""
    """The most frequent cell that means that a value is missing."""
    low: float = 0.0
    """Minimum after clipping; of a datetime, in seconds since 1970-01-01. Either `min_count` rows have it or none."""
    high: float = 0.0
    """Maximum after clipping."""
    clipped: int = 0
    """Number of rows with a number below `low` or above `high`."""
    shared: tuple[float, ...] = ()
    """The most frequent numbers that at least `min_count` rows have, ascending. They are decoded exactly."""
    shared_rows: tuple[int, ...] = ()
    """Number of rows with each of them."""
    endings: tuple[tuple[float, ...], ...] = ()
    """Frequency of each ending of the numbers or dates that are not shared; see `endings`."""
    decimals: tuple[int, int] | None = (0, 0)
    """Minimum and maximum number of decimals; None: in scientific notation."""
    figures: int = 0
    """Maximum number of significant digits, for numbers in scientific notation."""
    format: str = ""
    """Of dates: a format of `strptime`, with `%-d` and the like if they are not padded. Of numbers in scientific
    notation: a format such as ".2e". Of other numbers: 1234.5 in the format of the column, such as "1.234,5 €"."""
    categories: tuple[str, ...] = ()
    """Of a discrete column: by descending count, with `RARE` last. Of a constant column: its value."""
    counts: tuple[int, ...] = ()
    """Number of rows with each category; of identifiers, the frequency of each form in `pattern`."""
    suppressed: int = 0
    """Number of categories merged into `RARE`; of a constant column, the number of values that are not stored."""
    pattern: str = ""
    """Pattern of new identifiers, see `identifiers`; "": consecutive numbers after `low`. Of categories: pattern of the
    codes that replace `RARE`; "": none."""
    forms: tuple[int, ...] = ()
    """Frequency of each form of rare codes, if there are several."""
    taken: str = ""
    """Classes that contain real identifiers or rare codes, in hexadecimal; see `identifiers.Taken`."""
    sizes: tuple[int, ...] = ()
    """Number of rows of consecutive identifiers, as a cycle; (): all have one row."""
    within: tuple[str, ...] = ()
    """Of identifiers: the columns that are constant within each; see `synthjax.data.within`."""
    storage: str = "string"
    """Arrow type of the column in the Parquet file."""
    encoding: str = ""
    """Encoding in the schema file; "": that of the preset."""
    tokens: tuple[str, ...] = ()
    """Cells that mean that a value is missing, from the schema file, in addition to those of the whole table."""

    @property
    def rate(self) -> float:
        """Share of rows without a value."""
        return self.missing / self.rows if self.rows else 0.0

    @property
    def kept(self) -> bool:
        """Whether a synthetic table has the column at all."""
        return self.kind != "text"

    def number(self, value: float) -> str:
        """Formats a number of this column: rounded, or as a date."""
        if self.kind != "datetime":
            return f"{value:,.6g}"
        if value % 86400 and not re.search("%-?[HI]", self.format):  # a mean of dates: no row's own
            return (_EPOCH + timedelta(seconds=value)).strftime("%Y-%m")
        if not re.search("%-?[dDyY]", self.format):  # a time of day
            return (_EPOCH + timedelta(seconds=round(value))).strftime("%H:%M:%S")
        return (_EPOCH + timedelta(seconds=round(value))).strftime("%Y-%m-%d %H:%M:%S").removesuffix(" 00:00:00")

    def holds(self) -> str:
        """One line that describes the values of the column and what was changed."""
        if self.kind in NUMERIC:
            text = f"{self.number(self.low)} ... {self.number(self.high)}"
            if self.format:
                text += ", with powers of ten" if re.fullmatch(POWER, self.format) else f", as {self.format}"
            return text + (f"; {self.clipped} rows beyond are clipped" if self.clipped else "")
        if self.kind == "id":
            look = self.pattern if self.pattern[-1:] not in ("", "-") else f"{self.pattern}{self.low + 1:.0f} ..."
            text = f"never copied: made anew as {look}, none of them real"
            return text + (f", {np.mean(self.sizes):.3g} rows each" if self.sizes else "")
        if self.kind == "text":
            return "free text: left out of synthetic tables"
        if self.kind == "constant" and self.suppressed:
            return f"always missing: its {self.suppressed} values are too few to be learnt without giving them away"
        if self.kind == "constant":
            return f"always {shown(self.categories[0])}" if self.categories else "no value in any row"
        present = max(self.rows - self.missing, 1)
        pairs = list(zip(self.categories, self.counts, strict=True))
        first = ", ".join(f"{shown(name)} {count / present:.1%}" for name, count in pairs[:4])
        text = f"{len(pairs)} categories: {first}" + (", ..." if len(pairs) > 4 else "")
        merged = self.counts[self.categories.index(RARE)] if self.suppressed else 0
        what = f"made anew as {self.pattern}, none of them real" if self.pattern else f"merged into {RARE}"
        return text + (f"; {self.suppressed} rare ones {what}, {merged} rows" if self.suppressed else "")


@dataclass(frozen=True)
class Schema:
    """The columns of a table, in the order of its file."""

    fields: tuple[Field, ...]
    target: str | None = None
    """The column to predict; None if there is none."""
    min_count: int = 5
    """Minimum number of rows that must share a category or an extreme value for it to be stored."""

    def __getitem__(self, name: str) -> Field:
        """The column with this name."""
        return next(field for field in self.fields if field.name == name)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(field.name for field in self.fields)

    @property
    def classes(self) -> tuple[str, ...]:
        """The target's categories; () if there is no target or it is numeric (regression)."""
        return self[self.target].categories if self.target and self[self.target].kind in DISCRETE else ()

    def with_classes(self, order: tuple[str, ...]) -> Self:
        """The schema with the target's classes in this order."""
        target = next(field for field in self.fields if field.name == self.target)
        counts = dict(zip(target.categories, target.counts, strict=True))
        ordered = dataclasses.replace(target, categories=order, counts=tuple(counts[name] for name in order))
        return dataclasses.replace(self, fields=tuple(ordered if f is target else f for f in self.fields))

    def comparable_kinds(self) -> dict[str, str]:
        """Column -> kind, as `synthjax.evals` compares tables; booleans count as categories."""
        return {field.name: "categorical" if field.kind == "boolean" else field.kind for field in self.fields}

    def report(self) -> str:
        """A report: one line per column, then a summary of the values that are not stored."""
        rows = self.fields[0].rows if self.fields else 0
        target = f"target {shown(self.target)}" if self.target else "no target"
        width = min(max((len(shown(name)) for name in self.names), default=6), 32)
        lines = [
            f"{rows:,} training rows, {len(self.fields)} columns, {target}; min_count={self.min_count}",
            f"{'column':{width}}  {'kind':11}  missing  holds",
        ]
        for field in self.fields:
            lines.append(f"{shown(field.name):{width}}  {field.kind:11}  {field.rate:7.2%}  {field.holds()}")
        clipped = sum(field.clipped for field in self.fields)
        merged = sum(field.suppressed for field in self.fields if field.kind in DISCRETE)
        sparse = [field for field in self.fields if field.kind == "constant" and field.suppressed]
        if self.min_count > 1:
            lines.append(
                f"kept back: {merged} categories that fewer than {self.min_count} have, {clipped} values beyond "
                f"the bounds of their columns, {sum(field.suppressed for field in sparse)} values of {len(sparse)} "
                "columns that have too few (min_count=1 switches this off)"
            )
        return "\n".join(lines)

    def advice(self) -> list[str]:
        """Lines about columns that lose information, each with entries for a schema file that would keep it."""
        repeated = [field for field in self.fields if field.sizes]
        text = [field for field in self.fields if field.kind == "text"]
        rare = [field for field in self.fields if RARE in field.categories and not field.pattern]
        rare = [f for f in rare if f.counts[f.categories.index(RARE)] > _TOLD * (f.rows - f.missing)]
        sparse = [field for field in self.fields if field.kind == "constant" and field.suppressed]
        dates = [field for field in sparse if "%" in field.format]
        numbers = [field for field in sparse if field.decimals and field not in dates]
        about = (
            (repeated, "several rows have one identifier: they are treated as independent of each other", None),
            (text, "free text is left out; to make texts of the same look anew", {"kind": "id"}),
            (
                rare,
                f"more than {_TOLD:.0%} of the cells become {RARE}; to make all cells of the column anew",
                {"kind": "id"},
            ),
            (numbers, "too few values to be learnt; to keep them, give bounds that are public", {"min": 0, "max": 100}),
            (dates, "too few dates to be learnt; to keep which rows have one", {"kind": "categorical"}),
        )
        lines = []
        for fields, what, said in about:
            names = ", ".join(shown(field.name) for field in fields[:_LISTED]) + ", ..." * (len(fields) > _LISTED)
            entries = ", ".join(entry(field.name, **said) for field in fields[:_LISTED]) if said else ""
            lines += [
                f"{names}: {what}" + (f", put {entries} below `columns:` in a schema file" if said else "")
            ] * bool(fields)
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; the inverse of `from_dict`."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        lists = ("decimals", "categories", "counts", "tokens", "shared", "shared_rows", "sizes", "forms", "within")
        fields = []
        for field in values["fields"]:
            tuples = {name: tuple(field[name]) for name in lists if field.get(name) is not None}
            tuples["endings"] = tuple(map(tuple, field.get("endings", ())))
            fields.append(Field(**{**field, **tuples}))
        return cls(tuple(fields), values["target"], values["min_count"])


def entry(name: str, **said: Any) -> str:
    """The line of a schema file for a column `name` with these keys and values, for messages."""
    plain = re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) and name.lower() not in _WORDS
    values = ", ".join(
        f"{key}: {value if key == 'kind' else json.dumps(value, ensure_ascii=False)}" for key, value in said.items()
    )
    return f"`{name if plain else json.dumps(name, ensure_ascii=False)}: {{{values}}}`"


def check_known(name: str, names: Iterable[str], where: object, what: str) -> None:
    """Raises InputError, with the most similar name, if `name` is not in `names`; `what` precedes it in the message."""
    names = list(names)
    if name in names:
        return
    near = difflib.get_close_matches(name, names, n=1)
    known = ", ".join(map(shown, names[:12])) + (", ..." if len(names) > 12 else "")
    hint = f"did you mean {shown(near[0])}? " if near else ""
    raise InputError(f"{shown(where)}: {what} {shown(name)!r} is not a column; {hint}there are {known}")
