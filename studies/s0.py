"""S0: small training sets of real and of generated digits.

Lee, Rothenberg & Shah, "An Analysis of Synthetic Dataset Creation Using Deep Generative Models" (Swarthmore College).
A DCGAN, 7 epochs in batches of 64; ten training sets of 100 images, of 1,000 images, and learning curves, for an RBF
support vector machine and a CNN (`synthjax.evals.keras_cnn.PROTOCOL`), tested on all real test images.

The study samples in batches of one label and keeps the first image of each. Our batch norm samples with running
averages, so that an image does not depend on its batch; both ways are there, and should agree. Not stated: whether sets
of 100 hold each class equally often. Both are run. A control tells the study's explanation of its surprise (generated
images regularise, being "fuzzier") from that one: real images, blurred.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from synthjax import files
from synthjax.data import transforms
from synthjax.evals.domains import images
from synthjax.evals.draw import png
from synthjax.launch.config import Experiment, experiment
from synthjax.launch.markdown import Table
from synthjax.models import dcgan

from . import figures, s0_boltzmann
from .s0_sets import (
    FIRST,
    RANDOM,
    STRATIFIED,
    Config,
    Judges,
    accuracies,
    cnn_name,
    generated,
)
from .workspace import Workspace, cell, slug

STUDIED = "dcgan"
"""The study's generator, the one that its figures are beside."""
PAIRS = "Trials are paired by number: same number, same start of the network."
OPEN = ("models",)
"""Fields that say which pieces there are, not what one holds: a folder goes on under other ones."""

CNN_REAL = (0.6290, 0.5608, 0.6754, 0.6042, 0.6647, 0.5433, 0.6162, 0.6027, 0.5579, 0.6518)
CNN_GENERATED = (0.6039, 0.6106, 0.6200, 0.5578, 0.6015, 0.5605, 0.6160, 0.5647, 0.6745, 0.6338)
SVM_REAL = (0.6177, 0.7073, 0.6949, 0.6015, 0.7426, 0.5983, 0.6478, 0.6122, 0.6448, 0.6587)
SVM_GENERATED = (0.7458, 0.6967, 0.7446, 0.7762, 0.7478, 0.7405, 0.7585, 0.7378, 0.7558, 0.719)
"""The study's Tables 3 and 4, trial by trial; its Table 1 is their mean ± standard deviation."""
CURVE_REAL = (0.3914, 0.5228, 0.5575, 0.6457, 0.6512, 0.5969, 0.6478, 0.6217, 0.6276, 0.6477)
CURVE_GENERATED = (0.505, 0.498, 0.541, 0.552, 0.636, 0.626, 0.624, 0.589, 0.608, 0.604, 0.615)
"""Averages of its Tables 5 (10 ... 100 real images) and 6 (0 ... 100 generated ones beside 10 real ones)."""


def table_1(workspace: Workspace, config: Config) -> list[Table]:
    """Real against generated sets of 100, with paired tests."""
    from scipy import stats

    found = accuracies(workspace, config)
    judges = list(found[STRATIFIED])
    first = f"{STUDIED}, {FIRST}"
    study: dict[str, dict[str, tuple[float, ...]]] = {}
    for judge_name in judges:
        real, made = (SVM_REAL, SVM_GENERATED) if judge_name == "SVM" else (CNN_REAL, CNN_GENERATED)
        study[judge_name] = {RANDOM: real, STRATIFIED: real, first: made}
    rows, tests = [], []
    for judge_name in judges:
        for source, values in found.items():
            published = cell(study[judge_name][source]) if source in study[judge_name] else ""
            rows.append((judge_name, source, published, cell(values[judge_name])))
            if source != STRATIFIED:
                change = np.array(values[judge_name]) - found[STRATIFIED][judge_name]
                test = stats.ttest_rel(values[judge_name], found[STRATIFIED][judge_name])
                low, high = test.confidence_interval()
                row = f"{change.mean():+.3f}", f"{low:+.3f} to {high:+.3f}", f"{test.pvalue:.2g}"
                tests.append((judge_name, source, *row))
    figures.bars(
        workspace.folder / "figure_6.png",
        {j: {source: float(np.mean(values[j])) for source, values in found.items()} for j in judges},
        {j: {source: float(np.std(values[j], ddof=1)) for source, values in found.items()} for j in judges},
        y_name="accuracy on real test images",
        title=f"Training sets of {config.size}: real and generated, {config.trials} trials",
        references={
            j: {source: float(np.mean(values)) for source, values in study[j].items() if source in found}
            for j in judges
        },
    )
    set_size = f"training sets of {config.size} images, {config.trials} of them"
    return [
        Table("1", f"Accuracy, {set_size}", ("judge", "trained on", "study", "measured"), rows),
        Table(
            "1, tests",
            f"Against {STRATIFIED}: paired t-test",
            ("judge", "trained on", "change", "95 % interval", "p"),
            tests,
            (PAIRS,),
        ),
    ]


