"""Diffusion of one pixel, whose network is replaced by functions with known answers."""

import jax.numpy as jnp
import numpy as np

from synthjax.model import Batch, DataSpec
from synthjax.nets import diffusion
from synthjax.nets.network import Network
from synthjax.train.optim import TrainState

PIXEL = DataSpec("image", (1, 1, 1), levels=17, classes=("low", "high"), frequencies=(0.5, 0.5))
MEANS, STD = np.array([-0.3, 0.4]), 0.15  # of the one-pixel images of each class


def network(f):
    """A network that is f(x_t, t, y), t (B,) f32 in [0, 1]."""
    return Network(lambda key: {"w": jnp.zeros(())}, lambda params, x_t, t, y: f(x_t, t, y) + params["w"])


def signal(config):
    return diffusion.signal(config.schedule, config.timesteps)


def amplitudes(config, t):
    """a_t and s_t as (B, 1, 1, 1), of times in [0, 1]."""
    level = diffusion.levels(config.schedule, config.timesteps).at(jnp.round(t * config.timesteps).astype(jnp.int32))
    return level.expand(3)


def answering(config, clean):
    """A network whose prediction of x_0 is clean(x_t, a_t, s_t, y (B, 1, 1, 1))."""

    def f(x_t, t, y):
        a, s = amplitudes(config, t)
        guess = clean(x_t, a, s, y.reshape(-1, 1, 1, 1))
        return (a * x_t - guess) / s if config.prediction == "v" else (x_t - a * guess) / s

    return f


def gaussian(x_t, a, s, y):
    """E[x_0 | x_t] where x_0 ~ N(MEANS[y], STD^2)."""
    mean = jnp.asarray(MEANS)[jnp.minimum(y, 1)]
    return mean + a * STD**2 / (a**2 * STD**2 + s**2) * (x_t - a * mean)


def state():
    params = {"w": jnp.zeros(())}
    return TrainState(params, params, None)


def batch(x, y):
    count = len(x)
    return Batch(jnp.asarray(x, jnp.float32), jnp.asarray(y), jnp.ones(count), jnp.arange(count))
