"""The interface of generative models: `Model`, its training batches, and the description of the data.

A model is a tuple of pure functions, like an optimiser in optax. Training, sampling, scoring and distribution over
devices are written once for `Model` and do not depend on the kind of model.

    model = ddpm.build(ddpm.Config(), spec)
    state = model.init(key)
    state, metrics = model.step(key, 0, state, batch)
    x = model.sample(key, state, labels)

    >>> spec = DataSpec.from_arrays(np.zeros((20, 2, 2, 1), np.uint8), np.arange(20) % 2)
    >>> spec.kind, spec.shape, spec.n_classes, spec.rows, spec.encode(np.uint8([0, 255])).tolist()
    ('image', (2, 2, 1), 2, 20, [-1.0, 1.0])
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
from synthjax.statistics import LEAST, Statistics, check_arrays, measure

State = Any
Metrics = dict[str, jax.Array]


class Batch(NamedTuple):
    """A batch of examples. The first axis of every array is the batch axis."""

    x: jax.Array
    """(B, *spec.shape) f32 in the model's space: images in [-1, 1], tables as encoded vectors."""
    y: jax.Array
    """(B,) i32 labels; zeros if `spec.n_classes` is 0."""
    weight: jax.Array
    """(B,) f32; 0 marks padding. All losses, statistics and metrics are weighted."""
    index: jax.Array  # type: ignore[assignment]
    """(B,) i32 row number in the training set, by which attacks and audits identify examples."""


class Model(NamedTuple):
    """A generative model. Every function is pure and can be passed to jit, vmap, scan, grad and pmap."""

    init: Callable[[jax.Array], State]
    """(key) -> state: any pytree of arrays (parameters, optimisers, EMA, chains). It uses no training rows."""
    step: Callable[[jax.Array, Any, State, Batch], tuple[State, Metrics]]
    """(key, i, state, batch) -> (state, metrics): training step `i`; metrics is a dict of f32 scalars."""
    sample: Callable[..., jax.Array]
    """(key, state, labels, **options) -> x: (B, *spec.shape) f32 in the space of `Batch.x`, one example per label.

    Options are the fields of the family's `Sampling`, whose defaults are those of its Config."""
    score: Callable[[jax.Array, State, Batch], jax.Array] | None = None
    """(key, state, batch) -> (B,) f32: how badly the model fits each example; lower is better.

    (-ELBO, denoising loss, free energy, -critic.)"""
    log_prob: Callable[..., jax.Array] | None = None
    """(key, state, batch) -> (B,) f32: log p(x | y) in nats, or log p(x, y) if the label is part of x."""
    log_prob_kind: Literal["", "exact", "lower bound"] = ""
    """Whether `log_prob` is exact; a bound holds in expectation over the key."""
    log_prob_of: Literal["", "grey levels", "binary pixels", "bins", "encoded vector"] = ""
    """What p is: the probability of stored grey levels, of binary pixels, or of a table's bins; or the density of the
    encoded vector (the probability, for its one-hot and code columns)."""
    conditional: bool = True
    """Whether `sample` uses the values of `labels`; if False, it uses only their number."""
    feed: Literal["batch", "batches", "dataset"] = "batch"
    """What a step takes: a batch; `n_batches` stacked batches (n, B, ...); or the whole training set."""
    n_batches: int = 1
    """Number of stacked batches of the feed "batches"."""
    n_classes: int = 0
    """Labels are 0 ... n_classes - 1; `sampling.draw` checks them, a compiled `sample` cannot. 0: any label."""
    empty_classes: tuple[int, ...] = ()
    """Classes without training rows; `sampling.draw` refuses their labels."""


@dataclass(frozen=True)
class Column:
    """Position and kind of one column of a table in the encoded vector."""

    name: str
    kind: Literal["continuous", "onehot", "code"]
    start: int
    """First position in the vector."""
    size: int
    """Number of positions, including the missing-value slot."""
    missing: int | None = None
    """Position that is 1 if the value is missing; None: it is never missing."""
    target: bool = False
    """Whether a conditional sampler overwrites this column with the label."""
    codes: int = 0
    """Number of codes, 0 ... codes - 1, of a `code` column; 0 for other kinds."""


