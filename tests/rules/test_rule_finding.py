"""Planted rules are found, noise gives none, and chance, held-out rows and `min_count` have their say."""

import itertools
import math

import numpy as np
import pandas as pd
import planted
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from synthjax import rules
from synthjax.rules.chance import level, log_tail
from synthjax.rules.columns import Columns
from synthjax.rules.kinds import Equation


def texts(found) -> list[str]:
    return [rule.text for rule in found]


@pytest.mark.parametrize("kind", planted.KINDS)
def test_a_planted_rule_is_found_and_nothing_else(kind):
    frame, expected = planted.table([kind], seed=3, n=600, noisy=5)
    found = rules.find(frame)
    assert set(texts(found)) == set(expected[kind])
    for rule in found:
        assert rule.evidence.rate >= 0.99 and rule.evidence.unseen_rows > 0 and rule.evidence.chance < 1
        assert rule.holds(frame).mean() >= 0.99


@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],  # a failing table is small enough to look at
    suppress_health_check=[HealthCheck.too_slow],
)
@given(
    st.lists(st.sampled_from(sorted(planted.KINDS)), min_size=2, max_size=4, unique=True),
    st.integers(0, 10_000),
    st.integers(500, 1500),
)
def test_planted_rules_among_noise_are_found_and_none_is_invented(kinds, seed, n):
    frame, expected = planted.table(kinds, seed, n, noisy=6)
    found = rules.find(frame)
    missed = {text for kind in kinds for text in expected[kind]} - set(texts(found))
    assert not missed
    groups = [set(planted.KINDS[kind](np.random.default_rng(0), 50)[0]) for kind in kinds]
    for rule in found:  # what else is said is said of columns of one planted rule
        assert any(set(rule.names) <= group for group in groups), str(rule)


def test_combinations_are_of_codes_not_of_what_is_measured():
    rng = np.random.default_rng(0)
    n = 20_000
    month = rng.integers(1, 13, n)
    codes = rng.permutation(100_000)[:120]  # numbers of towns, ten of each region
    region = rng.integers(0, 12, n)
    frame = pd.DataFrame(
        {
            "month": month,
            "degrees": np.rint(15 * np.sin(month * np.pi / 6) + 3 * rng.normal(size=n)),
            "region": region,
            "town": codes[(region * 10 + rng.integers(0, 20, n)) % 120],
        }
    )
    assert [text for text in texts(rules.find(frame)) if text.startswith("seen")] == ["seen(region, town)"]


def test_noise_gives_no_rules():
    false = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(60, 500))
        frame = pd.DataFrame(planted.noise(rng, n, 8))
        false += [seed] * bool(rules.find(frame, seed=seed))
    assert len(false) <= 1, false


def test_a_tail_bounds_that_of_the_binomial():
    from scipy.stats import binom

    for n, chance, share in itertools.product((20, 300), (0.05, 0.5, 0.97), (0.98, 1.0)):
        hits = math.ceil(n * share)
        if hits > n * chance:
            assert log_tail(hits, n, chance) >= binom.logsf(hits - 1, n, chance) - 1e-9
            assert log_tail(n, n, chance) == pytest.approx(n * math.log(chance))
    assert log_tail(5, 20, 0.5) == 0


def test_the_chance_level_is_that_of_independent_columns():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 4, 3000), rng.integers(0, 4, 3000)
    frame = Columns(pd.DataFrame({"a": a, "b": np.maximum(a, b), "c": np.where(a == 3, "x", "y")}))
    p, q = np.bincount(a, minlength=4) / 3000, np.bincount(np.maximum(a, b), minlength=4) / 3000
    at_most = sum(p[i] * q[j] for i in range(4) for j in range(i, 4))
    assert level(rules.parse("a <= b"), frame) == pytest.approx(at_most, abs=0.02)
    assert level(rules.parse("b = a + 0"), frame) == pytest.approx(float(p @ q), abs=0.02)
    assert level(rules.parse("a == 3 => c == 'x'"), frame) == pytest.approx(float(p[3]), abs=0.02)
    same = p[3] ** 2 + (1 - p[3]) ** 2
    assert level(rules.parse("a == 3 <=> c == 'x'"), frame) == pytest.approx(float(same), abs=0.02)


