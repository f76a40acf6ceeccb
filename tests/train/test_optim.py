"""Gradients, schedules and averages against what they are by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from synthjax.errors import InputError
from synthjax.model import Batch
from synthjax.train import optim
from synthjax.train.optim import TrainState

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
    gradient, metrics, _ = optim.mean_grad(square)({"w": jnp.float32(1)}, KEY, batch([0, 3, 7, 100], [1, 1, 2, 0]))
    # errors 1, -2, -6 with weights 1/4, 1/4, 1/2
    assert float(gradient["w"]) == pytest.approx(2 * (1 - 2 - 2 * 6) / 4)
    assert float(metrics["loss"]) == pytest.approx((1 + 4 + 2 * 36) / 4)
    assert float(metrics["error"]) == pytest.approx((1 - 2 - 12) / 4)


@pytest.mark.parametrize("grad", [optim.mean_grad, optim.accumulate(optim.mean_grad, 2)])
def test_weights_may_sum_to_little(grad):
    """Weights are relative: those of a batch with one example of weight 0.01, or with class weights below 1."""
    values, weight = np.array([0.0, 3.0, 7.0, 100.0]), np.array([1, 2, 6, 1]) * 1e-3
    gradient, metrics, _ = grad(square)({"w": jnp.float32(1)}, KEY, batch(values, weight))
    assert float(gradient["w"]) == pytest.approx(np.average(2 * (1 - values), weights=weight), rel=1e-5)
    assert float(metrics["loss"]) == pytest.approx(np.average((1 - values) ** 2, weights=weight), rel=1e-5)


def test_a_batch_of_padding_has_no_gradient():
    gradient, metrics, _ = optim.mean_grad(square)({"w": jnp.float32(1)}, KEY, batch([3, 4], [0, 0]))
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
    assert statistics == {"first": 2}  # slice k of 2 has every second example, from the k-th on


def test_each_slice_has_a_key_of_its_own(key_reuse):
    def loss(params, key, batch):
        noise = jax.random.normal(key, batch.x.shape)
        return params["w"] * noise, {"noise_square": noise**2}

    gradient, *_ = optim.accumulate(optim.mean_grad, 4)(loss)({"w": jnp.float32(1)}, KEY, batch([0] * 8, [1] * 8))
    noise = [jax.random.normal(key, (2,)) for key in jax.random.split(jax.random.clone(KEY), 4)]
    assert float(gradient["w"]) == pytest.approx(float(np.mean(noise)), rel=1e-5)


def test_slices_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="accumulate=4: must divide the batch, which has 6 examples"):
        optim.accumulate(optim.mean_grad, 4)(square)({"w": jnp.float32(1)}, KEY, batch([0] * 6, [1] * 6))


def test_slices_stay_on_their_devices():
    """Each device works on its own part of every slice: no batch is gathered, and no work is done twice."""
    if jax.device_count() < 4:
        pytest.skip("needs four devices")
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:4])
    split, everywhere = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (("data",), ()))

    def loss(params, key, batch):
        return ((jnp.tanh(batch.x @ params["a"]) @ params["b"]) ** 2).sum(axis=-1), {}

    shapes = [((1024, 64), np.float32), ((1024,), np.int32), ((1024,), np.float32), ((1024,), np.int32)]
    whole = Batch(*(jax.ShapeDtypeStruct(shape, kind, sharding=split) for shape, kind in shapes))
    params = {name: jax.ShapeDtypeStruct((64, 64), np.float32, sharding=everywhere) for name in "ab"}
    flops = {}
    for parts in (1, 2, 4, 8):
        grad = optim.accumulate(optim.mean_grad, parts) if parts > 1 else optim.mean_grad
        compiled = jax.jit(grad(loss), out_shardings=everywhere).lower(params, jax.random.key(0), whole).compile()
        text = compiled.as_text()
        assert "all-gather" not in text and "all-to-all" not in text and "collective-permute" not in text
        flops[parts] = compiled.cost_analysis()["flops"] * parts  # XLA counts one turn of a loop
    one = 5 * 2 * 1024 * 64 * 64 / 4  # two products forwards, three backwards: of x there is no gradient
    assert flops[1] == pytest.approx(one, rel=0.1)
    for parts in (2, 4, 8):
        assert flops[parts] == pytest.approx(flops[1], rel=0.15), parts


@pytest.mark.parametrize(
    ("decay", "expected"),
    [
        ("constant", {0: 0.1 / 11, 5: 0.6 / 11, 10: 0.1, 55: 0.1, 100: 0.1}),
        ("linear", {0: 0.1 / 11, 5: 0.6 / 11, 10: 0.1, 55: 0.05, 100: 0}),
        ("cosine", {0: 0.1 / 11, 5: 0.6 / 11, 10: 0.1, 55: 0.05, 32.5: 0.05 * (1 + np.cos(np.pi / 4)), 100: 0}),
    ],
)
def test_schedule(decay, expected):
    """The warm-up has no step of rate 0: step i of 10 has the share (i + 1) / 11."""
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
    adam = optim.adam(b1, b2)
    w, state = jnp.float32(0), None
    expected = m = v = 0.0
    for t, g in enumerate(gradients, 1):
        state = adam.init(w) if state is None else state
        update, state = adam.update(jnp.float32(g), state, w)
        w -= rate * update
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        expected -= rate * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + 1e-8)
    assert float(w) == pytest.approx(expected, rel=1e-5)


def test_clipping_scales_the_whole_gradient():
    """Adam forgets the scale of its first gradient, so it is seen in the second step."""
    clipped, plain = optim.adam(clip=1.0), optim.adam()
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


# --- the step ----------------------------------------------------------------------------------------------------


def constant_loss(params, key, batch):
    """Its gradient is 1 wherever the parameter is: Adam's direction is then 1 (but for its epsilon) at every step."""
    return params["w"] + 0 * batch.x, {}


