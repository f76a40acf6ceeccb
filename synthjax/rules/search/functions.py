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
_GOOD = 0.97
_GLANCE = 60  # rows that settle most pairs
_LEVELS = 3  # different values of the result, at least
_UNITS = 10  # in its spread, at least


def equations(sample: Sample, known: Iterable[Equation]) -> list[Equation]:
    """Columns that a function of another gives, each with the first form that most rows keep."""
    computed = {rule.target for rule in known}
    names = [name for name in sample.numeric if sample.kinds[name] == "number"]
    if not names:
        return []
    matrix = np.array([sample.columns.numbers(name) for name in names])
    units = np.array([sample.columns.unit(name) for name in names])
    best: dict[str, tuple[tuple[float, float, int], Equation]] = {}
    for source in names:
        own = sample.columns.numbers(source)
        sample.count("function", len(_FORMS) * len(names))
        for rank, form in enumerate(_FORMS):
            value = form(Name(source))
            expected = evaluate(value, sample.columns)
            with np.errstate(invalid="ignore"):
                near = np.abs(matrix - expected) <= units[:, None] / 2 * 1.001 + 1e-5 * np.abs(expected) + 1e-9
            full = ~np.isnan(matrix) & ~np.isnan(expected)
            kept = (near & full)[:, :_GLANCE].sum(axis=1) >= 0.8 * np.maximum(full[:, :_GLANCE].sum(axis=1), 1)
            for place in np.flatnonzero(kept):
                target, rule = names[place], Equation(names[place], value)
                if target == source or target in computed or np.all((matrix[place] == own)[full[place]]):
                    continue
                rate, covered = sample.rate(rule), sample.coverage(rule)
                levels = len(np.unique(matrix[place][full[place]]))
                order = (round(rate, 2), covered, -rank)
                fine = levels >= _LEVELS and sample.spread(target) >= _UNITS * units[place]
                if fine and rate >= _GOOD and (target not in best or order > best[target][0]):
                    best[target] = order, rule
    return [rule for _, rule in best.values()]
