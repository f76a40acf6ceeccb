"""Diffusion on Fashion-MNIST: the MNIST recipe, not measured yet; expect the same hour of training."""

from synthjax.launch.config import Experiment
from synthjax.models import ddpm

CONFIG = Experiment(name="ddpm", model=ddpm.Config(batch_size=64, steps=15_000), dataset="fashion_mnist")
