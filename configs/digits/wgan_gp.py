"""WGAN-GP on scikit-learn's 8x8 digits: each class is drawn as varied as real ones (RESULTS.md); some minutes."""

import dataclasses

from synthjax.launch.config import Experiment
from synthjax.models import dcgan

CONFIG = Experiment(
    name="wgan_gp",
    model=dataclasses.replace(dcgan.PRESETS["wgan_gp"], steps=2000),
    dataset="digits",
)
