"""Diffusion on Fashion-MNIST, sized for two CPU cores."""

from synthjax.launch.config import Experiment
from synthjax.models import ddpm

CONFIG = Experiment(
    name="ddpm",
    model=ddpm.Config(batch_size=64, steps=15_000),
    dataset="fashion_mnist",
    sample_every=1000,
)
