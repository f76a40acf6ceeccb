r"""Columns drawn alone: the floor that every model of tables must beat.

    p(x) = prod_c p_c(x_c)

p_c are the frequencies of a categorical column, and of the bins of a numeric one (`nets.bins`): values that many rows
share come back exactly, others uniform between the edges of their bin. A row's dependence, label included, is gone.
There is one step: it fits everything, and further steps change nothing.

    model = build(Config(), spec)
    state, metrics = model.step(key, 0, model.init(key, batch), batch)
    x = model.sample(key, state, labels)
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from synthjax.model import Batch, DataSpec, Model
from synthjax.nets.bins import Bins, Layout, check, choose_alike, empty, fit
from synthjax.train import optim


@dataclass(frozen=True)
class Config:
    """How columns are cut."""

    bins: int = 256
    """Most bins of a numeric column."""
    batch_size: int = 1
    """Unused: the step sees the whole training set."""
    steps: int = 1


PRESETS = {"independent": Config()}


class State(NamedTuple):
    """What was fitted."""

    bins: Bins
    counts: jax.Array
    """(W,) rows in each state of each column."""


def build(config: Config, spec: DataSpec, grad: optim.Grad = optim.mean_grad) -> Model:
    """The product of a table's columns. Nothing is trained by gradients: `grad` is not called.

    Raises:
      InputError: the data is no table, or a field of the Config is out of range.
    """
    check("independent", spec, config.bins)
    layout = Layout(spec, config.bins)

    def init(key, batch: Batch) -> State:
        return State(empty(layout), jnp.ones(sum(layout.sizes)))

    def log_p(state: State) -> jax.Array:
        """(W,) log frequencies, of states never seen as if of half a row."""
        rows = state.counts[layout.flat[0] == 0].sum()
        return jnp.log(jnp.maximum(state.counts, 0.5) / rows)

    def step(key, i, state: State, batch: Batch):
        bins = fit(layout, batch.x, batch.weight)
        places = layout.places(layout.states(bins, batch.x, batch.y))
        share = (batch.weight / jnp.maximum(batch.weight.sum(), 1e-9))[:, None]
        counts = jnp.zeros(sum(layout.sizes)).at[places].add(share * (batch.weight > 0).sum())
        state = State(bins, counts)
        return state, {"loss": -(share * log_p(state)[places]).sum()}

    def sample(key, state: State, labels):
        key_state, key_value = jax.random.split(key)
        cdf = jnp.cumsum(layout.pad(state.counts), axis=-1)
        return layout.decode(state.bins, key_value, choose_alike(key_state, cdf, len(labels)))

    def score(key, state: State, batch: Batch):
        """-log p of the states, nats."""
        return -log_p(state)[layout.places(layout.states(state.bins, batch.x, batch.y))].sum(axis=1)

    return Model(init, step, sample, score, conditional=False, minibatches=None)
