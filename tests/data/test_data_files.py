"""Readers of IDX and npz files, on good files and on hostile ones."""

import gzip
import io
import struct
import zipfile

import numpy as np
import pytest

from synthjax.data import arrays
from synthjax.data.files import read_idx, read_idx_file, read_idx_folder, read_npz
from synthjax.errors import InputError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (12, 5, 4), np.uint8)
LABELS = np.arange(12, dtype=np.uint8) % 3


def idx_bytes(x):
    """The IDX file of a uint8 array, written from the format's description."""
    return b"\0\0\x08" + bytes([x.ndim]) + b"".join(struct.pack(">I", n) for n in x.shape) + x.tobytes()


def fails(match, read, *args):
    """`read(*args)` answers with one line that matches."""
    with pytest.raises(InputError, match=match) as caught:
        read(*args)
    assert "\n" not in str(caught.value)


# --- IDX


@pytest.fixture
def idx_folder(tmp_path):
    """The four files; train gzipped, test not and spelt the other way."""
    for name, x in (("train-images-idx3-ubyte", IMAGES), ("train-labels-idx1-ubyte", LABELS)):
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(idx_bytes(x)))
    for name, x in (("t10k-images.idx3-ubyte", IMAGES[:6]), ("t10k-labels.idx1-ubyte", LABELS[:6])):
        (tmp_path / name).write_bytes(idx_bytes(x))
    return tmp_path


def test_an_idx_folder_is_read_packed_or_not(idx_folder):
    source = read_idx_folder(idx_folder)
    np.testing.assert_array_equal(source.train.x[..., 0], IMAGES)
    np.testing.assert_array_equal(source.train.y, LABELS)
    np.testing.assert_array_equal(source.test.x[..., 0], IMAGES[:6])
    np.testing.assert_array_equal(source.test.y, LABELS[:6])


def test_one_idx_file_takes_the_labels_beside_it(idx_folder):
    path = idx_folder / "train-images-idx3-ubyte.gz"
    np.testing.assert_array_equal(read_idx_file(path).train.y, LABELS)
    (idx_folder / "train-labels-idx1-ubyte.gz").unlink()
    assert read_idx_file(path).train.y is None


def test_an_idx_file_that_is_missing_is_named(idx_folder):
    (idx_folder / "t10k-labels.idx1-ubyte").unlink()
    fails("t10k-labels-idx1-ubyte .* is missing", read_idx_folder, idx_folder)
    fails("no such file", read_idx, idx_folder / "nothing")


def test_idx_files_that_do_not_fit_each_other_are_refused(idx_folder):
    (idx_folder / "t10k-images.idx3-ubyte").write_bytes(idx_bytes(IMAGES[:6, :4]))
    fails(r"test images are \(4, 4, 1\), train images are \(5, 4, 1\)", read_idx_folder, idx_folder)
    (idx_folder / "t10k-labels.idx1-ubyte").write_bytes(idx_bytes(LABELS[:5]))
    fails("t10k-labels.* has 5 labels for 6 examples", read_idx_folder, idx_folder)
    (idx_folder / "t10k-labels.idx1-ubyte").write_bytes(idx_bytes(IMAGES))
    fails("t10k-labels.* has shape", read_idx_folder, idx_folder)


GOOD = idx_bytes(IMAGES)
PACKED = gzip.compress(GOOD)


@pytest.mark.parametrize(
    "data, message",
    [
        (b"", "wrong magic number .empty file."),
        (b"\x89PNG\r\n", "wrong magic number 89504e47"),
        (b"\0\0\x0d\x03" + GOOD[4:], "wrong magic number 00000d03"),
        (b"\0\0\x08\xff" + GOOD[4:], "wrong magic number 000008ff"),
        (GOOD[:9], "truncated within its header"),
        (GOOD[:-1], r"truncated: the header promises \(12, 5, 4\), 240 bytes, and 239"),
        (GOOD + b"x", "too long"),
        (b"\0\0\x08\x03" + b"\xff" * 12, "at most"),
        (PACKED[:-20], "damaged gzip"),
        (PACKED[:-8] + b"\0\0\0\0" + PACKED[-4:], "damaged gzip file: CRC"),
        (PACKED[:30] + b"\xff\xff\xff" + PACKED[33:], "damaged gzip"),
        (b"\x1f\x8bnot gzip at all", "damaged gzip"),
    ],
)
def test_damaged_idx_files_are_refused(tmp_path, data, message):
    path = tmp_path / "images"
    path.write_bytes(data)
    fails(message, read_idx, path)


