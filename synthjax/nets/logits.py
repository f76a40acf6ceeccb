r"""Logistic regression of a state on features, fitted to moments in place of rows.

    p(t | h) ~ exp(b(t) + sum_wl h_w theta_wl g_l(t))

The objective is sum_wl theta_wl M_wl + <b, p> - E log Z(h) - sum_wl penalty_wl theta_wl^2 / 2, where M_wl is the mean
of h_w g_l(t), p the marginal of t, and E the mean over given features. It is concave. At its maximum without a penalty
the model has these moments.

    >>> h = jnp.array([[1.0], [1.0], [-1.0], [-1.0]])
    >>> g, p = jnp.array([[1.0], [-1.0]]), jnp.array([0.5, 0.5])
    >>> fit = Conditional(h, g, p, moments=jnp.array([[0.6]]), penalty=jnp.array([[0.0]]))
    >>> theta, b = fit.maximise(40, jnp.float32(1))
    >>> [round(float(p), 2) for p in jax.nn.softmax(fit.logits(theta, b))[0]]
    [0.8, 0.2]
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

_NONE = np.float32(-1e30)  # logit of what is impossible
_TINY = 1e-30


class Conditional(NamedTuple):
    """The objective of one column, with T functions g_l of its S states."""

    features: jax.Array
    """(P, W) f32 functions of the columns before, of each of P rows; 0 for other columns."""
    functions: jax.Array
    """(S, T) f32 g_l(t)."""
    p: jax.Array
    """(S,) f32 marginal; 0 for what is impossible."""
    moments: jax.Array
    """(W, T) f32; 0 for other columns."""
    penalty: jax.Array
    """(W, T) f32."""

    def logits(self, theta: jax.Array, b: jax.Array) -> jax.Array:
        """(P, S) f32 for parameters (W, T) and (S,)."""
        return jnp.where((self.p > 0)[None], (self.features @ theta) @ self.functions.T + b[None], _NONE)

    def likelihood(self, theta: jax.Array, b: jax.Array, log_z: jax.Array) -> jax.Array:
        """Mean log p_c, () f32, if the moments are those of the rows."""
        return (self.moments * theta).sum() + self.p @ b - log_z.mean()

    def ascend(self, theta: jax.Array, b: jax.Array):
        """The objective, () f32, and its gradient."""
        logits = self.logits(theta, b)
        log_z = jax.nn.logsumexp(logits, axis=1)
        q = jnp.exp(logits - log_z[:, None])
        value = self.likelihood(theta, b, log_z) - (self.penalty * theta**2).sum() / 2
        slope = self.moments - self.features.T @ (q @ self.functions) / len(q) - self.penalty * theta
        return value, slope, self.p - q.mean(axis=0)

    def maximise(self, iterations: int, rate: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The parameters with the largest objective; `rate` is the first step."""
        start = jnp.zeros(self.moments.shape, jnp.float32), jnp.log(jnp.maximum(self.p, _TINY)) * (self.p > 0)

        def improve(_, carry):
            before, ahead, best, value, momentum, rate = carry
            now, slope, slope_b = self.ascend(*ahead)
            fails = ~(now >= value - 1e-5)
            step = ahead[0] + rate / (1 + rate * self.penalty) * slope, ahead[1] + rate * slope_b / (self.p + 1e-4)
            # From the best point so far, with half the step, where the objective has fallen.
            best = jax.tree.map(lambda old, new: jnp.where(fails, old, new), best, ahead)
            after = jax.tree.map(lambda old, new: jnp.where(fails, old, new), best, step)
            new_momentum = jnp.where(fails, 1.0, (1 + jnp.sqrt(1 + 4 * momentum**2)) / 2)
            push = jnp.where(fails, 0.0, (momentum - 1) / new_momentum)
            ahead = jax.tree.map(lambda new, old: new + push * (new - old), after, before)
            rate = rate * jnp.where(fails, 0.5, 1.05)
            return after, ahead, best, jnp.where(fails, value, now), new_momentum, rate

        carry = start, start, start, jnp.float32(-jnp.inf), jnp.float32(1), rate
        return jax.lax.fori_loop(0, iterations, improve, carry)[2]
