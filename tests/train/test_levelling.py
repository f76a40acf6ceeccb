"""When a training ends by its scores: hand-made sequences, and the steps at which there is a score."""

import math

import pytest

from synthjax.train.best import LEAST_SCORES, has_levelled
from synthjax.train.loop import Plan

STEPS = range(10, 1001, 10)


def ended(score, gain=0.01, steps=STEPS, start=0) -> int | None:
    """The step at which a training with that score ends; None: it goes on to the end."""
    scores = {}
    for step in steps:
        scores[step] = score(step)
        if has_levelled(scores, gain, start):
            return step
    return None


@pytest.mark.parametrize(
    ("score", "end"),
    [
        (lambda step: step / 10, None),  # as much again with each score
        (lambda step: -abs(step - 400) / 100, 600),  # the best at 400, and half as many steps without a better one
        (lambda step: min(step, 200) / 100, 300),
        (lambda step: 1.0, 10 * LEAST_SCORES),  # a constant ends as soon as any may
        (lambda step: 1.0 if step == 50 else 0.0, 100),
        (lambda step: math.nan, None),
        (lambda step: 1.0 if step % 20 else math.nan, 100),
    ],
)
def test_a_training_ends_when_its_last_third_gained_nothing(score, end):
    assert ended(score) == end


def test_less_than_the_gain_counts_as_nothing():
    # log(1.5) = .405 is what each last third gains.
    assert ended(math.log, gain=0.3) is None and ended(math.log, gain=0.6) == 10 * LEAST_SCORES


def test_a_warm_up_that_gains_nothing_is_no_end():
    slow = lambda step: max(step - 100, 0) / 100  # noqa: E731
    assert ended(slow) == 100 and ended(slow, start=100) is None
    assert ended(lambda step: 1.0, start=100) == 100 + 10 * LEAST_SCORES
    assert ended(lambda step: min(step, 150) / 100, start=100) == 200


def test_there_are_ten_scores_for_each_doubling_of_the_steps():
    plan, step, found = Plan(10_000, eval_every=10, widening=True), 0, []
    while step < 10_000:
        step = (step // plan.scores_from(step) + 1) * plan.scores_from(step)
        found.append(step)
    assert found[:21] == [*range(10, 201, 10), 220]
    assert all(len([step for step in found if a < step <= 2 * a]) == 10 for a in (200, 400, 800, 1600, 3200))
    assert all(step % plan.scores_from(step) == 0 for step in found)


def test_a_fixed_interval_stays():
    assert {Plan(100, eval_every=7).scores_from(step) for step in (0, 10, 10**6)} == {7}
    assert Plan(100, widening=True).scores_from(50) == 0
