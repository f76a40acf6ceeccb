"""The catalogue of figures: a page made from the schema of report.json."""

import functools
import json
import re
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

MEANINGS = {
    "tstr": "trained on synthetic, tested on real examples",
    "trtr": "ceiling: trained on as many real examples, tested on real ones",
    "floor": "floor: trained on a trivial generator's examples, tested on real ones",
    "trts": "trained on real, tested on synthetic examples",
    "tstr_over_trtr": "share of the ceiling that is reached",
    "kept": "(tstr - floor) / (ceiling - floor): 1 as good as real rows, 0 as bad as columns drawn alone",
    "loss.points": "points lost against as many real examples, by paired bootstrap",
    "calibration.tstr": "expected calibration error of the classifier trained on synthetic examples; 0 is best",
    "calibration.trtr": "expected calibration error of the one trained on real examples",
    "precision": "share of synthetic examples within the real ones' neighbourhoods; 1 is best",
    "recall": "share of real examples within the synthetic ones' neighbourhoods; 1 is best",
    "density": "precision with each neighbourhood counted; about 1 for real data",
    "coverage": "share of real examples with a synthetic neighbour; 1 is best",
    "frechet": "squared Fréchet distance in a classifier's features; 0 is best",
    "kernel": "kernel distance in a classifier's features; 0 is best",
    "c2st.score": "two-sample test by a classifier: 1 it cannot distinguish the sets, 0 it always can",
    "c2st.auc": "two-sample test: ROC AUC of the classifier that has to distinguish the sets; .5 is best",
    "diversity": "mean distance of two samples of a class over that of two real ones; below .5 is a collapse",
    "mean_distance": "distance of the mean image of a class to the real one; 0 is best",
    "covariance_distance": "distance of the covariance of a class to the real one; 0 is best",
    "network.accuracy": "accuracy, on real test data, of the network whose features are used",
    "shapes.score": "likeness of single columns: mean of 1 - Kolmogorov-Smirnov or total variation distance; 1 is best",
    "shapes.columns.NAME": "likeness of one column; 1 is best",
    "trends.score": "likeness of pairs of columns, numbers cut at the synthetic column's own edges, as SDMetrics does",
    "trends.score_real_edges": "likeness of pairs of columns, numbers cut at the real column's edges",
    "missing.largest_difference": "largest difference in the share of missing values; 0 is best",
    "correlation.mean": "mean difference of correlations; 0 is best",
    "correlation.max": "largest difference of correlations; 0 is best",
    "mutual_information.weighted": "likeness of the mutual information of pairs of columns",
    "accuracy.mean": "share of right answers",
    "balanced_accuracy.mean": "mean recall of the classes",
    "macro_f1.mean": "mean F1 score of the classes",
    "roc_auc.mean": "area under the ROC curve",
    "pr_auc.mean": "area under the precision-recall curve",
    "r2.mean": "coefficient of determination of a numeric target",
    "rmse.mean": "root mean squared error of a numeric target",
    "top_up.balanced_accuracy.points": "points gained by filling up rare classes of the real training set",
    "top_up.recall.points": "points of recall of the rarest class gained by filling up rare classes",
    "spearman": "rank correlation of classifiers on synthetic and on real test data; 1 is best",
    "kendall": "Kendall's tau of classifiers on synthetic and on real test data; 1 is best",
    "regret": "what is lost by taking the classifier that synthetic data would choose; 0 is best",
    "exact_matches": "synthetic examples that equal a training example",
    "exact_matches_share": "share of synthetic examples that equal a training example",
    "exact_matches_reference": "share of unseen real examples that equal a training example",
    "near_matches.share": "share of synthetic examples closer to a training example than 1 % of unseen ones are",
    "near_matches.reference": "share of unseen real examples that are as close: about 1 %",
    "dcr.share_nearer_train": "share of synthetic examples nearer to training than to unseen examples; .5 is best",
    "duplicates.exact.gain": "how much more often training than unseen examples have an exact double",
    "duplicates.near.gain": "how much more often training than unseen examples have a near double",
    "boosting.gain": "how much better a secret column is guessed of training than of unseen rows, by boosting",
    "nearest.gain": "how much better a secret column is guessed of training than of unseen rows, by the nearest row",
    "tests.mann_whitney.p": "p that distances are alike to training and to unseen rows, by Mann and Whitney",
    "tests.wilcoxon.p": "p that distances are alike to training and to unseen rows, by Wilcoxon",
    "tests.kruskal_wallis.p": "p that distances are alike to training and to unseen rows, by Kruskal and Wallis",
    "mia.auc": "best membership attack on the file, ROC AUC; .5 is guessing",
    "mia.tpr_at_fpr_1pct": "members found at 1 % false alarms",
    "mia.tpr_at_fpr_0p1pct": "members found at 0.1 % false alarms",
    "mia.control_auc": "the distance attack against data without a member: .5 unless the splits differ",
    "mia.model_auc": "best membership attack on the model itself",
}
"""Ends of keys -> meaning. Numbers without one (counts, seeds, records) are not listed."""
ALIKE = {
    r"^utility\.(cnn|svm)": "utility.JUDGE",
    r"^utility\.(boosting|mean)\.": "utility.JUDGE.",
    r"^utility\.(JUDGE|judges\.NAME)\.(tstr|trtr|floor|trts)\.(?!mean)": r"utility.\1.SETS.",
    r"^fidelity\.(synthetic|ceiling|floor)\.": "fidelity.TABLE.",
}
"""Keys that differ in one word, which docs/figures.md explains -> how they are shown as one row."""


