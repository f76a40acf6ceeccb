"""What studies score synthetic images by: classifiers trained on them, and features of one trained on real images."""

import functools
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from synthjax.data import Dataset, Split
from synthjax.evals import classifiers
from synthjax.evals.domains.images import passes
from synthjax.evals.fidelity import images
from synthjax.evals.subsample import stratified


@dataclass(frozen=True)
class ImageScores:
    """Scores of sets of images against one data set; what is trained on real images is trained once, when needed."""

    data: Dataset
    samples: int
    """Images in each synthetic set, and real ones beside them at most."""
    networks: int
    """Classifiers per training set."""
    epochs: int
    """Their passes through it."""
    seed: int
    limit: int = images.LIMIT
    """Images whose neighbours are looked for, at most."""
    steps: int = 0
    """Steps of each classifier, whatever the size of its training set; 0: those of its epochs."""

    @functools.cached_property
    def real(self) -> Split:
        """As many real training images as there are synthetic ones, or all."""
        rows = stratified(np.random.default_rng(self.seed), self.data.train.y, self.samples)
        return self.data.train.take(rows)

    @functools.cached_property
    def trained_on_real(self) -> classifiers.Classifiers:
        """Classifiers trained on `real`; the first gives the features."""
        return self.train(self.real.x, self.real.y)

    def train(self, x: np.ndarray, y: np.ndarray) -> classifiers.Classifiers:
        """Classifiers trained on images x (N, H, W, C) as stored, y (N,)."""
        key, size = jax.random.key(self.seed), max(self.samples, len(self.real.y))
        epochs = passes(len(y), self.steps) if self.steps else self.epochs
        protocol = classifiers.STANDARD.with_epochs(epochs)
        return classifiers.train(key, (x, y), self.data.spec, protocol=protocol, seeds=self.networks, pad_to=size)

    def accuracy(self, nets: classifiers.Classifiers) -> list[float]:
        """Of each classifier, on real test images."""
        test = self.data.test
        return (classifiers.predict(nets, test.x).argmax(-1) == test.y).mean(axis=1).tolist()

    def likeness(self, made: Split) -> dict[str, Any]:
        """Precision and recall among real test images, mean diversity of the classes, names of collapsed classes."""
        features = functools.partial(classifiers.features, self.trained_on_real)
        test, spec = self.data.test, self.data.spec
        found = images.evaluate(made, test, spec, features, limit=self.limit, seed=self.seed)
        diversity = [of["diversity"] for of in found["per_class"].values() if of["diversity"] is not None]
        kept = {name: found[name] for name in ("precision", "recall", "collapsed")}
        return {**kept, "diversity": float(np.mean(diversity))}
