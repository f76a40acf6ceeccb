"""What a step is fed, by the feed or by any function, and how devices and seeds share it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_training import COUNT, KEY, SPEC, Run, X, Y, assert_same_bits, several, trainer

from synthjax.data.feed import Feed
from synthjax.errors import InputError
from synthjax.model import Batch, DataSpec
from synthjax.models import table_vae, vae
from synthjax.train import loop


@pytest.fixture(scope="module")
def toy_trainer():
    return trainer()


# --- what a step is fed ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n_batches", "count"), [(1, 8), (3, 24), (None, 40)])
def test_a_step_takes_what_the_model_asks_for(n_batches, count, tmp_path):
    run = Run(trainer(n_batches=n_batches), tmp_path, steps=3, log_every=1)()
    assert [metrics["count"] for _, metrics in run.logged] == [count] * 3
    feed = Feed(X, Y, 8, **several(n_batches))
    expected = [np.asarray(SPEC.encode(feed.batch(step).x)).mean() for step in range(3)]
    np.testing.assert_allclose([metrics["loss"] for _, metrics in run.logged], expected, rtol=1e-5)


@pytest.mark.parametrize("n_batches", [1, 3, None])
def test_batches_are_augmented_each_with_its_own_key(n_batches, tmp_path):
    def noise(key, batch):
        assert batch.x.ndim == 4  # one batch, in the model's space
        return batch._replace(x=jnp.full_like(batch.x, 5.0) + jax.random.normal(key, ()))

    run = Run(trainer(n_batches=n_batches, augment=noise), tmp_path, steps=4, log_every=1)()
    losses = np.array([metrics["loss"] for _, metrics in run.logged])
    assert (np.abs(losses - 5) < 4).all() and len(np.unique(losses)) == 4


@pytest.mark.parametrize("n_batches", [1, 3, None])
def test_several_devices_see_the_whole_batch(n_batches, tmp_path):
    if jax.device_count() < 4:
        pytest.skip("needs four devices")
    one = Run(trainer(n_batches=n_batches), tmp_path / "one", steps=6, log_every=1)()
    four = Run(trainer(n_batches=n_batches, devices=jax.devices()[:4]), tmp_path / "four", steps=6, log_every=1)()
    for (_, a), (_, b) in zip(one.logged, four.logged, strict=True):
        np.testing.assert_allclose(a["loss"], b["loss"], rtol=1e-5)
    np.testing.assert_allclose(one.state["mean"], four.state["mean"], rtol=1e-5)
    assert four.state["mean"].sharding.is_fully_replicated and len(four.state["mean"].sharding.device_set) == 4


def test_a_batch_that_devices_cannot_share_is_refused():
    if jax.device_count() < 4:
        pytest.skip("needs four devices")
    with pytest.raises(InputError, match="^batch_size=6: must be a multiple of 4 devices$"):
        trainer(batch_size=6, devices=jax.devices()[:4])
    with pytest.raises(InputError, match="^batch_size=40: must be a multiple of 3 devices$"):
        trainer(feed=lambda step: Feed(X, Y, 40).batch(step), devices=jax.devices()[:3])


@pytest.mark.parametrize(
    ("n_batches", "change", "message"),
    [
        (1, lambda b: b._replace(x=b.x[..., 0]), r"x has shape \(8, 2, 2\) and y \(8,\); .* x of shape \(B, 2, 2, 1\)"),
        (1, lambda b: b._replace(x=b.x[:4]), r"x has shape \(4, 2, 2, 1\) and y \(8,\)"),
        (1, lambda b: b._replace(y=b.y[:, None]), r"y \(8, 1\)"),
        (1, lambda b: b._replace(weight=b.weight[:4]), r"weight has shape \(4,\)"),
        (1, lambda b: b._replace(index=b.index[None]), r"index has shape \(1, 8\)"),
        (3, lambda b: b, r"takes x of shape \(3, B, 2, 2, 1\)"),
        (1, lambda b: (b.x, b.y), "gives a tuple; a step of this model takes a Batch"),
        (1, lambda b: None, "gives a NoneType"),
    ],
)  # fmt: skip
def test_a_batch_of_another_form_is_refused(n_batches, change, message):
    with pytest.raises(InputError, match=rf"^feed: .*{message}") as error:
        trainer(n_batches=n_batches, feed=lambda step: change(Feed(X, Y, 8).batch(step)))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("size", [1, 4])
def test_a_later_batch_of_another_size_is_refused(size):
    """The last of an epoch is often smaller; one of a single example would be repeated without a word."""
    one = trainer(feed=lambda step: Feed(X, Y, 8 if step < 5 else size).batch(step))
    one.batches(0, 5)
    with pytest.raises(InputError, match=rf"^feed: the batch of step 5 has shapes \[\({size}, 2, 2, 1\), .*\(8,\)\]$"):
        one.batches(3, 7)


# --- feeds of one's own ------------------------------------------------------------------------------------------


def test_any_function_of_the_step_is_a_feed(toy_trainer, tmp_path):
    """Its runs are those of a `Feed` of the same rows, interrupted or not."""
    asked = []

    def feed(step):
        asked.append(step)
        return Feed(X, Y, 8).batch(step)

    own = trainer(feed=feed)
    straight = Run(own, tmp_path / "a", steps=20, log_every=5)()
    assert set(asked) == set(range(20))
    assert_same_bits(straight.state, Run(toy_trainer, tmp_path / "b", steps=20)().state)
    Run(own, tmp_path / "c", steps=7)()
    second = Run(trainer(feed=feed), tmp_path / "c", steps=20, log_every=5)()
    assert second.said == ["continuing from step 7"]
    assert_same_bits(straight.state, second.state)


def test_a_map_dataset_of_grain_is_a_feed(tmp_path):
    grain = pytest.importorskip("grain.python", reason="grain is not installed (pip install grain)")
    rows = grain.MapDataset.range(COUNT).seed(0).shuffle().repeat().batch(8)
    batches = rows.map(lambda r: Batch(X[r], Y[r], np.ones(8, np.float32), np.asarray(r, np.int32)))
    straight = Run(trainer(feed=batches.__getitem__), tmp_path / "a", steps=12)()
    Run(trainer(feed=batches.__getitem__), tmp_path / "b", steps=5)()
    assert_same_bits(straight.state, Run(trainer(feed=batches.__getitem__), tmp_path / "b", steps=12)().state)


@pytest.mark.parametrize(("room", "steps"), [(10**9, 50), (8 * 16 * 7, 7), (8 * 16 * 7 - 1, 6), (1, 1)])
def test_a_call_takes_as_many_steps_as_their_batches_have_room(room, steps, monkeypatch, tmp_path):
    """An example is 4 bytes of pixels and 4 each of label, weight and index. Their number changes no result."""
    monkeypatch.setattr(loop, "BYTES_PER_CALL", room)
    one = trainer()
    assert one.steps_per_call == steps and one.batches(0, 1).x.shape == (steps, 8, 2, 2, 1)
    run = Run(one, tmp_path, steps=9, log_every=3)()
    assert_same_bits(run.state, Run(trainer(n_batches=1), tmp_path / "other", steps=9)().state)


# --- several devices ---------------------------------------------------------------------------------------------


@functools.cache
def compiled_step(family: str, devices: int):
    """The compiled steps of a trainer of a small VAE on so many devices."""
    if family == "vae":
        x, config = np.zeros((256, 8, 8, 1), np.uint8), vae.Config(latents=8, channels=(8,), hidden=(64,))
    else:
        x, config = np.random.default_rng(0).normal(size=(256, 20)), table_vae.Config(latents=8, hidden=(64,))
    x, y = np.asarray(x, np.uint8 if family == "vae" else np.float32), np.arange(256, dtype=np.int32) % 2
    spec = DataSpec.from_arrays(x, y)
    model = {"vae": vae, "table_vae": table_vae}[family].build(config, spec)
    one = loop.Trainer(model, Feed(x, y, 256), spec, devices=jax.devices()[:devices])
    like = jax.eval_shape(one.init, KEY)
    state = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=one.replicated), like)
    steps = jax.jit(one._steps, out_shardings=one.replicated)
    return steps.lower(KEY, np.int32(0), np.int32(1), state, one.batches(0, 1)).compile()


@pytest.mark.parametrize("family", ["vae", "table_vae"])
@pytest.mark.parametrize("devices", [2, 4])
def test_devices_share_the_work(family, devices):
    """Each does its part of the products; gradients are summed, and no batch goes from one to another."""
    if jax.device_count() < 4:
        pytest.skip("needs four devices")
    flops = [compiled_step(family, count).cost_analysis()["flops"] for count in (1, devices)]
    # What is left of each is the optimiser's, which all do.
    assert flops[1] < flops[0] * (1 / devices + 0.1)
    text = compiled_step(family, devices).as_text()
    assert "all-reduce" in text and "all-gather" not in text and "all-to-all" not in text


def test_seeds_are_separate_runs_on_the_same_batches(toy_trainer, tmp_path):
    ensemble = trainer(seeds=3)
    run = Run(ensemble, tmp_path / "all", steps=8, log_every=4)()
    assert run.state["mean"].shape == (3,) and len(np.unique(run.state["mean"])) == 3
    assert run.logged[0][1]["loss"].shape == (3,)
    assert len(np.unique(run.logged[0][1]["loss"])) == 1
    keys, keys_init = ensemble.keys(KEY), ensemble.keys(jax.random.fold_in(KEY, np.uint32(2**32 - 1)))
    for member in range(3):
        state = toy_trainer.init(keys_init[member])
        state, _ = toy_trainer.run(keys[member], 0, 8, state)
        np.testing.assert_allclose(run.state["mean"][member], state["mean"], rtol=1e-5)
