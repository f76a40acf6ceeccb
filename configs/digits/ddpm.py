"""Diffusion on scikit-learn's 8x8 digits."""

from synthjax.launch.config import Experiment
from synthjax.models import ddpm

CONFIG = Experiment(
    name="ddpm",
    model=ddpm.Config(multipliers=(1, 2), folding=1, blocks=(1, 1), batch_size=64, steps=4000),
    dataset="digits",
)
