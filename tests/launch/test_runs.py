"""The data of an experiment, all of it or with a class made rare; and what lies in a run's folder."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

import synthjax
from synthjax import data, files
from synthjax.data.requests import Job
from synthjax.errors import CheckpointError, InputError
from synthjax.launch import runs, sample, train
from synthjax.launch.config import Experiment
from synthjax.models import vae
from synthjax.train import metrics
from synthjax.train.checkpoint import Checkpoints


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def experiment(**fields):
    return Experiment("vae", vae.Config(), **fields)


def same(a, b):
    for left, right in zip(a, b, strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("fields", [{}, {"rare_class": "0", "rare_factor": 1.0}])
def test_without_a_rare_class_it_is_the_data_set(digits, fields):
    found = runs.data(experiment(**fields))
    assert (found.fingerprint, found.spec, found.name) == (digits.fingerprint, digits.spec, digits.name)
    same(found.train, digits.train)
    assert len(runs.data(experiment(holdout=0.0, **fields)).holdout.y) == 0


@pytest.mark.parametrize(("name", "factor"), [("0", 10.0), ("7", 2.5), ("9", 1e6)])
def test_a_rare_class_is_cut_in_training_alone(digits, name, factor):
    found = runs.data(experiment(rare_class=name, rare_factor=factor, seed=3))
    counts = np.bincount(digits.train.y)
    counts[int(name)] = max(round(counts[int(name)] / factor), 1)
    np.testing.assert_array_equal(np.bincount(found.train.y), counts)
    # The rows kept are rows of the data set, in their order, each with its own image, label and index.
    kept = np.isin(digits.train.index, found.train.index)
    same(found.train, [array[kept] for array in digits.train])
    same(found.holdout, digits.holdout)
    same(found.test, digits.test)
    np.testing.assert_allclose(found.spec.frequencies, counts / counts.sum(), rtol=1e-12)
    assert found.spec.classes == digits.spec.classes and found.fingerprint != digits.fingerprint


def test_every_seed_trains_on_the_same_rows_and_factors_are_nested():
    few, more = (runs.data(experiment(rare_class="0", rare_factor=factor)) for factor in (20.0, 5.0))
    same(few.train, runs.data(experiment(rare_class="0", rare_factor=20.0, seed=1)).train)
    assert set(few.train.index) < set(more.train.index)
    assert few.fingerprint != more.fingerprint


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rare_class": "0", "rare_factor": 0.5}, "^rare_factor=0.5: must be a finite number, at least 1$"),
        ({"rare_class": "0", "rare_factor": float("nan")}, "^rare_factor=nan: must be a finite number, at least 1$"),
        ({"rare_factor": 10.0}, "^rare_factor=10.0: goes with rare_class, the name of the class to under-sample$"),
        ({"rare_class": "zero"}, "^rare_class=zero: digits has no such class; there are 0, 1, 2, .*, 9$"),
    ],
)
def test_a_rare_class_that_cannot_be_is_refused(fields, message):
    with pytest.raises(InputError, match=message):
        runs.data(experiment(**fields))


def test_unlabelled_data_has_no_rare_class(tmp_path):
    np.savez(tmp_path / "blank.npz", x=np.zeros((20, 4, 4, 1), np.uint8))
    with pytest.raises(InputError, match="^rare_class=0: blank has no labels$"):
        runs.data(experiment(dataset=str(tmp_path / "blank.npz"), rare_class="0", rare_factor=2.0))


def test_a_run_goes_on_with_its_own_factor_only(tmp_path):
    first, other = (experiment(rare_class="0", rare_factor=factor) for factor in (20.0, 10.0))
    runs.begin(tmp_path, first, runs.data(first))
    runs.begin(tmp_path, first, runs.data(first))
    with pytest.raises(InputError, match=r"belongs to another run \(rare_factor: 20.0 -> 10.0\)"):
        runs.begin(tmp_path, other, runs.data(other))
    with pytest.raises(InputError, match=r"belongs to another run \(content of data set digits: \w{12} -> \w{12}\)"):
        runs.begin(tmp_path, first, runs.data(other))


def test_what_a_run_was_trained_on_is_found_again_or_named(tmp_path):
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(2, dtype=np.int32), 30)
    source = tmp_path / "toy.npz"
    np.savez(source, x=rng.integers(0, 256, (60, 4, 4, 1), np.uint8), y=y)
    chosen = experiment(dataset="toy.npz", data_dir=str(tmp_path), rare_class="1", rare_factor=3.0)
    runs.begin(tmp_path / "run", chosen, runs.data(chosen))
    same(runs.trained_on(tmp_path / "run").train, runs.data(chosen).train)
    moved = tmp_path / "moved"
    moved.mkdir()
    source.rename(moved / "toy.npz")
    with pytest.raises(InputError, match="toy.npz: no such file or folder"):
        runs.trained_on(tmp_path / "run")
    np.testing.assert_array_equal(np.bincount(runs.trained_on(tmp_path / "run", str(moved)).train.y), [22, 7])
    np.savez(moved / "toy.npz", x=rng.integers(0, 256, (60, 4, 4, 1), np.uint8), y=y)
    with pytest.raises(InputError, match=r"on toy.npz with fingerprint \w{12}, but the data has \w{12} now"):
        runs.trained_on(tmp_path / "run", str(moved))


# --- whose folder it is, and what is damaged in it ---------------------------------------------------------------


TINY = vae.Config(steps=4, batch_size=16, latents=2, channels=(), hidden=(8,))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run of four steps; tests work on copies."""
    folder = tmp_path_factory.mktemp("trained")
    run(experiment(seed=0), folder / "run")
    return folder / "run"


