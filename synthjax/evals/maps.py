"""Maps of real and synthetic examples in one plane: t-SNE.

t-SNE (van der Maaten & Hinton 2008) keeps neighbours together: a kind of real example that the synthetic set lacks is a
spot where only real ones lie, and the other way round. Distances between spots, and their sizes, say nothing.

    found = maps.plane(real, synthetic, names={"0": np.flatnonzero(y == 0), ...})     # plain values for the report
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from synthjax.errors import InputError
from synthjax.evals.threads import single_thread

SHOWN = 500
"""Examples of each set on a map at most: t-SNE of 1,000 points takes seconds."""
PERPLEXITY = 30
SIDE = 1000
"""Places of `plane` are whole numbers in 0 ... SIDE."""
NAMED = 20
"""Classes whose names stand on a map at most."""


def embed(groups: Mapping[str, np.ndarray], *, dims: int = 2, seed: int = 0) -> dict[str, np.ndarray]:
    """t-SNE of several groups of points (n, F) at once, in 2 or 3 dimensions: name -> places (n, dims) f64.

    InputError: fewer than 5 points in all.
    """
    from sklearn.manifold import TSNE

    points = np.concatenate(list(groups.values()))
    if len(points) < 5:
        raise InputError(f"embed: {len(points)} rows are too few for a map")
    perplexity = min(PERPLEXITY, (len(points) - 1) / 4)
    start = "pca" if points.shape[1] >= dims else "random"
    with single_thread():
        places = TSNE(dims, perplexity=perplexity, init=start, random_state=seed).fit_transform(points)
    cuts = np.cumsum([len(part) for part in groups.values()])[:-1]
    return dict(zip(groups, np.split(places.astype(np.float64), cuts), strict=True))


def plane(
    real: np.ndarray, synthetic: np.ndarray, *, names: Mapping[str, np.ndarray] | None = None, seed: int = 0
) -> dict[str, Any] | None:
    """A map for the report of `real` (n, F) and `synthetic` (m, F) points, with the keys of `report.shared.Map`.

    `names` are rows of `real` by class, whose most central real example gets the name: none of a class without rows,
    and none at all of more than `NAMED` classes. None where there are fewer than 5 points of either kind, or all are
    the same.
    """
    if min(len(real), len(synthetic)) < 5 or (np.ptp(real, axis=0).max() == 0 and np.ptp(synthetic, axis=0).max() == 0):
        return None
    found = embed({"real": real, "synthetic": synthetic}, seed=seed)
    both = np.concatenate(list(found.values()))
    low, width = both.min(0), np.ptp(both, axis=0).max() or 1.0
    places = {name: np.rint((points - low) / width * SIDE).astype(int) for name, points in found.items()}
    middles = {}
    if names is not None and len(names) <= NAMED:
        for name, rows in names.items():
            if len(rows):
                of_class = places["real"][rows]
                away = np.linalg.norm(of_class - np.median(of_class, axis=0), axis=1)
                middles[name] = of_class[away.argmin()].tolist()
    return {**{name: points.tolist() for name, points in places.items()}, "names": middles}
