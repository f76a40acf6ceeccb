r"""SMOTE: rows between near neighbours of one class (Chawla et al. 2002, JAIR 16; with categories: its SMOTE-NC).

    x = row + u (neighbour - row),  u ~ U(0, 1)            numbers; a category is the commonest of the row's neighbours

row is a training row of the class asked for, neighbour one of its `neighbours` nearest there. The distance is
Euclidean, with a category that differs counted as the median deviation of the numeric columns.

NOT PRIVATE: the state, and so every checkpoint, holds the training rows themselves, and samples lie on lines between
them. It is here as the honest baseline for utility and as the bad example for privacy. Its score, the distance to the
nearest training row, is 0 for members and tells them from everybody else.

    model = build(Config(), spec)
    state, metrics = model.step(key, 0, model.init(key, batch), batch)      # batch: the whole training set
    x = model.sample(key, state, labels)
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from synthjax.errors import InputError
from synthjax.model import Batch, DataSpec, Model
from synthjax.train import optim


@dataclass(frozen=True)
class Config:
    """How far a row looks."""

    neighbours: int = 5
    """Nearest rows that one is drawn from (Chawla et al.: 5)."""
    batch_size: int = 256
    """Rows whose distances to all others are in memory at once; the step sees the whole training set."""
    steps: int = 1


PRESETS = {"smote": Config()}


class State(NamedTuple):
    """The training rows, sorted by class, those of weight 0 last."""

    x: jax.Array
    """(N, D)"""
    y: jax.Array
    """(N,) i32 class; one past the last where the weight is 0."""
    near: jax.Array
    """(N, neighbours) i32 rows, nearest first; the row itself where its class has no more."""
    scale: jax.Array
    """(): what a category that differs adds to a distance."""


def _check(config: Config, spec: DataSpec) -> None:
    if spec.kind != "table":
        raise InputError(f"model smote makes tables; the data is an image of shape {spec.shape}")
    for name in ("neighbours", "batch_size"):
        if getattr(config, name) < 1:
            raise InputError(f"model.{name}={getattr(config, name)}: must be at least 1")


def _codes(spec: DataSpec) -> list[int]:
    """Positions of the columns that hold codes."""
    return [column.start for column in spec.columns if column.kind == "code"]


def _squares(spec: DataSpec, scale: jax.Array, rows: jax.Array, x: jax.Array) -> jax.Array:
    """Squared distances of x (D,) to rows (N, D): (N,). Under `vmap` over x a matrix product."""
    factor = np.zeros(spec.dims, np.float32)
    for column in spec.columns:
        if column.kind == "onehot":
            factor[column.start : column.start + column.size] = 0.5**0.5
    numeric = [column.start for column in spec.columns if column.kind == "continuous"]
    factors = jnp.asarray(factor * scale).at[np.asarray(numeric, int)].set(1.0)
    a, b = rows * factors, x * factors
    product = jnp.matmul(a, b, precision="highest")  # or a row would not be at distance 0 from itself
    squares = jnp.maximum((a**2).sum(-1) - 2 * product + b @ b, 0.0)
    codes = np.array(_codes(spec), int)
    return squares + scale**2 * (rows[:, codes] != x[codes]).sum(axis=-1)


def _scale(spec: DataSpec, x: jax.Array, weight: jax.Array) -> jax.Array:
    """The median deviation of the numeric columns of x (N, D); 1 where there is none."""
    numeric = [column.start for column in spec.columns if column.kind == "continuous"]
    if not numeric:
        return jnp.float32(1.0)
    share = weight[:, None] / jnp.maximum(weight.sum(), 1e-9)
    values = x[:, np.asarray(numeric)]
    mean = (share * values).sum(axis=0)
    return jnp.median(jnp.sqrt((share * (values - mean) ** 2).sum(axis=0)))


def _blended(spec: DataSpec, u: jax.Array, row: jax.Array, other: jax.Array, near: jax.Array) -> jax.Array:
    """New rows (B, D) from row and other (B, D), near (B, neighbours, D) and u (B,)."""
    slot = np.full(spec.dims, -1)
    for column in spec.columns:
        if column.kind == "continuous" and column.missing is not None:
            slot[column.start : column.start + column.size] = column.missing
    between = row + u[:, None] * (other - row)
    gone = (slot >= 0) & ((row + other)[:, slot] > 0.5)
    out = jnp.where(gone, row, between)  # a missing end: the row as it is
    votes = near.sum(axis=1)
    for size in sorted({column.size for column in spec.columns if column.kind == "onehot"}):
        starts = [column.start for column in spec.columns if column.kind == "onehot" and column.size == size]
        places = np.array(starts)[:, None] + np.arange(size)
        out = out.at[:, places].set(jax.nn.one_hot(votes[:, places].argmax(axis=-1), size))
    if codes := _codes(spec):
        named = near[:, :, np.array(codes)]
        most = (named[:, :, None] == named[:, None]).sum(axis=2).argmax(axis=1)
        out = out.at[:, np.array(codes)].set(jnp.take_along_axis(named, most[:, None], axis=1)[:, 0])
    return out


def build(config: Config, spec: DataSpec, grad: optim.Grad = optim.mean_grad) -> Model:
    """SMOTE over that table. Nothing is trained by gradients: `grad` is not called.

    Raises:
      InputError: the data is no table, or a field of the Config is out of range.
    """
    _check(config, spec)
    classes = max(spec.n_classes, 1)

    def init(key, batch: Batch) -> State:
        count = len(batch.y)
        near = jnp.zeros((count, config.neighbours), jnp.int32)
        return State(jnp.zeros_like(batch.x), jnp.zeros(count, jnp.int32), near, jnp.float32(1.0))

    def step(key, i, state: State, batch: Batch):
        label = jnp.where(batch.weight > 0, batch.y, classes)
        order = jnp.argsort(label, stable=True)
        x, y = batch.x[order], label[order].astype(jnp.int32)
        scale = _scale(spec, batch.x, batch.weight)
        rank = jnp.arange(len(y))
        room = max(config.neighbours - len(y), 0)

        def nearest(row):
            x_row, y_row, own = row
            squares = jnp.where((y == y_row) & (rank != own), _squares(spec, scale, x, x_row), jnp.inf)
            negative, index = jax.lax.top_k(-jnp.pad(squares, (0, room), constant_values=jnp.inf), config.neighbours)
            return -negative, jnp.where(jnp.isinf(negative), own, index).astype(jnp.int32)

        squares, near = jax.lax.map(nearest, (x, y, rank), batch_size=config.batch_size)
        met = jnp.isfinite(squares) & (y < classes)[:, None]
        distance = jnp.where(met, jnp.sqrt(squares), 0.0).sum() / jnp.maximum(met.sum(), 1)
        x = jnp.where((y < classes)[:, None], x, 0.0)  # padding leaves no trace
        return State(x, y, near, scale), {"neighbour_distance": distance}

    def sample(key, state: State, labels):
        key_row, key_near, key_u = jax.random.split(key, 3)
        counts = jnp.bincount(state.y, length=classes + 1)[:classes]
        asked = labels if spec.n_classes else jnp.zeros_like(labels)
        u_row, u_near, u = (jax.random.uniform(k, (len(labels),)) for k in (key_row, key_near, key_u))
        index = (jnp.cumsum(counts) - counts)[asked] + jnp.floor(u_row * (1 - 1e-6) * counts[asked]).astype(jnp.int32)
        near = state.near[index]
        others = jnp.maximum((near != index[:, None]).sum(axis=1), 1)
        pick = jnp.floor(u_near * (1 - 1e-6) * others).astype(jnp.int32)
        other = jnp.take_along_axis(near, pick[:, None], axis=1)[:, 0]
        return _blended(spec, u, state.x[index], state.x[other], state.x[near])

    def score(key, state: State, batch: Batch):
        """Distance to the nearest training row of the same class."""

        def nearest(row):
            squares = _squares(spec, state.scale, state.x, row[0])
            return jnp.sqrt(jnp.where(state.y == row[1], squares, jnp.inf).min())

        label = batch.y if spec.n_classes else jnp.zeros_like(batch.y)
        return jax.lax.map(nearest, (batch.x, label), batch_size=config.batch_size)

    return Model(init, step, sample, score, spec.n_classes > 0, minibatches=None, n_classes=spec.n_classes)
