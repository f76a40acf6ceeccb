r"""Independently drawn columns: the floor that every model of tables must beat.

    p(x) = prod_c p_c(x_c)

p_c are the frequencies of a categorical column, and of the bins of a numeric one (`nets.bins`): values that many rows
share come back exactly, others uniform between the edges of their bin. A row's dependence, label included, is gone. A
state without a row counts half a row. There is one step: it counts everything, and further steps change nothing.

    model = build(Config(), spec)
    state, metrics = model.step(key, 0, model.init(key), batch)             # batch: the whole training set
    x = model.sample(key, state, labels)
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from synthjax.model import Batch, DataSpec, Model
from synthjax.nets.bins import Layout, check, check_counts, choose_alike, total
from synthjax.train import optim

_ROWS = 4096  # counted at once


@dataclass(frozen=True)
class Config:
    """How columns are cut."""

    bins: int = 256
    """Most bins of a numeric column."""
    batch_size: int = 1
    """Unused: the step sees the whole training set."""
    steps: int = 1

    def __post_init__(self):
        check_counts(self)


PRESETS = {"independent": Config()}


class State(NamedTuple):
    """What was fitted."""

    counts: jax.Array
    """(W,) rows in each state of each column; 0 before the first step."""


def build(config: Config, spec: DataSpec, grad: optim.Grad = optim.mean_grad) -> Model:
    """The product of a table's columns. Nothing is trained by gradients: `grad` is not called.

    Raises:
      InputError: the data is no table, or its spec has no statistics.
    """
    check("independent", spec)
    layout = Layout(spec, config.bins)

    def init(key) -> State:
        return State(jnp.zeros(sum(layout.sizes), jnp.float32))

    def probability(state: State) -> jax.Array:
        """(W,), summing to 1 over the states of each column."""
        return layout.normalise(jnp.where(layout.possible, jnp.maximum(state.counts, 0.5), 0.0))

    def step(key, i, state: State, batch: Batch):
        def count(part: Batch) -> jax.Array:
            places = layout.places(layout.states(part.x, part.y))
            return jnp.zeros(sum(layout.sizes), jnp.float32).at[places].add(part.weight[:, None])

        share = batch.weight / jnp.maximum(batch.weight.sum(), 1e-9)
        rows = (batch.weight > 0).sum(dtype=jnp.float32)
        state = State(total(count, batch._replace(weight=share * rows), _ROWS))
        return state, {
            "loss": -(state.counts * jnp.log(jnp.maximum(probability(state), 1e-30))).sum() / jnp.maximum(rows, 1)
        }

    def sample(key, state: State, labels):
        key_state, key_value = jax.random.split(key)
        cdf = jnp.cumsum(layout.pad(probability(state)), axis=-1)
        return layout.decode(key_value, choose_alike(key_state, cdf, len(labels)))

    def log_prob(key, state: State, batch: Batch):
        """log p(x, y) of the states, nats."""
        places = layout.places(layout.states(batch.x, batch.y))
        return jnp.log(jnp.maximum(probability(state), 1e-30))[places].sum(axis=1)

    def score(key, state: State, batch: Batch):
        return -log_prob(key, state, batch)

    return Model(init, step, sample, score, log_prob, "exact", "bins", conditional=False, feed="dataset")
