"""Readers of image files: IDX (the format of MNIST), `.npz` archives and folders of PNGs by class.

Files are not trusted. The size that a header states is compared with `arrays.MAX_BYTES` and with the size of the file
before memory is allocated. Nothing is unpickled. Every error is an `InputError` with one line that names the file.
"""

import contextlib
import gzip
import lzma
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from synthjax import files
from synthjax.data.arrays import Part, Source, as_images, as_labels, check_file, check_size, fault, shown
from synthjax.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

IDX_NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
"""The four files of MNIST and of data sets with the same layout; each may be gzipped, `.gz`."""

_IMAGES = (".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
"""Suffixes of images that are not read."""
_BROKEN = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError, RuntimeError)
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


def _reason(error: Exception) -> str:
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
        raise fault(path, f"damaged gzip file: {_reason(error)}") from error
    except OSError as error:
        raise fault(path, _reason(error)) from error


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

    The archive contains `x` (and `y`), or `x_train` (and `y_train`) and possibly `x_test` (and `y_test`). Other arrays
    are ignored. See `as_images` and `as_labels` for shapes and dtypes.

    Raises:
        InputError: the file is not an archive or damaged, has none of these arrays, or one of them has Python objects
            or more than `MAX_BYTES`.
    """
    check_file(path)
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")}
            suffix = "_train" if "x_train" in names else ""
            if f"x{suffix}" not in names:
                found = ", ".join(shown(name) for name in sorted(names)[:8]) or "no array"
                raise fault(path, f"holds {found}; it needs x and y, or x_train and y_train (and x_test, y_test)")
            train = _npz_part(archive, names, suffix, path)
            if not suffix or "x_test" not in names:
                return Source(train, classes=classes)
            test = _npz_part(archive, names, "_test", path)
    except InputError:
        raise
    except zipfile.BadZipFile as error:
        raise fault(path, f"not an .npz archive, or a damaged one: {_reason(error)}") from error
    except _BROKEN as error:
        raise fault(path, _reason(error)) from error
    if (train.y is None) != (test.y is None):
        raise fault(path, f"y_{'train' if train.y is None else 'test'} is missing; y_train and y_test go together")
    _check_same_shape(train, test, f"{path}: x_test")
    return Source(train, test, classes)


def _npz_part(archive: zipfile.ZipFile, names: set[str], suffix: str, path: Path) -> Part:
    x = as_images(_read_member(archive, f"x{suffix}", path), f"{path}: x{suffix}")
    where = f"{path}: y{suffix}"
    if f"y{suffix}" not in names:
        return Part(x, None, where)
    return Part(x, as_labels(_read_member(archive, f"y{suffix}", path), len(x), where), where)


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
    except _BROKEN as error:
        raise fault(where, f"cannot be read: {_reason(error)}") from error


# --- folders of PNGs ---------------------------------------------------------------------------------------------


def read_png_folder(folder: Path) -> Source:
    """Reads images from a folder with one subfolder of `.png` files per class.

    Class names are the names of the subfolders, sorted, integers by value. Subfolders `train/` and `test/` may contain
    the class folders of two splits. A folder with `.png` files only is an unlabelled data set. Rows are in the order of
    the class and the file name. All images have the same size and are 8-bit grey (C = 1), or RGB or palette (C = 3).

    Raises:
        InputError: a class folder has no images, a file cannot be read, an image has another format, size or mode, or
            an image would be ignored. The file is named.
    """
    top = _folders(folder)
    if "train" not in top:
        part, classes = _png_part(folder)
        return Source(part, None, classes)
    if extra := [name for name in top if name not in ("train", "test")]:
        raise fault(folder / extra[0], "unexpected beside train/; only test/ may stand there")
    train, classes = _png_part(folder / "train")
    if "test" not in top:
        return Source(train, None, classes)
    test, test_classes = _png_part(folder / "test")
    if test_classes != classes:
        odd = min(set(test_classes or ()) ^ set(classes or ()))
        raise fault(folder, f"class folder {shown(odd)} is in only one of train/ and test/")
    _check_same_shape(train, test, folder / "test")
    return Source(train, test, classes)


def _folders(folder: Path) -> list[str]:
    """Names of the subfolders, sorted (integers by value), without hidden ones and those that archivers add."""
    try:
        names = [entry.name for entry in os.scandir(folder) if entry.is_dir()]
    except OSError as error:
        raise fault(folder, _reason(error)) from error
    names = sorted(name for name in names if not name.startswith((".", "__MACOSX")))
    return sorted(names, key=int) if all(name.isdecimal() for name in names) else names


def _pngs(folder: Path) -> list[Path]:
    """The .png files in `folder`, sorted; InputError if it contains folders or images of other formats as well."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise fault(folder, _reason(error)) from error
    entries = [entry for entry in entries if not entry.name.startswith((".", "__MACOSX"))]
    found = [folder / entry.name for entry in entries if entry.name.lower().endswith(".png")]
    for entry in entries:
        if Path(entry.name).suffix.lower() in _IMAGES:
            raise fault(folder / entry.name, "is no .png file: convert it, or move it away")
        if entry.is_dir():
            raise fault(folder / entry.name, "a folder within a class: only .png files may stand there")
    return found


