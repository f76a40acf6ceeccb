"""Distances of two sets of points, such as the features of images, or rows of a table as vectors.

Let the ball of a point reach to its k-th nearest neighbour within its own set. With R real and S synthetic points,

    precision   share of S within the ball of some r          recall   share of R within the ball of some s
    density     balls of R that hold an s, mean over S, / k   coverage share of R whose own ball holds some s

(Kynkäänniemi et al., Improved precision and recall metric, 2019; Naeem et al., Reliable fidelity and diversity metrics,
2020.) Density is 1 in expectation for S drawn as R is, and may exceed 1; precision and recall are swayed by single
outliers, density and coverage are not. All four depend on the numbers of points, so that figures compare only with
a reference of the same numbers: other real points in the place of S.

Distances of whole sets are Fréchet's, and the kernel distance, the squared maximum mean discrepancy for
k(a, b) = (a.b / F + 1)^3, estimated without bias so that it may fall below 0 (Bińkowski et al., Demystifying MMD GANs,
2018).
"""

import numpy as np

from synthjax.evals.neighbours import nearest

K = 5
"""Neighbours that the radius of a ball is taken from, as Naeem et al. propose."""
_BLOCK = 1024


def neighbourhoods(real: np.ndarray, fake: np.ndarray, k: int) -> dict[str, float]:
    """Precision, recall, density and coverage of points `fake` (S, F) among points `real` (R, F), 1 <= k < R, S.

    The edge of a ball belongs to it, as in the first paper: on data with duplicates a ball may have radius 0.
    """
    from sklearn.metrics.pairwise import euclidean_distances

    real, fake = real.astype(np.float64), fake.astype(np.float64)
    real_radii, fake_radii = (nearest(points, points, k + 1)[0][:, k] ** 2 for points in (real, fake))
    # The product form of a squared distance is off by less than this: what lies so close to an edge lies on it.
    slack = 1e-12 * (np.abs(real).max() + np.abs(fake).max()) ** 2 * real.shape[1]
    holders = np.zeros(len(fake))  # balls of R that hold this s
    recalled, covered = np.zeros(len(real), bool), np.zeros(len(real), bool)
    for start in range(0, len(real), _BLOCK):
        rows = slice(start, start + _BLOCK)
        square = euclidean_distances(real[rows], fake, squared=True) - slack
        within = square <= real_radii[rows, None]
        holders += within.sum(0)
        covered[rows] = within.any(1)
        recalled[rows] = (square <= fake_radii).any(1)
    return {
        "precision": float((holders > 0).mean()),
        "recall": float(recalled.mean()),
        "density": float(holders.mean() / k),
        "coverage": float(covered.mean()),
    }


def kernel_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Unbiased squared maximum mean discrepancy of points `a` (N, F) and `b` (M, F), N, M >= 2, by the cubic kernel."""
    a, b = a.astype(np.float64), b.astype(np.float64)

    def total(x: np.ndarray, y: np.ndarray) -> float:
        blocks = (x[i : i + _BLOCK] @ y.T / x.shape[1] + 1 for i in range(0, len(x), _BLOCK))
        return float(sum((block**3).sum() for block in blocks))

    def alone(x: np.ndarray) -> float:
        own = (((x**2).sum(1) / x.shape[1] + 1) ** 3).sum()
        return (total(x, x) - float(own)) / (len(x) * (len(x) - 1))

    return alone(a) + alone(b) - 2 * total(a, b) / (len(a) * len(b))


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """Squared Fréchet distance of the Gaussians with the moments of points `a` (N, F) and `b` (M, F), N, M >= 2.

    |mu_a - mu_b|^2 + tr(A + B - 2 (A^1/2 B A^1/2)^1/2) (Dowson & Landau 1982; Heusel et al. 2017, where the points are
    Inception features: figures in other feature spaces do not compare with theirs).
    """
    a, b = a.astype(np.float64), b.astype(np.float64)
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    values, vectors = np.linalg.eigh(np.atleast_2d(cov_a))
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    product = np.linalg.eigvalsh(root @ np.atleast_2d(cov_b) @ root)
    shift = ((a.mean(0) - b.mean(0)) ** 2).sum()
    trace = np.trace(np.atleast_2d(cov_a)) + np.trace(np.atleast_2d(cov_b)) - 2 * np.sqrt(np.maximum(product, 0)).sum()
    # Equal moments leave a rounding error of either sign.
    return float(max(shift + trace, 0.0))
