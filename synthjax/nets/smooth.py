r"""Counts that neighbouring values share: the numeric columns of `nets.bins`, for models fitted by EM.

A component of few rows has each value of a wide column once or twice, and so learns rows by heart. Neighbours are much
alike, but not equally common (round numbers, full-time hours): what is averaged over them is the ratio of counts N to
the share m of all rows (Nadaraya & Watson 1964), so that the column keeps its shape,

    (S N)(s) = m(s) sum_t kappa(s, t) N(t) / sum_t kappa(s, t) m(t),      kappa(s, t) = exp(-|u(s) - u(t)| / bandwidth)

where u(s) is the share of rows below s and half of those at s, so that the bandwidth is a share of the rows, and a
missing value has no neighbour. S before each M step makes EM the EMS of Silverman, Jones, Wilson & Nychka (1990, J. R.
Stat. Soc. B 52). Not every column is smooth (a tax relief of exactly 15,024 tells the income, its neighbours do not):
`helps` asks the rows.
"""

import jax
import jax.numpy as jnp
import numpy as np

from synthjax.nets.bins import Layout

_TINY = 1e-30


def columns(layout: Layout) -> np.ndarray:
    """(N,) places of the numeric columns among the C."""
    numeric = [column.kind != "onehot" for column in layout.columns]
    return np.flatnonzero([False] * layout.labelled + numeric)


def _kernel(layout: Layout, marginal: jax.Array, bandwidth: float) -> tuple[np.ndarray, jax.Array, jax.Array]:
    """Places (N, S) in the flat vector, W where there is none; the share m there (N, S); kappa (N, S, S)."""
    places = layout.padded[columns(layout)][:, : layout.bins + 1]
    share = jnp.pad(marginal, (0, 1))[places]
    middle = jnp.cumsum(share, axis=1) - share / 2
    near = jnp.exp(-jnp.abs(middle[:, :, None] - middle[:, None]) / bandwidth)
    missing = np.arange(places.shape[1]) == layout.bins
    return places, share, jnp.where((missing[:, None] == missing[None])[None], near, 0.0)


def _own(share: jax.Array, kernel: jax.Array) -> jax.Array:
    """(N, S) what S makes of a row's own count, at its own state."""
    return share / jnp.maximum((kernel @ share[..., None])[..., 0], _TINY)


def _apply(share: jax.Array, kernel: jax.Array, counts: jax.Array) -> jax.Array:
    """S of counts (N, S, K)."""
    return _own(share, kernel)[..., None] * (kernel @ counts)


def smooth(layout: Layout, marginal: jax.Array, bandwidth: float, which: jax.Array, counts: jax.Array) -> jax.Array:
    """Counts of states with those of the smooth columns shared among neighbours.

    Args:
      layout: of the columns.
      marginal: (W,) share of each state in its column.
      bandwidth: above 0, a share of the rows.
      which: (N,) bool, of the numeric columns.
      counts: (W, K) >= 0.

    Returns:
      (W, K).
    """
    places, share, kernel = _kernel(layout, marginal, bandwidth)
    own = jnp.pad(counts, ((0, 1), (0, 0)))[places]
    new = jnp.where(which[:, None, None], _apply(share, kernel, own), own)
    return counts.at[places].set(new, mode="drop")


def helps(
    layout: Layout, marginal: jax.Array, bandwidth: float, states: jax.Array, context: jax.Array, weight: jax.Array
) -> jax.Array:
    """Whether sharing foretells a left-out row's value better than counts alone: p(value | context), one row as prior.

    Args:
      layout: of the columns.
      marginal: (W,) share of each state in its column.
      bandwidth: above 0, a share of the rows.
      states: (B, C) i32.
      context: (B, C) i32, a state of another column for each one, below the number of the widest column's states.
      weight: (B,).

    Returns:
      (N,) bool.
    """
    numeric = columns(layout)
    if not len(numeric):
        return jnp.zeros(0, bool)
    places, share, kernel = _kernel(layout, marginal, bandwidth)
    empty = jnp.zeros((places.shape[1], max(layout.sizes)), jnp.float32)
    counts = jax.vmap(lambda s, c: empty.at[s, c].add(weight), (1, 1))(states[:, numeric], context[:, numeric])

    def likelihood(counted: jax.Array, alone: jax.Array) -> jax.Array:
        others = jnp.maximum(counted - alone[..., None], 0.0) + share[..., None]
        p = others / jnp.maximum(counted.sum(axis=1, keepdims=True), 1.0)  # less the row itself, plus the prior's one
        return (counts * jnp.log(jnp.maximum(p, _TINY))).sum(axis=(1, 2))

    shared = likelihood(_apply(share, kernel, counts), _own(share, kernel))
    return shared > likelihood(counts, jnp.ones_like(share))
