"""Loading of data sets: `load` converts the name of a data set, or the path of a file, to arrays with fixed splits.

The name of a data set is one of

- `digits` (1,797 images 8x8x1 with 17 levels) or `breast_cancer` (a table of 569 rows), from scikit-learn;
- `adult`, `creditcard`, `nyc_taxi`: tables in `data_dir`, see `synthjax.data.known_tables`;
- `mnist`, `fashion_mnist` (the four original IDX files, possibly gzipped) or `cifar10` (a file `cifar10*.npz`), in
  `data_dir`; if they are not there, from TFDS;
- `tfds:NAME`: labelled images from TFDS;
- the path of images, also relative to `data_dir`: an `.npz` file with `x` (and `y`) or `x_train`, `y_train` (and
  `x_val`, `x_test` ...), or with the names of MedMNIST; an IDX file (labels in a file next to it); a folder with the
  four IDX files; a folder of image files by class, possibly in `train/`, `val/` and `test/`, or with a list of labels
  (see `synthjax.data.image_folders`); or Parquet files with images. Floats in [0, 1] are rounded to 256 levels. Images
  that the files set apart for validation are the holdout split;
- the path of a table, `.csv` (also `.tsv`, `.data`, possibly gzipped) or `.parquet`.

`describe` measures the columns of a table, and the rules between them, without encoding it.

    >>> digits = load("digits")
    >>> digits.train.x.shape, digits.train.x.dtype.name, digits.holdout.x.shape, digits.test.x.shape
    ((1294, 8, 8, 1), 'uint8', (144, 8, 8, 1), (359, 8, 8, 1))
    >>> digits.spec.levels, digits.spec.n_classes
    (17, 10)
"""

import hashlib
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from synthjax.data.arrays import Source, class_names, fault, shown
from synthjax.data.files import from_store
from synthjax.data.image_decoding import parse_size
from synthjax.data.image_sources import NAMES, existing, is_table, locate, read, with_test
from synthjax.data.splits import Split, check_counts, check_groups, cut, whole
from synthjax.data.table_names import ENDINGS, TABLES
from synthjax.data.table_options import TableOptions
from synthjax.errors import InputError
from synthjax.model import DataSpec

if TYPE_CHECKING:  # tables need pyarrow, which is not imported for images
    import pandas as pd

    from synthjax.data.description import Description
    from synthjax.data.encoding import Encoder
    from synthjax.data.table_dataset import Found, Table


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
    notes: tuple[str, ...] = ()
    """Of images: lines for the user, how they were converted."""

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
    test: str | None = None,
    image_size: str = "",
    **table_options: Any,
) -> Dataset:
    """Loads a data set and its fixed splits (see `synthjax.data.splits`).

        digits = load("digits")
        shop = load("customers.csv", target="churned", encoding="interval")

    Args:
        name: of a data set, or a path; see the module's docstring.
        data_dir: a folder with the files of the data set, or with a folder of the name of the data set. Default: the
            environment variable `SYNTHJAX_DATA_DIR`.
        holdout: share of the training examples in the holdout split, in [0, 1); if positive, at least one per class.
        test: path of another file or folder with the test split. If given, no test split is taken from `name`.
        image_size: to which images are resized, "64" or "48x64" (height x width); "": all must have the same size.
        **table_options: how a table is measured and encoded, the fields of `TableOptions`: `target`, `encoding`,
            `schema`, `min_count`, `rules` and `keep`.

    Returns:
        The data set. Images are uint8 (N, H, W, C); rows of tables are encoded, f32 (N, D).

    Raises:
        InputError: the data cannot be found or read, or an option does not fit it. The message is one line that names
            the file, the field and the row.
        TypeError: an option has another name than those.
    """
    if not 0 <= holdout < 1:
        raise InputError(f"holdout={holdout}: a share in [0, 1) is needed, 0 for none")
    options = TableOptions(**table_options)
    (name, data_dir), test = local(name, data_dir), test and from_store(test, data_dir)[0]
    if is_table(name, data_dir):
        if parse_size(image_size):
            raise InputError(f"image_size={image_size}: is for images; {shown(name)} is a table")
        return _load_table(name, data_dir, holdout, test, options)
    for option, value in options._asdict().items():
        if value != options._field_defaults[option]:
            raise InputError(f"{option}={value}: is for tables; {shown(name)} holds images")
    source = find_images(name, data_dir, test, image_size)
    return _dataset(short_name(name), source, holdout)


def local(name: str, data_dir: str | None) -> tuple[str, str | None]:
    """The data set and its folder, that of `SYNTHJAX_DATA_DIR` by default; copied if they are in an object store."""
    return from_store(name, data_dir or os.environ.get("SYNTHJAX_DATA_DIR") or None)


def short_name(name: str) -> str:
    """See `Dataset.name`."""
    known = name in NAMES or name.startswith("tfds:")
    stem = name if known else re.sub(r"(\.(npz|csv|tsv|data|parquet))?(\.gz)?$", "", Path(name).resolve().name)
    return re.sub(r"[^\w.-]+", "-", stem, flags=re.ASCII).strip("-.") or "data"


