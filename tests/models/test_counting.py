"""What models that count have in common: precision, ranks, devices and padding change nothing."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from mixed import SPEC as UNMEASURED
from mixed import assert_valid, mixed

SPEC = UNMEASURED.measured(mixed(400).x)
CONFIGS = {
    "independent": {"bins": 8},
    "mixture": {"bins": 8, "components": 3, "members": 2, "batch_size": 100},
    "smote": {"batch_size": 50},
    "table_ar": {"bins": 8, "embedding": 4, "hidden": 6},
    "table_forest": {"bins": 8, "steps": 2},
}
LABELS = np.arange(30, dtype=np.int32) % 2


def made(name):
    module = importlib.import_module(f"synthjax.models.{name}")
    return module.build(module.Config(**CONFIGS[name]), SPEC)


def fitted(model, rows):
    """The state after two steps, and the last one's metrics."""
    state, step = model.init(jax.random.key(0)), jax.jit(model.step)
    for i in range(2):
        state, metrics = step(jax.random.key(0), np.int32(i), state, rows)
    return state, metrics


@pytest.mark.parametrize("name", CONFIGS)
def test_f32_in_is_f32_out_in_64_bit_mode_and_ranks_are_never_promoted(name):
    with jax.enable_x64(True), jax.numpy_rank_promotion("raise"):
        model, rows = made(name), mixed(400)
        start = jax.eval_shape(model.init, jax.random.key(0))
        (state, metrics), key = fitted(model, rows), jax.random.key(0)
        x, score = jax.jit(model.sample)(key, state, LABELS), jax.jit(model.score)(key, state, rows)
        kinds = [leaf.dtype for leaf in jax.tree.leaves(state)]
        assert kinds == [leaf.dtype for leaf in jax.tree.leaves(start)]
        assert not {np.dtype("f8"), np.dtype("i8")} & set(kinds)
        assert {leaf.dtype for leaf in (*metrics.values(), x, score)} == {np.dtype("f4")}
        if model.log_prob:
            assert jax.eval_shape(model.log_prob, key, state, rows).dtype == np.float32
        assert_valid(np.where(np.arange(10) == 2, np.round(2 * np.asarray(x)) / 2, x))


@pytest.mark.parametrize("name", [name for name in CONFIGS if name != "table_ar"])
def test_padding_and_the_number_of_devices_change_nothing(name):
    """402 rows on three devices, one device with 400: the same state."""
    rows, devices = mixed(400), jax.devices()[:3]
    padded = jax.tree.map(lambda a: np.concatenate([a, np.zeros((2, *a.shape[1:]), a.dtype)]), rows)
    split = NamedSharding(jax.make_mesh((3,), ("data",), (AxisType.Auto,), devices=devices), PartitionSpec("data"))
    model = made(name)
    one, many = fitted(model, rows)[0], fitted(model, jax.device_put(padded, split))[0]
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(many), strict=True):
        np.testing.assert_allclose(np.asarray(a, np.float32), np.asarray(b, np.float32), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_state_before_the_first_step_can_be_drawn_from(name):
    model = made(name)
    x = np.asarray(model.sample(jax.random.key(0), model.init(jax.random.key(1)), jnp.asarray(LABELS)))
    assert x.shape == (30, 10) and np.isfinite(x).all()


@pytest.mark.parametrize("name", ["independent", "mixture", "table_ar"])
def test_shared_values_come_back_exactly(name):
    """Ten values, of 40 rows each, that no arithmetic gives by chance."""
    values = np.random.default_rng(0).normal(size=10).astype(np.float32)
    rows = mixed(400)
    rows.x[:, 0], rows.x[:, 1] = np.tile(values, 40), 0
    module = importlib.import_module(f"synthjax.models.{name}")
    model = module.build(module.Config(**CONFIGS[name] | {"bins": 10}), UNMEASURED.measured(rows.x))
    x = np.asarray(jax.jit(model.sample)(jax.random.key(0), fitted(model, rows)[0], LABELS))
    assert set(x[:, 0]) <= set(values)
