"""Shadow models, each trained as the attacked one was, on a random half of all real examples.

A half is a mask (N,) that each member of the ensemble carries in its state and that multiplies the weight of every
batch; the loop trains them by `vmap` on the same batches, on all devices. A step sees twice the attacked model's batch,
half of which counts. Batch norm heeds no weights: where a model has any, its shadows see a little of the other half.

They are trained `AT_ONCE` at a time: what one such group says is kept, so that an interrupted attack goes on with the
next group, and memory does not grow with K.

    shadows = attack(run, real.train, real.holdout, models=16, seed=0, limit=10_000)
    privacy.evaluate(..., scores=scores, shadows=shadows)
"""

import dataclasses
import functools
import math
from collections.abc import Callable
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
"""Models that are trained together, at most."""
BLOCK = 256
"""Examples that models score at once."""


class Shadow(NamedTuple):
    """One of the models."""

    inside: jax.Array
    """(N,) bool: the rows it is trained on."""
    state: State


def shadowed(model: Model, rows: int) -> Model:
    """The model, trained on a half of `rows` examples that its key decides; only `init` and `step` are of its state."""

    def masked(inside: jax.Array, batch: Batch) -> Batch:
        return batch._replace(weight=batch.weight * inside[batch.index])

    def init(key: jax.Array) -> Shadow:
        key_half, key_model = jax.random.split(key)
        return Shadow(jax.random.bernoulli(key_half, 0.5, (rows,)), model.init(key_model))

    def step(key: jax.Array, i: jax.Array, shadow: Shadow, batch: Batch) -> tuple[Shadow, Metrics]:
        state, metrics = model.step(key, i, shadow.state, masked(shadow.inside, batch))
        return Shadow(shadow.inside, state), metrics

    return model._replace(init=init, step=step)


