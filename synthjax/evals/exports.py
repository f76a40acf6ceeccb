"""The figures of a report as rows: one list for images and tables, written as CSV and as a LaTeX tabular.

Each figure stands beside its ceiling (real data in the place of the synthetic set, or, of an attack, the value that it
would have had nothing leaked) and its floor, and is named by the key that it has in `report.json`.

    rows = exports.figures(report)
    print(exports.to_csv({"ddpm": rows}))
"""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from synthjax.evals.tabular_report import NAMES, measures

Better = Literal["high", "low", ""]
COLUMNS = ("set", "part", "key", "name", "value", "low", "high", "reference", "floor", "better")
"""Of the CSV file."""
_LATEX = {"&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}", "²": "$^2$"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


class Figure(NamedTuple):
    """One number of a report."""

    part: str
    """utility, fidelity, privacy or time."""
    key: str
    """Where it stands in `report.json`, names joined by dots."""
    name: str
    value: float
    interval: Sequence[float] | None = None
    """[low, high] at 95 %."""
    reference: float | None = None
    """The ceiling, or what the figure is without a leak."""
    floor: float | None = None
    better: Better = "high"
    """Which end is better; "": neither, or the reference is."""


def figures(report: Mapping[str, Any]) -> list[Figure]:
    """The figures of a report that were measured, in the order of its parts."""
    if report["manifest"]["kind"] == "table":
        found = [*_table_utility(report["utility"]), *_table_fidelity(report["fidelity"])]
    else:
        found = [*_image_utility(report["utility"]), *_image_fidelity(report["fidelity"])]
    found += _top_up((report.get("studies") or {}).get("top_up"))
    return [*found, *_loss(report["utility"]), *_privacy(report["privacy"]), *_times(report["manifest"])]


def _image_utility(utility: Mapping[str, Any] | None) -> list[Figure]:
    if utility is None:
        return []
    found = []
    for kind, name in (("cnn", "CNN"), ("svm", "support vector machine")):
        part = utility[kind]
        tstr, real, floor = part["tstr"], part["trtr"]["mean"], part["floor"]["mean"]
        key = f"utility.{kind}"
        found.append(Figure("utility", f"{key}.tstr.mean", f"accuracy, {name}", tstr["mean"], tstr["ci"], real, floor))
        found.append(
            Figure("utility", f"{key}.tstr_over_trtr", f"share of the ceiling, {name}", part["tstr_over_trtr"])
        )
    return found


def _image_fidelity(fidelity: Mapping[str, Any] | None) -> list[Figure]:
    if fidelity is None:
        return []
    reference = fidelity["reference"] or {}
    names: dict[str, Better] = dict.fromkeys(("precision", "recall", "density", "coverage"), "high")
    names |= {"frechet": "low", "kernel": "low"}
    spelt = {"frechet": "Fréchet distance", "kernel": "kernel distance"}
    found = [
        Figure(
            "fidelity",
            f"fidelity.{name}",
            spelt.get(name, name),
            fidelity[name],
            None,
            reference.get(name),
            None,
            better,
        )
        for name, better in names.items()
        if fidelity.get(name) is not None
    ]
    score, beside = ((side.get("c2st") or {}).get("score") for side in (fidelity, reference))
    if score is not None:
        found.append(Figure("fidelity", "fidelity.c2st.score", "two-sample test", score, None, beside))
    return found


def _table_utility(utility: Mapping[str, Any] | None) -> list[Figure]:
    if utility is None:
        return []
    found = []
    for who, name, measure in zip(
        ("boosting", "mean"), ("gradient boosting", "six judges"), measures(utility), strict=True
    ):
        part = utility[who]
        leaves = [part[sets][measure] for sets in ("tstr", "trtr", "floor")]
        if None in leaves:
            continue
        tstr, real, floor = leaves
        key = f"utility.{who}"
        label = f"{NAMES[measure]}, {name}"
        found.append(
            Figure(
                "utility", f"{key}.tstr.{measure}.mean", label, tstr["mean"], tstr["ci"], real["mean"], floor["mean"]
            )
        )
        if part.get("kept") is not None:
            found.append(Figure("utility", f"{key}.kept", f"kept, {name}", part["kept"], None, 1.0, 0.0))
    return found


def _table_fidelity(fidelity: Mapping[str, Any]) -> list[Figure]:
    keys: dict[str, tuple[str, Better]] = {
        "shapes.score": ("column shapes", "high"),
        "trends.score_real_edges": ("pair trends, real cuts", "high"),
        "c2st.score": ("two-sample test", "high"),
        **{f"neighbours.{name}": (name, "high") for name in ("precision", "recall", "density", "coverage")},
        "correlation.mean": ("correlation, mean difference", "low"),
        "mutual_information.weighted": ("mutual information, difference", "low"),
    }
    found = []
    for key, (name, better) in keys.items():
        part, score = key.split(".")
        ours, real, floor = (fidelity[side][part][score] for side in ("synthetic", "ceiling", "floor"))
        if ours is not None:
            found.append(Figure("fidelity", f"fidelity.synthetic.{key}", name, ours, None, real, floor, better))
    return found


def _loss(utility: Mapping[str, Any] | None) -> list[Figure]:
    """What is lost against real data, in points, by the paired bootstrap."""
    lost = utility and utility.get("loss")
    if not lost:
        return []
    return [Figure("utility", "utility.loss.points", "points lost", lost["points"], lost["ci"], 0.0, None, "low")]


def _top_up(found: Mapping[str, Any] | None) -> list[Figure]:
    """What is gained by filling up rare classes, in points."""
    if not found or found["reason"] is not None:
        return []
    names = {"balanced_accuracy": "balanced accuracy", "recall": f"recall of {found['rarest']}"}
    return [
        Figure(
            "utility",
            f"studies.top_up.{key}.points",
            f"{name} gained by filling up rare classes, points",
            found[key]["points"],
            found[key]["ci"],
            None,
            0.0,
        )
        for key, name in names.items()
    ]


def _privacy(privacy: Mapping[str, Any]) -> list[Figure]:
    mia, near, dcr = privacy["mia"], privacy["near_matches"], privacy["dcr"]
    found = [Figure("privacy", "privacy.mia.auc", "membership AUC", mia["auc"], mia["auc_interval"], 0.5, None, "low")]
    for key, name in (("tpr_at_fpr_1pct", "found at 1 %"), ("tpr_at_fpr_0p1pct", "found at 0.1 %")):
        found.append(
            Figure("privacy", f"privacy.mia.{key}", name, mia[key], None, mia["chance"][key]["mean"], None, "low")
        )
    if mia["model_auc"] is not None:
        interval = mia["model"]["auc_interval"]
        found.append(
            Figure(
                "privacy",
                "privacy.mia.model_auc",
                "AUC, asking the model",
                mia["model_auc"],
                interval,
                0.5,
                None,
                "low",
            )
        )
    shares = {
        "exact_matches_share": ("exact copies", privacy["exact_matches_share"], privacy["exact_matches_reference"]),
        "near_matches.share": ("near copies", near["share"], near["reference"]),
    }
    for key, (name, value, reference) in shares.items():
        found.append(Figure("privacy", f"privacy.{key}", name, value, None, reference, None, "low"))
    share, interval = dcr["share_nearer_train"], dcr["interval"]
    name = "nearer to training data"
    return [*found, Figure("privacy", "privacy.dcr.share_nearer_train", name, share, interval, 0.5, None, "")]


def _times(manifest: Mapping[str, Any]) -> list[Figure]:
    found = [
        Figure("time", f"manifest.seconds.{name}", f"scoring: {name}, s", value, better="")
        for name, value in manifest["seconds"].items()
    ]
    model = manifest["model"] or {}
    names = {
        "values": "numbers in the state",
        "train_seconds": "training, s",
    }
    return [
        Figure("time", f"manifest.model.{key}", name, model[key], better="low")
        for key, name in names.items()
        if model.get(key) is not None
    ] + found


# --- files ---------------------------------------------------------------------------------------------------------


def to_csv(sets: Mapping[str, Sequence[Figure]]) -> str:
    """Every figure of every set, one a line, under `COLUMNS`; what was not measured is empty.

    Args:
        sets: name -> `figures` of its report. A name that a spreadsheet would read as a formula gets a leading '.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for name, rows in sets.items():
        safe = f"'{name}" if name.startswith(("=", "+", "-", "@", "\t")) else name
        for row in rows:
            low, high = row.interval or ("", "")
            cells = (row.value, low, high, row.reference, row.floor)
            numbers = ["" if cell is None else repr(cell) if isinstance(cell, float) else cell for cell in cells]
            writer.writerow([safe, row.part, row.key, row.name, *numbers, row.better])
    return buffer.getvalue()


def to_latex(sets: Mapping[str, Sequence[Figure]]) -> str:
    """A tabular, figures by row and sets by column, the reference last; the best of several sets in bold.

    Needs no package. The reference is that of the first set that has the figure.
    """
    names = list(sets)
    lines = [
        rf"\begin{{tabular}}{{l{'r' * (len(names) + 1)}}}",
        r"\hline",
        " & ".join(["", *map(latex, names), "reference"]) + r" \\",
        r"\hline",
    ]
    part = None
    for first, cells in side_by_side(sets):
        if first.part != part:
            lines += [rf"\multicolumn{{{len(names) + 2}}}{{l}}{{\textit{{{first.part}}}}} \\"]
            part = first.part
        winners = best(cells)
        texts = [
            "--" if cell is None else rf"\textbf{{{number(cell.value)}}}" if place in winners else number(cell.value)
            for place, cell in enumerate(cells)
        ]
        reference = "--" if first.reference is None else number(first.reference)
        lines.append(" & ".join([latex(first.name), *texts, reference]) + r" \\")
    return "\n".join([*lines, r"\hline", r"\end{tabular}", ""])


def side_by_side(sets: Mapping[str, Sequence[Figure]]) -> list[tuple[Figure, list[Figure | None]]]:
    """The figures of several sets by key, in the order of their first appearance: (the first, one per set or None)."""
    by_key = [{row.key: row for row in rows} for rows in sets.values()]
    order = list(dict.fromkeys(row.key for rows in sets.values() for row in rows))
    parts = {"utility": 0, "fidelity": 1, "privacy": 2, "time": 3}
    found = []
    for key in order:
        cells = [rows.get(key) for rows in by_key]
        found.append((next(cell for cell in cells if cell is not None), cells))
    return sorted(found, key=lambda item: parts[item[0].part])


def best(cells: Sequence[Figure | None]) -> list[int]:
    """Places of the best of several; none where there is but one, all are alike, or neither end is better."""
    there = [(place, cell) for place, cell in enumerate(cells) if cell is not None]
    if len(there) < 2 or not there[0][1].better:
        return []
    pick = max if there[0][1].better == "high" else min
    top = pick(cell.value for _, cell in there)
    winners = [place for place, cell in there if cell.value == top]
    return winners if len(winners) < len(there) else []


def number(value: float) -> str:
    """A figure as text: three decimals below 100, whole numbers and large ones with commas."""
    if isinstance(value, int):
        return f"{value:,}"
    if value and abs(value) < 0.001:
        return f"{value:.1e}"
    return f"{value:.3f}" if abs(value) < 100 else f"{value:,.0f}"


def latex(text: str) -> str:
    """Text with what LaTeX reads as commands escaped."""
    return "".join(_LATEX.get(character, character) for character in text)
