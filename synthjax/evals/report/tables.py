"""The parts of a report on a table that images do not have: usefulness and likeness."""

from dataclasses import dataclass, fields
from typing import Literal

from msgspec import UNSET, UnsetType

from synthjax.evals.bootstrap import Calibration, Loss
from synthjax.evals.figure import Count, Estimate, Share, figure, part, twin
from synthjax.evals.report.shared import Map, Neighbourhoods
from synthjax.evals.two_sample import TwoSample

Score = Estimate | UnsetType | None
"""None: it does not exist, since the rows tested are all alike; unset: the target is of the other kind."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Of one kind of classifier on one set: the first five of a categorical target, the last two of a number."""

    accuracy: Score = figure("accuracy", "Share of rows answered rightly.", "high", default=UNSET)
    balanced_accuracy: Score = figure(
        "balanced accuracy", "Mean over the classes of the share recognised.", "high", default=UNSET
    )
    macro_f1: Score = figure("macro F1", "Mean of the classes' F1 scores.", "high", default=UNSET)
    roc_auc: Score = figure(
        "ROC AUC",
        "Chance that a row of the class looked for is ranked above another; 0.5: guessing. Of more than two classes, "
        "the mean of each against the rest.",
        "high",
        default=UNSET,
    )
    pr_auc: Score = figure("PR AUC", "Area below precision by recall of the class looked for.", "high", default=UNSET)
    r2: Score = figure(
        "R²", "Share of the target's variance that is explained.", "high", bounds=(None, 1), default=UNSET
    )
    rmse: Score = figure(
        "RMSE", "Root mean square error, in the target's unit.", "low", bounds=(0, None), default=UNSET
    )


NAMES = {field.name: field.metadata["figure"].name for field in fields(Scores)}
"""Of the scores, in words."""


@dataclass(frozen=True, kw_only=True)
class JudgedTable:
    """One kind of classifier, tested on real rows (trts excepted)."""

    tstr: Scores = part(reference="trtr", floor="floor")
    """Trained on synthetic rows."""
    trtr: Scores = twin()
    """Trained on as many real rows: the ceiling."""
    trts: Scores = twin()
    """Trained on real rows, tested on synthetic ones."""
    floor: Scores = twin()
    """Trained on columns drawn independently."""


@dataclass(frozen=True, kw_only=True)
class JudgedInAll(JudgedTable):
    """With the share of what real rows teach."""

    kept: float | None = figure(
        "kept",
        "Where the score lies from floor (0) to ceiling (1): the share of what real rows teach beyond single columns.",
        "high",
        bounds=(None, None),
        reference=1.0,
        floor=0.0,
    )


@dataclass(frozen=True, kw_only=True)
class TableCounts:
    """Rows with a target."""

    synthetic: Count
    ceiling: Count
    test: Count
    missing_classes: list[str]
    """Names of classes that no synthetic row has."""


@dataclass(frozen=True, kw_only=True)
class TableUtility:
    """Can the target be learnt from synthetic rows? See `synthjax.evals.utility`."""

    boosting: JudgedInAll = part("gradient boosting")
    mean: JudgedInAll = part("six judges")
    """The mean of `judges`."""
    loss: Loss | None
    calibration: Calibration | None
    judges: dict[str, JudgedTable] = part("NAME")
    task: Literal["classification", "regression"]
    positive: str | None
    """Of two classes the one looked for."""
    n: TableCounts
    protocol: dict[str, str | int]

    @property
    def headlines(self) -> tuple[str, str]:
        """The scores that the boosting and the six judges are summed up by."""
        return headlines(self.task)


def headlines(task: str) -> tuple[str, str]:
    """The scores that gradient boosting and the six judges are summed up by."""
    return ("r2", "r2") if task == "regression" else ("roc_auc", "balanced_accuracy")


