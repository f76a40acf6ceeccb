"""The training loop: runs any `Model` on one core, on all devices of a machine, or on a pod.

One compiled function runs up to K steps. K is fixed at compile time and the number of steps is an argument, so it
compiles once. The batch and the key of a step, `fold_in(key, step)`, depend only on the step number. So the results do
not depend on how the steps are divided into calls, where a run was interrupted, or the number of processes.

    >>> def step(key, i, state, batch):
    ...     return state + batch.x.mean(), {"mean": batch.x.mean()}
    >>> def feed(i):
    ...     return Batch(np.full((2, 1), i, np.float32), np.zeros(2, np.int32), np.ones(2, np.float32), np.arange(2))
    >>> model = Model(lambda key: jnp.float32(0), step, lambda key, state, labels: labels)
    >>> trainer = Trainer(model, feed, DataSpec.from_arrays(np.zeros((2, 1))), devices=jax.devices()[:1])
    >>> state, metrics = trainer.run(jax.random.key(0), 0, 4, trainer.init(jax.random.key(1)))
    >>> float(state), metrics["mean"][:4].tolist()
    (6.0, [0.0, 1.0, 2.0, 3.0])
"""

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from synthjax.data.feed import Feed
from synthjax.errors import InputError, NonFiniteError
from synthjax.jit import jit
from synthjax.model import Batch, DataSpec, Metrics, Model, State
from synthjax.train.checkpoint import Checkpoints
from synthjax.train.preemption import StopSignal, preempted

Augment = Callable[[jax.Array, Batch], Batch]
STEPS_PER_CALL = 50
BYTES_PER_CALL = 64 * 2**20
"""Maximum size of the batches passed to one call, unless a single batch is larger."""
SECONDS_PER_CALL = 2.0


