"""`load`: names and paths, fixed stratified splits, fingerprints, and clear lines for what cannot be used."""

import os
import subprocess
import sys

import numpy as np
import pytest

from synthjax.data import Dataset, image_sources, load
from synthjax.data.splits import stratified
from synthjax.errors import InputError
from synthjax.model import DataSpec


@pytest.fixture(scope="module")
def digits():
    return load("digits")


def save(folder, n=100, classes=4, **other):
    """An npz file of random images, with equally many labels of each class."""
    rng = np.random.default_rng(n)
    path = folder / "data.npz"
    arrays = {"x": rng.integers(0, 256, (n, 4, 4), np.uint8), "y": np.arange(n) % classes} | other
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return str(path)


# --- splits


def parts(data: Dataset):
    return data.train, data.holdout, data.test


def test_digits_are_scikit_learns(digits):
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    index = np.concatenate([part.index for part in parts(digits)])
    np.testing.assert_array_equal(np.sort(index), np.arange(1797))  # every row once
    np.testing.assert_array_equal(np.concatenate([part.x for part in parts(digits)]).reshape(1797, 64), x[index])
    np.testing.assert_array_equal(np.concatenate([part.y for part in parts(digits)]), y[index])
    assert digits.name == "digits" and digits.spec.shape == (8, 8, 1) and digits.spec.levels == 17
    assert {part.x.dtype for part in parts(digits)} == {np.dtype(np.uint8)}
    assert {array.dtype for part in parts(digits) for array in part[1:]} == {np.dtype(np.int32)}


def test_splits_have_their_sizes_and_the_classes_their_shares(digits):
    assert [len(part.y) for part in parts(digits)] == [1294, 144, 359]  # 20 % of 1797, then 10 % of 1438
    counts = np.array([np.bincount(part.y) for part in parts(digits)])
    shares = np.array([0.72, 0.08, 0.2])[:, None] * counts.sum(0)
    assert np.abs(counts - shares).max() < 1.3  # each cut rounds each class by less than one
    np.testing.assert_allclose(digits.spec.frequencies, counts[0] / 1294)


def test_splits_are_pinned_for_good(digits):
    """A changed split would make old results incomparable without a word: these values may not change."""
    assert digits.test.index[:8].tolist() == [0, 3, 8, 30, 37, 39, 40, 47]
    assert digits.holdout.index[:8].tolist() == [17, 55, 71, 79, 84, 85, 87, 127]
    assert digits.fingerprint.startswith("690ac78f8037")


def test_holdout_zero_leaves_train_and_test_as_they_are(digits):
    whole = load("digits", holdout=0)
    assert whole.holdout.x.shape == (0, 8, 8, 1) and len(whole.holdout.y) == 0
    np.testing.assert_array_equal(whole.test.index, digits.test.index)
    np.testing.assert_array_equal(whole.train.index, np.sort(np.r_[digits.train.index, digits.holdout.index]))
    assert whole.fingerprint != digits.fingerprint


@pytest.mark.parametrize("holdout", [-0.1, 1, float("nan")])
def test_a_holdout_that_is_no_share_is_refused(holdout):
    with pytest.raises(InputError, match=r"holdout=.*\[0, 1\)"):
        load("digits", holdout=holdout)


def test_stratified_takes_the_exact_total_and_one_of_each_class_at_least():
    y = np.repeat([0, 1, 2], [500, 301, 2])
    chosen = stratified(y, 0.1, seed=0)
    np.testing.assert_array_equal(np.bincount(y[chosen]), [50, 30, 1])  # 80.3, and one for the tiny class
    np.testing.assert_array_equal(chosen, stratified(y, 0.1, seed=0))
    assert (chosen != stratified(y, 0.1, seed=1)).any()
    thirds = np.repeat(np.arange(10), 33)
    assert stratified(thirds, 0.1, seed=0).sum() == 33  # ten classes of 3.3: rounding each would give 30


def test_stratified_draws_every_row_of_a_class_alike():
    """Over many seeds each row is drawn 0.3 of the times: within five standard errors."""
    y = np.array([0, 1] * 10)
    drawn = np.mean([stratified(y, 0.3, seed) for seed in range(1000)], axis=0)
    assert np.abs(drawn - 0.3).max() < 5 * np.sqrt(0.3 * 0.7 / 1000)


def test_a_source_with_a_test_split_keeps_it(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (80, 4, 4, 3), np.uint8)
    y = np.arange(80) % 2
    path = tmp_path / "both.npz"
    np.savez(path, x_train=x[:60], y_train=y[:60], x_test=x[60:], y_test=y[60:])
    data = load(str(path))
    np.testing.assert_array_equal(data.test.x, x[60:])
    assert [len(part.y) for part in parts(data)] == [54, 6, 20]
    assert data.test.index.tolist() == list(range(20))
    np.testing.assert_array_equal(data.train.x, x[data.train.index])


