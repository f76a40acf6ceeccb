"""The MNIST example of Keras, mnist_cnn.py, as a protocol of `classifiers.train`.

    conv 3x3, 32, ReLU -> conv 3x3, 64, ReLU -> max-pool 2x2 -> dropout .25 -> dense 128, ReLU -> dropout .5
      -> dense to the classes

Lee, Rothenberg & Shah, "An Analysis of Synthetic Dataset Creation Using Deep Generative Models" (Swarthmore College),
section 3.2, judged their synthetic images with it. They state "two convolutional layers, a max-pooling layer, multiple
dropout and flattening layers, and a final dense layer with softmax activation", shifts in both directions "by about ten
percent" and horizontal flips at random; their reference for the network is lost. From the example, as Keras 2.1 had it,
come the sizes, the dropout, the start of the weights (Glorot uniform, biases at 0), the batch of 128, the 12 epochs and
the optimiser: Adadelta (Zeiler 2012) with rate 1, rho .95 and epsilon 1e-7 (later versions of Keras have a rate of
.001). Ours: shifts by whole pixels, at most 2 of 28, and the pixels shifted in are 0; Keras moves by fractions of a
pixel and repeats the edge. The pool stands before the activation, which it commutes with: a quarter of the values is
left to it.

    nets = classifiers.train(key, (x, y), spec, protocol=keras_cnn.PROTOCOL, seeds=10)
"""

import flax.linen as nn
import jax
import optax

from synthjax.evals.classifiers import Protocol, max_pool
from synthjax.nets.conv import Conv

_GLOROT = nn.initializers.glorot_uniform()


class KerasCNN(nn.Module):
    """The network: (B, H, W, C) f32 in [0, 1] -> logits (B, n_classes), features (B, 128)."""

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


PROTOCOL = Protocol(
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
