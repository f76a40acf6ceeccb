r"""Attacks on the model itself, from how surprised it is by each record; shadow models say how surprising that is.

`score` of a model is low for what it knows well (-ELBO, denoising loss, free energy, -critic). With s(x) the attacked
model's score, and s_k(x) that of K shadow models, each trained as it was, on a random half of all records,

    score        -s(x)                                                          Hayes et al. 2019 (LOGAN), PoPETs
    difficulty   mean_out(x) - s(x)                                             Watson et al. 2022, arXiv:2111.08440
    lira         log N(s(x); mean_in, var_in) - log N(s(x); mean_out, var_out)  Carlini et al. 2022, arXiv:2112.03570

where in and out are the shadow models that were and that were not trained on x. A record that is hard for every model
is no member for that, which is what `score` cannot tell. Variances are those of the record where it has at least
`ENOUGH` of both kinds, else of all records together, as Carlini et al. advise for few shadow models.

    found = from_scores(surprise, Shadows(scores, trained_on))      # {"score": (n,), "difficulty": ..., "lira": ...}
"""

from typing import NamedTuple

import numpy as np
from scipy import stats

ENOUGH = 16
"""Shadow models with, and as many without, a record for which its own variances are used."""


class Shadows(NamedTuple):
    """What K shadow models say of N records."""

    scores: np.ndarray
    """(K, N) how surprised each is by each record."""
    trained_on: np.ndarray
    """(K, N) bool: whether it was trained on it."""


def from_scores(surprise: np.ndarray, shadows: Shadows | None = None) -> dict[str, np.ndarray]:
    """What each attack says of N records.

    Args:
        surprise: (N,) the attacked model's score; low = well known.
        shadows: None: the score alone.

    Returns:
        Attack -> (N,) f64, finite, high = member.

    Raises:
        ValueError: a score is not finite, or shapes do not fit.
    """
    surprise = np.asarray(surprise, np.float64)
    if not np.isfinite(surprise).all():
        raise ValueError(f"surprise: record {int(np.argmin(np.isfinite(surprise)))} has a score that is not finite")
    if shadows is None:
        return {"score": -surprise}
    scores, inside = np.asarray(shadows.scores, np.float64), shadows.trained_on
    if scores.shape != inside.shape or scores.shape[1:] != surprise.shape:
        raise ValueError(
            f"shadows: scores {scores.shape} and trained_on {inside.shape} should be (K, N), N = {len(surprise)}"
        )
    if not np.isfinite(scores).all():
        k, record = np.argwhere(~np.isfinite(scores))[0].tolist()
        raise ValueError(f"shadows: model {k} gives record {record} a score that is not finite")
    mean_in, var_in = _moments(scores, inside)
    mean_out, var_out = _moments(scores, ~inside)
    # A record that no shadow model, or every one, was trained on has nothing to be compared with.
    known = inside.any(axis=0) & ~inside.all(axis=0)
    difficulty = np.where(inside.all(axis=0), 0.0, mean_out - surprise)
    log_in = stats.norm.logpdf(surprise, mean_in, np.sqrt(var_in))
    log_out = stats.norm.logpdf(surprise, mean_out, np.sqrt(var_out))
    return {"score": -surprise, "difficulty": difficulty, "lira": np.where(known, log_in - log_out, 0.0)}


def _moments(scores: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (N,) and variance (N,) of scores (K, N) where chosen; pooled variance where fewer than `ENOUGH` are."""
    count = chosen.sum(axis=0)
    mean = np.where(chosen, scores, 0).sum(axis=0) / np.maximum(count, 1)
    squares = np.where(chosen, (scores - mean) ** 2, 0).sum(axis=0)
    pooled = squares.sum() / max((count - 1)[count > 1].sum(), 1)
    own = (count >= ENOUGH) & (chosen.shape[0] - count >= ENOUGH)
    variance = np.where(own, squares / np.maximum(count - 1, 1), pooled)
    # A model may score all that it saw alike (a memory gives 0): the log of the ratio stays finite.
    floor = 1e-6 * max(float(scores.var()), 1e-12)
    return mean, np.maximum(variance, floor)
