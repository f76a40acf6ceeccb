"""S1, four conditional GANs: `python -m synthjax.launch.reproduce --study=s1`; results in RESULTS.md."""

from synthjax.studies.s1 import Config

# Low-Zero: on the holdout this GAN, shown each class equally often, brought back more than the one that is best on the
# whole data (92 % of the gap in recall; 75 %, on test).
CONFIG = Config(rare_model="cgan-noise", rare_feed="balanced")
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
