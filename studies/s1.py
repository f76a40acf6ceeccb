"""S1: four conditional GANs, directed noise, and a class that is rare.

Clinton & Teeter, "Exploration of Data Synthesis with GANs" (University of Massachusetts Amherst). What a CNN
(`synthjax.studies.s1_cnn`) that learnt from synthetic digits alone gets right of the real test images: for each of
four GANs with and without directed noise (Table 2); for real, topped-up and synthetic training sets of the whole data
(Table 3) and of data in which class 0 is rare, "Low-Zero" (Table 4). Which GAN makes the sets of Tables 3 and 4 is
chosen on the holdout split.

Not stated: batch sizes and epochs of the GANs (those of their configs here), k and c of the noise, and how rare class 0
is. The study's raw Low-Zero accuracy, .56, cannot come from class 0 alone, which is a tenth of the test set; and its
discussion of Table 4 is of class 8.
"""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import jax
import numpy as np

from synthjax import files
from synthjax.data import transforms
from synthjax.errors import InputError
from synthjax.evals import classifiers, neighbours
from synthjax.evals.draw import png
from synthjax.launch.config import Experiment, experiment
from synthjax.launch.markdown import Table
from synthjax.model import Batch

from . import figures, s1_cnn
from .workspace import Generator, Workspace, cell, train_and_test

MODELS = {"cgan": ("dense", "BCE"), "cwgan": ("dense", "Wasserstein"), "cdcgan": ("convolutional", "BCE"),
          "cwdcgan": ("convolutional", "Wasserstein")}  # fmt: skip
TABLE_2 = {"cgan": (".74", ".57"), "cwgan": (".79", ".65"), "cdcgan": (".59", ".84"), "cwdcgan": (".51", ".67")}
TABLE_3 = {"raw": ".97", "augmented": ".97", "synthetic": ".84"}
TABLE_4 = {"raw": ".56", "augmented": ".75", "synthetic": ".75"}
"""The study's figures; one run each."""
NOISE = "-noise"
"""End of the name of a GAN that learns with directed noise."""
PROTOCOLS = {"s1": s1_cnn.PROTOCOL, "standard": classifiers.STANDARD}


@dataclass(frozen=True)
class Config:
    """What the study leaves open, and how much of it is run."""

    dataset: str = "mnist"
    models: tuple[str, ...] = ("cgan", "cwgan", "cdcgan", "cwdcgan")
    steps: int = 0
    """Updates of each generator; 0: as its config of the data set, or its preset, says."""
    noise_components: int = 10
    """k of the directed noise."""
    noise_scale: float = 20.0
    """c of the directed noise, for pixels in [-1, 1]."""
    per_class: int = 6000
    """Synthetic examples of each class."""
    classifier: Literal["s1", "standard"] = "s1"
    """Who judges: the study's CNN, or the standard CNN of `evals`."""
    epochs: int = 0
    """Passes of the classifier; 0: its protocol's."""
    networks: int = 1
    """Classifiers per training set."""
    rare_class: str = "0"
    """Name of the class that is rare in Low-Zero: the first one."""
    rare_factor: float = 100.0
    """By how much it is under-sampled."""
    rare_model: str = ""
    """GAN that sees Low-Zero, "cgan-noise" say; empty: the one that is best on the holdout split of the whole data."""
    rare_feed: Literal["uniform", "balanced"] = "uniform"
    """How its batches are drawn: as the data is, or each class equally often."""
    nearest: int = 1000
    """Synthetic examples of each class whose nearest training example is looked for."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises InputError for a GAN that the study does not have: before hours of training, not after."""
        known = ", ".join(MODELS)
        if not self.models:
            raise InputError(f"config.models: name at least one of {known}")
        if unknown := [name for name in self.models if name not in MODELS]:
            raise InputError(f"config.models={unknown[0]}: there are {known}")
        if self.rare_model and self.rare_model.removesuffix(NOISE) not in MODELS:
            raise InputError(
                f"config.rare_model={self.rare_model}: there are {known}, each also with {NOISE} at its end"
            )


