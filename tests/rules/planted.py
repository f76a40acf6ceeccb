"""Tables with planted rules of every kind among columns of noise."""

from collections.abc import Callable

import numpy as np
import pandas as pd

Columns = dict[str, np.ndarray]


def times(rng: np.random.Generator, n: int, unit: str, span: int) -> np.ndarray:
    return np.datetime64("2019-03-01", "s") + rng.integers(0, span, n).astype(f"timedelta64[{unit}]")


def gone(rng: np.random.Generator, values: np.ndarray, share: float) -> np.ndarray:
    return np.where(rng.random(len(values)) < share, np.nan, values)


def total(rng, n):
    fare, tip = rng.gamma(3, 5, n).round(2), np.where(rng.random(n) < 0.4, 0, rng.gamma(2, 2, n).round(2))
    return {"fare": fare, "tip": tip, "total": (fare + tip).round(2)}, ["total = fare + tip"]


def three_parts(rng, n):
    a, b, c = rng.integers(0, 90, n), rng.integers(0, 50, n), rng.integers(0, 200, n)
    return {"a": a, "b": b, "c": c, "sum of parts": a + b + c}, ["`sum of parts` = a + b + c"]


def total_with_gaps(rng, n):
    net, extra = rng.gamma(3, 5, n).round(2), gone(rng, rng.gamma(2, 2, n).round(2), 0.4)
    return {"net": net, "extra": extra, "due": (net + np.nan_to_num(extra)).round(2)}, [
        "due = net + coalesce(extra, 0)"
    ]


def nearly_total(rng, n):
    x, y = rng.gamma(3, 9, n).round(1), rng.gamma(3, 4, n).round(1)
    wrong = np.where(np.arange(n) % 211 == 5, 3.5, 0)
    return {"x": x, "y": y, "z": (x + y + wrong).round(1)}, ["z = x + y"]


def charge(rng, n):
    used = rng.integers(1, 900, n)
    return {"used": used, "charge": np.floor(used * 17 + 0.5) / 100}, ["charge = 0.17 * used"]


def fahrenheit(rng, n):
    celsius = rng.normal(12, 9, n).round(1)
    return {"celsius": celsius, "heat": (1.8 * celsius + 32).round(2)}, ["heat = 1.8 * celsius + 32"]


def span(rng, n):
    begin, minutes = times(rng, n, "m", 400_000), 1 + rng.geometric(0.03, n)
    end = begin + minutes.astype("timedelta64[m]")
    return {"begin": begin, "end": end, "took": minutes}, ["took = minutes(end - begin)", "begin < end"]


def amount(rng, n):
    price, count = rng.gamma(3, 7, n).round(2) + 0.5, rng.integers(1, 12, n)
    return {"price": price, "count": count, "amount": (price * count).round(2)}, ["amount = price * count"]


def share(rng, n):
    yes, no = rng.integers(1, 400, n), rng.integers(1, 900, n)
    return {"yes": yes, "no": no, "percent": (100 * yes / (yes + no)).round(2)}, ["percent = 100 * yes / (yes + no)"]


def order(rng, n):
    low = rng.gamma(4, 5, n).round(1)
    mid = (low + rng.gamma(2, 3, n)).round(1)
    return {"low": low, "mid": mid, "top": (mid + rng.gamma(2, 3, n)).round(1)}, ["low <= mid <= top"]


def parts(rng, n):
    stamp = times(rng, n, "m", 900_000)
    index = pd.DatetimeIndex(stamp)
    columns = {"stamp": stamp, "hour": index.hour.to_numpy(), "month": index.month.to_numpy()}
    return columns, ["hour = hour(stamp)", "month = month(stamp)"]


def clock(rng, n):
    planned = rng.integers(5 * 60, 23 * 60, n)
    delay = rng.integers(-9, 120, n)
    real = (planned + delay) % 1440
    hhmm = planned // 60 * 100 + planned % 60, real // 60 * 100 + real % 60
    return {"planned": hhmm[0], "delay": delay, "real": hhmm[1]}, ["real = hhmm(clock(planned) + delay)"]


def determined(rng, n):
    city = rng.choice([f"city {i}" for i in range(14)], n)
    return {"city": city, "land": np.array([f"land {hash_(name) % 4}" for name in city])}, ["city -> land"]


def hash_(name: str) -> int:
    return sum(map(ord, name)) // 2


