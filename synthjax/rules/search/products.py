"""Products and ratios: `amount = price * quantity`, `bmi ~= weight / (height * height)`, `share = 100 * a / (a + b)`.

They are sums of logarithms. Those of columns go through the same forward selection as sums; for ratios with the sum or
difference of two columns the variance that would be left is read off a covariance matrix, for all triples at once.
"""

from collections.abc import Iterator

import numpy as np

from synthjax.rules.expressions import Binary, Expression, Name, Number, evaluate, spelt
from synthjax.rules.kinds import Equation
from synthjax.rules.search import selection
from synthjax.rules.search.sample import Sample

_LEAST = 0.12
_GOOD = 0.97
_ROWS = 2000
_PAIRED = 30  # columns whose sums and differences are formed, at most
_MATTERS = 0.01  # the lesser of two columns that are added, over the greater
_COMPLETE = 0.25  # share of rows that have all of these
_BEST = 12  # ratios of a pair tried for each column


def equations(sample: Sample, known: list[Equation]) -> list[Equation]:
    """Products and ratios that are not among the columns of an equation that is known already."""
    names = [name for name in sample.numeric if sample.kinds[name] == "number"]
    logs = _logs(np.array([sample.columns.numbers(name) for name in names]).T.reshape(len(sample), len(names)))
    usable = np.mean(~np.isnan(logs), axis=0) > 0.3 if len(logs) else np.zeros(len(names), bool)
    names, logs = [name for name, use in zip(names, usable, strict=True) if use], logs[:, usable]
    rated: list[tuple[float, int, Equation]] = []
    taken = [set(equation.names) for equation in known]
    done: set[tuple] = set()
    for target, powers in [*_selected(sample, logs, names), *_pairs(sample, logs, names)]:
        columns = frozenset((target, *(name for factor, _ in powers for name in _factor_names(factor))))
        if len(columns) < 3 and all(abs(power) == 1 for _, power in powers) and powers[0][1] == 1:
            continue  # a multiple: that is linear
        key = (columns, *sorted(spelt(factor) for factor, _ in powers if isinstance(factor, Binary)))
        if any(other <= columns for other in taken) or key in done:
            continue
        done.add(key)
        for factors in _solutions(target, powers):
            found = _equation(sample, *factors)
            if found:
                rated.append((*found,))  # type: ignore[arg-type]
    kept: list[Equation] = []
    for _, _, equation in sorted(rated, key=lambda entry: (-round(entry[0], 3), entry[1])):
        own = set(equation.names)
        if not any(own <= set(other.names) or set(other.names) <= own for other in kept):
            kept.append(equation)
    return kept