def of(config: Config, name: str, *, noise: bool, rare: bool = False, **changes: Any) -> Experiment:
    """The experiment that trains a GAN."""
    chosen = experiment(None, name, config.dataset)
    model = dataclasses.replace(chosen.model, **changes)
    if config.steps:
        model = dataclasses.replace(model, steps=config.steps)
    return dataclasses.replace(
        chosen,
        model=model,
        seed=config.seed,
        noise_components=config.noise_components if noise else 0,
        noise_scale=config.noise_scale if noise else chosen.noise_scale,
        rare_class=config.rare_class if rare else "",
        rare_factor=config.rare_factor if rare else 1.0,
        feed=config.rare_feed if rare else chosen.feed,
    )


def generator(workspace: Workspace, config: Config, name: str, *, noise: bool, rare: bool = False) -> Generator:
    """A trained GAN."""
    full = name + NOISE * noise + "-low-zero" * rare
    return workspace.train(full, of(config, name, noise=noise, rare=rare))


def judged(
    workspace: Workspace, config: Config, name: str, make: Callable[[], tuple[np.ndarray, np.ndarray]]
) -> dict[str, Any]:
    """What the classifier that learns from those examples gets right of holdout and test; see `train_and_test`."""

    def compute() -> dict[str, Any]:
        data = workspace.data(of(config, config.models[0], noise=False))
        tests = {"holdout": (data.holdout.x, data.holdout.y), "test": (data.test.x, data.test.y)}
        x, y = make()
        rows = max(len(data.train.y), config.per_class * data.spec.n_classes)
        protocol = PROTOCOLS[config.classifier]
        if config.epochs:
            protocol = protocol.with_epochs(config.epochs)
        training: dict[str, Any] = {"protocol": protocol, "seeds": config.networks, "pad_to": max(rows, len(y))}
        return train_and_test((x, y), tests, data.spec, seed=config.seed, **training)

    return workspace.result(name, compute)


def synthetic(workspace: Workspace, config: Config, made: Generator) -> dict[str, Any]:
    """The classifier that learns from a GAN's examples alone."""

    def draw() -> tuple[np.ndarray, np.ndarray]:
        return workspace.draw(made, (config.per_class,) * made.spec.n_classes, seed=config.seed)

    return judged(workspace, config, f"synthetic, {made.name}", draw)


def table_2(workspace: Workspace, config: Config) -> list[Table]:
    """Four architectures, with and without directed noise."""
    rows = []
    values: dict[str, dict[str, float]] = {name: {} for name in config.models}
    spreads: dict[str, dict[str, float]] = {name: {} for name in config.models}
    for noise in (False, True):
        shown = "with noise" if noise else "without"
        for name in config.models:
            found = synthetic(workspace, config, generator(workspace, config, name, noise=noise))
            test, holdout = (found[split]["accuracy"] for split in ("test", "holdout"))
            rows.append((name, *MODELS[name], shown, TABLE_2[name][noise], cell(test), cell(holdout)))
            values[name][shown] = float(np.mean(test))
            if len(test) > 1:
                spreads[name][shown] = float(np.std(test, ddof=1))
    figures.bars(
        workspace.folder / "table_2.png",
        values,
        spreads,
        y_name="accuracy on real test images",
        title="Learnt from synthetic digits alone",
        references={
            name: {shown: float(TABLE_2[name][noise]) for noise, shown in enumerate(("without", "with noise"))}
            for name in config.models
        },
    )
    columns = ("model", "layers", "loss", "directed noise", "study", "measured", "on the holdout")
    return [Table("2", f"Synthetic digits alone, {config.per_class:,} a class", columns, rows, (protocol(config),))]


def protocol(config: Config) -> str:
    """Who judges, in words."""
    judge_of = PROTOCOLS[config.classifier]
    return f"Judge: {judge_of.name}, {config.epochs or judge_of.epochs} epochs, {config.networks} network(s) a set."


def best(workspace: Workspace, config: Config) -> tuple[str, bool]:
    """The GAN, and whether it has noise, that is best on the holdout split."""
    every = [(name, noise) for name in config.models for noise in (False, True)]

    def accuracy(one: tuple[str, bool]) -> float:
        found = synthetic(workspace, config, generator(workspace, config, one[0], noise=one[1]))
        return float(np.mean(found["holdout"]["accuracy"]))

    return max(every, key=accuracy)


