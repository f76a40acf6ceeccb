"""Bounds of a column's numbers, and numbers that enough rows or persons share, in bounded memory."""

import numpy as np

from synthjax.data.persons import Holders

TRACKED = 1 << 15
"""Maximum number of distinct numbers in `Frequent`."""
Held = tuple[np.ndarray, np.ndarray]
"""Values (n,) f64 and the persons who have them, (n,) i64."""


class Extremes:
    """The smallest and largest numbers so far, from which bounds are computed that at least `k` rows support.

    Where persons are known, only the smallest and the largest number of each of them counts.
    """

    def __init__(self, k: int):
        self.k = k
        self.low = self.high = np.empty(0)
        self.persons: dict[str, np.ndarray] = {"low": np.empty(0, np.int64), "high": np.empty(0, np.int64)}

    def add(self, values: np.ndarray, counts: np.ndarray, held: Held | None) -> None:
        """Adds distinct `values` (m,) f64, each with `counts` rows; or with `held`."""
        most = 3 * self.k  # a window of k after the first k - 1, and k repeats of its last number
        if held is not None:
            for name, sign in (("low", 1), ("high", -1)):
                numbers = sign * np.concatenate([getattr(self, name), held[0]])
                persons = np.concatenate([self.persons[name], held[1]])
                order = np.lexsort((numbers, persons))
                order = order[np.append(True, np.diff(persons[order]) != 0)[: len(order)]]
                order = order[np.argsort(numbers[order], kind="stable")][:most][::sign]
                setattr(self, name, sign * numbers[order])
                self.persons[name] = persons[order]
            return
        order = np.argsort(values)
        for end, name in ((order[:most], "low"), (order[::-1][:most], "high")):
            several = np.repeat(values[end], np.minimum(counts[end], most))
            kept = np.sort(np.concatenate([getattr(self, name), several]))
            setattr(self, name, kept[:most] if name == "low" else kept[-most:])

    def bounds(self) -> tuple[float, float, int] | None:
        """Lower and upper bound, and the number of rows outside them; None if there are too few rows.

        A bound is computed from rows k to 2 k - 1, counted from its end: the first number that at least k rows share,
        or else the mean of these rows. So it is never the number of a few rows.
        """
        low, high = _bound(self.low, self.k), _bound(-self.high[::-1], self.k)
        if low is None or high is None:
            return None
        (least, low_shared), (most, high_shared) = low, (-high[0], high[1])
        if least > most:
            if not (low_shared or high_shared):
                return None
            least = most = least if low_shared else most
        return least, most, int((self.low < least).sum() + (self.high > most).sum())


def _bound(ordered: np.ndarray, k: int) -> tuple[float, bool] | None:
    """The lower bound of ascending numbers, and whether at least `k` rows share it; see `Extremes.bounds`."""
    values, counts = np.unique(ordered, return_counts=True)
    window = ordered[k - 1 : 2 * k - 1]
    for value in values[counts >= k]:
        if value in window:
            return float(value), True
    if len(window) < k:
        return None
    mean = float(window.mean())
    if mean in values:  # by coincidence the number of a row
        following = values[values > mean]
        mean = (mean + float(following[0])) / 2 if len(following) else np.nextafter(mean, np.inf)
    return mean, False


class Frequent:
    """Frequent numbers, their counts and who has them, in bounded memory.

    If there are more than `limit` distinct numbers, the least frequent are dropped; they are counted from 0 if they
    occur again. So a count is a lower bound of the number of rows.
    """

    def __init__(self, k: int, limit: int = TRACKED):
        """`k`: persons who must have a number for it to be shared, where they are known."""
        self.limit = limit
        self.values, self.counts = np.empty(0), np.empty(0, np.int64)
        self.holders, self.known = Holders(k), False

    def add(self, values: np.ndarray, counts: np.ndarray, held: Held | None) -> None:
        """Adds distinct `values` (m,) f64, each with `counts` rows; `held`: who has them."""
        if held is not None:
            self.known = True
            self.holders.add(*held)
        joined = np.concatenate([self.values, values + 0.0])  # -0 becomes 0
        self.values, owner = np.unique(joined, return_inverse=True)
        rows = np.concatenate([self.counts, counts]).astype(np.float64)
        self.counts = np.bincount(owner, rows, len(self.values)).astype(np.int64)
        if len(self.values) > self.limit:
            kept = np.sort(np.argpartition(-self.counts, self.limit)[: self.limit])
            self.values, self.counts = self.values[kept], self.counts[kept]
            self.holders.keep(self.values)

    def shared(self, least: int, most: int, low: float, high: float) -> tuple[tuple[float, ...], tuple[int, ...]]:
        """The at most `most` most frequent numbers in [low, high] that at least `least` rows, and `k` persons, have,
        ascending, and their counts."""
        enough = (self.counts >= least) & (self.values >= low) & (self.values <= high)
        if self.known:
            enough &= self.holders.number(self.values) >= self.holders.k
        chosen = np.flatnonzero(enough)
        chosen = np.sort(chosen[np.argsort(-self.counts[chosen], kind="stable")][:most])
        return tuple(self.values[chosen].tolist()), tuple(self.counts[chosen].tolist())
