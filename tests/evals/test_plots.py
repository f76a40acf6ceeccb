"""Grids, curves and charts: what they show, not only that they draw."""

import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image

from synthjax.evals import plots


def test_grid_places_rows_and_scales_grey_values(tmp_path):
    x = np.zeros((2, 3, 4, 5, 1), np.uint8)
    x[1, 2] = 16
    x[0, 1] = 8
    canvas = plots.grid(x, tmp_path / "grid.png", levels=17, scale=3)
    assert canvas.shape == (2 * 4 + 2, 3 * 5 + 2 * 2, 1)
    assert (canvas[:4, 7:12] == 128).all() and (canvas[6:, 14:] == 255).all() and (canvas[:4, :5] == 0).all()
    assert (canvas[4:6] == 255).all() and (canvas[:, 5:7] == 255).all()  # gaps
    image = np.asarray(Image.open(tmp_path / "grid.png"))
    np.testing.assert_array_equal(image, canvas[..., 0].repeat(3, axis=0).repeat(3, axis=1))
    assert [path.name for path in tmp_path.iterdir()] == ["grid.png"]


def test_grid_takes_the_models_space_and_colour():
    x = np.stack([np.full((2, 2, 3), v, np.float32) for v in (-1, 0, 1, 7)])
    canvas = plots.grid(x, columns=4)
    assert canvas.shape == (2, 4 * 2 + 3 * 2, 3)
    assert [int(canvas[0, i, 0]) for i in (0, 4, 8, 12)] == [0, 128, 255, 255]


def test_grid_fills_up_the_last_row_with_white():
    canvas = plots.grid(np.zeros((3, 2, 2, 1), np.uint8))
    assert canvas.shape == (6, 6, 1)
    assert (canvas[4:, 4:] == 255).all() and (canvas[4:, :2] == 0).all()


@pytest.mark.parametrize("shape", [(3, 2, 2), (0, 2, 2, 1), (3, 2, 2, 2)])
def test_grid_refuses_what_are_no_images(shape):
    with pytest.raises(ValueError, match="images must be"):
        plots.grid(np.zeros(shape, np.uint8))


def test_loss_curve_draws_each_metric_of_one_or_many_seeds(tmp_path):
    one = [{"step": i, "loss": 1 / (i + 1), "grad_norm": float("nan") if i == 3 else 1.0} for i in range(50)]
    many = [{"step": i, "loss": [1.0, 2.0 + i]} for i in range(50)]
    sizes = {}
    for name, rows in (("one", one), ("many", many), ("none", [])):
        plots.loss_curve(rows, tmp_path / f"{name}.png")
        sizes[name] = Image.open(tmp_path / f"{name}.png").size
    assert sizes["one"][0] == 2 * sizes["many"][0]  # two panels, one panel
    assert sizes["none"] == sizes["many"]


def test_smoothing_is_a_moving_mean():
    values = np.random.default_rng(0).normal(size=100)
    found = plots._smooth(values)
    assert found[50] == pytest.approx(values[48:53].mean())
    assert found[0] == pytest.approx(values[:3].mean())
    assert found[-1] == pytest.approx(values[-3:].mean())


def coordinates(svg, css):
    """The pixel positions of the paths of a class."""
    root = ElementTree.fromstring(svg)
    return [re.findall(r"[-\d.]+", p.get("d")) for p in root.iter("path") if p.get("class") == css]


def test_labels_of_an_axis_are_not_cut_off():
    svg = plots.curves({"a": ([100, 1_000_000], [0, 1])}, "t", "x", "y")
    place = float(re.search(r'x="([\d.]+)"[^>]*>1,000,000<', svg).group(1))
    assert 300 < place < 336  # 9 characters in the middle of a place that ends at 360; the rule stands at 342
    few = plots.curves({"a": ([1, 9], [0, 1])}, "t", "x", "y")
    assert 'x="342.0"' in few


def test_roc_curves_are_logarithmic():
    curve = {"fpr": [0, 0.01, 0.1, 1], "tpr": [0, 0.1, 1, 1]}
    svg = plots.roc_curves({"a": curve}, smallest=0.004, title="<x>")
    (line,) = coordinates(svg, "line s1")
    x = np.array(line[::2], float)
    left, right = x[0], x[-1]
    np.testing.assert_allclose((x - left) / (right - left), [0, 1 / 3, 2 / 3, 1], atol=2e-3)
    y = np.array(line[1::2], float)
    np.testing.assert_allclose((y[0] - y) / (y[0] - y[-1]), [0, 2 / 3, 1, 1], atol=2e-3)
    assert ElementTree.fromstring(svg).get("aria-label") == "<x>"


def test_histogram_bars_are_in_proportion():
    svg = plots.histogram([0, 1, 2], {"a": [1, 4], "b": [2, 0]}, "t", "distance")
    (bars,) = coordinates(svg, "fill s1")
    base, first, second = float(bars[1]), float(bars[2]), float(bars[4])
    assert (base - second) == pytest.approx(4 * (base - first), abs=0.3)
    assert len(coordinates(svg, "fill s2")) == 1


def test_histogram_of_equal_distances_does_not_fail():
    ElementTree.fromstring(plots.histogram([0, 0], {"a": [3]}, "t", "distance"))


def test_scale_bar_orders_floor_score_and_ceiling():
    svg = plots.scale_bar(0.9, 0.5, 0.95, [0.88, 0.92], ("floor", "real"), "t")
    floor, ceiling = (float(mark[0]) for mark in coordinates(svg, "mark"))
    at = float(ElementTree.fromstring(svg).find(".//circle").get("cx"))
    assert (at - floor) / (ceiling - floor) == pytest.approx(0.4 / 0.45, abs=0.01)
    ElementTree.fromstring(plots.scale_bar(1.0, 1.0, 1.0, None, ("floor", "real"), "t"))


def test_importing_plots_is_light():
    code = "import sys, synthjax.evals.plots; print(sorted({'matplotlib', 'PIL', 'sklearn'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
