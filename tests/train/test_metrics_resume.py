"""metrics.jsonl of a run that was killed and continued is that of a run that nothing happened to."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from synthjax.errors import Preempted
from synthjax.train import loop, metrics
from synthjax.train.checkpoint import Checkpoints

STEPS, LOG_EVERY, SAVE_EVERY = 23, 7, 5
VALUES = np.random.default_rng(0).normal(size=(2, STEPS)).astype(np.float32)
"""What two members measure at each step."""


class Killed(BaseException):
    """As SIGKILL, it passes every `except Exception`."""


class Trainer:
    """Counts its steps; is killed in the call that reaches a step."""

    replicated = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    steps_per_call = loop.STEPS_PER_CALL

    def __init__(self, killed_at=None):
        self.killed_at = killed_at

    def keys(self, key):
        return key

    def init(self, key):
        return {"steps": jnp.int32(0)}

    def run(self, keys, start, stop, state):
        if self.killed_at is not None and stop >= self.killed_at:
            raise Killed
        values = np.zeros((2, self.steps_per_call), np.float32)
        values[:, : stop - start] = VALUES[:, start:stop]
        return {"steps": jnp.int32(stop)}, {"loss": values, "norm": values[0] ** 2}


def train(folder, trainer, **plan):
    """One process of a run, as `launch.train` makes it."""
    checkpoints = Checkpoints(folder / "checkpoints", say=lambda line: None)
    writer = metrics.MetricsWriter(folder, checkpoints.newest() or 0)
    hooks = loop.Hooks(log=writer.write, saving=writer.flush, say=lambda line: None)
    plan = loop.Plan(STEPS, LOG_EVERY, SAVE_EVERY, **plan)
    try:
        return loop.train(trainer, plan, jax.random.key(0), checkpoints, {"name": "toy"}, hooks)
    finally:
        writer.close()


def rows(folder):
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for row in found:
        assert row.pop("steps_per_second") > 0
    return found


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    folder = tmp_path_factory.mktemp("straight")
    train(folder, Trainer())
    return rows(folder)


def test_each_row_is_the_mean_of_its_steps(straight):
    assert [row["step"] for row in straight] == [7, 14, 21, 23]
    for row, (start, stop) in zip(straight, [(0, 7), (7, 14), (14, 21), (21, 23)], strict=True):
        np.testing.assert_allclose(row["loss"], VALUES[:, start:stop].mean(axis=1), atol=1e-6)
        np.testing.assert_allclose(row["norm"], (VALUES[0, start:stop] ** 2).mean(), atol=1e-6)


@pytest.mark.parametrize("kill", [3, 6, 8, 11, 15, 16, 21, 22, 23])
def test_a_kill_anywhere_leaves_the_same_rows(tmp_path, straight, kill):
    """Before the first checkpoint, between a log and a checkpoint and the other way round, at both, at the end."""
    with pytest.raises(Killed):
        train(tmp_path, Trainer(kill))
    train(tmp_path, Trainer())
    assert rows(tmp_path) == straight


def test_kills_again_and_again_leave_the_same_rows(tmp_path, straight):
    for kill in (7, 12, 13, 19, 23):
        with pytest.raises(Killed):
            train(tmp_path, Trainer(kill))
    train(tmp_path, Trainer())
    assert rows(tmp_path) == straight


@pytest.mark.parametrize("stop", ["minutes", "SIGTERM"])
def test_a_stop_at_any_step_leaves_the_same_rows(tmp_path, straight, stop, monkeypatch):
    """Of --minutes, which ends and saves at whatever step the time is over, and of a signal."""
    for _ in range(30):
        with monkeypatch.context() as patch:
            if stop == "minutes":
                patch.setattr(loop, "_past", lambda deadline: deadline is not None)
            else:
                asked = iter([False, False])
                patch.setattr(loop.StopSignal, "__call__", lambda self, asked=asked: next(asked, True))
            try:
                step, _ = train(tmp_path, Trainer(), minutes=1.0)
            except Preempted:
                step = Checkpoints(tmp_path / "checkpoints").newest()
        if step == STEPS:
            break
    assert step == STEPS
    assert rows(tmp_path) == straight
