"""Pictures of data and of runs as PNG: grids of images and loss curves, as bytes.

matplotlib and Pillow are imported when a function needs them, not before.
"""

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_GAP = 2
"""Pixels of white between the images of a grid, before enlargement."""
PANELS = 6
"""Metrics of a loss curve at most."""
_SEEN = 56
"""Height in pixels up to which small images are enlarged."""


def canvas(x: Any, *, columns: int | None = None, levels: int = 256) -> np.ndarray:
    """Images side by side: (height, width, C) uint8, white between the images.

    `x` is (rows, columns, H, W, C), one row usually being one class, or (N, H, W, C) laid out `columns` to a row, by
    default as square as it gets; C is 1 or 3, else ValueError. Integers are grey values 0 ... levels - 1; floats are in
    the model's space, [-1, 1], and clipped to it.
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
    whole = padded.transpose(0, 2, 1, 3, 4).reshape(rows * (height + _GAP), columns * (width + _GAP), channels)
    return whole[:-_GAP, :-_GAP]


def grid(x: Any, *, columns: int | None = None, levels: int = 256) -> bytes:
    """The PNG of a `canvas`, small images enlarged enough to be seen."""
    x = np.asarray(x)
    return encode(canvas(x, columns=columns, levels=levels), max(1, _SEEN // x.shape[-3]))


def encode(canvas: np.ndarray, scale: int = 1) -> bytes:
    """The PNG of a canvas (height, width, 1 or 3) uint8, each pixel scale x scale."""
    from PIL import Image

    image = Image.fromarray(canvas[..., 0] if canvas.shape[-1] == 1 else canvas)
    buffer = io.BytesIO()
    size = (image.width * scale, image.height * scale)
    image.resize(size, Image.Resampling.NEAREST).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def loss_curve(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Training metrics against the step as a PNG: one panel per metric, at most `PANELS`, losses first.

    `rows` are lines of metrics.jsonl: "step", and under each metric's name a number or a list of them, one per seed.
    Metrics may be missing from some; values that are not finite, and times, are left out.
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
    names = sorted((n for n in series if not n.startswith(ignored)), key=lambda n: ("loss" not in n, n))[:PANELS]
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
    return buffer.getvalue()


def _smooth(values: np.ndarray) -> np.ndarray:
    """Mean over a window of a twentieth of the values, narrower at both ends."""
    width = max(3, len(values) // 20)
    total = np.cumsum(np.concatenate([[0.0], values]))
    low = np.maximum(np.arange(len(values)) - width // 2, 0)
    high = np.minimum(np.arange(len(values)) + width // 2 + 1, len(values))
    return (total[high] - total[low]) / (high - low)
