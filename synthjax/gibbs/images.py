r"""Between images in [-1, 1] and layer 0 of a Boltzmann machine, and the ways to draw images from one.

Bernoulli units hold (x + 1) / 2, drawn black or white afresh each time, or as a probability; Gaussian units hold x.

- "gibbs": chains start from the machine without couplings, are annealed along `machine.Temper`, and then run by
  block-Gibbs sweeps. Labels and given pixels are clamped throughout.
- "mean_field": Algorithm 1 of Lee, Rothenberg & Shah ("An analysis of synthetic dataset creation using deep generative
  models"): hidden units start as N(0, 1), and every layer in turn is set to its mean, V = sigmoid(W H + b) first.
  Nothing is drawn after the start, so it ends in a fixed point and not in a sample of the model.
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
    """Layer 0 is drawn black or white; Bernoulli units only."""
    units: Units
    """Of layer 0."""
    classes: int
    """Number of label units; 0: none."""

    def from_images(self, key: jax.Array, x: jax.Array, half: bool = False) -> jax.Array:
        """x (B, *spec.shape) in [-1, 1] as layer 0: (B, n_0). `half`: drawn with 16 random bits."""
        x = x.reshape(len(x), -1)
        if self.units == "gaussian":
            return x
        p = (x + 1) / 2
        return (uniform(key, p.shape, half) < p).astype(p.dtype) if self.binarise else p

    def to_images(self, x: jax.Array) -> jax.Array:
        """Layer 0 (B, n_0) as images (B, *spec.shape) in [-1, 1]."""
        x = x if self.units == "gaussian" else 2 * x - 1
        return jnp.clip(x, -1, 1).reshape(len(x), *self.spec.shape)

    def label_layer(self, y: jax.Array) -> Layers:
        """The layer of label units as a tuple: (B, classes) one-hot f32, or () if there are none."""
        return (jax.nn.one_hot(y, self.classes, dtype=jnp.float32),) if self.classes else ()

    def pixel_statistics(self) -> tuple[jax.Array, jax.Array]:
        """Biases (n_0,) of layer 0 that give the mean training image, and log variances of Gaussian pixels (else 0).

        Probabilities of white are clipped to 0.02 ... 0.98, and variances to at least 0.01.

        Raises:
          InputError: the spec has no statistics.
        """
        found = self.spec.known()
        mean, variance = (jnp.asarray(a, jnp.float32).reshape(-1) for a in (found.mean, found.variance))
        if self.units == "gaussian":
            return mean, jnp.log(jnp.maximum(variance, 1e-2))
        p = jnp.clip((mean + 1) / 2, 0.02, 0.98)
        return jnp.log(p) - jnp.log1p(-p), jnp.zeros((), jnp.float32)


def image_units(config: Any, spec: DataSpec, family: str) -> ImageUnits:
    """The representation of the images of `spec`, as a Config of that family says.

    Raises:
      InputError: the data is no image, or a colour image for Bernoulli units.
    """
    if spec.kind != "image":
        raise InputError(f"model {family} makes images; the data is a {spec.kind} of {spec.dims} values a row")
    if config.visible == "bernoulli" and spec.shape[-1] > 1:
        raise InputError(f"model.visible=bernoulli: images have {spec.shape[-1]} channels; use model.visible=gaussian")
    return ImageUnits(spec, config.binarise, config.visible, spec.n_classes if config.conditional else 0)


def architecture(units: ImageUnits, hidden: tuple[int, ...]) -> Machine:
    """The machine with these hidden layers between the pixels and, if there are any, the label units."""
    sizes: tuple[int, ...] = (units.spec.dims, *hidden)
    bernoulli: Units = "bernoulli"
    kinds: tuple[Units, ...] = (units.units, *(bernoulli for _ in hidden))
    if units.classes:
        sizes, kinds = (*sizes, units.classes), (*kinds, "softmax")
    return Machine(sizes, kinds)


def check_machine(machine: Machine, units: ImageUnits) -> None:
    """Checks a machine that was handed in.

    Raises:
      InputError: its pixels or its label units do not fit the data.
    """
    pixels = units.spec.dims, units.units
    if (machine.sizes[0], machine.units[0]) != pixels:
        raise InputError(f"machine: layer 0 must have {pixels[0]} {pixels[1]} units, not {machine.sizes[0]} "
                         f"{machine.units[0]} ones")  # fmt: skip
    found = machine.sizes[-1] if machine.units[-1] == "softmax" else 0
    if found != units.classes or "softmax" in machine.units[:-1]:
        raise InputError(f"machine: the top layer must have {units.classes} softmax units for labels, not {found}")


@dataclass(frozen=True)
class Sampling:
    """Options of `Model.sample`. `steps`, `anneal` and `thin` may be traced.

    Raises:
      InputError: an option is out of its range.
    """

    steps: int
    """Sweeps of each chain before its first image; default `sample_steps` of the Config."""
    anneal: int
    """Sweeps before those, from the machine without couplings to the whole one; default that of the Config. "gibbs"
    only."""
    method: Method = "gibbs"
    """See the module's docstring."""
    chains: int = 0
    """Number of chains that make all images in turn; 0: each image has a chain of its own."""
    thin: int = 50
    """Sweeps between two images of a chain."""
    mean: bool = True
    """Pixels are their means given the layer above, rather than drawn."""
    given: tuple[Any, Any] | None = None
    """(mask, x), each (*spec.shape) or (B, *spec.shape), x in [-1, 1]: pixels where mask is True are those of x."""

    def __post_init__(self):
        """Checks the options."""
        for name, least in (("steps", 1), ("anneal", 0), ("chains", 0), ("thin", 1)):
            value = getattr(self, name)
            if not isinstance(value, jax.core.Tracer) and value < least:
                raise InputError(f"sample.{name}={value}: must be at least {least}")
        if self.method not in ("gibbs", "mean_field"):
            raise InputError(f"sample.method={self.method}: must be gibbs or mean_field")


