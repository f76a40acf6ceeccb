"""What the figures and words of a page mean, for whoever has not met them: each is linked from where it stands."""

from collections.abc import Iterable, Iterator
from typing import Any

from markupsafe import Markup, escape

TERMS: dict[str, tuple[str, str]] = {
    "accuracy": ("accuracy", "The share of test examples that a classifier names rightly; 1 is best."),
    "balanced_accuracy": (
        "balanced accuracy",
        "The mean over the classes of the share that is named rightly, so that a rare class counts as much as a "
        "common one; 1 is best, one over the number of classes is guessing.",
    ),
    "macro_f1": (
        "macro F1",
        "The mean over the classes of F1, which is high where a class is both found and not named by mistake; 1 is "
        "best.",
    ),
    "roc_auc": (
        "ROC AUC",
        "How often a classifier ranks an example of the class above one of another; 1 is best, 0.5 is guessing.",
    ),
    "pr_auc": (
        "PR AUC",
        "The area under precision against recall, which is strict where the class looked for is rare; 1 is best.",
    ),
    "r2": ("R²", "The share of the variance of a number that is predicted; 1 is best, 0 is predicting the mean."),
    "rmse": ("RMSE", "Root mean squared error of a predicted number, in its own unit; 0 is best."),
    "ceiling": (
        "ceiling",
        "The same measurement with real data in the place of synthetic data: what could be reached at best.",
    ),
    "floor": (
        "floor",
        "The same measurement with data that needs no generator: columns drawn one by one, or mean images with noise. "
        "What does no better is worth nothing.",
    ),
    "kept": (
        "kept",
        "How far a score is on the way from the floor to the ceiling: 1 is as good as real rows, 0 is as bad as "
        "columns drawn alone.",
    ),
    "kept_ratio": ("share of the ceiling", "The accuracy over that of the same classifier trained on real data."),
    "interval": (
        "interval",
        "Where the figure would lie in 95 of 100 repetitions, over the seeds or over the examples: the smaller, the "
        "surer.",
    ),
    "loss": (
        "points lost",
        "A score on real test data when trained on real data, less that when trained on synthetic data, in "
        "hundredths; 0 is no loss. The interval is from resampling the test examples (bootstrap).",
    ),
    "calibration": (
        "calibration",
        "Whether a classifier that is 80 % sure is right in 80 % of the cases. The expected calibration error is the "
        "mean gap between the two; 0 is best.",
    ),
    "class_recall": ("recall of a class", "The share of the real examples of a class that is recognised."),
    "rank_correlation": (
        "rank correlation",
        "Whether two lists of scores put the classifiers into the same order: 1 the same, 0 no relation, −1 reversed.",
    ),
    "precision": (
        "precision",
        "The share of synthetic examples that lie as near to real ones as these lie to one another: are they "
        "realistic?",
    ),
    "recall": (
        "recall",
        "The share of real examples that lie near synthetic ones: is everything there? One synthetic outlier can "
        "raise it, which coverage resists.",
    ),
    "density": (
        "density",
        "How many real neighbourhoods a synthetic example lies in, over how many one would expect; about 1 for real "
        "data.",
    ),
    "coverage": (
        "coverage",
        "The share of real examples with a synthetic one in their neighbourhood: is all of the variety there?",
    ),
    "frechet": (
        "Fréchet distance",
        "The distance of two sets, if each were a normal distribution in the feature space (squared); 0 is alike. It "
        "grows with fewer examples, so compare it with that of real data only.",
    ),
    "kernel": (
        "kernel distance",
        "The distance of two sets that does not grow with fewer examples (squared maximum mean discrepancy); around 0 "
        "is alike.",
    ),
    "c2st": (
        "two-sample test",
        "Gradient boosting is trained to tell synthetic from real ones: 1 means that it cannot, 0 that it always can.",
    ),
    "map": (
        "t-SNE",
        "A map in the plane that keeps neighbours together. A spot of one colour alone is a kind that the other set "
        "lacks.",
    ),
    "mean_image": ("mean image", "Root mean squared distance between the mean images of a class; 0 is alike."),
    "covariance": ("covariance", "Relative distance between how the pixels of a class vary together; 0 is alike."),
    "diversity": (
        "diversity",
        "The mean distance of two synthetic examples of a class over that of two real ones: 1 is as varied, near 0 is "
        "the same few again and again.",
    ),
    "shapes": (
        "column shapes",
        "How alike single columns are: one less the Kolmogorov-Smirnov distance of numbers, or the total variation of "
        "categories; 1 is alike.",
    ),
    "trends": (
        "pair trends",
        "How alike pairs of columns are: correlations of two numbers, shares of two categories, numbers cut into bins "
        "beside categories; 1 is alike.",
    ),
    "trends_sdmetrics": ("pair trends, SDMetrics", "The same, numbers cut as the library SDMetrics cuts them."),
    "correlation": (
        "correlation",
        "Pearson's r of two columns: 1 or −1 if one is a straight line of the other, 0 without such a relation. "
        "Compared is how much it differs between real and synthetic; 0 is alike.",
    ),
    "correlation_max": ("correlation, largest", "The largest such difference over all pairs of numeric columns."),
    "mutual_information": (
        "mutual information",
        "How much one column says of another, of any kind of relation. Compared is how much it differs; 0 is alike.",
    ),
    "missing": ("missing values", "The largest difference of the share of cells of a column that are empty."),
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
    "auc": (
        "AUC",
        "How often an attack ranks a training record above another real record: 0.5 is guessing, 1 is always.",
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
    "dcr": (
        "distance to closest record",
        "Whether synthetic examples lie nearer to training data than to unseen real data. Failing it shows copying; "
        "passing it shows nothing.",
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


class Terms:
    """The terms that a page has used, in the order of their first use."""

    def __init__(self) -> None:
        """None so far."""
        self._ids: dict[str, None] = {}

    def link(self, term: str, text: Any = None) -> Markup:
        """The name of a term, or another text, that leads to its explanation."""
        self._ids[term] = None
        return Markup(f'<a class="term" href="#term-{term}">{escape(text or TERMS[term][0])}</a>')

    def links(self, terms: Iterable[str]) -> list[Markup]:
        """Those of several terms."""
        return [self.link(term) for term in terms]

    @property
    def used(self) -> Iterator[tuple[str, str, str]]:
        """Id, name and meaning of each."""
        return ((term, *TERMS[term]) for term in self._ids)
