"""Diffusion of tables: its sampler with exact predictions, exact rows, and the dependences of a table that is known."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy_table

from synthjax.errors import InputError
from synthjax.model import Column, DataSpec
from synthjax.models import table_ddpm
from synthjax.nets import diffusion
from synthjax.nets.network import Network

CONFIG = table_ddpm.Config(width=64, blocks=2, steps=1500, batch_size=256, sample_steps=15, ema_decay=0.98)


@functools.cache
def trained(conditional: bool):
    """A model, its state and metrics."""
    model = table_ddpm.build(dataclasses.replace(CONFIG, conditional=conditional), toy_table.SPEC)
    return model, *toy_table.train(model, CONFIG.batch_size, CONFIG.steps)


@functools.cache
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
    assert made["correlation"] == pytest.approx(toy_table.CORRELATION, abs=0.06)
    assert made["shape"] > 0.95 and made["town"] > 0.95
    for name, within in {"missing no": 0.08, "missing yes": 0.08, "height": 0.2, "savings": 0.15, "red": 0.08}.items():
        assert made[name] == pytest.approx(real[name], abs=within), name
    assert made["weight"] == pytest.approx(real["weight"], abs=1)
    assert made["weight's deviation"] == pytest.approx(real["weight's deviation"], rel=0.1)
    if not conditional:
        assert x[:, 7].mean() == pytest.approx(0.5, abs=0.07)


def test_any_number_of_steps_makes_exact_rows_and_one_step_no_dependence():
    labels, one = drawn(True, steps=1)
    toy_table.assert_exact(one, labels)
    made = toy_table.dependences(one)
    assert made["shape"] == pytest.approx(1 / 3, abs=0.1)
    assert made["red"] == pytest.approx(1 / 3, abs=0.1)  # the categories of each column by itself are right
    assert one[labels == 1, 0].std() < 0.3  # while numbers are their mean
    labels, ancestral = drawn(True, steps=40, eta=1.0)
    toy_table.assert_exact(ancestral, labels)
    assert toy_table.dependences(ancestral)["shape"] > 0.95


def test_guidance_leads_toward_the_label():
    plain, guided = (toy_table.dependences(drawn(True, **o)[1])["height"] for o in ({}, {"guidance": 2.0}))
    assert guided > plain + 0.2


def test_score_tells_rows_that_cannot_be():
    model, state, _ = trained(True)
    real = toy_table.batch(500)
    broken = real._replace(x=real.x.at[:, 8:11].set(jnp.roll(real.x[:, 8:11], 1, axis=1)))
    known, unknown = (np.asarray(jax.jit(model.score)(jax.random.key(0), state, b)) for b in (real, broken))
    assert (known < unknown).mean() > 0.95


@pytest.mark.parametrize(("steps", "eta", "order"), [(40, 0.0, 2), (100, 1.0, 1)])
def test_with_exact_predictions_the_sampler_draws_the_table(steps, eta, order):
    """One real N(0, 1), independent of one category of probabilities p: v^ = 0, logits by Bayes' rule."""
    p = np.array([0.6, 0.3, 0.1])
    columns = (Column("a", "continuous", 0, 1), Column("b", "onehot", 1, 3))
    rng = np.random.default_rng(0)
    rows = np.concatenate([rng.normal(size=(4000, 1)), np.eye(3)[rng.choice(3, 4000, p=p)]], axis=1)
    spec = DataSpec("table", (4,), 0, columns=columns).measured(rows)
    a = jnp.asarray(diffusion.signal(CONFIG.schedule, CONFIG.timesteps), jnp.float32)

    def apply(params, v_t, t, y):
        a_t = a[jnp.round(t * CONFIG.timesteps).astype(int)][:, None]
        logits = jnp.log(jnp.asarray(p, jnp.float32)) + a_t * v_t[:, 1:] / (1 - a_t**2)
        return jnp.concatenate([jnp.zeros((len(v_t), 1)), logits], axis=-1)

    config = dataclasses.replace(CONFIG, sample_steps=steps, eta=eta, order=order)
    model = table_ddpm.model(config, spec, net=Network(lambda key: {}, apply))
    x = np.array(jax.jit(model.sample)(jax.random.key(1), model.init(jax.random.key(0)), np.zeros(20_000, int)))
    mean, deviation = rows[:, 0].mean(), rows[:, 0].std()
    x[:, 0] = (x[:, 0] - mean) / deviation
    np.testing.assert_allclose(x[:, 1:].mean(axis=0), p, atol=0.02)
    assert x[:, 0].mean() == pytest.approx(0, abs=0.03) and x[:, 0].std() == pytest.approx(1, abs=0.03)
    assert np.corrcoef(x[:, 0], x[:, 1])[0, 1] == pytest.approx(0, abs=0.03)


def test_losses_by_hand():
    """An untrained network says 0 for every target: squares of the targets, and log of the number of categories."""
    model = table_ddpm.build(CONFIG, toy_table.SPEC)
    batch = toy_table.batch(2000)
    state = jax.jit(model.init)(jax.random.key(0))
    _, metrics = jax.jit(model.step)(jax.random.key(1), 0, state, batch)
    parts = 3 + 4  # savings, height, weight; whether savings are missing, colour, shape, town
    assert float(metrics["choices"]) == pytest.approx((np.log(2) + 2 * np.log(3) + np.log(6)) / parts, rel=1e-4)
    present = 1 - float(batch.x[:, 12].mean())
    assert float(metrics["reals"]) == pytest.approx((2 + present) / parts, rel=0.06)  # Var[v] = a^2 + s^2
    assert float(metrics["loss"]) == pytest.approx(float(metrics["reals"] + metrics["choices"]), rel=1e-5)


def test_refusals_are_one_line():
    cases = [
        ({"width": 7}, "model.width=7"),
        ({"blocks": 0}, "model.blocks=0"),
        ({"sample_steps": 0}, "model.sample_steps=0: must be in 1 ... timesteps=1000"),
    ]
    for fields, words in cases:
        with pytest.raises(InputError, match=words):
            table_ddpm.build(table_ddpm.Config(**fields), toy_table.SPEC)
    with pytest.raises(InputError, match="makes tables; the data are images"):
        table_ddpm.build(table_ddpm.Config(), DataSpec("image", (8, 8, 1)))
    model = table_ddpm.build(CONFIG, toy_table.SPEC)
    with pytest.raises(InputError, match="sample.steps=1001"):
        model.sample(jax.random.key(0), None, jnp.zeros(1, int), steps=1001)
