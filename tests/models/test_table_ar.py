"""The chain of columns against enumeration, its order, and a table whose dependence is known."""

import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from mixed import SPEC as UNMEASURED
from mixed import assert_depends, mixed

from synthjax.errors import InputError
from synthjax.model import Batch, Column, DataSpec
from synthjax.models import table_ar
from synthjax.nets import bins, precision
from synthjax.nets.fine_bins import FineBins
from synthjax.nets.network import linen
from synthjax.train import optim

SPEC = UNMEASURED.measured(mixed(3000).x)
SMALL = DataSpec(
    "table",
    (7,),
    0,
    ("n", "y"),
    (0.5, 0.5),
    (Column("u", "onehot", 0, 3), Column("v", "onehot", 3, 2), Column("t", "onehot", 5, 2, target=True)),
)
ALL = np.array(list(itertools.product(range(2), range(3), range(2))))
"""Every row of SMALL, as states: label, u, v."""
CONFIG = table_ar.Config(order=("v",), bins=4, embedding=3, hidden=5)
ROWS = np.concatenate([np.eye(3)[ALL[:, 1]], np.eye(2)[ALL[:, 2]], np.eye(2)[ALL[:, 0]]], axis=1).astype(np.float32)
SMALL = SMALL.measured(ROWS)
LAYOUT = bins.Layout(SMALL, 4)
NETWORK = table_ar.hidden_layers(3, 3, 5, 0.1)
EVERY = Batch(jnp.asarray(ROWS), jnp.asarray(ALL[:, 0]), jnp.ones(12), jnp.arange(12))


@pytest.fixture(scope="module")
def known():
    """(state, p of every row) with random parameters; the order is label, v, u."""
    state = table_ar.build(CONFIG, SMALL).init(jax.random.key(0))
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda a: a + 0.7 * rng.normal(size=a.shape).astype(np.float32), state.params)
    state = state._replace(params=params, ema=params)
    return state, np.exp(parts(state, ALL).sum(axis=0))


def parts(state, states):
    """log p of each column given those before, (C, B)."""
    sequence = table_ar.order(CONFIG, LAYOUT)
    fine, states = FineBins(LAYOUT), jnp.asarray(states)
    rows = states, jnp.zeros_like(states)

    def network(params, seen, before, key):
        return None, NETWORK.apply(params, seen, before, key=key)

    return np.asarray(table_ar.log_p(fine, sequence, network, state.ema, rows, None)[0])


def test_probabilities_sum_to_1_and_follow_the_order(known):
    state, p = known
    assert p.sum() == pytest.approx(1, abs=1e-5)
    np.testing.assert_array_equal(table_ar.order(CONFIG, LAYOUT), [0, 2, 1])
    label, u, v = parts(state, ALL)
    for y in range(2):
        assert np.ptp(label[ALL[:, 0] == y]) < 1e-6
        for value in range(2):
            assert np.ptp(v[(ALL[:, 0] == y) & (ALL[:, 2] == value)]) < 1e-6  # v does not see u
    assert np.ptp(u[ALL[:, 1] == 0]) > 0.01  # u sees both


@pytest.mark.parametrize("conditional", [True, False])
def test_samples_follow_the_enumerated_distribution(known, conditional):
    state, p = known
    config = table_ar.Config(order=("v",), bins=4, embedding=3, hidden=5, conditional=conditional)
    labels = np.repeat([0, 1], 10_000).astype(np.int32)
    x = np.asarray(jax.jit(table_ar.build(config, SMALL).sample)(jax.random.key(1), state, labels))
    drawn = 6 * x[:, 5:].argmax(axis=1) + 2 * x[:, :3].argmax(axis=1) + x[:, 3:5].argmax(axis=1)
    if conditional:
        np.testing.assert_array_equal(x[:, 5:].argmax(axis=1), labels)
        p = (p.reshape(2, 6) / p.reshape(2, 6).sum(axis=1, keepdims=True)).ravel() / 2
    np.testing.assert_allclose(np.bincount(drawn, minlength=12) / 20_000, p, atol=0.015)


