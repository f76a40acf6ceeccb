"""A hand-made table of every kind of column whose dependences are known, for the tests of all models of tables.

height, weight   Gaussian copula: correlation 0.8
colour, shape    shape is colour plus one, modulo 3: one of nine cells is possible for each colour
savings          missing in half of the rows of class "no", in a tenth of those of "yes"; 0.3 over all
town             code = colour + 3 label
churned          the target: "yes" more often where height is large
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from synthjax.model import Batch, Column, DataSpec, Model

CORRELATION = 0.8
MISSING = {0: 0.5, 1: 0.1}
COLUMNS = (
    Column("height", "continuous", 0, 1),
    Column("colour", "onehot", 1, 3),
    Column("weight", "continuous", 4, 1),
    Column("town", "code", 5, 1, codes=6),
    Column("churned", "onehot", 6, 2, target=True),
    Column("shape", "onehot", 8, 3),
    Column("savings", "continuous", 11, 2, missing=12),
)


@functools.cache
def rows(count: int = 4000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """x (count, 13) f32 and labels (count,) i32."""
    rng = np.random.default_rng(seed)
    height = rng.normal(size=count)
    weight = CORRELATION * height + np.sqrt(1 - CORRELATION**2) * rng.normal(size=count)
    y = (height + 0.5 * rng.normal(size=count) > 0).astype(np.int32)
    colour = rng.integers(0, 3, count)
    missing = rng.random(count) < np.array([MISSING[0], MISSING[1]])[y]
    onehot = np.eye(3)[colour], np.eye(2)[y], np.eye(3)[(colour + 1) % 3]
    x = np.zeros((count, 13), np.float32)
    x[:, 0], x[:, 4], x[:, 5] = height, 50 + 7 * weight, colour + 3 * y
    x[:, 1:4], x[:, 6:8], x[:, 8:11] = onehot
    x[:, 11], x[:, 12] = np.where(missing, 0, 2 + rng.normal(size=count)), missing
    return x, y


SPEC = DataSpec("table", (13,), 0, ("no", "yes"), (0.5, 0.5), COLUMNS).measured(rows()[0])


def batch(count: int = 8) -> Batch:
    """The first rows."""
    x, y = rows()
    return Batch(jnp.asarray(x[:count]), jnp.asarray(y[:count]), jnp.ones(count), jnp.arange(count))


def train(model: Model, batch_size: int, steps: int):
    """The state after some steps on rows drawn with replacement, and the metrics, (steps,) each."""
    x, y = (jnp.asarray(a) for a in rows())
    shape = (model.n_batches, batch_size) if model.feed == "batches" else (batch_size,)

    def draw(key) -> Batch:
        index = jax.random.randint(key, shape, 0, len(x))
        return Batch(x[index], y[index], jnp.ones(shape), index)

    def body(state, i):
        key_batch, key_step = jax.random.split(jax.random.fold_in(jax.random.key(1), i))
        return model.step(key_step, i, state, draw(key_batch))

    @jax.jit
    def run(key):
        return jax.lax.scan(body, model.init(key), jnp.arange(steps))

    return run(jax.random.key(0))


def assert_exact(x: np.ndarray, labels: np.ndarray | None = None) -> None:
    """Rows have the form that `Batch.x` promises, and the labels if any are given."""
    assert x.dtype == np.float32 and np.isfinite(x).all()
    for start, size in ((1, 3), (6, 2), (8, 3)):
        block = x[:, start : start + size]
        assert set(np.unique(block)) <= {0, 1} and (block.sum(axis=1) == 1).all()
    assert set(np.unique(x[:, 5])) <= set(range(6))
    assert set(np.unique(x[:, 12])) <= {0, 1} and (x[x[:, 12] == 1, 11] == 0).all()
    if labels is not None:
        assert (x[:, 6:8].argmax(axis=1) == labels).all()


def dependences(x: np.ndarray) -> dict[str, float]:
    """What the table's docstring says of it, measured."""
    colour, y = x[:, 1:4].argmax(1), x[:, 6:8].argmax(1)
    yes = y == 1
    return {
        "correlation": np.corrcoef(x[:, 0], x[:, 4])[0, 1],
        "shape": (x[:, 8:11].argmax(1) == (colour + 1) % 3).mean(),
        "town": (x[:, 5] == colour + 3 * y).mean(),
        "missing no": x[~yes, 12].mean(),
        "missing yes": x[yes, 12].mean(),
        "height": x[yes, 0].mean() - x[~yes, 0].mean(),
        "weight": x[:, 4].mean(),
        "weight's deviation": x[:, 4].std(),
        "savings": x[x[:, 12] == 0, 11].mean(),
        "red": (colour == 0).mean(),
    }
