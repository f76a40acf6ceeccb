"""Distances between synthetic and real examples: copies, near copies, and distance to closest record.

**Copies.** Synthetic examples that equal a training example, and near ones: closer to one than the 1 % quantile of the
distances from unseen real examples to their nearest training example.

**Duplicates told from copies.** Real data repeats itself (Adult has 24 such rows), and a generator may hit a common row
by luck. Had it not seen the training set, training examples would find a synthetic double as often as unseen ones do:
`duplicates` counts both and asks Fisher's exact test, one-sided, whether members find one more often.

**Distance to closest record (DCR).** The share of synthetic examples nearer to the training set than to as many unseen
examples, ties counted half; 1/2 if the generator does not favour what it saw. Many synthetic examples share one nearest
real example, so they are not independent: if w_j is the weight that real example j decides, the effective number is
1 / sum w_j^2 (Kish 1965), and Wilson's interval is taken with it. **NNDR**, the nearest-neighbour distance ratio, is
the distance to the nearest over that to the second nearest training example: near 0 where one example was singled out.
Diagnostics, never a proof: data that passes them has been shown to leak (Yao et al. 2025, arXiv:2505.01524; Ganev and
De Cristofaro 2023, arXiv:2312.05114).
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy import stats

from synthjax.evals.estimate import wilson
from synthjax.evals.figure import Count, Interval, Share, figure, part
from synthjax.evals.neighbours import nearest
from synthjax.evals.streams import stream
from synthjax.evals.subsample import sample

NEAR_QUANTILE = 0.01
PAIRS = 8
"""How many of the closest synthetic-train pairs are named."""
NAMED = 1000
"""How many copied training examples are named at most."""
RARE = 0.001
"""Probability by chance below which more equal examples than expected count as copies."""


@dataclass(frozen=True, kw_only=True)
class OfMembers:
    """How often something holds of training records (members) and of unseen ones (others)."""

    members: Share
    others: Share
    gain: float = figure(
        "gain",
        "Share of training records less that of unseen ones; 0: no leak.",
        "low",
        bounds=(-1, 1),
        reference=0.0,
        interval="interval",
        detail=True,
    )
    interval: Interval
    n_members: Count
    n_others: Count
    p: Share = figure("p", "Of Fisher's exact test: training records have more.", detail=True)


@dataclass(frozen=True, kw_only=True)
class ExactDoubles(OfMembers):
    """Records with an equal synthetic one; `records`: training rows, the first `NAMED`."""

    records: list[Count]


@dataclass(frozen=True, kw_only=True)
class NearDoubles(OfMembers):
    """Records with a synthetic one within `threshold`, a quantile of the unseen ones' distances to synthetic ones."""

    threshold: float


@dataclass(frozen=True, kw_only=True)
class Duplicates:
    """Do training records have synthetic doubles more often than unseen ones?"""

    exact: ExactDoubles = part("exact doubles")
    near: NearDoubles = part("near doubles")


@dataclass(frozen=True, kw_only=True)
class NearMatches:
    """Synthetic examples closer to a training one than `threshold`, the `quantile` of unseen real ones' distances."""

    share: Share = figure(
        "near copies",
        "Share of synthetic examples that come very near to a training one.",
        "low",
        reference="reference",
    )
    reference: Share
    threshold: float
    quantile: Share
    examined: Count


@dataclass(frozen=True, kw_only=True)
class ClosePair:
    """A synthetic example and its closest training example, by row."""

    synthetic: Count
    train: Count
    distance: float


@dataclass(frozen=True, kw_only=True)
class ClosestRecord:
    """Distance to closest record: a diagnostic, never a proof."""

    share_nearer_train: Share = figure(
        "nearer to training data",
        "Share of synthetic examples nearer to the training set than to as many unseen examples.",
        reference=0.5,
        interval="interval",
    )
    interval: Interval
    reference: float
    effective_n: float
    n_synthetic: Count
    n_real: Count
    median_train: float
    median_holdout: float
    nndr: dict[Literal["train", "holdout"], dict[Literal["median", "q05"], Share]]
    """Distance to the nearest over that to the second nearest real example."""
    histogram: dict[Literal["edges", "train", "holdout"], list[float | int]]
    """Counts of distances between the edges."""


def keys(rows: np.ndarray) -> list[bytes]:
    """Of rows (N, ...): bytes that are equal if and only if rows are; 0 and -0 are equal."""
    return [(row + row.dtype.type(0)).tobytes() for row in rows]


class Keys(NamedTuple):
    """What tells examples apart exactly: two are equal if and only if their bytes are."""

    synthetic: list[bytes]
    train: list[bytes]
    holdout: list[bytes]

    @classmethod
    def of(cls, *sets: np.ndarray) -> "Keys":
        """Of the rows (N, ...) of synthetic, training and unseen examples."""
        return cls(*(keys(rows) for rows in sets))


def copies(
    synthetic: np.ndarray, train: np.ndarray, holdout: np.ndarray, seen: np.ndarray, exact: Keys
) -> dict[str, Any]:
    """Exact and near matches with training examples, beside the rate of unseen real examples.

    Args:
        synthetic: (S, ...).
        train: (N, ...).
        holdout: (h, ...) unseen real examples.
        seen: (s,) rows of `synthetic` that near matches are looked for in.
        exact: of all examples; exact copies are counted over all of them.
    """
    known = set(exact.train)
    equal = np.array([row in known for row in exact.synthetic])
    real_distance = nearest(holdout, train)[0][:, 0]
    distance, index = (a[:, 0] for a in nearest(synthetic[seen], train))
    threshold = float(np.quantile(real_distance, NEAR_QUANTILE))
    closest = np.argsort(distance, kind="stable")[:PAIRS]
    return {
        "n_synthetic": len(synthetic),
        "exact_matches": int(equal.sum()),
        "exact_matches_share": float(equal.mean()),
        "exact_matches_reference": float(np.mean([row in known for row in exact.holdout])),
        "near_matches": {
            "share": float(np.mean(distance < threshold)),
            "reference": float(np.mean(real_distance < threshold)),
            "threshold": threshold,
            "quantile": NEAR_QUANTILE,
            "examined": len(seen),
        },
        "closest": [
            {"synthetic": int(seen[i]), "train": int(index[i]), "distance": float(distance[i])} for i in closest
        ],
    }


