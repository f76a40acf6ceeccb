"""`synthesize`: a model of all rows, small tables, and a warning that is said again at the end."""

import json

import numpy as np
import pandas as pd
import pytest
from in_process import launch
from pairs import pairs

import synthjax
from synthjax.launch import config, runs
from synthjax.launch.config import Experiment
from synthjax.models import mixture

FLAGS = ("--table=table.csv", "--level=look", "--config.model.components=3", "--config.model.bins=16")
MIXTURE = (*FLAGS, "--model=mixture", "--steps=3")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("final")
    pairs(150).to_csv(folder / "table.csv", index=False)
    return folder


def test_a_final_model_learns_from_all_rows_and_is_not_judged(folder, small_look):
    done = launch(folder, *MIXTURE, "--target=label", "--out=made", "--final=all", name="synthesize")
    assert done.code == 0, done.err
    judged, final = synthjax.load(folder / "made"), synthjax.load(folder / "made" / "final")
    every = runs.trained_on(folder / "made" / "final", str(folder))
    np.testing.assert_array_equal(every.train.index, np.arange(150))
    assert not len(every.holdout.y) and not len(every.test.y)
    table = pd.read_csv(folder / "table.csv")
    assert np.mean(every.train.y == (table.label == "yes")) == 1
    assert final.step == judged.step == 3 and final.encoder == judged.encoder
    assert len(pd.read_csv(folder / "made" / "final" / "synthetic.csv")) == 150
    assert "the synthetic table: made/final/synthetic.csv" in done.out
    report = json.loads((folder / "made" / "eval" / "report.json").read_text())
    assert any("They are not judged, since no unseen rows are left" in note for note in report["manifest"]["notes"])
    assert "They are not judged" in (folder / "made" / "eval" / "report.html").read_text()
    done = launch(folder, "--workdir=made/final", name="eval")
    assert (done.code, done.line) == (
        3,
        "error: made/final: was trained on all rows of its table; none are left to judge it by",
    )


def test_training_ends_where_it_is_told_under_the_schedule_of_all_its_steps(folder):
    chosen = Experiment("mixture", mixture.Config(steps=9), stop_at=4)
    assert (chosen.last_step, Experiment("mixture", mixture.Config(steps=9)).last_step) == (4, 9)
    done = launch(folder, "--model=mixture", "--dataset=table.csv", "--steps=6", "--config.stop_at=2", "--workdir=ends")
    assert done.code == 0, done.err
    assert synthjax.load(folder / "ends").step == 2 and "finished at step 2;" in done.out


def test_a_run_from_before_a_field_goes_on(folder):
    command = ("--model=mixture", "--dataset=table.csv", "--steps=2", "--workdir=old")
    assert launch(folder, *command).code == 0
    place = folder / "old" / "config.json"
    values = json.loads(place.read_text())
    place.write_text(json.dumps({name: value for name, value in values.items() if name not in ("all_rows", "stop_at")}))
    assert config.from_dict(json.loads(place.read_text())) == runs.read(folder / "old")[0]
    assert "continuing from step 2" in launch(folder, *command).out


@pytest.mark.parametrize("model", ["auto", "mixture"])
def test_too_few_rows_for_a_report_are_told_before_training(folder, model):
    for n, few in ((5, "3 training rows and 1 test rows"), (12, "2 test rows")):
        pairs(n).to_csv(folder / "few.csv", index=False)
        done = launch(folder, "--table=few.csv", f"--model={model}", "--out=few", name="synthesize")
        assert done.code == 3 and done.line.startswith(f"error: --table=few.csv: leaves {few}, too few for a report")
        assert not (folder / "few").exists()


def test_a_table_of_thirty_rows_gets_a_report(folder, small_look):
    rng = np.random.default_rng(0)
    words = pd.DataFrame({name: rng.choice(list("abc"), 30) for name in ("x", "y", "z")})
    words.to_csv(folder / "table30.csv", index=False)
    flags = ("--table=table30.csv", "--model=independent", "--level=look", "--out=words")
    done = launch(folder, *flags, name="synthesize")
    assert done.code == 0, done.err
    assert "2 held-out rows are too few to tell whether the model copies training rows" in done.out
    assert set(pd.read_csv(folder / "words" / "synthetic.csv").x) <= set("abc")


def test_a_model_that_copies_is_told_again_at_the_end_and_in_the_report(folder, small_look):
    done = launch(folder, "--table=table.csv", "--model=smote", "--level=look", "--out=near", name="synthesize")
    assert done.code == 0, done.err
    said = json.loads((folder / "near" / runs.COPYING).read_text())
    assert said["warning"] and done.out.count(said["said"]) == 3
    report = json.loads((folder / "near" / "eval" / "report.json").read_text())
    assert said["said"] in report["manifest"]["notes"]
