"""The data of an experiment: all of it, or with a class made rare."""

import numpy as np
import pytest

from synthjax import data
from synthjax.errors import InputError
from synthjax.launch import runs
from synthjax.launch.config import Experiment
from synthjax.models import vae


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
