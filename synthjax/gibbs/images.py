r"""Images as layer 0 of a Boltzmann machine, and samplers that draw images from a machine.

Bernoulli units represent an image x in [-1, 1] by (x + 1) / 2, either as a probability or as a new binary draw from it
each time. Gaussian units represent it by x. There are two sampling methods:

- "gibbs": chains start from the machine without couplings, are annealed along `machine.Temper`, and then run
  block-Gibbs sweeps. Labels and given pixels stay clamped.
- "mean_field": Algorithm 1 of Lee, Rothenberg & Shah ("An analysis of synthetic dataset creation using deep generative
  models"): hidden units start as N(0, 1), and each layer in turn is set to its mean, V = sigmoid(W H + b) first. Only
  the start is random, so the result is a fixed point and not a sample of the model.

    >>> import jax, jax.numpy as jnp
    >>> from synthjax.model import DataSpec
    >>> spec = DataSpec("image", (2, 2, 1), 256)
    >>> units = ImageUnits(spec, binarise=False, units="bernoulli", classes=0)
    >>> layer = units.from_images(jax.random.key(0), jnp.full((1, 2, 2, 1), -1.0))
    >>> layer.tolist(), units.to_images(layer).shape
    ([[0.0, 0.0, 0.0, 0.0]], (1, 2, 2, 1))
    >>> architecture(units, hidden=(8,)).sizes
    (4, 8)
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp

from synthjax.errors import InputError
from synthjax.gibbs.machine import Clamped, Layers, Machine, Temper, Units, uniform
from synthjax.gibbs.training import State
from synthjax.model import DataSpec
from synthjax.nets.options import with_options

Method = Literal["gibbs", "mean_field"]


@dataclass(frozen=True)
class ImageUnits:
    """How the units of a machine represent images and, if it has label units, their labels."""

    spec: DataSpec
    binarise: bool
    """Whether layer 0 is a binary draw; for Bernoulli units only."""
    units: Units
    """Type of the units of layer 0."""
    classes: int
    """Number of label units, or 0."""

    def from_images(self, key: jax.Array, x: jax.Array, half: bool = False) -> jax.Array:
        """Converts images to layer 0.

        Args:
          key: typed PRNG key for binary draws.
          x: (B, *spec.shape) f32 in [-1, 1].
          half: whether binary draws use 16 random bits instead of 32.

        Returns:
          (B, n_0) f32.
        """
        x = x.reshape(len(x), -1)
        if self.units == "gaussian":
            return x
        p = (x + 1) / 2
        return (uniform(key, p.shape, half) < p).astype(p.dtype) if self.binarise else p

    def to_images(self, x: jax.Array) -> jax.Array:
        """Converts layer 0 (B, n_0) to images (B, *spec.shape) f32, clipped to [-1, 1]."""
        x = x if self.units == "gaussian" else 2 * x - 1
        return jnp.clip(x, -1, 1).reshape(len(x), *self.spec.shape)

    def label_layer(self, y: jax.Array) -> Layers:
        """The layer of label units for labels y (B,): a tuple of (B, classes) one-hot f32, or () if there is none."""
        return (jax.nn.one_hot(y, self.classes, dtype=jnp.float32),) if self.classes else ()

    def pixel_statistics(self) -> tuple[jax.Array, jax.Array]:
        """Initial biases and log variances of layer 0, from the statistics of the training images.

        Probabilities of white are clipped to 0.02 ... 0.98, and variances to at least 0.01.

        Returns:
          The biases (n_0,) f32 with which layer 0 has the mean of the training images, and the log variances (n_0,) f32
          of Gaussian units; () f32, 0, for Bernoulli units.

        Raises:
          InputError: the spec has no statistics.
        """
        statistics = self.spec.known()
        mean, variance = (jnp.asarray(a, jnp.float32).reshape(-1) for a in (statistics.mean, statistics.variance))
        if self.units == "gaussian":
            return mean, jnp.log(jnp.maximum(variance, 1e-2))
        p = jnp.clip((mean + 1) / 2, 0.02, 0.98)
        return jnp.log(p) - jnp.log1p(-p), jnp.zeros((), jnp.float32)


def image_units(config: Any, spec: DataSpec, family: str) -> ImageUnits:
    """The representation of the images of `spec` that a Config asks for.

    Args:
      config: of a Boltzmann machine; its fields `visible`, `binarise` and `conditional` are used.
      spec: of images.
      family: name of the model family in the error.

    Raises:
      InputError: the data is a table, or Bernoulli units were asked for and the images have several channels.
    """
    if spec.kind != "image":
        raise InputError(f"model {family} makes images; the data is a {spec.kind} of {spec.dims} values a row")
    if config.visible == "bernoulli" and spec.shape[-1] > 1:
        raise InputError(f"model.visible=bernoulli: images have {spec.shape[-1]} channels; use model.visible=gaussian")
    return ImageUnits(spec, config.binarise, config.visible, spec.n_classes if config.conditional else 0)


def architecture(units: ImageUnits, hidden: tuple[int, ...]) -> Machine:
    """A machine with layers of pixels, of `hidden` Bernoulli units each, and of label units if `units` has any."""
    sizes: tuple[int, ...] = (units.spec.dims, *hidden)
    bernoulli: Units = "bernoulli"
    kinds: tuple[Units, ...] = (units.units, *(bernoulli for _ in hidden))
    if units.classes:
        sizes, kinds = (*sizes, units.classes), (*kinds, "softmax")
    return Machine(sizes, kinds)


def check_machine(machine: Machine, units: ImageUnits) -> None:
    """Checks that a machine given by the caller fits the data.

    Raises:
      InputError: layer 0, or the label units, have another number or type of units.
    """
    pixels = units.spec.dims, units.units
    if (machine.sizes[0], machine.units[0]) != pixels:
        raise InputError(f"machine: layer 0 must have {pixels[0]} {pixels[1]} units, not {machine.sizes[0]} "
                         f"{machine.units[0]} ones")  # fmt: skip
    label_units = machine.sizes[-1] if machine.units[-1] == "softmax" else 0
    if label_units != units.classes or "softmax" in machine.units[:-1]:
        raise InputError(
            f"machine: the top layer must have {units.classes} softmax units for labels, not {label_units}"
        )


@dataclass(frozen=True)
class Sampling:
    """Options of `Model.sample`. `steps`, `anneal` and `thin` may be traced.

    Raises:
      InputError: an option is out of range.
    """

    steps: int
    """Number of sweeps of each chain before its first image; the default is `sample_steps` of the Config."""
    anneal: int
    """Number of annealing sweeps before these, of method "gibbs" only; the default is that of the Config."""
    method: Method = "gibbs"
    """See the module's docstring."""
    chains: int = 0
    """Number of chains, which draw several images each; 0: one chain per image."""
    thin: int = 50
    """Number of sweeps between two images of a chain."""
    mean: bool = True
    """Whether pixels are their means given the layer above, instead of being drawn."""
    given: tuple[Any, Any] | None = None
    """(mask, x) for in-painting, each (*spec.shape) or (B, *spec.shape): where the mask is True, pixels are fixed to
    x, in [-1, 1]."""

    def __post_init__(self):
        """Checks the options."""
        for name, minimum in (("steps", 1), ("anneal", 0), ("chains", 0), ("thin", 1)):
            value = getattr(self, name)
            if not isinstance(value, jax.core.Tracer) and value < minimum:
                raise InputError(f"sample.{name}={value}: must be at least {minimum}")
        if self.method not in ("gibbs", "mean_field"):
            raise InputError(f"sample.method={self.method}: must be gibbs or mean_field")


