"""VAE on scikit-learn's 8x8 digits; not measured yet."""

from synthjax.launch.config import Experiment
from synthjax.models import vae

CONFIG = Experiment(name="vae", model=vae.Config(latents=12, hidden=(256,), steps=6000), dataset="digits")
