"""Grids of images and loss curves: what they show, not only that they draw."""

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from synthjax.evals.draw import png


def test_grid_places_rows_and_scales_grey_values():
    x = np.zeros((2, 3, 4, 5, 1), np.uint8)
    x[1, 2] = 16
    x[0, 1] = 8
    canvas = png.canvas(x, levels=17)
    assert canvas.shape == (2 * 4 + 2, 3 * 5 + 2 * 2, 1)
    assert (canvas[:4, 7:12] == 128).all() and (canvas[6:, 14:] == 255).all() and (canvas[:4, :5] == 0).all()
    assert (canvas[4:6] == 255).all() and (canvas[:, 5:7] == 255).all()  # gaps
    image = np.asarray(Image.open(io.BytesIO(png.encode(canvas, 3))))
    np.testing.assert_array_equal(image, canvas[..., 0].repeat(3, axis=0).repeat(3, axis=1))
    # As a file, images 4 pixels high are enlarged to 56.
    np.testing.assert_array_equal(
        np.asarray(Image.open(io.BytesIO(png.grid(x, levels=17))))[::14, ::14], canvas[..., 0]
    )


def test_grid_takes_the_models_space_and_colour():
    x = np.stack([np.full((2, 2, 3), v, np.float32) for v in (-1, 0, 1, 7)])
    canvas = png.canvas(x, columns=4)
    assert canvas.shape == (2, 4 * 2 + 3 * 2, 3)
    assert [int(canvas[0, i, 0]) for i in (0, 4, 8, 12)] == [0, 128, 255, 255]


def test_grid_fills_up_the_last_row_with_white():
    canvas = png.canvas(np.zeros((3, 2, 2, 1), np.uint8))
    assert canvas.shape == (6, 6, 1)
    assert (canvas[4:, 4:] == 255).all() and (canvas[4:, :2] == 0).all()


@pytest.mark.parametrize("shape", [(3, 2, 2), (0, 2, 2, 1), (3, 2, 2, 2)])
def test_grid_refuses_what_are_no_images(shape):
    with pytest.raises(ValueError, match="images must be"):
        png.grid(np.zeros(shape, np.uint8))


def test_loss_curve_draws_each_metric_of_one_or_many_seeds():
    one = [{"step": i, "loss": 1 / (i + 1), "grad_norm": float("nan") if i == 3 else 1.0} for i in range(50)]
    many = [{"step": i, "loss": [1.0, 2.0 + i]} for i in range(50)]
    sizes = [Image.open(io.BytesIO(png.loss_curve(rows))).size for rows in (one, many, [])]
    assert sizes[0][0] == 2 * sizes[1][0]  # two panels, one panel
    assert sizes[2] == sizes[1]


def test_smoothing_is_a_moving_mean():
    values = np.random.default_rng(0).normal(size=100)
    found = png._smooth(values)
    assert found[50] == pytest.approx(values[48:53].mean())
    assert found[0] == pytest.approx(values[:3].mean())
    assert found[-1] == pytest.approx(values[-3:].mean())


def test_importing_what_draws_is_light():
    modules = "synthjax.evals.draw.png, synthjax.evals.draw.svg"
    code = f"import sys, {modules}; print(sorted({{'matplotlib', 'PIL', 'sklearn'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
