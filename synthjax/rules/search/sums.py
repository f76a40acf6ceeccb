"""Sums that a column bounds: `hits + strikeouts <= at_bats`; and columns of 0 and 1 of which one is 1 at most.

Each part is below the bound already. That their sum is too says something where parts that were handed to other rows
with nearly the same bound would exceed it in many rows.
"""

from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np

from synthjax.rules.expressions import Binary, Expression, Name, Number
from synthjax.rules.kinds import Order, Rule, When
from synthjax.rules.search.sample import Sample

_PARTS = 20  # columns below one bound that are looked at
_TERMS = 5
_BLOCK = 16  # rows with nearly the same bound
_ROUNDS = 4
_SURE = 7.0  # rows that would exceed the bound, beside the log of the number of tries
_GLANCE = 300


def bounded(sample: Sample, pairs: Iterable[Order], known: Iterable[Rule]) -> list[Order]:
    """Sums of columns that have an order with one column each, and of columns of 0 and 1."""
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
    """Whether a rule says of two columns, of which one is 1 at most, that the other is then 0."""
    if not isinstance(rule, When) or len(rule.names) != 2:
        return False
    of_signs = (other for other in sums if isinstance(other, Order) and isinstance(other.terms[1], Number))
    return rule.text.endswith(" == 0") and any(set(rule.names) <= set(other.names) for other in of_signs)


def _is_sign(sample: Sample, name: str) -> bool:
    return sample.kinds[name] == "number" and set(sample.columns.codes(name)[1].tolist()) == {0.0, 1.0}


def _order(terms: Sequence[str], bound: Expression) -> Order:
    total: Expression = Name(terms[0])
    for name in terms[1:]:
        total = Binary("+", total, Name(name))
    return Order((total, bound), ("<=",))


def _sets(sample: Sample, parts: list[str], high: str | None, tied: list[set[str]]) -> list[list[str]]:
    """Sets of parts whose sums are bounded, each as large as it gets."""
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
    """Rows, and beside each another one with nearly the same bound; a few times."""
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
    """Rows in which a total and the part of another row exceed the bound; 0 where those of one row do."""
    if np.any((total + part > bound)[:_GLANCE]) or np.any(total + part > bound):
        return 0.0
    exceeded = 0
    for rows, others in handed:
        other, most = part[others], bound[rows]
        exceeded += int(np.sum((total[rows] + other > most) & (other <= most)))
        if not exceeded:
            return 0.0
    return exceeded / len(handed)
