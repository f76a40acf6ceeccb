"""Study S4: its growing tables, its words, and the whole of it with a model that is fitted at once."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from synthjax.errors import InputError
from synthjax.evals.fidelity import tables as fidelity
from synthjax.evals.table import from_frames
from synthjax.studies import s4
from synthjax.studies.workspace import Workspace

TINY = s4.Config(dataset="breast_cancer", models=("independent",), rows=(40, 120), trials=1, steps=1, learning_rate=0.0,
                 samples=80, attacked=100, categories=())  # fmt: skip
REAL, ALONE = {"shapes": 0.99, "trends": 0.95, "c2st": 0.9}, {"trends": 0.6, "c2st": 0.3}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("s4"), None, {"study": "s4"}, say=lambda line: None)


@pytest.fixture(scope="module")
def tables(workspace) -> list:
    return s4.growing(workspace, TINY)


def test_each_table_holds_the_smaller_ones_and_no_unseen_row(workspace):
    parts = s4.table(workspace, dataclasses.replace(TINY, trials=2))
    rows = {name: set(map(tuple, pd.read_csv(parts.file(name), dtype=str).to_numpy()))
            for name in ("0-40", "0-120", "1-40", "1-120", "unseen")}  # fmt: skip
    assert [len(found) for found in rows.values()] == [40, 120, 40, 120, 46]
    for trial in "01":
        assert rows[f"{trial}-40"] < rows[f"{trial}-120"]
        assert not rows[f"{trial}-120"] & rows["unseen"]
    assert rows["0-40"] != rows["1-40"]
    real = parts.whole.frame("holdout")
    written = pd.read_csv(parts.file("unseen"))
    np.testing.assert_allclose(written["mean area"], real["mean area"])
    assert written["diagnosis"].tolist() == real["diagnosis"].tolist()


@pytest.mark.slow
def test_the_table_says_what_was_measured(workspace, tables):
    (table,) = tables
    assert [row[:2] for row in table.rows] == [
        ("independent", "40"),
        ("independent", "120"),
        ("other real rows", ""),
        ("columns drawn alone", ""),
    ]
    assert all(len(row) == len(table.columns) for row in table.rows)
    scores = workspace.result("scores, independent-120-0", lambda: pytest.fail("is there already"))
    assert 0 < scores["file"] < 1 and 0 < scores["model"] < 1 and 0 < scores["nearer"] < 1
    parts = s4.table(workspace, TINY)
    made = pd.read_csv(workspace.folder / "sets/independent-120-0.csv")
    kinds = {field.name: field.kind for field in parts.whole.table.schema.fields}  # type: ignore[union-attr]
    both = from_frames({"test": parts.whole.frame("test"), "made": made}, kinds)
    assert len(made) == 80
    assert fidelity.shapes(both["test"], both["made"])["score"] == pytest.approx(scores["shapes"])
    assert scores["trends"] < s4.references(workspace, TINY)["real"]["trends"]
    for name in ("quality_independent.png", "membership_independent.png"):
        assert (workspace.folder / name).stat().st_size > 1000


def test_what_is_there_is_not_done_again(workspace, tables, monkeypatch):
    monkeypatch.setattr(s4.synthesize, "draw", lambda *_: pytest.fail("is drawn already"))
    assert [table.markdown() for table in s4.growing(workspace, TINY)] == [table.markdown() for table in tables]


def test_more_rows_than_there_are(workspace):
    with pytest.raises(InputError, match="rows=500: breast_cancer has 409 training rows"):
        s4.table(workspace, s4.Config(dataset="breast_cancer", rows=(40, 500), categories=()))


def found(p: float, low: float, c2st: float = 0.4) -> dict:
    return {"file": 0.6, "file_p": p, "model": 0.7, "model_interval": [low, 0.9], "shapes": 0.9, "trends": 0.5,
            "c2st": c2st}  # fmt: skip


def test_most_trials_decide():
    assert s4.tells([found(0.01, 0.4), found(0.2, 0.6), found(0.04, 0.4)]) == (True, False)
    assert s4.tells([found(0.01, 0.6), found(0.2, 0.6)]) == (False, True)
    assert s4.tells([{**found(0.5, 0.4), "model_interval": None}]) == (False, False)


def test_the_answer_follows_the_figures():
    quiet, loud = found(0.5, 0.4), found(0.001, 0.6)
    told = s4.answer("gan", {100: [loud], 1000: [quiet]}, REAL, ALONE)
    assert "the synthetic file tells who was trained on at 100 rows (AUC up to 0.60)" in told
    assert "the model's own score tells who was trained on at 100 rows (AUC up to 0.70)" in told
    assert "At 1,000 rows no attack beats chance" in told and "mimics at 100, 1,000 rows" in told
    told = s4.answer("gan", {100: [found(0.5, 0.6, 0.2)], 1000: [found(0.5, 0.6, 0.2)]}, REAL, ALONE)
    assert "the model's own score tells who was trained on at 100, 1,000 rows" in told and "file tells" not in told
    assert "No size is free of it" in told
    assert "It mimics nowhere" in told
    told = s4.answer("gan", {100: [quiet], 1000: [quiet, found(0.5, 0.4, 0.25)]}, REAL, ALONE)
    assert "No attack shows that it over-fits" in told and "mimics at 100 rows" in told