def test_fine_bins_are_part_of_the_distribution():
    """A flag, and a number of 4 bins and more values: over all of them p sums to 1, and samples follow it."""
    rng = np.random.default_rng(0)
    values = np.float32([0, 1, 3, 4, 7, 9, 10, 15])
    rows = np.column_stack([np.eye(2)[rng.integers(0, 2, 900)], rng.choice(values, 900)]).astype(np.float32)
    spec = DataSpec("table", (3,), 0, columns=(Column("flag", "onehot", 0, 2), Column("n", "continuous", 2, 1)))
    model = table_ar.build(table_ar.Config(bins=4, embedding=3, hidden=5), spec.measured(rows))
    state = model.init(jax.random.key(0))
    params = jax.tree.map(lambda a: a + 0.4 * rng.normal(size=a.shape).astype(np.float32), state.params)
    state = state._replace(params=params, ema=params)
    every = np.array([[*np.eye(2)[flag], value] for flag in range(2) for value in values], np.float32)
    batch = Batch(jnp.asarray(every), jnp.zeros(16, jnp.int32), jnp.ones(16), jnp.arange(16))
    p = np.exp(model.log_prob(jax.random.key(0), state, batch))
    assert p.sum() == pytest.approx(1, abs=1e-5)
    odds = np.log(p[[0, 8]] / p[[1, 9]])
    assert np.ptp(odds) > 0.05  # of two values in one bin, by the flag
    x = np.asarray(jax.jit(model.sample)(jax.random.key(1), state, np.zeros(20_000, np.int32)))
    drawn = 8 * x[:, 1].astype(int) + np.searchsorted(values, x[:, 2])
    np.testing.assert_array_equal(values[drawn % 8], x[:, 2])
    np.testing.assert_allclose(np.bincount(drawn, minlength=16) / 20_000, p, atol=0.015)


@pytest.mark.parametrize("fine", [1, 16])
def test_dependence_below_the_width_of_a_bin(fine):
    """b = a + noise in 4 bins each: within the bins the two still move together, unless numbers are uniform there."""
    rng = np.random.default_rng(0)
    a = rng.uniform(size=4000)
    rows = np.column_stack([a, a + 0.1 * rng.normal(size=4000)]).astype(np.float32)
    spec = DataSpec.from_arrays(rows)
    config = table_ar.Config(bins=4, fine=fine, batch_size=128, steps=300, warmup=20, learning_rate=5e-3)
    model = table_ar.build(config, spec)

    def body(i, state):
        key_rows, key_step = jax.random.split(jax.random.fold_in(jax.random.key(1), i))
        x = jnp.asarray(rows)[jax.random.randint(key_rows, (128,), 0, 4000)]
        batch = Batch(x, jnp.zeros(128, jnp.int32), jnp.ones(128), jnp.arange(128))
        return model.step(key_step, i, state, batch)[0]

    state = jax.jit(lambda state: jax.lax.fori_loop(0, 300, body, state))(jax.jit(model.init)(jax.random.key(0)))
    x = np.asarray(jax.jit(model.sample)(jax.random.key(2), state, np.zeros(4000, np.int32)))

    def within(x):
        """Correlation of a and b, each less the mean of its rows in the same pair of bins."""
        states = np.asarray(bins.Layout(spec, 4).states(jnp.asarray(x), jnp.zeros(len(x), jnp.int32)))
        pair = 4 * states[:, 0] + states[:, 1]
        mean = np.stack([np.bincount(pair, part, 16) / np.maximum(np.bincount(pair, minlength=16), 1) for part in x.T])
        return np.corrcoef(x.T - mean[:, pair])[0, 1]

    assert within(rows) > 0.3
    assert within(x) > 0.5 * within(rows) if fine > 1 else abs(within(x)) < 0.06


