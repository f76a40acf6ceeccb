"""S1's convolutional GAN with Wasserstein loss on MNIST.

S1's CNN trained on 60,000 of its samples alone scores 95.2 +- 0.2 % on the real test set (5 networks).
"""

import dataclasses

from synthjax.launch.config import Experiment
from synthjax.models import cgan

CONFIG = Experiment(
    name="cwdcgan",
    model=dataclasses.replace(cgan.PRESETS["cwdcgan"], steps=8_000),
    dataset="mnist",
    checkpoint_every=4000,
    sample_every=4000,
)
