"""Loading of data sets: `load` converts the name of a data set, or the path of a file, to arrays with fixed splits.

The name of a data set is one of

- `digits` (1,797 images 8x8x1 with 17 levels) or `breast_cancer` (a table of 569 rows), from scikit-learn;
- `adult`, `creditcard`, `nyc_taxi`: tables in `data_dir`, see `synthjax.data.known_tables`;
- `mnist`, `fashion_mnist` (the four original IDX files, possibly gzipped) or `cifar10` (a file `cifar10*.npz`), in
  `data_dir`; if they are not there, from TFDS;
- `tfds:NAME`: labelled images from TFDS;
- the path of images, also relative to `data_dir`: an `.npz` file with `x` (and `y`) or `x_train`, `y_train` (and
  `x_test`, `y_test`); an IDX file (labels in a file next to it); a folder with the four IDX files; or a folder of PNG
  files by class, possibly in `train/` and `test/`. Floats in [0, 1] are rounded to 256 levels;
- the path of a table, `.csv` (also `.tsv`, `.data`, possibly gzipped) or `.parquet`.

`describe` measures the columns of a table, and the rules between them, without encoding it.

    >>> digits = load("digits")
    >>> digits.train.x.shape, digits.train.x.dtype.name, digits.holdout.x.shape, digits.test.x.shape
    ((1294, 8, 8, 1), 'uint8', (144, 8, 8, 1), (359, 8, 8, 1))
    >>> digits.spec.levels, digits.spec.n_classes
    (17, 10)
"""

import difflib
import hashlib
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from synthjax import files
from synthjax.data import files as readers
from synthjax.data import tfds
from synthjax.data.arrays import Part, Source, class_names, fault, shown
from synthjax.data.files import IDX_NAMES, from_store, holds_idx, read_npz
from synthjax.data.splits import Split, check_counts, check_groups, cut, whole
from synthjax.data.table_names import ENDINGS, TABLES, is_table, is_table_file
from synthjax.errors import InputError
from synthjax.model import DataSpec

if TYPE_CHECKING:  # tables need pyarrow, which is not imported for images
    import pandas as pd

    from synthjax.data.description import Description
    from synthjax.data.encoding import Encoder
    from synthjax.data.table_dataset import Found, Options, Table

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
_FORMS = "tfds:NAME, or the path of an .npz, .csv or .parquet file, an IDX file or folder, or a folder of PNGs by class"


class Dataset(NamedTuple):
    """A data set with its splits."""

    name: str
    """Short name of letters, digits and `._-`, usable in file names: `mnist`, `tfds-emnist-letters`, a path's stem."""
    spec: DataSpec
    train: Split
    holdout: Split
    """Not used for training; empty if `holdout` is 0."""
    test: Split
    fingerprint: str
    """sha256, in hexadecimal, of the spec and all arrays of the three splits."""
    encoder: "Encoder | None" = None
    """Of a table: converts rows to vectors and back."""
    table: "Table | None" = None
    """Of a table: the original rows, the schema, and notes for the user."""

    def frame(self, split: str) -> "pd.DataFrame":
        """Reads the original rows of a split of a table, as typed columns. Values are not clipped or merged.

        Args:
            split: "train", "holdout" or "test".

        Returns:
            (N, columns), in the order of `x` and `y` of the split; the frame's index is that of the split.

        Raises:
            ValueError: the data set is not a table.
        """
        if self.table is None:
            raise ValueError(f"{self.name} is not a table")
        return self.table.frame(getattr(self, split).index, test=split == "test")


