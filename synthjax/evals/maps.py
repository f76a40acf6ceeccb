"""Maps of real and synthetic examples in one plane: t-SNE, and the pictures of it on a page.

t-SNE (van der Maaten & Hinton 2008) keeps neighbours together: a kind of real example that the synthetic set lacks is a
spot where only real ones lie, and the other way round. Distances between spots, and their sizes, say nothing.

    found = maps.plane(real, synthetic, names={"0": np.flatnonzero(y == 0), ...})     # plain values for the report
    html = maps.section(found, unit="example", space="in the features of a CNN")
"""

from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np

from synthjax.errors import InputError
from synthjax.evals import markup
from synthjax.evals.threads import single_thread

SHOWN = 500
"""Examples of each set on a map at most: t-SNE of 1,000 points takes seconds."""
PERPLEXITY = 30
SIDE = 1000
"""Places of `plane` are whole numbers in 0 ... SIDE."""
NAMED = 20
"""Classes whose names stand on a map at most."""
_MARGIN = 30


def embed(groups: Mapping[str, np.ndarray], *, dims: int = 2, seed: int = 0) -> dict[str, np.ndarray]:
    """t-SNE of several groups of points at once.

    Args:
        groups: name -> points (n, F).
        dims: 2 or 3.
        seed: of the map.

    Returns:
        Name -> places (n, dims) f64.

    Raises:
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
    """A map for the report.

    Args:
        real: (n, F) points, at most `SHOWN` for a map within seconds.
        synthetic: (m, F) likewise.
        names: class -> rows of `real`; those without rows are left out, and all of them where there are too many.
        seed: of the map.

    Returns:
        Plain values: `real` and `synthetic`, lists of places [x, y], whole numbers in 0 ... `SIDE`; `names`, class ->
        the place of its most central real example. None where there are fewer than 5 points of either kind, or all of
        them are the same.
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


def section(found: Mapping[str, Any] | None, *, unit: str, space: str) -> str:
    """HTML of a map: real examples before synthetic ones, and the other way round; "" where there is none.

    Args:
        found: of `plane`.
        unit: what an example is called.
        space: where the points lie, as it stands in a sentence.
    """
    if found is None:
        return ""
    panels = ""
    for order, (name, other) in enumerate((("real", "synthetic"), ("synthetic", "real")), start=1):
        picture = _panel(found[other], found[name], found["names"], order, f"Map of {name} {unit}s")
        panels += markup.figure(picture, f"{name.capitalize()} {unit}s; in grey the {other} ones.")
    return (
        f"<h3>A map of both</h3><p>t-SNE of {len(found['real']):,} real and {len(found['synthetic']):,} synthetic "
        f"{unit}s {space}, the same in both pictures. Where a picture is grey alone, the set in colour lacks a kind of "
        f"{unit}. Only neighbourhoods mean something: how large spots are, and how far apart, does not.</p>"
        f'<div class="pair">{panels}</div>'
    )


def _panel(behind: Any, before: Any, names: Mapping[str, Any], order: int, title: str) -> str:
    """An SVG picture; points in front have the colour of class `s<order>`."""

    right, top = (max(place[axis] for place in (*behind, *before)) for axis in (0, 1))

    def dots(places: Any) -> str:
        return "".join(f"M{x} {top - y}h0" for x, y in places)

    texts = "".join(
        f'<text x="{x}" y="{top - y + 14}" class="name" text-anchor="middle">{escape(name)}</text>'
        for name, (x, y) in names.items()
    )
    box = f"{-_MARGIN} {-_MARGIN} {right + 2 * _MARGIN} {top + 2 * _MARGIN}"
    return (
        f'<svg class="map" viewBox="{box}" role="img" aria-label="{escape(title)}">'
        f'<path class="points" d="{dots(behind)}"/><path class="points s{order}" d="{dots(before)}"/>{texts}</svg>'
    )
