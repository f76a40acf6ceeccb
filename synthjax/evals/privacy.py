r"""How much a synthetic data set gives away about the examples its generator was trained on.

Three views, strongest first.

**Membership attacks.** An attacker holds the synthetic file and asks of a real example x whether it was trained on.
Members are a subsample of the training set, the others are real examples that the generator cannot have seen. Each
attack gives every example a number, high meaning "member" (d = Euclidean distance, N_S = nearest synthetic examples):

    distance      -d(x, nearest synthetic)                           Chen et al. 2020 (arXiv:1909.03935)
    density       log sum over N_S of exp(-d^2 / 2 h^2), h the       Hilprecht et al. 2019 (PETS 2019(4)), with a
                  median nearest distance above 0                    kernel in place of a ball
    calibrated    log d(x, nearest reference) -                      van Breugel et al. 2023 (arXiv:2302.12580),
                  log d(x, nearest synthetic)                        densities by the nearest neighbour

The reference is real data that the attacker knows and that nobody trained on. ROC curves give the AUC and the true
positive rate at a false positive rate of at most 1 % and 0.1 % (Carlini et al. 2022, arXiv:2112.03570: an attack that
is sure about few people is worse than one that is a little right about all).

*How the best attack is chosen.* Each headline figure is the largest over the attacks, on the very examples it is
reported for, which errs towards alarm. Choosing is paid for: the AUC's interval is simultaneous over the attacks
(DeLong's variance, Bonferroni), and `chance` says what the largest figure reaches when membership is shuffled, that is,
with no leak at all (mean and 95 % quantile of the same maximum over `SHUFFLES` relabellings); `p_value` is the share
of relabellings that reach the figure, the true one counted among them.

**Copies.** Synthetic examples that equal a training example, and near ones: closer to one than the 1 % quantile of the
distances from unseen real examples to their nearest training example.

**Distance to closest record (DCR).** The share of synthetic examples nearer to the training set than to as many unseen
examples, ties counted half; 1/2 if the generator does not favour what it saw. Many synthetic examples share one nearest
real example, so they are not independent: if w_j is the weight that real example j decides, the effective number is
1 / sum w_j^2 (Kish 1965), and Wilson's interval is taken with it. A diagnostic, never a proof: data that passes it has
been shown to leak (Yao et al. 2025, arXiv:2505.01524; Ganev and De Cristofaro 2023, arXiv:2312.05114).

Formal guarantees: none. These are lower bounds on what leaks; only differentially private training bounds it above.
"""

from typing import Any, NamedTuple, Protocol

import numpy as np
from scipy import stats

from synthjax.evals.neighbours import nearest
from synthjax.model import DataSpec

FPR = {"tpr_at_fpr_1pct": 0.01, "tpr_at_fpr_0p1pct": 0.001}
"""The false positive rates at which attacks report their true positive rate."""
SHUFFLES = 1000
"""Relabellings that say what chance alone gives."""
NEAR_QUANTILE = 0.01
NEIGHBOURS = 5
"""Synthetic neighbours that the density attack looks at."""
PAIRS = 8
"""How many of the closest synthetic-train pairs are named."""


class Examples(Protocol):
    """Any examples with their labels."""

    @property
    def x(self) -> np.ndarray:
        """(N, *shape) as stored."""
        ...

    @property
    def y(self) -> np.ndarray | None:
        """(N,) labels, or None; no attack looks at them."""
        ...


class Audience(NamedTuple):
    """Rows that membership attacks are tried on."""

    members: np.ndarray
    """(n,) i64 rows of the training set."""
    others: np.ndarray
    """(m,) i64 rows of the holdout."""


def audience(train_size: int, holdout_size: int, *, seed: int = 0, limit: int = 10_000) -> Audience:
    """Which rows membership attacks are tried on: up to four members per other, each at most `limit`, in order.

    More members than others narrow the interval of the AUC at little cost; the others are as many as there are.
    """
    rng = np.random.default_rng([seed, 1])
    others = _choose(rng, holdout_size, limit)
    return Audience(_choose(rng, train_size, min(limit, 4 * len(others))), others)


