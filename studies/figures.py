"""The figures of studies as PNG files: curves with their spread, confusion matrices, class frequencies, directed noise.

Each function draws one figure and writes it to `path`, whole or not at all. What was measured is solid; what a study
published is dashed. The colours are those of Okabe and Ito, which people who see colours differently tell apart, and
every curve has a marker of its own beside. matplotlib is imported when a function needs it, not before.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from synthjax.errors import InputError
from synthjax.evals.draw import png

from . import canvas
from .canvas import Path

Curve = tuple[np.ndarray, np.ndarray, np.ndarray | None]
"""Abscissae, means and spreads, each (N,)."""

_GREYS = (canvas.SOFT, "#a0a0a0")
_DASHED = (0, (4, 2))
_FEW = 25  # points up to which a curve has markers and error bars; longer ones have a band
_LABELLED = 40  # bars up to which each has its value written above it
_CELL = 0.38  # side of a cell of a confusion matrix in inches


def lines(
    path: Path,
    series: Mapping[str, Curve],
    *,
    x_name: str,
    y_name: str,
    title: str,
    references: Mapping[str, tuple[np.ndarray, np.ndarray]] | None = None,
    log: Literal["", "x", "y"] = "",
) -> None:
    """Curves with their spread: error bars where there are at most 25 points, else bands.

    Args:
        path: where the PNG goes.
        series: name -> x (N,), mean (N,), spread (N,) >= 0 or None; drawn as mean ± spread. A mean that is not finite
            leaves a gap.
        x_name: of the horizontal axis, with the unit.
        y_name: of the vertical axis, with the unit.
        title: what is seen.
        references: name -> x (N,), y (N,): a published curve, dashed. One that is named as a series is takes its
            colour, and is called "<name>, published".
        log: the axis that is logarithmic.

    Raises:
        InputError: there is no series, the arrays of one do not have the same length, or a spread is negative.
    """
    if not series:
        raise InputError("lines: there is no series to draw")
    figure = canvas.figure(7.6, 4.6, title)
    axes = figure.add_subplot()
    names = _draw_lines(axes, series, references or {})
    axes.set(xlabel=x_name, ylabel=y_name)
    if log:
        axes.set(**{f"{log}scale": "log"})
    canvas.legend(figure, axes, names)
    canvas.save(figure, path)


def trade_offs(
    path: Path,
    panels: Mapping[str, Mapping[str, Curve]],
    *,
    y_name: str,
    title: str,
    references: Mapping[str, float] | None = None,
    log: Sequence[str] = (),
) -> None:
    """What the same things cost by several measures: a panel a measure, a marker of its own a thing.

    Args:
        path: where the PNG goes.
        panels: name of the horizontal axis -> name -> x (1,), mean (1,), spread (1,) >= 0 or None.
        y_name: of the vertical axis, which the panels share.
        title: what is seen.
        references: name -> height of a dashed line.
        log: names of horizontal axes that are logarithmic.

    Raises:
        InputError: a panel holds nothing, or arrays do not fit.
    """
    from matplotlib.ticker import NullFormatter

    if not panels or not all(panels.values()):
        raise InputError("trade_offs: a panel has nothing to draw")
    figure = canvas.figure(5.2 * len(panels), 4.9, title)
    for axes, (x_name, series) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        reach = np.concatenate([curve[0] for curve in series.values()])
        ends = np.array([reach.min(), reach.max()])
        names = _draw_lines(axes, series, {name: (ends, np.full(2, y)) for name, y in (references or {}).items()})
        axes.set(xlabel=x_name, ylabel=y_name)
        if x_name in log:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_formatter("{x:g}" if ends[1] < 10 * ends[0] else NullFormatter())
    canvas.legend(figure, axes, names)
    canvas.save(figure, path)


def _draw_lines(
    axes: Any, series: Mapping[str, Curve], references: Mapping[str, tuple[np.ndarray, np.ndarray]]
) -> list[str]:
    """Draws all, and returns the names for the legend."""
    canvas.style(axes, grid="both")
    looks = {}
    for number, (name, curve) in enumerate(series.items()):
        x, mean, spread = _curve(name, *curve)
        looks[name] = (
            canvas.pick(canvas.COLOURS, number),
            canvas.pick(canvas.MARKERS, number + number // len(canvas.COLOURS)),
        )
        colour, marker = looks[name]
        look = {"color": colour, "linewidth": 1.7, "zorder": 3}
        if len(x) > _FEW:
            axes.plot(x, mean, label=name, **look)
            if spread is not None:
                axes.fill_between(x, mean - spread, mean + spread, color=colour, alpha=0.18, linewidth=0)
        else:
            look |= {"marker": marker, "markersize": 5}
            axes.errorbar(x, mean, spread, label=name, capsize=3, elinewidth=0.9, **look)
    whole = all((np.asarray(curve[0]) % 1 == 0).all() for curve in series.values())
    axes.xaxis.get_major_locator().set_params(integer=whole)  # no half epochs
    labels = list(series)
    for number, (name, points) in enumerate(references.items()):
        x, y, _ = _curve(name, *points, None)
        labels.append(f"{name}, published" if name in looks else name)
        colour, marker = looks.get(name, (canvas.pick(_GREYS, number), canvas.pick(canvas.MARKERS, number)))
        look = {"marker": marker if 2 < len(x) <= _FEW else None, "markersize": 4.5, "markerfacecolor": "white"}
        axes.plot(x, y, label=labels[-1], color=colour, linewidth=1.2, linestyle=_DASHED, **look)
    return labels


def _curve(name: str, x: Any, mean: Any, spread: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """The arrays of a curve, f64, once they are known to fit."""
    x, mean, spread = (None if a is None else np.asarray(a, float) for a in (x, mean, spread))
    shapes = [a.shape for a in (x, mean, spread) if a is not None]
    if len(shapes[0]) != 1 or not shapes[0][0] or len(set(shapes)) > 1:
        raise InputError(f"series {name!r}: its arrays must all have one shape (N,), N >= 1, not {shapes}")
    if spread is not None and (spread < 0).any():
        raise InputError(f"series {name!r}: a spread is negative")
    return x, mean, spread


def confusions(
    path: Path,
    tables: Mapping[str, np.ndarray],
    classes: Sequence[str],
    *,
    title: str = "What each class is taken for: share of its examples, %",
) -> None:
    """Confusion matrices side by side, three to a row.

    Args:
        path: where the PNG goes.
        tables: name -> (K, K) counts >= 0, row: true class, column: answer. Cells show the share of the row's sum in
            percent; a count of 0 is left blank, and so is the row of a class without examples.
        classes: names of the K classes.
        title: what is seen.

    Raises:
        InputError: there is no table, or one is not (K, K) counts.
    """
    if not tables:
        raise InputError("confusions: there is no table to draw")
    counts = {name: _counts(name, table, (len(classes), len(classes))) for name, table in tables.items()}
    side = max(2.4, _CELL * len(classes)) + 0.3
    across = min(3, len(tables))
    down = -(-len(tables) // across)
    figure = canvas.figure(side * across + 0.4, (side + 0.45) * down + 0.4, title)
    for place, (name, table) in enumerate(counts.items()):
        axes = figure.add_subplot(down, across, place + 1)
        _draw_confusion(axes, table, classes)
        right = np.trace(table) / max(table.sum(), 1)
        axes.set_title(f"{name}: {100 * right:.1f} % right", fontsize=10, color=canvas.INK)
        axes.set_xlabel("answer")
        if place % across == 0:
            axes.set_ylabel("true class")
    canvas.save(figure, path)


def _draw_confusion(axes: Any, table: np.ndarray, classes: Sequence[str]) -> None:
    share = 100 * table / np.maximum(table.sum(1, keepdims=True), 1)
    # The square root makes errors of a few percent visible beside a diagonal of nearly 100.
    axes.imshow(np.sqrt(share / 100), cmap="Blues", vmin=0, vmax=1.08)
    size = 6.5 if len(classes) > 5 else 9
    for (row, column), value in np.ndenumerate(share):
        if value:
            colour = "white" if value > 30 else canvas.INK
            axes.text(column, row, _percent(value), ha="center", va="center", fontsize=size, color=colour)
    axes.set_xticks(range(len(classes)), classes, fontsize=8, **canvas.turn(classes, _CELL))
    axes.set_yticks(range(len(classes)), classes, fontsize=8)
    axes.set_xticks(np.arange(len(classes) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(classes) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color=canvas.GRID, linewidth=0.5)
    axes.tick_params(which="both", length=0, colors=canvas.INK)
    axes.spines[:].set_color(canvas.GRID)


def _percent(value: float) -> str:
    """One decimal, as short as it gets; what would be rounded to 0 is not called so."""
    return "<.1" if value < 0.05 else f"{value:.1f}".removeprefix("0") if value < 99.95 else "100"


def frequencies(
    path: Path,
    counts: Mapping[str, np.ndarray],
    classes: Sequence[str],
    *,
    title: str = "Examples of each class",
) -> None:
    """How many examples each class has, in one or several data sets.

    Args:
        path: where the PNG goes.
        counts: name -> (K,) counts >= 0.
        classes: names of the K classes.
        title: what is seen.

    Raises:
        InputError: there is nothing to draw, or counts are not (K,).
    """
    if not counts:
        raise InputError("frequencies: there are no counts to draw")
    heights = np.stack([_counts(name, values, (len(classes),)) for name, values in counts.items()])
    figure = canvas.figure(min(max(6.5, 0.42 * heights.size + 1), 12), 4.2, title)
    axes = figure.add_subplot()
    none = np.full_like(heights, math.nan)
    _draw_groups(axes, classes, list(counts), np.stack([heights, none, none]), "{:,.0f}")
    axes.set(xlabel="class", ylabel="number of examples")
    axes.yaxis.set_major_formatter("{x:,.0f}")
    canvas.legend(figure, axes, list(counts))
    canvas.save(figure, path)


def bars(
    path: Path,
    values: Mapping[str, Mapping[str, float]],
    spreads: Mapping[str, Mapping[str, float]],
    *,
    y_name: str,
    title: str,
    references: Mapping[str, Mapping[str, float]] | None = None,
) -> None:
    """Grouped bars with error bars, such as the accuracy of each model with and without directed noise.

    Args:
        path: where the PNG goes.
        values: group (a model) -> bar (what it was trained on) -> value >= 0. Groups need not have the same bars.
        spreads: laid out as `values`; the bars that have one get an error bar of value ± spread.
        y_name: of the vertical axis, with the unit.
        title: what is seen.
        references: laid out as `values`: published values, dashed marks across their bars.

    Raises:
        InputError: there is nothing to draw, or a spread or a reference of what has no bar.
    """
    references = references or {}
    if not any(values.values()):
        raise InputError("bars: there is no value to draw")
    for group, name in [(g, n) for table in (spreads, references) for g, row in table.items() for n in row]:
        if name not in values.get(group, {}):
            raise InputError(f"bars: a spread or a reference of {name!r} in {group!r}, which has no bar")
    names = list(dict.fromkeys(name for row in values.values() for name in row))
    table = np.array(
        [[[kind.get(g, {}).get(n, math.nan) for g in values] for n in names] for kind in (values, spreads, references)]
    )
    figure = canvas.figure(min(max(6.5, 0.6 * table[0].size + 1.2), 12), 4.4, title)
    axes = figure.add_subplot()
    _draw_groups(axes, list(values), names, table, "{:#.3g}")
    axes.set_ylabel(y_name)
    canvas.legend(figure, axes, [*names, "published"] if np.isfinite(table[2]).any() else names)
    canvas.save(figure, path)


def _draw_groups(
    axes: Any,
    groups: Sequence[str],
    names: Sequence[str],
    table: np.ndarray,
    label: str,
) -> None:
    """Bars side by side. `table` (3, names, groups): heights, errors, marks, NaN: none; `label`: heights' format."""
    heights, errors, marks = table
    canvas.style(axes, grid="y")
    width = (0.8 if len(names) > 1 else 0.6) / len(names)
    places = np.arange(len(groups)) + (np.arange(len(names))[:, None] - (len(names) - 1) / 2) * width
    for number, (name, at, height) in enumerate(zip(names, places, heights, strict=True)):
        hatch = "//" if number >= len(canvas.COLOURS) else None
        fill = {"color": canvas.pick(canvas.COLOURS, number), "edgecolor": "white", "linewidth": 0}
        axes.bar(at, height, 0.92 * width, hatch=hatch, label=name, zorder=2, **fill)
    seen = np.isfinite(errors)
    axes.errorbar(places[seen], heights[seen], errors[seen], fmt="none", ecolor=canvas.INK, elinewidth=1, capsize=3)
    seen = np.isfinite(marks)
    look = {"color": canvas.INK, "linestyle": (0, (3, 1.5)), "linewidth": 1.6, "zorder": 4, "label": "published"}
    axes.hlines(marks[seen], places[seen] - 0.46 * width, places[seen] + 0.46 * width, **look)
    tops = heights + np.nan_to_num(errors)
    crowded = heights.size > 24
    if heights.size <= _LABELLED:
        look = {"textcoords": "offset points", "ha": "center", "fontsize": 7, "rotation": 90 * crowded}
        for x, y, height in zip(places.flat, tops.flat, heights.flat, strict=True):
            if math.isfinite(height):
                axes.annotate(label.format(height), (x, y), (0, 4), **look)
    axes.set_xticks(range(len(groups)), groups, **canvas.turn(groups, 0.85 * axes.figure.get_figwidth() / len(groups)))
    axes.margins(x=0.02, y=0.14 if crowded else 0.08)
    axes.set_ylim(bottom=0)
    axes.tick_params(axis="x", length=0)


