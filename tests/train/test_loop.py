"""The loop around a toy model whose training can be followed by hand."""

import functools
import os
import signal
import time
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from synthjax.data.feed import Feed
from synthjax.errors import InputError, NonFiniteError, Preempted
from synthjax.model import Batch, DataSpec, Model
from synthjax.models import table_vae, vae
from synthjax.train import loop
from synthjax.train.checkpoint import Checkpoints

COUNT = 40
X = np.random.default_rng(0).integers(0, 17, (COUNT, 2, 2, 1)).astype(np.uint8)
Y = (np.arange(COUNT) % 2).astype(np.int32)
SPEC = DataSpec.from_arrays(X, Y, levels=17)
KEY = jax.random.key(3)


def several(n_batches):
    """The fields of a feed, and of a model, of so many batches a step; None: of the whole set."""
    if n_batches is None:
        return {"kind": "dataset"}
    return {"kind": "batch"} if n_batches == 1 else {"kind": "batches", "n_batches": n_batches}


def toy(n_batches=1, bad_step=None) -> Model:
    """Averages what it sees, adds a little noise, and remembers the step and the first row it saw last."""

    def init(key):
        return {"mean": jax.random.normal(key, ()), "step": jnp.int32(-1), "row": jnp.int32(-1)}

    def step(key, i, state, batch):
        seen = batch.x.mean()
        mean = 0.9 * state["mean"] + 0.1 * seen + 0.01 * jax.random.normal(key, ())
        metrics = {"loss": seen, "i": jnp.float32(i), "count": jnp.float32(batch.y.size)}
        if bad_step is not None:
            metrics["poison"] = jnp.where(i == bad_step, jnp.nan, 0.0)
        return {"mean": mean, "step": jnp.int32(i), "row": batch.index.ravel()[0]}, metrics

    kind, count = several(n_batches)["kind"], n_batches or 1
    sample = lambda key, state, labels: jnp.zeros((len(labels), 2, 2, 1))  # noqa: E731
    return Model(init, step, sample, feed=kind, n_batches=count)


def trainer(model=None, n_batches=1, feed=None, **fields) -> loop.Trainer:
    feed = feed or Feed(X, Y, fields.pop("batch_size", 8), **several(n_batches), multiple=4)
    fields.setdefault("devices", jax.devices()[:1])
    return loop.Trainer(model or toy(n_batches), feed, SPEC, **fields)


class Run:
    """One call of `train` and what it told."""

    def __init__(self, coach, folder, key=KEY, show=None, judge=None, **plan):
        self.said, self.logged = [], []
        self.checkpoints = Checkpoints(folder, say=self.said.append)
        self.begin = lambda: loop.train(
            coach,
            loop.Plan(**plan),
            key,
            self.checkpoints,
            {"name": "toy"},
            loop.Hooks(
                log=lambda step, metrics: self.logged.append((step, metrics)),
                show=show,
                score=judge,
                say=self.said.append,
            ),
        )

    def __call__(self):
        self.step, self.state = self.begin()
        return self


@pytest.fixture(scope="module")
def coach():
    return trainer()


def by_hand(steps, seed_key=KEY):
    """The toy's training as a Python loop."""
    model, feed = toy(), trainer().feed

    def encoded(step):
        batch = feed.batch(step)
        return batch._replace(x=SPEC.encode(batch.x))

    state, losses = model.init(jax.random.fold_in(seed_key, np.uint32(2**32 - 1))), []
    for i in range(steps):
        state, metrics = model.step(jax.random.fold_in(seed_key, i), i, state, encoded(i))
        losses.append(float(metrics["loss"]))
    return state, losses


