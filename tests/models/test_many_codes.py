"""What a column of codes decides is kept, of more codes than a number may have bins."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from synthjax.model import Batch, Column, DataSpec
from synthjax.models import mixture, table_ar

CODES, ROWS = 60, 1200
MODELS = {
    "mixture": (mixture, mixture.Config(components=8, bins=16, steps=10, bandwidth=0.0)),
    "table_ar": (
        table_ar,
        table_ar.Config(
            bins=16, fine=2, batch_size=64, steps=200, learning_rate=1e-2, warmup=10, ema_decay=0.9, dropout=0.0
        ),
    ),
}


def planted():
    """A code, and one of five groups and of five numbers that it alone decides; neighbouring codes differ."""
    rng = np.random.default_rng(0)
    of_code = rng.integers(0, 5, CODES)
    code = rng.permutation(np.arange(ROWS) % CODES)
    x = np.column_stack([code, np.eye(5)[of_code[code]], 10.0 * of_code[code]]).astype(np.float32)
    columns = (
        Column("code", "code", 0, 1, codes=CODES),
        Column("group", "onehot", 1, 5),
        Column("v", "continuous", 6, 1),
    )
    return x, of_code, DataSpec("table", (7,), 0, columns=columns).measured(x)


@pytest.mark.parametrize("name", MODELS)
def test_what_a_code_decides_is_kept(name):
    x, of_code, spec = planted()
    family, config = MODELS[name]
    model = family.build(config, spec)
    state, step, rng = model.init(jax.random.key(0)), jax.jit(model.step), np.random.default_rng(1)
    for i in range(config.steps):
        index = np.arange(ROWS) if model.feed == "dataset" else rng.integers(0, ROWS, config.batch_size)
        batch = Batch(jnp.asarray(x[index]), jnp.zeros(len(index), jnp.int32), jnp.ones(len(index)), jnp.asarray(index))
        state, _ = step(jax.random.key(i), i, state, batch)
    made = np.asarray(model.sample(jax.random.key(2), state, jnp.zeros(2000, jnp.int32)))
    code, group = made[:, 0].astype(int), made[:, 1:6].argmax(axis=1)
    assert len(np.unique(code)) > 0.9 * CODES
    assert (of_code[code] == group).mean() > 0.8 and (10 * group == made[:, 6]).mean() > 0.8  # a fifth by chance
