"""SMOTE against scikit-learn's neighbours and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mixed import SPEC as UNMEASURED
from mixed import assert_valid, mixed
from sklearn.neighbors import NearestNeighbors

from synthjax.errors import InputError
from synthjax.model import DataSpec
from synthjax.models import smote

SPEC = UNMEASURED.measured(mixed(280).x)


@pytest.fixture(scope="module")
def fitted():
    """Rows of the mixed table, the last 20 as padding: (model, state, the 280 that count)."""
    rows = mixed(300)
    weight = np.where(np.arange(300) < 280, 1.0, 0.0).astype(np.float32)
    model = smote.build(smote.Config(neighbours=3), SPEC)
    batch = jax.tree.map(jnp.asarray, rows._replace(weight=weight))
    state = jax.jit(model.step)(jax.random.key(0), 0, model.init(jax.random.key(0)), batch)[0]
    return model, state, jax.tree.map(lambda a: a[:280], rows)


def scaled(x, scale):
    """Rows such that Euclidean distances are SMOTE-NC's; a code becomes one position a value."""
    shop = np.eye(40)[x[:, 7].astype(int)]
    return np.concatenate([x[:, [0, 2]], np.concatenate([x[:, 3:7], shop, x[:, 8:]], axis=1) * scale / 2**0.5], axis=1)


def test_neighbours_are_the_nearest_of_the_class(fitted):
    _, state, rows = fitted
    deviation = np.median([rows.x[:, 0].std(), rows.x[:, 2].std()])
    assert float(state.scale) == pytest.approx(deviation, rel=1e-4)
    x, y, near = (np.asarray(a) for a in (state.x, state.y, state.near))
    np.testing.assert_array_equal(np.bincount(y), np.bincount(rows.y))  # padding is cut off
    assert x.shape == (280, 10) and sorted(map(tuple, x)) == sorted(map(tuple, rows.x))
    for label in range(2):
        own = np.flatnonzero(y == label)
        points = scaled(x[own], deviation)
        expected = NearestNeighbors(n_neighbors=4).fit(points).kneighbors(points)[0][:, 1:]
        found = np.linalg.norm(
            points[:, None] - scaled(x[near[own]].reshape(-1, 10), deviation).reshape(len(own), 3, -1), axis=-1
        )
        assert (y[near[own]] == label).all() and (near[own] != own[:, None]).all()
        np.testing.assert_allclose(found, expected, atol=2e-3)


def test_samples_lie_between_neighbours_of_their_class(fitted):
    model, state, rows = fitted
    labels = np.arange(400, dtype=np.int32) % 2
    x = np.asarray(jax.jit(model.sample)(jax.random.key(1), state, labels))
    assert_valid(np.where(np.arange(10) == 2, np.round(2 * x) / 2, x))
    np.testing.assert_array_equal(x[:, 8:], np.eye(2)[labels])
    known, y, near = (np.asarray(a) for a in (state.x, state.y, state.near))
    for row, label in zip(x[:50], labels, strict=False):
        first, second = known[y == label][:, None], known[near[y == label]]
        missing = (first[..., 1:2] + second[..., 1:2] > 0) & (np.arange(2) == 0)  # such an amount is the first row's
        a, b = first[..., [0, 2]], np.where(missing, first[..., [0, 2]], second[..., [0, 2]])
        way = ((b - a) ** 2).sum(-1)
        u = np.clip(((row[[0, 2]] - a) * (b - a)).sum(-1) / np.maximum(way, 1e-9), 0, 1)
        assert np.linalg.norm(a + u[..., None] * (b - a) - row[[0, 2]], axis=-1).min() < 1e-4
    assert not (x[:, None] == rows.x[None]).all(axis=-1).all(axis=1).all()


def test_a_training_row_is_at_distance_0(fitted):
    """Which is why it is not private."""
    model, state, rows = fitted
    member = model.score(jax.random.key(0), state, jax.tree.map(jnp.asarray, rows))
    other = model.score(jax.random.key(0), state, jax.tree.map(jnp.asarray, mixed(280, seed=1)))
    assert float(member.max()) < 2e-3 and float(jnp.median(other)) > 0.01


def test_one_row_of_a_class_is_repeated():
    spec = DataSpec.from_arrays(np.zeros((5, 2), np.float32), np.array([0, 0, 0, 0, 1]))
    batch = mixed(5)._replace(x=np.arange(10, dtype=np.float32).reshape(5, 2), y=np.array([0, 0, 0, 0, 1], np.int32))
    model = smote.build(smote.Config(neighbours=6), spec)
    batch = jax.tree.map(jnp.asarray, batch)
    state, _ = model.step(jax.random.key(0), 0, model.init(jax.random.key(0)), batch)
    x = np.asarray(model.sample(jax.random.key(0), state, jnp.asarray([1, 1, 0, 0])))
    np.testing.assert_array_equal(x[:2], [[8, 9], [8, 9]])
    np.testing.assert_allclose(x[2:, 1] - x[2:, 0], 1, rtol=1e-5)  # the others are on that line
    assert x[2:].max() <= 7


def test_what_cannot_be_built_is_said():
    with pytest.raises(InputError, match="makes tables"):
        smote.build(smote.Config(), DataSpec("image", (2, 2, 1)))
    with pytest.raises(InputError, match="no number of training rows"):
        smote.build(smote.Config(), UNMEASURED)
    with pytest.raises(InputError, match="model.neighbours=0"):
        smote.Config(neighbours=0)


def test_fewer_rows_than_the_spec_says_leave_room_and_of_more_the_last_are_left_out():
    """Shadow models see others than the model they stand for."""
    rows = jax.tree.map(jnp.asarray, mixed(500))
    model = smote.build(smote.Config(neighbours=3), SPEC)
    start = model.init(jax.random.key(0))
    step = jax.jit(model.step)
    for batch, kept in (
        (jax.tree.map(lambda a: a[:150], rows), np.arange(150)),
        (rows._replace(weight=(rows.index % 4 == 0) * 1.0), np.arange(0, 500, 4)),
        (rows._replace(weight=(rows.index >= 100) * 1.0), np.arange(100, 380)),
    ):
        state = step(jax.random.key(0), 0, start, batch)[0]
        assert state.x.shape == start.x.shape
        found = np.asarray(state.x)[np.asarray(state.y) < 2]
        assert sorted(map(tuple, found)) == sorted(map(tuple, np.asarray(rows.x)[kept]))
        assert not np.asarray(state.x)[len(kept) :].any() and (np.asarray(state.y)[len(kept) :] == 2).all()
        x = np.asarray(jax.jit(model.sample)(jax.random.key(1), state, jnp.arange(40) % 2))
        np.testing.assert_array_equal(x[:, 8:], np.eye(2)[np.arange(40) % 2])


def test_a_class_without_rows_gives_no_numbers():
    """Compiled or not, and never the rows of another class."""
    rows = jax.tree.map(jnp.asarray, mixed(280))
    model = smote.build(smote.Config(neighbours=3), SPEC)
    start = model.init(jax.random.key(0))
    state = model.step(jax.random.key(0), 0, start, rows._replace(weight=(rows.y == 0) * 1.0))[0]
    labels = jnp.asarray([0, 1, 0])
    for sample in (model.sample, jax.jit(model.sample)):
        x = np.asarray(sample(jax.random.key(1), state, labels))
        np.testing.assert_array_equal(np.isnan(x).all(axis=1), [False, True, False])
        assert np.isfinite(x[[0, 2]]).all()
    assert np.isfinite(model.sample(jax.random.key(1), start, labels)).all()  # before the first step
