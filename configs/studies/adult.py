"""Adult, fidelity against leakage: `python -m synthjax.launch.reproduce --study=adult`; results in RESULTS.md."""

from synthjax.studies.adult import Config

CONFIG = Config()
QUICK = Config(
    dataset="breast_cancer",
    settings=("independent", "mixture components=4", "mixture components=4 members=2"),
    most=1.0,
    seeds=2,
    attacked=100,
)
