r"""One-way and two-way marginals of a table from noisy counts: how strong the noise is, and what it leaves to be seen.

A row of a table is C discrete states (`nets.joint_states`); W is the number of states of all columns, S the largest
number of one. Counts are sums over rows, each with independent noise of variance z^2 v, where v is known and z is not.
z is 0 if there is no noise.

- `Measure` counts.
- `consistent` estimates z from counts that would be equal without noise: a state's count, and the sums over the rows
  and columns of the pair tables. It averages them by their precision.
- `basis` gives functions f_k of the states of a column that are orthonormal under its marginal p and have mean 0:
  eigenfunctions of a kernel, which is the identity for categories, and nearly smooth in the rank for numeric columns.
- `signal` expresses the pair tables in these functions, M_kl = sum_st P(s, t) f_k(s) g_l(t). The variance of M_kl is
  z^2 v |f_k|^2 |g_l|^2 / N^2, of the noise, plus 1/N, of the rows as a sample. Its prior variance is tau^2 lambda_k
  lambda_l, by the eigenvalues lambda. tau^2 of each pair of columns is estimated from its M (empirical Bayes; Efron &
  Morris 1973, JASA 68), so that pairs without visible dependence get none.
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from synthjax.nets.joint_states import Columns

_TINY = 1e-30
DOUBT = 1.0
"""Standard errors, without dependence, that are subtracted from the estimate of tau^2."""


class Counts(NamedTuple):
    """Noisy counts."""

    one: jax.Array
    """(W,) f32 number of rows in each state."""
    one_variance: jax.Array
    """(W,) f32 v of these counts."""
    pairs: jax.Array
    """(W, W) f32 number of rows with each pair of states, symmetric; 0 for pairs that are not measured or possible."""
    variance: jax.Array
    """(C, C) f32 v of the counts of each pair of columns, inf where none was measured, and on the diagonal."""

    def average(self, pairs: jax.Array, variance: jax.Array, columns: Columns) -> "Counts":
        """These counts averaged with other counts of pairs, weighted by their precision."""
        precision, more = 1 / self.variance, 1 / variance
        own = columns.spread(precision / jnp.maximum(precision + more, _TINY))
        return self._replace(pairs=self.pairs * own + pairs * (1 - own), variance=1 / (precision + more))


def consistent(columns: Columns, counts: Counts) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The strength of the noise, and the single columns.

    Returns:
      z^2, () f32, the variance of the noise for v = 1.
      p: (W,) f32 probability of each state of its column; of half a row at least, if it is possible.
      N: () f32 number of rows.
    """
    one = jnp.where(columns.possible, counts.one, 0)
    margins = columns.sums(counts.pairs.T).T  # (W, C), summed over the states of the other column
    possible = columns.sums(jnp.asarray(columns.possible, jnp.float32))
    variance = counts.variance[columns.of] * possible[None]
    measured = jnp.isfinite(variance) & columns.possible[:, None]
    squares = (margins - one[:, None]) ** 2 / (variance + counts.one_variance[:, None])
    z2 = jnp.where(measured, squares, 0).sum() / jnp.maximum(measured.sum(), 1)
    weight, own = jnp.where(measured, 1 / variance, 0), 1 / counts.one_variance
    one = (own * one + (weight * margins).sum(axis=1)) / (own + weight.sum(axis=1))
    rows = jnp.maximum(columns.sums(one).mean(), 1)
    return z2, _on_simplex(columns, one, rows), rows


def _on_simplex(columns: Columns, one: jax.Array, rows: jax.Array) -> jax.Array:
    """The nearest counts >= 0 that sum to `rows` in each column, at least 1/2 each, as probabilities (W,)."""
    possible = columns.pad(jnp.asarray(columns.possible, jnp.float32)) > 0
    counts = jnp.where(possible, columns.pad(one), -1e9)
    down = -jnp.sort(-counts, axis=1)
    shift = (jnp.cumsum(down, axis=1) - rows) / jnp.arange(1, down.shape[1] + 1, dtype=jnp.float32)[None]
    last = jnp.maximum((down > shift).sum(axis=1, keepdims=True, dtype=jnp.int32), 1) - 1
    counts = jnp.where(possible, jnp.maximum(counts - jnp.take_along_axis(shift, last, axis=1), 0.5), 0)
    return columns.flat(counts / counts.sum(axis=1, keepdims=True))


