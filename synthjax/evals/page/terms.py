"""What the figures and words of a page mean, for whoever has not met them: each is linked from where it stands."""

import functools
from collections.abc import Iterable, Iterator
from typing import Any

from markupsafe import Markup

from synthjax.evals.report.rows import catalogue

FIGURES = {
    "accuracy": ("accuracy", "utility.cnn.tstr.mean"),
    "balanced_accuracy": ("balanced accuracy", "utility.boosting.tstr.balanced_accuracy.mean"),
    "macro_f1": ("macro F1", "utility.boosting.tstr.macro_f1.mean"),
    "roc_auc": ("ROC AUC", "utility.boosting.tstr.roc_auc.mean"),
    "pr_auc": ("PR AUC", "utility.boosting.tstr.pr_auc.mean"),
    "r2": ("R²", "utility.boosting.tstr.r2.mean"),
    "rmse": ("RMSE", "utility.boosting.tstr.rmse.mean"),
    "kept": ("kept", "utility.boosting.kept"),
    "loss": ("points lost", "utility.loss.points"),
    "calibration": ("calibration", "utility.calibration.tstr"),
    "precision": ("precision", "fidelity.precision"),
    "recall": ("recall", "fidelity.recall"),
    "density": ("density", "fidelity.density"),
    "coverage": ("coverage", "fidelity.coverage"),
    "frechet": ("Fréchet distance", "fidelity.frechet"),
    "kernel": ("kernel distance", "fidelity.kernel"),
    "c2st": ("two-sample test", "fidelity.c2st.score"),
    "mean_image": ("mean image", "fidelity.per_class.NAME.mean_distance"),
    "covariance": ("covariance", "fidelity.per_class.NAME.covariance_distance"),
    "diversity": ("diversity", "fidelity.per_class.NAME.diversity"),
    "shapes": ("column shapes", "fidelity.synthetic.shapes.score"),
    "trends": ("pair trends", "fidelity.synthetic.trends.score_real_edges"),
    "trends_sdmetrics": ("pair trends, SDMetrics", "fidelity.synthetic.trends.score"),
    "each_column": ("each column from the rest", "fidelity.each_column.score"),
    "told_by": ("told by", "fidelity.synthetic.c2st.told_by.NAME"),
    "correlation": ("correlation", "fidelity.synthetic.correlation.mean"),
    "correlation_max": ("correlation, largest", "fidelity.synthetic.correlation.max"),
    "mutual_information": ("mutual information", "fidelity.synthetic.mutual_information.weighted"),
    "missing": ("missing values", "fidelity.synthetic.missing.largest_difference"),
    "broken": ("rows that break a rule", "rules.broken.mean"),
    "auc": ("AUC", "privacy.mia.auc"),
    "dcr": ("distance to closest record", "privacy.dcr.share_nearer_train"),
}
"""Id -> name, and the key of the figure in the catalogue, which says what it means."""
WORDS: dict[str, tuple[str, str]] = {
    "ceiling": (
        "ceiling",
        "The same measurement with real data in the place of synthetic data: what could be reached at best.",
    ),
    "floor": (
        "floor",
        "The same measurement with data that needs no generator: independently drawn columns, or mean images "
        "with noise. What does no better is worth nothing.",
    ),
    "kept_ratio": ("share of the ceiling", "The accuracy over that of the same classifier trained on real data."),
    "interval": (
        "interval",
        "Where the figure would lie in 95 of 100 repetitions, over the seeds or over the examples: the smaller, the "
        "surer.",
    ),
    "class_recall": ("recall of a class", "The share of the real examples of a class that is recognised."),
    "rank_correlation": (
        "rank correlation",
        "Whether two lists of scores put the classifiers into the same order: 1 the same, 0 no relation, −1 reversed.",
    ),
    "map": (
        "t-SNE",
        "A map in the plane that keeps neighbours together. A spot of one colour alone is a kind that the other set "
        "lacks.",
    ),
    "rule": (
        "rule",
        "What the columns of a row have to do with one another: a trip begins before it ends, a total is the sum of "
        "its parts. An exact rule is broken by none of the real rows that it was found and confirmed on, a near "
        "rule by at most 1 % of them.",
    ),
    "signs": (
        "signs of rules",
        "== equals; => if the left side holds, so does the right one; <=> both sides hold or neither; -> one value of "
        "the right column belongs to each value of the left one, <-> and the other way round; ~= equal within the "
        "rounding of the columns; a % 0.5 = 0 a multiple of 0.5; seen(a, b) only pairs that training rows have; "
        "unique(a, b) no two rows have the same values.",
    ),
    "dp": (
        "differential privacy",
        "A way of training that bounds what a model can give away of any one row, whatever the attack. ε says how "
        "much: up to about 1 is strong, above 10 is hardly a promise. δ is the chance that the bound fails.",
    ),
    "mia": (
        "membership attack",
        "Somebody who holds a record asks whether it was in the training set. If that can be told from the synthetic "
        "data, the data leaks.",
    ),
    "tpr": (
        "found at 1 % and at 0.1 %",
        "The share of the training records that an attack finds when it may take 1 %, or 0.1 %, of the other records "
        "for them: what it is sure of. Without a leak it is about as much as the false alarms.",
    ),
    "holm": (
        "p (Holm)",
        "How likely so much would be found by chance, had nothing leaked, corrected for how many tests there are "
        "(Holm's method). Up to 0.05 counts.",
    ),
    "copies": (
        "copies",
        "Synthetic examples that equal a training example, or come nearer to one than unseen real data does. What "
        "unseen data does too is repetition by nature.",
    ),
    "double": ("double", "A synthetic example that equals a real one, or nearly does."),
    "secret": (
        "secret",
        "A column that somebody guesses from all others of a person, with the synthetic data as help. The gain over "
        "unseen persons is what leaks.",
    ),
    "nndr": (
        "NNDR",
        "Distance to the nearest record over the distance to the second nearest: near 0 where single records are "
        "copied.",
    ),
    "distance_tests": (
        "tests of distances",
        "Mann-Whitney compares ranks of both sets of distances, Wilcoxon the differences row by row, Kruskal-Wallis "
        "ranks by another form. Pearson's r says how far both distances go together.",
    ),
    "fingerprint": ("fingerprint", "A hash (sha256) of the real data: reports compare only where it is the same."),
}
"""Id -> name and meaning of what is no figure of its own."""


