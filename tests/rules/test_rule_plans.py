"""What a plan takes from the rows comes back, and whatever a model draws decodes into rows that keep the rules."""

import json

import numpy as np
import pandas as pd
import planted
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from synthjax import rules
from synthjax.errors import InputError
from synthjax.rules import stored
from synthjax.rules.columns import Columns, Form
from synthjax.rules.keys import Unique


def anything(free: pd.DataFrame, rng: np.random.Generator, n: int = 500) -> pd.DataFrame:
    """Rows of a model that has learnt nothing: every column by itself, numbers anywhere within what was seen."""
    columns, drawn = Columns(free), {}
    for name in columns.names:
        series = columns.series(name).sample(n, replace=True, random_state=int(rng.integers(2**31)))
        if columns.kind(name) == "number":
            numbers = Columns(pd.DataFrame({name: series})).numbers(name)
            low, high = np.nanmin(numbers), np.nanmax(numbers)
            other = Form("number", columns.unit(name)).rounded(rng.uniform(low, high, n))
            numbers = np.where((rng.random(n) < 0.5) & ~np.isnan(numbers), other, numbers)
            series = pd.Series(columns.form(name).values(numbers))
        drawn[name] = series.array
    return pd.DataFrame(drawn)


def exact(found):
    return [rule for rule in found if rule.exact and not isinstance(rule, Unique)]


def check(frame: pd.DataFrame, found, seed: int) -> pd.DataFrame:
    plan = rules.plan(found, frame)
    free = plan.encode(frame)
    back = plan.decode(free)
    kept = plan.keeps(frame)
    assert kept.mean() > 0.98
    pd.testing.assert_frame_equal(back[kept], frame[kept], rtol=1e-12)
    decoded = plan.decode(anything(free, np.random.default_rng(seed)))
    assert list(decoded) == list(frame)
    assert not plan.left
    for rule in exact(found):
        assert rule.holds(decoded).all(), rule.text
    return free


@pytest.mark.parametrize("kind", planted.KINDS)
def test_rows_come_back_and_anything_keeps_the_rule(kind):
    frame, texts = planted.table([kind], seed=5, n=500, noisy=2)
    found = [rules.parse(text) for text in texts[kind]]
    if kind == "nearly_total":
        found = rules.find(frame)
        assert len(found) == 1
    check(frame, found, seed=1)


@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
@given(
    st.lists(st.sampled_from(sorted(set(planted.KINDS) - {"keys"})), min_size=3, max_size=7, unique=True),
    st.integers(0, 10_000),
    st.integers(200, 700),
)
def test_many_rules_at_once(kinds, seed, n):
    frame, texts = planted.table(kinds, seed, n, noisy=2)
    frame.loc[frame.index % 9 == 4, "noise 0"] = None
    found = [rules.parse(text) for kind in kinds if kind != "nearly_total" for text in texts[kind]]
    check(frame, found, seed)


def test_chains_of_rules_over_the_same_columns():
    rng = np.random.default_rng(0)
    n = 400
    start = np.datetime64("2022-01-01", "s") + rng.integers(0, 10**6, n).astype("timedelta64[m]")
    minutes = 1 + rng.geometric(0.05, n)
    fare, tip = (2.5 + 0.17 * minutes).round(2), np.where(rng.random(n) < 0.5, 0, rng.gamma(2, 2, n).round(2))
    frame = pd.DataFrame(
        {
            "end": start + minutes.astype("timedelta64[m]"), "total": (fare + tip).round(2), "fare": fare, "tip": tip,
            "start": start, "minutes": minutes, "hour": pd.DatetimeIndex(start).hour,
        }
    )  # fmt: skip
    texts = ["start < end", "minutes = minutes(end - start)", "fare = 0.17 * minutes + 2.5", "total = fare + tip",
             "hour = hour(start)", "0 <= tip"]  # fmt: skip
    free = check(frame, [rules.parse(text) for text in texts], 0)
    assert set(free) == {"end - start", "tip", "start", "hour"}  # no bin of starts shows the hour


