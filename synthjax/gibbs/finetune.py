r"""A classifier that starts from a trained Boltzmann machine (Salakhutdinov & Hinton 2009, AISTATS 5:448, section 3.3).

The hidden layers become those of a network trained by back-propagation. In a deep machine a layer also gets input from
the one above it, so that the network has the mean-field activations q of that one as a second input:

    h_j = sigmoid(h_(j-1) W_j + q_(j+1) A_j + b_j),   A_j = W_(j+1)^T before training;   logits = h_L U + c

q is computed once, with the machine as it was trained and the label unknown; its layers and A are then trained like the
other parameters. Where mean-field inference has converged, h_j = q_j at the start. U and c are the machine's label
units, or new where it has none. With one hidden layer the network is a plain one.

    network = unroll(key, machine, params, classes=10)
    x, y = inputs(machine, params, images, steps=10), labels
    network = train(key, network, x, y, Protocol(steps=2000))
    answer = logits(network, x).argmax(-1)
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from synthjax.errors import InputError
from synthjax.gibbs.machine import Layers, Machine, Params, uniform
from synthjax.train import optim


class Network(NamedTuple):
    """Parameters of the classifier over layers of n_0 ... n_L units."""

    weights: tuple[jax.Array, ...]
    """W_j (n_(j-1), n_j), L of them, and U (n_L, classes)."""
    feedback: tuple[jax.Array, ...]
    """A_j (n_(j+1), n_j) of the layers 1 ... L - 1."""
    biases: tuple[jax.Array, ...]
    """b_j (n_j,), L of them, and c (classes,)."""


@dataclass(frozen=True)
class Protocol:
    """How it is trained: Adam on the cross-entropy, the learning rate falling to 0 (linear)."""

    steps: int = 15_000
    batch_size: int = 100
    """Or all examples, where there are fewer."""
    learning_rate: float = 5e-4
    dropout: float = 0.0
    """Share of hidden activations that are left out in a step, the others scaled up (Srivastava et al. 2014)."""
    pixel_dropout: float = 0.0
    """The same of layer 0; .2 there."""


def hidden_layers(machine: Machine) -> int:
    """L: all layers but the data and, where there is one, the label."""
    return len(machine.sizes) - 1 - (machine.units[-1] == "softmax")


def unroll(key: jax.Array, machine: Machine, params: Params, classes: int) -> Network:
    """The network that starts from a machine.

    Args:
      key: typed; for U, where the machine has no label units.
      machine: with any number of hidden layers.
      params: of it.
      classes: number of them.

    Raises:
      InputError: the machine's label units are of another number of classes.
    """
    count = hidden_layers(machine)
    weights, biases = list(params.weights[:count]), list(params.biases[1 : 1 + count])
    # Gaussian pixels reach layer 1 divided by their variance.
    weights[0] = machine.seen(params, 0, jnp.ones(machine.sizes[0], jnp.float32))[:, None] * weights[0]
    feedback = tuple(w.T for w in params.weights[1:count])
    if len(machine.sizes) - 1 > count:
        if machine.sizes[-1] != classes:
            raise InputError(f"the machine has label units for {machine.sizes[-1]} classes; the data has {classes}")
        return Network((*weights, params.weights[count]), feedback, (*biases, params.biases[-1]))
    top = 0.01 * jax.random.normal(key, (machine.sizes[count], classes), jnp.float32)
    return Network((*weights, top), feedback, (*biases, jnp.zeros(classes, jnp.float32)))


def scratch(key: jax.Array, machine: Machine, classes: int) -> Network:
    """The same network without the machine and without its second inputs: the baseline.

    Weights are drawn from N(0, 1 / n) for n inputs.
    """
    sizes = (*machine.sizes[: 1 + hidden_layers(machine)], classes)
    keys = jax.random.split(key, len(sizes) - 1)
    pairs = zip(keys, sizes[:-1], sizes[1:], strict=True)
    weights = tuple(jax.random.normal(k, (n, m), jnp.float32) / math.sqrt(n) for k, n, m in pairs)
    return Network(weights, (), tuple(jnp.zeros(m, jnp.float32) for m in sizes[1:]))


def inputs(machine: Machine, params: Params, x: jax.Array, steps: int) -> Layers:
    """Inputs of the network: layer 0 as it is, (B, n_0), and the means q_2 ... q_L, (B, n_j).

    Args:
      machine: of any architecture.
      params: of it.
      x: (B, n_0): layer 0; black-and-white pixels as their probabilities.
      steps: of mean-field inference, the label unknown.
    """
    count = hidden_layers(machine)
    if count == 1:
        return (x,)
    q = machine.infer(params, x, None, steps)
    return (x, *q[2 : 1 + count])


def logits(network: Network, x: Layers, key: jax.Array | None = None, dropout: Sequence[float] = (0, 0)) -> jax.Array:
    """(B, classes) of `inputs`. With a key, for training: drops shares `dropout` of layer 0 and of the layers above."""

    def thinned(h: jax.Array, j: int, share: float) -> jax.Array:
        if key is None or not share:
            return h
        return h * (uniform(jax.random.fold_in(key, j), h.shape) < 1 - share) / (1 - share)

    last = len(network.weights) - 1
    h = thinned(x[0], last, dropout[0])
    for j in range(last):
        field = h @ network.weights[j] + network.biases[j][None]
        if j < len(network.feedback):
            field = field + x[1 + j] @ network.feedback[j]
        h = thinned(jax.nn.sigmoid(field), j, dropout[1])
    return h @ network.weights[last] + network.biases[last][None]


def train(key: jax.Array, network: Network, x: Layers, y: jax.Array, protocol: Protocol) -> Network:
    """The network after training on `inputs` x (N, n_j), labels y (N,), in batches drawn from shuffled passes.

    Raises:
      InputError: a field of the protocol is out of its range, or there are no examples.
    """
    for name in ("steps", "batch_size"):
        if getattr(protocol, name) < 1:
            raise InputError(f"{name}={getattr(protocol, name)}: must be at least 1")
    for name in ("dropout", "pixel_dropout"):
        if not 0 <= getattr(protocol, name) < 1:
            raise InputError(f"{name}={getattr(protocol, name)}: must be at least 0 and below 1")
    if len(y) < 1:
        raise InputError("fine-tuning: there are no examples")
    return _train(key, network, x, y, protocol)


@partial(jax.jit, static_argnums=4)
def _train(key, network: Network, x: Layers, y: jax.Array, protocol: Protocol) -> Network:
    size = min(protocol.batch_size, len(y))
    a_pass = len(y) // size
    rate = optim.schedule(protocol.learning_rate, protocol.steps, decay="linear")
    adam = optax.chain(optim.adam(), optax.scale_by_learning_rate(rate))
    key_order, key_dropout = jax.random.split(key)

    def loss(network, key, x, y):
        found = logits(network, x, key, (protocol.pixel_dropout, protocol.dropout))
        return optax.softmax_cross_entropy_with_integer_labels(found, y).mean()

    def step(i, carry):
        network, state, order = carry
        order = jax.lax.cond(
            i % a_pass == 0,
            lambda: jax.random.permutation(jax.random.fold_in(key_order, i), len(y)),
            lambda: order,
        )
        rows = jax.lax.dynamic_slice(order, (i % a_pass * size,), (size,))
        gradient = jax.grad(loss)(network, jax.random.fold_in(key_dropout, i), tuple(a[rows] for a in x), y[rows])
        update, state = adam.update(gradient, state, network)
        return optax.apply_updates(network, update), state, order

    carry = network, adam.init(network), jnp.arange(len(y))
    return jax.lax.fori_loop(0, protocol.steps, step, carry)[0]
