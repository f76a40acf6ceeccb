"""Columns drawn alone: their distributions by SciPy, and nothing between them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from mixed import SPEC, assert_valid, mixed

from synthjax.models import independent


@pytest.fixture(scope="module")
def fitted():
    rows = mixed(3000)
    batch = jax.tree.map(jnp.asarray, rows)
    model = independent.build(independent.Config(bins=48), SPEC)
    state, metrics = jax.jit(model.step)(jax.random.key(0), 0, model.init(jax.random.key(0), batch), batch)
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