def test_a_target_stays_as_it_is():
    frame = pd.DataFrame({"total": [5, 7, 9] * 9, "a": [1, 3, 4] * 9, "b": [4, 4, 5] * 9, "c": list("xyz") * 9})
    found = [rules.parse("total = a + b"), rules.parse("c <-> total")]
    plan = rules.plan(found, frame, keep=["total"])
    free = plan.encode(frame)
    assert "total" in free and "c" not in free and len(set(free) & {"a", "b"}) == 1
    pd.testing.assert_frame_equal(plan.decode(free), frame)


def test_missing_values_come_back_where_they_were():
    a = np.array([1.0, np.nan, 3.0, 4.0, np.nan] * 8)
    b = np.array([2.0, 5.0, np.nan, 1.0, np.nan] * 8)
    c = np.where(np.arange(40) % 7 == 0, np.nan, a + b)
    c[1] = 9.0  # where a sum has no value the number is told by itself
    frame = pd.DataFrame({"a": a, "b": b, "c": c})
    plan = rules.plan([rules.parse("c = a + b")], frame)
    assert set(plan.encode(frame)) == {"a", "b", "c - (a + b)", "c (by itself)"}
    pd.testing.assert_frame_equal(plan.decode(plan.encode(frame)), frame)


@pytest.mark.parametrize("kept", ["of", "place"])
def test_a_number_below_another_stays_within_its_own_bounds(kept):
    """The place of a child, from 1, is not above the number of children, whichever of the two is computed."""
    rng = np.random.default_rng(0)
    of = rng.integers(1, 9, 500)
    frame = pd.DataFrame({"of": of, "place": rng.integers(1, of + 1)})
    plan = rules.plan([rules.parse("place <= of")], frame, keep=[kept])
    free = plan.encode(frame)
    pd.testing.assert_frame_equal(plan.decode(free), frame)
    drawn = plan.decode(anything(free, rng))
    assert plan.keeps(drawn).all() and drawn["place"].min() == 1 and drawn["of"].max() == 8


def test_a_near_rule_keeps_its_rate():
    frame, _ = planted.table(["nearly_total"], seed=1, n=3000, noisy=0)
    (rule,) = rules.find(frame)
    plan = rules.plan([rule], frame)
    free = plan.encode(frame)
    assert list(free) == ["x", "y", "z - (x + y)"]
    pd.testing.assert_frame_equal(plan.decode(free), frame)
    drawn = free.sample(3000, replace=True, random_state=0).reset_index(drop=True)
    drawn["x"] = drawn["x"].sample(frac=1, random_state=1).to_numpy()
    assert abs(rule.holds(plan.decode(drawn)).mean() - rule.evidence.rate) < 0.005


def test_lookups_and_combinations_give_nothing_of_few_rows_away():
    frame = pd.DataFrame({"town": ["a"] * 9 + ["b"] * 9 + ["hermit"], "land": ["x"] * 9 + ["y"] * 9 + ["z"]})
    for text in ("town -> land", "town <-> land", "seen(town, land)"):
        told = json.dumps(stored.to_dict(rules.plan([rules.parse(text)], frame)))
        assert "hermit" not in told and '"z"' not in told, text
    plan = rules.plan([rules.parse("town -> land")], frame)
    free = plan.encode(frame)
    assert list(free) == ["town", "land (rest)"] and free["land (rest)"].notna().sum() == 1
    pd.testing.assert_frame_equal(plan.decode(free), frame)


def test_rare_combinations_become_the_nearest_frequent_one():
    frame = pd.DataFrame({"from": list("aabbc") * 8 + ["a"], "to": list("xyxzz") * 8 + ["z"]})
    plan = rules.plan([rules.parse("seen(from, to)")], frame)
    assert plan.rules[0].holds(frame).sum() == 40
    free = plan.encode(frame)
    assert list(free) == ["from, to"]
    back = plan.decode(free)
    pd.testing.assert_frame_equal(back[:40], frame[:40])
    assert plan.rules[0].holds(back).all()


