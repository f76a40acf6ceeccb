"""Fidelity: do the synthetic examples look like real ones, and are all kinds of real ones among them?

In a feature space (the dense layer of a CNN that was trained on real data), let the ball of an example reach to its
k-th nearest neighbour within its own set. With R real and S synthetic examples,

    precision   share of S within the ball of some r          recall   share of R within the ball of some s
    density     balls of R that hold an s, mean over S, / k   coverage share of R whose own ball holds some s

(Kynkäänniemi et al., Improved precision and recall metric, 2019; Naeem et al., Reliable fidelity and diversity metrics,
2020.) Density is 1 in expectation for S drawn as R is, and may exceed 1; precision and recall are swayed by single
outliers, density and coverage are not. All four depend on the numbers of examples, so that figures compare only with
a reference of the same numbers: real training examples in the place of S.

Per class and in pixels, which no network stands between: with mean image mu and covariance C of pixels in [0, 1],

    mean_distance         |mu_S - mu_R| / sqrt(D), the root mean square over the D values of an image
    covariance_distance   |C_S - C_R|_F / |C_R|_F

and again in the feature space,

    diversity             mean distance of two synthetic examples, over that of two real ones

which falls towards 0 where a generator makes the same few examples of a class again and again
(`synthjax.evals.collapse`).

Distances of whole sets, in the feature space: Fréchet's, and the kernel distance, the squared maximum mean discrepancy
for k(a, b) = (a.b / F + 1)^3, estimated without bias so that it may fall below 0 (Bińkowski et al., Demystifying MMD
GANs, 2018). Neither compares with published FID and KID, whose features are Inception's. And there, too, the classifier
two-sample test (`synthjax.evals.two_sample`) and a map of both sets (`synthjax.evals.maps`).

Both are also taken class by class, from at most `PAIRED` examples of each side. So few push Fréchet's distance up, by
about the trace of the covariance over their number and more (that of equal distributions is far above 0), and spread
the kernel distance around its value; so the reference, as many real training examples of the class, stands beside
each, and only the excess over it says something.

A set without labels has all of this but what is said per class.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from synthjax.evals import maps, two_sample
from synthjax.evals.collapse import collapsed, diversity
from synthjax.evals.utility import Examples, check
from synthjax.model import DataSpec

K = 5
"""Neighbours that the radius of a ball is taken from, as Naeem et al. propose."""
PAIRED = 500
"""Examples of each class that are paired with one another for its diversity."""
LIMIT = 10_000
"""Examples of each set at most: time grows with the square of their number."""
TESTED = 5_000
"""Examples of each set that the two-sample test looks at, at most."""
_BLOCK = 1024


def evaluate(
    synthetic: Examples,
    test: Examples,
    spec: DataSpec,
    features: Callable[[np.ndarray], np.ndarray],
    *,
    train: Examples | None = None,
    k: int = K,
    limit: int = LIMIT,
    seed: int = 0,
) -> dict[str, Any]:
    """Compares a synthetic set with real examples.

    Args:
        synthetic: the set that is judged.
        test: real examples to compare with.
        spec: what the data is.
        features: images (N, H, W, C) to their features (N, F), as `classifiers.features` gives them.
        train: other real examples; `reference` is what they score in the place of the synthetic ones. They should not
            be those that the features were learnt from.
        k: neighbours that the radius of a ball is taken from; lowered to what the smaller set has.
        limit: examples of each set at most; more are subsampled.
        seed: of the subsamples.

    Returns:
        Plain values: `precision`, `recall`, `density`, `coverage`; `frechet`, the squared Fréchet distance of
        Gaussians with the features' moments; `kernel`, the kernel distance; `c2st` (`two_sample.judge`); `reference`,
        the same seven for `train` (None without); `map`, of `maps.plane`, real ones being `test`; `per_class`, by
        class name (none if the synthetic set has no labels) `mean_distance`, `covariance_distance`, `diversity` (None
        where a class has fewer than two examples, or real ones that do not vary), `frechet`, `kernel`, and under
        `reference` the same two for `train` (None where there are fewer than two), `n_compared` examples of each that
        those were taken from, `n_synthetic`, `n_real`; `collapsed`, the names of classes with a diversity below 0.5;
        `k`, `n_synthetic`, `n_real`.

    Raises:
        InputError: a set is empty, of another shape, or has labels out of range; or fewer than two examples.
    """
    labelled = synthetic.y is not None and spec.n_classes > 0
    for name, part in (("synthetic", synthetic), ("test", test), ("train", train)):
        if part is not None:
            check(name, part, spec if labelled else dataclasses.replace(spec, classes=()), at_least=2)
    rng = np.random.default_rng(seed)
    rows = _rows(rng, len(test.x), limit)
    real = features(test.x[rows])
    fake = features(synthetic.x[_rows(rng, len(synthetic.x), len(real))])
    k = min(k, len(real) - 1, len(fake) - 1)
    reference = None
    if train is not None:
        other = features(train.x[_rows(rng, len(train.x), len(fake))])
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
    beside = np.random.default_rng([seed, 22])
    found = {}
    for label, name in enumerate(spec.classes):
        both = synthetic.x[synthetic.y == label], test.x[test.y == label]
        fake, real = (features(x[_rows(rng, len(x), PAIRED)]) if len(x) > 1 else None for x in both)
        other = None
        if train is not None:
            rows = np.flatnonzero(train.y == label)
            rows = rows[_rows(beside, len(rows), PAIRED)]
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


def neighbourhoods(real: np.ndarray, fake: np.ndarray, k: int) -> dict[str, float]:
    """Precision, recall, density and coverage of points `fake` (S, F) among points `real` (R, F), 1 <= k < R, S.

    The edge of a ball belongs to it, as in the first paper: on data with duplicates a ball may have radius 0.
    """
    real, fake = real.astype(np.float64), fake.astype(np.float64)
    real_radii, fake_radii = _radii(real, k), _radii(fake, k)
    holders = np.zeros(len(fake))  # balls of R that hold this s
    recalled, covered = np.zeros(len(real), bool), np.zeros(len(real), bool)
    for start in range(0, len(real), _BLOCK):
        rows = slice(start, start + _BLOCK)
        square = _squares(real[rows], fake)
        within = square <= real_radii[rows, None]
        holders += within.sum(0)
        covered[rows] = within.any(1)
        recalled[rows] = (square <= fake_radii).any(1)
    return {
        "precision": float((holders > 0).mean()),
        "recall": float(recalled.mean()),
        "density": float(holders.mean() / k),
        "coverage": float(covered.mean()),
    }


def _distances(real: np.ndarray, fake: np.ndarray, seed: int) -> dict[str, Any]:
    """Of whole sets; the two-sample test takes as many of both."""
    rng = np.random.default_rng([seed, 20])
    few = [points[_rows(rng, len(points), min(len(real), len(fake), TESTED))] for points in (real, fake)]
    told = two_sample.judge(*few, seed=seed)
    return {"frechet": frechet(real, fake), "kernel": kernel_distance(real, fake), "c2st": told}


def _map(
    real: np.ndarray, fake: np.ndarray, labels: np.ndarray | None, spec: DataSpec, seed: int
) -> dict[str, Any] | None:
    """Some points of both in one plane, with the names of the real ones' classes."""
    rng = np.random.default_rng([seed, 21])
    shown, others = (_rows(rng, len(points), maps.SHOWN) for points in (real, fake))
    names = None
    if labels is not None:
        names = {name: np.flatnonzero(labels[shown] == label) for label, name in enumerate(spec.classes)}
    return maps.plane(real[shown], fake[others], names=names, seed=seed)


