"""A trained run, opened from Python by `synthjax.load`. Its parts are read when they are used."""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from synthjax import files, sampling
from synthjax.data.requests import proportional_counts
from synthjax.errors import CheckpointError, InputError
from synthjax.launch import runs
from synthjax.model import Batch, DataSpec, Model, State
from synthjax.train.checkpoint import PLACEHOLDER, Checkpoints

if TYPE_CHECKING:
    import pandas as pd

    from synthjax.data.encoding import Encoder

BLOCK = 500
"""Default for the number of examples drawn at once."""


class Run:
    """A run: its model, trained state, data spec, config and encoder.

    Iterating over it gives model, state and spec:

        model, state, spec = synthjax.load("runs/ddpm-digits")

    Args:
      workdir: the run's folder.
      member: which seed of a run with `--seeds`, from 0.
      checkpoint: "last" or "best"; default: the best if training ended by the holdout, else the last.

    Raises:
      InputError: the folder holds no run, or has no such member.
      CheckpointError: none of its checkpoints is usable, or no best one was kept.
    """

    def __init__(self, workdir: str | Path, member: int = 0, checkpoint: runs.Kept | None = None):
        self.workdir: Path = files.path(workdir)
        self.config, _ = runs.read(workdir)
        """The run's `Experiment`; `config.model` is the family's Config."""
        if not 0 <= member < self.config.seeds:
            raise InputError(f"{workdir}: no member {member} in a run of {self.config.seeds} seeds (they count from 0)")
        self._member = member
        self._checkpoints = Checkpoints(self.workdir / runs.KEPT[runs.delivered(self.workdir, checkpoint)])
        step = self._checkpoints.newest()
        if step is None and checkpoint == "best":
            raise CheckpointError(f"{workdir}: no best checkpoint; train with --eval_every=N, which keeps it")
        if step is None:
            raise CheckpointError(f"{workdir}: no usable checkpoint; train it with: python -m synthjax.launch.train")
        self._checkpoints.check_files(step)
        self.step: int = step
        """Training steps of the state."""
        self.spec: DataSpec = runs.spec(self.workdir)
        self.model: Model = runs.build(self.config, self.spec)

    def __iter__(self) -> Iterator[Any]:
        return iter((self.model, self.state, self.spec))

    def __repr__(self) -> str:
        return f"Run({str(self.workdir)!r}: {self.config.name} on {self.config.dataset}, step {self.step})"

    @functools.cached_property
    def state(self) -> State:
        """The whole state, optimiser included, on one device."""
        return self._restored(None)

    @functools.cached_property
    def encoder(self) -> "Encoder | None":
        """The encoder of the run's table, rows to vectors and back; None for images."""
        return runs.encoder(self.workdir) if self.spec.kind == "table" else None

    def sample(
        self, labels: int | np.ndarray, *, seed: int = 0, block: int | None = None, unique: bool = True, **options: Any
    ) -> "np.ndarray | pd.DataFrame":
        """Draws synthetic examples; reads only those parts of the checkpoint that sampling needs.

        Args:
          labels: (N,) i32, a class for each example; or the number of examples, in the training set's proportions.
          seed: of the samples, below 2**32.
          block: examples drawn at once, which affects the samples as the seed does; default: all, at most 500.
          unique: whether rows of a table are drawn again that repeat a key which no two rows should share.
          **options: of the model's `sample`, see the `Sampling` of its family.

        Returns:
          (N, H, W, C) uint8 images 0 ... levels - 1, or a data frame with the columns and types of the real table.

        Raises:
          InputError: a label or an option is out of range, or a rule is broken however often rows are drawn.

            >>> images = synthjax.load("runs/ddpm-digits").sample(np.arange(10))    # doctest: +SKIP
        """
        if isinstance(labels, int | np.integer):
            labels = self._labels(int(labels))
        labels = np.asarray(labels)
        if labels.dtype.kind not in "iu":
            raise InputError(f"labels: must be a number of examples or an array of classes, not {labels.dtype} values")
        key = sampling.request_key(seed)
        size = block or max(min(len(labels), BLOCK), 1)

        def draw(state: State, labels: jax.Array) -> jax.Array:
            return self.model.sample(key, state, labels, **options)

        state = self._part(draw, np.zeros(size, np.int32))

        def drawn(key: jax.Array, labels: np.ndarray) -> np.ndarray:
            with runs.precision(self.config):
                blocks = list(sampling.draw(self.model, state, key, labels, block=size, **options))
            return np.concatenate(blocks) if blocks else np.zeros((0, *self.spec.shape), np.float32)

        x = drawn(key, labels)
        if self.encoder is None:
            return np.asarray(self.spec.decode(x))
        from synthjax.launch.rejection import keeping_rules

        rows = functools.partial(self.encoder.decode, seed=seed)
        x = keeping_rules(
            self.encoder, x, rows, lambda t, at: drawn(jax.random.fold_in(key, t), labels[at]), unique=unique
        )
        return rows(x)

    def log_prob(
        self, x: "np.ndarray | pd.DataFrame", y: np.ndarray | None = None, *, seed: int = 0, **options: Any
    ) -> np.ndarray:
        """log p of examples, nats; see `model.log_prob_kind` and `log_prob_of`.

        Args:
          x: (N, H, W, C) stored images; or a data frame with the table's columns.
          y: (N,) labels of images, where the data has any; those of a table are in its target column.
          seed: of the random terms of a bound, below 2**32.
          **options: of the model's `log_prob`.

        Returns:
          (N,) f32.

        Raises:
          InputError: the model has no likelihood, x is not of the spec's shape, or a label or the seed is missing or
            out of range.
        """
        if self.model.log_prob is None:
            raise InputError(f"{self.config.name}: has no log_prob; its score says how well it knows an example")
        if self.encoder is not None:
            y = self.encoder.labels(x)  # type: ignore[arg-type]
            x = self.encoder.encode(x)  # type: ignore[arg-type]
        if np.shape(x)[1:] != self.spec.shape:
            raise InputError(f"x: examples have shape {np.shape(x)[1:]}, those of the run {self.spec.shape}")
        if y is None and self.spec.n_classes:
            raise InputError("y: labels are missing; the run's data has them")
        count, key = len(x), sampling.request_key(seed)
        y = np.zeros(count, np.int32) if y is None else np.asarray(y, np.int32)
        if y.shape != (count,):
            raise InputError(f"y: has shape {y.shape}; x has {count} examples")
        if self.spec.n_classes and count and not (y.min() >= 0 and y.max() < self.spec.n_classes):
            top = self.spec.n_classes - 1
            raise InputError(f"y: has labels {y.min()} ... {y.max()}; those of the run are 0 ... {top}")
        rows: Any = np.arange(count, dtype=np.int32)

        def log_prob(state: State, batch: Batch) -> jax.Array:
            assert self.model.log_prob is not None
            return self.model.log_prob(key, state, batch, **options)

        found = []
        state, run = None, jax.jit(log_prob)
        for start in range(0, count, BLOCK):
            part = np.arange(start, start + min(BLOCK, count)) % count  # one shape for all blocks
            weight: Any = np.ones(len(part), np.float32)
            batch = Batch(self.spec.encode(np.asarray(x)[part]), jax.numpy.asarray(y[part]), weight, rows[part])
            state = self._part(log_prob, batch) if state is None else state
            found.append(np.asarray(run(state, batch))[: count - start])
        return np.concatenate(found) if found else np.zeros(0, np.float32)

    def _labels(self, count: int) -> np.ndarray:
        """Labels of `count` examples, class by class."""
        if count < 1:
            raise InputError(f"labels={count}: at least one example is needed")
        if not (self.model.conditional and self.spec.n_classes):
            return np.zeros(count, np.int32)
        counts = proportional_counts(count, list(self.spec.frequencies))
        return np.repeat(np.arange(self.spec.n_classes, dtype=np.int32), counts)

    def _part(self, function: Any, *inputs: Any) -> State:
        """The state with only those leaves that `function(state, *inputs)` reads; the others are zeros."""
        if "state" in vars(self):
            return self.state
        like = jax.eval_shape(self.model.init, jax.random.key(0))
        jaxpr = jax.make_jaxpr(function)(like, *inputs).jaxpr
        read = {id(variable) for equation in jaxpr.eqns for variable in equation.invars}
        read |= {id(variable) for variable in jaxpr.outvars}
        leaves = len(jax.tree.leaves(like))
        return self._restored([id(variable) in read for variable in jaxpr.invars[:leaves]])

    def _restored(self, wanted: list[bool] | None) -> State:
        """The state of the member; leaves that are not wanted are zeros without memory of their own."""
        here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        tree: Any
        leaves, tree = jax.tree.flatten(runs.abstract_state(self.config, self.model))
        wanted = wanted or [True] * len(leaves)
        like = [
            jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here) if kept else PLACEHOLDER
            for leaf, kept in zip(leaves, wanted, strict=True)
        ]
        found = tree.flatten_up_to(self._checkpoints.restore(self.step, tree.unflatten(like)))
        several = self.config.seeds > 1

        def one(leaf: Any, value: Any, kept: bool) -> Any:
            if not kept:
                return np.broadcast_to(np.zeros((), leaf.dtype), leaf.shape[several:])
            return value[self._member] if several else value

        return tree.unflatten([one(*three) for three in zip(leaves, found, wanted, strict=True)])
