"""The page of a report, and that of a comparison: one self-contained HTML file each, a function of plain values alone.

    html = page.render(report)        # what report.json holds
    html = page.compare(comparison)   # what compare.json holds

The markup is in `templates` (jinja2), which escape everything that a user named (classes, columns, files, data sets).
No script, no font and no image is loaded: pictures are data URIs, or SVG that takes the page's colours.
"""

import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jinja2

from synthjax.evals.draw import svg
from synthjax.evals.page.terms import Terms
from synthjax.evals.report.figures import number
from synthjax.evals.report.tables import NAMES, headlines
from synthjax.evals.report.words import JUDGES, attack, missing_classes, p_value, percent

SHOWN = 12
"""Columns and pairs of columns that stand on the page at once, worst first; all columns can be unfolded."""
LISTED = 300
"""Columns that can be unfolded at most; report.json has all."""
RARE = 20
"""Rare classes that are listed at most."""
CORRELATED = 30
"""Columns whose correlations are drawn at most, those that differ most."""
CURVES = 4
"""Attacks whose curves are drawn at most, those with the smallest p first: a page has so many colours."""
NAMED = 10
"""Records exposed most that are named at most."""
FIGURES: tuple[tuple[str, Callable[[float], str]], ...] = (
    ("auc", "{:.3f}".format),
    ("tpr_at_fpr_1pct", percent),
    ("tpr_at_fpr_0p1pct", percent),
)
"""Of an attack, and how each is written."""
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
SECTIONS = {
    "usefulness": "Usefulness",
    "studies": "How much is it worth?",
    "robustness": "Does the verdict hold?",
    "likeness": "Likeness",
    "privacy": "Privacy",
    "method": "How this was measured",
    "words": "Words explained",
}
"""Id, which names the template, and title."""
PARTS = {"utility": "Usefulness", "fidelity": "Likeness", "privacy": "Privacy", "time": "Times and sizes"}
"""Of a comparison."""
WORTH = ("utility.cnn.tstr_over_trtr", "utility.boosting.kept")
"""Figures that sum up what images and tables are worth."""


def render(report: Mapping[str, Any]) -> str:
    """The page of a report.

    Args:
        report: plain values, as report.json holds them.
    """
    table = report["manifest"]["kind"] == "table"
    unit = "row" if table else "example"
    terms = Terms()
    gone = _dig(report, "utility.n.missing_classes")
    context = {
        **report,
        "table_report": table,
        "unit": unit,
        "contents": _contents(report, table),
        "strips": {verdict["id"]: _strip(verdict["id"], report, table) for verdict in report["verdicts"]},
        "protocol": _protocol(report, table),
        "missing": missing_classes(gone, unit) if gone else "",
        "baseline": "columns alone" if table else "mean images and noise",
        "learners": list(_learners(report["utility"], table)),
        "curve": _curve(report.get("studies"), table, unit),
        "file_attack_counts": any(name.startswith("mia.") for name in report["privacy"]["findings"]["flagged"]),
        "attacks": list(_attacks(report["privacy"], unit)),
        "roc": _roc(report["privacy"]["mia"], unit),
        "distances": _distances(report["privacy"]["dcr"], unit),
        "margins": _margins(report["privacy"]),
    }
    if table:
        context |= _of_table(report)
    return _filled("report.html", terms, context)


def compare(found: Mapping[str, Any]) -> str:
    """The page of a comparison.

    Args:
        found: plain values, as compare.json holds them.
    """
    context = {**found, "part_names": PARTS, "trade_off": _trade_off(found), "figure_text": number}
    return _filled("compare.html", Terms(), context)


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
        "capital": _capital,
        "dig": _dig,
        "without_unit": lambda text: text.removesuffix(" %"),
    }
    environment.globals |= {
        **{"svg": svg, "percent": percent, "number": _number, "plain": "{:z.3f}".format, "signed": _signed},
        "percents": lambda interval: interval and [100 * end for end in interval],
        **{"p_text": p_value, "attack_name": attack, "trend": _trend, "headlines": headlines},
        **{"measure_names": NAMES, "judge_names": JUDGES, "ranked_names": RANKED, "figures_of_attacks": FIGURES},
        **{"shown": SHOWN, "listed": RARE, "named": NAMED},
    }
    return environment


