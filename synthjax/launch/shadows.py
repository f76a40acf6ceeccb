"""Shadow models, each trained as the attacked model was, on a random half of all real examples.

A half is a mask (N,) in the state of each member of the ensemble, which multiplies the weights of every batch. The loop
trains the members by `vmap` on the same batches, on all devices. Batches are twice as large as the attacked model's,
half of which has weight. Batch norm ignores weights: in models with it, the other half leaks into the statistics.

They are trained in groups of `AT_ONCE`. The scores of each group are stored: an interrupted attack continues with the
next group, and memory does not grow with K.

    shadows = attack(run, real.train, real.holdout, models=16, seed=0, limit=10_000)
    privacy.evaluate(..., scores=scores, shadows=shadows)
"""

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from synthjax import data
from synthjax.data.feed import Feed
from synthjax.errors import InputError
from synthjax.evals import privacy
from synthjax.evals.privacy import Shadows
from synthjax.jit import jit
from synthjax.launch import runs
from synthjax.launch.subjects import Run
from synthjax.model import Batch, DataSpec, Metrics, Model, State
from synthjax.train import loop

AT_ONCE = 8
"""Most models that are trained together."""
BLOCK = 256
"""Examples that all shadow models score in one call."""


class Shadow(NamedTuple):
    """One of the models."""

    inside: jax.Array
    """(N,) bool: the rows it is trained on."""
    state: State


def shadowed(model: Model, rows: int) -> Model:
    """The model trained on a random half, chosen by its key, of `rows` examples; only `init` and `step` are usable."""

    def masked(inside: jax.Array, batch: Batch) -> Batch:
        return batch._replace(weight=batch.weight * inside[batch.index])

    def init(key: jax.Array) -> Shadow:
        key_half, key_model = jax.random.split(key)
        return Shadow(jax.random.bernoulli(key_half, 0.5, (rows,)), model.init(key_model))

    def step(key: jax.Array, i: jax.Array, shadow: Shadow, batch: Batch) -> tuple[Shadow, Metrics]:
        state, metrics = model.step(key, i, shadow.state, masked(shadow.inside, batch))
        return Shadow(shadow.inside, state), metrics

    return model._replace(init=init, step=step)


@dataclass(frozen=True)
class Group:
    """Shadow models that are trained at once."""

    models: int
    steps: int
    batch_size: int
    """Of the attacked model: the shadows', of which a half counts, is twice as large."""
    seed: int
    number: int = 0
    """Another group of the same seed has other halves and other starts."""


def train(model: Model, spec: DataSpec, x: np.ndarray, y: np.ndarray, group: Group) -> Shadow:
    """Trains shadow models on halves of the examples x (N, ...) with labels y (N,), as stored; K is the first axis.

    InputError if the batches cannot be split over the devices.
    """
    devices = jax.device_count()
    size = max(min(2 * group.batch_size, len(x)) // devices, 1) * devices
    feed = Feed.of(model, x, y, size, group.seed, devices)
    trainer = loop.Trainer(shadowed(model, len(x)), feed, spec, group.models)
    key_init, key_train = jax.random.split(jax.random.fold_in(jax.random.key(group.seed), group.number))
    state, keys = trainer.init(key_init), trainer.keys(key_train)
    for start in range(0, group.steps, trainer.steps_per_call):
        stop = min(start + trainer.steps_per_call, group.steps)
        state, _ = trainer.run(keys, start, stop, state)
    return state


def surprise(
    score: Callable[..., jax.Array], state: State, spec: DataSpec, split: data.Split, rows: np.ndarray, key: jax.Array
) -> np.ndarray:
    """What `score(key, state, batch)` gives to some rows of a split, in blocks of one size: (..., n) f32."""
    score = jit(score)
    found = []
    for number, start in enumerate(range(0, len(rows), BLOCK)):
        taken = rows[start : start + BLOCK]
        padded = np.resize(taken, BLOCK)
        weight = (np.arange(BLOCK) < len(taken)).astype(np.float32)
        batch = Batch(spec.encode(split.x[padded]), *map(jnp.asarray, (split.y[padded], weight, split.index[padded])))
        found.append(np.asarray(score(jax.random.fold_in(key, number), state, batch))[..., : len(taken)])
    return np.concatenate(found, axis=-1)


def model_scores(
    run: Run | None, train: data.Split, unseen: data.Split, attacked: privacy.AttackedRows, *, seed: int
) -> dict[str, np.ndarray] | None:
    """The surprise of the rows that are attacked, as `privacy.evaluate` takes it; None without a model to ask."""
    if run is None or run.model.score is None:
        return None
    keys = jax.random.split(jax.random.key(seed))
    asked = (("members", train, attacked.members), ("others", unseen, attacked.others))
    return {
        name: surprise(run.model.score, run.state, run.spec, split, rows, key)
        for (name, split, rows), key in zip(asked, keys, strict=True)
    }


Keep = Callable[[str, Callable[[], dict[str, np.ndarray]]], dict[str, np.ndarray]]
"""(name, work) -> the result of work(), or a stored one from an earlier call."""


def again(name: str, work: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Stores nothing."""
    return work()


def attack(
    run: Run,
    train_split: data.Split,
    unseen: data.Split,
    attacked: privacy.AttackedRows,
    *,
    models: int,
    seed: int,
    keep: Keep = again,
) -> Shadows | None:
    """Scores of the attacked rows by K `models` like that of a run; None if its model has no score.

    They are trained with the run's experiment (one that ends by the holdout: for the steps of its state) on halves of
    its training split and of `unseen`, real examples outside it, together. `seed` decides the halves.
    InputError: fewer than 2 models, or as `train`.
    """
    if run.model.score is None:
        return None
    if models < 2:
        raise InputError(f"shadows={models}: at least 2, or 0 for none")
    experiment = runs.read(run.workdir)[0]
    config = experiment.model
    steps = run.described["step"] if experiment.stop == "holdout" else config.steps
    x, y = (np.concatenate(pair) for pair in ((train_split.x, unseen.x), (train_split.y, unseen.y)))
    rows = np.concatenate([attacked.members, len(train_split.x) + attacked.others])
    # One key for all models, whose scores are compared.
    key_score = jax.random.fold_in(jax.random.key(seed), np.uint32(2**32 - 1))

    # Both splits together: models that store their rows need as many places.
    spec = dataclasses.replace(run.spec, rows=len(x))
    model = runs.build(experiment, spec)
    assert model.score is not None
    both, score = data.Split(x[rows], y[rows], np.arange(len(rows))), jax.vmap(model.score, (None, 0, None))

    def judge(number: int, count: int) -> dict[str, np.ndarray]:
        shadows = train(model, spec, x, y, Group(count, steps, config.batch_size, seed, number))
        scores = surprise(score, shadows.state, spec, both, both.index, key_score)
        return {"scores": scores, "trained_on": np.asarray(shadows.inside)[:, rows]}

    counts = map(len, np.array_split(np.arange(models), -(-models // AT_ONCE)))
    groups = [keep(f"shadows-{number}", functools.partial(judge, number, count)) for number, count in enumerate(counts)]
    return Shadows(*(np.concatenate([one[name] for one in groups]) for name in ("scores", "trained_on")))
