"""S0: its settings, its training sets of real and of generated digits, and the judges that learn from them."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from synthjax.data import transforms
from synthjax.evals import keras_cnn
from synthjax.evals.domains import images
from synthjax.launch import runs
from synthjax.launch.config import Experiment, experiment
from synthjax.model import Model, State
from synthjax.models import dcgan

from .workspace import Generator, Workspace, train_and_test

RANDOM, STRATIFIED, BLURRED = "real, at random", "real, stratified", "real, stratified, blurred"
FIRST = "one of each batch"
"""Generated as the study did it: the first image of each batch of one label."""


@dataclass(frozen=True)
class Config:
    """What the study leaves open, and how much of it is run."""

    dataset: str = "mnist"
    models: tuple[str, ...] = ("dcgan",)
    """Generators; all but dcgan are trained as their config of the data set says."""
    epochs: int = 7
    """Of the DCGAN; batches of 64."""
    same_epochs: bool = False
    """Train the others for as many epochs, instead of as their config says: each sees the data equally often."""
    trials: int = 10
    size: int = 100
    """Images in a small training set."""
    large: int = 1000
    """Images in a large one (Table 2)."""
    steps: int = 10
    """Images between two points of the learning curves."""
    folds: int = 3
    """Trials at each point of the learning curves."""
    cnn_epochs: tuple[int, ...] = (12, 36)
    """Passes of the CNN, a row of results each. The study states none; the Keras example has 12, of 60,000 images."""
    blur: float = 1.0
    """Standard deviation, in pixels, of the blur of the control."""
    test_size: int = 0
    """Test images, the first ones; 0: all."""
    colour: str = "cifar10"
    """Data set of the last experiment, a DCGAN on colour images."""
    colour_epochs: int = 40
    """Of that DCGAN."""
    boltzmann: str = "dbm"
    """The labelled Boltzmann machine of table "boltzmann", trained as its configs of the data sets say,"""
    boltzmann_steps: int = 0
    """or for so many steps; 0: theirs."""
    boltzmann_rows: int = 10_000
    """Images that a CNN learns from without any real one."""
    boltzmann_sweeps: int = 10_000
    """Gibbs sweeps of its colour images, as in the study."""
    seed: int = 0


def generator(workspace: Workspace, config: Config, name: str) -> Generator:
    """The trained generator of that name."""
    chosen = experiment(None, name, config.dataset)
    data = workspace.data(chosen)
    seen = config.epochs * len(data.train.y)
    if name == "dcgan":  # the study's, as published
        model = dcgan.Config(batch_size=64, steps=max(seen // 64, 1))
        chosen = Experiment(name, model, config.dataset, seed=config.seed)
    elif config.same_epochs:
        batches = runs.build(chosen, data.spec).n_batches
        steps = max(seen // (chosen.model.batch_size * batches), 1)
        chosen = dataclasses.replace(chosen, model=dataclasses.replace(chosen.model, steps=steps))
    return workspace.train(name, chosen)


def first_of_each(model: Model, state: State, key: jax.Array, labels: np.ndarray, size: int = 64) -> np.ndarray:
    """For each label the first example of a batch of `size` with that label alone: (N, *shape) f32."""

    @jax.jit
    def some(keys, labels):
        one = jax.vmap(lambda key, label: model.sample(key, state, jnp.full(size, label))[0])
        return one(keys, labels)

    block = 10
    padded = np.concatenate([labels, np.zeros(-len(labels) % block, np.int32)])
    keys = jax.random.split(key, len(padded))
    parts = [some(keys[i : i + block], padded[i : i + block]) for i in range(0, len(padded), block)]
    return np.concatenate(parts)[: len(labels)]


def generated(workspace: Workspace, config: Config, name: str, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Training sets x (trials, size, ...), y (trials, size) of a generator, each class equally often, to within one."""
    made = generator(workspace, config, name)
    n_classes = made.spec.n_classes
    labels = np.arange(config.trials * size, dtype=np.int32) % n_classes
    x, y = workspace.draw(made, np.bincount(labels, minlength=n_classes), seed=config.seed, name=f"{name}-{size}")
    rows = transforms.folds(y, config.trials, size, config.seed, True)
    return x[rows], y[rows]


