"""S3: VAE, GAN and DDPM side by side.

Nayal, "A Study on Synthetic Data Generation" (2023). The study trains the three on MNIST for 100 epochs and shows loss
curves and grids; it has no scores. Here all three have the same number of epochs, and again the same time: the longest
that one of them took. The study's claims, put to the test: the VAE is the fastest, its samples are the most varied and
blurry; the DDPM is slow to sample.
"""

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from synthjax import files
from synthjax.data import Split
from synthjax.evals import classifiers
from synthjax.evals.draw import png
from synthjax.launch.config import Experiment, experiment
from synthjax.launch.markdown import Table
from synthjax.train import metrics

from . import figures
from .image_scores import ImageScores
from .workspace import Generator, Workspace, cell

LOSSES = {"vae": ("loss",), "dcgan": ("generator_loss", "critic_loss"), "ddpm": ("loss",)}
"""What the study's figures show of each."""
BATCH = 64
SPEED_STEPS = 50
"""Steps between two lines of metrics, the last of which tell how fast a model trains."""


@dataclass(frozen=True)
class Config:
    """What the study leaves open, and how much of it is run."""

    dataset: str = "mnist"
    models: tuple[str, ...] = ("vae", "dcgan", "ddpm")
    epochs: int = 5
    """Of each, where `minutes` is 0; the study's 100 take days on two cores."""
    minutes: float = 0.0
    """Time for all training: as many epochs of each as fit, at least one."""
    equal_time: bool = True
    """Whether the faster ones are trained once more, for as long as the slowest took."""
    samples: int = 10_000
    """Synthetic examples that are judged."""
    networks: int = 3
    """Classifiers per training set."""
    classifier_epochs: int = classifiers.EPOCHS
    timed: int = 1000
    """Examples that sampling is timed with."""
    seed: int = 0


def of(workspace: Workspace, config: Config, name: str, steps: int) -> Experiment:
    """The experiment of a model, for so many steps, in batches of 64."""
    chosen = experiment(None, name, config.dataset)
    model = dataclasses.replace(chosen.model, batch_size=BATCH, steps=steps)
    return dataclasses.replace(chosen, model=model, seed=config.seed)


def epochs_within(workspace: Workspace, config: Config) -> int:
    """Epochs of each model that fit into the minutes of the Config, by the speed of a few steps of each."""
    seconds = []
    for name in config.models:
        made = workspace.train(f"{name}-speed", of(workspace, config, name, 3 * SPEED_STEPS))
        rates = [row["steps_per_second"] for row in metrics.read(made.workdir, "steps_per_second")]
        seconds.append(SPEED_STEPS / rates[-1])
    once = len(seconds) * max(seconds) if config.equal_time else sum(seconds)
    steps = len(workspace.data(made.experiment).train.y) / BATCH
    return max(int(60 * config.minutes / (once / SPEED_STEPS * steps)), 1)


