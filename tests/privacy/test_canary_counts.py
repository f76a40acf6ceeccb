"""Counts with and without a canary: the law of the scores, adaptive choices of tables, and planted faults."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from synthjax.evals.privacy import audit
from synthjax.model import Batch, DataSpec
from synthjax.models import independent, table_marginals
from synthjax.privacy import canary, canary_counts
from synthjax.privacy.accounting import Release, calibrate
from synthjax.privacy.counts import Counts

DELTA, RUNS = 1e-5, 300
X = np.random.default_rng(0).integers(0, 3, (60, 4)).astype(np.float32)
SPEC = DataSpec.from_arrays(X)
CONFIGS = {
    independent: independent.Config(bins=4),
    table_marginals: table_marginals.Config(bins=4, chains=64, iterations=2, again=0.5),
}


def scores(count, family=table_marginals, seed: int = 0, runs: int = RUNS) -> canary.Scores:
    batch = Batch(jnp.asarray(X), jnp.zeros(60, jnp.int32), jnp.ones(60), jnp.arange(60))
    return canary_counts.run(
        lambda hook: family.build(CONFIGS[family], SPEC, count=hook), count, batch, jax.random.key(seed), runs=runs
    )


def noise_of(epsilon: float) -> float:
    return calibrate([Release("counts", "gaussian", 1.0)], epsilon, DELTA)[0].noise


@pytest.mark.parametrize("family", [independent, table_marginals])
def test_scores_have_the_mean_and_the_spread_of_the_gaussian_mechanism(family):
    z = 2.0
    found = scores(Counts(z), family)
    for one, mean in ((found.without, 0.0), (found.with_canary, 1 / z)):
        assert abs(one.mean() - mean) < 4 / math.sqrt(RUNS)
        assert stats.chi2.cdf(RUNS * one.var(), RUNS - 1) == pytest.approx(0.5, abs=0.4999)


class Faulty(Counts):
    """Counts with a planted fault."""

    fault = ""

    def __call__(self, key, exact, sensitivity, share=1.0):
        if self.fault == "too small a sensitivity":
            return super().__call__(key, exact, sensitivity / 3, share)
        if self.fault == "rows that count thrice":
            return super().__call__(key, 3 * exact, sensitivity, share)
        key = jax.random.key(7) if self.fault == "the same noise" else key
        made = super().__call__(key, exact, sensitivity, share)
        return exact + (made - exact) // 3 if self.fault == "a third of the noise" else made


@pytest.mark.parametrize(
    "fault", ["", "too small a sensitivity", "rows that count thrice", "a third of the noise", "the same noise"]
)
def test_planted_faults_are_caught(fault):
    claim = 4.0
    count = Faulty(noise_of(claim))
    count.fault = fault
    found = scores(count, independent, runs=100)
    bound = audit.gaussian(*found, DELTA, level=0.999)
    assert (bound > claim) == (fault != "")