def _by_trial(
    workspace: Workspace, config: Config, judge_name: str, number: str, study: tuple[Any, Any]
) -> list[Table]:
    found = accuracies(workspace, config)
    shown = STUDIED if STUDIED in config.models else config.models[0]
    first = f"{shown}, {FIRST}"
    published = study if shown == STUDIED else (study[0], ())
    rows = [
        (str(i + 1), *(f"{values[i]:.4f}" if i < len(values) else "" for values in published),
         *(f"{found[source][judge_name][i]:.4f}" for source in (RANDOM, STRATIFIED, first)))
        for i in range(config.trials)
    ]  # fmt: skip
    columns = ("trial", "study, real", "study, generated", *(f"measured, {s}" for s in (RANDOM, STRATIFIED, first)))
    return [Table(number, f"{judge_name}, trial by trial", columns, rows)]


def table_2(workspace: Workspace, config: Config) -> list[Table]:
    """The support vector machine with 1,000 examples."""
    judges = Judges(workspace, config)
    data = workspace.data(experiment(None, config.models[0], config.dataset))
    rows = []
    for source, stratified in ((RANDOM, False), (STRATIFIED, True)):

        def real(stratified: bool = stratified) -> list[float]:
            folds = transforms.folds(data.train.y, config.trials, config.large, config.seed, stratified)
            return [judges.svm(data.train.x[fold], data.train.y[fold]) for fold in folds]

        rows.append(("SVM", source, ".903 ± .008", cell(workspace.result(f"SVM-{config.large}, {source}", real))))
    for name in config.models:

        def made(name: str = name) -> list[float]:
            return [judges.svm(*one) for one in zip(*generated(workspace, config, name, config.large), strict=True)]

        values = workspace.result(f"SVM-{config.large}, {name}", made)
        rows.append(("SVM", name, ".899 (n=1)" if name == STUDIED else "", cell(values)))
    return [Table("2", f"Accuracy, training sets of {config.large} images, {config.trials} of them",
                  ("judge", "trained on", "study", "measured"), rows)]  # fmt: skip


def curves(workspace: Workspace, config: Config) -> dict[str, dict[str, dict[str, list[float]]]]:
    """ "real" or a generator -> CNN -> images -> accuracy of each fold.

    Real sets are nested: 10 images, one of each class, are the beginning of 20, and what generated ones are added to.
    """
    judges = Judges(workspace, config)
    data = workspace.data(experiment(None, config.models[0], config.dataset))
    base = data.spec.n_classes
    folds = transforms.folds(data.train.y, config.folds, config.size + base, config.seed + 1, True)

    def measure(fold: int, rows: np.ndarray, extra: tuple[np.ndarray, np.ndarray] | None) -> dict[str, float]:
        x, y = data.train.x[rows], data.train.y[rows]
        if extra is not None:
            x, y = np.concatenate([x, extra[0]]), np.concatenate([y, extra[1]])
        return {cnn_name(n): judges.cnn(x, y, n, config.seed + fold) for n in config.cnn_epochs}

    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    for name in ("real", *config.models):

        def curve(name: str = name) -> dict[str, dict[str, list[float]]]:
            made = None if name == "real" else generated(workspace, config, name, config.size)
            out: dict[str, dict[str, list[float]]] = {cnn_name(n): {} for n in config.cnn_epochs}
            for n in range(config.steps if made is None else 0, config.size + 1, config.steps):
                for fold, rows in enumerate(folds):
                    if made is None:
                        values = measure(fold, rows[:n], None)
                    else:
                        values = measure(fold, rows[:base], (made[0][fold, :n], made[1][fold, :n]))
                    for judge_name, value in values.items():
                        out[judge_name].setdefault(str(n), []).append(value)
            return out

        found[name] = workspace.result(f"curve, {name}", curve)
    return found


def _point(published: dict[int, float], n: str, measured: list[list[float]]) -> tuple[str, ...]:
    """A row of a learning curve, at n images; how many folds is said in the title."""
    spread = (cell(values).partition(" (")[0] for values in measured)
    return (n, f"{published[int(n)]:.3f}" if int(n) in published else "", *spread)


