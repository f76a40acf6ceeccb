r"""Losses, penalties, metrics and options of GANs, for `synthjax.adversarial`.

With d = D(x) and e = D(G(z)), the critic's values for real and for generated examples:

    bce          critic  softplus(-d) + softplus(e)      generator  softplus(-e)  (Goodfellow et al. 2014, 1406.2661)
    hinge        critic  max(0, 1 - d) + max(0, 1 + e)   generator  -e            (Lim & Ye 2017, arXiv:1705.02894)
    wasserstein  critic  e - d                           generator  -e            (Arjovsky et al. 2017, 1701.07875)
    cramer       critic  f(G(z)) - f(x)                  f(x) = |h(x) - h(G(z'))| - |h(x)|, h the critic's features;
                 the generator minimises the energy distance of h(x) and h(G(z))  (Bellemare et al. 2017, 1705.10743)

The last two need a Lipschitz-continuous critic. It is enforced by a gradient penalty (|grad D(x^)| - 1)^2 at points x^
between real and generated examples (Gulrajani et al. 2017, arXiv:1704.00028), or by clipping the critic's weights.

    >>> losses = losses_of(Rules(loss="hinge"))
    >>> losses.critic(jnp.array([2.0, 0.5]), jnp.array([-2.0, 0.0])).tolist()
    [0.0, 1.5]
    >>> norm(jnp.array([3.0, 4.0])).item(), jax.grad(norm)(jnp.zeros(2)).tolist()
    (5.0, [0.0, 0.0])
    >>> slopes(lambda x: (x**2).sum(axis=-1), jnp.array([[3.0, 4.0], [0.0, 1.0]])).tolist()
    [10.0, 2.0]
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from synthjax.errors import InputError
from synthjax.model import DataSpec, Metrics


@dataclass(frozen=True)
class Rules:
    """Loss, penalties and number of updates of a GAN. A coefficient of 0 turns its term off.

    Raises:
      InputError: a field is out of range, or two fields contradict each other.
    """

    loss: Literal["bce", "hinge", "wasserstein", "cramer"] = "bce"
    """See the module's docstring."""
    n_critic: int = 1
    """Number of critic updates in a step, each on a separate batch."""
    critic_warmup: int = 0
    """Number of first steps that update only the critic; at most a tenth of all steps."""
    gradient_penalty: float = 0.0
    """Coefficient of (|grad D| - 1)^2 between real and generated examples; 10 in Gulrajani et al. 2017."""
    weight_clip: float = 0.0
    """The critic's parameters are clipped to [-weight_clip, weight_clip]; 0.01 in Arjovsky et al. 2017."""
    r1: float = 0.0
    """Coefficient of |grad D|^2 / 2 on real examples (Mescheder et al. 2018, arXiv:1801.04406)."""
    label_smoothing: float = 0.0
    """One-sided: the target of real examples is 1 - label_smoothing; for "bce" only (Salimans et al. 2016)."""
    feature_matching: float = 0.0
    """Coefficient of |mean features of real - of generated examples|^2 (Salimans et al. 2016, arXiv:1606.03498)."""
    historical_averaging: float = 0.0
    """Coefficient of |params - their mean over all steps|^2, for both networks (Salimans et al. 2016)."""
    instance_noise: float = 0.0
    """Standard deviation of the noise added to the critic's inputs, which decays linearly to 0 (Sønderby et al. 2017,
    arXiv:1610.04490). Gradient penalties are computed without noise."""

    def __post_init__(self) -> None:
        if self.n_critic < 1:
            raise InputError(f"model.rules.n_critic={self.n_critic}: must be at least 1")
        for name in ("critic_warmup", "gradient_penalty", "weight_clip", "r1", "feature_matching",
                     "historical_averaging", "instance_noise"):  # fmt: skip
            if not getattr(self, name) >= 0:
                raise InputError(f"model.rules.{name}={getattr(self, name)}: must not be negative")
        if self.gradient_penalty and self.weight_clip:
            raise InputError("model.rules: gradient_penalty and weight_clip are alternatives; set one of them to 0")
        if self.loss in ("wasserstein", "cramer") and not (self.gradient_penalty or self.weight_clip):
            raise InputError(f"model.rules.loss={self.loss}: needs gradient_penalty or weight_clip")
        if not 0 <= self.label_smoothing < 1:
            raise InputError(f"model.rules.label_smoothing={self.label_smoothing}: must be at least 0 and below 1")
        if self.label_smoothing and self.loss != "bce":
            raise InputError(f"model.rules.label_smoothing: needs model.rules.loss=bce, not {self.loss}")


class Losses(NamedTuple):
    """Per-example losses of both networks, as functions of the critic's values, which are high for real examples."""

    critic: Callable[[jax.Array, jax.Array], jax.Array]
    """(values (B,) of real examples, values (B,) of generated examples) -> (B,)."""
    generator: Callable[[jax.Array], jax.Array]
    """values (B,) of generated examples -> (B,); not called for "cramer"."""
    threshold: float | None = 0.0
    """Value above which the critic classifies an example as real; None: only differences of values are meaningful."""