@dataclass(frozen=True)
class DataSpec:
    """Description of a data set, made by `synthjax.data.load`, or by `from_arrays` from your own arrays."""

    kind: Literal["image", "table"]
    shape: tuple[int, ...]
    """Shape of one example: (H, W, C) for an image, (D,) for an encoded row."""
    levels: int = 256
    """Number of grey levels of an image, stored as integers 0 ... levels - 1; 0 for tables."""
    classes: tuple[str, ...] = ()
    """Class names; empty for unlabelled data."""
    frequencies: tuple[float, ...] = ()
    """Share of each class in the training set; they sum to 1."""
    columns: tuple[Column, ...] = ()
    """Columns of a table; empty for images."""
    rows: int = 0
    """Number of training rows; 0 if unknown."""
    statistics: Statistics | None = dataclasses.field(default=None, compare=False, repr=False)
    """Statistics of single columns or pixels over the training rows; None if not measured."""

    @property
    def n_classes(self) -> int:
        """Number of classes, 0 if unlabelled."""
        return len(self.classes)

    @property
    def empty_classes(self) -> tuple[int, ...]:
        """Classes without training rows."""
        return tuple(label for label, share in enumerate(self.frequencies) if share == 0)

    @property
    def dims(self) -> int:
        """Number of values in one example."""
        return math.prod(self.shape)

    @classmethod
    def from_arrays(cls, x: np.ndarray, y: np.ndarray | None = None, levels: int = 256) -> Self:
        """Makes the spec of arrays, and measures `statistics` with all of `x` as training rows.

        x: (N, H, W, C) images as integers 0 ... levels - 1, or (N, D) table rows of continuous columns; y: (N,) integer
        labels 0 ... n_classes - 1. ValueError: an array has another shape, a pixel or label is no such integer, or a
        value is not finite.
        """
        check_arrays(x, y, levels)
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

    def measured(self, x: np.ndarray, least: int = LEAST, persons: np.ndarray | None = None) -> Self:
        """This spec with `rows` and `statistics` of training rows x (N, *shape), as stored.

        A value is stored if `least` rows share it, or with `persons` (N,) i64, whose row each is, so many persons; see
        `synthjax.statistics`. ValueError: a value is not finite.
        """
        scale = 2 / (self.levels - 1) if self.kind == "image" else 1
        statistics = measure(x, self.columns, lambda block: block * scale - (self.kind == "image"), least, persons)
        return dataclasses.replace(self, rows=len(x), statistics=statistics)

    def known(self) -> Statistics:
        """The statistics; InputError if they were not measured."""
        if self.statistics is None:
            raise InputError("the data spec has no statistics: make it by DataSpec.from_arrays, or call spec.measured")
        return self.statistics

    def encode(self, x):
        """Converts stored values to the model's space, f32: images to [-1, 1]; tables are stored in that space."""
        x = jnp.asarray(x, jnp.float32)
        return x * (2 / (self.levels - 1)) - 1 if self.kind == "image" else x

    def decode(self, x):
        """Converts values of the model's space to stored values: images to uint8 0 ... levels - 1, by rounding."""
        if self.kind != "image":
            return jnp.asarray(x, jnp.float32)
        white = self.levels - 1
        return jnp.clip(jnp.round((x + 1) * (white / 2)), 0, white).astype(jnp.uint8)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without `statistics`. The inverse is `from_dict`."""
        values = dataclasses.asdict(dataclasses.replace(self, statistics=None))
        del values["statistics"]
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any], statistics: Statistics | None = None) -> Self:
        """The spec with the values that `to_dict` returned."""
        tuples = {name: tuple(values[name]) for name in ("shape", "classes", "frequencies")}
        columns = tuple(Column(**column) for column in values["columns"])
        return cls(**{**values, **tuples, "columns": columns, "statistics": statistics})