# --- likeness ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """Likeness of single columns; None: a column without values."""

    score: Share | None = figure(
        "column shapes",
        "Mean over the columns of 1 - Kolmogorov-Smirnov statistic (numbers) or 1 - total variation (categories).",
        "high",
    )
    columns: dict[str, Share | None] = figure("shape of NAME", "Likeness of one column.", "high", detail=True)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Likeness of a pair of columns; None where a correlation does not exist."""

    columns: tuple[str, str]
    score: Share | None
    score_real_edges: Share | UnsetType | None = UNSET
    """Of a number and a category, the number cut where the real column is."""


@dataclass(frozen=True, kw_only=True)
class Trends:
    """Likeness of pairs of columns."""

    score: Share | None = figure(
        "pair trends, own cuts",
        "As SDMetrics has it: numbers that meet categories are cut at edges of each table's own.",
        "high",
        detail=True,
    )
    score_real_edges: Share | None = figure(
        "pair trends, real cuts",
        "Mean over pairs of columns of 1 - |r - r'| / 2 (two numbers) or 1 - total variation of their joint counts.",
        "high",
    )
    pairs: list[Pair]


@dataclass(frozen=True, kw_only=True)
class Missing:
    """Shares of missing values: of each column [real, synthetic]."""

    columns: dict[str, tuple[Share, Share]]
    largest_difference: Share = figure(
        "missing values, largest difference", "Largest difference of a column's share of missing values.", "low"
    )


@dataclass(frozen=True, kw_only=True)
class Correlation:
    """Pearson's r of numeric columns; None where it does not exist."""

    columns: list[str]
    real: list[list[float | None]]
    synthetic: list[list[float | None]]
    difference: list[list[float | None]]
    mean: float | None = figure(
        "correlation, mean difference", "Mean over pairs of numeric columns of |r - r'|.", "low", bounds=(0, 2)
    )
    max: float | None = figure(
        "correlation, largest difference", "Largest |r - r'| of a pair.", "low", bounds=(0, 2), detail=True
    )


@dataclass(frozen=True, kw_only=True)
class MutualInformation:
    """Difference of the pairs' normalised mutual information."""

    weighted: float | None = figure(
        "mutual information, difference", "Mean over pairs, by how much the real pair depends.", "low"
    )
    mean: float | None = figure("mutual information, plain mean", "Mean over pairs, all alike.", "low", detail=True)


@dataclass(frozen=True, kw_only=True)
class Neighbours(Neighbourhoods):
    """With the neighbours that a neighbourhood reaches to, and the rows of each table."""

    k: int
    n: Count


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One table beside the real training table; see `synthjax.evals.fidelity`."""

    shapes: Shapes
    trends: Trends
    missing: Missing
    correlation: Correlation
    mutual_information: MutualInformation
    c2st: TwoSample
    neighbours: Neighbours


@dataclass(frozen=True, kw_only=True)
class OneColumn:
    """How well one column can be predicted from the others."""

    synthetic: Share = figure("predicted from the rest", "Skill of boosting.", "high", reference="real")
    real: Share
    """Learnt from real rows."""


@dataclass(frozen=True, kw_only=True)
class EachColumn:
    """How well every column can be predicted from the others; see `synthjax.evals.fidelity.each_column`."""

    score: Share = figure(
        "each column from the rest",
        "Mean skill of boosting that learns each column from the others on synthetic rows, tested on real ones: 0 no "
        "better than the column alone, 1 no errors.",
        "high",
        reference="real",
    )
    real: Share
    """Learnt from real rows."""
    columns: dict[str, OneColumn] = part("NAME")


@dataclass(frozen=True, kw_only=True)
class TableFidelity:
    """Is the synthetic table like the real one? See `synthjax.evals.fidelity`."""

    synthetic: Compared = part(reference="ceiling", floor="floor")
    ceiling: Compared = twin()
    """Real test rows in the place of the synthetic ones."""
    floor: Compared = twin()
    """Columns drawn independently."""
    each_column: EachColumn | None = part(default=None)
    map: Map | None
    n: dict[Literal["real", "synthetic", "ceiling", "floor"], Count]
    """Rows of each table."""
    protocol: dict[str, str]