def load(
    name: str,
    data_dir: str | None = None,
    *,
    holdout: float = 0.1,
    target: str | None = None,
    encoding: str = "quantile",
    schema: str | None = None,
    min_count: int = 5,
    test: str | None = None,
    rules: bool = False,
) -> Dataset:
    """Loads a data set and its fixed splits (see `synthjax.data.splits`).

        digits = load("digits")
        shop = load("customers.csv", target="churned", encoding="interval")

    `target`, `encoding`, `schema`, `min_count` and `rules` are for tables only.

    Args:
        name: of a data set, or a path; see the module's docstring.
        data_dir: a folder with the files of the data set, or with a folder of the name of the data set. Default: the
            environment variable `SYNTHJAX_DATA_DIR`.
        holdout: share of the training examples in the holdout split, in [0, 1); if positive, at least one per class.
        target: the column to predict; a numeric one makes it a regression, without classes. Default: the target of a
            data set with a name, none for a file.
        encoding: name of an encoding, see `synthjax.data.encoding`.
        schema: a YAML or JSON file that corrects the inferred schema, see `synthjax.data.schema`.
        min_count: minimum number of rows that must share a category or an extreme value for it to be stored; 1 stores
            every value.
        test: path of another file or folder with the test split. If given, no test split is taken from `name`.
        rules: whether to search for rules between columns, which synthetic rows then obey (see `synthjax.rules`). Rules
            in the schema file are used in any case.

    Returns:
        The data set. Images are uint8 (N, H, W, C); rows of tables are encoded, f32 (N, D).

    Raises:
        InputError: the data cannot be found or read, or an option does not fit it. The message is one line that names
            the file, the field and the row.
    """
    if not 0 <= holdout < 1:
        raise InputError(f"holdout={holdout}: a share in [0, 1) is needed, 0 for none")
    data_dir = data_dir or os.environ.get("SYNTHJAX_DATA_DIR") or None
    (name, data_dir), test = from_store(name, data_dir), test and from_store(test, data_dir)[0]
    if is_table(name):
        from synthjax.data.table_dataset import Options

        return _load_table(name, data_dir, holdout, test, Options(target, encoding, schema, min_count, rules))
    if target or schema:
        raise InputError(f"target and schema are for tables; {shown(name)} holds images")
    source = _read(name, data_dir)
    if test:
        source = _with_test(name, source, test, data_dir)
    return _dataset(_short_name(name), source, holdout)


def _short_name(name: str) -> str:
    """See `Dataset.name`."""
    known = name in NAMES or name.startswith("tfds:")
    stem = name if known else re.sub(r"(\.(npz|csv|tsv|data|parquet))?(\.gz)?$", "", Path(name).resolve().name)
    return re.sub(r"[^\w.-]+", "-", stem, flags=re.ASCII).strip("-.") or "data"


# --- from names to files -----------------------------------------------------------------------------------------


def _read(name: str, data_dir: str | None) -> Source:
    if name == "digits":
        return _digits()
    if name in NAMES:
        return _files_or_tfds(name, data_dir)
    if name.startswith("tfds:"):
        return tfds.read(name.removeprefix("tfds:"), _existing(data_dir))
    return _read_path(name, data_dir)


def _existing(data_dir: str | None) -> str | None:
    """`data_dir`, if it exists or is None; otherwise InputError."""
    if data_dir is not None and not files.path(data_dir).is_dir():
        raise fault(data_dir, "no such folder, which --data_dir or SYNTHJAX_DATA_DIR names")
    return data_dir


def _files_or_tfds(name: str, data_dir: str | None) -> Source:
    """Reads `mnist`, `fashion_mnist` or `cifar10` from the original files in `data_dir`, if there are any, or TFDS."""
    folders = [Path(data_dir, name), Path(data_dir)] if _existing(data_dir) and data_dir else []
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


def _locate(name: str, data_dir: str | None) -> Path:
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


def _read_path(name: str, data_dir: str | None) -> Source:
    path = _locate(name, data_dir)
    if path.is_dir():
        if holds_idx(path):
            return readers.read_idx_folder(path)
        if table := next((file for file in sorted(os.listdir(path)) if is_table_file(file)), None):
            raise fault(path, f"a folder with tables; give the path of one, such as {shown(path / table)}")
        return readers.read_png_folder(path)
    if path.suffix.lower() == ".npz":
        return read_npz(path)
    if path.suffix.lower() == ".gz" or "idx" in path.name:
        return readers.read_idx_file(path)
    raise fault(path, f"this kind of file is not read; {_FORMS}")


def _with_test(name: str, source: Source, test: str, data_dir: str | None) -> Source:
    """Adds the images of another file or folder to `source`, as its test split."""
    if source.test is not None or name in NAMES:
        raise InputError(f"test={shown(test)}: goes with images that have no test split of their own; {name} has one")
    if is_table_file(test):
        raise fault(test, f"is a table; {shown(name)} holds images")
    other = _read_path(test, data_dir)
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


