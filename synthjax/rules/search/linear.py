"""Linear equations: `total = fare + tip`, `charge = 0.17 * minutes`, `minutes = minutes(end - start)`.

For each column, forward selection on the correlation matrix proposes the columns of the equation. A robust fit
estimates their coefficients, which are replaced by the simplest numbers within their errors. Further terms, which may
be 0 in most rows, are added as long as more rows become exact. The equation is solved for each of its columns, and the
best one is a candidate.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from synthjax.rules.columns import DAY
from synthjax.rules.expressions import Binary, Call, Expression, Name, Number, combination
from synthjax.rules.kinds import Equation
from synthjax.rules.search import selection
from synthjax.rules.search.sample import Sample

_LEAST = 0.06  # maximum fraction of the variance that a selection does not explain
_SHARP = 2e-6  # relative error of coefficients after an equation is solved for another column
_EXPLAINED = 0.2  # minimum fraction of rows explained by rounding, for further terms to be tried
_QUANTILES = np.array([0.1, 0.25, 0.5, 0.75, 0.9])
_GOOD = 0.97  # minimum rate of an equation in the sample
_ROWS = 2000  # maximum number of rows for fits
_BLUNT = 3e-3  # relative error of coefficients in a second trial, if some rows are wrong
_LOOSER = 0.008  # subtracted from the rate of equations with `~=`
_EIGHT_DIGITS = 2e-7  # relative precision of columns that are not rounded
_BLURRED = 5  # maximum error by the rounding of other columns, in units of the target
_COARSE = 10  # minimum standard deviation of the target, in its units, for several decimal coefficients
_SPANS = (("days", DAY), ("hours", 3600.0), ("minutes", 60.0), ("seconds", 1.0))
"""Functions of time spans, and their units in seconds."""


@dataclass(frozen=True)
class _Relation:
    """A linear relation: the sum of coefficients times columns, plus a constant, is about 0.

    If `zero` is True, missing values count as 0.
    """

    terms: tuple[tuple[str, Fraction], ...]
    constant: float
    zero: bool


def equations(sample: Sample) -> list[Equation]:
    """Linear equations of numbers and dates."""
    found: dict[frozenset[str], tuple[tuple, Equation]] = {}
    for zero in (False, True):
        matrix = sample.matrix
        if zero:
            if not np.isnan(matrix).any():
                break
            matrix = np.where(np.isnan(matrix) & _numbers(sample), 0.0, matrix)
        z = selection.standardised(matrix)
        done: set[tuple] = set()
        for target, chosen, _ in selection.paths(z, _LEAST):
            key = (frozenset((target, *chosen)), target if len(chosen) == 1 else None)
            if key in done:
                continue
            done.add(key)
            sample.count("equation", (2.0 * len(sample.numeric)) ** (len(chosen) + 1))
            for relation in _relations(sample, matrix, target, chosen, zero):
                rated = _best(sample, relation)
                if rated:
                    own = frozenset(rated[1].names)
                    found[own] = max(found.get(own, rated), rated, key=lambda pair: pair[0])
    return _shortest([(rank[0], equation) for rank, equation in found.values()])


def _numbers(sample: Sample) -> np.ndarray:
    """Whether each column of the matrix has numbers, not dates: (columns,) bool."""
    return np.array([sample.kinds[name] == "number" for name in sample.numeric])


def _relations(sample: Sample, matrix: np.ndarray, target: int, chosen: list[int], zero: bool) -> Iterator[_Relation]:
    """The relations of a target and the columns of a selection."""
    part = matrix[:, [target, *chosen]]
    part = part[~np.isnan(part).any(axis=1)][:_ROWS]
    unit = sample.columns.unit(sample.numeric[target])
    fit = selection.robust(part[:, 1:], part[:, 0], unit) if len(part) else None
    if fit is None:
        return
    values, off = fit[0][:-1], fit[1][:-1]
    tried: list[list[tuple[int, Fraction]]] = []
    for least in (0.0, _BLUNT):  # a few wrong rows may change coefficients by more than their errors
        slopes = [selection.simplest(v, max(o, least * abs(v))) for v, o in zip(values, off, strict=True)]
        known = [(column, slope) for column, slope in zip(chosen, slopes, strict=True) if slope]
        if known and None not in slopes and known not in tried:
            tried.append(known)
            yield from _completed(sample, matrix, target, known, zero)


def _completed(
    sample: Sample, matrix: np.ndarray, target: int, known: list[tuple[int, Fraction]], zero: bool
) -> Iterator[_Relation]:
    """Completes a relation by further terms and a constant; it is also tried without the constant."""
    part = matrix[:, [target, *(column for column, _ in known)]]
    part = part[~np.isnan(part).any(axis=1)][:_ROWS]
    residual = part[:, 0] - sum(float(slope) * part[:, 1 + i] for i, (_, slope) in enumerate(known))
    if _explained(sample, target, known, residual, np.quantile(residual, _QUANTILES)) < _EXPLAINED:
        return
    known, constant = _polished(matrix, sample, target, known, residual)
    part = matrix[:, [target, *(column for column, _ in known)]][:_ROWS]
    residual = part[:, 0] - sum(float(slope) * part[:, 1 + i] for i, (_, slope) in enumerate(known))
    if _explained(sample, target, known, residual[~np.isnan(residual)], np.array([constant, 0.0])) < 0.9:
        return
    terms = [(sample.numeric[target], Fraction(-1)), *((sample.numeric[column], slope) for column, slope in known)]
    yield _Relation(tuple(terms), constant, zero)
    if constant:
        yield _Relation(tuple(terms), 0.0, zero)


def _explained(
    sample: Sample, target: int, known: list[tuple[int, Fraction]], residual: np.ndarray, centres: np.ndarray
) -> float:
    """The maximum fraction of residuals within rounding of one of the centres; 0 if rounding explains any residual."""
    unit = {
        column: sample.columns.unit(sample.numeric[column]) for column in (target, *(column for column, _ in known))
    }
    rounded = all(unit.values())
    precision = (1e-9 if rounded else _EIGHT_DIGITS) * float(np.nanmax(np.abs(sample.matrix[:, target])))
    budget = unit[target] + sum(float(abs(slope)) * unit[column] for column, slope in known) + precision
    if budget > sample.spread(sample.numeric[target]) or not len(residual):
        return 0.0
    return float((np.abs(residual[:, None] - centres[None]) <= budget).mean(axis=0).max())


def _polished(
    matrix: np.ndarray, sample: Sample, target: int, known: list[tuple[int, Fraction]], residual: np.ndarray
) -> tuple[list[tuple[int, Fraction]], float]:
    """Adds terms with coefficients 1 or -1 as long as more rows have the same residual, which is the constant."""
    unit = sample.columns.unit(sample.numeric[target]) or _EIGHT_DIGITS * float(np.nanmax(np.abs(matrix[:, target])))
    used = [target, *(column for column, _ in known)]
    share, constant = _mode(residual, unit)
    while share < 0.9999 and len(known) < selection.TERMS + 3:
        full = matrix[~np.isnan(matrix[:, used]).any(axis=1)][:_ROWS]
        residual = full[:, target] - sum(float(slope) * full[:, column] for column, slope in known)
        sample.count("equation", 2.0 * matrix.shape[1])
        best = (share + 0.005, 0.0, -1, 0)
        for column in range(matrix.shape[1]):
            values = full[:, column]
            if column in used or sample.kinds[sample.numeric[column]] != "number" or np.isnan(values).mean() > 0.5:
                continue
            for sign in (1, -1):
                own, at = _mode(residual - sign * values, unit)
                best = max(best, (own, at, column, sign))
        if best[2] < 0 or not best[3]:
            break
        share, constant = best[0], best[1]
        known = [*known, (best[2], Fraction(best[3]))]
        used.append(best[2])
    return known, constant


def _mode(residual: np.ndarray, unit: float) -> tuple[float, float]:
    """The fraction of residuals with the most frequent rounded value, and this value."""
    residual = residual[~np.isnan(residual)]
    if not len(residual):
        return 0.0, 0.0
    steps = np.rint(residual / unit)
    middle = float(np.median(steps))
    near = np.abs(steps - middle) < 5000
    offset = (steps[near] - middle).astype(np.int64) + 5000
    counts = np.bincount(offset) if len(offset) else np.zeros(1, np.int64)
    best = int(np.argmax(counts))
    value = (best - 5000 + middle) * unit
    return float(counts[best] / len(residual)), round(value, 9) + 0.0 if unit < 1 else value


def _best(sample: Sample, relation: _Relation) -> tuple[tuple, Equation] | None:
    """The best equation of a relation, over its columns and forms, with a key for the comparison of equations."""
    rated = []
    for place, (name, _) in enumerate(relation.terms):
        for rank, equation in enumerate(_written(sample, relation, place)):
            rate = sample.rate(equation)
            if rate >= _GOOD:
                slopes = [slope for _, slope in _solved(sample, relation, place)]
                length = sum(len(str(float(abs(slope)))) for slope in slopes)
                minus = sum(slope < 0 for slope in slopes)
                # The finest column is preferred. A coarse one may follow from the others only because it is rounded.
                fine = round(np.log2(sample.spread(name) / (sample.columns.unit(name) or 1e-9)))
                date = sample.kinds[name] == "date"
                order = (-date, fine, -length, -minus, sample.columns.names.index(name))
                rate -= _LOOSER * equation.loose
                rated.append((round(rate, 3), sample.coverage(equation), -relation.zero, -rank, *order, equation))
            if rate >= 0.9999:
                break
    if not rated:
        return None
    best = max(rated, key=lambda entry: entry[:-1])
    return best[:-1], best[-1]


def _solved(sample: Sample, relation: _Relation, place: int) -> list[tuple[str, Fraction]]:
    """The terms of a relation after it is solved for its column at `place`, with simple coefficients."""
    pivot = relation.terms[place][1]
    solved = [(name, -slope / pivot) for i, (name, slope) in enumerate(relation.terms) if i != place]
    solved.sort(key=lambda term: sample.columns.names.index(term[0]))
    return [(name, selection.simplest(float(slope), _SHARP * abs(float(slope))) or slope) for name, slope in solved]


def _written(sample: Sample, relation: _Relation, place: int) -> Iterator[Equation]:
    """The forms of an equation: exact, rounded down or up, and `~=`."""
    name, pivot = relation.terms[place]
    unit = sample.columns.unit(name)
    constant = -relation.constant / float(pivot)
    constant = 0.0 if abs(constant) < unit / 2 else constant
    solved = _solved(sample, relation, place)
    decimal = sum(slope.denominator != 1 for other, slope in solved if sample.kinds[other] == "number")
    if decimal > 1 and sample.kinds[name] == "number" and sample.spread(name) < _COARSE * unit:
        return
    terms = _spans(sample, solved, relation.zero)
    if sample.kinds[name] == "date" and not any(sample.kinds[other] == "date" for other, _ in solved):
        return
    value = combination(terms, round(constant, 9))
    yield Equation(name, value)
    if unit == 1 and not constant:
        yield Equation(name, Call("floor", (value,)))
        yield Equation(name, Call("ceil", (value,)))
    if sum(abs(slope) * sample.columns.unit(other) for other, slope in solved) <= _BLURRED * unit:
        yield Equation(name, value, loose=True)


def _spans(sample: Sample, terms: list[tuple[str, Fraction]], zero: bool) -> list[tuple[float, Expression]]:
    """Terms (coefficient, expression) in a readable form: dates as the days between two, 1/60 as a division."""
    kinds = sample.kinds
    dates = [(name, slope) for name, slope in terms if kinds[name] == "date"]
    rest = [(name, slope) for name, slope in terms if kinds[name] != "date"]
    written: list[tuple[float, Expression]] = []
    if len(dates) == 2 and dates[0][1] == -dates[1][1]:
        (late, slope), (early, _) = sorted(dates, key=lambda pair: -pair[1])
        fits = [pair for pair in _SPANS if (slope * Fraction(pair[1])).denominator == 1]
        function, size = next(
            (pair for pair in fits if slope * Fraction(pair[1]) == 1), fits[-1] if fits else _SPANS[-1]
        )
        span = Call(function, (Binary("-", Name(late), Name(early)),))
        written.append((float(slope * Fraction(size)), span))
    else:
        rest = [*dates, *rest]
    for name, slope in rest:
        node: Expression = Name(name)
        if zero and sample.columns.missing(name).any():
            node = Call("coalesce", (node, Number(0.0)))
        if slope.denominator != 1 and Fraction(str(float(slope))) != slope:  # 1/60 has no short decimal
            node = Binary("/", node, Number(float(slope.denominator)))
            slope = Fraction(slope.numerator)
        written.append((float(slope), node))
    return written


def _shortest(rated: list[tuple[float, Equation]]) -> list[Equation]:
    """Removes equations whose columns are a subset or superset of those of a better one, or of a shorter equal one."""
    kept: list[set[str]] = []
    found = []
    for _, equation in sorted(rated, key=lambda pair: (pair[1].loose, -round(pair[0] / 0.002), len(pair[1].names))):
        own = set(equation.names)
        if not any(own <= other or other <= own for other in kept):
            kept.append(own)
            found.append(equation)
    return found
