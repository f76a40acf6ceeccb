"""All models side by side: one table over every model of images, one over every model of tables.

No study of others: the models that `--model` knows, on one data set of each kind, under one protocol. Each is trained
for the steps of its experiment, or for as many as fit into its share of time, so that its schedules end with its
training; nothing is tuned here. Beside each model's usefulness, likeness and leakage stand the training and sampling
time and the size; above them, what real data would score (its ceiling).

images.png and tables.png show usefulness against leakage and against training time.

A figure of one model is one training run: the spread over its seeds is not in these tables.
"""

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from synthjax.data import Split
from synthjax.errors import InputError
from synthjax.evals import classifiers
from synthjax.evals.domains.tables import useful as usefulness
from synthjax.evals.fidelity import tables as fidelity
from synthjax.evals.table import from_frames
from synthjax.launch import config as config_lib
from synthjax.launch import evaluate, levels, runs, subjects, synthesize
from synthjax.launch.config import Experiment, experiment
from synthjax.launch.markdown import Table
from synthjax.launch.subjects import Asked, Subject, Synthetic
from synthjax.model import DataSpec
from synthjax.train import metrics

from . import figures
from .image_scores import ImageScores
from .workspace import Generator, Workspace, cell, slug

REAL = "real data"
OPEN = ("models",)
"""Fields that say which pieces there are, not what one holds: a folder goes on under other ones."""


@dataclass(frozen=True)
class Effort:
    """Which models, for how long, and how closely they are looked at."""

    models: tuple[str, ...] = ()
    """Names of models; empty: all that make such data."""
    minutes: float = 10.0
    """Training time of each model, by the speed of its first steps; 0: all steps of its experiment."""
    speed_steps: int = 50
    """Steps between two lines of metrics, of which the third tells how fast a model trains."""
    steps: int = 0
    """Steps of each model at most; 0: no limit."""
    networks: int = 3
    """Classifiers, of images or rows, per training set."""
    limit: int = 5_000
    """Examples that the two-sample test and the attacks look at, at most."""
    timed: int = 1000
    """Examples that sampling is timed with."""
    seed: int = 0

    @property
    def fitted(self) -> int:
        """A model of no more steps than that is fitted to its end, whatever the time."""
        return 3 * self.speed_steps


@dataclass(frozen=True)
class Config(Effort):
    """On what, and how much is drawn."""

    images: str = "mnist"
    """Data set of the first table."""
    tables: str = "adult"
    """Data set of the second."""
    samples: int = 10_000
    """Synthetic images of each model."""
    rows: int = 0
    """Synthetic rows of each model; 0: as many as it was trained on."""
    classifier_epochs: int = classifiers.EPOCHS


def fitting(spec: DataSpec, names: tuple[str, ...]) -> list[str]:
    """Of these models, or of all, those that make such data, by name.

    Raises:
      InputError: there is no model of such a name.
    """
    found = []
    for name in names or sorted(config_lib.presets()):
        chosen = config_lib.family(name).PRESETS[name]
        try:
            runs.build(Experiment(name, chosen), spec)
        except InputError:
            continue
        found.append(name)
    return found


