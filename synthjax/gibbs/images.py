r"""Between images in [-1, 1] and layer 0 of a Boltzmann machine, and the ways to draw images from one.

Bernoulli units hold (x + 1) / 2, drawn black or white afresh each time, or as a probability; Gaussian units hold x.

- "gibbs": chains start from the machine without couplings, are warmed up along `machine.Temper` (annealed), and run by
  block-Gibbs sweeps. Labels and given pixels are clamped throughout.
- "mean_field": Algorithm 1 of Lee, Rothenberg & Shah ("An analysis of synthetic dataset creation using deep generative
  models"): hidden units start as N(0, 1), and every layer in turn is set to its mean, V = sigmoid(W H + b) first.
  Nothing is drawn after the start: it ends in a fixed point, no sample of the model, but what that paper has.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp

from synthjax.errors import InputError
from synthjax.gibbs.machine import Clamped, Layers, Machine, Temper, Units, half_uniform
from synthjax.gibbs.training import State
from synthjax.model import Batch, DataSpec

Method = Literal["gibbs", "mean_field"]


@dataclass(frozen=True)
class Pictures:
    """How one machine holds images (and labels, if any)."""

    spec: DataSpec
    binarise: bool
    """Layer 0 is drawn black or white; Bernoulli units only."""
    units: Units
    """Of layer 0."""
    classes: int
    """Softmax units on top; 0: none."""

    def observe(self, key: jax.Array, x: jax.Array, half: bool = False) -> jax.Array:
        """x (B, *spec.shape) in [-1, 1] as layer 0: (B, n_0); `half`: drawn with 16 random bits."""
        x = x.reshape(len(x), -1)
        if self.units == "gaussian":
            return x
        p = (x + 1) / 2
        uniform = half_uniform if half else jax.random.uniform
        return jnp.float32(uniform(key, p.shape) < p) if self.binarise else p

    def show(self, x: jax.Array) -> jax.Array:
        """Layer 0 (B, n_0) as images in [-1, 1]."""
        x = x if self.units == "gaussian" else 2 * x - 1
        return jnp.clip(x, -1, 1).reshape(len(x), *self.spec.shape)

    def label(self, y: jax.Array) -> tuple[jax.Array, ...]:
        """The layer of labels, as a tuple to add to other layers: (B, classes) one-hot, or () where there is none."""
        return (jax.nn.one_hot(y, self.classes),) if self.classes else ()

    def statistics(self, batch: Batch) -> tuple[jax.Array, jax.Array]:
        """Biases of layer 0 that give a batch's mean image, and the log variance of Gaussian pixels: (n_0,); or 0.

        Means of black-and-white pixels are kept off 0 and 1, variances off 0. Computed from data as it is: not private.
        """
        share = batch.weight / jnp.maximum(batch.weight.sum(), 1e-8)
        x = batch.x.reshape(len(batch.x), -1)
        mean = share @ x
        if self.units == "gaussian":
            return mean, jnp.log(jnp.maximum(share @ (x - mean) ** 2, 1e-2))
        p = jnp.clip((mean + 1) / 2, 0.02, 0.98)
        return jnp.log(p) - jnp.log1p(-p), jnp.zeros(())


def pictures(spec: DataSpec, visible: Units, binarise: bool, labelled: bool, family: str) -> Pictures:
    """The images of that spec for a model of that family.

    Raises:
      InputError: the data is no image, or a colour image for Bernoulli units.
    """
    if spec.kind != "image":
        raise InputError(f"model {family} makes images; the data is a {spec.kind} of {spec.dims} values a row")
    if visible == "bernoulli" and spec.shape[-1] > 1:
        raise InputError(f"model.visible=bernoulli: images have {spec.shape[-1]} channels; use model.visible=gaussian")
    return Pictures(spec, binarise, visible, spec.n_classes if labelled else 0)


@dataclass(frozen=True)
class Defaults:
    """Of the sampling options, from a model's Config."""

    steps: int
    anneal: int


