"""The privacy part of a report: what attacks found, of images and of tables; see `synthjax.evals.privacy`."""

from dataclasses import dataclass
from typing import Literal

from synthjax.evals.figure import Count, Interval, Share, figure, part, twin

Headline = Literal["auc", "tpr_at_fpr_1pct", "tpr_at_fpr_0p1pct"]
"""The figures of an attack."""
_GUESS = "guessing gives 0.5"


@dataclass(frozen=True, kw_only=True)
class Attack:
    """One membership attack; the intervals hold for all attacks at once."""

    auc: Share = figure("AUC", f"Chance that a training record is ranked above an unseen one; {_GUESS}.", "low")
    tpr_at_fpr_1pct: Share = figure("found at 1 % false alarms", "Share of training records found.", "low")
    tpr_at_fpr_0p1pct: Share = figure("found at 0.1 % false alarms", "Share of training records found.", "low")
    auc_interval: Interval
    tpr_at_fpr_1pct_interval: Interval
    tpr_at_fpr_0p1pct_interval: Interval
    roc: dict[Literal["fpr", "tpr"], list[Share]]
    """Thinned."""
    bootstrap: dict[Headline, Interval]


@dataclass(frozen=True, kw_only=True)
class Surest:
    """The attack whose simultaneous interval reaches furthest above 1/2."""

    attack: str
    auc: Share
    auc_interval: Interval


@dataclass(frozen=True, kw_only=True)
class WorstHit:
    """Training rows, worst hit first, each with the share of others that it is confused with."""

    attack: str
    records: list[Count]
    false_alarms: list[Share]


@dataclass(frozen=True, kw_only=True)
class Attacks:
    """Several attacks on the same records; each headline figure is the largest over them (`privacy.summary`)."""

    auc: Share = figure(
        "membership AUC",
        f"Chance that the best attack ranks a training record above an unseen one; {_GUESS}.",
        "low",
        reference=0.5,
        interval="auc_interval",
    )
    tpr_at_fpr_1pct: Share = figure(
        "found at 1 % false alarms",
        "Share of training records that the best attack finds; without a leak about 1 %.",
        "low",
        reference="chance.tpr_at_fpr_1pct.mean",
    )
    tpr_at_fpr_0p1pct: Share = figure(
        "found at 0.1 % false alarms",
        "Share of training records that the best attack is sure of; without a leak about 0.1 %.",
        "low",
        reference="chance.tpr_at_fpr_0p1pct.mean",
    )
    auc_interval: Interval
    p_value: dict[Headline, Share]
    """Share of relabellings that reach the figure."""
    chance: dict[Headline, dict[Literal["mean", "q95"], Share]]
    """What the figure reaches when membership is shuffled."""
    best: dict[Headline, str]
    """Which attack each figure is from."""
    surest: Surest
    p: dict[str, Share] = figure("p of NAME", "p-value of one figure of one attack, uncorrected.", detail=True)
    worst_hit: WorstHit
    attacks: dict[str, Attack] = part("attack NAME")
    n_members: Count
    n_others: Count


@dataclass(frozen=True, kw_only=True)
class Findings:
    """The p-values of all tests of a file, corrected together by Holm, and those at or below `level`."""

    holm: dict[str, Share] = figure(
        "corrected p of NAME", "p-value of one test, corrected for all of them.", detail=True
    )
    flagged: list[str]
    level: Share


@dataclass(frozen=True, kw_only=True)
class ModelAttacks(Attacks):
    """Attacks on the model itself."""

    findings: Findings


@dataclass(frozen=True, kw_only=True)
class Membership(Attacks):
    """Attacks from the file alone, and on the model where there is one."""

    control_auc: Share | None = figure(
        "control AUC",
        "The distance attack aimed at real data that holds no training record: 0.5 without a bias of the method.",
        reference=0.5,
        detail=True,
    )
    n_public: Count
    """Records of which the attacker knew before."""
    model_auc: Share | None = figure(
        "AUC, asking the model",
        f"The same by the best attack that asks the model itself; {_GUESS}.",
        "low",
        reference=0.5,
        interval="model.auc_interval",
    )
    model: Attack | None = twin()
    model_attacks: ModelAttacks | None = twin()


