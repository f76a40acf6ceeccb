"""S2, GANs of tables: `python -m synthjax.launch.reproduce --study=s2`; results in RESULTS.md."""

from synthjax.studies.s2 import Config

CONFIG = Config()
QUICK = Config(
    dataset="breast_cancer",
    models=("table_gan", "table_wcgan"),
    all_models=("independent",),
    candidates=("table2", "quantile"),
    all_candidates=("table2",),
    steps=120,
    snapshot=60,
    columns=("mean radius", "mean texture"),
    judges=1,
    limit=200,
    small_models=("independent", "mixture"),
    splits=2,
    fraud="breast_cancer",
    fraud_models=("independent",),
    fraud_seeds=2,
)
