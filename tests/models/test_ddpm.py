"""Diffusion against closed forms: the network is replaced by functions whose answers are known."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats
from one_pixel import MEANS, PIXEL, STD, amplitudes, answering, batch, gaussian, network, signal, state

from synthjax.errors import InputError
from synthjax.model import Batch, DataSpec
from synthjax.models import ddpm
from synthjax.nets import diffusion, unet
from synthjax.train import optim

# --- the chain ---------------------------------------------------------------------------------------------------


def test_linear_schedule():
    a, product = signal(ddpm.Config(schedule="linear")), 1.0
    assert len(a) == 1001 and a[0] == 1
    for t in range(1, 1001):
        product *= 1 - (1e-4 + (t - 1) * (0.02 - 1e-4) / 999)
        assert a[t] ** 2 == pytest.approx(product, rel=1e-9)


def test_cosine_schedule():
    a = signal(ddpm.Config())
    t = np.arange(996)  # the last betas are cut off at 0.999
    f = np.cos((t / 1000 + 0.008) / 1.008 * np.pi / 2) ** 2
    np.testing.assert_allclose(a[:996] ** 2, f / f[0], rtol=1e-9)
    assert a[-1] > 0


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
@pytest.mark.parametrize("timesteps", [1, 20, 1000])
def test_signal_falls_from_one(schedule, timesteps):
    a = diffusion.signal(schedule, timesteps)
    assert a.shape == (timesteps + 1,) and a[0] == 1
    assert (np.diff(a) < 0).all() and a[-1] > 0


@pytest.mark.parametrize(("s", "t"), [(100, 101), (3, 500), (500, 900), (0, 10)])
def test_posterior_is_bayes_rule(s, t):
    """q(x_s | x_t, x_0) is proportional to q(x_t | x_s) q(x_s | x_0), here multiplied out on a grid."""
    a = signal(ddpm.Config())
    x_0, x_t = 0.7, -0.4
    levels = diffusion.levels("cosine", 1000)
    c_0, c_t, variance = (float(v) for v in diffusion.posterior(levels.at(jnp.int32(s)), levels.at(jnp.int32(t))))
    if s == 0:
        assert (c_0, c_t, variance) == pytest.approx((1, 0, 0), abs=1e-6)
        return
    x_s = np.linspace(-6, 6, 200_001)
    ratio = a[t] / a[s]
    density = scipy.stats.norm.pdf(x_t, ratio * x_s, np.sqrt(1 - ratio**2))
    density *= scipy.stats.norm.pdf(x_s, a[s] * x_0, np.sqrt(1 - a[s] ** 2))
    density /= density.sum()
    mean = density @ x_s
    assert c_0 * x_0 + c_t * x_t == pytest.approx(mean, abs=2e-4)
    assert variance == pytest.approx(density @ (x_s - mean) ** 2, rel=2e-3)


@pytest.mark.parametrize("prediction", ["v", "eps"])
def test_the_loss_has_its_target(prediction):
    """A network that knows the image makes no error; one that says 0 is left with the target's power."""
    config = ddpm.Config(prediction=prediction, label_dropout=0.0)
    x = np.full((512, 1, 1, 1), 0.25)
    losses = []
    for f in (answering(config, lambda x_t, a, s, y: 0.25), lambda x_t, t, y: jnp.zeros_like(x_t)):
        losses.append(_losses(config, f, batch(x, np.zeros(512, np.int32))))
    np.testing.assert_allclose(losses[0], 0, atol=1e-5)
    a = signal(config)[1:]
    power = np.mean(a**2 + (1 - a**2) * 0.25**2) if prediction == "v" else 1.0
    assert losses[1].mean() == pytest.approx(power, rel=0.2)


