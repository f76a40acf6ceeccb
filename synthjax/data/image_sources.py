"""Images by name: from the name of a data set, or the path of a file or folder, to its arrays."""

import difflib
import os
from pathlib import Path

import numpy as np

from synthjax import files
from synthjax.data import files as readers
from synthjax.data import image_folders, tfds
from synthjax.data.arrays import Part, Source, fault, shown
from synthjax.data.files import IDX_NAMES, holds_idx, read_npz
from synthjax.data.image_decoding import Size, resize
from synthjax.data.table_names import TABLES, is_table_file
from synthjax.errors import InputError

_DIGITS = tuple("0123456789")
_FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
_CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_IDX_SETS = {"mnist": _DIGITS, "fashion_mnist": _FASHION}
# Number of training labels of each class, to distinguish two data sets whose files have the same names.
_COUNTS = {
    "mnist": (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949),
    "fashion_mnist": (6000,) * 10,
}
NAMES = ("digits", "breast_cancer", "mnist", "fashion_mnist", "cifar10", "adult", "creditcard", "nyc_taxi")
"""Names of data sets, in addition to `tfds:NAME` and paths."""
_FORMS = (
    "tfds:NAME, or the path of an .npz, .csv or .parquet file, an IDX file or folder, or a folder of images by class"
)


def existing(data_dir: str | None) -> str | None:
    """`data_dir`, if it exists or is None; otherwise InputError."""
    if data_dir is not None and not files.path(data_dir).is_dir():
        raise fault(data_dir, "no such folder, which --data_dir or SYNTHJAX_DATA_DIR names")
    return data_dir


def locate(name: str, data_dir: str | None) -> Path:
    """The path of a file or folder: `name`, or `name` or its last part in `data_dir`; InputError if there is none."""
    moved = os.path.basename(name.rstrip("/"))
    below = [os.path.join(data_dir, path) for path in (name, moved)] if data_dir else []
    candidates = [os.path.abspath(path) for path in [name, *below] if name]
    found = next((path for path in candidates if os.path.exists(path)), None)
    if found is None:
        if Path(name).suffix or "/" in name or os.sep in name:
            looked = " and ".join(shown(path) for path in dict.fromkeys(candidates) if path != name)
            at = f"looked at {looked}; " if looked else ""
            raise fault(name, f"no such file or folder; {at}--data_dir=FOLDER looks there")
        near = difflib.get_close_matches(name, NAMES, n=2)
        hint = f"did you mean {' or '.join(near)}? If not, " if near else ""
        raise InputError(f"unknown data set {shown(name)!r}; {hint}there are {', '.join(NAMES)}, {_FORMS}")
    return Path(found)


def read(name: str, data_dir: str | None, size: Size) -> Source:
    """Reads images; InputError if they cannot be found or read. See `synthjax.data.load`."""
    if name == "digits":
        return _resized(_digits(), size)
    if name in NAMES:
        return _resized(_files_or_tfds(name, data_dir), size)
    if name.startswith("tfds:"):
        return _resized(tfds.read(name.removeprefix("tfds:"), existing(data_dir)), size)
    return read_path(name, data_dir, size)


def _resized(source: Source, size: Size) -> Source:
    """The source with its images resized; its notes say so."""
    if size is None or source.train.x.shape[1:3] == size:
        return source
    if source.levels != 256:
        raise InputError(f"image_size: goes with images of 256 grey levels; these have {source.levels}")
    train = source.train._replace(x=resize(source.train.x, size))
    test = source.test and source.test._replace(x=resize(source.test.x, size))
    note = (
        f"images are resized from {source.train.x.shape[1]} x {source.train.x.shape[2]} to {size[0]} x {size[1]} pixels"
    )
    return source._replace(train=train, test=test, notes=(*source.notes, note))


def is_table(name: str, data_dir: str | None) -> bool:
    """Whether a data set is a table: by its name or its file's, unless the file lists images or holds them."""
    if name in TABLES or not is_table_file(name) or name.startswith(files.SCHEMES):
        return name in TABLES or is_table_file(name)
    path = locate(name, data_dir or os.environ.get("SYNTHJAX_DATA_DIR"))
    images = image_folders.holds_images if path.suffix.lower() == ".parquet" else image_folders.image_list
    return not (path.is_file() and path.suffix.lower() in (".parquet", ".csv") and images(path))


