"""TFDS sets: small ones, prepared here as array_record by TFDS itself, which needs no TensorFlow for ready PNGs."""

import importlib.util
import io
import sys

import numpy as np
import pytest

from synthjax.data import load
from synthjax.errors import InputError

IMAGES = np.random.default_rng(0).integers(0, 256, (60, 6, 6, 1), np.uint8)
find_spec = importlib.util.find_spec


def png(image):
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image[..., 0]).save(file, "png")
    file.seek(0)
    return file


@pytest.fixture(scope="module")
def tfds():
    """tensorflow_datasets, with four builders registered."""
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()
    classes = tfds.features.ClassLabel(names=["none", "even", "odd"])

    class Tiny(tfds.core.GeneratorBasedBuilder):
        """40 train and 20 test images of two of three classes."""

        VERSION = tfds.core.Version("1.0.0")
        shape, label = (6, 6, 1), classes

        def _info(self):
            features = {"image": tfds.features.Image(shape=self.shape), "label": self.label}
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features), supervised_keys=("image", "label")
            )

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples(range(40)), "test": self._generate_examples(range(40, 60))}

        def _generate_examples(self, rows):
            for row in rows:
                yield row, {"image": png(IMAGES[row]), "label": 1 + row % 2}

    class TinyUnequal(Tiny):
        """Images of two sizes."""

        shape = (None, 6, 1)

        def _generate_examples(self, rows):
            for row in rows:
                yield row, {"image": png(IMAGES[row][: 5 + row % 2]), "label": 1}

    class TinyRegression(Tiny):
        """Images with a number in place of a class."""

        label = tfds.features.Scalar(np.int64)

    class TinyManual(Tiny):
        """Reads its images from an original file in manual_dir."""

        MANUAL_DOWNLOAD_INSTRUCTIONS = "originals.npy"

        def _split_generators(self, dl_manager):
            images = np.load(dl_manager.manual_dir / "originals.npy")
            return {"train": (self._one(images, row) for row in range(len(images)))}

        def _one(self, images, row):
            return row, {"image": png(images[row]), "label": 1 + row % 2}

    return tfds


@pytest.fixture(scope="module")
def prepared(tfds, tmp_path_factory):
    """A folder with all prepared that need no original files."""
    root = tmp_path_factory.mktemp("prepared")
    for name in ("tiny", "tiny_unequal", "tiny_regression"):
        tfds.builder(name, data_dir=root, file_format="array_record").download_and_prepare(file_format="array_record")
    return str(root)


@pytest.fixture(autouse=True)
def own_folder(tfds, monkeypatch, tmp_path):
    """TFDS's own folder, which would else be in the user's home."""
    from tensorflow_datasets.core import constants

    monkeypatch.setattr(constants, "DATA_DIR", str(tmp_path / "tfds"))
    return tmp_path / "tfds"


def with_tensorflow(monkeypatch, there):
    monkeypatch.setattr(importlib.util, "find_spec", lambda n, *a: there if n == "tensorflow" else find_spec(n, *a))


def test_a_prepared_set_is_read_without_tensorflow(prepared):
    data = load("tfds:tiny", prepared)
    assert "tensorflow" not in sys.modules
    assert data.name == "tfds-tiny" and data.spec.shape == (6, 6, 1) and data.spec.levels == 256
    assert data.spec.classes == ("even", "odd")  # the class without an example is left out
    rows = {image.tobytes(): row for row, image in enumerate(IMAGES)}
    for split, wanted in (((data.train, data.holdout), range(40)), ((data.test,), range(40, 60))):
        got = [(rows[x.tobytes()], y) for part in split for x, y in zip(part.x, part.y, strict=True)]
        assert sorted(got) == [(row, row % 2) for row in wanted]


def test_rows_are_named_in_the_order_of_the_source(prepared, tfds):
    data = load("tfds:tiny", prepared)
    source = tfds.builder("tiny", data_dir=prepared).as_data_source(split="train")
    for image, index in zip(data.holdout.x, data.holdout.index, strict=True):
        np.testing.assert_array_equal(image, source[int(index)]["image"])


def test_images_of_two_sizes_and_unlabelled_sets_are_refused(prepared):
    with pytest.raises(InputError, match=r"tfds:tiny_unequal, split train: row \d+ is an image of \(., 6, 1\)"):
        load("tfds:tiny_unequal", prepared)
    with pytest.raises(InputError, match="tfds:tiny_regression: not a set of labelled images: it has image, label"):
        load("tfds:tiny_regression", prepared)


def test_a_damaged_record_file_is_named(prepared, tmp_path):
    import shutil

    shutil.copytree(f"{prepared}/tiny", tmp_path / "tiny")
    path = next((tmp_path / "tiny" / "1.0.0").glob("*train*"))
    data = bytearray(path.read_bytes())
    data[100:400] = bytes(300)
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"tfds:tiny, split train.* cannot be read from .*tiny"):
        load("tfds:tiny", str(tmp_path))


@pytest.mark.parametrize("name", ["tfds:tiny", "mnist", "cifar10"])
def test_preparing_without_tensorflow_says_what_to_install(monkeypatch, name, tmp_path):
    with_tensorflow(monkeypatch, None)
    with pytest.raises(InputError, match=r"pip install synthjax\[tfds\]") as caught:
        load(name, str(tmp_path))
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


def test_preparing_uses_the_original_files_and_a_download_folder_of_its_own(monkeypatch, own_folder, tmp_path):
    with_tensorflow(monkeypatch, object())
    originals = tmp_path / "data" / "tiny_manual"
    originals.mkdir(parents=True)
    np.save(originals / "originals.npy", IMAGES[:30])
    data = load("tfds:tiny_manual", str(tmp_path / "data"))
    parts = (data.train, data.holdout, data.test)  # no test split of its own: one is cut
    assert [len(part.y) for part in parts] == [22, 2, 6]
    assert {x.tobytes() for part in parts for x in part.x} == {x.tobytes() for x in IMAGES[:30]}
    assert [path.name for path in (own_folder / "downloads").iterdir()] == ["tiny_manual_1.0.0"]
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["tiny_manual"]  # data_dir is not written to
    monkeypatch.undo()
    with_tensorflow(monkeypatch, None)
    from tensorflow_datasets.core import constants

    monkeypatch.setattr(constants, "DATA_DIR", str(own_folder))
    assert load("tfds:tiny_manual").fingerprint == data.fingerprint  # found prepared


def test_a_set_that_cannot_be_prepared_is_one_line(monkeypatch, tmp_path):
    with_tensorflow(monkeypatch, object())
    with pytest.raises(InputError, match=r"tfds:tiny_manual: cannot be prepared under .*originals\.npy") as caught:
        load("tfds:tiny_manual", str(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name, message",
    [
        ("mnits", "TFDS knows no such data set; did you mean tfds:mnist"),
        ("../../etc", "not a TFDS name"),
        ("huggingface:mnist", "not a TFDS name"),
        ("emnist/lettrs", "emnist has no config lettrs; there is letters"),
        ("mnist:9.9.9", "cannot be loaded at version 9.9.9"),
    ],
)
def test_unknown_names_get_the_nearest(name, message):
    with pytest.raises(InputError, match=message) as caught:
        load(f"tfds:{name}")
    assert "\n" not in str(caught.value)
