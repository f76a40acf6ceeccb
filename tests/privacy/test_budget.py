"""Division of a budget: closed forms, and training on samples within a Gaussian mechanism."""

import math

import numpy as np
import pytest

from synthjax.errors import InputError
from synthjax.privacy import accounting
from synthjax.privacy.accounting import Release
from synthjax.privacy.budget import Budget, threshold, within


@pytest.mark.parametrize(("sigma", "delta"), [(0.7, 1e-3), (8.0, 1e-6), (60.0, 1e-9), (500.0, 0.05)])
def test_a_threshold_is_passed_with_a_probability_of_at_most_delta(sigma, delta):
    """By summing the law of the discrete Gaussian."""
    k = np.arange(-int(60 * sigma) - 60, int(60 * sigma) + 60)
    law = np.exp(-(k.astype(float) ** 2) / (2 * sigma**2))
    law /= law.sum()
    found = threshold(sigma, delta)
    assert law[1 + k >= found].sum() <= delta < law[1 + k >= found - 3].sum()


def test_parts_of_any_number_spend_the_budget_together():
    budget = Budget(1.0, 1e-6)
    parts = [Release(str(i), "gaussian", budget.part(share)) for i, share in enumerate((0.1, 0.2, 0.3, 0.4))]
    spent = accounting.epsilon(parts, 1e-6)
    assert 0.93 < spent <= 1.0
    many = Release("many", "discrete gaussian", budget.part(0.5 / 50), count=50)
    many = [many, *parts[:2], Release("t", "threshold", 0.0, delta=1e-7)]
    assert accounting.epsilon(many, 1e-6) <= 1.0


def test_full_batches_are_the_gaussian_mechanism():
    assert within(Release("g", "gaussian", 1.0, 1.0, 25), 4.0, 1e-9) == pytest.approx(20.0, rel=8e-3)


def test_samples_tell_less_than_the_gaussian_mechanism_at_every_epsilon():
    target, slack = 2.0, 1e-7
    one = Release("g", "gaussian", 1.0, 0.2, 10)
    noise = within(one, target, slack)
    assert noise < 0.2 * math.sqrt(10) * target * 1.6
    rng = np.random.default_rng(0)
    delta = accounting.delta_of([Release("g", "gaussian", noise, 0.2, 10)])
    for e in rng.uniform(0, 6, 20).tolist():
        assert delta(e) <= slack + accounting.gaussian_delta(target, e)
    less = accounting.delta_of([Release("g", "gaussian", noise * 0.98, 0.2, 10)])
    assert any(less(e) > slack + accounting.gaussian_delta(target, e) for e in np.linspace(0, 6, 120).tolist())


@pytest.mark.parametrize(("epsilon", "delta"), [(0.0, 1e-6), (-1.0, 1e-6), (math.inf, 1e-6), (1.0, 0.0), (1.0, 1.0)])
def test_a_budget_out_of_range_is_refused(epsilon, delta):
    with pytest.raises(InputError, match=r"(epsilon|delta)="):
        Budget(epsilon, delta)


def test_an_epsilon_that_no_table_can_bear_is_refused():
    with pytest.raises(InputError, match="no table is so large"):
        Budget(1e-7, 1e-12).part(0.001)
