"""What a page shows of the sets beside figures: computed once, kept in the report as `pictures`, drawn by `evals.page`.

Images are PNG files as base64 text; columns, rows and distances of tables are numbers and text. With them the page is a
function of report.json alone. Real training examples are among them: a report is to be kept as private as the data.

    report["pictures"] = pictures.of_images(spec, synthetic, train, test, privacy["closest"])
    report["pictures"] = pictures.of_table(tables, kinds, privacy["closest"], distances)
"""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from synthjax.evals.domains.images import Examples
from synthjax.evals.draw import png
from synthjax.evals.neighbours import nearest
from synthjax.evals.streams import stream
from synthjax.evals.table import Table
from synthjax.model import DataSpec

ROWS = 20
"""Classes in a grid at most."""
COLUMNS = 8
"""Examples of each class."""
NEIGHBOURS = 4
"""Samples of each class that are shown beside their nearest neighbours."""
SIDE = 40
"""Height and width in pixels of an image in a grid at most: a page stays below 5 MB."""
TWIN = 80
"""The same of an image of a closest pair."""
PANELS = 30
"""Columns of a table whose values are drawn at most."""
CATEGORIES = 12
"""Categories of a column that are drawn at most: the most frequent real ones."""
CELLS = 12
"""Columns of the closest rows that are shown at most."""
PAIRS = 5
"""Closest pairs of rows that are shown."""
POINTS = 500
"""Rows whose two distances are drawn as points at most."""
_BINS = 30


# --- images ------------------------------------------------------------------------------------------------------