def _filled(template: str, terms: Terms, context: Mapping[str, Any]) -> str:
    """A template with its values, every number and its per cent sign on one line."""
    text = _environment().get_template(template).render(**context, terms=terms, term=terms.link)
    return re.sub(r"(?<=\d) %", "\N{NO-BREAK SPACE}%", text)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _number(value: float) -> str:
    if abs(value) < 100:
        return f"{value:.3f}"
    return f"{value:,.0f}" if 1_000 <= abs(value) < 1e9 else f"{value:.4g}"


def _points(value: float) -> str:
    return f"{value:.1f}".replace("-", "−")


def _trend(pair: Mapping[str, Any]) -> float | None:
    """Likeness of a pair of columns; of a number and a category, the number cut where the real column is."""
    found: float | None = pair.get("score_real_edges", pair["score"])
    return found


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−")


def _dig(values: Any, path: str) -> Any:
    """What lies at a path of keys; None where it, or a part of the path, is absent."""
    for key in path.split("."):
        values = values.get(key) if isinstance(values, Mapping) else None
    return values


def _contents(report: Mapping[str, Any], table: bool) -> list[tuple[str, str]]:
    absent = {name for name in ("studies", "robustness") if not report.get(name)}
    if not table and not report["utility"]:
        absent.add("usefulness")
    return [(name, title) for name, title in SECTIONS.items() if name not in absent]


def _protocol(report: Mapping[str, Any], table: bool) -> dict[str, str]:
    """Name -> text of how the parts were measured."""
    manifest, utility = report["manifest"], report["utility"]
    if not table:
        protocol = {"Classifiers": f"{manifest['seeds']} seeds, {manifest['epochs']} epochs"}
        if trained := _dig(utility, "n.trained_on"):
            protocol["Trained on"] = f"{trained:,} examples each"
        return protocol | ({"Choices": choices} if (choices := _dig(utility, "protocol.choices")) else {})
    found = report["fidelity"]["protocol"]
    protocol = {"Two-sample test": found["c2st"], "Neighbours": found["neighbours"]}
    if utility is not None:
        told = utility["protocol"]
        protocol |= {"Boosting": told["boosting"], "Judges": told["judges"], "Seeds": f"{told['seeds']} of each judge"}
        protocol |= {"Ceiling": told["ceiling"], "Floor": told["floor"]}
        protocol |= {"Choices": told["choices"]} if "choices" in told else {}
    attacked = f"at most {manifest['limits']['attacked']:,} training rows and as many others"
    return {**protocol, "Attacks": attacked}


# --- verdicts ----------------------------------------------------------------------------------------------------


def _strip(verdict: str, report: Mapping[str, Any], table: bool) -> dict[str, Any] | None:
    """The small picture of a verdict: its main figure between two references; None where it was not measured."""
    find = {"publish": _attacked, "good": _useful, "lost": _lost, "checkpoint": _model_attacked}[verdict]
    found = find(report, table)
    if found is None:
        return None
    value, interval, marks, show, caption, term = found
    title = caption if value is None else f"{caption} {show(value)}"
    picture = svg.strip(value, marks, title, interval=interval, show=show)
    return {"picture": picture, "caption": caption, "term": term}


_Strip = tuple[float | None, Sequence[float] | None, Sequence[tuple[float, str]], Callable[[float], str], str, str]
_AUC = ((1.0, "all recognised"), (0.5, "guessing"))


def _attacked(report: Mapping[str, Any], table: bool) -> _Strip:
    mia = report["privacy"]["mia"]
    caption = "How well the best attack on the file tells training data from other real data."
    return mia["auc"], mia["auc_interval"], _AUC, "{:.3f}".format, caption, "auc"


