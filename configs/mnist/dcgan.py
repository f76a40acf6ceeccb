"""DCGAN on MNIST, with layer norm and R1 in the critic instead of batch norm.

A CNN trained on 30,000 of its samples alone scores 98.15 +- 0.10 % on the real test set (5 networks). Training took 75
minutes on one core beside other work.
"""

from synthjax.adversarial import Rules
from synthjax.launch.config import Experiment
from synthjax.models import dcgan

CONFIG = Experiment(
    name="dcgan",
    model=dcgan.Config(norm="layer", rules=Rules(r1=1.0), steps=15_000),
    dataset="mnist",
    checkpoint_every=2000,
    sample_every=5000,
)
