"""Columns that are constant within an identifier, such as the parents of a family or the birth date of a patient.

Models draw rows one by one, and new identifiers are given to several rows (`Field.sizes`). So these rows get the values
of one of them in the columns that are constant within the real identifiers (`Field.within`). Rows that are alike in
these columns get the same identifier, so that little changes.
"""

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from synthjax.data.arrays import shown
from synthjax.data.schema import DISCRETE, NUMERIC, Field, Schema, entry
from synthjax.rules.chance import confirmed
from synthjax.rules.columns import Columns
from synthjax.rules.kinds import Determined, Rule
from synthjax.rules.snapping import hidden

_DETERMINED = 2  # minimum number of columns that a number determines, for it to be an identifier
_DISTINCT = 20  # minimum number of distinct identifiers

if TYPE_CHECKING:
    import pandas as pd


def key(schema: Schema) -> Field | None:
    """The identifiers with most rows each; None if none has several rows."""
    several = [field for field in schema.fields if field.kind == "id" and field.sizes]
    return max(several, key=lambda field: np.mean(field.sizes)) if several else None


def find(schema: Schema, train: "pd.DataFrame", unseen: "pd.DataFrame") -> list[Determined]:
    """Finds the columns that are constant within an identifier.

    Args:
        schema: of the table.
        train: typed training rows, or a sample of them.
        unseen: typed holdout rows.

    Returns:
        Rules `identifier -> column`, without tables: there is none if no identifier has several rows.
    """
    if (halves := searched(schema, train, unseen)) is None:
        return []
    name, names, first, second = halves
    tried = math.log(max(len(names), 1))
    rules = (Determined((name,), other) for other in names)
    found = (confirmed(rule, first, second, tried, len(names), schema.min_count) for rule in rules)
    return [replace(rule, table=()) for rule in found if isinstance(rule, Determined) and rule.exact]


def searched(
    schema: Schema, train: "pd.DataFrame", unseen: "pd.DataFrame"
) -> tuple[str, list[str], Columns, Columns] | None:
    """Where rules about the rows of one identifier are searched for; arguments as for `find`.

    Returns:
        The identifier, the columns that may depend on it, and the rows of half of the identifiers each, since few of
        those in the unseen rows may have several rows there; None without an identifier or unseen rows.
    """
    import pandas as pd

    if (field := key(schema)) is None or not len(unseen):
        return None
    names = [other.name for other in schema.fields if other.kind in (*NUMERIC, *DISCRETE)]
    rows = pd.concat([train, unseen], ignore_index=True)
    codes, _ = pd.factorize(rows[field.name])
    first = np.random.default_rng(0).permutation(len(rows))[codes] % 2 == 0
    return field.name, names, Columns(rows[first]), Columns(rows[~first])


def identifying(
    rules: Iterable[Rule], train: "pd.DataFrame", schema: Schema, said: Collection[str]
) -> dict[str, list[str]]:
    """Finds columns of integers that are identifiers, since they determine columns as only names of subjects do.

    A number that determines two columns of few values, which change back and forth along the numbers, and that few rows
    share, tells nothing but whose row it is. Drawn as a number, it would be that of a real subject or of none.

    Args:
        rules: found in the training rows.
        train: typed training rows, or a sample of them.
        schema: of the table.
        said: columns whose kind the user gave.

    Returns:
        Column -> the columns that it determines.
    """
    columns, found = Columns(train), {}
    for field in schema.fields:
        if field.kind != "integer" or field.name in said or field.name == schema.target:
            continue
        own = [rule for rule in rules if isinstance(rule, Determined) and rule.keys == (field.name,) and rule.exact]
        parts = [rule.target for rule in own if not rule.both and hidden(columns, field.name, rule.target)]
        numbers = columns.codes(field.name)[0]
        counts = np.bincount(numbers[numbers >= 0])
        shared = counts[counts >= schema.min_count].sum()
        if len(parts) >= _DETERMINED and len(counts) >= _DISTINCT and 2 * shared < counts.sum():
            found[field.name] = parts
    return found


def said(named: Mapping[str, list[str]]) -> list[str]:
    """A line for the user about each column that `identifying` has found."""
    return [
        f"{shown(name)}: identifies subjects, since it determines {', '.join(map(shown, own[:4]))}; made anew as an "
        f"identifier. If its numbers mean something, put {entry(name, kind='integer')} into a schema file"
        for name, own in named.items()
    ]


def spread(rows: "pd.DataFrame", field: Field, names: tuple[str, ...]) -> "pd.DataFrame":
    """Gives alike rows the same identifier, and the values of the first of them.

    Args:
        rows: decoded rows, with new identifiers in their order.
        field: of the identifiers.
        names: the columns that are constant within an identifier.

    Returns:
        The rows in their order.
    """
    if not names or not len(rows):
        return rows
    columns = Columns(rows[list(names)])
    order = alike(np.array([ranks(columns, name) for name in names]).T, round(float(np.mean(field.sizes))))
    keys = rows[field.name].array
    known = Columns(rows[[field.name]]).codes(field.name)[0]
    starts = np.r_[True, (known[1:] != known[:-1]) | (known[1:] < 0)]
    head = np.empty(len(rows), np.int64)
    head[order] = order[np.flatnonzero(starts)[np.cumsum(starts) - 1]]
    back = np.empty(len(rows), np.int64)
    back[order] = np.arange(len(rows))
    changed = {name: rows[name].array.take(head) for name in names}
    return rows.assign(**{field.name: keys.take(back)}, **changed)


def ranks(columns: Columns, name: str) -> np.ndarray:
    """Ranks of the values of a column in [0, 1], equal ones with the mean of theirs: (n,) f64."""
    codes, levels = columns.codes(name)
    order = np.argsort(np.argsort(levels))
    counts = np.bincount(np.append(order, len(levels))[codes], minlength=len(levels) + 1)
    ranks = (np.cumsum(counts) - counts / 2) / max(len(codes), 1)
    return ranks[np.append(order, len(levels)).astype(np.int64)[codes]]


def alike(points: np.ndarray, size: int) -> np.ndarray:
    """An order in which near points follow each other: they are halved along their widest axis, again and again.

    Args:
        points: (n, d) f64.
        size: number of points from which they are not halved any more.

    Returns:
        (n,) i64 row numbers.

    >>> alike(np.array([[0.0, 0], [9, 9], [0, 1], [9, 8]]), 2).tolist()
    [0, 2, 3, 1]
    """
    done, stack = [], [np.arange(len(points))]
    while stack:
        own = stack.pop()
        part = points[own]
        width = np.ptp(part, axis=0)
        axis = int(np.argmax(width))
        own = own[np.argsort(part[:, axis], kind="stable")]
        if len(own) <= max(size, 1) or not width[axis]:
            done.append(own)
        else:
            middle = len(own) // 2
            stack += [own[middle:], own[:middle]]
    return np.concatenate(done)
