"""The loop around a toy model whose training can be followed by hand."""

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
from synthjax.model import DataSpec, Model
from synthjax.train import loop
from synthjax.train.checkpoint import Checkpoints

COUNT = 40
X = np.random.default_rng(0).integers(0, 17, (COUNT, 2, 2, 1)).astype(np.uint8)
Y = (np.arange(COUNT) % 2).astype(np.int32)
SPEC = DataSpec.from_arrays(X, Y, levels=17)
KEY = jax.random.key(3)


def toy(minibatches=1, bad_step=None) -> Model:
    """Averages what it sees, adds a little noise, and remembers the step and the first row it saw last."""

    def init(key, batch):
        return {"mean": jax.random.normal(key, ()), "step": jnp.int32(-1), "row": batch.index.ravel()[0]}

    def step(key, i, state, batch):
        seen = batch.x.mean()
        mean = 0.9 * state["mean"] + 0.1 * seen + 0.01 * jax.random.normal(key, ())
        metrics = {"loss": seen, "i": jnp.float32(i), "count": jnp.float32(batch.y.size)}
        if bad_step is not None:
            metrics["poison"] = jnp.where(i == bad_step, jnp.nan, 0.0)
        return {"mean": mean, "step": jnp.int32(i), "row": batch.index.ravel()[0]}, metrics

    return Model(init, step, lambda key, state, labels: jnp.zeros((len(labels), 2, 2, 1)), minibatches=minibatches)


def trainer(model=None, minibatches=1, **fields) -> loop.Trainer:
    feed = Feed(X, Y, fields.pop("batch_size", 8), 0, minibatches, None, 4)
    fields.setdefault("devices", jax.devices()[:1])
    return loop.Trainer(model or toy(minibatches), feed, SPEC, **fields)


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
            log=lambda step, metrics: self.logged.append((step, metrics)),
            show=show,
            judge=judge,
            say=self.said.append,
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

    state, losses = model.init(jax.random.fold_in(seed_key, np.uint32(2**32 - 1)), encoded(0)), []
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
    other = Run(coach, tmp_path / "b", steps=20, log_every=10)()
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
    assert Checkpoints(tmp_path).record(16) == {"name": "toy", "step": 16}


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


@pytest.mark.parametrize(("minibatches", "count"), [(1, 8), (3, 24), (None, 40)])
def test_a_step_takes_what_the_model_asks_for(minibatches, count, tmp_path):
    run = Run(trainer(minibatches=minibatches), tmp_path, steps=3, log_every=1)()
    assert [metrics["count"] for _, metrics in run.logged] == [count] * 3
    feed = Feed(X, Y, 8, 0, minibatches)
    expected = [np.asarray(SPEC.encode(feed.batch(step).x)).mean() for step in range(3)]
    np.testing.assert_allclose([metrics["loss"] for _, metrics in run.logged], expected, rtol=1e-5)


@pytest.mark.parametrize("minibatches", [1, 3, None])
def test_batches_are_augmented_each_with_its_own_key(minibatches, tmp_path):
    def noise(key, batch):
        assert batch.x.ndim == 4  # one batch, in the model's space
        return batch._replace(x=jnp.full_like(batch.x, 5.0) + jax.random.normal(key, ()))

    run = Run(trainer(minibatches=minibatches, augment=noise), tmp_path, steps=4, log_every=1)()
    losses = np.array([metrics["loss"] for _, metrics in run.logged])
    assert (np.abs(losses - 5) < 4).all() and len(np.unique(losses)) == 4


@pytest.mark.parametrize("minibatches", [1, 3, None])
def test_several_devices_see_the_whole_batch(minibatches, tmp_path):
    if jax.device_count() < 4:
        pytest.skip("needs four devices")
    one = Run(trainer(minibatches=minibatches), tmp_path / "one", steps=6, log_every=1)()
    four = Run(trainer(minibatches=minibatches, devices=jax.devices()[:4]), tmp_path / "four", steps=6, log_every=1)()
    for (_, a), (_, b) in zip(one.logged, four.logged, strict=True):
        np.testing.assert_allclose(a["loss"], b["loss"], rtol=1e-5)
    np.testing.assert_allclose(one.state["mean"], four.state["mean"], rtol=1e-5)
    assert four.state["mean"].sharding.is_fully_replicated and len(four.state["mean"].sharding.device_set) == 4


def test_a_batch_that_devices_cannot_share_is_refused():
    if jax.device_count() < 4:
        pytest.skip("needs four devices")
    with pytest.raises(InputError, match="batch_size=6: must be a multiple of 4 devices"):
        trainer(batch_size=6, devices=jax.devices()[:4])


def test_seeds_are_separate_runs_on_the_same_batches(coach, tmp_path):
    ensemble = trainer(seeds=3)
    run = Run(ensemble, tmp_path / "all", steps=8, log_every=4)()
    assert run.state["mean"].shape == (3,) and len(np.unique(run.state["mean"])) == 3
    assert run.logged[0][1]["loss"].shape == (3,)
    assert len(np.unique(run.logged[0][1]["loss"])) == 1
    keys, keys_init = ensemble.keys(KEY), ensemble.keys(jax.random.fold_in(KEY, np.uint32(2**32 - 1)))
    for member in range(3):
        state = coach.init(keys_init[member])
        state, _ = coach.run(keys[member], 0, 8, state, loop.STEPS_PER_CALL)
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
