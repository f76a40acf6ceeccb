"""Whatever happens to a run, the same command ends it with the same bits, or one clear line says why not."""

import os
import random
import re
import shutil
import signal
import time
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
    files,
    finish,
    newest,
    outcome,
    start,
    steps,
    wait_until,
    write_toy,
)
from in_process import End, run

import synthjax
from synthjax import data
from synthjax.data.feed import Feed
from synthjax.errors import CheckpointError, InputError
from synthjax.launch import config, runs
from synthjax.launch.sample import state_sha256
from synthjax.privacy.ledger import VARIABLE, Ledger

DIE_IN_COMMIT = """
import os, signal
from synthjax.train import checkpoint
_write = checkpoint._write_manifest
checkpoint._write_manifest = lambda path: os.kill(os.getpid(), signal.SIGKILL) if path.name == "40" else _write(path)
"""
DIE_IN_WRITE = """
import glob, os, signal, sys, threading
folder = [word for word in sys.argv if word.startswith("--workdir=")][0].removeprefix("--workdir=") + "/checkpoints"
def watch():
    while not glob.glob(folder + "/50*"):
        pass
    os.kill(os.getpid(), signal.SIGKILL)
threading.Thread(target=watch, daemon=True).start()
"""
SMALL_FILES = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))"


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return write_toy(tmp_path_factory.mktemp("toy") / "toy.npz")


@pytest.fixture(scope="module")
def train(toy):
    """(workdir, more flags, hook) -> command line."""
    return lambda workdir, *more, hook="": command(
        "train", *TINY, f"--dataset={toy}", f"--workdir={workdir}", *more, hook=NO_CURVE + hook
    )


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Where the run that nothing happened to keeps what it compiled."""
    return tmp_path_factory.mktemp("cache")


def caching(folder: Path) -> dict[str, str]:
    return environment(JAX_COMPILATION_CACHE_DIR=str(folder))


@pytest.fixture(scope="module")
def straight(train, cache, tmp_path_factory):
    """The run that nothing happened to."""
    workdir = tmp_path_factory.mktemp("straight")
    code, _, err = finish(train(workdir), env=caching(cache))
    assert code == 0, err
    found = outcome(workdir)
    assert found["step"] == STEPS
    assert [row["step"] for row in found["rows"] if "loss" in row] == list(range(EVERY, STEPS + 1, EVERY))
    assert [row["step"] for row in found["rows"] if "diversity" in row] == [STEPS]
    return found


@pytest.fixture(scope="module")
def killed(straight, train, tmp_path_factory):
    """A run that was killed inside the commit of step 40: 10, 20 and 30 are good."""
    workdir = tmp_path_factory.mktemp("killed")
    code, _, err = finish(train(workdir, hook=DIE_IN_COMMIT))
    assert code == -signal.SIGKILL, err
    assert steps(workdir) == [10, 20, 30, 40]
    return workdir


@pytest.fixture
def workdir(killed, tmp_path):
    """A copy of it."""
    return shutil.copytree(killed, tmp_path / "run")


def flip(folder: Path) -> None:
    """Changes one bit in the largest file."""
    path = max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def one_line(err: str) -> str:
    """The only line on standard error that is not a library's warning."""
    return End(0, "", err).line


def train_here(toy: Path, workdir: Path, *more: str) -> End:
    """`train` in this process."""
    return run("train", *TINY, f"--dataset={toy}", f"--workdir={workdir}", *more)


def test_killed_inside_a_commit_and_inside_a_write_ends_with_the_same_bits(workdir, train, straight):
    code, _, err = finish(train(workdir, hook=DIE_IN_WRITE))
    assert code == -signal.SIGKILL, err
    assert newest(workdir) == 40
    code, out, err = finish(train(workdir))
    assert code == 0, err
    assert "continuing from step 40" in out
    assert outcome(workdir) == straight
    assert [p.name for p in (workdir / "checkpoints").iterdir() if not p.name.isdigit()] == []


def test_a_damaged_checkpoint_is_said_and_passed_over(workdir, train, straight):
    flip(workdir / "checkpoints" / "30")
    code, out, err = finish(train(workdir))
    assert code == 0, err
    assert "continuing from step 20" in out
    said = [line for line in out.splitlines() if "is not usable" in line]
    assert len(said) == 2
    assert "checkpoint 40" in said[0] and "interrupted" in said[0]
    assert "checkpoint 30" in said[1] and "has changed" in said[1]
    assert outcome(workdir) == straight


