"""Columns drawn alone: their distributions by SciPy, and nothing between them."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from mixed import SPEC, assert_valid, mixed

from synthjax.model import Batch, Column, DataSpec
from synthjax.models import independent


@pytest.fixture(scope="module")
def fitted():
    rows = mixed(3000)
    batch = jax.tree.map(jnp.asarray, rows)
    model = independent.build(independent.Config(bins=48), SPEC.measured(rows.x))
    state, metrics = jax.jit(model.step)(jax.random.key(0), 0, model.init(jax.random.key(0)), batch)
    x = np.asarray(jax.jit(model.sample)(jax.random.key(1), state, np.zeros(8000, np.int32)))
    return model, state, metrics, rows, x


def test_every_column_keeps_its_distribution(fitted):
    *_, rows, x = fitted
    assert_valid(x)
    for positions in ([1], [3, 4, 5, 6], [8, 9]):
        np.testing.assert_allclose(x[:, positions].mean(axis=0), rows.x[:, positions].mean(axis=0), atol=0.02)
    for position, there in ((0, 1), (2, None), (7, None)):
        a, b = (part[part[:, there] == 0] if there else part for part in (x, rows.x))
        assert scipy.stats.ks_2samp(a[:, position], b[:, position]).statistic < 0.03


def test_columns_know_nothing_of_each_other(fitted):
    *_, rows, x = fitted
    for a, b in ((0, 8), (1, 8), (3, 2), (7, 8), (5, 8)):
        assert abs(np.corrcoef(x[:, a], x[:, b])[0, 1]) < 0.05
    assert abs(np.corrcoef(rows.x[:, 7], rows.x[:, 8])[0, 1]) > 0.8


def test_no_wide_value_is_a_training_value(fitted):
    *_, rows, x = fitted
    assert np.isin(x[x[:, 1] == 0, 0], rows.x[:, 0]).mean() < 1e-3  # floats meet by chance


def test_the_score_adds_up_the_surprise_of_each_column(fitted):
    """Of the label, colour and steps by hand; amounts and shops are alike in both rows, so that they cancel."""
    model, state, metrics, rows, _ = fitted
    one = rows.x[[0, 0]].copy()
    one[:, 3:7], one[:, 2] = np.eye(4)[[0, 2]], [0.0, 0.5]
    batch = jax.tree.map(jnp.asarray, mixed(2)._replace(x=one, y=np.array([0, 1], np.int32)))
    first, second = np.asarray(model.score(jax.random.key(0), state, batch))

    def surprise(y, colour, steps):
        shares = (rows.y == y).mean(), rows.x[:, 3 + colour].mean(), (rows.x[:, 2] == steps).mean()
        return -np.log(shares).sum()

    assert second - first == pytest.approx(surprise(1, 2, 0.5) - surprise(0, 0, 0.0), abs=1e-3)
    mean = float(model.score(jax.random.key(0), state, jax.tree.map(jnp.asarray, rows)).mean())
    assert float(metrics["loss"]) == pytest.approx(mean, rel=1e-4)


def test_probabilities_sum_to_1_with_and_without_rows():
    """Over every row of a table whose fourth category and third step no row has."""
    columns = (Column("c", "onehot", 0, 4), Column("v", "continuous", 4, 2, missing=5))
    values = np.float32([[1, 0, 0, 0, 3, 0], [0, 1, 0, 0, 8, 0], [0, 0, 1, 0, 8, 0]] * 10)
    spec = DataSpec("table", (6,), 0, ("n", "y"), (0.5, 0.5), columns).measured(values)
    model = independent.build(independent.Config(bins=4), spec)
    states = list(itertools.product(range(2), range(4), range(3)))
    v = {0: [3, 0], 1: [8, 0], 2: [0, 1]}
    x = np.array([[*np.eye(4)[c], *v[s]] for _, c, s in states], np.float32)
    every = Batch(jnp.asarray(x), jnp.asarray([y for y, _, _ in states]), jnp.ones(24), jnp.arange(24))
    start = model.init(jax.random.key(0))
    rows = Batch(jnp.asarray(values), jnp.arange(30) % 2, jnp.ones(30).at[20:].set(0), jnp.arange(30))
    fitted = model.step(jax.random.key(0), 0, start, rows)[0]
    for state in (start, fitted):
        assert float(jnp.exp(model.log_prob(jax.random.key(0), state, every)).sum()) == pytest.approx(1, rel=1e-5)
        assert np.isfinite(model.sample(jax.random.key(1), state, jnp.zeros(50, jnp.int32))).all()
    np.testing.assert_array_equal(fitted.counts[:6], [10, 10, 7, 7, 6, 0])  # rows of weight 0 do not count


def recorded(rows, count=None):
    """What `count` is called with in two steps, and the state after them."""
    calls = []

    def record(key, counts, sensitivity, share=1.0):
        jax.debug.callback(lambda exact: calls.append((np.asarray(exact), sensitivity, share)), counts)
        return counts if count is None else count(counts)

    model = independent.build(independent.Config(bins=8), SPEC.measured(mixed(300).x), count=record)
    state = model.init(jax.random.key(0))
    for i in range(2):
        state, metrics = model.step(jax.random.key(i), i, state, jax.tree.map(jnp.asarray, rows))
    jax.effects_barrier()
    return calls, state, metrics


def test_one_row_changes_the_counts_by_the_declared_sensitivity():
    rows = mixed(300)
    ((base, sensitivity, share),) = recorded(rows)[0]
    for row in (0, 7, 299):
        ((other, *_),) = recorded(rows._replace(weight=np.where(np.arange(300) == row, 0, 1).astype(np.float32)))[0]
        assert np.linalg.norm(base - other) == pytest.approx(sensitivity)
    ((_, _, noise, rate, times),) = independent.releases(independent.Config(), SPEC)
    assert (noise, rate, times) == (1 / np.sqrt(share), 1.0, 1)


def test_nothing_but_the_counts_that_come_back_is_known_of_the_rows():
    """Other rows, the same noisy counts: the same state and the same metrics."""
    rows = mixed(300)
    others = rows._replace(x=rows.x[::-1], y=1 - rows.y, weight=np.where(np.arange(300) < 20, 0, 1).astype(np.float32))
    noisy = [recorded(part, lambda counts: jnp.arange(len(counts), dtype=jnp.float32))[1:] for part in (rows, others)]
    for one, other in zip(*map(jax.tree.leaves, noisy), strict=True):
        np.testing.assert_array_equal(one, other)
