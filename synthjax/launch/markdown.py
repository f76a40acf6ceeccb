"""Tables as Markdown."""

from collections.abc import Sequence
from typing import NamedTuple


class Table(NamedTuple):
    """A table with a heading, of cells that are text."""

    number: str
    """What it is called: a number or a word."""
    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    notes: tuple[str, ...] = ()
    """Sentences below it."""

    def markdown(self) -> str:
        """The table as Markdown."""
        head = [f"**{self.number}. {self.title}**", ""]
        body = ["| " + " | ".join(row) + " |" for row in (self.columns, ("---",) * len(self.columns), *self.rows)]
        return "\n".join([*head, *body, *(["", " ".join(self.notes)] if self.notes else [])])
