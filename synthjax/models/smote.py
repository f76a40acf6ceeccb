r"""SMOTE: rows between near neighbours of one class (Chawla et al. 2002, JAIR 16; with categories: its SMOTE-NC).

    x = row + u (neighbour - row),  u ~ U(0, 1)            numbers; a category is the commonest of the row's neighbours

row is a training row of the class asked for, neighbour one of its `neighbours` nearest there. The distance is
Euclidean, with a category that differs counted as the median deviation of the numeric columns.

NOT PRIVATE: the state, and so every checkpoint, holds the training rows themselves, and samples lie on lines between
them. It is here as the honest baseline for utility and as the bad example for privacy. Its score, the distance to the
nearest training row, is 0 for members and tells them from everybody else.

    model = build(Config(), spec)
    state, metrics = model.step(key, 0, model.init(key), batch)             # batch: the whole training set
    x = model.sample(key, state, labels)
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
    """How far a row looks."""

    neighbours: int = 5
    """Nearest rows that one is drawn from (Chawla et al.: 5)."""
    batch_size: int = 256
    """Rows whose distances to all others are in memory at once; the step sees the whole training set."""
    steps: int = 1

    def __post_init__(self):
        check_counts(self, "neighbours", "batch_size", bins=False)


PRESETS = {"smote": Config()}


class State(NamedTuple):
    """The training rows, sorted by class; N is `spec.rows`. Places without a row, all before step 0, are last."""

    x: jax.Array
    """(N, D)"""
    y: jax.Array
    """(N,) i32 class; one past the last where there is no row."""
    near: jax.Array
    """(N, neighbours) i32 rows, nearest first; the row itself where its class has no more."""
    scale: jax.Array
    """(): what a category that differs adds to a distance."""


def _codes(spec: DataSpec) -> list[int]:
    """Positions of the columns that hold codes."""
    return [column.start for column in spec.columns if column.kind == "code"]


def _squares(spec: DataSpec, scale: jax.Array, rows: jax.Array, x: jax.Array) -> jax.Array:
    """Squared distances of x (D,) to rows (N, D): (N,). Under `vmap` over x a matrix product."""
    numeric, onehot = np.zeros((2, spec.dims), np.float32)
    for column in spec.columns:
        if column.kind == "continuous":
            numeric[column.start] = 1
        elif column.kind == "onehot":
            onehot[column.start : column.start + column.size] = 0.5**0.5
    factors = numeric + onehot * scale
    a, b = rows * factors[None], x * factors
    product = jnp.matmul(a, b, precision="highest")  # or a row would not be at distance 0 from itself
    squares = jnp.maximum((a**2).sum(-1) - 2 * product + b @ b, 0.0)
    codes = np.array(_codes(spec), int)
    return squares + scale**2 * (rows[:, codes] != x[codes][None]).sum(axis=-1, dtype=jnp.float32)


def _scale(spec: DataSpec, x: jax.Array, weight: jax.Array) -> jax.Array:
    """The median deviation of the numeric columns of x (N, D); 1 where there is none."""
    numeric = [column.start for column in spec.columns if column.kind == "continuous"]
    if not numeric:
        return jnp.float32(1.0)
    share = weight[:, None] / jnp.maximum(weight.sum(), 1e-9)
    values = x[:, np.asarray(numeric)]
    mean = (share * values).sum(axis=0)
    return jnp.median(jnp.sqrt((share * (values - mean[None]) ** 2).sum(axis=0)))


def _blended(spec: DataSpec, u: jax.Array, row: jax.Array, other: jax.Array, near: jax.Array) -> jax.Array:
    """New rows (B, D) from row and other (B, D), near (B, neighbours, D) and u (B,)."""
    slot = np.full(spec.dims, -1)
    for column in spec.columns:
        if column.kind == "continuous" and column.missing is not None:
            slot[column.start : column.start + column.size] = column.missing
    between = row + u[:, None] * (other - row)
    gone = (slot >= 0)[None] & ((row + other)[:, slot] > 0.5)
    out = jnp.where(gone, row, between)  # a missing end: the row as it is
    votes = near.sum(axis=1)
    for size in sorted({column.size for column in spec.columns if column.kind == "onehot"}):
        starts = [column.start for column in spec.columns if column.kind == "onehot" and column.size == size]
        places = np.array(starts)[:, None] + np.arange(size)[None]
        out = out.at[:, places].set(jax.nn.one_hot(votes[:, places].argmax(axis=-1), size, dtype=jnp.float32))
    if codes := _codes(spec):
        named = near[:, :, np.array(codes)]
        most = (named[:, :, None] == named[:, None]).sum(axis=2).argmax(axis=1)
        out = out.at[:, np.array(codes)].set(jnp.take_along_axis(named, most[:, None], axis=1)[:, 0])
    return out


def _rows(count: int, classes: int, batch: Batch) -> tuple[jax.Array, jax.Array]:
    """x (count, D) and y (count,) of the rows of positive weight, sorted by class; y is `classes` where there is none.

    Of more such rows than `count` the last are left out.
    """
    room = max(count - len(batch.y), 0)
    x, y, weight = (jnp.pad(a, [(0, room)] + [(0, 0)] * (a.ndim - 1)) for a in batch[:3])
    kept = jnp.argsort(weight <= 0, stable=True)[:count]
    label = jnp.where(weight > 0, y, classes)[kept].astype(jnp.int32)
    order = kept[jnp.argsort(label, stable=True)]
    there = weight[order] > 0
    return jnp.where(there[:, None], x[order], 0.0), jnp.where(there, y[order], classes).astype(jnp.int32)


def _nearest(config: Config, spec: DataSpec, scale: jax.Array, x: jax.Array, y: jax.Array):
    """Of each row the squared distances to its nearest neighbours of the same class, and their places, (N, k) each."""
    rank = jnp.arange(len(y), dtype=jnp.int32)
    room = max(config.neighbours - len(y), 0)

    def of_row(row):
        x_row, y_row, own = row
        squares = jnp.where((y == y_row) & (rank != own), _squares(spec, scale, x, x_row), jnp.inf)
        negative, index = jax.lax.top_k(-jnp.pad(squares, (0, room), constant_values=jnp.inf), config.neighbours)
        return -negative, jnp.where(jnp.isinf(negative), own, index).astype(jnp.int32)

    return jax.lax.map(of_row, (x, y, rank), batch_size=config.batch_size)


def build(config: Config, spec: DataSpec, grad: optim.Grad = optim.mean_grad) -> Model:
    """SMOTE over that table. Nothing is trained by gradients: `grad` is not called.

    A class without training rows cannot be drawn. `sampling.draw` and `launch.sample` refuse its labels, by
    `spec.frequencies`; `sample` itself, which may be compiled and cannot raise, gives rows of NaN.

    Raises:
      InputError: the data is no table, or its spec does not say how many rows there are.
    """
    if spec.kind != "table":
        raise InputError(f"model smote makes tables; the data is an image of shape {spec.shape}")
    if spec.rows < 1:
        raise InputError("model smote keeps the training rows, and the data spec does not say how many there are")
    classes = max(spec.n_classes, 1)

    def init(key) -> State:
        n = spec.rows
        near = jnp.zeros((n, config.neighbours), jnp.int32)
        return State(jnp.zeros((n, spec.dims), jnp.float32), jnp.full(n, classes, jnp.int32), near, jnp.float32(1))

    def step(key, i, state: State, batch: Batch):
        x, y = _rows(spec.rows, classes, batch)
        scale = _scale(spec, batch.x, batch.weight)
        squares, near = _nearest(config, spec, scale, x, y)
        met = jnp.isfinite(squares) & (y < classes)[:, None]
        distance = jnp.where(met, jnp.sqrt(squares), 0.0).sum() / jnp.maximum(met.sum(dtype=jnp.float32), 1)
        return State(x, y, near, scale), {"neighbour_distance": distance}

    def sample(key, state: State, labels):
        key_row, key_near, key_u = jax.random.split(key, 3)
        counts = jnp.bincount(state.y, length=classes + 1)[:classes].astype(jnp.int32)
        asked = jnp.asarray(labels if spec.n_classes else jnp.zeros_like(labels), jnp.int32)
        u_row, u_near, u = (jax.random.uniform(k, asked.shape, jnp.float32) for k in (key_row, key_near, key_u))
        place = jnp.floor(u_row * (1 - 1e-6) * counts[asked]).astype(jnp.int32)
        index = (jnp.cumsum(counts) - counts)[asked] + place
        near = state.near[index]
        others = jnp.maximum((near != index[:, None]).sum(axis=1, dtype=jnp.int32), 1)
        pick = jnp.floor(u_near * (1 - 1e-6) * others).astype(jnp.int32)
        other = jnp.take_along_axis(near, pick[:, None], axis=1)[:, 0]
        x = _blended(spec, u, state.x[index], state.x[other], state.x[near])
        empty = (counts[asked] == 0) & (counts.sum() > 0)
        return jnp.where(empty[:, None], jnp.nan, x)

    def score(key, state: State, batch: Batch):
        """Distance to the nearest training row of the same class."""

        def nearest(row):
            squares = _squares(spec, state.scale, state.x, row[0])
            return jnp.sqrt(jnp.where(state.y == row[1], squares, jnp.inf).min())

        label = batch.y if spec.n_classes else jnp.zeros_like(batch.y)
        return jax.lax.map(nearest, (batch.x, label), batch_size=config.batch_size)

    model = Model(init, step, sample, score, conditional=spec.n_classes > 0, feed="dataset")
    return model._replace(n_classes=spec.n_classes, empty_classes=spec.empty_classes)
