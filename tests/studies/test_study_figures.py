"""What the figures of studies show: each is kept as it is written, and its artists are looked at."""

import subprocess
import sys

import numpy as np
import pytest
from matplotlib.container import ErrorbarContainer

from synthjax.errors import InputError
from synthjax.studies import figures

DIGITS = [str(digit) for digit in range(10)]


def legend(figure):
    return [text.get_text() for found in figure.legends for text in found.get_texts()]


def boxes(axes):
    """Left, width and height of the bars, in the order of drawing."""
    return [(bar.get_x(), bar.get_width(), bar.get_height()) for bars in axes.containers[:-1] for bar in bars]


def segments(collection):
    return [path.vertices for path in collection.get_paths()]


def test_short_curves_have_error_bars_and_their_published_twins_their_colour(drawn):
    x = np.array([10, 20, 40])
    series = {"real": (x, x / 100, np.array([0.1, 0.2, 0.3])), "generated": (x, x / 50, None)}
    published = {"generated": (x, x / 60), "chance": (x[:2], [0.1, 0.1])}
    figure = drawn(figures.lines, series, x_name="examples", y_name="accuracy", title="t", references=published)
    (axes,) = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel(), figure._suptitle.get_text()) == ("examples", "accuracy", "t")
    assert legend(figure) == ["real", "generated", "generated, published", "chance"]
    real, generated = (c for c in axes.containers if isinstance(c, ErrorbarContainer))
    np.testing.assert_array_equal(real.lines[0].get_xydata(), np.stack([x, x / 100], 1))
    ends = [path[:, 1] for path in segments(real.lines[2][0])]
    np.testing.assert_allclose(ends, [[0, 0.2], [0, 0.4], [0.1, 0.7]], atol=1e-12)
    assert not generated.has_yerr
    twin, chance = (line for line in axes.lines if line.get_linestyle() == "--")
    assert twin.get_color() == generated.lines[0].get_color() != real.lines[0].get_color()
    assert chance.get_color() not in (twin.get_color(), real.lines[0].get_color())


def test_long_curves_have_bands_and_gaps(drawn):
    x = np.arange(1, 101)
    mean = np.where(x == 50, np.nan, 1.0)
    series = {"a": (x, mean, np.full(100, 0.25)), "b": (x, mean + 1, None)}
    figure = drawn(figures.lines, series, x_name="epoch", y_name="loss", title="t")
    (axes,) = figure.axes
    (band,) = axes.collections
    heights = np.concatenate(segments(band))[:, 1]
    assert (np.nanmin(heights), np.nanmax(heights)) == (0.75, 1.25)
    assert len(axes.lines) == 2 and np.isnan(axes.lines[0].get_ydata()[49])


def test_epochs_are_whole(drawn):
    figure = drawn(figures.lines, {"a": ([1, 2], [1, 2], None)}, x_name="epoch", y_name="loss", title="t")
    assert (figure.axes[0].get_xticks() % 1 == 0).all() and legend(figure) == []


@pytest.mark.parametrize("log", ["x", "y", ""])
def test_one_axis_may_be_logarithmic(drawn, log):
    figure = drawn(figures.lines, {"a": ([1, 100], [1, 10], None)}, x_name="rows", y_name="loss", title="t", log=log)
    scales = {"x": figure.axes[0].get_xscale(), "y": figure.axes[0].get_yscale()}
    assert scales == {name: "log" if name == log else "linear" for name in "xy"}


@pytest.mark.parametrize(
    ("series", "message"),
    [
        ({}, "no series"),
        ({"a": ([1, 2], [1], None)}, "'a'"),
        ({"a": ([1, 2], [1, 2], 0.5)}, "'a'"),
        ({"a": ([1, 2], [1, 2], [0.1, -0.1])}, "'a': a spread is negative"),
        ({"a": ([], [], None)}, "'a'"),
    ],
)
def test_curves_that_do_not_fit(tmp_path, series, message):
    with pytest.raises(InputError, match=message):
        figures.lines(tmp_path / "x.png", series, x_name="", y_name="", title="")
    assert not any(tmp_path.iterdir())


def test_confusions_are_shares_of_the_true_class(drawn):
    table = np.array([[10, 30, 0], [0, 0, 0], [1, 1, 9998]])
    figure = drawn(figures.confusions, {"raw": table, "synthetic": np.eye(3)}, ["cat", "dog", "long-eared owl"])
    left, right = figure.axes
    cells = {text.get_position(): text.get_text() for text in left.texts}  # (column, row): answer, true class
    assert cells == {(0, 0): "25.0", (1, 0): "75.0", (0, 2): "<.1", (1, 2): "<.1", (2, 2): "100"}
    assert [text.get_text() for text in right.texts] == ["100"] * 3
    assert (left.get_ylabel(), left.get_xlabel()) == ("true class", "answer")
    assert [t.get_text() for t in left.get_yticklabels()] == ["cat", "dog", "long-eared owl"]
    assert left.get_title() == "raw: 99.7 % right"
    shades = left.images[0].get_array()
    assert shades[0, 1] > shades[0, 0] > shades[0, 2] == shades[1, 1] == 0


def test_confusions_stand_three_to_a_row(drawn):
    figure = drawn(figures.confusions, {name: np.eye(10) for name in "abcd"}, DIGITS)
    corners = [axes.get_position().p0.round(2) for axes in figure.axes]
    assert len({y for _, y in corners}) == 2 and len({x for x, _ in corners}) == 3


