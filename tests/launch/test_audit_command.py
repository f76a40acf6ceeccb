"""`launch.audit`: what it prints of sound training, and what ends it."""

import math

import in_process
import numpy as np
import pytest

from synthjax.evals.privacy.audit import gaussian_mu
from synthjax.privacy import canary

SMALL = (
    "--model=table_vae",
    "--config.model.hidden=4",
    "--config.model.latents=2",
    "--rows=8",
    "--steps=2",
    "--runs=40",
)


@pytest.fixture
def table(tmp_path):
    rng = np.random.default_rng(0)
    rows = "\n".join(f"{a:.2f},{b}" for a, b in zip(rng.normal(size=60), rng.choice(["x", "y"], 60), strict=True))
    (tmp_path / "toy.csv").write_text(f"a,b\n{rows}\n")
    return tmp_path


def planted(monkeypatch, shift):
    """Trainings with scores N(shift, 1) and N(0, 1) take the place of real ones; returns what they were asked for."""
    asked = {}

    def run(build, grad, batch, key, *, runs, steps):
        asked.update(grad=grad, rows=len(batch.weight), runs=runs, steps=steps)
        rng = np.random.default_rng(0)
        return canary.Scores(rng.normal(size=runs) + shift, rng.normal(size=runs))

    monkeypatch.setattr(canary, "run", run)
    return asked


def test_a_sound_training_is_told_beside_its_limit(table, monkeypatch):
    asked = planted(monkeypatch, gaussian_mu(8.0, 1e-6))
    done = in_process.run("audit", "--table=toy.csv", "--dp.epsilon=8", *SMALL, folder=table)
    assert done.code == 0, done.err
    claim, normal, free, noise = done.out.splitlines()[-4:]
    assert claim == f"claim: epsilon 8 at delta 1e-06, by noise of {asked['grad'].noise:.3f} in each of 2 gradients"
    assert normal.startswith("epsilon is at least ") and "assuming normal scores; so many trainings" in normal
    assert "assuming nothing" in free and noise.startswith("scores without the canary: mean ")
    assert (asked["rows"], asked["runs"], asked["steps"], asked["grad"].expected) == (8, 40, 2, 8.0)
    assert asked["grad"].noise == pytest.approx(math.sqrt(2) / gaussian_mu(8.0, 1e-6), rel=0.01)


def test_a_bound_above_the_claim_ends_with_code_4(table, monkeypatch):
    planted(monkeypatch, 3.0)
    done = in_process.run("audit", "--table=toy.csv", "--dp.epsilon=1", *SMALL, folder=table)
    assert done.code == 4 and "the claim of epsilon 1 does not hold" in done.line


@pytest.mark.parametrize(
    "words, message",
    [
        (["--dp.epsilon=1"], "--table: name one"),
        (["--table=toy.csv"], "--dp.epsilon: the claim that is audited is missing"),
        (["--table=toy.csv", "--dp.epsilon=1", "--rows=1000"], "--rows=1000: the training set has"),
        (["--table=toy.csv", "--dp.epsilon=1", "--model=table_wgan", "--rows=8"], "audit: a step of this model"),
    ],
)
def test_bad_flags_get_one_line(table, words, message):
    done = in_process.run("audit", *words, folder=table)
    assert done.code == 3 and message in done.line
