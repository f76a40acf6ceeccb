"""Charts of the page: what they show, not only that they draw."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from synthjax.evals.draw import svg

NASTY = "<a href='x'>&"


def coordinates(picture, css):
    """The numbers of the paths of a class."""
    root = ElementTree.fromstring(picture)
    return [[float(x) for x in re.findall(r"-?[\d.]+", p.get("d"))] for p in root.iter("path") if p.get("class") == css]


def texts(picture):
    return [element.text for element in ElementTree.fromstring(picture).iter("text")]


def test_every_text_is_escaped():
    curve = {"fpr": [0.0, 1.0], "tpr": [0.0, 1.0]}
    pictures = [
        svg.histogram([0, 1], {NASTY: [1]}, NASTY, NASTY, NASTY),
        svg.roc_curves({NASTY: curve}, 0.1, NASTY),
        svg.curves({NASTY: ([1, 9], [0, 1])}, NASTY, NASTY, NASTY),
        svg.scatter({NASTY: (0, 0), "b": (1, 1)}, NASTY, NASTY, NASTY),
        svg.pairs([(0.1, 0.2)], NASTY, NASTY, NASTY),
        svg.strip(0.5, [(0, NASTY), (1, NASTY)], NASTY, show=str),
        svg.plane([[0, 0]], [[1, 1]], {NASTY: [0, 0]}, "s1", NASTY),
        svg.outlines([0, 1], [[0.5], [1.0]], (NASTY, "b"), NASTY),
        svg.bars([NASTY], [[0.5], [1.0]], NASTY),
        svg.heat([[1.0]], [NASTY], 1.0, NASTY),
    ]
    for picture in pictures:
        root = ElementTree.fromstring(picture)
        assert root.get("aria-label") == NASTY and root.get("role") == "img"
        assert not list(root.iter("a"))


def test_labels_of_an_axis_are_not_cut_off():
    picture = svg.curves({"a": ([100, 1_000_000], [0, 1])}, "t", "x", "y")
    place = float(re.search(r'x="([\d.]+)"[^>]*>1,000,000<', picture).group(1))
    assert 300 < place < 336  # 9 characters in the middle of a place that ends at 360; the rule stands at 342
    assert 'x="342"' in svg.curves({"a": ([1, 9], [0, 1])}, "t", "x", "y")


def test_roc_curves_are_logarithmic():
    curve = {"fpr": [0, 0.01, 0.1, 1], "tpr": [0, 0.1, 1, 1]}
    (line,) = coordinates(svg.roc_curves({"a": curve}, smallest=0.004, title="t"), "line s1")
    x, y = np.array(line[::2]), np.array(line[1::2])
    np.testing.assert_allclose((x - x[0]) / (x[-1] - x[0]), [0, 1 / 3, 2 / 3, 1], atol=2e-3)
    np.testing.assert_allclose((y[0] - y) / (y[0] - y[-1]), [0, 2 / 3, 1, 1], atol=2e-3)


def test_histogram_bars_are_in_proportion():
    picture = svg.histogram([0, 1, 2], {"a": [1, 4], "b": [2, 0]}, "t", "distance", "rows")
    (bars,) = coordinates(picture, "fill s1")
    base, first, second = bars[1], bars[2], bars[4]
    assert base - second == pytest.approx(4 * (base - first), abs=0.3)
    assert len(coordinates(picture, "fill s2")) == 1
    ElementTree.fromstring(svg.histogram([0, 0], {"a": [3]}, "t", "distance", "rows"))  # all distances are equal


@pytest.mark.parametrize("worst, best", [(0.5, 0.95), (0.95, 0.5)])
def test_a_strip_leads_from_the_worse_reference_to_the_better_one(worst, best):
    marks = (worst, "worse"), (best, "better")
    picture = svg.strip(0.9, marks, "t", interval=[0.88, 0.92], show="{:g}".format)
    left, right = (mark[0] for mark in coordinates(picture, "mark"))
    at = float(ElementTree.fromstring(picture).find(".//circle").get("cx"))
    assert left < right and (at - left) / (right - left) == pytest.approx((0.9 - worst) / (best - worst), abs=0.01)
    (whisker,) = coordinates(picture, "whisker s1")
    assert whisker[0] < at < whisker[2] and texts(picture) == [f"worse {worst:g}", f"better {best:g}", "0.9"]


def test_a_strip_without_a_figure_and_one_whose_references_are_one():
    picture = svg.strip(None, [(1.0, "all"), (0.5, "guessing")], "t", show="{:g}".format)
    assert texts(picture) == ["all 1", "guessing 0.5"] and "circle" not in picture
    ElementTree.fromstring(svg.strip(1.0, [(1.0, "floor"), (1.0, "real")], "t", show=str))
    beyond = svg.strip(7.0, [(5.0, "much"), (0.0, "none")], "t", interval=[-30.0, 90.0], show=str)
    (whisker,) = coordinates(beyond, "whisker s1")
    assert 0 <= whisker[0] < whisker[2] <= 360  # cut at the edges


def test_a_map_shows_every_point_upwards_and_names():
    picture = svg.plane([[0, 1000]], [[5, 10], [7, 20]], {"<b>": [0, 1000]}, "s2", "t")
    assert 'class="points s2" d="M5 990h0M7 980h0"' in picture and 'class="points" d="M0 0h0"' in picture
    assert texts(picture) == ["<b>"]


def test_pairs_share_one_scale_with_their_diagonal():
    picture = svg.pairs([(1.0, 2.0), (4.0, 4.0)], "t", "x", "y")
    ((x0, y0, _, x1, y1, _),) = coordinates(picture, "points s1")
    (diagonal,) = coordinates(picture, "chance")
    assert [x1, y1] == diagonal[2:]  # on the line, at its end
    left, bottom = diagonal[:2]
    assert (x0 - left) / (x1 - left) == pytest.approx(0.25, abs=0.01)
    assert (y0 - bottom) / (y1 - bottom) == pytest.approx(0.5, abs=0.01)


def test_panels_of_columns_are_in_proportion():
    picture = svg.outlines([0, 1, 2], [[0.25, 0.75], [0.5, 0.5]], ("0", "2"), "t")
    ((_, base, first, _, second, *_),) = coordinates(picture, "fill s1")
    assert base - second == pytest.approx(3 * (base - first), abs=0.3) and texts(picture) == ["0", "2"]
    bars = svg.bars(["a", "a long name of a category"], [[0.5, 0.25], [1.0, 0.0]], "t")
    widths = [path[2] for path in coordinates(bars, "fill s1")]
    assert widths[0] == pytest.approx(2 * widths[1], abs=0.2) and coordinates(bars, "fill s2")[1][2] == 0
    assert texts(bars) == ["a", "a long name …"]
    ElementTree.fromstring(svg.bars([], [[], []], "t"))  # a column of missing values


def test_a_matrix_is_coloured_by_sign_and_size():
    picture = svg.heat([[1.0, -0.25], [None, 0.0]], ["age", "income"], 1.0, "t")
    cells = [(cell.get("class"), cell.get("fill-opacity")) for cell in ElementTree.fromstring(picture).iter("rect")]
    assert cells == [("cell plus", "1.00"), ("cell minus", "0.25"), ("cell none", None), ("cell plus", "0.00")]
    assert {"1.00", "-.25", ".00"} <= set(texts(picture))
    many = svg.heat(np.eye(13).tolist(), [str(i) for i in range(13)], 1.0, "t")
    assert len(texts(many)) == 2 * 13  # names alone