def _choose(rng: np.random.Generator, size: int, limit: int) -> np.ndarray:
    return np.sort(rng.permutation(size)[:limit])


def evaluate(
    synthetic: Examples,
    train: Examples,
    holdout: Examples,
    test: Examples,
    spec: DataSpec,
    *,
    scores: dict[str, np.ndarray] | None = None,
    seed: int = 0,
    limit: int = 10_000,
) -> dict[str, Any]:
    """The privacy part of a report.

    Args:
        synthetic: what the generator made; x as stored (images uint8).
        train: what the generator was trained on.
        holdout: real examples that it cannot have seen, at least 2.
        test: other real examples, the attacker's reference; may be empty, then there is no calibrated attack.
        spec: the data's spec.
        scores: how surprised the model is (low = known) by rows of `audience`: "members" (n,), "others" (m,).
        seed: decides every subsample and relabelling.
        limit: at most so many synthetic examples, members and others are looked at (exact copies: all).

    Returns:
        Plain values for JSON; the keys are documented in `synthjax.evals.report`.

    Raises:
        ValueError: if train or holdout has fewer than 2 examples, or a shape is not the spec's.
    """
    for name, part in (("synthetic", synthetic), ("train", train), ("holdout", holdout), ("test", test)):
        if part.x.shape[1:] != tuple(spec.shape):
            raise ValueError(f"{name}.x holds examples of shape {part.x.shape[1:]}, the spec says {tuple(spec.shape)}")
        if len(part.x) < (2 if name in ("train", "holdout") else 1 if name == "synthetic" else 0):
            raise ValueError(f"{name} holds {len(part.x)} examples: too few")
    seen = _choose(np.random.default_rng([seed, 0]), len(synthetic.x), limit)
    attacked = audience(len(train.x), len(holdout.x), seed=seed, limit=limit)
    return {
        **copies(synthetic.x, train.x, holdout.x[attacked.others], seen),
        "dcr": closest_record(synthetic.x[seen], train.x, holdout.x[attacked.others], seed=seed),
        "mia": membership(
            synthetic.x, train.x[attacked.members], holdout.x[attacked.others], test.x, scores=scores, seed=seed
        ),
    }


def copies(synthetic: np.ndarray, train: np.ndarray, holdout: np.ndarray, seen: np.ndarray) -> dict[str, Any]:
    """Exact and near matches with training examples, beside the rate of unseen real examples.

    Args:
        synthetic: (S, ...) stored values; exact copies are counted over all of them.
        train: (N, ...).
        holdout: (H, ...) unseen real examples.
        seen: (s,) rows of `synthetic` that near matches are looked for in.
    """
    known = {row.tobytes() for row in train}
    exact = np.array([row.tobytes() in known for row in synthetic])
    real_distance = nearest(holdout, train)[0][:, 0]
    distance, index = (a[:, 0] for a in nearest(synthetic[seen], train))
    threshold = float(np.quantile(real_distance, NEAR_QUANTILE))
    closest = np.argsort(distance, kind="stable")[:PAIRS]
    return {
        "n_synthetic": len(synthetic),
        "exact_matches": int(exact.sum()),
        "exact_matches_share": float(exact.mean()),
        "exact_matches_reference": float(np.mean([row.tobytes() in known for row in holdout])),
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


def closest_record(synthetic: np.ndarray, train: np.ndarray, holdout: np.ndarray, *, seed: int = 0) -> dict[str, Any]:
    """Distance to closest record: is the synthetic data nearer to the training set than to as many unseen examples?"""
    rng = np.random.default_rng([seed, 2])
    size = min(len(train), len(holdout))
    train, holdout = train[_choose(rng, len(train), size)], holdout[_choose(rng, len(holdout), size)]
    to_train, train_index = (a[:, 0] for a in nearest(synthetic, train))
    to_holdout, holdout_index = (a[:, 0] for a in nearest(synthetic, holdout))
    share, interval, effective = share_nearer(to_train, to_holdout, train_index, holdout_index)
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
        "histogram": {
            "edges": edges.tolist(),
            "train": np.histogram(to_train, edges)[0].tolist(),
            "holdout": np.histogram(to_holdout, edges)[0].tolist(),
        },
    }


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