def test_it_starts_as_independent_columns_and_learns_the_dependence():
    rows, held = (jax.tree.map(jnp.asarray, mixed(count, seed)) for count, seed in ((3000, 0), (500, 1)))
    config = table_ar.Config(bins=64, embedding=8, hidden=32, batch_size=128, steps=300, warmup=20, learning_rate=5e-3)
    model = table_ar.build(config, SPEC)
    start = jax.jit(model.init)(jax.random.key(0))
    layout = bins.Layout(SPEC, 64)
    fine = FineBins(layout)
    states = layout.states(held.x, held.y)
    onehot = np.asarray(layout.onehot(states))
    share = np.asarray(layout.onehot(layout.states(rows.x, rows.y))).mean(axis=0)
    share[:2] = SPEC.frequencies
    within = fine.log_shares[np.arange(5)[None], states, fine.parts(held.x, states)].sum(axis=1)
    score = jax.jit(model.score)
    before = np.asarray(score(jax.random.key(0), start, held))
    np.testing.assert_allclose(before, -onehot @ np.log(np.maximum(share, 1e-6)) - within, rtol=1e-3)

    def body(i, state):
        key_rows, key_step = jax.random.split(jax.random.fold_in(jax.random.key(1), i))
        index = jax.random.randint(key_rows, (config.batch_size,), 0, 3000)
        return model.step(key_step, i, state, jax.tree.map(lambda a: a[index], rows))[0]

    state = jax.jit(lambda state: jax.lax.fori_loop(0, config.steps, body, state))(start)
    assert before.mean() - float(score(jax.random.key(0), state, held).mean()) > 1.5
    labels = np.random.default_rng(0).integers(0, 2, 4000).astype(np.int32)
    x = np.asarray(jax.jit(model.sample)(jax.random.key(2), state, labels))
    assert_depends(x, labels, slack=0.08)  # 300 steps are few


def test_the_log_probability_is_that_of_the_chain(known):
    state, p = known
    model = table_ar.build(CONFIG, SMALL)
    assert (model.log_prob_kind, model.log_prob_of, model.feed) == ("exact", "bins", "batch")
    np.testing.assert_allclose(np.exp(model.log_prob(jax.random.key(0), state, EVERY)), p, rtol=1e-5)
    np.testing.assert_allclose(np.exp(-model.score(jax.random.key(0), state, EVERY)), p, rtol=1e-5)


def test_a_network_and_an_optimiser_of_ones_own_are_used():
    """One that looks at all that it is given: a column that it is to predict is not among that."""

    class Own(nn.Module):
        @nn.compact
        def __call__(self, seen, train=False):
            h = nn.Dense(5, kernel_init=nn.initializers.normal(1.0))(seen.reshape(len(seen), -1))
            return nn.Dropout(0.1, deterministic=not train)(h)

    network = linen(Own(), jnp.zeros((2, 3, 3)), dropout=True)
    model = table_ar.model(CONFIG, SMALL, network=network, optimiser=optax.sgd(0.5))
    state = model.init(jax.random.key(0))
    assert state.params["network"]["params"]["Dense_0"]["kernel"].shape == (3, 9, 5)
    for i in range(3):
        state, metrics = jax.jit(model.step)(jax.random.key(i), i, state, EVERY)
    assert metrics.keys() == {"loss", "grad_norm"}
    params = jax.tree.map(lambda a: a + np.random.default_rng(0).normal(size=a.shape).astype(np.float32), state.params)
    p = np.exp(model.log_prob(jax.random.key(0), state._replace(ema=params), EVERY))
    assert p.sum() == pytest.approx(1, abs=1e-5) and np.ptp(p) > 0.01
    wide = linen(nn.Dense(6), jnp.zeros((2, 3, 3)))
    with pytest.raises(InputError, match=r"network: makes an array of shape \(2, 3, 6\)"):
        table_ar.model(CONFIG, SMALL, network=wide)


def test_bfloat16_changes_the_probabilities_by_its_rounding_errors_alone(known):
    state, p = known
    with precision.use("bfloat16"):
        model = table_ar.build(CONFIG, SMALL)
    found = np.asarray(model.log_prob(jax.random.key(0), state, EVERY))
    assert 1e-5 < np.abs(found - np.log(p)).max() / np.abs(np.log(p)).max() < 0.02
    assert np.exp(found).sum() == pytest.approx(1, abs=1e-5)


