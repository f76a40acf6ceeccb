r"""The Gaussian diffusion process and solvers for its reversal, for any function that predicts x_0.

    q(x_t | x_0) = N(a_t x_0, s_t^2 I),   a_t^2 + s_t^2 = 1,   t = 0 ... T      (Ho et al. 2020, arXiv:2006.11239)

See `synthjax.models.ddpm` for the sampler's mathematics.

    >>> noise_levels = levels("cosine", 1000)
    >>> noise_levels.a.shape, round(float(noise_levels.a[500]), 2)
    ((1001,), 0.7)
    >>> solver = Solver(noise_levels, steps=4, eta=0.0, order=1)
    >>> [int(solver.time(k)) for k in range(5)]
    [1000, 750, 500, 250, 0]
    >>> x = solver.run(jax.random.key(0), jnp.ones((2, 3)), lambda x_t, t: 0 * x_t)
    >>> x.tolist()
    [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np

from synthjax.errors import InputError


class Level(NamedTuple):
    """Signal level a_t and noise level s_t of one time or of several: f32 arrays of the same shape."""

    a: Any
    s: Any

    def at(self, t: jax.Array) -> "Level":
        """The levels at times t (...), i32: arrays (...)."""
        return Level(jnp.asarray(self.a)[t], jnp.asarray(self.s)[t])

    def expand(self, dims: int) -> "Level":
        """The levels with `dims` axes of length 1 appended."""
        return Level(*(jnp.expand_dims(value, range(-dims, 0)) for value in self))


def signal(schedule: str, timesteps: int) -> np.ndarray:
    """Signal levels a_t of a noise schedule for t = 0 ... T.

    Args:
      schedule: "cosine" (Nichol & Dhariwal 2021, arXiv:2102.09672) or "linear" (Ho et al. 2020).
      timesteps: T, at least 1.

    Returns:
      (T + 1,) f64 in [0, 1], decreasing from a_0 = 1.
    """
    t = np.arange(timesteps + 1) / timesteps
    if schedule == "cosine":
        f = np.cos((t + 0.008) / 1.008 * np.pi / 2) ** 2
        betas = np.minimum(1 - f[1:] / f[:-1], 0.999)
    else:  # the betas of the 1000-step chain, rescaled to T steps
        betas = np.minimum(np.linspace(1e-4, 0.02, timesteps) * 1000 / timesteps, 0.999)
    return np.concatenate([[1.0], np.sqrt(np.cumprod(1 - betas))])


def levels(schedule: str, timesteps: int) -> Level:
    """Signal and noise levels for t = 0 ... T, (T + 1,) f32 each. Arguments are those of `signal`.

    s_t is computed in f64, since 1 - a_t^2 cancels in f32 where a_t is near 1.
    """
    a = signal(schedule, timesteps)
    return Level(a.astype(np.float32), np.sqrt((1 - a) * (1 + a)).astype(np.float32))


def posterior(level_s: Level, level_t: Level) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Coefficients of q(x_s | x_t, x_0) = N(c_0 x_0 + c_t x_t, variance) for s < t.

    Returns:
      (c_0, c_t, variance), each of the shape of the levels.
    """
    ratio, s_t2 = level_t.a / level_s.a, level_t.s**2
    # 1 - (a_t / a_s)^2 = (s_t^2 - s_s^2) / a_s^2, written without a difference of numbers near 1.
    noise = (level_t.s - level_s.s) * (level_t.s + level_s.s) / level_s.a**2
    return level_s.a * noise / s_t2, ratio * level_s.s**2 / s_t2, noise * level_s.s**2 / s_t2


def even_times(key: jax.Array, count: int, timesteps: int) -> jax.Array:
    """Evenly spaced times with one random offset, which reduce the variance of a loss compared to independent times.

    This is the low-discrepancy sampler of Kingma et al. 2021 (arXiv:2107.00630). Each time is uniform on 1 ... T.

    Returns:
      (count,) i32 in 1 ... T.
    """
    u = (jax.random.uniform(key, dtype=jnp.float32) + np.arange(count, dtype=np.float32) / count) % 1.0
    return 1 + jnp.minimum((u * timesteps).astype(jnp.int32), timesteps - 1)


def step_back(
    key: jax.Array, x_t: jax.Array, clean: jax.Array, level_t: Level, level_s: Level, eta: jax.Array | float
) -> jax.Array:
    """Draws x_s from x_t and a prediction of x_0 (Song et al. 2021, arXiv:2010.02502), s < t.

    Args:
      key: typed PRNG key.
      x_t: (B, ...) f32.
      clean: like `x_t`, the prediction of x_0.
      level_t: levels at time t, which broadcast with `x_t`.
      level_s: levels at time s.
      eta: 1 for ancestral sampling (DDPM), 0 for deterministic sampling (DDIM), or between.

    Returns:
      x_s, like `x_t`.
    """
    predicted_noise = (x_t - level_t.a * clean) / level_t.s
    variance = eta**2 * posterior(level_s, level_t)[2]
    new_noise = jax.random.normal(key, x_t.shape, x_t.dtype)
    scale = jnp.sqrt(jnp.maximum(level_s.s**2 - variance, 0))
    return level_s.a * clean + scale * predicted_noise + jnp.sqrt(variance) * new_noise


