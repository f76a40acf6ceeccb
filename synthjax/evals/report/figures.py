"""The figures of reports as tables: CSV, and a LaTeX tabular.

found = rows.measured(report)
print(figures.to_csv({"ddpm": found}))
"""

import csv
import io
from collections.abc import Mapping, Sequence

from synthjax.evals.report.rows import SECTIONS, Measured

COLUMNS = ("set", "part", "key", "name", "value", "low", "high", "reference", "floor", "better")
"""Of the CSV file."""
_LATEX = {"&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}", "²": "$^2$"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


def to_csv(sets: Mapping[str, Sequence[Measured]]) -> str:
    """Every figure of every set, one a line, under `COLUMNS`; what was not measured is empty.

    Args:
        sets: name -> `rows.measured` of its report. A name that a spreadsheet would read as a formula gets a leading '.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for name, rows in sets.items():
        safe = f"'{name}" if name.startswith(("=", "+", "-", "@", "\t")) else name
        for row in rows:
            low, high = row.interval or ("", "")
            cells = (row.value, low, high, row.reference, row.floor)
            numbers = ["" if cell is None else repr(cell) if isinstance(cell, float) else cell for cell in cells]
            writer.writerow([safe, row.section, row.key, row.name, *numbers, row.better or ""])
    return buffer.getvalue()


def to_latex(sets: Mapping[str, Sequence[Measured]]) -> str:
    """A tabular, figures by row and sets by column, the reference last; the best of several sets in bold.

    Needs no package. The reference is that of the first set that has the figure.
    """
    names = list(sets)
    lines = [
        rf"\begin{{tabular}}{{l{'r' * (len(names) + 1)}}}",
        r"\hline",
        " & ".join(["", *map(latex, names), "reference"]) + r" \\",
        r"\hline",
    ]
    section = None
    for first, cells in side_by_side(sets):
        if first.section != section:
            lines += [rf"\multicolumn{{{len(names) + 2}}}{{l}}{{\textit{{{first.section}}}}} \\"]
            section = first.section
        winners = best(cells)
        texts = [
            "--" if cell is None else rf"\textbf{{{number(cell.value)}}}" if place in winners else number(cell.value)
            for place, cell in enumerate(cells)
        ]
        reference = "--" if first.reference is None else number(first.reference)
        lines.append(" & ".join([latex(first.name), *texts, reference]) + r" \\")
    return "\n".join([*lines, r"\hline", r"\end{tabular}", ""])


def side_by_side(sets: Mapping[str, Sequence[Measured]]) -> list[tuple[Measured, list[Measured | None]]]:
    """The figures of several sets by key, section by section: (the first one, one per set or None)."""
    by_key = [{row.key: row for row in rows} for rows in sets.values()]
    first = {row.key: row for rows in reversed(list(sets.values())) for row in rows}
    order = dict.fromkeys(row.key for rows in sets.values() for row in rows)
    found = [(first[key], [rows.get(key) for rows in by_key]) for key in order]
    return sorted(found, key=lambda item: SECTIONS.index(item[0].section))


def best(cells: Sequence[Measured | None]) -> list[int]:
    """Places of the best of several; none where there is but one, all are alike, or neither end is better."""
    present = [(place, cell) for place, cell in enumerate(cells) if cell is not None]
    if len(present) < 2 or not present[0][1].better:
        return []
    pick = max if present[0][1].better == "high" else min
    top = pick(cell.value for _, cell in present)
    winners = [place for place, cell in present if cell.value == top]
    return winners if len(winners) < len(present) else []


def number(value: float) -> str:
    """A figure as text: three decimals below 100, whole numbers and large ones with commas."""
    if isinstance(value, int):
        return f"{value:,}"
    if value and abs(value) < 0.001:
        return f"{value:.1e}"
    return f"{value:.3f}" if abs(value) < 100 else f"{value:,.0f}"


def latex(text: str) -> str:
    """Text with what LaTeX reads as commands escaped."""
    return "".join(_LATEX.get(character, character) for character in text)
