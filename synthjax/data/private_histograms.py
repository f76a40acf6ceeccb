"""Noisy histograms of single columns: all that a differentially private run learns of a table before its model.

A column is reduced to its distinct cells and their counts. Of these up to three histograms are released; a row is in
one cell of each, so that adding or removing a row changes one count by 1:

    look      what the cells read as: numbers by their decimals, dates by their format, anything else, missing.
              Left out where the schema file says the kind (`public: true`)
    coarse    numbers by sign and power of two, dates by year, times by hour: gives bounds, and says where the fine
              histogram needs narrow cells. Left out where public bounds leave few enough different numbers
    values    numbers and dates: cells of about equal numbers of rows within the bounds. Categories: one cell each.
              Always released, with the missing cells

Categories that are not public are released only if their noisy count reaches a threshold. A category that one row alone
holds is then released with a probability of at most the delta of that threshold (Korolova et al. 2009, "Releasing
search queries and clicks privately"; Wilson et al. 2020, arXiv:1909.01917).
Identifiers and free text are not looked at. Names of columns, the types of a Parquet file and the formats that are
known (`text_values.FORMATS`) do not depend on rows, and are public.

Formal guarantees. `release` is differentially private with respect to adding or removing one unit, which has k rows of
those that are counted, if `Spend.noise` and `Spend.threshold` are as documented. The histograms are released one after
the other, and what later ones look like depends on earlier ones, but not their noise. Nothing else of the rows is used:
whatever is made of the histograms is post-processing.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from synthjax.data.private_kinds import MOST, Cells, Column, Histogram, known_kind, look, numbers_of
from synthjax.data.schema import MISSING
from synthjax.data.schema_inference import CLASSES
from synthjax.data.text_values import Chunk, missing_in

SURE = 4.0
"""Standard deviations of noise that a cell of a histogram must exceed to count as not empty."""
SHOWN = 2.0
"""Rows of a cell of numbers at least, on average, in standard deviations of noise."""
CELLS = 512
"""Maximum number of cells of a column of numbers."""
KEPT = 0.05
"""Share of the cells that categories above the threshold must hold; a column with less is free text, and left out."""
WEIGHTS = {"rows": 0.5, "look": 1.0, "classes": 1.0, "coarse": 1.0, "values": 3.0}
"""Privacy spent on one histogram (1 / variance of its noise), relative to others."""
_PER_COLUMN = WEIGHTS["look"] + WEIGHTS["coarse"] + WEIGHTS["values"]
_YEARS = (1800, 2200)


class Spend(NamedTuple):
    """What a release may spend."""

    noise: Callable[[str, np.ndarray, float], np.ndarray]
    """(name, counts (m,) i64, share) -> counts (m,) i64 with Gaussian noise of the standard deviation `sigma(share)`.

    A row changes one count by 1. Shares of one release sum to at most 1."""
    sigma: Callable[[float], float]
    """(share) -> standard deviation of the noise."""
    threshold: Callable[[str, float, int], int]
    """(name, sigma, columns) -> T, such that a category that only one unit holds is released with a probability of at
    most the delta for all thresholds divided by `columns`."""


def counted(chunks: Iterable[Chunk], names: Iterable[str]) -> dict[str, Cells]:
    """Counts the distinct cells of columns."""
    parts: dict[str, list[pa.Table]] = {name: [] for name in names}
    for chunk in chunks:
        for name, part in parts.items():
            pairs = pc.value_counts(chunk.cells.column(name).combine_chunks())
            part.append(pa.table({"cell": pairs.field("values"), "rows": pairs.field("counts")}))
    return {name: _joined(part) for name, part in parts.items()}


def _joined(parts: list[pa.Table]) -> Cells:
    if not parts:
        return Cells(pa.array([], pa.string()), np.zeros(0, np.int64))
    whole = pa.concat_tables(parts).group_by("cell").aggregate([("rows", "sum")]).sort_by("cell")
    return Cells(whole.column("cell").combine_chunks(), np.asarray(whole.column("rows_sum")).astype(np.int64))


def release(
    cells: Mapping[str, Cells],
    rows: int,
    spend: Spend,
    public: Mapping[str, Mapping[str, Any]],
    *,
    target: str | None = None,
    tokens: tuple[str, ...] = MISSING,
    left_out: Iterable[str] = (),
) -> tuple[int, tuple[Histogram, ...]]:
    """Releases the number of rows and the histograms of all columns.

    Args:
        cells: of each column, in order; see `counted`.
        rows: number of rows that were counted.
        spend: the noise.
        public: column -> its public entries: kind, min, max, decimals, categories, format, missing.
        target: the column to predict. Of its numbers few different ones are classes.
        tokens: cells that mean that a value is missing.
        left_out: names of columns that are not looked at, such as that of the units.

    Returns:
        The noisy number of rows, at least 0, and the histograms, in the order of the columns.
    """
    columns = [_column(name, one, public.get(name, {}), name == target, tokens) for name, one in cells.items()]
    budget = _Budget(spend, len(columns))
    noisy_rows = max(int(budget.release("rows", "rows", np.array([rows]))[0]), 0)
    known = {one.name: known_kind(one, set(left_out)) or look(one, budget.looked(one.name)) for one in columns}
    done: dict[str, Histogram] = {}
    coarse: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for one in columns:
        found = known[one.name]
        if one.target and found.kind == "number" and "kind" not in one.public:
            classes = _categories(one, replace(found, kind="category"), budget, budget.share("classes"), noisy_rows)
            if 2 <= len(classes.labels) <= CLASSES and sum(classes.counts) >= MOST * noisy_rows:
                done[one.name] = classes
                continue
        if found.kind in ("number", "date") and not _short(found, one.public):
            coarse[one.name] = _coarse(one, found, budget)
    learnt = [one for one in columns if known[one.name].kind not in ("id", "text") and one.name not in done]
    share = budget.left / max(len(learnt), 1) * (1 - 1e-9)
    for one in learnt:
        found = known[one.name]
        if found.kind == "category":
            done[one.name] = _categories(one, found, budget, share, noisy_rows)
        else:
            done[one.name] = _values(one, found, budget, share, coarse.get(one.name))
    return noisy_rows, tuple(done.get(name, known[name]) for name in known)


class _Budget:
    """Shares of what may be spent: those of earlier stages are fixed, and the last stage gets what is left."""

    def __init__(self, spend: Spend, columns: int):
        self.spend, self.columns, self.left = spend, max(columns, 1), 1.0
        self._unit = 1 / (WEIGHTS["rows"] + WEIGHTS["classes"] + self.columns * _PER_COLUMN)

    def share(self, stage: str) -> float:
        """The share of one histogram of a stage, which is then spent."""
        self.left -= self._unit * WEIGHTS[stage]
        return self._unit * WEIGHTS[stage]

    def looked(self, name: str) -> Callable[[np.ndarray], np.ndarray]:
        """The release of what the cells of a column read as."""
        return lambda counts: self.release(f"{name}: look", "look", counts)

    def release(self, name: str, stage: str, counts: np.ndarray) -> np.ndarray:
        """Noisy counts of a histogram of a stage; for all but the number of rows, 0 where there may be no row."""
        share = self.share(stage)
        noisy = self.spend.noise(name, counts, share)
        sure = noisy >= SURE * self.spend.sigma(share)
        return noisy if stage == "rows" else np.where(sure, noisy, 0)


def _column(name: str, cells: Cells, public: Mapping[str, Any], target: bool, tokens: tuple[str, ...]) -> Column:
    absent = missing_in(cells.distinct, (*tokens, *public.get("missing", ())))
    present = Cells(cells.distinct.filter(pa.array(~absent)), cells.counts[~absent])
    return Column(name, present, int(cells.counts[absent].sum()), public, target)


# --- numbers and dates -------------------------------------------------------------------------------------------


def _bounds(found: Histogram, public: Mapping[str, Any]) -> tuple[float, float]:
    """The widest bounds of a column: the public ones, where there are."""
    if found.kind == "number":
        return float(public.get("min", -(2.0**50))), float(public.get("max", 2.0**50))
    if not re.search("%-?[dDyYbB]", found.format):
        return 0.0, 86400.0
    return tuple(float(np.datetime64(f"{year}", "s").astype(np.int64)) for year in _YEARS)  # type: ignore[return-value]


def _short(found: Histogram, public: Mapping[str, Any]) -> bool:
    """Whether the bounds leave so few different values that each has a cell."""
    low, high = _bounds(found, public)
    return (high - low) / found.step < CELLS


def _coarse_edges(found: Histogram, public: Mapping[str, Any]) -> np.ndarray:
    """The boundaries of coarse cells, the first and the last of which are the widest bounds."""
    low, high = _bounds(found, public)
    if found.kind == "date":
        years = np.arange(_YEARS[0], _YEARS[1] + 1)
        edges = np.array([np.datetime64(f"{year}", "s").astype(np.int64) for year in years], float)
        edges = edges if high > 86400 else np.arange(0.0, 86401.0, 3600.0)
    else:
        powers = 2.0 ** np.arange(np.floor(np.log2(found.step)), 51)
        powers = powers[powers >= found.step]
        edges = np.concatenate([-powers[::-1], [0.0, found.step / 2], powers])
    inside = edges[(edges > low) & (edges < high)]
    return np.concatenate([[low], inside, [high + found.step * (found.kind == "number" and "max" in public)]])


def _coarse(column: Column, found: Histogram, budget: _Budget) -> tuple[np.ndarray, np.ndarray]:
    """Releases the coarse histogram: its edges, and the counts, 0 where there may be no row."""
    edges = _coarse_edges(found, column.public)
    values, counts = numbers_of(column, found)
    index = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    exact = np.bincount(index, counts, len(edges) - 1).astype(np.int64)
    return edges, budget.release(f"{column.name}: coarse", "coarse", exact)


def fine_edges(edges: np.ndarray, counts: np.ndarray, step: float, least: float) -> np.ndarray:
    """Divides the coarse cells between the first and the last that have rows.

    Each is divided into cells of `least` rows or more, on average, that are not narrower than `step`. Of more than
    `CELLS` each gets a share in proportion to its rows.

    Args:
        edges: (m + 1,) of the coarse cells.
        counts: (m,) rows in each.
        step: distance of neighbouring values.
        least: number of rows.

    Returns:
        The boundaries of the fine cells, increasing.
    """
    held = np.flatnonzero(counts)
    if not len(held):
        held = np.array([int(np.argmin(np.abs(edges[:-1])))])
    inside = slice(held[0], held[-1] + 1)
    starts, widths = edges[:-1][inside], np.diff(edges)[inside]
    room = np.minimum(np.ceil(widths / step - 1e-9), np.floor(counts[inside] / least))
    pieces = _divided(counts[inside], np.maximum(room, 1), CELLS)
    parts = []
    for start, width, n in zip(starts, widths, pieces.tolist(), strict=True):
        inner = start + width * np.arange(n) / n
        parts.append(np.floor(inner / step + 1e-6) * step if n > 1 else inner)
    return np.unique(np.concatenate([*parts, [edges[held[-1] + 1]]]))


def _divided(counts: np.ndarray, room: np.ndarray, most: int) -> np.ndarray:
    """Divides `most` pieces in proportion to `counts`, at least one and at most `room` each: (m,) i64."""
    pieces = np.ones(len(counts))
    for _ in range(len(counts)):
        free = np.where(pieces < room, np.maximum(counts, 1e-9), 0.0)
        left = most - pieces.sum()
        if left < 1 or not free.any():
            break
        pieces = np.minimum(pieces + left * free / free.sum(), room)
    return np.maximum(np.floor(pieces + 1e-9), 1).astype(np.int64)


def _values(
    column: Column,
    found: Histogram,
    budget: _Budget,
    share: float,
    coarse: tuple[np.ndarray, np.ndarray] | None,
) -> Histogram:
    """Releases the histogram of numbers or dates."""
    spend = budget.spend
    sigma = spend.sigma(share)
    if coarse is None:
        low, high = _bounds(found, column.public)
        edges = low + found.step * np.arange(round((high - low) / found.step) + 2)
    else:
        edges = fine_edges(*coarse, found.step, SHOWN * sigma)
    values, counts = numbers_of(column, found)
    index = np.clip(np.searchsorted(edges, values + found.step * 1e-6, side="right") - 1, 0, len(edges) - 2)
    exact = np.bincount(index, counts, len(edges) - 1).astype(np.int64)
    absent = column.missing + int(column.cells.counts.sum() - counts.sum())
    noisy = spend.noise(f"{column.name}: values", np.append(exact, absent), share)
    missing = int(noisy[-1]) if noisy[-1] >= SURE * sigma else 0
    return replace(
        found,
        edges=tuple(edges.tolist()),
        counts=tuple(noisy[:-1].tolist()),
        missing=missing,
        sigma=sigma,
        public="min" in column.public and "max" in column.public,
    )


# --- categories --------------------------------------------------------------------------------------------------


def _categories(column: Column, found: Histogram, budget: _Budget, share: float, rows: int) -> Histogram:
    """Releases the histogram of categories: public ones, or those above the threshold."""
    spend = budget.spend
    sigma, name = spend.sigma(share), f"{column.name}: values"
    labels = column.cells.distinct.to_pylist()
    counts = dict(zip(labels, column.cells.counts.tolist(), strict=True))
    if "categories" in column.public:
        labels = [str(label) for label in column.public["categories"]]
        others = sum(counts.values()) - sum(counts.get(label, 0) for label in labels)
        exact = np.array([*(counts.get(label, 0) for label in labels), others, column.missing])
        *noisy, gone, missing = spend.noise(name, exact, share).tolist()
        kept, spread = list(zip(labels, noisy, strict=True)), 1.0
    else:
        *noisy, missing = spend.noise(name, np.array([*counts.values(), column.missing]), share).tolist()
        least = spend.threshold(name, sigma, budget.columns)
        kept = [(label, count) for label, count in zip(labels, noisy, strict=True) if count >= least]
        kept.sort(key=lambda pair: (-pair[1], pair[0]))
        missing = missing if missing >= SURE * sigma else 0
        gone, spread = rows - missing - sum(count for _, count in kept), math.sqrt(len(kept) + 2)
    return replace(
        found,
        labels=tuple(label for label, _ in kept),
        public="categories" in column.public,
        counts=tuple(count for _, count in kept),
        missing=missing if missing >= SURE * sigma else 0,
        others=gone if gone >= SURE * sigma * spread else 0,
        sigma=sigma,
    )
