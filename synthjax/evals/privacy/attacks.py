r"""Membership attacks that need no more than the synthetic file: what each says of a record, high meaning "member".

An attacker holds the file and asks of a real record x whether it was trained on. With d_S and d_R the Euclidean
distances from x to its nearest synthetic and to its nearest reference record,

    distance         -d_S                                   GAN-Leaks (Chen et al. 2020, arXiv:1909.03935), black box
    calibrated       log d_R - log d_S                      GAN-Leaks calibrated by a reference: on a log scale, so that
                                                            units do not matter
    copy             -d_S where d_S <= q, else equal for    sure of few: q is the 1 % quantile of the distances from
                     all                                    reference records to synthetic ones
    monte_carlo      share of synthetic records within e    Hilprecht et al. 2019 (PoPETs 2019(4)), in principal
                                                            components, e the median nearest distance
    domias_kernel    log p_syn(x) - log p_ref(x)            DOMIAS (van Breugel et al. 2023, arXiv:2302.12580),
    domias_mixture   the same                               densities by kernels, by a mixture: see `density`

The reference is real data that the attacker knows and that nobody trained on; without any, three of the six are left
out. `informed` is what an attacker adds who knows of a few records whether they are members: a logistic regression on
what the six say, fitted on those.

    guesses, control = from_file(real, synthetic, reference)     # {"distance": (n,), ...}
"""

import jax
import numpy as np
from scipy import stats

from synthjax.evals.neighbours import nearest
from synthjax.evals.privacy.density import Components, count_within, fit_mixture, log_kernel, log_mixture

COPY_QUANTILE = 0.01
"""Share of reference records that come as near to a synthetic one as `copy` calls near."""


def from_file(
    real: np.ndarray, synthetic: np.ndarray, reference: np.ndarray, *, seed: int = 0
) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """What each attack says of real records.

    Args:
        real: (n, ...) the records that are attacked, members and others.
        synthetic: (S, ...) S >= 1, in the same space.
        reference: (R, ...) real data of the attacker; may be empty.
        seed: of subsamples and of the mixtures' starting points.

    Returns:
        Attack -> (n,) f64, finite, high = member; and the control (n,): what the first attack says when it is aimed at
        the reference, which holds no member (None without one).
    """
    nearest_synthetic = nearest(real, synthetic)[0][:, 0]
    reduce = Components.fit(np.concatenate([synthetic, reference]), seed=seed)
    plain = reduce(real, whiten=False), reduce(synthetic, whiten=False)
    guesses = {"distance": -nearest_synthetic, "monte_carlo": _monte_carlo(*plain)}
    if len(reference) < 2:
        return guesses, None
    nearest_reference = nearest(real, reference)[0][:, 0]
    from_reference = nearest(reference, synthetic)[0][:, 0]
    guesses["calibrated"] = _log(nearest_reference) - _log(nearest_synthetic)
    near = np.quantile(from_reference, COPY_QUANTILE)
    guesses["copy"] = -np.where(nearest_synthetic <= near, nearest_synthetic, near + 1)
    white = [reduce(x) for x in (real, synthetic, reference)]
    return {**guesses, **_domias(*white, seed=seed)}, -nearest_reference


def _log(distance: np.ndarray) -> np.ndarray:
    """Its log; 0, an exact copy, becomes a step far below every other distance, which keeps its rank at the end."""
    return np.log(np.maximum(distance, 1e-6 * np.min(distance[distance > 0], initial=1.0)))


def _monte_carlo(real: np.ndarray, synthetic: np.ndarray) -> np.ndarray:
    """Share of synthetic points (S, D) within a radius of each real point (n, D): (n,).

    The radius is the median of the nearest distances above 0: a file of nothing but copies has none of its own.
    """
    distance = nearest(real, synthetic)[0]
    apart = distance[distance > 0]
    radius = float(np.median(apart)) if len(apart) else 1.0
    return count_within(real, synthetic, radius) / len(synthetic)


def _domias(real: np.ndarray, synthetic: np.ndarray, reference: np.ndarray, *, seed: int) -> dict[str, np.ndarray]:
    """Density ratios at points real (n, D); all in the same whitened coordinates."""
    key_synthetic, key_reference = jax.random.split(jax.random.key(seed))
    ours, theirs = fit_mixture(key_synthetic, synthetic), fit_mixture(key_reference, reference)
    return {
        "domias_kernel": log_kernel(real, synthetic) - log_kernel(real, reference),
        "domias_mixture": log_mixture(ours, real) - log_mixture(theirs, real),
    }


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
