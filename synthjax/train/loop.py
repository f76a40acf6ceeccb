"""The training loop, the only one: it runs any `Model` on one core, on all devices of a machine, or on a pod.

One compiled function runs up to K steps, K known at compile time and the number asked for at run time, so that nothing
is ever compiled twice. Batches come from the feed as a function of the step, keys from `fold_in(key, step)`: where the
steps are cut into calls, where a run was interrupted, and how many processes share it do not show in the numbers.
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
"""Of the batches that one call is handed, unless a single one is larger."""
SECONDS_PER_CALL = 2.0


class Trainer:
    """A model, its data and the devices, with the compiled functions that training needs.

    Batches are split over all devices, the state is replicated; with one device this is plain jit.

    Args:
      model: what is trained.
      feed: where its batches come from: a `Feed`, or any function of the step alone (Grain's `MapDataset.__getitem__`,
        a reader of data larger than memory) that gives each process its own part of the batch, x as stored.
      spec: of the data.
      seeds: members trained at once, by vmap; the state has them as its first axis, metrics are (seeds,).
      augment: compiled into each step: (key, batch in the model's space) -> batch.
      devices: default: all there are.

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
        first = self._drawn(0)
        _check_batch(first, model, spec, len(devices))
        self._shapes = [np.shape(leaf) for leaf in first]
        size = sum(np.asarray(leaf).nbytes for leaf in first) * jax.process_count()
        self.steps_per_call = int(np.clip(BYTES_PER_CALL // max(size, 1), 1, STEPS_PER_CALL))
        """Most steps that one call takes: as many as their batches have room for."""
        mesh = jax.make_mesh((len(devices),), ("data",), axis_types=(AxisType.Auto,), devices=devices)
        batch_axis = 2 if model.feed == "batches" else 1
        self.replicated = NamedSharding(mesh, PartitionSpec())
        self._split = NamedSharding(mesh, PartitionSpec(*[None] * batch_axis, "data"))
        self._dataset: Batch | None = None
        self._init = jax.jit(self._first, out_shardings=self.replicated)
        self._run = jit(self._steps, donate_argnums=3, out_shardings=self.replicated)

    def init(self, key: jax.Array) -> State:
        """The state before step 0, on every device."""
        return self._init(self.keys(key))

    def keys(self, key: jax.Array) -> jax.Array:
        """One key a member: (seeds,), or the key itself for a single one."""
        return jax.random.split(key, self.seeds) if self.seeds > 1 else key

    def batches(self, start: int, stop: int) -> Batch:
        """Batches of steps start ... stop - 1, stacked and padded to `steps_per_call`, laid over the devices.

        A feed of the whole training set gives every step the same batch: it is shipped once.

        Raises:
          InputError: a batch is not of the shape of the first.
        """
        if self._dataset is not None:
            return self._dataset
        whole = self.model.feed == "dataset"
        drawn = [self._drawn(step) for step in range(start, start + 1 if whole else stop)]
        size = 1 if whole else self.steps_per_call
        for step, batch in enumerate(drawn, start):
            shapes = [np.shape(leaf) for leaf in batch]
            if shapes != self._shapes:
                raise InputError(f"feed: the batch of step {step} has shapes {shapes}, that of step 0 {self._shapes}")

        def place(*leaves):
            stacked = np.zeros((size, *leaves[0].shape), leaves[0].dtype)
            for i, leaf in enumerate(leaves):
                stacked[i] = leaf
            return jax.make_array_from_process_local_data(self._split, stacked)

        batches = jax.tree.map(place, *drawn)
        if whole and not isinstance(batches.x, jax.core.Tracer):  # asked for shapes alone
            self._dataset = batches
        return batches

    def run(self, keys: jax.Array, start: int, stop: int, state: State) -> tuple[State, Metrics]:
        """Steps start ... stop - 1, at most `steps_per_call`; donates `state`.

        Metrics are (steps_per_call,) or (seeds, steps_per_call), of which the first stop - start count.
        """
        return self._run(keys, np.int32(start), np.int32(stop), state, self.batches(start, stop))

    def _drawn(self, step: int) -> Batch:
        """This process's part of the batch of a step."""
        if not isinstance(self.feed, Feed):
            return self.feed(step)
        count, index = jax.process_count(), jax.process_index()
        length = self.feed.batch_size if self.feed.kind != "dataset" else len(self.feed.rows(0))
        return self.feed.batch(step, slice(index * length // count, (index + 1) * length // count))

    def _first(self, keys):
        return jax.vmap(self.model.init)(keys) if self.seeds > 1 else self.model.init(keys)

    def _steps(self, keys, start, stop, state, batches):
        one = jax.vmap(self._step, (0, None, 0, None)) if self.seeds > 1 else self._step

        def at(i):
            place = 0 if self.model.feed == "dataset" else i - start
            return jax.tree.map(lambda a: jax.lax.dynamic_index_in_dim(a, place, keepdims=False), batches)

        shapes = jax.eval_shape(one, keys, start, state, at(start))[1]
        room = jax.tree.map(lambda m: jnp.zeros((*m.shape, self.steps_per_call), m.dtype), shapes)

        def body(i, carry):
            state, room = carry
            state, metrics = one(keys, i, state, at(i))
            return state, jax.tree.map(lambda a, m: a.at[..., i - start].set(m), room, metrics)

        return jax.lax.fori_loop(start, stop, body, (state, room))

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
    """Raises InputError for a first batch (this process's part) that a step cannot take."""
    if not isinstance(batch, Batch):
        raise InputError(f"feed: gives a {type(batch).__name__}; a step of this model takes a Batch")
    lead = (model.n_batches,) if model.feed == "batches" else ()
    shape, size = np.shape(batch.x), np.shape(batch.y)
    if len(size) != len(lead) + 1 or size[:-1] != lead or shape != (*size, *spec.shape):
        wanted = ", ".join(map(str, (*lead, "B", *spec.shape)))
        raise InputError(f"feed: x has shape {shape} and y {size}; a step of this model takes x of shape ({wanted})")
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
    """How long a run is and what happens along it; all in training steps."""

    steps: int
    log_every: int = 50
    checkpoint_every: int = 500
    sample_every: int = 0
    eval_every: int = 0
    minutes: float = 0.0
    """Stop in time, finished and checkpointed; 0: no limit."""


class Hooks(NamedTuple):
    """What a run calls as it goes; `show` and `score` are called by all processes."""

    log: Callable[[int, dict[str, np.ndarray]], None]
    """(step, metrics) every `log_every` steps, means over them; "steps_per_second" is added."""
    show: Callable[[int, State], None] | None = None
    """(step, state) every `sample_every` steps; again at one that a run goes on from: its call may have been cut."""
    score: Callable[[int, State], None] | None = None
    """(step, state) every `eval_every` steps and at the end; again as `show` is."""
    saving: Callable[[], None] = lambda: None
    """A checkpoint is about to be written: what was logged must be stored by then."""
    say: Callable[[str], None] = print
    """Takes a line for the user."""


def train(
    trainer: Trainer, plan: Plan, key: jax.Array, checkpoints: Checkpoints, record: dict[str, Any], hooks: Hooks
) -> tuple[int, State]:
    """Trains from the newest good checkpoint, or from the start, to `plan.steps`.

    Args:
      trainer: the model, its data and the devices.
      plan: how long, and what happens when.
      key: of all that is random in training.
      checkpoints: where they go.
      record: plain values that go into every checkpoint; "step" and "window", the sums of metrics since the last
        log, are added: a run that was interrupted logs the same means.
      hooks: what is called.

    Returns:
      (steps done, state); fewer steps than planned only if `plan.minutes` ran out.

    Raises:
      NonFiniteError: a metric is NaN or infinite. The newest checkpoint is from before it.
      Preempted: SIGTERM or Ctrl-C; what was done is in a checkpoint.
      CheckpointError: a checkpoint cannot be written or does not fit.
    """
    deadline = time.monotonic() + 60 * plan.minutes if plan.minutes else None
    keys = trainer.keys(key)
    with StopSignal() as asked_to_stop, contextlib.closing(checkpoints):
        step, state = _start(trainer, key, checkpoints, hooks.say)
        window = _Window(plan, step, hooks.log, checkpoints.record(step).get("window", {}) if step else {})
        pending: tuple[int, int, Metrics] | None = None
        while True:
            stop = asked_to_stop()
            done = stop or step >= plan.steps or (_past(deadline) and step > window.first)
            save_now, show_now, score_now = window.due(step, done, stop)
            if pending and (save_now or show_now or score_now):
                window.take(*pending)
                pending = None
            if save_now:
                hooks.saving()
                checkpoints.save(step, state, record | {"step": step, "window": window.record()})
                window.saved = step
            if show_now and hooks.show is not None:
                window.aside(hooks.show, step, state)
                window.shown = step
            if score_now and hooks.score is not None:
                window.aside(hooks.score, step, state)
                window.scored = step
            if done:
                if stop and step < plan.steps:
                    raise preempted(step, asked_to_stop.number)
                return step, state
            end = _next_end(step, min(window.steps_per_call, trainer.steps_per_call), plan)
            window.dispatched()
            state, metrics = trainer.run(keys, step, end, state)
            if pending:
                window.take(*pending)
            pending, step = (step, end, metrics), end


def _next_end(step: int, length: int, plan: Plan) -> int:
    """Where the next call ends: `length` steps on, or at the next checkpoint, grid or score if that comes first."""
    marks = [every for every in (plan.checkpoint_every, plan.sample_every, plan.eval_every) if every > 0]
    return min(step + length, plan.steps, *[(step // every + 1) * every for every in marks])


def _past(deadline: float | None) -> bool:
    """Whether the time is up, by process 0's clock."""
    if deadline is None:
        return False
    late = time.monotonic() > deadline
    return bool(multihost_utils.broadcast_one_to_all(np.int32(late))) if jax.process_count() > 1 else late


class _Window:
    """Takes in the metrics of finished calls: checks them, averages and logs them, and sets the length of calls."""

    def __init__(self, plan: Plan, step: int, log: Callable[[int, dict[str, np.ndarray]], None], begun: dict[str, Any]):
        """`begun`: the sums that a checkpoint of `step` holds, as `record` gives them."""
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
        """Whether to save, show and score now; `done`: there is no further step, `stop`: because somebody asked."""
        plan = self._plan
        save = step > self.saved and (done or step % plan.checkpoint_every == 0)
        show = not done and step > self.shown and plan.sample_every > 0 and step % plan.sample_every == 0
        score = step > self.scored and not stop and plan.eval_every > 0 and (done or step % plan.eval_every == 0)
        return save, show, score

    def dispatched(self) -> None:
        """A call is about to be made."""
        self._dispatched_before, self._dispatched = self._dispatched, time.monotonic()

    def aside(self, call: Callable[[int, State], None], step: int, state: State) -> None:
        """Calls what training stands still for: "steps_per_second" leaves its time out."""
        paused = time.monotonic()
        call(step, state)
        since, begun = self._since
        self._since = (since, begun + time.monotonic() - paused)

    def take(self, start: int, end: int, metrics: Metrics) -> None:
        """Waits for the call of steps start ... end - 1 and takes its metrics in."""
        values = {name: np.asarray(value)[..., : end - start] for name, value in metrics.items()}
        self._pace(end - start)
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
        """Stops at the first step of any metric that is not finite, naming all of that step: later ones follow from it.

        Raises:
          NonFiniteError: there is one.
        """
        places = {name: np.argwhere(~np.isfinite(value))[:, -1] for name, value in values.items()}
        first = {name: int(found.min()) for name, found in places.items() if len(found)}
        if not first:
            return
        step = min(first.values())
        names = [repr(name) for name, found in first.items() if found == step]
        what = f"metric {names[0]} is" if len(names) == 1 else f"metrics {', '.join(names)} are"
        kept = f"the newest checkpoint is of step {self.saved}" if self.saved else "there is no checkpoint yet"
        raise NonFiniteError(f"{what} not finite at step {start + step}; {kept}")

    def _pace(self, steps: int) -> None:
        """Sets the length of calls to SECONDS_PER_CALL or so; several processes must agree: they keep the full one."""
        now = time.monotonic()
        seconds = (now - max(self._finished, self._dispatched_before or self._dispatched)) / steps
        if self._compiled and jax.process_count() == 1:
            self.steps_per_call = int(np.clip(SECONDS_PER_CALL / max(seconds, 1e-6), 1, STEPS_PER_CALL))
        self._finished, self._compiled = now, True


def _start(trainer: Trainer, key, checkpoints: Checkpoints, say) -> tuple[int, State]:
    newest = checkpoints.newest()
    key_init = jax.random.fold_in(key, np.uint32(2**32 - 1))  # steps fold in 0 ... steps - 1
    if newest is None:
        return 0, trainer.init(key_init)
    say(f"continuing from step {newest}")
    shapes = jax.eval_shape(trainer.init, key_init)
    like = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=trainer.replicated), shapes)
    return newest, checkpoints.restore(newest, like)
