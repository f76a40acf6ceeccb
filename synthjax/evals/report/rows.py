"""The rows of a report: every figure that its types declare, where it stands, and what it is held against.

    for row in rows.catalogue("table"):
        row.key, row.name, row.meaning, row.gate            # for the documentation
    for found in rows.measured(report):
        found.key, found.value, found.interval, found.reference

Keys are names joined by dots, as in `report.json`; in the catalogue NAME stands for an entry that the data names (a
class, a column, an attack). `number` follows any key, figure or not, to its number.
"""

import functools
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from synthjax.evals.figure import Better, Estimate, Figure, Interval, Part
from synthjax.evals.report.model import REPORTS, Kind, Report

SECTIONS = ("utility", "fidelity", "rules", "privacy", "time")
"""Of tables, in their order."""
NAME = "NAME"
"""Stands for the name of an entry."""


@dataclass(frozen=True, kw_only=True)
class Row(Figure):
    """One figure of a kind of report, with whole keys for those of its reference, floor and interval."""

    section: str
    """One of `SECTIONS`."""
    key: str

    @property
    def gate(self) -> str:
        """A condition of `--fail_if` that names it; the bound is up to the user."""
        return f"{self.key}{'<' if self.better == 'high' else '>'}BOUND"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One figure of one report."""

    section: str
    key: str
    name: str
    value: float
    interval: Interval | None = None
    """95 %."""
    reference: float | None = None
    floor: float | None = None
    better: Better | None = None


@functools.cache
def catalogue(kind: Kind | None = None) -> tuple[Row, ...]:
    """Every figure of reports of one kind of data, or of both, section by section."""
    if kind is None:
        both = {row.key: row for each in REPORTS for row in catalogue(each)}
        return tuple(both.values())
    found = [_with_references_that_exist(row, REPORTS[kind]) for row in _walk(REPORTS[kind], _Place())]
    return tuple(sorted(found, key=lambda row: SECTIONS.index(row.section)))


def _with_references_that_exist(row: Row, report: type) -> Row:
    """Not all figures of a part are measured of its twin."""

    def existing(key: str | float | None) -> str | float | None:
        return None if isinstance(key, str) and not leads_to_number(report, key.split(".")) else key

    return replace(row, reference=existing(row.reference), floor=existing(row.floor))


@dataclass(frozen=True)
class _Place:
    """Where in the report a part stands."""

    key: str = ""
    label: str = ""
    section: str = ""
    reference: str | None = None
    floor: str | None = None
    """Keys of the twins, whose figures are references and floors."""
    detail: bool = False

    def at(self, name: str) -> str:
        return f"{self.key}.{name}" if self.key else name

    def within(self, name: str, part: Part) -> "_Place":
        def twin(own: str | None, theirs: str | None) -> str | None:
            return self.at(own) if own else theirs and f"{theirs}.{name}"

        return replace(
            self,
            key=self.at(name),
            label=", ".join(filter(None, (part.label, self.label))),
            section=part.section or self.section,
            reference=twin(part.reference, self.reference),
            floor=twin(part.floor, self.floor),
        )


def _walk(cls: Any, place: _Place) -> Iterator[Row]:
    hints = get_type_hints(cls)
    for field in fields(cls):
        row, part = field.metadata.get("figure"), field.metadata.get("part", Part())
        inner = _single(hints[field.name])
        if row is not None:
            yield _row(row, field.name, inner, place)
        elif part.shown and is_dataclass(inner):
            yield from _walk(inner, place.within(field.name, part))
        elif part.shown and get_origin(inner) is dict and is_dataclass(entry := _single(get_args(inner)[1])):
            yield from _walk(entry, replace(place.within(f"{field.name}.{NAME}", part), detail=True))


def _single(hint: Any) -> Any:
    """The type of a field apart from None and unset."""
    if get_origin(hint) not in (Union, types.UnionType):
        return hint
    return next((one for one in get_args(hint) if get_origin(one) is dict or is_dataclass(one)), get_args(hint)[0])


def _row(row: Figure, name: str, inner: Any, place: _Place) -> Row:
    estimate = isinstance(inner, type) and issubclass(inner, Estimate)
    whole = get_origin(inner) is dict
    mean = ".mean" if estimate else f".{NAME}" if whole else ""

    def beside(own: str | float | None, twin: str | None) -> str | float | None:
        if isinstance(own, str):
            return place.at(own) + mean
        return own if own is not None else twin and f"{twin}.{name}{mean}"

    placed = replace(
        row,
        name=", ".join(filter(None, (row.name, place.label))),
        reference=beside(row.reference, place.reference),
        floor=beside(row.floor, place.floor),
        interval=f"{place.at(name)}.ci" if estimate else row.interval and place.at(row.interval),
        detail=row.detail or place.detail,
    )
    return Row(**vars(placed), section=place.section, key=place.at(name) + mean)


# --- what a report holds -------------------------------------------------------------------------------------------


def measured(report: Report) -> list[Measured]:
    """The figures of a report that stand in tables, section by section; those that were not measured are left out."""
    found = []
    for row in catalogue(report.manifest.kind):
        if not row.detail:
            found += [_measure(report, one) for one in _entries(report, row) if number(report, one.key) is not None]
    return found


def _entries(report: Report, row: Row) -> list[Row]:
    """A row of a dict of figures, once for each entry."""
    if not row.key.endswith(f".{NAME}"):
        return [row]
    held = get(report, row.key.removesuffix(f".{NAME}"))
    return [replace(row, key=row.key.replace(NAME, key), name=row.name.replace(NAME, key)) for key in held or ()]


def _measure(report: Report, row: Row) -> Measured:
    reference, floor = (number(report, side) if isinstance(side, str) else side for side in (row.reference, row.floor))
    value = number(report, row.key)
    assert value is not None
    return Measured(
        section=row.section,
        key=row.key,
        name=row.name,
        value=value,
        interval=get(report, row.interval) if row.interval else None,
        reference=reference,
        floor=floor,
        better=row.better,
    )


def number(report: Any, key: str) -> float | None:
    """The number at a key; None where there is none, or something else."""
    found = get(report, key)
    return found if isinstance(found, int | float) and not isinstance(found, bool) else None


def get(held: Any, key: str) -> Any:
    """What a report, or a part of one, holds at a key; None where there is nothing.

    Names of entries may hold dots themselves: of those that fit, the longest counts.
    """
    return _get(held, key.split("."))


def _get(held: Any, parts: Sequence[str]) -> Any:
    if not parts:
        return held
    if isinstance(held, Mapping):
        for count in range(len(parts), 0, -1):
            if (name := ".".join(parts[:count])) in held:
                return _get(held[name], parts[count:])
        return None
    if isinstance(held, list | tuple):
        inside = parts[0].isdecimal() and int(parts[0]) < len(held)
        return _get(held[int(parts[0])], parts[1:]) if inside else None
    return _get(getattr(held, parts[0], None), parts[1:]) if is_dataclass(held) else None


def leads_to_number(hint: Any, parts: Sequence[str]) -> bool:
    """Whether a key, in parts, may lead to a number in a value of that type."""
    if hint is Any:
        return True
    if get_origin(hint) in (Union, types.UnionType):
        return any(leads_to_number(one, parts) for one in get_args(hint))
    if hint in (int, float):
        return not parts
    if not parts:
        return False
    if is_dataclass(hint):
        hints = get_type_hints(hint)
        return parts[0] in hints and leads_to_number(hints[parts[0]], parts[1:])
    if get_origin(hint) is dict:
        key, entry = get_args(hint)
        names = {count: ".".join(parts[:count]) for count in range(1, len(parts) + 1)}
        fits = [count for count, name in names.items() if get_origin(key) is not Literal or name in get_args(key)]
        return any(leads_to_number(entry, parts[count:]) for count in fits)
    if get_origin(hint) in (list, tuple) and parts[0].isdecimal():
        return any(leads_to_number(one, parts[1:]) for one in get_args(hint))
    return False
