"""Every model side by side: `python -m synthjax.launch.reproduce --study=models`; results in RESULTS.md."""

from synthjax.studies.models import Config

CONFIG = Config()
QUICK = Config(
    images="digits",
    tables="breast_cancer",
    minutes=0.0,
    steps=20,
    samples=100,
    networks=1,
    classifier_epochs=1,
    limit=200,
    timed=50,
)
