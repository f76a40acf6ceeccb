"""Sums that no row exceeds, of rows too few to show a rule: nothing is claimed, and drawn rows are bounded by them."""

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from synthjax import rules

NOISE = ("n1", "n2")


def tries(seed, n=200):
    """Rows of tries, of which hits and faults are parts, beside noise; both are seldom many."""
    rng = np.random.default_rng(seed)
    total = rng.integers(0, 60, n)
    hits = rng.binomial(total, 0.25)
    faults = rng.binomial(total - hits, 0.25)
    return pd.DataFrame(
        {"hits": hits, "faults": faults, "tries": total} | {name: rng.integers(0, 9, n) for name in NOISE}
    )


def shuffled(free, seed):
    """Each column in another order."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame({name: free[name].array.take(rng.permutation(len(free))) for name in free})


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000))
def test_drawn_rows_are_within_the_limits_and_real_ones_come_back(seed):
    train, unseen = tries(seed), tries(seed + 1, 60)
    found = [rules.parse(f"{part} <= tries") for part in ("hits", "faults")]
    limits = rules.limits(train, unseen, found)
    assert [rule.text for rule in limits] == ["hits + faults <= tries"]
    plan = rules.plan(found, train, limits=limits)
    free = plan.encode(train)
    pd.testing.assert_frame_equal(plan.decode(free), train)
    drawn = plan.decode(shuffled(free, seed))
    assert (drawn["hits"] + drawn["faults"] <= drawn["tries"]).all() and not plan.left


def test_limits_are_not_claimed_and_a_sum_that_is_exceeded_is_none():
    train, unseen = tries(0), tries(1, 60)
    orders = [rules.parse("hits <= tries").fit(train), rules.parse("faults <= tries").fit(train)]
    (limit,) = rules.limits(train, unseen, orders)
    assert limit.evidence.chance == 1 and limit.exact
    unseen.loc[3, ["hits", "faults", "tries"]] = [5, 5, 9]
    assert rules.limits(train, unseen, orders) == []
    assert rules.limits(train, unseen, [*orders, rules.parse("hits + faults <= tries")]) == []


def test_a_sum_that_often_reaches_its_bound_and_never_exceeds_it_is_a_rule():
    def drawn(seed):
        rng = np.random.default_rng(seed)
        total = rng.integers(0, 40, 400)
        part = rng.binomial(total, 0.15)
        rest = np.where(rng.random(400) < 0.08, total - part, rng.binomial(total - part, 0.2))
        return pd.DataFrame({"part": part, "rest": rest, "total": total})

    assert "part + rest <= total" in [rule.text for rule in rules.find(drawn(2), drawn(3))]


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000))
def test_days_are_within_their_month_though_few_rows_show_it(seed):
    rng = np.random.default_rng(seed)
    dates = pd.to_datetime("2023-01-01") + pd.to_timedelta(rng.permutation(365)[:200], "D")
    dates = dates.append(pd.to_datetime(["2023-01-31"]))
    frame = pd.DataFrame({"month": dates.strftime("%b").str.lower(), "day": dates.day, "n": rng.integers(0, 9, 201)})
    train, unseen = frame, frame[:40]
    limits = rules.limits(train, unseen, [])
    assert [rule.text for rule in limits] == ["day <= monthdays(month)"]
    plan = rules.plan([], train, limits=limits)
    pd.testing.assert_frame_equal(plan.decode(plan.encode(train)), train)
    drawn = plan.decode(shuffled(plan.encode(train), seed))
    assert limits[0].holds(drawn).all()