def _files_or_tfds(name: str, data_dir: str | None) -> Source:
    """Reads `mnist`, `fashion_mnist` or `cifar10` from the original files in `data_dir`, if there are any, or TFDS."""
    folders = [Path(data_dir, name), Path(data_dir)] if existing(data_dir) and data_dir else []
    for folder in filter(Path.is_dir, folders):
        if name == "cifar10":
            found = sorted(folder.glob("cifar10*.npz"))
            if len(found) > 1:
                raise fault(folder, f"{len(found)} files are named cifar10*.npz; give the path of one as the data set")
            if found:
                return read_npz(found[0], _CIFAR10)
        elif holds_idx(folder):
            source = readers.read_idx_folder(folder, _IDX_SETS[name])
            _check_not_swapped(name, folder, source)
            return source
    try:
        return tfds.read(name, data_dir)
    except InputError as error:
        files = "cifar10*.npz" if name == "cifar10" else ", ".join(f"{file}[.gz]" for file in IDX_NAMES)
        looked = " or ".join(shown(folder) for folder in folders)
        where = f"are not in {looked}" if looked else "can be given by --data_dir or SYNTHJAX_DATA_DIR"
        raise InputError(f"{name}: its original files ({files}) {where}; {error}") from error


def _check_not_swapped(name: str, folder: Path, source: Source) -> None:
    """Raises InputError if the files are of MNIST instead of Fashion-MNIST or vice versa; they have the same names."""
    counts = tuple(np.bincount(source.train.y).tolist()) if source.train.y is not None else ()
    for other, theirs in _COUNTS.items():
        if other != name and counts == theirs:
            raise fault(folder, f"holds the files of {other}, not of {name}")


def read_path(name: str, data_dir: str | None, size: Size) -> Source:
    """Reads images from a file or folder; InputError if it cannot be found or read."""
    path = locate(name, data_dir)
    if path.is_dir():
        if holds_idx(path):
            return _resized(readers.read_idx_folder(path), size)
        table = next((file for file in sorted(os.listdir(path)) if is_table_file(file)), None)
        if table and not (image_folders.image_list(path) or image_folders.parquet_files(path)):
            raise fault(path, f"a folder with tables; give the path of one, such as {shown(path / table)}")
        return image_folders.read_image_folder(path, size)
    if path.suffix.lower() == ".npz":
        return _resized(read_npz(path), size)
    if path.suffix.lower() == ".csv":
        return image_folders.read_list(path, size)
    if path.suffix.lower() == ".parquet":
        return image_folders.read_image_parquet([path], size)
    if what := image_folders.unread(path.name):
        raise fault(path, what)
    if path.suffix.lower() == ".gz" or "idx" in path.name:
        return _resized(readers.read_idx_file(path), size)
    raise fault(path, f"this kind of file is not read; {_FORMS}")


def with_test(name: str, source: Source, test: str, data_dir: str | None, size: Size) -> Source:
    """Adds the images of another file or folder to `source`, as its test split."""
    if source.test is not None or name in NAMES:
        raise InputError(f"test={shown(test)}: goes with images that have no test split of their own; {name} has one")
    if is_table_file(test):
        raise fault(test, f"is a table; {shown(name)} holds images")
    other = read_path(test, data_dir, size)
    if other.test is not None:
        raise fault(test, "has a training and a test split; the unseen examples must be all that is in it")
    if other.train.x.shape[1:] != source.train.x.shape[1:]:
        raise fault(
            test, f"images are {other.train.x.shape[1:]}, those of {shown(name)} are {source.train.x.shape[1:]}"
        )
    if (other.train.y is None) != (source.train.y is None):
        which, with_labels = (test, name) if other.train.y is None else (name, test)
        raise fault(which, f"labels are missing; {shown(with_labels)} has them")
    if other.classes != source.classes:
        odd = min(set(other.classes or ()) ^ set(source.classes or ()), default="y")
        raise fault(test, f"class folder {shown(odd)} is in only one of it and {shown(name)}")
    return source._replace(test=other.train)


def _digits() -> Source:
    """The 8x8 test images of Alpaydin & Kaynak (1998), grey values 0 ... 16."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    images = x.reshape(-1, 8, 8, 1).astype(np.uint8)
    return Source(Part(images, y.astype(np.int32), "digits"), classes=_DIGITS, levels=17)
