"""The RBM's gradients against the exact one, its samples and score against enumeration of a machine small enough."""

import functools

import brute
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from compiled import compiled

from synthjax.errors import InputError
from synthjax.gibbs import partition
from synthjax.gibbs.machine import Params
from synthjax.model import Batch, DataSpec
from synthjax.models import rbm

ROWS = np.random.default_rng(5).integers(0, 2, (8, 2, 2, 1))
IMAGE = DataSpec("image", (2, 2, 1), 2, ("a", "b", "c"), (0.5, 0.25, 0.25)).measured(ROWS)
COLOUR = DataSpec("image", (2, 1, 3), levels=256, classes=("a", "b"), frequencies=(0.5, 0.5))
PLAIN = {"hidden": 3, "momentum": (0.0, 0.0), "weight_decay": 0.0, "centred": False, "learning_rate": 1.0, "warmup": 0}


def images(count, spec=IMAGE, seed=0):
    rng = np.random.default_rng(seed)
    white = rng.random((count, *spec.shape)) < np.linspace(0.2, 0.8, spec.dims).reshape(spec.shape)
    y = rng.integers(0, spec.n_classes, count)
    rows = np.arange(count, dtype=np.int32)
    return Batch(np.float32(2 * white - 1), np.int32(y), np.ones(count, np.float32), rows)


@functools.cache
def built(scale=0.6, **fields):
    """(model, state with parameters of `brute.params`, machine)."""
    config = rbm.Config(**{**PLAIN, **fields})
    model, (machine, _) = compiled(rbm.build(config, IMAGE)), rbm.architecture(config, IMAGE)
    state = model.init(jax.random.key(0))
    params = brute.params(machine, 1, scale)
    params = params._replace(weights=(params.weights[0], 3 * params.weights[1]))  # for labels that matter
    return model, state._replace(params=params, ema=params), machine


def exact_gradient(machine, params: Params, batch: Batch) -> Params:
    """Of the mean of -log p(v, y), the partition function by enumeration."""
    v = (batch.x.reshape(len(batch.x), -1) + 1) / 2
    layers = (v, jnp.zeros((len(v), 3)), jax.nn.one_hot(batch.y, 3))

    def loss(params):
        return machine.free_energy(params, layers).mean() + partition.log_z(machine, params)

    return jax.jit(jax.grad(loss))(params)


# --- training ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"algorithm": "cd", "k": 40},
        {"algorithm": "pcd", "k": 40, "chains": 40_000},
        {"algorithm": "pt", "k": 40, "chains": 15_000, "replicas": 3},
    ],
    ids=["cd", "pcd", "pt"],
)
def test_with_chains_that_have_mixed_the_gradient_is_the_exact_one(fields):
    """The step's move is minus the gradient: rate 1, no momentum."""
    model, state, machine = built(**fields)
    batch = images(15_000 if fields["algorithm"] == "cd" else 2_000)
    new, _ = model.step(jax.random.key(1), 0, state, batch)
    moved = jax.tree.map(lambda a, b: np.asarray(a) - b, state.params, new.params)
    expected = exact_gradient(machine, state.params, batch)
    for a, b in zip((*moved.weights, *moved.biases), (*expected.weights, *expected.biases), strict=True):
        np.testing.assert_allclose(a, b, atol=0.015)
    largest = max(np.abs(a).max() for a in expected.weights)
    assert largest > 0.1


@pytest.mark.parametrize("fields", [{"algorithm": "pcd"}, {"algorithm": "cd", "k": 5, "centred": False}])
def test_training_raises_the_exact_likelihood(fields):
    """Noisy patterns, one a class: -log p falls from that of independent units to near the entropy of the data."""
    batch = images(500)
    pattern = np.array([[1, 1, -1, -1], [-1, -1, 1, 1], [1, -1, 1, -1]], np.float32)[batch.y]
    batch = batch._replace(x=np.float32(0.8) * pattern.reshape(-1, 2, 2, 1))
    entropy = np.log(3) - 4 * (0.9 * np.log(0.9) + 0.1 * np.log(0.1))
    config = rbm.Config(hidden=6, learning_rate=0.1, steps=1000, weight_decay=0.0, chains=200, **fields)
    model, (machine, _) = rbm.build(config, IMAGE), rbm.architecture(config, IMAGE)

    @jax.jit
    def train(state, batch):
        def body(i, state):
            return model.step(jax.random.fold_in(jax.random.key(3), i), i, state, batch)[0]

        return jax.lax.fori_loop(0, 1000, body, state)

    @jax.jit
    def loss(state):
        return model.score(jax.random.key(0), state, batch).mean() + partition.log_z(machine, state.ema)

    start = jax.jit(model.init)(jax.random.key(3))
    before, after = (float(loss(state)) for state in (start, train(start, batch)))
    assert before > entropy + 0.9 and entropy - 0.1 < after < entropy + 0.5, (entropy, before, after)


