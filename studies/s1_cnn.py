"""The CNN that study S1 judged its synthetic images with, as a protocol of `classifiers.train`.

Clinton & Teeter, "Exploration of Data Synthesis with GANs", section 3.3 and Figure 7:

    conv 5x5, 32 -> max-pool 2x2, leaky ReLU -> conv 5x5, 64 -> max-pool 2x2, leaky ReLU
      -> dense 1024, leaky ReLU -> dense to the classes

Stated: filters, pools (it speaks of three sequences and describes two), the width of 1024, leaky ReLU, cross-entropy,
Adam at 1e-5, batches of 512, 30 epochs. Not stated: padding, slope, start of the weights, augmentation. Layer by layer
this is the discriminator of the GAN assignment of Stanford's CS231n with more outputs, so the convolutions are not
padded (PyTorch's default too; 1024 values then enter the dense layer) and the slope is .01 (PyTorch's default). Kernels
start as PyTorch's do, uniform within 1 / sqrt(inputs), biases at 0; nothing is shifted or flipped. Pools stand before
the activation, which they commute with: a quarter of the values is left to it.
"""

import flax.linen as nn
import jax
import optax

from synthjax.evals.classifiers import Protocol, max_pool
from synthjax.nets.conv import Conv

_TORCH = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
_SLOPE = 0.01


class S1CNN(nn.Module):
    """The network: (B, H, W, C) f32 in [0, 1] -> logits (B, n_classes), features (B, 1024)."""

    n_classes: int

    @nn.compact
    def __call__(self, x: jax.Array, weight: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
        """The same in training, when `weight` (B,) is given; no example has a part in what is made of another."""
        for width in (32, 64):
            x = Conv(width, (5, 5), padding="VALID", kernel_init=_TORCH)(x)
            x = nn.leaky_relu(max_pool(x), _SLOPE)
        features = nn.leaky_relu(nn.Dense(1024, kernel_init=_TORCH)(x.reshape(len(x), -1)), _SLOPE)
        return nn.Dense(self.n_classes, kernel_init=_TORCH)(features), features


PROTOCOL = Protocol(
    name="the CNN of Clinton & Teeter",
    net=S1CNN,
    optimiser=optax.scale_by_adam(),
    rate=optax.constant_schedule(1e-5),
    batch=512,
    epochs=30,
    min_side=16,
)
