"""Files of synthetic sets: read back by others' readers, the same bytes each time, whole or not there."""

import hashlib
import resource
import zipfile

import numpy as np
import pytest
from PIL import Image

from synthjax.data import writers
from synthjax.data.image_folders import read_image_folder
from synthjax.errors import InputError, StorageError
from synthjax.files import atomic
from synthjax.model import DataSpec

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (10, 4, 5, 1), np.uint8)
Y = np.arange(10, dtype=np.int32) % 3
BLOCKS = [(X[:4], Y[:4]), (X[4:8], Y[4:8]), (X[8:], Y[8:])]


def spec(shape=(4, 5, 1), levels=256, classes=("a", "b", "c")):
    return DataSpec("image", shape, levels, classes, (1 / 3,) * 3)


def read(path):
    with np.load(path, allow_pickle=False) as data:
        return {name: data[name] for name in data.files}


def test_npz_holds_the_rows(tmp_path):
    entry = writers.write_npz(tmp_path / "set.npz", BLOCKS, X.shape, np.uint8)
    data = read(tmp_path / "set.npz")
    np.testing.assert_array_equal(data["x"], X)
    np.testing.assert_array_equal(data["y"], Y)
    assert (data["x"].dtype, data["y"].dtype) == (np.uint8, np.int32)
    assert entry == ("set.npz", 10, hashlib.sha256((tmp_path / "set.npz").read_bytes()).hexdigest())


def test_npz_bytes_depend_on_the_rows_alone(tmp_path):
    writers.write_npz(tmp_path / "a.npz", BLOCKS, X.shape, np.uint8)
    writers.write_npz(tmp_path / "b.npz", [(X, Y)], X.shape, np.uint8)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_npz_without_labels_has_no_y(tmp_path):
    rows = X.astype(np.float32).reshape(10, 20)
    writers.write_npz(tmp_path / "set.npz", [(rows, None)], rows.shape, np.float32)
    data = read(tmp_path / "set.npz")
    assert list(data) == ["x"]
    np.testing.assert_array_equal(data["x"], rows)


def test_npz_with_rows_missing_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="4 rows in the blocks, 10 announced"):
        writers.write_npz(tmp_path / "set.npz", BLOCKS[:1], X.shape, np.uint8)
    assert list(tmp_path.iterdir()) == []


def test_an_error_while_writing_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError), atomic(path) as file:
        file.write(b"half of the new")
        raise RuntimeError
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"old"


def test_a_full_disk_leaves_no_file(tmp_path):
    noise = RNG.integers(0, 256, (1000, 4, 5, 1), np.uint8)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))
    try:
        with pytest.raises(StorageError, match=r"set.npz: cannot be written \(File too large\)"):
            writers.write_npz(tmp_path / "set.npz", [(noise, None)], noise.shape, np.uint8)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file/set.npz: cannot be written \("):
        writers.write_npz(tmp_path / "file" / "set.npz", BLOCKS, X.shape, np.uint8)


@pytest.mark.parametrize("levels", [2, 17, 200, 256])
def test_pngs_give_back_the_grey_values(tmp_path, levels):
    x = (np.arange(20 * 13, dtype=np.int64) % levels).astype(np.uint8).reshape(13, 4, 5, 1)
    y = np.arange(13) % 3
    written = writers.write_pngs(tmp_path / "set", [(x[:5], y[:5]), (x[5:], y[5:])], spec(levels=levels))
    assert [(file.name, file.rows) for file in written] == [("a", 5), ("b", 4), ("c", 4)]
    for label, name in enumerate("abc"):
        paths = sorted((tmp_path / "set" / name).iterdir())
        png = np.stack([np.asarray(Image.open(path)) for path in paths])[..., None]
        np.testing.assert_array_equal(np.rint(png * ((levels - 1) / 255)), x[y == label])
    assert png.max() > 128  # seen by people


def test_colour_pngs(tmp_path):
    x = RNG.integers(0, 256, (2, 4, 5, 3), np.uint8)
    writers.write_pngs(tmp_path / "set", [(x, np.array([1, 1]))], spec((4, 5, 3)))
    png = [np.asarray(Image.open(path)) for path in sorted((tmp_path / "set" / "b").iterdir())]
    np.testing.assert_array_equal(png, x)


def test_pngs_without_labels_lie_in_the_folder_itself(tmp_path):
    (entry,) = writers.write_pngs(tmp_path / "set", [(x, None) for x, _ in BLOCKS], spec())
    assert entry[:2] == (".", 10)
    assert sorted(path.name for path in (tmp_path / "set").iterdir()) == [f"{i:08d}.png" for i in range(10)]


def test_png_folders_are_read_back_by_the_loader(tmp_path):
    writers.write_pngs(tmp_path / "set", BLOCKS, spec())
    source = read_image_folder(tmp_path / "set")
    order = np.argsort(Y, kind="stable")
    np.testing.assert_array_equal(source.train.x, X[order])
    np.testing.assert_array_equal(source.train.y, Y[order])


def test_what_cannot_be_a_png_is_refused():
    with pytest.raises(InputError, match="2"):
        writers.check_png(spec((4, 5, 2)))
    with pytest.raises(InputError, match="table"):
        writers.check_png(DataSpec.from_arrays(np.zeros((3, 2))))


@pytest.mark.parametrize(
    ("name", "folder"),
    [("7", "7"), ("T-shirt", "T-shirt"), ("a/b", "a%2Fb"), ("..", "%2E."), (".", "%2E"), ("<script>", "%3Cscript%3E")],
)
def test_class_names_make_safe_folder_names(name, folder):
    assert writers.folder_name(name) == folder


class TestBlockStore:
    def store(self, tmp_path):
        store = writers.BlockStore(tmp_path / "partial", (4, 5, 1), np.uint8)
        store.begin({"seed": 1})
        return store

    def test_gives_back_what_was_put(self, tmp_path):
        self.store(tmp_path).put(3, X)
        again = self.store(tmp_path)
        np.testing.assert_array_equal(again.get(3), X)
        assert again.get(2) is None

    @pytest.mark.parametrize(
        "damage", [lambda data: data[:-7], lambda data: data[:40] + bytes([data[40] ^ 1]) + data[41:], lambda _: b""]
    )
    def test_a_damaged_block_is_no_block(self, tmp_path, damage):
        store = self.store(tmp_path)
        store.put(0, X)
        (path,) = (tmp_path / "partial").glob("block*")
        path.write_bytes(damage(path.read_bytes()))
        assert store.get(0) is None

    def test_blocks_of_another_request_are_thrown_away(self, tmp_path):
        store = self.store(tmp_path)
        store.put(0, X)
        store.begin({"seed": 2})
        assert store.get(0) is None
        assert store.request() == {"seed": 2}


def test_damaged_names_missing_and_changed_files(tmp_path):
    for name in "abc":
        (tmp_path / name).write_text(name)
    entries = [{"name": name, "rows": 1, "sha256": writers.sha256(tmp_path / name)} for name in "abc"]
    assert writers.damaged(tmp_path, entries) == []
    (tmp_path / "a").unlink()
    (tmp_path / "c").write_text("d")
    assert writers.damaged(tmp_path, entries) == ["a", "c"]
