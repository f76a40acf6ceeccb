"""A training job on a table that is killed at any instant ends, given again, with the same bits, scores and file."""

import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from commands import EVERY, NO_CURVE, SLOW, STEPS, command, end, finish, newest, outcome, start, steps, wait_until

import synthjax
from synthjax.launch.sample import state_sha256

GAN = [
    "--model=table_wcgan",
    "--target=churned",
    "--config.model.hidden=8",
    "--config.model.learning_rate=1e-3",
    "--batch_size=16",
    f"--steps={STEPS}",
    f"--config.checkpoint_every={EVERY}",
    f"--config.log_every={EVERY}",
    f"--eval_every={EVERY + 5}",
]


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    """(workdir, hook) -> command line."""
    rng = np.random.default_rng(0)
    ages, towns = rng.integers(18, 80, 450), rng.choice(["Ayr", "Bath", ""], 450)
    rows = [f"{age},{town},{('no', 'yes')[age > 45]}\n" for age, town in zip(ages.tolist(), towns, strict=True)]
    table = tmp_path_factory.mktemp("table") / "customers.csv"
    table.write_text("age,town,churned\n" + "".join(rows))
    return lambda workdir, hook="": command(
        "train", *GAN, f"--dataset={table}", f"--workdir={workdir}", hook=NO_CURVE + hook
    )


def result(workdir: Path) -> dict:
    """All that two equal runs have in common, a table drawn from the best state included."""
    line = command(
        "sample", f"--workdir={workdir}", "--checkpoint=best", "--rows=80", "--batch_size=40", f"--out={workdir}/a.csv"
    )
    code, _, err = finish(line)
    assert code == 0, err
    _, best, _ = synthjax.load(workdir, checkpoint="best")
    return {**outcome(workdir), "best": state_sha256(best), "table": (workdir / "a.csv").read_bytes()}


@pytest.fixture(scope="module")
def straight(train, tmp_path_factory) -> dict:
    """The run that nothing happened to."""
    workdir = tmp_path_factory.mktemp("straight")
    code, _, err = finish(train(workdir))
    assert code == 0, err
    found = result(workdir)
    assert found["step"] == STEPS
    assert [row["step"] for row in found["rows"] if "holdout_c2st" in row] == [15, 30, 45, 60]
    return found


@pytest.mark.slow
def test_kill_9_at_random_instants_ends_with_the_same_bits_and_file(train, straight, tmp_path):
    seed = time.time_ns() % 2**32
    chance = random.Random(seed)
    for _ in range(2):
        process = start(train(tmp_path, hook=SLOW))
        goal = max(steps(tmp_path), default=0) + EVERY * chance.randint(1, 2)
        wait_until(lambda goal=goal: max(steps(tmp_path), default=0) >= goal, [process])
        time.sleep(chance.uniform(0, 1.0))
        process.kill()
        assert end(process)[0] == -signal.SIGKILL, seed
    assert (newest(tmp_path) or 0) < STEPS, seed
    code, out, err = finish(train(tmp_path))
    assert code == 0, (seed, err)
    assert "continuing from step" in out
    assert result(tmp_path) == straight, seed
