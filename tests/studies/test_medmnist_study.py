"""Models of images on medical sets: which data, what is chosen by what, and what the tables say."""

import dataclasses
import json

import numpy as np
import pytest
from scipy.special import softmax
from sklearn import metrics
from toy_workspace import ToyWorkspace

from synthjax.errors import InputError
from synthjax.launch import reproduce
from synthjax.studies import medmnist as study
from synthjax.studies import models

SETTINGS = {"sets": "toymnist", "models": "vae,rbm", "steps": "3", "lengths": "1", "times": "2", "networks": "2"}
TINY = reproduce.settings("medmnist", True, list(SETTINGS.items()))
PRIVATE = {"dcr": {"share_nearer_train": 0.5}, "mia": {"auc": 0.625, "model_auc": None}}


def images(rng, counts):
    """Noise with a bright half: the upper one in class 0, the lower one in class 1; labels as MedMNIST has them."""
    y = np.repeat(np.arange(2), counts)
    x = rng.integers(0, 60, (len(y), 8, 8))
    x[y == 0, :4] += 150
    x[y == 1, 4:] += 150
    return x.astype(np.uint8), y[:, None].astype(np.uint8)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """A folder with medmnist/toymnist.npz: 30 and 60 images to train on, 10 and 20 of validation, 8 and 24 of test."""
    folder, rng, arrays = tmp_path_factory.mktemp("data"), np.random.default_rng(0), {}
    for split, counts in (("train", (30, 60)), ("val", (10, 20)), ("test", (8, 24))):
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = images(rng, counts)
    (folder / "medmnist").mkdir()
    np.savez(folder / "medmnist" / "toymnist.npz", **arrays)
    return folder


class Scores:
    """In the place of `ImageScores`: a classifier is the mean image of each class."""

    def __init__(self, data, samples, networks, epochs, seed, **how):
        self.data, self.real, self.networks, self.how = data, data.train, networks, how

    @property
    def trained_on_real(self):
        return self.train(self.real.x, self.real.y)

    def train(self, x, y):
        return np.stack([x[y == label].reshape(-1, 64).mean(0) for label in (0, 1)])

    def likeness(self, made):
        return {"precision": 0.5, "recall": 0.25, "diversity": 0.125, "collapsed": []}


def predict(means, x):
    """Two networks that agree but for the first image."""
    logits = -((x.reshape(len(x), 1, -1).astype(float) - means) ** 2).sum(-1) / 1e4
    other = logits.copy()
    other[0] = other[0, ::-1]
    return np.stack([logits, other])


class Place(ToyWorkspace):
    """Its rbm draws the images of the other class."""

    def __init__(self, folder, data_dir):
        super().__init__(folder)
        self.data_dir = str(data_dir)

    def draw(self, generator, counts, *, seed=0, name=None, options=None):
        x, y = super().draw(generator, counts, seed=seed)
        return (x[::-1], y) if generator.experiment.name == "rbm" else (x, y)


@pytest.fixture
def stand_ins(monkeypatch):
    monkeypatch.setattr(study, "ImageScores", Scores)
    monkeypatch.setattr(study, "predict", predict)
    monkeypatch.setattr(models, "privacy_of_images", lambda *_: PRIVATE)


@pytest.mark.parametrize("classes", [2, 4])
def test_measures_are_scikit_learns(classes):
    rng = np.random.default_rng(1)
    y, logits = rng.integers(0, classes, 60), rng.normal(size=(60, classes))
    chances = softmax(logits, axis=1)
    found = {name: score(np.ones((1, 60)))[0] for name, score in study.measures(y, logits).items()}
    auc = (
        metrics.roc_auc_score(y, chances[:, 1])
        if classes == 2
        else metrics.roc_auc_score(y, chances, multi_class="ovr", average="macro")
    )
    answers = logits.argmax(1)
    assert found == pytest.approx(
        {
            "accuracy": metrics.accuracy_score(y, answers),
            "balanced accuracy": metrics.balanced_accuracy_score(y, answers),
            "AUC": auc,
        }
    )


def test_a_class_without_test_images_counts_in_no_measure():
    logits = np.eye(3)[[0, 0, 1, 1]]
    found = {name: score(np.ones((1, 4)))[0] for name, score in study.measures(np.array([0, 0, 1, 1]), logits).items()}
    assert found == {"accuracy": 1, "balanced accuracy": 1, "AUC": 1}


def test_the_validation_images_are_the_holdout(data_dir, tmp_path):
    task = study.task(Place(tmp_path, data_dir), TINY, "toymnist")
    assert [len(split.y) for split in (task.data.train, task.data.holdout, task.data.test)] == [90, 30, 32]
    assert task.counts == (60, 120) and task.labels.tolist() == [0] * 60 + [1] * 120
    assert task.scores.steps == TINY.classifier_steps and task.scores.samples == 180
    few = study.task(Place(tmp_path, data_dir), dataclasses.replace(TINY, samples=30), "toymnist")
    assert few.counts == (10, 20)


def test_the_file_may_be_in_the_folder_itself(data_dir, tmp_path):
    task = study.task(Place(tmp_path, data_dir / "medmnist"), TINY, "toymnist")
    assert len(task.data.train.y) == 90


