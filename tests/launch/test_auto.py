"""The choice among models: hand-made outcomes, and the command from a table to the chosen model's rows."""

import json

import pandas as pd
import pytest
from in_process import launch
from pairs import pairs

import synthjax
from synthjax.data import memory
from synthjax.errors import InputError
from synthjax.launch import auto, runs, train
from synthjax.launch.auto import Tried, choose
from synthjax.launch.config import Experiment
from synthjax.models import mixture, table_ar


def tried(name: str, apart: float, pairs: float = 0.1, copied: float = 0.0, copies: bool = False) -> Tried:
    return Tried(name, True, apart, 0.02, pairs, copied, copies)


LEFT_OUT = Tried("c", note="left out: it needs all rows at once, 3 GB of 2 GB")


@pytest.mark.parametrize(
    ("outcomes", "name", "why"),
    [
        ([tried("a", 0.62), tried("b", 0.58)], "b", "b is taken: its rows are told apart from held-out ones with"),
        ([tried("a", 0.62), tried("b", 0.58, 0.1, 0.8, True)], "a", "the best of those that do not copy training rows"),
        ([tried("a", 0.595, 0.1), tried("b", 0.58, 0.11)], "a", "(the best: 0.580 ± 0.020), and its pairs of columns"),
        ([tried("a", 0.515, 0.1), tried("b", 0.45, 0.11)], "a", "(the best: 0.450 ± 0.020), and its pairs of columns"),
        ([tried("a", 0.605, 0.1), tried("b", 0.58, 0.11)], "b", "an AUC of 0.580, the best"),
        ([tried("a", 0.7, 0.1, 0.5, True), tried("b", 0.58, 0.1, 0.8, True)], "a", "all candidates copy training rows"),
        ([LEFT_OUT, tried("a", 0.9)], "a", "the best"),
    ],
)  # fmt: skip
def test_the_candidate_most_like_held_out_rows_that_does_not_copy_is_taken(outcomes, name, why):
    found, said = choose(outcomes)
    assert found == name and why in said
    assert choose(outcomes[::-1])[0] == name


def test_without_any_outcome_the_reasons_are_said():
    with pytest.raises(InputError, match=r"could be trained \(c: left out: it needs all .*\); name a model"):
        choose([LEFT_OUT])
    assert "| c | - | - | - | 0 | left out: it needs" in auto.table([LEFT_OUT])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("auto")
    pairs(700).to_csv(folder / "table.csv", index=False)
    return folder


@pytest.fixture
def small(monkeypatch):
    """Small models, one of which draws its columns independently; tables of 700 rows are not too few."""
    monkeypatch.setattr(auto, "FEWEST", 100)
    monkeypatch.setattr(auto, "CANDIDATES", ("independent", "mixture", "table_ar"))
    monkeypatch.setitem(mixture.PRESETS, "mixture", mixture.Config(components=6, bins=16, batch_size=64, steps=5))
    monkeypatch.setitem(table_ar.PRESETS, "table_ar", table_ar.Config(bins=16, hidden=4, embedding=2, steps=5))


FLAGS = ("--table=table.csv", "--target=label", "--holdout=0.4", "--out=made", "--level=look", "--rows=50")


