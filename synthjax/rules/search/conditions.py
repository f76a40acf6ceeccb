"""What holds under a condition: `pay == 'cash' => tip == 0`, `missing(end) <=> missing(delay)`.

Each value that many rows share, each missing value and each sign is an atom: one bit a row. The products of all pairs
of atoms, one matrix product, say which implies which.
"""

import math
from dataclasses import dataclass

import numpy as np

from synthjax.rules.kinds import Equation, Rule, Seen, Together, When
from synthjax.rules.predicates import Compare, Missing, Predicate
from synthjax.rules.search.sample import Sample, tied

_LEAST_ROWS, _LEAST_SHARE = 10, 0.001
_LEVELS = 40  # of a text column whose values are atoms
_NUMBER_LEVELS = 6
_COMMON = 0.03  # share of rows of a number that is an atom by itself
_SPIKE = 0.2  # the same of a number other than 0
_GOOD = 0.985
_PLAIN = 0.5  # chance, at most, of what has exceptions
_TRIVIAL = 0.95
_UNSAID = 0.05  # share of its rows that an equation may still say something of
_ATOMS = 2500
_GATHER = 4  # implications between two columns of text that are told one by one


@dataclass(frozen=True)
class _Atoms:
    predicates: list[Predicate]
    columns: np.ndarray
    """(k,) number of each atom's column."""
    bits: np.ndarray
    """(k, n) f32."""
    present: np.ndarray
    """(columns, n) f32: where the column has a value."""


def rules(sample: Sample, known: list[Rule]) -> list[Rule]:
    """Conditions that go together, then what one implies."""
    atoms = _atoms(sample)
    k = len(atoms.predicates)
    if k < 2:
        return []
    sample.count("when", float(k) ** 2)
    both = atoms.bits @ atoms.bits.T
    known_claim = (atoms.bits @ atoms.present.T)[:, atoms.columns]  # rows of i where the column of j has a value
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
    """(k, k) bool: pairs of one column, and pairs that a rule ties already."""
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
    # That a sum is missing with its parts goes without saying; that two parts are missing together does not.
    gone = missing[:, None] & missing[None] & ~computed[np.ix_(atoms.columns, atoms.columns)]
    same = atoms.columns[:, None] == atoms.columns[None]
    held = np.where(gone, same, held)
    for rule in known:  # where an equation has no value, such as a ratio to 0, it says nothing
        members = np.flatnonzero(np.isin(atoms.columns, [places[name] for name in rule.names if name in places]))
        if isinstance(rule, Equation) and len(members):
            said = atoms.bits[members] @ rule.verdict(sample.columns)[0].astype(np.float32)
            free = members[said <= _UNSAID * atoms.bits[members].sum(axis=1)]
            for pair in (np.ix_(free, members), np.ix_(members, free)):
                held[pair] = same[pair]
    return held


def _turned(implies: np.ndarray, both: np.ndarray, atoms: _Atoms) -> np.ndarray:
    """(k, k) bool: a => b where not b => not a is told as well, of columns that have two atoms and no other value."""
    own = np.diag(both)
    full = atoms.present.sum(axis=1)[atoms.columns]
    opposite = (atoms.columns[:, None] == atoms.columns) & (both == 0) & (own[:, None] + own == full[:, None])
    turned = np.zeros_like(implies)
    for i, j in np.argwhere(implies):
        back = implies[np.ix_(opposite[j], opposite[i])]
        # Told from text to number, else from the first column to the later one.
        plain = (isinstance(getattr(atoms.predicates[i], "value", 0.0), str), atoms.columns[j])
        other = (isinstance(getattr(atoms.predicates[j], "value", 0.0), str), atoms.columns[i])
        turned[i, j] = bool(back.any()) and plain < other
    return turned


def _groups(same: np.ndarray, both: np.ndarray, atoms: _Atoms) -> tuple[list[Rule], np.ndarray]:
    """Sets of atoms that the same rows meet, one of a column, and the number of each atom's set."""
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
    """Implications between sets, without those that follow from two others."""
    heads = np.unique(group)
    whole = implies[np.ix_(heads, heads)] & ~np.eye(len(heads), dtype=bool)
    exact = whole & (rate[np.ix_(heads, heads)] == 1)
    back = whole & whole.T  # nearly the same, and not in one set: both are told
    first = exact & ~exact.T
    through = (first.astype(np.float32) @ first.astype(np.float32)) > 0
    found: list[When] = []
    for i, j in np.argwhere(whole & ~(through & ~back)):
        condition, claim = atoms.predicates[heads[i]], atoms.predicates[heads[j]]
        found.append(When((condition,), claim))
    return found


def _gathered(found: list[When], sample: Sample) -> list[Rule]:
    """Many implications from the values of one column to those of another as the combinations that occur."""
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