@pytest.fixture
def workdir(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


def tiny(chosen):
    return dataclasses.replace(chosen, model=TINY, sample_every=0, log_every=1, checkpoint_every=2)


def run(chosen, workdir):
    chosen = tiny(chosen)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train.monitor.Monitor, "__call__", lambda *_: None)
        return train.run(chosen, runs.data(chosen), workdir)


def contents(folder):
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_another_experiments_checkpoint_is_not_continued_when_config_json_is_gone(workdir):
    (workdir / "config.json").unlink()
    before = contents(workdir)
    with pytest.raises(InputError, match=r"belongs to another run \(seed: 0 -> 3\); give another --workdir$"):
        run(experiment(seed=3), workdir)
    with pytest.raises(InputError, match=r"\(holdout: 0.1 -> 0.2\)"):
        run(experiment(holdout=0.2), workdir)
    assert contents(workdir) == before
    assert run(experiment(seed=0), workdir) == 4  # its own goes on
    assert (workdir / "config.json").exists()


def test_checkpoints_of_another_run_beside_this_ones_config_are_not_continued(workdir, tmp_path):
    runs.begin(tmp_path / "other", chosen := tiny(experiment(seed=3)), runs.data(chosen))
    shutil.copytree(workdir / "checkpoints", tmp_path / "other" / "checkpoints")
    with pytest.raises(InputError, match="seed: 0 -> 3"):
        run(chosen, tmp_path / "other")


def test_a_folder_in_which_another_process_trains_is_left_alone(workdir):
    before = contents(workdir)
    with files.locked(workdir / ".lock", ""), pytest.raises(InputError, match=rf"another process trains in {workdir} "):
        run(experiment(seed=0), workdir)
    assert contents(workdir) == before
    assert run(experiment(seed=0), workdir) == 4


def test_a_file_to_which_another_process_draws_is_left_alone(workdir):
    model, state, spec = synthjax.load(workdir)
    described, dataset = sample.describe_run(workdir, state, 0)
    request = sample.make_request(model, spec, (1,) * 10, described=described, dataset=dataset, block=10)
    out = workdir / "drawn.npz"
    with files.locked(sample.Job(request, out).lock, ""), pytest.raises(InputError, match=rf"writes {out} \(pid \d+\)"):
        sample.fulfil(model, state, Job(request, out))
    assert not out.exists() and not list(workdir.glob("drawn*"))
    assert sample.fulfil(model, state, Job(request, out))
    assert not list(workdir.glob(".drawn*"))


