"""DBM of 1,000 and 500 hidden units with labels on top, on CIFAR-10: pixels are Gaussian units of learnt variance.

Not well trained yet: after these 2,000 steps nearly all its images are the same glaring pattern (RESULTS.md, S0).
"""

from synthjax.launch.config import Experiment
from synthjax.models import dbm

CONFIG = Experiment(
    name="dbm",
    model=dbm.Config(
        hidden=(1000, 500),
        visible="gaussian",
        half=True,
        pretraining_rate=0.001,
        learning_rate=0.001,
        steps=2_000,
    ),
    dataset="cifar10",
    log_every=500,
    checkpoint_every=2000,
    sample_every=0,
)
