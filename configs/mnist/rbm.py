"""RBM of 500 hidden units on binarised MNIST, without labels, for its likelihood.

Cut short to 4,000 steps (7 epochs, ema_decay=0.998), a minute of one core: -96.2 +- 0.3 nats on the 6,000 held-out
images, by annealed importance sampling. The whole run has not been made yet; Salakhutdinov & Murray (2008) have -86.34
with 500 units and CD-25.
"""

from synthjax.launch.config import Experiment
from synthjax.models import rbm

CONFIG = Experiment(
    name="rbm",
    model=rbm.Config(
        conditional=False,
        k=2,
        half=True,
        learning_rate=0.02,
        weight_decay=2e-5,
        steps=60_000,
        ema_decay=0.9995,
    ),
    dataset="mnist",
    log_every=500,
    checkpoint_every=5000,
    sample_every=10_000,
)
