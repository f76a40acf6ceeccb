"""What the figures of tables show: each is kept as it is written, and its artists are looked at."""

import numpy as np
import pytest
from customers import KINDS, customers
from matplotlib.colors import to_rgb

from synthjax.errors import InputError
from synthjax.evals import encoders
from synthjax.evals.fidelity import tables as fidelity
from synthjax.evals.privacy import distance_tests
from synthjax.evals.table import from_frames
from synthjax.studies import canvas, s2_pictures, table_figures


@pytest.fixture(scope="module")
def tables():
    return from_frames({"real": customers(0), "synthetic": customers(1)}, KINDS, "churned")


def legend(figure):
    return [text.get_text() for found in figure.legends for text in found.get_texts()]


def test_pair_plots_are_scaled_and_coloured_by_class(drawn, tables):
    figure = drawn(table_figures.pair_plots, tables, groups="churned")
    assert len(figure.axes) == 2 * 9 and legend(figure) == ["churned: no", "churned: yes"]
    below = figure.axes[3]  # second row, first column: income against age
    assert below.get_ylabel() == "income"
    (dots,) = below.collections
    real, points = tables["real"], dots.get_offsets().data
    low, high = np.nanmin(real.numbers, 0), np.nanmax(real.numbers, 0)
    expected = ((real.numbers - low) / (high - low))[:, :2]
    whole, shown = (a[~np.isnan(a).any(1)] for a in (expected, points))
    assert 0 < len(whole) < len(real)
    np.testing.assert_allclose(shown[np.lexsort(shown.T)], whole[np.lexsort(whole.T)])
    # Each row in the colour of its class, the classes mixed.
    blue = np.isclose(dots.get_facecolors()[:, :3], to_rgb(canvas.COLOURS[0])).all(1)
    first = real.codes[:, real.schema.discrete.index("churned")] == 0
    np.testing.assert_allclose(np.nanmean(points[blue], 0), np.nanmean(expected[first], 0))
    assert blue.sum() == first.sum() and 1 < np.abs(np.diff(blue.astype(int))).sum()


def test_correlations_show_the_difference(drawn, tables):
    found = fidelity.correlation_difference(tables["real"], tables["synthetic"])
    figure = drawn(table_figures.correlations, found)
    images = [axes.images[0] for axes in figure.axes if axes.images and len(axes.images[0].get_array()) == 3]
    shown = [np.array(image.get_array()) for image in images]
    np.testing.assert_allclose(shown[2], shown[1] - shown[0], atol=1e-12)
    assert f"{found['mean']:.3f} on average" in figure._suptitle.get_text()
    labels = [text.get_text() for text in figure.axes[0].texts]
    assert labels[0] == "1.00" and labels[1] == f"{found['real'][0][1]:.2f}".replace("0.", ".")
    same = fidelity.correlation_difference(tables["real"], tables["real"])
    figure = drawn(table_figures.correlations, same)
    assert {text.get_text() for axes in figure.axes for text in axes.texts if axes.get_title() != "real"} >= {".000"}


def test_histograms_of_every_column(drawn, tables):
    figure = drawn(table_figures.histograms, tables)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["age", "income", "joined", "city", "member", "churned"]
    assert legend(figure) == ["real", "synthetic"]
    city = figure.axes[3]
    heights = {bar.get_height() for bars in city.containers for bar in bars}
    codes = tables["real"].codes[:, 0]
    assert {(codes == code).mean() for code in range(3)} <= heights
    assert city.get_xticklabels()[0].get_text() == "Bath"
    assert any(label.get_text().startswith("20") for label in figure.axes[2].get_xticklabels())
    for patch in figure.axes[1].patches:  # values beyond the quantiles stand at the ends: nothing is lost
        assert patch.get_data().values.sum() == pytest.approx(1)


def test_distances_and_their_joint_plot(drawn, tables):
    vectors = map(encoders.metric(tables["real"]), (tables[name] for name in ("synthetic", "real", "synthetic")))
    pair = distance_tests.distances(*vectors)
    found = distance_tests.compare_distances(*pair)
    figure = drawn(table_figures.distances, *pair, found)
    texts = [axes.get_title() for axes in figure.axes]
    assert any("Wilcoxon" in text for text in texts)
    steps = np.array([0.5, 1.0, 1.5, 2.0])
    figure = drawn(table_figures.distances, steps, steps[::-1], distance_tests.compare_distances(steps, steps[::-1]))
    assert any("r = -1.00" in axes.get_title() for axes in figure.axes)
    (scatter,) = (axes.collections[0] for axes in figure.axes if axes.get_xlabel() == "distance to training rows")
    np.testing.assert_allclose(sorted(scatter.get_offsets()[:, 0]), steps)


def test_an_embedding_keeps_clusters_apart(drawn):
    rows = customers(0, 60, gaps=0)
    far = rows.assign(age=rows["age"] + 500, city="Rye", churned="never")
    tables = from_frames({"real": rows, "synthetic": far}, KINDS, "churned")
    places = s2_pictures.embed(tables, limit=40)
    assert [points.shape for points in places.values()] == [(40, 3), (40, 3)]
    both = np.concatenate(list(places.values()))
    apart = np.linalg.norm(both[:, None] - both, axis=-1) + np.diag(np.full(80, np.inf))
    assert ((apart.argmin(1) < 40) == (np.arange(80) < 40)).mean() > 0.8  # by chance 0.5
    figure = drawn(table_figures.embedding, places)
    assert [axes.get_title() for axes in figure.axes] == ["all", "real", "synthetic"]
    with pytest.raises(InputError, match="2 rows are too few"):
        s2_pictures.embed(tables, limit=1)


def test_steps_have_a_row_per_model_and_the_real_table_first(drawn):
    rng = np.random.default_rng(0)
    real = np.concatenate([rng.random((50, 2)), rng.integers(0, 2, (50, 1))], axis=1)
    models = {"gan": {0: 1000 * rng.random((40, 2)), 100: rng.random((40, 2))}, "cgan": {100: real}}
    figure = drawn(table_figures.steps, real, models, ("age", "hours"), classes=("no", "yes"))
    cells = np.array(figure.axes).reshape(2, 3)
    assert [axes.get_title() for axes in cells[0]] == ["real", "step 0", "step 100"]
    assert cells[1, 0].get_ylabel() == "cgan\nhours" and not cells[1, 1].collections
    assert cells[0, 1].get_xlim()[1] < 2, "a model that runs away must not shrink the others"
    assert len(np.unique(cells[1, 2].collections[0].get_facecolors(), axis=0)) == 2
    assert legend(figure) == ["no", "yes"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda path, t: table_figures.pair_plots(path, {}), "no table"),
        (lambda path, t: table_figures.pair_plots(path, t, groups="age"), "'age' is no discrete column"),
        (lambda path, t: table_figures.histograms(path, {}), "no table"),
        (lambda path, t: table_figures.distances(path, np.ones(3), np.ones(2), {}), "two arrays"),
        (lambda path, t: table_figures.embedding(path, {"a": np.ones((3, 2))}), "points"),
        (lambda path, t: table_figures.steps(path, np.ones((3, 2)), {}, ("a", "b")), "a model"),
        (lambda path, t: table_figures.correlations(path, {"mean": None}), "no two numeric columns"),
    ],
)
def test_what_cannot_be_drawn_leaves_no_file(call, message, tables, tmp_path):
    with pytest.raises(InputError, match=message):
        call(tmp_path / "x.png", tables)
    assert not list(tmp_path.iterdir())
