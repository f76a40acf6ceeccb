r"""Membership attacks that need no more than the synthetic file: what each says of a record, high meaning "member".

An attacker holds the file and asks of a real record x whether it was trained on. The reference is real data that he
knows and that nobody trained on. Each attack is a row of `ATTACKS`: a name, words, and a function of `Context`,
which computes what several of them need once. With d_S and d_R the Euclidean distances from x to its nearest
synthetic and to its nearest reference record,

    distance        -d_S                                    GAN-Leaks (Chen et al. 2020, arXiv:1909.03935), black box
    calibrated      log d_R - log d_S                       GAN-Leaks calibrated by a reference: on a log scale, so that
                                                            units do not matter
    copy            -d_S where d_S <= q, else equal for     sure of few: q is the 1 % quantile of the distances from
                    all                                     reference records to synthetic ones
    monte_carlo     share of synthetic records within e     Hilprecht et al. 2019 (PoPETs 2019(4)), in principal
                                                            components, e the median nearest distance
    dpi             share of synthetic records among the    Data Plagiarism Index (Ward et al. 2024, arXiv:2406.13012),
                    k nearest of both, over that expected   mean over k = 1 ... K rather than of one k
    domias_kernel   log p_syn(x) - log p_ref(x)             DOMIAS (van Breugel et al. 2023, arXiv:2302.12580), by
                                                            kernels, see `density`
    likelihood      the same                                by mixtures; of tables by trees of bins, see `columns`
    gen_lra         sum over the K synthetic records        Gen-LRA (Ward et al. 2025, arXiv:2508.21146), by kernels
                    nearest to x of log p_(ref and x)
                    - log p_ref
    classifier      log odds that x is synthetic, not real  LOGAN (Hayes et al. 2019, PoPETs 2019(1)), by boosting
    column_error    error of the reference's models of      of tables, see `columns`
                    each column less that of the synthetic
    ensemble        mean rank of all these                  Ensemble-MIA (Ward et al. 2025, arXiv:2509.18014): none of
                                                            them is the best everywhere

Without a reference `distance` and `monte_carlo` are left. `informed` is what an attacker adds who knows of a few
records whether they are members: a logistic regression on what the attacks say, fitted on those.

    guesses, control = from_file(real, synthetic, reference)     # {"distance": (n,), ...}
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import jax
import numpy as np
from scipy import stats

from synthjax.evals.neighbours import nearest
from synthjax.evals.privacy import columns
from synthjax.evals.privacy.density import (
    Components,
    count_within,
    fit_mixture,
    kernel_width,
    log_kernel,
    log_kernel_sum,
    log_mixture,
)
from synthjax.evals.streams import stream
from synthjax.evals.subsample import sample
from synthjax.evals.table import Table
from synthjax.evals.threads import single_thread

COPY_QUANTILE = 0.01
"""Share of reference records that come as near to a synthetic one as `copy` calls near."""
NEIGHBOURS = 5
"""K; fewer than `neighbours.CANDIDATES`, beyond which the exact search takes long."""
FIT_LIMIT = 50_000
"""Rows of each side that the classifier learns from at most."""
ROUNDS = 200
"""Of its boosting."""


class Tables(NamedTuple):
    """The same records as rows of a table."""

    real: Table
    synthetic: Table
    reference: Table


@dataclass(frozen=True)
class Context:
    """What the attacks are given, and what several of them need."""

    real: np.ndarray
    """(n, ...) the records that are attacked, members and others."""
    synthetic: np.ndarray
    """(S, ...) S >= 1, in the same space."""
    reference: np.ndarray
    """(R, ...) real data of the attacker; may be empty."""
    seed: int = 0
    """Of subsamples and of starting points."""
    tables: Tables | None = None
    found: dict[str, np.ndarray] = field(default_factory=dict)
    """What the attacks before this one said: attack -> (n,)."""

    @cached_property
    def to_synthetic(self) -> tuple[np.ndarray, np.ndarray]:
        """Distances (n, k) to the nearest synthetic records, k at most `NEIGHBOURS`, and which they are."""
        return nearest(self.real, self.synthetic, min(NEIGHBOURS, len(self.synthetic)))

    @cached_property
    def to_reference(self) -> np.ndarray:
        """Distances (n, k) to the nearest reference records, k at most `NEIGHBOURS`."""
        return nearest(self.real, self.reference, min(NEIGHBOURS, len(self.reference)))[0]

    @cached_property
    def components(self) -> Components:
        """Principal components of synthetic and reference records."""
        return Components.fit(np.concatenate([self.synthetic, self.reference]), seed=self.seed)

    @cached_property
    def white(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Real (n, D), synthetic (S, D) and reference (R, D) in whitened components."""
        return self.components(self.real), self.components(self.synthetic), self.components(self.reference)

    @cached_property
    def rows(self) -> columns.Rows:
        """Of tables."""
        assert self.tables is not None
        return columns.Rows.of(*self.tables)


