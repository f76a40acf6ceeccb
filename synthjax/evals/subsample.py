"""Subsamples: row numbers drawn without replacement, in ascending order."""

import numpy as np


def sample(rng: np.random.Generator, size: int, n: int) -> np.ndarray:
    """At most `n` of the rows 0 ... size - 1: (n,) i64."""
    return np.arange(size) if n >= size else np.sort(rng.choice(size, n, replace=False))


def stratified(rng: np.random.Generator, y: np.ndarray, n: int) -> np.ndarray:
    """At most `n` rows in which the classes of `y` (N,) keep their shares, to within one example."""
    if n >= len(y):
        return np.arange(len(y))
    counts = np.bincount(y)
    exact = counts * (n / len(y))
    take = np.floor(exact).astype(int)
    take[np.argsort(take - exact, kind="stable")[: n - take.sum()]] += 1
    rows = [rng.permutation(np.flatnonzero(y == label))[:count] for label, count in enumerate(take)]
    return np.sort(np.concatenate(rows))