EARLIER = r"statistics.npz: is missing: the run was trained by synthjax 0.1 or earlier; train it again, in another --w"


@pytest.mark.parametrize("kept", ["all", "no checkpoint", "no config.json"])
def test_a_run_of_an_earlier_version_is_refused_and_left_as_it_is(tmp_path, kept):
    """Version 0.1 wrote no statistics, and its checkpoints name no such file."""
    chosen, folder = tiny(experiment(seed=0)), tmp_path / "old"
    dataset = runs.data(chosen)
    described = runs.begin(folder, chosen, dataset)
    if kept != "no checkpoint":
        record = {"experiment": runs.config_lib.to_dict(chosen), "fingerprint": dataset.fingerprint}
        record["files"] = {"data.json": described["data.json"]}
        state = {"weights": np.zeros(3, np.float32)}  # of a model without what 0.2 keeps
        checkpoints = Checkpoints(folder / "checkpoints")
        checkpoints.save(2, state, record)
        checkpoints.close()
    for name in ("statistics.npz", *["config.json"] * (kept == "no config.json")):
        (folder / name).unlink()
    before = contents(folder)
    with pytest.raises(InputError, match=EARLIER):
        run(experiment(seed=0), folder)
    with pytest.raises(InputError, match=EARLIER):  # whatever else differs
        run(experiment(seed=3), folder)
    assert contents(folder) == before
    if kept == "all":
        with pytest.raises(InputError, match=EARLIER):
            synthjax.load(folder)


def test_statistics_that_were_lost_are_written_again(workdir):
    before = contents(workdir)
    (workdir / "statistics.npz").unlink()
    with pytest.raises(CheckpointError, match=r"statistics.npz: is missing since checkpoint 4 was saved; restore it"):
        synthjax.load(workdir)
    assert run(experiment(seed=0), workdir) == 4
    assert (workdir / "statistics.npz").read_bytes() == before[str(workdir / "statistics.npz")]


def test_what_describes_the_data_is_tied_to_the_checkpoint(workdir):
    text = (workdir / "data.json").read_text()
    (workdir / "data.json").write_text(text.replace('"levels": 17', '"levels": 16'))
    with pytest.raises(CheckpointError, match=r"data.json: has changed since checkpoint 4 was saved; restore it"):
        synthjax.load(workdir)
    assert run(experiment(seed=0), workdir) == 4  # training knows the data, and writes the file anew
    assert (workdir / "data.json").read_text() == text
    synthjax.load(workdir)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", "{}"),
        ("config.json", "[]"),
        ("config.json", "null"),
        ("config.json", None),
        ("data.json", "{}"),
        ("data.json", '{"dataset": "digits", "fingerprint": "f", "spec": {"kind": "image"}}'),
        ("data.json", "\udcff"),
        ("metrics.jsonl", "\udcff\n"),
        ("metrics.jsonl", "[]\n[]\n"),
    ],
)
def test_a_damaged_file_of_a_run_is_named(workdir, name, content):
    path = workdir / name
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(InputError, match=name):
        runs.read(workdir)
        list(metrics.read(workdir))


@pytest.mark.parametrize(("field", "value"), [("model", "x"), ("seeds", "x"), ("name", 3), ("holdout", None)])
def test_a_config_with_a_value_of_another_type_is_named(workdir, field, value):
    values = json.loads((workdir / "config.json").read_text())
    (workdir / "config.json").write_text(json.dumps(values | {field: value}))
    with pytest.raises(InputError, match="config.json|no model"):
        runs.read(workdir)


@pytest.mark.parametrize("name", ["x" * 300, "file/run"])
def test_a_workdir_that_cannot_be_is_named(tmp_path, name):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=name):
        run(experiment(seed=0), tmp_path / name)
