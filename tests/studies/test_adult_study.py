"""The study of fidelity against leakage, on breast cancer: its parts by hand, and one run of all of it."""

import dataclasses
import json

import numpy as np
import pytest

from synthjax import data
from synthjax.errors import InputError
from synthjax.evals.domains import panel
from synthjax.evals.domains.tables import measures
from synthjax.evals.fidelity import tables as fidelity
from synthjax.launch import reproduce
from synthjax.studies import adult
from synthjax.studies.workspace import Workspace

QUICK = reproduce.settings("adult", True, [])


def test_a_setting_names_a_model_and_its_fields():
    half = adult.of(QUICK, "mixture components=4 members=2", whole=False, seed=3)
    assert (half.name, half.model.components, half.model.members) == ("mixture", 4, 2)
    assert (half.dataset, half.holdout, half.seed) == ("breast_cancer", 0.5, 3)
    assert adult.of(QUICK, "independent", whole=True, seed=0).holdout == 0
    quick = adult.of(QUICK, "table_vae latents=8 precision=bfloat16", whole=True, seed=0)
    assert (quick.model.latents, quick.precision) == (8, "bfloat16")
    with pytest.raises(InputError, match="component"):
        adult.of(QUICK, "mixture component=4", whole=True, seed=0)


@pytest.mark.parametrize("setting", reproduce.settings("adult", False, []).settings)
def test_every_setting_of_the_study_exists(setting):
    assert adult.of(adult.Config(), setting, whole=False, seed=0).dataset == "adult"


def test_a_folder_goes_on_with_more_settings_but_not_with_other_pieces(tmp_path):
    def workspace(config):
        return Workspace(tmp_path, None, reproduce.decisive(adult, config), lambda line: None)

    workspace(QUICK)
    workspace(dataclasses.replace(QUICK, settings=("smote",), seeds=9, most=0.6))
    with pytest.raises(InputError, match="other settings"):
        workspace(dataclasses.replace(QUICK, attacked=QUICK.attacked + 1))


def test_the_choice_passes_best_for_real_of_those_that_do_not_leak():
    figures = {"a": (0.9, 0.52), "b": (0.7, 0.51), "c": (0.8, 0.50), "e": (0.1, 0.49)}
    found = {name: {"c2st": c2st, "share": share} for name, (c2st, share) in figures.items()}
    assert adult.choose(adult.Config(most=0.51), found) == "c"
    assert adult.choose(adult.Config(most=0.60), found) == "a"
    with pytest.raises(InputError, match="most=0.3"):
        adult.choose(adult.Config(most=0.3), found)


def test_copies_are_found_out_and_columns_drawn_alone_are_not():
    """Fidelity of a copy is that of the real rows; the measures are those of their modules."""
    real = data.load("breast_cancer", holdout=0.5)
    tables = adult.read(real, real.frame("train").reset_index(drop=True))
    found = adult.fidelity(tables, seed=0, limit=1000)
    assert found["shapes"] == found["trends"] == found["trends_real_edges"] == 1
    assert found["c2st_train"] == pytest.approx(fidelity.c2st(tables["train"], tables["train"])["score"])
    judge = panel.train_judge(panel.ALL_ROWS, tables["train"], 0)
    test = tables["test"]
    rarer = list(test.schema.classes).index("malignant")
    assert found["auc"] == measures(test, judge(test), rarer)["roc_auc"] > 0.95


@pytest.mark.slow
def test_the_study_runs_and_goes_on(tmp_path, monkeypatch):
    config = dataclasses.replace(QUICK, settings=("independent", "smote"), seeds=1)
    workspace = Workspace(tmp_path, None, dataclasses.asdict(config), lambda line: None)
    first, second = (TABLE(workspace, config)[0] for TABLE in adult.TABLES.values())
    assert [row[0] for row in first.rows[:2]] == list(config.settings) and len(first.rows) == 2 + len(adult.PUBLISHED)
    kept = {path.stem: json.loads(path.read_text()) for path in (tmp_path / "results").glob("*.json")}
    assert len(kept) == 2 + 2
    alone, close = kept["independent-half-seed-0"], kept["smote-half-seed-0"]
    assert close["trends"] > alone["trends"] and close["auc"] > 0.9 and alone["share"] < close["share"]
    assert np.isfinite(alone["nll"]) and close["nll"] is None
    assert close["interval"][0] < close["share"] < close["interval"][1]
    cells = {row[0]: row[2:4] for row in second.rows}
    half, whole = (kept[f"smote-{rows}-seed-1"] for rows in ("half", "whole"))
    assert cells["share"] == (f"{half['share']:.3f}", "") and half["share"] != close["share"]
    assert cells["AUC"][1] == f"{whole['auc']:.3f}"
    assert all((tmp_path / f"frontier_{name}.png").stat().st_size > 1000 for name in ("c2st", "auc"))
    monkeypatch.setattr(adult, "scores", pytest.fail)  # everything is there: nothing is computed again
    assert adult.frontier(workspace, config)[0] == first
