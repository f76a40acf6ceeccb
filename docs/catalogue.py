"""The catalogue of figures and attacks: tables made from the rows that the code itself goes by."""

import inspect
from pathlib import Path

from synthjax.evals.privacy.attacks import ATTACKS
from synthjax.evals.report.rows import SECTIONS, Row, catalogue

TITLES = {
    "utility": "usefulness",
    "fidelity": "likeness",
    "rules": "rows that make sense",
    "privacy": "privacy",
    "time": "time",
}
BETTER = {"high": "higher", "low": "lower", None: ""}


def bounds(row: Row) -> str:
    """In words: "0 to 1", "at least 0", "at most 1", or nothing."""
    low, high = row.bounds
    if low is None:
        return "" if high is None else f"at most {high:g}"
    return f"at least {low:g}" if high is None else f"{low:g} to {high:g}"


def reference(row: Row) -> str:
    """What a figure is held against: the key of another, or a number."""
    if row.reference is None:
        return ""
    return f"`{row.reference}`" if isinstance(row.reference, str) else f"{row.reference:g}"


def tables() -> str:
    """Markdown: a table for each section of reports of images and of tables."""
    lines = []
    for kind in ("image", "table"):
        for section in SECTIONS:
            found = [row for row in catalogue(kind) if row.section == section]
            if found:
                lines += [f"### Of {kind}s: {TITLES[section]}", ""]
                lines += ["| key | name and meaning | better | range | held against |", "|---|---|---|---|---|"]
            for row in found:
                said = f"**{row.name}**. {row.meaning}"
                cells = (f"`{row.key}`", said, BETTER[row.better], bounds(row), reference(row))
                lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
            lines.append("")
    return "\n".join(lines)


def attacks() -> str:
    """Markdown: the membership attacks on the file."""
    lines = ["| NAME | on the page | what it does | needs |", "|---|---|---|---|"]
    for row in ATTACKS:
        said = " ".join(inspect.getdoc(row.guess).split())
        needs = ["other real data"] * row.needs_reference + ["columns"] * row.needs_table
        lines.append(f"| `{row.name}` | {row.words.format(unit='row')} | {said} | {', '.join(needs)} |")
    return "\n".join(lines)


def write(folder: Path) -> None:
    """Writes the tables, which docs/figures.md includes; an unchanged file is left alone."""
    folder.mkdir(exist_ok=True)
    for name, text in (("figures.md", tables()), ("attacks.md", attacks())):
        if not (folder / name).exists() or (folder / name).read_text() != text:
            (folder / name).write_text(text)