def _losses(config, f, batch, spec=PIXEL, seed=0):
    """The losses of one training step, which `model` hands to the gradient that it is given."""
    found = {}

    def grad(loss):
        def zero(params, key, batch):
            found["losses"] = loss(params, key, batch).losses
            return optim.Gradient(jax.tree.map(jnp.zeros_like, params), {})

        return zero

    model = ddpm.model(config, spec, net=network(f), grad=grad)
    model.step(jax.random.key(seed), 0, model.init(jax.random.key(0)), batch)
    return np.asarray(found["losses"])


@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_labels_are_dropped_for_guidance(share):
    """The network repeats its label, so that the loss says which one it got: 1, or 2 for none."""
    config = ddpm.Config(prediction="eps", label_dropout=share)
    rows = batch(np.zeros((2000, 1, 1, 1)), np.ones(2000, np.int32))
    losses = _losses(config, lambda x_t, t, y: 100.0 * y.reshape(-1, 1, 1, 1), rows)
    dropped = np.sqrt(losses) > 150
    assert abs(dropped.mean() - share) < 0.05
    assert set(np.round(np.sqrt(losses) / 100).astype(int)) <= {1, 2}


@pytest.mark.parametrize("prediction", ["v", "eps"])
def test_predictions_of_image_and_noise_make_up_the_noisy_image(prediction):
    """With the real network, its parameters moved off their zeros."""
    config = ddpm.Config(width=16, multipliers=(1,), blocks=(1,), prediction=prediction)
    spec = DataSpec("image", (4, 4, 1), classes=("a", "b"))
    net = unet.network(config, spec)
    x_t, y = jax.random.normal(jax.random.key(1), (3, 4, 4, 1)), jnp.array([0, 1, 2])
    t = jnp.array([5, 500, 900])
    a, s = amplitudes(config, t / 1000)

    @jax.jit
    def predict(key):
        params = jax.tree.map(lambda p: p + 0.05, net.init(key))
        return ddpm._Diffusion(config, spec, net).predict(params, x_t, t, y)

    out, clean = predict(jax.random.key(0))
    noise = (x_t - a * clean) / s
    assert np.abs(out).min() > 1e-3
    np.testing.assert_allclose(a * noise - s * clean if prediction == "v" else noise, out, atol=1e-4)


# --- parts of one's own ------------------------------------------------------------------------------------------


def test_a_network_of_another_shape_is_named():
    halved = network(lambda x_t, t, y: x_t[..., 0])
    with pytest.raises(InputError, match=r"^net: makes an array of shape \(2, 1, 1\) .* it must make \(2, 1, 1, 1\)$"):
        ddpm.model(ddpm.Config(), PIXEL, net=halved)
    with pytest.raises(
        InputError, match=r"^net: cannot be applied to inputs of shapes \(2, 1, 1, 1\), \(2,\), \(2,\): "
    ):
        ddpm.model(ddpm.Config(), PIXEL, net=network(lambda x_t, t, y: x_t @ jnp.zeros((7, 7))))


def test_an_optimiser_and_a_loss_of_ones_own():
    """Plain gradient descent at rate 1/2 on (w - mean x)^2 is there after one step."""

    def loss(params, key, batch):
        return (params["w"] - batch.x[:, 0, 0, 0]) ** 2, {}

    net = network(lambda x_t, t, y: x_t)
    model = ddpm.model(ddpm.Config(), PIXEL, net=net, optimiser=optax.sgd(0.5), loss=loss)
    rows = batch(np.array([1.0, 2.0, 6.0]).reshape(3, 1, 1, 1), np.zeros(3, np.int32))
    state, metrics = model.step(jax.random.key(0), 0, model.init(jax.random.key(1)), rows)
    assert float(state.params["w"]) == pytest.approx(3.0)
    assert "learning_rate" not in metrics and float(metrics["loss"]) == pytest.approx(41 / 3)


