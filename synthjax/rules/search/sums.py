"""Sums with an upper bound: `hits + strikeouts <= at_bats`, and columns of 0 and 1 of which at most one is 1.

Each part of the sum is below the bound. To test that the sum is so not only by chance, parts are exchanged between rows
with similar bounds. Sums are candidates if they would then exceed the bound in many rows.
"""

from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np

from synthjax.rules.expressions import Binary, Expression, Name, Number
from synthjax.rules.kinds import Order, Rule, When
from synthjax.rules.search.sample import Sample

_PARTS = 20  # maximum number of parts with the same bound
_TERMS = 5  # maximum number of terms of a sum
_BLOCK = 16  # number of rows with similar bounds
_ROUNDS = 4  # number of exchanges
_SURE = 7.0  # minimum number of rows that would exceed the bound, in addition to the log of the number of pairs
_GLANCE = 300  # number of rows that are checked first


def bounded(sample: Sample, pairs: Iterable[Order], known: Iterable[Rule]) -> list[Order]:
    """Sums of columns with the same upper bound, and sums of columns of 0 and 1 with the upper bound 1.

    Args:
        sample: the rows.
        pairs: orders of two columns.
        known: rules; columns that one of them relates are not added.
    """
    tied = [set(rule.names) for rule in known if len(rule.names) > 2]
    below: dict[str, list[str]] = {}
    for rule in pairs:
        low, high = rule.names
        alike = sample.kinds[low] == "number" and sample.columns.unit(low) == sample.columns.unit(high)
        if alike and np.nanmin(sample.columns.numbers(low)) >= 0:
            below.setdefault(high, []).append(low)
    found = []
    for high, parts in below.items():
        found += [_order(terms, Name(high)) for terms in _sets(sample, parts, high, tied)]
    signs = [name for name in sample.numeric if _is_sign(sample, name)]
    return found + [_order(terms, Number(1.0)) for terms in _sets(sample, signs, None, tied) if len(terms) > 2]


def implied(rule: Rule, sums: Iterable[Rule]) -> bool:
    """Whether a rule is implied by a sum of columns of 0 and 1: if one column is 1, another one is 0."""
    if not isinstance(rule, When) or len(rule.names) != 2:
        return False
    of_signs = (other for other in sums if isinstance(other, Order) and isinstance(other.terms[1], Number))
    return rule.text.endswith(" == 0") and any(set(rule.names) <= set(other.names) for other in of_signs)


def _is_sign(sample: Sample, name: str) -> bool:
    """Whether the values of a column are 0 and 1."""
    return sample.kinds[name] == "number" and set(sample.columns.codes(name)[1].tolist()) == {0.0, 1.0}


def _order(terms: Sequence[str], bound: Expression) -> Order:
    total: Expression = Name(terms[0])
    for name in terms[1:]:
        total = Binary("+", total, Name(name))
    return Order((total, bound), ("<=",))


def _sets(sample: Sample, parts: list[str], high: str | None, tied: list[set[str]]) -> list[list[str]]:
    """Sets of parts whose sums are bounded; each set starts with a pair and is extended as far as possible."""
    columns = sample.columns
    bound = np.ones(len(sample)) if high is None else columns.numbers(high)
    handed = _handed(bound)
    size = {name: float(np.nanmean(columns.numbers(name))) for name in parts}
    parts = sorted(parts, key=lambda name: -size[name])[:_PARTS]
    limit = _SURE + np.log(max(len(parts), 2) ** 2 / 2)
    sample.count("sum", len(parts) ** 2)
    sums: list[list[str]] = []
    for pair in combinations(parts, 2):
        own = [*pair, *([high] if high else [])]
        if any(set(own) <= other for other in tied) or any(set(pair) <= set(other) for other in sums):
            continue
        total, terms = columns.numbers(pair[0]), [pair[0]]
        for name in (pair[1], *(part for part in parts if part not in pair)):
            if len(terms) < _TERMS and _excess(total, columns.numbers(name), bound, handed) > limit:
                total, terms = total + columns.numbers(name), [*terms, name]
            elif len(terms) == 1:
                break
        if len(terms) > 1:
            sums.append(sorted(terms, key=columns.names.index))
    return sums


def _handed(bound: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pairs each row with another one that has a similar bound, _ROUNDS times: (m,) rows, (m,) other rows."""
    rng = np.random.default_rng(0)
    rows = np.flatnonzero(~np.isnan(bound))
    found = []
    for _ in range(_ROUNDS):
        rows = rng.permutation(rows)
        rows = rows[np.argsort(bound[rows], kind="stable")]
        blocks = rows[: len(rows) // _BLOCK * _BLOCK].reshape(-1, _BLOCK)
        found.append((blocks.ravel(), np.roll(blocks, int(rng.integers(1, _BLOCK)), axis=1).ravel()))
    return found


def _excess(
    total: np.ndarray, part: np.ndarray, bound: np.ndarray, handed: list[tuple[np.ndarray, np.ndarray]]
) -> float:
    """The number of rows whose total and the part of another row exceed the bound; 0 if they do in any single row."""
    if np.any((total + part > bound)[:_GLANCE]) or np.any(total + part > bound):
        return 0.0
    exceeded = 0
    for rows, others in handed:
        other, most = part[others], bound[rows]
        exceeded += int(np.sum((total[rows] + other > most) & (other <= most)))
        if not exceeded:
            return 0.0
    return exceeded / len(handed)