class Row(NamedTuple):
    """One number of the report."""

    key: str
    """Its place in report.json; NAME stands for a name that depends on the data."""
    bounds: str
    meaning: str
    gate: bool
    """Whether `--fail_if` takes it."""


def rows() -> dict[str, list[Row]]:
    """The numbers of both kinds of report, "images" and "tables".

    The one place that knows where the catalogue comes from.
    """
    from synthjax.evals import report, tabular_report

    schema = json.loads((resources.files("synthjax.evals") / "report.schema.json").read_text())
    parts = schema["properties"]
    found = {}
    for kind, branch, gates in (("images", "then", report.GATEABLE), ("tables", "else", tabular_report.GATEABLE)):
        own = schema[branch]["properties"]
        ranges = dict.fromkeys(gates, "")
        for name in ("utility", "studies", "fidelity", "privacy"):
            ranges |= dict(numbers(schema, own.get(name, parts.get(name)), name))
        meant = {key: meaning(key) for key in ranges}
        found[kind] = [Row(key, ranges[key], said, key in gates) for key, said in sorted(meant.items()) if said]
        found[kind] = list({short(row.key): row._replace(key=short(row.key)) for row in found[kind]}.values())
    return found


def short(key: str) -> str:
    """A key with the words that make up rows that are alike replaced."""
    for pattern, word in ALIKE.items():
        key = re.sub(pattern, word, key)
    return key


def meaning(key: str) -> str:
    """What a number means, by the longest end of its key that is in MEANINGS; "" if there is none."""
    for end in sorted(MEANINGS, key=len, reverse=True):
        if f".{key.removesuffix('.mean')}".endswith(f".{end}") or f".{key}".endswith(f".{end}"):
            return MEANINGS[end]
    return ""


def numbers(schema: Mapping[str, Any], part: Mapping[str, Any], key: str) -> Iterator[tuple[str, str]]:
    """(key, range) of each number below a part of the schema; a mean with its interval is one of them."""
    part = resolved(schema, part)
    inner = part.get("properties", {})
    if "mean" in inner:
        yield f"{key}.mean", bounds(resolved(schema, inner["mean"]))
    elif part.get("type") in ("number", "integer"):
        yield key, bounds(part)
    else:
        for name, each in inner.items():
            yield from numbers(schema, each, f"{key}.{name}")
        if isinstance(part.get("additionalProperties"), Mapping):
            yield from numbers(schema, part["additionalProperties"], f"{key}.NAME")


def resolved(schema: Mapping[str, Any], part: Mapping[str, Any]) -> dict[str, Any]:
    """A part of the schema with its references followed; of alternatives, the one that is not null."""
    chain = [schema["$defs"][part["$ref"].rsplit("/", 1)[1]]] if "$ref" in part else []
    chain += [each for each in part.get("anyOf", ()) if each.get("type") != "null"][:1] + list(part.get("allOf", ()))
    found = functools.reduce(merged, [resolved(schema, each) for each in chain], {})
    found = merged(found, {name: value for name, value in part.items() if name not in ("$ref", "anyOf", "allOf")})
    if isinstance(found.get("type"), list):
        found["type"] = next(each for each in found["type"] if each != "null")
    return found


def merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Both, the properties of both among them."""
    properties = {**one.get("properties", {}), **other.get("properties", {})}
    return {**one, **other, **({"properties": properties} if properties else {})}


def bounds(part: Mapping[str, Any]) -> str:
    """In words: "0 to 1", "at least 0", or nothing."""
    low, high = part.get("minimum"), part.get("maximum")
    if low is None:
        return ""
    return f"at least {low}" if high is None else f"{low} to {high}"


def write(path: Path) -> None:
    """Writes the tables, which docs/figures.md includes; an unchanged file is left alone."""
    lines = []
    for kind, found in rows().items():
        lines += [f"### Of {kind}", "", "| key | range | gate | meaning |", "|---|---|---|---|"]
        lines += [f"| `{row.key}` | {row.bounds} | {'yes' if row.gate else ''} | {row.meaning} |" for row in found]
        lines.append("")
    path.parent.mkdir(exist_ok=True)
    text = "\n".join(lines)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
