r"""Images from sums: a mixture of Gaussians for each class, in principal components of the lowest cosine frequencies.

    p(x | y) = sum_j w_yj N(x; m_yj, C_yj)

Everything is computed from sums over the training images, which a private `count` returns with noise:

    the mean image, and a histogram of distances from it
    second moments of the cosine coefficients, whose eigenvectors are the principal components
    k-means within each class (Lloyd 1982, doi:10.1109/TIT.1982.1056489): number and sum of the images of each cluster
    second moments within clusters, summed over each class and over each cluster

Training by gradients adds noise in each of hundreds of steps; here it is added about ten times. Estimates from few
images, or with much noise, are drawn towards those of a larger group (`nets.shrinkage`): centers and covariances of
clusters towards those of their class, and these towards those of all classes.

**Formal guarantees.** What the state and the metrics know of the rows are the results of the calls of `count` that
`releases` lists, all in step 0. With z the noise multiplier of `count`, they cost together as much as one Gaussian
release with noise multiplier z. Neighbours differ by one image of weight 1 that is added or removed. It enters a sum as
a vector of integers whose norm is clipped. Other weights are scaled to a mean of 1, and are not covered.

    model = build(Config(), spec)
    state, metrics = model.step(key, 0, model.init(key), batch)             # batch: the whole training set
    x = model.sample(key, state, labels)

    >>> x = jax.random.randint(jax.random.key(0), (60, 4, 4, 1), 0, 256)
    >>> model = build(Config(coefficients=9, dimensions=4, components=2), DataSpec.from_arrays(jax.device_get(x)))
    >>> batch = Batch(x / 127.5 - 1, jnp.zeros(60, jnp.int32), jnp.ones(60), jnp.arange(60))
    >>> state = jax.eval_shape(model.init, jax.random.key(0))  # shapes alone
    >>> state, _ = jax.eval_shape(model.step, jax.random.key(1), 0, state, batch)
    >>> jax.eval_shape(model.sample, jax.random.key(2), state, jnp.zeros(3, jnp.int32)).shape
    (3, 4, 4, 1)
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import fft

from synthjax.errors import InputError
from synthjax.model import Batch, DataSpec, Model
from synthjax.nets.noisy_sums import NoisySums, Of, clipped, matrices, triangle
from synthjax.nets.shrinkage import drawn, positive, towards
from synthjax.train import optim

SHARES = {"mean": 0.02, "distances": 0.01, "second moments": 0.1, "clusters": 0.3, "residuals": 0.02, "classes": 0.2}
"""Shares of the budget; second moments of clusters get the rest."""
_EVEN = 0.25  # residuals are divided by this power of the variances before they are clipped


@dataclass(frozen=True)
class Config:
    """The size of the mixture."""

    coefficients: int = 144
    """Number of cosine coefficients of an image that are used, from the lowest frequency upwards."""
    dimensions: int = 64
    """Number of principal components at most."""
    components: int = 20
    """Number of Gaussians of each class."""
    sweeps: int = 4
    """Number of sweeps of k-means."""
    batch_size: int = 1
    """Unused: a step takes the whole training set."""
    steps: int = 1
    """Number of training steps; one is enough."""

    def __post_init__(self) -> None:
        for name in ("coefficients", "dimensions", "components", "sweeps", "steps"):
            if getattr(self, name) < 1:
                raise InputError(f"model.{name}={getattr(self, name)}: must be at least 1")


PRESETS = {"gaussian_mixture": Config()}
PRIVATE = dict(components=5)
"""Settings for private training; fields that the caller sets take precedence."""


class State(NamedTuple):
    """The fitted mixture: K classes (1 without labels) of J Gaussians in M dimensions, of D pixels."""

    mean: jax.Array
    """(D,) f32 mean image, in the model's space."""
    axes: jax.Array
    """(D, M) f32 principal components, orthonormal."""
    weight: jax.Array
    """(K, J) f32 probability of each Gaussian, given its class."""
    center: jax.Array
    """(K, J, M) f32."""
    root: jax.Array
    """(K, J, M, M) f32 lower triangular square root of each covariance."""