def test_nothing_but_damaged_checkpoints_is_exit_6_and_destroys_nothing(workdir, toy):
    for step in (10, 20, 30):
        flip(workdir / "checkpoints" / str(step))
    before = files(workdir / "checkpoints") | files(workdir / "samples")
    metrics = (workdir / "metrics.jsonl").read_bytes()
    done = train_here(toy, workdir)
    assert done.code == 6
    assert "10, 20, 30" in done.line
    assert files(workdir / "checkpoints") | files(workdir / "samples") == before
    assert (workdir / "metrics.jsonl").read_bytes() == metrics
    with pytest.raises(CheckpointError, match="damaged"):
        synthjax.load(workdir)


def test_sigterm_in_start_and_in_training_is_exit_42_and_ends_with_the_same_bits(tmp_path, train, straight):
    process = start(train(tmp_path))
    for line in process.stdout:
        if "compiling" in line:
            break
    process.terminate()
    code, _, err = end(process)
    assert code == 42, err
    assert "the same command continues" in one_line(err)

    process = start(train(tmp_path, hook=SLOW))
    wait_until(lambda: len(steps(tmp_path)) >= 2, [process])
    process.terminate()
    code, _, err = end(process)
    assert code == 42, err
    stopped = newest(tmp_path)
    assert f"at step {stopped}, which is saved" in one_line(err)
    assert 20 <= stopped < STEPS

    code, out, err = finish(train(tmp_path))
    assert code == 0, err
    assert f"continuing from step {stopped}" in out
    found = outcome(tmp_path)
    assert (found["step"], found["state"]) == (straight["step"], straight["state"])


def test_a_nan_is_exit_5_and_names_step_and_metric(workdir, toy, monkeypatch):
    good = Feed.batch

    def batch(self, step, *part):
        found = good(self, step, *part)
        return found._replace(weight=found.weight * float("nan")) if step == 33 else found

    monkeypatch.setattr(Feed, "batch", batch)
    done = train_here(toy, workdir)
    assert done.code == 5, done.err
    line = done.line
    assert re.match(r"error: metrics? .*'(loss|grad_norm)'.* not finite at step 33; .* step 30; lower rates", line)
    assert re.search(r"in a new --workdir: --config\.model\.learning_rate=[.\de-]+$", line)
    assert newest(workdir) == 30
    _, state, _ = synthjax.load(workdir)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))


def test_a_full_disk_is_exit_6_and_leaves_no_broken_checkpoint(workdir, train):
    limit = 12_000  # bytes a file: less than the arrays of a checkpoint, more than the small files before it
    arrays = max(path.stat().st_size for path in (workdir / "checkpoints" / "30").rglob("*"))
    assert arrays > limit
    code, _, err = finish(train(workdir, hook=SMALL_FILES.format(limit=limit)))
    assert code == 6, err
    line = one_line(err)
    assert "cannot write checkpoint 40" in line and "File too large" in line and "the last good one is step 30" in line
    assert [path.name for path in sorted((workdir / "checkpoints").iterdir())] == ["10", "20", "30"]
    assert newest(workdir) == 30