def generators(workspace: Workspace, config: Config) -> dict[str, dict[str, Generator]]:
    """ "same epochs", "same time" -> model -> generator."""
    epochs = workspace.result("epochs", lambda: epochs_within(workspace, config)) if config.minutes else config.epochs
    rows = len(workspace.data(experiment(None, config.models[0], config.dataset)).train.y)
    steps = max(epochs * rows // BATCH, 1)
    same = {name: workspace.train(name, of(workspace, config, name, steps)) for name in config.models}
    if not config.equal_time:
        return {"same epochs": same}
    times = workspace.result("steps of the same time", lambda: _steps(same))
    longer = {
        name: workspace.train(f"{name}-same-time", of(workspace, config, name, times[name]))
        if times[name] > made.experiment.model.steps
        else made
        for name, made in same.items()
    }
    return {"same epochs": same, "same time": longer}


def _steps(same: dict[str, Generator]) -> dict[str, int]:
    """Steps that each does in the time that the slowest took for its own."""
    minutes = {name: made.minutes() for name, made in same.items()}
    return {
        name: int(made.experiment.model.steps * max(minutes.values()) / minutes[name]) for name, made in same.items()
    }


def sharpness(x: np.ndarray) -> float:
    """Mean squared difference of neighbouring pixels over the variance of images (N, H, W, C): falls with blur."""
    x = x.astype(np.float64)
    steps = (np.diff(x, axis=1) ** 2).mean() + (np.diff(x, axis=2) ** 2).mean()
    return float(steps / max(x.reshape(len(x), -1).var(axis=1).mean(), 1e-12))


def drawn(workspace: Workspace, config: Config, made: Generator) -> tuple[np.ndarray, np.ndarray]:
    """The generator's set of images: x as stored, y; each class equally often."""
    n_classes = made.spec.n_classes
    return workspace.draw(made, (config.samples // n_classes,) * n_classes, seed=config.seed)


def scores(workspace: Workspace, config: Config, against: ImageScores, made: Generator) -> dict[str, Any]:
    """What a generator's samples are worth: TSTR, fidelity, sharpness."""
    x, y = drawn(workspace, config, made)
    return {
        "tstr": against.accuracy(against.train(x, y)),
        "ceiling": against.accuracy(against.trained_on_real),
        **against.likeness(Split(x, y, np.arange(len(y), dtype=np.int32))),
        "sharpness": sharpness(x) / sharpness(against.real.x),
    }


def table(workspace: Workspace, config: Config) -> list[Table]:
    """The table that the study's conclusion lacks, and its claims."""
    rows, measured = [], {}
    data = workspace.data(experiment(None, config.models[0], config.dataset))
    against = ImageScores(data, config.samples, config.networks, config.classifier_epochs, config.seed)
    for budget, made in generators(workspace, config).items():
        for name, one in made.items():
            work = functools.partial(scores, workspace, config, against, one)
            found = workspace.result(f"scores, {one.name}", work)
            seconds = workspace.result(f"sampling, {one.name}", functools.partial(one.seconds_per_1000, config.timed))
            measured[budget, name] = {**found, "minutes": one.minutes(), "seconds": seconds}
            steps = one.experiment.model.steps
            rows.append(
                (budget, name, f"{steps:,}", f"{one.minutes():.1f}", cell(found["tstr"]), cell(found["ceiling"]),
                 f"{found['precision']:.3f}", f"{found['recall']:.3f}", f"{found['diversity']:.2f}",
                 f"{found['sharpness']:.2f}", f"{seconds:.2f}", f"{one.parameters():,}")
            )  # fmt: skip
    columns = ("budget", "model", "steps", "minutes", "TSTR", "ceiling", "precision", "recall", "diversity",
               "sharpness", "s per 1,000", "numbers")  # fmt: skip
    notes = (
        "TSTR and its ceiling (as many real images): the standard CNN on real test images.",
        "Precision, recall, diversity (of real: 1): in its features. Sharpness: over that of real images.",
    )
    curves(workspace, config)
    return [Table("S3", "Three generators on the same data", columns, rows, notes), claims(config, measured)]


def claims(config: Config, measured: dict[tuple[str, str], dict[str, Any]]) -> Table:
    """Whether what the study says holds, in the columns above."""
    tests: tuple[tuple[str, str, str, Callable], ...] = (
        ("The VAE is the fastest to train", "vae", "minutes", min),
        ("The VAE is the fastest to sample", "vae", "seconds", min),
        ("The VAE's samples are the most varied", "vae", "diversity", max),
        ("The VAE's samples are the blurriest", "vae", "sharpness", min),
        ("The DDPM is the slowest to sample", "ddpm", "seconds", max),
    )
    rows = []
    for claim, who, what, extreme in tests:
        values = {name: measured["same epochs", name][what] for name in config.models}
        holds = who in values and extreme(values, key=values.__getitem__) == who
        rows.append((claim, "yes" if holds else "no", ", ".join(f"{n} {v:.3g}" for n, v in values.items())))
    return Table("S3, claims", "What the study says, at the same epochs", ("claim", "holds", "measured"), rows)


def curves(workspace: Workspace, config: Config) -> None:
    """Loss against epoch, and a grid of samples, of each model (the study's Figures 2 to 9)."""
    for name, made in generators(workspace, config)["same epochs"].items():
        rows = list(metrics.read(made.workdir, "steps_per_second"))
        data = workspace.data(made.experiment)
        epoch = np.array([row["step"] for row in rows]) * made.experiment.model.batch_size / len(data.train.y)
        series = {
            metric: (epoch, np.array([row[metric] for row in rows]), None)
            for metric in LOSSES.get(name, ("loss",))
            if metric in rows[0]
        }
        figures.lines(
            workspace.folder / f"loss_{name}.png", series, x_name="epoch", y_name="loss", title=f"Loss of the {name}"
        )
        x, y = drawn(workspace, config, made)
        first = np.concatenate([np.flatnonzero(y == label)[:10] for label in range(made.spec.n_classes)])
        picture = png.grid(x[first], columns=10, levels=made.spec.levels)
        files.write(workspace.folder / f"grid_{name}.png", picture)


TABLES: dict[str, Callable[[Workspace, Config], list[Table]]] = {"S3": table}
