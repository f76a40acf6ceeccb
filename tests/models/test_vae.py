"""The VAE's bounds against a linear-Gaussian model whose likelihood is known, and its parts against SciPy."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats

from synthjax.errors import InputError
from synthjax.model import Batch, DataSpec
from synthjax.models import vae
from synthjax.nets import gaussian

IMAGE = DataSpec("image", (4, 4, 1), levels=17, classes=("a", "b"), frequencies=(0.5, 0.5))
SMALL = {"latents": 3, "channels": (), "hidden": (8,)}


def batch(count=6, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 17, (count, 4, 4, 1)) / 8 - 1
    y = rng.integers(0, 2, count)
    return Batch(jnp.asarray(x, jnp.float32), jnp.asarray(y), jnp.ones(count), jnp.arange(count))


def built(**fields):
    """(model, state) whose parameters are moved off their initial values."""
    config = vae.Config(**{**SMALL, **fields})
    model = vae.build(config, IMAGE)
    state = jax.jit(model.init)(jax.random.key(0))
    return model, state._replace(ema=jax.tree.map(lambda p: p + 0.1, state.ema)), config


# --- the bounds --------------------------------------------------------------------------------------------------


class Linear:
    """z ~ N(0, I), x | z ~ N(W z, s^2 I) with orthogonal columns in W: everything about it is Gaussian and known."""

    def __init__(self, count=5):
        rng = np.random.default_rng(0)
        self.w = np.linalg.qr(rng.normal(size=(6, 2)))[0] * [2.0, 0.5]
        self.s = 0.7
        self.x = rng.normal(size=(count, 2)) @ self.w.T + self.s * rng.normal(size=(count, 6))
        covariance = self.w @ self.w.T + self.s**2 * np.eye(6)
        self.log_p = np.atleast_1d(scipy.stats.multivariate_normal.logpdf(self.x, np.zeros(6), covariance))
        precision = 1 + (self.w**2).sum(0) / self.s**2
        self.mean = self.x @ self.w / self.s**2 / precision
        self.log_var = np.broadcast_to(-np.log(precision), self.mean.shape)

    def log_likelihood(self, z):
        error = jnp.asarray(self.x) - z @ self.w.T
        return -0.5 * (error**2).sum(-1) / self.s**2 - 6 * math.log(self.s * math.sqrt(2 * math.pi))

    def bound(self, samples, mean, log_var, seed=0):
        bound = jax.jit(lambda key: gaussian.importance_bound(key, mean, log_var, self.log_likelihood, samples))
        return np.asarray(bound(jax.random.key(seed)))


@pytest.mark.parametrize("samples", [1, 7])
def test_with_the_exact_posterior_every_draw_gives_the_likelihood(samples):
    linear = Linear()
    for seed in range(3):
        bound = linear.bound(samples, jnp.asarray(linear.mean), jnp.asarray(linear.log_var), seed)
        np.testing.assert_allclose(bound, linear.log_p, rtol=1e-4)


def test_with_another_posterior_more_samples_come_nearer():
    """ELBO < bound of 10 samples < bound of 100 <= log p(x), in the mean over draws; 20,000 samples get there."""
    linear = Linear(count=1)
    repeat = 4000
    linear.x = np.repeat(linear.x, repeat, axis=0)
    mean, log_var = jnp.full((repeat, 2), 0.3) + linear.mean, jnp.full((repeat, 2), 0.2) + linear.log_var[0]
    elbo, ten, hundred = (linear.bound(samples, mean, log_var).mean() for samples in (1, 10, 100))
    assert elbo + 0.05 < ten < hundred < linear.log_p[0] + 0.01
    many = linear.bound(100, mean, log_var)
    estimate = scipy.special.logsumexp(many) - math.log(repeat)  # the mean of the weights themselves is unbiased
    assert estimate == pytest.approx(linear.log_p[0], abs=0.01)


def test_the_elbo_misses_the_likelihood_by_the_divergence_of_q():
    linear = Linear(count=1)
    linear.x = np.repeat(linear.x, 20_000, axis=0)
    shift, stretch = 0.3, 0.5
    mean, log_var = jnp.full((20_000, 2), shift) + linear.mean, jnp.full((20_000, 2), stretch) + linear.log_var[0]
    divergence = 0.5 * (np.exp(stretch) + shift**2 / np.exp(linear.log_var[0]) - 1 - stretch).sum()
    assert linear.bound(1, mean, log_var).mean() == pytest.approx(linear.log_p[0] - divergence, abs=0.05)


def test_the_loss_is_minus_the_bound_and_score_is_minus_the_elbo():
    """The likelihood of many samples is the better bound: of the same model, and of training with K of them."""
    model, state, config = built(likelihood="discretised")
    data = batch(count=200)
    elbo = -np.mean([model.score(jax.random.key(s), state, data) for s in range(5)], axis=0)
    log_prob = model.log_prob(jax.random.key(9), state, data, samples=200)
    assert log_prob.shape == (200,) and np.mean(elbo) < np.mean(log_prob)
    assert (model.log_prob_kind, model.log_prob_of) == ("lower bound", "grey levels")
    metrics = _metrics(config, state, data)
    assert float(metrics["loss"]) == pytest.approx(float(metrics["kl"] - metrics["reconstruction"]), rel=1e-5)
    assert float(metrics["loss"]) == pytest.approx(-elbo.mean(), rel=0.05)
    of_many = _metrics(dataclasses.replace(config, importance_samples=20), state, data)
    assert float(of_many["loss"]) < -float(of_many["elbo"])
    assert float(of_many["elbo"]) == pytest.approx(elbo.mean(), rel=0.05)


def _metrics(config, state, data):
    model = vae.build(config, IMAGE)
    return jax.jit(model.step)(jax.random.key(1), 0, state._replace(params=state.ema), data)[1]


def test_only_what_is_a_likelihood_has_log_prob():
    """Bernoulli numbers of grey values are read as expectations: of those there is none."""
    assert built()[0].log_prob is None and built()[0].log_prob_kind == ""
    model, state, _ = built(binarise=True)
    assert model.log_prob_of == "binary pixels"
    white = batch()._replace(x=jnp.sign(batch().x) + (batch().x == 0))  # black and white already: nothing is drawn
    log_prob = np.asarray(model.log_prob(jax.random.key(0), state, white, samples=100))
    assert np.isfinite(log_prob).all() and (log_prob < 0).all()  # of a mass


# --- its parts ---------------------------------------------------------------------------------------------------


def test_kl_against_integration():
    mean, log_var = np.array([[0.5, -1.0], [0.0, 0.0]]), np.array([[-1.0, 0.7], [0.0, 0.0]])

    def divergence(m, v):
        q = scipy.stats.norm(m, math.sqrt(v))
        return scipy.integrate.quad(lambda z: q.pdf(z) * (q.logpdf(z) - scipy.stats.norm.logpdf(z)), -12, 12)[0]

    expected = [
        sum(divergence(m, math.exp(v)) for m, v in zip(*row, strict=True)) for row in zip(mean, log_var, strict=True)
    ]
    np.testing.assert_allclose(gaussian.kl(jnp.asarray(mean), jnp.asarray(log_var)), expected, atol=1e-5)


def test_log_normal_against_scipy():
    rng = np.random.default_rng(0)
    z, mean, log_var = rng.normal(size=(3, 5, 4))
    expected = scipy.stats.norm.logpdf(z, mean, np.exp(log_var / 2)).sum(-1)
    np.testing.assert_allclose(gaussian.log_normal(*map(jnp.asarray, (z, mean, log_var))), expected, rtol=1e-5)
    np.testing.assert_allclose(gaussian.log_normal(jnp.asarray(z)), scipy.stats.norm.logpdf(z).sum(-1), rtol=1e-5)


def test_bernoulli_against_scipy():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(3, 2, 2, 1)) * 3
    white = rng.integers(0, 2, logits.shape)
    expected = scipy.stats.bernoulli.logpmf(white, scipy.special.expit(logits)).sum((1, 2, 3))
    np.testing.assert_allclose(vae.bernoulli(jnp.asarray(logits), jnp.asarray(2.0 * white - 1)), expected, rtol=1e-5)
    grey = vae.bernoulli(jnp.asarray(logits), jnp.zeros(logits.shape))  # half of either
    both = [vae.bernoulli(jnp.asarray(logits), jnp.full(logits.shape, side)) for side in (-1.0, 1.0)]
    np.testing.assert_allclose(grey, (both[0] + both[1]) / 2, rtol=1e-5)


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_grey_values_share_out_all_mass(levels):
    grid = jnp.linspace(-1, 1, levels).reshape(-1, 1, 1, 1)
    for mean in (-1.0, -0.2, 0.9):
        for log_scale in (-5.0, -2.0, 1.0):
            log_mass = vae.discretised_logistic(jnp.full_like(grid, mean), jnp.array([log_scale]), grid, levels)
            assert float(jnp.exp(log_mass).sum()) == pytest.approx(1, abs=1e-4)
            cut = (np.arange(levels + 1) * 2 - levels) / (levels - 1)
            cdf = scipy.stats.logistic.cdf(cut, mean, math.exp(log_scale))
            cdf[[0, -1]] = 0, 1
            np.testing.assert_allclose(np.exp(log_mass), np.diff(cdf), atol=2e-5)


def test_far_tails_are_finite_with_finite_gradients():
    x = jnp.linspace(-1, 1, 256).reshape(-1, 1, 1, 1)

    def total(mean, log_scale):
        return vae.discretised_logistic(mean, log_scale, x, 256).sum()

    for mean in (-30.0, -1.0, 1.0, 30.0):
        for log_scale in (-7.0, 3.0):
            value, gradient = jax.value_and_grad(total, (0, 1))(jnp.full_like(x, mean), jnp.array([log_scale]))
            assert np.isfinite(value) and all(np.isfinite(g).all() for g in gradient)
    # At distance d of scale s the logistic falls like exp(-d / s).
    far = [vae.discretised_logistic(jnp.full((1, 1, 1, 1), m), jnp.array([-3.0]), x[100:101], 256) for m in (4.0, 5.0)]
    assert float((far[0] - far[1])[0]) == pytest.approx(math.exp(3), rel=1e-3)


def test_colour_channels_have_scales_of_their_own():
    x = jnp.zeros((1, 1, 1, 2))
    each = [vae.discretised_logistic(x[..., :1], jnp.array([s]), x[..., :1], 256) for s in (-3.0, -1.0)]
    both = vae.discretised_logistic(x, jnp.array([-3.0, -1.0]), x, 256)
    assert float(both[0]) == pytest.approx(float(sum(each)[0]), rel=1e-5)


# --- options -----------------------------------------------------------------------------------------------------


def test_binarise_draws_black_and_white_afresh():
    observe = vae._Vae(vae.Config(**SMALL, binarise=True), IMAGE, None, None).observe
    x = jnp.linspace(-1, 1, 5)[:, None] * jnp.ones((1, 4000))
    seen = np.asarray(observe(jax.random.key(0), x))
    assert set(np.unique(seen)) == {-1, 1}
    np.testing.assert_allclose(seen.mean(axis=1), x[:, 0], atol=0.06)
    assert (seen != np.asarray(observe(jax.random.key(1), x)))[1:4].mean() > 0.3
    as_it_is = vae._Vae(vae.Config(**SMALL), IMAGE, None, None).observe
    np.testing.assert_array_equal(as_it_is(jax.random.key(0), x), x)


@pytest.mark.parametrize("fields", [{}, {"binarise": True}])
def test_binarised_training_and_scoring_depend_on_the_draw(fields):
    """With q's variance at its floor, only the binarisation is left to tell two keys apart."""
    model, state, _ = built(**fields)
    encoder = state.ema["encoder"]["params"]
    last = max(name for name in encoder if name.startswith("Dense"))
    encoder[last]["bias"] = encoder[last]["bias"].at[3:].set(-100.0)
    score = [np.asarray(model.score(jax.random.key(s), state, batch())) for s in (0, 1)]
    apart = np.abs(score[0] - score[1]).min()
    assert apart > 0.05 if fields else apart < 0.05


