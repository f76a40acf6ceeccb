r"""SMOTE: interpolation between nearest neighbours of one class (Chawla et al. 2002, JAIR 16; SMOTE-NC for categories).

    x = row + u (neighbour - row),  u ~ U(0, 1)            for numeric columns

row is a training row of the requested class, and neighbour one of its `neighbours` nearest rows of the same class. A
categorical column takes the most frequent category among these neighbours. The distance is Euclidean; a category that
differs adds the median standard deviation of the numeric columns.

NOT PRIVATE: the state, and so every checkpoint, contains the training rows, and samples lie on lines between them. The
model is a strong baseline for utility and a negative example for privacy. Its score, the distance to the nearest
training row, is 0 for training rows and so identifies them.

    model = build(Config(), spec)
    state, metrics = model.step(key, 0, model.init(key), batch)             # batch: the whole training set
    x = model.sample(key, state, labels)

    >>> key, x, y = jax.random.key(0), jnp.array([[0.0], [1.0], [8.0], [9.0]]), jnp.array([0, 0, 1, 1])
    >>> model = build(Config(neighbours=1), DataSpec.from_arrays(np.asarray(x), np.asarray(y)))
    >>> batch = Batch(x, y, jnp.ones(4), jnp.arange(4))
    >>> state, _ = model.step(key, 0, model.init(key), batch)
    >>> between = model.sample(key, state, jnp.ones(100, jnp.int32))
    >>> bool(((between >= 8) & (between <= 9)).all())
    True
    >>> model.score(key, state, batch).tolist()
    [0.0, 0.0, 0.0, 0.0]
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from synthjax.errors import InputError
from synthjax.model import Batch, DataSpec, Model
from synthjax.nets.bins import check_counts
from synthjax.train import optim


@dataclass(frozen=True)
class Config:
    """The number of neighbours."""

    neighbours: int = 5
    """Number of nearest rows among which a neighbour is drawn (Chawla et al.: 5)."""
    batch_size: int = 256
    """Number of rows whose distances to all others are in memory at once. A step takes the whole training set."""
    steps: int = 1
    """Number of training steps; one is enough."""

    def __post_init__(self):
        check_counts(self, "neighbours", "batch_size", bins=False)


PRESETS = {"smote": Config()}


class State(NamedTuple):
    """The N = `spec.rows` training rows, sorted by class. Unused entries come last; before step 0 all are unused."""

    x: jax.Array
    """(N, D) f32 rows; 0 for unused entries."""
    y: jax.Array
    """(N,) i32 classes; the number of classes for unused entries."""
    near: jax.Array
    """(N, neighbours) i32 indices of the nearest rows, nearest first; the row's own index if its class has no more."""
    scale: jax.Array
    """() f32, what a category that differs adds to a distance."""


def _codes(spec: DataSpec) -> list[int]:
    """Positions of the `code` columns."""
    return [column.start for column in spec.columns if column.kind == "code"]


def _squares(spec: DataSpec, scale: jax.Array, rows: jax.Array, x: jax.Array) -> jax.Array:
    """Squared distances from x (D,) to rows (N, D): (N,). Under `vmap` over x this is a matrix product."""
    numeric, onehot = np.zeros((2, spec.dims), np.float32)
    for column in spec.columns:
        if column.kind == "continuous":
            numeric[column.start] = 1
        elif column.kind == "onehot":
            onehot[column.start : column.start + column.size] = 0.5**0.5
    factors = numeric + onehot * scale
    a, b = rows * factors[None], x * factors
    product = jnp.matmul(a, b, precision="highest")  # so that a row has distance 0 from itself
    squares = jnp.maximum((a**2).sum(-1) - 2 * product + b @ b, 0.0)
    codes = np.array(_codes(spec), int)
    return squares + scale**2 * (rows[:, codes] != x[codes][None]).sum(axis=-1, dtype=jnp.float32)


def _scale(spec: DataSpec, x: jax.Array, weight: jax.Array) -> jax.Array:
    """Median standard deviation of the numeric columns of x (N, D), () f32; 1 if there are none."""
    numeric = [column.start for column in spec.columns if column.kind == "continuous"]
    if not numeric:
        return jnp.float32(1.0)
    share = weight[:, None] / jnp.maximum(weight.sum(), 1e-9)
    values = x[:, np.asarray(numeric)]
    mean = (share * values).sum(axis=0)
    return jnp.median(jnp.sqrt((share * (values - mean[None]) ** 2).sum(axis=0)))


def _interpolate(spec: DataSpec, u: jax.Array, row: jax.Array, other: jax.Array, near: jax.Array) -> jax.Array:
    """New rows between `row` and `other`.

    Args:
      spec: of the table.
      u: (B,) f32 in [0, 1), position between `row` and `other`.
      row: (B, D) training rows.
      other: (B, D), a neighbour of each row.
      near: (B, neighbours, D), all neighbours of each row.

    Returns:
      (B, D) f32.
    """
    slot = np.full(spec.dims, -1)
    for column in spec.columns:
        if column.kind == "continuous" and column.missing is not None:
            slot[column.start : column.start + column.size] = column.missing
    between = row + u[:, None] * (other - row)
    missing = (slot >= 0)[None] & ((row + other)[:, slot] > 0.5)
    out = jnp.where(missing, row, between)  # if either value is missing, keep that of the row
    votes = near.sum(axis=1)
    for size in sorted({column.size for column in spec.columns if column.kind == "onehot"}):
        starts = [column.start for column in spec.columns if column.kind == "onehot" and column.size == size]
        positions = np.array(starts)[:, None] + np.arange(size)[None]
        out = out.at[:, positions].set(jax.nn.one_hot(votes[:, positions].argmax(axis=-1), size, dtype=jnp.float32))
    if codes := _codes(spec):
        values = near[:, :, np.array(codes)]
        most_frequent = (values[:, :, None] == values[:, None]).sum(axis=2).argmax(axis=1)
        out = out.at[:, np.array(codes)].set(jnp.take_along_axis(values, most_frequent[:, None], axis=1)[:, 0])
    return out


