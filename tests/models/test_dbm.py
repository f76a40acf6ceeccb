"""The DBM's gradient and bound against enumeration, its phases, and its pre-training by hand."""

import functools
import itertools

import brute
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from compiled import compiled

from synthjax import sampling
from synthjax.errors import InputError
from synthjax.gibbs import partition
from synthjax.model import Batch, DataSpec
from synthjax.models import dbm

ROWS = np.random.default_rng(5).integers(0, 2, (8, 2, 2, 1))
IMAGE = DataSpec("image", (2, 2, 1), 2, ("a", "b"), (0.5, 0.5)).measured(ROWS)
PLAIN = {
    **{"hidden": (3, 2), "momentum": (0.0, 0.0), "weight_decay": 0.0, "centred": False, "learning_rate": 1.0},
    **{"pretraining": 0.0, "mean_field_steps": 30, "burn_in": 5, "chains": 4},
}


def images(count, seed=0):
    rng = np.random.default_rng(seed)
    white = rng.random((count, 2, 2, 1)) < 0.6
    y = rng.integers(0, 2, count)
    rows = np.arange(count, dtype=np.int32)
    return Batch(np.float32(2 * white - 1), np.int32(y), np.ones(count, np.float32), rows)


@functools.cache
def built(**fields):
    """(model, state with parameters of `brute.params`, machine)."""
    config = dbm.Config(**{**PLAIN, **fields})
    model, (machine, _) = compiled(dbm.build(config, IMAGE)), dbm.architecture(config, IMAGE)
    state = model.init(jax.random.key(0))
    params = brute.params(machine, 1, 0.7)
    return model, state._replace(params=params, ema=params), machine


def exact_score(machine, params, batch) -> np.ndarray:
    """-log p(v, y) - log Z by enumeration: (B,)."""
    states, minus = brute.states(machine), -brute.energy(params, brute.states(machine))
    v = (np.asarray(batch.x).reshape(len(batch.x), 4) + 1) / 2
    found = []
    for row, label in zip(v, np.asarray(batch.y), strict=True):
        same = (states[0] == row).all(axis=1) & (states[-1][:, label] == 1)
        found.append(-scipy.special.logsumexp(minus[same]))
    return np.array(found)


def test_score_is_a_bound_of_the_exact_likelihood():
    model, state, machine = built()
    batch = images(30)
    score, exact = np.asarray(model.score(jax.random.key(0), state, batch)), exact_score(machine, state.ema, batch)
    assert (score > exact - 1e-4).all() and (score < exact + 1).all()
    assert (score - exact).max() > 1e-3


def test_the_joint_gradient_is_that_of_the_bound():
    """E_q[dE] of the data with q as found, minus the exact expectation; chains that have mixed."""
    model, state, machine = built(joint_k=30, chains=20_000)
    batch = images(500)
    new, _ = model.step(jax.random.key(1), 0, state, batch)
    v = (batch.x.reshape(500, 4) + 1) / 2

    @jax.jit
    @jax.grad
    def gradient(params):
        q = machine.infer(state.params, v, jax.nn.one_hot(batch.y, 2), 30)
        return machine.energy(params, q).mean() + partition.log_z(machine, params)

    expected = gradient(state.params)
    moved = jax.tree.map(lambda a, b: np.asarray(a) - b, state.params, new.params)
    for a, b in zip((*moved.weights, *moved.biases), (*expected.weights, *expected.biases), strict=True):
        np.testing.assert_allclose(a, b, atol=0.015)
    assert max(np.abs(a).max() for a in expected.weights) > 0.1


def test_phases_train_the_layers_that_they_name():
    """steps = 10, 40 % greedy: two steps a layer, then all; the chains start when joint training does."""
    model, state, _ = built(pretraining=0.4, steps=10, pretraining_rate=0.5)
    batch, step = images(20), model.step
    for i, moving in enumerate([(0,), (0,), (1, 2), (1, 2), (0, 1, 2), (0, 1, 2)]):
        new, metrics = step(jax.random.key(i), i, state, batch)
        changed = [
            j
            for j, (a, b) in enumerate(zip(state.params.weights, new.params.weights, strict=True))
            if (np.asarray(a) != b).any()
        ]
        assert changed == list(moving), i
        assert any((np.asarray(a) != b).any() for a, b in zip(state.chains, new.chains, strict=True)) == (i >= 4)
        assert np.isfinite(list(metrics.values())).all()
        state = new
    rates = [float(step(jax.random.key(0), i, state, batch)[1]["learning_rate"]) for i in (3, 4, 7)]
    np.testing.assert_allclose(rates, [0.5, 1.0, 0.5], rtol=1e-6)


