"""How well an attack tells members from others: ROC figures, their intervals, and what chance alone gives.

An attack gives every record a number, high meaning "member". Its figures are the AUC and the true positive rate (TPR)
at a false positive rate (FPR) of at most 1 % and 0.1 % (Carlini et al. 2022, arXiv:2112.03570: an attack that is sure
about few people is worse than one that is a little right about all).

Intervals: the AUC's by DeLong's variance or by a stratified bootstrap, a TPR's by Wilson, its threshold taken as given.

p-values, one-sided, under the hypothesis that members and others are exchangeable:

    AUC     Mann-Whitney's, normal approximation with ties corrected
    TPR     exact: with k = floor(FPR n_others) false alarms allowed, T or more members come before other k + 1 if and
            only if the first T + k records hold at most k others, which is hypergeometric. Ties make it conservative

`holm` corrects any number of them (Holm 1979, Scand. J. Statist. 6:65): the probability of one false accusation or more
is at most the level, however the tests depend on each other.

    fpr, tpr = roc(guess, is_member)
    adjusted = holm({"auc": auc_p(guess, is_member), "tpr": tail_p(guess, is_member, 0.001)})
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import stats

from synthjax.evals.estimate import LEVEL, wilson
from synthjax.evals.streams import stream

FPR = {"tpr_at_fpr_1pct": 0.01, "tpr_at_fpr_0p1pct": 0.001}
"""The false positive rates at which attacks report their true positive rate."""
SHUFFLES = 1000
"""Relabellings that say what chance alone gives."""
RESAMPLES = 200
"""Draws of the bootstrap."""


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


def judge(guess: np.ndarray, is_member: np.ndarray, level: float = LEVEL) -> dict[str, Any]:
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
    rng = stream(seed, "privacy.shuffles")
    block = max(1, 2_000_000 // len(is_member))  # labels at once: bounds the memory
    found: dict[str, list[np.ndarray]] = {"auc": [], **{key: [] for key in FPR}}
    for start in range(0, SHUFFLES, block):
        labels = rng.permuted(np.tile(is_member, (min(block, SHUFFLES - start), 1)), axis=1)
        each = [rates(*roc(guess, labels)) for guess in guesses]
        for key, blocks in found.items():
            blocks.append(np.max([figures[key] for figures in each], axis=0))
    return {key: np.concatenate(blocks) for key, blocks in found.items()}


def _thin(fpr: np.ndarray, tpr: np.ndarray) -> dict[str, list[float]]:
    """A curve small enough for a page: evenly spaced along log false positive rate, both ends kept."""
    wanted = np.concatenate([[0.0], np.logspace(-4, 0, 100)])
    keep = np.unique(np.concatenate([np.searchsorted(fpr, wanted, side="right") - 1, [0, len(fpr) - 1]]))
    return {"fpr": fpr[keep].round(6).tolist(), "tpr": tpr[keep].round(6).tolist()}


def auc_p(guess: np.ndarray, is_member: np.ndarray) -> float:
    """One-sided p-value of an AUC above 1/2 (see module)."""
    if np.ptp(guess) == 0:
        return 1.0
    test = stats.mannwhitneyu(guess[is_member], guess[~is_member], alternative="greater", method="asymptotic")
    return float(test.pvalue)


def tail_p(guess: np.ndarray, is_member: np.ndarray, most: float) -> float:
    """One-sided p-value of the true positive rate at a false positive rate of at most `most` (see module)."""
    fpr, tpr = roc(guess, is_member)
    members, others = int(is_member.sum()), int((~is_member).sum())
    found = round(float(np.max(tpr[fpr <= most])) * members)
    allowed = math.floor(most * others + 1e-9)
    return float(stats.hypergeom.cdf(allowed, members + others, others, found + allowed))


def p_values(guess: np.ndarray, is_member: np.ndarray) -> dict[str, float]:
    """The p-value of each figure that `rates` gives, by its name."""
    return {"auc": auc_p(guess, is_member), **{key: tail_p(guess, is_member, most) for key, most in FPR.items()}}


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """Adjusted p-values by the names of the tests: reject those at or below the level; in the order given."""
    order = sorted(p, key=lambda name: p[name])
    adjusted: dict[str, float] = {}
    highest = 0.0
    for place, name in enumerate(order):
        highest = max(highest, min(1.0, (len(p) - place) * p[name]))
        adjusted[name] = highest
    return {name: adjusted[name] for name in p}


def bootstrap(guess: np.ndarray, is_member: np.ndarray, *, seed: int = 0) -> dict[str, list[float]]:
    """Percentile intervals of all figures, members and others resampled each among themselves; name -> [low, high].

    A resample counts how often it holds each record, so that the records are sorted once.
    """
    rng = stream(seed, "privacy.bootstrap")
    order = np.argsort(-guess, kind="stable")
    last_of_tie = np.append(np.flatnonzero(np.diff(guess[order])), len(guess) - 1)
    member = is_member[order]
    found: dict[str, list[float]] = {"auc": [], **{key: [] for key in FPR}}
    for _ in range(RESAMPLES):
        curves = []
        for kind in (~member, member):
            count = np.zeros(len(guess))
            count[kind] = rng.multinomial(kind.sum(), np.full(kind.sum(), 1 / kind.sum()))
            curves.append(np.insert(np.cumsum(count)[last_of_tie] / kind.sum(), 0, 0.0))
        for key, value in rates(*curves).items():
            found[key].append(float(value))
    tails = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    return {key: np.quantile(values, tails).tolist() for key, values in found.items()}
