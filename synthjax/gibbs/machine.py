r"""Boltzmann machines as chains of layers: what an RBM and a DBM share (Salakhutdinov & Hinton 2009, AISTATS 5:448).

Layers x_0 ... x_L, of which only neighbours are joined. An RBM has two; softmax units for a label are one layer more:

    -E(x) = sum_j b_j x_j  +  sum_j x_(j-1) W_j x_j,       p(x) = exp(-E(x)) / Z

    Bernoulli  x in {0, 1},  p(x = 1 | rest) = sigmoid(field)        field_j = b_j + x_(j-1) W_j + x_(j+1) W_(j+1)^T
    softmax    one of x is 1,     p(. | rest) = softmax(field)
    Gaussian   b x becomes -(x - b)^2 / 2s^2 and neighbours see x / s^2:  p(x | rest) = N(field, s^2)
               (Cho et al. 2011, ICANN, with s learnt; layer 0 alone)

Odd layers are independent of one another given the even ones, and vice versa: Gibbs sampling takes them in two blocks,
and the layers of either parity can be summed out in closed form. `Temper` interpolates between the machine without
couplings, whose biases are `base`, and the whole one: p_t(x) ~ exp(-(1 - t) E_base(x) - t E(x)), up to a factor.

    machine = Machine((784, 500, 10), ("bernoulli", "bernoulli", "softmax"))
    params = machine.init(key, machine.zero_biases())
    layers = machine.start(key, params, machine.zero_biases(), 100)
    layers = machine.sweep(key, params, layers)
"""

import dataclasses
import itertools
import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from synthjax.errors import InputError
from synthjax.nets import dense

Units = Literal["bernoulli", "gaussian", "softmax"]
Layers = tuple[jax.Array, ...]
Clamped = dict[int, tuple[jax.Array | None, jax.Array]]
"""Layer -> (mask, values): units that stay as they are; mask None: the whole layer."""


class Params(NamedTuple):
    """Of a machine with layers of n_0 ... n_L units."""

    weights: tuple[jax.Array, ...]
    """W_j (n_(j-1), n_j), L of them."""
    biases: tuple[jax.Array, ...]
    """b_j (n_j,), L + 1 of them."""
    log_var: jax.Array
    """log s^2 (n_0,) of Gaussian units; an unused scalar 0 where there are none."""


class Temper(NamedTuple):
    """An intermediate distribution between the machine without couplings (t = 0) and the whole one (t = 1)."""

    t: jax.Array
    """In [0, 1]: a scalar, or (B, 1) for one value per row."""
    base: tuple[jax.Array, ...]
    """b_j (n_j,) at t = 0."""