# --- nearest records ---------------------------------------------------------------------------------------------


def _distance(of: Context) -> np.ndarray:
    """Takes a record for a member if a synthetic one is near.

    What is compared is the distance to the nearest one. It needs no other real data, and mistakes records in crowded
    places for members.
    """
    return -of.to_synthetic[0][:, 0]


def _calibrated(of: Context) -> np.ndarray:
    """Takes a record for a member if a synthetic one is nearer than is natural there.

    The distance to the nearest synthetic record is divided by that to the nearest other real one. It finds copies in
    sparse places, where the plain distance does not.
    """
    return _log(of.to_reference[:, 0]) - _log(of.to_synthetic[0][:, 0])


def _log(distance: np.ndarray) -> np.ndarray:
    """Its log; 0, an exact copy, becomes a step far below every other distance, which keeps its rank at the end."""
    return np.log(np.maximum(distance, 1e-6 * np.min(distance[distance > 0], initial=1.0)))


def _copy(of: Context) -> np.ndarray:
    """Takes a record for a member if a synthetic one is all but equal to it.

    Near is what 1 % of other real records are; of all others it says nothing. It is sure about few records, which is
    what copying a few needs.
    """
    near = np.quantile(nearest(of.reference, of.synthetic)[0], COPY_QUANTILE)
    distance = of.to_synthetic[0][:, 0]
    return -np.where(distance <= near, distance, near + 1)


def _monte_carlo(of: Context) -> np.ndarray:
    """Takes a record for a member if many synthetic ones are near.

    It counts those within a radius, among principal components. It finds generators that draw often around what they
    saw, and needs no other real data.
    """
    # The radius is the median of the nearest distances above 0: a file of nothing but copies has none of its own.
    real, synthetic = of.components(of.real, whiten=False), of.components(of.synthetic, whiten=False)
    distance = nearest(real, synthetic)[0]
    apart = distance[distance > 0]
    radius = float(np.median(apart)) if len(apart) else 1.0
    return count_within(real, synthetic, radius) / len(synthetic)


def _dpi(of: Context) -> np.ndarray:
    """Takes a record for a member if its neighbourhood is mostly synthetic.

    It counts how many of the nearest synthetic and other real records together are synthetic, over the share expected.
    It does not depend on how far they are, so that crowded and sparse places count alike.
    """
    # Where records at the edge of a neighbourhood are equally far, each of them counts in part.
    sides = of.to_synthetic[0], of.to_reference
    both = np.sort(np.concatenate(sides, axis=1), axis=1)
    total, places = np.zeros(len(both)), min(NEIGHBOURS, both.shape[1])
    for k in range(1, places + 1):
        edge = both[:, k - 1]
        inside, at_edge = ([compare(side.T, edge).sum(0) for side in sides] for compare in (np.less, np.equal))
        total += (inside[0] + at_edge[0] * (k - sum(inside)) / sum(at_edge)) / k
    return total / places * (len(of.synthetic) + len(of.reference)) / len(of.synthetic)


# --- densities ---------------------------------------------------------------------------------------------------


def _domias_kernel(of: Context) -> np.ndarray:
    """Takes a record for a member if the synthetic data is denser there than real data is.

    Both densities are sums of kernels on principal components. It finds overfitting that copies nothing.
    """
    real, synthetic, reference = of.white
    return log_kernel(real, synthetic) - log_kernel(real, reference)


def _likelihood(of: Context) -> np.ndarray:
    """Takes a record for a member if a model of the synthetic data finds it likelier than one of other real data does.

    Of tables the model is a tree of columns with counted probabilities, otherwise a mixture of Gaussians. It finds rare
    combinations of values that came from the training set.
    """
    if of.tables is not None:
        return columns.tree(of.rows)
    real, synthetic, reference = of.white
    key_synthetic, key_reference = jax.random.split(jax.random.key(of.seed))
    ours, theirs = fit_mixture(key_synthetic, synthetic), fit_mixture(key_reference, reference)
    return log_mixture(ours, real) - log_mixture(theirs, real)


def _gen_lra(of: Context) -> np.ndarray:
    """Takes a record for a member if it makes the synthetic records near it more likely.

    It compares the density of other real data there with and without the record. It is local, so that what is true of
    most records does not hide a leak of few.
    """
    # With x the reference has one kernel more: its density at s rises by the factor 1 + K(s - x) / sum_j K(s - r_j),
    # and by R / (R + 1), which is the same for all x and left out.
    real, synthetic, reference = of.white
    places = of.to_synthetic[1]
    asked, where = np.unique(places, return_inverse=True)
    width = kernel_width(*reference.shape)
    before = log_kernel_sum(synthetic[asked], reference, width)[where.reshape(places.shape)]
    apart = ((real[:, None].astype(np.float64) - synthetic[places]) ** 2).sum(axis=2)
    return np.logaddexp(0, -apart / (2 * width**2) - before).sum(axis=1)


