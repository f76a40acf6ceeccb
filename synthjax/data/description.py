"""Descriptions of tables: a report of the columns, doubts about them, and a schema file to edit.

description = data.describe("trips.csv")
print(description.report())
Path("schema.yaml").write_text(description.to_yaml("trips.csv"))
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import yaml

from synthjax.data.arrays import shown
from synthjax.data.schema import Field, Schema, entry
from synthjax.data.schema_inference import ID_NAME
from synthjax.rules import Rule

SHOWN = 40
"""Default maximum number of columns, and of rules, in a report."""
FEW = 10
"""Maximum number of distinct integers of a column that may be codes."""
FILLERS = (0, -1, -9, -99, -999, -9999, 99, 999, 9999, 99999, 999999)
"""Numbers that are often used for missing values."""


class Doubt(NamedTuple):
    """A question about a column that its values do not answer."""

    column: str
    why: str
    entry: dict[str, Any]
    """The column's entry in a schema file if the doubt is right."""

    def __str__(self) -> str:
        return f"{shown(self.column)}: {self.why}; then put {entry(self.column, **self.entry)}"


@dataclass(frozen=True)
class Description:
    """The columns of a table, the rules between them, and the entries of its schema file."""

    schema: Schema
    rules: tuple[Rule, ...] = ()
    notes: tuple[str, ...] = ()
    """Lines for the user, such as rules of the schema file that training rows break."""
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The entries of the schema file: column -> entry."""
    group: str | None = None
    """The column that names the subject of a row; None if there is none."""

    def report(self, most: int = SHOWN) -> str:
        """A report of the columns and the rules, at most `most` of each, and the notes."""
        lines = self.schema.report().splitlines()
        more = len(self.schema.fields) - most
        if more > 0:
            lines = [*lines[: 2 + most], f"... and {more:,} columns more", *lines[2 + most + more :]]
        if self.rules:
            head = "rules, which synthetic rows keep as training rows do:"
            lines += [head, *(f"  {rule}" for rule in self.rules[:most])]
            lines += [f"  ... and {len(self.rules) - most:,} rules more"] * (len(self.rules) > most)
        return "\n".join([*lines, *self.notes]) + "\n"

    def doubts(self) -> list[Doubt]:
        """Doubts about columns without an entry in the schema file."""
        columns = (column for column in self.schema.fields if column.name not in self.overrides)
        return [doubt for column in columns for doubt in _doubts(column)]

    def to_yaml(self, table: str) -> str:
        """A schema file with the inferred kinds and formats; `table` is the name of the table, for the first line."""
        doubts: dict[str, list[Doubt]] = {}
        for doubt in self.doubts():
            doubts.setdefault(doubt.column, []).append(doubt)
        rows = self.schema.fields[0].rows if self.schema.fields else 0
        lines = [
            f"# {shown(table)}: what {rows:,} training rows say. Correct what is wrong; what is left out is inferred."
        ]
        lines.append("columns:")
        for column in self.schema.fields:
            lines.append(f"  {_flow({column.name: self._entry(column)})}  # {column.holds()}")
            lines += [f"  # {doubt.why}: {_flow({column.name: doubt.entry})}" for doubt in doubts.get(column.name, ())]
        lines += [f"group: {_flow(self.group)}  # rows of one stay together in train, holdout or test"] * bool(
            self.group
        )
        lines += _rule_lines(self.rules)
        return "\n".join(lines) + "\n"

    def _entry(self, column: Field) -> dict[str, Any]:
        """The entry of a column: its kind, the format of its dates or numbers, and what the schema file says."""
        override = dict(self.overrides.get(column.name, {}))
        override = {key: list(value) if key == "missing" else value for key, value in override.items()}
        if column.kind == "constant" and column.suppressed:  # its values are too few to be stored; it is not constant
            return override
        return {"kind": column.kind, **({"format": column.format} if column.format else {}), **override}


def _doubts(field: Field) -> Iterable[Doubt]:
    """Doubts about one column."""
    present = max(field.rows - field.missing, 1)
    if field.kind == "id" and not field.pattern and not ID_NAME.search(field.name):
        yield Doubt(field.name, "made anew as an identifier; its numbers may mean something", {"kind": "integer"})
    if field.kind == "integer":
        yield from _of_integers(field, present)
    if field.kind in ("integer", "continuous"):
        for number in _fillers(field):
            why = f"{number:g} is far from the other numbers; it may say that a value is missing"
            yield Doubt(field.name, why, {"missing": [int(number)]})


def _of_integers(field: Field, present: int) -> Iterable[Doubt]:
    """Whether a column of integers, with `present` values, contains codes or identifiers."""
    if 2 < len(field.shared) <= FEW and sum(field.shared_rows) + field.clipped >= present:
        why = f"{len(field.shared)} different numbers; they may be codes without an order"
        yield Doubt(field.name, why, {"kind": "categorical"})
    elif len(str(int(field.low))) == len(str(int(field.high))) >= 5 and sum(field.shared_rows) < 0.2 * present:
        why = f"all numbers have {len(str(int(field.low)))} digits; they may be identifiers"
        yield Doubt(field.name, why, {"kind": "id"})


def _fillers(field: Field) -> Iterable[float]:
    """Shared numbers in FILLERS whose distance to the other numbers is larger than the range of these."""
    if len(field.shared) < 3:
        return
    for number, near, far in (
        (field.shared[0], field.shared[1], max(field.shared[-1], field.high)),
        (field.shared[-1], field.shared[-2], min(field.shared[0], field.low)),
    ):
        if number in FILLERS and number in (field.low, field.high) and abs(number - near) > abs(near - far):
            yield number


def _rule_lines(rules: Iterable[Rule]) -> list[str]:
    """The rules in a schema file."""
    lines = []
    for rule in rules:
        entry: Any = rule.text if rule.exact else {"rule": rule.text, "exact": False}
        found = rule.evidence
        seen = "" if rule.exact or found is None else f"  # kept by {found.rate:.2%} of {found.rows:,} rows"
        lines.append(f"  - {_flow(entry)}{seen}")
    return ["rules:", *lines] if lines else ["rules: []"]


def _flow(value: Any) -> str:
    """A value as YAML in one line; a mapping of one column as `NAME: {...}`."""
    if isinstance(value, dict) and len(value) == 1 and isinstance(next(iter(value.values())), dict):
        ((name, entry),) = value.items()
        return f"{_flow(name)}: {_flow(entry)}"
    text = yaml.safe_dump(value, default_flow_style=True, width=10**9, sort_keys=False, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")
