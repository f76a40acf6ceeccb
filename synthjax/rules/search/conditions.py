"""Implications and equivalences of conditions: `pay == 'cash' => tip == 0`, `missing(end) <=> missing(delay)`.

The conditions are called atoms: that a column has a value that many rows share, that it is missing, or that it is
positive or negative. A matrix product counts the rows that meet both of two atoms, for all pairs at once. Atoms that
imply each other are candidates.
"""

import math
from dataclasses import dataclass

import numpy as np

from synthjax.rules.kinds import Equation, Rule, Seen, Together, When
from synthjax.rules.predicates import Compare, Missing, Predicate
from synthjax.rules.search.sample import Sample, tied

_LEAST_ROWS, _LEAST_SHARE = 10, 0.001  # minimum number and fraction of rows that meet an atom
_LEVELS = 40  # maximum number of levels of text, and of frequent numbers, that are atoms
_NUMBER_LEVELS = 6  # maximum number of levels of a column of numbers all of whose values are atoms
_COMMON = 0.03  # minimum fraction of rows with a text, or with the number 0, in columns with more levels
_SPIKE = 0.2  # minimum fraction of rows with another number
_GOOD = 0.985  # minimum rate of an implication
_PLAIN = 0.5  # maximum chance level of an implication with exceptions
_TRIVIAL = 0.95  # maximum chance level of an implication
_UNSAID = 0.05  # maximum fraction of an atom's rows to which an equation applies, for the pair to be searched
_ATOMS = 2500  # maximum number of atoms
_GATHER = 4  # maximum number of implications between two columns of text; with more, the rule is `seen`


@dataclass(frozen=True)
class _Atoms:
    """k conditions that many rows meet."""

    predicates: list[Predicate]
    columns: np.ndarray
    """(k,) number of each atom's column."""
    bits: np.ndarray
    """(k, n) f32, 1 for rows that meet the atom."""
    present: np.ndarray
    """(columns, n) f32, 1 for rows in which the column has a value."""


def rules(sample: Sample, known: list[Rule]) -> list[Rule]:
    """Equivalent conditions, then implications.

    Args:
        sample: the rows.
        known: rules; pairs of columns that they relate are not searched.
    """
    atoms = _atoms(sample)
    k = len(atoms.predicates)
    if k < 2:
        return []
    sample.count("when", float(k) ** 2)
    both = atoms.bits @ atoms.bits.T
    known_claim = (atoms.bits @ atoms.present.T)[
        :, atoms.columns
    ]  # rows that meet i and in which the column of j has a value
    missing = np.array([isinstance(predicate, Missing) for predicate in atoms.predicates])
    own = np.diag(both)
    known_claim[:, missing] = own[:, None]
    share = np.where(missing, own / len(sample), own / np.maximum(atoms.present.sum(axis=1)[atoms.columns], 1))
    held = _tied(atoms, known, missing, sample)
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = np.where(known_claim >= _LEAST_ROWS, both / np.maximum(known_claim, 1), 0)
        other = np.where(own[:, None] + own[None] > both, both / (own[:, None] + own[None] - both), 0)
        surprise = -known_claim * np.log(np.clip(share, 1e-9, 1))[None]
    implies = (rate >= _GOOD) & (share <= _TRIVIAL)[None] & (surprise >= math.log(k) * 2 + 7) & ~held
    implies &= (rate - share[None]) >= 0.9 * (1 - share[None])
    implies &= (rate == 1) | (share <= _PLAIN)[None]
    implies &= ~_turned(implies, both, atoms)
    same = (other >= _GOOD) & ~held
    together, group = _groups(same, both, atoms)
    return [*together, *_gathered(_implications(implies, rate, group, atoms), sample)]


def _atoms(sample: Sample) -> _Atoms:
    """The atoms of all columns."""
    predicates: list[Predicate] = []
    owners: list[int] = []
    bits: list[np.ndarray] = []
    present = []
    n = len(sample)
    least = max(_LEAST_ROWS, _LEAST_SHARE * n)

    def add(predicate: Predicate, column: int, rows: np.ndarray) -> None:
        if least <= rows.sum() <= n - 3:
            predicates.append(predicate)
            owners.append(column)
            bits.append(rows)

    for column, name in enumerate(sample.kinds):
        codes, levels = sample.columns.codes(name)
        kind = sample.kinds[name]
        present.append(codes >= 0)
        add(Missing(name), column, codes < 0)
        counts = np.bincount(codes[codes >= 0], minlength=len(levels))
        text = kind == "text"
        all_of_them = len(levels) <= (_LEVELS if text else _NUMBER_LEVELS)
        if kind == "date":
            continue
        for code in np.argsort(-counts)[:_LEVELS].tolist():
            common = text or levels[code] == 0 or counts[code] >= _SPIKE * n
            if all_of_them or (common and counts[code] >= max(_COMMON * n, least)):
                value = str(levels[code]) if text else float(levels[code])
                add(Compare(name, "==", value), column, codes == code)
        if not text and len(levels) > 2:
            numbers = sample.columns.numbers(name)
            for operator, rows in ((">", numbers > 0), ("<", numbers < 0)):
                if not rows[codes >= 0].all():
                    add(Compare(name, operator, 0.0), column, rows)
    if len(predicates) > _ATOMS:
        order = np.sort(np.argsort([-rows.sum() for rows in bits], kind="stable")[:_ATOMS])
        predicates, owners, bits = ([part[i] for i in order] for part in (predicates, owners, bits))  # type: ignore[assignment]
    shape = (len(bits), n)
    return _Atoms(
        predicates,
        np.array(owners, np.int64),
        np.array(bits, np.float32).reshape(shape),
        np.array(present, np.float32).reshape(len(present), n),
    )


