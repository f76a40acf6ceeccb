"""Trips whose columns keep three rules, and trips that break them in known shares."""

import numpy as np
import pandas as pd


def trips(seed: int, n: int) -> pd.DataFrame:
    """Trips that end after they begin; the total is a sum; who pays in cash gives no tip."""
    rng = np.random.default_rng(seed)
    begin = pd.Timestamp("2024-03-01") + pd.to_timedelta(rng.integers(0, 400_000, n), unit="min")
    pay = rng.choice(["card", "cash"], n, p=[0.6, 0.4])
    none = (pay == "cash") | (rng.random(n) < 0.3)
    fare, tip = rng.integers(500, 4000, n) / 100, np.where(none, 0, rng.integers(100, 900, n) / 100)
    return pd.DataFrame(
        {
            "trip": np.arange(n).astype(str),
            "begin": begin,
            "end": begin + pd.to_timedelta(rng.geometric(0.05, n), unit="min"),
            "fare": fare,
            "tip": tip,
            "total": (fare + tip).round(2),
            "pay": pay,
            "seats": rng.integers(1, 5, n),
        }
    )


def planted() -> pd.DataFrame:
    """1,000 trips: 470 end before they begin, 100 others have a wrong total; 40 of the former have a tip in cash."""
    frame = trips(7, 1000)
    back = frame["begin"] - pd.Timedelta(minutes=3)
    frame["end"] = frame["end"].where(frame.index >= 470, back)
    frame.loc[500:599, "total"] += 0.01
    cash = frame.index[:470][(frame["pay"] == "cash")[:470]][:40]
    frame.loc[cash, "tip"] = 1.0
    frame.loc[cash, "total"] = (frame["fare"] + 1.0).round(2)[cash]
    return frame
