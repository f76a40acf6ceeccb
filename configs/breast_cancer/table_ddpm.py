"""Diffusion for the 409 training rows of breast cancer, which are fewer than the preset's batch."""

from synthjax.launch.config import Experiment
from synthjax.models import table_ddpm

CONFIG = Experiment(name="table_ddpm", model=table_ddpm.Config(batch_size=128), dataset="breast_cancer")
