"""Values of rows as plain Python, and tables from keys to values."""

import numpy as np

from synthjax.rules.columns import Columns, joint

RARE = "(rare)"
"""Text in place of a value that may not be given away."""

Cell = float | str | None
Table = tuple[tuple[tuple[Cell, ...], Cell], ...]
"""Keys and the value that goes with them."""


def cell(value: object) -> Cell:
    """A value of `Columns.codes` as plain Python; of a code -1 the caller makes None."""
    return value if isinstance(value, str) else float(value)  # type: ignore[arg-type]


def cells(columns: Columns, names: tuple[str, ...], rows: np.ndarray) -> list[tuple[Cell, ...]]:
    """The values of some rows."""
    parts = []
    for name in names:
        codes, levels = columns.codes(name)
        own = [cell(level) for level in levels]
        parts.append([own[code] if code >= 0 else None for code in codes[rows].tolist()])
    return list(zip(*parts, strict=True))


def most_frequent(columns: Columns, keys: tuple[str, ...], target: str, min_count: int) -> Table:
    """The most frequent value of each combination of keys, where `min_count` rows hold both."""
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
    """(n,) bool: rows with a target that something is expected of, and whether they have it.

    Expected is the table's value; of keys that it does not have, the value of the first of the rows at hand with them.
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
    """Of these rows (n,) bool, those whose keys an earlier one has, and the first that has them; both (m,) i64."""
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
