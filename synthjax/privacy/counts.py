"""Private counts: the `optim.Count` that adds discrete Gaussian noise, and keeps a record of what it releases.

    hook = Counts(target=4.0)
    model = independent.build(config, spec, count=hook)
    spent = epsilon(hook.traced(model, spec), delta)

    >>> hook = Counts(target=4.0)
    >>> hook(jax.random.key(0), jnp.array([3.0, 5.0]), 1.0).dtype
    dtype('float32')
    >>> [(one.name, one.noise, one.count, one.delta < 1e-15) for one in hook.seen]
    [('counts 1', 4.0, 1, True)]

Formal guarantees. Each call is the release of a discrete Gaussian mechanism that `seen` lists, if one row changes the
counts as `optim.exact_count` says. All calls together cost as much as one Gaussian mechanism with noise multiplier
`target`, if their shares sum to at most 1.
"""

import dataclasses
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
            sigma, changed = math.hypot(self.rows * scale, units.ROUNDED), min(exact.shape[-1], sensitivity**2)
            release = Release(name, "discrete gaussian", sigma, rows=self.rows, norm=sensitivity)
        else:
            sigma, changed = units.discrete_noise(scale, self.rows), round(sensitivity**2)
            release = Release(name, "discrete gaussian", sigma, count=changed, rows=self.rows)
        of_table = self.rows * changed * noise.distance(sigma)
        self.seen.append(dataclasses.replace(release, delta=of_table))
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
