"""Numbers and dates that follow columns which they determine: models see these columns, and the rules hold exactly."""

import json

import numpy as np
import pandas as pd
import pytest

from synthjax import rules
from synthjax.rules import stored
from synthjax.rules.snapping import nearest

N = 800
PARTS = {
    "weekday": lambda index: index.day_of_week,
    "month": lambda index: index.month,
    "day": lambda index: index.day,
    "quarter": lambda index: index.quarter,
    "hour": lambda index: index.hour,
    "minute": lambda index: index.minute // 15 * 15,
}


def stamps(unit, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DatetimeIndex(np.datetime64("2011-03-01", "s") + rng.integers(0, 10**4, N).astype(f"timedelta64[{unit}]"))


def dated(parts, unit="D"):
    """A table of dates, of these parts of them, and of a number that depends on the first part."""
    index = stamps(unit)
    columns = {part: PARTS[part](index).to_numpy() for part in parts}
    return pd.DataFrame({"date": index, **columns, "size": 10 * columns[parts[0]]})


@pytest.mark.parametrize("part", ["weekday", "month"])
def test_a_part_of_a_date_is_learnt_and_the_nearest_date_has_it(part):
    frame = dated([part])
    rule = rules.parse(f"{part} = {part}(date)")
    plan = rules.plan([rule], frame)
    free = plan.encode(frame)
    assert list(free) == list(frame) and not plan.left and plan.computed == ()
    pd.testing.assert_frame_equal(plan.decode(free), frame)
    rng = np.random.default_rng(1)
    free["date"] = free["date"].to_numpy()[rng.permutation(N)]
    drawn = plan.decode(free)
    assert rule.holds(drawn).all() and (drawn[part] == frame[part]).all()
    inner = free["date"].between(frame["date"].min() + pd.Timedelta("400D"), frame["date"].max() - pd.Timedelta("400D"))
    moved = (drawn["date"] - free["date"]).dt.days.abs()
    assert moved[inner].max() <= {"weekday": 3, "month": 31 * 6}[part] and inner.sum() > 100
    for row in np.flatnonzero(inner)[:50]:  # no nearer date has it
        near = pd.DatetimeIndex([free["date"][row] + pd.Timedelta(days=k) for k in range(-200, 201)])
        fits = np.abs(np.arange(-200, 201))[PARTS[part](near) == frame[part][row]]
        assert moved[row] == fits.min()


def test_of_parts_that_contradict_each_other_the_one_with_fewest_values_counts():
    frame = dated(["weekday", "month", "day"])
    found = [rules.parse(f"{part} = {part}(date)") for part in ("weekday", "month", "day")]
    plan = rules.plan(found, frame)
    rng = np.random.default_rng(2)
    free = plan.encode(frame)
    free = free.assign(**{name: free[name].to_numpy()[rng.permutation(N)] for name in ("weekday", "month", "day")})
    drawn = plan.decode(free)
    assert plan.keeps(drawn).all()
    assert (drawn["weekday"] == free["weekday"]).all() and (drawn["month"] == free["month"]).all()
    assert 0.1 < (drawn["day"] == free["day"]).mean()  # 30 years have most days of the month on each weekday


def test_a_time_of_day_keeps_its_minutes_and_its_day():
    index = stamps("m")
    frame = pd.DataFrame({"at": index, "hour": index.hour})
    plan = rules.plan([rules.parse("hour = hour(at)")], frame)
    free = plan.encode(frame)
    free["hour"] = np.random.default_rng(3).permutation(free["hour"].to_numpy())
    drawn = plan.decode(free)
    assert (drawn["hour"] == free["hour"]).all() and plan.keeps(drawn).all()
    assert (drawn["at"].dt.date == frame["at"].dt.date).all() and (drawn["at"].dt.minute == frame["at"].dt.minute).all()


def test_parts_that_the_date_shows_are_computed():
    frame = dated(["weekday"]).assign(year=lambda frame: frame["date"].dt.year)
    found = [rules.parse("year = year(date)"), rules.parse("weekday = weekday(date)")]
    assert "year" not in rules.plan(found, frame).encode(frame)  # years are runs of dates
    hours = pd.DataFrame({"at": stamps("s"), "minute": stamps("s").minute})
    assert list(rules.plan([rules.parse("minute = minute(at)")], hours).encode(hours)) == ["at"]  # 60 values


def test_a_date_follows_a_target_that_may_not_be_replaced():
    frame = dated(["weekday"])
    rule = rules.parse("weekday = weekday(date)")
    plan = rules.plan([rule], frame, keep=["weekday"])
    free = plan.encode(frame)
    free["weekday"] = 4
    drawn = plan.decode(free)
    assert not plan.left and rule.holds(drawn).all() and (drawn["weekday"] == 4).all()


def test_a_date_that_another_column_limits_is_not_moved():
    index = stamps("D")
    frame = pd.DataFrame({"start": index, "end": index + pd.to_timedelta(np.arange(N) % 3, "D")})
    frame["weekday"] = frame["end"].dt.day_of_week
    plan = rules.plan([rules.parse("start <= end"), rules.parse("weekday = weekday(end)")], frame)
    free = plan.encode(frame)
    rng = np.random.default_rng(4)
    drawn = plan.decode(pd.DataFrame({name: rng.permutation(free[name].to_numpy()) for name in free}))
    assert not plan.left and plan.keeps(drawn).all()


def coded(n=N):
    """Codes of shops, far apart, and two columns that they determine."""
    rng = np.random.default_rng(5)
    codes = np.sort(rng.choice(90_000, 60, replace=False)) + 10_000
    which = rng.integers(0, 60, n)
    towns, sizes = rng.choice(list("abcd"), 60), rng.choice([3, 8, 20], 60)
    return pd.DataFrame({"shop": codes[which], "town": towns[which], "size": sizes[which], "sold": rng.gamma(2, 9, n)})


def test_codes_are_those_that_are_known_and_follow_what_they_determine():
    frame = coded()
    found = [rules.parse("shop -> town"), rules.parse("shop -> size")]
    plan = rules.plan(found, frame)
    free = plan.encode(frame)
    assert {"town", "size"} <= set(free)
    pd.testing.assert_frame_equal(plan.decode(free), frame)
    rng = np.random.default_rng(6)
    free["shop"] = rng.integers(10_000, 100_000, N)  # a model draws a number between the codes
    drawn = plan.decode(free)
    assert set(drawn["shop"]) <= set(frame["shop"]) and plan.keeps(drawn).all()
    known = frame.drop_duplicates("shop").set_index("shop")
    assert (known["town"][drawn["shop"]].to_numpy() == drawn["town"]).all()
    pairs = set(zip(known["town"], known["size"], strict=True))
    asked = list(zip(free["size"], free["town"], strict=True))
    assert all((town, size) not in pairs or (town, size) == made for (size, town), made in zip(
        asked, zip(drawn["town"], drawn["size"], strict=True), strict=True))  # fmt: skip


def test_a_measurement_is_not_snapped_to_known_numbers():
    age = np.random.default_rng(7).integers(0, 90, N)
    frame = pd.DataFrame({"age": age, "price": np.where(age < 13, 5, 9)})
    plan = rules.plan([rules.parse("age -> price")], frame)
    assert not [step for step in plan.steps if type(step).__name__ == "Snapped"]


def test_a_plan_that_snaps_survives_json():
    frame = pd.concat([dated(["weekday", "month"]), coded().drop(columns="size")], axis=1)
    found = [rules.parse(text) for text in ("weekday = weekday(date)", "month = month(date)", "shop -> town")]
    plan = rules.plan(found, frame)
    again = stored.from_dict(json.loads(json.dumps(stored.to_dict(plan))))
    assert again == plan and sum(type(step).__name__ == "Snapped" for step in plan.steps) == 2


def test_nearest_is_that_of_brute_force():
    rng = np.random.default_rng(8)
    places, codes = np.sort(rng.choice(500, 60, replace=False)).astype(float), rng.integers(0, 3, (60, 2))
    numbers, wanted = rng.uniform(-50, 550, 200), rng.integers(0, 5, (200, 2))
    found = nearest(places, codes, numbers, wanted)
    for number, asked, made in zip(numbers, wanted, found, strict=True):
        fits = [places[(codes[:, :count] == asked[:count]).all(axis=1)] for count in (2, 1)]
        near = next((own for own in fits if len(own)), np.array([number]))
        assert abs(made - number) == np.abs(near - number).min() and made in near


def test_days_of_a_year_with_a_29th_of_february():
    index = pd.date_range("1999-01-01", "2004-12-31", freq="D")
    days = pd.DatetimeIndex([day.replace(year=2000) for day in index]).day_of_year
    frame = pd.DataFrame({"date": index, "day": days})
    assert rules.parse("day = leapday(date)").holds(frame).all()
    assert "day = leapday(date)" in [rule.text for rule in rules.find(frame.sample(900, random_state=0))]
