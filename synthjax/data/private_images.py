"""Images under differential privacy: splits by coins, and a spec that depends on noisy counts of the classes alone.

    source = sources.find_images("scans", None)
    splits = cut(source, coins, holdout=0.1)
    spec = learn(source, splits["train"], noise)      # pays

The size of the images, their grey levels and the names of the classes are public: nothing is paid for them. Statistics
of pixels are those of two made images, a black and a white one.

Formal guarantees. A unit is an image with its label. What `learn` returns is a function of what is public and of the
results of `noise`, where a unit changes one count of each by 1. Splits and rows are private.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping

import numpy as np

from synthjax.data.arrays import Source, class_names, fault
from synthjax.data.private_table import FEWEST
from synthjax.data.splits import TEST_SHARE, Split, whole
from synthjax.model import DataSpec

PUBLIC = ("size of the images", "grey levels", "names of the classes")
"""What is taken as public."""


def notes(source: Source) -> list[str]:
    """Lines on what is taken as public. How images were converted is not said: `source.notes` count them."""
    spec = bare(source)
    classes = f", and the names of the classes, {', '.join(spec.classes)}" if spec.classes else ""
    size = " x ".join(map(str, spec.shape))
    return [f"taken as public: the size of the images, {size}, their {spec.levels} grey levels{classes}"]


def digest(source: Source) -> bytes:
    """SHA-256 of all images and labels of the training file, and of what is said of them."""
    found = hashlib.sha256(repr((source.held, source.levels, class_names(source))).encode())
    for array in whole(source.train)[:2]:
        found.update(f"{array.dtype.str}{array.shape}".encode())
        found.update(np.ascontiguousarray(array).data)
    return found.digest()


def cut(source: Source, coins: Callable[[str, int], np.ndarray], holdout: float) -> dict[str, np.ndarray]:
    """Splits the images by an independent coin for each, unless the files have splits of their own.

    Args:
        source: the images.
        coins: (name, n) -> (n,) f64 uniform in [0, 1).
        holdout: share of the images that are not test images.

    Returns:
        "train", "holdout" and "test": ascending numbers of images. Those of "test" count within `source.test` if it
        is there.
    """
    n = len(source.train.x)
    test = 0.0 if source.test else TEST_SHARE
    coin = coins("splits", n)
    held = (coin >= test) & (coin < test + (1 - test) * holdout)
    if source.held:
        held = (np.arange(n) >= n - source.held) & (coin >= test) & (holdout > 0)
    free = (coin >= test) & (np.arange(n) < n - source.held)
    splits = {"train": np.flatnonzero(free & ~held), "holdout": np.flatnonzero(held)}
    return {**splits, "test": np.arange(len(source.test.x)) if source.test else np.flatnonzero(coin < test)}


def bare(source: Source) -> DataSpec:
    """The spec without anything that depends on images: of `FEWEST` images, as many of each class."""
    classes = class_names(source)
    shape = source.train.x.shape[1:]
    spec = DataSpec("image", shape, source.levels, classes, tuple(1 / len(classes) for _ in classes))
    made = np.zeros((2, *shape), np.uint8)
    made[1] = source.levels - 1
    return dataclasses.replace(spec.measured(made), rows=FEWEST)


def learn(source: Source, train: np.ndarray, noise: Callable[[str, np.ndarray, float], np.ndarray]) -> DataSpec:
    """Releases the number of training images, and that of each class.

    Args:
        source: the images.
        train: ascending numbers of the training images.
        noise: (name, counts (m,) i64, share) -> noisy counts; the shares sum to 1.

    Returns:
        The spec, with the noisy number of images and noisy frequencies of the classes.

    Raises:
        InputError: too few images are left to learn from.
    """
    spec = bare(source)
    rows = int(noise("rows", np.array([len(train)]), 0.5 if spec.classes else 1.0)[0])
    if rows < FEWEST:
        raise fault(source.train.where, f"about {rows} training images: too few to learn from under this epsilon")
    if not spec.classes:
        return dataclasses.replace(spec, rows=rows)
    counts = np.bincount(whole(source.train).y[train], minlength=spec.n_classes)
    noisy = np.maximum(noise("classes", counts, 0.5), 1)
    return dataclasses.replace(spec, rows=rows, frequencies=tuple((noisy / noisy.sum()).tolist()))


def split_rows(source: Source, splits: Mapping[str, np.ndarray]) -> dict[str, Split]:
    """The images of the splits."""
    train, test = whole(source.train), whole(source.test or source.train)
    return {name: (test if name == "test" else train).take(index) for name, index in splits.items()}
