"""Class-conditional convolutional VAE on MNIST; not measured yet."""

from synthjax.launch.config import Experiment
from synthjax.models import vae

CONFIG = Experiment(name="vae", model=vae.Config(steps=8000), dataset="mnist")
