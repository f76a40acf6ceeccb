"""The network of one column in an autoregressive model of tables: two hidden layers, a residual connection, dropout."""

from typing import Any

import jax
import jax.numpy as jnp

from synthjax.nets.network import Network


def hidden_layers(columns: int, embedding: int, hidden: int, dropout: float) -> Network:
    """The default network of one column: two layers of `hidden` units with dropout and a residual connection.

    Args:
      columns: number of columns, C.
      embedding: size of their embeddings, E.
      hidden: number of units.
      dropout: rate, in [0, 1).

    Returns:
      A network (params, seen, before, key) -> (B, hidden) f32. seen: (B, C, E) f32 embeddings. before: (C,) f32, 1 for
      columns before this one and 0 for others; it masks the weights, which are fewer than the inputs. key: of the
      dropout, None for none.
    """

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
        return apply_layers(dropout, params, seen, before, key)[1]

    return Network(init, apply)


def apply_layers(dropout: float, params: Any, seen: jax.Array, before: jax.Array, key: jax.Array | None):
    """Outputs of both layers of `hidden_layers`, (B, hidden) each. Biases may be (hidden,) or (B, hidden)."""
    hidden = params["second"].shape[0]
    drop = jnp.ones((2, 1, 1), jnp.float32)
    if key is not None:
        keep = jnp.float32(1 - dropout)
        drop = jax.random.bernoulli(key, keep, (2, len(seen), hidden)) / keep
    first = (params["first"] * before[:, None, None]).reshape(-1, hidden)
    h = jax.nn.gelu(seen.reshape(len(seen), -1) @ first + jnp.atleast_2d(params["bias_first"])) * drop[0]
    return h, h + jax.nn.gelu(h @ params["second"] + jnp.atleast_2d(params["bias_second"])) * drop[1]
