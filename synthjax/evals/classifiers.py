"""The standard CNN: one fixed, small classifier that judges synthetic images, trained for all seeds at once.

    image in [0, 1]
      -> conv 3x3, 32 -> max-pool 2x2 -> batch norm -> ReLU
      -> conv 3x3, 64 -> max-pool 2x2 -> batch norm -> ReLU
      -> dropout .4 -> dense 128, ReLU ("features") -> dense to the classes

Adam follows one cosine cycle up to 3e-3 and down again (Smith & Topin, Super-Convergence, 2018), in batches of 128, for
12 epochs of the training set, each image moved by up to 2 pixels of 28 in each direction. The same network, schedule
and shift serve every training set, synthetic or real: it is part of the protocol, never tuned to what it judges.

The pool stands before batch norm and ReLU: it commutes with ReLU, and normalising a quarter of the values is what makes
the step fast. The data stays on the device as uint8. Arrays may be padded, and the number of examples is no part of
what is compiled: all training sets of one evaluation share one compilation of a loop over steps.

All this is one `Protocol`, STANDARD. `train` takes any other, such as that of `synthjax.evals.keras_cnn`, through the
same loop.

The seeds are a `vmap`. On a CPU that loses to training them apart, as many at once as there are cores: networks this
small do not keep two cores busy with one operation at a time (MNIST, two cores, images/s over
all seeds: 1,800 as a `vmap`, 2,300 one after the other, 4,000 in two threads).
"""

import dataclasses
import functools
import math
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from synthjax.errors import InputError
from synthjax.jit import jit
from synthjax.model import DataSpec
from synthjax.nets.conv import Conv

WIDTHS = (32, 64)
"""Channels of the two convolutions."""
FEATURES = 128
"""Units of the dense layer whose activations are the feature space of `fidelity`."""
DROPOUT = 0.4
BATCH = 128
EPOCHS = 12
PEAK_RATE = 3e-3
"""Learning rate at the top of the cycle."""
SHIFT = 2 / 28
"""Largest shift of a training image, as a share of its side, in whole pixels rounded down.

Rounded down by validation on the training set, never by the test set: 8x8 digits lose 1.7 points to shifts of one
pixel (98.7 % without, 97.0 % with; six splits, five seeds each).
"""
MIN_SIDE = 4
"""Sides below this leave nothing after two pools."""
CHUNK = 64
"""Steps per compiled call: what a signal waits for."""
_BLOCK = 500  # images predicted at once


