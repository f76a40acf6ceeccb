"""Pictures of data and of runs: image grids and loss curves as PNG files, charts for the report as SVG text.

SVG charts take their colours from the page's CSS (classes `s1` ... `s4`, `axis`, `rule`), so that one picture serves
light and dark. matplotlib and Pillow are imported when a function needs them, not before.
"""

import base64
import html
import io
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from synthjax import files

_GAP = 2
"""Pixels of white between the images of a grid, before enlargement."""
_SEEN = 56
"""Height in pixels up to which small images are enlarged."""


def grid(
    x: Any,
    path: str | os.PathLike[str] | None = None,
    *,
    columns: int | None = None,
    levels: int = 256,
    scale: int | None = None,
) -> np.ndarray:
    """Images side by side, one row of `x` per row of the picture (usually one class).

    Args:
        x: (rows, columns, H, W, C), or (N, H, W, C) laid out `columns` to a row; C is 1 or 3. Integers are grey values
            0 ... levels - 1; floats are in the model's space, [-1, 1], and clipped to it.
        path: where the PNG goes; None: nowhere.
        columns: images per row of a 4-D `x`; default: as square as it gets.
        levels: grey values of an integer `x`.
        scale: each pixel becomes scale x scale in the file; default: enough to see small images.

    Returns:
        (height, width, C) uint8 canvas at scale 1, white between the images.

    Raises:
        ValueError: if x has neither shape.
    """
    x = np.asarray(x)
    if x.ndim == 4 and len(x):
        columns = columns or math.ceil(math.sqrt(len(x)))
        # The last row is filled up with white.
        white = 1.0 if x.dtype.kind == "f" else levels - 1
        fill = np.full((-len(x) % columns, *x.shape[1:]), white, x.dtype)
        x = np.concatenate([x, fill]).reshape(-1, columns, *x.shape[1:])
    if x.ndim != 5 or x.shape[-1] not in (1, 3) or not x.size:
        raise ValueError(f"images must be (rows, columns, H, W, C) or (N, H, W, C) with C 1 or 3, not {x.shape}")
    grey = (x + 1) / 2 if x.dtype.kind == "f" else x / (levels - 1)
    grey = np.round(255 * np.clip(grey, 0, 1)).astype(np.uint8)
    rows, columns, height, width, channels = grey.shape
    padded = np.full((rows, columns, height + _GAP, width + _GAP, channels), 255, np.uint8)
    padded[:, :, :height, :width] = grey
    canvas = padded.transpose(0, 2, 1, 3, 4).reshape(rows * (height + _GAP), columns * (width + _GAP), channels)
    canvas = canvas[:-_GAP, :-_GAP]
    if path is not None:
        files.write(files.path(path), png(canvas, scale or max(1, _SEEN // height)))
    return canvas


def png(canvas: np.ndarray, scale: int = 1) -> bytes:
    """The bytes of a PNG of `canvas` (height, width, 1 or 3) uint8, each pixel scale x scale."""
    from PIL import Image

    image = Image.fromarray(canvas[..., 0] if canvas.shape[-1] == 1 else canvas)
    buffer = io.BytesIO()
    size = (image.width * scale, image.height * scale)
    image.resize(size, Image.Resampling.NEAREST).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def data_uri(canvas: np.ndarray) -> str:
    """A canvas as a `data:` URI, for a page that stands alone."""
    return "data:image/png;base64," + base64.b64encode(png(canvas)).decode("ascii")


def loss_curve(rows: Sequence[Mapping[str, Any]], path: str | os.PathLike[str], *, most: int = 6) -> None:
    """Draws training metrics against the step into a PNG: one panel per metric, at most `most`, losses first.

    Args:
        rows: one mapping per log line, as in metrics.jsonl: "step", and under each metric's name a number or a list of
            them, one per seed. Metrics may be missing from some rows; values that are not finite, and times, are left
            out.
        path: where the PNG goes.
        most: panels at most.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    series: dict[str, list[tuple[float, list[float]]]] = {}
    for row in rows:
        for name, value in row.items():
            values = value if isinstance(value, list) else [value]
            if name != "step" and all(isinstance(v, int | float) and math.isfinite(v) for v in values):
                series.setdefault(name, []).append((row["step"], values))
    ignored = ("seconds", "time", "epoch", "images_per", "examples_per", "steps_per")
    names = sorted((n for n in series if not n.startswith(ignored)), key=lambda n: ("loss" not in n, n))[:most]
    across = min(3, max(1, len(names)))
    down = max(1, -(-len(names) // across))
    # Figure and canvas by hand: pyplot keeps global state and may pick a backend that needs a display.
    figure = Figure(figsize=(4.2 * across, 3.0 * down), layout="constrained")
    FigureCanvasAgg(figure)
    for place, name in enumerate(names):
        axes = figure.add_subplot(down, across, place + 1)
        steps = [step for step, _ in series[name]]
        many = len(steps) > 20
        for seed, curve in enumerate(np.array([values for _, values in series[name]]).T):
            colour = f"C{seed % 10}"
            axes.plot(steps, curve, linewidth=0.6 if many else 1.6, alpha=0.4 if many else 1, color=colour)
            if many:
                axes.plot(steps, _smooth(curve), linewidth=1.6, color=colour)
        axes.set_title(name, fontsize=10)
        axes.set_xlabel("step", fontsize=9)
        axes.grid(alpha=0.3)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    files.write(files.path(path), buffer.getvalue())


def _smooth(values: np.ndarray) -> np.ndarray:
    """Mean over a window of a twentieth of the values, narrower at both ends."""
    width = max(3, len(values) // 20)
    total = np.cumsum(np.concatenate([[0.0], values]))
    low = np.maximum(np.arange(len(values)) - width // 2, 0)
    high = np.minimum(np.arange(len(values)) + width // 2 + 1, len(values))
    return (total[high] - total[low]) / (high - low)


# SVG charts. One unit is about one CSS pixel on a phone; wider screens enlarge the whole picture a little.
_WIDTH, _HEIGHT = 360, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 342, 10, 196
_CHARACTER = 6.6
"""Width of one of a tick's label, about."""


def _frame(title: str, body: str, x_name: str, y_name: str) -> str:
    """An SVG picture with its accessible name and the names of its axes."""
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{html.escape(title)}">{body}'
        f'<text x="{(_LEFT + _RIGHT) / 2}" y="{_HEIGHT - 8}" class="axis" text-anchor="middle">'
        f"{html.escape(x_name)}</text>"
        f'<text transform="translate(11 {(_TOP + _BOTTOM) / 2}) rotate(-90)" class="axis" text-anchor="middle">'
        f"{html.escape(y_name)}</text></svg>"
    )


def _ticks(places: Sequence[tuple[float, str]], vertical: bool) -> str:
    """Thin rules with labels, at pixel positions, across the plot."""
    parts = []
    for at, label in places:
        if vertical:
            parts.append(f'<path class="rule" d="M{at:.1f} {_TOP}V{_BOTTOM}"/>')
            # A wide label of the last rule would be cut off.
            x = min(at, _WIDTH - 1 - _CHARACTER / 2 * len(label))
            parts.append(f'<text x="{x:.1f}" y="{_BOTTOM + 15}" class="axis" text-anchor="middle">{label}</text>')
        else:
            parts.append(f'<path class="rule" d="M{_LEFT} {at:.1f}H{_RIGHT}"/>')
            parts.append(f'<text x="{_LEFT - 5}" y="{at + 4:.1f}" class="axis" text-anchor="end">{label}</text>')
    return "".join(parts)


def _round_steps(low: float, high: float, most: int = 5) -> list[float]:
    """At most about `most` round numbers within [low, high]."""
    span = max(high - low, 1e-12)
    unit = 10.0 ** math.floor(math.log10(span / most))
    step = next(unit * m for m in (1, 2, 5, 10, 20) if span / (unit * m) <= most)
    return [step * i for i in range(math.ceil(low / step), math.floor(high / step + 1e-9) + 1)]


def histogram(edges: Sequence[float], counts: Mapping[str, Sequence[float]], title: str, x_name: str) -> str:
    """Histograms over the same bins, drawn over one another: an SVG picture.

    Args:
        edges: (bins + 1,) ascending.
        counts: name -> (bins,); the k-th is drawn in class `s<k>`.
        title: what a screen reader says.
        x_name: name and unit of the values.
    """
    low, high = edges[0], max(edges[-1], edges[0] + 1e-12)
    top = max(1.0, *(max(c) for c in counts.values()))

    def across(value: float) -> float:
        return _LEFT + (value - low) / (high - low) * (_RIGHT - _LEFT)

    def up(value: float) -> float:
        return _BOTTOM - value / top * (_BOTTOM - _TOP)

    body = _ticks([(across(v), f"{v:g}") for v in _round_steps(low, high)], vertical=True)
    body += _ticks([(up(v), f"{v:g}") for v in _round_steps(0, top)], vertical=False)
    for place, values in enumerate(counts.values(), start=1):
        outline = f"M{across(low):.1f} {_BOTTOM}"
        for count, right in zip(values, edges[1:], strict=True):
            outline += f"V{up(count):.1f}H{across(right):.1f}"
        body += f'<path class="fill s{place}" d="{outline}V{_BOTTOM}Z"/>'
    return _frame(title, body, x_name, "examples")


def roc_curves(curves: Mapping[str, Mapping[str, Sequence[float]]], smallest: float, title: str) -> str:
    """ROC curves with both axes in powers of ten, so that the few sure hits show: an SVG picture.

    Args:
        curves: name -> {"fpr": ascending, "tpr": ascending}; the k-th is drawn in class `s<k>`.
        smallest: the lowest false positive rate that the number of examples can show; the axes begin at the power of
            ten below it.
        title: what a screen reader says.
    """
    decades = max(1, math.ceil(-math.log10(smallest)))

    def place(value: float, start: float, end: float) -> float:
        share = 1 + math.log10(max(value, 10.0**-decades)) / decades
        return start + share * (end - start)

    powers = [10.0**-power for power in range(decades, -1, -1)]
    names = [f"{100 * p:g} %" for p in powers]
    body = _ticks([(place(p, _LEFT, _RIGHT), n) for p, n in zip(powers, names, strict=True)], vertical=True)
    body += _ticks([(place(p, _BOTTOM, _TOP), n) for p, n in zip(powers, names, strict=True)], vertical=False)
    body += f'<path class="chance" d="M{_LEFT} {_BOTTOM}L{_RIGHT} {_TOP}"/>'
    for number, curve in enumerate(curves.values(), start=1):
        points = zip(curve["fpr"], curve["tpr"], strict=True)
        line = "L".join(f"{place(f, _LEFT, _RIGHT):.1f} {place(t, _BOTTOM, _TOP):.1f}" for f, t in points)
        body += f'<path class="line s{number}" d="M{line}"/>'
    return _frame(title, body, "false positive rate (others called members)", "true positive rate")


def scale_bar(
    value: float, floor: float, ceiling: float, interval: Sequence[float] | None, names: tuple[str, str], title: str
) -> str:
    """A score on the way from its floor to its ceiling: an SVG picture.

    Args:
        value: the score, 0 ... 1.
        floor: its floor.
        ceiling: its ceiling.
        interval: of the score, drawn as a whisker.
        names: what the floor and the ceiling are called.
        title: what a screen reader says.
    """
    left, right, y = 8, _WIDTH - 8, 30
    low, high = min(value, floor, ceiling), max(value, floor, ceiling)
    margin = 0.08 * max(high - low, 0.01)  # a place for whiskers that go beyond both ends

    def across(share: float) -> float:
        place = (share - low + margin) / (high - low + 2 * margin)
        return left + min(max(place, 0), 1) * (right - left)

    body = f'<path class="rule" d="M{left} {y}H{right}"/>'
    body += f'<path class="range" d="M{across(floor):.1f} {y}H{across(ceiling):.1f}"/>'
    for share, name, x, anchor in ((floor, names[0], left, "start"), (ceiling, names[1], right, "end")):
        body += f'<path class="mark" d="M{across(share):.1f} {y - 8}V{y + 8}"/>'
        body += f'<text x="{x}" y="{y + 24}" class="axis" text-anchor="{anchor}">'
        body += f"{html.escape(name)} {100 * share:.1f} %</text>"
    if interval is not None:
        body += f'<path class="whisker s1" d="M{across(interval[0]):.1f} {y}H{across(interval[1]):.1f}"/>'
    at = across(value)
    anchor = "end" if at > 0.85 * _WIDTH else "start" if at < 0.15 * _WIDTH else "middle"
    body += f'<circle class="dot s1" cx="{at:.1f}" cy="{y}" r="5"/>'
    body += f'<text x="{at:.1f}" y="{y - 14}" class="value" text-anchor="{anchor}">{100 * value:.1f} %</text>'
    return f'<svg viewBox="0 0 {_WIDTH} 60" role="img" aria-label="{html.escape(title)}">{body}</svg>'


def curves(lines: Mapping[str, tuple[Sequence[float], Sequence[float]]], title: str, x_name: str, y_name: str) -> str:
    """Lines through points, the horizontal axis logarithmic: an SVG picture.

    Args:
        lines: name -> ascending x > 0 and y; the k-th is drawn in class `s<k>`.
        title: what a screen reader says.
        x_name: name and unit of x.
        y_name: name and unit of y.
    """
    xs = [math.log10(x) for across, _ in lines.values() for x in across]
    ys = [y for _, up in lines.values() for y in up]
    left, right = min(xs), max(max(xs), min(xs) + 1e-9)
    margin = 0.08 * max(max(ys) - min(ys), 0.02)
    low, high = min(ys) - margin, max(ys) + margin

    def place(x: float, y: float) -> tuple[float, float]:
        across = _LEFT + (math.log10(x) - left) / (right - left) * (_RIGHT - _LEFT)
        return across, _BOTTOM - (y - low) / (high - low) * (_BOTTOM - _TOP)

    shown = sorted({x for across, _ in lines.values() for x in across})
    body = _ticks([(place(x, low)[0], f"{x:,.0f}" if x % 1 == 0 else f"{x:g}") for x in shown], vertical=True)
    body += _ticks([(place(shown[0], y)[1], f"{y:g}") for y in _round_steps(low, high)], vertical=False)
    for number, (across, up) in enumerate(lines.values(), start=1):
        points = [place(x, y) for x, y in zip(across, up, strict=True)]
        body += f'<path class="line s{number}" d="M{"L".join(f"{x:.1f} {y:.1f}" for x, y in points)}"/>'
        body += "".join(f'<circle class="dot s{number}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in points)
    return _frame(title, body, x_name, y_name)


def scatter(points: Mapping[str, tuple[float, float]], title: str, x_name: str, y_name: str) -> str:
    """Named points, such as sets by what they leak and what they are worth: an SVG picture.

    Args:
        points: name -> (x, y); the k-th has the colour of class `s<k>`, every fifth that of the first again.
        title: what a screen reader says.
        x_name: name and unit of x.
        y_name: name and unit of y.
    """
    across, up = zip(*points.values(), strict=True)
    (left, right), (low, high) = (
        (min(values) - margin, max(values) + margin)
        for values in (across, up)
        for margin in [0.2 * max(max(values) - min(values), 0.02)]
    )

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            _LEFT + (x - left) / (right - left) * (_RIGHT - _LEFT),
            _BOTTOM - (y - low) / (high - low) * (_BOTTOM - _TOP),
        )

    body = _ticks([(place(x, low)[0], f"{x:g}") for x in _round_steps(left, right)], vertical=True)
    body += _ticks([(place(left, y)[1], f"{y:g}") for y in _round_steps(low, high)], vertical=False)
    for number, (name, point) in enumerate(points.items()):
        x, y = place(*point)
        anchor, step = ("end", -8) if x > (_LEFT + _RIGHT) / 2 else ("start", 8)
        body += f'<circle class="dot s{number % 4 + 1}" cx="{x:.1f}" cy="{y:.1f}" r="5"/>'
        body += (
            f'<text x="{x + step:.1f}" y="{y + 4:.1f}" class="value" text-anchor="{anchor}">{html.escape(name)}</text>'
        )
    return _frame(title, body, x_name, y_name)
