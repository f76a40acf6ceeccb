"""Readers of arrays of images: IDX (the format of MNIST) and `.npz` archives.

Files are not trusted. The size that a header states is compared with `arrays.MAX_BYTES` and with the size of the file
before memory is allocated. Nothing is unpickled. Every error is an `InputError` with one line that names the file.
"""

import gzip
import lzma
import os
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from synthjax import files
from synthjax.data.arrays import Part, Source, as_images, as_labels, check_file, check_size, fault, shown
from synthjax.errors import InputError

IDX_NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
"""The four files of MNIST and of data sets with the same layout; each may be gzipped, `.gz`."""

_IMAGES, _LABELS = ("x", "images", "image", "imgs", "data"), ("y", "labels", "label", "targets", "target")
"""Names of arrays in archives, in any case."""
_SPLITS = {"train": ("train", "training"), "held": ("val", "valid", "validation"), "test": ("test",)}
BROKEN = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError, RuntimeError)
"""Exceptions of the standard library and NumPy for damaged archives."""


def from_store(name: str, data_dir: str | None) -> tuple[str, str | None]:
    """Copies the files of a data set from an object store, if they are in one.

    Args:
        name: of the data set, or a path.
        data_dir: see `synthjax.data.load`.

    Returns:
        `name` and `data_dir`, with local paths.
    """
    if name.startswith(files.SCHEMES):
        name = str(files.download(files.path(name)))
    if not data_dir or not data_dir.startswith(files.SCHEMES) or name.startswith("tfds:"):
        return name, data_dir
    folder = files.path(data_dir)
    for below in (name, os.path.basename(name.rstrip("/"))):
        with files.named_errors(folder / below, "read"):
            found = not os.path.isabs(below) and (folder / below).exists()
        if found:
            return name, str(files.download(folder / below)).removesuffix(f"/{below}")
    with files.named_errors(folder, "read"):  # the files of a data set with a name may be in the folder itself
        copies = [files.download(entry) for entry in sorted(folder.iterdir()) if not entry.is_dir()]
    return name, str(copies[0].parent) if copies else None


