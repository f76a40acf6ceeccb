"""Fidelity of a synthetic table: does it look like the real one, column by column, pair by pair, as a whole?

    shapes      per column, 1 - Kolmogorov-Smirnov statistic (numbers) or 1 - total variation distance (categories)
    trends      per pair of columns, 1 - |r - r'| / 2 for Pearson's r of two numbers, 1 - total variation distance of
                the contingency tables otherwise, a number that meets a category cut into 10 equal bins
    missing     per column, share of missing values in the real and the synthetic table
    correlation matrix of r' - r, and the mean and the largest of |r' - r| over pairs
    mutual_information  sum over pairs of w |I - I'|, w = I / sum of I: I, the normalised mutual information, of
                columns cut into 20 bins at the quantiles of the real one; pairs count as much as they depend
    c2st        gradient boosting tells real from synthetic rows: 1 where it cannot, 0 where it never errs
                (`synthjax.evals.two_sample`), and by which columns it does
    neighbours  precision, recall, density and coverage (`feature_space`) of rows by `encoders.metric`

Shapes and trends are those of SDMetrics (its single-table properties ColumnShapes and ColumnPairTrends, with no
threshold on the real correlation), missing values included: shapes and correlations leave them out; in a contingency
table they are a category, or, for a number, fall into the bin of its maximum. In mixed pairs SDMetrics cuts the real
and the synthetic column at edges of their own, so that a synthetic column of another scale goes unnoticed;
`score_real_edges` cuts both at the real column's. SDMetrics draws 50,000 rows of longer tables, here all are counted.

Each figure is given for the synthetic table, for real test rows in its place (`ceiling`) and for independently
drawn columns (`floor`). How well every column follows from the others is measured in `each_column`.

    parts = from_frames({"train": train, "test": test, "synthetic": synthetic}, kinds, target="income")
    found = tables.evaluate(parts["synthetic"], parts["train"], parts["test"])
    print(found["synthetic"]["shapes"]["score"], found["ceiling"]["shapes"]["score"])
"""

import itertools
from typing import Any

import numpy as np
from scipy import stats

from synthjax.evals import encoders, maps, two_sample
from synthjax.evals.fidelity import each_column
from synthjax.evals.fidelity.feature_space import K, neighbourhoods
from synthjax.evals.streams import stream
from synthjax.evals.table import Table, independent_columns

BINS = 10
"""Of a number that meets a category, as in SDMetrics."""
INFORMATION_BINS = 20
LIMIT = 50_000
"""Rows of each table that the two-sample test is made with at most."""
NEIGHBOUR_LIMIT = 5_000
"""Rows of each table whose neighbours are looked for at most."""
PAIRED_COLUMNS = 100
"""Columns whose pairs are looked at by `compare` at most."""


def evaluate(synthetic: Table, train: Table, test: Table, *, seed: int = 0, limit: int = LIMIT) -> dict[str, Any]:
    """Compares a synthetic table with the real training table, and so the ceiling (other real rows) and the floor.

    `seed` is that of subsamples, folds and the floor. `limit` bounds the rows of the two-sample test; shapes, trends,
    missing, correlation and mutual_information look at all. Returns plain values with the keys of
    `report.tables.TableFidelity`.
    """
    floor = independent_columns(stream(seed, "fidelity.floor"), train, len(synthetic))
    tables = {"synthetic": synthetic, "ceiling": test, "floor": floor}
    return {
        **{
            name: compare(train, table, seed=seed, limit=limit, explain=name == "synthetic")
            for name, table in tables.items()
        },
        "each_column": each_column.evaluate(synthetic, train, test, seed=seed, limit=min(limit, each_column.LIMIT)),
        "map": _map(train, synthetic, seed),
        "n": {"real": len(train), **{name: len(table) for name, table in tables.items()}},
        "protocol": {
            "real": "the training table",
            "ceiling": "real test rows in the place of the synthetic ones",
            "floor": "as many rows, each column drawn from the training table alone",
            "c2st": f"gradient boosting, {two_sample.FOLDS} folds, at most {limit} rows of each table, as many of both",
            "each_column": f"gradient boosting, at most {each_column.LIMIT} rows, {each_column.COLUMNS} columns",
            "pairs": f"of at most {PAIRED_COLUMNS} columns",
            "neighbours": f"at most {NEIGHBOUR_LIMIT} rows of each table, {K} neighbours",
        },
    }


def compare(
    real: Table, synthetic: Table, *, seed: int = 0, limit: int = LIMIT, explain: bool = False
) -> dict[str, Any]:
    """Every measure of the module for one pair of tables, by its name.

    The measures of pairs look at 100 columns, drawn by `seed`, where there are more.
    """
    names = np.array([*real.schema.numeric, *real.schema.discrete])
    paired = set(stream(seed, "fidelity.columns").permutation(names)[:PAIRED_COLUMNS].tolist())
    few = real.select(paired), synthetic.select(paired)
    return {
        "shapes": shapes(real, synthetic),
        "trends": trends(*few),
        "missing": missing(real, synthetic),
        "correlation": correlation_difference(*few),
        "mutual_information": information_difference(*few),
        "c2st": c2st(real, synthetic, seed=seed, limit=limit, explain=explain),
        "neighbours": neighbours(real, synthetic, seed=seed),
    }