def _tied(atoms: _Atoms, known: list[Rule], missing: np.ndarray, sample: Sample) -> np.ndarray:
    """(k, k) bool: pairs of atoms of the same column, and of columns that a rule relates."""
    places = {name: i for i, name in enumerate(sample.kinds)}
    pairs = np.eye(len(places), dtype=bool)
    for names in tied(known):
        if names <= places.keys():
            both = [places[name] for name in names]
            pairs[np.ix_(both, both)] = True
    computed = np.zeros((len(places), len(places)), bool)
    for rule in known:
        own = [places[name] for name in rule.names if name in places]
        if own:
            computed[np.ix_(own, own[:1])] = computed[np.ix_(own[:1], own)] = True
    held = pairs[np.ix_(atoms.columns, atoms.columns)]
    # A sum is missing if its terms are, so this is not searched. Whether two terms are missing together is.
    gone = missing[:, None] & missing[None] & ~computed[np.ix_(atoms.columns, atoms.columns)]
    same = atoms.columns[:, None] == atoms.columns[None]
    held = np.where(gone, same, held)
    for rule in known:  # equations do not apply to rows without a result, such as ratios to 0; these are searched
        members = np.flatnonzero(np.isin(atoms.columns, [places[name] for name in rule.names if name in places]))
        if isinstance(rule, Equation) and len(members):
            said = atoms.bits[members] @ rule.verdict(sample.columns)[0].astype(np.float32)
            free = members[said <= _UNSAID * atoms.bits[members].sum(axis=1)]
            for pair in (np.ix_(free, members), np.ix_(members, free)):
                held[pair] = same[pair]
    return held


def _turned(implies: np.ndarray, both: np.ndarray, atoms: _Atoms) -> np.ndarray:
    """(k, k) bool: implications a => b that are equivalent to a preferred one, not b => not a, in binary columns."""
    own = np.diag(both)
    full = atoms.present.sum(axis=1)[atoms.columns]
    opposite = (atoms.columns[:, None] == atoms.columns) & (both == 0) & (own[:, None] + own == full[:, None])
    turned = np.zeros_like(implies)
    for i, j in np.argwhere(implies):
        back = implies[np.ix_(opposite[j], opposite[i])]
        # Implications from text to numbers are preferred, then those from the first column to the later one.
        plain = (isinstance(getattr(atoms.predicates[i], "value", 0.0), str), atoms.columns[j])
        other = (isinstance(getattr(atoms.predicates[j], "value", 0.0), str), atoms.columns[i])
        turned[i, j] = bool(back.any()) and plain < other
    return turned


def _groups(same: np.ndarray, both: np.ndarray, atoms: _Atoms) -> tuple[list[Rule], np.ndarray]:
    """Sets of equivalent atoms of different columns.

    Returns:
        A rule for each set with at least two atoms; (k,) the first atom of each atom's set.
    """
    k = len(same)
    group = np.arange(k)
    found: list[Rule] = []
    for first in range(k):
        if group[first] != first:
            continue
        members, columns = [first], {int(atoms.columns[first])}
        for other in np.flatnonzero(same[first]):
            if other > first and group[other] == other and int(atoms.columns[other]) not in columns:
                members.append(int(other))
                columns.add(int(atoms.columns[other]))
        group[members] = first
        if len(members) > 1:
            parts = [atoms.predicates[i] for i in sorted(members, key=lambda i: (-both[i, i], i))]
            found.append(Together(tuple(parts)))
    return found, group


def _implications(implies: np.ndarray, rate: np.ndarray, group: np.ndarray, atoms: _Atoms) -> list[When]:
    """Implications between sets of atoms, without those that follow from two others."""
    heads = np.unique(group)
    whole = implies[np.ix_(heads, heads)] & ~np.eye(len(heads), dtype=bool)
    exact = whole & (rate[np.ix_(heads, heads)] == 1)
    back = whole & whole.T  # nearly equivalent, but not in the same set: both are kept
    first = exact & ~exact.T
    through = (first.astype(np.float32) @ first.astype(np.float32)) > 0
    found: list[When] = []
    for i, j in np.argwhere(whole & ~(through & ~back)):
        condition, claim = atoms.predicates[heads[i]], atoms.predicates[heads[j]]
        found.append(When((condition,), claim))
    return found


def _gathered(found: list[When], sample: Sample) -> list[Rule]:
    """Replaces implications between two columns of text by one rule `seen`, if there are more than _GATHER."""
    pairs: dict[tuple[str, str], list[When]] = {}
    for rule in found:
        values = [rule.conditions[0], rule.claim]
        if all(isinstance(part, Compare) and part.operator == "==" for part in values):
            pairs.setdefault((rule.names[0], rule.names[1]), []).append(rule)
    gathered: list[Rule] = []
    gone: set[int] = set()
    for (first, second), rules_ in pairs.items():
        if len(rules_) > _GATHER and all(sample.kinds[name] == "text" for name in (first, second)):
            gathered.append(Seen((first, second)))
            gone |= {id(rule) for rule in rules_}
    return [*(rule for rule in found if id(rule) not in gone), *gathered]
