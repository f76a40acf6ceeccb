"""S1's dense GAN with Wasserstein loss on MNIST.

S1's CNN trained on 60,000 of its samples alone scores 88.4 +- 0.1 % on the real test set (5 networks).
"""

import dataclasses

from synthjax.launch.config import Experiment
from synthjax.models import cgan

CONFIG = Experiment(
    name="cwgan",
    model=dataclasses.replace(cgan.PRESETS["cwgan"], steps=40_000),
    dataset="mnist",
    checkpoint_every=5000,
    sample_every=5000,
)