# --- measuring ---------------------------------------------------------------------------------------------------


class Release(NamedTuple):
    """One call of `count`."""

    name: str
    tables: int
    """Number of tables, in each of which a row is counted once."""
    share: float
    """Of the budget."""

    @property
    def variance(self) -> float:
        """Of the noise of each count, for a noise multiplier of 1."""
        return self.tables / self.share


class Measure:
    """Noisy counts of a table.

    Args:
      plan: the calls of `count`, by name: "single" of single columns, "label" of the pairs with the label, "pairs" of
        the others, "again" of those that are measured again. Those that do not occur are not there.
      columns: of the table.
      count: (key, counts, sensitivity, share) -> noisy counts, see `synthjax.train.optim.Count`.
    """

    def __init__(self, plan: Mapping[str, Release], columns: Columns, count: Callable[..., jax.Array]):
        self.plan, self.columns, self.count = plan, columns, count
        self.labelled = columns.layout.labelled

    def _noisy(self, key: jax.Array, counts: jax.Array, part: str) -> jax.Array:
        release = self.plan[part]
        return self.count(key, counts, math.sqrt(release.tables), release.share)

    def _pairs(self, key: jax.Array, counts: jax.Array, chosen: jax.Array, part: str) -> tuple[jax.Array, jax.Array]:
        """Noisy counts of pairs of columns, as `Counts` has them.

        Args:
          key: for the noise.
          counts: (W, W) f32.
          chosen: (C, C) bool, above the diagonal; as many as the plan says.
          part: of the plan.

        Returns:
          (W, W) f32 and (C, C) f32, `Counts.pairs` and `Counts.variance`.
        """
        possible = self.columns.possible
        cells = self.columns.spread(chosen)
        noisy = self._noisy(key, jnp.where(cells, counts, 0), part)
        noisy = jnp.where(cells & (possible[:, None] & possible[None]), noisy, 0)
        variance = jnp.where(chosen | chosen.T, jnp.float32(self.plan[part].variance), jnp.inf)
        return noisy + noisy.T, variance

    def first(self, key: jax.Array, single: jax.Array, pairs: jax.Array) -> tuple[jax.Array, Counts]:
        """Measures single columns and all pairs.

        Args:
          key: for the noise.
          single: (states of the layout,) f32 number of rows in each state.
          pairs: (W, W) f32 number of rows with each pair of states.

        Returns:
          the noisy `single`, and the noisy counts of the W states.
        """
        columns, count = self.columns, len(self.columns.padded)
        key_single, key_label, key_pairs = jax.random.split(key, 3)
        single = self._noisy(key_single, single, "single")
        one = (
            jnp.zeros(len(columns.of), jnp.float32).at[columns.group].add(jnp.where(columns.layout.possible, single, 0))
        )
        nothing = jnp.zeros_like(pairs), jnp.full((count, count), jnp.inf, jnp.float32)
        found = Counts(one, jnp.asarray(columns.size * np.float32(self.plan["single"].variance)), *nothing)
        above = np.triu(np.ones((count, count), bool), 1)
        with_label = above & ((np.arange(count) < self.labelled)[:, None])
        for part, key_of, chosen in (
            ("label", key_label, with_label),
            ("pairs", key_pairs, above & ~with_label),
        ):
            if part in self.plan:
                found = found.average(*self._pairs(key_of, pairs, jnp.asarray(chosen), part), columns)
        return single, found

    def again(self, key: jax.Array, pairs: jax.Array, found: Counts, gain: jax.Array) -> Counts:
        """Measures the pairs of columns with the largest `gain`, (C, C) f32, again; other arguments as in `first`."""
        if "again" not in self.plan:
            return found
        first, second = (side.astype(np.int32) for side in np.triu_indices(len(gain), 1))
        first, second = first[first >= self.labelled], second[first >= self.labelled]
        best = jax.lax.top_k(gain[first, second], self.plan["again"].tables)[1]
        chosen = jnp.zeros(gain.shape, bool).at[jnp.asarray(first)[best], jnp.asarray(second)[best]].set(True)
        return found.average(*self._pairs(key, pairs, chosen, "again"), self.columns)


# --- what is seen ------------------------------------------------------------------------------------------------


