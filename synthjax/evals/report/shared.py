"""What parts of reports on images and on tables have in common."""

from dataclasses import dataclass
from typing import Literal

from msgspec import UNSET, UnsetType

from synthjax.evals.figure import Count, Estimate, Interval, Share, figure, part

Level = Literal["good", "fair", "poor"]
RankCorrelation = Literal["spearman", "kendall"]


@dataclass(frozen=True, kw_only=True)
class Loss:
    """What a classifier loses that was trained on synthetic instead of real data (`synthjax.evals.bootstrap`)."""

    points: float = figure(
        "points lost",
        "Score of a classifier trained on real data less that of one trained on synthetic data, times 100.",
        "low",
        bounds=(None, None),
        reference=0.0,
        interval="ci",
    )
    ci: Interval
    ours: float
    real: float
    n: Count
    """Test examples."""
    seeds: Count
    resamples: Count
    who: str
    """The classifier, as it begins a sentence."""
    measure: str
    """The score, in words."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Expected calibration error: how far a classifier's confidence is from how often it is right."""

    tstr: Share = figure(
        "calibration error",
        "Mean distance of confidence and accuracy of the classifier trained on synthetic data.",
        "low",
        reference="trtr",
    )
    trtr: Share = figure(
        "calibration error of real data", "The same, trained on real data: the ceiling.", "low", detail=True
    )


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
class CurvePoint:
    """Scores of classifiers trained on `n` examples."""

    n: Count
    synthetic: Estimate
    real: Estimate


@dataclass(frozen=True, kw_only=True)
class MixPoint:
    """Score of classifiers trained on few real examples and `factor` times as many synthetic ones."""

    factor: float
    n_real: Count
    n_synthetic: Count
    score: Estimate


@dataclass(frozen=True, kw_only=True)
class Gained:
    """A score of real data alone, with rare classes filled up by synthetic, and by repeated real examples."""

    real: Estimate
    filled: Estimate
    repeated: Estimate
    points: float = figure(
        "points gained by filling up rare classes",
        "Score with rare classes filled up by synthetic examples less that of real data alone, times 100.",
        "high",
        bounds=(None, None),
        floor=0.0,
        interval="ci",
    )
    ci: Interval


@dataclass(frozen=True, kw_only=True)
class TopUp:
    """Are rare classes helped by synthetic examples? See `synthjax.evals.top_up`; `reason`: why not measured."""

    reason: str | None
    rarest: str | None
    n_real: Count | None
    n_synthetic: Count | None
    filled: dict[str, dict[Literal["real", "added", "lacking"], Count]] | None
    """Examples of each rare class."""
    n_test: Count | None
    balanced_accuracy: Gained | None = part("balanced accuracy")
    recall: Gained | None = part("recall of the rarest")
    said: str
    """In words."""


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Does the best classifier on synthetic data stay the best on real data? See `synthjax.evals.rank_agreement`."""

    classifiers: dict[str, dict[Literal["validation", "deployed", "real", "real_validation"], float]]
    """Mean scores."""
    deployed: dict[RankCorrelation, Estimate | None]
    """Rank correlations; None where all classifiers score alike."""
    real: dict[RankCorrelation, Estimate | None]
    ceiling: dict[RankCorrelation, Estimate | None]
    regret: Estimate = figure(
        "points lost by choosing on synthetic data",
        "Real score of the best classifier less that of the one that looks best on synthetic data, times 100.",
        "low",
        bounds=(0, None),
        detail=True,
    )
    chosen: str
    best: str
    seeds: Count


@dataclass(frozen=True, kw_only=True)
class Studies:
    """What synthetic data is worth by size, beside real data, for rare classes, and to choose a classifier."""

    curve: list[CurvePoint]
    mixing: list[MixPoint]
    top_up: TopUp
    ranking: Ranking
    measure: str | UnsetType = UNSET
    """Of tables: what is scored."""
    seeds: Count
    steps: Count | UnsetType = UNSET
    """Of images: of each CNN."""


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
