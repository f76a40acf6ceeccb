"""What RBMs and DBMs share as models: 64-bit mode, derivatives, privacy, own parts, options of sampling."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from compiled import compiled

from synthjax.errors import InputError
from synthjax.gibbs.machine import Machine
from synthjax.model import Batch, DataSpec
from synthjax.models import dbm, rbm
from synthjax.train import optim

RNG = np.random.default_rng(0)
STORED = RNG.integers(0, 2, (8, 2, 2, 1))
IMAGE = DataSpec("image", (2, 2, 1), 2, ("a", "b"), (0.5, 0.5)).measured(STORED)
COLOUR = DataSpec("image", (2, 1, 3), 256, ("a", "b"), (0.5, 0.5)).measured(RNG.integers(0, 256, (8, 2, 1, 3)))
SMALL = {"chains": 4, "sample_steps": 3, "anneal": 2, "sparsity_cost": 0.1}
RBM = rbm.Config(hidden=3, **SMALL)
DBM = dbm.Config(hidden=(3, 2), steps=6, pretraining=0.7, burn_in=2, **SMALL)
CASES = {
    "cd": (RBM, {"algorithm": "cd"}, IMAGE),
    "half": (RBM, {"half": True}, IMAGE),
    "pt": (RBM, {"algorithm": "pt", "replicas": 3}, IMAGE),
    "rbm_colour": (RBM, {"visible": "gaussian", "learning_rate": 1e-3}, COLOUR),
    "dbm": (DBM, {}, IMAGE),
    "dbm_colour": (DBM, {"hidden": (3,), "pretraining": 0.0, "visible": "gaussian", "learning_rate": 1e-3}, COLOUR),
}


def batch_of(spec: DataSpec, seed: int = 0) -> Batch:
    rng = np.random.default_rng(seed)
    x = spec.encode(rng.integers(0, spec.levels, (8, *spec.shape)))
    y = np.int32(rng.integers(0, 2, 8))
    return Batch(x, y, np.ones(8, np.float32), np.arange(8, dtype=np.int32))


@functools.cache
def made(name: str, **fields):
    config, more, spec = CASES[name]
    family = rbm if isinstance(config, rbm.Config) else dbm
    return family.build(dataclasses.replace(config, **more, **fields), spec), batch_of(spec)


@pytest.mark.parametrize("name", CASES)
def test_in_64_bit_mode_all_stays_f32_and_ranks_are_explicit(name):
    with jax.enable_x64(True), jax.numpy_rank_promotion("raise"):
        (model, batch), key, labels = made.__wrapped__(name), jax.random.key(0), jnp.arange(5) % 2
        state = jax.eval_shape(model.init, key)
        found = [state, jax.eval_shape(model.step, key, 0, state, batch)]  # all phases of a DBM are traced
        for options in ({}, {"method": "mean_field"}, {"chains": 2, "thin": 2}):
            draw = functools.partial(model.sample, **options)
            found.append(jax.eval_shape(draw, key, state, labels))
        found.append(jax.eval_shape(model.score, key, state, batch))
        assert {a.dtype for a in jax.tree.leaves(found)} == {jnp.dtype("float32")}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_in_64_bit_mode_all_of_it_runs(name):
    with jax.enable_x64(True), jax.numpy_rank_promotion("raise"):
        model, batch = made.__wrapped__(name)
        state, step = jax.jit(model.init)(jax.random.key(0)), jax.jit(model.step)
        for i in (0, 3, 4, 5):  # the DBM's phases: layer 1, layer 2, joint
            state, metrics = step(jax.random.key(i), i, state, batch)
        x = jax.jit(model.sample)(jax.random.key(0), state, jnp.arange(5) % 2)
        score = model.score(jax.random.key(0), state, batch)
        assert all(np.isfinite(a).all() for a in jax.tree.leaves((metrics, x, score)))


@pytest.mark.parametrize("name", ["cd", "dbm"])
def test_second_derivatives_of_the_score(name):
    """Forward over reverse mode along one direction, against differences of gradients; also where inputs are all 0."""
    model, batch = made(name)
    state = jax.jit(model.init)(jax.random.key(0))
    params = jax.tree.map(lambda a: np.zeros(a.shape, np.float32), state.ema)
    direction = jax.tree.map(lambda a: np.float32(RNG.normal(size=a.shape)), params)
    direction = direction._replace(weights=tuple(np.float32(0.1) * w for w in direction.weights))

    @jax.jit
    def gradient(params):
        return jax.grad(lambda p: model.score(jax.random.key(0), state._replace(ema=p), batch).mean())(params)

    found = jax.jit(lambda p: jax.jvp(gradient, (p,), (direction,))[1])(params)
    ahead, behind = (
        gradient(jax.tree.map(lambda p, d, step=step: p + np.float32(step) * d, params, direction))
        for step in (0.02, -0.02)
    )
    expected = jax.tree.map(lambda a, b: (np.asarray(a) - b) / 0.04, ahead, behind)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-3)
    assert max(np.abs(a).max() for a in jax.tree.leaves(found)) > 0.05


@pytest.mark.parametrize("name", ["cd", *(pytest.param(one, marks=pytest.mark.slow) for one in ("half", "pt", "dbm"))])
def test_without_centring_training_rows_reach_the_state_through_grad_alone(name):
    """With a gradient that lets nothing through, other rows give the same state."""

    def nothing(loss):
        return lambda *arguments: jax.tree.map(jnp.zeros_like, optim.mean_grad(loss)(*arguments))

    config, more, spec = CASES[name]
    family = rbm if isinstance(config, rbm.Config) else dbm
    for centred in (False, True) if name in ("cd", "dbm") else (False,):
        model = compiled(family.build(dataclasses.replace(config, **more, centred=centred), spec, nothing))
        start = model.init(jax.random.key(0))
        one, other = (model.step(jax.random.key(1), 5, start, batch_of(spec, seed))[0] for seed in (0, 1))
        same = all(
            (np.asarray(a) == b).all() for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
        )
        assert same == (not centred)


@pytest.mark.parametrize(("config", "family"), [(RBM, rbm), (DBM, dbm)], ids=["rbm", "dbm"])
def test_own_machine_and_optimiser(config, family):
    """SGD with a rate of its own moves by rate times the gradient; no other rate is reported."""
    units = ("bernoulli",) * (2 if family is rbm else 3) + ("softmax",)
    machine = Machine((4, *(5,) * (len(units) - 2), 2), units)
    config, batch = dataclasses.replace(config, momentum=(0.0, 0.0)), batch_of(IMAGE)
    model = compiled(family.model(config, IMAGE, machine=machine, optimiser=optax.sgd(0.25)))
    state = model.init(jax.random.key(0))
    assert state.params.weights[0].shape == (4, 5)
    new, metrics = model.step(jax.random.key(1), 5, state, batch)
    moved = jax.tree.map(lambda a, b: np.asarray(a) - b, new.params, state.params)
    way = np.linalg.norm(np.concatenate([a.ravel() for a in jax.tree.leaves(moved)]))
    np.testing.assert_allclose(way, 0.25 * metrics["grad_norm"], rtol=1e-4)
    assert "learning_rate" not in metrics and float(way) > 0
    for wrong in (Machine((3, *machine.sizes[1:]), units), Machine(machine.sizes[:-1], units[:-1])):
        with pytest.raises(InputError, match="machine: "):
            family.model(config, IMAGE, machine=wrong)


@pytest.mark.parametrize("name", ["half", "dbm"])
def test_numbers_of_sweeps_can_be_traced(name):
    model = compiled(made(name)[0])
    state, labels = model.init(jax.random.key(0)), np.arange(6) % 2

    @jax.jit
    def draw(steps, anneal, thin):
        return made(name)[0].sample(jax.random.key(1), state, labels, steps=steps, anneal=anneal, thin=thin, chains=3)

    for steps, anneal, thin in ((3, 2, 1), (5, 0, 4)):
        fixed = model.sample(jax.random.key(1), state, labels, steps=steps, anneal=anneal, thin=thin, chains=3)
        np.testing.assert_allclose(draw(steps, anneal, thin), fixed, atol=1e-6)
    with pytest.raises(TypeError, match="guidance"):
        model.sample(jax.random.key(1), state, labels, guidance=2.0)


def test_a_search_can_trace_rates_and_costs():
    def trained(rate, cost):
        config = dataclasses.replace(RBM, learning_rate=rate, sparsity_cost=cost, weight_decay=cost, warmup=0)
        model = rbm.build(config, IMAGE)
        return model.step(jax.random.key(1), 0, model.init(jax.random.key(0)), batch_of(IMAGE))[0].params

    together = jax.jit(jax.vmap(trained))(jnp.array([0.01, 0.1]), jnp.array([0.0, 0.5]))
    alone = jax.jit(lambda: trained(0.1, 0.5))()
    for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
        np.testing.assert_allclose(np.asarray(a)[1], b, atol=1e-6)
    assert (np.asarray(together.weights[0])[0] != np.asarray(together.weights[0])[1]).any()


def test_the_average_of_bfloat16_parameters_moves():
    """By 1e-3 of the way a step, which is below the rounding error of bfloat16."""
    params = {"a": jnp.ones(3, jnp.bfloat16)}
    update = jax.jit(optim.train_update(optax.sgd(1.0), ema_decay=0.999))
    state, _ = update(10**6, optim.TrainState.create(params, optax.sgd(1.0)), {"a": jnp.full(3, -0.5, jnp.bfloat16)})
    assert state.params["a"].dtype == jnp.bfloat16 and state.ema["a"].dtype == jnp.float32
    np.testing.assert_allclose(state.ema["a"], 1 + 0.001 * 0.5, rtol=1e-6)


@pytest.mark.parametrize(
    ("config", "fields", "message"),
    [
        (RBM, {"algorithm": "magic"}, "model.algorithm=magic: must be cd, pcd or pt"),
        (RBM, {"visible": "softmax"}, "model.visible=softmax: must be bernoulli or gaussian"),
        (RBM, {"learning_rate": 0.0}, "model.learning_rate=0.0"),
        (DBM, {"momentum": (0.5, 1.0)}, r"model.momentum=\(0.5, 1.0\): must be at least 0 and below 1"),
        (DBM, {"pretraining_rate": -1.0}, "model.pretraining_rate=-1.0"),
    ],
)
def test_a_bad_field_is_named_when_the_config_is_made(config, fields, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(config, **fields)