# --- sampling ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_one_step_of_the_sampler(eta):
    """From x_t ~ N(0, 1) with x_0 known: at eta = 1 the posterior's mean and variance, below it Song et al.'s."""
    a_s, a_t, x_0 = 0.8, 0.5, 0.6
    a = np.array([a_s, a_t], np.float32)  # the chain ends at s instead of at 0
    levels = diffusion.Level(a, np.sqrt(1 - a**2))
    key_start, key = jax.random.split(jax.random.key(0))
    start = jax.random.normal(key_start, (100_000, 1))
    x = diffusion.Solver(levels, 1, eta, 1).run(key, start, lambda x_t, t: jnp.full_like(x_t, x_0))
    c_0, c_t, variance = map(float, diffusion.posterior(levels.at(jnp.int32(0)), levels.at(jnp.int32(1))))
    sigma2 = eta**2 * variance
    mean = a_s * x_0 - np.sqrt(1 - a_s**2 - sigma2) * a_t * x_0 / np.sqrt(1 - a_t**2)
    spread = (1 - a_s**2 - sigma2) / (1 - a_t**2) + sigma2
    if eta == 1:
        assert (mean, spread) == pytest.approx((c_0 * x_0, c_t**2 + variance))
    assert np.mean(x) == pytest.approx(mean, abs=0.01)
    assert np.var(x) == pytest.approx(spread, rel=0.02)


@pytest.mark.parametrize(
    ("prediction", "eta", "order"), [("v", 0.0, 2), ("v", 1.0, 1), ("eps", 0.0, 1), ("eps", 1.0, 2)]
)
def test_a_perfect_network_samples_the_data(prediction, eta, order):
    labels = np.arange(20_000, dtype=np.int32) % 2
    x = _drawn(ddpm.Config(prediction=prediction), labels, steps=1000, eta=eta, order=order)
    for label, mean in enumerate(MEANS):
        mine = x[labels == label]
        assert mine.mean() == pytest.approx(mean, abs=0.006)
        assert mine.std() == pytest.approx(STD, rel=0.03)
        assert scipy.stats.kurtosis(mine) == pytest.approx(0, abs=0.15)


def _drawn(config, labels, **options):
    """One-pixel images, drawn with the perfect network."""
    model = ddpm.model(config, PIXEL, net=network(answering(config, gaussian)))
    sample = jax.jit(lambda key: model.sample(key, state(), jnp.asarray(labels), **options))
    return np.asarray(sample(jax.random.key(0))).ravel()


def test_the_order_is_that_of_the_error(monkeypatch):
    """Twice the steps divide the error by 2^order. The chain ends before t = 0, where its ODE is singular."""
    whole = diffusion.signal
    monkeypatch.setattr(diffusion, "signal", lambda *form: 0.95 * whole(*form))
    config, labels = ddpm.Config(), np.zeros(2000, np.int32)
    solution = _drawn(config, labels, steps=1000, order=1)

    def error(order, steps):
        return np.abs(_drawn(config, labels, steps=steps, order=order) - solution).mean()

    first, second = error(1, 15), error(2, 15)
    assert second < first / 3
    assert first / error(1, 30) == pytest.approx(2, rel=0.2)
    assert second / error(2, 30) > 3.5


def _labelled():
    config = ddpm.Config()
    return ddpm.model(
        config, PIXEL, net=network(answering(config, lambda x_t, a, s, y: jnp.array([0.1, 0.3, 0.05])[y]))
    )


def test_guidance_weighs_against_no_label():
    model = _labelled()
    labels = jnp.array([0, 1, 1])

    def drawn(w):
        return np.asarray(model.sample(jax.random.key(0), state(), labels, steps=5, guidance=w)).ravel()

    np.testing.assert_allclose(drawn(0.0), [0.1, 0.3, 0.3], atol=1e-4)
    np.testing.assert_allclose(drawn(2.0), [0.2, 0.8, 0.8], atol=1e-4)  # 3 f(x, y) - 2 f(x, none)
    np.testing.assert_allclose(drawn(9.0), [0.55, 1.0, 1.0], atol=1e-4)  # clipped


