"""Diffusion on MNIST, sized for two CPU cores.

A CNN trained on 20,000 of its samples alone scores 98.50 +- 0.06 % on the real test set (5 networks). Training took 57
minutes on two cores that were shared with other work.
"""

from synthjax.launch.config import Experiment
from synthjax.models import ddpm

CONFIG = Experiment(name="ddpm", model=ddpm.Config(batch_size=64, steps=15_000), dataset="mnist")