def describe(
    name: str,
    data_dir: str | None = None,
    *,
    holdout: float = 0.1,
    test: str | None = None,
    options: "Options | None" = None,
) -> "Description":
    """Measures the columns of a table, and the rules between them, as `load` does; nothing is encoded.

    Args:
        name: of a table, see `load`.
        data_dir: see `load`.
        holdout: share of the training rows in the holdout split, which confirms rules.
        test: see `load`.
        options: see `synthjax.data.table_dataset.Options`. Default: rules are searched for.

    Raises:
        InputError: the data is not a table, or see `load`.
    """
    from synthjax.data import table_dataset
    from synthjax.data.description import Description

    data_dir = data_dir or os.environ.get("SYNTHJAX_DATA_DIR") or None
    (name, data_dir), test = from_store(name, data_dir), test and from_store(test, data_dir)[0]
    if not is_table(name):
        raise InputError(f"{shown(name)}: not a table; tables are {', '.join(TABLES)} and files {', '.join(ENDINGS)}")
    options = options or table_dataset.Options(rules=True)
    found, splits = _cut_table(name, data_dir, holdout, test, options)
    schema, between, overrides, _ = table_dataset.measure(found, splits, options)
    return Description(schema, between.rules, between.notes, overrides, found.group and found.group.name)


def _cut_table(
    name: str, data_dir: str | None, holdout: float, test_file: str | None, options: "Options"
) -> "tuple[Found, dict[str, np.ndarray]]":
    """A table and the row numbers of its splits, without "test" if there is a test file."""
    from synthjax.data import groups, known_tables, readers, table_dataset
    from synthjax.data.schema_file import Overrides, read_overrides

    if name in TABLES:
        if test_file:
            raise InputError(
                f"test={shown(test_file)}: goes with a table in a file; {name} has a test split of its own"
            )
        found = known_tables.find(name, _existing(data_dir))
    else:
        tests = readers.open_table(_locate(test_file, data_dir)) if test_file else None
        found = table_dataset.Found(readers.open_table(_locate(name, data_dir)), tests)
    found = found._replace(target=options.target or found.target)
    y, classes = table_dataset.strata(found)
    where = f"{found.train.where}: {found.target}" if classes else found.train.where
    check_counts(y, classes, where, holdout, found.test is None)
    rows = Split(np.empty((len(y), 0), np.float32), y, np.arange(len(y), dtype=np.int32))
    overrides = read_overrides(options.schema, found.train.names) if options.schema else Overrides({})
    group = groups.find(found.train, found.target, overrides)
    train, held, test = cut(rows, rows.take(np.arange(0)) if found.test else None, holdout, group and group.rows)
    if group:
        found = found._replace(group=group)
        check_groups(
            (train, *[held] * (holdout > 0), *[test] * (not found.test)), classes, found.train.where, group.name
        )
    return found, {"train": train.index, "holdout": held.index} | ({} if found.test else {"test": test.index})


def _load_table(name: str, data_dir: str | None, holdout: float, test_file: str | None, options: "Options") -> Dataset:
    """Loads a table: splits, measures and encodes it."""
    from synthjax.data import table_dataset

    found, splits = _cut_table(name, data_dir, holdout, test_file, options)
    rows, encoder, table = table_dataset.encode(found, splits, options)
    train, held, test = (Split(*rows[split]) for split in ("train", "holdout", "test"))
    spec = encoder.spec().measured(train.x, options.min_count)
    digest = fingerprint(spec, train, held, test)
    return Dataset(_short_name(name), spec, train, held, test, digest, encoder, table)


def _digits() -> Source:
    """The 8x8 test images of Alpaydin & Kaynak (1998), grey values 0 ... 16."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    images = x.reshape(-1, 8, 8, 1).astype(np.uint8)
    return Source(Part(images, y.astype(np.int32), "digits"), classes=_DIGITS, levels=17)


def _dataset(name: str, source: Source, holdout: float) -> Dataset:
    """Checks the labels of images, splits them and makes their spec."""
    classes = class_names(source)
    y = source.train.y
    counted = np.zeros(len(source.train.x), np.int32) if y is None else y
    check_counts(counted, classes, source.train.where, holdout, source.test is None)
    train, held, test = cut(whole(source.train), source.test and whole(source.test), holdout)
    counts = np.bincount(train.y, minlength=len(classes))
    spec = DataSpec(
        kind="table" if source.columns else "image",
        shape=train.x.shape[1:],
        levels=source.levels,
        classes=classes,
        frequencies=tuple((counts / counts.sum()).tolist()) if classes else (),
        columns=source.columns,
    )
    spec = spec.measured(train.x)
    return Dataset(name, spec, train, held, test, fingerprint(spec, train, held, test))


def fingerprint(spec: DataSpec, *splits: Split) -> str:
    """Hex sha256 of a spec and all arrays of splits. It does not depend on where the data is stored."""
    described = {name: value for name, value in spec.to_dict().items() if name != "rows"}  # implied by the splits
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    for split in splits:
        for array in split:
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
