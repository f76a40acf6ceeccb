"""What the page shows beside figures: the right examples, small enough, as plain values."""

import base64
import io
import json
from types import SimpleNamespace

import numpy as np
import pytest
from customers import KINDS, customers
from PIL import Image

from synthjax.evals import pictures
from synthjax.evals.draw import png
from synthjax.evals.table import Schema, Table, from_frames
from synthjax.model import DataSpec

SPEC = DataSpec("image", (4, 4, 1), 17, ("a", "b"), (0.5, 0.5))


def examples(seed, n, shape=(4, 4, 1), levels=17, classes=2):
    rng = np.random.default_rng(seed)
    y = np.arange(n, dtype=np.int32) % classes
    return SimpleNamespace(x=rng.integers(0, levels, (n, *shape), dtype=np.uint8), y=y)


def pixels(text):
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))
    return image if image.ndim == 3 else image[..., None]


@pytest.fixture(scope="module")
def found():
    synthetic, train, test = (examples(seed, n) for seed, n in ((0, 80), (1, 60), (2, 40)))
    synthetic.x[3] = train.x[7]
    closest = [{"synthetic": 3, "train": 7, "distance": 0.0}, {"synthetic": 5, "train": 9, "distance": 1.5}]
    return synthetic, train, test, pictures.of_images(SPEC, synthetic, train, test, closest)


def test_grids_show_the_first_of_each_class(found):
    synthetic, _, test, made = found
    assert json.loads(json.dumps(made)) == made and made["classes"] == ["a", "b"]
    for name, part in (("synthetic", synthetic), ("real", test)):
        rows = np.stack([part.x[part.y == label][:8] for label in (0, 1)])
        np.testing.assert_array_equal(pixels(made[name]["png"]), png.canvas(rows, levels=17))
        assert made[name]["names"] == ["a", "b"]


def test_closest_pairs_are_those_that_were_named(found):
    synthetic, train, _, made = found
    assert made["closest"][0]["synthetic"] == made["closest"][0]["train"]
    np.testing.assert_array_equal(pixels(made["closest"][1]["synthetic"]), png.canvas(synthetic.x[5:6], levels=17))
    np.testing.assert_array_equal(pixels(made["closest"][1]["train"]), png.canvas(train.x[9:10], levels=17))


def test_neighbours_are_the_nearest_training_examples(found):
    synthetic, train, _, made = found
    picture = pixels(made["neighbours"]["png"])
    shown = np.flatnonzero(synthetic.y == 1)[:4]  # the second row; the first of them is number 1
    away = ((synthetic.x[shown[1]].astype(int) - train.x.astype(int)) ** 2).sum((1, 2, 3))
    x = np.stack([synthetic.x[shown[1]], train.x[away.argmin()]])[None]
    pair = png.canvas(x, levels=17)
    row = picture[6:10]
    assert any((row[:, i : i + 10] == pair).all() for i in range(row.shape[1] - 9))
    assert made["neighbours"]["names"] == ["a", "b"]


def test_without_labels_examples_stand_as_they_come():
    spec = DataSpec("image", (4, 4, 1), 17)
    parts = [SimpleNamespace(x=examples(seed, 30).x, y=None) for seed in range(3)]
    made = pictures.of_images(spec, *parts, [])
    assert made["synthetic"]["names"] == made["neighbours"]["names"] == made["classes"] == []
    np.testing.assert_array_equal(pixels(made["synthetic"]["png"]), png.canvas(parts[0].x, columns=8, levels=17))
    few = SimpleNamespace(x=parts[0].x[:3], y=None)
    assert pictures.of_images(spec, few, *parts[1:], [])["neighbours"] is None


def test_large_images_are_means_over_blocks():
    x = np.arange(2 * 90 * 50, dtype=np.float64).reshape(2, 90, 50, 1) % 200
    small = pictures._shrunk(x.astype(np.uint8), 40, 256)
    assert small.shape == (2, 30, 16, 1) and small.dtype == np.uint8
    np.testing.assert_array_equal(small[1, 2, 3, 0], np.rint(x.astype(np.uint8)[1, 6:9, 9:12].mean()))
    assert (
        pictures._shrunk(np.full((1, 100, 2, 1), 9, np.uint8), 40, 256).tolist() == np.full((1, 33, 1, 1), 9).tolist()
    )