def test_an_unlabelled_source_has_no_classes(tmp_path):
    data = load(save(tmp_path, y=None))
    assert data.spec.n_classes == 0 and data.spec.frequencies == ()
    assert [len(part.y) for part in parts(data)] == [72, 8, 20] and not data.train.y.any()


@pytest.mark.parametrize(
    "arrays, message",
    [
        ({"y": np.r_[np.zeros(98, int), 1, 1]}, r"data.npz: y: class 1 \(1\) has 2 examples, too few to split"),
        ({"x": np.zeros((2, 4, 4), np.uint8), "y": None}, "the data set has 2 examples, too few to split"),
        ({"y": np.r_[np.zeros(99, int), 2]}, "y: class 1 has no examples, but row 99 holds label 2"),
        ({"y": -np.arange(100)}, "y: row 1 holds label -1"),
    ],
)
def test_data_that_cannot_be_split_is_refused(tmp_path, arrays, message):
    with pytest.raises(InputError, match=message):
        load(save(tmp_path, **arrays))


def test_as_many_examples_as_splits_are_enough(tmp_path):
    path = save(tmp_path, n=9, classes=3)
    assert [len(part.y) for part in parts(load(path))] == [3, 3, 3]


# --- specs and fingerprints


def test_the_table_of_breast_cancer_ends_with_its_target():
    from sklearn.datasets import load_breast_cancer

    raw = load_breast_cancer()
    data = load("breast_cancer")
    assert data.spec.kind == "table" and data.spec.shape == (32,) and data.spec.levels == 0
    assert data.spec.classes == ("malignant", "benign")
    assert [column.name for column in data.spec.columns] == [*raw.feature_names, "diagnosis"]
    target = data.spec.columns[-1]
    assert (target.kind, target.start, target.size, target.target) == ("onehot", 30, 2, True)
    frame = data.frame("train")
    assert list(frame.columns) == [column.name for column in data.spec.columns]
    np.testing.assert_array_equal(frame.iloc[:, :30], raw.data[data.train.index])
    assert np.abs(data.train.x[:, :30].mean(0)).max() < 0.01  # normal scores
    np.testing.assert_array_equal(data.train.x[:, 30:].argmax(1), raw.target[data.train.index])
    assert sum(column.size for column in data.spec.columns) == 32 and data.train.x.dtype == np.float32


def test_the_spec_survives_json(digits):
    import json

    for spec in (digits.spec, load("breast_cancer").spec):
        assert DataSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_the_fingerprint_tells_data_apart_and_not_their_paths(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    first.mkdir()
    second.mkdir()
    same = load(save(first)).fingerprint
    assert len(same) == 64 and load(save(second)).fingerprint == same
    x = np.load(first / "data.npz")["x"]
    x[50, 0, 0] ^= 1
    assert load(save(second, x=x)).fingerprint != same
    y = np.arange(100) % 4
    y[[0, 1]] = y[[1, 0]]
    assert load(save(second, y=y)).fingerprint != same


# --- names and paths


def test_files_are_found_as_given_and_in_data_dir(tmp_path, monkeypatch):
    save(tmp_path)
    by_path = load(str(tmp_path / "data.npz"))
    assert by_path.name == "data"
    assert load("data.npz", str(tmp_path)).fingerprint == by_path.fingerprint
    monkeypatch.setenv("SYNTHJAX_DATA_DIR", str(tmp_path))
    assert load("data.npz").fingerprint == by_path.fingerprint


def test_a_folder_of_class_folders_is_found_by_its_name(tmp_path):
    from PIL import Image

    for name in ("T-shirt", "coat & hat"):
        (tmp_path / "my clothes" / name).mkdir(parents=True)
        for i in range(5):
            Image.fromarray(np.full((3, 3), i, np.uint8)).save(tmp_path / "my clothes" / name / f"{i}.png")
    data = load("my clothes", str(tmp_path))
    assert data.spec.classes == ("T-shirt", "coat & hat") and data.name == "my-clothes"


def test_a_file_that_was_moved_is_found_in_data_dir(tmp_path):
    """As the run that knows its old place asks for it, and it is the same data."""
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir(), new.mkdir()
    (old / "people.csv").write_text("age,paid\n" + "".join(f"{20 + i % 40},{i % 2}\n" for i in range(60)))
    before = load(str(old / "people.csv"))
    (old / "people.csv").rename(new / "people.csv")
    with pytest.raises(InputError, match="old/people.csv: no such file .*; --data_dir=FOLDER looks there"):
        load(str(old / "people.csv"))
    assert load(str(old / "people.csv"), str(new)).fingerprint == before.fingerprint


@pytest.mark.parametrize(
    "name, message",
    [
        ("mnits", "unknown data set 'mnits'; did you mean mnist.* digits, breast_cancer, mnist, .*tfds:NAME"),
        ("xyzzy", "unknown data set 'xyzzy'; there are digits"),
        ("", "unknown data set ''"),
        ("none.npz", "none.npz: no such file or folder; looked at .*none.npz and .*data.*none.npz"),
        ("people.csv", "people.csv: no such file or folder; looked at .*people.csv and .*data.*people.csv"),
        ("people.parquet", "people.parquet: no such file or folder"),
        ("adult", "adult: adult.test .*is missing; it belongs to adult.data"),
        ("notes.txt", "notes.txt: this kind of file is not read"),
        ("nothing", "nothing: no images"),
        ("a\0b\n.npz", "no such file"),
        ("x" * 5000, "unknown data set"),
    ],
)
def test_names_that_cannot_be_used_get_one_clear_line(tmp_path, name, message):
    data_dir = tmp_path / "data"
    (data_dir / "adult").mkdir(parents=True)
    (data_dir / "adult" / "adult.data.gz").write_bytes(b"")
    (data_dir / "nothing").mkdir()
    (data_dir / "notes.txt").write_text("no data")
    with pytest.raises(InputError, match=message) as caught:
        load(name, str(data_dir))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["mnist", "cifar10", "tfds:mnist"])
