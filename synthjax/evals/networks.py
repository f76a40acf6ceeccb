"""The classifiers that two published studies judged their synthetic images with, as protocols of `classifiers.train`.

KERAS, of Lee, Rothenberg & Shah, "An Analysis of Synthetic Dataset Creation Using Deep Generative Models" (Swarthmore
College), section 3.2, read as the MNIST example of Keras, mnist_cnn.py:

    conv 3x3, 32, ReLU -> conv 3x3, 64, ReLU -> max-pool 2x2 -> dropout .25 -> dense 128, ReLU -> dropout .5
      -> dense to the classes

The study states "two convolutional layers, a max-pooling layer, multiple dropout and flattening layers, and a final
dense layer with softmax activation", shifts in both directions "by about ten percent" and horizontal flips at random;
its reference for the network is lost. From the example, as Keras 2.1 had it, come the sizes, the dropout, the start of
the weights (Glorot uniform, biases at 0), the batch of 128, the 12 epochs and the optimiser: Adadelta (Zeiler 2012)
with rate 1, rho .95 and epsilon 1e-7 (later versions of Keras have a rate of .001). Ours: shifts by whole pixels, at
most 2 of 28, and what enters is 0; Keras moves by fractions of a pixel and repeats the edge.

S1, of Clinton & Teeter, "Exploration of Data Synthesis with GANs", section 3.3 and Figure 7:

    conv 5x5, 32 -> max-pool 2x2, leaky ReLU -> conv 5x5, 64 -> max-pool 2x2, leaky ReLU
      -> dense 1024, leaky ReLU -> dense to the classes

Stated: filters, pools (it speaks of three sequences and describes two), the width of 1024, leaky ReLU, cross-entropy,
Adam at 1e-5, batches of 512, 30 epochs. Not stated: padding, slope, start of the weights, augmentation. Layer by layer
this is the discriminator of the GAN assignment of Stanford's CS231n with more outputs, so the convolutions are not
padded (PyTorch's default too; 1024 values then enter the dense layer) and the slope is .01 (PyTorch's default). Kernels
start as PyTorch's do, uniform within 1 / sqrt(inputs), biases at 0; nothing is shifted or flipped.

In both, pools stand before the activation, which they commute with: a quarter of the values is left to it.

    nets = classifiers.train(key, x, y, spec, protocol=networks.KERAS, seeds=10)
"""

import flax.linen as nn
import jax
import optax

from synthjax.evals.classifiers import Protocol, max_pool
from synthjax.nets.conv import Conv

_GLOROT = nn.initializers.glorot_uniform()
_TORCH = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
_SLOPE = 0.01


class KerasCNN(nn.Module):
    """The network of KERAS: (B, H, W, C) f32 in [0, 1] -> logits (B, n_classes), features (B, 128)."""

    n_classes: int

    @nn.compact
    def __call__(self, x: jax.Array, weight: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
        """Training mode (dropout) when `weight` (B,) is given; no example has a part in what is made of another."""
        still = weight is None
        x = nn.relu(Conv(32, (3, 3), padding="VALID", kernel_init=_GLOROT)(x))
        x = nn.relu(max_pool(Conv(64, (3, 3), padding="VALID", kernel_init=_GLOROT)(x)))
        x = nn.Dropout(0.25, deterministic=still)(x)
        features = nn.relu(nn.Dense(128, kernel_init=_GLOROT)(x.reshape(len(x), -1)))
        x = nn.Dropout(0.5, deterministic=still)(features)
        return nn.Dense(self.n_classes, kernel_init=_GLOROT)(x), features


class S1CNN(nn.Module):
    """The network of S1: (B, H, W, C) f32 in [0, 1] -> logits (B, n_classes), features (B, 1024)."""

    n_classes: int

    @nn.compact
    def __call__(self, x: jax.Array, weight: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
        """The same in training, when `weight` (B,) is given; no example has a part in what is made of another."""
        for width in (32, 64):
            x = Conv(width, (5, 5), padding="VALID", kernel_init=_TORCH)(x)
            x = nn.leaky_relu(max_pool(x), _SLOPE)
        features = nn.leaky_relu(nn.Dense(1024, kernel_init=_TORCH)(x.reshape(len(x), -1)), _SLOPE)
        return nn.Dense(self.n_classes, kernel_init=_TORCH)(features), features


KERAS = Protocol(
    name="the CNN of the Keras example",
    net=KerasCNN,
    optimiser=optax.scale_by_adadelta(rho=0.95, eps=1e-7),
    rate=optax.constant_schedule(1.0),
    batch=128,
    epochs=12,
    min_side=6,
    shift=0.1,
    flip=True,
)
S1 = Protocol(
    name="the CNN of Clinton & Teeter",
    net=S1CNN,
    optimiser=optax.scale_by_adam(),
    rate=optax.constant_schedule(1e-5),
    batch=512,
    epochs=30,
    min_side=16,
)