def _rows(count: int, classes: int, batch: Batch) -> tuple[jax.Array, jax.Array]:
    """The rows of positive weight, sorted by class and padded to `count`; if there are more, the last are dropped.

    Returns:
      x (count, D) f32, 0 for padding, and y (count,) i32, `classes` for padding.
    """
    padding = max(count - len(batch.y), 0)
    x, y, weight = (jnp.pad(a, [(0, padding)] + [(0, 0)] * (a.ndim - 1)) for a in batch[:3])
    kept = jnp.argsort(weight <= 0, stable=True)[:count]
    label = jnp.where(weight > 0, y, classes)[kept].astype(jnp.int32)
    order = kept[jnp.argsort(label, stable=True)]
    is_row = weight[order] > 0
    return jnp.where(is_row[:, None], x[order], 0.0), jnp.where(is_row, y[order], classes).astype(jnp.int32)


def _nearest(config: Config, spec: DataSpec, scale: jax.Array, x: jax.Array, y: jax.Array):
    """Squared distances to the nearest rows of the same class, inf if there are no more, and their indices: (N, k)."""
    indices = jnp.arange(len(y), dtype=jnp.int32)
    padding = max(config.neighbours - len(y), 0)

    def of_row(row):
        x_row, y_row, own = row
        squares = jnp.where((y == y_row) & (indices != own), _squares(spec, scale, x, x_row), jnp.inf)
        negative, index = jax.lax.top_k(-jnp.pad(squares, (0, padding), constant_values=jnp.inf), config.neighbours)
        return -negative, jnp.where(jnp.isinf(negative), own, index).astype(jnp.int32)

    return jax.lax.map(of_row, (x, y, indices), batch_size=config.batch_size)


def build(config: Config, spec: DataSpec, grad: optim.Grad = optim.mean_grad) -> Model:
    """SMOTE for a table. It is not trained by gradients, so `grad` is not used.

    A class without training rows cannot be drawn. `sampling.draw` and `launch.sample` refuse its labels, by
    `spec.frequencies`. `sample` itself cannot raise an error when compiled, and returns rows of NaN.

    Raises:
      InputError: the data is not a table, its spec does not have the number of rows, or `grad` is private.
    """
    optim.refuse_private(grad, True, "smote keeps the training rows; take another model")
    if spec.kind != "table":
        raise InputError(f"model smote makes tables; the data is an image of shape {spec.shape}")
    if spec.rows < 1:
        raise InputError("model smote: the data spec has no number of training rows; call spec.measured")
    classes = max(spec.n_classes, 1)

    def init(key) -> State:
        n = spec.rows
        near = jnp.zeros((n, config.neighbours), jnp.int32)
        return State(jnp.zeros((n, spec.dims), jnp.float32), jnp.full(n, classes, jnp.int32), near, jnp.float32(1))

    def step(key, i, state: State, batch: Batch):
        x, y = _rows(spec.rows, classes, batch)
        scale = _scale(spec, batch.x, batch.weight)
        squares, near = _nearest(config, spec, scale, x, y)
        found = jnp.isfinite(squares) & (y < classes)[:, None]
        distance = jnp.where(found, jnp.sqrt(squares), 0.0).sum() / jnp.maximum(found.sum(dtype=jnp.float32), 1)
        return State(x, y, near, scale), {"neighbour_distance": distance}

    def sample(key, state: State, labels):
        key_row, key_near, key_u = jax.random.split(key, 3)
        counts = jnp.bincount(state.y, length=classes + 1)[:classes].astype(jnp.int32)
        y = jnp.asarray(labels if spec.n_classes else jnp.zeros_like(labels), jnp.int32)
        u_row, u_near, u = (jax.random.uniform(k, y.shape, jnp.float32) for k in (key_row, key_near, key_u))
        in_class = jnp.floor(u_row * (1 - 1e-6) * counts[y]).astype(jnp.int32)
        index = (jnp.cumsum(counts) - counts)[y] + in_class
        near = state.near[index]
        others = jnp.maximum((near != index[:, None]).sum(axis=1, dtype=jnp.int32), 1)
        chosen = jnp.floor(u_near * (1 - 1e-6) * others).astype(jnp.int32)
        other = jnp.take_along_axis(near, chosen[:, None], axis=1)[:, 0]
        x = _interpolate(spec, u, state.x[index], state.x[other], state.x[near])
        empty = (counts[y] == 0) & (counts.sum() > 0)
        return jnp.where(empty[:, None], jnp.nan, x)

    def score(key, state: State, batch: Batch):
        """Distance to the nearest training row of the same class: (B,) f32."""

        def nearest(row):
            squares = _squares(spec, state.scale, state.x, row[0])
            return jnp.sqrt(jnp.where(state.y == row[1], squares, jnp.inf).min())

        label = batch.y if spec.n_classes else jnp.zeros_like(batch.y)
        return jax.lax.map(nearest, (batch.x, label), batch_size=config.batch_size)

    model = Model(init, step, sample, score, conditional=spec.n_classes > 0, feed="dataset")
    return model._replace(n_classes=spec.n_classes, empty_classes=spec.empty_classes)