class CNN(nn.Module):
    """The network: (B, H, W, C) f32 in [0, 1] -> logits (B, n_classes), features (B, 128)."""

    n_classes: int

    @nn.compact
    def __call__(self, x: jax.Array, weight: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
        """Training mode (batch statistics, dropout) when `weight` (B,) is given: 0 leaves an example out of both."""
        mask = None if weight is None else (weight > 0)[:, None, None, None]
        for width in WIDTHS:
            x = Conv(width, (3, 3), use_bias=False)(x)
            x = max_pool(x)
            x = nn.relu(nn.BatchNorm(use_running_average=weight is None, momentum=0.9)(x, mask=mask))
        x = x.reshape(len(x), -1)
        x = nn.Dropout(DROPOUT, deterministic=weight is None)(x)
        features = nn.relu(nn.Dense(FEATURES)(x))
        return nn.Dense(self.n_classes)(features), features


def one_cycle(share: jax.Array) -> jax.Array:
    """Learning rate at a share of the training in [0, 1]: cosine from 1/25 of the peak up (30 %), then down to 0.

    The shape and its constants are those of PyTorch's and optax's one-cycle schedules, with the length left dynamic.
    """
    start, end, top = PEAK_RATE / 25, PEAK_RATE / 25e4, 0.3
    up = start + (PEAK_RATE - start) * 0.5 * (1 - jnp.cos(math.pi * share / top))
    down = end + (PEAK_RATE - end) * 0.5 * (1 + jnp.cos(math.pi * (share - top) / (1 - top)))
    return jnp.where(share < top, up, down)


@dataclass(frozen=True)
class Protocol:
    """How a classifier is trained: all of it but the data and the seeds.

    A static argument: every function that is compiled for one protocol is compiled anew for another.
    """

    name: str
    """As it stands in a sentence, with its article."""
    net: Callable[[int], nn.Module]
    """Number of classes to a network, which is called as `CNN` is: images and, in training, weights to logits (B,
    n_classes) and features (B, F). Beside `params` it may hold `batch_stats`; it may ask for `dropout` keys."""
    optimiser: optax.GradientTransformation
    """Gradients to updates, before the rate: `optax.scale_by_adam()`, not `optax.adam(...)`."""
    rate: Callable[[jax.Array], Any]
    """Learning rate at a share of the training in [0, 1), () f32."""
    batch: int
    """Examples per step."""
    epochs: int
    """Passes through the training set."""
    min_side: int
    """Smaller images leave nothing after the network's convolutions and pools."""
    shift: float = 0.0
    """Largest shift of a training image, as a share of its shorter side, in whole pixels rounded down."""
    flip: bool = False
    """Whether a training image is mirrored left to right with probability 1/2."""

    def with_epochs(self, epochs: int) -> "Protocol":
        """The same protocol for another number of epochs."""
        return dataclasses.replace(self, epochs=epochs)


STANDARD = Protocol(
    name="the standard CNN",
    net=CNN,
    optimiser=optax.scale_by_adam(),
    rate=one_cycle,
    batch=BATCH,
    epochs=EPOCHS,
    min_side=MIN_SIDE,
    shift=SHIFT,
)


class Task(NamedTuple):
    """What a step is compiled for."""

    net: nn.Module
    protocol: Protocol
    levels: int
    shift: int
    """Largest shift in pixels."""


class Classifiers(NamedTuple):
    """Networks trained from several seeds on one training set."""

    net: nn.Module
    levels: int
    """Grey values of the images: 0 ... levels - 1."""
    variables: Any
    """Linen variables (`params`, `batch_stats`), every leaf with the seeds as its first axis."""
    losses: np.ndarray
    """(seeds, epochs) f32, >= 0: cross-entropy in nats, the mean over the examples of each epoch, each example as the
    network saw it: augmented, under dropout, before the step that it had a part in."""


def train(
    key: jax.Array,
    examples: tuple[np.ndarray, np.ndarray],
    spec: DataSpec,
    *,
    protocol: Protocol = STANDARD,
    seeds: int = 5,
    pad_to: int = 0,
    progress: Callable[[float], None] | None = None,
) -> Classifiers:
    """Trains the standard CNN, or the network of another protocol, from several seeds.

    Args:
        key: typed PRNG key; every seed has its own start, order of examples, shifts and dropout.
        examples: (N, H, W, C) integers in 0 ... spec.levels - 1, N >= 1, and (N,) integers in 0 ... spec.n_classes - 1.
        spec: what the data is.
        protocol: network, optimiser, augmentation, epochs. An epoch takes N // batch batches of examples in a new
            order, and leaves out the rest; a set smaller than a batch is one padded batch.
        seeds: number of networks.
        pad_to: rows to pad the arrays to; sets padded alike share one compilation.
        progress: called with the share of the epochs that are done, in (0, 1].

    Raises:
        InputError: the images are too small for the network.
    """
    if min(spec.shape[:2]) < protocol.min_side:
        raise InputError(f"images of {spec.shape[0]}x{spec.shape[1]} pixels are too small for {protocol.name}")
    (x, y), epochs = examples, protocol.epochs
    rows = max(len(x), pad_to, protocol.batch)
    images = jnp.asarray(_pad(np.asarray(x, np.uint8), rows))
    labels = jnp.asarray(_pad(np.asarray(y, np.int32), rows))
    net = protocol.net(spec.n_classes)
    # The number of epochs is no part of what is compiled.
    task = Task(net, protocol.with_epochs(0), spec.levels, largest_shift(spec, protocol))
    groups = jnp.split(jax.random.split(key, seeds), seeds if _on_cpu() else 1)
    steps = max(len(x) // protocol.batch, 1)
    chunks = [(e, i, min(i + CHUNK, steps)) for e in range(epochs) for i in range(0, steps, CHUNK)]

    def init(keys: jax.Array) -> tuple[Any, np.ndarray]:
        return _init(net, keys, images[:1], protocol.optimiser), np.zeros((len(keys), epochs), np.float32)

    def advance(keys: jax.Array, before: tuple[Any, np.ndarray], chunk: tuple[int, int, int]) -> tuple[Any, np.ndarray]:
        state, losses = before
        epoch, start, stop = chunk
        state = _steps(task, keys, state, (images, labels, len(x)), (epoch, epochs, start, stop))
        _, (_, total) = jax.block_until_ready(state)
        losses[:, epoch] = total / steps  # complete with the epoch's last chunk
        return state, losses

    states, losses = zip(*_in_threads(init, advance, groups, chunks, progress), strict=True)
    variables = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *[variables for variables, _ in states])
    return Classifiers(net, spec.levels, variables, np.concatenate(losses))


def predict(classifiers: Classifiers, x: np.ndarray) -> np.ndarray:
    """Logits (seeds, N, n_classes) f32 of images (N, H, W, C) integers."""
    return _forward_blocks(classifiers, x)[0]


def features(classifiers: Classifiers, x: np.ndarray) -> np.ndarray:
    """Activations (N, F) f32 before the last layer, of the first seed's network, for images (N, H, W, C) integers.

    F is 128 in the standard CNN.
    """
    first = classifiers._replace(variables=jax.tree.map(lambda leaf: leaf[:1], classifiers.variables))
    return _forward_blocks(first, x)[1][0]


def largest_shift(spec: DataSpec, protocol: Protocol = STANDARD) -> int:
    """The shift of the protocol in pixels, in proportion to the shorter side and rounded down; 2 of 28 by STANDARD."""
    return int(protocol.shift * min(spec.shape[:2]))


@jax.custom_vjp
def max_pool(x: jax.Array) -> jax.Array:
    """2x2 max-pool of (B, H, W, C), an odd last row or column dropped; the gradient is shared out equally over ties.

    The same as `nn.max_pool` up to ties, whose gradient takes XLA:CPU 25 times as long.
    """
    cells = _cells(x)
    rows = jnp.maximum(cells[:, :, 0], cells[:, :, 1])
    return jnp.maximum(rows[:, :, :, 0], rows[:, :, :, 1])


def _cells(x: jax.Array) -> jax.Array:
    """(B, H, W, C) to (B, H // 2, 2, W // 2, 2, C)."""
    height, width = x.shape[1] // 2, x.shape[2] // 2
    return x[:, : 2 * height, : 2 * width].reshape(len(x), height, 2, width, 2, x.shape[3])


def _pool_forward(x: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    y = max_pool(x)
    return y, (x, y)


def _pool_backward(residuals: tuple[jax.Array, jax.Array], g: jax.Array) -> tuple[jax.Array]:
    x, y = residuals
    wins = _cells(x) == y[:, :, None, :, None]
    share = g / wins.sum((2, 4))
    grad = jnp.where(wins, share[:, :, None, :, None], 0).reshape(len(x), 2 * y.shape[1], 2 * y.shape[2], y.shape[3])
    return (jnp.pad(grad, ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0))),)