def of_images(
    spec: DataSpec, synthetic: Examples, train: Examples, test: Examples, closest: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Grids, neighbours and closest pairs; `closest` is that of the privacy part, whose rows index the sets.

    `classes`, the names of all; `synthetic` and `real`, a grid each: `png`, and `names`, the class of each of its rows
    (none without labels); `neighbours`, such a grid of pairs, a synthetic example and the training example nearest to
    it in pixels, or None; `closest`, the pairs in their order: `synthetic` and `train`, a PNG each.
    """
    return {
        "classes": list(spec.classes),
        "synthetic": _grid(synthetic, spec),
        "real": _grid(test, spec),
        "neighbours": _neighbours(spec, synthetic, train),
        "closest": [
            {
                name: _png(png.canvas(_shrunk(part.x[pair[name]][None], TWIN, spec.levels), levels=spec.levels))
                for name, part in (("synthetic", synthetic), ("train", train))
            }
            for pair in closest
        ],
    }


def _png(canvas: np.ndarray) -> str:
    return base64.b64encode(png.encode(canvas)).decode("ascii")


def _shrunk(x: np.ndarray, side: int, levels: int) -> np.ndarray:
    """Images (N, H, W, C) whose height and width are at most `side`: means over square blocks."""
    block = -(-max(x.shape[1:3]) // side)
    if block == 1:
        return x
    height, width = (max(size // block, 1) for size in x.shape[1:3])
    # A side shorter than a block is stretched to one.
    x = np.pad(x, [(0, 0), (0, max(block - x.shape[1], 0)), (0, max(block - x.shape[2], 0)), (0, 0)], mode="edge")
    cut = x[:, : height * block, : width * block].reshape(len(x), height, block, width, block, -1)
    return np.clip(np.rint(cut.mean((2, 4))), 0, levels - 1).astype(x.dtype)


def _grid(examples: Examples, spec: DataSpec) -> dict[str, Any]:
    """The first examples of each class, a class to a row; the first of all without labels."""
    if not spec.n_classes or examples.y is None:
        x = _shrunk(examples.x[: COLUMNS * COLUMNS], SIDE, spec.levels)
        return {"names": [], "png": _png(png.canvas(x, columns=COLUMNS, levels=spec.levels))}
    rows = []
    for label in range(min(spec.n_classes, ROWS)):
        chosen = examples.x[np.flatnonzero(examples.y == label)[:COLUMNS]]
        blank = np.full((COLUMNS - len(chosen), *spec.shape), spec.levels - 1, examples.x.dtype)
        rows.append(_shrunk(np.concatenate([chosen, blank]), SIDE, spec.levels))
    return {"names": list(spec.classes[:ROWS]), "png": _png(png.canvas(np.stack(rows), levels=spec.levels))}


def _neighbours(spec: DataSpec, synthetic: Examples, train: Examples) -> dict[str, Any] | None:
    """Samples of each class, each beside the training example nearest to it in pixels."""
    labelled = spec.n_classes and synthetic.y is not None
    if labelled:
        groups = {
            name: np.flatnonzero(synthetic.y == label)[:NEIGHBOURS] for label, name in enumerate(spec.classes[:ROWS])
        }
    else:
        rows = np.arange(min(NEIGHBOURS**2, len(synthetic.x) // NEIGHBOURS * NEIGHBOURS)).reshape(-1, NEIGHBOURS)
        groups = {str(number): part for number, part in enumerate(rows)}
    groups = {name: rows for name, rows in groups.items() if len(rows) == NEIGHBOURS}
    if not groups:
        return None
    made = synthetic.x[np.concatenate(list(groups.values()))]
    pairs = np.stack([made, train.x[nearest(made, train.x)[1][:, 0]]], 1)
    small = _shrunk(pairs.reshape(-1, *spec.shape), SIDE, spec.levels)
    picture = png.canvas(small.reshape(len(groups), 2 * NEIGHBOURS, *small.shape[1:]), levels=spec.levels)
    return {"names": list(groups) if labelled else [], "png": _png(_apart(picture, NEIGHBOURS))}


def _apart(canvas: np.ndarray, parts: int) -> np.ndarray:
    """A canvas (height, width, C) with a white gap between so many equally wide parts of it."""
    each = -(-canvas.shape[1] // parts)  # all but the last end with the grid's own gap
    cuts = np.split(canvas, np.arange(1, parts) * each, axis=1)
    gap = np.full((len(canvas), cuts[0].shape[1] // 6, canvas.shape[2]), 255, canvas.dtype)
    return np.concatenate([piece for cut in cuts for piece in (cut, gap)][:-1], axis=1)


# --- tables ------------------------------------------------------------------------------------------------------


def of_table(
    tables: Mapping[str, Table],
    kinds: Mapping[str, str],
    closest: Sequence[Mapping[str, Any]],
    distances: tuple[np.ndarray, np.ndarray],
) -> dict[str, Any]:
    """Columns one by one, closest rows and distances, from the tables "synthetic" and "train" with all their rows.

    `kinds` are those of the columns, `closest` is that of the privacy part, `distances` as `privacy.distance_tests` has
    them.

    `columns`, a list: `name`, shares `real` and `synthetic` by bin or category, and `edges` (bins + 1,) with how the
    outer ones read as `ends`, or `categories`; `closest`: `columns`, and `pairs`, a list of two lists of cells,
    `synthetic` and `train`; `distances`: `edges`, counts `train` and `test` by bin, `points` [to train, to test].
    """
    return {
        "columns": _columns(tables["train"], tables["synthetic"]),
        "closest": _closest(tables, kinds, closest),
        "distances": _distances(*distances),
    }


def _rounded(values: np.ndarray, digits: int) -> list[float]:
    return [float(f"{value:.{digits}g}") for value in values]


def _columns(real: Table, synthetic: Table) -> list[dict[str, Any]]:
    schema = real.schema
    found: list[dict[str, Any]] = []
    for name in [*schema.numeric, *schema.discrete][:PANELS]:
        both = real.column(name), synthetic.column(name)
        if name in schema.numeric:
            shown = _numbers(*both, date=name in schema.dates)
        else:
            shown = _shares(*both, schema.categories[schema.discrete.index(name)])
        found.append({"name": name, **shown})
    return found


def _numbers(real: np.ndarray, synthetic: np.ndarray, *, date: bool) -> dict[str, Any]:
    """Histograms between the 0.5 % and the 99.5 % quantile of the real column; what lies beyond stands at the ends."""
    known = real[~np.isnan(real)]
    low, high = np.quantile(known, [0.005, 0.995]) if len(known) else (0.0, 1.0)
    edges = np.linspace(low, high if high > low else low + 1, _BINS + 1)
    found: dict[str, Any] = {"edges": _rounded(edges, 6)}
    for name, column in (("real", real), ("synthetic", synthetic)):
        values = np.clip(column[~np.isnan(column)], edges[0], edges[-1])
        found[name] = _rounded(np.histogram(values, edges)[0] / max(len(values), 1), 4)
    found["ends"] = [_end(end, date) for end in edges[[0, -1]].tolist()]
    return found


def _end(value: float, date: bool) -> str:
    if date:
        return str(np.datetime64(int(value), "s").astype("datetime64[D]"))
    return f"{value:,.0f}" if 1_000 <= abs(value) < 1e7 else f"{value:.4g}"


def _shares(real: np.ndarray, synthetic: np.ndarray, categories: Sequence[str]) -> dict[str, Any]:
    counts = np.bincount(real[real >= 0], minlength=len(categories))
    shown = np.argsort(-counts, kind="stable")[:CATEGORIES]
    found: dict[str, Any] = {"categories": [categories[code] for code in shown]}
    for name, column in (("real", real), ("synthetic", synthetic)):
        counted = np.bincount(column[column >= 0], minlength=len(categories))
        found[name] = _rounded(counted[shown] / max(len(column), 1), 4)
    return found


def _closest(
    tables: Mapping[str, Table], kinds: Mapping[str, str], closest: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    schema = tables["train"].schema
    columns = [name for name in kinds if name in schema.numeric or name in schema.discrete][:CELLS]
    pairs = [
        {
            side: [_cell(tables[side], pair[side], column, kinds[column]) for column in columns]
            for side in ("synthetic", "train")
        }
        for pair in closest[:PAIRS]
    ]
    return {"columns": columns, "pairs": pairs}


def _cell(rows: Table, row: int, column: str, kind: str) -> str:
    """A value as text."""
    value = rows.column(column)[row]
    if column in rows.schema.discrete:
        return rows.schema.categories[rows.schema.discrete.index(column)][value] if value >= 0 else "(missing)"
    if np.isnan(value):
        return "(missing)"
    if kind == "datetime":
        return str(np.datetime64(round(value), "s")).replace("T", " ").removesuffix(" 00:00:00")
    return f"{value:.6g}" if kind == "continuous" else f"{value:.0f}"


def _distances(to_train: np.ndarray, to_test: np.ndarray) -> dict[str, Any]:
    """Both sets of distances as histograms, what lies beyond their 99.5 % quantile at the end, and some as points."""
    top = float(np.quantile(np.concatenate([to_train, to_test]), 0.995)) or 1.0
    edges = np.linspace(0, top, 2 * _BINS + 1)
    counts = {
        name: np.histogram(np.clip(values, 0, top), edges)[0].tolist()
        for name, values in (("train", to_train), ("test", to_test))
    }
    few = stream(0, "pictures.distances").permutation(len(to_train))[:POINTS]
    points = np.clip(np.stack([to_train, to_test], 1)[few], 0, top)
    return {"edges": _rounded(edges, 6), **counts, "points": [_rounded(point, 4) for point in points]}