def training_sets(
    workspace: Workspace, config: Config, name: str
) -> dict[str, Callable[[], tuple[np.ndarray, np.ndarray]]]:
    """Source -> the training sets of `size` images, as of `generated`; those of the generator come last."""
    data = workspace.data(experiment(None, name, config.dataset))

    def real(stratified: bool) -> tuple[np.ndarray, np.ndarray]:
        rows = transforms.folds(data.train.y, config.trials, config.size, config.seed, stratified)
        return data.train.x[rows], data.train.y[rows]

    def blurred() -> tuple[np.ndarray, np.ndarray]:
        from scipy import ndimage

        x, y = real(True)
        soft = ndimage.gaussian_filter(x.astype(np.float32), (0, 0, config.blur, config.blur, 0))
        return np.rint(soft).astype(np.uint8), y

    def first() -> tuple[np.ndarray, np.ndarray]:
        made = generator(workspace, config, name)
        labels = np.arange(config.trials * config.size, dtype=np.int32) % made.spec.n_classes
        x = first_of_each(made.model, made.state, jax.random.key(config.seed), labels)
        rows = transforms.folds(labels, config.trials, config.size, config.seed, True)
        return np.asarray(made.spec.decode(x))[rows], labels[rows]

    sources = {RANDOM: lambda: real(False), STRATIFIED: lambda: real(True), BLURRED: blurred}
    if name == config.models[0]:
        sources[f"{name}, {FIRST}"] = first
    return {**sources, name: lambda: generated(workspace, config, name, config.size)}


class Judges:
    """The support vector machine and the CNN, which answer with their accuracy on the test images."""

    def __init__(self, workspace: Workspace, config: Config):
        self.config = config
        data = workspace.data(experiment(None, config.models[0], config.dataset))
        self.spec = data.spec
        rows = slice(config.test_size or None)
        self.test = data.test.x[rows], data.test.y[rows]

    def svm(self, x: np.ndarray, y: np.ndarray) -> float:
        """Accuracy of the machine that learnt from x (N, H, W, C) integers, y (N,)."""

        def flat(a: np.ndarray) -> np.ndarray:
            return a.reshape(len(a), -1) / (self.spec.levels - 1)

        return float((images.svm(flat(x), y)(flat(self.test[0])) == self.test[1]).mean())

    def cnn(self, x: np.ndarray, y: np.ndarray, epochs: int, seed: int) -> float:
        """Accuracy of the CNN after so many epochs of x, y."""
        # One size for all sets, one compilation.
        rows = max(self.config.size + self.spec.n_classes, keras_cnn.PROTOCOL.batch)
        training: dict[str, Any] = {"protocol": keras_cnn.PROTOCOL.with_epochs(epochs), "seeds": 1, "pad_to": rows}
        found = train_and_test((x, y), {"test": self.test}, self.spec, seed=seed, **training)
        return found["test"]["accuracy"][0]

    def all(self, x: np.ndarray, y: np.ndarray, seed: int) -> dict[str, float]:
        """Accuracy of each judge, by name."""
        cnns = {cnn_name(epochs): self.cnn(x, y, epochs, seed) for epochs in self.config.cnn_epochs}
        return {"SVM": self.svm(x, y), **cnns}


def cnn_name(epochs: int) -> str:
    """What the CNN that was trained for so many epochs is called in tables."""
    return f"CNN, {epochs} epochs"


def judged(
    workspace: Workspace, config: Config, judges: Judges, source: str, make: Callable[[], tuple[np.ndarray, np.ndarray]]
) -> dict[str, list[float]]:
    """Judge -> accuracy of each trial, of the training sets that `make` returns: x (trials, size, ...), y."""

    def trials() -> dict[str, list[float]]:
        x, y = make()
        found = [judges.all(x[i], y[i], config.seed + i) for i in range(config.trials)]
        return {judge: [one[judge] for one in found] for judge in found[0]}

    return workspace.result(f"size-{config.size}, {source}", trials)


def accuracies(workspace: Workspace, config: Config) -> dict[str, dict[str, list[float]]]:
    """Source -> judge -> accuracy of each trial: what Tables 1, 3 and 4 are made of."""
    found: dict[str, dict[str, list[float]]] = {}
    judges = Judges(workspace, config)
    for name in config.models:
        for source, make in training_sets(workspace, config, name).items():
            if source not in found:
                found[source] = judged(workspace, config, judges, source, make)
    return found
