"""DCGAN on Fashion-MNIST, with layer norm and R1 in the critic instead of batch norm.

A CNN trained on 10,000 of its samples alone scores 86.4 +- 0.4 % on the real test set, on as many real images 89.7 +-
0.4 % (3 networks).
"""

from synthjax.adversarial import Rules
from synthjax.launch.config import Experiment
from synthjax.models import dcgan

CONFIG = Experiment(
    name="dcgan",
    model=dcgan.Config(norm="layer", rules=Rules(r1=1.0), steps=15_000),
    dataset="fashion_mnist",
    checkpoint_every=2000,
    sample_every=5000,
)