def directed_noise(
    path: Path,
    x: np.ndarray,
    moved: np.ndarray,
    components: np.ndarray,
    *,
    shape: tuple[int, ...] | None = None,
    title: str = "Directed noise in one class, along its first two principal components",
) -> None:
    """The examples of one class before and after directed noise, on the plane of its two largest components.

    Both axes have one scale and begin at the mean of `x`; the ellipses reach two standard deviations far.

    Args:
        path: where the PNG goes.
        x: (N, D) examples of one class, N >= 2.
        moved: (N, D), the same examples after the noise.
        components: (2, D), orthonormal: the class's `Components.directions`, the first two.
        shape: of the D values of an image, (H, W, C); a few images in [-1, 1] then stand beside the plane.
        title: what is seen.

    Raises:
        InputError: the arrays' shapes do not belong together.
    """
    x, moved, components = (np.asarray(a, np.float64) for a in (x, moved, components))
    if x.ndim != 2 or len(x) < 2 or moved.shape != x.shape or components.shape != (2, x.shape[1]):
        shapes = f"{x.shape}, {moved.shape} and {components.shape}"
        raise InputError(f"directed_noise: x and moved must be (N, D), N >= 2, components (2, D), not {shapes}")
    if shape is not None and math.prod(shape) != x.shape[1]:
        raise InputError(f"directed_noise: {x.shape[1]} values are no images of shape {shape}")
    ratios = [1.0] if shape is None else [3.0, 1.0]
    figure = canvas.figure(2.2 * sum(ratios) if shape else 6.6, 5.6, title)
    axes, *beside = figure.subplots(1, len(ratios), width_ratios=ratios, squeeze=False)[0]
    names = _draw_noise(axes, (x - x.mean(0)) @ components.T, (moved - x.mean(0)) @ components.T)
    canvas.legend(figure, axes, names)
    if shape is not None:
        _draw_pairs(beside[0], x[:6].reshape(-1, *shape), moved[:6].reshape(-1, *shape))
    canvas.save(figure, path)