def cosines(shape: tuple[int, ...], count: int) -> np.ndarray:
    """The orthonormal cosine functions (DCT-II) of the lowest frequencies.

    Args:
      shape: (H, W, C) of the images. Along the channels, a frequency counts as half of the highest of a side.
      count: how many.

    Returns:
      (H * W * C, count) f64.

    >>> basis = cosines((4, 3, 1), 5)
    >>> basis.shape, bool(np.allclose(basis.T @ basis, np.eye(5)))
    ((12, 5), True)
    """
    height, width, channels = shape
    frequency = np.hypot(np.arange(height)[:, None, None] / height, np.arange(width)[:, None] / width)
    frequency = frequency + np.arange(channels) / (2 * channels)
    lowest = np.argsort(frequency, axis=None, kind="stable")[:count]
    ones = np.zeros((len(lowest), height * width * channels))
    ones[np.arange(len(lowest)), lowest] = 1
    waves: np.ndarray = fft.idctn(ones.reshape(-1, *shape), axes=(1, 2, 3), norm="ortho").reshape(len(lowest), -1)
    return waves.T


def releases(config: Config, spec: DataSpec) -> list[tuple[str, str, float, float, int]]:
    """The calls of `count` in a training: (name, mechanism, noise, sampling rate, number of times) each.

    The noise is 1 / sqrt(share): its standard deviation over the L2 sensitivity, for a noise multiplier of 1.
    """
    each = SHARES["clusters"] / (config.sweeps + 1)
    shares = {name: SHARES[name] for name in ("mean", "distances", "second moments")}
    shares |= {f"clusters {i}": each for i in range(config.sweeps + 1)}
    shares |= {"residuals": SHARES["residuals"], "second moments of classes": SHARES["classes"]}
    shares["second moments of clusters"] = 1 - sum(SHARES.values())
    return [(name, "discrete gaussian", share**-0.5, 1.0, 1) for name, share in shares.items()]


def _flat(batch: Batch) -> jax.Array:
    """(B, D) pixels."""
    return batch.x.reshape(len(batch.x), -1)


def _everyone(batch: Batch) -> jax.Array:
    """One group of all rows."""
    return jnp.zeros_like(batch.y)