class Trainer:
    """A model, its data and the devices, with the compiled functions that training needs.

    Batches are sharded over all devices, and the state is replicated. With one device this is plain jit.

    Args:
      model: the model to train.
      feed: source of its batches: a `Feed`, or any function of the step number (Grain's `MapDataset.__getitem__`, a
        reader of data larger than memory) that returns this process's part of the batch, with x as stored.
      spec: of the data.
      seeds: number of models trained together by vmap, the first axis of the state; metrics are (seeds,).
      augment: (key, batch in the model's space) -> batch, compiled into each step.
      devices: None: all.

    Raises:
      InputError: the batch cannot be split evenly over the devices, or is not of the spec's shape.
    """

    def __init__(
        self,
        model: Model,
        feed: Feed | Callable[[int], Batch],
        spec: DataSpec,
        seeds: int = 1,
        augment: Augment | None = None,
        devices: Sequence[jax.Device] | None = None,
    ):
        devices = list(devices or jax.devices())
        self.model, self.feed, self.spec, self.seeds, self.augment = model, feed, spec, seeds, augment
        first = self._local_batch(0)
        _check_batch(first, model, spec, len(devices))
        self._shapes = [np.shape(leaf) for leaf in first]
        size = sum(np.asarray(leaf).nbytes for leaf in first) * jax.process_count()
        self.steps_per_call = int(np.clip(BYTES_PER_CALL // max(size, 1), 1, STEPS_PER_CALL))
        """Maximum number of steps of one call, limited by the size of their batches."""
        mesh = jax.make_mesh((len(devices),), ("data",), axis_types=(AxisType.Auto,), devices=devices)
        batch_axis = 2 if model.feed == "batches" else 1
        self.replicated = NamedSharding(mesh, PartitionSpec())
        self._split = NamedSharding(mesh, PartitionSpec(*[None] * batch_axis, "data"))
        self._dataset: Batch | None = None
        self._init = jax.jit(self._init_seeds, out_shardings=self.replicated)
        self._run = jit(self._steps, donate_argnums=3, out_shardings=self.replicated)

    def init(self, key: jax.Array) -> State:
        """The state before step 0, replicated on all devices."""
        return self._init(self.keys(key))

    def keys(self, key: jax.Array) -> jax.Array:
        """One key per seed, (seeds,); the key itself if there is only one seed."""
        return jax.random.split(key, self.seeds) if self.seeds > 1 else key

    def batches(self, start: int, stop: int) -> Batch:
        """Batches of steps start ... stop - 1, stacked, padded to `steps_per_call` and sharded over the devices.

        If every step takes the whole training set, it is transferred once.

        Raises:
          InputError: a batch has another shape than the first.
        """
        if self._dataset is not None:
            return self._dataset
        whole = self.model.feed == "dataset"
        local = [self._local_batch(step) for step in range(start, start + 1 if whole else stop)]
        size = 1 if whole else self.steps_per_call
        for step, batch in enumerate(local, start):
            shapes = [np.shape(leaf) for leaf in batch]
            if shapes != self._shapes:
                raise InputError(f"feed: the batch of step {step} has shapes {shapes}, that of step 0 {self._shapes}")

        def shard(*leaves):
            if size == 1:
                stacked = leaves[0][None]
            else:
                stacked = np.zeros((size, *leaves[0].shape), leaves[0].dtype)
                for i, leaf in enumerate(leaves):
                    stacked[i] = leaf
            return jax.make_array_from_process_local_data(self._split, stacked)

        batches = jax.tree.map(shard, *local)
        if whole and not isinstance(batches.x, jax.core.Tracer):  # under tracing there are no arrays to keep
            self._dataset = batches
        return batches

    def run(self, keys: jax.Array, start: int, stop: int, state: State) -> tuple[State, Metrics]:
        """Runs steps start ... stop - 1, at most `steps_per_call`; donates `state`.

        Metrics are (steps_per_call,) or (seeds, steps_per_call), of which the first stop - start are valid.
        """
        return self._run(keys, np.int32(start), np.int32(stop), state, self.batches(start, stop))

    def _local_batch(self, step: int) -> Batch:
        """This process's part of the batch of a step."""
        if not isinstance(self.feed, Feed):
            return self.feed(step)
        count, index = jax.process_count(), jax.process_index()
        length = self.feed.batch_size if self.feed.kind != "dataset" else len(self.feed.rows(0))
        return self.feed.batch(step, slice(index * length // count, (index + 1) * length // count))

    def _init_seeds(self, keys):
        return jax.vmap(self.model.init)(keys) if self.seeds > 1 else self.model.init(keys)

    def _steps(self, keys, start, stop, state, batches):
        step = jax.vmap(self._step, (0, None, 0, None)) if self.seeds > 1 else self._step
        run_step = jax.jit(step, inline=True)  # traced once, for the shapes and for the loop

        def batch_of(i):
            index = 0 if self.model.feed == "dataset" else i - start
            return jax.tree.map(lambda a: jax.lax.dynamic_index_in_dim(a, index, keepdims=False), batches)

        shapes = jax.eval_shape(run_step, keys, start, state, batch_of(start))[1]
        stacked = jax.tree.map(lambda m: jnp.zeros((*m.shape, self.steps_per_call), m.dtype), shapes)

        def body(i, carry):
            state, stacked = carry
            state, metrics = run_step(keys, i, state, batch_of(i))
            return state, jax.tree.map(lambda a, m: a.at[..., i - start].set(m), stacked, metrics)

        return jax.lax.fori_loop(start, stop, body, (state, stacked))

    def _step(self, key, i, state, batch):
        key = jax.random.fold_in(key, i)
        batch = batch._replace(x=self.spec.encode(batch.x))
        if self.augment is not None:
            key_augment, key = jax.random.split(key)
            if self.model.feed == "batches":
                batch = jax.vmap(self.augment)(jax.random.split(key_augment, self.model.n_batches), batch)
            else:
                batch = self.augment(key_augment, batch)
        return self.model.step(key, i, state, batch)


def _check_batch(batch: Batch, model: Model, spec: DataSpec, devices: int) -> None:
    """Raises InputError if a step of the model cannot take `batch`, this process's part of the first batch."""
    if not isinstance(batch, Batch):
        raise InputError(f"feed: gives a {type(batch).__name__}; a step of this model takes a Batch")
    leading = (model.n_batches,) if model.feed == "batches" else ()
    shape, size = np.shape(batch.x), np.shape(batch.y)
    if len(size) != len(leading) + 1 or size[:-1] != leading or shape != (*size, *spec.shape):
        expected = ", ".join(map(str, (*leading, "B", *spec.shape)))
        raise InputError(f"feed: x has shape {shape} and y {size}; a step of this model takes x of shape ({expected})")
    for name in ("weight", "index"):
        if np.shape(getattr(batch, name)) != size:
            raise InputError(
                f"feed: {name} has shape {np.shape(getattr(batch, name))} and y {size}; they must be equal"
            )
    total = size[-1] * jax.process_count()
    if total % devices:
        raise InputError(f"batch_size={total}: must be a multiple of {devices} devices")


@dataclass(frozen=True)
class Plan:
    """Length of a run and intervals of its hooks, in training steps."""

    steps: int
    log_every: int = 50
    checkpoint_every: int = 500
    sample_every: int = 0
    eval_every: int = 0
    widening: bool = False
    """Whether `eval_every` doubles each time that the number of steps has doubled, from 20 scores on. There is then no
    score at the end, since the last step may depend on the clock."""
    minutes: float = 0.0
    """Time limit, after which a checkpoint is written; 0: none."""

    def scores_from(self, step: int) -> int:
        """Steps between two scores at `step`; 0: there are none."""
        if not (self.widening and self.eval_every):
            return self.eval_every
        return self.eval_every * 2 ** max(0, (step // (10 * self.eval_every)).bit_length() - 1)


class Hooks(NamedTuple):
    """Functions that `train` calls; `show` and `score` are called by all processes."""

    log: Callable[[int, dict[str, np.ndarray]], None]
    """(step, metrics) every `log_every` steps, means over them; "steps_per_second" is added."""
    show: Callable[[int, State], None] | None = None
    """(step, state) every `sample_every` steps; repeated at the step that a run continues from."""
    score: Callable[[int, State], bool | None] | None = None
    """(step, state) every `eval_every` steps and at the end; repeated as `show` is. True ends the training."""
    saving: Callable[[], None] = lambda: None
    """Called before a checkpoint is written: must store what was logged."""
    say: Callable[[str], None] = print
    """Prints a line for the user."""


def train(
    trainer: Trainer, plan: Plan, key: jax.Array, checkpoints: Checkpoints, record: dict[str, Any], hooks: Hooks
) -> tuple[int, State]:
    """Trains from the newest good checkpoint, or from the start, to `plan.steps`.

    Args:
      trainer: the model, its data and the devices.
      plan: number of steps and intervals.
      key: source of all randomness in training.
      checkpoints: where checkpoints are written and read.
      record: plain values that go into every checkpoint; "step" and "window", the sums of metrics since the last
        log, are added, so that an interrupted run logs the same means.
      hooks: functions to call.

    Returns:
      (steps done, state); fewer steps than planned if `plan.minutes` ran out, or `hooks.score` ended the training.

    Raises:
      NonFiniteError: a metric is NaN or infinite. The newest checkpoint is from before it.
      Preempted: SIGTERM or Ctrl-C; all steps are in a checkpoint.
      CheckpointError: a checkpoint cannot be written or does not fit.
    """
    deadline = time.monotonic() + 60 * plan.minutes if plan.minutes else None
    keys = trainer.keys(key)
    with StopSignal() as should_stop, contextlib.closing(checkpoints):
        step, state = _start(trainer, key, checkpoints, hooks.say)
        window = _Window(plan, step, hooks.log, checkpoints.record(step).get("window", {}) if step else {})
        pending: tuple[int, int, Metrics] | None = None
        enough = False
        while True:
            stop = should_stop()
            done = stop or enough or step >= plan.steps or (_past(deadline) and step > window.first)
            save_now, show_now, score_now = window.due(step, done, stop)
            if pending and (save_now or show_now or score_now):
                window.add(*pending)
                pending = None
            if save_now:
                hooks.saving()
                checkpoints.save(step, state, record | {"step": step, "window": window.record()})
                window.saved = step
            if show_now and hooks.show is not None:
                window.untimed(hooks.show, step, state)
                window.shown = step
            if score_now and hooks.score is not None:
                enough = bool(window.untimed(hooks.score, step, state))
                window.scored = step
            if enough and not done:
                continue
            if done:
                if stop and step < plan.steps:
                    raise preempted(step, should_stop.number)
                return step, state
            end = _next_end(step, min(window.steps_per_call, trainer.steps_per_call), plan)
            window.call_starts()
            state, metrics = trainer.run(keys, step, end, state)
            if pending:
                window.add(*pending)
            pending, step = (step, end, metrics), end


def _next_end(step: int, length: int, plan: Plan) -> int:
    """Last step of the next call: `length` steps later, or the step of the next hook if that is earlier."""
    intervals = [every for every in (plan.checkpoint_every, plan.sample_every, plan.scores_from(step)) if every > 0]
    return min(step + length, plan.steps, *[(step // every + 1) * every for every in intervals])


def _past(deadline: float | None) -> bool:
    """Whether the deadline has passed, by the clock of process 0."""
    if deadline is None:
        return False
    late = time.monotonic() > deadline
    return bool(multihost_utils.broadcast_one_to_all(np.int32(late))) if jax.process_count() > 1 else late


class _Window:
    """Metrics of the steps since the last log: checks, averages and logs them, and adapts the length of calls."""

    def __init__(self, plan: Plan, step: int, log: Callable[[int, dict[str, np.ndarray]], None], begun: dict[str, Any]):
        """`begun` is the result of `record` in the checkpoint of `step`; empty at the start of a run."""
        self.first = self.saved = step
        self.shown = self.scored = 0
        self.steps_per_call = 1 if jax.process_count() == 1 else STEPS_PER_CALL
        self._plan, self._log = plan, log
        self._count: int = begun.get("count", 0)
        self._sums = {name: np.asarray(value, np.float64) for name, value in begun.get("sums", {}).items()}
        self._since = (step, time.monotonic())
        self._finished = self._dispatched = 0.0
        self._compiled = False

    def record(self) -> dict[str, Any]:
        """The sums of metrics over the steps since the last log, as plain values."""
        return {"count": self._count, "sums": {name: value.tolist() for name, value in self._sums.items()}}

    def due(self, step: int, done: bool, stop: bool) -> tuple[bool, bool, bool]:
        """Whether to (save, show, score) after `step` steps. `done`: training ends; `stop`: because of a signal."""
        plan = self._plan
        save = step > self.saved and (done or step % plan.checkpoint_every == 0)
        show = not done and step > self.shown and plan.sample_every > 0 and step % plan.sample_every == 0
        every = plan.scores_from(step)
        score = step > self.scored and not stop and every > 0 and ((done and not plan.widening) or step % every == 0)
        return save, show, score

    def call_starts(self) -> None:
        """Must be called before each call of the trainer, whose duration is measured from here."""
        self._dispatched_before, self._dispatched = self._dispatched, time.monotonic()

    def untimed(self, hook: Callable[[int, State], bool | None], step: int, state: State) -> bool | None:
        """Calls a hook and returns its result; its time does not count in "steps_per_second"."""
        start = time.monotonic()
        result = hook(step, state)
        since, begun = self._since
        self._since = (since, begun + time.monotonic() - start)
        return result

    def add(self, start: int, end: int, metrics: Metrics) -> None:
        """Waits for the call that runs steps start ... end - 1, adds its metrics, and logs the means when due."""
        values = {name: np.asarray(value)[..., : end - start] for name, value in metrics.items()}
        self._adapt_length(end - start)
        self._check(start, values)
        for i in range(end - start):
            for name, value in values.items():
                self._sums[name] = self._sums.get(name, 0.0) + value[..., i].astype(np.float64)
            self._count += 1
            step = start + i + 1
            if step % self._plan.log_every == 0 or step == self._plan.steps:
                since, begun = self._since
                self._since = (step, time.monotonic())
                rate = (step - since) / max(time.monotonic() - begun, 1e-9)
                means = {name: np.asarray(value / self._count) for name, value in self._sums.items()}
                self._sums, self._count = {}, 0
                self._log(step, means | {"steps_per_second": np.asarray(rate)})

    def _check(self, start: int, values: dict[str, np.ndarray]) -> None:
        """Checks that all metrics are finite.

        Raises:
          NonFiniteError: one is not; the message names the first such step and all such metrics of that step.
        """
        steps = {name: np.argwhere(~np.isfinite(value))[:, -1] for name, value in values.items()}
        first = {name: int(bad.min()) for name, bad in steps.items() if len(bad)}
        if not first:
            return
        step = min(first.values())
        names = [repr(name) for name, bad in first.items() if bad == step]
        what = f"metric {names[0]} is" if len(names) == 1 else f"metrics {', '.join(names)} are"
        kept = f"the newest checkpoint is of step {self.saved}" if self.saved else "there is no checkpoint yet"
        raise NonFiniteError(f"{what} not finite at step {start + step}; {kept}")

    def _adapt_length(self, steps: int) -> None:
        """Sets the length of calls to about SECONDS_PER_CALL.

        With several processes it stays STEPS_PER_CALL, since it must be equal in all of them.
        """
        now = time.monotonic()
        seconds = (now - max(self._finished, self._dispatched_before or self._dispatched)) / steps
        if self._compiled and jax.process_count() == 1:
            self.steps_per_call = int(np.clip(SECONDS_PER_CALL / max(seconds, 1e-6), 1, STEPS_PER_CALL))
        self._finished, self._compiled = now, True


def _start(trainer: Trainer, key: jax.Array, checkpoints: Checkpoints, say: Callable[[str], None]) -> tuple[int, State]:
    """Step and state of the newest good checkpoint; if there is none, 0 and the initial state."""
    newest = checkpoints.newest()
    key_init = jax.random.fold_in(key, np.uint32(2**32 - 1))  # steps fold in 0 ... steps - 1
    if newest is None:
        return 0, trainer.init(key_init)
    say(f"continuing from step {newest}")
    shapes = jax.eval_shape(trainer.init, key_init)
    like = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=trainer.replicated), shapes)
    return newest, checkpoints.restore(newest, like)