def assert_same_bits(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_training_is_the_python_loop(coach, tmp_path):
    run = Run(coach, tmp_path, steps=20, log_every=5)()
    state, losses = by_hand(20)
    assert run.step == 20 and int(run.state["step"]) == 19
    np.testing.assert_allclose(run.state["mean"], state["mean"], rtol=1e-5)
    assert int(run.state["row"]) == int(state["row"])
    assert [step for step, _ in run.logged] == [5, 10, 15, 20]
    logged = [metrics["loss"] for _, metrics in run.logged]
    np.testing.assert_allclose(logged, np.mean(np.reshape(losses, (4, 5)), axis=1), rtol=1e-5)
    assert all(metrics["steps_per_second"] > 0 for _, metrics in run.logged)


@pytest.mark.parametrize(
    "plan", [{"checkpoint_every": 7}, {"checkpoint_every": 1, "log_every": 3}, {"sample_every": 4}]
)
def test_where_calls_end_does_not_show(coach, tmp_path, plan):
    straight = Run(coach, tmp_path / "a", steps=20)()
    assert_same_bits(straight.state, Run(coach, tmp_path / "b", steps=20, **plan)().state)


def test_the_length_of_calls_does_not_show(coach, tmp_path, monkeypatch):
    straight = Run(coach, tmp_path / "a", steps=20, log_every=10)()
    monkeypatch.setattr(loop, "STEPS_PER_CALL", 3)
    short = trainer()
    assert (short.steps_per_call, coach.steps_per_call) == (3, 50)
    other = Run(short, tmp_path / "b", steps=20, log_every=10)()
    assert_same_bits(straight.state, other.state)
    for (step, metrics), (other_step, other_metrics) in zip(straight.logged, other.logged, strict=True):
        assert step == other_step and metrics["loss"] == other_metrics["loss"]


def test_an_interrupted_run_goes_on(coach, tmp_path):
    straight = Run(coach, tmp_path / "a", steps=20, log_every=5)()
    first = Run(coach, tmp_path / "b", steps=10, log_every=5)()
    second = Run(coach, tmp_path / "b", steps=20, log_every=5)()
    assert second.said == ["continuing from step 10"] and first.said == []
    assert_same_bits(straight.state, second.state)
    losses = [[(step, float(metrics["loss"])) for step, metrics in run.logged] for run in (straight, first, second)]
    assert losses[0] == losses[1] + losses[2]


def test_a_finished_run_has_nothing_to_do(coach, tmp_path):
    first = Run(coach, tmp_path, steps=10)()
    again = Run(coach, tmp_path, steps=10)()
    assert again.step == 10 and again.logged == []
    assert_same_bits(first.state, again.state)


def test_checkpoints_are_where_planned_and_carry_the_record(coach, tmp_path):
    Run(coach, tmp_path, steps=20, checkpoint_every=8)()
    assert sorted(int(path.name) for path in tmp_path.iterdir() if path.name.isdigit()) == [8, 16, 20]
    record = Checkpoints(tmp_path).record(16)
    assert record.items() >= {"name": "toy", "step": 16}.items()
    assert record["window"]["count"] == 16


def test_samples_are_shown_as_training_goes(coach, tmp_path):
    shown = []
    Run(coach, tmp_path, steps=10, sample_every=4, show=lambda step, state: shown.append((step, int(state["step"]))))()
    assert shown == [(4, 3), (8, 7)]


def test_a_grid_of_the_step_that_a_run_goes_on_from_is_shown_again(coach, tmp_path):
    """Whatever ended the run may have ended it inside that grid."""
    shown = []
    Run(coach, tmp_path, steps=4, sample_every=4)()
    Run(coach, tmp_path, steps=10, sample_every=4, show=lambda step, state: shown.append((step, int(state["step"]))))()
    assert shown == [(4, 3), (8, 7)]


def test_what_a_grid_takes_is_no_training_time(coach, tmp_path, monkeypatch):
    slept = []
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + 1000 * len(slept))
    monkeypatch.setattr(loop, "time", clock)
    run = Run(coach, tmp_path, steps=8, log_every=4, sample_every=4, show=lambda step, state: slept.append(step))()
    assert [step for step, _ in run.logged] == [4, 8] and slept == [4]
    assert run.logged[1][1]["steps_per_second"] > 4 / 500


def test_scores_are_asked_for_as_training_goes_and_at_the_end(coach, tmp_path):
    judged = []

    def run(steps, name="a", **plan):
        judge = lambda step, state: judged.append((step, int(state["step"])))  # noqa: E731
        return Run(coach, tmp_path / name, steps=steps, judge=judge, **plan)().state

    state = run(10, eval_every=4, checkpoint_every=3)
    assert judged == [(4, 3), (8, 7), (10, 9)]
    assert_same_bits(state, Run(coach, tmp_path / "b", steps=10)().state)
    run(10, eval_every=4)  # what ended the run may have ended that score
    assert judged[3:] == [(10, 9)]
    run(10, "c")
    assert len(judged) == 4


def test_another_key_is_another_run(coach, tmp_path):
    one = Run(coach, tmp_path / "a", steps=5)()
    other = Run(coach, tmp_path / "b", key=jax.random.key(4), steps=5)()
    assert float(one.state["mean"]) != float(other.state["mean"])


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


def test_any_function_of_the_step_is_a_feed(coach, tmp_path):
    """Its runs are those of a `Feed` of the same rows, interrupted or not."""
    asked = []

    def feed(step):
        asked.append(step)
        return Feed(X, Y, 8).batch(step)

    own = trainer(feed=feed)
    straight = Run(own, tmp_path / "a", steps=20, log_every=5)()
    assert set(asked) == set(range(20))
    assert_same_bits(straight.state, Run(coach, tmp_path / "b", steps=20)().state)
    Run(own, tmp_path / "c", steps=7)()
    second = Run(trainer(feed=feed), tmp_path / "c", steps=20, log_every=5)()
    assert second.said == ["continuing from step 7"]
    assert_same_bits(straight.state, second.state)


