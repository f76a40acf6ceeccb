"""A trained run, opened from Python: `synthjax.load`."""

import runpy
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest
import setuptools

import synthjax
from synthjax import data, sampling
from synthjax.errors import CheckpointError, InputError
from synthjax.launch import runs
from synthjax.launch.config import Experiment
from synthjax.model import Batch
from synthjax.models import table_vae, vae
from synthjax.train.checkpoint import PLACEHOLDER, Checkpoints

IMAGES = Experiment("vae", vae.Config(latents=2, channels=(), hidden=(8,), likelihood="discretised"), "digits", seeds=2)
TABLE = Experiment("table_vae", table_vae.Config(latents=2, hidden=(8,)), "breast_cancer")


def kept(chosen: Experiment, folder: Path) -> Path:
    """A run of no steps whose checkpoint has random parameters and averages of its own."""
    found = runs.data(chosen)
    files = runs.begin(folder, chosen, found)
    model = runs.build(chosen, found.spec)
    keys = jax.random.split(jax.random.key(1), chosen.seeds)
    state = jax.vmap(model.init)(keys) if chosen.seeds > 1 else model.init(keys[0])
    state = state._replace(ema=jax.tree.map(lambda p: p + 0.1, state.params))
    checkpoints = Checkpoints(folder / "checkpoints")
    checkpoints.save(5, state, {"step": 5, "files": files})
    checkpoints.close()
    return folder


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    return kept(IMAGES, tmp_path_factory.mktemp("images") / "run")


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    return kept(TABLE, tmp_path_factory.mktemp("table") / "run")


@pytest.fixture
def restored(monkeypatch):
    """The leaves that each restore was asked for, as the state has them."""
    asked, restore = [], Checkpoints.restore

    def spy(self, step, like):
        asked.append(like)
        return restore(self, step, like)

    monkeypatch.setattr(Checkpoints, "restore", spy)
    return asked


def left_out(tree) -> set[bool]:
    """Whether leaves were."""
    return {leaf is PLACEHOLDER for leaf in jax.tree.leaves(tree)}


def test_the_package_says_what_it_offers(monkeypatch):
    assert set(dir(synthjax)) == {
        "Batch",
        "DataSpec",
        "Model",
        "State",
        "Statistics",
        "__version__",
        "load",
        "synthesize",
    }
    given = {}
    monkeypatch.setattr(setuptools, "setup", given.update)
    root = Path(synthjax.__file__).parents[1]
    monkeypatch.chdir(root)
    runpy.run_path(str(root / "setup.py"))
    assert synthjax.__version__ == given["version"]


def test_a_run_is_model_state_and_spec(images):
    run = synthjax.load(images, member=1)
    model, state, spec = run
    assert model is run.model and spec is run.spec and state is run.state
    assert run.step == 5 and run.config == IMAGES and run.encoder is None
    assert spec.statistics is not None and spec.rows == 1294
    fresh = model.init(jax.random.split(jax.random.key(1), 2)[1])
    jax.tree.map(np.testing.assert_array_equal, state.params, fresh.params)
    assert repr(run) == f"Run({str(images)!r}: vae on digits, step 5)"
    assert "digits" in repr(run) and "\n" not in repr(run)


@pytest.mark.parametrize("block", [None, 3])
def test_samples_are_those_of_the_launcher(images, block):
    """Block by block from the same keys; labels in the proportions of the training set."""
    run = synthjax.load(images)
    x = run.sample(7, seed=4, block=block)
    assert x.shape == (7, 8, 8, 1) and x.dtype == np.uint8 and x.max() <= 16
    model, state, spec = run
    labels = run._labels(7)
    assert len(labels) == 7 and (np.diff(labels) >= 0).all()
    drawn = sampling.draw(model, state, sampling.request_key(4), labels, block=block or 7)
    np.testing.assert_array_equal(x, spec.decode(np.concatenate(list(drawn))))
    np.testing.assert_array_equal(run.sample(labels, seed=4, block=block), x)
    assert (run.sample(7, seed=5, block=block) != x).any()
    many = np.bincount(run._labels(1000), minlength=10)
    np.testing.assert_allclose(many / 1000, spec.frequencies, atol=1e-3)


