"""What the columns of a table are: kinds, missing values, look, and what must not be given away.

A `Schema` is measured on training rows (`synthjax.data.infer`), printed (`Schema.report`), kept beside a checkpoint
(`to_dict`) and corrected by hand in a YAML or JSON file (`read_overrides`):

    columns:
      postcode: {kind: categorical}          # one of KINDS
      age: {min: 0, max: 100}                # bounds that are public: none is taken from the rows
      visited: {kind: datetime, format: "%d/%m/%Y"}
      income: {encoding: mode}               # see synthjax.data.encoding
      height: {missing: [-999, "?"]}         # cells that say that a value is missing, as the file spells them
    missing: [unknown]                       # the same for every column; both beside MISSING

Two rules keep single people out of whatever is generated from a schema (`min_count`, 5 by default; 1 switches both
off): a category held by fewer rows is merged into `(rare)`, and numbers and dates beyond the `min_count`-th most
extreme row are clipped to that row's value. The report says where either happened.
"""

import dataclasses
import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, Self, get_args

from synthjax.data.arrays import fault, shown
from synthjax.errors import InputError

Kind = Literal["continuous", "integer", "datetime", "categorical", "boolean", "id", "text", "constant"]
KINDS: tuple[Kind, ...] = get_args(Kind)
NUMERIC: tuple[Kind, ...] = ("continuous", "integer", "datetime")
DISCRETE: tuple[Kind, ...] = ("categorical", "boolean")
RARE = "(rare)"
"""The category into which those held by fewer than `min_count` rows are merged."""
MISSING = ("", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "<NA>", "#N/A")
"""Cells that say that a value is missing."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
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
    """Least number after clipping; of a datetime, in seconds since 1970-01-01."""
    high: float = 0.0
    """Greatest number after clipping."""
    clipped: int = 0
    """Rows whose number was beyond `low` or `high`."""
    decimals: tuple[int, int] | None = (0, 0)
    """Least and most digits after the point; None: in scientific notation."""
    figures: int = 0
    """Most significant digits of a number in scientific notation."""
    format: str = ""
    """How dates are written, in the codes of `strptime`, `%-d` and the like where they are not padded; numbers that all
    have a power of ten, as `format` knows it, ".2e" say."""
    categories: tuple[str, ...] = ()
    """Of a discrete column, by falling count; `RARE` last. The value of a constant one."""
    counts: tuple[int, ...] = ()
    """Rows that hold each category; of identifiers of several forms, how often each is."""
    suppressed: int = 0
    """How many categories were merged into `RARE`."""
    pattern: str = ""
    """What identifiers are made of: 9 a digit, a and A letters, all else itself, as after a backslash; "": 1, 2 ...

    A bare | stands between several forms."""
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
        return (_EPOCH + timedelta(seconds=round(value))).strftime("%Y-%m-%d %H:%M:%S").removesuffix(" 00:00:00")

    def holds(self) -> str:
        """What the column holds and what was done to it, in one line."""
        if self.kind in NUMERIC:
            text = f"{self.number(self.low)} ... {self.number(self.high)}"
            if self.format:
                text += f", as {self.format}" if self.kind == "datetime" else ", with powers of ten"
            return text + (f"; {self.clipped} rows beyond are clipped" if self.clipped else "")
        if self.kind == "id":
            return f"never copied: made anew as {self.pattern or '1, 2, 3 ...'}, where it may meet a real one by chance"
        if self.kind == "text":
            return "free text: left out of synthetic tables"
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
        merged = sum(field.suppressed for field in self.fields)
        if self.min_count > 1:
            lines.append(
                f"kept back: {merged} categories held by fewer than {self.min_count} rows, {clipped} values beyond the "
                f"{self.min_count}th most extreme row (min_count=1 switches this off)"
            )
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `from_dict` is the way back."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The schema that `to_dict` wrote."""
        lists = ("decimals", "categories", "counts", "tokens")
        fields = []
        for field in values["fields"]:
            tuples = {name: tuple(field[name]) for name in lists if field.get(name) is not None}
            fields.append(Field(**{**field, **tuples}))
        return cls(tuple(fields), values["target"], values["min_count"])


