r"""Losses, penalties, metrics and options of a GAN: what `synthjax.adversarial` puts together.

With d = D(x) and e = D(G(z)), the critic's values of real and of generated examples:

    bce          critic  softplus(-d) + softplus(e)      generator  softplus(-e)  (Goodfellow et al. 2014, 1406.2661)
    hinge        critic  max(0, 1 - d) + max(0, 1 + e)   generator  -e            (Lim & Ye 2017, arXiv:1705.02894)
    wasserstein  critic  e - d                           generator  -e            (Arjovsky et al. 2017, 1701.07875)
    cramer       critic  f(G(z)) - f(x)                  f(x) = |h(x) - h(G(z'))| - |h(x)|, h the critic's features;
                 the generator lowers the energy distance of h(x) and h(G(z))     (Bellemare et al. 2017, 1705.10743)

The last two need a critic of bounded slope: a gradient penalty (|grad D(x^)| - 1)^2 at x^ between real and generated
examples (Gulrajani et al. 2017, arXiv:1704.00028), or weights clipped to a box.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from synthjax.errors import InputError
from synthjax.model import Metrics


@dataclass(frozen=True)
class Rules:
    """Loss, penalties and number of updates of a GAN. Coefficients of 0 switch a term off.

    Raises:
      InputError: a field is out of its range, or two contradict each other.
    """

    loss: Literal["bce", "hinge", "wasserstein", "cramer"] = "bce"
    n_critic: int = 1
    """Critic updates a step, each on a batch of its own."""
    critic_warmup: int = 0
    """Of the run's steps, how many at its start update the critic alone; at most a tenth of them."""
    gradient_penalty: float = 0.0
    """Coefficient of (|grad D| - 1)^2 between real and generated examples; 10 in Gulrajani et al. 2017."""
    weight_clip: float = 0.0
    """The critic's parameters are clipped to [-weight_clip, weight_clip]; 0.01 in Arjovsky et al. 2017."""
    r1: float = 0.0
    """Coefficient of |grad D|^2 / 2 on real examples (Mescheder et al. 2018, arXiv:1801.04406)."""
    label_smoothing: float = 0.0
    """Real examples count as real by 1 - label_smoothing; one-sided, "bce" only (Salimans et al. 2016)."""
    feature_matching: float = 0.0
    """Coefficient of |mean features of real - of generated examples|^2 (Salimans et al. 2016, arXiv:1606.03498)."""
    historical_averaging: float = 0.0
    """Coefficient of |params - their mean over all steps|^2, both networks (Salimans et al. 2016)."""
    instance_noise: float = 0.0
    """Deviation of noise on the examples that the critic compares, but not on those at which a penalty takes its slope;
    falls linearly to 0 (Sønderby et al. 2017, arXiv:1610.04490)."""

    def __post_init__(self) -> None:
        if self.n_critic < 1:
            raise InputError(f"model.rules.n_critic={self.n_critic}: must be at least 1")
        for name in ("critic_warmup", "gradient_penalty", "weight_clip", "r1", "feature_matching",
                     "historical_averaging", "instance_noise"):  # fmt: skip
            if not getattr(self, name) >= 0:
                raise InputError(f"model.rules.{name}={getattr(self, name)}: must not be negative")
        if self.gradient_penalty and self.weight_clip:
            raise InputError("model.rules: gradient_penalty and weight_clip bound the same slope; set one of them to 0")
        if self.loss in ("wasserstein", "cramer") and not (self.gradient_penalty or self.weight_clip):
            raise InputError(f"model.rules.loss={self.loss}: needs gradient_penalty or weight_clip")
        if not 0 <= self.label_smoothing < 1:
            raise InputError(f"model.rules.label_smoothing={self.label_smoothing}: must be at least 0 and below 1")
        if self.label_smoothing and self.loss != "bce":
            raise InputError(f"model.rules.label_smoothing: needs model.rules.loss=bce, not {self.loss}")


