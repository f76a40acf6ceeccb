"""S0, small training sets: `python -m synthjax.launch.reproduce --study=s0`; results in RESULTS.md."""

from synthjax.studies.s0_sets import Config

CONFIG = Config()
QUICK = Config(
    dataset="digits",
    epochs=4,
    trials=2,
    size=20,
    large=40,
    folds=2,
    cnn_epochs=(2,),
    test_size=100,
    colour="digits",
    colour_epochs=1,
    boltzmann_steps=60,
    boltzmann_rows=100,
    boltzmann_sweeps=20,
)