def wilson(share: float, n: float, level: float = 0.95) -> list[float]:
    """Wilson's interval of a share observed over n (possibly effective) trials, as [low, high]."""
    z = stats.norm.ppf((1 + level) / 2)
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return [float(max(0.0, middle - half)), float(min(1.0, middle + half))]


def membership(
    synthetic: np.ndarray,
    members: np.ndarray,
    others: np.ndarray,
    reference: np.ndarray,
    *,
    scores: dict[str, np.ndarray] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Membership attacks from the synthetic file alone, and from the model's own scores if given (see module)."""
    real = np.concatenate([members, others])
    is_member = np.arange(len(real)) < len(members)
    guesses = attacks(real, synthetic, reference)
    # Bonferroni: the interval of whichever attack turns out best must hold for all of them at once.
    level = 1 - 0.05 / len(guesses)
    each = {name: judge(guess, is_member, level) for name, guess in guesses.items()}
    headlines = ("auc", *FPR)
    best = {key: max(each, key=lambda name: each[name][key]) for key in headlines}
    shuffled = by_chance(np.stack(list(guesses.values())), is_member, seed)
    control = judge(-nearest(real, reference)[0][:, 0], is_member) if len(reference) else None
    model = None if scores is None else _judge_scores(scores)
    return {
        **{key: each[best[key]][key] for key in headlines},
        "auc_interval": each[best["auc"]]["auc_interval"],
        "p_value": {k: float((1 + np.sum(v >= each[best[k]][k])) / (1 + SHUFFLES)) for k, v in shuffled.items()},
        "chance": {key: {"mean": float(v.mean()), "q95": float(np.quantile(v, 0.95))} for key, v in shuffled.items()},
        "best": best,
        "attacks": each,
        "control_auc": control and control["auc"],
        "model_auc": model and model["auc"],
        "model": model,
        "n_members": len(members),
        "n_others": len(others),
    }


def attacks(real: np.ndarray, synthetic: np.ndarray, reference: np.ndarray) -> dict[str, np.ndarray]:
    """What each attack says of real examples (n, ...), high = member: name -> (n,) f64."""
    distance = nearest(real, synthetic, k=min(NEIGHBOURS, len(synthetic)))[0]
    first = distance[:, 0]
    apart = first[first > 0]  # a file of nothing but copies has no width of its own
    bandwidth = float(np.median(apart)) if len(apart) else 1.0
    density = np.logaddexp.reduce(-((distance / bandwidth) ** 2) / 2, axis=1)
    guesses = {"distance": -first, "density": density}
    if len(reference):
        # An exact copy has distance 0; a step far below every other distance keeps its log finite, its rank on top.
        floor = 1e-6 * np.min(apart, initial=1.0)
        to_reference = nearest(real, reference)[0][:, 0]
        guesses["calibrated"] = np.log(np.maximum(to_reference, floor)) - np.log(np.maximum(first, floor))
    return guesses


def roc(guess: np.ndarray, is_member: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False and true positive rates at every threshold, from (0, 0) to (1, 1); equal guesses fall together.

    Args:
        guess: (n,) high = member.
        is_member: (..., n) bool; leading axes hold other labellings of the same guesses.

    Returns:
        fpr and tpr, each (..., thresholds + 1).
    """
    order = np.argsort(-guess, kind="stable")
    last_of_tie = np.append(np.flatnonzero(np.diff(guess[order])), len(guess) - 1)
    member = is_member[..., order]
    positives, negatives = (np.cumsum(m, axis=-1, dtype=np.int32)[..., last_of_tie] for m in (member, ~member))
    start = [(0, 0)] * (is_member.ndim - 1) + [(1, 0)]
    return np.pad(negatives / negatives[..., -1:], start), np.pad(positives / positives[..., -1:], start)


def rates(fpr: np.ndarray, tpr: np.ndarray) -> dict[str, np.ndarray]:
    """AUC (trapezoids) and the best true positive rate at or below each rate in `FPR`, over the last axis."""
    found = {"auc": np.trapezoid(tpr, fpr, axis=-1)}
    for key, most in FPR.items():
        found[key] = np.max(np.where(fpr <= most, tpr, 0), axis=-1)
    return found


def judge(guess: np.ndarray, is_member: np.ndarray, level: float = 0.95) -> dict[str, Any]:
    """One attack's figures: AUC with DeLong's interval, true positive rates with Wilson's, and its ROC curve.

    The interval of a true positive rate takes the threshold as given.
    """
    fpr, tpr = roc(guess, is_member)
    found = {key: float(value) for key, value in rates(fpr, tpr).items()}
    half = stats.norm.ppf((1 + level) / 2) * np.sqrt(delong_variance(guess, is_member))
    interval = [float(np.clip(found["auc"] + sign * half, 0, 1)) for sign in (-1, 1)]
    intervals = {f"{key}_interval": wilson(found[key], is_member.sum(), level) for key in FPR}
    return {**found, "auc_interval": interval, **intervals, "roc": _thin(fpr, tpr)}


def delong_variance(guess: np.ndarray, is_member: np.ndarray) -> float:
    """Variance of the AUC (DeLong et al. 1988, Biometrics 44:837), by mid-ranks (Sun and Xu 2014)."""
    members, others = guess[is_member], guess[~is_member]
    rank = stats.rankdata(np.concatenate([members, others]))
    m, n = len(members), len(others)
    placed_members = (rank[:m] - stats.rankdata(members)) / n
    placed_others = 1 - (rank[m:] - stats.rankdata(others)) / m
    return float(placed_members.var(ddof=1) / m + placed_others.var(ddof=1) / n)


def by_chance(guesses: np.ndarray, is_member: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """The largest figure over the attacks (A, n) when membership is shuffled: name -> (SHUFFLES,)."""
    rng = np.random.default_rng([seed, 3])
    block = max(1, 2_000_000 // len(is_member))  # labels at once: bounds the memory
    found: dict[str, list[np.ndarray]] = {"auc": [], **{key: [] for key in FPR}}
    for start in range(0, SHUFFLES, block):
        labels = rng.permuted(np.tile(is_member, (min(block, SHUFFLES - start), 1)), axis=1)
        each = [rates(*roc(guess, labels)) for guess in guesses]
        for key, blocks in found.items():
            blocks.append(np.max([figures[key] for figures in each], axis=0))
    return {key: np.concatenate(blocks) for key, blocks in found.items()}


def _judge_scores(scores: dict[str, np.ndarray]) -> dict[str, Any]:
    """The attack that asks the model itself: low surprise = member."""
    both = [np.asarray(scores[name], np.float64) for name in ("members", "others")]
    return judge(-np.concatenate(both), np.arange(sum(map(len, both))) < len(both[0]))


def _thin(fpr: np.ndarray, tpr: np.ndarray, points: int = 100) -> dict[str, list[float]]:
    """A curve small enough for a page: evenly spaced along log false positive rate, both ends kept."""
    wanted = np.concatenate([[0.0], np.logspace(-4, 0, points)])
    keep = np.unique(np.concatenate([np.searchsorted(fpr, wanted, side="right") - 1, [0, len(fpr) - 1]]))
    return {"fpr": fpr[keep].round(6).tolist(), "tpr": tpr[keep].round(6).tolist()}