@functools.cache
def meanings() -> dict[str, str]:
    """Key of a figure -> what it means, from the catalogue."""
    return {row.key: row.meaning for row in catalogue()}


@functools.cache
def terms() -> dict[str, tuple[str, str]]:
    """Id -> name and meaning of all."""
    return {term: (name, meanings()[key]) for term, (name, key) in FIGURES.items()} | WORDS


class Terms:
    """The terms that a page has used, in the order of their first use."""

    def __init__(self) -> None:
        """None so far."""
        self._used: dict[str, tuple[str, str]] = {}

    def link(self, term: str, text: Any = None) -> Markup:
        """The name of a term, or another text, that leads to its explanation."""
        self._used[term] = terms()[term]
        return Markup('<a class="term" href="#term-{}">{}</a>').format(term, text or terms()[term][0])

    def links(self, ids: Iterable[str]) -> list[Markup]:
        """Those of several terms."""
        return [self.link(term) for term in ids]

    def figure(self, key: str, name: str) -> Markup | str:
        """The name of a figure, which leads to its explanation if the catalogue has its key."""
        if key not in meanings():
            return name
        self._used[key] = name, meanings()[key]
        return Markup('<a class="term" href="#term-{}">{}</a>').format(key, name)

    @property
    def used(self) -> Iterator[tuple[str, str, str]]:
        """Id, name and meaning of each."""
        return ((term, name, meaning) for term, (name, meaning) in self._used.items())
