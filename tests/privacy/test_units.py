"""Units of several rows: accounting against exact laws, thresholds, and how far all rows of a unit move a release."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from synthjax.errors import InputError
from synthjax.model import Batch, DataSpec
from synthjax.models import independent, table_marginals
from synthjax.privacy import accounting, budget, certificate, units
from synthjax.privacy.accounting import Release
from synthjax.privacy.gradients import clipped_sum
from synthjax.train import optim

K = 3


def partitions(k: int) -> list[tuple[int, ...]]:
    """Changes of integers by at most k rows: non-negative, in all ways of adding up to k."""
    return [v for v in itertools.product(range(k + 1), repeat=k) if sum(v) == k and list(v) == sorted(v, reverse=True)]


def law(sigma: float, reach: int) -> np.ndarray:
    """Discrete Gaussian probabilities of -reach ... reach."""
    weights = np.exp(-(np.arange(-reach, reach + 1.0) ** 2) / (2 * sigma**2))
    return weights / weights.sum()


@pytest.mark.parametrize("rate", [0.1, 0.6])
def test_a_sample_of_several_rows_is_the_mixture_of_gaussians(rate):
    """One run, both orders of neighbours, by integrals of the densities."""
    noise = 2.0
    of = accounting.delta_of([Release("g", "gaussian", noise, rate, rows=K)])
    chances = stats.binom.pmf(np.arange(K + 1), K, rate)

    def with_(x):
        return chances @ stats.norm.pdf(x, np.arange(K + 1), noise)

    def without(x):
        return stats.norm.pdf(x, 0, noise)

    for e in (0.0, 0.3, 1.0):
        gaps = [
            integrate.quad(lambda x, p=p, q=q, e=e: max(p(x) - math.exp(e) * q(x), 0), -25, 30, limit=500)[0]
            for p, q in ((with_, without), (without, with_))
        ]
        assert max(gaps) - 1e-8 <= of(e) <= max(gaps) + 2e-5


def test_without_a_sample_rows_are_as_one_of_their_joint_length():
    e = accounting.epsilon([Release("g", "gaussian", 12.0, count=5, rows=K)], 1e-6)
    assert e == pytest.approx(accounting.epsilon([Release("g", "gaussian", 4.0, count=5)], 1e-6), rel=1e-6)
    same = accounting.epsilon([Release("g", "gaussian", 30.0, 0.05, 40, rows=K)], 1e-6)
    one = accounting.epsilon([Release("g", "gaussian", 30.0, 0.05, 40)], 1e-6)
    joint = accounting.epsilon([Release("g", "gaussian", 10.0, 0.05, 40)], 1e-6)
    assert one < same < joint * 1.2 and same > joint * 0.5
    with pytest.raises(InputError, match="rows=0: must be at least 1"):
        Release("g", "gaussian", 1.0, rows=0)


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("noise", [1.0, 2.0])
def test_discrete_noise_covers_every_change_by_the_rows_of_a_unit(k, noise):
    """The hockey-stick divergence of all changes, by summing over the integers."""
    sigma = units.discrete_noise(noise, k)
    of, reach = accounting.delta_of([Release("c", "discrete gaussian", sigma, rows=k)]), int(9 * sigma) + k
    one, found = law(sigma, reach), {}
    for e in (0.0, 1.0):
        for change in partitions(k):
            p, q = np.ones(()), np.ones(())
            for v in filter(None, change):
                p, q = np.multiply.outer(p, np.roll(one, v)), np.multiply.outer(q, one)
            found[change] = float(np.maximum(p - math.exp(e) * q, 0).sum())
        assert max(found.values()) <= of(e) + 1e-12
        assert max(found, key=found.get) == partitions(k)[-1]  # all rows in one cell
        assert max(found.values()) == pytest.approx(accounting.gaussian_delta(sigma / k, e), rel=0.02)
        assert of(e) == pytest.approx(accounting.gaussian_delta(noise, e), abs=1e-15)


@pytest.mark.parametrize("r", [0.5, 0.6, 0.8])
def test_a_rounded_gaussian_is_nearly_the_discrete_one(r):
    """The lemma behind it, at values of r where its error can be seen: factor and distance for one integer."""
    sigma, reach = 2.0, 40
    y = np.linspace(-16, 16, 32_001)
    z = np.arange(-reach, reach + 1)
    kernel = np.exp(-((z[:, None] - y) ** 2) / (2 * r**2))
    density = stats.norm.pdf(y, 0, math.sqrt(sigma**2 - r**2))
    rounded = np.trapezoid(density * kernel / kernel.sum(axis=0), y, axis=1)
    eta = 2 * math.exp(-2 * (math.pi * r) ** 2)
    assert kernel.sum(axis=0).max() / kernel.sum(axis=0).min() <= ((1 + eta) / (1 - eta)) * (1 + 1e-3 * eta)
    distance = np.abs(rounded - law(sigma, reach)).sum() / 2
    assert distance <= 2 * eta
    assert 4 * math.exp(-2 * (math.pi * units.ROUNDED) ** 2) <= units.DISTANCE


@pytest.mark.parametrize("sigma", [5.0, 60.0])
def test_categories_of_one_unit_alone_pass_with_a_probability_of_at_most_delta(sigma):
    delta, reach = 1e-4, int(12 * sigma)
    least = budget.threshold(sigma, delta, K)
    noise, one = np.arange(-reach, reach + 1), law(sigma, reach)
    passed = [sum(one[v + noise >= least].sum() for v in change if v) for change in partitions(K)]
    assert max(passed) <= delta
    assert budget.threshold(sigma, delta) < least < budget.threshold(sigma, delta) + K + 0.4 * sigma


@pytest.mark.slow
def test_samples_of_units_tell_less_than_the_gaussian_mechanism():
    target, slack = 5.0, 1e-7
    noise = budget.within(Release("g", "gaussian", 1.0, 0.1, 10, rows=K), target, slack)
    of = accounting.delta_of([Release("g", "gaussian", noise, 0.1, 10, rows=K)])
    for e in np.linspace(0, 3, 40).tolist():
        assert of(e) <= slack + accounting.gaussian_delta(target, e)
    one = budget.within(Release("g", "gaussian", 1.0, 0.1, 10), target, slack)
    assert one < noise < K * one * 1.3


def test_the_certificate_says_how_many_rows():
    releases = [
        Release("rows", "discrete gaussian", 90.0, rows=K),
        Release("gradients", "gaussian", 60.0, 0.01, 50, rows=K),
    ]
    made = certificate.certificate(releases, epsilon=1.0, delta=1e-6, files=["a"], unit="person")
    assert made["unit"] == {"column": "person", "rows": K} and certificate.verify(made) == made["spent"]
    page = certificate.page(made)
    assert "of which at most 3 rows were used" in page and "of which a unit has at most\n3" in page
    assert "of which one row was used" in certificate.page(made | {"unit": {"column": "person", "rows": 1}})
    old = [{name: value for name, value in one.items() if name != "rows"} for one in made["releases"]]
    assert all(one.rows == 1 for one in certificate.releases_of(made | {"releases": old}))


# --- neighbours: all rows of one unit


def table(n: int = 60) -> Batch:
    """Three columns; the first rows, which one unit has, are equal, the worst case."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 3, (n, 3)).astype(np.float32)
    x[:K] = x[0]
    return Batch(jnp.asarray(x), jnp.zeros(n, jnp.int32), jnp.ones(n), jnp.arange(n))


