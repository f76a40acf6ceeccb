"""The loop around a toy model whose training can be followed by hand."""

import os
import signal
import time
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_training import KEY, Run, assert_same_bits, by_hand, toy, trainer

from synthjax.errors import NonFiniteError, Preempted
from synthjax.train import loop
from synthjax.train.checkpoint import Checkpoints


@pytest.fixture(scope="module")
def toy_trainer():
    return trainer()


def test_training_is_the_python_loop(toy_trainer, tmp_path):
    run = Run(toy_trainer, tmp_path, steps=20, log_every=5)()
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
def test_where_calls_end_does_not_show(toy_trainer, tmp_path, plan):
    straight = Run(toy_trainer, tmp_path / "a", steps=20)()
    assert_same_bits(straight.state, Run(toy_trainer, tmp_path / "b", steps=20, **plan)().state)


def test_the_length_of_calls_does_not_show(toy_trainer, tmp_path, monkeypatch):
    straight = Run(toy_trainer, tmp_path / "a", steps=20, log_every=10)()
    monkeypatch.setattr(loop, "STEPS_PER_CALL", 3)
    short = trainer()
    assert (short.steps_per_call, toy_trainer.steps_per_call) == (3, 50)
    other = Run(short, tmp_path / "b", steps=20, log_every=10)()
    assert_same_bits(straight.state, other.state)
    for (step, metrics), (other_step, other_metrics) in zip(straight.logged, other.logged, strict=True):
        assert step == other_step and metrics["loss"] == other_metrics["loss"]


def test_an_interrupted_run_goes_on(toy_trainer, tmp_path):
    straight = Run(toy_trainer, tmp_path / "a", steps=20, log_every=5)()
    first = Run(toy_trainer, tmp_path / "b", steps=10, log_every=5)()
    second = Run(toy_trainer, tmp_path / "b", steps=20, log_every=5)()
    assert second.said == ["continuing from step 10"] and first.said == []
    assert_same_bits(straight.state, second.state)
    losses = [[(step, float(metrics["loss"])) for step, metrics in run.logged] for run in (straight, first, second)]
    assert losses[0] == losses[1] + losses[2]


def test_a_finished_run_has_nothing_to_do(toy_trainer, tmp_path):
    first = Run(toy_trainer, tmp_path, steps=10)()
    again = Run(toy_trainer, tmp_path, steps=10)()
    assert again.step == 10 and again.logged == []
    assert_same_bits(first.state, again.state)


def test_checkpoints_are_where_planned_and_carry_the_record(toy_trainer, tmp_path):
    Run(toy_trainer, tmp_path, steps=20, checkpoint_every=8)()
    assert sorted(int(path.name) for path in tmp_path.iterdir() if path.name.isdigit()) == [8, 16, 20]
    record = Checkpoints(tmp_path).record(16)
    assert record.items() >= {"name": "toy", "step": 16}.items()
    assert record["window"]["count"] == 16


def test_samples_are_shown_as_training_goes(toy_trainer, tmp_path):
    shown = []
    Run(
        toy_trainer,
        tmp_path,
        steps=10,
        sample_every=4,
        show=lambda step, state: shown.append((step, int(state["step"]))),
    )()
    assert shown == [(4, 3), (8, 7)]


def test_a_grid_of_the_step_that_a_run_goes_on_from_is_shown_again(toy_trainer, tmp_path):
    """Whatever ended the run may have ended it inside that grid."""
    shown = []
    Run(toy_trainer, tmp_path, steps=4, sample_every=4)()
    Run(
        toy_trainer,
        tmp_path,
        steps=10,
        sample_every=4,
        show=lambda step, state: shown.append((step, int(state["step"]))),
    )()
    assert shown == [(4, 3), (8, 7)]


def test_what_a_grid_takes_is_no_training_time(toy_trainer, tmp_path, monkeypatch):
    slept = []
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + 1000 * len(slept))
    monkeypatch.setattr(loop, "time", clock)
    run = Run(
        toy_trainer, tmp_path, steps=8, log_every=4, sample_every=4, show=lambda step, state: slept.append(step)
    )()
    assert [step for step, _ in run.logged] == [4, 8] and slept == [4]
    assert run.logged[1][1]["steps_per_second"] > 4 / 500


def test_scores_are_asked_for_as_training_goes_and_at_the_end(toy_trainer, tmp_path):
    judged = []

    def run(steps, name="a", **plan):
        judge = lambda step, state: judged.append((step, int(state["step"])))  # noqa: E731
        return Run(toy_trainer, tmp_path / name, steps=steps, judge=judge, **plan)().state

    state = run(10, eval_every=4, checkpoint_every=3)
    assert judged == [(4, 3), (8, 7), (10, 9)]
    assert_same_bits(state, Run(toy_trainer, tmp_path / "b", steps=10)().state)
    run(10, eval_every=4)  # what ended the run may have ended that score
    assert judged[3:] == [(10, 9)]
    run(10, "c")
    assert len(judged) == 4


def test_another_key_is_another_run(toy_trainer, tmp_path):
    one = Run(toy_trainer, tmp_path / "a", steps=5)()
    other = Run(toy_trainer, tmp_path / "b", key=jax.random.key(4), steps=5)()
    assert float(one.state["mean"]) != float(other.state["mean"])


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


def test_minutes_end_a_run_in_time_and_saved(toy_trainer, tmp_path):
    run = Run(toy_trainer, tmp_path, steps=10**9, log_every=10**9, checkpoint_every=10**9, minutes=0.02)()
    assert 0 < run.step < 10**9
    assert run.checkpoints.newest() == run.step == int(run.state["step"]) + 1


def test_sigterm_saves_and_the_same_command_goes_on(toy_trainer, tmp_path):
    straight = Run(toy_trainer, tmp_path / "a", steps=200, log_every=10)()
    before = signal.getsignal(signal.SIGTERM)
    run = Run(toy_trainer, tmp_path / "b", steps=200, log_every=10)
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
    assert_same_bits(straight.state, Run(toy_trainer, tmp_path / "b", steps=200)().state)


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
