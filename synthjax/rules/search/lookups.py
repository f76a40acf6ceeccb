"""What determines what (`city -> country`), and which combinations occur (`seen(origin, dest)`).

Rows are sorted by the keys; among neighbours with the same keys, those that differ in another column are counted, for
all columns at once. Chance is the share of any two rows that agree there.
"""

from collections.abc import Iterable
from itertools import combinations

import numpy as np

from synthjax.rules.chance import BEYOND, log_tail
from synthjax.rules.columns import joint
from synthjax.rules.kinds import Determined, Rule, Seen
from synthjax.rules.search.sample import Sample, tied

_CONFLICTS = 0.03  # of neighbours, at most
_LEAST_PAIRS = 15
_FAINT = 0.95
_HEAVY, _OFTEN = 0.02, 10  # share, or number, of the repeats of a number that are those of one value, at most
_KEYS = 40  # columns that pairs of keys are formed of, at most
_WIDE, _GLANCE = 100, 500  # columns of a wide table; rows that are looked at first
_PAIR_LEVELS = 300
_COVERED = 0.8  # share of independent draws that would be a combination that occurs
_FEW_NUMBERS = 20  # different ones up to which numbers may be codes, whatever they look like
_FILLED = 0.8  # share of the levels between the ends of its own that a group has, from which on it has bounds


def determined(sample: Sample, equations: list[Rule]) -> list[Determined]:
    """Columns that one or two others determine, and no equation gives."""
    names, codes = list(sample.kinds), sample.codes
    sizes = sample.levels
    if not names:
        return []
    agree = np.array([_agreement(codes[:, i]) for i in range(len(names))])
    explained = {(name, rule.names[0]) for rule in equations for name in rule.names[1:]}
    explained |= {(b, a) for a, b in explained}
    # conflict[a, c]: share of the neighbours with the same a that differ in c
    conflict = np.full((len(names), len(names)), 1.0)
    found: list[Determined] = []
    n = len(sample)
    sample.count("determined", len(names) ** 2)
    for key in range(len(names)):
        number = sample.kinds[names[key]] == "number"
        if sizes[key] > (0.7 if number and not _named(sample, names[key]) else 0.98) * n:
            continue
        pairs, conflicts = _conflicts_soon(codes, codes[:, key])
        with np.errstate(invalid="ignore", divide="ignore"):
            conflict[key] = np.where(pairs > 0, conflicts / pairs, 1.0)
        # Amounts that seldom repeat are no keys: those that do are the round ones.
        seldom = number and not _named(sample, names[key])
        least = np.maximum(_LEAST_PAIRS, 0.3 * seldom * np.sum(codes >= 0, axis=0))
        for target in np.flatnonzero((conflict[key] <= _CONFLICTS) & (pairs >= least)):
            faint = seldom and agree[target] > _FAINT  # what an amount would determine hardly varies
            if target != key and not faint and (names[key], names[target]) not in explained:
                hits, rows = pairs[target] - conflicts[target], int(pairs[target])
                if _beyond(hits / rows, agree[target]) and log_tail(float(hits), rows, float(agree[target])) < -12:
                    found.append(Determined((names[key],), names[target]))
    single = {(rule.keys[0], rule.target) for rule in found}
    found += _by_two(sample, conflict, agree, single, explained)
    return _both_ways(found, sample)


def _named(sample: Sample, name: str) -> bool:
    """Whether whole numbers may name something: none of them makes up much of those that repeat."""
    if sample.columns.unit(name) < 1:
        return False
    counts = np.bincount(sample.columns.codes(name)[0] + 1)[1:]
    return bool(counts.max() - 1 <= max(_HEAVY * np.sum(counts - 1), _OFTEN))