def test_a_run_that_blows_up_says_where():
    model, state, _ = built(algorithm="cd")
    weights = (state.params.weights[0], np.asarray(state.params.weights[1]) + np.float32(1e4))
    state = state._replace(params=state.params._replace(weights=weights))
    _, metrics = model.step(jax.random.key(0), 0, state, images(8))
    assert np.isinf(metrics["norm_hidden_1_to_labels"]) and np.isfinite(metrics["norm_pixels_to_hidden_1"])


# --- sampling and score ------------------------------------------------------------------------------------------


def conditional(machine, params, label: int) -> np.ndarray:
    """p(v | y = label) of the 16 images, first pixel the highest bit."""
    states, p = brute.states(machine), brute.probabilities(machine, params)
    number = (states[0] @ [8, 4, 2, 1]).astype(int)
    found = np.bincount(number[states[2][:, label] == 1], p[states[2][:, label] == 1], minlength=16)
    return found / found.sum()


def frequencies(x) -> np.ndarray:
    white = (np.asarray(x).reshape(len(x), 4) > 0).astype(int)
    return np.bincount(white @ [8, 4, 2, 1], minlength=16) / len(x)


@pytest.mark.parametrize("options", [{}, {"anneal": 0, "steps": 40}, {"chains": 4000, "thin": 10}])
def test_samples_have_the_distribution_given_the_label(options):
    model, state, machine = built()
    for label in (0, 2):
        x = model.sample(jax.random.key(label), state, np.full(20_000, label), mean=False, **{"steps": 20, **options})
        expected = conditional(machine, state.ema, label)
        assert set(np.unique(x)) == {-1, 1}
        assert 0.5 * np.abs(frequencies(x) - expected).sum() < 0.02


def test_given_pixels_stay_and_the_others_follow_them():
    model, state, machine = built()
    mask = np.array([True, False, False, True]).reshape(2, 2, 1)
    x = np.array([1, 0, 0, -1], np.float32).reshape(2, 2, 1)
    drawn = model.sample(jax.random.key(0), state, np.ones(20_000, int), mean=False, steps=20, given=(mask, x))
    assert (np.asarray(drawn)[:, 0, 0] == 1).all() and (np.asarray(drawn)[:, 1, 1] == -1).all()
    expected = conditional(machine, state.ema, 1)
    fits = (np.arange(16) & 0b1001) == 0b1000
    expected = np.where(fits, expected, 0) / expected[fits].sum()
    assert 0.5 * np.abs(frequencies(drawn) - expected).sum() < 0.02


def test_means_are_the_expectation_of_draws():
    model, state, _ = built()
    labels = np.zeros(20_000, int)
    mean, drawn = (np.asarray(model.sample(jax.random.key(0), state, labels, steps=10, mean=m)) for m in (True, False))
    np.testing.assert_allclose(mean.mean(axis=0), drawn.mean(axis=0), atol=0.03)
    assert np.abs(mean).max() < 1


def test_the_mean_field_method_is_algorithm_1():
    """By hand, in NumPy, from the same start: V = sigmoid(W H + b), H = sigmoid(W' V + a), with labels clamped."""
    model, state, _ = built()
    x = np.asarray(model.sample(jax.random.key(0), state, np.ones(500, int), method="mean_field", steps=50))
    w, u = (np.asarray(a) for a in state.ema.weights)
    b, a, _ = (np.asarray(a) for a in state.ema.biases)
    h = np.random.default_rng(0).normal(size=(500, 3))
    for _ in range(50):
        v = scipy.special.expit(h @ w.T + b)
        h = scipy.special.expit(v @ w + a + u[:, 1])
    # Both end in the fixed points of the same map: each one's images are among the other's.
    ours, theirs = x.reshape(500, 4), 2 * v - 1
    for one, other in ((ours, theirs), (theirs, ours)):
        assert np.abs(one[:, None] - other[None]).max(-1).min(1).max() < 1e-3
    one_step = np.asarray(model.sample(jax.random.key(0), state, np.ones(500, int), method="mean_field", steps=1))
    assert one_step.std(axis=0).mean() > 0.05  # the Gaussian start still shows


