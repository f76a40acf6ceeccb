"""Every model of images on small medical sets, under one protocol.

MedMNIST (Yang et al., MedMNIST v2, Scientific Data 2023) is a suite of sets of 28x28 images, each in one file with its
own training, validation and test split. Here each model is trained on the training images, classifiers on its synthetic
images alone, and they are tested on the test images. Accuracy and AUC (of each class against the rest, the mean) are
the suite's own measures; balanced accuracy is the mean recall of the classes.

The validation images are the holdout: it chooses the length of each model's training and, for the last table, the
model. The test images choose nothing. Classifiers do the same number of steps on every training set, so that a small
real one is learnt from for as long as a large synthetic one. Intervals (95 %) are of the paired bootstrap over test
images and classifiers, in the last table over generators.

SET.png shows usefulness against leakage and time, grid_SET_MODEL.png ten images of each class.
"""

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.special import softmax

from synthjax import files
from synthjax.data import Dataset, Split
from synthjax.data.image_sources import NAMES
from synthjax.data.requests import proportional_counts
from synthjax.errors import InputError
from synthjax.evals import bootstrap
from synthjax.evals.classifiers import Classifiers, predict
from synthjax.evals.domains.images import PASSES, Images
from synthjax.evals.draw import png
from synthjax.evals.streams import stream
from synthjax.launch.config import Experiment
from synthjax.launch.markdown import Table
from synthjax.launch.subjects import Synthetic

from . import models
from .image_scores import ImageScores
from .models import REAL
from .workspace import Generator, Workspace, cell

FLOOR = "mean image and noise"
"""What any generator must beat: the mean image of each class, with noise of its own spread in each pixel."""
GOAL = 0.97
"""Balanced accuracy over that of real images that is to be reached, as a mean over the sets."""
OPEN = ("models", "sets", "repeats")
MEASURES = ("accuracy", "balanced accuracy", "AUC")


@dataclass(frozen=True)
class Config(models.Effort):
    """On what, for how long, and how closely it is looked at."""

    sets: tuple[str, ...] = ("breastmnist", "retinamnist")
    """Of files medmnist/NAME.npz, or NAME.npz, in the data's folder; names of other data sets are known too."""
    minutes: float = 5.0
    networks: int = 5
    lengths: tuple[float, ...] = (0.5, 1.0)
    """Lengths of training, of which the holdout chooses; 1 is what fits into the minutes."""
    times: float = 10.0
    """Synthetic images for each real training image."""
    samples: int = 20_000
    """Synthetic images of each model at most."""
    equal_classes: bool = False
    """Whether all classes are equally frequent in what classifiers learn from, real images by repetition; otherwise
    they are as frequent as in the training set."""
    classifier_steps: int = 300
    """Of each classifier, whatever it learns from, at least; more where they are fewer than `PASSES` passes."""
    repeats: int = 5
    """Trainings, with as many seeds, of the model that the holdout chooses."""

    def __post_init__(self) -> None:
        """Refuses what no data could make right."""
        if not self.sets:
            raise InputError("sets: name at least one set")
        if not self.lengths or not all(0 < length <= 1 for length in self.lengths):
            raise InputError(f"lengths={self.lengths}: must be shares above 0 and at most 1")
        if self.times <= 0:
            raise InputError(f"times={self.times}: must be above 0")
        if self.repeats < 1:
            raise InputError(f"repeats={self.repeats}: must be at least 1")


class Task(NamedTuple):
    """One set, and what its models are judged by."""

    workspace: Workspace
    config: Config
    name: str
    data: Dataset
    counts: tuple[int, ...]
    """Synthetic images of each class."""
    scores: ImageScores
    models: list[str]
    """Names of its models."""

    @property
    def path(self) -> str:
        """The set as `synthjax.data.load` takes it."""
        return dataset(self.name)

    @property
    def labels(self) -> np.ndarray:
        """(N,) i32: of the synthetic images."""
        return np.repeat(np.arange(len(self.counts), dtype=np.int32), self.counts)


