"""S1's convolutional GAN with cross-entropy on MNIST.

S1's CNN trained on 60,000 of its samples alone scores 95.1 +- 0.1 % on the real test set (5 networks); with directed
noise (--config.noise_components=10) 95.3 +- 0.2 %.
"""

import dataclasses

from synthjax.launch.config import Experiment
from synthjax.models import cgan

CONFIG = Experiment(
    name="cdcgan",
    model=dataclasses.replace(cgan.PRESETS["cdcgan"], steps=30_000),
    dataset="mnist",
    checkpoint_every=5000,
    sample_every=5000,
)
