"""The training launcher as its users start it: a run from end to end, and what it refuses."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from commands import command, finish
from in_process import End, launch

import synthjax
from synthjax import data
from synthjax.data import memory
from synthjax.errors import InputError
from synthjax.launch import runs, train
from synthjax.launch.config import Experiment
from synthjax.launch.sample import state_sha256
from synthjax.models import vae

TINY = (
    "--model=vae",
    "--steps=8",
    "--batch_size=16",
    "--config.model.channels=()",
    "--config.model.hidden=16",
    "--config.model.latents=2",
    "--config.log_every=2",
    "--config.checkpoint_every=4",
    "--config.sample_every=4",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("launch")


@pytest.fixture(scope="module")
def finished(folder) -> End:
    """A finished run in the default workdir."""
    done = launch(folder, *TINY, curve=True)
    assert done.code == 0, done.err
    return done


@pytest.fixture
def workdir(folder, finished) -> Path:
    return folder / "runs" / "vae-digits"


def test_a_run_says_what_it_does_and_what_comes_next(finished):
    lines = finished.out.splitlines()
    assert lines[0].startswith("vae on digits: 1,294 examples of shape (8, 8, 1), 10 classes")
    assert lines.count("training a small CNN on 1,294 real examples, to measure the diversity of each class") == 1
    # After eight steps of a network with two latents every class is one blurred image.
    assert any(line.startswith("step 8: all 10 classes have collapsed (diversity 0.") for line in lines)
    assert "8 steps of batch 16, on 1 cpu device(s)" in lines[1]
    assert any(line.startswith("step 8/8  loss ") for line in lines)
    assert "finished at step 8; wrote runs/vae-digits/checkpoints" in finished.out
    assert "next: python -m synthjax.launch.eval --workdir=runs/vae-digits" in lines[-1]
    assert "Traceback" not in finished.err


def test_a_run_leaves_its_records(workdir):
    experiment, record = runs.read(workdir)
    assert (experiment.name, experiment.dataset, experiment.model.steps, experiment.model.channels) == (
        "vae",
        "digits",
        8,
        (),
    )
    digits = data.load("digits")
    assert record["fingerprint"] == digits.fingerprint and record["dataset"] == "digits"
    with np.load(workdir / "splits.npz") as splits:
        np.testing.assert_array_equal(splits["train"], digits.train.index)
        np.testing.assert_array_equal(splits["holdout"], digits.holdout.index)
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "loss" in row] == [2, 4, 6, 8]
    assert all(np.isfinite(value) for row in rows for value in row.values())
    varied = [row for row in rows if "diversity" in row]
    assert [set(row) for row in varied] == [
        {"step", "diversity", "diversity_least", *(f"diversity/{label}" for label in range(10))}
    ] * 2
    assert [row["step"] for row in varied] == [4, 8]
    assert all(0 <= row["diversity_least"] <= row["diversity"] for row in varied)
    assert {"loss", "kl", "grad_norm", "learning_rate", "steps_per_second"} <= set(rows[0])
    pictures = sorted(path.name for path in (workdir / "samples").iterdir())
    assert pictures == ["step_0000004.png", "step_0000008.png"]
    for path in (workdir / "loss.png", workdir / "samples" / pictures[0]):
        assert path.read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in (workdir / "checkpoints").iterdir()) == ["4", "8"]


def test_a_run_is_read_back_in_three_lines(workdir):
    import jax

    model, state, spec = synthjax.load(workdir)
    x = spec.decode(model.sample(jax.random.key(0), state, np.arange(10)))
    assert x.shape == (10, 8, 8, 1) and x.dtype == np.uint8 and x.max() <= 16


def test_what_is_watched_changes_nothing_in_training(folder, workdir):
    done = launch(folder, *TINY, "--workdir=unwatched", "--config.sample_every=0")
    assert done.code == 0, done.err
    (_, watched, _), (_, other, _) = synthjax.load(workdir), synthjax.load(folder / "unwatched")
    assert state_sha256(watched) == state_sha256(other)
    rows = [json.loads(line) for line in (folder / "unwatched" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "diversity" in row] == [8]


def test_the_same_command_has_nothing_left_to_do(folder, workdir, finished):
    before = (workdir / "metrics.jsonl").read_text()
    again = launch(folder, *TINY)
    assert again.code == 0, again.err
    assert "continuing from step 8" in again.out and "finished at step 8" in again.out
    assert "small CNN" not in again.out and "collapsed" not in again.out
    assert (workdir / "metrics.jsonl").read_text() == before


def test_another_experiment_is_refused_with_the_difference(folder, workdir, finished):
    other = launch(folder, *TINY, "--seed=3", "--config.model.latents=4")
    assert other.code == 3
    assert one_line(other) == (
        "error: runs/vae-digits belongs to another run (model.latents: 2 -> 4; seed: 0 -> 3); give another --workdir"
    )


def test_other_data_are_refused(workdir, tmp_path):
    experiment, _ = runs.read(workdir)
    digits = data.load("digits")
    with pytest.raises(
        InputError, match=r"belongs to another run \(content of data set digits: \w{12} -> 000000000000\)"
    ):
        runs.begin(workdir, experiment, digits._replace(fingerprint="0" * 64))


# --- classes made rare, drawn by weight, and filled up ------------------------------------------------------------


@pytest.fixture(scope="module")
def rare(folder) -> Path:
    """A run whose class 0 is cut to a twentieth, and drawn as often as the others all the same."""
    flags = ["--config.rare_class=0", "--config.rare_factor=20", "--config.class_weights=1,1,1,1,1,1,1,1,1,1"]
    done = launch(folder, *TINY, "--workdir=rare", "--config.sample_every=0", *flags)
    assert done.code == 0, done.err
    assert "1,172 examples" in done.out and "; 6 of class 0, under-sampled" in done.out.splitlines()[0]
    return folder / "rare"


def test_a_rare_class_is_in_the_records(rare):
    digits = data.load("digits")
    with np.load(rare / "splits.npz") as splits:
        kept = np.isin(digits.train.index, splits["train"])
        assert len(splits["train"]) == kept.sum()
        np.testing.assert_array_equal(splits["holdout"], digits.holdout.index)
    counts = np.bincount(digits.train.y[kept])
    np.testing.assert_array_equal(counts[1:], np.bincount(digits.train.y)[1:])
    _, _, spec = synthjax.load(rare)
    np.testing.assert_allclose(spec.frequencies, counts / counts.sum())


def test_a_top_up_makes_all_classes_as_large_as_the_largest(folder, rare):
    done = launch(folder, "--workdir=rare", "--top_up", name="sample")
    assert done.code == 0, done.err
    counts = np.bincount(runs.trained_on(rare).train.y)
    with np.load(rare / "top_up.npz") as drawn:
        lacking = np.bincount(drawn["y"], minlength=10)
        assert len(drawn["x"]) == lacking.sum()
    np.testing.assert_array_equal(counts + lacking, counts.max())
    assert done.out.splitlines()[0].startswith(
        f"topping up each class to {counts.max()} examples: {lacking[0]} of 0, {lacking[1]} of 1, "
    )
    assert not (rare / "synthetic.npz").exists()


@pytest.mark.parametrize(
    ("fields", "expected"),
    [({}, None), ({"feed": "balanced"}, (1.0,) * 10), ({"class_weights": (0.0, 2.0) * 5}, (0.0, 2.0) * 5)],
)
def test_the_feed_draws_classes_as_the_experiment_says(fields, expected):
    chosen = Experiment("vae", vae.Config(channels=(), hidden=16, batch_size=500), **fields)
    digits = data.load("digits")
    feed = train.trainer(chosen, runs.build(chosen, digits.spec), digits).feed
    assert feed.class_weights == expected
    if expected == (0.0, 2.0) * 5:
        assert set(feed.batch(0).y) == {1, 3, 5, 7, 9}


@pytest.mark.parametrize(("asked", "expected"), [("default", "highest"), ("bfloat16", "bfloat16")])
def test_products_are_as_precise_as_the_run_asks_for(asked, expected):
    with jax.default_matmul_precision("highest"):
        with runs.precision(Experiment("vae", vae.Config(), precision=asked)):
            assert jax.config.jax_default_matmul_precision == expected
        assert jax.config.jax_default_matmul_precision == "highest"


# --- what it refuses ----------------------------------------------------------------------------------------------


def one_line(done: End) -> str:
    """What stands on stderr, which has to be one line."""
    lines = done.err.strip().splitlines()
    assert len(lines) == 1, done.err
    return lines[0]


def test_a_model_larger_than_the_memory_is_refused_before_it_leaves_anything(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "limit", lambda: 2_000_000)
    chosen = Experiment("vae", vae.Config(), "digits")
    with pytest.raises(InputError, match=r"vae on digits: what it learns takes \d+ MB, and there are 2 MB; a smaller"):
        train.run(chosen, runs.data(chosen), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--batch_size=5000",), 3, "batch_size=5000: larger than the training set, which has 1294 rows"),
        (("--stepz=3",), 1, "Unknown command line flag 'stepz'. Did you mean: steps ?"),
        (("--config.seed",), 1, "--config.seed: needs a value, --config.seed=VALUE"),
    ],
)
def test_what_cannot_be_used_ends_in_one_line_and_a_code(arguments, code, message, tmp_path):
    done = launch(tmp_path, *arguments)
    assert (done.code, one_line(done)) == (code, f"error: {message}")
    assert not list(tmp_path.iterdir())


REFUSED = {
    "0 steps": (["--steps=0"], "steps=0: must be at least 1"),
    "0 examples a batch": (["--batch_size=0"], "batch_size=0: must be at least 1"),
    "0 seeds": (["--seeds=0"], "seeds=0: must be at least 1"),
    "slices that do not fit": (["--config.accumulate=3"], "accumulate=3: must divide batch_size=64"),
    "an unknown model": (["--model=dppm"], "--model=dppm: unknown; did you mean 'ddpm'?"),
    "an unknown data set": (["--dataset=digitz"], "digitz"),
    "a missing config": (["--config=nothing.py"], "--config=nothing.py: no such file"),
    "an unknown field": (["--config.model.wdith=2"], "has no field 'wdith'; did you mean 'width'?"),
    "a value of the wrong type": (["--steps=many"], "--steps=many: must be of type int"),
    "a share above one": (["--holdout=1.5"], "holdout=1.5"),
    "an unknown precision": (["--precision=half"], "--precision=half: must be one of default, float32, bfloat16"),
    "an unknown rare class": (["--config.rare_class=zero"], "rare_class=zero: digits has no such class; there are 0"),
    "a rare class that grows": (["--config.rare_class=0", "--config.rare_factor=0.5"], "rare_factor=0.5: must be a"),
    "too few weights": (["--config.class_weights=1,1"], "class_weights: 2 weights for 10 classes"),
    "weights below 0": (["--config.class_weights=1,1,1,1,1,1,1,1,1,-1"], "class_weights: -1.0 of class 9 must be a"),
    "weights twice": (["--config.class_weights=1", "--config.feed=balanced"], "class_weights and feed=balanced: give"),
    "more components than there are": (
        ["--config.noise_components=500"],
        "config.noise_components=500: class 0 has 64",
    ),
    "a scale of noise below 0": (
        ["--config.noise_components=2", "--config.noise_scale=-1"],
        "config.noise_scale=-1.0: the scale of directed noise must be a finite number",
    ),
    "a model of images for a table": (["--dataset=breast_cancer"], "model ddpm makes images; the data is a table"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_used_is_named(kind, tmp_path):
    words, message = REFUSED[kind]
    done = launch(tmp_path, *words)
    assert done.code == 3 and message in one_line(done)
    assert not list(tmp_path.iterdir())


def test_help_is_short_and_has_examples():
    code, out, err = finish(command("train", "--help"))
    assert code == 0 and err == ""
    assert "python -m synthjax.launch.train --model=ddpm" in out
    assert "--seeds" in out and "alsologtostderr" not in out
    assert len(out.splitlines()) < 40


@pytest.mark.parametrize("name", ["search", "synthesize"])
def test_the_launchers_that_other_tests_run_in_process_start_by_themselves(name):
    code, out, err = finish(command(name, "--help"))
    assert (code, err) == (0, "") and f"python -m synthjax.launch.{name}" in out


# --- the command line's own fields ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "rest", "found"),
    [
        (["p", "--config.seed=3", "--model=vae"], ["p", "--model=vae"], [("seed", "3")]),
        (["p", "--config.model.blocks", "1,2"], ["p"], [("model.blocks", "1,2")]),
        (["p", "-config.seed=3"], ["p"], [("seed", "3")]),
        (["p", "--config=a.py", "--config.data_dir=a=b"], ["p", "--config=a.py"], [("data_dir", "a=b")]),
        (["p", "--config.model.channels="], ["p"], [("model.channels", "")]),
        (["p"], ["p"], []),
    ],
)
def test_overrides_are_split_off_the_command_line(words, rest, found):
    assert train.overrides(words) == (rest, found)


@pytest.mark.parametrize("words", [["p", "--config.seed"], ["p", "--config.seed", "--model=vae"]])
def test_an_override_needs_a_value(words):
    with pytest.raises(InputError, match="--config.seed: needs a value, --config.seed=VALUE"):
        train.overrides(words)