def _by_two(sample: Sample, conflict: np.ndarray, agree: np.ndarray, single: set, explained: set) -> list[Determined]:
    names, codes, sizes, n = list(sample.kinds), sample.codes, sample.levels, len(sample)
    small = [i for i in np.argsort(-sizes) if 2 <= sizes[i] <= min(_PAIR_LEVELS, n // 10)]
    small = small[: _KEYS if len(names) <= _WIDE else _KEYS // 4]
    found = []
    sample.count("determined", len(small) ** 2 * len(names) / 2)
    reached = {target for _, target in single}
    open_ = [i for i, name in enumerate(names) if name not in reached]
    for a, b in combinations(sorted(small), 2):
        if (names[a], names[b]) in single or (names[b], names[a]) in single or sizes[a] * sizes[b] > n:
            continue
        targets = [i for i in open_ if i not in (a, b) and not {(names[a], names[i]), (names[b], names[i])} & explained]
        # A pair is worth a look only where neither key leaves the target as it is.
        targets = [i for i in targets if min(conflict[a, i], conflict[b, i]) > _CONFLICTS]
        if not targets:
            continue
        group, _ = joint([codes[:, a], codes[:, b]])
        pairs, conflicts = _conflicts(codes[:, targets], group)
        base = np.maximum(1 - np.minimum(conflict[a], conflict[b])[targets], agree[targets])
        for place, target in enumerate(targets):
            rows, hits = int(pairs[place]), float(pairs[place] - conflicts[place])
            if rows < _LEAST_PAIRS or conflicts[place] > _CONFLICTS * rows:
                continue
            if _beyond(hits / rows, base[place]) and log_tail(hits, rows, float(base[place])) < -20:
                found.append(Determined((names[a], names[b]), names[target]))
    return found


def _beyond(rate: float, chance: float) -> bool:
    return chance < 1 and (rate - chance) / (1 - chance) >= BEYOND - 0.1


def _agreement(codes: np.ndarray) -> float:
    """Share of the pairs of rows that agree."""
    counts = np.bincount(codes[codes >= 0]).astype(float)
    total = counts.sum()
    return float(np.sum(counts * (counts - 1)) / (total * (total - 1))) if total > 1 else 1.0


def _conflicts(codes: np.ndarray, key: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of neighbours with the same key: how many have both values of each column, and how many of these differ."""
    rows = np.flatnonzero(key >= 0)
    rows = rows[np.argsort(key[rows], kind="stable")]
    same = key[rows][1:] == key[rows][:-1]
    first, second = codes[rows[:-1][same]], codes[rows[1:][same]]
    both = (first >= 0) & (second >= 0)
    return both.sum(axis=0), (both & (first != second)).sum(axis=0)


def _conflicts_soon(codes: np.ndarray, key: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same of a wide table: all rows only for the columns that few rows leave open."""
    if codes.shape[1] <= _WIDE:
        return _conflicts(codes, key)
    pairs, conflicts = _conflicts(codes[:_GLANCE], key[:_GLANCE])
    open_ = np.flatnonzero(conflicts <= 0.1 * pairs)
    pairs[open_], conflicts[open_] = _conflicts(codes[:, open_], key)
    return pairs, conflicts


def _both_ways(found: list[Determined], sample: Sample) -> list[Determined]:
    """Rules that hold both ways as one, and none that others imply: a -> b -> c leaves out a -> c."""
    single = {(rule.keys[0], rule.target) for rule in found if len(rule.keys) == 1}
    levels = dict(zip(sample.kinds, sample.levels.tolist(), strict=True))
    text = {name: sample.kinds[name] == "text" for name in sample.kinds}
    kept: list[Determined] = []
    for rule in found:
        key, target = rule.keys[0], rule.target
        if len(rule.keys) > 1:
            kept.append(rule)
        elif (target, key) in single:
            # One rule of the two, from text to number where there is one of each.
            if (text[key], key < target) > (text[target], target < key):
                kept.append(Determined((key,), target, both=True))
        elif not any(
            (key, middle) in single and (middle, target) in single and levels[middle] < levels[key]
            for middle in levels
            if middle not in (key, target)
        ):
            kept.append(rule)
    return kept


def seen(sample: Sample, known: Iterable[Rule]) -> list[Seen]:
    """Pairs of columns of which few combinations occur, and that no rule ties already."""
    names, codes, sizes, n = list(sample.kinds), sample.codes, sample.levels, len(sample)
    together = tied(known)
    usable = [i for i in np.argsort(-sizes) if 3 <= sizes[i] <= min(_PAIR_LEVELS, n // 20)][:_KEYS]
    found = []
    sample.count("seen", len(usable) ** 2 / 2)
    for a, b in combinations(sorted(usable), 2):
        if frozenset((names[a], names[b])) in together:
            continue
        covered = _coverage(codes[:, a], codes[:, b])
        if covered is not None and covered <= _COVERED and not _measured(sample, a, b) and not _measured(sample, b, a):
            found.append((covered, Seen((names[a], names[b]))))
    return [rule for _, rule in sorted(found, key=lambda pair: pair[0])]


def _measured(sample: Sample, column: int, other: int) -> bool:
    """Whether a column measures something: then its values have bounds where `other` has one value, no combinations."""
    name = list(sample.kinds)[column]
    if sample.kinds[name] == "text" or sample.levels[column] <= _FEW_NUMBERS:
        return False
    numbers = sample.columns.numbers(name)
    if sample.kinds[name] == "number" and np.any(np.nan_to_num(numbers) % 1):
        return True
    groups = sample.codes[:, other]
    full = ~np.isnan(numbers) & (groups >= 0)
    levels = np.unique(numbers[full], return_inverse=True)[1]
    group, level = np.unique(np.stack([groups[full], levels]), axis=1)
    starts = np.flatnonzero(np.r_[True, np.diff(group) > 0])
    sizes = np.diff(np.r_[starts, len(group)])
    spans = level[starts + sizes - 1] - level[starts] + 1
    return bool(sizes.sum() >= _FILLED * spans.sum())


def _coverage(first: np.ndarray, second: np.ndarray) -> float | None:
    """P(a combination that occurs) of independent draws; None where too few rows repeat one to tell."""
    full = (first >= 0) & (second >= 0)
    first, second = first[full], second[full]
    if not len(first):
        return None
    group, rows = joint([first, second])
    counts = np.bincount(group)
    if np.sum(counts == 1) > 0.01 * len(first):
        return None
    p, q = np.bincount(first) / len(first), np.bincount(second) / len(second)
    return float(np.sum(p[first[rows]] * q[second[rows]]))
