"""What the columns of a table say of a record: each one predicted from the rest, and a tree of bins.

Two comparisons of a model of the synthetic rows with the same model of the attacker's real rows, evaluated at records:

    error    Each column is predicted from all others by randomised trees, learnt from either side. A member is
             predicted better by the synthetic rows (the idea of MIA-EPT, an entry of the MIDST challenge of 2025): the
             mean over the columns of the error of the reference's trees less that of the synthetic rows' trees. The
             error of a category is one minus its probability; of a number it is the distance of the ranks among all
             rows, so that units do not matter
    tree     log p_syn(x) - log p_ref(x) of Bayesian networks in which each column depends on one other (Chow and Liu
             1968, IEEE Trans. Inf. Theory 14:462): numbers in quantile bins, the tree that has the largest mutual
             information in both sets of rows together, its conditional probabilities counted in each of them

    rows = Rows.of(real, synthetic, reference)
    error(rows), tree(rows)                        # (n,) f64, high = member
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from synthjax.evals import encoders
from synthjax.evals.streams import stream
from synthjax.evals.subsample import sample
from synthjax.evals.table import Table, concat
from synthjax.evals.threads import single_thread
from synthjax.nets.chow_liu import spanning_tree

FIT_LIMIT = 20_000
"""Rows of each side that trees learn from at most."""
COLUMNS = 30
"""Columns that are predicted at most: a random choice of more."""
TREES = 20
"""Grown until each leaf holds one value: what is to be found is what single rows taught."""
BINS = 20
"""Bins of a number, of about as many rows each."""
CATEGORIES = 50
"""Categories of a column that are told apart."""
PRIOR = 2.0
"""Rows that the marginal probabilities are worth beside those that are counted."""


class Rows(NamedTuple):
    """The rows of a table as numbers: ranks in [0, 1] and codes from 0, -1 where missing."""

    real: np.ndarray
    """(n, F) f64."""
    synthetic: np.ndarray
    """(S, F) f64."""
    reference: np.ndarray
    """(R, F) f64."""
    categorical: np.ndarray
    """(F,) bool."""

    @classmethod
    def of(cls, real: Table, synthetic: Table, reference: Table) -> "Rows":
        """The attacked, the synthetic and the attacker's own rows of one table."""
        both = concat(synthetic, reference)
        encode, categorical = encoders.ordinal(both, without_target=False)
        pooled = encode(both)
        parts = [encode(table) for table in (real, synthetic, reference)]
        for place in np.flatnonzero(~categorical):
            scale = np.sort(pooled[~np.isnan(pooled[:, place]), place])
            for part in parts:
                part[:, place] = _rank(part[:, place], scale)
        attacked, made, known = (np.nan_to_num(part, nan=-1.0) for part in parts)
        return cls(attacked, made, known, categorical)


