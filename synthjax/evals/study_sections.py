"""The sections of a page that images and tables share: learning curves, mixing, rare classes, ranks, variations."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from synthjax.evals import markup, plots
from synthjax.evals.markup import between, figure, table
from synthjax.evals.report.words import missing_classes

NAMES = {
    "logistic": "logistic regression",
    "discriminant": "linear discriminants",
    "neighbours": "nearest neighbours",
    "svm": "support vector machine",
    "forest": "random forest",
    "bayes": "naive Bayes",
    "linear": "linear model",
    "boosting": "gradient boosting",
    "perceptron": "perceptron",
}
"""Of the ranked classifiers."""
LISTED = 20
"""Rare classes that are listed at most."""


def studies(found: Mapping[str, Any], measure: str, who: str, unit: str) -> str:
    """The sections on amounts, on rare classes and on ranks.

    Args:
        found: the report's `studies`.
        measure: what is scored, in words.
        who: what is trained for the curves and the mixing, in words.
        unit: what an example is called.
    """
    return (
        "<section><h2>How much is it worth?</h2>"
        + _curve(found["curve"], measure, who, unit)
        + _mixing(found["mixing"], measure, who, unit)
        + _top_up(found.get("top_up"), unit)
        + _ranking(found["ranking"], measure)
        + "</section>"
    )


def _number(value: float) -> str:
    return f"{value:.3f}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _leaf(leaf: Mapping[str, Any]) -> str:
    return _number(leaf["mean"]) + between(leaf["ci"], _number)


def _curve(points: Sequence[Mapping[str, Any]], measure: str, who: str, unit: str) -> str:
    rows = [[f"{point['n']:,}", _leaf(point["synthetic"]), _leaf(point["real"])] for point in points]
    details = table(
        f"{_capital(measure)} on real test data by the size of the training set",
        [f"{unit}s", "synthetic", "real"],
        rows,
    )
    picture = ""
    if len(points) > 1:
        curves = {
            name: ([point["n"] for point in points], [point[name]["mean"] for point in points])
            for name in ("synthetic", "real")
        }
        title = f"{measure} by the number of training {unit}s"
        picture = figure(
            plots.curves(curves, title, f"training {unit}s", measure),
            f"{_capital(who)} trained on synthetic {unit}s, or on as many real ones; tested on real ones. "
            "Where a line is flat, more of the same will not help.",
            markup.legend(curves, "line"),
        )
    return f"<h3>By the size of the set</h3>{picture}{details}"


def _mixing(points: Sequence[Mapping[str, Any]], measure: str, who: str, unit: str) -> str:
    alone = points[0]["score"]["mean"]
    rows = []
    for point in points:
        gain = 100 * (point["score"]["mean"] - alone)
        gained = "–" if not point["factor"] else f"{gain:+.1f}"
        rows.append([f"{point['factor']:g} ×", f"{point['n_synthetic']:,}", _leaf(point["score"]), gained])
    caption = f"{_capital(measure)} of {who} on real test data, trained on {points[0]['n_real']:,} real {unit}s and"
    head = ["synthetic per real", f"synthetic {unit}s", measure, "points gained"]
    return f"<h3>Beside few real {unit}s</h3>{table(caption + ' these synthetic ones beside them', head, rows)}"


def _top_up(found: Mapping[str, Any] | None, unit: str) -> str:
    """What filling up rare classes is worth; nothing in reports made before that was measured."""
    if found is None:
        return ""
    said = f"<h3>Where classes are rare</h3><p>{escape(found['said'])}</p>"
    if found["reason"] is not None:
        return said
    figures = {
        "balanced accuracy": found["balanced_accuracy"],
        f"recall of “{escape(found['rarest'])}”": found["recall"],
    }
    rows = [
        [
            name,
            _leaf(of["real"]),
            _leaf(of["repeated"]),
            _leaf(of["filled"]),
            f"{of['points']:+.1f}" + between(of["ci"], lambda x: f"{x:+.1f}"),
        ]
        for name, of in figures.items()
    ]
    caption = f"{found['n_real']:,} real {unit}s, alone and with {found['n_synthetic']:,} synthetic ones"
    scores = table(
        f"{caption}; tested on real ones",
        ["", f"real {unit}s alone", "rare ones repeated", "filled up with synthetic ones", "points gained by these"],
        rows,
    )
    order = sorted(found["filled"].items(), key=lambda item: item[1]["real"])[:LISTED]
    counts = [[escape(name), *(f"{of[key]:,}" for key in ("real", "added", "lacking"))] for name, of in order]
    caption = "Rare classes" + (f", the {LISTED} rarest" if len(found["filled"]) > LISTED else "")
    head = ["class", f"real {unit}s", "synthetic, added", "lacking to the largest class"]
    return said + scores + f"<details><summary>{caption}</summary>{table(caption, head, counts)}</details>"


def _ranking(found: Mapping[str, Any], measure: str) -> str:
    each = sorted(found["classifiers"].items(), key=lambda item: -item[1]["validation"])
    columns = ("validation", "deployed", "real")
    rows = [[NAMES.get(name, escape(name)), *(_number(of[column]) for column in columns)] for name, of in each]
    head = ["classifier", "on synthetic validation data", "on real test data", "trained and tested on real data"]
    scores = table(f"{_capital(measure)} of classifiers, the one best on synthetic data first", head, rows)
    lines = {
        "deployed": "the same classifiers on real test data",
        "real": "classifiers trained on real data",
        "ceiling": "real validation data, of classifiers trained on real data: the ceiling",
    }
    agreed = [
        [text, *("–" if found[key][by] is None else _leaf(found[key][by]) for by in ("spearman", "kendall"))]
        for key, text in lines.items()
    ]
    ranks = table("Rank correlation with the scores on synthetic validation data", ["", "Spearman", "Kendall"], agreed)
    chosen, best = (NAMES.get(found[key], escape(found[key])) for key in ("chosen", "best"))
    note = (
        f"Whoever chooses by synthetic data takes the {chosen}; the best on real test data is the {best}. The choice "
        f"costs {found['regret']['mean']:.1f} points. {len(rows)} classifiers, {found['seeds']} "
        f"draw{'s' * (found['seeds'] != 1)}: correlations of "
        "so few are coarse, and classifiers that are equally good have no order to keep."
    )
    return f"<h3>Does the best classifier stay the best?</h3><p>{note}</p>{scores}{ranks}"


def robustness(found: Mapping[str, Any], figures: Mapping[str, str]) -> str:
    """The section on variations; `figures`: name of a check's number -> its column's head."""
    rows = []
    for check in found["checks"]:
        numbers = ["–" if check[name] is None else _number(check[name]) for name in figures]
        rows.append([escape(check["name"]), *numbers, markup.sign(check["level"], _words(check["level"]))])
    same = sum(check["level"] == found["level"] for check in found["checks"])
    return (
        "<section><h2>Does the verdict hold?</h2><p>The verdict on usefulness, measured again with another classifier, "
        f"another seed, and synthetic data changed so that every label stays. It is {_words(found['level'])} as "
        f"measured, and the same in {same} of {len(found['checks'])} variations.</p>"
        + table("Variations", ["variation", *figures.values(), "verdict"], rows)
        + "</section>"
    )


def _words(level: str) -> str:
    return {"good": "useful", "fair": "partly useful", "poor": "not useful"}[level]


def missing(utility: Mapping[str, Any], unit: str) -> str:
    """A sentence on the classes that the synthetic set lacks; nothing where it has all."""
    names = utility["n"]["missing_classes"] if utility else []
    return f"<p><strong>{escape(missing_classes(names, unit))}</strong></p>" if names else ""


def calibration(found: Mapping[str, float] | None, who: str) -> str:
    """A sentence on how far a classifier's probabilities can be trusted; nothing where there are none."""
    if not found:
        return ""
    return (
        f'<p class="note">Calibration: the probabilities of {who} trained on synthetic data are off by '
        f"{100 * found['tstr']:.1f} points on average on real test data (expected calibration error, 15 bins); trained "
        f"on real data, by {100 * found['trtr']:.1f}.</p>"
    )
