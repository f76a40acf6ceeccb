"""Columns that determine others (`city -> country`), and columns of which few combinations occur (`seen(a, b)`).

Rows are sorted by the keys. Conflicts are pairs of adjacent rows that have the same keys, but differ in another column;
they are counted for all columns at once. The chance level is the fraction of all pairs of rows that agree in a column.
"""

from collections.abc import Iterable
from itertools import combinations

import numpy as np

from synthjax.rules.chance import BEYOND, log_tail
from synthjax.rules.columns import joint
from synthjax.rules.kinds import Determined, Rule, Seen
from synthjax.rules.search.sample import Sample, tied

_CONFLICTS = 0.03  # maximum fraction of adjacent rows in conflict
_LEAST_PAIRS = 15  # minimum number of adjacent rows with the same keys
_FAINT = 0.95  # maximum chance level of a column that an amount may determine
_HEAVY, _OFTEN = 0.02, 10  # maximum fraction, or number, of repeated cells with the same value, see _named
_KEYS = 40  # maximum number of columns for pairs
_WIDE, _GLANCE = 100, 500  # number of columns of a wide table; number of its rows that are checked first
_PAIR_LEVELS = 300  # maximum number of levels of a column in pairs
_COVERED = 0.8  # maximum fraction of independent draws that are a combination that occurs
_FEW_NUMBERS = 20  # maximum number of levels of numbers that may always be codes
_FILLED = 0.8  # minimum fraction of the levels within its range that a group has, see _measured


def determined(sample: Sample, equations: list[Rule]) -> list[Determined]:
    """Columns that one or two other columns determine.

    Args:
        sample: the rows.
        equations: known rules; pairs of a target and a column of its expression are not searched.
    """
    names, codes = list(sample.kinds), sample.codes
    sizes = sample.levels
    if not names:
        return []
    agree = np.array([_agreement(codes[:, i]) for i in range(len(names))])
    explained = {(name, rule.names[0]) for rule in equations for name in rule.names[1:]}
    explained |= {(b, a) for a, b in explained}
    # conflict[a, c]: fraction of adjacent rows with the same a that differ in c
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
        # Amounts that are rarely repeated are not keys: the repeated ones are mostly round numbers.
        seldom = number and not _named(sample, names[key])
        least = np.maximum(_LEAST_PAIRS, 0.3 * seldom * np.sum(codes >= 0, axis=0))
        for target in np.flatnonzero((conflict[key] <= _CONFLICTS) & (pairs >= least)):
            faint = seldom and agree[target] > _FAINT  # the target hardly varies
            if target != key and not faint and (names[key], names[target]) not in explained:
                hits, rows = pairs[target] - conflicts[target], int(pairs[target])
                if _beyond(hits / rows, agree[target]) and log_tail(float(hits), rows, float(agree[target])) < -12:
                    found.append(Determined((names[key],), names[target]))
    single = {(rule.keys[0], rule.target) for rule in found}
    found += _by_two(sample, conflict, agree, single, explained)
    return _both_ways(found, sample)


def _named(sample: Sample, name: str) -> bool:
    """Whether a column may contain identifiers: integers, of which none has a large share of the repeated cells."""
    if sample.columns.unit(name) < 1:
        return False
    counts = np.bincount(sample.columns.codes(name)[0] + 1)[1:]
    return bool(counts.max() - 1 <= max(_HEAVY * np.sum(counts - 1), _OFTEN))


def _by_two(sample: Sample, conflict: np.ndarray, agree: np.ndarray, single: set, explained: set) -> list[Determined]:
    """Columns that two others determine, and neither of them does."""
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
        # Targets that one of the keys determines are skipped.
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
    """The fraction of pairs of rows with equal values."""
    counts = np.bincount(codes[codes >= 0]).astype(float)
    total = counts.sum()
    return float(np.sum(counts * (counts - 1)) / (total * (total - 1))) if total > 1 else 1.0


def _conflicts(codes: np.ndarray, key: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Counts pairs of adjacent rows with the same key that have two values, and conflicts; both by column."""
    rows = np.flatnonzero(key >= 0)
    rows = rows[np.argsort(key[rows], kind="stable")]
    same = key[rows][1:] == key[rows][:-1]
    first, second = codes[rows[:-1][same]], codes[rows[1:][same]]
    both = (first >= 0) & (second >= 0)
    return both.sum(axis=0), (both & (first != second)).sum(axis=0)


def _conflicts_soon(codes: np.ndarray, key: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`_conflicts` for wide tables: all rows are used only for columns with few conflicts in the first rows."""
    if codes.shape[1] <= _WIDE:
        return _conflicts(codes, key)
    pairs, conflicts = _conflicts(codes[:_GLANCE], key[:_GLANCE])
    open_ = np.flatnonzero(conflicts <= 0.1 * pairs)
    pairs[open_], conflicts[open_] = _conflicts(codes[:, open_], key)
    return pairs, conflicts


def _both_ways(found: list[Determined], sample: Sample) -> list[Determined]:
    """Joins rules of both directions into one, and removes implied rules: a -> c if there are a -> b and b -> c."""
    single = {(rule.keys[0], rule.target) for rule in found if len(rule.keys) == 1}
    levels = dict(zip(sample.kinds, sample.levels.tolist(), strict=True))
    text = {name: sample.kinds[name] == "text" for name in sample.kinds}
    kept: list[Determined] = []
    for rule in found:
        key, target = rule.keys[0], rule.target
        if len(rule.keys) > 1:
            kept.append(rule)
        elif (target, key) in single:
            # The direction from text to numbers is preferred.
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
    """Pairs of columns of which few combinations occur.

    Args:
        sample: the rows.
        known: rules; pairs of columns that they relate are not searched.
    """
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
    """Whether a column is a measurement: rows with the same `other` have most of the levels within their range."""
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
    """The probability that independent draws are a combination that occurs; None if many rows have unique ones."""
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
