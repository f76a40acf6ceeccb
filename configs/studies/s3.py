"""S3, VAE, GAN and DDPM side by side: `python -m synthjax.launch.reproduce --study=s3`; results in RESULTS.md."""

from synthjax.studies.s3 import Config

CONFIG = Config()
QUICK = Config(dataset="digits", epochs=1, equal_time=False, samples=100, networks=1, classifier_epochs=1, timed=50)
