"""Sums with an upper bound: `hits + strikeouts <= at_bats`, and columns of 0 and 1 of which at most one is 1.

Each part of the sum is below the bound. To test that the sum is so not only by chance, parts are exchanged between rows
with similar bounds. Sums are candidates if they would then exceed the bound in many rows, or if they reach it in many
rows and exceed it in none: without the rule, a sum would be just above the bound about as often as it is just at it.

Of few rows, neither can be shown. `unclaimed` are the sums that no row exceeds, by which drawn rows are bounded.
"""

from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np

from synthjax.rules.columns import Columns
from synthjax.rules.expressions import Binary, Expression, Name, Number
from synthjax.rules.kinds import Order, Rule, When
from synthjax.rules.search.sample import Sample

_PARTS = 20  # maximum number of parts with the same bound
_TERMS = 5  # maximum number of terms of a sum
_BLOCK = 16  # number of rows with similar bounds
_ROUNDS = 4  # number of exchanges
_SURE = 7.0  # minimum number of rows that would exceed the bound, in addition to the log of the number of pairs
_GLANCE = 300  # number of rows that are checked first
_UNCLAIMED = 100  # maximum number of sums that are not claimed


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
            part = columns.numbers(name)
            if len(terms) < _TERMS and max(_excess(total, part, bound, handed), _reached(total, part, bound)) > limit:
                total, terms = total + part, [*terms, name]
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


def _reached(total: np.ndarray, part: np.ndarray, bound: np.ndarray) -> float:
    """Log of the odds that a total and a part, both above 0, are at the bound so often by chance and never above it."""
    if np.any(total + part > bound):
        return 0.0
    return float(np.log(2) * np.sum((total > 0) & (part > 0) & (total + part == bound)))


def unclaimed(train: Columns, unseen: Columns, found: Iterable[Rule]) -> list[Order]:
    """Sums that no row exceeds, of columns of which rules say that each is below the same bound.

    Args:
        train: rows in which the rules were found.
        unseen: other rows.
        found: rules; sums of which one of them has all columns are left out.
    """
    found = list(found)
    tied = [set(rule.names) for rule in found if len(rule.names) > 2]
    below: dict[str, list[str]] = {}
    for rule in found:
        names = [term.name for term in rule.terms if isinstance(term, Name)] if isinstance(rule, Order) else []
        if isinstance(rule, Order) and rule.exact and len(names) == len(rule.terms):
            for low, high in combinations(names, 2):
                if _is_part(train, low, high) and low not in below.setdefault(high, []):
                    below[high].append(low)
    sums = []
    for high, parts in below.items():
        sets: list[list[str]] = []
        for pair in combinations(parts[:_PARTS], 2):
            terms = [*pair, *(part for part in parts[:_PARTS] if part not in pair)]
            own: list[str] = []
            for name in terms:
                if len(own) < _TERMS and _never_above([*own, name], high, train, unseen):
                    own.append(name)
                elif len(own) < 2:
                    break
            if len(own) > 1 and not any(set(own) <= set(other) for other in (*sets, *tied)):
                sets.append(sorted(own, key=train.names.index))
        sums += [_order(terms, Name(high)) for terms in sets]
    return sums[:_UNCLAIMED]


def _is_part(columns: Columns, low: str, high: str) -> bool:
    """Whether a column is a number that is not negative, and has the unit of its bound."""
    return columns.kind(low) == "number" and columns.unit(low) == columns.unit(high) and _least(columns, low) >= 0


def _least(columns: Columns, name: str) -> float:
    return float(np.nanmin(columns.numbers(name), initial=np.inf))


def _never_above(terms: Sequence[str], high: str, *rows: Columns) -> bool:
    """Whether no row's sum of terms is above its bound."""
    return not any(
        np.any(np.sum([columns.numbers(name) for name in terms], axis=0) > columns.numbers(high)) for columns in rows
    )
