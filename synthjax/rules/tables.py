"""Values of rows as Python objects, and tables that map keys to values."""

import numpy as np

from synthjax.rules.columns import Columns, joint

RARE = "(rare)"
"""Replacement for text that too few rows share."""

Cell = float | str | None
"""A number, a date in seconds, or text; None: missing."""
Table = tuple[tuple[tuple[Cell, ...], Cell], ...]
"""Pairs of keys and a value."""


def cell(value: object) -> Cell:
    """Converts a level of `Columns.codes` to a `Cell`."""
    return value if isinstance(value, str) else float(value)  # type: ignore[arg-type]


def cells(columns: Columns, names: tuple[str, ...], rows: np.ndarray) -> list[tuple[Cell, ...]]:
    """The values of some rows, a tuple of the named columns per row; `rows` (m,) are row numbers."""
    parts = []
    for name in names:
        codes, levels = columns.codes(name)
        own = [cell(level) for level in levels]
        parts.append([own[code] if code >= 0 else None for code in codes[rows].tolist()])
    return list(zip(*parts, strict=True))


def values_of(columns: Columns, name: str) -> np.ndarray:
    """The values of a column: (n,) object, text or float; None for missing values."""
    codes, levels = columns.codes(name)
    own = np.array([*(level if isinstance(level, str) else float(level) for level in levels), None], object)
    return own[codes]


def most_frequent(columns: Columns, keys: tuple[str, ...], target: str, min_count: int) -> Table:
    """Makes a table of the most frequent target of each combination of keys, if `min_count` rows share both."""
    codes, levels = columns.codes(target)
    full = (codes >= 0) & np.all([columns.codes(key)[0] >= 0 for key in keys], axis=0)
    rows = np.flatnonzero(full)
    if not len(rows):
        return ()
    group, _ = joint([columns.codes(key)[0][rows] for key in keys])
    pair, pair_first = joint([group, codes[rows]])
    counts = np.bincount(pair)
    best = np.lexsort((-counts, group[pair_first]))  # the most frequent value of each group comes first
    best = best[np.unique(group[pair_first][best], return_index=True)[1]]
    best = best[counts[best] >= min_count]
    own = pair_first[best]
    return tuple(
        (key, cell(levels[code]))
        for key, code in zip(cells(columns, keys, rows[own]), codes[rows[own]].tolist(), strict=True)
    )


def looked_up(columns: Columns, keys: tuple[str, ...], target: str, table: Table) -> tuple[np.ndarray, np.ndarray]:
    """Compares targets with a table.

    The expected target of a row is that of the table. If the table does not have the row's keys, it is that of the
    first row with these keys.

    Returns:
        (n,) bool: whether each row has a target and an expected one; (n,) bool: whether they are equal.
    """
    codes, levels = columns.codes(target)
    place: dict[object, int] = {cell(level): code for code, level in enumerate(levels)}
    group, first = joint([columns.codes(key)[0] for key in keys])
    known = dict(table)
    absent = object()
    found = [known.get(key, absent) for key in cells(columns, keys, first)]
    expected = np.array([-2 if value is absent else place.get(value, -3) for value in found], np.int64)
    wanted = expected[group] if len(found) else np.zeros(0, np.int64)
    rows, head = repeated(columns, keys, (wanted == -2) & (codes >= 0))
    wanted[rows] = codes[head]
    return (wanted != -2) & (codes >= 0), wanted == codes


def repeated(columns: Columns, keys: tuple[str, ...], rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Finds repeated keys.

    Args:
        columns: with the keys.
        keys: names of columns.
        rows: (n,) bool, the rows to search. Rows with a key RARE are ignored.

    Returns:
        (m,) i64 rows whose keys an earlier row has; (m,) i64 the first row with the same keys.
    """
    parts = []
    for key in keys:
        codes, levels = columns.codes(key)
        parts.append(codes)
        rows = rows & np.array([*(level != RARE for level in levels), False], bool)[codes]
    own = np.flatnonzero(rows)
    if not len(own):
        return own, own
    group, first = joint([part[own] for part in parts])
    head = own[first[group]]
    later = head != own
    return own[later], head[later]