@dataclass(frozen=True)
class Sampling:
    """Options of `Model.sample`; the defaults are the Config's.

    Under `jit` and `vmap`, `steps`, `eta` and `guidance` may be traced.
    """

    steps: int
    """Number of solver steps, 1 ... timesteps. With one step, numeric values are the conditional mean, not a sample."""
    eta: float
    """0 for deterministic sampling (DDIM), 1 for ancestral sampling (DDPM)."""
    order: int
    """1: DDIM. 2: DPM-Solver++(2M) if eta is 0."""
    guidance: float
    """Guidance weight w: above 0, examples are more typical of their label; 0 samples from the model itself."""

    @staticmethod
    def defaults(config: Any) -> dict[str, Any]:
        """The defaults that a Config sets."""
        return {"steps": config.sample_steps, "eta": config.eta, "order": config.order, "guidance": config.guidance}

    @classmethod
    def of(cls, config: Any, **options: Any) -> Self:
        """The options of one call: `options`, and the Config's defaults for the others.

        Raises:
          InputError: an option is out of range.
        """
        chosen = cls(**{**cls.defaults(config), **options})
        check_steps("sample.steps", chosen.steps, config.timesteps)
        if chosen.order not in (1, 2):
            raise InputError(f"sample.order={chosen.order}: must be 1 or 2")
        return chosen


class Solver(NamedTuple):
    """Solves the reverse process from noise to x_0 in `steps` evenly spaced times. All but `order` may be traced."""

    levels: Level
    """Levels at all times 0 ... T."""
    steps: jax.Array | int
    eta: jax.Array | float
    order: int

    def time(self, k: jax.Array | int) -> jax.Array:
        """Time before step k, i32: T for k = 0, 0 for k = `steps`."""
        timesteps = len(self.levels.a) - 1
        return jnp.round(timesteps - k * (timesteps / jnp.asarray(self.steps, jnp.float32))).astype(jnp.int32)

    def run(
        self, key: jax.Array, x: jax.Array, predict: Callable[[jax.Array, jax.Array], jax.Array], last: int = 0
    ) -> jax.Array:
        """Runs the solver.

        Args:
          key: typed PRNG key for the noise of the steps.
          x: (B, ...) standard normal noise.
          predict: (x_t (B, ...), t ()) -> prediction of x_0, like x_t.
          last: number of final steps to leave out.

        Returns:
          The state after the steps, like `x`.
        """

        def body(k, carry):
            x_t, previous = carry
            clean = predict(x_t, self.time(k))
            extrapolated = clean + self.extrapolation(k) * (clean - previous)
            level_t, level_s = self.levels.at(self.time(k)), self.levels.at(self.time(k + 1))
            return step_back(jax.random.fold_in(key, k), x_t, extrapolated, level_t, level_s, self.eta), clean

        return jax.lax.fori_loop(0, self.steps - last, body, (x, jnp.zeros_like(x)))[0]

    def extrapolation(self, k: jax.Array) -> jax.Array:
        """Weight of the linear extrapolation of the prediction in step k, of DPM-Solver++(2M).

        It is h_k / (2 h_(k-1)), where h_k is the length of step k in log(a / s) (Lu et al. 2022, arXiv:2211.01095,
        algorithm 2). It is 0 for the first and last steps, for order 1, and for eta above 0.

        Returns:
          () f32.
        """
        if self.order == 1:
            return jnp.float32(0)
        # Half the logarithm of the signal-to-noise ratio, at the starts of steps k - 1, k and k + 1.
        three = [self.levels.at(self.time(j)) for j in (jnp.maximum(k - 1, 0), k, k + 1)]
        log_ratio = [jnp.log(level.a) - jnp.log(jnp.maximum(level.s, 1e-30)) for level in three]
        h_previous, h = log_ratio[1] - log_ratio[0], log_ratio[2] - log_ratio[1]
        used = (k > 0) & (k < self.steps - 1) & (self.eta == 0)
        return jnp.where(used, h / (2 * jnp.where(used, h_previous, 1.0)), 0.0)


def mean_error(key: jax.Array, timesteps: int, error: Callable[[jax.Array, jax.Array], jax.Array]) -> jax.Array:
    """Mean prediction error over ten fixed times; a score of how badly a model fits each of B examples.

    Args:
      key: typed PRNG key.
      timesteps: T.
      error: (key, t ()) -> (B,) f32.

    Returns:
      (B,) f32.
    """
    times = np.maximum(np.linspace(0.05, 0.95, 10) * timesteps, 1).astype(np.int32)
    return jax.lax.map(lambda each: error(*each), (jax.random.split(key, len(times)), times)).mean(axis=0)


def guided(
    predict: Callable[..., jax.Array], inputs: tuple[jax.Array, ...], labels: jax.Array, none: int, guidance: Any
) -> jax.Array:
    """Classifier-free guidance (Ho & Salimans 2022, arXiv:2207.12598): (1 + w) f(x, y) - w f(x, none).

    Args:
      predict: (*inputs, labels) -> (B, ...), called once, with both kinds of labels in one batch.
      inputs: arrays (B, ...).
      labels: (B,) i32.
      none: the label that means no label.
      guidance: w; the number 0 leaves out half of the work.
    """
    if isinstance(guidance, int | float) and guidance == 0:
        return predict(*inputs, labels)
    both = jnp.concatenate([labels, jnp.full_like(labels, none)])
    with_label, without = jnp.split(predict(*(jnp.concatenate([a, a]) for a in inputs), both), 2)
    return (1 + guidance) * with_label - guidance * without


def check_steps(name: str, steps: Any, timesteps: int) -> None:
    """Raises InputError if `steps` is not in 1 ... timesteps. A traced value is not checked."""
    if not isinstance(steps, jax.core.Tracer) and not 1 <= steps <= timesteps:
        raise InputError(f"{name}={steps}: must be in 1 ... timesteps={timesteps}")


def check_share(name: str, share: Any) -> None:
    """Raises InputError if `share` is not in [0, 1). A traced value is not checked."""
    if not isinstance(share, jax.core.Tracer) and not 0 <= share < 1:
        raise InputError(f"{name}={share}: must be at least 0 and below 1")
