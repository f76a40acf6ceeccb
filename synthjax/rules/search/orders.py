"""Orders: `start <= end`, `low <= mid <= high`, of columns whose ranges overlap."""

import math

import numpy as np

from synthjax.rules.expressions import Name, linear
from synthjax.rules.kinds import Equation, Order, order
from synthjax.rules.search.sample import Sample

_GOOD = 0.985  # share of rows
_TRIVIAL = 0.98  # share that independent columns would give
_TRIVIAL_NEAR = 0.9  # the same of an order with exceptions
_TIED = 5  # rows at the least gap for an order to be strict


def pairs(sample: Sample) -> list[Order]:
    """Orders of two columns of one kind: numbers, or dates."""
    found = []
    for kind in ("number", "date"):
        places = [i for i, name in enumerate(sample.numeric) if sample.kinds[name] == kind]
        matrix = sample.matrix[:, places]
        names = [sample.numeric[i] for i in places]
        sample.count("order", len(names) ** 2)
        ordered = [np.sort(column[~np.isnan(column)]) for column in matrix.T]
        for low, name in enumerate(names):
            with np.errstate(invalid="ignore"):
                difference = matrix - matrix[:, low : low + 1]
                both = np.sum(~np.isnan(difference), axis=0)
                kept = np.sum(difference >= 0, axis=0)
                equal = np.sum(difference == 0, axis=0)
            for high in np.flatnonzero((kept >= _GOOD * both) & (both >= 20)):
                if high == low or equal[high] >= 0.9 * both[high]:
                    continue
                chance = _chance(ordered[low], ordered[high])
                if chance > (_TRIVIAL if kept[high] == both[high] else _TRIVIAL_NEAR):
                    continue
                found.append(order(name, _operator(difference[:, high]), names[high]))
    return found


def _chance(low: np.ndarray, high: np.ndarray) -> float:
    """P(low <= high) of independent draws, from sorted values."""
    return float(np.searchsorted(low, high, side="right").mean() / len(low)) if len(low) and len(high) else 1.0


def _operator(gap: np.ndarray) -> str:
    gap = gap[~np.isnan(gap)]
    least = gap.min()
    return "<" if least > 0 and np.sum(gap == least) >= _TIED else "<="


def reduced(orders: list[Order], equations: list[Equation], sample: Sample) -> list[Order]:
    """Orders without those that others, or the equations, imply. Orders of dates are told whatever implies them.

    Args:
        orders: of two columns each.
        equations: rules that hold too.
        sample: where they were found.
    """
    lows = {name: float(np.nanmin(sample.columns.numbers(name))) for name in sample.numeric}
    edges = {}
    for rule in orders:
        if sample.kinds[_ends(rule)[0]] == "date" or not _implied(*_ends(rule), equations, lows):
            edges[_ends(rule)] = rule
    after: dict[str, set[str]] = {}
    for low, high in edges:
        after.setdefault(low, set()).add(high)
    kept = []
    for (low, high), rule in edges.items():
        steps = after[low] - {high}
        if not any(_reaches(after, step, high, {low}) for step in steps):
            kept.append(rule)
    return kept


def _ends(rule: Order) -> tuple[str, str]:
    low, high = rule.terms
    return low.name, high.name  # type: ignore[union-attr]


def _reaches(after: dict[str, set[str]], start: str, end: str, seen: set[str]) -> bool:
    stack, seen = [start], {*seen, start}
    while stack:
        for step in after.get(stack.pop(), ()):
            if step == end:
                return True
            if step not in seen:
                seen.add(step)
                stack.append(step)
    return False


def _implied(low: str, high: str, equations: list[Equation], lows: dict[str, float]) -> bool:
    """Whether an equation gives one from the other, or `high` as the sum of `low` and what is never negative."""
    for equation in equations:
        if set(equation.names) == {low, high}:
            return True
        form = linear(equation.value)
        if form is None or equation.loose:
            continue
        terms, constant = dict(form[0]), form[1]
        terms[equation.target] = terms.get(equation.target, 0.0) - 1
        if low not in terms or high not in terms:
            continue
        # high - low = sum of the rest, once the relation is divided by the coefficient of `high`.
        scale = -terms[high]
        if not math.isclose(terms[low] / scale, 1.0):
            continue
        rest = {name: value / scale for name, value in terms.items() if name not in (low, high)}
        if all(value >= 0 and lows.get(name, -1) >= 0 for name, value in rest.items()) and constant / scale >= 0:
            return True
    return False


def chained(orders: list[Order]) -> list[Order]:
    """Orders of two columns joined into chains where one ends as the only next begins."""
    after: dict[str, list[Order]] = {}
    before: dict[str, list[Order]] = {}
    for rule in orders:
        low, high = _ends(rule)
        after.setdefault(low, []).append(rule)
        before.setdefault(high, []).append(rule)

    def alone(name: str) -> bool:
        return len(after.get(name, [])) == 1 and len(before.get(name, [])) == 1

    chains = []
    for rule in orders:
        low, high = _ends(rule)
        if alone(low) and before[low][0].exact == rule.exact:
            continue  # a later part of a chain
        names, operators, evidence = [low, high], [rule.operators[0]], rule
        while alone(names[-1]) and after[names[-1]][0].exact == evidence.exact and after[names[-1]][0] is not rule:
            following = after[names[-1]][0]
            names.append(_ends(following)[1])
            operators.append(following.operators[0])
        chains.append(Order(tuple(map(Name, names)), tuple(operators), evidence=rule.evidence))
    return chains