def kernel_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Unbiased squared maximum mean discrepancy of points `a` (N, F) and `b` (M, F), N, M >= 2, by the cubic kernel."""
    a, b = a.astype(np.float64), b.astype(np.float64)

    def total(x: np.ndarray, y: np.ndarray) -> float:
        blocks = (x[i : i + _BLOCK] @ y.T / x.shape[1] + 1 for i in range(0, len(x), _BLOCK))
        return float(sum((block**3).sum() for block in blocks))

    def alone(x: np.ndarray) -> float:
        own = (((x**2).sum(1) / x.shape[1] + 1) ** 3).sum()
        return (total(x, x) - float(own)) / (len(x) * (len(x) - 1))

    return alone(a) + alone(b) - 2 * total(a, b) / (len(a) * len(b))


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """Squared Fréchet distance of the Gaussians with the moments of points `a` (N, F) and `b` (M, F), N, M >= 2.

    |mu_a - mu_b|^2 + tr(A + B - 2 (A^1/2 B A^1/2)^1/2) (Dowson & Landau 1982; Heusel et al. 2017, where the points are
    Inception features: figures in other feature spaces do not compare with theirs).
    """
    a, b = a.astype(np.float64), b.astype(np.float64)
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    values, vectors = np.linalg.eigh(np.atleast_2d(cov_a))
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    product = np.linalg.eigvalsh(root @ np.atleast_2d(cov_b) @ root)
    shift = ((a.mean(0) - b.mean(0)) ** 2).sum()
    trace = np.trace(np.atleast_2d(cov_a)) + np.trace(np.atleast_2d(cov_b)) - 2 * np.sqrt(np.maximum(product, 0)).sum()
    # Equal moments leave a rounding error of either sign.
    return float(max(shift + trace, 0.0))


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


def _rows(rng: np.random.Generator, there: int, n: int) -> np.ndarray:
    """At most `n` of the rows 0 ... there - 1, in order."""
    return np.arange(there) if n >= there else np.sort(rng.choice(there, n, replace=False))


def _squares(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared distances (A, B) of rows; in float64 the product form is exact enough for features."""
    return np.maximum((a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * (a @ b.T), 0)


def _radii(points: np.ndarray, k: int) -> np.ndarray:
    """Squared distance (N,) of each point to its k-th nearest other point."""
    radii = np.empty(len(points))
    for start in range(0, len(points), _BLOCK):
        square = _squares(points[start : start + _BLOCK], points)
        np.fill_diagonal(square[:, start:], -1.0)  # the point itself comes first, before its duplicates
        radii[start : start + _BLOCK] = np.partition(square, k, axis=1)[:, k]
    return radii
