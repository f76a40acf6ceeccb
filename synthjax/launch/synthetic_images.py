"""Synthetic images in files, checked against the data that they are like."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from synthjax import files
from synthjax.data import image_sources
from synthjax.errors import InputError
from synthjax.model import DataSpec


class Synthetic(NamedTuple):
    """A synthetic set: x (N, *shape) as stored, y (N,) i32 or None without labels."""

    x: np.ndarray
    y: np.ndarray | None


def read_synthetic(path: Path, spec: DataSpec, *, labelled: bool = True) -> Synthetic:
    """The examples of an `.npz` file or of a folder of images, checked against the real data.

    Labels may be missing unless `labelled`. InputError, one line that names the row: no such file, images of another
    size or grey values that the real data cannot have, labels missing or out of range.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    source = image_sources.read_path(str(files.download(path)), None, None)
    part = source.train
    if source.classes is not None and spec.classes:
        if unknown := sorted(set(source.classes) - set(spec.classes)):
            raise InputError(f"{path}: class {unknown[0]!r} is none of the real data's, {', '.join(spec.classes)}")
        assert part.y is not None
        part = part._replace(y=np.array([spec.classes.index(name) for name in source.classes], np.int32)[part.y])
    if part.x.shape[1:] != tuple(spec.shape):
        raise InputError(
            f"{path}: x holds examples of shape {part.x.shape[1:]}, the real data's are {tuple(spec.shape)}"
        )
    highest = part.x.reshape(len(part.x), -1).max(axis=1)
    if highest.max() >= spec.levels:
        row = int(np.argmax(highest >= spec.levels))
        raise InputError(
            f"{path}: x row {row} holds grey value {highest[row]}, the real data has integers 0 ... {spec.levels - 1}"
        )
    if part.y is None:
        if labelled and spec.n_classes:
            raise InputError(f"{path}: y is missing: a classifier needs labels 0 ... {spec.n_classes - 1}")
        return Synthetic(part.x, None)
    if part.y.max() >= max(spec.n_classes, 1):
        row = int(np.argmax(part.y >= spec.n_classes))
        raise InputError(f"{path}: y row {row} holds label {part.y[row]}, the real data has {spec.n_classes} classes")
    return Synthetic(part.x, part.y)
