"""The contract: what a generative model is, what it is fed, and what the data looks like.

A model is a few pure functions, as an optimiser is in optax. Training, sampling, scoring and scaling out are written
once against `Model` and never ask which model they have.

    model = ddpm.build(ddpm.Config(), spec)
    state = model.init(key)
    state, metrics = model.step(key, 0, state, batch)
    x = model.sample(key, state, labels)
"""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np

from synthjax.errors import InputError
from synthjax.statistics import LEAST, Statistics, measure

State = Any
Metrics = dict[str, jax.Array]


class Batch(NamedTuple):
    """What one training step is fed; every leaf has the batch as its first axis."""

    x: jax.Array
    """(B, *spec.shape) f32 in the model's space: images in [-1, 1], tables as encoded."""
    y: jax.Array
    """(B,) i32 labels; zeros where `spec.n_classes` is 0."""
    weight: jax.Array
    """(B,) f32; 0 marks padding. Every loss, statistic and metric honours it."""
    index: jax.Array  # type: ignore[assignment]
    """(B,) i32 row in the training set: what attacks and audits name."""


class Model(NamedTuple):
    """A generative model. Every function is pure and can be passed to jit, vmap, scan, grad and pmap."""

    init: Callable[[jax.Array], State]
    """(key) -> state: any pytree of arrays (parameters, optimisers, EMA, chains). It sees no training row."""
    step: Callable[[jax.Array, Any, State, Batch], tuple[State, Metrics]]
    """(key, i, state, batch) -> (state, metrics): training step `i`; metrics is a dict of f32 scalars."""
    sample: Callable[..., jax.Array]
    """(key, state, labels, **options) -> x: (B, *spec.shape) f32 in the space of `Batch.x`, one example per label.

    Options are the fields of the family's `Sampling`, whose defaults are those of its Config."""
    score: Callable[[jax.Array, State, Batch], jax.Array] | None = None
    """(key, state, batch) -> (B,) f32: how surprised the model is by each example; low: well known.

    (-ELBO, denoising loss, free energy, -critic.)"""
    log_prob: Callable[..., jax.Array] | None = None
    """(key, state, batch) -> (B,) f32: log p(x | y) in nats, or of p(x, y) where the label is part of x."""
    log_prob_kind: Literal["", "exact", "lower bound"] = ""
    """What `log_prob` gives; a bound holds in expectation over the key."""
    log_prob_of: Literal["", "grey levels", "binary pixels", "bins", "encoded vector"] = ""
    """What p is: the mass of stored grey levels, of pixels drawn black or white, of a table's bins, or a density of the
    encoded vector (a mass where its columns are one-hot or codes)."""
    conditional: bool = True
    """False: `sample` takes only the number of examples from `labels`."""
    feed: Literal["batch", "batches", "dataset"] = "batch"
    """What one step takes: a batch; `n_batches` of them stacked (n, B, ...); or the whole training set."""
    n_batches: int = 1
    """Of the feed "batches"."""
    n_classes: int = 0
    """Labels are 0 ... n_classes - 1, to which `sampling.draw` holds them (a compiled `sample` cannot); 0: any."""
    empty_classes: tuple[int, ...] = ()
    """Classes without a training row, of which nothing can be learned: `sampling.draw` refuses their labels."""


@dataclass(frozen=True)
class Column:
    """Where one column of a table lies in the encoded vector."""

    name: str
    kind: Literal["continuous", "onehot", "code"]
    start: int
    """First position in the vector."""
    size: int
    """Number of positions, the missing-value slot included."""
    missing: int | None = None
    """Position that says the value is missing; None: never missing."""
    target: bool = False
    """Whether a conditional sampler overwrites this slice with the label."""
    codes: int = 0
    """Number of codes, 0 ... codes - 1, of a `code` column; 0 for the other kinds."""