def test_without_labels_they_are_ignored():
    for conditional in (False, True):
        model, state, _ = built(conditional=conditional)
        assert model.conditional == conditional
        data = batch()
        other = data._replace(y=1 - data.y)
        pairs = [
            (model.sample(jax.random.key(0), state, b.y), model.score(jax.random.key(0), state, b))
            for b in (data, other)
        ]
        for one, two in zip(*pairs, strict=True):
            assert np.array_equal(one, two) != conditional
    unlabelled = vae.build(vae.Config(**SMALL), DataSpec("image", (4, 4, 1)))
    assert not unlabelled.conditional


def test_samples_are_means_or_draws():
    labels = jnp.zeros(500, int)
    model, state, _ = built()
    mean, drawn = (np.asarray(model.sample(jax.random.key(0), state, labels, mean=m)) for m in (True, False))
    assert set(np.unique(drawn)) == {-1, 1} and len(np.unique(mean)) > 100
    np.testing.assert_allclose(drawn.mean(), mean.mean(), atol=0.05)
    model, state, _ = built(likelihood="discretised")
    mean, drawn = (np.asarray(model.sample(jax.random.key(0), state, labels, mean=m)) for m in (True, False))
    noise = (drawn - mean)[np.abs(drawn) < 1]
    assert np.abs(drawn).max() <= 1 and np.median(noise) == pytest.approx(0, abs=0.03) and noise.std() > 0.1


