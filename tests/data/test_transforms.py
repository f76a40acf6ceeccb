"""Directed noise against scikit-learn's principal components; choices of rows against their definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from sklearn.decomposition import PCA

from synthjax.data.feed import Feed
from synthjax.data.transforms import (
    Components,
    class_components,
    directed_noise,
    folds,
    subset,
    top_up,
    under_sample,
)
from synthjax.errors import InputError
from synthjax.model import Batch, DataSpec, Model
from synthjax.train.loop import Trainer

CLASSES, SHAPE, DIMS = 3, (3, 4, 1), 12
COUNTS = (40, 9, 25)  # the second class has fewer examples than values
K, C = 4, 0.7


def made_up_images():
    """Stored grey values and labels of three classes that vary along different axes, rows in mixed order."""
    rng = np.random.default_rng(0)
    y = rng.permutation(np.repeat(np.arange(CLASSES, dtype=np.int32), COUNTS))
    mixing = rng.normal(size=(CLASSES, DIMS, DIMS)) * 0.7 ** np.arange(DIMS)[:, None]
    values = np.einsum("nd,nde->ne", rng.normal(size=(len(y), DIMS)), mixing[y])
    return np.clip(128 + 25 * values, 0, 255).astype(np.uint8).reshape(-1, *SHAPE), y


STORED, Y = made_up_images()
SPEC = DataSpec.from_arrays(STORED, Y)
X = np.asarray(SPEC.encode(STORED))
COMPONENTS = class_components(X, Y, CLASSES, K)
AUGMENT = jax.jit(directed_noise(COMPONENTS, C))
LABELS = np.random.default_rng(1).integers(0, CLASSES, 60_000).astype(np.int32)


def batch_of(x, y) -> Batch:
    weight = (np.arange(len(y)) % 5 > 0).astype(np.float32)
    return Batch(*map(jnp.asarray, (x, y, weight, np.arange(len(y), dtype=np.int32))))


BATCH = batch_of(np.zeros((len(LABELS), *SHAPE), np.float32), LABELS)


@pytest.fixture(scope="module")
def moves() -> np.ndarray:
    """What the noise adds to 60,000 examples: (N, D) f64."""
    return np.asarray(AUGMENT(jax.random.key(0), BATCH).x, np.float64).reshape(-1, DIMS)


# --- components --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", range(CLASSES))
@pytest.mark.parametrize("k", [1, K, 8])
def test_components_are_those_of_scikit_learn(label, k):
    found = class_components(X, Y, CLASSES, k)
    assert found.directions.shape == (CLASSES, k, DIMS) and found.ratios.shape == (CLASSES, k)
    expected = PCA(k, svd_solver="full").fit(X[Y == label].reshape(-1, DIMS).astype(np.float64))
    np.testing.assert_allclose(found.ratios[label], expected.explained_variance_ratio_, rtol=1e-4)
    cosines = np.sum(found.directions[label] * expected.components_, axis=1)
    np.testing.assert_allclose(np.abs(cosines), 1, atol=1e-5)


def test_components_have_one_sign_and_type():
    directions = COMPONENTS.directions
    largest = np.take_along_axis(directions, np.abs(directions).argmax(-1)[..., None], -1)
    assert (largest > 0).all()
    assert directions.dtype == COMPONENTS.ratios.dtype == np.float32
    flipped = class_components(-X, Y, CLASSES, K)
    np.testing.assert_allclose(flipped.directions, directions, atol=1e-5)


def test_all_components_hold_all_the_variance():
    kept = Y != 1
    full = class_components(X[kept], Y[kept] // 2, 2, DIMS)
    np.testing.assert_allclose(full.ratios.sum(1), 1, rtol=1e-5)
    identity = np.broadcast_to(np.eye(DIMS), (2, DIMS, DIMS))
    np.testing.assert_allclose(full.directions @ full.directions.swapaxes(1, 2), identity, atol=1e-5)


def test_stored_grey_values_give_the_same_components():
    stored = class_components(STORED, Y, CLASSES, K)
    np.testing.assert_allclose(stored.directions, COMPONENTS.directions, atol=1e-5)
    np.testing.assert_allclose(stored.ratios, COMPONENTS.ratios, atol=1e-5)


def test_a_class_that_does_not_vary_has_no_share():
    x = np.concatenate([np.full((5, 2), 3.0), np.array([[0.0, 1], [0, 2], [0, 4]])])
    found = class_components(x, np.repeat([0, 1], [5, 3]), 2, 1)
    np.testing.assert_array_equal(found.ratios, [[0], [1]])
    np.testing.assert_allclose(found.directions[1], [[0, 1]], atol=1e-7)
    assert np.isfinite(found.directions).all()


@pytest.mark.parametrize(
    ("x", "y", "n_classes", "k", "message"),
    [
        (X, Y, CLASSES, 9, "config.noise_components=9: class 1 has 8 principal components (9 examples of 12 values)"),
        (
            X[Y != 1],
            Y[Y != 1] // 2,
            2,
            13,
            "config.noise_components=13: class 0 has 12 principal components (40 examples of 12 values)",
        ),
        (X, Y, CLASSES, 0, "config.noise_components=0: directed noise needs at least 1 component"),
        (
            X,
            np.zeros_like(Y),
            0,
            2,
            "config.noise_components=2: directed noise goes by class, and the data is unlabelled",
        ),
        (
            X[:1],
            Y[:1] * 0,
            1,
            1,
            "config.noise_components=1: class 0 has 1 example, principal components need at least 2",
        ),
        (
            X,
            Y,
            CLASSES + 1,
            2,
            "config.noise_components=2: class 3 has 0 examples, principal components need at least 2",
        ),
        (
            X,
            np.where(np.arange(len(Y)) == 7, 5, Y),
            CLASSES,
            2,
            "row 7 holds label 5, out of range: there are classes ",
        ),
        (X, np.where(np.arange(len(Y)) == 4, -1, Y), CLASSES, 2, "row 4 holds label -1, out of range"),
        (np.where(Y == 2, np.nan, X.T).T, Y, CLASSES, 2, "class 2 holds values that are not finite"),
    ],
)
def test_components_that_cannot_be_had_are_refused(x, y, n_classes, k, message):
    with pytest.raises(InputError) as error:
        class_components(x, y, n_classes, k)
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


def test_a_class_is_called_by_its_name():
    with pytest.raises(InputError, match=r"config\.noise_components=9: class boots has 8 principal components"):
        class_components(X, Y, CLASSES, 9, ("coats", "boots", "bags"))


def test_as_many_components_as_there_are_can_be_asked_for():
    assert class_components(X, Y, CLASSES, 8).ratios[1].sum() == pytest.approx(1)


# --- directed noise ----------------------------------------------------------------------------------------------


def test_noise_stays_in_the_span_of_the_components_of_its_class(moves):
    for label in range(CLASSES):
        pca = PCA(K, svd_solver="full").fit(X[Y == label].reshape(-1, DIMS).astype(np.float64))
        inside = moves[LABELS == label] @ pca.components_.T @ pca.components_
        assert np.abs(moves[LABELS == label] - inside).max() < 1e-5
        others = moves[LABELS != label]
        assert np.abs(others - others @ pca.components_.T @ pca.components_).max() > 0.01


@pytest.mark.parametrize("label", range(CLASSES))
def test_noise_has_the_scale_of_each_component(moves, label):
    """Along component j it is uniform in ±c r_j, of variance c² r_j² / 3, and axes are independent."""
    pca = PCA(K, svd_solver="full").fit(X[Y == label].reshape(-1, DIMS).astype(np.float64))
    bounds = C * pca.explained_variance_ratio_
    draws = moves[LABELS == label] @ pca.components_.T
    assert (np.abs(draws).max(0) <= bounds * (1 + 1e-4)).all()
    assert (np.abs(draws).max(0) >= bounds * 0.999).all()
    np.testing.assert_allclose(draws.var(0), bounds**2 / 3, rtol=0.03)
    for j in range(K):
        assert scipy.stats.kstest(draws[:, j], scipy.stats.uniform(-bounds[j], 2 * bounds[j]).cdf).pvalue > 1e-3
    np.testing.assert_allclose(np.corrcoef(draws.T), np.eye(K), atol=0.04)


def test_noise_is_drawn_by_key(moves):
    again = np.asarray(AUGMENT(jax.random.key(0), BATCH).x).reshape(-1, DIMS)
    np.testing.assert_array_equal(again, moves)
    other = np.asarray(AUGMENT(jax.random.key(1), BATCH).x).reshape(-1, DIMS)
    assert (np.abs(other - moves).max(1) > 1e-6).mean() > 0.999
    first, second = other[LABELS == 0][:2]
    assert np.abs(first - second).max() > 1e-6


def test_noise_is_added_to_x_and_touches_nothing_else(moves):
    x = np.random.default_rng(2).uniform(-1, 1, BATCH.x.shape).astype(np.float32)
    moved = AUGMENT(jax.random.key(0), BATCH._replace(x=jnp.asarray(x)))
    np.testing.assert_allclose(moved.x - x, moves.reshape(x.shape), atol=1e-6)
    assert np.abs(moved.x).max() > 1  # not clipped
    assert moved.x.dtype == np.float32
    for name in ("y", "weight", "index"):
        np.testing.assert_array_equal(getattr(moved, name), getattr(BATCH, name))


def test_without_scale_nothing_moves():
    batch = batch_of(X, Y)
    np.testing.assert_array_equal(directed_noise(COMPONENTS, 0.0)(jax.random.key(0), batch).x, X)


@pytest.mark.parametrize("c", [-0.1, float("nan"), float("inf")])
def test_a_scale_that_cannot_be_is_refused(c):
    with pytest.raises(
        InputError, match=rf"config\.noise_scale={c}: the scale of directed noise must be a finite number, at least 0"
    ):
        directed_noise(COMPONENTS, c)


def test_noise_does_not_depend_on_the_devices(moves):
    if jax.device_count() < 4:
        pytest.skip("needs 4 devices")
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:4])
    split = jax.device_put(BATCH, NamedSharding(mesh, PartitionSpec("data")))
    found = np.asarray(AUGMENT(jax.random.key(0), split).x).reshape(-1, DIMS)
    np.testing.assert_allclose(found, moves, atol=1e-7)


@pytest.mark.parametrize("n_batches", [1, 3])
def test_the_loop_applies_it_afresh_in_each_step_and_batch(n_batches):
    """One class along one axis: what the model sees is x + u r v, each u in [-c, c] and no two alike."""
    components = Components(np.eye(2, dtype=np.float32)[None, :1], np.array([[0.5]], np.float32))

    def seen(key, i, state, batch):
        x = batch.x.reshape(-1, 2)
        return state, {f"x{n}{d}": x[n, d] for n in range(n_batches * 2) for d in range(2)}

    kind = "batch" if n_batches == 1 else "batches"
    model = Model(lambda key: jnp.zeros(()), seen, lambda *_: None, feed=kind, n_batches=n_batches)
    feed = Feed.of(model, np.zeros((8, 2), np.float32), np.zeros(8, np.int32), 2)
    spec = DataSpec.from_arrays(feed.x, feed.y)
    trainer = Trainer(model, feed, spec, augment=directed_noise(components, 3.0), devices=jax.devices()[:1])
    key = jax.random.key(0)
    metrics = trainer.run(trainer.keys(key), 0, 4, trainer.init(key))[1]
    metrics = {name: value[:4] for name, value in metrics.items()}
    first = np.concatenate([value for name, value in metrics.items() if name.endswith("0")])
    second = np.concatenate([value for name, value in metrics.items() if name.endswith("1")])
    assert len(np.unique(first)) == len(first) == 4 * 2 * n_batches
    assert 0.4 < np.abs(first).max() <= 1.5 and (first < 0).any() and (first > 0).any()
    np.testing.assert_array_equal(second, 0)


# --- rows --------------------------------------------------------------------------------------------------------

LOTS = np.random.default_rng(3).permutation(np.repeat(np.arange(4, dtype=np.int32), (60, 33, 40, 52)))


@pytest.mark.parametrize(("factor", "kept"), [(1, 60), (1.5, 40), (7, 9), (100, 1), (1e9, 1)])
def test_under_sampling_keeps_a_share_of_one_class_and_all_of_the_others(factor, kept):
    rows = under_sample(LOTS, 0, factor, seed=5)
    assert (np.diff(rows) > 0).all()
    np.testing.assert_array_equal(np.bincount(LOTS[rows]), [kept, 33, 40, 52])


def test_under_sampling_draws_by_seed_and_without_favour():
    np.testing.assert_array_equal(under_sample(LOTS, 2, 4, seed=1), under_sample(LOTS, 2, 4, seed=1))
    drawn = np.concatenate([under_sample(LOTS, 2, 4, seed=seed) for seed in range(400)])
    times = np.bincount(drawn, minlength=len(LOTS))[LOTS == 2]
    assert scipy.stats.chisquare(times).pvalue > 1e-3  # 10 of 40 rows each time


@pytest.mark.parametrize(
    ("label", "factor", "message"),
    [
        (0, 0.5, "factor=0.5: by how much a class is under-sampled must be a finite number, at least 1"),
        (0, float("nan"), "factor=nan: by how much a class is under-sampled must be a finite number, at least 1"),
        (4, 2, "class 4 has no examples to under-sample"),
    ],
)
def test_under_sampling_that_cannot_be_is_refused(label, factor, message):
    with pytest.raises(InputError) as error:
        under_sample(LOTS, label, factor, seed=0)
    assert str(error.value) == message


def test_topping_up_makes_all_classes_as_large_as_the_largest():
    for y in (LOTS, LOTS[under_sample(LOTS, 0, 20, seed=0)]):
        labels = top_up(y, 4)
        assert labels.dtype == np.int32
        counts = np.bincount(np.concatenate([y, labels]), minlength=4)
        np.testing.assert_array_equal(counts, np.bincount(y).max())
        assert np.argmax(np.bincount(y)) not in labels
    assert len(top_up(np.arange(6) % 3, 3)) == 0
    np.testing.assert_array_equal(top_up(np.array([0, 0, 1]), 3), [1, 2, 2])


def test_topping_up_needs_labels_of_known_classes():
    with pytest.raises(InputError, match="the data is unlabelled: classes are needed"):
        top_up(LOTS, 0)
    with pytest.raises(InputError, match="out of range: there are classes 0 ... 2"):
        top_up(LOTS, 3)


@pytest.mark.parametrize("stratified", [True, False])
@pytest.mark.parametrize(("n_folds", "size"), [(8, 16), (1, 100), (5, 7), (3, 2), (13, 10)])
def test_folds_have_no_row_in_common(n_folds, size, stratified):
    found = folds(LOTS, n_folds, size, 3, stratified)
    assert found.shape == (n_folds, size)
    assert len(np.unique(found)) == n_folds * size
    assert found.min() >= 0 and found.max() < len(LOTS)


@pytest.mark.parametrize(("n_folds", "size"), [(8, 16), (1, 100), (5, 7), (3, 2), (13, 10)])
def test_stratified_folds_have_classes_in_equal_numbers(n_folds, size):
    counts = np.stack([np.bincount(LOTS[rows], minlength=4) for rows in folds(LOTS, n_folds, size, 3, True)])
    assert (np.ptp(counts, axis=1) == (1 if size % 4 else 0)).all()
    assert np.ptp(counts.sum(0)) <= 1


def test_plain_folds_take_classes_as_they_come():
    """The count of a class in a plain fold is hypergeometric."""
    counts = [np.sum(LOTS[rows] == 0) for seed in range(200) for rows in folds(LOTS, 3, 20, seed, False)]
    law = scipy.stats.hypergeom(len(LOTS), 60, 20)
    assert np.mean(counts) == pytest.approx(law.mean(), abs=4 * law.std() / np.sqrt(len(counts)))
    assert np.std(counts) == pytest.approx(law.std(), rel=0.15)


@pytest.mark.parametrize("stratified", [True, False])
def test_subsets_are_drawn_by_seed_without_favour_and_nested(stratified):
    rows = subset(LOTS, 24, 7, stratified)
    np.testing.assert_array_equal(rows, subset(LOTS, 24, 7, stratified))
    np.testing.assert_array_equal(rows[:9], subset(LOTS, 9, 7, stratified))
    np.testing.assert_array_equal(rows, folds(LOTS, 1, 24, 7, stratified)[0])
    drawn = np.concatenate([subset(LOTS, 24, seed, stratified) for seed in range(300)])
    times = np.bincount(drawn, minlength=len(LOTS))
    for label in range(4):
        assert scipy.stats.chisquare(times[LOTS == label]).pvalue > 1e-3
    if stratified:
        np.testing.assert_array_equal(np.bincount(LOTS[rows]), [6, 6, 6, 6])
        firsts = [LOTS[subset(LOTS, 1, seed, stratified)[0]] for seed in range(200)]
        assert scipy.stats.chisquare(np.bincount(firsts, minlength=4)).pvalue > 1e-3


@pytest.mark.parametrize(
    ("n_folds", "size", "stratified", "message"),
    [
        (0, 5, True, "n_folds=0: must be at least 1"),
        (2, 0, False, "size=0: must be at least 1"),
        (10, 20, False, "10 x 20 rows: 200 examples are asked for, there are 185"),
        (1, 136, True, "class 1 has 33 examples: 1 x 136 rows, stratified, ask for 34 of it"),
        (4, 34, True, "class 1 has 33 examples: 4 x 34 rows, stratified, ask for 34 of it"),
    ],
)
def test_folds_that_cannot_be_had_are_refused(n_folds, size, stratified, message):
    with pytest.raises(InputError) as error:
        folds(LOTS, n_folds, size, 0, stratified)
    assert str(error.value) == message


def test_all_rows_that_stratification_allows_can_be_asked_for():
    np.testing.assert_array_equal(np.bincount(LOTS[subset(LOTS, 132, 0, True)]), [33, 33, 33, 33])
    np.testing.assert_array_equal(np.sort(subset(LOTS, len(LOTS), 0, False)), np.arange(len(LOTS)))