def both_ways(rng, n):
    code = rng.integers(0, 7, n)
    return {"grade": np.array(list("ABCDEFG"))[code], "number": code * 10 + 3}, ["grade <-> number"]


def two_keys(rng, n):
    line, stop = rng.choice(list("PQR"), n), rng.integers(0, 4, n)
    zone = np.array([[0, 1, 1, 0], [1, 1, 0, 2], [0, 2, 2, 0]])[np.searchsorted(list("PQR"), line), stop]
    return {"line": line, "stop": stop, "zone": np.array([f"zone {i}" for i in zone])}, ["line, stop -> zone"]


def condition(rng, n):
    pay = rng.choice(["cash", "card", "app"], n, p=[0.3, 0.5, 0.2])
    bonus = np.where(pay == "cash", 0.0, np.where(rng.random(n) < 0.3, 0, rng.gamma(2, 3, n)).round(2))
    return {"pay": pay, "bonus": bonus}, ["pay == 'cash' => bonus == 0"]


def bound(rng, n):
    ticket = rng.choice(["child", "adult", "any"], n)
    age = np.where(ticket == "child", rng.integers(0, 13, n), rng.integers(0, 90, n))
    return {"ticket": ticket, "years": np.where(ticket == "adult", rng.integers(18, 31, n), age)}, [
        "ticket == 'child' => years <= 12",
        "ticket == 'adult' => years >= 18",
        "ticket == 'adult' => years <= 30",
    ]


def missing_together(rng, n):
    lost = rng.random(n) < 0.15
    columns = {"arrived": rng.normal(5, 2, n).round(1), "air": rng.gamma(3, 30, n).round(0), "gate": rng.gamma(2, 2, n)}
    columns = {name: np.where(lost, np.nan, values) for name, values in columns.items()}
    return columns, ["missing(arrived) <=> missing(air) <=> missing(gate)"]


def same_rows(rng, n):
    line = rng.choice(["none", "one", "many"], n, p=[0.2, 0.5, 0.3])
    backup = np.where(line == "none", "no service", rng.choice(["on", "off"], n))
    return {"phone": line, "backup": backup}, ["phone == 'none' <=> backup == 'no service'"]


def seen(rng, n):
    source = rng.integers(0, 8, n)
    sink = (source * 3 + rng.integers(0, 3, n)) % 12
    return {"source": np.array(list("abcdefgh"))[source], "sink": np.array(list("ABCDEFGHIJKL"))[sink]}, [
        "seen(source, sink)"
    ]


def grid(rng, n):
    tariff = rng.choice(["flat", "free"], n)
    price = np.where(tariff == "flat", 2.5 + 0.5 * rng.integers(0, 60, n), rng.gamma(4, 5, n).round(2))
    return {"tariff": tariff, "cost": price}, ["tariff == 'flat' => cost % 0.5 = 0"]


