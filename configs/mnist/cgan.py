"""S1's dense GAN with cross-entropy on MNIST; what a classifier learns from it is in RESULTS.md, study S1."""

from synthjax.launch.config import Experiment
from synthjax.models import cgan

CONFIG = Experiment(name="cgan", model=cgan.PRESETS["cgan"], dataset="mnist")
