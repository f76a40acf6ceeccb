"""Schema files: what a person says about the columns of a table (see `synthjax.data.schema`)."""

import json
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

from synthjax import files
from synthjax.data.arrays import check_file, fault, quoted, shown
from synthjax.data.number_forms import Form
from synthjax.data.schema import KINDS, POWER
from synthjax.errors import InputError

_OVERRIDES = ("kind", "format", "encoding", "min", "max", "missing", "categories", "decimals", "public")
_DEEPEST = 20  # maximum depth of nesting
_LARGEST = 1e300  # limit of the numbers
_DECIMALS = 15  # limit of `decimals`


class Overrides(NamedTuple):
    """The content of a schema file."""

    columns: dict[str, dict[str, Any]]
    """Column -> its entry, with keys of _OVERRIDES."""
    rules: Any = None
    """The list of rules, not parsed; None if there is none."""
    group: str | Literal[False] | None = None
    """The column that names the subject of a row; False: there is none; None: the file does not say."""
    public: bool = False
    """Whether all entries are public, for training with differential privacy."""


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
    path, values = read_values(path)
    return overrides_of(values, path, names)


def read_values(path: str | Path) -> tuple[Path, Any]:
    """The path of a schema file, copied if it is in an object store, and what it holds; InputError as above."""
    path = files.download(files.path(path))
    check_file(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise fault(path, f"a schema file, cannot be read: {error}") from error
    return path, _parsed(text, path)


def overrides_of(values: Any, path: Path, names: Iterable[str] = ()) -> Overrides:
    """What a schema file holds, as `read_overrides` gives it; `path` is named in messages."""
    if isinstance(values, dict) and isinstance(values.get("fields"), list):
        values = {"columns": dict(_saved(field, path) for field in values["fields"])}
    bare = isinstance(values, dict) and not {"missing", "rules", "group", "public"}.isdisjoint(values)
    columns = values.get("columns", {} if bare else None) if isinstance(values, dict) else None
    if not isinstance(columns, dict):
        raise fault(path, "a schema file holds `columns:`, then a line `NAME: {kind: KIND}` for each column")
    for name, column in columns.items():
        if not isinstance(name, str | int | float):
            raise fault(path, f"columns: {quoted(name)} is not a column's name")
        _check(column, f"{path}: columns: {shown(name)}")
    overall = _tokens(values.get("missing", []), str(path))
    said = {str(name): dict(column) for name, column in columns.items()}
    for name, column in said.items():
        for key in {"missing", "categories"} & column.keys():
            column[key] = _tokens(column[key], f"{path}: columns: {shown(name)}", key)
    for name in names if overall else ():
        said.setdefault(name, {})["missing"] = (*overall, *said.get(name, {}).get("missing", ()))
    group = values.get("group")
    if not (group is None or group is False or isinstance(group, str)):
        raise fault(path, f"group: {quoted(group)} is neither a column's name nor false")
    if type(public := values.get("public", False)) is not bool:
        raise fault(path, f"public: {quoted(public)} is neither true nor false")
    return Overrides(said, values.get("rules"), group, public)


def _saved(field: Any, path: Path) -> tuple[str, dict[str, Any]]:
    """Name and entry of a field in the result of `Schema.to_dict`."""
    if not isinstance(field, dict) or not isinstance(field.get("name"), str):
        raise fault(path, f"fields: {quoted(field)} is not a column with a name")
    sparse = field.get("kind") == "constant" and field.get("suppressed")  # its cells may be of any kind
    override = {key: field[key] for key in ("kind", "format", "encoding") if field.get(key) and not sparse}
    return field["name"], override | ({"missing": field["tokens"]} if field.get("tokens") else {})


def _tokens(values: Any, where: str, key: str = "missing") -> tuple[str, ...]:
    """The cells of a list, as text; YAML reads cells such as 0 and -999 as numbers."""
    if not isinstance(values, list | tuple) or not all(type(value) in (str, int, float) for value in values):
        raise fault(where, f"{key}: {quoted(values)} is no list of cells, such as ['?', -999]")
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


def _check(column: Any, where: str) -> None:
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
        if key == "public" and type(value) is not bool:
            raise fault(where, f"public: {quoted(value)} is neither true nor false")
        if key == "decimals" and not (type(value) is int and 0 <= value <= _DECIMALS):
            raise fault(where, f"decimals: {quoted(value)} is no number of digits, 0 ... {_DECIMALS}")
        if key == "categories" and len(set(_tokens(value, where, key))) < 2:
            raise fault(where, "categories: two different ones are needed at least")
    if "min" in column and "max" in column and not column["min"] <= column["max"]:
        raise fault(where, f"min {column['min']} is above max {column['max']}")


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
