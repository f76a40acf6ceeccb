"""The catalogue of figures: tables made from the rows of the report."""

from pathlib import Path

from synthjax.evals.report import catalogue
from synthjax.evals.report.rows import SECTIONS, Row

HEADINGS = {"utility": "Usefulness", "fidelity": "Likeness", "privacy": "Privacy", "time": "Times and sizes"}
HEAD = ["| key | name | meaning | range | better | compare with |", "|---|---|---|---|---|---|"]
KINDS = {"image": "images", "table": "tables"}


def cells(row: Row) -> tuple[str, ...]:
    """A row of the catalogue as cells."""
    low, high = row.bounds
    limits = "" if low is None else f"at least {low}" if high is None else f"{low} to {high}"
    better = {"high": "higher", "low": "lower", None: ""}[row.better]
    reference = (
        f"`{row.reference}`" if isinstance(row.reference, str) else "" if row.reference is None else row.reference
    )
    return f"`{row.key}`", row.name, row.meaning, limits, better, str(reference)


def write(path: Path) -> None:
    """Writes the tables, which docs/figures.md includes; an unchanged file is left alone."""
    lines = []
    for kind, name in KINDS.items():
        for section in SECTIONS:
            rows = [row for row in catalogue(kind) if row.section == section]
            lines += [f"### {HEADINGS[section]}, {name}", "", *HEAD]
            lines += [*(f"| {' | '.join(cells(row))} |" for row in rows), ""]
    path.parent.mkdir(exist_ok=True)
    text = "\n".join(lines)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
