r"""Boltzmann machines as chains of layers, the basis of RBMs and DBMs (Salakhutdinov & Hinton 2009, AISTATS 5:448).

Of the layers x_0 ... x_L, adjacent ones are connected. An RBM has two. Softmax units for a label are one more layer.

    -E(x) = sum_j b_j x_j  +  sum_j x_(j-1) W_j x_j,       p(x) = exp(-E(x)) / Z

    Bernoulli  x in {0, 1},  p(x = 1 | rest) = sigmoid(field)        field_j = b_j + x_(j-1) W_j + x_(j+1) W_(j+1)^T
    softmax    one of x is 1,     p(. | rest) = softmax(field)
    Gaussian   b x is replaced by -(x - b)^2 / 2s^2, and x by x / s^2 in the terms of the weights:
               p(x | rest) = N(field, s^2)   (Cho et al. 2011, ICANN, with learned s; only for layer 0)

Odd layers are independent of one another given the even layers, and vice versa. So Gibbs sampling alternates between
two blocks, and the layers of either parity can be summed out in closed form. `Temper` interpolates between a machine
without couplings (weights), whose biases are `base`, and the full machine: p_t(x) ~ exp(-(1 - t) E_base(x) - t E(x)),
up to a factor.

    machine = Machine((784, 500, 10), ("bernoulli", "bernoulli", "softmax"))
    params = machine.init(key, machine.zero_biases())
    layers = machine.start(key, params, machine.zero_biases(), 100)
    layers = machine.sweep(key, params, layers)

    >>> machine = Machine((4, 3), ("bernoulli", "bernoulli"))
    >>> params = machine.init(jax.random.key(0), machine.zero_biases())
    >>> layers = machine.start(jax.random.key(1), params, machine.zero_biases(), 100)
    >>> layers = machine.sweep(jax.random.key(2), params, layers)
    >>> [x.shape for x in layers]
    [(100, 4), (100, 3)]
    >>> machine.free_energy(params, layers).shape
    (100,)
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
"""Units that sampling does not change: layer index -> (mask, values). A mask of None clamps the whole layer."""


class Params(NamedTuple):
    """Parameters of a machine whose layers have n_0 ... n_L units; all f32."""

    weights: tuple[jax.Array, ...]
    """W_1 ... W_L, (n_(j-1), n_j) each."""
    biases: tuple[jax.Array, ...]
    """b_0 ... b_L, (n_j,) each."""
    log_var: jax.Array
    """log s^2 (n_0,) of Gaussian units; an unused 0, (), if there are none."""


class Temper(NamedTuple):
    """An intermediate distribution between the machine without couplings (t = 0) and the full machine (t = 1)."""

    t: jax.Array
    """In [0, 1]: a scalar, or (B, 1) for one value per row."""
    base: tuple[jax.Array, ...]
    """(n_j,) each, the biases at t = 0."""


@dataclass(frozen=True)
class Machine:
    """The architecture of a Boltzmann machine. It is hashable and can be a static argument of `jax.jit`."""

    sizes: tuple[int, ...]
    """Number of units of each layer, n_0 ... n_L."""
    units: tuple[Units, ...]
    """Type of the units of each layer; "gaussian" only for layer 0."""
    half: bool = False
    """Whether matrix products and their gradients round their factors to bfloat16 and sum in f32. The relative error of
    a factor is at most 2^-9; binary states are exact. This is faster on matrix units (AMX, GPU, TPU). Bernoulli units
    are then drawn with 16 random bits. For training and sampling only; compute likelihoods with `half=False`."""

    def __post_init__(self):
        """Checks the architecture.

        Raises:
          InputError: there are fewer than two layers, a layer is empty, or a layer above 0 has Gaussian units.
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
        """Zero biases for each layer, (n_j,) f32 each."""
        return tuple(jnp.zeros(n, jnp.float32) for n in self.sizes)

    def init(self, key: jax.Array, biases: tuple[jax.Array, ...], log_var: jax.Array | None = None) -> Params:
        """Initial parameters, with weights drawn from N(0, 0.01^2) (Hinton 2010, "A practical guide", section 8).

        Args:
          key: typed PRNG key.
          biases: (n_j,) f32 each.
          log_var: (n_0,) f32, log s^2 of Gaussian units; None: 0.
        """
        pairs = list(itertools.pairwise(self.sizes))
        keys = jax.random.split(key, len(pairs))
        weights = tuple(0.01 * jax.random.normal(k, pair, jnp.float32) for k, pair in zip(keys, pairs, strict=True))
        if log_var is None:
            log_var = jnp.zeros(self.sizes[0] if self.units[0] == "gaussian" else (), jnp.float32)
        return Params(weights, biases, log_var)

    def start(self, key: jax.Array, params: Params, base: tuple[jax.Array, ...], count: int) -> Layers:
        """Draws `count` exact samples from the machine without couplings, with biases `base`: (count, n_j) each."""
        keys = jax.random.split(key, len(self.sizes))
        fields = (jnp.broadcast_to(b, (count, len(b))) for b in base)
        return tuple(self.draw(k, j, f, params.log_var) for j, (k, f) in enumerate(zip(keys, fields, strict=True)))

    def ascend(self, params: Params, x: jax.Array) -> Layers:
        """Approximate means of all layers in one pass upwards from layer 0: the start of mean-field inference.

        Below the top layer, the input from the layer below is doubled to replace the missing input from above, as in
        the pre-training of deep machines.

        Args:
          params: of the machine.
          x: (B, n_0), layer 0.

        Returns:
          (B, n_j) each.
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
        """Layer j as it enters the fields of adjacent layers: x / s^2 for Gaussian units, else x; (..., n_j)."""
        if self.units[j] != "gaussian":
            return x
        return x * jnp.exp(-params.log_var).reshape((1,) * (x.ndim - 1) + (-1,))

    def bias(self, params: Params, j: int, temper: Temper | None) -> jax.Array:
        """b_j of the (tempered) machine: (1, n_j), or (B, n_j) if t differs by row."""
        bias = jnp.atleast_2d(params.biases[j])
        if temper is None:
            return bias
        base = temper.base[j][None]
        return base + temper.t * (bias - base)

    def up(self, x: jax.Array, w: jax.Array) -> jax.Array:
        """Input from the layer below: x w for x (B, n_(j-1)) and weights w (n_(j-1), n_j)."""
        return dense.forward(x, w) if self.half else jnp.matmul(x, w, precision="highest")

    def down(self, x: jax.Array, w: jax.Array) -> jax.Array:
        """Input from the layer above: x w^T for x (B, n_j) and weights w (n_(j-1), n_j)."""
        return dense.backward(x, w) if self.half else jnp.matmul(x, w.T, precision="highest")

    def field(self, params: Params, layers: Layers, j: int, temper: Temper | None = None) -> jax.Array:
        """Total input of layer j, including its bias: (B, n_j)."""
        inputs = []
        if j > 0:
            inputs.append(self.up(self.seen(params, j - 1, layers[j - 1]), params.weights[j - 1]))
        if j + 1 < len(self.sizes):
            inputs.append(self.down(layers[j + 1], params.weights[j]))
        total = sum(inputs[1:], inputs[0])
        return self.bias(params, j, temper) + (total if temper is None else temper.t * total)

    def mean(self, j: int, field: jax.Array) -> jax.Array:
        """E[x_j | field], like `field` (B, n_j)."""
        if self.units[j] == "bernoulli":
            return jax.nn.sigmoid(field)
        return jax.nn.softmax(field) if self.units[j] == "softmax" else field

    def draw(self, key: jax.Array, j: int, field: jax.Array, log_var: jax.Array) -> jax.Array:
        """Draws x_j ~ p(. | field), like `field` (B, n_j). `log_var` is used for Gaussian units."""
        if self.units[j] == "bernoulli":
            return (uniform(key, field.shape, self.half) < jax.nn.sigmoid(field)).astype(field.dtype)
        if self.units[j] == "softmax":
            return jax.nn.one_hot(jax.random.categorical(key, field), field.shape[-1], dtype=field.dtype)
        return field + jnp.exp(log_var / 2)[None] * jax.random.normal(key, field.shape, field.dtype)

    def parity(self, parity: int) -> range:
        """Indices of the even (parity 0) or odd (parity 1) layers."""
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
        """Updates all layers of one parity, given the others.

        Args:
          key: typed PRNG key to draw the layers; None: they are set to their conditional means.
          params: of the machine.
          layers: (B, n_j) each.
          parity: 0 for even layers, 1 for odd layers.
          clamped: units that keep their values.
          temper: intermediate distribution; None: the full machine.

        Returns:
          The layers, (B, n_j) each.
        """
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
        """One sweep of block Gibbs sampling, or of mean-field updates if `key` is None.

        The layers of parity `first` are updated first, so their current values are ignored (but for clamped units).
        The arguments and the result are those of `update`.
        """
        keys = (None, None) if key is None else jax.random.split(key)
        layers = self.update(keys[0], params, layers, first, clamped, temper)
        return self.update(keys[1], params, layers, 1 - first, clamped, temper)

    def chain(self, key, params: Params, layers: Layers, steps: int, clamped: Clamped | None = None) -> Layers:
        """Runs `steps` sweeps, of mean-field updates if `key` is None. See `update` for the arguments."""

        def body(i, layers):
            return self.sweep(None if key is None else jax.random.fold_in(key, i), params, layers, clamped)

        return jax.lax.fori_loop(0, steps, body, layers)

    def infer(self, params: Params, x: jax.Array, label: jax.Array | None, steps: int) -> Layers:
        """Means of the mean-field posterior q(h | x, label), after `steps` sweeps that start from `ascend`.

        With one hidden layer and no label layer, the posterior is exact.

        Args:
          params: of the machine.
          x: (B, n_0), layer 0.
          label: (B, n_L) one-hot, the top layer; None: it is inferred like the other layers.
          steps: number of sweeps, at least 1.

        Returns:
          (B, n_j) each; layer 0 is `x`, and the top layer is `label` if given.
        """
        layers = self.ascend(params, x)
        if len(layers) == 2:
            return layers
        # Layer 0 is fixed: its input to layer 1 is computed once and becomes a bias of the machine above it.
        bias = jnp.atleast_2d(params.biases[1]) + self.up(self.seen(params, 0, x), params.weights[0])
        above = dataclasses.replace(self, sizes=self.sizes[1:], units=self.units[1:])
        rest = Params(params.weights[1:], (bias, *params.biases[2:]), jnp.zeros((), jnp.float32))
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
        """E(x): (B,) f32.

        If the layers are the means of a product distribution q, this is E_q[E], up to a term of the variance of
        Gaussian units.
        """
        own_terms, pair_terms = jnp.float32(0), jnp.float32(0)
        for j in range(len(layers)):
            own_terms = own_terms + self.own(params, layers, j, temper)
        for j, w in enumerate(params.weights):
            pair_terms = pair_terms + (self.up(self.seen(params, j, layers[j]), w) * layers[j + 1]).sum(axis=-1)
        return -own_terms - (pair_terms if temper is None else jnp.squeeze(temper.t) * pair_terms)

    def own(self, params: Params, layers: Layers, j: int, temper: Temper | None) -> jax.Array:
        """The terms of -E that depend on layer j alone: (B,)."""
        b, x = self.bias(params, j, temper), layers[j]
        if self.units[j] == "gaussian":
            return -0.5 * ((x - b) ** 2 * jnp.exp(-params.log_var)[None]).sum(axis=-1)
        return (x * b).sum(axis=-1)

    def log_sum(self, params: Params, j: int, field: jax.Array, bias: jax.Array) -> jax.Array:
        """log of the sum of exp(-E) over all states of layer j (the integral, for Gaussian units), given its field.

        Only the terms of E that depend on layer j count.

        Args:
          params: of the machine.
          j: index of the layer.
          field: (B, n_j), from `field`.
          bias: (1, n_j) or (B, n_j), from `bias`.

        Returns:
          (B,) f32.
        """
        if self.units[j] == "bernoulli":
            return _softplus(field).sum(axis=-1)
        if self.units[j] == "softmax":
            return jax.nn.logsumexp(field, axis=-1)
        log_var = params.log_var[None]
        return 0.5 * ((field**2 - bias**2) * jnp.exp(-log_var) + log_var + math.log(2 * math.pi)).sum(axis=-1)

    def free_energy(self, params: Params, layers: Layers, kept: int = 0, temper: Temper | None = None) -> jax.Array:
        """Free energy F of the layers of parity `kept`: exp(-F) is the sum of exp(-E) over all other layers.

        -log p(kept) = F + log Z. The values of the other layers in `layers` are ignored.

        Returns:
          (B,) f32, nats.
        """
        total = jnp.float32(0)
        for j in self.parity(kept):
            total = total + self.own(params, layers, j, temper)
        for j in self.parity(1 - kept):
            field = self.field(params, layers, j, temper)
            total = total + self.log_sum(params, j, field, self.bias(params, j, temper))
        return -total

    def entropy(self, layers: Layers, j: int) -> jax.Array:
        """Entropy of a product distribution whose means are layer j, of Bernoulli or softmax units: (B,), nats."""
        x = layers[j]
        if self.units[j] == "bernoulli":
            return (jax.scipy.special.entr(x) + jax.scipy.special.entr(1 - x)).sum(axis=-1)
        return jax.scipy.special.entr(x).sum(axis=-1)

    def variational_free_energy(self, params: Params, layers: Layers, label_known: bool) -> jax.Array:
        """E_q[E] - H(q), from which the ELBO follows: -log p(x) <= E_q[E] - H(q) + log Z.

        Args:
          params: of the machine.
          layers: means as from `infer`, (B, n_j) each; layer 0 is data.
          label_known: whether the top layer is data as well.

        Returns:
          (B,) f32, nats.
        """
        total = self.energy(params, layers)
        for j in range(1, len(layers) - label_known):
            total = total - self.entropy(layers, j)
        return total


@jax.custom_jvp
def _softplus(x: jax.Array) -> jax.Array:
    """log(1 + e^x) with an absolute error of about 1e-7; it takes half the time of `jax.nn.softplus`."""
    return jnp.maximum(x, 0) + jnp.log(1 + jnp.exp(-jnp.abs(x)))


@_softplus.defjvp
def _softplus_jvp(primals, tangents):
    # Without this rule the second derivative is wrong at 0, because of |x|; the fields of a new machine are 0.
    (x,), (tangent,) = primals, tangents
    return _softplus(x), jax.nn.sigmoid(x) * tangent


def uniform(key: jax.Array, shape: tuple[int, ...], half: bool = False) -> jax.Array:
    """Uniform f32 random numbers in [0, 1).

    With `half`, they are the midpoints of 2^16 equal intervals, and each 32-bit random word gives two of them.
    """
    if not half:
        return jax.random.uniform(key, shape, jnp.float32)
    *rows, n = shape
    words = jax.random.bits(key, (*rows, -(-n // 2)), jnp.uint32)
    halves = jnp.concatenate([words >> 16, words & 0xFFFF], axis=-1)[..., :n]
    return (halves.astype(jnp.float32) + 0.5) * 2.0**-16