def train(
    model: Model,
    spec: DataSpec,
    x: np.ndarray,
    y: np.ndarray,
    *,
    models: int,
    steps: int,
    batch_size: int,
    seed: int,
    group: int = 0,
) -> Shadow:
    """Trains shadow models at once, on halves of the examples x (N, ...) with labels y (N,), as stored.

    Another `group` of the same seed has other halves and other starts.

    Returns:
        All of them: leaves have the models as their first axis.

    Raises:
        InputError: the batches cannot be split over the devices.
    """
    devices = jax.device_count()
    size = max(min(2 * batch_size, len(x)) // devices, 1) * devices
    feed = Feed.of(model, x, y, size, seed, devices)
    trainer = loop.Trainer(shadowed(model, len(x)), feed, spec, models)
    key_init, key_train = jax.random.split(jax.random.fold_in(jax.random.key(seed), group))
    state, keys = trainer.init(key_init), trainer.keys(key_train)
    for start in range(0, steps, trainer.steps_per_call):
        stop = min(start + trainer.steps_per_call, steps)
        state, _ = trainer.run(keys, start, stop, state)
    return state


def surprise(model: Model, spec: DataSpec, shadows: Shadow, x: np.ndarray, y: np.ndarray, key: jax.Array) -> np.ndarray:
    """How surprised each of K models is by the examples x (n, ...), as stored, with labels y (n,): (K, n) f32."""
    assert model.score is not None
    score = jit(jax.vmap(model.score, (None, 0, None)))
    found = []
    for block, start in enumerate(range(0, len(x), BLOCK)):
        rows = np.arange(start, start + BLOCK)
        weight = (rows < len(x)).astype(np.float32)
        rows %= len(x)
        batch = Batch(spec.encode(x[rows]), jnp.asarray(y[rows]), jnp.asarray(weight), jnp.asarray(rows, jnp.int32))
        found.append(np.asarray(score(jax.random.fold_in(key, block), shadows.state, batch))[:, : int(weight.sum())])
    return np.concatenate(found, axis=1)


def surprise_of_run(run: Run, split: data.Split, rows: np.ndarray, key: jax.Array) -> np.ndarray:
    """The model's score of some rows of a split, (n,) f32, in blocks of one size."""
    assert run.model.score is not None
    score = jit(run.model.score)
    found = []
    for b in range(math.ceil(len(rows) / BLOCK)):
        taken = rows[b * BLOCK : (b + 1) * BLOCK]
        padded = np.resize(taken, BLOCK)
        weight = (np.arange(BLOCK) < len(taken)).astype(np.float32)
        batch = Batch(
            run.spec.encode(split.x[padded]), *map(jnp.asarray, (split.y[padded], weight, split.index[padded]))
        )
        found.append(np.asarray(score(jax.random.fold_in(key, b), run.state, batch))[: len(taken)])
    return np.concatenate(found)


def model_scores(
    run: Run | None, train: data.Split, unseen: data.Split, *, seed: int, limit: int
) -> dict[str, np.ndarray] | None:
    """The surprise of the rows that are attacked, as `privacy.evaluate` takes it; None without a model to ask."""
    if run is None or run.model.score is None:
        return None
    attacked = privacy.attacked_rows(len(train.x), len(unseen.x), seed=seed, limit=limit)
    key_members, key_others = jax.random.split(jax.random.key(seed))
    return {
        "members": surprise_of_run(run, train, attacked.members, key_members),
        "others": surprise_of_run(run, unseen, attacked.others, key_others),
    }


Keep = Callable[[str, Callable[[], dict[str, np.ndarray]]], dict[str, np.ndarray]]
"""Name and work to what the work returns, or returned before."""


def again(name: str, work: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Keeps nothing."""
    return work()


def attack(
    run: Run,
    train_split: data.Split,
    unseen: data.Split,
    *,
    models: int,
    seed: int,
    limit: int,
    keep: Keep = again,
) -> Shadows | None:
    """What shadow models of a run say of the rows that are attacked; None if its model has no score.

    Args:
        run: the attacked one; its experiment says how the shadows are trained.
        train_split: what it was trained on.
        unseen: real examples that it has not seen; the shadows learn from halves of both together.
        models: K.
        seed: decides the halves and the attacked rows.
        limit: as in `privacy.attacked_rows`.
        keep: of what each group says.

    Raises:
        InputError: fewer than 2 models, or as `train`.
    """
    if run.model.score is None:
        return None
    if models < 2:
        raise InputError(f"shadows={models}: at least 2, or 0 for none")
    experiment = runs.read(run.workdir)[0]
    config = experiment.model
    x, y = (np.concatenate(pair) for pair in ((train_split.x, unseen.x), (train_split.y, unseen.y)))
    attacked = privacy.attacked_rows(len(train_split.x), len(unseen.x), seed=seed, limit=limit)
    rows = np.concatenate([attacked.members, len(train_split.x) + attacked.others])
    # The same for all: scores of different models are compared.
    key_score = jax.random.fold_in(jax.random.key(seed), np.uint32(2**32 - 1))

    # Of members and others together: a model that keeps rows has room for as many.
    spec = dataclasses.replace(run.spec, rows=len(x))
    model = runs.build(experiment, spec)

    def judge(group: int, count: int) -> dict[str, np.ndarray]:
        sizes = {"models": count, "steps": config.steps, "batch_size": config.batch_size}
        shadows = train(model, spec, x, y, **sizes, seed=seed, group=group)
        scores = surprise(model, spec, shadows, x[rows], y[rows], key_score)
        return {"scores": scores, "trained_on": np.asarray(shadows.inside)[:, rows]}

    counts = map(len, np.array_split(np.arange(models), -(-models // AT_ONCE)))
    said = [keep(f"shadows-{group}", functools.partial(judge, group, count)) for group, count in enumerate(counts)]
    return Shadows(*(np.concatenate([one[name] for one in said]) for name in ("scores", "trained_on")))