def test_a_gzip_bomb_is_read_no_further_than_its_header_promises(tmp_path, monkeypatch):
    path = tmp_path / "bomb.gz"
    with gzip.open(path, "wb") as file:
        file.write(idx_bytes(IMAGES[:1, :1, :1]))
        for _ in range(64):
            file.write(bytes(1 << 20))
    asked = []
    read = gzip.GzipFile.read
    monkeypatch.setattr(gzip.GzipFile, "read", lambda self, size=-1: asked.append(size) or read(self, size))
    fails("too long", read_idx, path)
    assert asked == [4, 12, 2]


# --- npz


def test_npz_with_and_without_test_split_and_labels(tmp_path):
    path = tmp_path / "data.npz"
    np.savez_compressed(path, x=IMAGES, y=LABELS)
    source = read_npz(path)
    np.testing.assert_array_equal(source.train.x[..., 0], IMAGES)
    np.testing.assert_array_equal(source.train.y, LABELS)
    assert source.test is None
    np.savez(path, x=IMAGES)
    assert read_npz(path).train.y is None
    np.savez(path, x_train=IMAGES, y_train=LABELS, x_test=IMAGES[:6], y_test=LABELS[:6], other=np.array([None]))
    source = read_npz(path)
    np.testing.assert_array_equal(source.test.x[..., 0], IMAGES[:6])
    np.testing.assert_array_equal(source.test.y, LABELS[:6])


@pytest.mark.parametrize(
    "content, message",
    [
        ({"a": IMAGES}, "holds a; it needs x and y"),
        ({}, "holds no array"),
        ({"x": np.array([None, {}])}, "npz: x: is an array of Python objects"),
        ({"x": IMAGES, "y": LABELS[:5]}, "npz: y: has 5 labels for 12 examples"),
        ({"x": IMAGES, "y": LABELS.astype(object)}, "npz: y: is an array of Python objects"),
        ({"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES}, "the labels of test are missing"),
        ({"x_train": IMAGES, "x_test": IMAGES[:, :4]}, "x_test: test images are"),
        ({"x": np.where(np.arange(12)[:, None, None] == 7, np.nan, 0.5) * np.ones((12, 2, 2))}, "x: row 7 holds NaN"),
    ],
)
def test_npz_of_the_wrong_content_is_refused(tmp_path, content, message):
    path = tmp_path / "data.npz"
    np.savez(path, **content)
    fails(message, read_npz, path)


def npy_header(shape, descr="|u1"):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
    return file.getvalue()


@pytest.mark.parametrize(
    "member, message",
    [
        (npy_header((2**20, 2**23)), "at most"),  # asks for 8 TiB
        (npy_header((2**32, 2**32, 2**32)), "at most"),
        (npy_header((100, 5, 4)) + bytes(240), "the header promises .* 2,000 bytes; 240 are there"),
        (npy_header((-1, 5, 4)) + bytes(240), "damaged|cannot be read"),
        (npy_header((-12, -5, 4)) + bytes(240), "cannot be read"),
        (b"not an array", "cannot be read"),
        (b"\x93NUMPY\x03\x00" + bytes(80), "version"),
        (npy_header((12, 5, 4), "|O") + bytes(240 * 8), "Python objects"),
        (npy_header((12, 5, 4)).replace(b"False", b"os.rm"), "cannot be read"),
    ],
)
def test_npz_members_that_lie_are_refused_before_memory_is_asked_for(tmp_path, member, message):
    path = tmp_path / "data.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", member)
    fails(message, read_npz, path)


def test_a_zip_bomb_is_refused_by_its_size(tmp_path, monkeypatch):
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, x=np.zeros((1000, 64, 64), np.uint8))
    assert path.stat().st_size < 10_000
    monkeypatch.setattr(arrays, "MAX_BYTES", 1 << 20)
    fails("4,096,000 bytes; at most 1,048,576", read_npz, path)


@pytest.mark.parametrize("where", [0.3, 0.6, 0.999])
def test_npz_files_cut_short_or_with_a_flipped_byte_are_refused(tmp_path, where):
    path = tmp_path / "data.npz"
    np.savez(path, x=IMAGES)
    data = path.read_bytes()
    path.write_bytes(data[: int(where * len(data))])
    fails("not an .npz archive", read_npz, path)
    at = data.index(IMAGES.tobytes()) + int(where * 240)
    path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    fails("x: cannot be read: Bad CRC", read_npz, path)


def test_what_is_no_archive_at_all_is_refused(tmp_path):
    path = tmp_path / "data.npz"
    path.write_bytes(b"hello")
    fails("data.npz: not an .npz archive", read_npz, path)
    fails("no such file", read_npz, tmp_path / "none.npz")
    fails("is a folder", read_npz, tmp_path)
