"""Private counts: the `optim.Count` that adds discrete Gaussian noise, and keeps a record of what it releases.

    hook = Counts(target=4.0)
    model = independent.build(config, spec, count=hook)
    spent = epsilon(hook.traced(model, spec), delta)

    >>> hook = Counts(target=4.0)
    >>> hook(jax.random.key(0), jnp.array([3.0, 5.0]), 1.0).dtype
    dtype('float32')
    >>> hook.seen
    [Release(name='counts 1', mechanism='discrete gaussian', noise=4.0, rate=1.0, count=1, delta=0.0, rows=1, norm=1.0)]

Formal guarantees. Each call is the release of a discrete Gaussian mechanism that `seen` lists, if one row changes the
counts as `optim.exact_count` says. All calls together cost as much as one Gaussian mechanism with noise multiplier
`target`, if their shares sum to at most 1.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from synthjax.model import Batch, DataSpec, Model
from synthjax.privacy import noise, units
from synthjax.privacy.accounting import Release


@dataclass
class Counts:
    """The hook; see the module's docstring."""

    target: float
    """Noise multiplier of all releases together, over the sensitivity to a unit."""
    rows: int = 1
    """Rows of a unit at most."""
    seen: list[Release] = field(default_factory=list)
    """What was released, in the order of the calls."""

    def __call__(self, key: jax.Array, exact: jax.Array, sensitivity: float, share: float = 1.0) -> jax.Array:
        """The counts with noise; see `optim.exact_count`.

        Raises:
            InputError: the noise is larger or smaller than `noise.discrete_gaussian` can draw.
        """
        scale, name = self.target * sensitivity / share**0.5, f"counts {len(self.seen) + 1}"
        if jnp.issubdtype(exact.dtype, jnp.integer):
            sigma = math.hypot(self.rows * scale, units.ROUNDED)
            release = Release(name, "discrete gaussian", sigma, rows=self.rows, norm=sensitivity)
        else:
            sigma = units.discrete_noise(scale, self.rows)
            release = Release(name, "discrete gaussian", sigma, count=round(sensitivity**2), rows=self.rows)
        self.seen.append(release)
        drawn = noise.discrete_gaussian(key, sigma, exact.shape)
        return (jnp.round(exact).astype(jnp.int32) + drawn).astype(exact.dtype)

    def traced(self, model: Model, spec: DataSpec) -> list[Release]:
        """What one step of the model releases, found by tracing it."""
        self.seen.clear()
        shapes = [((8, *spec.shape), jnp.float32), *(((8,), kind) for kind in (jnp.int32, jnp.float32, jnp.int32))]
        arrays: Any = [jax.ShapeDtypeStruct(*one) for one in shapes]
        batch = Batch(*arrays)
        key = jax.random.key(0)
        jax.eval_shape(model.step, key, jax.ShapeDtypeStruct((), jnp.int32), jax.eval_shape(model.init, key), batch)
        return list(self.seen)
