"""A report's figures as CSV and LaTeX, and several reports side by side."""

import csv
import io
import json

import pytest
import reports

from synthjax.errors import InputError
from synthjax.evals.report import compare, figures, rows

NASTY = "<script>&_x"


def made(points=1.2, auc=0.5, **changes):
    attacks = {"distance": reports.attack(auc), "copy": reports.attack()}
    changes = {key.replace("__", "."): value for key, value in changes.items()}
    given = {"utility.loss": reports.loss(points), "privacy.mia.auc": auc, **changes}
    return reports.make("image", given, attacks=attacks)


def test_csv_reads_back_and_names_are_no_formulas():
    found = rows.measured(made())
    read = list(csv.DictReader(io.StringIO(figures.to_csv({"=1+1": found, "b": found}))))
    assert len(read) == 2 * len(found) and {row["set"] for row in read} == {"'=1+1", "b"}
    assert tuple(read[0]) == figures.COLUMNS
    first = next(row for row in read if row["key"] == "utility.cnn.tstr.mean")
    low, high = reports._stored("image")["utility"]["cnn"]["tstr"]["ci"]
    columns = ("value", "low", "high", "reference", "floor")
    assert [float(first[name]) for name in columns] == [0.96, low, high, 0.97, 0.7]
    assert first["name"] == "accuracy, CNN" and first["part"] == "utility" and first["better"] == "high"
    assert {"utility.calibration.tstr", "fidelity.frechet"} <= {row["key"] for row in read}


def test_latex_is_balanced_and_escaped_and_marks_the_best():
    text = figures.to_latex({"a_b": rows.measured(made(1.2)), "c%": rows.measured(made(0.5))})
    lines = text.splitlines()
    assert lines[0] == r"\begin{tabular}{lrrr}" and lines[-1] == r"\end{tabular}"
    assert r"a\_b & c\% & reference" in text and text.count("{") == text.count("}")
    lost = next(line for line in lines if line.startswith("points lost"))
    assert lost == r"points lost & 1.200 & \textbf{0.500} & 0.000 \\"
    body = [line for line in lines if line.endswith(r"\\") and "multicolumn" not in line]
    assert {line.count(" & ") for line in body} == {3}
    sections = [line.split(r"\textit{")[1].rstrip("} \\") for line in lines if "multicolumn" in line]
    assert sections == [name for name in rows.SECTIONS if name != "rules"]  # which only tables have
    assert figures.latex("\\{") == r"\textbackslash{}\{"


def test_a_comparison_has_all_sets_and_marks_the_best():
    found = compare.assemble({"a": made(1.2, auc=0.6), NASTY: made(0.4, auc=0.5)})
    json.dumps(found, allow_nan=False)
    by_key = {row["key"]: row for row in found["figures"]}
    lost = by_key["utility.loss.points"]
    assert lost["values"] == {"a": 1.2, NASTY: 0.4} and lost["best"] == [NASTY]
    assert lost["intervals"]["a"] == pytest.approx([1.0, 1.4])
    assert by_key["fidelity.coverage"]["best"] == []  # both alike
    assert by_key["privacy.mia.auc"]["best"] == [NASTY]  # low is better
    assert by_key["privacy.dcr.share_nearer_train"]["better"] is None
    verdicts = found["sets"]["a"]["verdicts"]
    assert [verdict["id"] for verdict in verdicts] == ["publish", "good", "lost", "checkpoint"]
    assert verdicts[0]["level"] == "poor" and found["sets"]["a"]["model"] is None


def test_what_only_some_sets_have_is_left_blank():
    bare = made()
    other = made(manifest__model={"workdir": "r", "name": "vae", "state_sha256": "b" * 64, "train_seconds": 3.0})
    found = compare.assemble({"bare": bare, "run": other})
    row = next(row for row in found["figures"] if row["key"] == "manifest.model.train_seconds")
    assert row["values"] == {"bare": None, "run": 3.0} and row["best"] == [] and found["sets"]["run"]["model"] == "vae"


def test_what_differs_is_said():
    other = made(manifest__seeds=2, manifest__synthetic__examples=100)
    size = made().manifest.synthetic.examples
    notes = compare.assemble({"a": made(), "b": other})["notes"]
    assert "seeds differs" in notes[0] and "a: 5, b: 2" in notes[0]
    assert f"not equally large (a: {size:,}, b: 100)" in notes[1]
    assert compare.assemble({"a": made(), "b": made()})["notes"] == []


def test_sets_that_do_not_compare_are_refused():
    with pytest.raises(InputError, match=r"^b: was judged against .*eeee.*do not compare"):
        compare.assemble({"a": made(), "b": made(manifest__fingerprint="e" * 64)})
    with pytest.raises(InputError, match=r"^b: was judged against"):
        compare.assemble({"a": made(), "b": reports.make("table")})
    with pytest.raises(InputError, match="at least two"):
        compare.assemble({"a": made()})