def _png_part(folder: Path) -> tuple[Part, tuple[str, ...] | None]:
    """The images in the subfolders of `folder`, and the class names; None if the images are in `folder` itself."""
    classes = tuple(_folders(folder))
    if not classes:
        if not (found := _pngs(folder)):
            raise fault(folder, "no .png files and no folders of them, one per class")
        return Part(_decode(found), None, str(folder)), None
    for entry in sorted(os.listdir(folder)):
        if Path(entry).suffix.lower() in (".png", *_IMAGES) and entry[0] != "." and entry not in classes:
            raise fault(folder / entry, "an image beside the folders of classes: put it into one, or move it away")
    files = [_pngs(folder / name) for name in classes]
    for name, found in zip(classes, files, strict=True):
        if not found:
            raise fault(folder / name, "an empty class: no .png file in it")
    x = _decode([path for found in files for path in found])
    y = np.repeat(np.arange(len(classes), dtype=np.int32), [len(found) for found in files])
    return Part(x, y, str(folder)), classes


def _decode(paths: list[Path]) -> np.ndarray:
    """Reads PNG files of equal size: (N, H, W, C) uint8. Each header is checked before its pixels are decoded."""
    x = np.empty(0, np.uint8)
    for row, path in enumerate(paths):
        with _opened(path) as image:
            if image.mode not in ("1", "L", "P", "RGB"):
                raise fault(path, f"PNG of mode {image.mode}; 8-bit grey and RGB without alpha are read")
            if "transparency" in image.info:
                raise fault(path, "PNG with transparent pixels; 8-bit grey and RGB without alpha are read")
            if getattr(image, "n_frames", 1) > 1:
                raise fault(path, "an animated PNG; only single images are read")
            channels = 1 if image.mode in ("1", "L") else 3
            shape = (image.height, image.width, channels)
            if row == 0:
                check_size((len(paths), *shape), 1, path)
                x = np.empty((len(paths), *shape), np.uint8)
            elif shape != x.shape[1:]:
                raise fault(path, f"image of {shape} (height, width, C), but {shown(paths[0])} is {x.shape[1:]}")
            x[row] = np.asarray(image.convert("L" if channels == 1 else "RGB")).reshape(shape)
    return x


@contextlib.contextmanager
def _opened(path: Path) -> Iterator["Image.Image"]:
    """Opens a PNG file and reads its header. Exceptions of Pillow while it is open become InputErrors."""
    from PIL import Image

    check_file(path)
    try:
        with Image.open(path, formats=["PNG"]) as image:
            yield image
    except InputError:
        raise
    except (SyntaxError, struct.error, Image.DecompressionBombError, *_BROKEN) as error:
        raise fault(path, f"not a readable PNG: {_reason(error)}") from error
