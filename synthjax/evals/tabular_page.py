"""The report on a table as one self-contained HTML page."""

from collections.abc import Mapping
from typing import Any

from synthjax.evals.frames import Table


def render(report: Mapping[str, Any], tables: Mapping[str, Table]) -> str:
    """The page."""
    return ""
