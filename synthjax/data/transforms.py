"""What is done to training data: noise along the directions in which each class varies, and choices of its rows.

Directed noise [1, section 3.2]: for each class y, the principal components v_1 ... v_k of its training examples and
their shares of the variance r_1 ... r_k are found once; then each example is moved, afresh in every step, to

    x + sum_j u_j r_j v_j,    u_j ~ U[-c, c], independent over axes and examples,

so that it moves only inside the span of its class's k components, with variance c² r_j² / 3 along v_j. The study gives
neither k nor c, nor the range of its pixels, in whose units c is. It does not say that the result is clipped to that
range, so it is not: a pixel may leave [-1, 1], by less than c sum_j r_j. Only training data is moved.

    components = class_components(data.train.x, data.train.y, data.spec.n_classes, k=10)
    loop.Trainer(model, feed, data.spec, augment=directed_noise(components, c=20.0))

Everything else here takes labels and returns rows (or labels), in numpy, for use before training: classes made rare on
purpose (`under_sample`) or filled up (`top_up`), and small training sets (`subset`, `folds`). Classes drawn more or
less often while all rows stay are `class_weights` of `synthjax.data.feed.Feed`.

[1] Clinton & Teeter, Exploration of Data Synthesis with GANs, University of Massachusetts Amherst.
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
    """The first k principal components of each class, the largest first."""

    directions: np.ndarray
    """(classes, k, D) f32: orthonormal within a class, the entry of largest magnitude positive."""
    ratios: np.ndarray
    """(classes, k) f32 in [0, 1]: the variance along each direction over the total variance of the class."""


def class_components(x: np.ndarray, y: np.ndarray, n_classes: int, k: int, classes: Sequence[str] = ()) -> Components:
    """Principal components of the examples of each class.

    Takes half a second a class for 28x28 images, half a minute for 32x32x3 with more examples than values.

    Args:
        x: (N, *shape), examples in the model's space. Stored grey values do as well: encoding an image only shifts and
            scales all its values alike, which changes neither directions nor ratios.
        y: (N,) integer labels in 0 ... n_classes - 1.
        n_classes: number of classes; each needs two examples.
        k: components of each class, at most min(D, n_c - 1) for n_c examples of D values; the launchers' field
            `noise_components`, by which messages call it.
        classes: their names, for messages; default: their labels.

    Raises:
        InputError: unlabelled data, labels out of range, a class too small, k out of range, or values that are not
            finite.
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
        # Ascending as LAPACK gives them; those of pixels that never change come out as tiny numbers of either sign.
        variances, directions = variances[::-1].clip(min=0), columns.T[::-1]
    else:
        _, scales, directions = np.linalg.svd(x, full_matrices=False)
        variances = scales**2
    variances, directions, total = variances[:k], directions[:k], np.vdot(x, x)
    largest = np.take_along_axis(directions, np.abs(directions).argmax(1)[:, None], 1)
    # A class whose examples are all the same varies in no direction.
    return directions * np.sign(largest), variances / total if total else np.zeros(k)


def directed_noise(components: Components, c: float) -> Callable[[jax.Array, Batch], Batch]:
    """The transform that moves every example at random along its class's components; see the module's docstring.

    Args:
        components: of the training data.
        c: half the width of the draws, >= 0, in units of x; the launchers' field `noise_scale`. For 28x28 digits in
            [-1, 1] a class has standard deviation 5 or so along its first component and a first ratio of 0.12 to 0.35:
            with c = 1 the noise is far below what can be seen (0.05 of a pixel along that axis); near c = 50 it spreads
            as far as the class does.

    Returns:
        (key, batch) -> batch, pure, with x moved and all else as it was; padding is moved too, and stays padding.

    Raises:
        InputError: c is negative or not finite.
    """
    if not 0 <= c < math.inf:
        raise InputError(f"config.noise_scale={c}: the scale of directed noise must be a finite number, at least 0")

    def augment(key: jax.Array, batch: Batch) -> Batch:
        directions, ratios = jnp.asarray(components.directions), jnp.asarray(components.ratios)
        draws = jax.random.uniform(key, (len(batch.y), ratios.shape[1]), minval=-c, maxval=c)
        # In full precision, so that nothing leaves the span where matrix products are rounded to bfloat16.
        noise = jnp.einsum("bk,bkd->bd", draws * ratios[batch.y], directions[batch.y], precision="highest")
        return batch._replace(x=batch.x + noise.reshape(batch.x.shape))

    return augment