@dataclass(frozen=True, kw_only=True)
class OfMembers:
    """How often something holds of training records (members) and of unseen ones (others)."""

    members: Share
    others: Share
    gain: float = figure(
        "gain",
        "Share of training records less that of unseen ones; 0: no leak.",
        "low",
        bounds=(-1, 1),
        reference=0.0,
        interval="interval",
        detail=True,
    )
    interval: Interval
    n_members: Count
    n_others: Count
    p: Share = figure("p", "Of Fisher's exact test: training records have more.", detail=True)


@dataclass(frozen=True, kw_only=True)
class ExactDoubles(OfMembers):
    """Records with an equal synthetic one; `records`: training rows."""

    records: list[Count]


@dataclass(frozen=True, kw_only=True)
class NearDoubles(OfMembers):
    """Records with a synthetic one within `threshold`."""

    threshold: float


@dataclass(frozen=True, kw_only=True)
class Duplicates:
    """Do training records have synthetic doubles more often than unseen ones?"""

    exact: ExactDoubles = part("exact doubles")
    near: NearDoubles = part("near doubles")


@dataclass(frozen=True, kw_only=True)
class NearMatches:
    """Synthetic examples closer to a training one than `threshold`, the `quantile` of unseen real ones' distances."""

    share: Share = figure(
        "near copies",
        "Share of synthetic examples that come very near to a training one.",
        "low",
        reference="reference",
    )
    reference: Share
    threshold: float
    quantile: Share
    examined: Count


@dataclass(frozen=True, kw_only=True)
class ClosePair:
    """A synthetic example and its closest training example, by row."""

    synthetic: Count
    train: Count
    distance: float


@dataclass(frozen=True, kw_only=True)
class ClosestRecord:
    """Distance to closest record: a diagnostic, never a proof."""

    share_nearer_train: Share = figure(
        "nearer to training data",
        "Share of synthetic examples nearer to the training set than to as many unseen examples.",
        reference=0.5,
        interval="interval",
    )
    interval: Interval
    reference: float
    effective_n: float
    n_synthetic: Count
    n_real: Count
    median_train: float
    median_holdout: float
    nndr: dict[Literal["train", "holdout"], dict[Literal["median", "q05"], Share]]
    """Distance to the nearest over that to the second nearest real example."""
    histogram: dict[Literal["edges", "train", "holdout"], list[float | int]]
    """Counts of distances between the edges."""


@dataclass(frozen=True, kw_only=True)
class Privacy:
    """Does synthetic data give its training examples away?"""

    n_synthetic: Count
    exact_matches: Count = figure(
        "exact copies, number", "Synthetic examples that equal a training one.", "low", bounds=(0, None), detail=True
    )
    exact_matches_share: Share = figure(
        "exact copies",
        "Share of synthetic examples that equal a training one; beside it, of unseen real ones.",
        "low",
        reference="exact_matches_reference",
    )
    exact_matches_reference: Share
    near_matches: NearMatches
    closest: list[ClosePair]
    duplicates: Duplicates
    dcr: ClosestRecord
    mia: Membership
    findings: Findings


@dataclass(frozen=True, kw_only=True)
class Guesses:
    """How often one secret column is guessed; `tolerance` of a number."""

    boosting: OfMembers = part("by boosting")
    nearest: OfMembers = part("by the nearest synthetic row")
    without: OfMembers = part("by boosting without the file")
    tolerance: float | None


@dataclass(frozen=True, kw_only=True)
class Test:
    """Of two sets of distances."""

    statistic: float | None
    p: Share = figure("p", "Small: synthetic rows lie nearer to training or to test rows.", detail=True)


@dataclass(frozen=True, kw_only=True)
class DistanceTests:
    """Do rows lie as near to training as to test rows?"""

    mann_whitney: Test = part("Mann-Whitney")
    wilcoxon: Test = part("Wilcoxon")
    kruskal_wallis: Test = part("Kruskal-Wallis")
    pearson: dict[Literal["r", "p"], float] | None
    """Correlation of the two sets of distances."""
    n: Count
    median_train: float
    median_test: float


@dataclass(frozen=True, kw_only=True)
class StudyTests(DistanceTests):
    """Of synthetic rows, and under `reference` of real rows in neither set."""

    reference: DistanceTests = twin()


@dataclass(frozen=True, kw_only=True)
class TablePrivacy(Privacy):
    """With guesses of secret columns, and the study's tests."""

    attributes: dict[str, Guesses] = part("of NAME")
    tests: StudyTests
