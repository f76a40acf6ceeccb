"""S1, four conditional GANs: `python -m synthjax.launch.reproduce --study=s1`; results in RESULTS.md."""

from synthjax.launch.studies.s1 import Config

CONFIG = Config()
QUICK = Config(
    dataset="digits",
    models=("cgan", "cdcgan"),
    steps=20,
    per_class=20,
    classifier="standard",
    epochs=1,
    rare_factor=20.0,
    nearest=10,
)
