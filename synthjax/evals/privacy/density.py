r"""Densities of synthetic and of other real data: what the attacks that compare them are made of.

DOMIAS (van Breugel et al. 2023, arXiv:2302.12580) takes a record for a member where the generator puts more density
than the world does: log p_syn(x) - log p_ref(x), with p_ref from real data that nobody trained on. Here p is

    a kernel density    p(x) = 1/n sum_j N(x; c_j, h^2 I), h = n^(-1 / (D + 4)) (Scott 1992), in whitened coordinates
    a mixture           p(x) = sum_k w_k N(x; m_k, S_k), K full covariances, fitted by EM

Both live in the first principal components of synthetic and reference data together, which an attacker has: densities
of hundreds of pixels cannot be estimated. A ball of fixed radius counts synthetic examples for the Monte-Carlo attack
(Hilprecht et al. 2019, PoPETs 2019(4), who also count in principal components).

    reduce = Components.fit(np.concatenate([synthetic, reference]))
    ratio = log_kernel(reduce(x), reduce(synthetic)) - log_kernel(reduce(x), reduce(reference))
"""

import functools
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from synthjax.evals.streams import stream
from synthjax.evals.subsample import sample

DIMS = 20
"""Principal components at most."""
FIT_LIMIT = 20_000
"""Examples that components and mixtures are fitted to, at most."""
COMPONENTS = 16
"""Gaussians of a mixture at most; one for every 50 examples where those are few."""
EM_STEPS = 30
RIDGE = 0.01
"""Added to the variances of a mixture, in units of the whole data's: no Gaussian shrinks onto a copied example."""
_QUERIES = 1024
_TILE = 2048


@dataclass(frozen=True)
class Components:
    """Principal components: x (N, ...) -> (N, D) f32, centred; whitened unless `whiten` is False."""

    mean: np.ndarray
    """(F,)"""
    axes: np.ndarray
    """(F, D) orthonormal."""
    spread: np.ndarray
    """(D,) standard deviation along each axis, > 0."""

    @classmethod
    def fit(cls, x: np.ndarray, *, dims: int = DIMS, seed: int = 0) -> "Components":
        """Of the rows of x (N, ...), at most `dims`; axes along which nothing varies are left out."""
        from sklearn.decomposition import PCA

        rng = stream(seed, "privacy.components")
        rows = x[sample(rng, len(x), FIT_LIMIT)]
        flat = rows.reshape(len(rows), -1).astype(np.float64)
        found = PCA(min(dims, *flat.shape), random_state=seed).fit(flat)
        spread = np.sqrt(found.explained_variance_)
        kept = spread > 1e-6 * max(spread.max(initial=0.0), 1e-12)
        kept[0] = True  # data without any variance keeps one axis, on which all is 0
        return cls(found.mean_, found.components_[kept].T, np.where(spread > 0, spread, 1.0)[kept])

    def __call__(self, x: np.ndarray, *, whiten: bool = True) -> np.ndarray:
        """See class."""
        found = (x.reshape(len(x), -1) - self.mean) @ self.axes
        return (found / self.spread if whiten else found).astype(np.float32)


# --- kernels and balls -------------------------------------------------------------------------------------------


@functools.partial(jax.jit, static_argnames="ball")
def _sums(queries: jax.Array, tiles: jax.Array, real: jax.Array, width: jax.Array, ball: bool) -> jax.Array:
    """Over all centres: number within `width` (ball), or log of the sum of exp(-d^2 / 2 width^2).

    queries (Q, D), tiles (n, T, D), real (n, T) False where padded -> (Q,).
    """
    squares = (queries**2).sum(axis=1, keepdims=True)

    def add(total, block):
        centres, there = block
        product = jnp.matmul(queries, centres.T, precision=jax.lax.Precision.HIGHEST)
        square = jnp.maximum(squares + (centres**2).sum(axis=1) - 2 * product, 0)
        if ball:
            return total + ((square <= width**2) & there).sum(axis=1), None
        part = jax.nn.logsumexp(jnp.where(there, -square / (2 * width**2), -jnp.inf), axis=1)
        return jnp.logaddexp(total, part), None

    start = jnp.zeros(len(queries), jnp.int32) if ball else jnp.full(len(queries), -jnp.inf)
    return jax.lax.scan(add, start, (tiles, real))[0]