def test_many_classes_of_large_noise_stay_below_5_mb(monkeypatch):
    """Noise is what compresses worst; which neighbours are shown does not matter."""
    monkeypatch.setattr(pictures, "nearest", lambda made, train: (None, np.zeros((len(made), 1), int)))
    spec = DataSpec("image", (128, 128, 3), 256, tuple(f"class {i}" for i in range(30)), (1 / 30,) * 30)
    sets = [examples(seed, 300, (128, 128, 3), 256, 30) for seed in range(3)]
    closest = [{"synthetic": i, "train": i, "distance": 1.0} for i in range(8)]
    made = pictures.of_images(spec, *sets, closest)
    assert len(made["synthetic"]["names"]) == 20
    assert len(json.dumps(made)) < 4_700_000


# --- tables ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tables():
    frame = {"train": customers(0, 300, gaps=0.1), "synthetic": customers(1, 200, gaps=0.1)}
    return from_frames(frame, KINDS, "churned")


@pytest.fixture(scope="module")
def of_table(tables):
    closest = [{"synthetic": i, "train": 2 * i, "distance": i / 10} for i in range(8)]
    rng = np.random.default_rng(3)
    distances = rng.uniform(0, 1, 700), rng.uniform(0, 1, 700)
    return distances, pictures.of_table(tables, KINDS, closest, distances)


def test_columns_are_shares_by_bin_and_category(tables, of_table):
    made, schema = of_table[1], tables["train"].schema
    assert json.loads(json.dumps(made)) == made
    by_name = {column["name"]: column for column in made["columns"]}
    assert list(by_name) == [*schema.numeric, *schema.discrete]
    number = schema.numeric[0]
    column, values = by_name[number], tables["synthetic"].numbers[:, 0]
    known = values[~np.isnan(values)]
    real = tables["train"].numbers[:, 0]
    low, high = np.nanquantile(real, [0.005, 0.995])
    assert column["edges"][0] == pytest.approx(low, rel=1e-4) and column["edges"][-1] == pytest.approx(high, rel=1e-4)
    shares = np.histogram(np.clip(known, low, high), np.linspace(low, high, 31))[0] / len(known)
    np.testing.assert_allclose(column["synthetic"], shares, atol=1e-4)
    name = schema.discrete[0]
    codes = tables["train"].codes[:, 0]
    share = {value: (codes == i).mean() for i, value in enumerate(schema.categories[0])}
    assert by_name[name]["real"] == pytest.approx([share[value] for value in by_name[name]["categories"]], abs=1e-4)
    assert by_name[name]["real"] == sorted(by_name[name]["real"], reverse=True)


def test_closest_rows_are_cells_as_they_are_written(tables, of_table):
    closest = of_table[1]["closest"]
    assert len(closest["pairs"]) == 5 and len(closest["columns"]) <= 12
    place = closest["columns"].index("age")
    shown = [pair["train"][place] for pair in closest["pairs"]]
    ages = tables["train"].numbers[[0, 2, 4, 6, 8], tables["train"].schema.numeric.index("age")]
    assert shown == ["(missing)" if np.isnan(age) else f"{age:.0f}" for age in ages]


def test_no_row_is_stored_that_is_not_shown(tables, of_table):
    """Of training rows: the five that are shown, in words, and counts."""
    made = of_table[1]
    assert set(made) == {"columns", "closest", "distances"}
    assert {key for column in made["columns"] for key in column} == {
        *("name", "edges", "ends", "real", "synthetic", "categories")
    }
    assert all(len(column["real"]) <= 30 for column in made["columns"])


def test_distances_are_counted_and_some_are_points(of_table):
    (to_train, to_test), made = of_table[0], of_table[1]["distances"]
    assert sum(made["train"]) == sum(made["test"]) == 700 and len(made["points"]) == 500
    pairs = {(float(f"{a:.4g}"), float(f"{b:.4g}")) for a, b in zip(to_train, to_test, strict=True)}
    inside = [point for point in made["points"] if max(point) < 0.99 * made["edges"][-1]]
    assert len(inside) > 480 and all(tuple(point) in pairs for point in inside)


def test_a_column_without_values_and_dates():
    names = ("empty", "since")
    numbers = np.array([[np.nan, 86400.0 * 365], [np.nan, 86400.0 * 730]])
    schema = Schema(names, (), (), dates=("since",))
    table = Table(schema, numbers, np.zeros((2, 0), np.int32))
    empty, since = pictures._columns(table, table)
    assert sum(empty["real"]) == 0 and since["ends"] == ["1971-01-02", "1971-12-30"]
