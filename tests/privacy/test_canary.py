"""Scores of trainings with and without a canary: their law, and what planted faults do to the bounds."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from synthjax.errors import InputError
from synthjax.evals.privacy import audit
from synthjax.model import Batch, DataSpec, Model
from synthjax.models import table_gan, table_vae
from synthjax.privacy import canary
from synthjax.privacy.accounting import Release, calibrate
from synthjax.privacy.gradients import DpGrad, dp_grad
from synthjax.train import optim

DELTA, STEPS, RUNS, ROWS = 1e-5, 4, 500, 8
RNG = np.random.default_rng(0)


def batch() -> Batch:
    x = jnp.asarray(RNG.normal(size=(ROWS, 3)), jnp.float32)
    return Batch(x, jnp.zeros(ROWS, jnp.int32), jnp.ones(ROWS), jnp.arange(ROWS))


def build(grad: optim.Grad, against: bool = False) -> Model:
    """Learns a direction. `against`: all rows pull away from the canary."""

    def loss(params, key, batch):
        away = -100 * canary._dot(canary._direction(params), params) * jnp.ones(len(batch.x))
        return optim.Losses(away if against else jnp.tanh(batch.x @ params) ** 2)

    optimiser = optim.adam()
    step = optim.train_step(loss, optimiser, optim.schedule(0.1, STEPS), grad=grad)
    return Model(lambda key: optim.TrainState.create(jnp.ones(3), optimiser), step, lambda *a: jnp.zeros(1))


def noise_of(epsilon: float) -> float:
    (found,) = calibrate([Release("gradients", "gaussian", 1.0, count=STEPS)], epsilon, DELTA)
    return found.noise


def scores(grad: DpGrad, seed: int = 0, runs: int = RUNS) -> canary.Scores:
    return canary.run(build, grad, batch(), jax.random.key(seed), runs=runs, steps=STEPS)


def test_scores_are_normal_with_and_without_the_canary():
    noise = noise_of(4.0)
    found = scores(dp_grad(clip=0.5, noise=noise, expected=ROWS))
    assert stats.kstest(found.without, "norm").pvalue > 0.001
    assert stats.kstest(found.with_canary - math.sqrt(STEPS) / noise, "norm").pvalue > 0.001


@pytest.mark.parametrize("epsilon", [1.0, 4.0])
def test_bounds_of_a_sound_gradient_are_below_the_claim_and_near_it(epsilon):
    found = scores(dp_grad(clip=0.5, noise=noise_of(epsilon), expected=ROWS))
    bound = audit.gaussian(found.with_canary, found.without, DELTA, level=0.999)
    assert 0 < audit.gaussian(found.with_canary, found.without, DELTA) or epsilon == 1
    assert bound < epsilon
    assert bound > 0.5 * epsilon or epsilon == 1


@dataclasses.dataclass(frozen=True)
class Faulty(DpGrad):
    """A private gradient with a planted fault."""

    fault: str = ""

    def __call__(self, loss):
        if self.fault == "half the noise":
            return DpGrad(self.clip, self.noise / 2, self.expected)(loss)
        if self.fault == "no clipping":
            honest = DpGrad(1e6 * self.clip, self.noise / 1e6, self.expected)
            return honest(loss)

        def by_realised_size(params, key, rows):
            found = DpGrad(self.clip, self.noise, self.expected)(loss)(params, key, rows)
            factor = self.expected / rows.weight.sum()
            return found._replace(gradient=jax.tree.map(lambda g: factor * g, found.gradient))

        return by_realised_size


@pytest.mark.parametrize("fault", ["half the noise", "no clipping", "divided by the realised size"])
def test_planted_faults_are_caught(fault):
    claim, against = 4.0, fault == "divided by the realised size"
    grad = Faulty(0.5, noise_of(claim), ROWS, fault=fault)
    found = canary.run(lambda grad: build(grad, against), grad, batch(), jax.random.key(0), runs=100, steps=STEPS)
    assert audit.gaussian(found.with_canary, found.without, DELTA, level=0.999) > claim


def test_a_model_of_the_package_is_audited():
    x = RNG.integers(0, 3, (20, 2)).astype(np.float32)
    spec = DataSpec.from_arrays(x)
    config = table_vae.Config(latents=2, hidden=(4,), steps=STEPS, batch_size=20)
    rows = Batch(jnp.asarray(x), jnp.zeros(20, jnp.int32), jnp.ones(20), jnp.arange(20))
    noise = noise_of(8.0)
    audited = dp_grad(1.0, noise, 20)
    found = canary.run(
        lambda grad: table_vae.build(config, spec, grad=grad), audited, rows, jax.random.key(1), runs=30, steps=2
    )
    assert abs(found.without.mean()) < 4 / math.sqrt(30)
    assert abs(found.with_canary.mean() - math.sqrt(2) / noise) < 4 / math.sqrt(30)


def test_models_with_several_gradients_are_refused():
    x = RNG.normal(size=(16, 2)).astype(np.float32)
    rows = Batch(jnp.asarray(x), jnp.zeros(16, jnp.int32), jnp.ones(16), jnp.arange(16))
    spec = DataSpec.from_arrays(x)
    preset = next(iter(table_gan.PRESETS.values()))
    with pytest.raises(InputError, match="audit: a step of this model"):
        canary.run(
            lambda grad: table_gan.build(preset, spec), dp_grad(1.0, 1.0, 16), rows, jax.random.key(0), runs=2, steps=1
        )


@pytest.mark.parametrize("rate", [0.3, 0.9])
def test_scores_of_samples_have_the_law_that_is_due(rate):
    """And the ideal scores are likelihood ratios: by the densities of a single gradient."""
    grad = dp_grad(clip=0.5, noise=0.8, expected=ROWS)
    found = canary.run(build, grad, batch(), jax.random.key(0), runs=RUNS, steps=STEPS, rate=rate)
    ideal = canary.ideal(0.8, rate, STEPS, 20_000)
    for one, due in zip(found, ideal, strict=True):
        assert stats.ks_2samp(one, due).pvalue > 0.001
    assert np.exp(-ideal.with_canary).mean() == pytest.approx(1, abs=4 * np.exp(-ideal.with_canary).std() / 141)
    z = np.linspace(-3, 5, 9)
    mixed = (1 - rate) * stats.norm.pdf(z) + rate * stats.norm.pdf(z, 1 / 0.8)
    np.testing.assert_allclose(canary._ratio(z, 0.8, rate), np.log(mixed / stats.norm.pdf(z)), rtol=1e-9)


# --- one run with many canaries

MANY = 200


def wide(grad: optim.Grad) -> Model:
    """Learns a direction among more numbers than there are canaries, in two leaves."""

    def loss(params, key, batch):
        return optim.Losses(jnp.tanh(batch.x @ params["a"][:3]) ** 2 + params["b"].sum() ** 2 * 1e-3)

    optimiser = optim.adam()
    step = optim.train_step(loss, optimiser, optim.schedule(0.1, STEPS), grad=grad)
    params = {"a": jnp.ones(100), "b": jnp.ones((15, 10))}
    return Model(lambda key: optim.TrainState.create(params, optimiser), step, lambda *a: jnp.zeros(1))


def once(grad: DpGrad, seed: int = 0, canaries: int = MANY) -> canary.Once:
    return canary.run_once(wide, grad, batch(), jax.random.key(seed), canaries=canaries, steps=STEPS)


def test_scores_of_many_canaries_are_normal_and_independent():
    noise = noise_of(4.0)
    runs = [once(dp_grad(clip=0.5, noise=noise, expected=ROWS), seed) for seed in range(4)]
    scores, inside = (np.concatenate(parts) for parts in zip(*runs, strict=True))
    assert stats.kstest(scores[~inside], "norm").pvalue > 0.001
    assert stats.kstest(scores[inside] - math.sqrt(STEPS) / noise, "norm").pvalue > 0.001
    assert stats.binomtest(int(inside.sum()), len(inside)).pvalue > 0.001  # fair coins
    assert not np.array_equal(runs[0].inside, runs[1].inside)
    rest = scores - inside * math.sqrt(STEPS) / noise
    assert abs(np.corrcoef(rest[:-1], rest[1:])[0, 1]) < 4 / math.sqrt(len(rest))


@pytest.mark.parametrize("fault", ["", "half the noise", "no clipping"])
def test_one_run_catches_planted_faults_and_does_not_accuse_a_sound_gradient(fault):
    """So few canaries cannot show half the noise in the bound; it shows in the spread of the scores."""
    claim = 2.0
    mu = math.sqrt(STEPS) / noise_of(claim)
    grad = Faulty(0.5, noise_of(claim), ROWS, fault=fault) if fault else dp_grad(0.5, noise_of(claim), ROWS)
    found = once(grad)
    guesses = audit.best_guesses(mu, MANY, DELTA)
    right = audit.right_guesses(*found, guesses)
    assert (audit.one_run_gaussian(right, guesses, MANY, DELTA, level=0.999) > claim) == (fault == "no clipping")
    without = found.scores[~found.inside]
    assert (abs(without.std() - 1) < 4 / math.sqrt(2 * len(without))) == (fault == "")


def test_losses_with_norms_of_their_own_meet_the_canaries():
    """Those whose clipping uses norms in closed form."""

    def build_normed(grad):
        def loss(params, key, batch):
            return optim.Losses(batch.x @ params[:3])

        def squares(params, key, batch):
            return (batch.x**2).sum(axis=1)

        normed = optim.NormedLoss(loss, squares)
        optimiser = optim.adam()
        step = optim.train_step(normed, optimiser, optim.schedule(0.1, STEPS), grad=grad)
        return Model(lambda key: optim.TrainState.create(jnp.ones(150), optimiser), step, lambda *a: jnp.zeros(1))

    grad = dp_grad(0.5, 0.4, ROWS)
    found = canary.run_once(build_normed, grad, batch(), jax.random.key(0), canaries=100, steps=STEPS)
    assert stats.kstest(found.scores[found.inside] - math.sqrt(STEPS) / 0.4, "norm").pvalue > 0.001


def test_more_canaries_than_parameters_are_refused():
    with pytest.raises(InputError, match="--canaries=251: each needs a parameter of its own; the model has 250"):
        once(dp_grad(0.5, 1.0, ROWS), canaries=251)
