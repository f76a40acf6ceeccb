"""The mixture of Gaussians of images, beside NumPy and SciPy; what one image changes; what noise leaves."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from synthjax.errors import InputError
from synthjax.model import Batch, DataSpec
from synthjax.models import gaussian_mixture
from synthjax.models.gaussian_mixture import Config
from synthjax.nets import noisy_sums, shrinkage

SHAPE = (4, 4, 1)
ROWS = 3000


def covariance(scale: float = 0.03) -> np.ndarray:
    """Of 16 pixels, with variances that fall from one to the next."""
    turned = np.linalg.qr(np.random.default_rng(0).normal(size=(16, 16)))[0]
    return (turned * (scale * 0.7 ** np.arange(16))) @ turned.T


def images(classes: int = 2, rows: int = ROWS, seed: int = 1) -> Batch:
    """Gaussian images around -0.3 and 0.3."""
    rng = np.random.default_rng(seed)
    y = np.arange(rows) % classes
    x = rng.multivariate_normal(np.zeros(16), covariance(), rows) + np.where(y == 0, -0.3, 0.3)[:, None]
    x = np.clip(x, -1, 1).reshape(-1, *SHAPE)
    return Batch(jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.int32), jnp.ones(rows), jnp.arange(rows))


def spec_of(batch: Batch) -> DataSpec:
    stored = np.rint((np.asarray(batch.x) + 1) * 127.5).astype(np.uint8)
    return DataSpec.from_arrays(stored, np.asarray(batch.y))


def noise(z: float):
    """A count hook with rounded Gaussian noise."""

    def count(key, counts, sensitivity, share=1.0):
        scale = z * sensitivity / math.sqrt(share)
        return counts + jnp.round(scale * jax.random.normal(key, counts.shape)).astype(counts.dtype)

    return count


def fitted(batch: Batch, count=None, **fields):
    config = Config(**{"coefficients": 16, "dimensions": 16, "components": 1} | fields)
    model = gaussian_mixture.build(config, spec_of(batch), **({"count": count} if count else {}))
    state, metrics = jax.jit(model.step)(jax.random.key(0), 0, model.init(jax.random.key(0)), batch)
    return model, jax.device_get(state), metrics


@pytest.fixture(scope="module")
def exact():
    batch = images()
    return batch, *fitted(batch)


def test_means_and_covariances_are_those_of_the_images(exact):
    batch, _, state, metrics = exact
    assert float(metrics["noise"]) == 0
    axes = state.axes[:, :12]  # further ones have variances as small as rounding
    np.testing.assert_allclose(axes.T @ axes, np.eye(12), atol=1e-5)
    for y in (0, 1):
        own = np.asarray(batch.x)[np.asarray(batch.y) == y].reshape(-1, 16)
        mean = state.mean + state.axes @ state.center[y, 0]
        np.testing.assert_allclose(mean, own.mean(axis=0), atol=0.01)
        root = state.axes @ state.root[y, 0]
        expected = np.cov(own.T)
        # It is drawn towards that of both classes, which differs by sqrt((tr^2 + |.|^2) / 1500), about 7 %.
        assert np.linalg.norm(root @ root.T - expected) < 0.08 * np.linalg.norm(expected)
        np.testing.assert_allclose(state.weight[y], [1.0])


def test_draws_have_the_moments_of_the_state(exact):
    _, model, state, _ = exact
    x = np.asarray(jax.jit(model.sample)(jax.random.key(3), state, jnp.zeros(20_000, jnp.int32))).reshape(-1, 16)
    root = state.axes @ state.root[0, 0]
    np.testing.assert_allclose(x.mean(axis=0), state.mean + state.axes @ state.center[0, 0], atol=0.01)
    assert np.linalg.norm(np.cov(x.T) - root @ root.T) < 0.05 * np.linalg.norm(root @ root.T)


def test_the_score_is_scipys_log_density():
    batch = images(rows=400)
    model, state, _ = fitted(batch, components=3, dimensions=5)
    score = model.score(jax.random.key(0), state, batch)
    own = (np.asarray(batch.x).reshape(-1, 16) - state.mean) @ state.axes
    for row in (0, 1, 7):
        y = int(batch.y[row])
        parts = [
            np.log(state.weight[y, j])
            + stats.multivariate_normal.logpdf(own[row], state.center[y, j], state.root[y, j] @ state.root[y, j].T)
            for j in range(3)
        ]
        assert float(score[row]) == pytest.approx(-special.logsumexp(parts), rel=1e-3)


def test_planted_clusters_are_found():
    rng = np.random.default_rng(5)
    where = rng.integers(0, 2, 2000)
    patterns = np.stack([np.tile([0.6, -0.6], 8), np.repeat([0.6, -0.6], 8)])
    x = patterns[where] + 0.05 * rng.normal(size=(2000, 16))
    zeros = jnp.zeros(2000, jnp.int32)
    batch = Batch(jnp.asarray(x, jnp.float32).reshape(-1, *SHAPE), zeros, jnp.ones(2000), jnp.arange(2000))
    _, state, _ = fitted(batch, components=2, sweeps=8)
    found = state.mean + state.center[0] @ state.axes.T
    order = np.argsort(found[:, 1])
    np.testing.assert_allclose(found[order], patterns, atol=0.05)
    np.testing.assert_allclose(state.weight[0, order], np.bincount(where) / 2000, atol=0.01)


def test_one_image_changes_what_is_released_by_no_more_than_declared():
    """All calls of `count`, with what it returned on all images held fixed."""
    batch = images(rows=300)
    config = Config(coefficients=8, dimensions=4, components=2, sweeps=1)
    spec, key = spec_of(batch), jax.random.key(0)
    results: list = []

    def run(weight, record):
        calls = []

        def count(key, counts, sensitivity, share=1.0):
            calls.append((np.asarray(counts, np.float64), sensitivity, share))
            if not record:
                return results[len(calls) - 1]
            results.append(noise(1.0)(key, counts, sensitivity, share))
            return results[-1]

        with jax.disable_jit():
            gaussian_mixture._Mixture(config, spec, count).fit(key, batch._replace(weight=weight))
        return calls

    whole = run(jnp.ones(300), True)
    declared = gaussian_mixture.releases(config, spec)
    assert [share**-0.5 for _, _, share in whole] == pytest.approx([noise for _, _, noise, _, _ in declared])
    assert sum(share for _, _, share in whole) == pytest.approx(1)
    largest = np.zeros(len(whole))
    for row in (0, 17, 299):
        without = run(jnp.ones(300).at[row].set(0), False)
        for i, ((counts, sensitivity, _), (fewer, _, _)) in enumerate(zip(whole, without, strict=True)):
            moved = np.linalg.norm(counts - fewer)
            assert moved <= sensitivity * (1 + 1e-9), declared[i][0]
            largest[i] = max(largest[i], moved / sensitivity)
    assert (largest > 0.1).all(), largest  # none declares far more than an image can change


@pytest.mark.parametrize("z", [0.5, 4.0])
def test_the_strength_of_the_noise_is_estimated(z):
    _, _, metrics = fitted(images(), noise(z))
    assert float(metrics["noise"]) == pytest.approx(z, rel=0.3)


def test_nothing_but_noise_still_gives_images():
    model, state, _ = fitted(images(), noise(1e4), components=2)
    x = np.asarray(model.sample(jax.random.key(0), state, jnp.arange(20) % 2))
    assert np.isfinite(x).all() and (np.abs(x) <= 1).all()
    assert all(np.isfinite(leaf).all() for leaf in state)


def test_little_noise_changes_little(exact):
    _, _, state, _ = exact
    _, other, _ = fitted(images(), noise(0.1))
    for y in (0, 1):
        own, theirs = ((s.axes @ s.root[y, 0]) @ (s.axes @ s.root[y, 0]).T for s in (state, other))
        assert np.linalg.norm(own - theirs) < 0.3 * np.linalg.norm(own)  # a fifth of the images is clipped


def test_colour_and_sides_of_other_lengths():
    basis = gaussian_mixture.cosines((5, 3, 3), 45)
    np.testing.assert_allclose(basis.T @ basis, np.eye(45), atol=1e-12)
    np.testing.assert_allclose(basis[:, 0], 45**-0.5)  # the constant comes first


def test_what_is_no_image_and_what_is_no_size_is_refused():
    with pytest.raises(InputError, match="gaussian_mixture: is a model of images"):
        gaussian_mixture.build(Config(), DataSpec.from_arrays(np.zeros((4, 2), np.float32)))
    for name in ("coefficients", "dimensions", "components", "sweeps"):
        with pytest.raises(InputError, match=f"model.{name}=0: must be at least 1"):
            Config(**{name: 0})


# --- its parts ---------------------------------------------------------------------------------------------------


def test_triangles_keep_norms_and_come_back():
    vectors = jnp.asarray(np.random.default_rng(0).normal(size=(7, 5)), jnp.float32)
    triangles = noisy_sums.triangle(vectors)
    np.testing.assert_allclose(np.linalg.norm(triangles, axis=1), np.linalg.norm(vectors, axis=1) ** 2, rtol=1e-5)
    outer = np.einsum("bi,bj->bij", vectors, vectors)
    np.testing.assert_allclose(noisy_sums.matrices(triangles, 5), outer, rtol=1e-5, atol=1e-6)


def test_rounding_has_the_right_mean_and_never_a_longer_vector():
    rng = np.random.default_rng(0)
    equal = jnp.full((20_000, 700), 3.3)  # of norm 87: nothing is clipped
    whole = np.asarray(noisy_sums.rounded(equal, 512, jnp.asarray(rng.uniform(size=20_000), jnp.float32)))
    np.testing.assert_allclose(whole.mean(axis=0), 3.3, atol=0.02)
    long = jnp.asarray(rng.normal(size=(5000, 10_440)) * rng.uniform(0, 20, (5000, 1)), jnp.float32)
    whole = np.asarray(noisy_sums.rounded(long, 512, jnp.asarray(rng.uniform(size=5000), jnp.float32)), np.int64)
    norms = np.sqrt((whole**2).sum(axis=1))
    assert norms.max() <= 512 and np.median(norms) > 505
    with pytest.raises(InputError, match=r"101 sums: too many for integers of norm 10"):
        noisy_sums.rounded(jnp.zeros((2, 101)), 10, jnp.zeros(2))


def test_covariances_are_kept_without_errors_and_their_parents_with_nothing_else():
    parent = jnp.asarray(covariance(), jnp.float32)[None]
    found = parent * 1.5
    many, none = jnp.array([1e12]), jnp.array([0.0])
    np.testing.assert_allclose(shrinkage.drawn(found, parent, many, none), found, rtol=1e-2, atol=1e-5)
    noisy = shrinkage.drawn(found, parent, many, jnp.array([1e6]))
    np.testing.assert_allclose(noisy, parent, rtol=1e-2, atol=1e-5)


def test_shrinking_helps_where_there_is_noise():
    """Mean squared error of 30 covariances near a parent, each measured with noise."""
    rng = np.random.default_rng(2)
    parent = covariance(1.0)
    root = np.linalg.cholesky(parent)
    wishart = np.stack([np.cov(root @ rng.normal(size=(16, 40))) for _ in range(30)])
    bent = rng.normal(size=wishart.shape) * 0.05
    found = wishart + (bent + np.swapaxes(bent, 1, 2)) / 2
    parents = np.broadcast_to(parent, wishart.shape)
    errors = np.full(30, 1e9), np.full(30, 0.05**2)
    shrunk = shrinkage.drawn(*(jnp.asarray(a, jnp.float32) for a in (found, parents, *errors)))

    def error(a):
        return ((np.asarray(a) - wishart) ** 2).sum(axis=(1, 2)).mean()

    assert error(shrunk) < 0.9 * min(error(found), error(parents))
    assert np.linalg.eigvalsh(np.asarray(shrunk)).min() > 0


def test_eigenvalues_of_noise_alone_are_raised_to_its_edge():
    found = jnp.diag(jnp.array([5.0, 1.0, -0.5]))
    np.testing.assert_allclose(np.linalg.eigvalsh(shrinkage.positive(found, jnp.array(0.7))), [0.7, 1, 5], rtol=1e-5)