# --- what is learnt ----------------------------------------------------------------------------------------------


def _classifier(of: Context) -> np.ndarray:
    """Takes a record for a member if it looks synthetic.

    Boosting learns to tell the synthetic records from other real ones and is asked about each record. It also learns
    where the generator errs, which says nothing of members, and is weak where that is much.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    sides, categorical = of.white, None
    if of.tables is not None:
        sides, categorical = of.rows[:3], of.rows.categorical
    rng = stream(of.seed, "privacy.classifier")
    made, known = (side[sample(rng, len(side), FIT_LIMIT)] for side in sides[1:])
    model = HistGradientBoostingClassifier(
        max_iter=ROUNDS, early_stopping=False, categorical_features=categorical, random_state=of.seed % 2**32
    )
    with single_thread("openmp"):
        model.fit(np.concatenate([made, known]), np.arange(len(made) + len(known)) < len(made))
        return model.decision_function(sides[0])


def _column_error(of: Context) -> np.ndarray:
    """Takes a record for a member if the synthetic rows teach how to predict its values.

    Trees learn each column from the others, from the synthetic rows and from other real ones, and their errors at the
    record are compared. It is often the strongest on tables, since it weighs all columns alike.
    """
    return columns.error(of.rows, seed=of.seed)


def _ensemble(of: Context) -> np.ndarray:
    """Takes a record for a member if the other attacks on the average do.

    It is the mean of the ranks that they give. None of them is the best everywhere, and this one is seldom far behind
    the best.
    """
    return np.mean([stats.rankdata(guess) for guess in of.found.values()], axis=0) / len(of.real)


# --- all of them -------------------------------------------------------------------------------------------------


class Row(NamedTuple):
    """One attack."""

    name: str
    words: str
    """What a page calls it; {unit} is what a record is called."""
    guess: Callable[[Context], np.ndarray]
    """(n,) f64, finite, high = member. Its docstring, three sentences, explains it in the catalogue of figures."""
    needs_reference: bool = True
    needs_table: bool = False


ATTACKS = (
    Row("distance", "nearest synthetic {unit}", _distance, needs_reference=False),
    Row("monte_carlo", "synthetic {unit}s within a radius", _monte_carlo, needs_reference=False),
    Row("calibrated", "nearest, calibrated by other real data", _calibrated),
    Row("copy", "a synthetic {unit} nearer than any by chance", _copy),
    Row("dpi", "share of synthetic {unit}s among the nearest", _dpi),
    Row("domias_kernel", "density over that of other real data, kernels", _domias_kernel),
    Row("likelihood", "density over that of other real data, models", _likelihood),
    Row("gen_lra", "how well it explains the synthetic {unit}s nearby", _gen_lra),
    Row("classifier", "told from other real data by a classifier", _classifier),
    Row("column_error", "each column, predicted from the others", _column_error, needs_table=True),
    Row("ensemble", "mean rank of all attacks", _ensemble),
)
"""The last one sees what all others said."""


def from_file(
    real: np.ndarray, synthetic: np.ndarray, reference: np.ndarray, *, seed: int = 0, tables: Tables | None = None
) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """What each attack says of real records.

    Args:
        real, synthetic, reference, seed: see `Context`.
        tables: the same records as rows of a table; None: no attack is tried that needs columns.

    Returns:
        Attack -> (n,) f64, finite, high = member; and the control (n,): what the first attack says when it is aimed at
        the reference, which holds no member (None without one).
    """
    known = len(reference) >= 2
    of = Context(real, synthetic, reference, seed, tables)
    for row in ATTACKS:
        if (known or not row.needs_reference) and (tables is not None or not row.needs_table):
            of.found[row.name] = row.guess(of)
    return of.found, -of.to_reference[:, 0] if known else None


def informed(guesses: dict[str, np.ndarray], is_member: np.ndarray, public: np.ndarray) -> np.ndarray:
    """The log odds (n,) of membership that somebody learns who knows it of the `public` records.

    Args:
        guesses: attack -> (n,).
        is_member: (n,) bool; read at the public records alone.
        public: (n,) bool; True of at least one member and one other.
    """
    from sklearn.linear_model import LogisticRegression

    # Ranks: a logistic regression on raw guesses would follow the largest one.
    ranks = np.stack([stats.norm.ppf(stats.rankdata(guess) / (len(guess) + 1)) for guess in guesses.values()], axis=1)
    model = LogisticRegression(class_weight="balanced").fit(ranks[public], is_member[public])
    return model.decision_function(ranks)