def test_a_model_is_chosen_on_the_holdout_and_its_run_is_the_workdirs(folder, small, small_look, monkeypatch):
    monkeypatch.setattr(train, "MOST_STEPS", 3)  # so that table_ar knows no more than independent columns
    done = launch(folder, *FLAGS, name="synthesize")
    assert done.code == 0, done.err
    found = json.loads((folder / "made" / "auto.json").read_text())
    apart = {one["model"]: one["apart"] for one in found["tried"]}
    assert list(apart) == ["independent", "mixture", "table_ar"] and found["chosen"] == "mixture"
    # Independent columns lose the line that a and b lie on.
    assert apart["mixture"] < apart["independent"] - 0.05
    assert done.out.count("rows of 3 columns, 2 classes") == 3 and done.out.count("target label; min_count=5") == 1
    assert "| mixture | 0." in done.out and "mixture is taken: its rows are told apart from held-out ones" in done.out
    assert (folder / "made" / "auto.md").read_text().startswith("**Models. tried on the holdout**")
    assert runs.read(folder / "made")[0].name == "mixture" and synthjax.load(folder / "made").step == 5
    assert len(pd.read_csv(folder / "made" / "synthetic.csv")) == 50
    assert (folder / "made" / runs.COPYING).exists() and (folder / "made" / "eval" / "report.json").exists()
    before = (folder / "made" / "synthetic.csv").stat().st_mtime_ns
    again = launch(folder, *FLAGS, name="synthesize")
    assert again.code == 0 and "continuing from step 5" in again.out and "candidate" not in again.out
    assert (folder / "made" / "synthetic.csv").stat().st_mtime_ns == before
    other = launch(folder, *FLAGS, "--seed=1", name="synthesize")
    assert (other.code, other.line) == (3, "error: made belongs to another run; give another --out")


def test_what_was_tried_is_not_tried_again(folder, small, tmp_path, monkeypatch):
    chosen = Experiment("table_ar", table_ar.Config(), "table.csv", str(folder), target="label")
    asked = []

    def one(self, name, minutes):
        asked.append(name)
        if name == "table_ar" and asked.count(name) == 1:
            raise KeyboardInterrupt
        return tried(name, {"independent": 0.9, "mixture": 0.6, "table_ar": 0.7}[name])

    monkeypatch.setattr(auto.Race, "_try", one)
    monkeypatch.setattr(auto, "_copy", lambda *_: None)
    with pytest.raises(KeyboardInterrupt):
        auto.Race(chosen, tmp_path, 1.0).run()
    assert auto.Race(chosen, tmp_path, 1.0).run()[0].name == "mixture"
    assert asked == ["independent", "mixture", "table_ar", "table_ar"]


def test_few_rows_get_one_model_and_a_model_too_large_is_left_out(folder, small, tmp_path, monkeypatch, capsys):
    chosen = Experiment("table_ar", table_ar.Config(), "table.csv", str(folder), target="label")
    monkeypatch.setattr(train, "run", lambda *_: 1)
    monkeypatch.setattr(auto.model_selection, "copying", lambda *_: None)
    monkeypatch.setattr(auto, "FEWEST", 1000)
    experiment, _ = auto.Race(chosen, tmp_path / "few", 1.0).run()
    assert experiment.name == auto.SMALL == "mixture"
    assert "560 rows are too few to compare models on (from 1,000)" in capsys.readouterr().out
    race = auto.Race(chosen, tmp_path / "large", 1.0)
    monkeypatch.setattr(train, "run", lambda *_: (_ for _ in ()).throw(InputError("too wide")))
    assert race._try("table_ar", 1.0).note == "failed: too wide"
    monkeypatch.setattr(memory, "limit", lambda: 1000)
    note = race._try("mixture", 1.0).note
    assert note.startswith("left out: it needs all rows at once, ") and note.endswith(" of 1 kB")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--steps=5"], "error: --steps: is of one model, and --model=auto tries several; name one: --model=mixture"),
        (["--config.model.bins=4"], "error: --config.model.bins: is of one model, and --model=auto tries several"),
        (["--model=auto", "--seeds=2"], "error: --config.seeds: is of one model"),
        (["--holdout=0"], "error: --holdout=0: --model=auto compares models on the holdout; leave it some rows"),
        (["--table=digits"], "error: --table=digits: holds images; synthesize is for tables, launch.train for both"),
    ],
)
def test_what_auto_cannot_do_is_one_line(folder, words, said):
    table = [] if words[0].startswith("--table") else ["--table=table.csv"]
    done = launch(folder, *table, "--out=none", *words, name="synthesize")
    assert done.code == 3 and done.line.startswith(said)
    assert not (folder / "none").exists()
