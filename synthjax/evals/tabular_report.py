"""The report on a table: what of `synthjax.evals.report` is different where rows are judged.

Keys of `report.json`, beside those of manifest and privacy, which are as for images:

    manifest.kind                    "table";  .columns  name -> kind;  .target  the column predicted, null: none
    manifest.notes                   what whoever reads the report has to know, a sentence each
    manifest.missing_columns         columns that the synthetic table lacks, of kinds that nothing is learnt from
    manifest.limits                  rows looked at at most: c2st, judges, attacked

    utility                          null without a target; see `synthjax.evals.tabular_utility`
    utility.boosting                 gradient boosting on all rows: tstr, trtr (ceiling), floor, trts, and of each
      .tstr.roc_auc.mean               accuracy, balanced_accuracy, macro_f1, roc_auc, pr_auc or r2, rmse: mean, ci
    utility.boosting.kept            (tstr - floor) / (ceiling - floor) of roc_auc or r2: 1 as good as real rows, 0 as
                                     bad as columns drawn alone; null where there is nothing to learn
    utility.judges, utility.mean     each of the six judges, and their mean; .kept of the mean is of
                                     balanced_accuracy or r2
    utility.task, .positive, .n      classification or regression, the class looked for, rows and missing_classes

    fidelity.synthetic               see `synthjax.evals.tabular`: shapes, trends (score, score_real_edges, pairs),
                                     missing (largest_difference), correlation (mean, max), c2st (score, auc),
                                     mutual_information (weighted), neighbours (precision, recall, density, coverage)
    fidelity.ceiling, .floor         the same for real test rows, and for columns drawn alone
    fidelity.map                     t-SNE: places of real (training) and synthetic rows

    privacy.tests                    the study's: mann_whitney, wilcoxon, kruskal_wallis (statistic, p), pearson (r, p),
                                     and under reference the same for real rows
"""

from collections.abc import Mapping
from typing import Any

from synthjax.evals import report
from synthjax.evals.report import Level, Verdict, percent

_MEASURES = ("accuracy", "balanced_accuracy", "macro_f1", "roc_auc", "pr_auc", "r2", "rmse")
_SCORES = (
    *("shapes.score", "trends.score", "trends.score_real_edges", "c2st.score", "c2st.auc"),
    *("missing.largest_difference", "correlation.mean", "correlation.max", "mutual_information.weighted"),
    *(f"neighbours.{name}" for name in ("precision", "recall", "density", "coverage")),
)
GATEABLE = (
    *("utility.boosting.kept", "utility.mean.kept"),
    *(
        f"utility.{who}.{sets}.{measure}.mean"
        for who in ("boosting", "mean")
        for sets in ("tstr", "trtr", "floor", "trts")
        for measure in _MEASURES
    ),
    *(f"fidelity.{table}.{score}" for table in ("synthetic", "ceiling", "floor") for score in _SCORES),
    *(key for key in report.GATEABLE if key.startswith("privacy.")),
    *(f"privacy.tests.{test}.p" for test in ("mann_whitney", "wilcoxon", "kruskal_wallis")),
)
"""The numbers that a gate may name."""
NAMES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "roc_auc": "ROC AUC",
    "pr_auc": "PR AUC",
    "r2": "R²",
    "rmse": "RMSE",
}
JUDGES = {
    "linear": "linear model",
    "svm": "support vector machine",
    "neighbours": "nearest neighbours",
    "forest": "random forest",
    "boosting": "gradient boosting",
    "perceptron": "perceptron",
}
LEARNABLE = 0.02
"""Least distance of ceiling and floor at which it can be said how much of it is kept."""


