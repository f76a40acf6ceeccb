"""The schema of a table: kinds, missing values, formats and ranges of its columns, without values of single rows.

A `Schema` is measured on training rows (`synthjax.data.schema_inference`), printed (`Schema.report`), stored with a
checkpoint (`to_dict`) and corrected in a YAML or JSON file (`read_overrides`):

    columns:
      postcode: {kind: categorical}          # one of KINDS
      age: {min: 0, max: 100}                # public bounds, which are then not measured
      visited: {kind: datetime, format: "%d/%m/%Y"}
      price: {format: "1.234,5 €"}           # the number 1234.5 in the format of the column
      income: {encoding: mode}               # see synthjax.data.encoding
      height: {missing: [-999, "?"]}         # cells that mean that a value is missing
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
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self, get_args

import numpy as np

from synthjax import files
from synthjax.data.arrays import check_file, fault, quoted, shown
from synthjax.data.number_forms import Form
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
_DEEPEST = 20  # maximum depth of nesting in a schema file
_LARGEST = 1e300  # limit of the numbers in a schema file
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
POWER = r"\.\d+[eE]"
"""Regular expression of formats of numbers in scientific notation."""
_WORDS = ("y", "n", "yes", "no", "on", "off", "true", "false", "null")  # YAML does not read these as text
_OVERRIDES = ("kind", "format", "encoding", "min", "max", "missing")


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
                f"kept back: {merged} categories held by fewer than {self.min_count} rows, {clipped} values beyond "
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
        lists = ("decimals", "categories", "counts", "tokens", "shared", "shared_rows", "sizes", "forms")
        fields = []
        for field in values["fields"]:
            tuples = {name: tuple(field[name]) for name in lists if field.get(name) is not None}
            tuples["endings"] = tuple(map(tuple, field.get("endings", ())))
            fields.append(Field(**{**field, **tuples}))
        return cls(tuple(fields), values["target"], values["min_count"])


class Overrides(NamedTuple):
    """The content of a schema file."""

    columns: dict[str, dict[str, Any]]
    """Column -> its entry, with keys of _OVERRIDES."""
    rules: Any = None
    """The list of rules, not parsed; None if there is none."""
    group: str | Literal[False] | None = None
    """The column that names the subject of a row; False: there is none; None: the file does not say."""


def read_overrides(path: str | Path, names: Iterable[str] = ()) -> Overrides:
    """Reads a schema file in YAML or JSON.

    A file with the result of `Schema.to_dict` is accepted too. Of it the kinds, formats, encodings and missing cells
    are used; all else is measured again.

    Args:
        path: of the file.
        names: names of the table's columns, to whose entries the `missing` of the whole table is added.

    Raises:
        InputError: the file cannot be read, or an entry is not valid.
    """
    path = files.download(files.path(path))
    check_file(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise fault(path, f"a schema file, cannot be read: {error}") from error
    values = _parsed(text, path)
    if isinstance(values, dict) and isinstance(values.get("fields"), list):
        values = {"columns": dict(_saved(field, path) for field in values["fields"])}
    bare = isinstance(values, dict) and not {"missing", "rules", "group"}.isdisjoint(values)
    columns = values.get("columns", {} if bare else None) if isinstance(values, dict) else None
    if not isinstance(columns, dict):
        raise fault(path, "a schema file holds `columns:`, then a line `NAME: {kind: KIND}` for each column")
    for name, column in columns.items():
        if not isinstance(name, str | int | float):
            raise fault(path, f"columns: {quoted(name)} is not a column's name")
        check_override(column, f"{path}: columns: {shown(name)}")
    overall = _tokens(values.get("missing", []), str(path))
    said = {str(name): dict(column) for name, column in columns.items()}
    for name, column in said.items():
        if "missing" in column:
            column["missing"] = _tokens(column["missing"], f"{path}: columns: {shown(name)}")
    for name in names if overall else ():
        said.setdefault(name, {})["missing"] = (*overall, *said.get(name, {}).get("missing", ()))
    group = values.get("group")
    if not (group is None or group is False or isinstance(group, str)):
        raise fault(path, f"group: {quoted(group)} is neither a column's name nor false")
    return Overrides(said, values.get("rules"), group)


def _saved(field: Any, path: Path) -> tuple[str, dict[str, Any]]:
    """Name and entry of a field in the result of `Schema.to_dict`."""
    if not isinstance(field, dict) or not isinstance(field.get("name"), str):
        raise fault(path, f"fields: {quoted(field)} is not a column with a name")
    sparse = field.get("kind") == "constant" and field.get("suppressed")  # its cells may be of any kind
    override = {key: field[key] for key in ("kind", "format", "encoding") if field.get(key) and not sparse}
    return field["name"], override | ({"missing": field["tokens"]} if field.get("tokens") else {})


def _tokens(values: Any, where: str) -> tuple[str, ...]:
    """The cells of a list `missing`, as text; YAML reads cells such as 0 and -999 as numbers."""
    if not isinstance(values, list | tuple) or not all(type(value) in (str, int, float) for value in values):
        raise fault(where, f"missing: {quoted(values)} is no list of cells, such as ['?', -999]")
    return tuple(map(str, values))


def _parsed(text: str, path: Path) -> Any:
    """The values of a YAML or JSON file. Aliases and deep nesting, which can exhaust the memory, are errors."""
    import yaml

    try:
        if path.suffix.lower() == ".json":
            return json.loads(text)
        depth = 0
        for event in yaml.parse(text, yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                raise fault(path, f"line {event.start_mark.line + 1}: an alias (*); write the value itself")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _DEEPEST:
                raise fault(path, f"line {event.start_mark.line + 1}: more than {_DEEPEST} values within each other")
        return yaml.safe_load(text)
    except InputError:
        raise
    except RecursionError as error:
        raise fault(path, "not valid: too many values within each other") from error
    except (ValueError, yaml.YAMLError) as error:
        raise fault(path, "not valid: " + shown(" ".join(str(error).split()))) from error


def check_override(column: Any, where: str) -> None:
    """Raises InputError if `column` is not a valid entry of a column."""
    if not isinstance(column, Mapping):
        raise fault(where, f"{quoted(column)} is not a mapping with {', '.join(_OVERRIDES)}")
    for key, value in column.items():
        if key not in _OVERRIDES:
            raise fault(where, f"unknown key {quoted(key)}; there are {', '.join(_OVERRIDES)}")
        if key == "kind" and (not isinstance(value, str) or value not in KINDS):
            raise fault(where, f"unknown kind {quoted(value)}; there are {', '.join(KINDS)}")
        if key == "missing":
            _tokens(value, where)
        if key in ("min", "max") and not (type(value) in (int, float) and abs(value) < _LARGEST):
            raise fault(where, f"{key}: {quoted(value)} is not a number")
        if key in ("format", "encoding") and not isinstance(value, str):
            raise fault(where, f"{key}: {quoted(value)} is not text")
        if key == "format":
            _check_format(value, where)
    if "min" in column and "max" in column and not column["min"] <= column["max"]:
        raise fault(where, f"min {column['min']} is above max {column['max']}")


def entry(name: str, **said: Any) -> str:
    """The line of a schema file for a column `name` with these keys and values, for messages."""
    plain = re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) and name.lower() not in _WORDS
    values = ", ".join(
        f"{key}: {value if key == 'kind' else json.dumps(value, ensure_ascii=False)}" for key, value in said.items()
    )
    return f"`{name if plain else json.dumps(name, ensure_ascii=False)}: {{{values}}}`"


def _check_format(form: str, where: str) -> None:
    """Raises InputError if `form` is not a format of `strptime`, of scientific notation, or an example of a number."""
    if re.fullmatch(POWER, form) or Form.of(form):
        return
    if "%" not in form:
        what = 'neither codes of strptime, such as "%d/%m/%Y", nor 1234.5 as the column has it, such as "1.234,5 €"'
        raise fault(where, f"format: {quoted(form)} is {what}")
    try:
        datetime.strptime("", form.replace("%-", "%"))
    except (ValueError, re.error) as error:  # that "" does not match says nothing
        if "does not match" not in str(error):
            raise fault(where, f"format: {quoted(form)} cannot be used: {shown(error)}") from error


def check_known(name: str, names: Iterable[str], where: object, what: str) -> None:
    """Raises InputError, with the most similar name, if `name` is not in `names`; `what` precedes it in the message."""
    names = list(names)
    if name in names:
        return
    near = difflib.get_close_matches(name, names, n=1)
    known = ", ".join(map(shown, names[:12])) + (", ..." if len(names) > 12 else "")
    hint = f"did you mean {shown(near[0])}? " if near else ""
    raise InputError(f"{shown(where)}: {what} {shown(name)!r} is not a column; {hint}there are {known}")
