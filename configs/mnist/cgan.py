"""S1's dense GAN with cross-entropy on MNIST.

S1's CNN trained on 60,000 of its samples alone scores 90.6 +- 0.2 % on the real test set (5 networks).
"""

import dataclasses

from synthjax.launch.config import Experiment
from synthjax.models import cgan

CONFIG = Experiment(
    name="cgan",
    model=dataclasses.replace(cgan.PRESETS["cgan"], steps=30_000),
    dataset="mnist",
    checkpoint_every=5000,
    sample_every=5000,
)
