"""Mode collapse: whether a generator makes the same few examples of a class again and again.

    diversity   mean distance of two synthetic examples of a class, over that of two real ones

Distances are those of the features that are handed in, such as the dense layer of a CNN.
"""

from collections.abc import Mapping

import numpy as np

COLLAPSED = 0.5
"""Diversity below which a class is reported as collapsed."""


def diversity(fake: np.ndarray | None, real: np.ndarray | None) -> float | None:
    """Mean distance between two points of `fake` (N, F) over that between two of `real` (M, F).

    None where either is missing or has fewer than two points, or those of `real` are all the same.
    """
    from scipy.spatial.distance import pdist

    if fake is None or real is None or min(len(fake), len(real)) < 2:
        return None
    spread_fake, spread_real = (float(pdist(points).mean()) for points in (fake, real))
    return spread_fake / spread_real if spread_real > 1e-6 else None


def collapsed(diversities: Mapping[str, float | None]) -> list[str]:
    """Names of the classes whose `diversity` is below COLLAPSED, in order; None, not measured, is not."""
    return [name for name, value in diversities.items() if value is not None and value < COLLAPSED]
