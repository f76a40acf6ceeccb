r"""Trainings of counting models with and without a canary: scores for audits, as `canary` has them for gradients.

The canary is a row, which is in one cell of each table that is counted. The attacker sees all noisy counts and knows
all other rows. With n_i the noisy counts of release i, e_i the exact ones without the canary, d_i what it adds and
sigma_i the parameter of the noise, the best test between the two is

    s = sum_i <n_i - e_i, d_i> / sigma_i^2 / m  ~  about N(0, 1) without the canary, N(m, 1) with it

where m^2 = sum_i |d_i|^2 / sigma_i^2. Noise of sigma_i = z |d_i| / sqrt(share_i) makes m = 1 / z.

Which tables are counted may depend on noisy counts before. So e_i and d_i are what is counted when the step is
repeated, without and with the canary, and each `count` returns the noisy counts of the run.

    scores = run(lambda count: table_marginals.build(config, spec, count=count), Counts(z), batch, key, runs=1000)
    audit.gaussian(*scores, delta=1e-5)
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from synthjax.model import Batch, Model
from synthjax.privacy.accounting import Release
from synthjax.privacy.canary import Scores
from synthjax.train import optim


class NotedCount(Protocol):
    """An `optim.Count` that notes its releases."""

    seen: list[Release]
    """One for each call, with the parameter of its noise."""

    def __call__(self, key: jax.Array, exact: jax.Array, sensitivity: float, share: float = 1.0) -> jax.Array:
        """The counts with noise."""
        ...


def run(build: Callable[[optim.Count], Model], count: NotedCount, batch: Batch, key: jax.Array, *, runs: int) -> Scores:
    """Counts many times with the canary, and as many times without it.

    Args:
        build: makes the model with a function that counts.
        count: the private counts that are audited.
        batch: the other rows.
        key: of the runs, which differ in their noise.
        runs: number of runs of either kind.

    Returns:
        The scores of all runs. The model is not fitted: XLA leaves out what is computed of noisy counts and not needed.
    """
    joined = jax.tree.map(lambda a: jnp.concatenate([a, a[:1]]), batch)
    others = joined._replace(weight=joined.weight.at[-1].set(0))
    tap = _Tap(build, count)
    scores = []
    for i, each in enumerate(jax.random.split(key, 2 * runs)):
        rows = joined if i < runs else others
        tap.released(each, rows)
        noisy, sigmas = tap.values(), [one.noise for one in count.seen[: len(tap.found)]]
        tap.counted(each, others, noisy)
        without = tap.values()
        tap.counted(each, joined, noisy)
        added = [w - o for w, o in zip(tap.values(), without, strict=True)]
        parts = [(a / s, (n - o) / s) for a, n, o, s in zip(added, noisy, without, sigmas, strict=True)]
        length = np.sqrt(sum(np.square(a).sum() for a, _ in parts))
        scores.append(sum((a * rest).sum() for a, rest in parts) / length)
    return Scores(*np.split(np.asarray(scores, np.float64), 2))


class _Tap:
    """A model's first step, compiled for its counts alone."""

    def __init__(self, build: Callable[[optim.Count], Model], count: NotedCount):
        self.found: dict[int, np.ndarray] = {}
        self._build, self._count = build, count
        self._released = jax.jit(self._trace)
        self._counted = jax.jit(self._trace)

    def released(self, key: jax.Array, batch: Batch) -> None:
        """Draws noisy counts into `found`."""
        self._run(self._released, key, batch, None)

    def counted(self, key: jax.Array, batch: Batch, noisy: Sequence[np.ndarray]) -> None:
        """Puts exact counts into `found`, where the model sees the noisy ones."""
        self._run(self._counted, key, batch, list(noisy))

    def values(self) -> list[np.ndarray]:
        """What was found, in the order of the calls of `count`."""
        return [self.found[i].astype(np.float64) for i in sorted(self.found)]

    def _run(self, step: Callable[..., Any], key: jax.Array, batch: Batch, noisy: list[np.ndarray] | None) -> None:
        self.found.clear()
        jax.block_until_ready(step(key, batch, noisy))
        jax.effects_barrier()

    def _trace(self, key: jax.Array, batch: Batch, noisy: list[jax.Array] | None) -> int:
        calls: list[None] = []

        def count(key: jax.Array, exact: jax.Array, sensitivity: float, share: float = 1.0) -> jax.Array:
            place = len(calls)
            calls.append(None)
            made = self._count(key, exact, sensitivity, share) if noisy is None else noisy[place]
            jax.debug.callback(functools.partial(self._note, place), made if noisy is None else exact)
            return made

        model = self._build(count)
        model.step(key, 0, model.init(key), batch)
        return 0

    def _note(self, place: int, values: Any) -> None:
        self.found[place] = np.asarray(values)