def _over(points: np.ndarray, centres: np.ndarray, width: float, *, ball: bool) -> np.ndarray:
    """`_sums` of points (N, D) over centres (M, D), in blocks of one size: (N,)."""
    padded = np.resize(centres, (-(-len(centres) // _TILE) * _TILE, centres.shape[1])).reshape(
        -1, _TILE, len(centres.T)
    )
    real = (np.arange(padded.shape[0] * _TILE) < len(centres)).reshape(-1, _TILE)
    tiles, there = jnp.asarray(padded), jnp.asarray(real)
    found = []
    for start in range(0, len(points), _QUERIES):
        block = points[start : start + _QUERIES]
        queries = np.resize(block, (_QUERIES, block.shape[1]))
        found.append(np.asarray(_sums(queries, tiles, there, np.float32(width), ball))[: len(block)])
    return np.concatenate(found)


def kernel_width(n: int, dims: int) -> float:
    """By Scott's rule, of kernels on n centres, in units of the standard deviation of each of `dims` axes."""
    return n ** (-1 / (dims + 4))


def log_kernel_sum(points: np.ndarray, centres: np.ndarray, width: float) -> np.ndarray:
    """Log of the sum over centres c (M, D) of exp(-|x - c|^2 / 2 width^2), at points x (N, D): (N,) f64."""
    return _over(points, centres, width, ball=False).astype(np.float64)


def log_kernel(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Log density (N,) f64 at points (N, D) of Gaussian kernels on centres (M, D), by Scott's rule; D whitened axes."""
    n, dims = centres.shape
    width = kernel_width(n, dims)
    return log_kernel_sum(points, centres, width) - np.log(n) - dims * (np.log(width) + np.log(2 * np.pi) / 2)


def count_within(points: np.ndarray, centres: np.ndarray, radius: float) -> np.ndarray:
    """How many centres (M, D) lie at most `radius` from each of the points (N, D): (N,) i32."""
    return _over(points, centres, radius, ball=True)


# --- mixtures ----------------------------------------------------------------------------------------------------


class Mixture(NamedTuple):
    """A mixture of K Gaussians in D dimensions."""

    log_weight: jax.Array
    """(K,)"""
    mean: jax.Array
    """(K, D)"""
    factor: jax.Array
    """(K, D, D) inverse of the Cholesky factor of each covariance."""


def _log_joint(mixture: Mixture, x: jax.Array) -> jax.Array:
    """log w_k + log N(x; m_k, S_k) of x (N, D): (N, K)."""
    centred = x[:, None] - mixture.mean
    white = jnp.einsum("kij,nkj->nki", mixture.factor, centred, precision=jax.lax.Precision.HIGHEST)
    log_det = jnp.log(jnp.diagonal(mixture.factor, axis1=1, axis2=2)).sum(axis=1)
    return mixture.log_weight + log_det - (white**2).sum(axis=2) / 2 - x.shape[1] * jnp.log(2 * jnp.pi) / 2


def em_step(mixture: Mixture, x: jax.Array, weight: jax.Array) -> tuple[Mixture, jax.Array]:
    """One iteration of EM on x (N, D) with weight (N,); also the mean log-likelihood before it."""
    joint = _log_joint(mixture, x)
    log_p = jax.nn.logsumexp(joint, axis=1)
    share = jnp.exp(joint - log_p[:, None]) * weight[:, None]
    total = share.sum(axis=0) + 1e-6
    mean = share.T @ x / total[:, None]

    def covariance(share, mean):
        centred = x - mean
        return (centred * share[:, None]).T @ centred

    spread = jax.vmap(covariance)(share.T, mean) / total[:, None, None] + RIDGE * jnp.eye(x.shape[1])
    factor = jax.vmap(_inverse_factor)(spread)
    return Mixture(jnp.log(total / total.sum()), mean, factor), weight @ log_p / weight.sum()


def _inverse_factor(covariance: jax.Array) -> jax.Array:
    root = jnp.linalg.cholesky(covariance)
    return jax.scipy.linalg.solve_triangular(root, jnp.eye(len(root)), lower=True)


@functools.partial(jax.jit, static_argnames="components")
def _fit(key: jax.Array, x: jax.Array, weight: jax.Array, components: int) -> Mixture:
    chosen = jax.random.choice(key, len(x), (components,), replace=False, p=weight / weight.sum())
    dims = x.shape[1]
    first = Mixture(
        jnp.full(components, -jnp.log(components)),
        x[chosen],
        jnp.broadcast_to(jnp.eye(dims), (components, dims, dims)),
    )
    return jax.lax.scan(lambda found, _: (em_step(found, x, weight)[0], None), first, length=EM_STEPS)[0]


def fit_mixture(key: jax.Array, x: np.ndarray) -> Mixture:
    """A mixture of Gaussians fitted to rows x (N, D) f32, of whitened axes, by `EM_STEPS` iterations of EM.

    Rows are padded to a power of two, so that sets of many sizes share a few programs.
    """
    key_rows, key_start = jax.random.split(key)
    if len(x) > FIT_LIMIT:
        x = x[np.asarray(jax.random.choice(key_rows, len(x), (FIT_LIMIT,), replace=False))]
    size = 1 << max(len(x) - 1, 1).bit_length()
    weight = (np.arange(size) < len(x)).astype(np.float32)
    components = max(1, min(COMPONENTS, len(x) // 50))
    return _fit(key_start, np.resize(x, (size, x.shape[1])), weight, components)


@jax.jit
def _log_density(mixture: Mixture, x: jax.Array) -> jax.Array:
    return jax.nn.logsumexp(_log_joint(mixture, x), axis=1)


def log_mixture(mixture: Mixture, x: np.ndarray) -> np.ndarray:
    """Log density (N,) f64 at x (N, D)."""
    found = []
    for start in range(0, len(x), _QUERIES):
        block = x[start : start + _QUERIES]
        found.append(np.asarray(_log_density(mixture, np.resize(block, (_QUERIES, x.shape[1]))))[: len(block)])
    return np.concatenate(found).astype(np.float64)
