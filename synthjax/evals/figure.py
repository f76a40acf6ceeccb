"""One row per number: what a figure of the report is called and means, and what it is held against.

A report is made of frozen dataclasses. A field that holds a figure is declared with its row, from which gates, CSV,
TeX, comparison, JSON schema and the catalogue in the documentation follow; there is no other list of figures.

    @dataclass(frozen=True, kw_only=True)
    class TwoSample:
        score: float | None = figure("two-sample test", "1: real and synthetic cannot be told apart.", "high")
        n: int                                  # a number without a row is no figure, but a gate may name it

    @dataclass(frozen=True, kw_only=True)
    class TableFidelity:
        synthetic: Compared = part(reference="ceiling", floor="floor")      # figures beside those of the ceiling
        ceiling: Compared = twin()
        floor: Compared = twin()
"""

from dataclasses import MISSING, dataclass, field
from typing import Annotated, Any, Literal

import msgspec

Better = Literal["high", "low"]
Interval = tuple[float, float]
"""[low, high] at 95 %."""
Share = float
"""In [0, 1], but for rounding; the JSON schema has the bounds of figures."""
Count = Annotated[int, msgspec.Meta(ge=0)]


@dataclass(frozen=True)
class Figure:
    """What a number of the report is."""

    name: str
    """In tables; NAME stands for the key of the entry where the field is a dict of figures."""
    meaning: str
    """A sentence for whoever meets it for the first time."""
    better: Better | None = None
    """Which end is better; None: neither, or the reference is."""
    bounds: tuple[float | None, float | None] = (0, 1)
    """The least and the largest that it can be; None: there is no bound."""
    reference: str | float | None = None
    """What it is with real data in the place of synthetic data, or without a leak: a number, or the key of one, from
    the object that holds the figure on. None: the same figure of the twin that `part` names, if any."""
    floor: str | float | None = None
    """Likewise what the simplest generator reaches."""
    interval: str | None = None
    """Key of its interval; an `Estimate` brings its own."""
    detail: bool = False
    """Whether it is left out of tables; gates and the catalogue have it."""


@dataclass(frozen=True)
class Part:
    """How the figures of a part of the report are shown."""

    label: str = ""
    """Behind their names, such as "CNN"; "" nothing."""
    section: str | None = None
    """The section of tables that they stand in; None: that of what holds the part."""
    reference: str | None = None
    """Key of the part, from the object that holds this one on, whose figures are their references."""
    floor: str | None = None
    """Likewise of their floors."""
    shown: bool = True
    """False: figures of this part are the references of others, and no rows of their own."""


def figure(name: str, meaning: str, better: Better | None = None, *, default: Any = MISSING, **row: Any) -> Any:
    """A field that holds a figure: a number, an `Estimate`, or a dict of numbers; `row`: further fields of `Figure`."""
    return field(default=default, metadata={"figure": Figure(name, meaning, better, **row)})


def part(label: str = "", *, default: Any = MISSING, **row: Any) -> Any:
    """A field that holds a part with figures; `row`: further fields of `Part`."""
    return field(default=default, metadata={"part": Part(label, **row)})


def twin() -> Any:
    """A field that holds a part whose figures are the references or floors of another's."""
    return part(shown=False)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number with its interval, from one value per seed."""

    mean: float
    std: float
    """With ddof 1; 0 for one value."""
    values: list[float]
    ci: Interval | None
    """None: one value tells nothing about it."""
