"""A table of independent columns, made of noisy histograms: see `synthjax.data.private_table`.

Noise is first taken off as far as that is possible without looking at rows. Histograms of numbers are smoothed by
thresholding their Haar wavelets (Donoho & Johnstone 1994, doi:10.1093/biomet/81.3.425): neighbouring cells whose
counts do not differ by more than noise does get their mean. Then counts are made non-negative with the right total.

    >>> nearest_counts(np.array([7.0, 5.0, -3.0]), 10).tolist()
    [6.0, 4.0, 0.0]
    >>> smoothed(np.array([100.0, 4.0, -3.0, 1.0]), sigma=3.0).tolist()
    [100.0, 0.0, 0.0, 0.0]
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from synthjax.data.private_histograms import SURE
from synthjax.data.private_kinds import Histogram
from synthjax.data.schema import RARE, Field
from synthjax.data.text_values import as_times, number_text

_SEED = 4
_DETAIL = 2.5  # standard deviations of noise that a wavelet must exceed


def made_cells(histograms: Sequence[Histogram], rows: int, tokens: Mapping[str, str]) -> pa.Table:
    """A table of independent columns, as text.

    Args:
        histograms: of the columns.
        rows: how many.
        tokens: column -> the cell that means that a value is missing.

    Returns:
        Strings. Each column has values in proportion to its histogram, in a random order that does not depend on data.
    """
    columns = {}
    for i, one in enumerate(histograms):
        cells = _made(one, rows, tokens[one.name])
        order = np.random.default_rng((_SEED, i)).permutation(rows)
        columns[one.name] = cells.take(pa.array(order))
    return pa.table(columns)


def _made(one: Histogram, rows: int, token: str) -> pa.Array:
    """The cells of one column, in the order of its histogram."""
    if one.kind == "id":
        return pa.array(np.arange(1, rows + 1)).cast(pa.string())
    if one.kind == "text":
        return pa.array(["some text"] * rows, pa.string())
    cells = np.array([*one.counts, one.others, one.missing], float)
    used = np.append(np.ones(len(one.counts), bool), cells[-2:] > 0)
    if used.any():
        cells[used] = nearest_counts(cells[used], rows)
    counts = whole(cells, rows)
    if one.public and counts.max() > len(counts):  # each public category has a row, so that the schema has it
        counts[counts.argmax()] -= int((counts[: len(one.labels)] == 0).sum())
        counts[: len(one.labels)] = np.maximum(counts[: len(one.labels)], 1)
    if one.kind == "category":
        names = np.array([*one.labels, RARE, token], object)
        return pa.array(np.repeat(names, counts).tolist(), pa.string())
    values = np.concatenate([_inside(one, i, n) for i, n in enumerate(counts[:-2].tolist())] or [np.zeros(0)])
    field = Field(one.name, kind_of(one), rows, decimals=one.decimals, format=one.format)
    text = number_text(as_times(values) if one.kind == "date" else values, field)
    return pa.concat_arrays([text.cast(pa.string()), pa.array([token] * int(counts[-1] + counts[-2]), pa.string())])


def _inside(one: Histogram, i: int, n: int) -> np.ndarray:
    """`n` values at equal distances in cell `i`, multiples of the step."""
    first = np.ceil(one.edges[i] / one.step - 1e-6)
    room = max(int(np.ceil(one.edges[i + 1] / one.step - 1e-6) - first), 1)
    return (first + np.floor(room * (np.arange(n) + 0.5) / max(n, 1))) * one.step


def kind_of(one: Histogram) -> Any:
    """The kind, as `schema` names it, of a column of numbers or dates."""
    if one.kind == "date":
        return "datetime"
    return "integer" if one.step >= 1 else "continuous"


def nearest_counts(counts: np.ndarray, total: float) -> np.ndarray:
    """The counts, none negative and with that total, that are nearest to noisy ones in least squares.

    >>> nearest_counts(np.array([7.0, 5.0, -3.0]), 10).tolist()
    [6.0, 4.0, 0.0]
    """
    descending = np.sort(counts)[::-1]
    shift = (np.cumsum(descending) - total) / np.arange(1, len(counts) + 1)
    last = int(np.flatnonzero(descending > shift)[-1]) if total > 0 else 0
    return np.maximum(counts - shift[last], 0)


def whole(counts: np.ndarray, total: int) -> np.ndarray:
    """Rounds counts to integers with the sum `total`."""
    ends = np.rint(np.cumsum(counts) * (total / max(counts.sum(), 1e-12))).astype(np.int64)
    return np.diff(ends, prepend=0)


def smoothed(counts: np.ndarray, sigma: float) -> np.ndarray:
    """Noisy counts of neighbouring cells, smoothed; 0 where there may be no row.

    Args:
        counts: (m,) f64.
        sigma: standard deviation of the noise of each.

    Returns:
        (m,) f64.
    """
    size = 1 << max(len(counts) - 1, 0).bit_length()
    means = np.pad(np.asarray(counts, np.float64), (0, size - len(counts)))
    details = []
    width = 1  # cells of which `means` are
    while len(means) > 1:
        left, right = means[::2], means[1::2]
        half = (left - right) / 2
        details.append(np.where(np.abs(half) * np.sqrt(2 * width) >= _DETAIL * sigma, half, 0.0))
        means, width = (left + right) / 2, 2 * width
    for half in reversed(details):
        means = np.stack([means + half, means - half], axis=1).ravel()
    flat = means[: len(counts)]
    starts = np.flatnonzero(np.diff(flat, prepend=np.nan) != 0)
    lengths = np.diff(np.append(starts, len(flat)))
    sure = flat[starts] * np.sqrt(lengths) >= SURE * sigma
    return np.where(np.repeat(sure, lengths), flat, 0.0)


def without_noise(one: Histogram) -> Histogram:
    """A histogram of numbers, smoothed, without empty cells at its ends; others unchanged.

    Where no cell may be told from an empty one, the numbers are spread evenly over public bounds, or else left out.
    """
    if one.kind not in ("number", "date"):
        return one
    counts = smoothed(np.array(one.counts, float), one.sigma)
    held = np.flatnonzero(counts)
    if not len(held):
        return replace(one, edges=(one.edges[0], one.edges[-1]), counts=(1,)) if one.public else Histogram(one.name)
    first, last = int(held[0]), int(held[-1])
    return replace(
        one, edges=one.edges[first : last + 2], counts=tuple(np.rint(counts[first : last + 1]).astype(int).tolist())
    )
