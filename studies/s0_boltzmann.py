"""S0's deep Boltzmann machine: a labelled data set from one, which the study wanted and did not get.

The study took an implementation of its Algorithm 1 that gave the same 100 images at every call, and after 10,000 Gibbs
steps on CIFAR-10 could tell only horses. Here a labelled DBM is drawn from in two ways: by block Gibbs sampling with
the labels clamped, and by Algorithm 1 as it stands (mean-field updates from a Gaussian start; `synthjax.gibbs.images`).
"""

import dataclasses
from typing import Any

import numpy as np

from synthjax import files
from synthjax.data import transforms
from synthjax.evals.domains import images
from synthjax.evals.draw import png
from synthjax.evals.subsample import stratified
from synthjax.launch.config import experiment
from synthjax.launch.markdown import Table

from .s0_sets import STRATIFIED, Config, Judges, judged, training_sets
from .workspace import Generator, Workspace, cell, slug, train_and_test

GIBBS, ALGORITHM_1 = "block Gibbs", "Algorithm 1"
METHODS: dict[str, dict[str, Any]] = {GIBBS: {}, ALGORITHM_1: {"method": "mean_field"}}
NETWORKS = 3
"""CNNs that learn from the large set."""


def machine(workspace: Workspace, config: Config, dataset: str) -> Generator:
    """The trained Boltzmann machine of that data set."""
    chosen = experiment(None, config.boltzmann, dataset)
    model = chosen.model
    if config.boltzmann_steps:
        model = dataclasses.replace(model, steps=config.boltzmann_steps)
    return workspace.train(
        f"{config.boltzmann}-{slug(dataset)}", dataclasses.replace(chosen, model=model, seed=config.seed)
    )


def draw(
    workspace: Workspace, config: Config, made: Generator, rows: int, method: str, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """x (rows, *shape) as stored and y (rows,), each class equally often, to within one."""
    counts = np.bincount(np.arange(rows) % made.spec.n_classes, minlength=made.spec.n_classes)
    name = slug(f"{made.name}-{rows}-{method}-{seed}")
    return workspace.draw(made, counts, seed=seed, name=name, options=METHODS[method])


def small_sets(workspace: Workspace, config: Config) -> Table:
    """The judges of Table 1 on small sets of the machine's images."""
    judges = Judges(workspace, config)
    made = machine(workspace, config, config.dataset)
    rows = []
    real = training_sets(workspace, config, config.models[0])[STRATIFIED]
    found = {STRATIFIED: judged(workspace, config, judges, STRATIFIED, real)}
    shared = {}
    for method in METHODS:

        def sets(method: str = method) -> tuple[np.ndarray, np.ndarray]:
            x, y = draw(workspace, config, made, config.trials * config.size, method, config.seed)
            folds = transforms.folds(y, config.trials, config.size, config.seed, True)
            return x[folds], y[folds]

        found[method] = judged(workspace, config, judges, f"{config.boltzmann}, {method}", sets)
        first, _ = draw(workspace, config, made, config.size, method, config.seed)
        again, _ = draw(workspace, config, made, config.size, method, config.seed + 1)
        shared[method] = sum(any((one == other).all() for other in again) for one in first)
        picture = workspace.folder / f"{slug(config.boltzmann)}_{slug(method)}.png"
        columns = max(config.size // made.spec.n_classes, 1)
        files.write(picture, png.grid(first, columns=columns, levels=made.spec.levels))
    for judge_name in found[STRATIFIED]:
        rows += [(judge_name, source, cell(values[judge_name])) for source, values in found.items()]
    title = f"Accuracy, training sets of {config.size} images of a {config.boltzmann}, {config.trials} of them"
    notes = [f"Of {config.size} images by {method}, {n} come again in a second call." for method, n in shared.items()]
    return Table("boltzmann", title, ("judge", "trained on", "measured"), rows, tuple(notes))


def large_set(workspace: Workspace, config: Config) -> Table:
    """The standard CNN, trained on the machine's images alone, beside as many real ones."""
    made = machine(workspace, config, config.dataset)
    data = workspace.data(made.experiment)
    n = config.boltzmann_rows
    tests = {"test": (data.test.x[: config.test_size or None], data.test.y[: config.test_size or None])}
    rng = np.random.default_rng(config.seed)

    def accuracy(x: np.ndarray, y: np.ndarray) -> list[float]:
        found = train_and_test((x, y), tests, made.spec, seeds=NETWORKS, seed=config.seed)
        return found["test"]["accuracy"]

    def real() -> list[float]:
        rows = stratified(rng, data.train.y, n)
        return accuracy(data.train.x[rows], data.train.y[rows])

    rows = [("real", cell(workspace.result(f"standard CNN, {n} real", real)))]
    for method in METHODS:

        def drawn(method: str = method) -> list[float]:
            return accuracy(*draw(workspace, config, made, n, method, config.seed))

        values = workspace.result(f"standard CNN, {n} {config.boltzmann}, {method}", drawn)
        rows.append((f"{config.boltzmann}, {method}", cell(values)))
    title = f"The standard CNN, trained on {n:,} images, on the real test set"
    return Table("boltzmann, large", title, ("trained on", "accuracy (networks)"), rows)


def colour(workspace: Workspace, config: Config) -> Table:
    """Which classes of the machine's colour images a judge that knows the real ones can tell."""
    made = machine(workspace, config, config.colour)
    data, n_classes = workspace.data(made.experiment), made.spec.n_classes
    x, y = workspace.draw(
        made,
        [10] * n_classes,
        seed=config.seed,
        name=f"{made.name}-colour",
        options={"steps": config.boltzmann_sweeps},
    )
    files.write(workspace.folder / f"{slug(made.name)}.png", png.grid(x, columns=10, levels=made.spec.levels))

    def told() -> list[list[float | None]]:
        def flat(a: np.ndarray) -> np.ndarray:
            return a.reshape(len(a), -1) / (made.spec.levels - 1)

        answers = images.svm(flat(data.train.x), data.train.y)
        known, drawn = answers(flat(data.test.x)), answers(flat(x))
        return [images.recall(labels, found[None], n_classes) for labels, found in ((data.test.y, known), (y, drawn))]

    real, fake = workspace.result(f"{made.name}, told", told)
    rows = [
        (name, *("" if share is None else f"{share:.2f}" for share in (real[k], fake[k])))
        for k, name in enumerate(made.spec.classes)
    ]
    note = "The study, after as many Gibbs steps of its own machine: only horses could be told."
    title = f"{config.boltzmann} on {config.colour}, {config.boltzmann_sweeps:,} sweeps: shares told by an SVM"
    return Table("boltzmann, colour", title, ("class", "of real test images", "of 10 drawn"), rows, (note,))


def tables(workspace: Workspace, config: Config) -> list[Table]:
    """All of them."""
    return [small_sets(workspace, config), large_set(workspace, config), colour(workspace, config)]