def losses_of(rules: Rules) -> Losses:
    """The losses that `rules.loss` names."""
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
    """Whether the critic classifies each example correctly.

    Args:
      real: (B,) f32, the critic's values for real examples.
      generated: (B,) f32, its values for generated examples.
      weight: (B,) f32 weights of the examples.
      threshold: value above which an example is classified as real; None: halfway between the weighted means.

    Returns:
      "accuracy_real" and "accuracy_generated", (B,) f32 each, 1 if correct and 0 if not.
    """
    boundary: Any = threshold
    if threshold is None:
        boundary = (weight @ (real + generated)) / jnp.maximum(2 * weight.sum(), 1e-8)
    return {"accuracy_real": jnp.float32(real > boundary), "accuracy_generated": jnp.float32(generated < boundary)}


def norm(a: jax.Array) -> jax.Array:
    """Euclidean norm over the last axis: (..., F) -> (...). Its gradient at 0 is 0."""
    square = (a**2).sum(axis=-1)
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)


def slopes(f: Callable[[jax.Array], jax.Array], x: jax.Array) -> jax.Array:
    """Per-example gradient norms |grad_x f(x)_b|: (B,) f32.

    They are computed from one gradient of the sum of f over the batch. So second derivatives of convolutions use whole
    batches; with `vmap(grad)` they would need a kernel gradient for each example.

    Args:
      f: x (B, ...) -> (B,); each value must depend on its own example only.
      x: (B, ...) f32.
    """
    gradient = jax.grad(lambda x: f(x).sum())(x)
    return norm(gradient.reshape(len(x), -1))


def minibatch_stddev(h: jax.Array, weight: jax.Array) -> jax.Array:
    """Appends the standard deviation over the batch, averaged over F, to features h (B, F): (B, F + 1).

    It helps a critic to detect mode collapse (Karras et al. 2018, arXiv:1710.10196). `weight` is (B,).
    """
    share = (weight / jnp.maximum(weight.sum(), 1e-8))[:, None]
    mean = (share * h).sum(axis=0, keepdims=True)
    deviation = jnp.sqrt((share * (h - mean) ** 2).sum(axis=0) + 1e-8).mean()
    return jnp.concatenate([h, jnp.full((len(h), 1), deviation)], axis=-1)


def label_frequencies(spec: DataSpec, conditional: bool) -> tuple[float, ...]:
    """Frequency of each class in the training set; () for an unconditional model.

    Raises:
      InputError: the spec has another number of classes than of frequencies.
    """
    if conditional and len(spec.frequencies) != spec.n_classes:
        raise InputError(f"the data spec has {spec.n_classes} classes and {len(spec.frequencies)} frequencies of them")
    return spec.frequencies if conditional else ()


def private_fault(rules: Rules, batch_coupling: str, labels_of_batch: bool, labels_in_batch_norm: bool) -> str:
    """Why a game uses training rows in another way than by the gradient of each example; "" if it does not.

    Args:
      rules: of the game.
      batch_coupling: `adversarial.Networks.batch_coupling`.
      labels_of_batch: whether the generator is trained on the labels of the batch.
      labels_in_batch_norm: whether these labels enter a batch norm of the generator when the critic is trained.
    """
    if batch_coupling:
        return f"the critic's {batch_coupling} couples the examples of a batch; set model.norm=layer, without it"
    if rules.loss == "cramer":
        return "model.rules.loss=cramer trains the generator on training rows; take another loss"
    if rules.feature_matching:
        return "model.rules.feature_matching trains the generator on training rows; set it to 0"
    if labels_of_batch:
        return "the generator is trained on the labels of the batch; give their frequencies"
    if labels_in_batch_norm:
        return "the generator's batch norm couples the labels of a batch; set model.rules.gradient_penalty=0, or " \
               "model.conditional=False"  # fmt: skip
    return ""


def attribute_non_finite(generated: tuple[jax.Array, ...], of_critic: Metrics, of_generator: Metrics) -> Metrics:
    """Merges the metrics of both networks. Of non-finite metrics, keeps only those of the network that caused them.

    Each network's loss depends on the other network, so a NaN in one appears in the metrics of both. The generator is
    the cause if its examples from before the updates are not finite, otherwise the critic. The metrics of the other
    network are then set to 0.

    Args:
      generated: examples generated before the updates.
      of_critic: scalar metrics of the critic.
      of_generator: scalar metrics of the generator.
    """
    finite_examples = jnp.stack([jnp.isfinite(x).all() for x in generated]).all()
    finite_critic, finite_generator = (
        jnp.stack([jnp.isfinite(m).all() for m in metrics.values()]).all() for metrics in (of_critic, of_generator)
    )
    # During the critic's warm-up the generator's metrics are 0. Then the critic's must stay, or no metric shows a NaN.
    hide_critic, hide_generator = ~finite_examples & ~finite_generator, finite_examples & ~finite_critic
    return {name: jnp.where(hide_critic, 0.0, m) for name, m in of_critic.items()} | {
        name: jnp.where(hide_generator, 0.0, m) for name, m in of_generator.items()
    }
