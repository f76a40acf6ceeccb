"""What the columns of a table are: kinds, missing values, look, and what must not be given away.

A `Schema` is measured on training rows (`synthjax.data.schema_inference`), printed (`Schema.report`), kept beside a
checkpoint (`to_dict`) and corrected by hand in a YAML or JSON file (`read_overrides`):

    columns:
      postcode: {kind: categorical}          # one of KINDS
      age: {min: 0, max: 100}                # bounds that are public: none is taken from the rows
      visited: {kind: datetime, format: "%d/%m/%Y"}
      price: {format: "1.234,5 €"}           # how it has the number 1234.5
      income: {encoding: mode}               # see synthjax.data.encoding
      height: {missing: [-999, "?"]}         # cells that say that a value is missing, as the file spells them
    missing: [unknown]                       # the same for every column; both beside MISSING
    rules: ["start <= end"]                  # see synthjax.data.table_rules
    group: patient_id                        # see synthjax.data.groups

Nothing that fewer than `min_count` training rows hold is kept exactly (5 by default; 1 switches this off):

    categories           those held by fewer rows are merged into `(rare)`
    numbers and dates    clipped to bounds that `min_count` rows share, or that are the mean of `min_count` rows
    sparse columns       a column with too few numbers or dates for such bounds is always missing

The report says where that happened.
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
"""The category into which those held by fewer than `min_count` rows are merged."""
MISSING = ("", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "<NA>", "#N/A")
"""Cells that say that a value is missing."""
_LISTED = 8  # columns in a line of advice
_DEEPEST = 20  # values within each other in a schema file
_LARGEST = 1e300  # number in a schema file
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
POWER = r"\.\d+[eE]"
"""What a format of numbers with a power of ten looks like."""
_WORDS = ("y", "n", "yes", "no", "on", "off", "true", "false", "null")  # which YAML takes for values
_OVERRIDES = ("kind", "format", "encoding", "min", "max", "missing")


@dataclass(frozen=True)
class Field:
    """One column of a table, as its training rows hold it."""

    name: str
    kind: Kind
    rows: int
    """Rows seen, those without a value included."""
    missing: int = 0
    """Rows without a value."""
    token: str = ""
    """The cell that says that a value is missing, as the file spells it (most often)."""
    low: float = 0.0
    """Least number after clipping; of a datetime, in seconds since 1970-01-01. Held by `min_count` rows, or by none."""
    high: float = 0.0
    """Greatest number after clipping."""
    clipped: int = 0
    """Rows whose number was beyond `low` or `high`."""
    shared: tuple[float, ...] = ()
    """Numbers that at least `min_count` rows hold, increasing: these are decoded exactly. The most frequent ones."""
    shared_rows: tuple[int, ...] = ()
    """Rows that hold each of them."""
    decimals: tuple[int, int] | None = (0, 0)
    """Least and most digits after the point; None: in scientific notation."""
    figures: int = 0
    """Most significant digits of a number in scientific notation."""
    format: str = ""
    """How dates are written, in the codes of `strptime`, `%-d` and the like where they are not padded; numbers that all
    have a power of ten, as `format` knows it, ".2e" say; or 1234.5 as a column of other numbers has it, "1.234,5 €"."""
    categories: tuple[str, ...] = ()
    """Of a discrete column, by falling count; `RARE` last. The value of a constant one."""
    counts: tuple[int, ...] = ()
    """Rows that hold each category; of identifiers of several forms, how often each is."""
    suppressed: int = 0
    """How many categories were merged into `RARE`; of a constant column, how many values were kept back."""
    pattern: str = ""
    """What identifiers are made of, see `identifiers`; "": running numbers after `low`."""
    taken: str = ""
    """Of identifiers, the classes that the real ones are in, as hexadecimal digits; see `identifiers.Taken`."""
    sizes: tuple[int, ...] = ()
    """Of identifiers, how many rows have the same one, in turn; (): each has its own."""
    storage: str = "string"
    """Type in which a Parquet file holds the column."""
    encoding: str = ""
    """The encoding asked for in an override; "": by the preset."""
    tokens: tuple[str, ...] = ()
    """Cells that a person said to be missing values, beside those that are for the whole table."""

    @property
    def rate(self) -> float:
        """Share of rows without a value."""
        return self.missing / self.rows if self.rows else 0.0

    @property
    def kept(self) -> bool:
        """Whether a synthetic table has the column at all."""
        return self.kind != "text"

    def number(self, value: float) -> str:
        """A number of this column for people: rounded, or as a date."""
        if self.kind != "datetime":
            return f"{value:,.6g}"
        if value % 86400 and not re.search("%-?[HI]", self.format):  # a mean of dates: no row's own
            return (_EPOCH + timedelta(seconds=value)).strftime("%Y-%m")
        if not re.search("%-?[dDyY]", self.format):  # a time of day
            return (_EPOCH + timedelta(seconds=round(value))).strftime("%H:%M:%S")
        return (_EPOCH + timedelta(seconds=round(value))).strftime("%Y-%m-%d %H:%M:%S").removesuffix(" 00:00:00")

    def holds(self) -> str:
        """What the column holds and what was done to it, in one line."""
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
        return text + (f"; {self.suppressed} rare ones merged into {RARE}, {merged} rows" if self.suppressed else "")


@dataclass(frozen=True)
class Schema:
    """The columns of a table in the order of its file."""

    fields: tuple[Field, ...]
    target: str | None = None
    """The column that is to be predicted; None: there is none."""
    min_count: int = 5
    """Fewest rows that must share a category or an extreme value for it to be given away."""

    def __getitem__(self, name: str) -> Field:
        """The column of that name."""
        return next(field for field in self.fields if field.name == name)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names."""
        return tuple(field.name for field in self.fields)

    @property
    def classes(self) -> tuple[str, ...]:
        """The target's categories; () where there is no target, or a numeric one (regression)."""
        return self[self.target].categories if self.target and self[self.target].kind in DISCRETE else ()

    def comparable_kinds(self) -> dict[str, str]:
        """Column -> kind, as `synthjax.evals` compares tables: booleans are categories, their words alike in all."""
        return {field.name: "categorical" if field.kind == "boolean" else field.kind for field in self.fields}

    def report(self) -> str:
        """The schema for people: one line per column, then what was kept back."""
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
        """Lines on what is lost of columns, each with what to put into a schema file for more to be kept."""
        repeated = [field for field in self.fields if field.sizes]
        text = [field for field in self.fields if field.kind == "text"]
        rare = [field for field in self.fields if RARE in field.categories]
        rare = [field for field in rare if 2 * field.counts[field.categories.index(RARE)] > field.rows - field.missing]
        sparse = [field for field in self.fields if field.kind == "constant" and field.suppressed]
        dates = [field for field in sparse if "%" in field.format]
        numbers = [field for field in sparse if field.decimals and field not in dates]
        about = (
            (repeated, "several rows have one identifier: they are treated as independent of each other", None),
            (text, "free text is left out; to make texts of the same look anew", {"kind": "id"}),
            (rare, f"most rows become {RARE}, since few share a category; to make codes anew", {"kind": "id"}),
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
        """Plain values for JSON; `from_dict` is the way back."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The schema that `to_dict` wrote."""
        lists = ("decimals", "categories", "counts", "tokens", "shared", "shared_rows", "sizes")
        fields = []
        for field in values["fields"]:
            tuples = {name: tuple(field[name]) for name in lists if field.get(name) is not None}
            fields.append(Field(**{**field, **tuples}))
        return cls(tuple(fields), values["target"], values["min_count"])


class Overrides(NamedTuple):
    """What a person says about a table."""

    columns: dict[str, dict[str, Any]]
    """Column -> what _OVERRIDES names."""
    rules: Any = None
    """The list of rules as the file has it; None: there is none."""
    group: str | Literal[False] | None = None
    """The column that names the subject of a row; False: there is none; None: nothing is said."""


def read_overrides(path: str | Path, names: Iterable[str] = ()) -> Overrides:
    """What a person says about a table, from a YAML or JSON file.

    What is missing in the whole table is said of each of `names`, its columns. A file that holds `Schema.to_dict` is
    taken too: the kinds, formats, encodings and missing cells in it hold, what it counts is counted anew.

    Raises:
        InputError: the file cannot be read, or says something that is not known of a column.
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
    """The name of a field that `Schema.to_dict` wrote, and what of it is an override."""
    if not isinstance(field, dict) or not isinstance(field.get("name"), str):
        raise fault(path, f"fields: {quoted(field)} is not a column with a name")
    sparse = field.get("kind") == "constant" and field.get("suppressed")  # which is no kind of its cells
    override = {key: field[key] for key in ("kind", "format", "encoding") if field.get(key) and not sparse}
    return field["name"], override | ({"missing": field["tokens"]} if field.get("tokens") else {})


def _tokens(values: Any, where: str) -> tuple[str, ...]:
    """Cells of a list `missing`: text, or numbers, which YAML reads 0 and -999 as."""
    if not isinstance(values, list | tuple) or not all(type(value) in (str, int, float) for value in values):
        raise fault(where, f"missing: {quoted(values)} is no list of cells, such as ['?', -999]")
    return tuple(map(str, values))


def _parsed(text: str, path: Path) -> Any:
    """The values of a YAML or JSON file, without aliases or deep nesting, which spell to more than memory holds."""
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
    """Raises InputError if `column` is not a mapping of what may be said of a column."""
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
    """The line of a schema file that says this of a column, for messages."""
    plain = re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) and name.lower() not in _WORDS
    values = ", ".join(
        f"{key}: {value if key == 'kind' else json.dumps(value, ensure_ascii=False)}" for key, value in said.items()
    )
    return f"`{name if plain else json.dumps(name, ensure_ascii=False)}: {{{values}}}`"


def _check_format(form: str, where: str) -> None:
    """Raises InputError if `form` has a code that `strptime` does not know, or none and is no example of a number."""
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
    """Raises InputError, with the nearest names, if there is no column `name`; `what` names it for the message."""
    names = list(names)
    if name in names:
        return
    near = difflib.get_close_matches(name, names, n=1)
    known = ", ".join(map(shown, names[:12])) + (", ..." if len(names) > 12 else "")
    hint = f"did you mean {shown(near[0])}? " if near else ""
    raise InputError(f"{shown(where)}: {what} {shown(name)!r} is not a column; {hint}there are {known}")
