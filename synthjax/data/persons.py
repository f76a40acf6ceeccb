"""Persons, whose rows count once: how many of them have a value, and rows of which few are of one person.

A value that one person has in 50 rows is as telling as that of a single row. Where rows belong to persons
(`synthjax.data.groups`, or the topmost parent of linked tables), `min_count` counts persons:

    Holders           the persons that have each value, exactly up to k of them: categories, numbers, dates, identifiers
    few               at most m rows of each person. What more than m (k - 1) of these rows have, k persons have: rules
                      and endings, which count rows
    statistics.apart  rows of which k consecutive ones are of k persons: means of k rows, such as knots and edges
"""

from collections.abc import Iterable

import numpy as np

EACH = 8
"""Most rows of a person in `few`; fewer if ENOUGH rows are left."""
ENOUGH = 2_000


class Holders:
    """Up to `k` persons for each value.

    >>> held = Holders(2)
    >>> held.add(np.array([1.0, 1, 1, 5, 5]), np.array([7, 8, 9, 7, 7]))
    >>> held.number(np.array([1.0, 5, 6])).tolist(), held.together([1.0, 5.0])
    ([2, 1, 0], 2)
    """

    def __init__(self, k: int):
        self.k = k
        self.values, self.persons = np.empty(0), np.empty(0, np.int64)

    def add(self, values: np.ndarray, persons: np.ndarray) -> None:
        """Adds rows: `values` (n,) f64 without NaN, `persons` (n,) i64."""
        values = np.concatenate([self.values, values + 0.0])  # -0 becomes 0
        persons = np.concatenate([self.persons, persons])
        order = np.lexsort((persons, values))
        values, persons = values[order], persons[order]
        new = np.append(True, (values[1:] != values[:-1]) | (persons[1:] != persons[:-1]))[: len(values)]
        values, persons = values[new], persons[new]
        kept = np.arange(len(values)) - np.searchsorted(values, values) < self.k
        self.values, self.persons = values[kept], persons[kept]

    def number(self, values: np.ndarray) -> np.ndarray:
        """How many persons have each of the values, at most k: (n,) i64."""
        return np.searchsorted(self.values, values, "right") - np.searchsorted(self.values, values)

    def together(self, values: Iterable[float]) -> int:
        """How many persons have any of the values: exact below k; if it is k or more, at least k."""
        places = [slice(*np.searchsorted(self.values, [value, np.nextafter(value, np.inf)])) for value in values]
        return len(np.unique(np.concatenate([np.empty(0, np.int64), *(self.persons[place] for place in places)])))

    def keep(self, values: np.ndarray) -> None:
        """Forgets all other values."""
        known = np.isin(self.values, values)
        self.values, self.persons = self.values[known], self.persons[known]


def few(persons: np.ndarray | None, min_count: int) -> tuple[np.ndarray | slice, int]:
    """Rows of which few are of one person.

    Args:
        persons: (n,) i64 of the rows; None: each is its own.
        min_count: number of persons that must share what is stored.

    Returns:
        The rows, ascending, and how many of them only `min_count` persons can have.

    >>> rows, least = few(np.repeat([3, 4], [50, 2]), 5)
    >>> len(rows), least
    (10, 33)
    """
    if persons is None or min_count == 1:
        return slice(None), min_count
    order = np.random.default_rng(0).permutation(len(persons))
    order = order[np.argsort(persons[order], kind="stable")]
    ordered = persons[order]
    rank = np.arange(len(ordered)) - np.searchsorted(ordered, ordered)
    sizes = np.cumsum(np.bincount(rank, minlength=1))
    most = min(int((sizes < ENOUGH).sum()) + 1, EACH, len(sizes))
    return np.sort(order[rank < most]), most * (min_count - 1) + 1
