"""The tree over a table's columns that keeps most of their dependence (Chow & Liu 1968, IEEE Trans. Inf. Theory 14).

Of all trees, the one of largest total mutual information between columns that are joined; columns are states
(`nets.bins`), numeric ones in a few groups here.
"""

import jax
import jax.numpy as jnp

from synthjax.model import DataSpec
from synthjax.nets.bins import Layout, total

_TINY = 1e-30
_COARSE = 10  # groups that a numeric column is cut into
MOST = 30_000
"""States of all columns together that `tree` can be asked about: their pairs take 3.6 GB, some of it several times."""


def coarse_states(spec: DataSpec) -> int:
    """States of all columns together, as `tree` counts them."""
    return sum(Layout(spec, _COARSE).sizes)


def mutual_information(pairs: jax.Array, layout: Layout) -> jax.Array:
    """(W, W) counts of pairs of states -> (C, C) nats, less the bias (r - 1)(c - 1) / 2N of r x c states in use."""

    def blocks(a: jax.Array) -> jax.Array:
        sums = jax.ops.segment_sum(a, layout.flat[0], len(layout.sizes))
        return jax.ops.segment_sum(sums.T, layout.flat[0], len(layout.sizes)).T

    alone, rows = jnp.diagonal(pairs), jnp.maximum(blocks(pairs)[0, 0], 1e-9)
    expected = alone[:, None] * alone[None] / rows
    log_ratio = jnp.log(jnp.maximum(pairs, _TINY) / jnp.maximum(expected, _TINY))
    used = jax.ops.segment_sum((alone > 0).astype(pairs.dtype), layout.flat[0], len(layout.sizes)) - 1
    return blocks(jnp.where(pairs > 0, pairs * log_ratio, 0.0)) / rows - used[:, None] * used[None] / (2 * rows)


def spanning_tree(gain: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The spanning tree of largest total gain (C, C), grown from column 0 (Prim): order and parent as of `tree`."""
    count = len(gain)
    order = jnp.zeros(count, jnp.int32)
    inside = jnp.arange(count) == 0

    def grow(carry: tuple, n):
        order, inside, best, by = carry
        new = jnp.where(inside, -jnp.inf, best).argmax().astype(jnp.int32)
        parent = by[new]
        nearer = gain[new] > best
        carry = order.at[n].set(new), inside.at[new].set(True), jnp.where(nearer, gain[new], best), by
        return (*carry[:3], jnp.where(nearer, n, by)), parent

    start = (order, inside, gain[0], jnp.zeros(count, jnp.int32))
    grown, parent = jax.lax.scan(grow, start, jnp.arange(1, count, dtype=jnp.int32))
    return grown[0], jnp.pad(parent, (1, 0))


def above(order: jax.Array, parent: jax.Array) -> jax.Array:
    """(C,) the column that each column hangs on; for the root, one that hangs on it."""
    first = order[min(1, len(order) - 1)]
    return jnp.zeros_like(order).at[order].set(order[parent]).at[order[0]].set(first)


def coarse(layout: Layout, marginal: jax.Array, states: jax.Array) -> jax.Array:
    """States (B, C) with numeric columns in few groups of about equal numbers of rows; `marginal` as in `tree`."""
    share = layout.pad(marginal)
    middle = jnp.cumsum(share, axis=1) - share / 2
    numeric = jnp.asarray([0] * layout.labelled + [column.kind != "onehot" for column in layout.columns], bool)
    group = jnp.minimum(jnp.floor(_COARSE * middle), _COARSE - 1).astype(jnp.int32)
    grouped = jnp.take_along_axis(group, states.T, axis=1).T
    return jnp.where(numeric[None], jnp.where(states == layout.bins, _COARSE, grouped), states)


def tree(layout: Layout, marginal: jax.Array, states: jax.Array, weight: jax.Array, size: int):
    """The tree, grown from column 0.

    Args:
      layout: of the columns.
      marginal: (W,) share of each state in its column.
      states: (B, C) i32.
      weight: (B,).
      size: rows in memory at once.

    Returns:
      order (C,) i32, the column of each node, and parent (C,) i32, the earlier node that it hangs on; 0 for the root.
    """
    narrow = Layout(layout.spec, _COARSE)

    def count(part):
        onehot = narrow.onehot(coarse(layout, marginal, part[0]))
        return (onehot * part[1][:, None]).T @ onehot

    return spanning_tree(mutual_information(total(count, (states, weight), size), narrow))
