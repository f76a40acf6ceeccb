"""Private gradients against per-example gradients, jax-privacy and the law of their noise."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax_privacy import clipping
from scipy import stats

from synthjax.errors import InputError
from synthjax.model import Batch, DataSpec
from synthjax.models import independent, table_ar, table_gan
from synthjax.privacy import gradients
from synthjax.privacy.accounting import Release
from synthjax.privacy.gradients import clipped_sum, dp_grad
from synthjax.train import optim

ROWS, WIDTH = 12, 5


def params():
    key_first, key_second = jax.random.split(jax.random.key(0))
    return {"first": jax.random.normal(key_first, (WIDTH, 7)), "second": jax.random.normal(key_second, (7,))}


def loss(params, key, batch):
    """A small network with multiplicative noise, as dropout has."""
    h = jnp.tanh(batch.x @ params["first"]) * jax.random.bernoulli(key, 0.8, (len(batch.x), 7))
    losses = (h @ params["second"] - batch.y) ** 2
    return optim.Losses(losses, {"twice": 2 * losses})


def batch(weight=None):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(ROWS, WIDTH)).astype(np.float32)
    weight = jnp.ones(ROWS) if weight is None else jnp.asarray(weight, jnp.float32)
    return Batch(jnp.asarray(x), jnp.asarray(rng.integers(0, 3, ROWS), jnp.int32), weight, jnp.arange(ROWS))


def expected_sum(rows: Batch, clip: float):
    """Example by example: clipped gradients of weight times loss, with the key that the docstring names."""
    total = jax.tree.map(jnp.zeros_like, params())
    for j, key in enumerate(jax.random.split(jax.random.key(3), ROWS)):
        one = jax.tree.map(lambda a, j=j: a[j : j + 1], rows)
        gradient = jax.grad(lambda p, key=key, one=one: one.weight[0] * loss(p, key, one).losses[0])(params())
        norm = math.sqrt(sum(float((g**2).sum()) for g in jax.tree.leaves(gradient)))
        factor = min(1.0, clip / max(norm, 1e-30))
        total = jax.tree.map(lambda t, g, factor=factor: t + factor * g, total, gradient)
    return total


def close(a, b, **tolerances):
    jax.tree.map(lambda left, right: np.testing.assert_allclose(left, right, **tolerances), a, b)


@pytest.mark.parametrize("microbatch", [None, 4, 1])
@pytest.mark.parametrize("clip", [0.1, 2.0, 1e6])
def test_the_sum_is_that_of_clipped_gradients(clip, microbatch):
    rows = batch([1, 1, 0.5, 1, 2, 1, 1, 1, 0, 0, 0, 0])
    total, metrics, _ = jax.jit(clipped_sum(loss, clip, microbatch))(params(), jax.random.key(3), rows)
    close(total, expected_sum(rows, clip), rtol=1e-3, atol=1e-4 * min(clip, 1))
    assert {name: float(value) for name, value in metrics.items()} == {"loss": 0, "twice": 0}


def test_the_sum_is_that_of_jax_privacy():
    rows = batch([1] * 9 + [0] * 3)
    theirs = clipping.clipped_grad(
        lambda p, key, b: loss(p, key, b).losses[0], l2_clip_norm=0.7, batch_argnums=2, prng_argnum=1
    )
    expected = theirs(params(), jax.random.key(3), rows, is_padding_example=rows.weight == 0)
    close(clipped_sum(loss, 0.7)(params(), jax.random.key(3), rows).gradient, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("microbatch", [None, 3])
def test_examples_without_finite_gradient_count_nothing(microbatch):
    def quartic(params, key, batch):
        return optim.Losses(loss(params, key, batch).losses ** 4)

    rows = batch()
    spoilt = rows._replace(x=rows.x.at[2].set(jnp.nan).at[5].set(jnp.inf), y=rows.y.at[9].set(10**9))
    plain = jax.vmap(jax.grad(lambda p, one: quartic(p, jax.random.key(0), one).losses[0]), (None, 0))
    first = plain(params(), jax.tree.map(lambda a: a[:, None], spoilt))["second"]
    assert np.flatnonzero(~np.isfinite(first).all(axis=1)).tolist() == [2, 5, 9]
    without = rows._replace(weight=rows.weight.at[jnp.array([2, 5, 9])].set(0))
    total = jax.jit(clipped_sum(quartic, 1.0, microbatch))
    close(*(total(params(), jax.random.key(3), one).gradient for one in (spoilt, without)), rtol=0, atol=0)


def linear(params, key, batch):
    """Its gradient is x, times 0 or 2 as the key says."""
    return optim.Losses((batch.x @ params) * 2 * jax.random.bernoulli(key, 0.5, batch.y.shape))


def squares(params, key, batch):
    return (batch.x**2).sum(axis=1) * 4 * jax.random.bernoulli(key, 0.5, batch.y.shape)


@pytest.mark.parametrize("microbatch", [None, 4])
def test_norms_in_closed_form_clip_alike(microbatch):
    rows = batch([1, 1, 0.5, 1, 2, 1, 1, 1, 0, 0, 0, 0])
    rows = rows._replace(x=rows.x.at[1].set(jnp.nan).at[9].set(jnp.nan))
    key, clip = jax.random.key(3), 1.5
    size = microbatch or ROWS
    draws = [jax.random.bernoulli(k, 0.5, (size,)) for k in jax.random.split(key, ROWS)[::size]]
    each = np.asarray(rows.x) * np.concatenate(draws)[:, None] * 2 * np.asarray(rows.weight)[:, None]
    each[[1, 9]] = 0
    expected = (each * np.minimum(1, clip / np.maximum(np.linalg.norm(each, axis=1, keepdims=True), 1e-9))).sum(axis=0)
    total = clipped_sum(optim.NormedLoss(linear, squares), clip, microbatch)(jnp.ones(WIDTH), key, rows)
    np.testing.assert_allclose(total.gradient, expected, rtol=1e-3, atol=5e-4)


def test_padding_counts_nothing_whatever_it_holds():
    rows = batch([1] * 8 + [0] * 4)
    other = rows._replace(x=rows.x.at[8:].set(jnp.nan), y=rows.y.at[8:].set(7))
    for microbatch in (None, 2):
        total = clipped_sum(loss, 1.0, microbatch)
        close(*(total(params(), jax.random.key(3), one).gradient for one in (rows, other)), rtol=0, atol=0)


@pytest.mark.parametrize("microbatch", [None, 4])
def test_an_empty_batch_is_noise_of_the_stated_deviation(microbatch):
    def constant(params, key, batch):
        return optim.Losses(batch.x[:, 0] * (params["a"].sum() + params["b"].sum()))

    wide = {"a": jnp.ones((300, 200)), "b": jnp.ones(60_000)}
    empty = batch([0] * ROWS)
    gradient = jax.jit(dp_grad(clip=0.5, noise=3.0, expected=10.0, microbatch=microbatch)(constant))
    noise, metrics, statistics = gradient(wide, jax.random.key(5), empty)
    values = np.concatenate([np.asarray(noise["a"]).ravel(), noise["b"]])
    assert stats.kstest(values / (3.0 * 0.5 / 10), "norm").pvalue > 1e-3
    assert abs(np.corrcoef(np.asarray(noise["a"]).ravel(), noise["b"])[0, 1]) < 0.02
    assert statistics == () and float(metrics["loss"]) == 0
    again, other = (gradient(wide, jax.random.key(seed), empty)[0] for seed in (5, 6))
    close(again, noise, rtol=0, atol=0)
    assert abs(np.corrcoef(noise["b"], other["b"])[0, 1]) < 0.02


@pytest.mark.parametrize("count", [1, 5, 12])
def test_the_sum_is_divided_by_the_expected_number_of_examples(count):
    rows = batch([1] * count + [0] * (ROWS - count))
    grad = dp_grad(clip=1.0, noise=1e-6, expected=4.0)
    key_loss, _ = jax.random.split(jax.random.key(3))
    total = clipped_sum(loss, 1.0)(params(), key_loss, rows).gradient
    close(grad(loss)(params(), jax.random.key(3), rows).gradient, jax.tree.map(lambda a: a / 4, total), atol=1e-4)


def test_a_training_step_takes_it():
    step = optim.train_step(loss, optim.adam(), lambda i: 0.01, grad=dp_grad(1.0, 0.5, 8.0))
    state, metrics = jax.jit(step)(jax.random.key(1), 0, optim.TrainState.create(params(), optim.adam()), batch())
    assert {"loss", "twice", "grad_norm", "learning_rate"} == set(metrics)
    assert float(metrics["loss"]) == 0 and np.isfinite(state.params["first"]).all()


def with_statistics(params, key, batch):
    return optim.Losses(loss(params, key, batch).losses, {}, {"mean": batch.x.mean(axis=0)})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: dp_grad(0.0, 1.0, 1.0), "dp.clip=0.0: must be a finite number above 0"),
        (lambda: dp_grad(1.0, 0.0, 1.0), "dp.noise=0.0"),
        (lambda: dp_grad(1.0, math.nan, 1.0), "dp.noise=nan"),
        (lambda: dp_grad(1.0, 1.0, math.inf), "dp.expected=inf"),
        (lambda: dp_grad(1.0, 1.0, 1.0, 0), "dp.microbatch=0"),
        (lambda: clipped_sum(loss, 1.0, 5)(params(), jax.random.key(0), batch()), "dp.microbatch=5: must divide"),
        (lambda: clipped_sum(with_statistics, 1.0)(params(), jax.random.key(0), batch()), "running statistics"),
        (lambda: clipped_sum(lambda p, k, b: (p["second"].sum(),), 1.0)(params(), jax.random.key(0), batch()),
         "makes 'loss' of shape () for one example"),
        (lambda: optim.accumulate(dp_grad(1.0, 1.0, 1.0), 2), "accumulate=2 divides by the number of examples"),
    ],
)  # fmt: skip
def test_what_cannot_be_private_is_said_in_one_line(make, message):
    with pytest.raises(InputError) as error:
        make()
    assert message in str(error.value) and "\n" not in str(error.value)


def test_the_release_counts_every_batch_of_a_step():
    spec = DataSpec.from_arrays(np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32))
    gan = table_gan.build(table_gan.PRESETS["table_wgan"], spec)
    assert gradients.release("gradients", gan, 100, 2.0, 0.1, 1e-9) == Release(
        "gradients", "gaussian", 2.0, 0.1, 500, 1e-9
    )
    model = table_ar.build(table_ar.Config(), spec)
    assert gradients.release("gradients", model, 100, 2.0, 0.1).count == 100
    with pytest.raises(InputError, match="takes the whole training set"):
        gradients.release("gradients", independent.build(independent.Config(), spec), 1, 2.0, 0.1)
