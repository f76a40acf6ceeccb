"""Products and ratios: `amount = price * quantity`, `bmi ~= weight / (height * height)`, `share = 100 * a / (a + b)`.

They are linear in logarithms. Products of columns are found by the same forward selection as linear equations. For
ratios with the sum or difference of two columns, the unexplained variance is computed from a covariance matrix, for all
triples of columns at once.
"""

from collections.abc import Iterator

import numpy as np

from synthjax.rules.expressions import Binary, Expression, Name, Number, evaluate, spelt
from synthjax.rules.expressions import names as names_of
from synthjax.rules.kinds import Equation
from synthjax.rules.search import selection
from synthjax.rules.search.sample import Sample

_LEAST = 0.12  # maximum fraction of the variance that a selection does not explain
_GOOD = 0.97  # minimum rate of an equation
_ROWS = 2000  # maximum number of rows for fits
_PAIRED = 30  # maximum number of columns for sums and differences
_MATTERS = 0.01  # minimum ratio of the smaller of two added columns to the larger one
_COMPLETE = 0.25  # minimum fraction of rows without missing values in these columns
_FEW, _CLOSE = 3, 0.03  # number of products of two columns for each target; maximum unexplained fraction of variance
_WHOLE = 40  # letters by which an equation seems shorter if a decimal target is computed from integers
_ZEROS = 0.2  # minimum fraction of rows with a 0
_BEST = 12  # number of ratios with sums or differences for each target


def equations(sample: Sample, known: list[Equation]) -> list[Equation]:
    """Equations with products and ratios.

    Args:
        sample: the rows.
        known: equations; candidates that have all columns of one of them are omitted.
    """
    names = [name for name in sample.numeric if sample.kinds[name] == "number"]
    logs = _logs(np.array([sample.columns.numbers(name) for name in names]).T.reshape(len(sample), len(names)))
    usable = np.mean(~np.isnan(logs), axis=0) > 0.3 if len(logs) else np.zeros(len(names), bool)
    names, logs = [name for name, use in zip(names, usable, strict=True) if use], logs[:, usable]
    rated: list[tuple[float, int, Equation]] = []
    taken = [set(equation.names) for equation in known]
    done: set[tuple] = set()
    for target, powers in [
        *_selected(sample, logs, names),
        *_triples(sample, logs, names),
        *_pairs(sample, logs, names),
    ]:
        columns = frozenset((target, *(name for factor, _ in powers for name in _factor_names(factor))))
        if len(columns) < 3 and all(abs(power) == 1 for _, power in powers) and powers[0][1] == 1:
            continue  # a multiple is linear
        key = (columns, *sorted(spelt(factor) for factor, _ in powers if isinstance(factor, Binary)))
        if any(other <= columns for other in taken) or key in done:
            continue
        done.add(key)
        for factors in _solutions(target, powers):
            found = _equation(sample, *factors)
            if found:
                rated.append((*found,))  # type: ignore[arg-type]
    kept: list[Equation] = _of_zeros(sample, known)
    powers_: list[dict[str, int]] = []
    for _, _, equation in sorted(rated, key=lambda entry: (-round(entry[0], 3), entry[1])):
        own = set(equation.names)
        if not any(own <= set(other.names) or set(other.names) <= own for other in kept):
            relation = _relation(equation)
            if relation and _follows(relation, powers_):
                continue
            kept.append(equation)
            powers_ += [relation] if relation else []
    return kept


def _relation(equation: Equation) -> dict[str, int] | None:
    """The exponents of the columns in an equation with products; None if it has sums."""
    powers = {equation.target: -1}

    def add(node: Expression, sign: int) -> bool:
        if isinstance(node, Name):
            powers[node.name] = powers.get(node.name, 0) + sign
        if isinstance(node, Binary) and node.operator in "*/":
            return add(node.left, sign) and add(node.right, sign if node.operator == "*" else -sign)
        return isinstance(node, Name | Number)

    return powers if add(equation.value, 1) else None


def _follows(relation: dict[str, int], known: list[dict[str, int]]) -> bool:
    """Whether an equation with products follows from others, by their exponents."""
    names = sorted({name for powers in (*known, relation) for name in powers})
    rows = np.array([[powers.get(name, 0) for name in names] for powers in (*known, relation)], float)
    return len(known) > 0 and np.linalg.matrix_rank(rows) == np.linalg.matrix_rank(rows[:-1])


def _of_zeros(sample: Sample, known: list[Equation]) -> list[Equation]:
    """Products of integers with many zeros, which have no logarithm: `fchild = female * child`."""
    computed = {equation.target for equation in known}
    names = [name for name in sample.numeric if sample.kinds[name] == "number"]
    names = [name for name in names if sample.columns.unit(name) >= 1 and not sample.columns.missing(name).any()]
    values = np.array([sample.columns.numbers(name) for name in names]).reshape(len(names), len(sample))
    zeros = np.mean(values == 0, axis=1)
    often = [i for i in np.argsort(-zeros).tolist() if zeros[i] > _ZEROS][:_PAIRED]
    weight = np.random.default_rng(0).random(len(sample))
    sums = values @ weight  # equal columns have equal weighted sums
    sample.count("product", len(often) * len(names) ** 2 / 2)
    found = []
    for i in often:
        products_ = (values * weight) @ values[i]
        for j in range(len(names)):
            equal = np.flatnonzero(np.isclose(sums, products_[j], rtol=1e-12, atol=1e-9)).tolist()
            product = Binary("*", Name(names[min(i, j)]), Name(names[max(i, j)]))
            if i < j or (j not in often and i != j):
                found += [Equation(names[k], product) for k in equal if k not in (i, j) and names[k] not in computed]
    return [rule for rule in found if sample.rate(rule) == 1 and len(sample.columns.codes(rule.target)[1]) > 1]


