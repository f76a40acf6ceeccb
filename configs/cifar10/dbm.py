"""DBM of 1,000 and 500 hidden units with labels on top, on CIFAR-10: pixels are Gaussian units of learnt variance.

Of the settings that were tried the one whose images differ most, and still smears of colour, in which no object can be
told (RESULTS.md, S0). 2 minutes on an H100 beside other work.
"""

from synthjax.launch.config import Experiment
from synthjax.models import dbm

CONFIG = Experiment(
    name="dbm",
    model=dbm.Config(
        hidden=(1000, 500),
        visible="gaussian",
        pretraining=0.8,
        k=5,
        pretraining_rate=5e-4,
        learning_rate=2e-4,
        steps=30_000,
    ),
    dataset="cifar10",
    log_every=500,
    checkpoint_every=10_000,
    sample_every=0,
)