def _logs(values: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(np.abs(values))
    return np.where(np.isinf(logs), np.nan, logs)


def _factor_names(factor: Expression) -> tuple[str, ...]:
    return (factor.name,) if isinstance(factor, Name) else (factor.left.name, factor.right.name)  # type: ignore[union-attr]


def _selected(sample: Sample, logs: np.ndarray, names: list[str]) -> Iterator[tuple[str, list[tuple[Expression, int]]]]:
    for target, chosen, _ in selection.paths(selection.standardised(logs), _LEAST):
        if len(chosen) > 5:
            continue
        sample.count("product", (4.0 * len(names)) ** (len(chosen) + 1))
        powers = _powers(logs, target, chosen)
        if powers and any(abs(power) > 2 for power in powers.values()):
            continue
        if powers:
            yield names[target], [(Name(names[column]), power) for column, power in powers.items()]


def _powers(logs: np.ndarray, target: int, chosen: list[int]) -> dict[int, int]:
    """Whole powers of the columns, those of 0 left out; {} where some are not whole."""
    while chosen:
        part = logs[:, [target, *chosen]]
        part = part[~np.isnan(part).any(axis=1)][:_ROWS]
        fit = selection.robust(part[:, 1:], part[:, 0], 0.0)
        if fit is None:
            return {}
        powers = np.rint(fit[0][:-1]).astype(int)
        if (powers != 0).all():
            whole = (np.abs(powers - fit[0][:-1]) < 0.2).all()
            return dict(zip(chosen, powers.tolist(), strict=True)) if whole else {}
        chosen = [column for column, power in zip(chosen, powers, strict=True) if power]
    return {}


def _pairs(sample: Sample, logs: np.ndarray, names: list[str]) -> Iterator[tuple[str, list[tuple[Expression, int]]]]:
    """Targets as a column over the sum or difference of two columns, times it, or the other way round."""
    chosen, full = _complete(np.isnan(logs))
    names, m = [names[i] for i in chosen], len(chosen)
    if m < 3:
        return
    values = np.array([sample.columns.numbers(name) for name in names]).T[full][:_ROWS]
    part = logs[:, chosen][full][:_ROWS]
    first, second = np.triu_indices(m, 1)
    size = np.median(np.abs(values), axis=0)
    matter = np.minimum(size[first], size[second]) >= _MATTERS * np.maximum(size[first], size[second])
    first, second = first[matter], second[matter]
    sums, differences = values[:, first] + values[:, second], values[:, first] - values[:, second]
    pairs = _logs(np.concatenate([sums, differences], axis=1))
    sides = [("+", i, j) for i, j in zip(first, second, strict=True)] + [
        ("-", i, j) for i, j in zip(first, second, strict=True)
    ]
    whole = np.mean(np.isnan(pairs), axis=0) < 0.02
    pairs, sides = np.nan_to_num(pairs[:, whole]), [side for side, use in zip(sides, whole, strict=True) if use]
    part, pairs = part - part.mean(axis=0), pairs - pairs.mean(axis=0)
    n = len(part)
    own, cross, spread = part.T @ part / n, part.T @ pairs / n, np.mean(pairs**2, axis=0)
    variance = np.diag(own)
    sample.count("product", 3.0 * m * m * len(sides))
    for target in range(m):
        if not variance[target]:
            continue
        rest = []
        for s, t in ((1, -1), (-1, 1), (1, 1)):
            left = (variance[target] + variance[:, None] + spread - 2 * s * own[target][:, None]) - 2 * t * cross[
                target
            ]
            left = left + 2 * s * t * cross
            left[target] = np.inf
            rest.append(left / variance[target])
        flat = np.array(rest)
        for place in np.argsort(flat, axis=None)[:_BEST]:
            form, column, pair = np.unravel_index(place, flat.shape)
            operator, i, j = sides[pair]
            if flat[form, column, pair] > _LEAST or target in (i, j):
                continue
            s, t = ((1, -1), (-1, 1), (1, 1))[form]
            factor = Binary(operator, Name(names[i]), Name(names[j]))
            yield names[target], [(Name(names[int(column)]), s), (factor, t)]


def _complete(absent: np.ndarray) -> tuple[list[int], np.ndarray]:
    """Columns, those with most values first, while enough rows have them all; and these rows."""
    chosen: list[int] = []
    full = np.ones(len(absent), bool)
    for column in np.argsort(absent.mean(axis=0), kind="stable").tolist():
        left = full & ~absent[:, column]
        if len(chosen) < _PAIRED and left.sum() >= max(50, _COMPLETE * len(absent)):
            chosen.append(column)
            full = left
    return sorted(chosen), full


def _solutions(target: str, powers: list[tuple[Expression, int]]) -> Iterator[tuple[str, list[tuple[Expression, int]]]]:
    """The relation solved for each column that stands by itself."""
    yield target, powers
    for factor, power in powers:
        if isinstance(factor, Name) and abs(power) == 1:
            others = [(other, -p * power) for other, p in powers if other is not factor]
            if any(factor.name in _factor_names(other) for other, _ in others):
                continue
            yield factor.name, [(Name(target), power), *others]


def _equation(sample: Sample, target: str, powers: list[tuple[Expression, int]]) -> tuple[float, int, Equation] | None:
    """The equation as it would be written: strict if that holds, else within the rounding of its columns."""
    place = {name: i for i, name in enumerate(sample.columns.names)}
    powers = sorted(powers, key=lambda pair: (isinstance(pair[0], Binary), place[_factor_names(pair[0])[0]]))
    above = [factor for factor, power in powers for _ in range(max(power, 0))]
    below = [factor for factor, power in powers for _ in range(max(-power, 0))]
    product = _product(above, below)
    value, actual = evaluate(product, sample.columns), sample.columns.numbers(target)
    with np.errstate(all="ignore"):
        usable = ~np.isnan(value) & ~np.isnan(actual) & (value != 0)
        ratio = actual[usable] / value[usable]
    if len(ratio) < 20:
        return None
    unit = sample.columns.unit(target) or 1e-9 * float(np.abs(actual[usable]).max())
    size = np.abs(value[usable])
    precise = np.argsort(-size)[: max(len(size) // 4, 10)]  # where rounding moves the ratio least
    centre = float(np.median(ratio[precise]))
    factor = selection.simplest(centre, max(float(unit / np.median(size[precise])) / 2, 1e-9 * abs(centre)))
    if not factor:
        return None
    for rank, (scaled, loose) in enumerate(((product, False), (product, True))):
        whole = _product(above, below, float(factor)) if factor != 1 else scaled
        equation = Equation(target, whole, loose)
        rate = sample.rate(equation)
        if rate >= _GOOD:
            cost = 3 * len(below) + 6 * (factor.denominator != 1)
            fine = np.log2(sample.spread(target) / unit) if sample.columns.unit(target) else 60.0
            return rate - 0.01 * rank, len(equation.text) + cost - 2 * round(float(fine)), equation
    return None


def _product(above: list[Expression], below: list[Expression], factor: float = 1.0) -> Expression:
    parts: list[Expression] = ([Number(factor)] if factor != 1 or not above else []) + above
    result = parts[0]
    for part in parts[1:]:
        result = Binary("*", result, part)
    if below:
        under = below[0]
        for part in below[1:]:
            under = Binary("*", under, part)
        result = Binary("/", result, under)
    return result
