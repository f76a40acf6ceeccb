"""Numbers and dates come back with the endings of the real ones, as often, whatever a model draws."""

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings

from synthjax import data
from synthjax.data import endings

N = 3000


def prices(rng):
    """80 % whole."""
    price = np.exp(rng.normal(6, 1, N))
    return np.where(rng.random(N) < 0.8, np.round(price), np.round(price, 2))


def shop(rng):
    """95 % end in .00, .50 or .99."""
    whole = np.floor(np.exp(rng.normal(5, 1.2, N)))
    return whole + np.where(rng.random(N) < 0.05, rng.integers(0, 100, N) / 100, rng.choice([0, 0.5, 0.99], N))


def salaries(rng):
    """Multiples of 10,000 and 1,000, losses among them, and a few finer ones."""
    size, sign = np.exp(rng.normal(12, 1, N)), rng.choice([-1, 1], N, p=[0.2, 0.8])
    step = rng.choice([10_000, 1000, 10], N, p=[0.6, 0.3, 0.1])
    return (sign * np.round(size / step) * step).astype(int)


def mixed_sizes(rng):
    """Cents in what is below 500, thousands above a million."""
    small, large = np.round(np.exp(rng.uniform(0, 6.2, N)), 2), rng.integers(1000, 90_000, N) * 1000.0
    return np.where(rng.random(N) < 0.5, small, large)


def working_days(rng):
    days = np.datetime64("1962-01-01") + rng.integers(0, 9000, N).astype("m8[D]")
    return np.datetime_as_string(np.busday_offset(days, 0, roll="forward"))


def appointments(rng):
    """On quarters of an hour between 8 and 18."""
    minutes = rng.integers(0, 900, N) * 1440 + rng.integers(32, 72, N) * 15
    times = np.datetime64("2020-01-06T00:00:00") + minutes.astype("m8[m]")
    return np.char.replace(np.datetime_as_string(times, unit="s"), "T", " ")


def cents(values):
    return np.rint(np.abs(values) * 100).astype(np.int64)


SHARES = {
    prices: [lambda v: cents(v) % 100 == 0],
    shop: [lambda v: cents(v) % 100 == 0, lambda v: cents(v) % 100 == 50, lambda v: cents(v) % 100 == 99],
    salaries: [lambda v: v % 10_000 == 0, lambda v: v % 1000 == 0, lambda v: v % 10 == 0],
    mixed_sizes: [lambda v: cents(v) % 100_000 == 0, lambda v: cents(v[v < 500]) % 100 == 0],
    working_days: [lambda v: v.dt.dayofweek < 5, lambda v: v.dt.dayofweek == 0],
    appointments: [lambda v: v.dt.minute % 15 == 0, lambda v: v.dt.second == 0, lambda v: v.dt.hour.between(8, 17)],
}


def loaded(tmp_path, make, **options):
    cells = make(np.random.default_rng(0))
    pd.DataFrame({"x": cells, "y": np.arange(N) % 3}).to_csv(tmp_path / "a.csv", index=False)
    return data.load(str(tmp_path / "a.csv"), **options)


@pytest.mark.filterwarnings("ignore:Series.dt.dayofweek")
@pytest.mark.parametrize("encoding", ["quantile", "mode", "code"])
@pytest.mark.parametrize("make", SHARES)
def test_endings_are_as_frequent_as_in_the_real_rows(tmp_path, make, encoding):
    loaded_data = loaded(tmp_path, make, encoding=encoding)
    real = loaded_data.frame("train")["x"]
    x = loaded_data.train.x[np.random.default_rng(1).integers(len(loaded_data.train.x), size=8000)]
    place = loaded_data.encoder.columns[0].start
    spread = 0.05 if encoding != "mode" else 0.01
    x[:, place] += spread * np.random.default_rng(2).normal(size=len(x))  # as models do: near a row, never at one
    made = loaded_data.encoder.decode(x)["x"]
    for share in SHARES[make]:
        most = 0.03 if encoding != "mode" or make in (working_days, appointments, shop) else 0.4
        assert abs(share(made).mean() - share(real).mean()) < most


@pytest.mark.parametrize("make", SHARES)
def test_training_rows_come_back(tmp_path, make):
    loaded_data = loaded(tmp_path, make)
    field, real = loaded_data.encoder.schema["x"], loaded_data.frame("train")["x"]
    back = loaded_data.encoder.decode(loaded_data.train.x)["x"]
    if field.kind == "datetime":
        assert (back.to_numpy() == real.to_numpy()).mean() > 0.98
        return
    inside = ((real >= field.low) & (real <= field.high)).to_numpy()
    near = np.isclose(back.to_numpy()[inside], real.to_numpy()[inside], atol=1e-7 * (field.high - field.low), rtol=1e-9)
    assert near.mean() > 0.98  # an ending of too few rows becomes its neighbour


def test_an_ending_of_few_rows_is_neither_stored_nor_drawn(tmp_path):
    """Four of 3,000 prices end in .37: 2 or 3 of them in training rows."""

    def make(rng):
        price = np.round(np.exp(rng.normal(6, 1, N)))
        return np.where(np.arange(N) % 750 == 7, price + 0.37, price + 0.5 * (rng.random(N) < 0.3))

    loaded_data = loaded(tmp_path, make)
    table = loaded_data.encoder.schema["x"].endings
    assert {row[2:4] for row in table} == {(0, 100), (50, 100)}
    x = np.random.default_rng(0).normal(size=(5000, loaded_data.encoder.width)).astype(np.float32)
    assert set(cents(loaded_data.encoder.decode(x)["x"]) % 100) <= {0, 50}


def test_columns_without_frequent_endings_have_none(tmp_path):
    for make in (lambda rng: np.round(np.exp(rng.normal(5, 1, N)), 2), lambda rng: rng.integers(0, 10**6, N)):
        assert loaded(tmp_path, make).encoder.schema["x"].endings == ()


def test_the_linear_encoding_has_none(tmp_path):
    assert loaded(tmp_path, shop, encoding="minmax").encoder.schema["x"].endings == ()


tables = st.sampled_from(
    [
        ((0, 1, 0, 100, 0.75), (0, 1, 50, 100, 0.25)),
        ((0, 1, 0, 10, 0.5), (0, 1, 7, 10, 0.5), (3, 1, 0, 10, 1.0)),
        ((0, 1, 0, 60, 1.0), (0, 60, 0, 60, 0.5), (0, 60, 30, 60, 0.5), (0, 3600, 8, 24, 0.9), (0, 3600, 9, 24, 0.1)),
        ((0, 3600, 3, 24, 1.0),),
    ]
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(tables, st.lists(st.integers(0, 10**7), min_size=2, max_size=30))
def test_the_order_of_numbers_stays_and_known_endings_come_back(table, values):
    values = np.unique(values).astype(float)
    places = endings.spread(values, table)
    assert (np.diff(places) > 0).all()
    whole = endings.gather(places, table)
    assert (endings.gather(endings.spread(whole, table), table) == whole).all()