def _useful(report: Mapping[str, Any], table: bool) -> _Strip | None:
    for learner in _learners(report["utility"], table, 1):
        return learner["strip"]
    part = "fidelity.synthetic" if table else "fidelity"
    beside = "fidelity.ceiling" if table else "fidelity.reference"
    value, real = (_dig(report, f"{side}.c2st.score") for side in (part, beside))
    if value is None or not real:
        return None
    caption = "How hard it is to tell synthetic from real ones."
    return value, None, ((0.0, "always told"), (real, "real data")), _number, caption, "c2st"


def _lost(report: Mapping[str, Any], table: bool) -> _Strip | None:
    if loss := _dig(report, "utility.loss"):
        marks = (5.0, "points lost:"), (0.0, "nothing lost:")
        caption = f"{loss['measure']} lost against training on real data, in points."
        return loss["points"], loss["ci"], marks, _points, _capital(caption), "loss"
    sides = ("synthetic.neighbours", "ceiling.neighbours") if table else ("", "reference")
    value, real = (_dig(report, ".".join(("fidelity", *filter(None, [side]), "coverage"))) for side in sides)
    if value is None or real is None:
        return None
    caption = "Real data with synthetic data nearby."
    return value, None, ((0.0, "none:"), (real, "real data:")), percent, caption, "coverage"


def _model_attacked(report: Mapping[str, Any], table: bool) -> _Strip:
    mia = report["privacy"]["mia"]
    if guarantee := _dig(report, "manifest.model.guarantee"):
        marks = (10.0, "hardly a promise: ε ="), (1.0, "strong: ε =")
        caption = f"What training with differential privacy promises; δ = {guarantee['delta']:.1g}."
        return guarantee["epsilon"], None, marks, "{:.3g}".format, caption, "dp"
    if mia["model_auc"] is None:
        return (
            None,
            None,
            _AUC,
            "{:.3f}".format,
            "No model was attacked: nothing is known of what it gives away.",
            "auc",
        )
    caption = "How well the best attack on the model tells training data from other real data."
    return mia["model_auc"], mia["model"]["auc_interval"], _AUC, "{:.3f}".format, caption, "auc"


# --- usefulness and likeness ---------------------------------------------------------------------------------------


def _learners(utility: Mapping[str, Any] | None, table: bool, most: int = 2) -> Iterator[dict[str, Any]]:
    """Each classifier's score between floor and ceiling: `strip` for a verdict, `picture` and `caption`."""
    if utility is None:
        return
    if table:
        first, second = headlines(utility["task"])
        parts = ("boosting", first, "gradient boosting"), ("mean", second, "the mean of six judges")
    else:
        parts = ("cnn", "accuracy", "a CNN"), ("svm", "accuracy", "a support vector machine")
    for key, measure, who in parts[:most]:
        leaves = [utility[key][side][measure] if table else utility[key][side] for side in ("tstr", "floor", "trtr")]
        if None in leaves:
            continue
        ours, floor, real = leaves
        show = percent if measure not in ("r2", "rmse") else _number
        marks = (floor["mean"], "floor"), (real["mean"], "real data")
        caption = f"{_capital(NAMES[measure])} of {who} trained on synthetic data, tested on real data."
        picture = svg.strip(ours["mean"], marks, caption, interval=ours["ci"], show=show)
        strip = ours["mean"], ours["ci"], marks, show, caption, measure
        yield {"picture": picture, "caption": caption, "strip": strip}


def _curve(studies: Mapping[str, Any] | None, table: bool, unit: str) -> Any:
    """The learning curves; None where there are none, or a point alone."""
    if not studies or len(studies["curve"]) < 2:
        return None
    measure = NAMES[studies["measure"]] if table else "accuracy"
    points = studies["curve"]
    lines = {
        name: ([point["n"] for point in points], [point[name]["mean"] for point in points])
        for name in ("synthetic", "real")
    }
    return svg.curves(lines, f"{measure} by the number of training {unit}s", f"training {unit}s", measure)


