r"""The Gaussian noising chain and the steps back along it, for whatever predicts x_0.

    q(x_t | x_0) = N(a_t x_0, s_t^2 I),   a_t^2 + s_t^2 = 1,   t = 0 ... T      (Ho et al. 2020, arXiv:2006.11239)

See `synthjax.models.ddpm` for the sampler's mathematics.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np

from synthjax.errors import InputError


class Level(NamedTuple):
    """Signal a_t and noise s_t of one time, or of all of them: f32 arrays of one shape."""

    a: Any
    s: Any

    def at(self, t: jax.Array) -> "Level":
        """Those of times t."""
        return Level(jnp.asarray(self.a)[t], jnp.asarray(self.s)[t])

    def expand(self, dims: int) -> "Level":
        """With `dims` axes of length 1 behind the others."""
        return Level(*(jnp.expand_dims(value, range(-dims, 0)) for value in self))


def signal(schedule: str, timesteps: int) -> np.ndarray:
    """a_t of the schedule "cosine" or "linear" for t = 0 ... T: (T + 1,) f64 in [0, 1], falling from a_0 = 1."""
    t = np.arange(timesteps + 1) / timesteps
    if schedule == "cosine":
        f = np.cos((t + 0.008) / 1.008 * np.pi / 2) ** 2
        betas = np.minimum(1 - f[1:] / f[:-1], 0.999)
    else:  # the betas of the 1000-step chain, spread over T steps
        betas = np.minimum(np.linspace(1e-4, 0.02, timesteps) * 1000 / timesteps, 0.999)
    return np.concatenate([[1.0], np.sqrt(np.cumprod(1 - betas))])


def levels(schedule: str, timesteps: int) -> Level:
    """Levels of t = 0 ... T, (T + 1,) each; s_t from f64: in f32, 1 - a_t^2 loses its digits where a_t is near 1."""
    a = signal(schedule, timesteps)
    return Level(a.astype(np.float32), np.sqrt((1 - a) * (1 + a)).astype(np.float32))


def posterior(level_s: Level, level_t: Level) -> tuple[jax.Array, jax.Array, jax.Array]:
    """q(x_s | x_t, x_0) = N(c_0 x_0 + c_t x_t, variance), s < t: (c_0, c_t, variance), shaped like the arguments."""
    ratio, s_t2 = level_t.a / level_s.a, level_t.s**2
    # 1 - (a_t / a_s)^2 = (s_t^2 - s_s^2) / a_s^2, without a difference of numbers near 1.
    noise = (level_t.s - level_s.s) * (level_t.s + level_s.s) / level_s.a**2
    return level_s.a * noise / s_t2, ratio * level_s.s**2 / s_t2, noise * level_s.s**2 / s_t2


def even_times(key: jax.Array, count: int, timesteps: int) -> jax.Array:
    """(count,) i32 in 1 ... T, spread evenly with one random offset: less variance of a loss than independent ones.

    (Kingma et al. 2021, arXiv:2107.00630.)
    """
    u = (jax.random.uniform(key, dtype=jnp.float32) + np.arange(count, dtype=np.float32) / count) % 1.0
    return 1 + jnp.minimum((u * timesteps).astype(jnp.int32), timesteps - 1)


def step_back(
    key: jax.Array, x_t: jax.Array, clean: jax.Array, level_t: Level, level_s: Level, eta: jax.Array | float
) -> jax.Array:
    """A draw of x_s from x_t and the prediction `clean` of x_0: eta = 1 ancestral, eta = 0 deterministic (DDIM)."""
    noise = (x_t - level_t.a * clean) / level_t.s
    variance = eta**2 * posterior(level_s, level_t)[2]
    fresh = jax.random.normal(key, x_t.shape, x_t.dtype)
    kept = jnp.sqrt(jnp.maximum(level_s.s**2 - variance, 0))
    return level_s.a * clean + kept * noise + jnp.sqrt(variance) * fresh


@dataclass(frozen=True)
class Sampling:
    """Options of `Model.sample`; the defaults are the Config's.

    Under `jit` and `vmap`, `steps`, `eta` and `guidance` may be traced.
    """

    steps: int
    """From noise to example, 1 ... timesteps. With one step, numbers are the conditional mean, not a sample."""
    eta: float
    """0 deterministic (DDIM), 1 ancestral (DDPM)."""
    order: int
    """2: DPM-Solver++(2M) where eta is 0; 1: DDIM as it is."""
    guidance: float
    """w: sharper for the label than the data is; 0 samples from the model itself."""

    @staticmethod
    def defaults(config: Any) -> dict[str, Any]:
        """Those of the Config."""
        return {"steps": config.sample_steps, "eta": config.eta, "order": config.order, "guidance": config.guidance}

    @classmethod
    def of(cls, config: Any, **options: Any) -> Self:
        """The options of one call.

        Raises:
          InputError: one is out of its range.
        """
        chosen = cls(**{**cls.defaults(config), **options})
        check_steps("sample.steps", chosen.steps, config.timesteps)
        if chosen.order not in (1, 2):
            raise InputError(f"sample.order={chosen.order}: must be 1 or 2")
        return chosen


class Solver(NamedTuple):
    """Leads noise to x_0 in `steps` steps along evenly spaced times; all but `order` may be traced."""

    levels: Level
    """Of all times 0 ... T."""
    steps: jax.Array | int
    eta: jax.Array | float
    order: int

    def time(self, k: jax.Array | int) -> jax.Array:
        """Time before step k, i32: T where k = 0, 0 where k = `steps`."""
        timesteps = len(self.levels.a) - 1
        return jnp.round(timesteps - k * (timesteps / jnp.asarray(self.steps, jnp.float32))).astype(jnp.int32)

    def run(
        self, key: jax.Array, x: jax.Array, predict: Callable[[jax.Array, jax.Array], jax.Array], last: int = 0
    ) -> jax.Array:
        """The state after the steps.

        Args:
          key: typed; of the noise of each step.
          x: (B, ...) standard normal.
          predict: (x_t, t ()) -> x_0's prediction, like x_t.
          last: steps that are left out at the end.
        """

        def body(k, carry):
            x_t, before = carry
            clean = predict(x_t, self.time(k))
            after = clean + self.extrapolation(k) * (clean - before)
            level_t, level_s = self.levels.at(self.time(k)), self.levels.at(self.time(k + 1))
            return step_back(jax.random.fold_in(key, k), x_t, after, level_t, level_s, self.eta), clean

        return jax.lax.fori_loop(0, self.steps - last, body, (x, jnp.zeros_like(x)))[0]

    def extrapolation(self, k: jax.Array) -> jax.Array:
        """DPM-Solver++(2M): h_k / (2 h_(k-1)), h_k the length of step k in log(a / s); 0 for the first and the last."""
        if self.order == 1:
            return jnp.float32(0)
        before, here, after = (self.levels.at(self.time(j)) for j in (jnp.maximum(k - 1, 0), k, k + 1))
        log_ratio = [jnp.log(level.a) - jnp.log(jnp.maximum(level.s, 1e-30)) for level in (before, here, after)]
        h_before, h = log_ratio[1] - log_ratio[0], log_ratio[2] - log_ratio[1]
        used = (k > 0) & (k < self.steps - 1) & (self.eta == 0)
        return jnp.where(used, h / (2 * jnp.where(used, h_before, 1.0)), 0.0)


def mean_error(key: jax.Array, timesteps: int, error: Callable[[jax.Array, jax.Array], jax.Array]) -> jax.Array:
    """error(key, t) averaged over ten fixed times t, (B,): how surprised a model is by each of B examples."""
    times = np.maximum(np.linspace(0.05, 0.95, 10) * timesteps, 1).astype(np.int32)
    return jax.lax.map(lambda each: error(*each), (jax.random.split(key, len(times)), times)).mean(axis=0)


def check_steps(name: str, steps: Any, timesteps: int) -> None:
    """Raises InputError unless `steps`, if it is no traced number, is in 1 ... timesteps."""
    if not isinstance(steps, jax.core.Tracer) and not 1 <= steps <= timesteps:
        raise InputError(f"{name}={steps}: must be in 1 ... timesteps={timesteps}")


def check_share(name: str, share: Any) -> None:
    """Raises InputError unless `share`, if it is no traced number, is at least 0 and below 1."""
    if not isinstance(share, jax.core.Tracer) and not 0 <= share < 1:
        raise InputError(f"{name}={share}: must be at least 0 and below 1")