def test_equal_classes_repeat_real_images(data_dir, tmp_path):
    task = study.task(Place(tmp_path, data_dir), dataclasses.replace(TINY, equal_classes=True), "toymnist")
    assert task.counts == (90, 90)
    y, index = task.data.train.y, task.data.train.index
    assert np.bincount(y).tolist() == [60, 60]
    assert np.unique(index[y == 0], return_counts=True)[1].tolist() == [2] * 30
    assert len(np.unique(index[y == 1])) == 60


@pytest.fixture
def found(data_dir, tmp_path, stand_ins):
    """(place, tables) of a run with two trainings of the chosen model."""
    place = Place(tmp_path, data_dir)
    return place, study.tables(place, dataclasses.replace(TINY, repeats=2))


def test_each_set_has_two_tables_and_all_have_a_goal(found):
    place, (useful, others, goal) = found
    for table in (useful, others, goal):
        assert all(len(row) == len(table.columns) for row in table.rows)
    assert [row[0] for row in useful.rows] == [row[0] for row in others.rows] == [study.REAL, study.FLOOR, "vae", "rbm"]
    real, floor, vae, rbm = (dict(zip(useful.columns, row, strict=True)) for row in useful.rows)
    # Of the second network's answers one of 8 images of class 0 is wrong: recalls of 7/8 and 1.
    assert real["balanced accuracy"].startswith("0.969 [") and real["over real"] == "1"
    assert real["accuracy"].startswith(f"{1 - 1 / 64:.3f} [")
    assert vae["over real"].startswith("1.000 [") and floor["over real"].startswith("1.000 [")
    # One of two networks and one image of class 0, of 10 on the holdout and of 8 on test, is right.
    assert rbm["balanced accuracy"].startswith("0.031 [") and rbm["holdout"].startswith("0.025 ± ")
    assert others.rows[2][1:8] == ("0.500", "0.250", "0.125", "0.500", "0.625", "–", "3")
    assert goal.rows[0][:4] == ("toymnist", "vae", "3", "0.969 ± 0.000 (n=2)")
    assert goal.rows[0][5].startswith("1.000 [") and "Mean over the sets: 1.000; to be reached: 0.97" in goal.notes[0]
    assert place.trained == ["toymnist-vae-1-0", "toymnist-rbm-1-0", "toymnist-vae-1-1"]
    pictures = {"toymnist.png", *(f"grid_toymnist_{name}.png" for name in ("real", "vae", "rbm"))}
    assert {path.name for path in place.folder.glob("*.png")} == pictures


def test_what_was_measured_is_kept(found, data_dir, monkeypatch):
    place, before = found
    monkeypatch.setattr(study, "judged", lambda *_: pytest.fail("measured again"))
    monkeypatch.setattr(study, "again", lambda *_: pytest.fail("trained again"))
    again = study.tables(Place(place.folder, data_dir), dataclasses.replace(TINY, repeats=2))
    assert json.dumps(again) == json.dumps(before)


def test_the_holdout_alone_chooses_the_model():
    worse = {"holdout": [0.5, 0.7], "tstr": [0.9]}
    better = {"holdout": [0.6, 0.7], "tstr": [0.1]}
    best = {"holdout": [1.0]}
    assert study.chosen({study.REAL: best, study.FLOOR: best, "vae": worse, "rbm": better}) == "rbm"


def test_the_holdout_chooses_the_length_of_training(data_dir, tmp_path, stand_ins, monkeypatch):
    held = iter([[0.5], [0.8], [0.7]])
    monkeypatch.setattr(study, "on_holdout", lambda *_: next(held))
    place = Place(tmp_path, data_dir)
    config = dataclasses.replace(TINY, steps=100, lengths=(0.25, 0.5, 1.0))
    made = study.judged(study.task(place, config, "toymnist"), "vae")
    assert (made["length"], made["steps"], made["holdout"]) == (0.5, 50, [0.8])
    assert place.trained == [f"toymnist-vae-{length}-0" for length in ("0.25", "0.5", "1")]


@pytest.mark.parametrize(
    ("field", "value", "line"),
    [
        ("sets", "", "sets: name at least one"),
        ("lengths", "0.5,2", "lengths=(0.5, 2.0): must be shares"),
        ("times", "0", "times=0.0: must be above 0"),
        ("repeats", "0", "repeats=0: must be at least 1"),
    ],
)
def test_settings_that_no_data_makes_right(field, value, line):
    with pytest.raises(InputError) as raised:
        reproduce.settings("medmnist", False, [(field, value)])
    assert line in str(raised.value)


def test_data_that_does_not_fit_is_told(data_dir, tmp_path):
    place = Place(tmp_path, data_dir)
    with pytest.raises(InputError, match=r"medmnist/pathmnist.npz: no such file or folder; .*--data_dir=FOLDER"):
        study.task(place, TINY, "pathmnist")
    with pytest.raises(InputError, match="sets=breast_cancer: must be a set of images"):
        study.task(place, TINY, "breast_cancer")
    with pytest.raises(InputError, match="--model=ddmp: unknown"):
        study.task(place, dataclasses.replace(TINY, models=("ddmp",)), "toymnist")
    with pytest.raises(InputError, match="models=smote,table_vae: none makes images such as those of toymnist"):
        study.task(place, dataclasses.replace(TINY, models=("smote", "table_vae")), "toymnist")
    np.savez(data_dir / "medmnist" / "nolabels.npz", images=images(np.random.default_rng(0), (10, 10))[0])
    with pytest.raises(InputError, match="sets=nolabels: must be a set of images with labels"):
        study.task(place, TINY, "nolabels")
