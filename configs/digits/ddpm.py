"""Diffusion on scikit-learn's 8x8 digits."""

from synthjax.launch.config import Experiment
from synthjax.models import ddpm

CONFIG = Experiment(
    name="ddpm",
    model=ddpm.Config(width=64, multipliers=(1, 2), folding=1, blocks=(1, 1), steps=3000, batch_size=128),
    dataset="digits",
)
