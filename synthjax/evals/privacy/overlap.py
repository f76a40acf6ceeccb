"""Do sets overlap that must not? Attacks take holdout and test rows for unseen: that has to be true.

Of two real sets drawn alike, a row of one equals some row of the other about as often as it equals another row of its
own. If a share f of set A was taken over from set B, and a row of B has a twin in B with probability q, then

    P(a row of A equals a row of B) = f + (1 - f) q,    so that    f = (shared - q) / (1 - q)

which is what `taken` estimates. More than by chance is said if Fisher's one-sided test at `distances.RARE` says so.

Synthetic rows made from training rows equal no more rows of an unseen set than of as many training rows: there q is the
share that equals one of these.

    for one in overlap.find(train=keys(x_train), holdout=[], test=keys(x_test)):
        print(overlap.sentence(one, "example"))
"""

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scipy import stats

from synthjax.evals.figure import Count, Share
from synthjax.evals.privacy.distances import RARE
from synthjax.evals.streams import stream

SYNTHETIC = "synthetic"
"""As `rows_of` has it."""


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """What two sets share."""

    rows_of: str
    found_in: str
    """Names of the sets."""
    shared: Count
    """How many of the `n` rows of the first equal one of the second."""
    n: Count
    twins: Count
    """How many of the `among` rows of the second equal another of their own; of synthetic rows: how many of `among`
    synthetic rows equal one of as many training rows."""
    among: Count
    taken: Share
    """The share taken over (see module); 0 where that is no more than chance."""


def find(
    *, train: Sequence[bytes], holdout: Sequence[bytes], test: Sequence[bytes], synthetic: Sequence[bytes] = ()
) -> list[dict[str, Any]]:
    """What each pair of real sets has in common, by the exact keys of their rows (see `distances.keys`).

    Of `synthetic` rows: what they have in common with the holdout and the test set.

    Returns:
        Of every pair of sets that are not empty, the keys of `Overlap`.
    """
    found = []
    sets = {"train": train, "holdout": holdout, "test": test}
    for (base, known), (name, rows) in itertools.combinations(sets.items(), 2):
        if known and rows:
            counts = Counter(known)
            twins = sum(count for count in counts.values() if count > 1)
            shared = sum(row in counts for row in rows)
            found.append({"rows_of": name, "found_in": base, **_compare(shared, len(rows), twins, len(known))})
    for name in ("holdout", "test"):
        if train and sets[name] and synthetic:
            n = min(len(train), len(sets[name]))  # of more rows more are equal
            shared, chance = (_shared(synthetic, known, n) for known in (sets[name], train))
            compared = _compare(shared, len(synthetic), chance, len(synthetic))
            found.append({"rows_of": SYNTHETIC, "found_in": name, **compared})
    return found


def _shared(rows: Sequence[bytes], known: Sequence[bytes], n: int) -> int:
    """How many of the rows equal one of n known ones, drawn at random."""
    among = {known[i] for i in stream(0, "overlap.known").permutation(len(known))[:n]}
    return sum(row in among for row in rows)


def _compare(shared: int, n: int, twins: int, among: int) -> dict[str, Any]:
    table = [[shared, n - shared], [twins, among - twins]]
    told = shared and stats.fisher_exact(table, alternative="greater").pvalue < RARE
    natural = twins / among
    taken = (shared / n - natural) / (1 - natural) if told else 0.0
    return {"shared": shared, "n": n, "twins": twins, "among": among, "taken": taken}


def sentences(found: Sequence[Mapping[str, Any]], unit: str) -> list[str]:
    """What whoever reads the report has to know: of the sets that share more than by nature; `unit`: of a row."""
    return [_sentence(one, unit) for one in found if one["taken"] > 0]


def _sentence(one: Mapping[str, Any], unit: str) -> str:
    base = {"train": "training"}.get(one["found_in"], one["found_in"])
    if one["rows_of"] == SYNTHETIC:
        return (
            f"{one['shared']:,} of {one['n']:,} synthetic {unit}s equal a {base} {unit}, where {one['twins']:,} equal "
            f"one of as many training {unit}s: they were made from {unit}s that judge them, and scores mean nothing"
        )
    said = (
        f"{one['rows_of']} and {one['found_in']} overlap: {one['shared']:,} of {one['n']:,} {one['rows_of']} {unit}s "
        f"equal a {base} {unit}, where {one['twins']:,} of {one['among']:,} {base} {unit}s equal another {base} {unit}"
    )
    if one["found_in"] == "train":
        return f"{said}; scores on them are not scores on unseen {unit}s, and a leak is hard to see"
    return f"{said}; what is calibrated on the one and measured on the other is not independent"