def counted(family, config, batch: Batch) -> list[tuple[np.ndarray, float]]:
    calls = []

    def record(key, exact, sensitivity, share=1.0):
        jax.debug.callback(lambda values: calls.append((np.asarray(values), sensitivity)), exact)
        return jnp.ones_like(exact)  # lets nothing through

    model = family.build(config, DataSpec.from_arrays(np.asarray(table().x)), count=record)
    key = jax.random.key(0)
    jax.block_until_ready(model.step(key, 0, model.init(key), batch))
    jax.effects_barrier()
    return sorted(calls, key=lambda call: (call[0].size, call[1], call[0].sum()))


@pytest.mark.parametrize(
    ("family", "config"),
    [
        (independent, independent.Config(bins=4)),
        (table_marginals, table_marginals.Config(bins=4, chains=64, iterations=2)),
    ],
)
def test_the_rows_of_a_unit_change_counts_by_at_most_their_number_of_sensitivities(family, config):
    batch = table()
    less = batch._replace(weight=batch.weight.at[:K].set(0))
    changes = []
    for (exact, sensitivity), (fewer, same) in zip(
        counted(family, config, batch), counted(family, config, less), strict=True
    ):
        assert sensitivity == same
        changes.append(np.linalg.norm(exact - fewer) / sensitivity)
    assert changes and max(changes) == pytest.approx(K) == pytest.approx(min(changes))


def test_the_rows_of_a_unit_change_clipped_gradients_by_at_most_their_number_of_norms():
    batch = table()

    def loss(params, key, batch):
        return optim.Losses(100.0 + 50 * (batch.x @ params) ** 2)

    less = batch._replace(weight=batch.weight.at[:K].set(0))
    total = clipped_sum(loss, clip=0.5)
    params, key = jnp.array([1.0, -2.0, 0.5]), jax.random.key(0)
    change = np.linalg.norm(total(params, key, batch).gradient - total(params, key, less).gradient)
    assert change == pytest.approx(K * 0.5, rel=1e-3) and change <= K * 0.5
