"""The Chow-Liu tree of a table: the tree-structured distribution closest to the data in Kullback-Leibler divergence.

It is the spanning tree over the columns with the largest total mutual information between adjacent columns (Chow & Liu
1968, IEEE Trans. Inf. Theory 14). Columns are discrete states (`nets.bins`); here numeric columns are reduced to a few
quantile groups.

    order, parent = tree(layout, marginal, states, weight, size=4096)

    >>> import jax.numpy as jnp
    >>> order, parent = spanning_tree(jnp.array([[0.0, 0.1, 0.9], [0.1, 0.0, 0.5], [0.9, 0.5, 0.0]]))
    >>> order.tolist(), parent.tolist()  # column 2 is a child of column 0, column 1 of column 2
    ([0, 2, 1], [0, 0, 1])
    >>> above(order, parent).tolist()
    [2, 2, 0]
"""

import math

import jax
import jax.numpy as jnp

from synthjax.model import DataSpec
from synthjax.nets.bins import Layout
from synthjax.nets.chunks import total

_TINY = 1e-30
_COARSE = 10  # most groups of a numeric column
_LEAST = 3  # fewest
_CELL = 4  # rows that a pair of groups has on average, at least
MOST = 30_000
"""Maximum total number of states for `tree`. One table of pair counts then takes 3.6 GB; several are in memory."""


def groups(spec: DataSpec) -> int:
    """Number of quantile groups of a numeric column.

    With few rows in each pair of groups, the error of the mutual information would be larger than itself.
    """
    if not spec.rows:
        return _COARSE
    return min(max(math.isqrt(spec.rows // _CELL), _LEAST), _COARSE)


def coarse_states(spec: DataSpec) -> int:
    """Total number of states of all columns after `coarse`; to be compared with `MOST`."""
    return sum(Layout(spec, groups(spec), full=True).sizes)


def mutual_information(pairs: jax.Array, layout: Layout) -> jax.Array:
    """Mutual information between all pairs of columns, corrected for bias.

    The bias of the plug-in estimate from N rows is about (r - 1)(c - 1) / 2N for columns with r and c states in use.

    Args:
      pairs: (W, W) f32 number of rows with each pair of states.
      layout: of the columns.

    Returns:
      (C, C) f32, nats.
    """

    def sum_blocks(a: jax.Array) -> jax.Array:
        sums = jax.ops.segment_sum(a, layout.flat[0], len(layout.sizes))
        return jax.ops.segment_sum(sums.T, layout.flat[0], len(layout.sizes)).T

    counts, rows = jnp.diagonal(pairs), jnp.maximum(sum_blocks(pairs)[0, 0], 1e-9)
    expected = counts[:, None] * counts[None] / rows
    log_ratio = jnp.log(jnp.maximum(pairs, _TINY) / jnp.maximum(expected, _TINY))
    freedom = jax.ops.segment_sum((counts > 0).astype(pairs.dtype), layout.flat[0], len(layout.sizes)) - 1
    information = sum_blocks(jnp.where(pairs > 0, pairs * log_ratio, 0.0)) / rows
    return information - freedom[:, None] * freedom[None] / (2 * rows)


def spanning_tree(gain: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The spanning tree with the largest total gain, by Prim's algorithm from column 0.

    Args:
      gain: (C, C) f32, symmetric; the diagonal is ignored.

    Returns:
      order and parent as `tree` returns them.
    """
    count = len(gain)
    order = jnp.zeros(count, jnp.int32)
    inside = jnp.arange(count) == 0

    # Per column: best, the largest gain of an edge to the tree, and nearest, the node at the other end of that edge.
    def add_node(carry: tuple, n):
        order, inside, best, nearest = carry
        new = jnp.where(inside, -jnp.inf, best).argmax().astype(jnp.int32)
        parent = nearest[new]
        nearer = gain[new] > best
        carry = order.at[n].set(new), inside.at[new].set(True), jnp.where(nearer, gain[new], best), nearest
        return (*carry[:3], jnp.where(nearer, n, nearest)), parent

    start = (order, inside, gain[0], jnp.zeros(count, jnp.int32))
    end, parent = jax.lax.scan(add_node, start, jnp.arange(1, count, dtype=jnp.int32))
    return end[0], jnp.pad(parent, (1, 0))


def above(order: jax.Array, parent: jax.Array) -> jax.Array:
    """The parent column of each column, (C,) i32; for the root, its first child. Arguments as `tree` returns them."""
    first = order[min(1, len(order) - 1)]
    return jnp.zeros_like(order).at[order].set(order[parent]).at[order[0]].set(first)


def coarse(layout: Layout, marginal: jax.Array, states: jax.Array) -> jax.Array:
    """Reduces numeric columns to quantile groups of about equal numbers of rows.

    Args:
      layout: of the columns.
      marginal: (W,) f32 frequency of each state in its column.
      states: (B, C) i32.

    Returns:
      (B, C) i32 states of the layout with `groups` bins; categorical states are unchanged.
    """
    share = layout.pad(marginal)
    middle = jnp.cumsum(share, axis=1) - share / 2  # quantile at the middle of each state
    numeric = jnp.zeros(len(layout.sizes), bool).at[layout.numeric_indices].set(True)
    most = groups(layout.spec)
    group = jnp.minimum(jnp.floor(most * middle), most - 1).astype(jnp.int32)
    grouped = jnp.take_along_axis(group, states.T, axis=1).T
    return jnp.where(numeric[None], jnp.where(states == layout.bins, most, grouped), states)


def tree(layout: Layout, marginal: jax.Array, states: jax.Array, weight: jax.Array, size: int):
    """The Chow-Liu tree, rooted at column 0.

    Args:
      layout: of the columns.
      marginal: (W,) f32 frequency of each state in its column.
      states: (B, C) i32.
      weight: (B,) f32 weight of each row.
      size: number of rows whose pairs are counted at once.

    Returns:
      order: (C,) i32, the column of each node.
      parent: (C,) i32, the index in `order` of each node's parent, which precedes it; 0 for the root.
    """
    narrow = Layout(layout.spec, groups(layout.spec), full=True)

    def count(chunk):
        onehot = narrow.onehot(coarse(layout, marginal, chunk[0]))
        return (onehot * chunk[1][:, None]).T @ onehot

    return spanning_tree(mutual_information(total(count, (states, weight), size), narrow))