def test_rules_that_cannot_be_kept_together_are_named():
    frame = pd.DataFrame({"a": [1, 2, 3] * 9, "b": [2, 4, 6] * 9, "c": [3, 6, 9] * 9})
    found = [rules.parse("c = a + b"), rules.parse("c % 3 = 0")]
    plan = rules.plan(found, frame)
    assert [rule.text for rule in plan.left] == ["c % 3 = 0"]
    decoded = plan.decode(pd.DataFrame({"a": [1, 1], "b": [2, 3]}))
    assert plan.keeps(decoded).tolist() == [True, False]


def test_a_plan_survives_json():
    kinds = [kind for kind in planted.KINDS if kind != "keys"]
    frame, texts = planted.table(kinds, seed=2, n=300, noisy=1)
    found = [rules.parse(text) for kind in kinds if kind != "nearly_total" for text in texts[kind]]
    found.append(rules.parse("pay == 'card' and noise0 > 2 => `sum of parts` = a + b + c"))
    plan = rules.plan([*found, rules.parse("-1000 <= low")], frame.rename(columns={"noise 0": "noise0"}))
    again = stored.from_dict(json.loads(json.dumps(stored.to_dict(plan))))
    assert again == plan


def test_rows_without_a_column_are_refused():
    frame = pd.DataFrame({"a": [1, 5] * 9, "b": [2, 6] * 9})
    plan = rules.plan([rules.parse("a < b")], frame)
    with pytest.raises(InputError, match="column 'b' is missing"):
        plan.encode(frame[["a"]])
    with pytest.raises(InputError, match="column 'b - a' is missing"):
        plan.decode(frame[["a"]])


def test_columns_of_every_type_come_back():
    rng = np.random.default_rng(0)
    a, b, flag = rng.integers(0, 50, 300), rng.integers(0, 50, 300), rng.random(300) < 0.5
    absent = rng.random(300) < 0.1
    frame = pd.DataFrame(
        {
            "small": a.astype("int8"), "single": (b / 2).astype("float32"), "sum": a + b,
            "nullable": pd.array(np.where(absent, None, a + b + 1), dtype="Int64"),
            "flag": flag, "maybe": pd.array(np.where(absent, None, flag), dtype="boolean"),
            "arrow": pd.Series(np.where(flag, "p", "q")).astype("string"), "mixed": rng.choice(["x", 1, None], 300),
            "zone": pd.Timestamp("2020-06-01", tz="Europe/Berlin") + pd.to_timedelta(a, unit="h"),
            "span": pd.to_timedelta(a, unit="h"), "nothing": None, "lists": [[1]] * 300, "wide": 2**61 + a, 5: a * 2,
        }
    )  # fmt: skip
    found = [rules.parse(text) for text in ("sum = small + 2 * single", "nullable = sum + 1", "flag <-> arrow")]
    found += [rules.parse("maybe -> flag"), *rules.find(frame)]
    plan = rules.plan(found, frame)
    assert set(plan.computed) >= {"sum", "nullable"}
    back = plan.decode(plan.encode(frame)).rename(columns={"5": 5})
    pd.testing.assert_frame_equal(back, frame)


def test_tables_without_rows_or_columns():
    assert rules.find(pd.DataFrame()) == [] and rules.find(pd.DataFrame({"a": []})) == []
    frame, texts = planted.table(list(planted.KINDS), seed=1, n=200, noisy=2)
    found = [rules.parse(text) for kind in texts for text in texts[kind]]
    plan = rules.plan(found, frame)
    assert len(plan.decode(plan.encode(frame[:0]))) == 0
    assert all(rule.holds(frame[:0]).shape == (0,) for rule in found)


def test_an_order_holds_where_the_term_in_the_middle_is_missing():
    rng = np.random.default_rng(0)
    first = rng.integers(0, 100, 400)
    middle = np.where(rng.random(400) < 0.5, np.nan, first + rng.integers(0, 9, 400))
    last = np.fmax(first, middle) + rng.integers(0, 9, 400)
    frame = pd.DataFrame({"first": first, "middle": middle, "last": last})
    made = rules.plan([rules.parse("first <= middle <= last")], frame, keep=["first"])
    assert not made.left
    free = made.encode(frame)
    mixed = free.assign(first=free["first"].sample(frac=1, random_state=0).to_numpy())
    decoded = made.decode(mixed)
    assert (decoded["last"] >= decoded["first"]).all() and made.decode(free).equals(frame)
