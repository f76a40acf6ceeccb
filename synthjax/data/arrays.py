"""The result of all readers, and the checks that convert untrusted arrays to it.

A `Source` is a data set as its files contain it, before it is split: images as uint8 grey values (N, H, W, C), labels
as int32 (N,). The errors of all checks are one line that names the file, the field and the row.

    >>> as_images(np.array([[[0.0, 0.5], [1.0, 0.25]]]), "toy.npz, x").ravel().tolist()
    [0, 128, 255, 64]
    >>> as_labels(np.array([0.0, 2.0]), 2, "toy.npz, y").tolist()
    [0, 2]
    >>> as_labels(np.array([0, -1]), 2, "toy.npz, y")
    Traceback (most recent call last):
    synthjax.errors.InputError: toy.npz, y: row 1 holds label -1: labels are integers 0 ... n_classes - 1
"""

import reprlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from synthjax.errors import InputError
from synthjax.model import Column

MAX_BYTES = 4 << 30
"""Maximum size in bytes of an array that is read. The size that a file states is checked before memory is allocated."""

_ROWS = 4096  # number of rows that are checked at once, which limits the memory of a conversion


class Part(NamedTuple):
    """One split as its files contain it."""

    x: np.ndarray
    """(N, H, W, C) uint8 images, or (N, D) f32 rows of a table."""
    y: np.ndarray | None
    """(N,) int32 labels, all >= 0; None: unlabelled."""
    where: str
    """File and field of the labels, for error messages."""


class Source(NamedTuple):
    """A data set as its files contain it."""

    train: Part
    test: Part | None = None
    """None: the files have no test split, and it is taken from `train`."""
    classes: tuple[str, ...] | None = None
    """Class names; None: the labels are used as names."""
    levels: int = 256
    """Number of grey levels of an image; 0 for tables."""
    columns: tuple[Column, ...] = ()
    """The columns of a table."""
    held: int = 0
    """Number of last rows of `train` that the files set apart for validation; they are the holdout split."""
    notes: tuple[str, ...] = ()
    """Lines for the user: how images were converted, and files that are not read."""


_MAX_LENGTH = 400  # characters of a name or value in an error message
_REPR = reprlib.Repr()
_REPR.maxlevel, _REPR.maxlist, _REPR.maxdict, _REPR.maxstring, _REPR.maxother = 2, 4, 4, 80, 80


def shown(text: object) -> str:
    """`text` for one line of an error message: control characters are escaped, and long text is shortened."""
    line = text if isinstance(text, str) else str(text)
    line = line if len(line) <= _MAX_LENGTH else f"{line[: _MAX_LENGTH - 100]}...{line[-97:]}"
    return line if line.isprintable() else ascii(line)


def quoted(value: object) -> str:
    """A shortened `repr(value)`. The full `repr` is never made, since that of nested lists may take gigabytes."""
    return _REPR.repr(value)


def check_file(path: Path) -> None:
    """Raises InputError if `path` is not a regular file; reading a pipe, a device or a socket may never end."""
    if path.is_dir():
        raise fault(path, "is a folder; a file is needed")
    if path.exists() and not path.is_file():
        raise fault(path, "is a pipe, a device or a socket; a regular file is needed")
    if not path.is_file():
        raise fault(path, "no such file")


def examples(count: int) -> str:
    """A number of examples in words: "1 example", "2 examples"."""
    return f"{count:,} example" if count == 1 else f"{count:,} examples"


def fault(where: object, what: str) -> InputError:
    """An InputError that says `what` is wrong with the file or field `where`, in one line."""
    return InputError(f"{shown(where)}: {what}")


def check_size(shape: tuple[int, ...], itemsize: int, where: object) -> int:
    """The size in bytes of an array, to be checked before it is read.

    Raises:
      InputError: the size is above `MAX_BYTES`.
    """
    size = itemsize
    for length in shape:  # in Python integers, which do not overflow
        size *= int(length)
    if size > MAX_BYTES:
        raise fault(where, f"claims an array of shape {shape}, {size:,} bytes; at most {MAX_BYTES:,} are read")
    return size


