"""A small table of every kind, for the tests beside this file."""

import numpy as np
import pandas as pd

KINDS = {
    "id": "id",
    "age": "integer",
    "income": "continuous",
    "joined": "datetime",
    "city": "categorical",
    "member": "boolean",
    "churned": "categorical",
}


def customers(seed: int, n: int = 400, gaps: float = 0.1) -> pd.DataFrame:
    """Rows whose columns depend on one another, a share `gaps` of the values missing (never the target's)."""
    rng = np.random.default_rng(seed)
    age = rng.integers(18, 80, n)
    income = 20_000 + 400 * age + rng.normal(0, 5_000, n)
    city = np.where(age > 50, "Bath", rng.choice(["Ayr", "Bath", "Deal"], n))
    member = (rng.random(n) < 0.3 + 0.4 * (city == "Bath")).astype(object)
    churned = np.where(income / 1_000 + 8 * member.astype(int) + rng.normal(0, 4, n) > 42, "yes", "no")
    frame = pd.DataFrame(
        {
            "id": np.arange(n),
            "age": age.astype(float),
            "income": income,
            "joined": pd.Timestamp("2015-03-01") + pd.to_timedelta(30 * age + rng.integers(0, 500, n), unit="D"),
            "city": pd.Series(city, dtype=object),
            "member": pd.Series(member == 1, dtype=object),
            "churned": churned,
        }
    )
    for name in ("age", "income", "joined", "city", "member"):
        frame.loc[rng.random(n) < gaps, name] = None
    return frame
