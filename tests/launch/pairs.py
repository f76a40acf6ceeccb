"""A table of two numbers and a label that depend on each other, for the tests beside this file."""

import numpy as np
import pandas as pd


def pairs(n: int, noise: float = 0.3, decimals: int = 2, label_noise: float = 0.0) -> pd.DataFrame:
    """Rows of a standard normal `a`, of `b` = a + noise, and of the sign of a + b + noise."""
    rng = np.random.default_rng(0)
    a = rng.normal(size=n).round(decimals)
    b = (a + noise * rng.normal(size=n)).round(decimals)
    side = a + b + (label_noise * rng.normal(size=n) if label_noise else 0)
    return pd.DataFrame({"a": a, "b": b, "label": np.where(side > 0, "yes", "no")})