def describe(
    name: str,
    data_dir: str | None = None,
    *,
    holdout: float = 0.1,
    test: str | None = None,
    **table_options: Any,
) -> "Description":
    """Measures the columns of a table, and the rules between them, as `load` does; nothing is encoded.

    Args:
        name: of a table, see `load`.
        data_dir: see `load`.
        holdout: share of the training rows in the holdout split, which confirms rules.
        test: see `load`.
        **table_options: see `load`; `rules` is True by default.

    Raises:
        InputError: the data is not a table, or see `load`.
    """
    from synthjax.data import table_dataset
    from synthjax.data.description import Description

    options = TableOptions(**{"rules": True} | table_options)
    found, splits = _cut_table(name, data_dir, holdout, test, options)
    schema, between, overrides, _ = table_dataset.measure(found, splits, options)
    return Description(schema, between.rules, between.notes, overrides, found.group and found.group.name)


def find_table(name: str, data_dir: str | None, test: str | None = None, target: str | None = None) -> "Found":
    """Opens the files of a table. Arguments and errors as for `load`; `InputError` too if it is not a table."""
    from synthjax.data import known_tables, readers, table_dataset

    (name, data_dir), test = local(name, data_dir), test and from_store(test, data_dir)[0]
    if not is_table(name, data_dir):
        raise InputError(f"{shown(name)}: not a table; tables are {', '.join(TABLES)} and files {', '.join(ENDINGS)}")
    if name in TABLES:
        if test:
            raise InputError(f"test={shown(test)}: goes with a table in a file; {name} has a test split of its own")
        found = known_tables.find(name, existing(data_dir))
    else:
        tests = readers.open_table(locate(test, data_dir)) if test else None
        found = table_dataset.Found(readers.open_table(locate(name, data_dir)), tests)
    return found._replace(target=target or found.target)


def find_images(name: str, data_dir: str | None, test: str | None = None, image_size: str = "") -> Source:
    """Reads the files of images. Arguments and errors as for `load`."""
    size = parse_size(image_size)
    (name, data_dir), test = local(name, data_dir), test and from_store(test, data_dir)[0]
    source = read(name, data_dir, size)
    return with_test(name, source, test, data_dir, size) if test else source


def _cut_table(
    name: str, data_dir: str | None, holdout: float, test_file: str | None, options: TableOptions
) -> "tuple[Found, dict[str, np.ndarray]]":
    """A table and the row numbers of its splits, without "test" if there is a test file."""
    from synthjax.data import groups, table_dataset
    from synthjax.data.schema_file import Overrides, read_overrides

    found = find_table(name, data_dir, test_file, options.target)
    y, classes = table_dataset.strata(found)
    where = f"{found.train.where}: {found.target}" if classes else found.train.where
    check_counts(y, classes, where, holdout, found.test is None)
    rows = Split(np.empty((len(y), 0), np.float32), y, np.arange(len(y), dtype=np.int32))
    overrides = read_overrides(options.schema, found.train.names) if options.schema else Overrides({})
    group = groups.find(found.train, found.target, overrides, found.test)
    train, held, test = cut(rows, rows.take(np.arange(0)) if found.test else None, holdout, group and group.rows)
    if group:
        found = found._replace(group=group, persons=group.rows, test_persons=group.test)
        check_groups(
            (train, *[held] * (holdout > 0), *[test] * (not found.test)), classes, found.train.where, group.name
        )
    return found, {"train": train.index, "holdout": held.index} | ({} if found.test else {"test": test.index})


def _load_table(
    name: str, data_dir: str | None, holdout: float, test_file: str | None, options: TableOptions
) -> Dataset:
    """Loads a table: splits, measures and encodes it."""
    from synthjax.data import table_dataset

    found, splits = _cut_table(name, data_dir, holdout, test_file, options)
    rows, encoder, table = table_dataset.encode(found, splits, options)
    train, held, test = (Split(*rows[split]) for split in ("train", "holdout", "test"))
    spec = encoder.spec().measured(train.x, options.min_count, table.persons_of(train.index))
    digest = fingerprint(spec, train, held, test)
    return Dataset(short_name(name), spec, train, held, test, digest, encoder, table)


def _dataset(name: str, source: Source, holdout: float) -> Dataset:
    """Checks the labels of images, splits them and makes their spec."""
    classes = class_names(source)
    y = source.train.y
    rows = whole(source.train)
    test_rows = source.test and whole(source.test)
    first = len(rows.y) - source.held
    counted = rows.y[:first]
    if y is not None and not (of_class := np.bincount(counted, minlength=len(classes))).all():
        raise fault(source.train.where, f"class {shown(classes[of_class.argmin()])} has no training examples")
    check_counts(counted, classes, source.train.where, 0 if source.held else holdout, source.test is None)
    if source.held:
        validation = rows.take(np.arange(first, len(rows.y) if holdout else first))
        train, _, test = cut(rows.take(np.arange(first)), test_rows, 0)
        held = validation
    else:
        train, held, test = cut(rows, test_rows, holdout)
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
    return Dataset(name, spec, train, held, test, fingerprint(spec, train, held, test), notes=source.notes)


def fingerprint(spec: DataSpec, *splits: Split) -> str:
    """Hex sha256 of a spec and all arrays of splits. It does not depend on where the data is stored."""
    described = {name: value for name, value in spec.to_dict().items() if name != "rows"}  # implied by the splits
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    for split in splits:
        for array in split:
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