def test_a_rule_that_unseen_rows_break_is_dropped():
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 500, 400), rng.integers(0, 500, 400)
    train = pd.DataFrame({"a": a, "b": b, "c": a + b})
    assert texts(rules.find(train, train)) == ["c = a + b"]
    broken = train.assign(c=np.where(np.arange(400) % 20 == 0, train.c + 1, train.c))
    assert not any("b" in rule.names for rule in rules.find(train, broken) if isinstance(rule, Equation))
    nearly = train.assign(c=np.where(np.arange(400) % 200 == 0, train.c + 1, train.c))
    (rule,) = (rule for rule in rules.find(train, nearly) if isinstance(rule, Equation))
    assert rule.evidence.rate == 1 and rule.evidence.unseen_rate == 0.995 and not rule.exact


def test_a_near_rule_says_its_rate():
    frame, _ = planted.table(["nearly_total"], seed=0, n=2000, noisy=2)
    (rule,) = rules.find(frame)
    assert not rule.exact and str(rule) == f"z = x + y ({100 * rule.evidence.rate:.2f} % of rows)"


def test_tables_of_found_rules_hold_no_value_of_few_rows():
    rng = np.random.default_rng(2)
    town = rng.choice([f"t{i}" for i in range(20)], 900)
    town[:2] = "hamlet"
    land = np.array([f"l{hash_}" for hash_ in (planted.hash_(name) % 5 for name in town)])
    (rule,) = rules.find(pd.DataFrame({"town": town, "land": land}), min_count=5)
    assert rule.text == "town -> land"
    keys = {key for (key,), _ in rule.table}
    assert "hamlet" not in keys and len(keys) == 20


def test_no_text_of_a_rule_holds_a_value_of_few_rows():
    frame, texts = planted.table(["bound", "condition"], seed=6, n=600, noisy=0)
    assert set(texts["bound"] + texts["condition"]) <= {rule.text for rule in rules.find(frame)}
    held = [int((frame["years"] == 18).sum()), int((frame["pay"] == "cash").sum())]
    assert held[0] < 60 < held[1]
    found = {rule.text for rule in rules.find(frame, min_count=60)}
    assert texts["condition"][0] in found and "ticket == 'adult' => years >= 18" not in found


def test_rounded_columns_are_explained_within_their_rounding():
    rng = np.random.default_rng(4)
    x, y = rng.gamma(9, 0.5, 2000) + 2, rng.gamma(9, 0.5, 2000) + 2
    z = rng.gamma(9, 0.4, 2000) + 2
    depth = (100 * z / (x + y)).round(1)
    (rule,) = rules.find(pd.DataFrame({"x": x.round(2), "y": y.round(2), "z": z.round(2), "depth": depth}))
    assert rule.text == "depth ~= 100 * z / (x + y)"


def test_few_rows_give_no_rules():
    assert rules.find(pd.DataFrame({"a": range(20), "b": range(20)})) == []


def test_rules_of_a_real_hotel_like_table():
    """The columns of the case of impossible rows: dates, nights, totals, cities."""
    rng = np.random.default_rng(5)
    land = {"Lyon": "FR", "Paris": "FR", "Bonn": "DE", "Kiel": "DE", "Turin": "IT", "Rome": "IT"}
    arrived = np.datetime64("2021-01-01") + rng.integers(0, 900, 600).astype("timedelta64[D]")
    nights = 1 + rng.geometric(0.3, 600)
    room, extras = (
        nights * rng.integers(60, 200, 600) * 1.0,
        np.where(rng.random(600) < 0.5, rng.integers(0, 80, 600), 0.0),
    )
    city = rng.choice(list(land), 600)
    frame = pd.DataFrame(
        {
            "checkin": arrived, "checkout": arrived + nights.astype("timedelta64[D]"), "nights": nights,
            "room_cost": room, "extras": extras, "total": room + extras,
            "city": city, "country": [land[name] for name in city],
        }
    )  # fmt: skip
    assert set(texts(rules.find(frame))) == {
        "nights = days(checkout - checkin)", "checkin < checkout", "total = room_cost + extras", "city -> country",
    }  # fmt: skip


def test_a_copy_of_a_column_without_a_unit_is_an_equation():
    rng = np.random.default_rng(0)
    raw, other = rng.normal(size=400), rng.normal(size=400)
    known = np.where(rng.random(400) < 0.3, np.nan, raw)
    frame = pd.DataFrame({"known": known, "whole": raw, "other": other, "flag": rng.integers(0, 2, 400)})
    assert texts(rules.find(frame)) == ["whole = known"]
    plan = rules.plan(rules.find(frame), frame)
    pd.testing.assert_frame_equal(plan.decode(plan.encode(frame)), frame)