def under_sample(y: np.ndarray, label: int, factor: float, seed: int) -> np.ndarray:
    """Rows that keep one class only in part: the study's Low-Zero variant, with label 0.

    Args:
        y: (N,) integer labels.
        label: the class that becomes rare.
        factor: by how much, >= 1: of n examples round(n / factor) are kept, at least one, drawn without replacement.
        seed: of the draw.

    Returns:
        (M,) i64, ascending: the rows kept of that class, and all rows of the others.

    Raises:
        InputError: no example of that class, or a factor below 1.
    """
    if not 1 <= factor < math.inf:
        raise InputError(f"factor={factor}: by how much a class is under-sampled must be a finite number, at least 1")
    rows = np.flatnonzero(y == label)
    if not len(rows):
        raise InputError(f"class {label} has no examples to under-sample")
    drawn = np.random.default_rng((seed, 2)).permutation(rows)[: max(round(len(rows) / factor), 1)]
    return np.sort(np.concatenate([np.flatnonzero(y != label), drawn]))


def top_up(y: np.ndarray, n_classes: int) -> np.ndarray:
    """The labels to synthesise so that, with the examples there are, each class has as many as the largest.

    Args:
        y: (N,) integer labels in 0 ... n_classes - 1.
        n_classes: number of classes.

    Returns:
        (M,) i32, ascending; empty where all classes are of one size.

    Raises:
        InputError: unlabelled data, or labels out of range.
    """
    counts = _class_counts(y, n_classes)
    return np.repeat(np.arange(n_classes, dtype=np.int32), counts.max() - counts)


def subset(y: np.ndarray, n: int, seed: int, stratified: bool) -> np.ndarray:
    """Rows (n,) i64 of a small training set: the first of `folds` of that size.

    Sets of one seed are nested: a smaller one is the beginning of a larger one, as a learning curve wants them.

    Raises:
        InputError: as `folds`.
    """
    return folds(y, 1, n, seed, stratified)[0]


def folds(y: np.ndarray, n_folds: int, size: int, seed: int, stratified: bool) -> np.ndarray:
    """Training sets without a common row, drawn without replacement.

    Args:
        y: (N,) integer labels.
        n_folds: number of sets, >= 1.
        size: rows in each, >= 1.
        seed: of the draw.
        stratified: whether the classes in `y` are equally many in each set (to within one, where `size` is no multiple
            of their number), and take turns in it; else rows are drawn from all alike.

    Returns:
        (n_folds, size) i64.

    Raises:
        InputError: too few examples, of a class where stratified; it is named.
    """
    for name, value in (("n_folds", n_folds), ("size", size)):
        if value < 1:
            raise InputError(f"{name}={value}: must be at least 1")
    rng = np.random.default_rng((seed, 3))
    asked = n_folds * size
    what = f"{n_folds} x {size} rows"
    if not stratified:
        if asked > len(y):
            raise InputError(f"{what}: {asked} examples are asked for, there are {len(y)}")
        return rng.permutation(len(y))[:asked].reshape(n_folds, size)
    labels = rng.permutation(np.unique(y))
    rounds = -(-asked // len(labels))
    # One class a column, read row by row: any stretch of it holds the classes equally often, to within one.
    table = np.zeros((rounds, len(labels)), np.int64)
    for place, label in enumerate(labels.tolist()):
        share = len(range(place, asked, len(labels)))
        rows = rng.permutation(np.flatnonzero(y == label))
        if len(rows) < share:
            raise InputError(f"class {label} has {examples(len(rows))}: {what}, stratified, ask for {share} of it")
        table[:share, place] = rows[:share]
    return table.ravel()[:asked].reshape(n_folds, size)


def _class_counts(y: np.ndarray, n_classes: int) -> np.ndarray:
    """Examples of each class, (n_classes,) i64."""
    if n_classes < 1:
        raise InputError("the data is unlabelled: classes are needed")
    if len(y) and not 0 <= y.min() <= y.max() < n_classes:
        row = int(((y < 0) | (y >= n_classes)).argmax())
        raise InputError(f"row {row} holds label {y[row]}, out of range: there are classes 0 ... {n_classes - 1}")
    return np.bincount(y, minlength=n_classes)