def sampler(machine: Machine, units: ImageUnits, steps: int, anneal: int) -> Callable[..., jax.Array]:
    """`Model.sample` for a machine; `steps` and `anneal` are the defaults of these options of `Sampling`."""

    def sample(key: jax.Array, state: State, labels: jax.Array, **options: Any) -> jax.Array:
        """Draws one image per label, with the averaged parameters.

        Args:
          key: typed PRNG key.
          state: of the training.
          labels: (B,) i32 classes to clamp. A machine without label units uses only their number.
          **options: fields of `Sampling`.

        Returns:
          (B, *spec.shape) f32 in [-1, 1].

        Raises:
          InputError: an option is out of range, or a mask or image of `given` has the wrong shape.
        """
        chosen = Sampling(**{"steps": steps, "anneal": anneal, **options})
        count = len(labels)
        mask, x = _given(chosen.given, units.spec, count)
        key_pixels, key_chains = jax.random.split(key)
        inputs = labels, mask, units.from_images(key_pixels, x)
        images = units.to_images(_Chains(machine, units, state, chosen).run(key_chains, inputs))
        return images if chosen.given is None else jnp.where(mask.reshape(images.shape), x, images)

    return with_options(sample, Sampling, steps=steps, anneal=anneal)


@dataclass(frozen=True)
class _Chains:
    """Markov chains that draw images; each draws several if there are fewer chains than images."""

    machine: Machine
    units: ImageUnits
    state: State
    options: Sampling

    def run(self, key: jax.Array, inputs: tuple[jax.Array, ...]) -> jax.Array:
        """Draws images.

        Args:
          key: typed PRNG key.
          inputs: labels (B,), masks of given pixels (B, n_0) and their values (B, n_0).

        Returns:
          (B, n_0) f32, images as layer 0.
        """
        key_start, key_anneal, key_steps, key_rounds = jax.random.split(key, 4)
        total = len(inputs[0])
        count = self.options.chains or total
        rounds = -(-total // count)
        inputs = tuple(jnp.resize(a, (rounds * count, *a.shape[1:])).reshape(rounds, count, -1) for a in inputs)
        clamped = self.clamped(*(a[0] for a in inputs))
        layers = self.start(key_start, clamped, count)
        if self.options.method == "gibbs":
            layers = self.anneal(key_anneal, layers, clamped)
        layers = self.sweep(key_steps, layers, clamped, self.options.steps)

        def draw_round(layers: Layers, inputs: tuple[jax.Array, ...]) -> tuple[Layers, jax.Array]:
            """The next image of each chain."""
            k, *given = inputs
            clamped = self.clamped(*given)
            layers = self.clamp(layers, clamped)
            layers = self.sweep(
                jax.random.fold_in(key_rounds, k), layers, clamped, jnp.where(k == 0, 0, self.options.thin)
            )
            if self.options.method == "mean_field" or not self.options.mean:
                return layers, layers[0]
            return layers, self.machine.mean(0, self.machine.field(self.state.ema, layers, 0))

        _, images = jax.lax.scan(draw_round, layers, (jnp.arange(rounds), *inputs))
        return images.reshape(rounds * count, -1)[:total]

    def clamped(self, labels: jax.Array, mask: jax.Array, values: jax.Array) -> Clamped:
        """The clamped units: given pixels and label units. `labels` (chains, 1) i32."""
        clamped: Clamped = {} if self.options.given is None else {0: (mask, values)}
        if self.units.classes:
            clamped[len(self.machine.sizes) - 1] = (None, self.units.label_layer(labels[:, 0])[0])
        return clamped

    def start(self, key: jax.Array, clamped: Clamped, count: int) -> Layers:
        """The initial layers of `count` chains."""
        key, key_hidden = jax.random.split(key)
        layers = list(self.machine.start(key, self.state.ema, self.state.base, count))
        if self.options.method == "mean_field":
            for j in range(1, len(layers)):
                layers[j] = jax.random.normal(jax.random.fold_in(key_hidden, j), layers[j].shape, layers[j].dtype)
        return self.clamp(tuple(layers), clamped)

    def clamp(self, layers: Layers, clamped: Clamped) -> Layers:
        """Sets clamped units to their values."""
        new = list(layers)
        for j, (mask, values) in clamped.items():
            new[j] = (values if mask is None else jnp.where(mask, values, layers[j])).astype(layers[j].dtype)
        return tuple(new)

    def anneal(self, key: jax.Array, layers: Layers, clamped: Clamped) -> Layers:
        """Runs the annealing sweeps."""

        def body(k: jax.Array, layers: Layers) -> Layers:
            t = jnp.asarray(k + 1, jnp.float32) / (jnp.asarray(self.options.anneal, jnp.float32) + 1)
            temper = Temper(t, self.state.base)
            return self.machine.sweep(jax.random.fold_in(key, k), self.state.ema, layers, clamped, temper)

        return jax.lax.fori_loop(0, self.options.anneal, body, layers)

    def sweep(self, key: jax.Array, layers: Layers, clamped: Clamped, count: int | jax.Array) -> Layers:
        """Runs `count` sweeps of the method."""

        def body(k: jax.Array, layers: Layers) -> Layers:
            if self.options.method == "mean_field":
                return self.machine.sweep(None, self.state.ema, layers, clamped, first=0)
            return self.machine.sweep(jax.random.fold_in(key, k), self.state.ema, layers, clamped)

        return jax.lax.fori_loop(0, count, body, layers)


def _given(given: tuple[Any, Any] | None, spec: DataSpec, count: int) -> tuple[jax.Array, jax.Array]:
    """The option `given` as mask (count, n_0) bool and x (count, *spec.shape) f32; all False and zeros for None."""
    if given is None:
        return jnp.zeros((count, spec.dims), bool), jnp.zeros((count, *spec.shape), jnp.float32)
    arrays = []
    for name, a in zip(("mask", "x"), given, strict=True):
        a = jnp.asarray(a)
        if a.shape not in (spec.shape, (count, *spec.shape)):
            raise InputError(f"given: {name} of shape {a.shape}, must be {spec.shape} or {(count, *spec.shape)}")
        arrays.append(jnp.broadcast_to(a, (count, *spec.shape)))
    return arrays[0].astype(bool).reshape(count, -1), arrays[1].astype(jnp.float32)
