"""S2's pictures, by the study's numbers: what training does (6, 8), what a generator's rows look like (4, 7 to 11)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from synthjax.evals import encoders, maps
from synthjax.evals.fidelity import tables as fidelity
from synthjax.evals.privacy import distance_tests
from synthjax.evals.streams import stream
from synthjax.evals.table import Table
from synthjax.train import metrics

from . import figures, s2_rows, table_figures
from .workspace import Generator, Workspace

if TYPE_CHECKING:
    from .s2 import Config

SHOWN = 600
"""Points of a panel of Figure 6."""
EMBEDDED = 500
"""Rows of each table in `embed` at most: in three dimensions 1,000 rows take ten seconds."""


def embed(tables: Mapping[str, Table], *, seed: int = 0, limit: int = EMBEDDED) -> dict[str, np.ndarray]:
    """t-SNE of at most `limit` rows of several tables at once: name -> places (n, 3) f64.

    The first table, the real one, gives the vectors (`encoders.metric`) their scale.
    """
    encode = encoders.metric(next(iter(tables.values())))
    rng = stream(seed, "fidelity.embed")
    points = {name: encode(table.sample(rng, limit)) for name, table in tables.items()}
    return maps.embed(points, dims=3, seed=seed)


def points(table: Any, columns: tuple[str, ...]) -> np.ndarray:
    """Two numeric columns and the target's class, (N, 3) f64."""
    places = [table.schema.numeric.index(name) for name in columns]
    return np.column_stack([table.numbers[:, places], table.target()])


def snapshots(workspace: Workspace, config: "Config", made: Generator) -> dict[str, Any]:
    """Step -> {"shapes": likeness of single columns, "points": rows for Figure 6}, of a run that kept checkpoints."""

    def compute() -> dict[str, Any]:
        steps = range(config.snapshot, made.experiment.model.steps + 1, config.snapshot)
        found = {}
        for step in (0, *steps):
            tables = s2_rows.tables(workspace, made, step=step, seed=config.seed)
            few = points(tables["synthetic"], config.columns)[:: max(len(tables["synthetic"]) // SHOWN, 1)]
            shapes = fidelity.shapes(tables["train"], tables["synthetic"])["score"]
            found[str(step)] = {"shapes": shapes, "points": few.round(6).tolist()}
        return found

    return workspace.result(f"steps, {made.name}", compute)


def steps(workspace: Workspace, config: "Config", found: dict[str, dict[str, Any]], made: Generator) -> None:
    """Figure 6: two columns against each other, a row a model, a column a step.

    Args:
        workspace: of the study.
        config: names the two columns.
        found: model -> what `snapshots` returns.
        made: any of the generators, for the real rows.
    """
    train = s2_rows.tables(workspace, made, n=1)["train"]
    real = points(train, config.columns)
    models = {name: {int(step): np.array(one["points"]) for step, one in of.items()} for name, of in found.items()}
    horizontal, vertical = config.columns
    real = real[:: max(len(real) // SHOWN, 1)]
    file, classes = workspace.folder / "figure_6.png", train.schema.classes
    table_figures.steps(file, real, models, (horizontal, vertical), classes=classes)


def losses(workspace: Workspace, gans: dict[str, Generator]) -> None:
    """Figure 8's last panel: loss of the critic against the step, which is not the same loss for all four."""
    series = {}
    for name, made in gans.items():
        rows = list(metrics.read(made.workdir, "critic_loss"))
        series[name] = np.array([row["step"] for row in rows]), np.array([row["critic_loss"] for row in rows]), None
    figures.lines(
        workspace.folder / "figure_8_losses.png",
        series,
        x_name="step",
        y_name="loss of the critic",
        title="Loss of the critic: cross-entropy of GAN and CGAN, minus the Wasserstein distance of the others",
    )


def quality(workspace: Workspace, config: "Config", made: Generator, name: str) -> None:
    """Figures 4, 7, 8, 10, 11, and histograms, of one generator of numeric columns."""
    found = s2_rows.tables(workspace, made, seed=config.seed)
    train, real, synthetic = (found[key] for key in ("train", "real", "synthetic"))
    both = {"real": train, name: synthetic}
    folder, target = workspace.folder, train.schema.target
    table_figures.pair_plots(folder / "figure_4.png", {"real": train}, groups=target)
    table_figures.pair_plots(folder / "figure_7.png", both, groups=target)
    table_figures.correlations(folder / "figure_8.png", fidelity.correlation_difference(train, synthetic))
    table_figures.histograms(folder / "histograms.png", both)
    vectors = map(encoders.metric(train), (synthetic, train, real))
    away = distance_tests.distances(*vectors, seed=config.seed)
    table_figures.distances(folder / "figure_10.png", *away, distance_tests.compare_distances(*away))
    table_figures.embedding(folder / "figure_11.png", embed(both, seed=config.seed))