def three_ways(workspace: Workspace, config: Config, *, rare: bool) -> tuple[dict[str, dict[str, Any]], str]:
    """Raw, augmented and synthetic training sets; and the name of the GAN that made the examples."""
    told = config.rare_model if rare else ""
    name, noise = (told.removesuffix(NOISE), told.endswith(NOISE)) if told else best(workspace, config)
    made = generator(workspace, config, name, noise=noise, rare=rare)
    data = workspace.data(made.experiment)
    kind = "low-zero" if rare else "vanilla"

    def augmented() -> tuple[np.ndarray, np.ndarray]:
        labels = transforms.top_up(data.train.y, data.spec.n_classes)
        counts = np.bincount(labels, minlength=data.spec.n_classes).tolist()
        if not len(labels):
            return data.train.x, data.train.y
        x, y = workspace.draw(made, counts, seed=config.seed + 1, name=f"{made.name}-top-up")
        return np.concatenate([data.train.x, x]), np.concatenate([data.train.y, y])

    found = {
        "raw": judged(workspace, config, f"raw, {kind}", lambda: (data.train.x, data.train.y)),
        "augmented": judged(workspace, config, f"augmented, {made.name}", augmented),
        "synthetic": synthetic(workspace, config, made),
    }
    pictures(workspace, config, found, kind)
    return found, made.name


def pictures(workspace: Workspace, config: Config, found: dict[str, dict[str, Any]], kind: str) -> None:
    """The study's Figures 9 to 12: confusion matrices and loss curves."""
    classes = workspace.data(of(config, config.models[0], noise=False)).spec.classes
    tables = {name: np.array(one["test"]["confusion"]) for name, one in found.items()}
    figures.confusions(workspace.folder / f"confusions_{kind}.png", tables, classes)
    curves = {
        name: (np.arange(1, len(one["losses"]) + 1), np.array(one["losses"]), None) for name, one in found.items()
    }
    figures.lines(
        workspace.folder / f"losses_{kind}.png",
        curves,
        x_name="epoch of the classifier",
        y_name="cross-entropy in nats",
        title=f"Training loss of the classifier, {kind}",
    )


def table_3(workspace: Workspace, config: Config) -> list[Table]:
    """The whole data."""
    found, made = three_ways(workspace, config, rare=False)
    rows = [(name, TABLE_3[name], cell(one["test"]["accuracy"])) for name, one in found.items()]
    return [Table("3", "Vanilla data", ("trained on", "study", "measured"), rows,
                  (f"Synthetic examples by {made}, chosen on the holdout.", protocol(config)))]  # fmt: skip


def table_4(workspace: Workspace, config: Config) -> list[Table]:
    """Class 0 rare; what the top-up wins back of its recall."""
    full = judged(workspace, config, "raw, vanilla", lambda: _train(workspace, config))
    found, made = three_ways(workspace, config, rare=True)
    data = workspace.data(of(config, config.models[0], noise=False, rare=True))
    rare = data.spec.classes.index(config.rare_class)

    def recall(one: dict[str, Any]) -> float:
        answers = np.array(one["test"]["confusion"])[rare]
        return float(answers[rare] / answers.sum()) if answers.any() else 0.0

    gap = recall(full) - recall(found["raw"])
    rows = []
    for name, one in found.items():
        share = f"{(recall(one) - recall(found['raw'])) / gap:.0%}" if gap > 0 and name != "raw" else ""
        rows.append((name, TABLE_4[name], cell(one["test"]["accuracy"]), f"{recall(one):.3f}", share))
    rows.append(("raw, none rare", TABLE_3["raw"], cell(full["test"]["accuracy"]), f"{recall(full):.3f}", ""))
    kept = int((data.train.y == rare).sum())
    seen = "the Low-Zero data alone" + ", each class equally often" * (config.rare_feed == "balanced")
    columns = ("trained on", "study", "measured", f"recall of class {config.rare_class}", "gap in it recovered")
    return [Table("4", f"Low-Zero: {kept} examples of class {config.rare_class}", columns, rows,
                  (f"Synthetic examples by {made}, which saw {seen}.", protocol(config)))]  # fmt: skip


def _train(workspace: Workspace, config: Config) -> tuple[np.ndarray, np.ndarray]:
    data = workspace.data(of(config, config.models[0], noise=False))
    return data.train.x, data.train.y


