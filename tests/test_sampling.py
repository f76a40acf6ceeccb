"""Blocks of samples: the same whatever the size of the request, compiled once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from synthjax import sampling
from synthjax.errors import InputError
from synthjax.jit import over_devices
from synthjax.model import DataSpec, Model
from synthjax.models import (
    cgan,
    dbm,
    dcgan,
    ddpm,
    mixture,
    rbm,
    smote,
    table_ar,
    table_ddpm,
    table_gan,
    table_vae,
    vae,
)

TRACES = []


def noisy_labels(key, state, labels, *, scale=1.0, given=None):
    """Label plus noise: what is drawn for a row says which key and which label it got."""
    TRACES.append(scale)
    x = labels[:, None] * state["slope"] + scale * jax.random.uniform(key, (len(labels), 2))
    return x if given is None else jnp.where(given[0], given[1], x)


MODEL = Model(init=None, step=None, sample=noisy_labels)
STATE = {"slope": jnp.float32(10)}
LABELS = np.arange(23) % 4


def drawn(labels, seed=0, **options):
    return np.concatenate(list(sampling.draw(MODEL, STATE, jax.random.key(seed), labels, block=8, **options)))


def test_each_row_answers_its_label():
    x = drawn(LABELS)
    assert x.shape == (23, 2)
    np.testing.assert_array_equal(np.floor(x / 10), np.stack([LABELS, LABELS], 1))


def test_blocks_are_full_but_for_the_last():
    blocks = sampling.draw(MODEL, STATE, jax.random.key(0), LABELS, block=8)
    assert [block.shape for block in blocks] == [(8, 2), (8, 2), (7, 2)]


def test_block_b_is_drawn_with_the_key_folded_with_b():
    key = jax.random.key(3)
    x = np.concatenate(list(sampling.draw(MODEL, STATE, key, LABELS, block=8)))
    expected = noisy_labels(jax.random.fold_in(key, 1), STATE, jnp.asarray(LABELS[8:16]))
    np.testing.assert_allclose(x[8:16], expected, rtol=1e-6)


@pytest.mark.parametrize("n", [1, 7, 8, 20])
def test_a_small_request_is_the_beginning_of_a_larger_one(n):
    np.testing.assert_array_equal(drawn(LABELS[:n]), drawn(LABELS)[:n])


def test_blocks_drawn_alone_and_in_any_order_are_those_of_the_whole():
    whole = drawn(LABELS)
    for b in (2, 0, 1):
        rows = slice(8 * b, 8 * b + 8)
        (alone,) = sampling.Sampler(MODEL, STATE, 8, 1)(jax.random.key(0), {b: LABELS[rows]})
        np.testing.assert_array_equal(alone, whole[rows])
    some = sampling.Sampler(MODEL, STATE, 8, 3)(jax.random.key(0), {2: LABELS[16:], 0: LABELS[:8]})
    np.testing.assert_array_equal(np.concatenate(list(some)), np.concatenate([whole[16:], whole[:8]]))


def test_other_seeds_and_blocks_have_other_noise():
    x = drawn(np.zeros(16, np.int32))
    assert len(np.unique(x)) == x.size
    assert not np.isin(drawn(np.zeros(16, np.int32), seed=1), x).any()


def test_one_trace_per_set_of_options():
    TRACES.clear()
    for scale in (0.5, 0.5, 0.25):
        drawn(LABELS, scale=scale)
        drawn(LABELS[:18], seed=5, scale=scale)
    assert TRACES == [0.5, 0.25]


def test_arrays_among_the_options_go_to_every_block_and_compile_once():
    TRACES.clear()
    plain, mask = drawn(LABELS, scale=0.75), np.array([True, False])
    for value in (-1.0, -2.0):
        x = drawn(LABELS, scale=0.75, given=(mask, np.full(2, value, np.float32)))
        np.testing.assert_array_equal(x[:, 0], value)
        np.testing.assert_array_equal(x[:, 1], plain[:, 1])
    assert TRACES == [0.75, 0.75]


def test_no_labels_no_blocks():
    assert list(sampling.draw(MODEL, STATE, jax.random.key(0), np.zeros(0, np.int32))) == []


@pytest.mark.parametrize(
    ("labels", "block", "named"),
    [(LABELS, 0, "block"), (LABELS.astype(float), 8, "labels"), (LABELS[:, None], 8, "labels")],
)
def test_bad_input_is_named(labels, block, named):
    with pytest.raises(InputError, match=named):
        next(sampling.draw(MODEL, STATE, jax.random.key(0), labels, block=block))


def test_a_class_without_training_rows_is_refused_for_every_model():
    """Nothing is compiled before."""
    spec = DataSpec.from_arrays(np.arange(12, dtype=np.float32).reshape(6, 2), np.array([0, 0, 2, 2, 2, 0]))
    assert spec.empty_classes == (1,)
    image = DataSpec.from_arrays(np.zeros((3, 8, 8, 1), np.uint8), np.array([0, 2, 2]), levels=2)
    for kind, (module, preset) in {
        "table": (smote, "smote"), "image": (rbm, "rbm"), "mixture": (mixture, "mixture"), "ar": (table_ar, "table_ar"),
        "vae": (table_vae, "table_vae"), "diffusion": (table_ddpm, "table_ddpm"), "gan": (table_gan, "table_cgan"),
        "cgan": (cgan, "cgan"), "dcgan": (dcgan, "dcgan"), "ddpm": (ddpm, "ddpm"), "image vae": (vae, "vae"),
        "dbm": (dbm, "dbm"),
    }.items():  # fmt: skip
        own = image if module in (rbm, cgan, dcgan, ddpm, vae, dbm) else spec
        model = module.build(module.PRESETS[preset], own)
        assert model.conditional, kind
        with pytest.raises(InputError, match="^labels: class 1, in place 2, has no training row to learn from$"):
            next(sampling.draw(model, None, jax.random.key(0), np.array([0, 2, 1])))


def test_a_state_on_a_mesh_draws_what_one_device_draws():
    devices = jax.devices()
    if len(devices) < 2:
        pytest.skip("needs several devices")
    mesh = jax.make_mesh((len(devices),), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    everywhere = jax.device_put(STATE, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec()))
    (block,) = sampling.draw(MODEL, everywhere, jax.random.key(0), LABELS[:8], block=8)
    np.testing.assert_array_equal(block, drawn(LABELS)[:8])
    assert sampling.local_copy(everywhere)["slope"].devices() == {devices[0]}


@pytest.mark.parametrize(("blocks", "calls"), [(2, 1), (4, 1), (9, 3)])
def test_blocks_are_spread_over_all_devices(blocks, calls, monkeypatch):
    """One on each at a time; and what is drawn is what a single device draws, bit for bit."""
    devices = jax.local_devices()
    if len(devices) != 4:
        pytest.skip("needs four devices")
    results = recorded(monkeypatch)
    labels = np.arange(8 * blocks - 3) % 4
    spread = drawn(labels)
    assert [x.sharding.device_set for x in results] == [set(devices[:blocks])] * calls
    assert all(shard.data.shape == (1, 8, 2) for x in results for shard in x.addressable_shards)
    monkeypatch.setattr(jax, "local_devices", lambda: devices[:1])
    alone = drawn(labels)
    assert [len(x) for x in results[calls:]] == [1] * blocks
    np.testing.assert_array_equal(spread, alone)


def recorded(monkeypatch) -> list[jax.Array]:
    """What compiled samplers return from now on, as it lies on the devices."""
    results, compiled = [], sampling._compiled

    def record(*args, **options):
        run = compiled(*args, **options)
        return lambda *given: results.append(run(*given)) or results[-1]

    monkeypatch.setattr(sampling, "_compiled", record)
    return results


def test_each_device_does_the_work_of_one_block(monkeypatch):
    monkeypatch.setattr("synthjax.jit.compiler_options", dict)  # of a nested jit there are none

    def multiply(w, x):
        return x @ w

    w, x = np.ones((16, 16), np.float32), np.ones((4, 8, 16), np.float32)
    for devices in (1, 2, 4):
        run = jax.jit(over_devices(multiply, jax.devices()[:devices]))
        assert run.lower(w, x[:devices]).compile().cost_analysis()["flops"] == 2 * 8 * 16 * 16


def test_each_seed_has_a_key_of_its_own_and_others_are_refused():
    keys = [jax.random.key_data(sampling.request_key(seed)).tolist() for seed in (0, 1, 2**31, 2**32 - 1)]
    assert len({tuple(key) for key in keys}) == 4
    assert jax.random.key_data(sampling.request_key(np.uint32(1))).tolist() == keys[1]
    for seed in (2**32, -1, 1.0):
        with pytest.raises(InputError, match=f"^seed={seed}: must be an integer, at least 0 and at most 4294967295$"):
            sampling.request_key(seed)


def test_arrays_that_do_not_fit_are_refused():
    images, labels = np.zeros((3, 2, 2, 1)), np.array([0, 1, 1])
    assert DataSpec.from_arrays(images, labels, levels=2).n_classes == 2  # whole numbers of any dtype
    high, half, nan = images.copy(), images.copy(), images.copy()
    high[1, 0, 1, 0], half[2, 1, 1, 0], nan[0, 0, 0, 0] = 2, 0.5, np.nan
    cases = [
        (high, labels, r"x: image 1 has a pixel 2.0; with levels=2 all are integers 0 \.\.\. 1"),
        (half, labels, r"x: image 2 has a pixel 0.5; with levels=2 all are integers 0 \.\.\. 1"),
        (nan, labels, r"x: image 0 has a pixel nan; with levels=2 all are integers 0 \.\.\. 1"),
        (images, labels[:2], r"y: must be \(3,\) integers, a label for each example, not int64 of shape \(2,\)"),
        (images, labels / 1, r"y: must be \(3,\) integers, a label for each example, not float64 of shape \(3,\)"),
        (images[:, 0, 0], labels - 1, r"y: has the label -1; labels are 0 \.\.\. n_classes - 1"),
        (images[0], None, r"x must be \(N, H, W, C\) images or \(N, D\) rows, not of shape \(2, 2, 1\)"),
    ]
    for x, y, line in cases:
        with pytest.raises(ValueError, match=f"^{line}$"):
            DataSpec.from_arrays(x, y, levels=2)