def sampler(machine: Machine, units: ImageUnits, steps: int, anneal: int) -> Callable[..., jax.Array]:
    """`Model.sample` of a machine, with these defaults of the options `steps` and `anneal`."""

    def sample(key: jax.Array, state: State, labels: jax.Array, **options: Any) -> jax.Array:
        """Images, one per label.

        Args:
          key: typed.
          state: its averaged parameters are used.
          labels: (B,) classes to clamp; a machine without label units only takes their number.
          **options: fields of `Sampling`.

        Raises:
          InputError: an option is out of its range, or a mask or image has another shape.
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
    """Chains that make images, several in turn if there are fewer chains than images."""

    machine: Machine
    units: ImageUnits
    state: State
    options: Sampling

    def run(self, key: jax.Array, inputs: tuple[jax.Array, ...]) -> jax.Array:
        """inputs: labels (B,), masks (B, n_0) and values (B, n_0) of given pixels -> images as layer 0, (B, n_0)."""
        key_start, key_anneal, key_steps, key_rounds = jax.random.split(key, 4)
        total = len(inputs[0])
        count = self.options.chains or total
        rounds = -(-total // count)
        inputs = tuple(jnp.resize(a, (rounds * count, *a.shape[1:])).reshape(rounds, count, -1) for a in inputs)
        clamped = self.clamped(*(a[0] for a in inputs))
        layers = self.start(key_start, clamped, count)
        if self.options.method == "gibbs":
            layers = self.annealed(key_anneal, layers, clamped)
        layers = self.swept(key_steps, layers, clamped, self.options.steps)

        def one_round(layers: Layers, inputs: tuple[jax.Array, ...]) -> tuple[Layers, jax.Array]:
            k, *given = inputs
            clamped = self.clamped(*given)
            layers = self.fixed(layers, clamped)
            layers = self.swept(
                jax.random.fold_in(key_rounds, k), layers, clamped, jnp.where(k == 0, 0, self.options.thin)
            )
            if self.options.method == "mean_field" or not self.options.mean:
                return layers, layers[0]
            return layers, self.machine.mean(0, self.machine.field(self.state.ema, layers, 0))

        _, images = jax.lax.scan(one_round, layers, (jnp.arange(rounds), *inputs))
        return images.reshape(rounds * count, -1)[:total]

    def clamped(self, labels: jax.Array, mask: jax.Array, values: jax.Array) -> Clamped:
        """What stays as it is: given pixels, and label units; labels (chains, 1)."""
        found: Clamped = {} if self.options.given is None else {0: (mask, values)}
        if self.units.classes:
            found[len(self.machine.sizes) - 1] = (None, self.units.label_layer(labels[:, 0])[0])
        return found

    def start(self, key: jax.Array, clamped: Clamped, count: int) -> Layers:
        """The layers before any sweep."""
        key, key_hidden = jax.random.split(key)
        layers = list(self.machine.start(key, self.state.ema, self.state.base, count))
        if self.options.method == "mean_field":
            for j in range(1, len(layers)):
                layers[j] = jax.random.normal(jax.random.fold_in(key_hidden, j), layers[j].shape, layers[j].dtype)
        return self.fixed(tuple(layers), clamped)

    def fixed(self, layers: Layers, clamped: Clamped) -> Layers:
        """The layers with clamped units set to their values."""
        fixed = list(layers)
        for j, (mask, values) in clamped.items():
            fixed[j] = (values if mask is None else jnp.where(mask, values, layers[j])).astype(layers[j].dtype)
        return tuple(fixed)

    def annealed(self, key: jax.Array, layers: Layers, clamped: Clamped) -> Layers:
        """The layers after the annealing sweeps."""

        def body(k: jax.Array, layers: Layers) -> Layers:
            t = jnp.asarray(k + 1, jnp.float32) / (jnp.asarray(self.options.anneal, jnp.float32) + 1)
            temper = Temper(t, self.state.base)
            return self.machine.sweep(jax.random.fold_in(key, k), self.state.ema, layers, clamped, temper)

        return jax.lax.fori_loop(0, self.options.anneal, body, layers)

    def swept(self, key: jax.Array, layers: Layers, clamped: Clamped, count: int | jax.Array) -> Layers:
        """The layers after `count` sweeps of the method."""

        def body(k: jax.Array, layers: Layers) -> Layers:
            if self.options.method == "mean_field":
                return self.machine.sweep(None, self.state.ema, layers, clamped, first=0)
            return self.machine.sweep(jax.random.fold_in(key, k), self.state.ema, layers, clamped)

        return jax.lax.fori_loop(0, count, body, layers)


def _given(given: tuple[Any, Any] | None, spec: DataSpec, count: int) -> tuple[jax.Array, jax.Array]:
    """mask (count, n_0) bool and x (count, *spec.shape) f32; nothing given: no pixel, zeros."""
    if given is None:
        return jnp.zeros((count, spec.dims), bool), jnp.zeros((count, *spec.shape), jnp.float32)
    whole = []
    for name, a in zip(("mask", "x"), given, strict=True):
        a = jnp.asarray(a)
        if a.shape not in (spec.shape, (count, *spec.shape)):
            raise InputError(f"given: {name} of shape {a.shape}, must be {spec.shape} or {(count, *spec.shape)}")
        whole.append(jnp.broadcast_to(a, (count, *spec.shape)))
    return whole[0].astype(bool).reshape(count, -1), whole[1].astype(jnp.float32)