def test_a_truncated_compilation_cache_is_no_fault(workdir, train, straight, cache, tmp_path):
    entries = list(cache.glob("*-cache"))
    assert any(entry.name.startswith("jit__steps-") for entry in entries)
    shutil.copytree(cache, tmp_path / "cache")
    for entry in entries:
        (tmp_path / "cache" / entry.name).write_bytes(entry.read_bytes()[: entry.stat().st_size // 2])
    code, _, err = finish(train(workdir), env=caching(tmp_path / "cache"))
    assert code == 0, err
    assert outcome(workdir) == straight


def test_a_folder_of_another_experiment_is_exit_3_and_shows_the_difference(workdir, toy):
    (workdir / ".lock").unlink()  # of the process that was killed
    before = files(workdir)
    done = train_here(toy, workdir, "--config.model.hidden=8", "--seed=7")
    assert done.code == 3
    line = done.line
    assert "model.hidden: [16] -> [8]" in line and "seed: 0 -> 7" in line and str(workdir) in line
    assert files(workdir) == before


def test_a_second_training_in_a_folder_is_exit_3_and_disturbs_nothing(tmp_path, toy, train, straight):
    first = start(train(tmp_path, hook=SLOW))
    wait_until(lambda: len(steps(tmp_path)) >= 1, [first])
    done = train_here(toy, tmp_path)
    assert done.code == 3, done.err
    assert done.line == f"error: another process trains in {tmp_path} (pid {first.pid})"
    assert end(first)[0] == 0
    assert outcome(tmp_path) == straight
    assert not (tmp_path / ".lock").exists()


def test_a_folder_of_other_data_is_refused(workdir, toy, tmp_path):
    experiment, _ = runs.read(workdir)
    loaded = data.load(str(toy))
    runs.begin(workdir, experiment, loaded)
    with pytest.raises(InputError, match="content of data set"):
        runs.begin(workdir, experiment, loaded._replace(fingerprint="0" * 64))


def test_a_folder_that_cannot_be_written_is_named(toy, tmp_path):
    experiment, loaded = config.experiment(None, "vae", str(toy)), data.load(str(toy))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="--workdir=.*file/run: cannot be written"):
        runs.begin(tmp_path / "file" / "run", experiment, loaded)
    if os.getuid() == 0:
        pytest.skip("root writes everywhere")
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(InputError, match="closed/run: cannot be written .Permission denied"):
        runs.begin(tmp_path / "closed" / "run", experiment, loaded)


DDPM = [
    "--model=ddpm",
    "--dataset=digits",
    "--config.model.width=16",
    "--config.model.multipliers=1",
    "--config.model.blocks=1",
    "--config.model.folding=2",
    "--batch_size=32",
    "--steps=100",
    "--config.checkpoint_every=10",
    "--config.log_every=10",
    "--config.sample_every=0",
]


def drawn(workdir: Path) -> bytes:
    """The file that `launch.sample` draws from a run."""
    out = workdir / "drawn.npz"
    flags = ["--per_class=2", "--batch_size=20", "--sample.steps=4", f"--out={out}"]
    done = run("sample", f"--workdir={workdir}", *flags)
    assert done.code == 0, done.err
    return out.read_bytes()


@pytest.fixture(scope="module")
def straight_ddpm(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("ddpm")
    code, _, err = finish(command("train", *DDPM, f"--workdir={workdir}", hook=NO_CURVE))
    assert code == 0, err
    return outcome(workdir), drawn(workdir)


def kill_at_random(line: list[str], workdir: Path, chance: random.Random) -> int:
    """Starts it, kills it at a random instant, once it has written one or two more checkpoints; its exit code."""
    process = start(line)
    goal = max(steps(workdir), default=0) + 10 * chance.randint(1, 2)
    wait_until(lambda: max(steps(workdir), default=0) >= goal, [process])
    time.sleep(chance.uniform(0, 0.2))
    process.kill()
    return end(process)[0]


@pytest.mark.slow
@pytest.mark.parametrize("repetition", range(5))
def test_kill_9_at_random_instants_ends_with_the_same_bits(tmp_path, straight_ddpm, repetition):
    seed = time.time_ns() % 2**32
    chance = random.Random(seed)
    line = command("train", *DDPM, f"--workdir={tmp_path}", hook=NO_CURVE)
    codes = [kill_at_random(line, tmp_path, chance) for _ in range(4)]
    assert codes == [-signal.SIGKILL] * 4, seed
    code, out, err = finish(line)
    assert code == 0, (seed, err)
    assert "continuing from step" in out
    expected, expected_file = straight_ddpm
    assert outcome(tmp_path) == expected, seed
    assert drawn(tmp_path) == expected_file, seed


@pytest.mark.slow
def test_a_private_run_killed_by_9_repeats_its_last_steps_with_the_same_noise_and_pays_once(tmp_path, toy):
    private = ["--dp.epsilon=8", "--dp.delta=1e-3"]
    shared = environment(**{VARIABLE: str(tmp_path / "ledger")})

    def line(workdir, hook=""):
        return command("train", *TINY, *private, f"--dataset={toy}", f"--workdir={workdir}", hook=NO_CURVE + hook)

    code, _, err = finish(line(tmp_path / "one", DIE_IN_COMMIT), env=shared)
    assert code == -signal.SIGKILL, err
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    for name in ("one", "two"):
        code, out, err = finish(line(tmp_path / name), env=shared)
        assert code == 0, err
        assert "continuing from step 30" in out
    one, two = (synthjax.load(tmp_path / name / "publish" / "model").state for name in ("one", "two"))
    assert state_sha256(one) == state_sha256(two)
    (account,) = (tmp_path / "ledger").glob("*.jsonl")
    assert [entry["event"] for entry in Ledger(tmp_path / "ledger", account.stem).lines()].count("fit") == 1