def _draw_noise(axes: Any, before: np.ndarray, after: np.ndarray) -> list[str]:
    """Points (N, 2) and their ellipses; returns the names for the legend."""
    from matplotlib.patches import Ellipse

    canvas.style(axes, grid="both")
    names = []
    size = min(16.0, max(4.0, 8000 / len(before)))
    # Those after lie below, since they reach further.
    for order, (name, points) in enumerate({"before": before, "after": after}.items()):
        deviations = points.std(0, ddof=1)
        names.append(f"{name}: standard deviations {deviations[0]:#.3g} and {deviations[1]:#.3g}")
        look = {"color": canvas.COLOURS[order], "alpha": 0.5, "linewidths": 0, "zorder": 3 - order}
        axes.scatter(*points.T, s=size, label=names[-1], **look)
        variances, directions = np.linalg.eigh(np.cov(points.T))
        angle = math.degrees(math.atan2(directions[1, 1], directions[0, 1]))
        sizes = 4 * np.sqrt(variances[::-1].clip(0))
        ellipse = Ellipse(
            points.mean(0), *sizes, angle=angle, fill=False, edgecolor=canvas.COLOURS[order], linewidth=1.8
        )
        axes.add_patch(ellipse).set_zorder(4)
    axes.set_aspect("equal")
    unit = "principal component (units of the data)"
    axes.set(xlabel=f"first {unit}", ylabel=f"second {unit}")
    return names


def _draw_pairs(axes: Any, before: np.ndarray, after: np.ndarray) -> None:
    """Images (n, H, W, C) in two columns."""
    picture = png.canvas(np.stack([before, after], 1))
    axes.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.axis("off")
    for place, name in ((0.25, "before"), (0.75, "after")):
        axes.text(place, 1.015, name, transform=axes.transAxes, ha="center", fontsize=9, color=canvas.INK)


def _counts(name: str, values: Any, shape: tuple[int, ...]) -> np.ndarray:
    values = np.asarray(values, float)
    if values.shape != shape or not (values >= 0).all():
        raise InputError(f"{name}: expected counts of shape {shape}, none negative, for {shape[0]} classes")
    return values