def test_a_map_dataset_of_grain_is_a_feed(tmp_path):
    grain = pytest.importorskip("grain.python", reason="grain is not installed")
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


def test_seeds_are_separate_runs_on_the_same_batches(coach, tmp_path):
    ensemble = trainer(seeds=3)
    run = Run(ensemble, tmp_path / "all", steps=8, log_every=4)()
    assert run.state["mean"].shape == (3,) and len(np.unique(run.state["mean"])) == 3
    assert run.logged[0][1]["loss"].shape == (3,)
    assert len(np.unique(run.logged[0][1]["loss"])) == 1
    keys, keys_init = ensemble.keys(KEY), ensemble.keys(jax.random.fold_in(KEY, np.uint32(2**32 - 1)))
    for member in range(3):
        state = coach.init(keys_init[member])
        state, _ = coach.run(keys[member], 0, 8, state)
        np.testing.assert_allclose(run.state["mean"][member], state["mean"], rtol=1e-5)


# --- early ends --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "newest", "kept"),
    [(7, 5, "the newest checkpoint is of step 5"), (2, None, "there is no checkpoint yet")],
)
def test_a_metric_that_is_not_finite_stops_the_run(bad, newest, kept, tmp_path):
    run = Run(trainer(toy(bad_step=bad)), tmp_path, steps=20, log_every=1, checkpoint_every=5)
    with pytest.raises(NonFiniteError, match=f"metric 'poison' is not finite at step {bad}; {kept}"):
        run()
    assert run.checkpoints.newest() == newest
    assert [step for step, _ in run.logged] == list(range(1, len(run.logged) + 1))


def test_the_earliest_of_several_bad_metrics_is_named(tmp_path):
    """The first by name goes wrong a step later, as a critic's do that is shown what a broken generator makes."""
    model = toy()

    def step(key, i, state, batch):
        state, metrics = model.step(key, i, state, batch)
        bad = {name: jnp.where(i >= first, jnp.nan, 1.0) for name, first in (("a", 4), ("b", 3), ("c", 3))}
        return state, metrics | bad

    with pytest.raises(NonFiniteError, match="metrics 'b', 'c' are not finite at step 3; there is no checkpoint yet"):
        Run(trainer(model._replace(step=step)), tmp_path, steps=20)()


def test_one_bad_member_of_several_stops_the_run(tmp_path):
    model = toy()

    def step(key, i, state, batch):
        state, metrics = model.step(key, i, state, batch)
        return state, metrics | {"spread": jnp.sqrt(state["mean"] - low)}

    low = float(np.median(trainer(seeds=3).init(jax.random.fold_in(KEY, np.uint32(2**32 - 1)))["mean"]))
    with pytest.raises(NonFiniteError, match="metric 'spread' is not finite at step"):
        Run(trainer(model._replace(step=step), seeds=3), tmp_path, steps=5)()


def test_minutes_end_a_run_in_time_and_saved(coach, tmp_path):
    run = Run(coach, tmp_path, steps=10**9, log_every=10**9, checkpoint_every=10**9, minutes=0.02)()
    assert 0 < run.step < 10**9
    assert run.checkpoints.newest() == run.step == int(run.state["step"]) + 1


def test_sigterm_saves_and_the_same_command_goes_on(coach, tmp_path):
    straight = Run(coach, tmp_path / "a", steps=200, log_every=10)()
    before = signal.getsignal(signal.SIGTERM)
    run = Run(coach, tmp_path / "b", steps=200, log_every=10)
    note, told = run.logged.append, []

    def terminate(row):
        note(row)
        if not told:
            told.append(True)
            os.kill(os.getpid(), signal.SIGTERM)

    run.logged = type("Rows", (), {"append": staticmethod(terminate)})()
    with pytest.raises(Preempted, match=r"asked to stop at step \d+, which is saved"):
        run()
    assert signal.getsignal(signal.SIGTERM) is before
    assert 0 < run.checkpoints.newest() < 200
    assert_same_bits(straight.state, Run(coach, tmp_path / "b", steps=200)().state)


def test_the_first_ctrl_c_asks_to_stop_and_the_second_ends_the_process():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a process in the background ignores it
    with loop.StopSignal() as asked:
        assert not asked()
        signal.raise_signal(signal.SIGINT)
        assert asked() and asked.number == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.signal(signal.SIGINT, before) is signal.default_int_handler
    assert type(loop.preempted(3, signal.SIGINT)).exit_code == 130
    assert type(loop.preempted(3, signal.SIGTERM)).exit_code == 42