def test_a_data_dir_that_does_not_exist_is_named(tmp_path, name):
    with pytest.raises(InputError, match="none: no such folder, which --data_dir or SYNTHJAX_DATA_DIR names"):
        load(name, str(tmp_path / "none"))


def test_several_cifar_files_are_not_chosen_from(tmp_path):
    for name in ("cifar10.npz", "cifar10_small.npz"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(InputError, match="2 files are named"):
        load("cifar10", str(tmp_path))


def test_importing_data_imports_no_heavy_library():
    heavy = ["tensorflow", "tensorflow_datasets", "sklearn", "PIL", "pandas", "matplotlib"]
    code = f"import sys, synthjax.data; print([name for name in {heavy} if name in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ))
    assert out.stdout.strip() == "[]"


# --- the real files


@pytest.mark.parametrize(
    "name, classes, first",
    [("mnist", tuple("0123456789"), [5, 0, 4, 1, 9]), ("fashion_mnist", None, [9, 0, 0, 3, 0])],
)
def test_the_original_idx_files(data_dir, name, classes, first):
    data = load(name, str(data_dir))
    assert [len(part.y) for part in parts(data)] == [54_000, 6_000, 10_000]
    assert data.spec.shape == (28, 28, 1) and data.spec.levels == 256
    labels = np.empty(60_000, int)
    for part in parts(data)[:2]:
        labels[part.index] = part.y
    assert labels[:5].tolist() == first  # the order of the files
    if classes:
        assert data.spec.classes == classes
        assert np.bincount(labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    else:
        assert data.spec.classes[0] == "T-shirt/top" and np.bincount(labels).tolist() == [6000] * 10
    assert np.bincount(data.holdout.y).min() >= 540


def test_files_of_the_twin_set_are_refused(data_dir):
    with pytest.raises(InputError, match="holds the files of fashion_mnist, not of mnist"):
        load("mnist", os.path.join(data_dir, "fashion_mnist"))


def test_data_dir_may_hold_the_files_themselves(data_dir):
    data = load("cifar10", os.path.join(data_dir, "cifar10"))
    assert [len(part.y) for part in parts(data)] == [2250, 250, 1000]
    assert data.spec.shape == (32, 32, 3) and data.spec.classes[9] == "truck"
    assert np.bincount(data.test.y).tolist() == [103, 89, 100, 103, 90, 86, 112, 102, 106, 109]
    labels = np.r_[data.train.y, data.holdout.y][np.argsort(np.r_[data.train.index, data.holdout.index])]
    assert labels[:5].tolist() == [6, 9, 9, 4, 1]  # the first of CIFAR-10's data_batch_1: frog, truck, truck, ...


def test_known_counts_are_of_the_two_sets():
    assert {name: sum(counts) for name, counts in image_sources._COUNTS.items()} == {
        "mnist": 60_000,
        "fashion_mnist": 60_000,
    }
