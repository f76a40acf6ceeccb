"""What the templates of a report's page take: its figures, chosen, ordered and drawn, and how numbers are written."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from markupsafe import Markup

from synthjax.evals.draw import svg
from synthjax.evals.report.tables import NAMES
from synthjax.evals.report.words import attack, percent

SHOWN = 12
"""Columns and pairs of columns that stand on the page at once, worst first; all columns can be unfolded."""
LISTED = 300
"""Columns that can be unfolded at most; report.json has all."""
CORRELATED = 30
"""Columns whose correlations are drawn at most, those that differ most."""
CURVES = 4
"""Attacks whose curves are drawn at most, those with the smallest p first: a page has so many colours."""
FIGURES: tuple[tuple[str, Callable[[float], str]], ...] = (
    ("auc", "{:.3f}".format),
    ("tpr_at_fpr_1pct", percent),
    ("tpr_at_fpr_0p1pct", percent),
)
"""Of an attack, and how each is written."""
SECTIONS = {
    "usefulness": "Usefulness",
    "studies": "How much is it worth?",
    "robustness": "Does the verdict hold?",
    "likeness": "Likeness",
    "rules": "Does each row make sense?",
    "privacy": "Privacy",
    "method": "How this was measured",
    "words": "Words explained",
}
"""Id, which names the template, and title."""


# --- text ---------------------------------------------------------------------------------------------------------


def capital(text: str) -> str:
    """With a capital letter first."""
    return text[:1].upper() + text[1:]


def decimal(value: float) -> str:
    """Three decimals; of large numbers as many digits as they need."""
    if abs(value) < 100:
        return f"{value:.3f}"
    return f"{value:,.0f}" if 1_000 <= abs(value) < 1e9 else f"{value:.4g}"


def points(value: float) -> str:
    """One decimal."""
    return f"{value:.1f}".replace("-", "−")


def trend(pair: Mapping[str, Any]) -> float | None:
    """Likeness of a pair of columns; of a number and a category, the number cut where the real column is."""
    found: float | None = pair.get("score_real_edges", pair["score"])
    return found


def signed(value: float) -> str:
    """One decimal, and always a sign."""
    return f"{value:+.1f}".replace("-", "−")


def dig(values: Any, path: str) -> Any:
    """What lies at a path of keys; None where it, or a part of the path, is absent."""
    for key in path.split("."):
        values = values.get(key) if isinstance(values, Mapping) else None
    return values


# --- the page as a whole -------------------------------------------------------------------------------------------


def contents(report: Mapping[str, Any], table: bool) -> list[tuple[str, str]]:
    """Ids and titles of the sections that the page has."""
    absent = {name for name in ("studies", "robustness", "rules") if not report.get(name)}
    if not table and not report["utility"]:
        absent.add("usefulness")
    return [(name, title) for name, title in SECTIONS.items() if name not in absent]


def protocol(report: Mapping[str, Any], table: bool) -> dict[str, str]:
    """Name -> text of how the parts were measured."""
    manifest, utility = report["manifest"], report["utility"]
    if not table:
        protocol = {"Classifiers": f"{manifest['seeds']} seeds, {manifest['epochs']} epochs"}
        if trained := dig(utility, "n.trained_on"):
            protocol["Trained on"] = f"{trained:,} examples each"
        return protocol | ({"Choices": choices} if (choices := dig(utility, "protocol.choices")) else {})
    found = report["fidelity"]["protocol"]
    protocol = {"Two-sample test": found["c2st"], "Neighbours": found["neighbours"]}
    if utility is not None:
        told = utility["protocol"]
        protocol |= {"Boosting": told["boosting"], "Judges": told["judges"], "Seeds": f"{told['seeds']} of each judge"}
        protocol |= {"Ceiling": told["ceiling"], "Floor": told["floor"]}
        protocol |= {"Choices": told["choices"]} if "choices" in told else {}
    attacked = f"at most {manifest['limits']['attacked']:,} training rows and as many others"
    return {**protocol, "Attacks": attacked}


# --- usefulness and likeness ---------------------------------------------------------------------------------------


def curve(studies: Mapping[str, Any] | None, table: bool, unit: str) -> Markup | None:
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


def of_table(report: Mapping[str, Any]) -> dict[str, Any]:
    """What only the page of a table shows."""
    fidelity = report["fidelity"]
    shapes, pairs = fidelity["synthetic"]["shapes"]["columns"], fidelity["synthetic"]["trends"]["pairs"]
    worst = [i for i, pair in enumerate(pairs) if trend(pair) is not None]
    worst.sort(key=lambda i: trend(pairs[i]) or 0.0)
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


def attacks(privacy: Mapping[str, Any], unit: str) -> Iterator[dict[str, Any]]:
    """A row per attack on the file and on the model, each family corrected by itself; of persons, the surest one."""
    mia = privacy["mia"]
    groups = [("mia.", mia["attacks"], privacy["findings"])]
    if persons := mia.get("persons"):
        surest = persons["worst_hit"]["attack"]
        groups.append(("persons.", {surest: persons["attacks"][surest]}, privacy["findings"]))
    if mia["model_attacks"]:
        groups.append(("", mia["model_attacks"]["attacks"], mia["model_attacks"]["findings"]))
    for prefix, attacks, corrected in groups:
        for name, of in attacks.items():
            tests = [f"{prefix}{name}.{key}" for key, _ in FIGURES]
            more = {"tests": tests, "holm": corrected["holm"], "level": corrected["level"]}
            whole = f"persons, by all of their {unit}s: " if prefix == "persons." else ""
            yield {"name": whole + attack(name, unit), "of": of, **more}


def roc(mia: Mapping[str, Any], unit: str) -> dict[str, Any]:
    """ROC curves of the attacks with the smallest p, and of the best on the model."""
    smallest = {name: min(mia["p"][f"{name}.{key}"] for key, _ in FIGURES) for name in mia["attacks"]}
    drawn = sorted(smallest, key=smallest.__getitem__)[: CURVES - bool(mia["model"])]
    curves = {attack(name, unit): mia["attacks"][name]["roc"] for name in drawn}
    curves |= {"the best that asks the model": mia["model"]["roc"]} if mia["model"] else {}
    picture = svg.roc_curves(curves, 1 / mia["n_others"], "ROC curves of the attacks")
    return {"picture": picture, "names": list(curves), "fewer": len(drawn) < len(smallest)}


def distances(dcr: Mapping[str, Any], unit: str) -> Markup:
    """Histograms of the distances to training and to unseen data."""
    counts = {name: dcr["histogram"][name] for name in ("train", "holdout")}
    title = f"Distances from synthetic {unit}s to the nearest training and to the nearest unseen {unit}"
    return svg.histogram(dcr["histogram"]["edges"], counts, title, "distance", f"synthetic {unit}s")


def margins(privacy: Mapping[str, Any]) -> list[str]:
    """Within what a guessed number is right, by column."""
    found = privacy.get("attributes") or {}
    return [f"{name} ± {of['tolerance']:.4g}" for name, of in found.items() if of["tolerance"] is not None]