def read_overrides(path: str | Path, names: Iterable[str] = ()) -> dict[str, dict[str, Any]]:
    """What a person says about columns, from a YAML or JSON file: column -> what _OVERRIDES names.

    What is missing in the whole table is said of each of `names`, its columns. A file that holds `Schema.to_dict` is
    taken too: the kinds, formats, encodings and missing cells in it hold, what it counts is counted anew.

    Raises:
        InputError: the file cannot be read, or says something that is not known of a column.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise fault(path, f"a schema file, cannot be read: {error}") from error
    values = _parsed(text, path)
    if isinstance(values, dict) and isinstance(values.get("fields"), list):
        known = ("kind", "format", "encoding")
        saved = {field["name"]: {key: field[key] for key in known if field.get(key)} for field in values["fields"]}
        for field in values["fields"]:
            saved[field["name"]] |= {"missing": field["tokens"]} if field.get("tokens") else {}
        values = {"columns": saved}
    columns = values.get("columns", {} if "missing" in values else None) if isinstance(values, dict) else None
    if not isinstance(columns, dict):
        raise fault(path, "a schema file holds `columns:`, then a line `NAME: {kind: KIND}` for each column")
    for name, column in columns.items():
        check_override(column, f"{path}: columns: {name}")
    overall = _tokens(values.get("missing", []), str(path))
    said = {str(name): dict(column) for name, column in columns.items()}
    for name, column in said.items():
        if "missing" in column:
            column["missing"] = _tokens(column["missing"], f"{path}: columns: {name}")
    for name in names if overall else ():
        said.setdefault(name, {})["missing"] = (*overall, *said.get(name, {}).get("missing", ()))
    return said


def _tokens(values: Any, where: str) -> tuple[str, ...]:
    """Cells of a list `missing`: text, or numbers, which YAML reads 0 and -999 as."""
    if not isinstance(values, list | tuple) or not all(type(value) in (str, int, float) for value in values):
        raise fault(where, f"missing: {values!r} is no list of cells, such as ['?', -999]")
    return tuple(map(str, values))


def _parsed(text: str, path: str | Path) -> Any:
    import yaml

    try:
        return json.loads(text) if Path(path).suffix == ".json" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError) as error:
        raise fault(path, "not valid: " + " ".join(str(error).split())) from error


def check_override(column: Any, where: str) -> None:
    """Raises InputError if `column` is not a mapping of what may be said of a column."""
    if not isinstance(column, Mapping):
        raise fault(where, f"{column!r} is not a mapping with {', '.join(_OVERRIDES)}")
    for key, value in column.items():
        if key not in _OVERRIDES:
            raise fault(where, f"unknown key {key!r}; there are {', '.join(_OVERRIDES)}")
        if key == "kind" and value not in KINDS:
            raise fault(where, f"unknown kind {value!r}; there are {', '.join(KINDS)}")
        if key == "missing":
            _tokens(value, where)
        if key in ("min", "max") and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise fault(where, f"{key}: {value!r} is not a number")
    if "min" in column and "max" in column and not column["min"] <= column["max"]:
        raise fault(where, f"min {column['min']} is above max {column['max']}")


def check_known(name: str, names: Iterable[str], where: object, what: str) -> None:
    """Raises InputError, with the nearest names, if there is no column `name`; `what` names it for the message."""
    names = list(names)
    if name in names:
        return
    near = difflib.get_close_matches(name, names, n=1)
    known = ", ".join(map(shown, names[:12])) + (", ..." if len(names) > 12 else "")
    hint = f"did you mean {shown(near[0])}? " if near else ""
    raise InputError(f"{shown(where)}: {what} {shown(name)!r} is not a column; {hint}there are {known}")