def dataset(name: str) -> str:
    """The data set of a name in `Config.sets`."""
    return name if name in NAMES else f"medmnist/{name}.npz"


def task(workspace: Workspace, config: Config, name: str) -> Task:
    """Opens a set.

    Raises:
      InputError: it is not there, is broken, or holds no labelled images; a model is unknown, or none makes these.
    """
    data = workspace.data(Experiment("", None, dataset(name)))
    spec = data.spec
    if spec.kind != "image" or spec.n_classes < 2:
        raise InputError(f"sets={name}: must be a set of images with labels of two classes or more")
    names = models.fitting(spec, config.models)
    if not names:
        raise InputError(f"models={','.join(config.models)}: none makes images such as those of {name}")
    n = max(min(round(config.times * len(data.train.y)), config.samples), spec.n_classes)
    counts = proportional_counts(n, spec.frequencies)
    if config.equal_classes:
        counts = (n // spec.n_classes,) * spec.n_classes
        data = data._replace(train=data.train.take(repeated(data.train.y, config.seed)))
    size = max(sum(counts), len(data.train.y))
    how: dict[str, Any] = {"limit": config.limit, "steps": config.classifier_steps}
    scores = ImageScores(data, size, config.networks, 0, config.seed, **how)
    return Task(workspace, config, name, data, counts, scores, names)


def repeated(y: np.ndarray, seed: int) -> np.ndarray:
    """Indices of rows that hold each class of y (N,) as often as the largest, each row of a class about as often."""
    rng = stream(seed, "medmnist.repeated")
    largest = np.bincount(y).max()
    return np.concatenate([np.resize(rng.permutation(np.flatnonzero(y == label)), largest) for label in np.unique(y)])


# --- scores -------------------------------------------------------------------------------------------------------


def measures(y: np.ndarray, logits: np.ndarray) -> dict[str, bootstrap.Score]:
    """The scores of `MEASURES` of logits (N, K) for labels y (N,), as functions of weights on the examples."""
    answers, chances = logits.argmax(-1), softmax(logits.astype(np.float64), axis=-1)
    # Of two classes, either against the other is the same.
    ranked = [1] if logits.shape[-1] == 2 else [label for label in np.unique(y).tolist() if not (y == label).all()]
    areas = [bootstrap.area(y == label, chances[:, label]) for label in ranked]
    return {
        "accuracy": bootstrap.share(answers == y),
        "balanced accuracy": bootstrap.balanced(y, answers),
        "AUC": bootstrap.mean(areas),
    }


def balanced(y: np.ndarray, answers: np.ndarray) -> list[float]:
    """Balanced accuracy of each row of answers (networks, N)."""
    return [float(bootstrap.balanced(y, one)(np.ones((1, len(y))))[0]) for one in answers]


def on_test(task: Task, nets: Classifiers) -> dict[str, Any]:
    """Scores on the test images, with intervals, and the classifiers' answers."""
    test = task.data.test
    ours, real = ([measures(test.y, one) for one in predict(of, test.x)] for of in (nets, task.scores.trained_on_real))
    found: dict[str, Any] = {}
    for i, name in enumerate(MEASURES):
        rng = stream(task.config.seed, "medmnist.test", i)
        found[name] = bootstrap.ratio(rng, [of[name] for of in ours], [of[name] for of in real], len(test.y))
    answers = predict(nets, test.x).argmax(-1)
    return {**found, "tstr": balanced(test.y, answers), "answers": answers.tolist()}


def on_holdout(task: Task, nets: Classifiers) -> list[float]:
    """Balanced accuracy of each classifier on the validation images."""
    held = task.data.holdout
    return balanced(held.y, predict(nets, held.x).argmax(-1))


def without_model(task: Task, images: Split, nets: Classifiers) -> dict[str, Any]:
    """The figures of images that no model made, and of classifiers trained on them."""
    return {"holdout": on_holdout(task, nets), **on_test(task, nets), **task.scores.likeness(images)}


def floor(task: Task) -> dict[str, Any]:
    """The figures of `FLOOR`."""
    like = Split(np.empty((0,)), task.labels, np.arange(len(task.labels), dtype=np.int32))
    made = Images(task.data.spec).floor(stream(task.config.seed, "medmnist.floor"), task.data.train, like)
    return without_model(task, like._replace(x=made.x), task.scores.train(*made))


# --- models -------------------------------------------------------------------------------------------------------


def trained(task: Task, name: str, length: float, seed: int) -> Generator:
    """A model, trained for a share of the steps that it can afford."""
    chosen = models.affordable(task.workspace, task.config, name, task.path)
    steps = max(round(length * chosen.model.steps), 1)
    config = dataclasses.replace(task.config, seed=seed)
    return task.workspace.train(f"{task.name}-{name}-{length:g}-{seed}", models.of(config, name, task.path, steps))


def learnt(task: Task, made: Generator) -> tuple[np.ndarray, np.ndarray, Classifiers]:
    """Its images, their labels, and classifiers trained on them."""
    x, y = task.workspace.draw(made, task.counts, seed=made.experiment.seed)
    return x, y, task.scores.train(x, y)


def judged(task: Task, name: str) -> dict[str, Any]:
    """All figures of a model, trained for the length that the holdout chooses."""
    seed, best = task.config.seed, None
    for length in task.config.lengths:
        made = trained(task, name, length, seed)
        x, y, nets = learnt(task, made)
        held = on_holdout(task, nets)
        if best is None or np.mean(held) > np.mean(best[1]):
            best = length, held, made, x, y, nets
    assert best is not None
    length, held, made, x, y, nets = best
    draw(task, name, x, y)
    return {
        **{"length": length, "holdout": held, **on_test(task, nets)},
        **task.scores.likeness(Split(x, y, np.arange(len(y), dtype=np.int32))),
        **models.leakage(models.privacy_of_images(task.workspace, task.config, made, Synthetic(x, y))),
        **models.described(made, task.config),
    }


def draw(task: Task, name: str, x: np.ndarray, y: np.ndarray) -> None:
    """grid_SET_NAME.png: ten images of each class, a class a row or more."""
    rows = np.concatenate([np.flatnonzero(y == label)[:10] for label in np.unique(y)])
    picture = png.grid(x[rows], columns=10, levels=task.data.spec.levels)
    files.write(task.workspace.folder / f"grid_{task.name}_{name}.png", picture)


def again(task: Task, name: str, length: float, seed: int) -> dict[str, Any]:
    """What classifiers answer that learnt from a model trained with another seed."""
    _, _, nets = learnt(task, trained(task, name, length, seed))
    return {"answers": predict(nets, task.data.test.x).argmax(-1).tolist()}


# --- tables -------------------------------------------------------------------------------------------------------


def every_model(task: Task) -> dict[str, dict[str, Any]]:
    """Name -> figures: of real data, of the floor and of each model."""
    work, scores = task.workspace, task.scores
    draw(task, "real", task.data.train.x, task.data.train.y)
    real = work.result(f"{task.name}, {REAL}", lambda: without_model(task, scores.real, scores.trained_on_real))
    found = {REAL: real, FLOOR: work.result(f"{task.name}, {FLOOR}", functools.partial(floor, task))}
    for name in task.models:
        found[name] = work.result(f"{task.name}, {name}", functools.partial(judged, task, name))
    return found


def chosen(found: dict[str, dict[str, Any]]) -> str:
    """The model that is best on the holdout."""
    names = [name for name in found if name not in (REAL, FLOOR)]
    return max(names, key=lambda name: np.mean(found[name]["holdout"]))


def with_interval(value: float, interval: list[float]) -> str:
    """A cell."""
    return f"{value:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"


def tables_of(task: Task, found: dict[str, dict[str, Any]]) -> list[Table]:
    """Usefulness of each model of a set; its likeness, privacy and cost."""
    useful, others = [], []
    for name, of in found.items():
        shown = [with_interval(of[measure]["ours"], of[measure]["ours_ci"]) for measure in MEASURES]
        over = of["balanced accuracy"]
        ratio = "1" if name == REAL else with_interval(over["ratio"], over["ci"])
        useful.append((name, cell(of["holdout"]), *shown, ratio))
        like = (f"{of[key]:.3f}" for key in ("precision", "recall", "diversity"))
        others.append((name, *like, *models.leaks(of), *models.costs(of)))
    data, config = task.data, task.config
    sizes = f"{len(data.train.y):,} real images, {sum(task.counts):,} synthetic ones of each model"
    classes = "each class equally often" if config.equal_classes else "classes as frequent as in the training set"
    notes = (
        f"Classifiers learn from {sizes}, {classes}; {config.networks} networks, about "
        f"{config.classifier_steps} steps each, or {PASSES} passes.",
        f"Holdout: balanced accuracy on {len(data.holdout.y):,} validation images, over networks.",
        f"The rest: {len(data.test.y):,} test images, 95 % intervals. Over real: balanced accuracy over that of real "
        f"images. One training a model, seed {config.seed}.",
    )
    head = ("model", "holdout", *MEASURES, "over real")
    beside = ("model", "precision", "recall", "diversity", *models.PRIVACY, *models.COSTS)
    title = f"Every model on {task.name}"
    return [
        Table(f"medmnist, {task.name}", f"{title}: what classifiers learn", head, useful, notes),
        Table(f"medmnist, {task.name}", f"{title}: likeness, privacy, cost", beside, others, (LIKENESS, *models.NOTES)),
    ]


LIKENESS = "Precision, recall, diversity (of real: 1) in the features of a network trained on real images."


def goal_of(task: Task, found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The model that the holdout chose, trained with several seeds, beside real images."""
    name = chosen(found)
    config, y = task.config, task.data.test.y
    answers = [found[name]["answers"]]
    for seed in range(config.seed + 1, config.seed + config.repeats):
        work = functools.partial(again, task, name, found[name]["length"], seed)
        answers.append(task.workspace.result(f"{task.name}, {name}, seed {seed}", work)["answers"])
    sides = [[bootstrap.balanced(y, np.array(one)) for one in nets] for nets in [*answers, found[REAL]["answers"]]]
    ours, real = [bootstrap.mean(side) for side in sides[:-1]], sides[-1]
    told = bootstrap.ratio(stream(config.seed, "medmnist.goal"), ours, real, len(y))
    means = [float(np.mean(balanced(y, np.array(one)))) for one in answers]
    return {**told, "model": name, "steps": found[name]["steps"], "means": means, "n": len(y)}


def goal(found: dict[str, dict[str, Any]]) -> Table:
    """The table of the models that were chosen, name of a set -> what `goal_of` says."""
    rows = [
        (name, of["model"], f"{of['steps']:,}", cell(of["means"]), with_interval(of["real"], of["real_ci"]),
         with_interval(of["ratio"], of["ci"]), f"{of['n']:,}") for name, of in found.items()
    ]  # fmt: skip
    mean = float(np.mean([of["ratio"] for of in found.values()]))
    notes = (
        f"The model of each set that was best on the holdout; n trainings of it, each the mean of its networks. "
        f"Mean over the sets: {mean:.3f}; to be reached: {GOAL}.",
        "95 % intervals, over test images, generators and networks.",
    )
    columns = ("set", "model", "steps", "balanced accuracy", "of real images", "over real", "test images")
    return Table("medmnist, goal", "Synthetic images alone, over real ones", columns, rows, notes)


def tables(workspace: Workspace, config: Config) -> list[Table]:
    """Two tables a set, and one of the models that the holdout chose."""
    made, aims = [], {}
    for one in [task(workspace, config, name) for name in config.sets]:
        found = every_model(one)
        pictured = {name: of for name, of in found.items() if name != FLOOR}
        models.draw(workspace, one.name, pictured, f"Every model of images, on {one.name}")
        made += tables_of(one, found)
        aims[one.name] = goal_of(one, found)
    return [*made, goal(aims)]


TABLES: dict[str, Callable[[Workspace, Config], list[Table]]] = {"medmnist": tables}