def exceeds(ours: int, made: int, theirs: int, unseen: int) -> bool:
    """Whether `ours` of `made` examples is a larger share than `theirs` of `unseen` ones, beyond chance and nature.

    One-sided Fisher test at `RARE`, and at least twice the share: data of few distinct records repeats itself without
    any leak, and among many examples one chance coincidence is no rate.
    """
    table = [[ours, made - ours], [theirs, unseen - theirs]]
    rare = stats.fisher_exact(table, alternative="greater").pvalue < RARE
    return bool(rare) and ours / made > 2 * theirs / unseen


def closest_record(synthetic: np.ndarray, train: np.ndarray, holdout: np.ndarray, *, seed: int = 0) -> dict[str, Any]:
    """Distance to closest record: is the synthetic data nearer to the training set than to as many unseen examples?"""
    rng = stream(seed, "privacy.closest_record")
    size = min(len(train), len(holdout))
    train, holdout = train[sample(rng, len(train), size)], holdout[sample(rng, len(holdout), size)]
    (near_train, train_index), (near_holdout, holdout_index) = (
        nearest(synthetic, real, k=min(2, size)) for real in (train, holdout)
    )
    to_train, to_holdout = near_train[:, 0], near_holdout[:, 0]
    share, interval, effective = share_nearer(to_train, to_holdout, train_index[:, 0], holdout_index[:, 0])
    edges = np.histogram_bin_edges(np.concatenate([to_train, to_holdout]), bins=30)
    return {
        "share_nearer_train": share,
        "interval": interval,
        "reference": 0.5,
        "effective_n": effective,
        "n_synthetic": len(synthetic),
        "n_real": size,
        "median_train": float(np.median(to_train)),
        "median_holdout": float(np.median(to_holdout)),
        "nndr": {"train": _nndr(near_train), "holdout": _nndr(near_holdout)},
        "histogram": {
            "edges": edges.tolist(),
            "train": np.histogram(to_train, edges)[0].tolist(),
            "holdout": np.histogram(to_holdout, edges)[0].tolist(),
        },
    }


def _nndr(near: np.ndarray) -> dict[str, float]:
    """Nearest over second nearest distance, from both (S, 2); 1 where they are equal, 0 included."""
    first, second = near[:, 0], near[:, -1]
    ratio = np.where(second > 0, first / np.where(second > 0, second, 1), 1.0)
    return {"median": float(np.median(ratio)), "q05": float(np.quantile(ratio, 0.05))}


def share_nearer(
    to_train: np.ndarray, to_holdout: np.ndarray, train_index: np.ndarray, holdout_index: np.ndarray
) -> tuple[float, list[float], float]:
    """Share of examples nearer to train, ties half; its 95 % interval; the effective number of examples.

    Args:
        to_train: (S,) distance to the nearest training example.
        to_holdout: (S,) distance to the nearest unseen example.
        train_index: (S,) which training example that is.
        holdout_index: (S,) which unseen example that is.
    """
    to_train_wins = np.where(to_train == to_holdout, 0.5, to_train < to_holdout)
    votes = [np.bincount(train_index, to_train_wins), np.bincount(holdout_index, 1 - to_train_wins)]
    weight = np.concatenate(votes) / len(to_train)
    effective = float(1 / np.sum(weight**2))
    share = float(to_train_wins.mean())
    return share, wilson(share, effective), effective


def duplicates(to_members: np.ndarray, to_others: np.ndarray, exact: Keys) -> dict[str, Any]:
    """Do training examples have synthetic doubles more often than unseen ones have (see module)?

    Args:
        to_members: (n,) distances from training examples to their nearest synthetic one.
        to_others: (m,) from unseen ones.
        exact: of all examples.

    Returns:
        Plain values with the keys of `Duplicates`.
    """
    made = set(exact.synthetic)
    known, unseen = (np.array([row in made for row in rows], bool) for rows in (exact.train, exact.holdout))
    threshold = float(np.quantile(to_others, NEAR_QUANTILE))
    return {
        "exact": {**compare(known, unseen), "records": np.flatnonzero(known)[:NAMED].tolist()},
        "near": {**compare(to_members <= threshold, to_others <= threshold), "threshold": threshold},
    }


def compare(members: np.ndarray, others: np.ndarray) -> dict[str, Any]:
    """How often something holds of members (n,) and of others (m,), both bool: a plain two-sample comparison.

    Returns:
        Plain values with the keys of `OfMembers`: the interval of the gain is Newcombe's (1998, Statist. Med. 17:873,
        method 10, from Wilson's intervals).
    """
    table = [[int(rows.sum()), int((~rows).sum())] for rows in (members, others)]
    ours, theirs = float(members.mean()), float(others.mean())
    (low, high), (low_others, high_others) = wilson(ours, len(members)), wilson(theirs, len(others))
    gain = ours - theirs
    return {
        "members": ours,
        "others": theirs,
        "gain": gain,
        "interval": [
            gain - float(np.hypot(ours - low, high_others - theirs)),
            gain + float(np.hypot(high - ours, theirs - low_others)),
        ],
        "n_members": len(members),
        "n_others": len(others),
        "p": float(stats.fisher_exact(table, alternative="greater").pvalue),
    }