class Losses(NamedTuple):
    """Both networks' losses per example, from the critic's values; in terms of a value high for real."""

    critic: Callable[[jax.Array, jax.Array], jax.Array]
    """(values (B,) of real, values (B,) of generated examples) -> (B,)."""
    generator: Callable[[jax.Array], jax.Array]
    """values (B,) of generated examples -> (B,); not called for "cramer"."""
    threshold: float | None = 0.0
    """The value above which an example passes for real; None: only differences of values mean something."""


def losses_of(rules: Rules) -> Losses:
    """Those that `rules.loss` names."""
    smooth = rules.label_smoothing

    def cross_entropy(real: jax.Array, generated: jax.Array) -> jax.Array:
        return (1 - smooth) * nn.softplus(-real) + smooth * nn.softplus(real) + nn.softplus(generated)

    return {
        "bce": Losses(cross_entropy, lambda values: nn.softplus(-values)),
        "hinge": Losses(lambda real, generated: nn.relu(1 - real) + nn.relu(1 + generated), jnp.negative),
        "wasserstein": Losses(lambda real, generated: generated - real, jnp.negative, None),
        "cramer": Losses(lambda real, generated: generated - real, jnp.negative, None),
    }[rules.loss]


def accuracies(
    real: jax.Array, generated: jax.Array, weight: jax.Array, threshold: float | None
) -> dict[str, jax.Array]:
    """Whether the critic classifies real and generated examples rightly, each (B,) f32 of 0 and 1.

    Args:
      real: (B,) values of the critic.
      generated: (B,).
      weight: (B,) of the examples.
      threshold: real from above it; None: the middle between the weighted means of both.
    """
    middle: Any = threshold
    if threshold is None:
        middle = (weight @ (real + generated)) / jnp.maximum(2 * weight.sum(), 1e-8)
    return {"accuracy_real": jnp.float32(real > middle), "accuracy_generated": jnp.float32(generated < middle)}


def norm(a: jax.Array) -> jax.Array:
    """Euclidean norm over the last axis; its gradient at 0 is 0."""
    square = (a**2).sum(axis=-1)
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)


def slopes(f: Callable[[jax.Array], jax.Array], x: jax.Array) -> jax.Array:
    """|grad_x f(x)_b| of each example b: (B,).

    `f` gives (B,) values, each of its own example alone: the gradient of their sum then holds that of each. A second
    derivative takes whole batches so, where `vmap(grad)` makes a kernel gradient for every example by itself.
    """
    gradient = jax.grad(lambda x: f(x).sum())(x)
    return norm(gradient.reshape(len(x), -1))


def minibatch_stddev(h: jax.Array, weight: jax.Array) -> jax.Array:
    """Appends to features h (B, F) their standard deviation over the batch, averaged over F: (B, F + 1).

    It lets a critic see a collapsed generator (Karras et al. 2018, arXiv:1710.10196).
    """
    share = (weight / jnp.maximum(weight.sum(), 1e-8))[:, None]
    mean = (share * h).sum(axis=0, keepdims=True)
    deviation = jnp.sqrt((share * (h - mean) ** 2).sum(axis=0) + 1e-8).mean()
    return jnp.concatenate([h, jnp.full((len(h), 1), deviation)], axis=-1)


def attribute_non_finite(generated: tuple[jax.Array, ...], of_critic: Metrics, of_generator: Metrics) -> Metrics:
    """The metrics of both networks; where they are not finite, only those of the one that caused it are left so.

    Each network's loss runs through the other, so that a NaN of one is in the metrics of both. The generator caused it
    if what it generated before either was updated is not finite, else the critic; the other's metrics are then 0.
    """
    sound = jnp.stack([jnp.isfinite(x).all() for x in generated]).all()
    fine_critic, fine_generator = (
        jnp.stack([jnp.isfinite(m).all() for m in metrics.values()]).all() for metrics in (of_critic, of_generator)
    )
    # A generator in its critic's warm-up has metrics of 0: then the critic's must stay, or the fault would be hidden.
    hide_critic, hide_generator = ~sound & ~fine_generator, sound & ~fine_critic
    return {name: jnp.where(hide_critic, 0.0, m) for name, m in of_critic.items()} | {
        name: jnp.where(hide_generator, 0.0, m) for name, m in of_generator.items()
    }
