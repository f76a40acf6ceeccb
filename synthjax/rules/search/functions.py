"""Functions of one column: `lsize = log(size)`, `lincome = log(income + 1)`, `age2 = age * age`."""

from collections.abc import Callable, Iterable

import numpy as np

from synthjax.rules.expressions import Binary, Call, Expression, Name, Number, evaluate
from synthjax.rules.kinds import Equation
from synthjax.rules.search.sample import Sample

_FORMS: tuple[Callable[[Expression], Expression], ...] = (
    lambda x: Call("log", (x,)),
    lambda x: Call("log", (Binary("+", x, Number(1.0)),)),
    lambda x: Call("log", (Call("max", (x, Number(1.0))),)),
    lambda x: Binary("/", Call("log", (x,)), Call("log", (Number(10.0),))),
    lambda x: Call("sqrt", (x,)),
    lambda x: Binary("*", x, x),
    lambda x: Call("abs", (x,)),
)
_GOOD = 0.97  # minimum rate of an equation
_GLANCE = 60  # number of rows that are checked first, which rejects most pairs
_LEVELS = 3  # minimum number of levels of the target
_UNITS = 10  # minimum standard deviation of the target, in its units


def equations(sample: Sample, known: Iterable[Equation]) -> list[Equation]:
    """Columns that are a function of another column; for each, the best equation.

    Args:
        sample: the rows.
        known: equations; their targets are not searched.
    """
    computed = {rule.target for rule in known}
    sources = [name for name in sample.numeric if sample.kinds[name] == "number"]
    targets = [name for name in sources if name not in computed and _is_fine(sample, name)]
    if not targets:
        return []
    copies = _copies(sample, targets)
    matrix = np.array([sample.columns.numbers(name)[:_GLANCE] for name in targets])
    units = np.array([[sample.columns.unit(name)] for name in targets])
    best: dict[str, tuple[tuple[float, float, int], Equation]] = {}
    for source in sources:
        sample.count("function", len(_FORMS) * len(targets))
        for rank, form in enumerate(_FORMS):
            expected = evaluate(form(Name(source)), sample.columns)[:_GLANCE]
            full = ~np.isnan(matrix) & ~np.isnan(expected)
            with np.errstate(invalid="ignore"):
                near = full & (np.abs(matrix - expected) <= 0.501 * units + 1e-5 * np.abs(expected) + 1e-9)
            for place in np.flatnonzero(near.sum(axis=1) >= 0.9 * np.maximum(full.sum(axis=1), 1)):
                rule = Equation(targets[place], form(Name(source)))
                if rule.target != source and (rated := _rated(sample, rule, source, rank)):
                    best[rule.target] = max(best.get(rule.target, rated), rated, key=lambda pair: pair[0])
    return [*(rule for _, rule in best.values() if rule.target not in copies), *copies.values()]


def _copies(sample: Sample, names: list[str]) -> dict[str, Equation]:
    """Columns without a unit that equal another one, which linear equations cannot see: `adjusted = raw`."""
    free = [name for name in names if not sample.columns.unit(name)]
    free.sort(key=lambda name: -sample.columns.missing(name).sum())  # the column with most missing values is the source
    values = np.array([sample.columns.numbers(name) for name in free])
    found: dict[str, Equation] = {}
    for i, source in enumerate(free):
        later = [j for j in range(i + 1, len(free)) if free[j] not in found]
        sample.count("function", len(later))
        equal = np.mean((values[later] == values[i]) | np.isnan(values[later]) | np.isnan(values[i]), axis=1)
        for j in np.array(later, int)[equal >= _GOOD]:
            if sample.rate(rule := Equation(free[j], Name(source))) >= _GOOD:
                found[free[j]] = rule
    return found


def _is_fine(sample: Sample, name: str) -> bool:
    """Whether a column has enough levels, and is not so coarse that rounding makes it a function of others."""
    return len(sample.columns.codes(name)[1]) >= _LEVELS and sample.spread(name) >= _UNITS * sample.columns.unit(name)


def _rated(sample: Sample, rule: Equation, source: str, rank: int) -> tuple[tuple[float, float, int], Equation] | None:
    """A key for the comparison of rules, and the rule; None if it is rejected or if the two columns are equal."""
    actual, expected = sample.columns.numbers(rule.target), evaluate(rule.value, sample.columns)
    both = ~np.isnan(actual) & ~np.isnan(expected)
    rate = sample.rate(rule)
    if rate < _GOOD or np.all((actual == sample.columns.numbers(source))[both]):
        return None
    return (round(rate, 2), sample.coverage(rule), -rank), rule