def _curve_tables(workspace: Workspace, config: Config, number: str) -> list[Table]:
    found = curves(workspace, config)
    judges = list(found["real"])
    if number == "5":
        published = dict(zip(range(10, 101, 10), CURVE_REAL, strict=True))
        curve = found["real"]
        rows = [_point(published, n, [curve[j][n] for j in judges]) for n in curve[judges[0]]]
        tables = [
            Table(
                "5",
                f"CNN, real images, {config.folds} folds",
                ("images", "study", *(f"measured, {j}" for j in judges)),
                rows,
            )
        ]
    else:
        published = dict(zip(range(0, 101, 10), CURVE_GENERATED, strict=True)) if STUDIED in config.models else {}
        tables = []
        for judge_name in judges:
            made = {name: found[name][judge_name] for name in config.models}
            rows = [_point(published, n, [curve[n] for curve in made.values()]) for n in made[config.models[0]]]
            title = f"{judge_name}: one real image a class and so many generated ones, {config.folds} folds"
            tables.append(Table("6", title, ("images", f"study, {STUDIED}", *config.models), rows))
    for judge_name in found["real"]:
        series = {}
        for name, curve in found.items():
            x = np.array([int(n) for n in curve[judge_name]])
            values = list(curve[judge_name].values())
            shown = name if name == "real" else f"10 real and {name}"
            series[shown] = x, np.array([np.mean(v) for v in values]), np.array([np.std(v, ddof=1) for v in values])
        figures.lines(
            workspace.folder / f"figures_4_5_{slug(judge_name)}.png",
            series,
            x_name="images (of generated ones: beside one real image a class)",
            y_name="accuracy on real test images",
            title=f"{judge_name}: learning curves, {config.folds} folds",
            references={
                "real": (np.arange(10, 101, 10), np.array(CURVE_REAL)),
                f"10 real and {STUDIED}": (np.arange(0, 101, 10), np.array(CURVE_GENERATED)),
            },
        )
    return tables


def colour(workspace: Workspace, config: Config) -> list[Table]:
    """A DCGAN on colour images, where the study got nothing usable: a grid, and the support vector machine's gap."""
    chosen = Experiment("dcgan", dcgan.Config(batch_size=64), config.colour, seed=config.seed)
    data = workspace.data(chosen)
    spec, n = data.spec, len(data.train.y)
    model = dataclasses.replace(chosen.model, steps=max(config.colour_epochs * n // 64, 1))
    made = workspace.train(f"dcgan-{slug(config.colour)}", dataclasses.replace(chosen, model=model))
    x, y = workspace.draw(made, np.bincount(data.train.y, minlength=spec.n_classes), seed=config.seed)
    rows = np.concatenate([np.flatnonzero(y == label)[:10] for label in range(spec.n_classes)])
    picture = png.grid(x[rows], columns=10, levels=spec.levels)
    files.write(workspace.folder / f"{slug(config.colour)}.png", picture)

    def accuracies() -> list[float]:
        def flat(a: np.ndarray) -> np.ndarray:
            return a.reshape(len(a), -1) / (spec.levels - 1)

        answers = [images.svm(flat(a), b)(flat(data.test.x)) for a, b in ((data.train.x, data.train.y), (x, y))]
        return [float((answer == data.test.y).mean()) for answer in answers]

    real, fake = workspace.result(f"{config.colour}, SVM", accuracies)
    row = ("SVM", f"{n:,}", f"{len(data.test.y):,}", f"{real:.3f}", f"{fake:.3f}", f"{real - fake:.3f}")
    columns = ("judge", "training images", "test images", "real", "generated", "gap")
    return [Table("colour", f"DCGAN on {config.colour}", columns, [row], ("The study has no figures for it.",))]


TABLES: dict[str, Callable[[Workspace, Config], list[Table]]] = {
    "1": table_1,
    "2": table_2,
    "3": lambda workspace, config: [
        table
        for n in config.cnn_epochs
        for table in _by_trial(workspace, config, cnn_name(n), "3", (CNN_REAL, CNN_GENERATED))
    ],
    "4": lambda workspace, config: _by_trial(workspace, config, "SVM", "4", (SVM_REAL, SVM_GENERATED)),
    "5": lambda workspace, config: _curve_tables(workspace, config, "5"),
    "6": lambda workspace, config: _curve_tables(workspace, config, "6"),
    "colour": colour,
    "boltzmann": s0_boltzmann.tables,
}
