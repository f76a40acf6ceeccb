"""All models side by side: which ones, on what, and what their rows say."""

import dataclasses

import numpy as np
import pytest
from toy_workspace import ToyWorkspace

from synthjax import data
from synthjax.errors import InputError
from synthjax.evals.table import from_frames, independent_columns
from synthjax.launch import config as config_lib
from synthjax.launch import reproduce
from synthjax.studies import models as study
from synthjax.studies import workspace

TINY = reproduce.settings("models", True, [("models", "vae,independent"), ("steps", "3"), ("samples", "60")])


class Scores:
    """In the place of `ImageScores`: no network is trained."""

    def __init__(self, data, *_, **__):
        self.data, self.real, self.trained_on_real = data, data.train, None

    def train(self, x, y):
        assert x.shape == (60, 8, 8, 1) and np.bincount(y).tolist() == [6] * 10

    def accuracy(self, nets):
        return [0.5, 0.75]

    def likeness(self, made):
        return {"precision": 0.5, "recall": 0.25, "diversity": 0.125, "collapsed": []}


PRIVATE = {"dcr": {"share_nearer_train": 0.5}, "mia": {"auc": 0.625, "model_auc": None}}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder in which both tables were made, that of images with stand-ins: (folder, images, tables)."""
    folder = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "ImageScores", Scores)
        patch.setattr(study, "privacy_of_images", lambda *_: PRIVATE)
        images = study.images(ToyWorkspace(folder), TINY)[0]
    return folder, images, study.tables(workspace.Workspace(folder, None, {}, lambda line: None), TINY)[0]


def test_every_model_is_in_one_of_the_tables():
    found = [study.fitting(data.load(name).spec, ()) for name in ("digits", "breast_cancer")]
    assert sorted(found[0] + found[1]) == sorted(config_lib.presets())
    assert "ddpm" in found[0] and "mixture" in found[1]
    with pytest.raises(InputError, match="--model=ddmp: unknown"):
        study.fitting(data.load("digits").spec, ("ddmp",))


@pytest.mark.slow
def test_a_row_has_a_cell_for_each_column_and_real_data_comes_first(place):
    _, images, tables = place
    for table, name in ((images, "vae"), (tables, "independent")):
        assert [row[0] for row in table.rows] == [study.REAL, name]
        assert all(len(row) == len(table.columns) for row in table.rows)
        real, made = (dict(zip(table.columns, row, strict=True)) for row in table.rows)
        assert all(real[column] == "–" for column in (*study.PRIVACY, *study.COSTS))
        assert 0 <= float(made["TSTR"].split()[0]) <= 1 and 0 <= float(made["attack on the file"]) <= 1
        assert made["steps"] == {"vae": "3", "independent": "1"}[name]
    shown = ("0.625 ± 0.177 (n=2)", "0.500", "0.250", "0.125", "0.500", "0.625", "–", "3", "0.03")
    assert images.rows[1][1:10] == shown  # three steps, two a second; the toy model has no score to attack
    for table in (images, tables):
        made = dict(zip(table.columns, table.rows[1], strict=True))
        assert float(made["s per 1,000"]) > 0 and int(made["numbers"].replace(",", "")) > 0


def test_each_table_has_its_picture(place):
    assert all((place[0] / f"{name}.png").read_bytes().startswith(b"\x89PNG") for name in ("images", "tables"))


def test_the_picture_shows_usefulness_against_leakage_and_time(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(study.figures.canvas, "save", lambda figure, path: drawn.append((figure, path)))
    found = {study.REAL: {"tstr": [0.9]}}
    found |= {
        "vae": {"tstr": [0.7, 0.8], "file": 0.55, "minutes": 10.0},
        "smote": {"tstr": [0.85], "file": 0.9, "minutes": 0.0},
    }
    work = workspace.Workspace(tmp_path, None, {}, lambda line: None)
    study.draw(work, "tables", found, "t")
    figure, path = drawn[0]
    assert path == tmp_path / "tables.png"
    leak, time = figure.axes
    lines = [[line.get_xydata() for line in axes.lines] for axes in (leak, time)]
    points = [{tuple(line[0].tolist()) for line in of if len(line) == 1} for of in lines]
    assert {(0.55, 0.75), (0.9, 0.85)} <= points[0] and {(10.0, 0.75), (1e-3, 0.85)} <= points[1]
    assert (leak.get_xscale(), time.get_xscale()) == ("linear", "log")
    assert {text.get_text() for text in figure.legends[0].get_texts()} == {"vae", "smote", study.REAL}


def test_what_was_measured_is_kept(place, monkeypatch):
    folder, images, tables = place
    for name in ("scores_of_images", "scores_of_tables"):
        monkeypatch.setattr(study, name, lambda *_: pytest.fail("measured again"))
    monkeypatch.setattr(workspace.train, "run", lambda *_: pytest.fail("trained"))
    assert study.tables(workspace.Workspace(folder, None, {}, lambda line: None), TINY) == [tables]
    assert study.images(ToyWorkspace(folder), TINY) == [images]


def test_rows_drawn_alone_are_told_from_real_ones():
    loaded = data.load("breast_cancer")
    schema = loaded.table.schema
    splits = {split: loaded.frame(split) for split in ("train", "test")}
    parts = from_frames(splits, schema.comparable_kinds(), schema.target)
    alone = independent_columns(np.random.default_rng(0), parts["train"], 409)
    config = dataclasses.replace(TINY, networks=2, limit=409)
    real, made = (study.row_scores(config, rows, parts["train"], parts["test"]) for rows in (parts["train"], alone))
    assert min(real["tstr"]) > 0.97 and max(made["tstr"]) < 0.9 and len(made["tstr"]) == 2
    assert real["c2st"] > 0.9 > 0.3 > made["c2st"]  # the same rows twice, and independent ones
    assert real["shapes"] == real["trends"] == 1 and made["shapes"] > 0.9 > made["trends"]


def test_steps_are_those_of_the_experiment_the_limit_or_the_time():
    experiment = config_lib.experiment(None, "vae", "digits")
    no_limit = dataclasses.replace(TINY, steps=0)
    steps = [study.of(no_limit, "vae", "digits", n).model.steps for n in (0, 70, 10**9)]
    assert steps == [experiment.model.steps, 70, experiment.model.steps]
    assert study.of(TINY, "vae", "digits", 70).model.steps == 3


class Speed:
    """A workspace whose models do two steps a second."""

    def train(self, name, chosen):
        self.trained = name, chosen.model.steps
        return workspace.Generator(name, self.folder, chosen, None, None, None)


def test_the_time_is_turned_into_steps(tmp_path):
    (tmp_path / "metrics.jsonl").write_text(
        '{"step": 50, "steps_per_second": 0.1}\n{"step": 150, "steps_per_second": 2}\n'
    )
    speed = Speed()
    speed.folder = tmp_path
    timed = dataclasses.replace(TINY, steps=0, minutes=1.5)
    assert study.steps_within(speed, timed, "vae", "digits") == 180
    assert speed.trained == ("digits-vae-speed", timed.fitted)


@pytest.mark.parametrize(
    ("field", "value", "what"), [("images", "breast_cancer", "labelled images"), ("tables", "digits", "target")]
)
def test_the_wrong_kind_of_data_is_told(tmp_path, field, value, what):
    work = workspace.Workspace(tmp_path, None, {}, lambda line: None)
    with pytest.raises(InputError, match=f"{field}={value}: must be a .*{what}"):
        study.TABLES[field](work, dataclasses.replace(TINY, **{field: value}))
