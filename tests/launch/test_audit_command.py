"""`launch.audit`: what it prints of sound training, and what ends it."""

import math

import in_process
import numpy as np
import pytest
from scipy import stats

from synthjax.evals.privacy.audit import gaussian_mu
from synthjax.launch.audit import noise_fits
from synthjax.privacy import canary
from synthjax.privacy.accounting import Release, epsilon

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


ONCE = ("--one_run", "--canaries=300", "--dp.epsilon=8")


def planted_once(monkeypatch, shift):
    """A training whose canaries have scores N(shift, 1) if they are in takes the place of a real one."""
    asked = {}

    def run_once(build, grad, batch, key, *, canaries, steps):
        asked.update(rows=len(batch.weight), canaries=canaries, steps=steps)
        rng = np.random.default_rng(0)
        inside = rng.random(canaries) < 0.5
        return canary.Once(rng.normal(size=canaries) + shift * inside, inside)

    monkeypatch.setattr(canary, "run_once", run_once)
    return asked


def test_one_run_is_told_beside_its_limit(table, monkeypatch):
    asked = planted_once(monkeypatch, gaussian_mu(8.0, 1e-6))
    done = in_process.run("audit", "--table=toy.csv", *ONCE, *SMALL, folder=table)
    assert done.code == 0, done.err
    claim, right, curve, free, noise = done.out.splitlines()[-5:]
    assert claim.startswith("claim: epsilon 8 at delta 1e-06, by noise of ")
    assert "guesses are right, on the canaries that are easiest to tell" in right
    assert "assuming the trade-off of Gaussian noise; so many canaries can show about" in curve
    assert "assuming nothing" in free and noise.startswith("scores without the canary: mean ")
    assert asked == {"rows": 8, "canaries": 300, "steps": 2}


def test_one_run_above_the_claim_ends_with_code_4(table, monkeypatch):
    planted_once(monkeypatch, 6.0)
    done = in_process.run("audit", "--table=toy.csv", *ONCE, *SMALL, "--dp.epsilon=1", folder=table)
    assert done.code == 4 and "the claim of epsilon 1 does not hold" in done.line


def test_a_small_model_has_too_few_parameters_for_many_canaries(table):
    done = in_process.run("audit", "--table=toy.csv", *ONCE, *SMALL, "--canaries=5000", folder=table)
    assert done.code == 3 and "--canaries=5000: each needs a parameter of its own; the model has" in done.line


def test_counts_are_audited_too(table):
    words = ["--model=table_marginals", "--config.model.bins=4", "--rows=20", "--runs=40", "--dp.epsilon=8"]
    done = in_process.run("audit", "--table=toy.csv", *words, folder=table)
    assert done.code == 0, done.err
    said, claim, normal, free, noise = done.out.splitlines()[-5:]
    assert said.startswith("40 counts of table_marginals with the canary and as many without, 1 step of 20 rows")
    assert claim.startswith("claim: epsilon 8 at delta 1e-06, by noise of ") and claim.endswith(" in counts")
    assert "so many trainings can show" in normal and "assuming nothing" in free and "due are 0 and 1" in noise
    done = in_process.run("audit", "--table=toy.csv", *words, "--one_run", folder=table)
    assert done.code == 3 and "--one_run: is for models that are trained by gradients; table_marginals is" in done.line


def test_sampling_is_audited_by_the_curve_of_the_mechanism(table, monkeypatch):
    seen = {}

    def run(build, grad, batch, key, *, runs, steps, rate):
        seen.update(rate=rate, noise=grad.noise)
        return canary.Scores(*(one[:runs] for one in canary.ideal(grad.noise / seen["less"], rate, steps, 20 * runs)))

    monkeypatch.setattr(canary, "run", run)
    words = ["--table=toy.csv", "--dp.epsilon=1", *SMALL, "--runs=400", "--rate=0.5"]
    for less, code in ((1.0, 0), (3.0, 4)):
        seen["less"] = less
        done = in_process.run("audit", *words, folder=table)
        assert done.code == code, done.err
        claim, curve, free, law = done.out.splitlines()[-4:]
        assert claim.startswith("claim: epsilon 1 at delta 1e-06, by noise of ") and "assuming nothing" in free
        assert "by the trade-off of the mechanism; so many trainings can show about" in curve
        assert law.startswith("scores without the canary have the law that is due: p = ")
    assert seen["rate"] == 0.5
    spent = epsilon([Release("gradients", "gaussian", seen["noise"], 0.5, 2)], 1e-6)
    assert spent == pytest.approx(1, rel=0.01)
    assert "give one of them" in in_process.run("audit", *words, "--one_run", folder=table).line
    words = ["--table=toy.csv", "--dp.epsilon=4", "--model=independent", "--rate=0.5"]
    assert "--rate: is for models that are trained by" in in_process.run("audit", *words, folder=table).line


def test_noise_of_another_size_or_mean_is_noticed():
    drawn = np.random.default_rng(0).normal(size=400)
    assert noise_fits(drawn) > 0.01
    assert max(noise_fits(0.8 * drawn), noise_fits(1.2 * drawn), noise_fits(drawn + 0.25)) < 0.001
    above = [noise_fits(np.random.default_rng(seed).normal(size=50)) < 0.05 for seed in range(400)]
    assert sum(above) <= stats.binom.isf(0.001, 400, 0.05)
