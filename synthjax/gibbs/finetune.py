r"""Fine-tuning of a Boltzmann machine as a classifier (Salakhutdinov & Hinton 2009, AISTATS 5:448, section 3.3).

The hidden layers initialise a feed-forward network, which is trained by back-propagation. In a deep machine each hidden
layer also receives input from the layer above. So the network takes the mean-field activations q of the layer above as
an additional input:

    h_j = sigmoid(h_(j-1) W_j + q_(j+1) A_j + b_j),   A_j = W_(j+1)^T before training;   logits = h_L U + c

q is computed once, by the trained machine with unknown label, and stays fixed. A is trained like the other parameters.
If mean-field inference has converged, h_j = q_j before training. U and c are initialised from the machine's label
units, or newly if it has none. With one hidden layer there is no q, and the network is an ordinary one.

    network = unroll(key, machine, params, classes=10)
    x, y = inputs(machine, params, images, steps=10), labels
    network = train(key, network, x, y, Protocol(steps=2000))
    predicted = logits(network, x).argmax(-1)

    >>> from synthjax.gibbs.machine import Machine
    >>> machine = Machine((4, 3, 2), ("bernoulli", "bernoulli", "softmax"))
    >>> key = jax.random.key(0)
    >>> params = machine.init(key, machine.zero_biases())
    >>> x, y = jnp.eye(4), jnp.array([0, 1, 0, 1])
    >>> layers = inputs(machine, params, x, steps=5)
    >>> network = unroll(key, machine, params, classes=2)
    >>> network = train(key, network, layers, y, Protocol(steps=2000, learning_rate=0.1))
    >>> logits(network, layers).argmax(-1).tolist()
    [0, 1, 0, 1]
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
    """Parameters of a classifier whose layers have n_0 ... n_L units."""

    weights: tuple[jax.Array, ...]
    """W_1 ... W_L, (n_(j-1), n_j) each, and U (n_L, classes); f32."""
    feedback: tuple[jax.Array, ...]
    """A_1 ... A_(L-1), (n_(j+1), n_j) each; f32."""
    biases: tuple[jax.Array, ...]
    """b_1 ... b_L, (n_j,) each, and c (classes,); f32."""


@dataclass(frozen=True)
class Protocol:
    """Training of a classifier: Adam on the cross-entropy, with a learning rate that decays linearly to 0."""

    steps: int = 15_000
    """Number of training steps, at least 1."""
    batch_size: int = 100
    """Number of examples in a batch, at least 1. If there are fewer examples, a batch has them all."""
    learning_rate: float = 5e-4
    """Of Adam, at the first step."""
    dropout: float = 0.0
    """Dropout rate of hidden units, in [0, 1) (Srivastava et al. 2014, JMLR 15:1929)."""
    pixel_dropout: float = 0.0
    """Dropout rate of layer 0, in [0, 1). Srivastava et al. use 0.2."""


def hidden_layers(machine: Machine) -> int:
    """L, the number of hidden layers: all but layer 0 and a layer of label units."""
    return len(machine.sizes) - 1 - (machine.units[-1] == "softmax")


def unroll(key: jax.Array, machine: Machine, params: Params, classes: int) -> Network:
    """Initialises a classifier from a machine.

    Args:
      key: typed PRNG key; used for U if the machine has no label units.
      machine: with any number of hidden layers.
      params: of the machine.
      classes: number of classes.

    Returns:
      The untrained network.

    Raises:
      InputError: the machine has label units for another number of classes.
    """
    count = hidden_layers(machine)
    weights, biases = list(params.weights[:count]), list(params.biases[1 : 1 + count])
    # The input of layer 1 from Gaussian pixels is divided by their variance.
    weights[0] = machine.seen(params, 0, jnp.ones(machine.sizes[0], jnp.float32))[:, None] * weights[0]
    feedback = tuple(w.T for w in params.weights[1:count])
    if len(machine.sizes) - 1 > count:
        if machine.sizes[-1] != classes:
            raise InputError(f"the machine has label units for {machine.sizes[-1]} classes; the data has {classes}")
        return Network((*weights, params.weights[count]), feedback, (*biases, params.biases[-1]))
    top = 0.01 * jax.random.normal(key, (machine.sizes[count], classes), jnp.float32)
    return Network((*weights, top), feedback, (*biases, jnp.zeros(classes, jnp.float32)))


def scratch(key: jax.Array, machine: Machine, classes: int) -> Network:
    """A randomly initialised network of the same layer sizes, without feedback: the baseline.

    Weights are drawn from N(0, 1 / n) for n inputs; biases are 0. Arguments are those of `unroll`.
    """
    sizes = (*machine.sizes[: 1 + hidden_layers(machine)], classes)
    keys = jax.random.split(key, len(sizes) - 1)
    pairs = zip(keys, sizes[:-1], sizes[1:], strict=True)
    weights = tuple(jax.random.normal(k, (n, m), jnp.float32) / math.sqrt(n) for k, n, m in pairs)
    return Network(weights, (), tuple(jnp.zeros(m, jnp.float32) for m in sizes[1:]))


def inputs(machine: Machine, params: Params, x: jax.Array, steps: int) -> Layers:
    """Inputs of the network: layer 0 and the mean-field activations of the layers above the first hidden one.

    Args:
      machine: of any architecture.
      params: of the machine.
      x: (B, n_0) f32, layer 0; for Bernoulli pixels their probabilities in [0, 1].
      steps: number of mean-field sweeps, with unknown label.

    Returns:
      (x, q_2, ..., q_L), each (B, n_j) f32.
    """
    count = hidden_layers(machine)
    if count == 1:
        return (x,)
    q = machine.infer(params, x, None, steps)
    return (x, *q[2 : 1 + count])


def logits(network: Network, x: Layers, key: jax.Array | None = None, dropout: Sequence[float] = (0, 0)) -> jax.Array:
    """Logits of the classes.

    Args:
      network: the classifier.
      x: as from `inputs`, (B, n_j) each.
      key: typed PRNG key for dropout in training; None: no dropout.
      dropout: rates of layer 0 and of the hidden layers.

    Returns:
      (B, classes) f32.
    """

    def drop(h: jax.Array, j: int, rate: float) -> jax.Array:
        if key is None or not rate:
            return h
        return h * (uniform(jax.random.fold_in(key, j), h.shape) < 1 - rate) / (1 - rate)

    last = len(network.weights) - 1
    h = drop(x[0], last, dropout[0])
    for j in range(last):
        field = h @ network.weights[j] + network.biases[j][None]
        if j < len(network.feedback):
            field = field + x[1 + j] @ network.feedback[j]
        h = drop(jax.nn.sigmoid(field), j, dropout[1])
    return h @ network.weights[last] + network.biases[last][None]


def train(key: jax.Array, network: Network, x: Layers, y: jax.Array, protocol: Protocol) -> Network:
    """Trains the network. The examples are shuffled at the start of each epoch.

    Args:
      key: typed PRNG key.
      network: as from `unroll` or `scratch`.
      x: as from `inputs`, (N, n_j) each.
      y: (N,) i32 labels.
      protocol: of the training.

    Returns:
      The trained network.

    Raises:
      InputError: a field of the protocol is out of range, or there are no examples.
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
    steps_per_epoch = len(y) // size
    rate = optim.schedule(protocol.learning_rate, protocol.steps, decay="linear")
    adam = optax.chain(optim.adam(), optax.scale_by_learning_rate(rate))
    key_order, key_dropout = jax.random.split(key)

    def loss(network, key, x, y):
        predicted = logits(network, x, key, (protocol.pixel_dropout, protocol.dropout))
        return optax.softmax_cross_entropy_with_integer_labels(predicted, y).mean()

    def step(i, carry):
        network, state, order = carry
        order = jax.lax.cond(
            i % steps_per_epoch == 0,
            lambda: jax.random.permutation(jax.random.fold_in(key_order, i), len(y)),
            lambda: order,
        )
        rows = jax.lax.dynamic_slice(order, (i % steps_per_epoch * size,), (size,))
        gradient = jax.grad(loss)(network, jax.random.fold_in(key_dropout, i), tuple(a[rows] for a in x), y[rows])
        update, state = adam.update(gradient, state, network)
        return optax.apply_updates(network, update), state, order

    carry = network, adam.init(network), jnp.arange(len(y))
    return jax.lax.fori_loop(0, protocol.steps, step, carry)[0]
