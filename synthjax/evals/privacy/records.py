"""Which records are attacked, and what every attack said of each of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from synthjax import files
from synthjax.evals.streams import stream
from synthjax.evals.subsample import sample


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


def attacked_rows(train_size: int, holdout_size: int, *, seed: int = 0, limit: int = 10_000) -> AttackedRows:
    """Which rows membership attacks are tried on: up to four members per other, each at most `limit`, in order.

    More members than others narrow the interval of the AUC at little cost; the others are as many as there are.
    """
    rng = stream(seed, "privacy.attacked")
    others = sample(rng, holdout_size, limit)
    return AttackedRows(sample(rng, train_size, min(limit, 4 * len(others))), others)


def save(path: Path, attacked: AttackedRows, guesses: Mapping[str, np.ndarray]) -> None:
    """Writes what each attack said of each record, high = member, as `.npz`, whole or not at all.

    Arrays: `row` (n + m,) i64 rows of the training or the holdout set, `member` (n + m,) bool, and (n + m,) f64 for
    each attack under its name.
    """
    with files.atomic(path) as file:
        rows = np.concatenate([attacked.members, attacked.others])
        np.savez_compressed(file, row=rows, member=attacked.is_member, **guesses)  # type: ignore[arg-type]