@pytest.mark.parametrize(
    ("shape", "channels"), [((8, 8, 1), ()), ((28, 28, 1), (8, 16)), ((32, 32, 3), (8,)), ((7, 5, 2), (8, 16))]
)
def test_any_image_shape(shape, channels):
    spec = DataSpec("image", shape, classes=("a", "b"))
    model = vae.build(vae.Config(channels=channels, likelihood="discretised"), spec)
    like = Batch(
        *(jax.ShapeDtypeStruct((4, *s), kind) for s, kind in ((shape, "f4"), ((), "i4"), ((), "f4"), ((), "i4")))
    )
    state = jax.eval_shape(model.init, jax.random.key(0))
    assert jax.eval_shape(model.sample, jax.random.key(0), state, like.y).shape == (4, *shape)
    assert jax.eval_shape(model.score, jax.random.key(0), state, like).shape == (4,)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"binarise": True, "likelihood": "discretised"}, "model.binarise=True: needs model.likelihood=bernoulli"),
        ({"latents": 0}, "model.latents=0: must be at least 1"),
        ({"importance_samples": 0}, "model.importance_samples=0: must be at least 1"),
    ],
)
def test_a_bad_config_is_named(fields, message):
    with pytest.raises(InputError, match=message):
        vae.build(vae.Config(**fields), IMAGE)


def test_tables_are_refused():
    with pytest.raises(InputError, match="a table of 3 values a row"):
        vae.build(vae.Config(), DataSpec("table", (3,), 0))
