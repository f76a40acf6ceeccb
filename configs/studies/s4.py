"""S4, a GAN on more and more rows: `python -m synthjax.launch.reproduce --study=s4`; results in RESULTS.md."""

from synthjax.studies.s4 import Config

CONFIG = Config()
QUICK = Config(
    dataset="breast_cancer",
    rows=(40, 120),
    trials=2,
    steps=300,
    samples=100,
    categories=(),
)