def as_images(x: np.ndarray, where: object) -> np.ndarray:
    """Converts images of common shapes and dtypes.

    Args:
      x: (N, H, W) or (N, H, W, C) with C 1 or 3; integers in 0 ... 255, booleans (False 0, True 255), or floats in
        [0, 1], which are rounded to the nearest of 256 levels.
      where: file and field, for error messages.

    Returns:
      (N, H, W, C) uint8.

    Raises:
      InputError: x has another shape or dtype, or is empty; or a row, which is named, has NaN or a value out of range.
    """
    if x.ndim == 2:
        raise fault(
            where,
            f"has shape {x.shape}: images are (N, H, W) or (N, H, W, C); tables are read from .csv and .parquet",
        )
    x = x[..., None] if x.ndim == 3 else x
    if x.ndim != 4:
        raise fault(where, f"has shape {x.shape}: images are (N, H, W) or (N, H, W, C)")
    if 0 in x.shape:
        raise fault(where, f"has shape {x.shape}: there is no image in it")
    if x.shape[-1] not in (1, 3):
        hint = "; channels come last: np.moveaxis(x, 1, -1)" if x.shape[1] in (1, 3) else ""
        raise fault(where, f"has shape {x.shape}: an image has 1 or 3 channels{hint}")
    if x.dtype == np.uint8:
        return np.ascontiguousarray(x)
    if x.dtype.kind == "b":
        return x.astype(np.uint8) * np.uint8(255)
    if x.dtype.kind not in "iuf":
        raise fault(where, f"has type {x.dtype}: images are integers 0 ... 255 or floats in [0, 1]")
    return _to_levels(x, where)


def _to_levels(x: np.ndarray, where: object) -> np.ndarray:
    """Converts (N, H, W, C) integers in 0 ... 255 or floats in [0, 1] to uint8; the first row out of range is named."""
    white = 1 if x.dtype.kind == "f" else 255
    out = np.empty(x.shape, np.uint8)
    for start in range(0, len(x), _ROWS):
        block = x[start : start + _ROWS]
        low, high = block.min(axis=(1, 2, 3)), block.max(axis=(1, 2, 3))
        bad = ~((low >= 0) & (high <= white))  # also True for NaN, whose comparisons are False
        if bad.any():
            row = int(bad.argmax())
            if np.isnan(low[row]):
                raise fault(where, f"row {start + row} holds NaN")
            value = low[row] if low[row] < 0 else high[row]
            rule = "floats must be in [0, 1] (or store uint8)" if white == 1 else "integers must be in 0 ... 255"
            raise fault(where, f"row {start + row} holds {value}: {rule}")
        out[start : start + _ROWS] = np.rint(block.astype(np.float64) * 255) if white == 1 else block
    return out


def as_labels(y: np.ndarray, n: int, where: object) -> np.ndarray:
    """Converts labels of common shapes and dtypes.

    Args:
      y: (n,) or (n, 1); integers, booleans or floats without a fractional part.
      n: number of examples.
      where: file and field, for error messages.

    Returns:
      (n,) int32, all >= 0.

    Raises:
      InputError: y has another shape, dtype or length; or a row, which is named, has a negative, fractional or NaN
        label.
    """
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        hint = ""
        if y.ndim == 2:
            one_hot = y.dtype.kind in "iufb" and bool((np.sum(y, axis=1) == 1).all())
            several = "several labels an example (multi-label) are not read, one class each is needed"
            hint = f"; {'one-hot labels: y.argmax(1)' if one_hot else several}"
        raise fault(where, f"has shape {y.shape}: labels are (N,) integers{hint}")
    if y.dtype.kind not in "iufb":
        raise fault(where, f"has type {y.dtype}: labels are integers 0 ... n_classes - 1")
    if len(y) != n:
        raise fault(where, f"has {len(y)} labels for {n} examples")
    y = y.astype(np.uint8) if y.dtype.kind == "b" else y
    good = (y >= 0) & (y < 2**31)
    if y.dtype.kind == "f":
        good &= y == np.floor(y)
    if not good.all():
        row = int(good.argmin())
        raise fault(where, f"row {row} holds label {y[row]}: labels are integers 0 ... n_classes - 1")
    return y.astype(np.int32)


def class_names(source: Source) -> tuple[str, ...]:
    """The class names of a source; () if it is unlabelled.

    Raises:
      InputError: a label is out of range, or a class, which is named, has no example in the train or the test split.
    """
    train = source.train
    if train.y is None:
        return ()
    classes = source.classes
    if classes is None:
        present = np.unique(train.y)
        if present[-1] >= len(present):  # a gap; checked before an array of the largest label's size is allocated
            gap = int((present != np.arange(len(present))).argmax())
            row = int((train.y > gap).argmax())
            raise fault(
                train.where,
                f"class {gap} has no examples, but row {row} holds label {train.y[row]}: "
                "labels are 0 ... n_classes - 1, and each class needs examples",
            )
        classes = tuple(str(label) for label in range(len(present)))
    for part in (train, source.test):
        if part is not None and part.y is not None:
            _check_range(part.y, classes, part.where)
    return classes


def _check_range(y: np.ndarray, classes: tuple[str, ...], where: str) -> None:
    """Raises InputError if a label is out of range, or if a class has no examples."""
    if y.max() >= len(classes):
        row = int((y >= len(classes)).argmax())
        raise fault(where, f"row {row} holds label {y[row]}, out of range: there are classes 0 ... {len(classes) - 1}")
    counts = np.bincount(y, minlength=len(classes))
    if not counts.all():
        empty = int(counts.argmin())
        raise fault(where, f"class {empty} ({shown(classes[empty])}) has no examples")
