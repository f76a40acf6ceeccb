"""Study S3: the time of its models, their sharpness, and its claims."""

import json
from typing import NamedTuple

import numpy as np
import pytest

from synthjax import data
from synthjax.launch.config import Experiment
from synthjax.studies import s3, workspace


def test_blurred_images_are_less_sharp():
    from scipy import ndimage

    x = np.random.default_rng(0).random((5, 12, 12, 1))
    soft = ndimage.gaussian_filter(x, (0, 1, 1, 0))
    assert s3.sharpness(soft) < 0.5 * s3.sharpness(x)
    assert s3.sharpness(3 * x) == pytest.approx(s3.sharpness(x))
    # Two grey values side by side, +-1: each horizontal step is 4, vertical ones are 0, the variance is 1.
    stripes = np.tile([1.0, -1.0], (1, 4, 4))[..., None]
    assert s3.sharpness(stripes) == pytest.approx(4)


class Made(NamedTuple):
    """What `s3._steps` looks at."""

    experiment: Experiment
    time: float

    def minutes(self) -> float:
        return self.time


class Steps(NamedTuple):
    """A Config with nothing but steps."""

    steps: int


def test_the_same_time_is_that_of_the_slowest():
    same = {"a": Made(Experiment("a", Steps(100)), 2.0), "b": Made(Experiment("b", Steps(100)), 5.0)}
    assert s3._steps(same) == {"a": 250, "b": 100}


def test_epochs_fit_into_the_minutes(tmp_path, monkeypatch):
    """64 examples a step: digits have 1,294 rows, 20.2 steps an epoch."""
    speeds = {"a": 10.0, "b": 2.0}
    monkeypatch.setattr(s3, "of", lambda workspace, config, name, steps: None)

    class Shop:
        def train(self, name, chosen):
            rows = {"step": 1, "steps_per_second": speeds[name[0]]}, {"step": 1, "diversity": 0.9}
            (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
            return workspace.Generator(name, tmp_path, chosen, *[None] * 3)

        def data(self, chosen):
            return data.load("digits")

    def epochs(**changes):
        return s3.epochs_within(Shop(), s3.Config(dataset="digits", models=("a", "b"), **changes))

    seconds = 1294 / 64
    expected = int(600 / (seconds * (0.1 + 0.5))), int(600 / (seconds * 2 * 0.5)), 1
    found = epochs(minutes=10, equal_time=False), epochs(minutes=10), epochs(minutes=0.01)
    assert found == expected


def test_claims_are_put_to_the_test():
    keys = ("minutes", "seconds", "diversity", "sharpness")
    measured = {
        ("same epochs", "vae"): dict(zip(keys, (1, 2, 0.9, 0.5), strict=True)),
        ("same epochs", "ddpm"): dict(zip(keys, (2, 1, 0.8, 1.0), strict=True)),
    }
    table = s3.claims(s3.Config(models=("vae", "ddpm")), measured)
    assert [row[1] for row in table.rows] == ["yes", "no", "yes", "yes", "no"]