def anonymity(workspace: Workspace, config: Config) -> list[Table]:
    """Section 4.2.2: the nearest training example of each synthetic one."""
    rows = []
    for name in config.models:
        made = generator(workspace, config, name, noise=False)

        def compute(made: Generator = made) -> dict[str, float]:
            data = workspace.data(made.experiment)
            count = min(config.nearest, config.per_class)
            x, y = workspace.draw(made, (config.per_class,) * made.spec.n_classes, seed=config.seed)
            first = np.concatenate([np.flatnonzero(y == label)[:count] for label in range(made.spec.n_classes)])
            distance, index = neighbours.nearest(x[first], data.train.x)
            found = {"examples": len(first), "matches": int((distance == 0).sum()),
                     "euclidean": float(distance.mean()) / (data.spec.levels - 1)}  # fmt: skip
            near = np.abs(x[first].astype(float) - data.train.x[index[:, 0]].astype(float))
            return found | {"manhattan": float(near.reshape(len(first), -1).sum(1).mean()) / (data.spec.levels - 1)}

        found = workspace.result(f"nearest, {name}", compute)
        rows.append((name, f"{found['examples']:,}", f"{found['matches']}", f"{2 * found['euclidean']:.2f}",
                     f"{found['euclidean']:.2f}", f"{2 * found['manhattan']:.1f}"))  # fmt: skip
    columns = ("model", "examples", "exact matches (study: 0)", "mean distance, p = 2, pixels in [-1, 1] (study: 9.2)",
               "p = 2, in [0, 1]", "p = 1 to the same neighbour, in [-1, 1]")  # fmt: skip
    note = "The study gives neither the p of its Minkowski distance nor the range of its pixels."
    return [Table("anonymity", "Nearest training example, whole training set", columns, rows, (note,))]


def pictures_of_data(workspace: Workspace, config: Config) -> list[Table]:
    """Figures 1, 4 and 8: directed noise, the stacked embedding's maps, class frequencies."""
    data = workspace.data(of(config, config.models[0], noise=False))
    rare = workspace.data(of(config, config.models[0], noise=False, rare=True))
    counts = {
        "vanilla": np.bincount(data.train.y, minlength=data.spec.n_classes),
        "low-zero": np.bincount(rare.train.y, minlength=data.spec.n_classes),
    }
    figures.frequencies(workspace.folder / "figure_8.png", counts, data.spec.classes)

    label = 1
    x = np.asarray(data.spec.encode(data.train.x[data.train.y == label]))
    k = max(config.noise_components, 2)
    found = transforms.class_components(x, np.zeros(len(x), np.int32), 1, k)
    zeros = np.zeros(len(x), np.int32)
    moved = transforms.directed_noise(found, config.noise_scale)(
        jax.random.key(config.seed),
        Batch(x, zeros, np.ones(len(x), np.float32), zeros),  # type: ignore[arg-type]
    )
    flat = x.reshape(len(x), -1), np.asarray(moved.x).reshape(len(x), -1)
    figures.directed_noise(workspace.folder / "figure_1.png", *flat, found.directions[0, :2], shape=data.spec.shape)

    if "cdcgan" in config.models:
        made = workspace.train("cdcgan-stacked", of(config, "cdcgan", noise=False, embedding="stacked"))
        files.write(workspace.folder / "figure_4.png", png.grid(embedding_maps(made), columns=5))
    return []


def embedding_maps(made: Generator) -> np.ndarray:
    """The map that each class adds to the noise in a cdcgan with stacked embedding: (K, H, W, 1) f32 in [-1, 1]."""
    params = made.state.ema["params"]
    table, dense = params["Embed_0"]["embedding"], params["label_map"]
    maps = np.asarray(table @ dense["kernel"] + dense["bias"])
    side = [math.ceil(n / 2) for n in made.spec.shape[:2]]
    low, high = maps.min(axis=1, keepdims=True), maps.max(axis=1, keepdims=True)
    return (2 * (maps - low) / np.maximum(high - low, 1e-9) - 1).reshape(len(maps), *side, 1)


TABLES: dict[str, Callable[[Workspace, Config], list[Table]]] = {
    "2": table_2,
    "3": table_3,
    "4": table_4,
    "anonymity": anonymity,
    "figures": pictures_of_data,
}
