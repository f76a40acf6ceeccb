"""Noisy marginals: the strength of the noise, the functions of a column, logits from moments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from sklearn.linear_model import LogisticRegression

from synthjax.model import DataSpec
from synthjax.nets import marginals
from synthjax.nets.bins import Layout
from synthjax.nets.joint_states import Columns
from synthjax.nets.logits import Conditional

SIZES = (3, 5, 4)


@pytest.fixture(scope="module")
def table():
    """(columns, states (2000, 3), one-way counts, pair counts with zero blocks on the diagonal)."""
    rng = np.random.default_rng(0)
    x = np.stack([rng.integers(0, size, 2000) for size in SIZES], axis=1)
    x[:, 1] = np.where(rng.uniform(size=2000) < 0.5, x[:, 0], x[:, 1])
    columns = Columns(Layout(DataSpec.from_arrays(x.astype(np.float32)), 8), most=8)
    states = columns.states(jnp.asarray(x, jnp.float32), jnp.zeros(2000, jnp.int32))
    onehot = np.asarray(columns.onehot(states))
    pairs = onehot.T @ onehot * (columns.of[:, None] != columns.of[None])
    return columns, np.asarray(states), onehot.sum(axis=0), pairs


def counts(table, z: float, seed: int = 0) -> marginals.Counts:
    """With noise of variance 1, 4 and 9 times z^2 of single columns, and of pairs with and without the first."""
    columns, _, one, pairs = table
    rng = np.random.default_rng(seed)
    variance = np.full((3, 3), 4.0)
    variance[1:, 1:] = 9.0
    np.fill_diagonal(variance, np.inf)
    noise = (
        np.triu(rng.normal(size=pairs.shape))
        * np.sqrt(np.where(np.isinf(variance), 0, variance))[columns.of][:, columns.of]
    )
    possible = columns.possible
    noisy = (pairs + z * (noise + noise.T)) * (possible[:, None] & possible[None])
    one = one + z * rng.normal(size=len(one))
    arrays = one, np.ones(len(one)), noisy, variance
    return marginals.Counts(*(jnp.asarray(a, jnp.float32) for a in arrays))


def test_the_noise_is_estimated(table):
    assert float(marginals.consistent(table[0], counts(table, 0.0))[0]) == pytest.approx(0, abs=1e-6)
    found = [float(marginals.consistent(table[0], counts(table, 7.0, seed))[0]) for seed in range(40)]
    assert np.sqrt(np.mean(found)) == pytest.approx(7, rel=0.07)


def test_single_columns_are_nearer_to_the_truth_by_all_counts(table):
    columns, _, one, _ = table
    error, own = [], []
    for seed in range(40):
        noisy = counts(table, 7.0, seed)
        _, p, rows = marginals.consistent(columns, noisy)
        error.append(np.asarray(p * rows) - one)
        own.append((np.asarray(noisy.one) - one)[columns.possible])
    assert np.std(error) < 0.9 * np.std(own)
    assert abs(np.mean(error)) < 1


def test_probabilities_are_the_nearest_on_the_simplex(table):
    """Beside a general optimiser; half a row is added after it where there would be less."""
    columns, _, one, pairs = table
    noisy = one.copy()
    noisy[columns.of == 1] += np.array([300, -600, 20, 10, -400])
    nothing = jnp.zeros_like(pairs), jnp.full((3, 3), jnp.inf)
    _, p, rows = marginals.consistent(columns, marginals.Counts(jnp.asarray(noisy), jnp.ones(len(one)), *nothing))
    own = (columns.of == 1) & columns.possible
    target = noisy[own]
    best = scipy.optimize.minimize(
        lambda v: ((v - target) ** 2).sum(),
        np.full(5, float(rows) / 5),
        bounds=[(0, None)] * 5,
        constraints={"type": "eq", "fun": lambda v: v.sum() - float(rows)},
    ).x
    np.testing.assert_allclose(np.asarray(p)[own] * float(rows), best, atol=2)


def test_functions_are_orthonormal_and_have_mean_0(table):
    columns = table[0]
    _, p, _ = marginals.consistent(columns, counts(table, 0.0))
    functions, values = marginals.basis(columns, p, smoothness=0.7, length=0.3)
    for share, f, value, size in zip(
        np.asarray(columns.pad(p)), *map(np.asarray, (functions, values)), SIZES, strict=True
    ):
        used = value > 0
        assert used.sum() == size - 1 and (np.diff(value) <= 1e-6).all()
        np.testing.assert_allclose(share @ f, 0, atol=1e-4)
        np.testing.assert_allclose(f.T @ (share[:, None] * f), np.diag(used.astype(float)), atol=1e-4)
    # The first function of an ordered column has one change of sign, the second two.
    first, second = np.asarray(functions)[1, :5, 0], np.asarray(functions)[1, :5, 1]
    assert (np.diff(np.sign(first)) != 0).sum() == 1 and (np.diff(np.sign(second)) != 0).sum() == 2


def test_gain_is_that_of_the_dependent_pair(table):
    columns = table[0]
    for z in (0.0, 7.0):
        noisy = counts(table, z)
        z2, p, rows = marginals.consistent(columns, noisy)
        seen = marginals.signal(columns, noisy, marginals.basis(columns, p, 0.7, 0.3), z2, rows)
        gain = np.asarray(seen.gain(columns))
        assert gain[0, 1] > 0.2 > 10 * max(gain[0, 2], gain[1, 2])
        assert gain[0, 1] == pytest.approx(gain[1, 0], rel=1e-3)


def test_logits_from_moments_are_those_of_logistic_regression():
    rng = np.random.default_rng(0)
    h = rng.normal(size=(600, 3)).astype(np.float32)
    t = (h @ [[1.0, 0, -1], [0.5, -1, 0], [0, 0, 0.3]] + rng.gumbel(size=(600, 3))).argmax(axis=1)
    onehot = np.eye(3, dtype=np.float32)[t]
    p = onehot.mean(axis=0)
    values, vectors = np.linalg.eigh(np.diag(p) - np.outer(p, p))
    g = jnp.asarray(vectors[:, 1:] / np.sqrt(values[1:]), jnp.float32)
    moments = jnp.asarray(h.T @ (onehot @ g) / 600)
    fit = Conditional(jnp.asarray(h), g, jnp.asarray(p), moments, jnp.zeros((3, 2)))
    theta, b = fit.maximise(300, jnp.float32(0.5))
    expected = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000).fit(h, t).predict_proba(h)
    np.testing.assert_allclose(jax.nn.softmax(fit.logits(theta, b)), expected, atol=2e-3)
    shrunk, _ = fit._replace(penalty=jnp.full((3, 2), 10.0)).maximise(300, jnp.float32(0.5))
    assert float(jnp.abs(shrunk).max()) < 0.1 < float(jnp.abs(theta).max())
