"""The figures of synthetic tables as PNG files: pair plots, correlations, histograms, distances, t-SNE, training steps.

Those of "Generative adversarial networks (GANs) for synthetic dataset generation with binary classes" (Joshi,
Kaloskampis & Nolan), by its numbers: `pair_plots` 4 and 7, `steps` 6, `correlations` 8, `distances` 10, `embedding` 11.
Each function draws one figure and writes it to `path`, whole or not at all. Where there are more rows than can be told
apart, a sample of them is drawn, the same each time. matplotlib is imported when a function needs it, not before.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from synthjax.errors import InputError
from synthjax.evals.table import Table

from . import canvas
from .canvas import Path

POINTS = 1500
"""Rows that a scatter plot shows at most."""
PAIRED = 8
"""Columns that `pair_plots` shows at most."""
COLUMNS = 30
"""Columns that `histograms` shows at most."""
CATEGORIES = 12
"""Categories that a panel of `histograms` shows at most: the most frequent real ones."""
_BINS = 30


def pair_plots(
    path: Path,
    tables: Mapping[str, Table],
    *,
    groups: str | None = None,
    title: str = "Pairs of numeric columns, scaled to [0, 1]",
) -> None:
    """Each of the first 8 numeric columns against each other, a block per table; on the diagonal the column alone.

    Args:
        path: where the PNG goes.
        tables: name -> table; the ranges of the first scale all.
        groups: a discrete column whose values get colours of their own, such as the target.
        title: what is seen.

    Raises:
        InputError: there are no tables, or fewer than two numeric columns, or `groups` is no discrete column.
    """
    first = _first("pair_plots", tables)
    schema = first.schema
    if len(schema.numeric) < 2:
        raise InputError("pair_plots: there are fewer than two numeric columns")
    if groups is not None and groups not in schema.discrete:
        raise InputError(f"pair_plots: {groups!r} is no discrete column")
    columns = schema.numeric[:PAIRED]
    low, width = _range(first.numbers[:, :PAIRED])
    across = len(columns)
    side = 0.9 if across > 4 else 1.3
    figure = canvas.figure(side * across * len(tables) + 1, side * across + 1, title)
    blocks = np.atleast_1d(figure.subfigures(1, len(tables)))
    names = [""] if groups is None else list(schema.categories[schema.discrete.index(groups)])
    for block, (name, table) in zip(blocks, tables.items(), strict=True):
        few = table.sample(np.random.default_rng(0), POINTS)
        chosen = np.zeros(len(few), int) if groups is None else few.codes[:, schema.discrete.index(groups)]
        cells = block.subplots(across, across, squeeze=False)
        _draw_pairs(cells, (few.numbers[:, :PAIRED] - low) / width, chosen, names, columns)
        block.suptitle(name, fontsize=10, color=canvas.INK)
    if groups is not None:
        _colour_legend(figure, [f"{groups}: {name}" for name in names])
    canvas.save(figure, path)


def _draw_pairs(
    cells: np.ndarray, values: np.ndarray, chosen: np.ndarray, names: Sequence[str], columns: Sequence[str]
) -> None:
    edges = np.linspace(0, 1, _BINS + 1)
    mixed = np.random.default_rng(0).permutation(len(values))  # so that no class lies on top of all others
    colours = [canvas.pick(canvas.COLOURS, code) for code in chosen[mixed]]
    for (row, column), axes in np.ndenumerate(cells):
        if row == column:
            for code in range(len(names)):
                x = values[chosen == code, column]
                # Values outside the first table's range belong into the bins at its ends.
                look = {"color": canvas.pick(canvas.COLOURS, code), "alpha": 0.55, "linewidth": 0}
                axes.hist(np.clip(x[~np.isnan(x)], 0, 1), edges, **look)
        else:
            x, y = values[mixed][:, [column, row]].T
            axes.scatter(x, y, s=2, c=colours, alpha=0.4, linewidths=0, rasterized=True)
        axes.set_xlim(-0.05, 1.05)
        if row != column:
            axes.set_ylim(-0.05, 1.05)
        canvas.style(axes, grid="both")
        axes.set_xticks([0, 1] if row == len(cells) - 1 else [])
        axes.set_yticks([0, 1] if column == 0 and row != column else [])
        axes.tick_params(labelsize=6, length=2)
        if row == len(cells) - 1:
            axes.set_xlabel(_short(columns[column]), fontsize=7, color=canvas.INK)
        if column == 0:
            axes.set_ylabel(_short(columns[row]), fontsize=7, color=canvas.INK)


def correlations(path: Path, found: Mapping[str, Any], *, title: str | None = None) -> None:
    """Heat maps of Pearson's r in the real and the synthetic table, and of their difference.

    Args:
        path: where the PNG goes.
        found: as `tabular.correlation_difference` returns it.
        title: what is seen; default: with the mean and the largest difference.

    Raises:
        InputError: there is no pair of numeric columns.
    """
    from matplotlib import colormaps

    if found["mean"] is None:
        raise InputError("correlations: no two numeric columns vary")
    columns = [_short(name) for name in found["columns"]]
    colours = colormaps["RdBu_r"].with_extremes(bad="#eeeeee")
    if title is None:
        title = f"Pearson's r: |difference| {found['mean']:.3f} on average, {found['max']:.3f} at most"
    side = min(max(2.2, 0.42 * len(columns)), 4.5) + 0.8
    size = 7 if len(columns) <= 12 else max(2.5, 7 * 12 / len(columns))
    figure = canvas.figure(3 * side + 0.6, side + 0.9, title)
    names = {"real": "real", "synthetic": "synthetic", "difference": "synthetic - real"}
    for place, axes in enumerate(figure.subplots(1, 3)):
        key = list(names)[place]
        matrix = np.array(found[key], float)
        most = 1.0 if key != "difference" else max(found["max"], 0.01)
        image = axes.imshow(matrix, cmap=colours, vmin=-most, vmax=most)
        if len(columns) <= 12:
            for (row, column), value in np.ndenumerate(matrix):
                if np.isfinite(value):
                    colour = "white" if abs(value) > 0.65 * most else canvas.INK
                    label = _correlation(value, 3 if most < 0.1 else 2)
                    axes.text(column, row, label, ha="center", va="center", fontsize=6.5, color=colour)
        axes.set_title(names[key], fontsize=10, color=canvas.INK)
        axes.set_xticks(range(len(columns)), columns, fontsize=size, rotation=60, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(columns)), columns if place == 0 else [], fontsize=size)
        axes.tick_params(length=0, colors=canvas.INK)
        axes.spines[:].set_color(canvas.GRID)
        bar = figure.colorbar(image, ax=axes, shrink=0.8)
        bar.ax.tick_params(labelsize=7, colors=canvas.INK)
        bar.outline.set_visible(False)
    canvas.save(figure, path)


def _correlation(value: float, decimals: int) -> str:
    """-0.123 as "-.12", say, and what rounds to 0 without a sign."""
    text = f"{value:.{decimals}f}"
    return (text if float(text) else text.removeprefix("-")).replace("0.", ".")


def histograms(path: Path, tables: Mapping[str, Table], *, title: str = "Columns one by one") -> None:
    """Every column of several tables, one panel each: outlines of densities, or shares of categories.

    Args:
        path: where the PNG goes.
        tables: name -> table; the first says what range and which categories are shown: numbers beyond its 0.5 % and
            99.5 % quantiles stand at the ends, categories beyond its 12 most frequent are left out.
        title: what is seen.

    Raises:
        InputError: there are no tables.
    """
    first = _first("histograms", tables)
    schema = first.schema
    names = [*schema.numeric, *schema.discrete][:COLUMNS]
    across = min(4, len(names))
    down = -(-len(names) // across)
    figure = canvas.figure(3 * across, 2.3 * down + 0.8, title)
    for place, name in enumerate(names):
        axes = figure.add_subplot(down, across, place + 1)
        canvas.style(axes, grid="y")
        if name in schema.numeric:
            _draw_numbers(axes, [table.numbers[:, place] for table in tables.values()], name in schema.dates)
        else:
            at = schema.discrete.index(name)
            _draw_shares(axes, [table.codes[:, at] for table in tables.values()], schema.categories[at])
        axes.set_title(_short(name, 24), fontsize=9, color=canvas.INK)
        axes.tick_params(labelsize=7)
        axes.set_yticks([])
    _colour_legend(figure, list(tables))
    canvas.save(figure, path)


def _draw_numbers(axes: Any, columns: Sequence[np.ndarray], dates: bool) -> None:
    real = columns[0][~np.isnan(columns[0])]
    low, high = np.quantile(real, [0.005, 0.995]) if len(real) else (0.0, 1.0)
    edges = np.linspace(low, high if high > low else low + 1, _BINS + 1)
    for number, column in enumerate(columns):
        values = np.clip(column[~np.isnan(column)], edges[0], edges[-1])
        look = {"color": canvas.pick(canvas.COLOURS, number), "linewidth": 1.4}
        share = np.histogram(values, edges)[0] / max(len(values), 1)
        axes.stairs(share, edges, **look)
        if number == 0:
            axes.stairs(share, edges, fill=True, alpha=0.15, color=look["color"])
    axes.set_ylim(bottom=0)
    axes.xaxis.get_major_locator().set_params(nbins=3 if dates else 4)
    if dates:
        axes.xaxis.set_major_formatter(lambda seconds, _: str(np.datetime64(int(seconds), "s").astype("datetime64[D]")))


def _draw_shares(axes: Any, columns: Sequence[np.ndarray], categories: Sequence[str]) -> None:
    counts = np.bincount(columns[0][columns[0] >= 0], minlength=len(categories))
    shown = np.argsort(-counts, kind="stable")[:CATEGORIES]
    width = 0.8 / len(columns)
    for number, column in enumerate(columns):
        share = np.bincount(column[column >= 0], minlength=len(categories))[shown] / max(len(column), 1)
        at = np.arange(len(shown)) + (number - (len(columns) - 1) / 2) * width
        axes.bar(at, share, 0.92 * width, color=canvas.pick(canvas.COLOURS, number))
    look = {"fontsize": 6, "rotation": 40, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(range(len(shown)), [_short(categories[code]) for code in shown], **look)


def distances(
    path: Path,
    to_train: np.ndarray,
    to_test: np.ndarray,
    found: Mapping[str, Any],
    *,
    title: str = "Distance from each synthetic row to the nearest real one",
) -> None:
    """Histograms of both sets of distances, and their joint plot with its margins.

    Args:
        path: where the PNG goes.
        to_train: (n,) to training rows.
        to_test: (n,) to test rows, in the same order.
        found: as `distance_tests.compare_distances` returns it.
        title: what is seen.

    Raises:
        InputError: the arrays do not have one shape (n,), n >= 1.
    """
    if to_train.ndim != 1 or to_train.shape != to_test.shape or not len(to_train):
        raise InputError(f"distances: expected two arrays (n,), n >= 1, not {to_train.shape} and {to_test.shape}")
    top = float(np.quantile(np.concatenate([to_train, to_test]), 0.995)) or 1.0
    edges = np.linspace(0, top, 2 * _BINS + 1)
    figure = canvas.figure(10.5, 5, title)
    left, right = figure.subfigures(1, 2)
    axes = left.subplots()
    canvas.style(axes, grid="y")
    names = ["to the nearest training row", "to the nearest test row"]
    for number, (name, values) in enumerate(zip(names, (to_train, to_test), strict=True)):
        colour = canvas.COLOURS[number]
        axes.hist(np.clip(values, 0, top), edges, color=colour, alpha=0.35, linewidth=0)
        axes.hist(np.clip(values, 0, top), edges, color=colour, histtype="step", label=name)
    p_values = ", ".join(f"{name.replace('_', '-').title()} {found[name]['p']:.2g}" for name in _TESTS)
    axes.set_title(f"p-values: {p_values}", fontsize=8, color=canvas.INK)
    axes.set(xlabel="distance (a range or a category is 1)", ylabel="synthetic rows")
    _draw_joint(right, to_train, to_test, edges, found["pearson"])
    canvas.legend(figure, axes, names)
    canvas.save(figure, path)


_TESTS = ("mann_whitney", "wilcoxon", "kruskal_wallis")


def _draw_joint(
    block: Any, x: np.ndarray, y: np.ndarray, edges: np.ndarray, pearson: Mapping[str, float] | None
) -> None:
    """Scatter plot of the pairs with a histogram at each side."""
    look = {"width_ratios": [5, 1], "height_ratios": [1, 5]}
    (above, corner), (axes, beside) = block.subplots(2, 2, gridspec_kw=look)
    corner.axis("off")
    few = np.random.default_rng(0).permutation(len(x))[: 2 * POINTS]
    axes.scatter(x[few], y[few], s=5, color=canvas.SOFT, alpha=0.35, linewidths=0)
    axes.plot(edges[[0, -1]], edges[[0, -1]], color=canvas.INK, linewidth=0.8, linestyle=(0, (4, 2)))
    canvas.style(axes, grid="both")
    axes.set(xlim=edges[[0, -1]], ylim=edges[[0, -1]])
    axes.set(xlabel="distance to training rows", ylabel="distance to test rows")
    above.hist(np.clip(x, 0, edges[-1]), edges, color=canvas.COLOURS[0], alpha=0.6)
    beside.hist(np.clip(y, 0, edges[-1]), edges, color=canvas.COLOURS[1], alpha=0.6, orientation="horizontal")
    above.set_xlim(axes.get_xlim())
    beside.set_ylim(axes.get_ylim())
    for margin in (above, beside):
        margin.axis("off")
    if pearson is not None:
        label = f"Pearson's r = {pearson['r']:.2f}, p = {pearson['p']:.2g}"
        above.set_title(label, fontsize=9, color=canvas.INK)


def embedding(path: Path, places: Mapping[str, np.ndarray], *, title: str = "t-SNE of real and synthetic rows") -> None:
    """Points of several tables in three dimensions, all together and each alone.

    Args:
        path: where the PNG goes.
        places: name -> (n, 3), as `tabular.embed` returns it.
        title: what is seen.

    Raises:
        InputError: there is nothing to draw, or it is not (n, 3).
    """
    if not places or any(points.ndim != 2 or points.shape[1] != 3 or not len(points) for points in places.values()):
        raise InputError("embedding: expected points (n, 3), n >= 1")
    panels = [list(places), *([name] for name in places)] if len(places) > 1 else [list(places)]
    figure = canvas.figure(4.2 * len(panels), 4.6, title)
    both = np.concatenate(list(places.values()))
    low, high = both.min(0), both.max(0)
    for place, shown in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), place + 1, projection="3d")
        for name in shown:
            number = list(places).index(name)
            look = {"color": canvas.pick(canvas.COLOURS, number), "marker": canvas.pick(canvas.MARKERS, number)}
            axes.scatter(*places[name].T, s=9, alpha=0.55, linewidths=0, label=name, **look)
        axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(low[2], high[2]))
        axes.tick_params(labelsize=6, colors=canvas.SOFT)
        axes.set_title("all" if len(shown) > 1 else shown[0], fontsize=10, color=canvas.INK)
    canvas.legend(figure, figure.axes[0], list(places))
    canvas.save(figure, path)


def steps(
    path: Path,
    real: np.ndarray,
    models: Mapping[str, Mapping[int, np.ndarray]],
    columns: tuple[str, str],
    *,
    classes: Sequence[str] = (),
    title: str = "Two columns as training goes on",
) -> None:
    """Scatter plots of two columns: a row per model, a column per training step, the real table before them.

    Args:
        path: where the PNG goes.
        real: (n, 2), or (n, 3) with the class, 0, 1, ..., which gives the colour.
        models: name -> training step -> points as `real`, with or without the class.
        columns: names of the two columns.
        classes: names of the classes, for the legend.
        title: what is seen.

    Raises:
        InputError: there is nothing to draw, or points are not (n, 2) or (n, 3).
    """
    every = [real, *(points for of in models.values() for points in of.values())]
    if len(every) < 2 or any(points.ndim != 2 or points.shape[1] not in (2, 3) for points in every):
        raise InputError("steps: expected a model with points (n, 2) or (n, 3)")
    numbers = sorted({number for of in models.values() for number in of})
    figure = canvas.figure(1.5 * (len(numbers) + 1) + 0.8, 1.5 * len(models) + 1, title)
    cells = figure.subplots(len(models), len(numbers) + 1, squeeze=False, sharex=True, sharey=True)
    low, width = _range(real[:, :2])
    for row, (model, of) in enumerate(models.items()):
        for place, axes in enumerate(cells[row]):
            points = real if place == 0 else of.get(numbers[place - 1])
            if points is None:
                axes.axis("off")
                continue
            _draw_points(axes, points)
            if row == 0:
                axes.set_title("real" if place == 0 else f"step {numbers[place - 1]:,}", fontsize=8, color=canvas.INK)
            if row == len(models) - 1:
                axes.set_xlabel(_short(columns[0]), fontsize=7, color=canvas.INK)
        cells[row, 0].set_ylabel(f"{model}\n{_short(columns[1])}", fontsize=7, color=canvas.INK)
    _colour_legend(figure, classes)
    # A model that runs away would shrink all others to a dot.
    for axes in cells.flat:
        axes.set(xlim=(low[0] - 0.25 * width[0], low[0] + 1.25 * width[0]))
        axes.set(ylim=(low[1] - 0.25 * width[1], low[1] + 1.25 * width[1]))
    canvas.save(figure, path)


def _draw_points(axes: Any, points: np.ndarray) -> None:
    few = points[np.random.default_rng(0).permutation(len(points))[:POINTS]]
    classes = few[:, 2].astype(int) if few.shape[1] == 3 else np.zeros(len(few), int)
    colours = [canvas.pick(canvas.COLOURS, code) for code in classes] if few.shape[1] == 3 else canvas.SOFT
    axes.scatter(*few[:, :2].T, s=2.5, c=colours, alpha=0.5, linewidths=0)
    canvas.style(axes, grid="both")
    axes.tick_params(labelsize=6)


def _first(function: str, tables: Mapping[str, Table]) -> Table:
    if not tables:
        raise InputError(f"{function}: there is no table to draw")
    return next(iter(tables.values()))


def _range(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Smallest value and range (A,) of each column, the range 1 where it is 0 or nothing is there."""
    known = np.where(np.isnan(numbers).all(0), 0, numbers)
    low = np.nanmin(known, 0)
    width = np.nanmax(known, 0) - low
    return low, np.where(width > 0, width, 1)


def _short(name: str, most: int = 16) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _colour_legend(figure: Any, names: Sequence[str]) -> None:
    """Names beside patches of the colours, in order."""
    from matplotlib.patches import Patch

    handles = [Patch(color=canvas.pick(canvas.COLOURS, number), label=name) for number, name in enumerate(names)]
    if len(names) > 1:
        look = {"ncols": min(len(names), 6), "frameon": False, "fontsize": 9}
        figure.legend(handles, names, loc="outside lower center", **look)