def reason(error: Exception) -> str:
    """The message of an exception in one line, without its path."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return shown(text.strip().splitlines()[0]) if text.strip() else type(error).__name__


# --- IDX ---------------------------------------------------------------------------------------------------------


def read_idx(path: Path) -> np.ndarray:
    """Reads an IDX file of unsigned bytes, gzipped or not.

    Format (http://yann.lecun.com/exdb/mnist): two zero bytes, the type code (8: unsigned byte), the number of
    dimensions, each dimension as a big-endian u32, then the values.

    Returns:
        uint8 array of the file's shape, read-only.

    Raises:
        InputError: missing, damaged gzip, wrong magic number, truncated, or longer than its header says.
    """
    check_file(path)
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            if not packed:
                return _read_idx(raw, path)
            with gzip.open(raw) as unpacked:
                return _read_idx(unpacked, path)  # type: ignore[arg-type]
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise fault(path, f"damaged gzip file: {reason(error)}") from error
    except OSError as error:
        raise fault(path, reason(error)) from error


def _read_idx(file: BinaryIO, path: Path) -> np.ndarray:
    """Reads an open IDX stream, and one byte more than its header states, so that gzip verifies its checksum."""
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] != 8 or magic[3] not in (1, 3, 4):
        raise fault(
            path,
            f"wrong magic number {magic.hex() or '(empty file)'}: "
            "IDX files of bytes begin with 00000803 (images) or 00000801 (labels)",
        )
    head = file.read(4 * magic[3])
    if len(head) < 4 * magic[3]:
        raise fault(path, "truncated within its header")
    shape = struct.unpack(f">{magic[3]}I", head)
    size = check_size(shape, 1, path)
    data = file.read(size + 1)
    if len(data) != size:
        state = "truncated" if len(data) < size else "too long"
        raise fault(path, f"{state}: the header promises {shape}, {size:,} bytes, and {len(data):,} or more follow")
    return np.frombuffer(data, np.uint8).reshape(shape)


def find_idx(folder: Path, name: str) -> Path | None:
    """The file of one of `IDX_NAMES` in `folder`, possibly with `.gz`, or with `.idx` for `-idx`; None if missing."""
    for stem in (name, name.replace("-idx", ".idx")):
        for path in (folder / stem, folder / f"{stem}.gz"):
            if path.is_file():
                return path
    return None


def holds_idx(folder: Path) -> bool:
    """Whether `folder` contains any of the four IDX files."""
    return any(find_idx(folder, name) for name in IDX_NAMES)


def read_idx_folder(folder: Path, classes: tuple[str, ...] | None = None) -> Source:
    """Reads the train and test split from a folder with the four files `IDX_NAMES`.

    Raises:
        InputError: a file is missing or damaged, or the shapes differ.
    """
    paths = []
    for name in IDX_NAMES:
        path = find_idx(folder, name)
        if path is None:
            raise fault(folder, f"{name} (or {name}.gz) is missing; {', '.join(IDX_NAMES)} belong together")
        paths.append(path)
    train, test = (_idx_part(*pair) for pair in (paths[:2], paths[2:]))
    _check_same_shape(train, test, paths[2])
    return Source(train, test, classes)


def read_idx_file(path: Path) -> Source:
    """Reads images from one IDX file, and labels from the file of the same name with `labels` for `images`, if any."""
    beside = path.with_name(path.name.replace("images", "labels").replace("idx3", "idx1"))
    return Source(_idx_part(path, beside if beside != path and beside.is_file() else None))


def _idx_part(images: Path, labels: Path | None) -> Part:
    x = as_images(read_idx(images), images)
    return Part(x, None if labels is None else as_labels(read_idx(labels), len(x), labels), str(labels or images))


def _check_same_shape(train: Part, test: Part, where: object) -> None:
    if train.x.shape[1:] != test.x.shape[1:]:
        raise fault(where, f"test images are {test.x.shape[1:]}, train images are {train.x.shape[1:]}")


# --- npz ---------------------------------------------------------------------------------------------------------


def read_npz(path: Path, classes: tuple[str, ...] | None = None) -> Source:
    """Reads images and labels from an `.npz` archive.

    The archive contains `x` (and `y`), or `x_train`, possibly `x_val` and `x_test` (and `y_train` ...). Other common
    names are read as well: `images` and `labels`, `train_images` and `train_labels` as in MedMNIST. Other arrays are
    ignored. See `as_images` and `as_labels` for shapes and dtypes.

    Raises:
        InputError: the file is not an archive or damaged, has none of these arrays, or one of them has Python objects
            or more than `MAX_BYTES`.
    """
    check_file(path)
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
            keys = _npz_keys(names)
            parts = {split: _npz_part(archive, *pair, path) for split, pair in keys.items()}
    except InputError:
        raise
    except zipfile.BadZipFile as error:
        raise fault(path, f"not an .npz archive, or a damaged one: {reason(error)}") from error
    except BROKEN as error:
        raise fault(path, reason(error)) from error
    if "train" not in parts:
        found = ", ".join(shown(name) for name in sorted(names)[:8]) or "no array"
        raise fault(
            path,
            f"holds {found}; it needs x and y, or x_train and y_train (and x_val, x_test ...), or images and labels",
        )
    train = parts["train"]
    for name, part in parts.items():
        if (train.y is None) != (part.y is None):
            raise fault(path, f"the labels of {'train' if train.y is None else name} are missing; all splits need them")
        _check_same_shape(train, part, f"{path}: {keys[name][0]}")
    held = parts.get("held")
    if held is not None:
        y = None if train.y is None or held.y is None else np.concatenate([train.y, held.y])
        train = Part(np.concatenate([train.x, held.x]), y, train.where)
    return Source(train, parts.get("test"), classes, held=0 if held is None else len(held.x))


def read_array(path: Path, name: str) -> np.ndarray | None:
    """Reads one array of an `.npz` archive; None if it has none of that name. InputError as `read_npz`."""
    check_file(path)
    try:
        with zipfile.ZipFile(path) as archive:
            return _read_member(archive, name, path) if f"{name}.npy" in archive.namelist() else None
    except BROKEN as error:
        if isinstance(error, InputError):
            raise
        raise fault(path, f"not an .npz archive, or a damaged one: {reason(error)}") from error


def _npz_keys(names: Sequence[str]) -> dict[str, tuple[str, str | None]]:
    """Split -> names of its images and of its labels, of which there may be none, in an archive."""
    known = {name.lower(): name for name in names}

    def find(stems: Sequence[str], words: Sequence[str]) -> str | None:
        forms = (form for stem in stems for word in words for form in (f"{stem}_{word}", f"{word}_{stem}"))
        return next((known[form] for form in (forms if words else stems) if form in known), None)

    keys = {split: (find(_IMAGES, words), find(_LABELS, words)) for split, words in _SPLITS.items()}
    if keys["train"][0] is None:
        keys = {"train": (find(_IMAGES, ()), find(_LABELS, ()))}
    return {split: (images, labels) for split, (images, labels) in keys.items() if images is not None}


def _npz_part(archive: zipfile.ZipFile, images: str, labels: str | None, path: Path) -> Part:
    x = as_images(_read_member(archive, images, path), f"{path}: {images}")
    if labels is None:
        return Part(x, None, f"{path}: {images}")
    where = f"{path}: {labels}"
    return Part(x, as_labels(_read_member(archive, labels, path), len(x), where), where)


def _read_member(archive: zipfile.ZipFile, name: str, path: Path) -> np.ndarray:
    """Reads an array of an archive, after its header was compared with the size of the member and `MAX_BYTES`."""
    where = f"{path}: {name}"
    member = archive.getinfo(f"{name}.npy")
    try:
        with archive.open(member) as file:
            version = np.lib.format.read_magic(file)
            if version not in ((1, 0), (2, 0)):
                raise fault(where, f"npy format version {version}; 1.0 and 2.0 are read")
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(file)
            if dtype.hasobject:
                raise fault(where, "is an array of Python objects, which is never unpickled; save plain numbers")
            size = check_size(shape, dtype.itemsize, where)
            held = member.file_size - file.tell()
            if size != held:
                raise fault(where, f"damaged: the header promises {shape}, {size:,} bytes; {held:,} are there")
        with archive.open(member) as file:
            return np.lib.format.read_array(file, allow_pickle=False)
    except InputError:  # a ValueError too
        raise
    except BROKEN as error:
        raise fault(where, f"cannot be read: {reason(error)}") from error