def test_options_may_be_traced():
    """Under jit and vmap they give what plain numbers give."""
    model, labels = _labelled(), jnp.array([0, 1, 1])

    def drawn(steps, eta, guidance):
        return model.sample(jax.random.key(0), state(), labels, steps=steps, eta=eta, guidance=guidance)

    steps, etas, weights = jnp.array([1, 5, 20]), jnp.array([0.0, 0.5, 1.0]), jnp.array([0.0, 2.0, -1.0])
    together = jax.jit(jax.vmap(drawn))(steps, etas, weights)
    for found, *options in zip(together, (1, 5, 20), (0.0, 0.5, 1.0), (0.0, 2.0, -1.0), strict=True):
        np.testing.assert_allclose(found, drawn(*options), atol=1e-5)
    many = [_drawn(ddpm.Config(), np.zeros(50, np.int32), steps=9, eta=eta) for eta in (0.0, jnp.float32(0.0))]
    np.testing.assert_allclose(*many, atol=1e-5)  # at second order


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_given_pixels_stay(eta):
    spec = DataSpec("image", (4, 4, 1), classes=("a",))
    config = ddpm.Config()
    model = ddpm.model(config, spec, net=network(answering(config, lambda x_t, a, s, y: jnp.tanh(x_t))))
    mask = np.zeros((4, 4, 1), bool)
    mask[:2] = True
    known = np.linspace(-1, 1, 16, dtype=np.float32).reshape(4, 4, 1)
    x = model.sample(jax.random.key(0), state(), jnp.zeros(3, jnp.int32), steps=4, eta=eta, given=(mask, known))
    np.testing.assert_allclose(x[:, :2], np.broadcast_to(known[:2], (3, 2, 4, 1)), atol=1e-6)
    assert np.abs(np.asarray(x[:, 2:]) - known[2:]).min() > 1e-4
    assert len(np.unique(np.asarray(x[:, 3]))) == 12


# --- what is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"width": 24}, "model.width=24: must be a positive multiple of 16"),
        ({"blocks": (1,)}, r"model.blocks=\(1,\)"),
        ({"sample_steps": 0}, "model.sample_steps=0"),
        ({"sample_steps": 11, "timesteps": 10}, "timesteps=10"),
    ],
)
def test_a_bad_config_is_named(fields, message):
    with pytest.raises(InputError, match=message):
        ddpm.build(ddpm.Config(**fields), PIXEL)


def test_tables_are_refused():
    with pytest.raises(InputError, match="a table of 3 values a row"):
        ddpm.build(ddpm.Config(), DataSpec("table", (3,), 0))


def test_sampling_steps_out_of_range_are_refused():
    model = ddpm.model(ddpm.Config(timesteps=10, sample_steps=5), PIXEL, net=network(lambda x_t, t, y: x_t))
    with pytest.raises(InputError, match="sample.steps=11: must be in 1 ... timesteps=10"):
        model.sample(jax.random.key(0), state(), jnp.zeros(1, jnp.int32), steps=11)
    with pytest.raises(InputError, match="sample.order=3: must be 1 or 2"):
        model.sample(jax.random.key(0), state(), jnp.zeros(1, jnp.int32), order=3)


@pytest.mark.parametrize(
    ("shape", "classes"), [((8, 8, 1), ("a", "b")), ((28, 28, 1), ()), ((32, 32, 3), ("a",)), ((7, 5, 2), ())]
)
def test_any_image_shape_labelled_or_not(shape, classes):
    spec = DataSpec("image", shape, classes=classes)
    model = ddpm.build(ddpm.Config(width=16), spec)
    assert model.conditional == bool(classes)
    like = Batch(
        *(jax.ShapeDtypeStruct((4, *s), kind) for s, kind in ((shape, "f4"), ((), "i4"), ((), "f4"), ((), "i4")))
    )
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    assert jax.eval_shape(model.sample, jax.random.key(0), shapes, like.y).shape == (4, *shape)
    assert jax.eval_shape(model.score, jax.random.key(0), shapes, like).shape == (4,)
