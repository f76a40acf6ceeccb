"""Gradients, schedules and averages against what they are by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from synthjax.model import Batch
from synthjax.train import optim

KEY = jax.random.key(0)


def batch(x, weight):
    count = len(x)
    return Batch(
        jnp.asarray(x, jnp.float32), jnp.zeros(count, int), jnp.asarray(weight, jnp.float32), jnp.arange(count)
    )


def square(params, key, batch):
    """(w - x)^2, whose gradient is 2 (w - x)."""
    error = params["w"] - batch.x
    return error**2, {"error": error}


def square_with_statistics(params, key, batch):
    return *square(params, key, batch), {"first": batch.x[0]}


def test_mean_grad_is_the_weighted_mean():
    gradient, metrics = optim.mean_grad(square)({"w": jnp.float32(1)}, KEY, batch([0, 3, 7, 100], [1, 1, 2, 0]))
    # errors 1, -2, -6 with weights 1/4, 1/4, 1/2
    assert float(gradient["w"]) == pytest.approx(2 * (1 - 2 - 2 * 6) / 4)
    assert float(metrics["loss"]) == pytest.approx((1 + 4 + 2 * 36) / 4)
    assert float(metrics["error"]) == pytest.approx((1 - 2 - 12) / 4)


def test_a_batch_of_padding_has_no_gradient():
    gradient, metrics = optim.mean_grad(square)({"w": jnp.float32(1)}, KEY, batch([3, 4], [0, 0]))
    assert float(gradient["w"]) == 0 and float(metrics["loss"]) == 0


def test_statistics_are_handed_on():
    *_, statistics = optim.mean_grad(square_with_statistics)({"w": jnp.float32(1)}, KEY, batch([5, 6], [1, 1]))
    assert statistics == {"first": 5}


@pytest.mark.parametrize("parts", [1, 2, 3, 6])
def test_accumulated_slices_make_the_gradient_of_the_whole(parts):
    rng = np.random.default_rng(0)
    whole = batch(rng.normal(size=6), [1, 0, 0, 1, 2, 1])  # of 3 slices the first has half, the second a fourth ...
    params = {"w": jnp.float32(0.3)}
    expected = optim.mean_grad(square)(params, KEY, whole)
    found = optim.accumulate(optim.mean_grad, parts)(square)(params, KEY, whole)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), found, expected)


def test_accumulated_statistics_are_the_last_slice_s():
    grad = optim.accumulate(optim.mean_grad, 2)(square_with_statistics)
    *_, statistics = grad({"w": jnp.float32(0)}, KEY, batch([1, 2, 3, 4], [1, 1, 1, 1]))
    assert statistics == {"first": 3}


def test_each_slice_has_a_key_of_its_own(key_reuse):
    def loss(params, key, batch):
        noise = jax.random.normal(key, batch.x.shape)
        return params["w"] * noise, {"noise_square": noise**2}

    gradient, _ = optim.accumulate(optim.mean_grad, 4)(loss)({"w": jnp.float32(1)}, KEY, batch([0] * 8, [1] * 8))
    noise = [jax.random.normal(key, (2,)) for key in jax.random.split(jax.random.clone(KEY), 4)]
    assert float(gradient["w"]) == pytest.approx(float(np.mean(noise)), rel=1e-5)


@pytest.mark.parametrize(
    ("decay", "expected"),
    [
        ("constant", {0: 0, 5: 0.05, 10: 0.1, 55: 0.1, 100: 0.1}),
        ("linear", {0: 0, 5: 0.05, 10: 0.1, 55: 0.05, 100: 0}),
        ("cosine", {0: 0, 5: 0.05, 10: 0.1, 55: 0.05, 32.5: 0.05 * (1 + np.cos(np.pi / 4)), 100: 0}),
    ],
)
def test_schedule(decay, expected):
    rate = optim.schedule(0.1, 100, 10, decay)
    for step, value in expected.items():
        assert float(rate(step)) == pytest.approx(value, abs=1e-7)


def test_a_short_run_warms_up_over_a_tenth_at_most():
    rate = optim.schedule(0.1, 50, 500, "constant")
    assert float(rate(4)) < 0.1 and float(rate(5)) == pytest.approx(0.1)
    assert float(optim.schedule(0.1, 50)(0)) == pytest.approx(0.1)
    assert np.isfinite(float(optim.schedule(0.1, 1, 500, "cosine")(0)))


def test_adam_against_its_recursion():
    gradients, rate, b1, b2 = [3.0, -1.0, 0.5], 0.1, 0.9, 0.99
    adam = optim.adam(rate, b1, b2)
    w, state = jnp.float32(0), None
    expected = m = v = 0.0
    for t, g in enumerate(gradients, 1):
        state = adam.init(w) if state is None else state
        update, state = adam.update(jnp.float32(g), state, w)
        w = optax.apply_updates(w, update)
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        expected -= rate * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + 1e-8)
    assert float(w) == pytest.approx(expected, rel=1e-5)


def test_clipping_scales_the_whole_gradient():
    """Adam forgets the scale of its first gradient, so it is seen in the second step."""
    clipped, plain = optim.adam(0.1, clip=1.0), optim.adam(0.1)
    large, small = {"a": jnp.float32(30), "b": jnp.float32(40)}, {"a": jnp.float32(0.6), "b": jnp.float32(0.8)}
    states = [adam.init(large) for adam in (clipped, plain)]
    for gradients in ((large, small), (small, small)):  # 50 long, cut to 1, is the second
        updates = [adam.update(g, s)[0] for adam, g, s in zip((clipped, plain), gradients, states, strict=True)]
        states = [adam.update(g, s)[1] for adam, g, s in zip((clipped, plain), gradients, states, strict=True)]
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), *updates)


def test_ema_warms_up_to_its_decay():
    average, expected = {"w": jnp.float32(100)}, 100.0
    for i in range(40):
        average = optim.ema(average, {"w": jnp.float32(i)}, i, 0.6)
        d = min(0.6, (1 + i) / (10 + i))
        expected = d * expected + (1 - d) * i
    assert float(average["w"]) == pytest.approx(expected, rel=1e-5)
    assert float(optim.ema({"w": 0.0}, {"w": 1.0}, 0, 0.999)["w"]) == pytest.approx(0.9)
    assert float(optim.ema({"w": 0.0}, {"w": 1.0}, 10**6, 0.999)["w"]) == pytest.approx(0.001, rel=1e-3)
