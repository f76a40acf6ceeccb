"""Transforms of training data: directed noise, and selections of rows.

Directed noise [1, section 3.2] is a data augmentation. For each class y, the principal components v_1 ... v_k of its
training examples and their explained variance ratios r_1 ... r_k are computed once. In each training step, new noise is
added to each example:

    x + sum_j u_j r_j v_j,    u_j ~ U[-c, c], independent over components and examples

So the noise of an example lies in the span of the k components of its class, and has variance c² r_j² / 3 along v_j.
The study does not state k, c or the range of its pixels, in whose units c is. It does not mention clipping, so there is
none: a pixel may leave [-1, 1], by less than c sum_j r_j. Only training data is changed.

    components = class_components(data.train.x, data.train.y, data.spec.n_classes, k=10)
    loop.Trainer(model, feed, data.spec, augment=directed_noise(components, c=20.0))

The other functions take labels and return rows or labels, as NumPy arrays, for use before training: they make a class
rare (`under_sample`), balance classes (`top_up`), or select small training sets (`subset`, `folds`). To change the
frequencies of classes without removing rows, use `class_weights` of `synthjax.data.feed.Feed`.

[1] Clinton & Teeter, Exploration of Data Synthesis with GANs, University of Massachusetts Amherst.

    >>> y = np.array([0, 0, 0, 0, 1, 1])
    >>> len(under_sample(y, label=0, factor=2, seed=0))
    4
    >>> top_up(y, n_classes=2).tolist()
    [1, 1]
    >>> y[folds(y, n_folds=2, size=2, seed=0, stratified=True)].sum(axis=1).tolist()
    [1, 1]
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from synthjax.data.arrays import examples
from synthjax.errors import InputError
from synthjax.model import Batch


class Components(NamedTuple):
    """The first k principal components of each class, in descending order of variance."""

    directions: np.ndarray
    """(classes, k, D) f32, orthonormal within a class; the entry of largest magnitude is positive."""
    ratios: np.ndarray
    """(classes, k) f32 in [0, 1], the explained variance ratios: variance along the direction / total variance."""


def class_components(x: np.ndarray, y: np.ndarray, n_classes: int, k: int, classes: Sequence[str] = ()) -> Components:
    """Principal components of the examples of each class.

    It takes half a second per class for 28x28 images, and half a minute for 32x32x3 images if there are more examples
    than values.

    Args:
      x: (N, *shape) examples in the model's space, or stored grey values: encoding an image shifts and scales all
        values equally, which changes neither directions nor ratios.
      y: (N,) integer labels in 0 ... n_classes - 1.
      n_classes: number of classes; each must have at least two examples.
      k: number of components per class, at most min(D, n_c - 1) for n_c examples of D values. Errors call it
        `noise_components`, as the launchers do.
      classes: class names for error messages; default: the labels.

    Raises:
      InputError: the data is unlabelled, a label or k is out of range, a class is too small, or a value is not finite.
    """
    field = f"config.noise_components={k}"
    if n_classes < 1:
        raise InputError(f"{field}: directed noise goes by class, and the data is unlabelled")
    counts = _class_counts(y, n_classes)
    dims = math.prod(x.shape[1:])
    names = classes or [str(label) for label in range(n_classes)]
    if k < 1:
        raise InputError(f"{field}: directed noise needs at least 1 component")
    for name, count in zip(names, counts.tolist(), strict=True):
        if count < 2:
            raise InputError(f"{field}: class {name} has {examples(count)}, principal components need at least 2")
        if k > min(dims, count - 1):
            raise InputError(
                f"{field}: class {name} has {min(dims, count - 1)} principal components "
                f"({examples(count)} of {dims} values)"
            )
    found = [_principal(x[y == label].reshape(-1, dims), k, names[label]) for label in range(n_classes)]
    directions, ratios = (np.stack(arrays).astype(np.float32) for arrays in zip(*found, strict=True))
    return Components(directions, ratios)


def _principal(x: np.ndarray, k: int, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Directions (k, D) and ratios (k,) of examples (n, D), in f64."""
    x = x.astype(np.float64)
    x -= x.mean(0)
    if not np.isfinite(x).all():
        raise InputError(f"class {name} holds values that are not finite")
    if len(x) > x.shape[1]:
        variances, columns = np.linalg.eigh(x.T @ x)
        # LAPACK returns them in ascending order. Variances of constant pixels are rounding errors of either sign.
        variances, directions = variances[::-1].clip(min=0), columns.T[::-1]
    else:
        _, scales, directions = np.linalg.svd(x, full_matrices=False)
        variances = scales**2
    variances, directions, total = variances[:k], directions[:k], np.vdot(x, x)
    largest = np.take_along_axis(directions, np.abs(directions).argmax(1)[:, None], 1)
    # The variance of a class of equal examples is 0.
    return directions * np.sign(largest), variances / total if total else np.zeros(k)