@dataclass(frozen=True)
class Machine:
    """The architecture of a Boltzmann machine; hashable, so that it can be a static argument of jit."""

    sizes: tuple[int, ...]
    """n_0 ... n_L."""
    units: tuple[Units, ...]
    """Of each layer; "gaussian" only for layer 0."""
    half: bool = False
    """Matrix products, and those of their gradients, round their factors to bfloat16 (relative error at most 2^-9;
    binary states are exact) and sum in f32. Faster on matrix units (AMX, GPU, TPU). Bernoulli units are drawn with 16
    random bits. For training and sampling; compute likelihoods with `half=False`."""

    def __post_init__(self):
        """Checks the architecture.

        Raises:
          InputError: fewer than two layers, an empty one, or Gaussian units elsewhere than in layer 0.
        """
        if len(self.sizes) < 2:
            raise InputError("a Boltzmann machine needs at least one hidden layer")
        for j, size in enumerate(self.sizes):
            if size < 1:
                raise InputError(f"layer {j} of a Boltzmann machine has {size} units: must be at least 1")
        if "gaussian" in self.units[1:]:
            raise InputError("only layer 0 of a Boltzmann machine can have Gaussian units")

    # --- parameters and states -----------------------------------------------------------------------------------

    def zero_biases(self) -> tuple[jax.Array, ...]:
        """Biases 0 of every layer, (n_j,) f32 each."""
        return tuple(jnp.zeros(n, jnp.float32) for n in self.sizes)

    def init(self, key: jax.Array, biases: tuple[jax.Array, ...], log_var: jax.Array | None = None) -> Params:
        """Weights N(0, 0.01^2) (Hinton 2010, "A practical guide", section 8); log s^2 of Gaussian units, default 0."""
        pairs = list(itertools.pairwise(self.sizes))
        keys = jax.random.split(key, len(pairs))
        weights = tuple(0.01 * jax.random.normal(k, pair, jnp.float32) for k, pair in zip(keys, pairs, strict=True))
        if log_var is None:
            log_var = jnp.zeros(self.sizes[0] if self.units[0] == "gaussian" else (), jnp.float32)
        return Params(weights, biases, log_var)

    def start(self, key: jax.Array, params: Params, base: tuple[jax.Array, ...], count: int) -> Layers:
        """`count` exact draws from the machine without couplings, with biases `base`: (count, n_j) f32 each."""
        keys = jax.random.split(key, len(self.sizes))
        fields = (jnp.broadcast_to(b, (count, len(b))) for b in base)
        return tuple(self.draw(k, j, f, params.log_var) for j, (k, f) in enumerate(zip(keys, fields, strict=True)))

    def ascend(self, params: Params, x: jax.Array) -> Layers:
        """Means of all layers from layer 0 (B, n_0) upwards, in one pass.

        Inputs of layers below the top are doubled, in place of the input from above, as in the pre-training of deep
        machines. Mean-field inference starts from these means.
        """
        layers = [x]
        last = len(self.sizes) - 1
        for j in range(1, last + 1):
            factor = 1.0 if j == last else 2.0
            up = self.up(self.seen(params, j - 1, layers[-1]), params.weights[j - 1])
            layers.append(self.mean(j, jnp.atleast_2d(params.biases[j]) + factor * up))
        return tuple(layers)

    # --- conditional distributions -------------------------------------------------------------------------------

    def seen(self, params: Params, j: int, x: jax.Array) -> jax.Array:
        """Layer j as its neighbours see it: x, or x / s^2 of Gaussian units."""
        if self.units[j] != "gaussian":
            return x
        return x * jnp.exp(-params.log_var).reshape((1,) * (x.ndim - 1) + (-1,))

    def bias(self, params: Params, j: int, temper: Temper | None) -> jax.Array:
        """b_j at that temperature: (1, n_j) or (B, n_j)."""
        bias = jnp.atleast_2d(params.biases[j])
        if temper is None:
            return bias
        base = temper.base[j][None]
        return base + temper.t * (bias - base)

    def up(self, x: jax.Array, w: jax.Array) -> jax.Array:
        """x w of x (B, n_(j-1)) and couplings w (n_(j-1), n_j)."""
        return dense.forward(x, w) if self.half else jnp.matmul(x, w, precision="highest")

    def down(self, x: jax.Array, w: jax.Array) -> jax.Array:
        """x w^T of x (B, n_j) and couplings w (n_(j-1), n_j)."""
        return dense.backward(x, w) if self.half else jnp.matmul(x, w.T, precision="highest")

    def field(self, params: Params, layers: Layers, j: int, temper: Temper | None = None) -> jax.Array:
        """Total input of layer j, its bias included: (B, n_j)."""
        inputs = []
        if j > 0:
            inputs.append(self.up(self.seen(params, j - 1, layers[j - 1]), params.weights[j - 1]))
        if j + 1 < len(self.sizes):
            inputs.append(self.down(layers[j + 1], params.weights[j]))
        total = sum(inputs[1:], inputs[0])
        return self.bias(params, j, temper) + (total if temper is None else temper.t * total)

    def mean(self, j: int, field: jax.Array) -> jax.Array:
        """E[x_j | field]."""
        if self.units[j] == "bernoulli":
            return jax.nn.sigmoid(field)
        return jax.nn.softmax(field) if self.units[j] == "softmax" else field

    def draw(self, key: jax.Array, j: int, field: jax.Array, log_var: jax.Array) -> jax.Array:
        """x_j ~ p(. | field): like `field`."""
        if self.units[j] == "bernoulli":
            return (uniform(key, field.shape, self.half) < jax.nn.sigmoid(field)).astype(field.dtype)
        if self.units[j] == "softmax":
            return jax.nn.one_hot(jax.random.categorical(key, field), field.shape[-1], dtype=field.dtype)
        return field + jnp.exp(log_var / 2)[None] * jax.random.normal(key, field.shape, field.dtype)

    def parity(self, parity: int) -> range:
        """The odd (1) or even (0) layers."""
        return range(parity, len(self.sizes), 2)

    # --- inference and sampling ----------------------------------------------------------------------------------

    def update(
        self,
        key: jax.Array | None,
        params: Params,
        layers: Layers,
        parity: int,
        clamped: Clamped | None = None,
        temper: Temper | None = None,
    ) -> Layers:
        """All layers of one parity drawn given the others, or set to their means where `key` is None."""
        new, clamped = list(layers), clamped or {}
        for j in self.parity(parity):
            mask, values = clamped.get(j, (False, None))
            if mask is None:
                continue
            field = self.field(params, layers, j, temper)
            x = self.mean(j, field)
            if key is not None:
                x = self.draw(jax.random.fold_in(key, j), j, field, params.log_var)
            new[j] = (x if values is None else jnp.where(mask, values, x)).astype(layers[j].dtype)
        return tuple(new)

    def sweep(
        self,
        key: jax.Array | None,
        params: Params,
        layers: Layers,
        clamped: Clamped | None = None,
        temper: Temper | None = None,
        first: int = 1,
    ) -> Layers:
        """One sweep of block Gibbs sampling, or of mean-field updates where `key` is None: parity `first`, the other.

        The values in `layers` of the first parity are not used.
        """
        keys = (None, None) if key is None else jax.random.split(key)
        layers = self.update(keys[0], params, layers, first, clamped, temper)
        return self.update(keys[1], params, layers, 1 - first, clamped, temper)

    def chain(self, key, params: Params, layers: Layers, steps: int, clamped: Clamped | None = None) -> Layers:
        """The layers after `steps` sweeps; `key` None: of mean-field updates."""

        def body(i, layers):
            return self.sweep(None if key is None else jax.random.fold_in(key, i), params, layers, clamped)

        return jax.lax.fori_loop(0, steps, body, layers)

    def infer(self, params: Params, x: jax.Array, label: jax.Array | None, steps: int) -> Layers:
        """Mean-field q(h | x, label) after `steps` sweeps from `ascend`: exact where there is one hidden layer.

        Args:
          params: of the machine.
          x: (B, n_0), layer 0.
          label: (B, n_L) one-hot, or None where the top layer is to be inferred like the others.
          steps: at least 1.
        """
        layers = self.ascend(params, x)
        if len(layers) == 2:
            return layers
        # Layer 0 is fixed: its input to layer 1 is computed once and becomes a bias of the machine above it.
        driven = jnp.atleast_2d(params.biases[1]) + self.up(self.seen(params, 0, x), params.weights[0])
        above = dataclasses.replace(self, sizes=self.sizes[1:], units=self.units[1:])
        rest = Params(params.weights[1:], (driven, *params.biases[2:]), jnp.zeros((), jnp.float32))
        layers = layers[1:]
        clamped: Clamped = {}
        if label is not None:
            layers = (*layers[:-1], label)
            clamped = {len(layers) - 1: (None, label)}
        steps = 1 if len(layers) == 2 and label is not None else steps

        def body(_, layers):
            return above.sweep(None, rest, layers, clamped, first=0)

        return (x, *jax.lax.fori_loop(0, steps, body, layers))

    # --- densities -----------------------------------------------------------------------------------------------

    def energy(self, params: Params, layers: Layers, temper: Temper | None = None) -> jax.Array:
        """E(x), also of means in place of states (then E_q[E] of a product q, but for a Gaussian's variance): (B,)."""
        own, joined = jnp.float32(0), jnp.float32(0)
        for j in range(len(layers)):
            own = own + self.own(params, layers, j, temper)
        for j, w in enumerate(params.weights):
            joined = joined + (self.up(self.seen(params, j, layers[j]), w) * layers[j + 1]).sum(axis=-1)
        return -own - (joined if temper is None else jnp.squeeze(temper.t) * joined)

    def own(self, params: Params, layers: Layers, j: int, temper: Temper | None) -> jax.Array:
        """Layer j's part of -E without its neighbours: (B,)."""
        b, x = self.bias(params, j, temper), layers[j]
        if self.units[j] == "gaussian":
            return -0.5 * ((x - b) ** 2 * jnp.exp(-params.log_var)[None]).sum(axis=-1)
        return (x * b).sum(axis=-1)

    def log_sum(self, params: Params, j: int, field: jax.Array, bias: jax.Array) -> jax.Array:
        """log of the sum (the integral) over all x_j of its part of exp(-E), given its field: (B,)."""
        if self.units[j] == "bernoulli":
            return _softplus(field).sum(axis=-1)
        if self.units[j] == "softmax":
            return jax.nn.logsumexp(field, axis=-1)
        log_var = params.log_var[None]
        return 0.5 * ((field**2 - bias**2) * jnp.exp(-log_var) + log_var + math.log(2 * math.pi)).sum(axis=-1)

    def free_energy(self, params: Params, layers: Layers, kept: int = 0, temper: Temper | None = None) -> jax.Array:
        """F with exp(-F) = sum of exp(-E) over all layers but those of parity `kept`: (B,), nats.

        The values in `layers` of the other parity are not used. -log p(kept) = F + log Z.
        """
        total = jnp.float32(0)
        for j in self.parity(kept):
            total = total + self.own(params, layers, j, temper)
        for j in self.parity(1 - kept):
            field = self.field(params, layers, j, temper)
            total = total + self.log_sum(params, j, field, self.bias(params, j, temper))
        return -total

    def entropy(self, layers: Layers, j: int) -> jax.Array:
        """Of a product distribution with means x_j: (B,), nats."""
        x = layers[j]
        if self.units[j] == "bernoulli":
            return (jax.scipy.special.entr(x) + jax.scipy.special.entr(1 - x)).sum(axis=-1)
        return jax.scipy.special.entr(x).sum(axis=-1)

    def variational_free_energy(self, params: Params, layers: Layers, label_known: bool) -> jax.Array:
        """E_q[E] - H(q) for means as `infer` gives them: (B,), nats. -log p(x) <= this + log Z (the ELBO's other side).

        Args:
          params: of the machine.
          layers: means; layer 0 is data.
          label_known: the top layer is data too.
        """
        total = self.energy(params, layers)
        for j in range(1, len(layers) - label_known):
            total = total - self.entropy(layers, j)
        return total


@jax.custom_jvp
def _softplus(x: jax.Array) -> jax.Array:
    """log(1 + e^x) with an absolute error of about 1e-7, in half the time of `jax.nn.softplus`."""
    return jnp.maximum(x, 0) + jnp.log(1 + jnp.exp(-jnp.abs(x)))


@_softplus.defjvp
def _softplus_jvp(primals, tangents):
    # |x| has no second derivative at 0, where the fields of a new machine are.
    (x,), (tangent,) = primals, tangents
    return _softplus(x), jax.nn.sigmoid(x) * tangent


def uniform(key: jax.Array, shape: tuple[int, ...], half: bool = False) -> jax.Array:
    """Uniform in [0, 1], f32; `half`: the midpoints of 2^16 equal intervals, two from each random word."""
    if not half:
        return jax.random.uniform(key, shape, jnp.float32)
    *rows, n = shape
    words = jax.random.bits(key, (*rows, -(-n // 2)), jnp.uint32)
    drawn = jnp.concatenate([words >> 16, words & 0xFFFF], axis=-1)[..., :n]
    return (drawn.astype(jnp.float32) + 0.5) * 2.0**-16