def sampler(machine: Machine, pictures: Pictures, defaults: Defaults) -> Callable[..., jax.Array]:
    """`Model.sample` of a machine."""

    def sample(
        key,
        state: State,
        labels,
        *,
        steps: int = defaults.steps,
        anneal: int = defaults.anneal,
        method: str = "gibbs",
        chains: int = 0,
        thin: int = 50,
        mean: bool = True,
        given: tuple[jax.Array, jax.Array] | None = None,
    ) -> jax.Array:
        """Images, one per label.

        Args:
          key: typed.
          state: whose averaged parameters are used.
          labels: (B,) classes to clamp; only their number matters to a machine without label units.
          steps: sweeps of each chain before its first image.
          anneal: sweeps before those, on the way from the machine without couplings; "gibbs" only.
          method: "gibbs" or "mean_field", see the module's docstring.
          chains: that many chains make all images in turn; 0: each image has a chain of its own.
          thin: sweeps between two images of a chain.
          mean: pixels are their means given the layer above, rather than drawn.
          given: (mask, x), x (*spec.shape) or (B, *spec.shape) in [-1, 1]: pixels where mask is True are x's.

        Raises:
          InputError: an option out of its range, or a mask or image of another shape.
        """
        count = chains or len(labels)
        _check(steps, anneal, method, chains, thin)
        rounds = -(-len(labels) // count)
        mask, x = _given(given, pictures.spec, len(labels))

        def in_rounds(a):
            return jnp.resize(a, (rounds * count, *a.shape[1:])).reshape(rounds, count, *a.shape[1:])

        key_pixels, key_start, key_walk = jax.random.split(key, 3)
        inputs = labels, mask, pictures.observe(key_pixels, x)
        walk = _Walk(machine, pictures, state, method, mean)
        rows = jax.tree.map(in_rounds, inputs)
        _, shown = walk.run(key_start, key_walk, rows, (anneal, steps, thin), given is not None)
        shown = pictures.show(shown.reshape(rounds * count, -1)[: len(labels)])
        return shown if given is None else jnp.where(mask.reshape(shown.shape), x, shown)

    return sample


@dataclass(frozen=True)
class _Walk:
    """Chains that stop for an image now and then."""

    machine: Machine
    pictures: Pictures
    state: State
    method: str
    mean: bool

    def clamped(self, inputs, inpaint: bool) -> Clamped:
        labels, mask, values = inputs
        found: Clamped = {0: (mask, values)} if inpaint else {}
        if self.pictures.classes:
            found[len(self.machine.sizes) - 1] = (None, self.pictures.label(labels)[0])
        return found

    def start(self, key, clamped: Clamped, count: int) -> Layers:
        """Before any sweep, clamped units in their places."""
        key, key_hidden = jax.random.split(key)
        layers = list(self.machine.start(key, self.state.ema, self.state.base, count))
        if self.method == "mean_field":
            for j in range(1, len(layers)):
                layers[j] = jax.random.normal(jax.random.fold_in(key_hidden, j), layers[j].shape)
        return self.fixed(tuple(layers), clamped)

    def fixed(self, layers: Layers, clamped: Clamped) -> Layers:
        fixed = list(layers)
        for j, (mask, values) in clamped.items():
            fixed[j] = values if mask is None else jnp.where(mask, values, layers[j])
        return tuple(fixed)

    def sweep(self, key, layers: Layers, clamped: Clamped, temper: Temper | None = None) -> Layers:
        if self.method == "mean_field":
            return self.machine.sweep(None, self.state.ema, layers, clamped, first=0)
        return self.machine.sweep(key, self.state.ema, layers, clamped, temper)

    def run(self, key_start, key, inputs, lengths: tuple[int, int, int], inpaint: bool):
        """inputs (rounds, count, ...) of labels, masks, values -> the last layers, images (rounds, count, n_0)."""
        anneal, steps, thin = lengths
        clamped = self.clamped(jax.tree.map(lambda a: a[0], inputs), inpaint)
        layers = self.start(key_start, clamped, inputs[0].shape[1])
        key_anneal, key_steps, key_rounds = jax.random.split(key, 3)
        if self.method == "gibbs" and anneal:

            def warm(k, layers):
                temper = Temper((k + 1) / (anneal + 1), self.state.base)
                return self.sweep(jax.random.fold_in(key_anneal, k), layers, clamped, temper)

            layers = jax.lax.fori_loop(0, anneal, warm, layers)

        def goes_on(key, layers, clamped, count):
            return jax.lax.fori_loop(
                0, count, lambda k, layers: self.sweep(jax.random.fold_in(key, k), layers, clamped), layers
            )

        layers = goes_on(key_steps, layers, clamped, steps)

        def turn(layers, inputs):
            k, *of_round = inputs
            clamped = self.clamped(of_round, inpaint)
            layers = self.fixed(layers, clamped)
            layers = goes_on(jax.random.fold_in(key_rounds, k), layers, clamped, jnp.where(k == 0, 0, thin))
            if self.method == "mean_field" or not self.mean:
                return layers, layers[0]
            return layers, self.machine.mean(0, self.machine.field(self.state.ema, layers, 0))

        return jax.lax.scan(turn, layers, (jnp.arange(len(inputs[0])), *inputs))


def _check(steps: int, anneal: int, method: str, chains: int, thin: int) -> None:
    for name, value, least in (("steps", steps, 1), ("anneal", anneal, 0), ("chains", chains, 0), ("thin", thin, 1)):
        if value < least:
            raise InputError(f"sample.{name}={value}: must be at least {least}")
    if method not in ("gibbs", "mean_field"):
        raise InputError(f"sample.method={method}: must be gibbs or mean_field")


def _given(given, spec: DataSpec, count: int) -> tuple[jax.Array, jax.Array]:
    """mask (count, n_0) bool and x (count, *spec.shape); nothing given: no pixel, zeros."""
    if given is None:
        return jnp.zeros((count, spec.dims), bool), jnp.zeros((count, *spec.shape))
    whole = []
    for name, a in zip(("mask", "x"), given, strict=True):
        a = jnp.asarray(a)
        if a.shape not in (spec.shape, (count, *spec.shape)):
            raise InputError(f"given: {name} of shape {a.shape}, must be {spec.shape} or {(count, *spec.shape)}")
        whole.append(jnp.broadcast_to(a, (count, *spec.shape)))
    return whole[0].astype(bool).reshape(count, -1), whole[1]
