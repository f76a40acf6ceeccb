"""Two real processes train as one does, write one log, and survive the loss of either."""

import json
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from commands import (
    EVERY,
    NO_CURVE,
    SLOW,
    STEPS,
    TINY,
    command,
    end,
    environment,
    finish,
    newest,
    outcome,
    start,
    steps,
    wait_until,
    write_toy,
)
from in_process import run

import synthjax

STARTER = Path(__file__).parents[1] / "launch" / "local.py"
SECONDS_TO_SAVE = 200  # a call that compiles is finished first


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    """(workdir, more flags, hook) -> command line."""
    toy = write_toy(tmp_path_factory.mktemp("toy") / "toy.npz")
    return lambda workdir, *more, hook="": command(
        "train", *TINY, f"--dataset={toy}", f"--workdir={workdir}", *more, hook=NO_CURVE + hook
    )


def through_starter(line: list[str], *options: str) -> tuple[int, str, str]:
    """Runs it as two processes by launch/local.py."""
    return finish([sys.executable, str(STARTER), "--processes=2", *options, "--", *line, "--heartbeat_timeout=20"])


@pytest.fixture(scope="module")
def two(train, tmp_path_factory):
    """The workdir and the output of two processes that nothing happened to."""
    workdir = tmp_path_factory.mktemp("two")
    code, out, err = through_starter(train(workdir))
    assert code == 0, out + err
    return workdir, out


def test_two_processes_agree_with_one(two, train, tmp_path):
    _, _, _, *words = train(tmp_path)  # Python, -c and the program
    done = run("train", *words)
    assert done.code == 0, done.err
    alone, together = outcome(tmp_path), outcome(two[0])
    assert [row["step"] for row in together["rows"] if "loss" in row] == list(range(EVERY, STEPS + 1, EVERY))
    assert [row["step"] for row in together["rows"] if "diversity" in row] == [STEPS]
    for one, other in zip(alone["rows"], together["rows"], strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            assert other[name] == pytest.approx(value, rel=1e-4, abs=1e-5), (name, one["step"])
    _, state, _ = synthjax.load(tmp_path)
    _, state_of_two, _ = synthjax.load(two[0])
    for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(state_of_two), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_only_process_0_speaks_and_logs(two):
    workdir, out = two
    assert "[0] finished at step 60" in out
    assert not re.search(r"^\[1\] (step|finished|workdir|vae on)", out, re.MULTILINE)
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [*range(EVERY, STEPS + 1, EVERY), STEPS]  # diversity last
    assert newest(workdir) == STEPS
    assert len(list((workdir / "tensorboard").glob("*"))) <= 1


def start_two(line: list[str]) -> list[subprocess.Popen[str]]:
    """Starts it as two processes that count each other dead after 15 s of silence."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = ["--distributed", f"--coordinator_address=127.0.0.1:{port}", "--num_processes=2", "--heartbeat_timeout=15"]
    return [start([*line, *shared, f"--process_id={index}"], env=environment()) for index in range(2)]


@pytest.mark.slow
def test_two_processes_survive_sigterm(two, train, tmp_path):
    processes = start_two(train(tmp_path, hook=SLOW))
    try:
        wait_until(lambda: steps(tmp_path), processes)
        processes[1].send_signal(signal.SIGTERM)
        ends = [end(process, SECONDS_TO_SAVE) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [code for code, _, _ in ends] == [42, 42], ends
    stopped = newest(tmp_path)
    assert all(f"at step {stopped}, which is saved" in err for _, _, err in ends), ends

    code, out, err = through_starter(train(tmp_path))
    assert code == 0, out + err
    assert "continuing from step" in out
    straight, found = outcome(two[0]), outcome(tmp_path)
    assert (found["step"], found["state"]) == (straight["step"], straight["state"])


DIE = """
import os, signal, sys
from pathlib import Path
from synthjax.data.feed import Feed
_batch = Feed.batch
def batch(self, step, *args):
    dead = Path(FOLDER) / str(step)
    if VICTIMS.get(step) == sys.argv[-1] and not dead.exists():
        dead.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return _batch(self, step, *args)
Feed.batch = batch
"""


def test_the_starter_restarts_when_either_process_is_killed(two, train, tmp_path):
    victims = {23: "--process_id=1", 43: "--process_id=0"}
    hook = f"FOLDER, VICTIMS = {str(tmp_path)!r}, {victims!r}\n{DIE}"
    code, out, err = through_starter(train(tmp_path / "run", hook=hook), "--restarts=2")
    assert code == 0, out + err
    assert re.findall(r"process (\d) ended with 137", err) == ["1", "0"]  # 128 + SIGKILL
    survivors = re.findall(r"process (\d) ended with (?!137)(\d+)", err)
    assert survivors == [("0", "134"), ("1", "134")], out + err
    assert out.count("continuing from step") == 2 and "Traceback" not in out
    straight, found = outcome(two[0]), outcome(tmp_path / "run")
    assert (found["step"], found["state"]) == (straight["step"], straight["state"])
