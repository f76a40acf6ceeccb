"""The VAE of tables: its loss against SciPy, exact rows, and the dependences of a table that is known."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
import toy_table

from synthjax.errors import InputError
from synthjax.model import DataSpec
from synthjax.models import table_vae
from synthjax.nets.columns import Columns

CONFIG = table_vae.Config(latents=8, hidden=(64, 64), steps=1500, learning_rate=3e-3, ema_decay=0.98)


@functools.cache
def trained(conditional: bool):
    """A model, its state and metrics."""
    config = table_vae.Config(**{**vars(CONFIG), "conditional": conditional})
    model = table_vae.build(config, toy_table.SPEC)
    return model, *toy_table.train(model, 128, CONFIG.steps)


def drawn(conditional: bool, **options) -> tuple[np.ndarray, np.ndarray]:
    """Labels (1 in a half of them, without conditions in a quarter), and rows that were asked for with them."""
    model, state, _ = trained(conditional)
    labels = (np.arange(4000) % (2 if conditional else 4) == 0).astype(np.int32)
    return labels, np.asarray(jax.jit(functools.partial(model.sample, **options))(jax.random.key(3), state, labels))


@pytest.mark.parametrize("conditional", [pytest.param(False, marks=pytest.mark.slow), True])
def test_known_dependences_come_back(conditional):
    labels, x = drawn(conditional)
    toy_table.assert_exact(x, labels if conditional else None)
    real, made = toy_table.dependences(toy_table.rows()[0]), toy_table.dependences(x)
    assert made["correlation"] == pytest.approx(toy_table.CORRELATION, abs=0.1)
    assert made["shape"] > 0.8 and made["town"] > 0.75  # by chance 1/3 and 1/6
    for name, within in {"missing no": 0.1, "missing yes": 0.1, "height": 0.2, "savings": 0.2, "red": 0.1}.items():
        assert made[name] == pytest.approx(real[name], abs=within), name
    assert made["weight"] == pytest.approx(real["weight"], abs=1)
    assert made["weight's deviation"] == pytest.approx(real["weight's deviation"], rel=0.15)
    if not conditional:
        assert x[:, 7].mean() == pytest.approx(0.5, abs=0.07)


def test_the_loss_is_what_scipy_makes_of_it():
    """From the networks' outputs for one draw of z, part by part; weights are those after a few steps."""
    model, state, _ = trained(True)
    columns, batch, key = Columns(toy_table.SPEC, True), toy_table.batch(200), jax.random.key(5)
    params, onehot = state.ema, np.eye(2)[np.asarray(batch.y)]
    v = np.asarray(columns.encode(batch.x))
    encoder, decoder = table_vae.Net((64, 64), 16), table_vae.Net((64, 64), columns.width)
    mean, log_var = np.split(np.asarray(encoder.apply(params["encoder"], v, onehot)), 2, axis=1)
    z = mean + np.exp(log_var / 2) * np.asarray(jax.random.normal(key, mean.shape))
    raw = np.asarray(decoder.apply(params["decoder"], jnp.asarray(z), onehot), np.float64)
    log_p = np.zeros(200)
    for place in range(3):
        scale = np.exp(np.logaddexp(0, params["log_scale"][place] + 4) - 4)  # above e^-4, smoothly
        density = scipy.stats.norm.logpdf(v[:, place], raw[:, place], scale)
        log_p += np.where((place == 0) & (v[:, 4] == 1), 0, density)  # savings come first, for they can be missing
    for start, size in ((3, 2), (5, 3), (8, 3), (11, 6)):
        log_p += (v[:, start : start + size] * scipy.special.log_softmax(raw[:, start : start + size], axis=1)).sum(1)
    log_q = scipy.stats.norm.logpdf(z, mean, np.exp(log_var / 2)).sum(1)
    gap = log_q - scipy.stats.norm.logpdf(z).sum(1)  # an estimate of the KL, exact in the mean
    score = np.asarray(jax.jit(model.score)(key, state, batch))
    exact = 0.5 * (np.exp(log_var) + mean**2 - 1 - log_var).sum(1)
    np.testing.assert_allclose(score, exact - log_p, rtol=1e-3, atol=1e-2)
    assert exact.mean() == pytest.approx(gap.mean(), rel=0.2)


def test_the_bound_comes_near_to_the_entropy():
    """-ELBO cannot fall below the rows' entropy given the label, but for what q misses; it was far above before."""
    *_, metrics = trained(True)
    # A density is in units of these deviations: savings, height, weight.
    unit = np.log(Columns(toy_table.SPEC, True).scale)
    normal = 0.5 * np.log(2 * np.pi * np.e)
    x, y = toy_table.rows()
    height = np.mean(
        [x[y == c, 0].std() for c in (0, 1)]
    )  # not Gaussian given the label: its entropy is lower a little
    weight = normal + np.log(7 * np.sqrt(1 - toy_table.CORRELATION**2)) - unit[2]
    missing = np.mean([scipy.stats.bernoulli.entropy(p) for p in toy_table.MISSING.values()])
    savings = 0.7 * (normal - unit[0]) + missing
    entropy = normal + np.log(height) - unit[1] + weight + savings + np.log(3)
    loss = np.asarray(metrics["loss"])
    assert entropy - 0.1 < loss[-200:].mean() < entropy + 0.8 < loss[:20].mean() - 2


def test_log_prob_is_a_density_of_the_encoded_row():
    """Of reals in the units of x, whatever the deviation they are divided by; above the ELBO, in the mean."""
    model, state, _ = trained(True)
    batch, key = toy_table.batch(300), jax.random.key(5)
    log_prob = jax.jit(model.log_prob, static_argnames="samples")
    few, many = (np.asarray(log_prob(key, state, batch, samples=k)) for k in (1, 100))
    score = np.asarray(jax.jit(model.score)(key, state, batch))
    present = 1 - np.asarray(batch.x[:, 12])
    deviation = [toy_table.rows()[0][toy_table.rows()[0][:, 12] == 0, 11].std(), *toy_table.rows()[0][:, [0, 4]].std(0)]
    units = present * np.log(deviation[0]) + np.log(deviation[1]) + np.log(deviation[2])
    assert few.mean() == pytest.approx((-score - units).mean(), abs=0.5)
    assert few.mean() < many.mean()


def test_means_are_less_spread_than_draws():
    spread = [drawn(True, mean=mean)[1][:, 4].std() for mean in (True, False)]
    assert spread[0] < spread[1]
    toy_table.assert_exact(drawn(True, mean=True)[1], drawn(True)[0])


def test_without_labels_it_is_unconditional():
    bare = DataSpec.from_arrays(np.zeros((4, 3), np.float32))
    assert not table_vae.build(table_vae.Config(), bare).conditional


def test_refusals_are_one_line():
    for fields, words in (({"latents": 0}, "model.latents=0"), ({"kl_weight": 0.0}, "model.kl_weight=0.0")):
        with pytest.raises(InputError, match=words):
            table_vae.build(table_vae.Config(**fields), toy_table.SPEC)
    with pytest.raises(InputError, match="makes tables; the data are images"):
        table_vae.build(table_vae.Config(), DataSpec("image", (8, 8, 1)))
