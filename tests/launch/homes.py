"""A small table of homes on sale, for the tests of evaluations."""

import numpy as np
import pandas as pd

NASTY = "<script>alert(1)</script>"


def homes(seed: int, n: int = 300) -> pd.DataFrame:
    """Homes on sale: numbers, a date, categories and gaps, all of which depend on the size; `sold` can be predicted."""
    rng = np.random.default_rng(seed)
    size = rng.uniform(30, 200, n).round(1)
    rooms = np.rint(size / 30 + rng.normal(0, 0.5, n)).clip(1)
    day = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 700, n) + 3 * size.astype(int), unit="D")
    town = np.where(size > 120, NASTY, rng.choice(["Ayr", "Bath", NASTY], n))
    garden = np.where(size + rng.normal(0, 30, n) > 110, "yes", "no")
    sold = np.where(size + 20 * (garden == "yes") + rng.normal(0, 20, n) > 120, "slowly", "at once")
    frame = pd.DataFrame({"home": np.arange(n) + 1, "size": size, "rooms": rooms, "listed": day.strftime("%d/%m/%Y")})
    frame = frame.assign(town=town, garden=garden, floor=rng.choice(["0", "1", "2"], n), sold=sold)
    frame.loc[rng.random(n) < 0.1, "rooms"] = None
    return frame


def alone(frame: pd.DataFrame) -> pd.DataFrame:
    """Its columns, each shuffled by itself."""
    rng = np.random.default_rng(5)
    return pd.DataFrame({name: frame[name].to_numpy()[rng.permutation(len(frame))] for name in frame})