def test_a_loss_of_ones_own_is_used():
    """The likelihood of the label alone: other columns stay as they start."""

    def loss(params, key, batch):
        logits = params["bias"][:2]  # of the label, which is the first column
        return optim.Losses(-jax.nn.log_softmax(logits)[batch.y])

    model = table_ar.model(CONFIG, SMALL, loss=loss, optimiser=optax.sgd(1.0))
    start = model.init(jax.random.key(0))
    rare = EVERY._replace(weight=jnp.where(EVERY.y == 0, 1.0, 0.0))
    state, metrics = model.step(jax.random.key(1), 0, start, rare)
    assert metrics["loss"] == pytest.approx(np.log(2), abs=1e-5)  # both labels are as frequent
    np.testing.assert_allclose(state.params["bias"][:2] - start.params["bias"][:2], [0.5, -0.5], atol=1e-5)
    np.testing.assert_array_equal(state.params["bias"][2:], start.params["bias"][2:])


def test_a_step_costs_each_of_two_devices_half():
    config = table_ar.Config(bins=16, batch_size=256)
    model = table_ar.build(config, SPEC)
    batch = jax.tree.map(jnp.asarray, mixed(256))

    def flops(count):
        mesh = jax.make_mesh((count,), ("data",), (AxisType.Auto,), devices=jax.devices()[:count])
        split, whole = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (["data"], []))
        step = jax.jit(lambda key, state, batch: model.step(key, 0, state, batch), out_shardings=whole)
        inputs = jax.device_put((jax.random.key(0), jax.jit(model.init)(jax.random.key(0))), whole)
        return step.lower(*inputs, jax.device_put(batch, split)).compile().cost_analysis()["flops"]

    assert flops(2) < 0.6 * flops(1)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"hidden": 0}, "model.hidden=0"),
        ({"fine": 0}, "model.fine=0"),
        ({"dropout": 1.0}, "model.dropout=1.0"),
        ({"column_dropout": -0.1}, "model.column_dropout=-0.1"),
        ({"order": ("height",)}, "'height' is not a column"),
        ({"order": ("shop", "shop")}, "'shop' is named twice"),
    ],
)
def test_what_cannot_be_built_is_said(fields, message):
    with pytest.raises(InputError, match=message):
        table_ar.build(table_ar.Config(**fields), SPEC)


def test_given_columns_stay_and_others_follow_them(known):
    """Frequencies of u given the label and v, from all rows; v is drawn before u."""
    state, p = known
    model = table_ar.build(CONFIG, SMALL)
    fixed = (ALL[:, 0] == 1) & (ALL[:, 2] == 0)
    n = 4000
    x = np.repeat(ROWS[np.flatnonzero(fixed)[:1]], n, axis=0)
    mask = np.zeros(x.shape, bool)
    mask[:, 3:5] = True  # v
    drawn = np.asarray(jax.jit(model.sample)(jax.random.key(5), state, np.ones(n, np.int32), given=(mask, x)))
    np.testing.assert_array_equal(drawn[:, 3:], x[:, 3:])
    np.testing.assert_allclose(drawn[:, :3].mean(axis=0), p[fixed] / p[fixed].sum(), atol=0.03)


def test_given_numbers_keep_their_fine_bin():
    x = np.sort(np.random.default_rng(0).normal(size=(300, 2)), axis=0).astype(np.float32)
    spec = DataSpec.from_arrays(x)
    model = table_ar.build(table_ar.Config(bins=4, fine=8, embedding=3, hidden=4), spec)
    fine = FineBins(bins.Layout(spec, 4), 8)
    mask = np.repeat([[True, False]], 300, axis=0)
    drawn = model.sample(jax.random.key(0), model.init(jax.random.key(1)), jnp.zeros(300, jnp.int32), given=(mask, x))
    before, after = (fine.parts(rows, fine.layout.states(rows, jnp.zeros(300))) for rows in (jnp.asarray(x), drawn))
    np.testing.assert_array_equal(before[:, 0], after[:, 0])
    assert (before[:, 1] != after[:, 1]).any()
