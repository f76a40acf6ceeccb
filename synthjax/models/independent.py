r"""Independent columns: the baseline that every model of tables must exceed.

    p(x) = prod_c p_c(x_c)

p_c are the frequencies of the states of column c (`nets.bins`): its categories, or the bins of a numeric column. Values
that many rows share are drawn exactly, others uniformly between the edges of their bin. All dependence between columns,
including the label, is lost. A state without rows counts as half a row. The model is fitted in step 0; further steps
change nothing.

**Formal guarantees.** The only thing that the state and the metrics know of the rows is one call of `count`, with the
numbers of rows in each state of each column. One row of weight 1 adds 1 to one state of each of the C columns: L2
sensitivity sqrt(C). `releases` lists it. Rows of other weights are scaled to a mean weight of 1, and are not covered.

    model = build(Config(), spec)
    state, metrics = model.step(key, 0, model.init(key), batch)             # batch: the whole training set
    x = model.sample(key, state, labels)

    >>> key, y = jax.random.key(0), jnp.zeros(40, jnp.int32)
    >>> x = jnp.tile(jnp.array([[0.0], [1.0], [1.0], [1.0]]), (10, 1))
    >>> model = build(Config(), DataSpec.from_arrays(jax.device_get(x)))
    >>> batch = Batch(x, y, jnp.ones(40), jnp.arange(40))
    >>> state, _ = model.step(key, 0, model.init(key), batch)
    >>> jnp.exp(model.log_prob(key, state, batch)).round(2)[:2].tolist()
    [0.25, 0.75]
    >>> model.sample(key, state, y).shape
    (40, 1)
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from synthjax.model import Batch, DataSpec, Model
from synthjax.nets.bins import Layout, check, check_counts, choose_alike
from synthjax.nets.chunks import total
from synthjax.train import optim

_ROWS = 4096  # number of rows that are counted at once


@dataclass(frozen=True)
class Config:
    """The discretisation of numeric columns."""

    bins: int = 256
    """Maximum number of bins of a numeric column."""
    batch_size: int = 1
    """Unused: a step takes the whole training set."""
    steps: int = 1
    """Number of training steps; one is enough."""

    def __post_init__(self):
        check_counts(self)


PRESETS = {"independent": Config()}


class State(NamedTuple):
    """The fitted counts."""

    counts: jax.Array
    """(W,) f32 number of rows in each state of each column; 0 before the first step."""


def releases(config: Config, spec: DataSpec) -> list[tuple[str, str, float, float, int]]:
    """The calls of `count` in a training: (name, mechanism, noise, sampling rate, number of times) each.

    The noise is 1 / sqrt(share): its standard deviation over the L2 sensitivity, for a noise multiplier of 1.
    """
    return [("counts of single columns", "discrete gaussian", 1.0, 1.0, 1)]


def build(
    config: Config, spec: DataSpec, grad: optim.Grad = optim.mean_grad, count: optim.Count = optim.exact_count
) -> Model:
    """A model of independent columns, fitted to counts. It is not trained by gradients, so `grad` is not used.

    Raises:
      InputError: the data is not a table, or its spec has no statistics.
    """
    check("independent", spec)
    layout = Layout(spec, config.bins)
    columns = len(layout.sizes)

    def init(key) -> State:
        return State(jnp.zeros(sum(layout.sizes), jnp.float32))

    def probability(state: State) -> jax.Array:
        """(W,) f32 probability of each state of each column."""
        return layout.normalise(jnp.where(layout.possible, jnp.maximum(state.counts, 0.5), 0.0))

    def count_rows(key, batch: Batch) -> State:
        def count_chunk(chunk: Batch) -> jax.Array:
            index = layout.flat_index(layout.states(chunk.x, chunk.y))
            return jnp.zeros(sum(layout.sizes), jnp.float32).at[index].add(chunk.weight[:, None])

        mean = batch.weight.sum() / jnp.maximum((batch.weight > 0).sum(), 1)
        weight = batch.weight / jnp.maximum(mean, 1e-9)
        counts = total(count_chunk, batch._replace(weight=weight), _ROWS)
        return State(count(key, counts, math.sqrt(columns)))

    def step(key, i, state: State, batch: Batch):
        # Stays a branch under `vmap` over seeds, since i is not batched.
        state = jax.lax.cond(i == 0, lambda: count_rows(key, batch), lambda: state)
        fit = -(state.counts * jnp.log(jnp.maximum(probability(state), 1e-30))).sum()
        return state, {"loss": fit * columns / jnp.maximum(state.counts.sum(), 1)}

    def sample(key, state: State, labels):
        key_state, key_value = jax.random.split(key)
        cdf = jnp.cumsum(layout.pad(probability(state)), axis=-1)
        return layout.decode(key_value, choose_alike(key_state, cdf, len(labels)))

    def log_prob(key, state: State, batch: Batch):
        """log p(x, y) of the states: (B,) f32, nats."""
        index = layout.flat_index(layout.states(batch.x, batch.y))
        return jnp.log(jnp.maximum(probability(state), 1e-30))[index].sum(axis=1)

    def score(key, state: State, batch: Batch):
        return -log_prob(key, state, batch)

    return Model(init, step, sample, score, log_prob, "exact", "bins", conditional=False, feed="dataset")