class _Mixture:
    """A mixture for a config and a spec: its fit, and what is computed from it."""

    def __init__(self, config: Config, spec: DataSpec, count: optim.Count):
        self.config, self.spec, self.count = config, spec, count
        self.pixels, self.classes = math.prod(spec.shape), max(spec.n_classes, 1)
        self.basis = jnp.asarray(cosines(spec.shape, min(config.coefficients, self.pixels)), jnp.float32)
        self.size = min(config.dimensions, self.basis.shape[1])

    def init(self, key) -> State:
        """Standard Gaussians of the lowest frequencies."""
        groups, size = (self.classes, self.config.components), self.size
        weight = jnp.full(groups, 1 / groups[1], jnp.float32)
        root = jnp.broadcast_to(jnp.eye(size, dtype=jnp.float32), (*groups, size, size))
        center = jnp.zeros((*groups, size), jnp.float32)
        return State(jnp.zeros(self.pixels, jnp.float32), self.basis[:, :size], weight, center, root)

    def label(self, batch: Batch) -> jax.Array:
        return batch.y if self.spec.n_classes else jnp.zeros_like(batch.y)

    # --- the fit -----------------------------------------------------------------------------------------------------

    def principal(self, sums: NoisySums) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
        """The mean image (D,), the components (D, M), the variances along them (M,), and a radius of the images."""
        root = math.sqrt(self.pixels)  # pixels are in [-1, 1]
        found = sums.vectors(_flat, _everyone, 1, root, SHARES["mean"])
        mean = jnp.clip(found.sums[0] / jnp.maximum(found.rows[0], 1), -1, 1)

        def waves(batch: Batch) -> jax.Array:
            return (_flat(batch) - mean[None]) @ self.basis

        radius = sums.radius(waves, 2 * root, SHARES["distances"])
        pairs = lambda batch: triangle(clipped(waves(batch), radius))  # noqa: E731
        found = sums.vectors(pairs, _everyone, 1, radius**2, SHARES["second moments"])
        n, width = jnp.maximum(found.rows[0], 1), self.basis.shape[1]
        values, vectors = jnp.linalg.eigh(matrices(found.sums[0], width) / n)
        values, vectors = values[::-1][: self.size], vectors[:, ::-1][:, : self.size]
        seen = values > found.deviation / n * math.sqrt(2 * width)  # the edge of the eigenvalues of noise alone
        return mean, self.basis @ jnp.where(seen[None], vectors, 0), jnp.where(seen, values, 0), radius

    def nearest(self, project: Of, center: jax.Array) -> Of:
        """batch -> (B,) i32: the cluster whose center is nearest, of those of the image's class."""

        def number(batch: Batch) -> jax.Array:
            y = self.label(batch)
            apart = ((project(batch)[:, None] - center[y]) ** 2).sum(axis=-1)
            return y * self.config.components + jnp.argmin(apart, axis=1).astype(y.dtype)

        return number

    def centers(self, key, sums: NoisySums, project: Of, values: jax.Array, radius: jax.Array) -> jax.Array:
        """The centers of k-means within each class: (K, J, M). The first are drawn from a Gaussian."""
        classes, clusters, size = self.classes, self.config.components, self.size
        share = SHARES["clusters"] / (self.config.sweeps + 1)

        def means(group: Of, groups: int, target: Any) -> jax.Array:
            found = sums.vectors(project, group, groups, radius, share)
            n = jnp.maximum(found.rows, 1)
            mean = found.sums / n[:, None]
            target = mean.mean(axis=0, keepdims=True) if target is None else target
            return towards(mean, jnp.broadcast_to(target, mean.shape), size * (found.deviation / n) ** 2)

        class_means = means(self.label, classes, None)
        between = ((class_means - class_means.mean(axis=0, keepdims=True)) ** 2).mean(axis=0)
        normal = jax.random.normal(key, (classes, clusters, size), jnp.float32)
        center = class_means[:, None] + jnp.sqrt(jnp.maximum(values - between, 0))[None, None] * normal
        for _ in range(self.config.sweeps):
            found = means(self.nearest(project, center), classes * clusters, jnp.repeat(class_means, clusters, axis=0))
            center = found.reshape(center.shape)
        return center

    def fit(self, key, batch: Batch) -> tuple[State, jax.Array]:
        classes, clusters, size = self.classes, self.config.components, self.size
        key_noise, key_start = jax.random.split(key)
        sums = NoisySums(key_noise, batch, self.count, self.spec.rows)
        mean, axes, values, radius = self.principal(sums)

        def project(batch: Batch) -> jax.Array:
            return (_flat(batch) - mean[None]) @ axes

        center = self.centers(key_start, sums, project, values, radius)
        nearest = self.nearest(project, center)
        # Noise is equal in all directions. In those of small variance it would be relatively large.
        even = jnp.where(values > 0, values / jnp.maximum(values[0], 1e-12), 1) ** _EVEN

        def residual(batch: Batch) -> jax.Array:
            return (project(batch) - center.reshape(-1, size)[nearest(batch)]) / even[None]

        inner = sums.radius(residual, 2 * radius / even.min(), SHARES["residuals"])

        def moments(group: Of, groups: int, share: float) -> tuple[jax.Array, ...]:
            """Numbers of rows, as found and of use; second moments; and the variance of their noise."""
            pairs = lambda batch: triangle(clipped(residual(batch), inner))  # noqa: E731
            found = sums.vectors(pairs, group, groups, inner**2, share)
            n = jnp.maximum(found.rows, 1.0 + 2 * size)
            return found.rows, n, matrices(found.sums, size) / n[:, None, None], (found.deviation / n) ** 2

        _, n, found, noise = moments(self.label, classes, SHARES["classes"])
        part = n / n.sum()
        whole = positive((found * part[:, None, None]).sum(0), jnp.sqrt((noise * part**2).sum() * 2 * size))
        class_covariance = drawn(found, jnp.broadcast_to(whole[None], found.shape), n, noise)
        count, n, found, noise = moments(nearest, classes * clusters, 1 - sum(SHARES.values()))
        covariance = drawn(found, jnp.repeat(class_covariance, clusters, axis=0), n, noise)
        root = even[None, :, None] * jnp.linalg.cholesky(covariance)
        weight = jnp.maximum(count, 0).reshape(classes, clusters) + 1e-3
        weight = weight / weight.sum(axis=1, keepdims=True)
        return State(mean, axes, weight, center, root.reshape(*center.shape, size)), sums.noise

    # --- the functions of the model ----------------------------------------------------------------------------------

    def step(self, key, i, state: State, batch: Batch):
        # Stays a branch under `vmap` over seeds, since i is not batched.
        state, noise = jax.lax.cond(i == 0, lambda: self.fit(key, batch), lambda: (state, jnp.float32(0)))
        half = jnp.log(jnp.maximum(jnp.diagonal(state.root, axis1=-2, axis2=-1), 1e-9)).sum(axis=-1)
        entropy = half + self.size * (1 + math.log(2 * math.pi)) / 2
        return state, {"loss": (state.weight * entropy).sum(axis=1).mean(), "noise": noise}

    def sample(self, key, state: State, labels):
        key_component, key_value = jax.random.split(key)
        y = labels if self.spec.n_classes else jnp.zeros_like(labels)
        chosen = jax.random.categorical(key_component, jnp.log(state.weight[y]))
        normal = jax.random.normal(key_value, (len(y), self.size), jnp.float32)
        own = state.center[y, chosen] + jnp.einsum("bij,bj->bi", state.root[y, chosen], normal)
        return jnp.clip(state.mean[None] + own @ state.axes.T, -1, 1).reshape(len(y), *self.spec.shape)

    def score(self, key, state: State, batch: Batch):
        """Minus the log density of the principal components, given the class: (B,) f32, nats."""
        own, y = (_flat(batch) - state.mean[None]) @ state.axes, self.label(batch)

        def of_cluster(part: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
            weight, center, root = part  # (K,), (K, M), (K, M, M)
            solved = jax.scipy.linalg.solve_triangular(root[y], (own - center[y])[..., None], lower=True)[..., 0]
            half = jnp.log(jnp.diagonal(root, axis1=-2, axis2=-1)).sum(axis=-1)
            squares = (solved**2).sum(axis=-1) + self.size * math.log(2 * math.pi)
            return (jnp.log(weight) - half)[y] - squares / 2

        parts = tuple(jnp.moveaxis(a, 1, 0) for a in (state.weight, state.center, state.root))
        return -jax.scipy.special.logsumexp(jax.lax.map(of_cluster, parts), axis=0)


def build(
    config: Config, spec: DataSpec, grad: optim.Grad = optim.mean_grad, count: optim.Count = optim.exact_count
) -> Model:
    """A mixture of Gaussians of images, fitted to sums over them. It is not trained by gradients: `grad` is not used.

    Raises:
      InputError: the data is a table.
    """
    if spec.kind != "image":
        raise InputError("gaussian_mixture: is a model of images; of tables, mixture is one")
    mixture = _Mixture(config, spec, count)
    functions = mixture.init, mixture.step, mixture.sample, mixture.score
    model = Model(*functions, conditional=spec.n_classes > 0, feed="dataset")
    return model._replace(n_classes=spec.n_classes, empty_classes=spec.empty_classes)