@pytest.mark.slow
def test_after_greedy_training_alone_it_is_a_whole_machine():
    """A run that stops there samples and scores with the couplings as they are."""
    model, state, machine = built(pretraining=0.5, steps=20, pretraining_rate=0.1, ema_decay=0.5)
    step = model.step
    for i in range(10):  # five steps a layer, no joint one
        state, _ = step(jax.random.key(i), i, state, images(20, i))
    batch = images(30)
    score, exact = np.asarray(model.score(jax.random.key(0), state, batch)), exact_score(machine, state.ema, batch)
    assert (score > exact - 1e-4).all() and (score < exact + 1).all()
    agrees_with_enumeration(model, state, machine)


@pytest.mark.parametrize(("top", "up", "down"), [(1, 2.0, 1.0), (2, 2.0, 2.0), (3, 1.0, 2.0)])
def test_greedy_layers_double_the_ways_that_lack_a_neighbour(top, up, down):
    """Against conditionals written out: means of many draws from one state."""
    config = dbm.Config(**{**PLAIN, "hidden": (3, 2, 2)})
    machine, _ = dbm.architecture(config, IMAGE)
    params = brute.params(machine, 2)
    greedy = dbm._GreedyRbm(machine, top, 3)
    own = greedy.restrict(params)
    count = 20_000
    below = np.tile(np.float32(np.arange(machine.sizes[top - 1]) % 2), (count, 1))
    label = (np.tile(np.float32([0, 1]), (count, 1)),) if top == 3 else ()
    layers = (below, np.zeros((count, machine.sizes[top]), np.float32), *label)
    w, b, c = (np.asarray(a) for a in (params.weights[top - 1], params.biases[top - 1], params.biases[top]))
    field = c + up * below[0] @ w + (np.asarray(params.weights[3])[:, 1] if top == 3 else 0)
    drawn = [np.asarray(x) for x in jax.jit(greedy.sweep)(jax.random.key(0), own, layers)]
    np.testing.assert_allclose(drawn[1].mean(axis=0), scipy.special.expit(field), atol=0.015)
    h = drawn[1]
    expected = scipy.special.expit(b + down * h @ w.T).mean(axis=0)
    np.testing.assert_allclose(drawn[0].mean(axis=0), expected, atol=0.015)
    if top == 3:
        logits = np.asarray(params.biases[4]) + h @ np.asarray(params.weights[3])
        np.testing.assert_allclose(
            drawn[2].mean(axis=0), scipy.special.softmax(logits, axis=1).mean(axis=0), atol=0.015
        )
    back = greedy.embed(own, params)
    for j, w in enumerate(back.weights):
        same = j == top - 1 or (top == 3 and j == 3)
        np.testing.assert_array_equal(w, params.weights[j] if same else np.zeros(w.shape))


def agrees_with_enumeration(model, state, machine):
    """Images of label 1 are as likely as the sum over all states that have it says."""
    states, p = brute.states(machine), brute.probabilities(machine, state.ema)
    number = (states[0] @ [8, 4, 2, 1]).astype(int)
    has = states[-1][:, 1] == 1
    expected = np.bincount(number[has], p[has], minlength=16) / p[has].sum()
    x = model.sample(jax.random.key(0), state, np.ones(20_000, int), mean=False, steps=30, anneal=5)
    white = (np.asarray(x).reshape(-1, 4) > 0).astype(int)
    found = np.bincount(white @ [8, 4, 2, 1], minlength=16) / len(white)
    assert 0.5 * np.abs(found - expected).sum() < 0.02


@pytest.mark.parametrize("half", [False, True])
def test_samples_have_the_distribution_given_the_label(half):
    agrees_with_enumeration(*built(half=half))


def test_without_labels_it_is_a_machine_of_pixels():
    """Score and samples against the sum over all hidden states; labels are not looked at."""
    model, state, machine = built(conditional=False)
    assert machine.units == ("bernoulli",) * 3 and not model.conditional
    states, p = brute.states(machine), brute.probabilities(machine, state.ema)
    number = (states[0] @ [8, 4, 2, 1]).astype(int)
    expected = np.bincount(number, p, minlength=16)
    x = model.sample(jax.random.key(0), state, np.ones(20_000, int), mean=False, steps=30, anneal=5)
    found = np.bincount((np.asarray(x).reshape(-1, 4) > 0) @ [8, 4, 2, 1], minlength=16) / len(x)
    assert 0.5 * np.abs(found - expected).sum() < 0.02
    batch, minus = images(30), -brute.energy(state.ema, states)
    rows = ((np.asarray(batch.x).reshape(30, 4) + 1) / 2) @ [8, 4, 2, 1]
    exact = np.array([-scipy.special.logsumexp(minus[number == row]) for row in rows.astype(int)])
    score = np.asarray(model.score(jax.random.key(0), state, batch))
    assert (score > exact - 1e-4).all() and (score < exact + 1).all()