def keys(rng, n):
    return {"book": np.arange(n) // 6, "page": np.arange(n) % 6}, ["unique(book, page)"]


def key_of_three(rng, n):
    place = rng.permutation(3 * n)[:n]  # a visit is one of 4 of a day of a ward
    frame = {"ward": place // 4 // 30, "on": place // 4 % 30, "visit": place % 4}
    return frame, ["unique(ward, on, visit)"]


def running_number(rng, n):
    return {"running": 1000 + rng.permutation(3 * n)[:n]}, ["unique(running)"]


def few_rows_each(rng, n):
    person = 40_000 + rng.integers(0, n // 2, n)
    return {"person": person, "sex": np.where(person * 7919 % 13 < 6, "f", "m")}, ["person -> sex"]


def steps(rng, n):
    return {"rent": 25 * rng.integers(8, 90, n)}, ["rent % 25 = 0"]


def nearly_steps(rng, n):
    raised = np.where(np.arange(n) % 307 == 4, 13, 0)
    return {"volume": 1000 * rng.integers(8, 900, n) + raised}, ["volume % 1000 = 0"]


def workdays(rng, n):
    day = np.datetime64("2015-01-05") + 7 * rng.integers(0, 300, n) + rng.integers(0, 5, n)
    return {"posted": day.astype("datetime64[s]")}, ["weekday(posted) <= 4"]


def opening_hours(rng, n):
    at = times(rng, n, "D", 700) + rng.integers(9 * 60, 18 * 60, n).astype("timedelta64[m]")
    return {"opened": at}, ["9 <= hour(opened) <= 17"]


def calendar(rng, n):
    day = np.datetime64("1991-01-01") + rng.integers(0, 9000, 3 * n)
    index = pd.DatetimeIndex(day)
    keep = np.argsort(-rng.random(3 * n) * (index.day.to_numpy() > 27), kind="stable")[
        :n
    ]  # ends of months are frequent
    keep = rng.permutation(keep)
    return {"month of birth": index.month[keep].to_numpy(), "day of birth": index.day[keep].to_numpy()}, [
        "`day of birth` <= monthdays(`month of birth`)"
    ]


def threshold(rng, n):
    year = rng.integers(1965, 1990, n)
    return {"year": year, "caught": np.where(year < 1977, np.nan, rng.gamma(2, 3, n).round(1))}, [
        "year < 1977 => missing(caught)"
    ]


def sum_below(rng, n):
    tries = rng.integers(1, 40, n)
    hits = rng.binomial(tries, 0.4)
    return {"tries": tries, "hits": hits, "faults": rng.binomial(tries - hits, 0.5)}, [
        "hits + faults <= tries",
        "hits <= tries",
        "faults <= tries",
    ]


def at_most_one(rng, n):
    which = rng.choice(4, n, p=[0.3, 0.2, 0.2, 0.3])
    return {f"is {name}": (which == i).astype(int) for i, name in enumerate("xyz")}, ["`is x` + `is y` + `is z` <= 1"]


def logarithm(rng, n):
    size = rng.gamma(2, 900, n).round(2) + 1
    return {"size": size, "log of size": np.log(size)}, ["`log of size` = log(size)"]


def logarithm_of_zeros(rng, n):
    paid = np.where(rng.random(n) < 0.2, 0, rng.gamma(2, 900, n).round(0))
    return {"paid": paid, "log of paid": np.log1p(paid).round(5)}, ["`log of paid` = log(paid + 1)"]


def ratio_of_counts(rng, n):
    shots = rng.integers(5, 300, n)
    goals = rng.binomial(shots, rng.beta(4, 6, n))
    return {"shots": shots, "goals": goals, "quota": np.floor(1000 * goals / shots + 0.5) / 1000}, [
        "quota = goals / shots",
        "goals <= shots",
    ]


def product_of_signs(rng, n):
    left, high = rng.integers(0, 2, n), rng.integers(0, 2, n)
    return {"left": left, "high": high, "left and high": left * high}, ["`left and high` = left * high"]


KINDS: dict[str, Callable] = {
    kind.__name__: kind
    for kind in (
        total, three_parts, total_with_gaps, nearly_total, charge, fahrenheit, span, amount, share, order, parts, clock,
        determined, both_ways, two_keys, condition, bound, missing_together, same_rows, seen, grid, keys, key_of_three,
        running_number, few_rows_each, steps, nearly_steps, workdays, opening_hours, calendar, threshold, sum_below,
        at_most_one, logarithm, logarithm_of_zeros, ratio_of_counts, product_of_signs,
    )
}  # fmt: skip


def noise(rng: np.random.Generator, n: int, count: int) -> Columns:
    """Columns of all sorts that have nothing to do with one another."""
    made: list[Callable[[], np.ndarray]] = [
        lambda: rng.normal(size=n),
        lambda: rng.normal(size=n).round(2),
        lambda: rng.integers(0, 10, n),
        lambda: rng.integers(0, 2, n),
        lambda: rng.choice(list("abc"), n, p=[0.8, 0.15, 0.05]),
        lambda: np.where(rng.random(n) < 0.6, 0, rng.integers(1, 50, n)),
        lambda: gone(rng, rng.gamma(2, 3, n).round(1), 0.2),
        lambda: times(rng, n, "D", 900),
        lambda: rng.choice([f"v{i}" for i in range(40)], n),
        lambda: rng.gamma(2, 100, n).round(0),
    ]
    return {f"noise {i}": made[int(rng.integers(len(made)))]() for i in range(count)}


def table(kinds: list[str], seed: int, n: int, noisy: int) -> tuple[pd.DataFrame, dict[str, list[str]]]:
    """A table with these kinds of rules, and kind -> texts of its rules; columns in an order drawn by the seed."""
    rng = np.random.default_rng(seed)
    columns: Columns = {}
    texts = {}
    for kind in kinds:
        made, texts[kind] = KINDS[kind](rng, n)
        columns |= made
    frame = pd.DataFrame(columns | noise(rng, n, noisy))
    return frame, texts
