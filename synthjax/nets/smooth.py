r"""Kernel smoothing of the counts of numeric columns (`nets.bins`), for models fitted by EM.

A mixture component with few rows sees each value of a column with many values once or twice, and so memorises rows.
Neighbouring values behave alike but are not equally frequent (round numbers, full-time hours). So the smoother does not
average the counts N but the ratio of N to the frequency m among all rows (Nadaraya & Watson 1964), which preserves the
shape of the column's distribution:

    (S N)(s) = m(s) sum_t kappa(s, t) N(t) / sum_t kappa(s, t) m(t),      kappa(s, t) = exp(-|u(s) - u(t)| / bandwidth)

Here u(s) is the share of rows below s plus half the share at s, so the bandwidth is a share of the rows. A missing
value has no neighbours. With S before each M step, EM becomes the EMS algorithm of Silverman, Jones, Wilson & Nychka
(1990, J. R. Stat. Soc. B 52). Some columns are not smooth: a tax relief of exactly 15,024 predicts the income, and its
neighbours do not. `helps` tests this on the rows.
"""

import jax
import jax.numpy as jnp
import numpy as np

from synthjax.nets.bins import Layout

_TINY = 1e-30


def columns(layout: Layout) -> np.ndarray:
    """(N,) indices of the numeric columns among the C columns of a layout."""
    return layout.numeric_indices


def _kernel(layout: Layout, marginal: jax.Array, bandwidth: float) -> tuple[np.ndarray, jax.Array, jax.Array]:
    """The smoothing kernel of the N numeric columns with S states each.

    Returns:
      index: (N, S) position of each state in the flat vector, W where a column has fewer states.
      share: (N, S) f32, m.
      kernel: (N, S, S) f32, kappa.
    """
    index = layout.padded[columns(layout)][:, : layout.bins + 1]
    share = jnp.pad(marginal, (0, 1))[index]
    middle = jnp.cumsum(share, axis=1) - share / 2
    kernel = jnp.exp(-jnp.abs(middle[:, :, None] - middle[:, None]) / bandwidth)
    missing = np.arange(index.shape[1]) == layout.bins
    return index, share, jnp.where((missing[:, None] == missing[None])[None], kernel, 0.0)


def _diagonal(share: jax.Array, kernel: jax.Array) -> jax.Array:
    """(N, S) diagonal of S: how much a row adds to the smoothed count of its own state."""
    return share / jnp.maximum((kernel @ share[..., None])[..., 0], _TINY)


def _apply(share: jax.Array, kernel: jax.Array, counts: jax.Array) -> jax.Array:
    """Applies the smoother to counts (N, S, K)."""
    return _diagonal(share, kernel)[..., None] * (kernel @ counts)


def smooth(layout: Layout, marginal: jax.Array, bandwidth: float, which: jax.Array, counts: jax.Array) -> jax.Array:
    """Smooths the counts of selected numeric columns.

    Args:
      layout: of the columns.
      marginal: (W,) f32 frequency of each state in its column.
      bandwidth: above 0, as a share of the rows.
      which: (N,) bool, the numeric columns to smooth.
      counts: (W, K) f32, at least 0, for K components.

    Returns:
      (W, K) f32.
    """
    index, share, kernel = _kernel(layout, marginal, bandwidth)
    old = jnp.pad(counts, ((0, 1), (0, 0)))[index]
    new = jnp.where(which[:, None, None], _apply(share, kernel, old), old)
    return counts.at[index].set(new, mode="drop")


def helps(
    layout: Layout, marginal: jax.Array, bandwidth: float, states: jax.Array, context: jax.Array, weight: jax.Array
) -> jax.Array:
    """Whether smoothing improves the leave-one-out likelihood of p(value | context), for each numeric column.

    Both estimates, with and without smoothing, use the marginal distribution as a prior with the weight of one row.

    Args:
      layout: of the columns.
      marginal: (W,) f32 frequency of each state in its column.
      bandwidth: above 0, as a share of the rows.
      states: (B, C) i32.
      context: (B, C) i32, for each column the state of another column, in 0 ... max(layout.sizes) - 1.
      weight: (B,) f32 weight of each row.

    Returns:
      (N,) bool.
    """
    numeric = columns(layout)
    if not len(numeric):
        return jnp.zeros(0, bool)
    index, share, kernel = _kernel(layout, marginal, bandwidth)
    empty = jnp.zeros((index.shape[1], max(layout.sizes)), jnp.float32)
    counts = jax.vmap(lambda s, c: empty.at[s, c].add(weight), (1, 1))(states[:, numeric], context[:, numeric])

    def log_likelihood(estimate: jax.Array, own: jax.Array) -> jax.Array:
        """Leave-one-out: `own` is what each row adds to the estimate of its own count."""
        others = jnp.maximum(estimate - own[..., None], 0.0) + share[..., None]
        p = others / jnp.maximum(estimate.sum(axis=1, keepdims=True), 1.0)  # rows: minus the one left out, plus prior
        return (counts * jnp.log(jnp.maximum(p, _TINY))).sum(axis=(1, 2))

    smoothed = log_likelihood(_apply(share, kernel, counts), _diagonal(share, kernel))
    return smoothed > log_likelihood(counts, jnp.ones_like(share))
