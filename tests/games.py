"""Small games: a point against a line, by hand, and networks that can learn a ring of Gaussians."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from synthjax import adversarial
from synthjax.gan_losses import Rules
from synthjax.model import Batch

CLIPPED = Rules(loss="wasserstein", weight_clip=100.0)


class Point(nn.Module):
    """A generator that always makes the same example."""

    dims: int = 2

    @nn.compact
    def __call__(self, z, y, weight, train):
        at = self.param("at", nn.initializers.constant(0.5), (self.dims,))
        return jnp.broadcast_to(at, (len(z), self.dims))


class Linear(nn.Module):
    """D(x) = w . x, with x itself as features."""

    dims: int = 2

    @nn.compact
    def __call__(self, x, y, weight, train):
        w = self.param("w", nn.initializers.constant(2.0), (self.dims,))
        return x @ w, x


def batch(x, weight=None) -> Batch:
    x = jnp.asarray(x, jnp.float32)
    weight = jnp.ones(len(x)) if weight is None else jnp.asarray(weight, jnp.float32)
    return Batch(x, jnp.zeros(len(x), jnp.int32), weight, jnp.arange(len(x), dtype=jnp.int32))


def points(count=6, key=0) -> jax.Array:
    return jax.random.normal(jax.random.key(key), (count, 2))


def play(rules, optimiser=None, generator=None, critic=None, steps=100, **options):
    """A game without labels; options: `learning_rate`, `ema_decay`, `losses`, `batch_coupling`, `frequencies`."""
    optimiser = optimiser or optax.sgd(0.1)
    networks = adversarial.Networks(generator or Point(), critic or Linear(), 2, options.pop("batch_coupling", ""))
    rate, decay = options.pop("learning_rate", None), options.pop("ema_decay", 0.5)
    optimisers = adversarial.Optimisers(optimiser, optimiser, rate, decay)
    return adversarial.game(rules, networks, optimisers, options.pop("frequencies", ()), steps, **options)


def w(state) -> np.ndarray:
    return np.asarray(state.critic["params"]["w"])


def at(state) -> np.ndarray:
    return np.asarray(state.generator["params"]["at"])


class Dense(nn.Module):
    """Three layers."""

    features: int

    @nn.compact
    def __call__(self, x) -> Any:
        for _ in range(2):
            x = nn.relu(nn.Dense(64)(x))
        return nn.Dense(self.features)(x), x


class RingGenerator(nn.Module):
    @nn.compact
    def __call__(self, z, y, weight, train):
        return Dense(2)(z)[0]


class RingCritic(nn.Module):
    @nn.compact
    def __call__(self, x, y, weight, train):
        values, features = Dense(1)(x)
        return values[:, 0], features