def shapes(real: Table, synthetic: Table) -> dict[str, Any]:
    """Likeness of single columns, in [0, 1]: the mean as `score`, None if there is none; and each of `columns`."""
    schema = real.schema
    columns: dict[str, float | None] = {}
    for name, a, b in zip(schema.numeric, real.numbers.T, synthetic.numbers.T, strict=True):
        columns[name] = _ks_complement(a[~np.isnan(a)], b[~np.isnan(b)])
    for name, a, b in zip(schema.discrete, real.codes.T, synthetic.codes.T, strict=True):
        columns[name] = _variation_complement(a[a >= 0], b[b >= 0])
    return {"score": _mean(columns.values()), "columns": columns}


def trends(real: Table, synthetic: Table) -> dict[str, Any]:
    """Likeness of pairs of columns, in [0, 1]: the means `score` and `score_real_edges` (see module), and `pairs`."""
    schema = real.schema
    a, b = pearson(real.numbers), pearson(synthetic.numbers)
    likeness = 1 - np.abs(a - b) / 2
    pairs: list[dict[str, Any]] = []
    for i, j in itertools.combinations(range(len(schema.numeric)), 2):
        pairs.append(_pair(schema.numeric[i], schema.numeric[j], likeness[i, j]))
    for i, j in itertools.combinations(range(len(schema.discrete)), 2):
        score = _contingency(real.codes[:, i], real.codes[:, j], synthetic.codes[:, i], synthetic.codes[:, j])
        pairs.append(_pair(schema.discrete[i], schema.discrete[j], score))
    for i, name in enumerate(schema.numeric):
        cuts = _cut(real.numbers[:, i], synthetic.numbers[:, i])
        for j, other in enumerate(schema.discrete):
            score, at_real = (_contingency(a, real.codes[:, j], b, synthetic.codes[:, j]) for a, b in cuts)
            pairs.append(_pair(name, other, score) | {"score_real_edges": _finite(at_real)})
    return {
        "score": _mean(pair["score"] for pair in pairs),
        "score_real_edges": _mean(pair.get("score_real_edges", pair["score"]) for pair in pairs),
        "pairs": pairs,
    }


def missing(real: Table, synthetic: Table) -> dict[str, Any]:
    """Share of missing values: `columns`, name -> [real, synthetic], and `largest_difference` of the two."""
    a, b = (np.concatenate([np.isnan(t.numbers).mean(0), (t.codes < 0).mean(0)]) for t in (real, synthetic))
    names = (*real.schema.numeric, *real.schema.discrete)
    return {
        "columns": {name: [float(x), float(y)] for name, x, y in zip(names, a, b, strict=True)},
        "largest_difference": float(np.abs(a - b).max()),
    }


def pearson(numbers: np.ndarray) -> np.ndarray:
    """Pearson's r (A, A) of the columns of `numbers` (N, A) f64, each over the rows where both have a value.

    NaN where it does not exist: fewer than 2 such rows, or a column that is constant in them.
    """
    import pandas as pd

    return pd.DataFrame(numbers).corr(min_periods=2).to_numpy()


def correlation_difference(real: Table, synthetic: Table) -> dict[str, Any]:
    """The study's cross-correlation difference, over numeric columns.

    `columns`; `real`, `synthetic` and `difference` (synthetic - real), each a matrix as lists, None where there is no
    correlation; `mean` and `max` of |difference| over the pairs, None without any.
    """
    a, b = pearson(real.numbers), pearson(synthetic.numbers)
    apart = np.abs(b - a)[np.triu_indices(len(a), 1)]
    apart = apart[~np.isnan(apart)]
    lists = {"real": a, "synthetic": b, "difference": b - a}
    return {
        "columns": list(real.schema.numeric),
        **{name: [[_finite(value) for value in row] for row in matrix] for name, matrix in lists.items()},
        "mean": float(apart.mean()) if len(apart) else None,
        "max": float(apart.max()) if len(apart) else None,
    }


def information_difference(real: Table, synthetic: Table) -> dict[str, Any]:
    """Difference of the pairwise normalised mutual information, in [0, 1], 0: none.

    `weighted` (see module), None where no pair of real columns depends; `mean` of |I - I'|, None without a pair.
    """
    a, b = list(real.codes.T), list(synthetic.codes.T)
    inner = np.arange(1, INFORMATION_BINS) / INFORMATION_BINS
    for values, others in zip(real.numbers.T, synthetic.numbers.T, strict=True):
        there = values[~np.isnan(values)]
        edges = np.unique(np.quantile(there, inner)) if len(there) else there
        # Missing numbers are a bin of their own, the last.
        for found, column in ((a, values), (b, others)):
            found.append(np.where(np.isnan(column), len(edges) + 1, np.searchsorted(edges, column)))
    pairs = list(itertools.combinations(range(len(a)), 2))
    known, found_again = (np.array([normalised_information(x[i], x[j]) for i, j in pairs]) for x in (a, b))
    apart = np.abs(known - found_again)
    return {
        "weighted": float((known * apart).sum() / known.sum()) if known.sum() > 0 else None,
        "mean": float(apart.mean()) if len(pairs) else None,
    }


