"""A study's workspace whose generators need no training, and a classifier as simple, for tests of the rest."""

import json

import jax
import jax.numpy as jnp
import numpy as np

from synthjax.evals.domains import images
from synthjax.model import Model
from synthjax.studies.workspace import Generator, Workspace

PER_CLASS = 10


def _sample(key, state, labels):
    return state[labels, jax.random.randint(key, labels.shape, 0, state.shape[1])]


MODEL = Model(lambda *_: None, lambda *_: None, _sample)
"""Draws one of the images of its state (K, PER_CLASS, *shape)."""


class ToyWorkspace(Workspace):
    """Its generators are ten held-out images of each class, which they draw at random; two steps a second."""

    def __init__(self, folder):
        super().__init__(folder, None, {}, lambda line: None)
        self.trained = []

    def train(self, name, experiment, data=None):
        data = self.data(experiment) if data is None else data
        workdir = self.folder / "generators" / name
        workdir.mkdir(exist_ok=True)
        line = {"step": experiment.model.steps, "steps_per_second": 2.0, "loss": 1.0}
        (workdir / "metrics.jsonl").write_text(json.dumps(line) + "\n")
        self.trained.append(name)
        bank = np.stack([data.holdout.x[data.holdout.y == k][:PER_CLASS] for k in range(data.spec.n_classes)])
        return Generator(name, workdir, experiment, MODEL, jnp.asarray(data.spec.encode(bank)), data.spec)

    def draw(self, generator, counts, *, seed=0, name=None, options=None):
        y = np.repeat(np.arange(len(counts), dtype=np.int32), np.asarray(counts))
        x = _sample(jax.random.key(seed), generator.state, jnp.asarray(y))
        return np.asarray(generator.spec.decode(x)), y


def train_and_test(examples, tests, spec, *, seed, seeds=1, **training):
    """In the place of `workspace.train_and_test`: each image belongs to the class with the nearest mean image."""
    x, y = examples
    means = np.stack([x[y == k].reshape(-1, spec.dims).mean(0) if (y == k).any() else np.full(spec.dims, 1e9)
                      for k in range(spec.n_classes)])  # fmt: skip
    found = {"losses": [1.0, 0.5]}
    for name, (tested, labels) in tests.items():
        flat = tested.reshape(len(tested), 1, -1).astype(float)
        predicted = ((flat - means) ** 2).sum(-1).argmin(1)
        confusion = images.confusion(labels, predicted[None], spec.n_classes)
        found[name] = {"accuracy": [float((predicted == labels).mean())] * seeds, "confusion": confusion.tolist()}
    return found
