"""The network of one column in an autoregressive model of tables: two hidden layers, a residual connection, dropout.

Dropout has two forms. Hidden units are dropped by each network on its own. Columns are dropped for all networks of a
row, so that each learns to predict from fewer columns than there are: with few rows, this prevents overfitting more
than any other setting does (docs/notebook/tables.md).
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from synthjax.errors import InputError
from synthjax.nets import precision
from synthjax.nets.network import Network

_MANY = 1_000  # training rows a column from which columns are not dropped


def hidden_layers(columns: int, embedding: int, hidden: int, dropout: float) -> Network:
    """The default network of one column: two layers of `hidden` units with dropout and a residual connection.

    Args:
      columns: number of columns, C.
      embedding: size of their embeddings, E.
      hidden: number of units.
      dropout: rate, in [0, 1).

    Returns:
      A network (params, seen, before, key) -> (B, hidden), of the dtype of the current `nets.precision`. seen:
      (B, C, E) f32 embeddings. before: (C,) f32, 1 for columns before this one and 0 for others; it masks the weights,
      which are fewer than the inputs. key: of the dropout, None for none.
    """
    dtype = precision.current().compute

    def init(key):
        key_first, key_second = jax.random.split(key)
        first = jax.random.normal(key_first, (columns, embedding, hidden), jnp.float32)
        second = jax.random.normal(key_second, (hidden, hidden), jnp.float32)
        return {
            "first": first * (2 / (columns * embedding)) ** 0.5,
            "bias_first": jnp.zeros(hidden, jnp.float32),
            "second": second * (2 / hidden) ** 0.5,
            "bias_second": jnp.zeros(hidden, jnp.float32),
        }

    def apply(params, seen, before, key=None):
        return apply_layers(dropout, dtype, params, seen, before, key)[1]

    return Network(init, apply)


def apply_layers(dropout: float, dtype: Any, params: Any, seen: jax.Array, before: jax.Array, key: jax.Array | None):
    """Outputs of both layers of `hidden_layers`, (B, hidden) each; computed in `dtype`.

    Biases may be (hidden,) or (B, hidden).
    """
    params, seen, before = jax.tree.map(lambda a: a.astype(dtype), (params, seen, before))
    hidden = params["second"].shape[0]
    drop = jnp.ones((2, 1, 1), dtype)
    if key is not None:
        keep = jnp.float32(1 - dropout)
        drop = (jax.random.bernoulli(key, keep, (2, len(seen), hidden)) / keep).astype(dtype)
    first = (params["first"] * before[:, None, None]).reshape(-1, hidden)
    h = jax.nn.gelu(seen.reshape(len(seen), -1) @ first + jnp.atleast_2d(params["bias_first"])) * drop[0]
    return h, h + jax.nn.gelu(h @ params["second"] + jnp.atleast_2d(params["bias_second"])) * drop[1]


class Dropped(NamedTuple):
    """What is dropped from a batch in training."""

    keys: jax.Array
    """(C,) keys of the networks, for their hidden units."""
    columns: jax.Array
    """(B, C) f32 factors of the embeddings: 0 of a column that is dropped, else 1 / (1 - rate of the row)."""


def check_dropout(dropout: float | None, column_dropout: float | None) -> None:
    """Checks the rates of a Config; None stands for those of `rates`. InputError: one is out of range."""
    for name, rate, limit in (("dropout", dropout, 1), ("column_dropout", column_dropout, 0.5)):
        if rate is not None and not isinstance(rate, jax.core.Tracer) and not 0 <= rate < limit:
            raise InputError(f"model.{name}={rate}: must be at least 0 and below {limit}")


def drop(key: jax.Array, rate: Any, rows: int, columns: int) -> Dropped:
    """Draws which columns are dropped, and the keys of the networks.

    The rate of a row is uniform between 0 and twice `rate`, which is in [0, .5): rows of which little or nothing is
    dropped teach what follows exactly from another column.
    """
    key_rates, key_columns, key_networks = jax.random.split(key, 3)
    keep = 1 - 2 * jnp.float32(rate) * jax.random.uniform(key_rates, (rows, 1), jnp.float32)
    kept = jax.random.bernoulli(key_columns, keep, (rows, columns)) / keep
    return Dropped(jax.random.split(key_networks, columns), kept)


def rates(
    rows: int, columns: int, dropout: float | None = None, column_dropout: float | None = None
) -> tuple[float, float]:
    """Dropout rates of hidden units and of columns by the number of training rows a column, but those that are given.

    From 1,000 rows a column on they are .1 and 0; for 100 and fewer .3 and .25. With a `dropout` of 0, columns are not
    dropped either.

    >>> [tuple(round(rate, 2) for rate in rates(rows, columns=10)) for rows in (100, 1_000, 3_000, 10_000, 0)]
    [(0.3, 0.25), (0.3, 0.25), (0.2, 0.13), (0.1, 0.0), (0.1, 0.0)]
    >>> rates(1_000, columns=10, dropout=0.0)
    (0.0, 0.0)
    """
    few = min(max(math.log10(_MANY * columns / rows), 0.0), 1.0) if rows else 0.0
    if column_dropout is None:
        column_dropout = 0.0 if dropout == 0 else 0.25 * few
    return 0.1 + 0.2 * few if dropout is None else dropout, column_dropout