def _rank(values: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Of values (n,) among sorted ones: in [0, 1]; NaN stays."""
    ranks = (np.searchsorted(scale, values, "left") + np.searchsorted(scale, values, "right")) / (
        2 * max(len(scale), 1)
    )
    return np.where(np.isnan(values), np.nan, ranks)


# --- each column from the rest -----------------------------------------------------------------------------------


def error(rows: Rows, *, seed: int = 0) -> np.ndarray:
    """How much better the synthetic rows predict the columns of each record than the reference does (see module)."""
    rng = stream(seed, "privacy.columns")
    sides = [side[sample(rng, len(side), FIT_LIMIT)] for side in (rows.reference, rows.synthetic)]
    places = sample(rng, len(rows.categorical), COLUMNS)
    gain = np.zeros(len(rows.real))
    if len(rows.categorical) < 2:
        return gain
    with single_thread("openmp"):
        for place in places:
            theirs, ours = (_error(side, rows.real, place, bool(rows.categorical[place]), seed) for side in sides)
            gain += theirs - ours
    return gain / len(places)


def _error(learnt: np.ndarray, rows: np.ndarray, place: int, categorical: bool, seed: int) -> np.ndarray:
    """The error (n,) at rows of trees that learnt one column from some; 0 of a number that is missing."""
    from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

    kind = ExtraTreesClassifier if categorical else ExtraTreesRegressor
    known = learnt if categorical else learnt[learnt[:, place] >= 0]
    if not len(known):
        return np.zeros(len(rows))
    x, y, truth = np.delete(known, place, axis=1), known[:, place], rows[:, place]
    trees = kind(TREES, max_features="sqrt", random_state=seed % 2**32).fit(x, y)
    asked = np.delete(rows, place, axis=1)
    if not categorical:
        return np.where(truth < 0, 0.0, np.abs(trees.predict(asked) - truth))
    at = np.searchsorted(trees.classes_, truth)
    there = np.append(trees.classes_, np.nan)[at] == truth
    chance = trees.predict_proba(asked)[np.arange(len(rows)), np.minimum(at, len(trees.classes_) - 1)]
    return 1 - np.where(there, chance, 0.0)


# --- a tree of bins ----------------------------------------------------------------------------------------------


def tree(rows: Rows) -> np.ndarray:
    """Log density of the synthetic rows less that of the reference at each record (see module)."""
    real, synthetic, reference = _bins(rows)
    sizes = np.concatenate([real, synthetic, reference]).max(axis=0) + 1
    ratio = np.zeros(len(real))
    for child, parent in _edges(np.concatenate([synthetic, reference]), sizes):
        for sign, side in ((1, synthetic), (-1, reference)):
            ratio += sign * _log_conditional(side, real, child, parent, sizes)
    return ratio


def _bins(rows: Rows) -> list[np.ndarray]:
    """Real, synthetic and reference rows as codes (N, F) int from 0, 0 where missing."""
    parts = [np.zeros(part.shape, np.int64) for part in rows[:3]]
    for place, categorical in enumerate(rows.categorical):
        for part, binned in zip(rows[:3], parts, strict=True):
            values = part[:, place]
            # Ranks are even over both sets of rows together: equal steps are quantiles.
            steps = np.minimum(values, CATEGORIES) if categorical else np.minimum(values * BINS, BINS - 1)
            binned[:, place] = np.where(values < 0, 0, 1 + np.floor(steps))
    return parts


def _edges(x: np.ndarray, sizes: np.ndarray) -> list[tuple[int, int]]:
    """(column, the column it depends on) of the tree of largest mutual information; of its root (root, -1)."""
    rows = x[sample(stream(0, "privacy.tree"), len(x), FIT_LIMIT)]
    gain = np.zeros((len(sizes), len(sizes)))
    for i in range(len(sizes)):
        for j in range(i):
            gain[i, j] = gain[j, i] = _mutual_information(rows[:, i] * sizes[j] + rows[:, j], sizes[i], sizes[j])
    order, parent = map(np.asarray, spanning_tree(jnp.asarray(gain, jnp.float32)))
    return [(int(order[0]), -1), *zip(order[1:].tolist(), order[parent[1:]].tolist(), strict=True)]


def _mutual_information(pairs: np.ndarray, one: int, other: int) -> float:
    """Nats, of codes of pairs (N,), corrected for bias as in `chow_liu.mutual_information`."""
    joint = np.bincount(pairs, minlength=one * other).reshape(one, other) / len(pairs)
    apart = joint.sum(1, keepdims=True) * joint.sum(0)
    there = joint > 0
    freedom = (joint.any(1).sum() - 1) * (joint.any(0).sum() - 1)
    found = (joint[there] * np.log(joint[there] / apart[there])).sum()
    return float(found - freedom / (2 * len(pairs)))


def _log_conditional(learnt: np.ndarray, rows: np.ndarray, child: int, parent: int, sizes: np.ndarray) -> np.ndarray:
    """Log p(child | parent) at rows (n, F), counted in others and drawn to the marginal by `PRIOR`; parent -1: none."""
    count = np.bincount(learnt[:, child], minlength=sizes[child]).astype(np.float64)
    marginal = (count + PRIOR / sizes[child]) / (len(learnt) + PRIOR)
    if parent < 0:
        return np.log(marginal[rows[:, child]])
    pairs = np.bincount(learnt[:, parent] * sizes[child] + learnt[:, child], minlength=sizes[child] * sizes[parent])
    joint = pairs.reshape(sizes[parent], sizes[child])
    conditional = (joint + PRIOR * marginal) / (joint.sum(axis=1, keepdims=True) + PRIOR)
    return np.log(conditional[rows[:, parent], rows[:, child]])
