"""What parts of reports on images and on tables have in common."""

from dataclasses import dataclass
from typing import Literal

from msgspec import UNSET, UnsetType

from synthjax.evals.figure import Share, figure

Level = Literal["good", "fair", "poor"]


@dataclass(frozen=True, kw_only=True)
class Neighbourhoods:
    """Shares of examples that lie among the others, by k-th neighbours; None: too few examples."""

    precision: Share | None = figure("precision", "Share of synthetic examples that lie where real ones do.", "high")
    recall: Share | None = figure(
        "recall", "Share of real examples that lie where synthetic ones do; single outliers sway it.", "high"
    )
    density: float | None = figure(
        "density",
        "Real neighbourhoods that a synthetic example lies in, over those expected.",
        "high",
        bounds=(0, None),
    )
    coverage: Share | None = figure(
        "coverage", "Share of real examples that have a synthetic one in their neighbourhood.", "high"
    )


@dataclass(frozen=True, kw_only=True)
class Map:
    """t-SNE of real and synthetic examples: places [x, y] in 0 ... 1000, and class -> place of its middle."""

    real: list[tuple[int, int]]
    synthetic: list[tuple[int, int]]
    names: dict[str, tuple[int, int]]


# --- studies and robustness ----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Check:
    """The verdict on usefulness under one variation, and the figures that it follows from."""

    name: str
    level: Level
    ours: float | UnsetType = UNSET
    """Of images: accuracy, and"""
    real: float | UnsetType = UNSET
    """that of real data."""
    kept: float | UnsetType | None = UNSET
    """Of tables: the share of what real rows teach."""


@dataclass(frozen=True, kw_only=True)
class Robustness:
    """Does the verdict on usefulness survive another classifier, another seed, and a change that keeps the labels?"""

    level: Level
    checks: list[Check]
