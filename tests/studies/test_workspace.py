"""The folder of a study: what it keeps, its tables, and the page of results."""

import json

import numpy as np
import pytest

from synthjax.errors import InputError
from synthjax.evals.classifiers import STANDARD
from synthjax.launch import markdown
from synthjax.model import DataSpec
from synthjax.studies import s1, workspace
from synthjax.studies.workspace import Workspace


def test_what_was_computed_is_read_again(tmp_path):
    lines = []
    first = Workspace(tmp_path, None, {"study": "toy"}, lines.append)
    assert first.result("a, b", lambda: {"x": (1, 2)}) == {"x": [1, 2]}
    assert [line.split(":")[0] for line in lines] == ["a, b ...", "a, b"]
    again = Workspace(tmp_path, None, {"study": "toy"}, lines.append)
    assert again.result("a, b", lambda: pytest.fail("computed again")) == {"x": [1, 2]} and len(lines) == 2
    first.keep_table("2", "two")
    again.keep_table("1", "one")
    assert again.tables(("1", "2", "3")) == "one\n\ntwo"


def test_the_folder_of_another_study_is_refused(tmp_path):
    Workspace(tmp_path, None, {"study": "toy", "seed": 0})
    for other in ({"study": "toy", "seed": 1}, {"study": "other", "seed": 0}):
        with pytest.raises(InputError, match=r"belongs to another study, or to other settings; give another --workdir"):
            Workspace(tmp_path, None, other)


def test_accuracies_and_confusion_are_those_of_the_predictions(monkeypatch):
    """Two networks, of which the second errs once: on an example of class 1."""
    spec = DataSpec("image", (2, 2, 1), classes=("a", "b"))
    x, y = np.zeros((3, 2, 2, 1), np.uint8), np.array([0, 1, 1])
    scores = np.eye(2)[np.array([[0, 1, 1], [0, 0, 1]])]
    asked = {}

    class Nets:
        losses = np.array([[2.0, 1.0], [4.0, 3.0]])

    def train(key, *examples, **options):
        asked.update(options)
        return Nets

    monkeypatch.setattr(workspace.classifiers, "train", train)
    monkeypatch.setattr(workspace.classifiers, "predict", lambda nets, x: scores)
    found = workspace.train_and_test((x, y), {"test": (x, y)}, spec, seed=0, seeds=2, protocol=STANDARD)
    assert asked == {"seeds": 2, "protocol": STANDARD} and found["losses"] == [3, 2]
    assert found["test"] == {"accuracy": [1, pytest.approx(2 / 3)], "confusion": [[1, 0], [0.5, 1.5]]}


def test_minutes_are_those_of_training(tmp_path):
    rows = [{"step": 50, "steps_per_second": 1.0}, {"step": 50, "diversity": 0.9}, {"step": 80, "steps_per_second": 3}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"step": 80, "d": 1}]))
    assert workspace.Generator("a", tmp_path, *[None] * 4).minutes() == pytest.approx((50 + 30 / 3) / 60)


def test_update_replaces_its_own_part_alone(tmp_path):
    page = tmp_path / "RESULTS.md"
    with pytest.raises(InputError, match=r"RESULTS\.md"):
        workspace.update(page, "s1", {"2": "x"}, s1.TABLES)
    page.write_text("# Results\n\nbefore\n")
    workspace.update(page, "s1", {"2": r"**2. One \1**"}, s1.TABLES)
    workspace.update(page, "s0", {"1": "**1. Other**"}, ("1",))
    workspace.update(page, "s1", {"2": "**2. Two**"}, s1.TABLES)
    text = page.read_text()
    assert text.startswith("# Results\n\nbefore\n") and "One" not in text
    assert "<!-- study s1 -->\n**2. Two**\n<!-- end of study s1 -->" in text and "\n**1. Other**\n" in text


def test_update_keeps_tables_that_were_not_made(tmp_path):
    page = tmp_path / "RESULTS.md"
    first, tests, third = "**1. A**\n\n| a |\n\nNote.", "**1, tests. B**\n\n| b |", "**3. C, D. E**\n\n| c |"
    page.write_text(f"<!-- study s0 -->\n{first}\n\n{tests}\n\n{third}\n<!-- end of study s0 -->\n\nafter\n")
    workspace.update(page, "s0", {"2": "**2. New**", "colour": ""}, ("1", "2", "3", "colour"))
    inside = f"{first}\n\n{tests}\n\n**2. New**\n\n{third}"
    assert page.read_text() == f"<!-- study s0 -->\n{inside}\n<!-- end of study s0 -->\n\nafter\n"
    workspace.update(page, "s0", {"1": "**1. Again**"}, ("1", "2", "3", "colour"))
    inside = f"**1. Again**\n\n**2. New**\n\n{third}"
    assert page.read_text() == f"<!-- study s0 -->\n{inside}\n<!-- end of study s0 -->\n\nafter\n"


def test_a_cell_and_a_table():
    assert workspace.cell([0.5]) == "0.500 (n=1)"
    assert workspace.cell([0.25, 0.75]) == "0.500 ± 0.354 (n=2)"
    table = markdown.Table("2", "Title", ("a", "b"), [("1", "2")], ("Note.",))
    assert table.markdown() == "**2. Title**\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n\nNote."
