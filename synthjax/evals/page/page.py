"""The page of a report, and that of a comparison: one self-contained HTML file each, a function of plain values alone.

    html = page.render(report)        # what report.json holds
    html = page.compare(comparison)   # what compare.json holds

The markup is in `templates` (jinja2), which escape everything that a user named (classes, columns, files, data sets).
No script, no font and no image is loaded: pictures are data URIs, or SVG that takes the page's colours.
"""

import functools
import re
from collections.abc import Mapping
from typing import Any

import jinja2
from markupsafe import Markup

from synthjax.evals.draw import svg
from synthjax.evals.page import strips, values
from synthjax.evals.page.terms import Terms
from synthjax.evals.report.figures import number
from synthjax.evals.report.tables import NAMES, headlines
from synthjax.evals.report.words import JUDGES, attack, missing_classes, p_value, percent

RARE = 20
"""Rare classes that are listed at most."""
NAMED = 10
"""Records exposed most that are named at most."""
RANKED = {
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
"""Classifiers that are ranked."""
PARTS = {
    "utility": "Usefulness",
    "fidelity": "Likeness",
    "rules": "Rows that make sense",
    "privacy": "Privacy",
    "time": "Times and sizes",
}
"""Of a comparison."""
WORTH = ("utility.cnn.tstr_over_trtr", "utility.boosting.kept")
"""Figures that sum up what images and tables are worth."""


def render(report: Mapping[str, Any]) -> str:
    """The page of a report, given as plain values as report.json holds them."""
    table = report["manifest"]["kind"] == "table"
    unit = "row" if table else "example"
    terms = Terms()
    gone = values.dig(report, "utility.n.missing_classes")
    context = {
        **report,
        "table_report": table,
        "unit": unit,
        "contents": values.contents(report, table),
        "strips": strips.of_verdicts(report, table),
        "protocol": values.protocol(report, table),
        "missing": missing_classes(gone, unit) if gone else "",
        "baseline": "independent columns" if table else "mean images and noise",
        "learners": list(strips.of_classifiers(report["utility"], table)),
        "curve": values.curve(report.get("studies"), table, unit),
        "file_attack_counts": any(name.startswith("mia.") for name in report["privacy"]["findings"]["flagged"]),
        "attacks": list(values.attacks(report["privacy"], unit)),
        "roc": values.roc(report["privacy"]["mia"], unit),
        "distances": values.distances(report["privacy"]["dcr"], unit),
        "margins": values.margins(report["privacy"]),
    }
    if table:
        rules = report.get("rules")
        context |= {**values.of_table(report), "rule_strip": rules and strips.of_rules(rules)}
    return fill("report.html", terms, context)


def compare(found: Mapping[str, Any]) -> str:
    """The page of a comparison, given as plain values as compare.json holds them."""
    context = {**found, "part_names": PARTS, "trade_off": _trade_off(found), "figure_text": number}
    return fill("compare.html", Terms(), context)


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("synthjax.evals.page"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "at": lambda key, mapping: mapping[key],
        "capital": values.capital,
        "dig": values.dig,
        "without_unit": lambda text: text.removesuffix(" %"),
    }
    environment.globals |= {
        **{"svg": svg, "percent": percent, "number": values.decimal, "signed": values.signed},
        "plain": "{:z.3f}".format,
        "percents": lambda interval: interval and [100 * end for end in interval],
        **{"p_text": p_value, "attack_name": attack, "trend": values.trend, "headlines": headlines},
        **{"measure_names": NAMES, "judge_names": JUDGES, "ranked_names": RANKED, "figures_of_attacks": values.FIGURES},
        **{"shown": values.SHOWN, "listed": RARE, "named": NAMED},
    }
    return environment


def fill(template: str, terms: Terms, context: Mapping[str, Any]) -> str:
    """A template with its values, every number and its per cent sign on one line."""
    text = _environment().get_template(template).render(**context, terms=terms, term=terms.link)
    return re.sub(r"(?<=\d) %", "\N{NO-BREAK SPACE}%", text)


def _trade_off(found: Mapping[str, Any]) -> Markup | None:
    """What each set is worth against what it leaks; None where fewer than two sets have both."""
    rows = {row["key"]: row for row in found["figures"]}
    worth = next((rows[key] for key in WORTH if key in rows), None)
    if worth is None:
        return None
    leak = rows["privacy.mia.auc"]["values"]
    points = {name: (leak[name], value) for name, value in worth["values"].items() if None not in (value, leak[name])}
    if len(points) < 2:
        return None
    return svg.scatter(points, "Worth against leak", "membership AUC: 0.5 is no leak", worth["name"])