def test_gaussian_pixels_are_a_mixture_with_a_part_for_each_hidden_state():
    """-E summed over h and integrated over v by hand: v given h is N(b + W h_1, s^2)."""
    config = dbm.Config(**{**PLAIN, "visible": "gaussian"})
    model, (machine, _) = compiled(dbm.build(config, IMAGE)), dbm.architecture(config, IMAGE)
    params, s = brute.params(machine, 1, 0.5), np.array([0.10, 0.12, 0.08, 0.11])
    b, w = np.array([0.1, -0.2, 0.0, 0.2]), np.random.default_rng(0).normal(0, 0.06, (4, 3))
    params = params._replace(
        weights=(jnp.float32(w), *params.weights[1:]),
        biases=(jnp.float32(b), *params.biases[1:]),
        log_var=jnp.float32(2 * np.log(s)),
    )
    state = model.init(jax.random.key(0))._replace(params=params, ema=params)
    one, two = (np.array(list(itertools.product((0.0, 1.0), repeat=n))) for n in (3, 2))
    first, second = (np.stack(part) for part in zip(*itertools.product(one, two), strict=True))
    (_, w_2, w_3), (_, b_1, b_2, b_3) = (
        [np.asarray(a, np.float64) for a in part] for part in (params.weights, params.biases)
    )
    hidden = first @ b_1 + second @ b_2 + ((first @ w_2) * second).sum(axis=1) + second @ w_3[:, 1] + b_3[1]
    means = b + first @ w.T
    p = scipy.special.softmax(hidden + ((means**2 - b**2) / (2 * s**2)).sum(axis=1))
    mean = p @ means
    covariance = (p[:, None] * (means - mean)).T @ (means - mean) + np.diag(s**2)

    drawn = model.sample(jax.random.key(0), state, np.ones(40_000, int), mean=False, steps=30, anneal=5)
    v = np.asarray(drawn, np.float64).reshape(-1, 4)
    np.testing.assert_allclose(v.mean(axis=0), mean, atol=0.003)
    np.testing.assert_allclose(np.cov(v.T), covariance, atol=6e-4)
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() > 1.5e-3

    batch = images(30)._replace(x=np.asarray(drawn)[:30], y=np.ones(30, np.int32))
    inside = hidden - ((v[:30, None] - b) ** 2 / (2 * s**2)).sum(axis=2) + (v[:30] / s**2) @ (first @ w.T).T
    exact = -scipy.special.logsumexp(inside, axis=1)
    score = np.asarray(model.score(jax.random.key(0), state, batch))
    assert (score > exact - 1e-3).all() and (score < exact + 1).all()


def test_pixels_that_are_not_given_have_their_distribution_given_the_others():
    """Through `sampling.draw`, which compiles: the left column is given, the right one against enumeration."""
    model, state, machine = built()
    states, p = brute.states(machine), brute.probabilities(machine, state.ema)
    has = (states[-1][:, 1] == 1) & (states[0][:, 0] == 1) & (states[0][:, 2] == 0)
    expected = np.bincount((states[0][has] @ [0, 2, 0, 1]).astype(int), p[has], minlength=4) / p[has].sum()
    left, x = np.array([True, False, True, False]).reshape(2, 2, 1), np.array([1, -1, -1, -1.0]).reshape(2, 2, 1)
    options = {"mean": False, "steps": 30, "anneal": 5, "given": (left, np.float32(x))}
    (drawn,) = sampling.draw(model, state, jax.random.key(0), np.ones(20_000, int), block=20_000, **options)
    white = drawn.reshape(-1, 4) > 0
    np.testing.assert_array_equal(white[:, [0, 2]], np.tile([True, False], (20_000, 1)))
    found = np.bincount(white.astype(int) @ [0, 2, 0, 1], minlength=4) / len(white)
    assert 0.5 * np.abs(found - expected).sum() < 0.02
    assert expected.max() < 0.9


def test_mean_field_ends_in_a_fixed_point():
    """Algorithm 1: one more sweep changes nothing, however the chains started."""
    model, state, _ = built()
    labels = np.zeros(50, int)
    x, again = (
        np.asarray(model.sample(jax.random.key(0), state, labels, method="mean_field", steps=s)) for s in (200, 201)
    )
    np.testing.assert_allclose(x, again, atol=1e-5)
    assert len(np.unique(np.round(x.reshape(50, 4), 3), axis=0)) < 5


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hidden": ()}, r"model.hidden=\(\): a DBM needs at least one hidden layer"),
        ({"hidden": (3, 0)}, r"model.hidden=\(3, 0\): every layer must have at least 1 unit"),
        ({"joint_k": 0}, "model.joint_k=0: must be at least 1"),
        ({"burn_in": -1}, "model.burn_in=-1: must not be negative"),
        ({"clip": 0.0}, "model.clip=0.0: must be above 0"),
        ({"pretraining": 1.0}, "model.pretraining=1.0: must be at least 0 and below 1"),
    ],
)
def test_a_bad_config_is_named(fields, message):
    with pytest.raises(InputError, match=message):
        dbm.build(dbm.Config(**fields), IMAGE)