def test_calls_and_chains_differ():
    model, state, _ = built()
    labels = np.zeros(64, int)
    one, other = (np.asarray(model.sample(jax.random.key(k), state, labels, mean=False)) for k in (0, 1))
    assert (one != other).any(axis=(1, 2, 3)).mean() > 0.5
    assert len(np.unique(one, axis=0)) > 4


def test_score_is_the_free_energy():
    model, state, machine = built()
    batch = images(6)
    states, minus = brute.states(machine), -brute.energy(state.ema, brute.states(machine))
    v = (np.asarray(batch.x).reshape(6, 4) + 1) / 2
    expected = []
    for row, label in zip(v, np.asarray(batch.y), strict=True):
        same = (states[0] == row).all(axis=1) & (states[2][:, label] == 1)
        expected.append(-scipy.special.logsumexp(minus[same]))
    np.testing.assert_allclose(model.score(jax.random.key(0), state, batch), expected, rtol=1e-4)


def test_colour_images_by_gaussian_units():
    config = rbm.Config(hidden=5, visible="gaussian", learning_rate=1e-3, k=1, chains=10, warmup=0)
    rng = np.random.default_rng(0)
    stored = np.uint8(np.clip(rng.normal(150, 50, (50, 2, 1, 3)), 0, 255))
    model = compiled(rbm.build(config, COLOUR.measured(stored)))
    state = model.init(jax.random.key(0))
    batch = images(50, COLOUR)._replace(x=COLOUR.encode(stored))
    x = stored.reshape(50, -1) / 127.5 - 1
    np.testing.assert_allclose(state.params.biases[0], x.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(np.exp(state.params.log_var), x.var(axis=0), rtol=1e-4)
    for i in range(2):
        state, metrics = model.step(jax.random.key(i), i, state, batch)
    assert np.isfinite(list(metrics.values())).all()
    drawn = np.asarray(model.sample(jax.random.key(1), state, np.zeros(2000, int), steps=5, anneal=5, mean=False))
    np.testing.assert_allclose(drawn.mean(axis=0), np.clip(np.asarray(batch.x), -1, 1).mean(axis=0), atol=0.1)


# --- bad input ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "spec", "message"),
    [
        ({"hidden": 0}, IMAGE, "model.hidden=0: must be at least 1"),
        ({"k": 0}, IMAGE, "model.k=0: must be at least 1"),
        ({"replicas": 1}, IMAGE, "model.replicas=1: must be at least 2"),
        ({"sparsity_target": 0.0}, IMAGE, "model.sparsity_target=0.0"),
        ({"sparsity_cost": -1.0}, IMAGE, "model.sparsity_cost=-1.0: must not be negative"),
        ({"anneal": -1}, IMAGE, "model.anneal=-1: must not be negative"),
        ({}, COLOUR, "model.visible=bernoulli: images have 3 channels"),
        ({}, DataSpec("table", (3,), 0), "a table of 3 values a row"),
    ],
)
def test_a_bad_config_is_named(fields, spec, message):
    with pytest.raises(InputError, match=message):
        rbm.build(rbm.Config(**fields), spec)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "sample.steps=0"),
        ({"chains": -1}, "sample.chains=-1"),
        ({"method": "magic"}, "sample.method=magic: must be gibbs or mean_field"),
        ({"given": (jnp.ones((3, 2, 1)), jnp.ones((2, 2, 1)))}, r"given: mask of shape \(3, 2, 1\)"),
        ({"given": (jnp.ones((2, 2, 1)), jnp.ones((7, 2, 2, 1)))}, r"given: x of shape \(7, 2, 2, 1\)"),
    ],
)
def test_bad_sampling_options_are_named(options, message):
    model, state, _ = built()
    with pytest.raises(InputError, match=message):
        model.sample(jax.random.key(0), state, np.zeros(3, int), **options)


def test_without_labels_they_are_ignored():
    config = rbm.Config(**{**PLAIN, "conditional": False})
    model = compiled(rbm.build(config, IMAGE))
    assert not model.conditional
    state = model.init(jax.random.key(0))
    drawn = [model.sample(jax.random.key(0), state, np.full(9, y), steps=2, anneal=2) for y in (0, 1)]
    np.testing.assert_array_equal(*drawn)