@dataclass(frozen=True)
class DataSpec:
    """What the data is. Built by `synthjax.data.load`, or by `from_arrays` for data of one's own."""

    kind: Literal["image", "table"]
    shape: tuple[int, ...]
    """Shape of one example: (H, W, C) of an image, (D,) of an encoded row."""
    levels: int = 256
    """Grey values of an image, stored as integers 0 ... levels - 1; 0 for tables."""
    classes: tuple[str, ...] = ()
    """Class names; empty: unlabelled."""
    frequencies: tuple[float, ...] = ()
    """Share of each class in the training set, summing to 1."""
    columns: tuple[Column, ...] = ()
    """The columns of a table; empty for images."""
    rows: int = 0
    """Training rows; 0: not known."""
    statistics: Statistics | None = dataclasses.field(default=None, compare=False, repr=False)
    """Of single columns and pixels over the training rows; None: not measured."""

    @property
    def n_classes(self) -> int:
        """Number of classes, 0 if unlabelled."""
        return len(self.classes)

    @property
    def empty_classes(self) -> tuple[int, ...]:
        """Classes without a training row."""
        return tuple(label for label, share in enumerate(self.frequencies) if share == 0)

    @property
    def dims(self) -> int:
        """Number of values in one example."""
        return math.prod(self.shape)

    @classmethod
    def from_arrays(cls, x: np.ndarray, y: np.ndarray | None = None, levels: int = 256) -> Self:
        """The spec of images `x` (N, H, W, C) or rows `x` (N, D), with labels `y` (N,) in 0 ... n_classes - 1.

        All of `x` counts as training rows, of which `statistics` are measured.
        """
        if x.ndim not in (2, 4):
            raise ValueError(f"x must be (N, H, W, C) images or (N, D) rows, not of shape {x.shape}")
        kind: Literal["image", "table"] = "image" if x.ndim == 4 else "table"
        columns: tuple[Column, ...] = ()
        if kind == "table":
            columns = tuple(Column(f"x{i}", "continuous", i, 1) for i in range(x.shape[1]))
            levels = 0
        counts = np.bincount(y) if y is not None else np.zeros(0, int)
        spec = cls(
            kind,
            x.shape[1:],
            levels,
            classes=tuple(str(label) for label in range(len(counts))),
            frequencies=tuple((counts / max(counts.sum(), 1)).tolist()),
            columns=columns,
        )
        return spec.measured(x)

    def measured(self, x: np.ndarray, least: int = LEAST) -> Self:
        """The same spec with `rows` and `statistics` of training rows x (N, *shape), as stored.

        `least`: fewest rows that must share a number for it to be kept, see `synthjax.statistics`.
        """
        scale = 2 / (self.levels - 1) if self.kind == "image" else 1
        found = measure(x, self.columns, lambda block: block * scale - (self.kind == "image"), least)
        return dataclasses.replace(self, rows=len(x), statistics=found)

    def known(self) -> Statistics:
        """The statistics.

        Raises:
          InputError: none were measured.
        """
        if self.statistics is None:
            raise InputError("the data spec has no statistics: make it by DataSpec.from_arrays, or call spec.measured")
        return self.statistics

    def encode(self, x):
        """Stored values to the model's space: images 0 ... levels - 1 to f32 in [-1, 1]; tables are stored encoded."""
        x = jnp.asarray(x, jnp.float32)
        return x * (2 / (self.levels - 1)) - 1 if self.kind == "image" else x

    def decode(self, x):
        """The model's space to stored values: images to uint8 0 ... levels - 1, rounded and clipped."""
        if self.kind != "image":
            return jnp.asarray(x, jnp.float32)
        top = self.levels - 1
        return jnp.clip(jnp.round((x + 1) * (top / 2)), 0, top).astype(jnp.uint8)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, all but `statistics`; `from_dict` is the way back."""
        values = dataclasses.asdict(dataclasses.replace(self, statistics=None))
        del values["statistics"]
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any], statistics: Statistics | None = None) -> Self:
        """The spec that `to_dict` wrote."""
        lists = {name: tuple(values[name]) for name in ("shape", "classes", "frequencies")}
        columns = tuple(Column(**column) for column in values["columns"])
        return cls(**{**values, **lists, "columns": columns, "statistics": statistics})