def of(config: Effort, name: str, dataset: str, steps: int = 0) -> Experiment:
    """The experiment of a model, for at most so many steps."""
    chosen = experiment(None, name, dataset)
    most = min(n for n in (chosen.model.steps, config.steps, steps) if n)
    model = dataclasses.replace(chosen.model, steps=most)
    log, every = config.speed_steps, max(most // 4, config.speed_steps)
    return dataclasses.replace(
        chosen, model=model, seed=config.seed, log_every=log, checkpoint_every=every, sample_every=0, keep=1
    )


def steps_within(workspace: Workspace, config: Effort, name: str, dataset: str) -> int:
    """Steps that a model does in its time, by the speed of a few."""
    made = workspace.train(f"{slug(dataset)}-{name}-speed", of(config, name, dataset, config.fitted))
    rates = [row["steps_per_second"] for row in metrics.read(made.workdir, "steps_per_second")]
    return max(int(60 * config.minutes * rates[-1]), 1)


def affordable(workspace: Workspace, config: Effort, name: str, dataset: str) -> Experiment:
    """The experiment of a model, for as many steps as fit into its time."""
    chosen = of(config, name, dataset)
    if not config.minutes or chosen.model.steps <= config.fitted:
        return chosen
    work = functools.partial(steps_within, workspace, config, name, dataset)
    return of(config, name, dataset, workspace.result(f"steps, {dataset}, {name}", work))


def generator(workspace: Workspace, config: Effort, name: str, dataset: str) -> Generator:
    """The trained model."""
    return workspace.train(f"{slug(dataset)}-{name}", affordable(workspace, config, name, dataset))


def described(made: Generator, config: Effort) -> dict[str, Any]:
    """What a model costs."""
    return {
        "steps": made.experiment.model.steps,
        "minutes": made.minutes(),
        "seconds": made.seconds_per_1000(config.timed),
        "parameters": made.parameters(),
    }


def costs(found: dict[str, Any]) -> tuple[str, ...]:
    """The last cells of a row."""
    if "steps" not in found:
        return ("–",) * len(COSTS)
    size = f"{found['parameters']:,}"
    return f"{found['steps']:,}", f"{found['minutes']:.2f}", f"{found['seconds']:.3g}", size


COSTS = ("steps", "minutes", "s per 1,000", "numbers")
PRIVACY = ("nearer to train", "attack on the file", "on the model")


def leakage(found: dict[str, Any]) -> dict[str, Any]:
    """What is shown of the privacy part of a report."""
    return {
        "nearer": found["dcr"]["share_nearer_train"],
        "file": found["mia"]["auc"],
        "model": found["mia"]["model_auc"],
    }


def leaks(found: dict[str, Any]) -> tuple[str, ...]:
    """Its cells."""
    return tuple("–" if found.get(name) is None else f"{found[name]:.3f}" for name in ("nearer", "file", "model"))


def draw(workspace: Workspace, kind: str, found: dict[str, dict[str, Any]], title: str) -> None:
    """KIND.png: usefulness of each model, ± standard deviation over classifiers, against leakage and training time."""
    models = {name: of for name, of in found.items() if name != REAL}
    minutes = "minutes of training"
    panels = {
        "AUC of the best membership attack on the file (ideal .5)": {name: of["file"] for name, of in models.items()},
        minutes: {name: max(of["minutes"], 1e-3) for name, of in models.items()},
    }
    heights = {name: (np.array([np.mean(of["tstr"])]), np.array([np.std(of["tstr"])])) for name, of in models.items()}
    figures.trade_offs(
        workspace.folder / f"{kind}.png",
        {x_name: {name: (np.array([x]), *heights[name]) for name, x in of.items()} for x_name, of in panels.items()},
        y_name="TSTR",
        title=title,
        references={REAL: float(np.mean(found[REAL]["tstr"]))},
        log=(minutes,),
    )


# --- images -------------------------------------------------------------------------------------------------------


def scores_of_images(workspace: Workspace, config: Config, scores: ImageScores, made: Generator) -> dict[str, Any]:
    """All figures of a model of images."""
    spec = made.spec
    x, y = workspace.draw(made, (max(config.samples // spec.n_classes, 1),) * spec.n_classes, seed=config.seed)
    return {
        "tstr": scores.accuracy(scores.train(x, y)),
        **scores.likeness(Split(x, y, np.arange(len(y), dtype=np.int32))),
        **leakage(privacy_of_images(workspace, config, made, Synthetic(x, y))),
        **described(made, config),
    }


def privacy_of_images(workspace: Workspace, config: Effort, made: Generator, synthetic: Synthetic) -> dict[str, Any]:
    """The privacy part of a report on those images of a model."""
    run, real = subjects.open_run(made.workdir, 0, workspace.data_dir)
    subject = subjects.of_images(real, synthetic, workspace.folder / "sets" / f"{made.name}.npz", run)
    return attacked(workspace, config, subject)


def attacked(workspace: Workspace, config: Effort, subject: Subject) -> dict[str, Any]:
    """The privacy part of a report."""
    effort = (levels.TABLES if subject.table else levels.IMAGES)["look"]
    return evaluate.attack(evaluate.Evaluation.of(subject, workspace.folder, effort, config.seed), limit=config.limit)


def images(workspace: Workspace, config: Config) -> list[Table]:
    """The table over the models of images."""
    data = workspace.data(Experiment("", None, config.images))
    if data.spec.kind != "image" or not data.spec.n_classes:
        raise InputError(f"images={config.images}: must be a set of labelled images")
    scores = ImageScores(
        data, config.samples, config.networks, config.classifier_epochs, config.seed, limit=config.limit
    )

    def ceiling() -> dict[str, Any]:
        return {"tstr": scores.accuracy(scores.trained_on_real), **scores.likeness(scores.real)}

    found = {REAL: workspace.result(f"{data.name}, {REAL}", ceiling)}
    for name in fitting(data.spec, config.models):
        made = generator(workspace, config, name, config.images)
        work = functools.partial(scores_of_images, workspace, config, scores, made)
        found[name] = workspace.result(f"{data.name}, {name}", work)
    title = f"Every model of images, on {data.name}"
    draw(workspace, "images", found, title)
    rows = [
        (name, cell(of["tstr"]), *(f"{of[key]:.3f}" for key in ("precision", "recall", "diversity")), *leaks(of),
         *costs(of)) for name, of in found.items()
    ]  # fmt: skip
    notes = (
        f"{config.samples:,} synthetic images of each model. TSTR: the standard CNN on real test images.",
        "Precision, recall, diversity (of real: 1) in the features of one trained on real images.",
        *NOTES,
    )
    columns = ("model", "TSTR", "precision", "recall", "diversity", *PRIVACY, *COSTS)
    return [Table("images", title, columns, rows, notes)]


# --- tables -------------------------------------------------------------------------------------------------------

NOTES = (
    "Nearer to train: share of synthetic examples nearer to the training set than to an equal holdout (ideal .5).",
    "Attacks: AUC of the best membership attack on the file, and of the one on the model's own score (ideal .5).",
    "Minutes: of training, compilation included. One training run a model.",
)


def drawn(workspace: Workspace, config: Config, made: Generator) -> Path:
    """A model's table as a file."""
    file = workspace.folder / "sets" / f"{made.name}.csv"
    synthesize.draw(made.workdir, file, config.rows or len(workspace.data(made.experiment).train.y), config.seed)
    return file


def scores_of_tables(workspace: Workspace, config: Config, made: Generator) -> dict[str, Any]:
    """All figures of a model of tables."""
    file = str(drawn(workspace, config, made))
    asked = Asked(workdir=str(made.workdir), synthetic=file, data_dir=workspace.data_dir)
    subject = subjects.find(asked, table=True, seed=config.seed)
    return {
        **row_scores(config, subject.rows["synthetic"], subject.rows["train"], subject.rows["test"]),
        **leakage(attacked(workspace, config, subject)),
        **described(made, config),
    }


def row_scores(config: Config, synthetic: Any, train: Any, test: Any) -> dict[str, Any]:
    """Usefulness and likeness of rows: `evals.table.Table`, all three."""
    seeds = range(config.seed, config.seed + config.networks)
    useful = [usefulness(synthetic.with_target(), test.with_target(), seed) for seed in seeds]
    return {
        "tstr": useful,
        "c2st": fidelity.c2st(train, synthetic, seed=config.seed, limit=config.limit)["score"],
        "shapes": fidelity.shapes(train, synthetic)["score"],
        "trends": fidelity.trends(train, synthetic)["score"],
    }


def tables(workspace: Workspace, config: Config) -> list[Table]:
    """The table over the models of tables."""
    data = workspace.data(Experiment("", None, config.tables))
    if data.table is None or data.table.schema.target is None:
        raise InputError(f"tables={config.tables}: must be a table with a target")
    schema = data.table.schema
    kinds = schema.comparable_kinds()

    def ceiling() -> dict[str, Any]:
        parts = from_frames({split: data.frame(split) for split in ("train", "test")}, kinds, schema.target)
        found = row_scores(config, parts["train"], parts["train"], parts["test"])
        like = row_scores(dataclasses.replace(config, networks=0), parts["test"], parts["train"], parts["test"])
        return {**like, "tstr": found["tstr"]}

    found = {REAL: workspace.result(f"{data.name}, {REAL}", ceiling)}
    for name in fitting(data.spec, config.models):
        made = generator(workspace, config, name, config.tables)
        work = functools.partial(scores_of_tables, workspace, config, made)
        found[name] = workspace.result(f"{data.name}, {name}", work)
    title = f"Every model of tables, on {data.name}"
    draw(workspace, "tables", found, title)
    rows = [
        (name, cell(of["tstr"]), *(f"{of[key]:.3f}" for key in ("c2st", "shapes", "trends")), *leaks(of), *costs(of))
        for name, of in found.items()
    ]
    what = "R2" if data.spec.n_classes == 0 else "ROC AUC"
    notes = (
        f"TSTR: {what} of gradient boosting on real test rows, over its seeds, trained on synthetic ones.",
        f"C2ST: gradient boosting, at most {config.limit:,} rows of each (1: cannot be told apart); shapes and trends: "
        "of single columns and of pairs. Real data: the training rows are judged for TSTR, the test rows for the rest.",
        *NOTES,
    )
    columns = ("model", "TSTR", "C2ST", "shapes", "trends", *PRIVACY, *COSTS)
    return [Table("tables", title, columns, rows, notes)]


TABLES: dict[str, Callable[[Workspace, Config], list[Table]]] = {"images": images, "tables": tables}
