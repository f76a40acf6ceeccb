"""Flow matching and MeanFlow against closed forms: data of one pixel, normal in each class."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from synthjax.errors import InputError
from synthjax.model import Batch, DataSpec
from synthjax.models import flow
from synthjax.nets.network import Network
from synthjax.train import optim
from synthjax.train.optim import TrainState

PIXEL = DataSpec("image", (1, 1, 1), levels=17, classes=("low", "high"), frequencies=(0.5, 0.5))
MEANS, STD = np.array([-0.3, 0.4]), 0.15
PLAIN, MEAN = flow.PRESETS["flow"], flow.PRESETS["meanflow"]


def network(f):
    """A network that is f(x_t, t, t - r, y), all (B, 1, 1, 1)."""

    def apply(params, x, times, y):
        return f(x, *(a.reshape(-1, 1, 1, 1) for a in (*times.T, y))) + params["w"]

    return Network(lambda key: {"w": jnp.zeros(())}, apply)


def variance(t):
    return (1 - t) ** 2 * STD**2 + t**2


def exact(x, t, gap, y):
    """The mean velocity of normal data: x_t keeps its quantile, and v is its derivative, the limit for r = t."""
    mean = jnp.asarray(MEANS)[jnp.minimum(y, 1)]
    r, centred = t - gap, x - (1 - t) * mean
    moved = (1 - r) * mean + jnp.sqrt(variance(r) / variance(t)) * centred
    velocity = -mean + (t - (1 - t) * STD**2) / variance(t) * centred
    return jnp.where(gap > 1e-6, (x - moved) / jnp.maximum(gap, 1e-6), velocity)


def state():
    params = {"w": jnp.zeros(())}
    return TrainState(params, params, None)


def batch(x, y):
    count = len(x)
    return Batch(jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.int32), jnp.ones(count), jnp.arange(count))


LABELS = np.arange(2000) % 2


@pytest.mark.parametrize("steps", [1, 2, 4, 20])
def test_the_exact_mean_velocity_samples_exactly_in_any_number_of_steps(steps):
    model = flow.model(MEAN, PIXEL, net=network(exact))
    x = model.sample(jax.random.key(0), state(), LABELS, steps=steps)
    noise = jax.random.normal(jax.random.key(0), (2000, 1, 1, 1))
    np.testing.assert_allclose(x.ravel(), MEANS[LABELS] + STD * noise.ravel(), atol=2e-5)


def test_heuns_method_is_of_second_order():
    model = flow.model(PLAIN, PIXEL, net=network(exact))
    noise = jax.random.normal(jax.random.key(0), (2000, 1, 1, 1)).ravel()
    errors = []
    for steps in (20, 40, 80):
        x = model.sample(jax.random.key(0), state(), LABELS, steps=steps).ravel()
        errors.append(np.abs(x - (MEANS[LABELS] + STD * noise)).max())
    assert errors[0] < 0.05
    assert errors[0] / errors[1] > 2.8 and errors[1] / errors[2] > 2.8  # 4 in the limit


def losses(config, f, rows, seed=0):
    """The losses of one training step, and their terms."""
    found = {}

    def grad(loss):
        def zero(params, key, batch):
            found["losses"] = loss(params, key, batch)
            return optim.Gradient(jax.tree.map(jnp.zeros_like, params), {})

        return zero

    model = flow.model(config, PIXEL, net=network(f), grad=grad)
    model.step(jax.random.key(seed), 0, model.init(jax.random.key(0)), rows)
    return found["losses"]


def test_the_exact_velocity_has_the_smallest_flow_matching_loss():
    """It is the conditional mean, so the loss of any other function is larger by its squared distance."""
    rng = np.random.default_rng(0)
    y = np.arange(20_000) % 2
    rows = batch((MEANS[y] + STD * rng.normal(size=20_000)).reshape(-1, 1, 1, 1), y)
    config = dataclasses.replace(PLAIN, label_dropout=0.0)
    best = np.asarray(losses(config, exact, rows).losses)
    other = np.asarray(losses(config, lambda *inputs: exact(*inputs) + 0.3, rows).losses)
    gap = other - best
    assert abs(gap.mean() - 0.09) < 4 * gap.std() / np.sqrt(len(gap))


def test_the_target_is_the_identity_of_mean_flow_by_finite_differences():
    """For any network, the loss is |u - (v - (t - r) du/dt)|^2 with v = e - x; the network keeps what it is asked."""
    asked = {}

    def u(x, t, gap, y):
        if len(x) == 50:
            asked.setdefault("inputs", [getattr(a, "primal", a) for a in (x, t, gap, y)])
        return jnp.sin(3 * x) * (1 + t) + gap**2 * x

    config = dataclasses.replace(MEAN, mean_share=0.999, adaptive=0.0, label_dropout=0.0)
    rows = batch(np.linspace(-1, 1, 50).reshape(-1, 1, 1, 1), np.zeros(50))
    with jax.disable_jit():
        found = losses(config, u, rows)
    x_t, t, gap, y = asked["inputs"]
    direction = (x_t - rows.x) / t  # x_t = x + t (e - x)
    h = 1e-3
    ahead = u(x_t + h * direction, t + h, gap + h, y)  # r stays
    behind = u(x_t - h * direction, t - h, gap - h, y)
    target = direction - gap * (ahead - behind) / (2 * h)
    expected = (u(x_t, t, gap, y) - target) ** 2
    np.testing.assert_allclose(found.losses, np.asarray(expected).ravel(), rtol=2e-2, atol=1e-3)


def test_the_gradient_does_not_pass_through_the_target():
    """With a constant added to the network, the target does not move: the gradient of the loss is 2 (u - target)."""
    config = dataclasses.replace(MEAN, mean_share=0.9, adaptive=0.0)
    rows = batch(np.zeros((64, 1, 1, 1)), np.zeros(64))
    gradients = []

    def grad(loss):
        def function(params, key, batch):
            gradients.append(jax.grad(lambda p: loss(p, key, batch).losses.sum())(params)["w"])
            gradients.append(loss({"w": params["w"] + 0.5}, key, batch).losses - loss(params, key, batch).losses)
            return optim.Gradient(jax.tree.map(jnp.zeros_like, params), {})

        return function

    model = flow.model(config, PIXEL, net=network(lambda x, t, gap, y: 0 * x), grad=grad)
    model.step(jax.random.key(0), 0, model.init(jax.random.key(0)), rows)
    np.testing.assert_allclose(gradients[1].sum(), 0.5 * gradients[0] + 64 * 0.25, rtol=1e-4)


def test_times_are_ordered_and_equal_in_the_rest():
    flow_ = flow._Flow(dataclasses.replace(MEAN, mean_share=0.3), PIXEL, network(exact))
    r, t = flow_.times(jax.random.key(0), 20_000)
    assert (r <= t).all() and (r > 0).all() and (t < 1).all()
    assert abs((r < t).mean() - 0.3) < 4 * np.sqrt(0.3 * 0.7 / 20_000)
    logits = np.log(t[r == t] / (1 - t[r == t]))
    assert abs(logits.mean()) < 0.1 and abs(logits.std() - 2) < 0.1


def test_weights_even_out_the_errors():
    rows = batch(np.linspace(-1, 1, 64).reshape(-1, 1, 1, 1), np.zeros(64))
    found = losses(dataclasses.replace(PLAIN, adaptive=1.0), lambda x, t, gap, y: 5 * x, rows)
    error = np.asarray(found.terms["error"])
    np.testing.assert_allclose(found.losses, error / (error + 1e-3), rtol=1e-5)


def test_guidance_is_the_extrapolation_away_from_no_label():
    def f(x, t, gap, y):
        return jnp.asarray([1.0, 2.0, 10.0])[y.astype(int)] * jnp.ones_like(x)

    model = flow.model(MEAN, PIXEL, net=network(f))
    noise = jax.random.normal(jax.random.key(0), (2, 1, 1, 1)).ravel()
    x = model.sample(jax.random.key(0), state(), np.array([0, 1]), steps=1, guidance=0.1).ravel()
    np.testing.assert_allclose(x, np.clip(noise - (1.1 * np.array([1.0, 2.0]) - 0.1 * 10), -1, 1), rtol=1e-5)


@pytest.mark.parametrize("config", [PLAIN, MEAN])
def test_given_pixels_stay(config):
    spec = DataSpec("image", (2, 2, 1), levels=17, classes=("a", "b"), frequencies=(0.5, 0.5))
    model = flow.model(config, spec, net=network(lambda x, t, gap, y: 0.3 * x))
    mask = np.array([[True, False], [False, True]])[..., None]
    x = model.sample(jax.random.key(0), state(), LABELS[:6], steps=3, given=(mask, np.full((2, 2, 1), 0.25)))
    np.testing.assert_allclose(np.asarray(x)[:, mask], 0.25, atol=1e-6)
    assert np.asarray(x)[:, ~mask].std() > 0.1


def test_a_trained_network_samples_in_one_step():
    """A small network of one's own on one normal pixel: mean and spread of samples of a single step."""

    def init(key):
        keys = jax.random.split(key, 3)
        sizes = [(5, 64), (64, 64), (64, 1)]
        return [jax.random.normal(k, size) / np.sqrt(size[0]) for k, size in zip(keys, sizes, strict=True)]

    def apply(params, x, times, y):
        h = jnp.concatenate([x.reshape(-1, 1), times, jax.nn.one_hot(y, 2)], axis=1)
        for w in params[:-1]:
            h = jnp.tanh(h @ w)
        return (h @ params[-1]).reshape(x.shape)

    config = dataclasses.replace(
        MEAN, mean_share=0.5, adaptive=0.0, steps=5000, warmup=20, learning_rate=1e-2, ema_decay=0.99
    )
    model = flow.model(config, PIXEL, net=Network(init, apply))
    rng = np.random.default_rng(0)

    @jax.jit
    def train(state, x):
        def one(state, inputs):
            i, x = inputs
            rows = Batch(x, jnp.arange(256) % 2, jnp.ones(256), jnp.arange(256))
            return model.step(jax.random.fold_in(jax.random.key(1), i), i, state, rows)[0], None

        return jax.lax.scan(one, state, (jnp.arange(config.steps), x))[0]

    x = MEANS[np.arange(256) % 2] + STD * rng.normal(size=(config.steps, 256))
    trained = train(model.init(jax.random.key(0)), jnp.asarray(x.reshape(-1, 256, 1, 1, 1), jnp.float32))
    for steps in (1, 2):
        drawn = np.asarray(model.sample(jax.random.key(2), trained, LABELS, steps=steps)).ravel()
        for label in (0, 1):
            part = drawn[label == LABELS]
            assert abs(part.mean() - MEANS[label]) < 0.03
            assert abs(part.std() - STD) < 0.03


@pytest.mark.parametrize(
    "field, value",
    [("width", 10), ("blocks", (1,)), ("folding", 0), ("mean_share", 1.0), ("adaptive", -1.0), ("sample_steps", 0)],
)
def test_bad_settings_are_refused_by_name(field, value):
    with pytest.raises(InputError, match=f"model.{field}="):
        flow.Config(**{field: value})


def test_tables_and_no_steps_are_refused():
    with pytest.raises(InputError, match="model flow makes images; the data is a table"):
        flow.build(PLAIN, DataSpec.from_arrays(np.zeros((4, 3))))
    with pytest.raises(InputError, match="sample.steps=0: must be at least 1"):
        flow.model(PLAIN, PIXEL, net=network(exact)).sample(jax.random.key(0), state(), LABELS, steps=0)
