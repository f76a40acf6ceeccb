"""Sums: `total = fare + tip`, `charge = 0.17 * minutes`, `minutes = minutes(end - start)`.

For each column, forward selection on the correlation matrix proposes what it may be computed from; a robust fit gives
coefficients, the simplest numbers within their error are taken, and the equation is tried as it would be written,
solved for each of its columns. Terms that only some rows have are added while that makes more rows exact.
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

_LEAST = 0.06  # share of variance that a selection may leave
_SHARP = 2e-6  # the same of 1 / 1.19, which has no short spelling
_EXPLAINED = 0.2  # share of rows that rounding has to explain before more terms are tried
_QUANTILES = np.array([0.1, 0.25, 0.5, 0.75, 0.9])
_GOOD = 0.97  # share of the sample's rows
_ROWS = 2000  # of fits
_BLUNT = 3e-3  # relative error of a coefficient
_LOOSER = 0.008  # share of rows that a rule within rounding has to explain beside those of a strict one
_EIGHT_DIGITS = 2e-7
_BLURRED = 5  # units of a column that the rounding of all others may move it, at most
_COARSE = 10  # units in the spread of a column, of which several decimal coefficients may explain anything
_SPANS = (("days", DAY), ("hours", 3600.0), ("minutes", 60.0), ("seconds", 1.0))


@dataclass(frozen=True)
class _Relation:
    """Sum of coefficients times columns, plus a constant, is about 0; `zero`: what is missing counts as 0."""

    terms: tuple[tuple[str, Fraction], ...]
    constant: float
    zero: bool


def equations(sample: Sample) -> list[Equation]:
    """Equations that are linear in numbers and dates."""
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
    return np.array([sample.kinds[name] == "number" for name in sample.numeric])


def _relations(sample: Sample, matrix: np.ndarray, target: int, chosen: list[int], zero: bool) -> Iterator[_Relation]:
    part = matrix[:, [target, *chosen]]
    part = part[~np.isnan(part).any(axis=1)][:_ROWS]
    unit = sample.columns.unit(sample.numeric[target])
    fit = selection.robust(part[:, 1:], part[:, 0], unit) if len(part) else None
    if fit is None:
        return
    values, off = fit[0][:-1], fit[1][:-1]
    tried: list[list[tuple[int, Fraction]]] = []
    for least in (0.0, _BLUNT):  # what a few wrong rows have moved is made simpler than its error says
        slopes = [selection.simplest(v, max(o, least * abs(v))) for v, o in zip(values, off, strict=True)]
        known = [(column, slope) for column, slope in zip(chosen, slopes, strict=True) if slope]
        if known and None not in slopes and known not in tried:
            tried.append(known)
            yield from _completed(sample, matrix, target, known, zero)


def _completed(
    sample: Sample, matrix: np.ndarray, target: int, known: list[tuple[int, Fraction]], zero: bool
) -> Iterator[_Relation]:
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
    """Share of the residuals that rounding explains, about the best of some centres; 0 where rounding explains all."""
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
    """More terms, each once added or taken away, while they make the residual the same in more rows."""
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
    """How many of the residuals are the same after rounding, and which value it is."""
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
    """The relation solved for the column, and written in the way, that most rows keep; and how good that is."""
    rated = []
    for place, (name, _) in enumerate(relation.terms):
        for rank, equation in enumerate(_written(sample, relation, place)):
            rate = sample.rate(equation)
            if rate >= _GOOD:
                slopes = [slope for _, slope in _solved(sample, relation, place)]
                length = sum(len(str(float(abs(slope)))) for slope in slopes)
                minus = sum(slope < 0 for slope in slopes)
                # The finest column: the charge in cents gives the minutes only because these are rounded.
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
    pivot = relation.terms[place][1]
    solved = [(name, -slope / pivot) for i, (name, slope) in enumerate(relation.terms) if i != place]
    solved.sort(key=lambda term: sample.columns.names.index(term[0]))
    return [(name, selection.simplest(float(slope), _SHARP * abs(float(slope))) or slope) for name, slope in solved]


def _written(sample: Sample, relation: _Relation, place: int) -> Iterator[Equation]:
    """The ways to write it: as it is, rounded down or up, within the rounding of all columns."""
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
    """Terms as people write them: two dates as the days, hours or minutes between them, 1/60 as a division."""
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
    """Of those whose columns are among the columns of another, the one that more rows keep; the shorter if they tie."""
    kept: list[set[str]] = []
    found = []
    for _, equation in sorted(rated, key=lambda pair: (pair[1].loose, -round(pair[0] / 0.002), len(pair[1].names))):
        own = set(equation.names)
        if not any(own <= other or other <= own for other in kept):
            kept.append(own)
            found.append(equation)
    return found