class Basis(NamedTuple):
    """Functions of the states of each column, orthonormal under p, of mean 0."""

    functions: jax.Array
    """(C, S, S) f32 f_k(s), with axes (column, s, k); zeros for k without a function."""
    values: jax.Array
    """(C, S) f32 eigenvalues lambda_k, descending."""


def basis(columns: Columns, p: jax.Array, smoothness: float, length: float) -> Basis:
    """Eigenfunctions of the kernel of each column.

    Args:
      columns: of the table.
      p: (W,) f32 probability of each state.
      smoothness: share of the smooth part exp(-|u - u'| / length) in the kernel of a numeric column, whose rest is the
        identity; u is the rank of a bin, from 0 to 1.
      length: of the smooth part.
    """
    share = columns.pad(p)
    rank = jnp.cumsum(share, axis=1) - share / 2
    identity = jnp.eye(share.shape[1], dtype=jnp.float32)[None]
    smooth = jnp.exp(-jnp.abs(rank[:, :, None] - rank[:, None]) / length)
    ordered = columns.numeric[:, :, None] & columns.numeric[:, None]
    kernel = jnp.where(ordered, smoothness * smooth + (1 - smoothness) * identity, identity)
    centre = identity - share[:, None]
    root = jnp.sqrt(share)
    kernel = root[:, :, None] * (centre @ kernel @ centre.swapaxes(1, 2)) * root[:, None]
    values, vectors = (a[..., ::-1] for a in jnp.linalg.eigh(kernel))
    values = jnp.where(values > 1e-7, values, 0)
    used = (root > 0)[:, :, None] & (values > 0)[:, None]
    return Basis(jnp.where(used, vectors / jnp.maximum(root, 1e-6)[:, :, None], 0), values)


class Signal(NamedTuple):
    """The pair tables in the functions of a basis. All are (W, W) f32, function k of each column at its state k."""

    moments: jax.Array
    """M, with the noise."""
    noise: jax.Array
    """Variance of M around what it would be in infinitely many rows."""
    prior: jax.Array
    """Prior variance of M without the noise; 0 for pairs that are not measured."""
    matrix: jax.Array
    """f_k(s), with axes (s, k): 0 for s and k of different columns."""

    def gain(self, columns: Columns) -> jax.Array:
        """(C, C) estimate of the part of each pair's dependence, sum_kl M_kl^2, that the noise leaves to be seen."""
        shrink = self.prior / jnp.maximum(self.prior + self.noise, _TINY)
        return columns.block_sums((self.moments**2 - self.noise) * shrink)


def signal(columns: Columns, counts: Counts, found: Basis, z2: jax.Array, rows: jax.Array) -> Signal:
    """Expresses the pair tables in the functions; `z2` and `rows` as `consistent` returns them."""
    width = len(columns.of)
    place = columns.padded[:, :, None], columns.padded[:, None]
    matrix = jnp.zeros((width + 1, width + 1), jnp.float32).at[place].set(found.functions)[:-1, :-1]
    moments = matrix.T @ (counts.pairs / rows) @ matrix
    measured = columns.spread(jnp.isfinite(counts.variance))
    norm = (matrix**2).sum(axis=0)
    variance = columns.spread(jnp.where(jnp.isfinite(counts.variance), counts.variance, 0)) * (z2 / rows**2)
    noise = variance * norm[:, None] * norm[None] + 1 / rows
    values = columns.flat(found.values)
    shape = jnp.where(measured, values[:, None] * values[None], 0)

    def improve(_, tau2):
        """One step of the estimate of tau^2, (C, C): a weighted least-squares fit to M^2 - noise, less its error."""
        weight = jnp.where(shape > 0, shape / (noise + columns.spread(tau2) * shape + 1e-12) ** 2, 0)
        excess = columns.block_sums(weight * (moments**2 - noise))
        error = DOUBT * jnp.sqrt(2 * columns.block_sums((weight * noise) ** 2))
        return jnp.clip((excess - error) / jnp.maximum(columns.block_sums(weight * shape), _TINY), 1e-6, 100.0)

    start = jnp.full(counts.variance.shape, 0.1, jnp.float32)
    return Signal(moments, noise, columns.spread(jax.lax.fori_loop(0, 8, improve, start)) * shape, matrix)
