"""Fidelity: do the synthetic examples look like real ones, and are all kinds of real ones among them?

In a feature space, the dense layer of a CNN that was trained on real data, the measures of `feature_space`, the
classifier two-sample test (`synthjax.evals.two_sample`) and a map of both sets (`synthjax.evals.maps`). Fréchet's and
the kernel distance do not compare with published FID and KID, whose features are Inception's. `reference` is what real
training examples score in the place of the synthetic ones.

Per class and in pixels, which no network stands between: with mean image mu and covariance C of pixels in [0, 1],

    mean_distance         |mu_S - mu_R| / sqrt(D), the root mean square over the D values of an image
    covariance_distance   |C_S - C_R|_F / |C_R|_F

and in the feature space its diversity, Fréchet's and the kernel distance, from at most `PAIRED` examples of each side.
So few push Fréchet's distance up, by
about the trace of the covariance over their number and more (that of equal distributions is far above 0), and spread
the kernel distance around its value; so the reference, as many real training examples of the class, stands beside
each, and only the excess over it says something.

A set without labels has all of this but what is said per class.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from synthjax.evals import classifiers, maps, two_sample
from synthjax.evals.collapse import collapsed, diversity
from synthjax.evals.domains.images import Examples, Images, check
from synthjax.evals.fidelity.feature_space import K, frechet, kernel_distance, neighbourhoods
from synthjax.evals.sets import Sets
from synthjax.evals.streams import stream
from synthjax.evals.subsample import sample, stratified
from synthjax.model import DataSpec

PAIRED = 500
"""Examples of each class that are paired with one another for its diversity."""
LIMIT = 10_000
"""Examples of each set at most: time grows with the square of their number."""
TESTED = 5_000
"""Examples of each set that the two-sample test looks at, at most."""


def in_learnt_features(sets: Sets, *, limit: int, seed: int = 0) -> dict[str, Any]:
    """`evaluate`, in the features of a CNN trained on at most `limit` real training examples.

    `network` describes the CNN: its accuracy on the real test set, the sha256 of its parameters, its training examples.
    """
    domain, train, test = sets.domain, sets.train, sets.test
    assert isinstance(domain, Images)
    rows = stratified(stream(seed, "fidelity.network"), train.y, limit)
    examples, protocol = (train.x[rows], train.y[rows]), classifiers.STANDARD.with_epochs(domain.epochs)
    cnn = classifiers.train(jax.random.key(seed), examples, domain.spec, protocol=protocol, seeds=1)
    others = np.setdiff1d(np.arange(len(train.y)), rows)
    # What the network learnt from lies further apart in its features than anything else.
    beside = domain.take(train, others) if len(others) >= len(test.y) else train
    features = functools.partial(classifiers.features, cnn)
    found = evaluate(sets.synthetic, test, domain.spec, features, train=beside, seed=seed)
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(cnn.variables):
        digest.update(np.asarray(leaf).tobytes())
    right = classifiers.predict(cnn, test.x)[0].argmax(-1) == test.y
    told = {"accuracy": float(right.mean()), "sha256": digest.hexdigest()}
    return {**found, "network": {**told, "examples": len(rows), "epochs": domain.epochs}}


def evaluate(
    synthetic: Examples,
    test: Examples,
    spec: DataSpec,
    features: Callable[[np.ndarray], np.ndarray],
    *,
    train: Examples | None = None,
    limit: int = LIMIT,
    seed: int = 0,
) -> dict[str, Any]:
    """Compares a synthetic set with real examples, of all sets at most `limit`.

    `features` takes images (N, H, W, C) to their features (N, F), as `classifiers.features` does. `train` are other
    real examples, which the features should not be learnt from: `reference` is what they score in the place of the
    synthetic ones, None without them. `seed` is that of the subsamples.

    Returns plain values with the keys of `report.images.ImageFidelity` but `network`; `per_class` is empty if the
    synthetic set has no labels.

    Raises:
        InputError: a set is of another shape, has labels out of range, or fewer than two examples.
    """
    labelled = synthetic.y is not None and spec.n_classes > 0
    for name, part in (("synthetic", synthetic), ("test", test), ("train", train)):
        if part is not None:
            check(name, part, spec if labelled else dataclasses.replace(spec, classes=()), at_least=2)
    rng = stream(seed, "fidelity.rows")
    rows = sample(rng, len(test.x), limit)
    real = features(test.x[rows])
    fake = features(synthetic.x[sample(rng, len(synthetic.x), len(real))])
    k = min(K, len(real) - 1, len(fake) - 1)
    reference = None
    if train is not None:
        other = features(train.x[sample(rng, len(train.x), len(fake))])
        reference = {**neighbourhoods(real, other, min(k, len(other) - 1)), **_distances(real, other, seed)}
    per_class = _per_class(rng, synthetic, test, train, spec, features, seed) if labelled else {}
    return {
        **neighbourhoods(real, fake, k),
        **_distances(real, fake, seed),
        "reference": reference,
        "map": _map(real, fake, test.y[rows] if spec.n_classes else None, spec, seed),
        "per_class": per_class,
        "collapsed": collapsed({name: of["diversity"] for name, of in per_class.items()}),
        **{"k": k, "n_synthetic": len(fake), "n_real": len(real)},
    }


def _per_class(
    rng: np.random.Generator,
    synthetic: Examples,
    test: Examples,
    train: Examples | None,
    spec: DataSpec,
    features: Callable[[np.ndarray], np.ndarray],
    seed: int,
) -> dict[str, dict[str, Any]]:
    """Moments in pixels, diversity and distances in feature space, by class name."""
    beside = stream(seed, "fidelity.class_reference")
    found = {}
    for label, name in enumerate(spec.classes):
        both = synthetic.x[synthetic.y == label], test.x[test.y == label]
        fake, real = (features(x[sample(rng, len(x), PAIRED)]) if len(x) > 1 else None for x in both)
        other = None
        if train is not None:
            rows = np.flatnonzero(train.y == label)
            rows = rows[sample(beside, len(rows), PAIRED)]
            other = features(train.x[rows]) if len(rows) > 1 else None
        found[name] = {
            **moments(*both, spec),
            "diversity": diversity(fake, real),
            **_class_distances(fake, real, other),
        }
    return found


def _class_distances(fake: np.ndarray | None, real: np.ndarray | None, other: np.ndarray | None) -> dict[str, Any]:
    """Fréchet's and the kernel distance of points from `real` ones, of as many of `fake` as of `other`."""
    n = min((len(points) for points in (fake, other) if points is not None), default=0)

    def both(points: np.ndarray | None) -> dict[str, float] | None:
        if points is None or real is None:
            return None
        return {"frechet": frechet(real, points[:n]), "kernel": kernel_distance(real, points[:n])}

    return {**(both(fake) or {"frechet": None, "kernel": None}), "reference": both(other), "n_compared": n}