ONE = batch([0.0, 0.0], [1.0, 1.0])


@pytest.mark.parametrize("counted", [0, 10_000])
@pytest.mark.parametrize("i", [0, 3, 10, 60])
def test_the_rate_that_is_reported_is_the_rate_that_is_used(counted, i):
    """Also when a state is trained on under a new schedule: what its optimiser has counted decides nothing."""
    rate = optim.schedule(0.1, 100, 10, "cosine")
    step = jax.jit(optim.train_step(constant_loss, optim.adam(), rate))
    state = TrainState.create({"w": jnp.float32(5)}, optim.adam())
    opt = state.opt._replace(count=jnp.int32(counted))
    if counted:  # the moments after so many gradients of 1
        opt = opt._replace(mu={"w": jnp.float32(1)}, nu={"w": jnp.float32(1)})
    after, metrics = step(KEY, i, state._replace(opt=opt), ONE)
    expected = min((i + 1) / 11, 1) * 0.1 if i <= 10 else 0.05 * (1 + np.cos(np.pi * (i - 10) / 90))
    assert float(metrics["learning_rate"]) == pytest.approx(expected, rel=1e-5)
    assert 5 - float(after.params["w"]) == pytest.approx(expected, rel=1e-4) and expected > 1e-3
    assert int(after.opt.count) == counted + 1


def test_the_first_step_moves_the_parameters():
    for warmup in (0, 1, 10):
        step = optim.train_step(constant_loss, optim.adam(), optim.schedule(0.1, 100, warmup))
        after, metrics = step(KEY, 0, TrainState.create({"w": jnp.float32(5)}, optim.adam()), ONE)
        assert 5 - float(after.params["w"]) == pytest.approx(0.1 / (warmup + 1), rel=1e-4)
        assert float(metrics["loss"]) == 5 and float(metrics["grad_norm"]) == 1


def test_an_optimiser_may_have_a_rate_of_its_own():
    """Any optax transformation, here one that reads the parameters; its rate is not reported."""
    decayed = optax.adamw(0.1, weight_decay=0.5)
    after, metrics = optim.train_step(constant_loss, decayed)(
        KEY, 0, TrainState.create({"w": jnp.float32(5)}, decayed), ONE
    )
    assert 5 - float(after.params["w"]) == pytest.approx(0.1 * (1 + 0.5 * 5), rel=1e-4)
    assert metrics.keys() == {"loss", "grad_norm"}


def test_a_step_averages_the_new_parameters():
    step = optim.train_step(constant_loss, optax.sgd(1.0), ema_decay=0.5)
    state, average = TrainState.create({"w": jnp.float32(5)}, optax.sgd(1.0)), 5.0
    for i in range(12):
        state, _ = step(KEY, i, state, ONE)
        d = min(0.5, (1 + i) / (10 + i))
        average = d * average + (1 - d) * (5 - i - 1)
    assert float(state.ema["w"]) == pytest.approx(average, rel=1e-5) and float(state.params["w"]) == -7


def test_a_fresh_state_holds_no_array_twice():
    """Such a state could not be donated."""
    state = TrainState.create({"w": jnp.ones(3)}, optim.adam())
    assert state.params["w"].unsafe_buffer_pointer() != state.ema["w"].unsafe_buffer_pointer()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"learning_rate": 0.0}, "model.learning_rate=0.0: must be a finite number above 0"),
        ({"learning_rate": float("nan")}, "model.learning_rate=nan: must be a finite number above 0"),
        ({"learning_rate": float("inf")}, "model.learning_rate=inf: must be a finite number above 0"),
        ({"ema_decay": 1.0}, "model.ema_decay=1.0: must be at least 0 and below 1"),
        ({"warmup": -1}, "model.warmup=-1: must not be negative"),
        ({"clip": 0.0}, "model.clip=0.0: must be above 0"),
        ({"clip": float("nan")}, "model.clip=nan: must be above 0"),
    ],
)
def test_rates_with_which_nothing_is_learnt_are_refused(fields, message):
    with pytest.raises(InputError, match=message):
        optim.check_rates(**{"learning_rate": 0.1, "ema_decay": 0.9, **fields})
    optim.check_rates(0.1, 0.0, 0, None)
    jax.jit(lambda rate: optim.check_rates(rate, rate, rate, rate))(-1.0)  # several at once, in a search


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda params, key, batch: (params["w"],), r"^loss: makes 'loss' of shape \(\); it must make \(2,\)"),
        (lambda params, key, batch: ((params["w"] - batch.x)[:, None],), r"^loss: makes 'loss' of shape \(2, 1\)"),
        (lambda params, key, batch: (params["w"] - batch.x, {"kl": params["w"]}), r"^loss: makes 'kl' of shape \(\)"),
    ],
)
def test_a_loss_that_is_not_per_example_is_refused(loss, message):
    with pytest.raises(InputError, match=message):
        optim.mean_grad(loss)({"w": jnp.float32(1)}, KEY, ONE)
