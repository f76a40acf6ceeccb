"""Densities beside scipy's kernels and scikit-learn's mixtures; attacks on files that leak in one way each."""

import jax
import numpy as np
import pytest
from scipy import stats

from synthjax.evals.privacy import attacks, density


def test_components_are_sklearns_and_leave_out_what_does_not_vary():
    from sklearn.decomposition import PCA

    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 6)) @ rng.normal(size=(6, 9))  # rank 6
    reduce = density.Components.fit(x, dims=8)
    expected = PCA(6, whiten=True).fit_transform(x)
    assert reduce(x).shape == (300, 6)
    np.testing.assert_allclose(np.abs(reduce(x)), np.abs(expected), atol=1e-3)
    assert density.Components.fit(np.ones((5, 3)))(np.ones((5, 3))).tolist() == [[0.0]] * 5


def test_kernel_densities_equal_scipys():
    """scipy scales its kernels by the centres' covariance, which is one in whitened coordinates."""
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(2500, 3))
    white = density.Components.fit(centres)
    points = rng.normal(size=(40, 3))
    expected = stats.gaussian_kde(white(centres).T.astype(np.float64)).logpdf(white(points).T)
    np.testing.assert_allclose(density.log_kernel(white(points), white(centres)), expected, atol=2e-3)


def test_balls_are_counted_as_by_brute_force():
    rng = np.random.default_rng(2)
    points, centres = (rng.normal(size=(n, 4)).astype(np.float32) for n in (1100, 2100))
    apart = np.linalg.norm(points[:, None].astype(np.float64) - centres, axis=2)
    found = density.count_within(points, centres, 1.1)
    # Distances that float32 cannot tell from the radius may fall on either side.
    assert (found <= (apart <= 1.1 + 1e-5).sum(1)).all() and (found >= (apart <= 1.1 - 1e-5).sum(1)).all()


def test_a_step_of_em_equals_sklearns():
    from sklearn.mixture import GaussianMixture

    rng = np.random.default_rng(3)
    x = np.concatenate([rng.normal(0, 1, (200, 3)), rng.normal(3, 0.5, (100, 3))]).astype(np.float32)
    means = x[[0, 250]]
    theirs = GaussianMixture(
        2,
        max_iter=1,
        reg_covar=0.01,
        weights_init=[0.5, 0.5],
        means_init=means,
        precisions_init=np.stack([np.eye(3)] * 2),
    )
    with pytest.warns(match="did not converge"):
        theirs.fit(x)
    eye = np.stack([np.eye(3, dtype=np.float32)] * 2)
    start = density.Mixture(np.log(np.float32([0.5, 0.5])), means, eye)
    padded, weight = np.resize(x, (330, 3)), (np.arange(330) < 300).astype(np.float32)
    ours, _ = jax.jit(density.em_step)(start, padded, weight)
    np.testing.assert_allclose(np.exp(ours.log_weight), theirs.weights_, atol=1e-4)
    np.testing.assert_allclose(ours.mean, theirs.means_, atol=1e-3)
    np.testing.assert_allclose(density.log_mixture(ours, x), theirs.score_samples(x), atol=5e-3)


def test_a_fitted_mixture_comes_near_the_truth():
    rng = np.random.default_rng(4)
    x = np.concatenate([rng.normal(-2, 0.5, (600, 2)), rng.normal(2, 0.5, (400, 2))]).astype(np.float32)
    parts = [
        0.6 * stats.multivariate_normal([-2, -2], 0.25).pdf(x),
        0.4 * stats.multivariate_normal([2, 2], 0.25).pdf(x),
    ]
    found = density.log_mixture(density.fit_mixture(jax.random.key(0), x), x)
    assert np.mean(found - np.log(sum(parts))) == pytest.approx(0, abs=0.1)


def test_domias_sees_a_file_that_is_dense_around_its_members():
    """A generator that draws around a few members only: density ratios find them, more surely than distances do."""
    rng = np.random.default_rng(5)
    world = rng.normal(size=(900, 5)).astype(np.float32)
    members, others, reference = world[:100], world[100:500], world[500:]
    synthetic = np.repeat(members, 6, axis=0) + 0.3 * rng.normal(size=(600, 5)).astype(np.float32)
    guesses, control = attacks.from_file(np.concatenate([members, others]), synthetic, reference)
    auc = {name: (guess[:100, None] > guess[100:]).mean() for name, guess in guesses.items()}
    assert min(auc[name] for name in ("distance", "calibrated", "domias_kernel", "monte_carlo")) > 0.6
    assert auc["likelihood"] > 0.55
    assert (control[:100, None] > control[100:]).mean() == pytest.approx(0.5, abs=0.1)


def test_who_knows_some_members_learns_which_attack_to_trust():
    rng = np.random.default_rng(6)
    is_member = rng.random(1000) < 0.5
    guesses = {"noise": rng.normal(size=1000), "wrong": 0.5 * rng.normal(size=1000) - is_member}
    public = np.arange(1000) < 40
    found = attacks.informed(guesses, is_member, public)[40:]
    rest = is_member[40:]
    assert (found[rest][:, None] > found[~rest]).mean() > 0.85  # the sign is learnt too
