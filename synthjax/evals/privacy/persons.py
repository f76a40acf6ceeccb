r"""Membership of persons: each is attacked by all of its records together.

A record may leak too little to be told, and a person of many such records be known all the same. Of the k records of a
person with ranks u_1 ... u_k among all records attacked (in (0, 1), high = member), each attack says two things, which
are those of the two classical ways to combine independent tests:

    NAME            sum_i Phi^-1(u_i) / sqrt(k)     Stouffer et al. 1949: every record leaks a little
    NAME_largest    k log max_i u_i                 Tippett 1931: one record leaks, the others do not

With scores N(0, 1) of others and N(d, 1) of members the first one has the AUC Phi(d sqrt(k / 2)), which no other
function of the scores exceeds. Members and others are exchangeable as persons if nothing leaks, however alike the
records of one are, so that p-values and intervals are those of `summary`, over persons.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy import stats

from synthjax.evals.privacy.records import EACH, AttackedRows, Persons
from synthjax.evals.streams import stream

LARGEST = "_largest"
"""What the name of an attack by the largest rank ends with."""


class Records(NamedTuple):
    """All records of the attacked persons, members' first."""

    rows: AttackedRows
    """Theirs; among them the attacked rows."""
    of: np.ndarray
    """(n,) i64 whose: the place of the person among `attacked`, members first."""
    attacked: np.ndarray
    """(m,) i64 the place of each attacked row among these."""


def records(attacked: AttackedRows, persons: Persons, seed: int) -> Records:
    """All records of the persons whose rows are attacked; of those with more than EACH, so many, drawn by chance."""
    rng = stream(seed, "privacy.persons")
    members = _of(rng, attacked.members, persons.train)
    others = _of(rng, attacked.others, persons.unseen)
    rows = AttackedRows(members[0], others[0])
    first = np.searchsorted(members[0], attacked.members)
    second = len(members[0]) + np.searchsorted(others[0], attacked.others)
    of = np.concatenate([members[1], len(attacked.members) + others[1]])
    return Records(rows, of, np.concatenate([first, second]))


def _of(rng: np.random.Generator, attacked: np.ndarray, persons: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the persons of some rows, ascending, and whose they are: the place among `attacked`."""
    places = np.argsort(persons[attacked])
    names = persons[attacked][places]
    rows = np.flatnonzero(np.isin(persons, names))
    order = rng.permutation(len(rows))
    order = np.concatenate([order[np.isin(rows[order], attacked)], order[~np.isin(rows[order], attacked)]])
    order = order[np.argsort(persons[rows][order], kind="stable")]  # of each person the attacked row first
    ordered = persons[rows][order]
    kept = np.sort(rows[order[np.arange(len(order)) - np.searchsorted(ordered, ordered) < EACH]])
    return kept, places[np.searchsorted(names, persons[kept])]


def together(guesses: Mapping[str, np.ndarray], of: np.ndarray) -> dict[str, np.ndarray]:
    """What attacks say of persons.

    Args:
        guesses: attack -> (n,) what it says of records, high = member.
        of: (n,) i64 the person of each, 0 ... m - 1; each has one.

    Returns:
        Attack, and attack with LARGEST -> (m,), see the module.

    >>> found = together({"a": np.array([3.0, 4, 1, 2])}, np.array([0, 0, 1, 1]))
    >>> [values.argmax().item() for values in found.values()]
    [0, 0]
    """
    k = np.bincount(of)
    found: dict[str, np.ndarray] = {}
    for name, guess in guesses.items():
        rank = stats.rankdata(guess) / (len(guess) + 1)
        largest = np.zeros(len(k))
        np.maximum.at(largest, of, rank)
        found[name] = np.bincount(of, stats.norm.ppf(rank)) / np.sqrt(k)
        found[name + LARGEST] = k * np.log(largest)
    return found