max_pool.defvjp(_pool_forward, _pool_backward)


def _pad(a: np.ndarray, rows: int) -> np.ndarray:
    return np.concatenate([a, np.zeros((rows - len(a), *a.shape[1:]), a.dtype)])


def _on_cpu() -> bool:
    return jax.default_backend() == "cpu"


def _in_threads(
    init: Callable[[jax.Array], Any],
    advance: Callable[[jax.Array, Any, tuple[int, int, int]], Any],
    groups: list[jax.Array],
    chunks: list[tuple[int, int, int]],
    progress: Callable[[float], None] | None,
) -> list[Any]:
    """Takes each group of seeds through all chunks of steps, on a CPU in one thread per core; returns their states."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    pool = ThreadPoolExecutor(cores if _on_cpu() else 1)

    def run(keys: jax.Array, before: Future, chunk: tuple[int, int, int]) -> Any:
        return advance(keys, before.result(), chunk)

    try:
        states = [pool.submit(init, keys) for keys in groups]
        tasks = list(states)
        # Chunk by chunk: a task then waits only for tasks that a thread has already taken.
        for chunk in chunks:
            states = [pool.submit(run, keys, before, chunk) for keys, before in zip(groups, states, strict=True)]
            tasks += states
        for done, task in enumerate(tasks, start=1):
            task.result()
            if progress is not None:
                progress(done / len(tasks))
    finally:
        # Leaving early (a signal, an error) must not wait for the whole training.
        pool.shutdown(cancel_futures=True)
    return [state.result() for state in states]


@functools.partial(jit, static_argnames=("net", "optimiser"))
def _init(net, keys, x, optimiser=STANDARD.optimiser):
    """Variables, and beside them the optimiser's state and the epoch's sum of losses; one of each per key."""

    def one(key: jax.Array) -> tuple[Any, tuple[Any, jax.Array]]:
        variables = net.init(jax.random.fold_in(key, 0), x.astype(jnp.float32))
        return variables, (optimiser.init(variables["params"]), jnp.float32(0))

    return jax.vmap(one)(keys)


@functools.partial(jit, static_argnames="task", donate_argnames="state")
def _steps(task, keys, state, examples, place):
    """Steps `start` ... `stop` - 1 of an epoch over the first `n` rows, for every seed; these numbers are dynamic.

    The sum of losses in the state is that of the epoch's steps so far.
    """
    (x, y, n), (epoch, epochs, start, stop), protocol = examples, place, task.protocol
    steps = jnp.maximum(n // protocol.batch, 1)

    def run(key, state):
        key_order, key_steps = jax.random.split(jax.random.fold_in(key, 1 + epoch))
        order = jnp.argsort(jnp.where(jnp.arange(len(x)) < n, jax.random.uniform(key_order, (len(x),)), jnp.inf))

        def step(i, state):
            place = i * protocol.batch + jnp.arange(protocol.batch)
            rows = order[place]
            rate = protocol.rate((epoch * steps + i) / (epochs * steps))
            weight = (place < n).astype(jnp.float32)
            key_step = jax.random.fold_in(key_steps, i)
            return _step(task, key_step, state, (x[rows], y[rows], weight), rate)

        variables, (moments, total) = state
        state = variables, (moments, jnp.where(start == 0, 0.0, total))
        return jax.lax.fori_loop(start, stop, step, state)

    return jax.vmap(run)(keys, state)


def _step(task, key, state, batch, rate):
    """One step on a batch: images (B, H, W, C) u8, labels, weights. Examples of weight 0 change nothing."""
    variables, (moments, total) = state
    x, y, weight = batch
    key_images, key_dropout = jax.random.split(key)
    images = _augment(key_images, x, task.shift, task.protocol.flip).astype(jnp.float32) / (task.levels - 1)

    def loss(params):
        (logits, _), new = task.net.apply(
            {**variables, "params": params}, images, weight, rngs={"dropout": key_dropout}, mutable="batch_stats"
        )
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, y)
        return (losses * weight).sum() / weight.sum(), new

    (value, new), gradient = jax.value_and_grad(loss, has_aux=True)(variables["params"])
    update, moments = task.protocol.optimiser.update(gradient, moments)
    params = jax.tree.map(lambda p, u: p - rate * u, variables["params"], update)
    return {"params": params, **new}, (moments, total + value)


def _augment(key: jax.Array, x: jax.Array, shift: int, flip: bool) -> jax.Array:
    """Images (B, H, W, C), each moved by `_shift` and, where `flip`, mirrored with probability 1/2."""
    if not flip:
        return _shift(key, x, shift)
    key_shift, key_flip = jax.random.split(key)
    x = _shift(key_shift, x, shift)
    return jnp.where(jax.random.bernoulli(key_flip, shape=(len(x), 1, 1, 1)), x[:, :, ::-1], x)


def _shift(key: jax.Array, x: jax.Array, largest: int) -> jax.Array:
    """Moves each image (B, H, W, C) by its own -largest ... largest pixels in both directions; what enters is 0."""
    if largest == 0:
        return x
    padded = jnp.pad(x, ((0, 0), (largest, largest), (largest, largest), (0, 0)))
    corner = jax.random.randint(key, (len(x), 2), 0, 2 * largest + 1)
    return jax.vmap(lambda image, at: jax.lax.dynamic_slice(image, (*at, 0), x.shape[1:]))(padded, corner)


@functools.partial(jit, static_argnames=("net", "levels"))
def _forward(net, levels, variables, x):
    images = x.astype(jnp.float32) / (levels - 1)
    return jax.vmap(lambda variables: net.apply(variables, images))(variables)


def _forward_blocks(classifiers: Classifiers, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logits (seeds, N, n_classes) and features (seeds, N, F), in blocks of one size."""
    parts = []
    for start in range(0, len(x), _BLOCK):
        block = np.asarray(x[start : start + _BLOCK], np.uint8)
        out = _forward(classifiers.net, classifiers.levels, classifiers.variables, _pad(block, _BLOCK))
        parts.append([np.asarray(a)[:, : len(block)] for a in out])
    logits, activations = (np.concatenate(part, axis=1) for part in zip(*parts, strict=True))
    return logits, activations