def _logs(values: np.ndarray) -> np.ndarray:
    """The logarithms of absolute values; NaN for 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(np.abs(values))
    return np.where(np.isinf(logs), np.nan, logs)


def _factor_names(factor: Expression) -> tuple[str, ...]:
    """The columns of a factor: a column, or the sum or difference of two."""
    return (factor.name,) if isinstance(factor, Name) else (factor.left.name, factor.right.name)  # type: ignore[union-attr]


def _selected(sample: Sample, logs: np.ndarray, names: list[str]) -> Iterator[tuple[str, list[tuple[Expression, int]]]]:
    """Targets and their factors with exponents, by forward selection."""
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
    """The integer exponents of columns, except for 0; {} if some are not integers."""
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


def _triples(sample: Sample, logs: np.ndarray, names: list[str]) -> Iterator[tuple[str, list[tuple[Expression, int]]]]:
    """The best products and ratios of any two columns, which forward selection may miss."""
    chosen, full = _complete(np.isnan(logs))
    part = logs[:, chosen][full][:_ROWS]
    if len(chosen) < 3 or not len(part):
        return
    cov = np.cov(part.T)
    variance = np.diag(cov)
    first, second = np.triu_indices(len(chosen), 1)
    sample.count("product", 3.0 * len(chosen) * len(first))
    for target in range(len(chosen)):
        left = []
        for s, t in ((1, 1), (1, -1), (-1, 1)):
            rest = variance[target] + variance[first] + variance[second] + 2 * s * t * cov[first, second]
            left.append(rest - 2 * s * cov[target, first] - 2 * t * cov[target, second])
        flat = np.where((first == target) | (second == target), np.inf, left)
        for place in np.argsort(flat, axis=None)[:_FEW]:
            form, pair = np.unravel_index(place, flat.shape)
            if variance[target] and flat[form, pair] <= _CLOSE * variance[target]:
                s, t = ((1, 1), (1, -1), (-1, 1))[form]
                one, two = Name(names[chosen[first[pair]]]), Name(names[chosen[second[pair]]])
                yield names[chosen[target]], [(one, s), (two, t)]


def _pairs(sample: Sample, logs: np.ndarray, names: list[str]) -> Iterator[tuple[str, list[tuple[Expression, int]]]]:
    """Targets that are the product or a ratio of a column and the sum or difference of two columns."""
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
    """Chooses columns, those with the fewest missing values first, as long as enough rows have all of them.

    Args:
        absent: (n, m) bool, missing values.

    Returns:
        The numbers of the columns; (n,) bool, rows in which none of them is missing.
    """
    chosen: list[int] = []
    full = np.ones(len(absent), bool)
    for column in np.argsort(absent.mean(axis=0), kind="stable").tolist():
        left = full & ~absent[:, column]
        if len(chosen) < _PAIRED and left.sum() >= max(50, _COMPLETE * len(absent)):
            chosen.append(column)
            full = left
    return sorted(chosen), full


def _solutions(target: str, powers: list[tuple[Expression, int]]) -> Iterator[tuple[str, list[tuple[Expression, int]]]]:
    """The relation solved for the target, and for each factor that is a single column."""
    yield target, powers
    for factor, power in powers:
        if isinstance(factor, Name) and abs(power) == 1:
            others = [(other, -p * power) for other, p in powers if other is not factor]
            if any(factor.name in _factor_names(other) for other, _ in others):
                continue
            yield factor.name, [(Name(target), power), *others]


def _equation(sample: Sample, target: str, powers: list[tuple[Expression, int]]) -> tuple[float, int, Equation] | None:
    """The rate of an equation, its length for the comparison of equations, and the equation, with `~=` if necessary."""
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
    precise = np.argsort(-size)[: max(len(size) // 4, 10)]  # rows in which rounding changes the ratio least
    centre = float(np.median(ratio[precise]))
    factor = selection.simplest(centre, max(float(unit / np.median(size[precise])) / 2, 1e-9 * abs(centre)))
    if not factor:
        return None
    for rank, (scaled, loose) in enumerate(((product, False), (product, True))):
        whole = _product(above, below, float(factor)) if factor != 1 else scaled
        equation = Equation(target, whole, loose)
        rate = sample.rate(equation)
        if rate >= _GOOD:
            # Decimals computed from integers are preferred: the inverse, a count computed from decimals, is less exact.
            counts = all(sample.columns.unit(name) >= 1 for name in names_of(product))
            counts = counts and sample.columns.unit(target) < 1
            cost = 3 * len(below) + 6 * (factor.denominator != 1) - _WHOLE * counts
            fine = np.log2(sample.spread(target) / unit) if sample.columns.unit(target) else 60.0
            return rate - 0.01 * rank, len(equation.text) + cost - 2 * round(float(fine)), equation
    return None


def _product(above: list[Expression], below: list[Expression], factor: float = 1.0) -> Expression:
    """The expression for a factor times the product of `above`, divided by the product of `below`."""
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
