"""The pages of docs/: what they link to is there, and tables that a command writes are as it writes them."""

import importlib
import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from synthjax.evals.privacy.attacks import ATTACKS
from synthjax.evals.report import rows
from synthjax.evals.report.gates import Gate
from synthjax.launch import reproduce
from synthjax.studies import workspace

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "RESULTS.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [page for page in PAGES if not {"_build", "_generated"} & set(page.parts)]
REPORTS = re.search(r"for name in (.*); do", (ROOT / "docs/build").read_text())[1].split()  # type: ignore[index]


def headings(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and MyST make them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith("report:"):  # made with the site
            # conf.py makes ../reports/NAME.html of it, which is right one folder below docs/ alone.
            assert target.removeprefix("report:") in REPORTS and page.parents[1] == ROOT / "docs", target
            continue
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if file == ROOT / "docs/results/index.md":
            file = ROOT / "RESULTS.md"  # which it includes
        assert not anchor or anchor in headings(file), target


@pytest.mark.parametrize("study", reproduce.STUDIES)
def test_tables_of_a_study_are_as_its_command_writes_them(study, tmp_path):
    """Writing the page again changes nothing, and it has no table that the study does not make."""
    page = ROOT / f"docs/results/studies/{study}.md"
    tables = importlib.import_module(f"synthjax.studies.{study}").TABLES
    marks = re.findall(rf"<!-- study {study} -->\n(.*?)\n<!-- end of study {study} -->", page.read_text(), re.DOTALL)
    assert len(marks) == 1
    copy = tmp_path / "page.md"
    copy.write_bytes(page.read_bytes())
    workspace.update(copy, study, {}, tables)  # a ValueError names a table that is not of this study
    assert copy.read_text() == page.read_text()


def of_site(name: str) -> ModuleType:
    """A module of docs/, which is no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / f"docs/{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_catalogue_has_every_figure_by_a_key_that_gates_take():
    lines = of_site("catalogue").tables().splitlines()
    keys = re.findall(r"^\| `([^`]+)`", "\n".join(lines), re.MULTILINE)
    assert sorted(keys) == sorted(row.key for kind in rows.REPORTS for row in rows.catalogue(kind))
    for key in keys:
        if rows.NAME not in key.split("."):
            assert any(parsed(key, kind) for kind in rows.REPORTS), key
    (auc,) = {line for line in lines if line.startswith("| `privacy.mia.auc`")}
    assert auc.split(" | ")[2:] == ["lower", "0 to 1", "0.5 |"]


def test_the_catalogue_explains_each_attack_in_three_sentences():
    _, _, *lines = of_site("catalogue").attacks().splitlines()
    assert len(lines) == len(ATTACKS)
    for line, row in zip(lines, ATTACKS, strict=True):
        name, _, said, _ = (
            line.strip("| ").split(" | ") if row.needs_reference else [*line.strip("| ").split(" | "), ""]
        )
        assert name == f"`{row.name}`" and len(re.findall(r"[a-z]\.(?: |$)", said)) == 3, said


def parsed(key: str, kind: str) -> bool:
    """Whether reports of that kind have such a number."""
    try:
        return Gate.parse(f"{key}>0.5", kind).key == key
    except ValueError:
        return False


def test_docstrings_become_restructured_text():
    given = [
        "Losses (B, *shape), x_t and `a*b`.",
        "",
        "    x = y * z",
        "",
        "Args:",
        "  x: (B, *spec.shape) f32.",
        "",
        "After.",
    ]
    assert of_site("docstrings").converted(given) == [
        r"Losses (B, \*shape), x_t and `a*b`.",
        "",
        "::",
        "",
        "        x = y * z",
        "",
        "",
        "Args:",
        r"  x: (B, \*spec.shape) f32.",
        "",
        "After.",
    ]
