"""Models of images on MedMNIST: `python -m synthjax.launch.reproduce --study=medmnist`; results in docs/results."""

from synthjax.studies.medmnist import Config

CONFIG = Config()
QUICK = Config(
    sets=("digits",),
    minutes=0.0,
    steps=20,
    lengths=(1.0,),
    repeats=1,
    times=0.1,
    networks=1,
    classifier_steps=10,
    limit=200,
    timed=50,
)
