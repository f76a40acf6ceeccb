"""A small table with a column of every kind, for the tests beside this file."""

from pathlib import Path

import numpy as np
import pandas as pd


def shop(n: int = 300, seed: int = 0) -> pd.DataFrame:
    """Rows of which a tenth lack their age, visit, town or membership; `churned` depends on the age."""
    rng = np.random.default_rng(seed)
    age = rng.integers(18, 80, n)
    frame = pd.DataFrame(
        {
            "customer_id": [f"C-{i:05d}" for i in rng.permutation(n)],
            "age": pd.array(age, "Int64"),
            "spent": np.round(rng.gamma(2.0, 40.0, n), 2),
            "visited": (pd.Timestamp("2021-01-04") + pd.to_timedelta(rng.integers(0, 900, n), "D")).strftime(
                "%d/%m/%Y"
            ),
            "town": rng.choice(["Ayr", "Bath", "=Deal"], n, p=[0.5, 0.4, 0.1]),
            "member": rng.choice(["true", "false"], n),
            "notes": [" ".join(rng.choice(["asked", "about", "a", "late", "parcel"], 9)) + f" {i}" for i in range(n)],
            "country": "UK",
            "churned": np.where(age + rng.normal(0, 8, n) > 45, "yes", "no"),
        }
    )
    for name in ("age", "visited", "town", "member"):
        frame[name] = frame[name].astype(object).where(rng.random(n) > 0.1, None)
    return frame


def write_shop(path: Path, n: int = 300) -> Path:
    """The table as a CSV file."""
    shop(n).to_csv(path, index=False)
    return path