def directed_noise(components: Components, c: float) -> Callable[[jax.Array, Batch], Batch]:
    """Makes an augmentation that adds noise along the components of each example's class; see the module's docstring.

    Args:
      components: of the training data.
      c: half the width of the uniform distribution, >= 0, in units of x; the launchers' field `noise_scale`. For 28x28
        digits in [-1, 1], a class has a standard deviation of about 5 along its first component, whose ratio is 0.12 to
        0.35. With c = 1 the noise is invisible (0.05 of a pixel along that component); with c near 50 it is as wide as
        the class.

    Returns:
      (key, batch) -> batch, a pure function that changes only x.

    Raises:
      InputError: c is negative or not finite.
    """
    if not 0 <= c < math.inf:
        raise InputError(f"config.noise_scale={c}: the scale of directed noise must be a finite number, at least 0")

    def augment(key: jax.Array, batch: Batch) -> Batch:
        directions, ratios = jnp.asarray(components.directions), jnp.asarray(components.ratios)
        draws = jax.random.uniform(key, (len(batch.y), ratios.shape[1]), minval=-c, maxval=c)
        # In full precision, since rounding the factors to bfloat16 would add noise outside the span.
        noise = jnp.einsum("bk,bkd->bd", draws * ratios[batch.y], directions[batch.y], precision="highest")
        return batch._replace(x=batch.x + noise.reshape(batch.x.shape))

    return augment


def under_sample(y: np.ndarray, label: int, factor: float, seed: int) -> np.ndarray:
    """Selects rows so that one class becomes rare; with label 0 this is the study's Low-Zero variant.

    Args:
      y: (N,) integer labels.
      label: the class to reduce.
      factor: at least 1. Of n examples of the class, round(n / factor), but at least one, are drawn without
        replacement.
      seed: of the draw.

    Returns:
      (M,) i64, ascending: the selected rows of that class and all rows of other classes.

    Raises:
      InputError: the class has no examples, or the factor is below 1.
    """
    if not 1 <= factor < math.inf:
        raise InputError(f"factor={factor}: by how much a class is under-sampled must be a finite number, at least 1")
    rows = np.flatnonzero(y == label)
    if not len(rows):
        raise InputError(f"class {label} has no examples to under-sample")
    selected = np.random.default_rng((seed, 2)).permutation(rows)[: max(round(len(rows) / factor), 1)]
    return np.sort(np.concatenate([np.flatnonzero(y != label), selected]))


def top_up(y: np.ndarray, n_classes: int) -> np.ndarray:
    """Labels of the synthetic examples that balance a data set: with them, each class is as large as the largest.

    Args:
      y: (N,) integer labels in 0 ... n_classes - 1.
      n_classes: number of classes.

    Returns:
      (M,) i32, ascending; empty if all classes have the same size.

    Raises:
      InputError: the data is unlabelled, or a label is out of range.
    """
    counts = _class_counts(y, n_classes)
    return np.repeat(np.arange(n_classes, dtype=np.int32), counts.max() - counts)


def subset(y: np.ndarray, n: int, seed: int, stratified: bool) -> np.ndarray:
    """Selects n rows for a small training set, (n,) i64: the first set of `folds` of that size.

    Subsets with the same seed are nested, as learning curves need them: a smaller one is a prefix of a larger one.

    Raises:
      InputError: see `folds`.
    """
    return folds(y, 1, n, seed, stratified)[0]


def folds(y: np.ndarray, n_folds: int, size: int, seed: int, stratified: bool) -> np.ndarray:
    """Selects disjoint training sets, drawn without replacement.

    Args:
      y: (N,) integer labels.
      n_folds: number of sets, at least 1.
      size: number of rows in each set, at least 1.
      seed: of the draw.
      stratified: whether all classes in `y` have the same number of rows in each set (to within one), in turns. If not,
        all rows are equally likely.

    Returns:
      (n_folds, size) i64 row indices.

    Raises:
      InputError: there are too few examples; if stratified, of a class, which is named.
    """
    for name, value in (("n_folds", n_folds), ("size", size)):
        if value < 1:
            raise InputError(f"{name}={value}: must be at least 1")
    rng = np.random.default_rng((seed, 3))
    total = n_folds * size
    what = f"{n_folds} x {size} rows"
    if not stratified:
        if total > len(y):
            raise InputError(f"{what}: {total} examples are asked for, there are {len(y)}")
        return rng.permutation(len(y))[:total].reshape(n_folds, size)
    labels = rng.permutation(np.unique(y))
    rounds = -(-total // len(labels))
    # One column per class. Read row by row, any interval has the same number of rows of each class, to within one.
    table = np.zeros((rounds, len(labels)), np.int64)
    for column, label in enumerate(labels.tolist()):
        count = len(range(column, total, len(labels)))
        rows = rng.permutation(np.flatnonzero(y == label))
        if len(rows) < count:
            raise InputError(f"class {label} has {examples(len(rows))}: {what}, stratified, ask for {count} of it")
        table[:count, column] = rows[:count]
    return table.ravel()[:total].reshape(n_folds, size)


def _class_counts(y: np.ndarray, n_classes: int) -> np.ndarray:
    """Number of examples of each class, (n_classes,) i64."""
    if n_classes < 1:
        raise InputError("the data is unlabelled: classes are needed")
    if len(y) and not 0 <= y.min() <= y.max() < n_classes:
        row = int(((y < 0) | (y >= n_classes)).argmax())
        raise InputError(f"row {row} holds label {y[row]}, out of range: there are classes 0 ... {n_classes - 1}")
    return np.bincount(y, minlength=n_classes)
