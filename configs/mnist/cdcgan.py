"""S1's convolutional GAN with cross-entropy on MNIST; what a classifier learns from it is in RESULTS.md, study S1."""

import dataclasses

from synthjax.launch.config import Experiment
from synthjax.models import cgan

CONFIG = Experiment(name="cdcgan", model=dataclasses.replace(cgan.PRESETS["cdcgan"], steps=6000), dataset="mnist")
