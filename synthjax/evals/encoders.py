"""Rows of a table as vectors, in three ways: for linear models and nets, for trees, and for distances.

An encoder is fitted on the rows that a classifier trains on (for distances: on the real training set) and then used on
any others of the same `read`; a category that the fitting never saw is no category at all, and does no harm.

    encode = encoders.dense(train)
    x_train, x_test = encode(train), encode(test)
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from synthjax.evals.table import Table

Encoder = Callable[[Table], np.ndarray]
"""Table of N rows to (N, F) f64."""
WIDEST = 100
"""Categories of a column that have a position of their own in `dense` and `metric`: the most frequent ones."""
TREE_CATEGORIES = 254
"""Categories of a column that a histogram tree tells apart."""


def dense(fit: Table) -> Encoder:
    """Standardised numbers, one-hot categories, and a position that says "missing" for numbers that can be; no target.

    A missing number stands at the mean. The scale is that of the rows of `fit`; a constant column becomes 0.
    """
    numeric, discrete = _places(fit, without_target=True)
    numbers = fit.numbers[:, numeric]
    seen = ~np.isnan(numbers)
    count = np.maximum(seen.sum(0), 1)
    mean = np.where(seen, numbers, 0).sum(0) / count
    spread = np.sqrt((np.where(seen, numbers - mean, 0) ** 2).sum(0) / count)
    spread[spread <= 1e-12 * np.abs(mean)] = np.inf
    gaps = ~seen.all(0)
    kept = [_frequent(fit, place, WIDEST) for place in discrete]

    def encode(table: Table) -> np.ndarray:
        values = table.numbers[:, numeric]
        missing = np.isnan(values)
        scaled = np.where(missing, 0, (values - mean) / spread)
        return np.concatenate([scaled, missing[:, gaps], *_onehot(table, discrete, kept)], axis=1)

    return encode


def ordinal(fit: Table, *, without_target: bool = True) -> tuple[Encoder, np.ndarray]:
    """Numbers as they are and categories as codes, NaN where missing, unseen or rarer than the 254 most frequent.

    Returns:
        The encoder, and a mask (F,) of the positions that hold categories, as histogram trees want it.
    """
    numeric, discrete = _places(fit, without_target)
    lookups = []
    for place in discrete:
        kept = _frequent(fit, place, TREE_CATEGORIES)
        lookup = np.full(len(fit.schema.categories[place]) + 1, np.nan)  # the last entry: missing
        lookup[kept] = np.arange(len(kept))
        lookups.append(lookup)

    def encode(table: Table) -> np.ndarray:
        codes = [lookup[table.codes[:, place]][:, None] for place, lookup in zip(discrete, lookups, strict=True)]
        return np.concatenate([table.numbers[:, numeric], *codes], axis=1)

    return encode, np.arange(len(numeric) + len(discrete)) >= len(numeric)


def metric(fit: Table) -> Encoder:
    """Vectors whose squared Euclidean distance is, over all columns, the target included,

        sum over numbers of ((a - b) / range)^2  +  number of categories that differ

    with the ranges of the rows of `fit`. Missing is a category of its own. Two missing numbers are at distance 0, a
    missing and a present one between 0.87 (present in the middle of the range) and 1 (at its ends). Categories beyond
    the 100 most frequent ones of a column count as one.
    """
    empty = np.isnan(fit.numbers).all(0)
    known = np.where(empty, 0, fit.numbers)
    low, high = np.nanmin(known, 0), np.nanmax(known, 0)
    width = np.where(high > low, high - low, 1.0)
    discrete = range(fit.codes.shape[1])
    kept = [_frequent(fit, place, WIDEST) for place in discrete]

    def encode(table: Table) -> np.ndarray:
        missing = np.isnan(table.numbers)
        scaled = np.where(missing, 0.5, (table.numbers - low) / width)
        hot = _onehot(table, discrete, kept)
        others = [
            (table.codes[:, [place]] >= 0) & (one.sum(1, keepdims=True) == 0)
            for place, one in zip(discrete, hot, strict=True)
        ]
        none = table.codes < 0
        # Two different categories differ in two positions: each is worth 1/2.
        half = np.concatenate([*hot, *others, none], axis=1) * np.sqrt(0.5)
        return np.concatenate([scaled, missing * np.sqrt(0.75), half], axis=1)

    return encode


def _places(table: Table, without_target: bool) -> tuple[list[int], list[int]]:
    """Positions of the numeric and of the discrete columns that are encoded."""
    schema = table.schema
    skipped = schema.target if without_target else None
    return (
        [place for place, name in enumerate(schema.numeric) if name != skipped],
        [place for place, name in enumerate(schema.discrete) if name != skipped],
    )


def _frequent(table: Table, place: int, most: int) -> np.ndarray:
    """Codes of the most frequent categories of a discrete column, at most `most`, ties by code."""
    codes = table.codes[:, place]
    counts = np.bincount(codes[codes >= 0], minlength=len(table.schema.categories[place]))
    order = np.argsort(-counts, kind="stable")[:most]
    return order[counts[order] > 0]


def _onehot(table: Table, places: Iterable[int], kept: Sequence[np.ndarray]) -> list[np.ndarray]:
    """For each discrete column (N, number kept) f64; all 0 where the category is not kept."""
    return [(table.codes[:, [place]] == codes).astype(np.float64) for place, codes in zip(places, kept, strict=True)]