def _distances(real: np.ndarray, fake: np.ndarray, seed: int) -> dict[str, Any]:
    """Of whole sets; the two-sample test takes as many of both."""
    rng = stream(seed, "fidelity.c2st")
    few = [points[sample(rng, len(points), min(len(real), len(fake), TESTED))] for points in (real, fake)]
    told = two_sample.judge(*few, seed=seed)
    return {"frechet": frechet(real, fake), "kernel": kernel_distance(real, fake), "c2st": told}


def _map(
    real: np.ndarray, fake: np.ndarray, labels: np.ndarray | None, spec: DataSpec, seed: int
) -> dict[str, Any] | None:
    """Some points of both in one plane, with the names of the real ones' classes."""
    rng = stream(seed, "fidelity.map")
    shown, others = (sample(rng, len(points), maps.SHOWN) for points in (real, fake))
    names = None
    if labels is not None:
        names = {name: np.flatnonzero(labels[shown] == label) for label, name in enumerate(spec.classes)}
    return maps.plane(real[shown], fake[others], names=names, seed=seed)


def moments(fake: np.ndarray, real: np.ndarray, spec: DataSpec) -> dict[str, Any]:
    """Distances between the moments of images `fake` and `real`, each (N, H, W, C) in 0 ... spec.levels - 1."""
    found: dict[str, Any] = {
        "mean_distance": None,
        "covariance_distance": None,
        "n_synthetic": len(fake),
        "n_real": len(real),
    }
    if len(fake) and len(real):
        s, r = (a.reshape(len(a), -1) / (spec.levels - 1) for a in (fake, real))
        found["mean_distance"] = float(np.sqrt(((s.mean(0) - r.mean(0)) ** 2).mean()))
        if len(s) > 1 and len(r) > 1:
            target = np.cov(r, rowvar=False)
            norm = np.linalg.norm(target)
            if norm > 0:
                found["covariance_distance"] = float(np.linalg.norm(np.cov(s, rowvar=False) - target) / norm)
    return found
