"""What all figures share: a canvas without global state, colours, thin axes, a legend that hides nothing.

The colours are those of Okabe and Ito, which people who see colours differently tell apart.
"""

import io
import os
import textwrap
from collections.abc import Sequence
from typing import Any

from synthjax import files

Path = str | os.PathLike[str]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = "os^Dv*P"
INK, SOFT, GRID = "#222222", "#6b6b6b", "#dddddd"


def turn(names: Sequence[str], room: float) -> dict[str, Any]:
    """How the names of ticks are written that have `room` inches each: slanting where one is longer."""
    return {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if 0.09 * max(map(len, names)) > room else {}


def pick(among: Sequence[str], number: int) -> str:
    """The colour, marker, ... of the number-th thing; they come round again."""
    return among[number % len(among)]


def figure(width: float, height: float, title: str) -> Any:
    """Figure and canvas by hand: pyplot keeps global state and may pick a backend that needs a display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(h_pad=0.08, w_pad=0.08, compress=True)
    figure = Figure(figsize=(width, height), layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    figure.suptitle(textwrap.fill(title, int(12 * width)), fontsize=12, color=INK)
    return figure


def style(axes: Any, grid: str) -> None:
    """Thin grid behind the data, no box around it."""
    axes.grid(axis=grid, color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(SOFT)
    axes.tick_params(colors=INK, labelsize=9)


def legend(figure: Any, axes: Any, names: Sequence[str]) -> None:
    """Below the axes, where it hides nothing, in as few rows as fit; none for one name."""
    if len(names) < 2:
        return
    handles, labels = axes.get_legend_handles_labels()
    found = dict(zip(labels, handles, strict=True))
    room = max(1, int(14 * figure.get_figwidth() / (max(map(len, names)) + 7)))
    rows = -(-len(names) // room)
    look = {"ncols": -(-len(names) // rows), "frameon": False, "fontsize": 9}
    figure.legend([found[name] for name in names], names, loc="outside lower center", **look)


def save(figure: Any, path: Path) -> None:
    """Writes the PNG, whole or not at all."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight", pad_inches=0.12)
    files.write(files.path(path), buffer.getvalue())
