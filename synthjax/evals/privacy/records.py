"""Which records are attacked, and what every attack said of each of them.

Where records belong to persons, those of one are alike, so that they say less than as many of different persons. Then
one record of each person is attacked, drawn by chance, and beside it the person, by all of its records
(`synthjax.evals.privacy.persons`).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from synthjax import files
from synthjax.evals.streams import stream
from synthjax.evals.subsample import sample

EACH = 50
"""Rows of a person that are looked at, at most."""


class AttackedRows(NamedTuple):
    """Rows that membership attacks are tried on."""

    members: np.ndarray
    """(n,) i64 rows of the training set."""
    others: np.ndarray
    """(m,) i64 rows of the holdout."""

    @property
    def is_member(self) -> np.ndarray:
        """(n + m,) bool: members come first wherever both stand in one array."""
        return np.arange(len(self.members) + len(self.others)) < len(self.members)


class Persons(NamedTuple):
    """Whose the records are; nobody is in both sets."""

    train: np.ndarray
    """(N,) i64 of the training set."""
    unseen: np.ndarray
    """(H,) i64 of the holdout."""


def attacked_rows(
    train_size: int, holdout_size: int, *, seed: int = 0, limit: int = 10_000, persons: Persons | None = None
) -> AttackedRows:
    """Which rows membership attacks are tried on: up to four members per other, each at most `limit`, in order.

    More members than others narrow the interval of the AUC at little cost; the others are as many as there are. With
    `persons`, one row of each, and as many persons as have `limit` rows together.
    """
    rng = stream(seed, "privacy.attacked")
    if persons is not None:
        others = _one_of_each(rng, persons.unseen, limit, limit)
        return AttackedRows(_one_of_each(rng, persons.train, limit, 4 * len(others)), others)
    others = sample(rng, holdout_size, limit)
    return AttackedRows(sample(rng, train_size, min(limit, 4 * len(others))), others)


def _one_of_each(rng: np.random.Generator, persons: np.ndarray, limit: int, most: int) -> np.ndarray:
    """A row of each of at most `most` persons who have about `limit` rows together, those beyond EACH not counted."""
    order = rng.permutation(len(persons))
    _, first, rows = np.unique(persons[order], return_index=True, return_counts=True)
    drawn = rng.permutation(len(first))
    enough = np.searchsorted(np.cumsum(np.minimum(rows[drawn], EACH)), limit, side="right")
    return np.sort(order[first[drawn[: max(min(enough, most), 2)]]])


def save(path: Path, attacked: AttackedRows, guesses: Mapping[str, np.ndarray]) -> None:
    """Writes what each attack said of each record, high = member, as `.npz`, whole or not at all.

    Arrays: `row` (n + m,) i64 rows of the training or the holdout set, `member` (n + m,) bool, and (n + m,) f64 for
    each attack under its name.
    """
    with files.atomic(path) as file:
        rows = np.concatenate([attacked.members, attacked.others])
        np.savez_compressed(file, row=rows, member=attacked.is_member, **guesses)  # type: ignore[arg-type]
