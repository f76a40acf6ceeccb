"""A toy model whose training can be followed by hand, and the loop around it."""

import jax
import jax.numpy as jnp
import numpy as np

from synthjax.data.feed import Feed
from synthjax.model import DataSpec, Model
from synthjax.train import loop
from synthjax.train.checkpoint import Checkpoints

COUNT = 40
X = np.random.default_rng(0).integers(0, 17, (COUNT, 2, 2, 1)).astype(np.uint8)
Y = (np.arange(COUNT) % 2).astype(np.int32)
SPEC = DataSpec.from_arrays(X, Y, levels=17)
KEY = jax.random.key(3)


def several(n_batches):
    """The fields of a feed, and of a model, of so many batches a step; None: of the whole set."""
    if n_batches is None:
        return {"kind": "dataset"}
    return {"kind": "batch"} if n_batches == 1 else {"kind": "batches", "n_batches": n_batches}


def toy(n_batches=1, bad_step=None) -> Model:
    """Averages what it sees, adds a little noise, and remembers the step and the first row it saw last."""

    def init(key):
        return {"mean": jax.random.normal(key, ()), "step": jnp.int32(-1), "row": jnp.int32(-1)}

    def step(key, i, state, batch):
        seen = batch.x.mean()
        mean = 0.9 * state["mean"] + 0.1 * seen + 0.01 * jax.random.normal(key, ())
        metrics = {"loss": seen, "i": jnp.float32(i), "count": jnp.float32(batch.y.size)}
        if bad_step is not None:
            metrics["poison"] = jnp.where(i == bad_step, jnp.nan, 0.0)
        return {"mean": mean, "step": jnp.int32(i), "row": batch.index.ravel()[0]}, metrics

    kind, count = several(n_batches)["kind"], n_batches or 1
    sample = lambda key, state, labels: jnp.zeros((len(labels), 2, 2, 1))  # noqa: E731
    return Model(init, step, sample, feed=kind, n_batches=count)


def trainer(model=None, n_batches=1, feed=None, **fields) -> loop.Trainer:
    feed = feed or Feed(X, Y, fields.pop("batch_size", 8), **several(n_batches), multiple=4)
    fields.setdefault("devices", jax.devices()[:1])
    return loop.Trainer(model or toy(n_batches), feed, SPEC, **fields)


class Run:
    """One call of `train` and what it told."""

    def __init__(self, toy_trainer, folder, key=KEY, show=None, judge=None, **plan):
        self.said, self.logged = [], []
        self.checkpoints = Checkpoints(folder, say=self.said.append)
        self.begin = lambda: loop.train(
            toy_trainer,
            loop.Plan(**plan),
            key,
            self.checkpoints,
            {"name": "toy"},
            loop.Hooks(
                log=lambda step, metrics: self.logged.append((step, metrics)),
                show=show,
                score=judge,
                say=self.said.append,
            ),
        )

    def __call__(self):
        self.step, self.state = self.begin()
        return self


def by_hand(steps, seed_key=KEY):
    """The toy's training as a Python loop."""
    model, feed = toy(), trainer().feed

    def encoded(step):
        batch = feed.batch(step)
        return batch._replace(x=SPEC.encode(batch.x))

    state, losses = model.init(jax.random.fold_in(seed_key, np.uint32(2**32 - 1))), []
    for i in range(steps):
        state, metrics = model.step(jax.random.fold_in(seed_key, i), i, state, encoded(i))
        losses.append(float(metrics["loss"]))
    return state, losses


def assert_same_bits(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)
