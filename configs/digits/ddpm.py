"""Diffusion on scikit-learn's 8x8 digits.

A CNN trained on its samples alone scores 98.1 % on the real test set, 0.993 of the ceiling; three minutes on two
cores, the report included.
"""

from synthjax.launch.config import Experiment
from synthjax.models import ddpm

CONFIG = Experiment(
    name="ddpm",
    model=ddpm.Config(multipliers=(1, 2), folding=1, blocks=(1, 1), batch_size=64, steps=4000),
    dataset="digits",
)
