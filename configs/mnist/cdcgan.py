"""S1's convolutional GAN with cross-entropy on MNIST.

With directed noise (k = 10, c = 20), S1's CNN trained on 60,000 of its samples alone scores 92.6 % on the real test set
(one network; weights started in another way, see RESULTS.md). Without noise it is not measured yet.
"""

import dataclasses

from synthjax.launch.config import Experiment
from synthjax.models import cgan

CONFIG = Experiment(name="cdcgan", model=dataclasses.replace(cgan.PRESETS["cdcgan"], steps=6000), dataset="mnist")
