"""The page of a report on linked tables: one self-contained HTML file."""

from collections.abc import Mapping

from synthjax.evals.page.page import fill
from synthjax.evals.page.terms import Terms
from synthjax.evals.report.linked import FEWEST, Report, said

Examples = tuple[list[str], list[list[str]], list[list[str]]]
"""Names of columns, parents, and their children, as text."""


def render(report: Report, examples: Mapping[str, Examples]) -> str:
    """The page.

    Args:
        report: what was found.
        examples: key -> rows to look at.
    """
    shown = {key: (names, [[*a, *b] for a, b in zip(above, below, strict=True)]) for key, (names, above, below) in
             examples.items()}  # fmt: skip
    return fill("linked.html", Terms(), {"report": report, "examples": shown, "fewest": FEWEST, "said": said})