def test_frequencies_are_the_bars_heights(drawn):
    vanilla = np.arange(1000, 2000, 100)
    figure = drawn(figures.frequencies, {"Vanilla": vanilla, "Low Zero": vanilla // 10}, DIGITS)
    (axes,) = figure.axes
    found = boxes(axes)
    assert [height for *_, height in found] == [*vanilla, *(vanilla // 10)]
    # The two bars of a class stand beside each other around its tick, and touch nothing else.
    for digit in range(10):
        (a, width, _), (b, _, _) = found[digit], found[digit + 10]
        assert digit - 0.5 < a and a + width < digit < b and b + width < digit + 0.5
    assert legend(figure) == ["Vanilla", "Low Zero"]
    assert axes.texts[0].get_text() == "1,000" and len(axes.texts) == 20
    assert axes.get_ylim()[0] == 0


VALUES = {"cgan": {"plain": 0.8, "noise": 0.6}, "cdcgan": {"noise": 0.9}}


def test_bars_have_spreads_and_published_marks(drawn):
    figure = drawn(
        figures.bars,
        VALUES,
        {"cgan": {"noise": 0.05}},
        y_name="accuracy",
        title="t",
        references={"cgan": {"plain": 0.74}, "cdcgan": {"noise": 0.95}},
    )
    (axes,) = figure.axes
    (a, width, plain), (*_, none), (b, _, noise), (c, _, other) = boxes(axes)
    assert (plain, noise, other) == (0.8, 0.6, 0.9) and np.isnan(none)
    assert legend(figure) == ["plain", "noise", "published"]
    whisker, marks = axes.collections
    np.testing.assert_allclose(segments(whisker), [[[b + width / 2, 0.55], [b + width / 2, 0.65]]])
    for mark, x, y in zip(segments(marks), (a, c), (0.74, 0.95), strict=True):
        np.testing.assert_allclose(mark, [[x, y], [x + width, y]])
    heights = {text.get_text(): text.xy[1] for text in axes.texts}
    # Above bar and whisker; a mark above stands for itself.
    assert heights == pytest.approx({"0.800": 0.8, "0.600": 0.65, "0.900": 0.9})
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["cgan", "cdcgan"]


def test_directed_noise_is_seen_from_the_class_mean(drawn):
    rng = np.random.default_rng(0)
    components = np.linalg.qr(rng.normal(size=(12, 3)))[0].T
    x = 5 + rng.normal(size=(300, 2)) * [2, 1] @ components[:2]
    # Along a third direction nothing is to be seen.
    moved = x + [3, 0, 9] @ components
    figure = drawn(figures.directed_noise, x, moved, components[:2], shape=(2, 6, 1), title="t")
    axes, images = figure.axes
    before, after = (np.asarray(points.get_offsets()) for points in axes.collections)
    np.testing.assert_allclose(before.mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(after, before + np.array([3, 0]), atol=1e-9)
    assert axes.get_aspect() == 1
    assert [line.split(":")[0] for line in legend(figure)] == ["before", "after"]
    (blue, _, _, _), (red, _, _, _) = (points.get_facecolor()[0] for points in axes.collections)
    assert blue < 0.1 and red > 0.8
    ellipse, _ = axes.patches
    np.testing.assert_allclose([ellipse.width, ellipse.height], 4 * np.sqrt(np.linalg.eigvalsh(np.cov(before.T)))[::-1])
    assert images.images[0].get_array().shape[:2] == (6 * 2 + 5 * 2, 2 * 6 + 2)
    assert len(drawn(figures.directed_noise, x, moved, components[:2]).axes) == 1


@pytest.mark.parametrize(
    ("function", "args", "message"),
    [
        (figures.confusions, ({}, DIGITS), "no table"),
        (figures.confusions, ({"raw": np.eye(9)}, DIGITS), "raw: .*10 classes"),
        (figures.confusions, ({"raw": -np.eye(10)}, DIGITS), "raw: .*negative"),
        (figures.frequencies, ({}, DIGITS), "no counts"),
        (figures.frequencies, ({"raw": np.ones(9)}, DIGITS), "raw: .*10 classes"),
        (figures.directed_noise, (np.ones((5, 4)), np.ones((5, 3)), np.ones((2, 4))), r"\(5, 3\)"),
        (figures.directed_noise, (np.ones((5, 4)), np.ones((5, 4)), np.ones((4, 2))), r"\(4, 2\)"),
    ],
)
def test_arrays_that_do_not_fit(tmp_path, function, args, message):
    with pytest.raises(InputError, match=message):
        function(tmp_path / "x.png", *args)
    assert not any(tmp_path.iterdir())


def test_what_has_no_bar_has_no_mark(tmp_path):
    with pytest.raises(InputError, match="'plain' in 'cdcgan'"):
        figures.bars(tmp_path / "x.png", VALUES, {}, y_name="", title="", references={"cdcgan": {"plain": 1}})
    with pytest.raises(InputError, match="no value"):
        figures.bars(tmp_path / "x.png", {"cgan": {}}, {}, y_name="", title="")
    with pytest.raises(InputError, match="no images of shape"):
        figures.directed_noise(tmp_path / "x.png", np.ones((5, 4)), np.ones((5, 4)), np.ones((2, 4)), shape=(2, 3, 1))


def test_importing_figures_is_light():
    code = "import sys, synthjax.studies.figures; print(sorted({'matplotlib', 'PIL', 'sklearn'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