def test_sampling_options_are_those_of_the_model(images):
    run = synthjax.load(images)
    assert (run.sample(7, mean=False) != run.sample(7, mean=True)).any()
    with pytest.raises(TypeError, match="stepz"):
        run.sample(7, stepz=3)


def test_of_a_table_a_data_frame_is_drawn(table):
    run = synthjax.load(table)
    frame = run.sample(7)
    assert isinstance(frame, pd.DataFrame) and frame.shape == (7, 31)
    assert list(frame.columns) == [column.name for column in run.encoder.columns]
    labels = np.array([1, 0, 1], np.int32)
    one = run.sample(labels, seed=2)
    np.testing.assert_array_equal(run.encoder.labels(one), labels)
    pd.testing.assert_frame_equal(one, run.sample(labels, seed=2))


def test_sampling_reads_no_more_than_it_needs(images, restored):
    run = synthjax.load(images)
    assert not restored  # nor does opening
    run.sample(7)
    (like,) = restored
    assert left_out(like.opt) == left_out(like.params) == left_out(like.ema["encoder"]) == {True}
    assert left_out(like.ema["decoder"]) == {False}
    assert left_out(run.state) == {False}
    run.sample(7)
    assert len(restored) == 2  # what is there already is not read again


def test_log_prob_is_the_model_s(images, restored):
    run = synthjax.load(images)
    digits = data.load("digits").holdout
    x, y = digits.x[:20], digits.y[:20]
    found = run.log_prob(x, y, samples=3)
    assert left_out(restored[0].opt) == left_out(restored[0].params) == {True}
    model, state, spec = run
    batch = Batch(spec.encode(x), y, np.ones(20, np.float32), np.arange(20, dtype=np.int32))
    expected = model.log_prob(sampling.request_key(0), state, batch, samples=3)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert found.dtype == np.float32 and (found < 0).all()
    assert run.log_prob(x[:0], y[:0]).shape == (0,)


def test_log_prob_of_a_frame(table):
    run = synthjax.load(table)
    found = run.log_prob(run.sample(7), samples=3)
    assert found.shape == (7,) and np.isfinite(found).all()


def test_what_cannot_be_opened_or_drawn_is_named_in_one_line(images, table, tmp_path, monkeypatch):
    run = synthjax.load(images)
    x = np.zeros((2, 8, 8, 1), np.uint8)
    cases = [
        (lambda: synthjax.load(tmp_path), InputError, "no run lies there (config.json is missing)"),
        (lambda: synthjax.load(images, member=2), InputError, "no member 2 in a run of 2 seeds (they count from 0)"),
        (lambda: synthjax.load(images, member=-1), InputError, "no member -1 in a run of 2 seeds"),
        (lambda: synthjax.load(table, checkpoint="best"), CheckpointError, "no best checkpoint; train with --eval"),
        (lambda: run.sample(0), InputError, "labels=0: at least one example is needed"),
        (lambda: run.sample(np.array([0, 10])), InputError, "10"),
        (lambda: run.sample(3, seed=-1), InputError, "seed=-1"),
        (lambda: run.sample(None), InputError, "labels: must be a number of examples or an array of classes, not"),
        (lambda: run.log_prob(x, np.zeros(2, int), seed=2**32), InputError, "seed=4294967296: must be an integer"),
        (lambda: run.log_prob(x[:, :7], np.zeros(2)), InputError, "x: examples have shape (7, 8, 1), those of the run"),
        (lambda: run.log_prob(x), InputError, "y: labels are missing; the run's data has them"),
        (lambda: run.log_prob(x, np.zeros(3, int)), InputError, "y: has shape (3,); x has 2 examples"),
        (lambda: run.log_prob(x, np.array([0, 10])), InputError, "y: has labels 0 ... 10; those of the run are 0"),
    ]  # fmt: skip
    for call, kind, words in cases:
        with pytest.raises(kind) as error:
            call()
        assert words in str(error.value) and "\n" not in str(error.value)
    monkeypatch.setattr(run, "model", run.model._replace(log_prob=None))
    with pytest.raises(InputError, match="^vae: has no log_prob; its score says how well"):
        run.log_prob(x, np.zeros(2, int))
