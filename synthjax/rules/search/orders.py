"""Orders: `start <= end`, `low <= mid <= high`, of columns whose ranges overlap."""

import numpy as np

from synthjax.rules.expressions import Name, evaluate
from synthjax.rules.kinds import Equation, Order, order
from synthjax.rules.search.sample import Sample

_GOOD = 0.985  # minimum rate of an order
_TRIVIAL = 0.98  # maximum chance level
_TRIVIAL_NEAR = 0.6  # maximum chance level of an order with exceptions
_GLANCE = 300  # number of rows that are checked first, which rejects most pairs
_TIED = 5  # minimum number of rows with the minimum difference, for an order to be strict


def pairs(sample: Sample) -> list[Order]:
    """Orders of two columns of numbers, or of two columns of dates."""
    found = []
    for kind in ("number", "date"):
        places = [i for i, name in enumerate(sample.numeric) if sample.kinds[name] == kind]
        matrix = sample.matrix[:, places]
        names = [sample.numeric[i] for i in places]
        sample.count("order", len(names) ** 2)
        ordered = [np.sort(column[~np.isnan(column)]) for column in matrix.T]
        for low, name in enumerate(names):
            glance = matrix[:_GLANCE] - matrix[:_GLANCE, low : low + 1]
            usable = np.sum(glance < 0, axis=0) <= 0.05 * np.sum(glance == glance, axis=0)
            for high in np.flatnonzero(usable):
                gap = matrix[:, high] - matrix[:, low]
                gap = gap[~np.isnan(gap)]
                kept = np.sum(gap >= 0)
                if high == low or len(gap) < 20 or kept < _GOOD * len(gap) or np.sum(gap == 0) >= 0.9 * len(gap):
                    continue
                if _chance(ordered[low], ordered[high]) <= (_TRIVIAL if kept == len(gap) else _TRIVIAL_NEAR):
                    found.append(order(name, _operator(gap), names[high]))
    return found


def _chance(low: np.ndarray, high: np.ndarray) -> float:
    """P(low <= high) of independent draws from sorted values."""
    return float(np.searchsorted(low, high, side="right").mean() / len(low)) if len(low) and len(high) else 1.0


def _operator(gap: np.ndarray) -> str:
    least = gap.min()
    return "<" if least > 0 and np.sum(gap == least) >= _TIED else "<="


def reduced(orders: list[Order], equations: list[Equation], sample: Sample) -> list[Order]:
    """Removes orders that follow from other orders or from equations; orders of dates are kept in the latter case.

    Args:
        orders: orders of two columns.
        equations: known rules.
        sample: the rows.
    """
    edges = {}
    for rule in orders:
        if sample.kinds[_ends(rule)[0]] == "date" or not _implied(*_ends(rule), equations, sample):
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
    """The two columns of an order."""
    low, high = rule.terms
    return low.name, high.name  # type: ignore[union-attr]


def _reaches(after: dict[str, set[str]], start: str, end: str, seen: set[str]) -> bool:
    """Whether there is a path in the graph `after` from `start` to `end`, without columns in `seen`."""
    stack, seen = [start], {*seen, start}
    while stack:
        for step in after.get(stack.pop(), ()):
            if step == end:
                return True
            if step not in seen:
                seen.add(step)
                stack.append(step)
    return False


def _implied(low: str, high: str, equations: list[Equation], sample: Sample) -> bool:
    """Whether an equation computes one of two columns from the other so that the order always holds."""
    for equation in equations:
        inputs = set(equation.names) - {equation.target}
        if equation.target not in (low, high) or not inputs & {low, high}:
            continue
        if len(inputs) == 1:
            return True
        mixed = sample.columns.shuffled(sorted(inputs), (), np.random.default_rng(0))
        values = {name: mixed.numbers(name) for name in inputs} | {equation.target: evaluate(equation.value, mixed)}
        gap = values[high] - values[low]
        if not (gap < -1e-9).any():
            return True
    return False


def chained(orders: list[Order]) -> list[Order]:
    """Joins orders of two columns into chains, at columns that are the end of one order and the start of one other."""
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
