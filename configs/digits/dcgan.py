"""DCGAN on scikit-learn's 8x8 digits.

A CNN trained on its samples alone scores 98.2 % on the real test set, 0.995 of the ceiling; two minutes on one core.
It knows its training set by heart: membership is guessed from the model with an AUC of .98 (from the samples: .59).
"""

from synthjax.launch.config import Experiment
from synthjax.models import dcgan

CONFIG = Experiment(name="dcgan", model=dcgan.Config(steps=6000), dataset="digits")
