"""The bound on the likelihood of a diffusion model against its terms and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from one_pixel import MEANS, PIXEL, STD, answering, batch, gaussian, network, signal, state

from synthjax.models import ddpm


def bits_per_dim(config, f, batch, **options):
    """Of one-pixel images."""
    model = ddpm.model(config, PIXEL, net=network(f))
    return -jax.jit(lambda key, b: model.log_prob(key, state(), b, **options))(jax.random.key(0), batch) / np.log(2)


@pytest.mark.parametrize("times", [0, 1, 7, 39])
def test_the_bound_is_the_sum_of_its_terms(times):
    """Against each term's expectation in closed form, for the perfect network and one image."""
    config = ddpm.Config(timesteps=40)
    x, mean, count = 0.5, MEANS[1], 40_000
    rows = batch(np.full((count, 1, 1, 1), x), np.ones(count, np.int32))
    bits = bits_per_dim(config, answering(config, gaussian), rows, times=times)
    a = signal(config)
    s2 = 1 - a**2
    gain = a * STD**2 / (a**2 * STD**2 + s2)
    prior = 0.5 * (a[-1] ** 2 * x**2 + s2[-1] - 1 - np.log(s2[-1]))
    middle = 0.0
    for t in range(2, 41):
        ratio2 = (a[t] / a[t - 1]) ** 2
        c_0, variance = a[t - 1] * (1 - ratio2) / s2[t], (1 - ratio2) * s2[t - 1] / s2[t]
        error = ((1 - gain[t] * a[t]) * (x - mean)) ** 2 + gain[t] ** 2 * s2[t]
        middle += c_0**2 * error / (2 * variance)
    noise = np.linspace(-8, 8, 4001)
    clean = mean + gain[1] * (a[1] * x + np.sqrt(s2[1]) * noise - a[1] * mean)
    mass = np.diff(scipy.stats.norm.cdf(np.stack([x - 1 / 16, x + 1 / 16])[:, None], clean, np.sqrt(s2[1])), axis=0)[0]
    decoder = -np.average(np.log(np.maximum(mass, 1e-12)), weights=scipy.stats.norm.pdf(noise))
    assert np.mean(bits) == pytest.approx((prior + middle + decoder) / np.log(2), rel=0.01)


def test_the_bound_of_a_perfect_network_is_near_the_likelihood():
    """In bits of the grey value; a network that knows less, here not the label, needs more."""
    config, grid = ddpm.Config(), np.linspace(-1, 1, 17)
    mass = np.diff(scipy.stats.norm.cdf(np.arange(-17, 18, 2) / 16, MEANS[:, None], STD), axis=1)
    mass /= mass.sum(axis=1, keepdims=True)
    rng = np.random.default_rng(0)
    y = np.arange(1000, dtype=np.int32) % 2
    stored = np.where(y == 0, *(rng.choice(17, len(y), p=row) for row in mass))
    likelihood = -np.log2(mass[y, stored]).mean()

    def exact(prior):
        """E[x_0 | x_t] of grey values with that prior (2 or 1, 17)."""

        def clean(x_t, a, s, y):
            weight = jnp.log(jnp.asarray(prior))[jnp.minimum(y, len(prior) - 1)[..., 0]]
            weight = jax.nn.softmax(weight - (x_t - a * grid) ** 2 / (2 * s**2), axis=-1)
            return (weight * grid).sum(axis=-1, keepdims=True)

        return clean

    def bits(prior, **options):
        rows = batch(grid[stored].reshape(-1, 1, 1, 1), y)
        return float(bits_per_dim(config, answering(config, exact(prior)), rows, **options).mean())

    perfect = bits(mass, times=0)
    assert likelihood < perfect < likelihood + 0.16  # 0.09 by integration: what 1000 steps lose
    assert bits(mass, times=100) == pytest.approx(perfect, abs=0.06)  # a39794a: 0.7 more
    assert bits(mass.mean(axis=0, keepdims=True)) > perfect + 0.3


def test_grey_values_share_out_all_mass():
    grid = np.linspace(-1, 1, 17, dtype=np.float32)
    mean, std = (g.ravel()[:, None] for g in np.meshgrid([-1.0, -0.3, 0.0, 0.9], [0.01, 0.1, 1.0]))
    mass = np.exp(ddpm.discretised_log_likelihood(grid, mean, std, 17))
    np.testing.assert_allclose(mass.sum(axis=1), 1, atol=1e-5)
    inner = np.diff(scipy.stats.norm.cdf(np.arange(-17, 18, 2) / 16, mean, std), axis=1)[:, 1:-1]
    np.testing.assert_allclose(mass[:, 1:-1], inner, atol=1e-6)


@pytest.mark.parametrize("side", [-1, 1])
def test_grey_values_far_from_the_mean_keep_their_mass(side):
    std = 0.08
    found = ddpm.discretised_log_likelihood(jnp.float32(side * 0.5), 0.0, std, 17)
    mass = scipy.stats.norm.cdf(-(0.5 - 1 / 16) / std) - scipy.stats.norm.cdf(-(0.5 + 1 / 16) / std)
    assert float(found) == pytest.approx(np.log(mass), rel=1e-3)
    assert np.isfinite(ddpm.discretised_log_likelihood(jnp.float32(side), -side, 1e-3, 256))
