"""The verdict on usefulness: can a classifier learn from synthetic images, or rows?

Images are judged by the CNN's accuracy over that of its ceiling, tables by the share of what real rows teach gradient
boosting beyond independent columns (`kept`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from synthjax.evals.figure import Estimate
from synthjax.evals.report.images import ImageUtility
from synthjax.evals.report.model import Evidence, Verdict
from synthjax.evals.report.shared import Check, Level, Robustness
from synthjax.evals.report.tables import NAMES, JudgedTable, TableUtility
from synthjax.evals.report.words import JUDGES, missing_classes, percent

QUESTION = "Can a classifier learn from it?"
NOTICED = 0.005
"""Score that a classifier of a table has to lose to be named."""


def useful(utility: ImageUtility | TableUtility) -> Verdict:
    """What the utility part says."""
    table = isinstance(utility, TableUtility)
    level, answer, evidence = _of_table(utility) if isinstance(utility, TableUtility) else _of_images(utility)
    if missing := utility.n.missing_classes:
        if level == "good":
            level, answer = "fair", "Yes, but for the classes that are missing."
        evidence.append(Evidence("missing_classes", missing_classes(missing, "row" if table else "example")))
    return Verdict("useful", QUESTION, level, answer, evidence)


def of_accuracy(ours: float, real: float, floor: float) -> Level:
    """What an accuracy says beside that of real images and the floor."""
    ratio = ours / real if real else 0.0
    if ours <= floor or ratio < 0.9:
        return "poor"
    return "good" if ratio >= 0.98 else "fair"


def of_share(kept: float | None) -> Level:
    """What the share that is kept of what real rows teach says; None: it cannot be told."""
    if kept is None:
        return "fair"
    return "good" if kept >= 0.95 else "fair" if kept >= 0.8 else "poor"


def robustness(checks: Sequence[Mapping[str, Any]], utility: ImageUtility | TableUtility) -> Robustness:
    """The level of the verdict, and what it would be under each variation, by the figures measured there.

    `checks` hold `name`, and of images `ours` and `real`, accuracies, of tables `kept`.
    """
    if isinstance(utility, TableUtility):
        found = [Check(**{**check, "level": of_share(check["kept"])}) for check in checks]
        return Robustness(level=of_share(utility.boosting.kept), checks=found)
    cnn, floor = utility.cnn, utility.cnn.floor.mean
    found = [Check(**{**check, "level": of_accuracy(check["ours"], check["real"], floor)}) for check in checks]
    return Robustness(level=of_accuracy(cnn.tstr.mean, cnn.trtr.mean, floor), checks=found)


# --- images --------------------------------------------------------------------------------------------------------


def _of_images(utility: ImageUtility) -> tuple[Level, str, list[Evidence]]:
    cnn, svm, n = utility.cnn, utility.svm, utility.n
    level = of_accuracy(cnn.tstr.mean, cnn.trtr.mean, cnn.floor.mean)
    answer = {
        "good": "Yes, nearly as well as from real data.",
        "fair": "Partly: a visible share of the accuracy is lost.",
        "poor": "No: far from what real data gives.",
    }[level]
    if cnn.tstr.mean <= cnn.floor.mean:
        answer = "No: a mean image with noise would do as well."
    part = f", {n.trained_on:,} of its examples," if n.trained_on < n.synthetic else ""
    accuracy = (
        f"A CNN trained on this data alone{part} has an accuracy of {percent(cnn.tstr.mean)} on real test data. "
        f"Trained on as many real examples (the ceiling) it has {percent(cnn.trtr.mean)}: "
        f"ratio {cnn.tstr_over_trtr:.3f}."
    )
    floor = f"Trained on a mean image per class with noise (the floor) it has {percent(cnn.floor.mean)}."
    other = (
        f"A support vector machine has {percent(svm.tstr.mean)} instead of {percent(svm.trtr.mean)}: "
        f"ratio {svm.tstr_over_trtr:.3f}."
    )
    return level, answer, [Evidence("accuracy", accuracy), Evidence("floor", floor), Evidence("svm", other)]


# --- tables --------------------------------------------------------------------------------------------------------


def _of_table(utility: TableUtility) -> tuple[Level, str, list[Evidence]]:
    first, second = utility.headlines
    kept = utility.boosting.kept
    level = of_share(kept)
    if kept is None:
        answer = "This cannot be told: real rows hardly teach more than independent columns."
    elif kept <= 0.1:
        answer = "No: independent columns would do as well."
    else:
        answer = {
            "good": "Yes, nearly as well as from real rows.",
            "fair": "Partly: a visible share of what real rows teach is lost.",
            "poor": "No: far from what real rows teach.",
        }[level]
    said = _beside(utility.boosting, first, "Gradient boosting trained on these rows alone reaches")
    said += f" {kept_in_words(kept)}" if kept is not None else ""
    evidence = [
        Evidence("boosting", said),
        Evidence("judges", _beside(utility.mean, second, "Six other kinds of classifier reach, on average,")),
    ]
    lost = _furthest(utility.judges, second)
    if lost is not None and lost[2] - lost[1] >= NOTICED:
        judge, ours, real = lost
        text = f"The classifier that loses most is the {judge}: {ours:.3f} instead of {real:.3f}."
        evidence.append(Evidence("weakest", text))
    return level, answer, evidence


def kept_in_words(kept: float) -> str:
    """How much is kept, a sentence: below the floor there is nothing to be kept."""
    share = percent(kept) if kept > 0 else "Nothing"
    return f"{share} of what real rows teach beyond independent columns is kept."


def _beside(judged: JudgedTable, measure: str, who: str) -> str:
    leaves = [getattr(scores, measure) for scores in (judged.tstr, judged.trtr, judged.floor)]
    if not all(isinstance(leaf, Estimate) for leaf in leaves):
        return f"{who} no {NAMES[measure]}, since the rows tested are all alike."
    ours, real, floor = (f"{leaf.mean:.3f}" for leaf in leaves)
    return (
        f"{who} a {NAMES[measure]} of {ours} on real test rows. As many real rows give {real} (the ceiling), "
        f"independent columns {floor} (the floor)."
    )


def _furthest(judges: dict[str, JudgedTable], measure: str) -> tuple[str, float, float] | None:
    """Name, score and ceiling of the classifier that loses most."""
    lost = []
    for name, judged in judges.items():
        ours, real = (getattr(scores, measure) for scores in (judged.tstr, judged.trtr))
        if isinstance(ours, Estimate) and isinstance(real, Estimate):
            lost.append((JUDGES[name], ours.mean, real.mean))
    return max(lost, key=lambda item: item[2] - item[1], default=None)
