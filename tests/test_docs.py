"""The pages of docs/: what they link to is there, and tables that a command writes are as it writes them."""

import importlib
import re
from pathlib import Path

import pytest

from synthjax.launch import lab, reproduce

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "RESULTS.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [page for page in PAGES if page.exists() and "_build" not in page.parts]


def headings(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and MyST make them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if "_static" in file.parts:  # made with the site
            continue
        assert file.exists(), target
        if file == ROOT / "docs/results/index.md":
            file = ROOT / "RESULTS.md"  # which it includes
        assert not anchor or anchor in headings(file), target


@pytest.mark.parametrize("study", reproduce.STUDIES)
def test_tables_of_a_study_are_as_its_command_writes_them(study, tmp_path):
    """Writing the page again changes nothing, and it has no table that the study does not make."""
    page = ROOT / f"docs/results/studies/{study}.md"
    tables = importlib.import_module(f"synthjax.launch.studies.{study}").TABLES
    marks = re.findall(rf"<!-- study {study} -->\n(.*?)\n<!-- end of study {study} -->", page.read_text(), re.DOTALL)
    assert len(marks) == 1
    copy = tmp_path / "page.md"
    copy.write_bytes(page.read_bytes())
    lab.update(copy, study, {}, tables)  # a ValueError names a table that is not of this study
    assert copy.read_text() == page.read_text()
