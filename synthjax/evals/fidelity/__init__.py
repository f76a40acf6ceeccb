"""Fidelity: do the synthetic examples look like real ones, and are all kinds of real ones among them?

images          in the features of a CNN, and class by class
tables          column by column, pair by pair, as a whole
feature_space   distances of two sets of points, which both use
"""

from typing import Any

from synthjax.evals.domains.tables import Tables
from synthjax.evals.fidelity import images, tables
from synthjax.evals.sets import Sets


def evaluate(sets: Sets, *, limit: int, seed: int = 0) -> dict[str, Any]:
    """The fidelity part of a report, of images (`images.in_learnt_features`) or of tables (`tables.evaluate`).

    At most `limit` examples are what the features are learnt from, or rows that the two-sample test looks at.
    """
    if isinstance(sets.domain, Tables):
        return tables.evaluate(sets.synthetic, sets.train, sets.test, seed=seed, limit=limit)
    return images.in_learnt_features(sets, limit=limit, seed=seed)