def assemble(
    manifest: Mapping[str, Any],
    *,
    utility: Mapping[str, Any] | None,
    fidelity: Mapping[str, Any],
    privacy: Mapping[str, Any],
    studies: Mapping[str, Any] | None = None,
    robustness: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The whole report but its verdicts, as plain values.

    Args:
        manifest: see module.
        utility: of `with_shares`; None without a target.
        fidelity: of `tabular.evaluate`.
        privacy: of `tabular_privacy.evaluate`.
        studies: of `table_studies.evaluate`; None without a target.
        robustness: of `table_studies.robustness`; None without a target.
    """
    return {
        "protocol_version": report.PROTOCOL_VERSION,
        "manifest": dict(manifest),
        "utility": utility,
        "studies": studies,
        "robustness": robustness,
        "fidelity": dict(fidelity),
        "privacy": dict(privacy),
    }


def with_shares(utility: Mapping[str, Any]) -> dict[str, Any]:
    """What `tabular_utility.evaluate` returns for a table with a target, and in it `boosting.kept`, `mean.kept`."""
    parts = zip(("boosting", "mean"), measures(utility), strict=True)
    return {**utility, **{name: {**utility[name], "kept": kept(utility[name], measure)} for name, measure in parts}}


def measures(utility: Mapping[str, Any]) -> tuple[str, str]:
    """The measures that the boosting and the six judges are summed up by."""
    return ("r2", "r2") if utility["task"] == "regression" else ("roc_auc", "balanced_accuracy")


def kept(part: Mapping[str, Any], measure: str) -> float | None:
    """How much of what real rows teach the synthetic ones teach: 0 the floor, 1 the ceiling.

    None where a score does not exist or real rows teach nothing: the ceiling is not above the floor by `LEARNABLE`.
    """
    leaves = [part[name][measure] for name in ("tstr", "floor", "trtr")]
    if None in leaves:
        return None
    tstr, floor, trtr = (leaf["mean"] for leaf in leaves)
    return (tstr - floor) / (trtr - floor) if trtr - floor >= LEARNABLE else None


def gained(fidelity: Mapping[str, Any]) -> float | None:
    """How much of the likeness of pairs is there that columns drawn alone do not have; 1: that of real rows.

    None where columns drawn alone are as good as real rows, to a tenth of the real rows' distance from 1.
    """
    values = [fidelity[name]["trends"]["score_real_edges"] for name in ("synthetic", "floor", "ceiling")]
    if None in values:
        return None
    found, floor, ceiling = values
    return (found - floor) / (ceiling - floor) if ceiling - floor > 0.1 * (1 - ceiling) else None


# --- verdicts ----------------------------------------------------------------------------------------------------


def verdicts(found: Mapping[str, Any]) -> list[Verdict]:
    """One verdict per question: is it useful, is it like the real table, does it give its training rows away."""
    usefulness = [useful(found["utility"])] if found["utility"] else []
    return [*usefulness, alike(found["fidelity"]), private(found["privacy"])]


def useful(utility: Mapping[str, Any]) -> Verdict:
    """Can the target be learnt from it? What `with_shares` returned says."""
    first, second = measures(utility)
    share = utility["boosting"]["kept"]
    level = usefulness(share)
    if share is None:
        answer = "This cannot be told: real rows hardly teach more than columns drawn alone."
    elif share <= 0.1:
        answer = "No: columns drawn alone would serve as well."
    else:
        answer = {
            "good": "Yes, nearly as well as from real rows.",
            "fair": "Partly: a visible share of what real rows teach is lost.",
            "poor": "No: far from what real rows teach.",
        }[level]
    gone = report.missing(utility)
    if gone and level == "good":
        level, answer = "fair", "All but the classes that are missing."
    evidence = [
        _beside(utility["boosting"], first, "Gradient boosting trained on these rows alone reaches")
        + (f" {kept_share(share)} of what real rows teach is kept." if share is not None else ""),
        _beside(utility["mean"], second, "Six judges of other kinds reach, on average,"),
    ]
    worst = _furthest(utility["judges"], second)
    if worst is not None and worst[2] - worst[1] >= 0.005:
        judge, ours, real = worst
        evidence.append(f"Furthest from real rows is the {judge}: {ours:.3f} instead of {real:.3f}.")
    if gone:
        evidence.append(report.lacks(gone, "row"))
    return Verdict("Can a classifier learn from it?", level, answer, evidence)


def usefulness(share: float | None) -> Level:
    """What the share that is kept of what real rows teach says; None: it cannot be told."""
    if share is None:
        return "fair"
    return "good" if share >= 0.95 else "fair" if share >= 0.8 else "poor"


def kept_share(share: float) -> str:
    """How much of what real rows teach is kept, in words: below the floor there is nothing to be kept."""
    return percent(share) if share > 0 else "Nothing"


def _beside(part: Mapping[str, Any], measure: str, who: str) -> str:
    leaves = [part[name][measure] for name in ("tstr", "trtr", "floor")]
    if None in leaves:
        return f"{who} no {NAMES[measure]}, since the rows tested are all alike."
    ours, real, floor = (f"{leaf['mean']:.3f}" for leaf in leaves)
    return (
        f"{who} a {NAMES[measure]} of {ours} on real test rows; as many real rows give {real} (the ceiling), columns "
        f"drawn alone {floor} (the floor)."
    )


def _furthest(judges: Mapping[str, Any], measure: str) -> tuple[str, float, float] | None:
    """Name, score and ceiling of the judge that loses most."""
    each = [(judge, part["tstr"][measure], part["trtr"][measure]) for judge, part in judges.items()]
    lost = [(JUDGES[judge], a["mean"], b["mean"]) for judge, a, b in each if a is not None and b is not None]
    return max(lost, key=lambda item: item[2] - item[1], default=None)


def alike(fidelity: Mapping[str, Any]) -> Verdict:
    """Is it like the real table? What the fidelity part says."""
    found, ceiling, floor = (fidelity[name] for name in ("synthetic", "ceiling", "floor"))
    told_apart, best, gain = found["c2st"]["score"], ceiling["c2st"]["score"], gained(fidelity)
    hidden = None if told_apart is None or not best else told_apart / best
    # Small tables differ by chance, and so do real test rows.
    shapes = None if found["shapes"]["score"] is None else found["shapes"]["score"] / ceiling["shapes"]["score"]
    level: Level
    if (shapes is not None and shapes < 0.85) or (hidden is not None and hidden < 0.25):
        level, answer = "poor", "No: its rows are easily told from real ones."
    elif gain is not None and gain < 0.5:
        level, answer = "poor", "No: its columns hardly depend on one another as the real ones do."
    elif (hidden is None or hidden >= 0.8) and (gain is None or gain >= 0.8) and (shapes is None or shapes >= 0.97):
        level, answer = "good", "Yes: column by column, pair by pair and as a whole."
    else:
        level, answer = "fair", "Partly: what differs is listed below."
    evidence = [
        f"Single columns are {_triple(found, ceiling, floor, 'shapes')}{_least(found['shapes']['columns'].items())}",
        f"Pairs of columns are {_triple(found, ceiling, floor, 'trends', 'score_real_edges')}"
        + _least((" and ".join(pair["columns"]), trend(pair)) for pair in found["trends"]["pairs"]),
    ]
    if told_apart is not None:
        others = [f"{part['c2st']['auc']:.3f}" if part["c2st"]["auc"] is not None else "–" for part in (ceiling, floor)]
        evidence.append(
            f"Gradient boosting that has to tell its rows from real ones reaches an AUC of {found['c2st']['auc']:.3f} "
            f"(0.5: it cannot; real test rows: {others[0]}; columns drawn alone: {others[1]})."
            + (" Far below 0.5, it meets its rows' twins among the real ones." if found["c2st"]["auc"] < 0.4 else "")
        )
    return Verdict("Is it like the real table?", level, answer, evidence)


def trend(pair: Mapping[str, Any]) -> float | None:
    """Likeness of a pair of columns, a number that meets a category cut where the real column is.

    At edges of each table's own, as SDMetrics has it, one outlier moves all bins: Adult's education_num gets 0.48 by
    artefact.
    """
    score: float | None = pair.get("score_real_edges", pair["score"])
    return score


def _triple(
    found: Mapping[str, Any], ceiling: Mapping[str, Any], floor: Mapping[str, Any], what: str, score: str = "score"
) -> str:
    values = [part[what][score] for part in (found, ceiling, floor)]
    if None in values:
        return "not compared: there is none."
    ours, real, alone = map(percent, values)
    return f"{ours} alike on average (real test rows: {real}; columns drawn alone: {alone})."


def _least(scores: Any) -> str:
    """The worst of (name, score), as a sentence."""
    present = [(score, name) for name, score in scores if score is not None]
    if not present:
        return ""
    score, name = min(present)
    return f" Least: {name}, {percent(score)}."


def private(privacy: Mapping[str, Any]) -> Verdict:
    """Does it give its training rows away? What the privacy part says."""
    return report.private(privacy, unit="row")