def _of_table(report: Mapping[str, Any]) -> dict[str, Any]:
    """What only the page of a table shows."""
    fidelity = report["fidelity"]
    shapes, pairs = fidelity["synthetic"]["shapes"]["columns"], fidelity["synthetic"]["trends"]["pairs"]
    worst = [i for i, pair in enumerate(pairs) if _trend(pair) is not None]
    worst.sort(key=lambda i: _trend(pairs[i]) or 0.0)
    return {
        "columns": sorted(shapes, key=lambda name: (shapes[name] is not None, shapes[name] or 0.0))[:LISTED],
        "worst_pairs": worst[:SHOWN],
        "correlations": _correlations(fidelity["synthetic"]["correlation"]),
    }


def _correlations(found: Mapping[str, Any]) -> dict[str, Any] | None:
    """Matrices to draw: `names`, and `panels` of name, matrix and what has the full colour; None without pairs."""
    if found["mean"] is None:
        return None
    furthest = [max((abs(value) for value in row if value is not None), default=0) for row in found["difference"]]
    kept = sorted(sorted(range(len(furthest)), key=furthest.__getitem__, reverse=True)[:CORRELATED])
    panels = [
        (name, [[found[key][row][column] for column in kept] for row in kept], most)
        for key, name, most in (
            ("real", "real", 1.0),
            ("synthetic", "synthetic", 1.0),
            ("difference", "synthetic − real", max(found["max"], 0.01)),
        )
    ]
    names = [found["columns"][place] for place in kept]
    return {"names": names, "panels": panels, "left_out": len(furthest) - len(kept)}


# --- privacy -----------------------------------------------------------------------------------------------------


def _attacks(privacy: Mapping[str, Any], unit: str) -> Iterator[dict[str, Any]]:
    """A row per attack on the file and on the model, each family corrected by itself."""
    mia = privacy["mia"]
    groups = [("mia.", mia["attacks"], privacy["findings"])]
    if mia["model_attacks"]:
        groups.append(("", mia["model_attacks"]["attacks"], mia["model_attacks"]["findings"]))
    for prefix, attacks, corrected in groups:
        for name, of in attacks.items():
            tests = [f"{prefix}{name}.{key}" for key, _ in FIGURES]
            more = {"tests": tests, "holm": corrected["holm"], "level": corrected["level"]}
            yield {"name": attack(name, unit), "of": of, **more}


def _roc(mia: Mapping[str, Any], unit: str) -> dict[str, Any]:
    """ROC curves of the attacks with the smallest p, and of the best on the model."""
    smallest = {name: min(mia["p"][f"{name}.{key}"] for key, _ in FIGURES) for name in mia["attacks"]}
    drawn = sorted(smallest, key=smallest.__getitem__)[: CURVES - bool(mia["model"])]
    curves = {attack(name, unit): mia["attacks"][name]["roc"] for name in drawn}
    curves |= {"the best that asks the model": mia["model"]["roc"]} if mia["model"] else {}
    picture = svg.roc_curves(curves, 1 / mia["n_others"], "ROC curves of the attacks")
    return {"picture": picture, "names": list(curves), "fewer": len(drawn) < len(smallest)}


def _distances(dcr: Mapping[str, Any], unit: str) -> Any:
    counts = {name: dcr["histogram"][name] for name in ("train", "holdout")}
    title = f"Distances from synthetic {unit}s to the nearest training and to the nearest unseen {unit}"
    return svg.histogram(dcr["histogram"]["edges"], counts, title, "distance", f"synthetic {unit}s")


def _margins(privacy: Mapping[str, Any]) -> list[str]:
    """Within what a guessed number is right, by column."""
    found = privacy.get("attributes") or {}
    return [f"{name} ± {of['tolerance']:.4g}" for name, of in found.items() if of["tolerance"] is not None]


# --- comparisons -------------------------------------------------------------------------------------------------


def _trade_off(found: Mapping[str, Any]) -> Any:
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