def normalised_information(a: np.ndarray, b: np.ndarray) -> float:
    """Mutual information of codes (N,) over the mean of their entropies, in [0, 1]; 0 if both are constant."""
    joint, first, second = (_entropy(np.unique(x, return_counts=True)[1]) for x in (_joined(a, b), a, b))
    return float(max(2 * (first + second - joint) / (first + second), 0.0)) if first + second > 1e-12 else 0.0


def c2st(real: Table, synthetic: Table, *, seed: int = 0, limit: int = LIMIT, explain: bool = False) -> dict[str, Any]:
    """Classifier two-sample test by gradient boosting, the target among the columns: what `two_sample.judge` returns.

    At most `limit` rows are taken, as many of one table as of the other; `seed`: of them, the folds and the trees;
    `explain`: whether to say which columns told the rows apart.
    """
    rng = stream(seed, "fidelity.table_c2st")
    n = min(len(real), len(synthetic), limit)
    both = [table.sample(rng, n) for table in (real, synthetic)]
    rows = Table(real.schema, *(np.concatenate([getattr(t, part) for t in both]) for part in ("numbers", "codes")))
    encode, categorical = encoders.ordinal(rows, without_target=False)
    names = [*real.schema.numeric, *real.schema.discrete] if explain else []
    return two_sample.judge(*map(encode, both), seed=seed, categorical=categorical, names=names)


def neighbours(real: Table, synthetic: Table, *, seed: int = 0) -> dict[str, Any]:
    """Precision, recall, density and coverage of synthetic rows among real ones, as many of both.

    The four are None where there are fewer than two rows.
    """
    rng = stream(seed, "fidelity.table_neighbours")
    encode = encoders.metric(real)
    n = min(len(real), len(synthetic), NEIGHBOUR_LIMIT)
    k = min(K, n - 1)
    if k < 1:
        return {**dict.fromkeys(("precision", "recall", "density", "coverage")), "k": k, "n": n}
    here, there = (encode(table.sample(rng, n)) for table in (real, synthetic))
    return {**neighbourhoods(here, there, k), "k": k, "n": n}


def _map(real: Table, synthetic: Table, seed: int) -> dict[str, Any] | None:
    """Some rows of both tables in one plane."""
    encode = encoders.metric(real)
    rng = stream(seed, "fidelity.table_map")
    return maps.plane(*(encode(table.sample(rng, maps.SHOWN)) for table in (real, synthetic)), seed=seed)


def _ks_complement(a: np.ndarray, b: np.ndarray) -> float | None:
    """1 less the largest distance of two empirical distribution functions."""
    if not len(a) or not len(b):
        return None
    return float(1 - stats.ks_2samp(a, b, method="asymp").statistic)


def _variation_complement(a: np.ndarray, b: np.ndarray) -> float | None:
    """1 less the total variation distance of two columns of codes."""
    if not len(a) or not len(b):
        return None
    values, inverse = np.unique(np.concatenate([a, b]), return_inverse=True)
    shares = [np.bincount(part, minlength=len(values)) / len(part) for part in (inverse[: len(a)], inverse[len(a) :])]
    return float(1 - np.abs(shares[0] - shares[1]).sum() / 2)


def _contingency(a: np.ndarray, b: np.ndarray, other_a: np.ndarray, other_b: np.ndarray) -> float:
    """1 less the total variation distance of two contingency tables, given as two columns of codes each."""
    joined = _joined(np.concatenate([a, other_a]), np.concatenate([b, other_b]))
    score = _variation_complement(joined[: len(a)], joined[len(a) :])
    return np.nan if score is None else score


def _joined(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """One integer per pair of codes >= -1."""
    return (a.astype(np.int64) + 1) * (int(b.max(initial=0)) + 2) + b + 1


def _cut(real: np.ndarray, synthetic: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Both columns in bins at edges of their own, and both at the real column's, open at the ends."""
    edges = [np.histogram_bin_edges(values[~np.isnan(values)], BINS) for values in (real, synthetic)]
    # NaN goes beyond the last edge, and so does, at a column's own edges, its maximum: as in SDMetrics.
    own = [np.digitize(values, at) for values, at in zip((real, synthetic), edges, strict=True)]
    inner = edges[0][1:-1]
    opened = [np.where(np.isnan(values), BINS, np.digitize(values, inner)) for values in (real, synthetic)]
    return own, opened


def _pair(one: str, other: str, score: float) -> dict[str, Any]:
    return {"columns": [one, other], "score": _finite(score)}


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _mean(values: Any) -> float | None:
    present = [value for value in values if value is not None]
    return float(np.mean(present)) if present else None


def _entropy(counts: np.ndarray) -> float:
    share = counts / counts.sum()
    return float(-(share * np.log(share)).sum())
