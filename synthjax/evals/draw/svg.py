"""Charts of a report as SVG markup, drawn from plain numbers.

Colours come from the page's CSS (classes `s1` ... `s4`, `axis`, `rule`), so that one picture serves light and dark. A
unit is about one CSS pixel on a phone; wider screens enlarge the whole picture a little. Every text is escaped.

`title` is what a screen reader says, `x_name` and `y_name` are name and unit of an axis, and the k-th of several named
things has the class `s<k>`.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup, escape

_WIDTH, _HEIGHT = 360, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 342, 10, 196
_CHARACTER = 6.6
"""Width of a character of a label, about."""

Ticks = Sequence[tuple[float, str]]
"""Values with their labels."""


def element(name: str, *children: Any, **attributes: Any) -> Markup:
    """An element; an attribute `class_` is written class, `text_anchor` text-anchor, numbers with one digit."""
    parts = []
    for key, value in attributes.items():
        text = f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else value
        parts.append(f' {key.rstrip("_").replace("_", "-")}="{escape(text)}"')
    return Markup(f"<{name}{''.join(parts)}>{''.join(map(escape, children))}</{name}>")


def picture(width: float, height: float, title: str, *children: Markup, **attributes: Any) -> Markup:
    """An `svg` element with its accessible name."""
    box = attributes.pop("viewBox", f"0 0 {width:g} {height:g}")
    return element("svg", *children, viewBox=box, role="img", aria_label=title, **attributes)


def _text(x: float, y: float, content: str, css: str = "axis", anchor: str = "middle") -> Markup:
    return element("text", content, x=float(x), y=float(y), class_=css, text_anchor=anchor)


def _path(css: str, d: str) -> Markup:
    return element("path", class_=css, d=d)


def _dot(x: float, y: float, css: str, radius: float = 3) -> Markup:
    return element("circle", class_=f"dot {css}", cx=float(x), cy=float(y), r=radius)


def short(name: str, most: int = 16) -> str:
    """A name cut to so many characters."""
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _numbers(low: float, high: float) -> Ticks:
    """At most about five round numbers within [low, high]."""
    span = max(high - low, 1e-12)
    unit = 10.0 ** math.floor(math.log10(span / 5))
    step = next(unit * m for m in (1, 2, 5, 10, 20) if span / (unit * m) <= 5)
    steps = range(math.ceil(low / step), math.floor(high / step + 1e-9) + 1)
    return [(step * i, f"{step * i:g}") for i in steps]


class _Axes(NamedTuple):
    """The plot: which values lie at its edges."""

    left: float
    right: float
    low: float
    high: float

    def x(self, value: float) -> float:
        return _LEFT + (value - self.left) / (self.right - self.left or 1) * (_RIGHT - _LEFT)

    def y(self, value: float) -> float:
        return _BOTTOM - (value - self.low) / (self.high - self.low or 1) * (_BOTTOM - _TOP)

    def line(self, css: str, points: Iterable[tuple[float, float]]) -> Markup:
        return _path(css, "M" + "L".join(f"{self.x(x):.1f} {self.y(y):.1f}" for x, y in points))

    def chart(
        self, title: str, names: tuple[str, str], ticks: tuple[Ticks, Ticks] | None, *body: Markup, **attributes: Any
    ) -> Markup:
        """The picture: rules and labels of both axes, their names, and what is drawn."""
        across, up = ticks or (_numbers(self.left, self.right), _numbers(self.low, self.high))
        parts = []
        for value, label in across:
            # A wide label of the last rule would be cut off.
            x = min(self.x(value), _WIDTH - 1 - _CHARACTER / 2 * len(label))
            parts += [_path("rule", f"M{self.x(value):.1f} {_TOP}V{_BOTTOM}"), _text(x, _BOTTOM + 15, label)]
        for value, label in up:
            y = self.y(value)
            parts += [_path("rule", f"M{_LEFT} {y:.1f}H{_RIGHT}"), _text(_LEFT - 5, y + 4, label, anchor="end")]
        parts += [*body, _text((_LEFT + _RIGHT) / 2, _HEIGHT - 8, names[0])]
        turned = f"translate(11 {(_TOP + _BOTTOM) / 2:g}) rotate(-90)"
        parts.append(element("text", names[1], transform=turned, class_="axis", text_anchor="middle"))
        return picture(_WIDTH, _HEIGHT, title, *parts, **attributes)


def _range(values: Sequence[float], margin: float, least: float = 0.02) -> tuple[float, float]:
    """Both ends of an axis, beyond the values by `margin` of their range."""
    room = margin * max(max(values) - min(values), least)
    return min(values) - room, max(values) + room


# --- charts of the whole width ---------------------------------------------------------------------------------------


def histogram(
    edges: Sequence[float], counts: Mapping[str, Sequence[float]], title: str, x_name: str, y_name: str
) -> Markup:
    """Histograms over the same bins, drawn over one another: edges (bins + 1,) ascending, name -> counts (bins,)."""
    axes = _Axes(edges[0], max(edges[-1], edges[0] + 1e-12), 0, max(1.0, *(max(c) for c in counts.values())))
    body = []
    for place, values in enumerate(counts.values(), start=1):
        steps = (f"V{axes.y(count):.1f}H{axes.x(right):.1f}" for count, right in zip(values, edges[1:], strict=True))
        body.append(_path(f"fill s{place}", f"M{axes.x(edges[0]):.1f} {_BOTTOM}{''.join(steps)}V{_BOTTOM}Z"))
    return axes.chart(title, (x_name, y_name), None, *body)


def roc_curves(curves: Mapping[str, Mapping[str, Sequence[float]]], smallest: float, title: str) -> Markup:
    """ROC curves with both axes in powers of ten, so that the few sure hits show.

    name -> {"fpr": ascending, "tpr": ascending}. The axes begin at the power of ten below `smallest`, the lowest false
    positive rate that so many examples can show.
    """
    decades = max(1, math.ceil(-math.log10(smallest)))
    axes = _Axes(-decades, 0, -decades, 0)

    def power(rate: float) -> float:
        return math.log10(max(rate, 10.0**-decades))

    ticks = [(float(-k), f"{100 * 10.0**-k:g} %") for k in range(decades, -1, -1)]
    body = [axes.line("chance", [(-decades, -decades), (0, 0)])]
    for place, curve in enumerate(curves.values(), start=1):
        points = zip(map(power, curve["fpr"]), map(power, curve["tpr"]), strict=True)
        body.append(axes.line(f"line s{place}", points))
    names = "others taken for members (false positives)", "members found (true positives)"
    return axes.chart(title, names, (ticks, ticks), *body)


def curves(
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]], title: str, x_name: str, y_name: str
) -> Markup:
    """Lines through points, the horizontal axis logarithmic: name -> ascending x > 0, and y."""
    shown = sorted({x for across, _ in lines.values() for x in across})
    low, high = _range([y for _, up in lines.values() for y in up], 0.08)
    axes = _Axes(math.log10(shown[0]), max(math.log10(shown[-1]), math.log10(shown[0]) + 1e-9), low, high)
    body = []
    for place, (across, up) in enumerate(lines.values(), start=1):
        points = [(math.log10(x), y) for x, y in zip(across, up, strict=True)]
        body.append(axes.line(f"line s{place}", points))
        body += [_dot(axes.x(x), axes.y(y), f"s{place}") for x, y in points]
    ticks = [(math.log10(x), f"{x:,.0f}" if x % 1 == 0 else f"{x:g}") for x in shown]
    return axes.chart(title, (x_name, y_name), (ticks, _numbers(low, high)), *body)


def scatter(points: Mapping[str, tuple[float, float]], title: str, x_name: str, y_name: str) -> Markup:
    """Named points (x, y), such as sets by what they leak and what they are worth, in four colours by turns."""
    across, up = zip(*points.values(), strict=True)
    axes = _Axes(*_range(across, 0.2), *_range(up, 0.2))
    body = []
    for number, (name, point) in enumerate(points.items()):
        x, y = axes.x(point[0]), axes.y(point[1])
        anchor, step = ("end", -8) if x > (_LEFT + _RIGHT) / 2 else ("start", 8)
        body += [_dot(x, y, f"s{number % 4 + 1}", 5), _text(x + step, y + 4, name, "value", anchor)]
    return axes.chart(title, (x_name, y_name), None, *body)


def pairs(points: Sequence[tuple[float, float]], title: str, x_name: str, y_name: str) -> Markup:
    """Many points (x, y), both >= 0, on one scale, and the line on which both are equal."""
    top = max((value for point in points for value in point), default=0) or 1.0
    axes = _Axes(0, top, 0, top)
    dots = "".join(f"M{axes.x(x):.1f} {axes.y(y):.1f}h0" for x, y in points)
    body = axes.line("chance", [(0, 0), (top, top)]), _path("points s1", dots)
    return axes.chart(title, (x_name, y_name), None, *body)


# --- small pictures --------------------------------------------------------------------------------------------------


def strip(
    value: float | None,
    marks: Sequence[tuple[float, str]],
    title: str,
    *,
    interval: Sequence[float] | None = None,
    show: Callable[[float], str],
) -> Markup:
    """A figure on the way from one reference to another.

    `value` None: it was not measured, and the references stand alone. `marks` are the two references with their names,
    the worse one, at the left end, first. `interval` is drawn as a whisker; `show` writes a value.
    """
    left, right, y = 8, _WIDTH - 8, 30
    (worst, _), (best, _) = marks
    among = [worst, best, *([] if value is None else [value])]
    low, high = _range(among, 0.08, 0.01)  # room for whiskers that go beyond both ends

    def across(at: float) -> float:
        share = min(max((at - low) / (high - low), 0), 1)
        return left + (share if worst <= best else 1 - share) * (right - left)

    body = [_path("rule", f"M{left} {y}H{right}"), _path("range", f"M{across(worst):.1f} {y}H{across(best):.1f}")]
    labels = [f"{name} {show(at)}" for at, name in marks]
    ends = [across(at) for at, _ in marks]
    places = _apart(ends, [_CHARACTER * len(label) for label in labels], left, right)
    for at, label, (place, anchor) in zip(ends, labels, places, strict=True):
        body += [_path("mark", f"M{at:.1f} {y - 8}V{y + 8}"), _text(place, y + 24, label, anchor=anchor)]
    if value is not None:
        at = across(value)
        if interval:
            low_end, high_end = sorted(map(across, interval))
            body.append(_path("whisker s1", f"M{low_end:.1f} {y}H{high_end:.1f}"))
        anchor = "end" if at > 0.85 * _WIDTH else "start" if at < 0.15 * _WIDTH else "middle"
        body += [_dot(at, y, "s1", 5), _text(at, y - 14, show(value), "value", anchor)]
    return picture(_WIDTH, 60, title, *body, class_="strip")


def _apart(
    ends: Sequence[float], widths: Sequence[float], left: float, right: float
) -> tuple[tuple[float, str], tuple[float, str]]:
    """Where two labels stand, and how they are anchored: between their marks, else side by side next to both."""
    if ends[1] - ends[0] > sum(widths):
        return (ends[0], "start"), (ends[1], "end")
    if ends[0] + ends[1] > left + right:
        return (min(ends[0], right - widths[1]), "end"), (right, "end")
    return (left, "start"), (max(ends[1], left + widths[0]), "start")


def plane(
    behind: Sequence[Sequence[int]],
    before: Sequence[Sequence[int]],
    names: Mapping[str, Sequence[int]],
    css: str,
    title: str,
) -> Markup:
    """A map: points in grey, others before them in the colour of class `css`, and names at their places."""
    margin = 30
    right, top = (max(place[axis] for place in (*behind, *before)) for axis in (0, 1))
    grey, coloured = ("".join(f"M{x} {top - y}h0" for x, y in places) for places in (behind, before))
    body = [_path("points", grey), _path(f"points {css}", coloured)]
    body += [_text(x, top - y + 14, name, "name") for name, (x, y) in names.items()]
    box = f"{-margin} {-margin} {right + 2 * margin} {top + 2 * margin}"
    return picture(0, 0, title, *body, class_="map", viewBox=box)


_PANEL = 220
"""Width of the picture of a column."""
_BAR = 9


def outlines(edges: Sequence[float], shares: Sequence[Sequence[float]], ends: tuple[str, str], title: str) -> Markup:
    """Distributions of a number over the same bins; `ends`: how the outer edges read. The k-th has class `s<k>`."""
    height, top = 70, max([1e-12, *itertools.chain(*shares)])
    width = (_PANEL - 4) / (len(edges) - 1)
    body = []
    for place, values in enumerate(shares, start=1):
        steps = "".join(f"V{height - v / top * (height - 6):.1f}h{width:.2f}" for v in values)
        body.append(_path(f"fill s{place}", f"M2 {height}{steps}V{height}Z"))
    body += [_text(2, height + 14, ends[0], anchor="start"), _text(_PANEL - 2, height + 14, ends[1], anchor="end")]
    return picture(_PANEL, height + 20, title, *body, class_="panel")


def bars(names: Sequence[str], shares: Sequence[Sequence[float]], title: str) -> Markup:
    """Shares of categories as pairs of bars; those of the k-th have class `s<k>`."""
    left, step = 84, 2 * _BAR + 7
    top = max([1e-12, *itertools.chain(*shares)])
    body = []
    for row, name in enumerate(names):
        y = row * step
        body.append(_text(left - 5, y + _BAR + 5, short(name, 13), anchor="end"))
        for place, values in enumerate(shares, start=1):
            d = f"M{left} {y + (place - 1) * _BAR}h{values[row] / top * (_PANEL - left - 2):.1f}v{_BAR - 1}H{left}Z"
            body.append(_path(f"fill s{place}", d))
    return picture(_PANEL, max(len(names), 1) * step, title, *body, class_="panel")


def heat(matrix: Sequence[Sequence[float | None]], names: Sequence[str], most: float, title: str) -> Markup:
    """A matrix (n, n) of numbers in [-most, most], None where there is none: cells in two colours by sign.

    A cell has the more colour the larger its number is; numbers are written where there are at most 12 `names`.
    """
    cell, decimals = 26, 3 if most < 0.1 else 2
    longest = max(len(short(name)) for name in names)
    left = _CHARACTER * longest + 10
    body = []
    for row, values in enumerate(matrix):
        body.append(_text(left - 5, row * cell + cell / 2 + 4, short(names[row]), anchor="end"))
        for column, value in enumerate(values):
            x, y, known = left + column * cell, row * cell, value is not None
            share = min(abs(value or 0) / most, 1)
            css = f"cell {'none' if not known else 'plus' if (value or 0) >= 0 else 'minus'}"
            look = {"fill_opacity": f"{share:.2f}"} if known else {}
            body.append(element("rect", x=x, y=y, width=cell - 1, height=cell - 1, class_=css, **look))
            if known and len(names) <= 12:
                label = _correlation(value or 0, decimals)
                body.append(_text(x + cell / 2, y + cell / 2 + 3, label, "strong" if share > 0.6 else "weak"))
    bottom = len(names) * cell
    for column, name in enumerate(names):
        turned = f"translate({left + column * cell + cell / 2 + 3} {bottom + 8}) rotate(-50)"
        body.append(element("text", short(name), transform=turned, class_="axis", text_anchor="end"))
    width = left + bottom + 2
    # Few columns need no more room than their labels take.
    size = f"max-width: {1.4 * width:.0f}px"
    return picture(width, bottom + 14 + 0.77 * (left - 10), title, *body, class_="heat", style=size)


def _correlation(value: float, decimals: int) -> str:
    """-0.123 as "-.12", say, and what rounds to 0 without a sign."""
    text = f"{value:.{decimals}f}"
    return (text if float(text) else text.removeprefix("-")).replace("0.", ".")
