"""How much a synthetic table gives away about the rows its generator was trained on.

Rows become vectors by `encoders.metric`: the squared distance of two rows is the sum of squared differences of their
numbers, each over its range in the training table, and of the number of categories that differ. On these vectors run
the copies, the distance to closest record and the membership attacks of `synthjax.evals.privacy`, which explains them.

The study's recipe is added (Mottini, Lheritier & Acuna-Agost, Airline passenger name record generation using generative
adversarial networks, 2018): the distances from every synthetic row to its nearest neighbour among n training rows and
among n test rows are compared by three tests, all of which ask whether the two sets of distances come from one
distribution, and by Pearson's r between them:

    mann_whitney     ranks of both sets together, as if independent
    wilcoxon         signed ranks of the differences, row by row
    kruskal_wallis   as Mann-Whitney, by the chi-square form

A p-value above .05 says that so many rows show no difference, not that there is none: it falls as n grows, and rows
that share a neighbour are not independent. `reference` is the same for real rows that are in neither set.

Formal guarantees: none, as in `synthjax.evals.privacy`.

    found = tabular_privacy.evaluate(tables["synthetic"], tables["train"], tables["holdout"], tables["test"])
    print(found["dcr"]["share_nearer_train"], found["tests"]["wilcoxon"]["p"], found["mia"]["auc"])
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from synthjax.errors import InputError
from synthjax.evals import encoders, frames, privacy
from synthjax.evals.frames import Table
from synthjax.evals.neighbours import nearest
from synthjax.evals.privacy import attributes

LIMIT = 10_000
"""Rows attacked, and rows of each kind that the study's tests compare, at most."""
RECORD_LIMIT = 50_000
"""Synthetic rows whose closest record is looked for at most."""


def evaluate(
    synthetic: Table,
    train: Table,
    holdout: Table,
    test: Table,
    *,
    scores: Mapping[str, np.ndarray] | None = None,
    shadows: privacy.Shadows | None = None,
    public: int = 0,
    secrets: Sequence[str] | None = None,
    seed: int = 0,
    limit: int = LIMIT,
    save: Path | None = None,
) -> dict[str, Any]:
    """The privacy part of a report on tables.

    Args:
        synthetic: what the generator made.
        train: what it was trained on.
        holdout: real rows that it cannot have seen.
        test: other real rows: the attacker's reference, and the test sample of the study's tests.
        scores: how surprised the model is (low = known) by rows of `privacy.audience(len(train), len(holdout),
            seed=seed, limit=limit)`: "members" (n,), "others" (m,).
        shadows: what shadow models say of the same rows, members first.
        public: the attacker knows of so many members, and of as many others, that they are.
        secrets: columns that are guessed from the others; default: see `attributes.default_secrets`.
        seed: decides every subsample and relabelling.
        limit: rows attacked, and rows per table of the study's tests, at most.
        save: file for what every attack said of every row, see `privacy.records.save`.

    Returns:
        Plain values with the keys of `synthjax.evals.report.attacks.TablePrivacy`, distances in units of a range or a
        category: `attributes`, see `privacy.attributes.evaluate`; `tests`, see `compare_distances`, and within it
        `reference`, the same with holdout rows in the place of synthetic ones.

    Raises:
        InputError: train, holdout or test has fewer than 2 rows.
    """
    for name, table in (("train", train), ("holdout", holdout), ("test", test)):
        if len(table) < 2:
            raise InputError(f"{name}: {len(table)} rows, at least 2 needed")
    encode = encoders.metric(train)
    made, known, unseen, reference = (encode(table) for table in (synthetic, train, holdout, test))
    exact = privacy.Keys(*(keys(table) for table in (synthetic, train, holdout)))
    guessed = attributes.evaluate(synthetic, train, holdout, test, secrets=secrets, seed=seed, limit=limit)
    attacker = privacy.Attacker(scores, shadows, public, seed, limit)
    parts = made, known, unseen, reference, exact, attacker
    more = {f"attributes.{name}": p for name, p in attributes.p_values(guessed).items()}
    return {
        **privacy.judge(*parts, record_limit=RECORD_LIMIT, save=save, more=more),
        "attributes": guessed,
        "tests": {
            **compare_distances(*distances(synthetic, train, test, seed=seed, limit=limit)),
            "reference": compare_distances(*distances(holdout, train, test, seed=seed, limit=limit)),
        },
    }


def distances(
    rows: Table, train: Table, test: Table, *, seed: int = 0, limit: int = LIMIT
) -> tuple[np.ndarray, np.ndarray]:
    """Distances from rows to their nearest training and test row.

    As many rows are drawn of each of the three tables: all that the smallest has, at most `limit`.

    Returns:
        To the training rows and to the test rows, each (n,) f64 >= 0, in the same order.
    """
    rng = np.random.default_rng([seed, 5])
    n = min(len(rows), len(train), len(test), limit)
    encode = encoders.metric(train)
    queries, known, unseen = (encode(frames.sample(rng, table, n)) for table in (rows, train, test))
    return nearest(queries, known)[0][:, 0], nearest(queries, unseen)[0][:, 0]


def compare_distances(to_train: np.ndarray, to_test: np.ndarray) -> dict[str, Any]:
    """The study's tests of two sets of distances (n,), whose entries belong together.

    Returns:
        `mann_whitney`, `wilcoxon`, `kruskal_wallis`, each with `statistic` and `p`; `pearson`, with `r` and `p`, None
        where one of the sets is constant or n < 3; `n`; `median_train`, `median_test`. Sets without any difference
        have p = 1.
    """
    from scipy import stats

    same = bool((to_train == to_test).all())
    constant = len(to_train) < 3 or np.ptp(to_train) == 0 or np.ptp(to_test) == 0
    tests = {
        "mann_whitney": lambda: stats.mannwhitneyu(to_train, to_test),
        "wilcoxon": lambda: stats.wilcoxon(to_train, to_test),
        "kruskal_wallis": lambda: stats.kruskal(to_train, to_test),
    }
    found: dict[str, Any] = {}
    for name, test in tests.items():
        found[name] = {"statistic": None, "p": 1.0}
        if not same:
            statistic, p = test()
            found[name] = {"statistic": float(statistic), "p": float(p)}
    found["pearson"] = None
    if not constant:
        r, p = stats.pearsonr(to_train, to_test)
        found["pearson"] = {"r": float(r), "p": float(p)}
    medians = {"median_train": float(np.median(to_train)), "median_test": float(np.median(to_test))}
    return {**found, "n": len(to_train), **medians}


def keys(table: Table) -> list[bytes]:
    """Bytes that are equal if and only if rows are: from the values, since vectors merge rare categories."""
    # Adding 0 makes -0 a 0; every NaN here has the same bits, as it was written by `frames.read`.
    return [row.tobytes() for row in np.concatenate([table.numbers + 0.0, table.codes], axis=1)]
