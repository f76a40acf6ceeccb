"""The report on images as one self-contained HTML page: verdicts, then tables and pictures, each by its reference.

Everything that a user named (classes, files, data sets) goes through `html.escape`; see `synthjax.evals.markup`.
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from synthjax.evals import maps, markup, plots, privacy_section, study_sections
from synthjax.evals.domains.images import Examples
from synthjax.evals.markup import between, figure, table
from synthjax.evals.neighbours import nearest
from synthjax.evals.report.words import percent
from synthjax.model import DataSpec

ROWS = 20
"""Classes shown in a grid at most."""
COLUMNS = 8
NEIGHBOURS = 4
"""Samples of each class that are shown beside their nearest neighbours."""
CLASSIFIERS = {"cnn": "CNN", "svm": "Support vector machine"}


def render(report: Mapping[str, Any], spec: DataSpec, synthetic: Examples, train: Examples, test: Examples) -> str:
    """The page.

    Args:
        report: what `report.assemble` made.
        spec: the data's spec.
        synthetic: the synthetic examples, as stored; the rows that the report names index them.
        train: the training examples, likewise.
        test: real examples for the grid beside the synthetic one.
    """
    manifest, privacy = report["manifest"], report["privacy"]
    sections = [_usefulness(report, spec)] if report["utility"] else []
    pairs = _pairs(privacy["closest"], spec, synthetic, train) if spec.kind == "image" else ""
    protocol = {"Classifiers": f"{manifest['seeds']} seeds, {manifest['epochs']} epochs"}
    if report["utility"] and "trained_on" in report["utility"]["n"]:
        protocol["Trained on"] = f"{report['utility']['n']['trained_on']:,} examples each"
    if report["utility"] and "choices" in report["utility"].get("protocol", {}):
        protocol["Choices"] = report["utility"]["protocol"]["choices"]
    if report.get("studies"):
        sections.append(study_sections.studies(report["studies"], "accuracy", "the CNN", "example"))
    if report.get("robustness"):
        figures = {"ours": "accuracy", "real": "of real data"}
        sections.append(study_sections.robustness(report["robustness"], figures))
    sections += [
        _likeness(report, spec, synthetic, train, test),
        privacy_section.section(privacy, manifest["non_members"], pairs, unit="example"),
        markup.method(manifest, protocol),
    ]
    return markup.document(manifest, report["verdicts"], sections, unit="example")


# --- usefulness --------------------------------------------------------------------------------------------------


def _usefulness(report: Mapping[str, Any], spec: DataSpec) -> str:
    utility = report["utility"]
    parts = [utility[kind] for kind in CLASSIFIERS]
    lines = {
        "synthetic → real": "tstr",
        "real → real: the ceiling": "trtr",
        "mean images and noise → real: the floor": "floor",
        "real → synthetic": "trts",
    }
    rows = [
        [name, *(percent(part[key]["mean"]) + between(part[key]["ci"]) for part in parts)]
        for name, key in lines.items()
    ]
    rows.insert(2, ["share of the ceiling", *(f"<strong>{part['tstr_over_trtr']:.3f}</strong>" for part in parts)])
    bars = "".join(
        figure(
            plots.scale_bar(
                part["tstr"]["mean"],
                part["floor"]["mean"],
                part["trtr"]["mean"],
                part["tstr"]["ci"],
                ("floor", "real data"),
                f"{name}: {percent(part['tstr']['mean'])}, between floor and ceiling",
            ),
            f"{name} trained on synthetic data, tested on real data.",
        )
        for name, part in zip(CLASSIFIERS.values(), parts, strict=True)
    )
    confusion = utility["cnn"]["tstr"].get("confusion")
    return (
        "<section><h2>Usefulness</h2><p>Classifiers are trained on the synthetic data and tested on real data that "
        "neither they nor the generator has seen. The ceiling is the same protocol with as many real examples.</p>"
        + study_sections.missing(utility, "example")
        + table("Accuracy, trained on → tested on; mean and 95 % interval", ["", *CLASSIFIERS.values()], rows)
        + f'<div class="pair">{bars}</div>'
        + study_sections.calibration(utility.get("calibration"), "the CNN")
        + (_confusion(confusion, spec) if confusion else "")
        + "</section>"
    )


def _confusion(counts: Sequence[Sequence[float]], spec: DataSpec) -> str:
    """What the CNN trained on synthetic data takes each real class for."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in spec.classes)
    body = ""
    for true, (name, row) in enumerate(zip(spec.classes, counts, strict=True)):
        cells = ""
        for guess, count in enumerate(row):
            kind = "hit" if guess == true else "miss" if count >= 0.02 * max(sum(row), 1) else "none"
            cells += f'<td class="{kind}">{count:,.0f}</td>'
        body += f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>'
    return (
        "<details><summary>What the CNN takes real examples for</summary>"
        '<div class="scroll" tabindex="0" role="region" aria-label="Confusion matrix"><table class="confusion">'
        "<caption>Real class by row, answer by column; 2 % of a class and more are marked.</caption>"
        f"<thead><tr><td></td>{head}</tr></thead><tbody>{body}</tbody></table></div></details>"
    )


# --- likeness ----------------------------------------------------------------------------------------------------


def _likeness(report: Mapping[str, Any], spec: DataSpec, synthetic: Examples, train: Examples, test: Examples) -> str:
    fidelity = report["fidelity"]
    grids = ""
    if spec.kind == "image":
        both = ((synthetic, "Synthetic examples"), (test, "Real examples"))
        for part, name in both:
            rows = ", one class per row" if spec.n_classes and part.y is not None else ""
            grids += figure(_grid(part, spec, name), f"{name}{rows}, first of the file.")
    tables = "" if fidelity is None else _fidelity_tables(fidelity, spec)
    if not grids and not tables:
        return ""
    beside = _neighbours(spec, synthetic, train) if spec.kind == "image" else ""
    plane = maps.section((fidelity or {}).get("map"), unit="example", space="in the features of that CNN")
    return f'<section><h2>Likeness</h2><div class="pair">{grids}</div>{tables}{plane}{beside}</section>'


def _neighbours(spec: DataSpec, synthetic: Examples, train: Examples) -> str:
    """Samples of each class, each beside the training example nearest to it in pixels."""
    groups, names = [], []
    if spec.n_classes and synthetic.y is not None:
        for label, name in list(enumerate(spec.classes))[:ROWS]:
            groups.append(np.flatnonzero(synthetic.y == label)[:NEIGHBOURS])
            names.append(escape(name))
    else:
        groups = list(np.arange(NEIGHBOURS * NEIGHBOURS).reshape(NEIGHBOURS, NEIGHBOURS))
        names = [""] * NEIGHBOURS
    there = [len(rows) == NEIGHBOURS and rows.max() < len(synthetic.x) for rows in groups]
    groups = [rows for rows, whole in zip(groups, there, strict=True) if whole]
    names = [name for name, whole in zip(names, there, strict=True) if whole]
    if not groups:
        return ""
    made = synthetic.x[np.concatenate(groups)]
    real = train.x[nearest(made, train.x)[1][:, 0]]
    pairs = np.stack([made, real], 1).reshape(len(groups), 2 * NEIGHBOURS, *spec.shape)
    picture = plots.data_uri(_apart(plots.grid(pairs, levels=spec.levels), NEIGHBOURS))
    words = "".join(f'<li title="{name}">{name}</li>' for name in names)
    image = f'<img src="{picture}" alt="Synthetic examples, each left of the training example nearest to it">'
    caption = (
        "In pairs: a synthetic example, and on its right the training example nearest to it in pixels. Pairs should be "
        "alike in kind and differ in detail."
    )
    return "<h3>Beside their nearest neighbours</h3>" + figure(
        f'<div class="rows narrow"><ol>{words}</ol>{image}</div>', caption
    )


def _apart(canvas: np.ndarray, parts: int) -> np.ndarray:
    """A canvas (height, width, C) with a white gap between so many equally wide parts of it."""
    each = -(-canvas.shape[1] // parts)  # all but the last end with the grid's own gap
    cuts = np.split(canvas, np.arange(1, parts) * each, axis=1)
    gap = np.full((len(canvas), cuts[0].shape[1] // 6, canvas.shape[2]), 255, canvas.dtype)
    return np.concatenate([piece for cut in cuts for piece in (cut, gap)][:-1], axis=1)


def _grid(examples: Examples, spec: DataSpec, name: str) -> str:
    """The first examples of each class, as an image with the class names beside its rows."""
    if not spec.n_classes or examples.y is None:
        canvas = plots.grid(examples.x[: COLUMNS * COLUMNS], columns=COLUMNS, levels=spec.levels)
        return f'<img src="{plots.data_uri(canvas)}" alt="{name}" style="width:100%">'
    rows, names = [], []
    for label, title in list(enumerate(spec.classes))[:ROWS]:
        chosen = examples.x[np.flatnonzero(examples.y == label)[:COLUMNS]]
        blank = np.full((COLUMNS - len(chosen), *spec.shape), spec.levels - 1, examples.x.dtype)
        rows.append(np.concatenate([chosen, blank]))
        names.append(f'<li title="{escape(title)}">{escape(title)}</li>')
    canvas = plots.grid(np.stack(rows), levels=spec.levels)
    image = f'<img src="{plots.data_uri(canvas)}" alt="{name}, {len(rows)} classes, {COLUMNS} of each">'
    return f'<div class="rows"><ol>{"".join(names)}</ol>{image}</div>'


def _figures(side: Mapping[str, Any]) -> dict[str, float]:
    """The figures of a set as a whole that were measured, by the names that they have on the page."""
    named = {"Fréchet distance": side.get("frechet"), "kernel distance": side.get("kernel")}
    named["two-sample test"] = (side.get("c2st") or {}).get("score")
    return {**side, **{name: value for name, value in named.items() if value is not None}}


def _fidelity_tables(fidelity: Mapping[str, Any], spec: DataSpec) -> str:
    meaning = {
        "precision": "synthetic examples among real ones",
        "recall": "real examples among synthetic ones",
        "density": "how densely real ones surround synthetic ones",
        "coverage": "real examples with a synthetic one nearby",
        "Fréchet distance": "squared; lower is better",
        "kernel distance": "lower is better, around 0 for real data",
        "two-sample test": "1: gradient boosting cannot tell them from real ones; 0: always",
    }
    ours, real = (_figures(side) for side in (fidelity, fidelity["reference"] or {}))
    rows = []
    for name, text in meaning.items():
        if name in ours:
            beside = f"{real[name]:z.3f}" if name in real else "–"
            rows.append([f"{name}<br><small>{text}</small>", f"{ours[name]:z.3f}", beside])
    overall = table("In the feature space of a CNN trained on real data", ["", "synthetic", "real data"], rows)
    if net := fidelity.get("network"):
        overall += (
            f'<p class="note">The features are those of a CNN trained on {net["examples"]:,} real training examples; '
            f"it recognises {percent(net['accuracy'])} of the real test examples. sha256 of its parameters: "
            f"<code>{net['sha256'][:16]}…</code>. Distances in these features do not compare with published FID and "
            "KID, whose features are another network's.</p>"
        )
    if not fidelity["per_class"]:
        return overall
    return overall + _class_by_class(fidelity["per_class"], spec)


def _class_by_class(per_class: Mapping[str, Any], spec: DataSpec) -> str:
    """Figures of each class; the distances of whole sets with those of real examples beside them."""
    rows = []
    for name in spec.classes:
        found = per_class[name]
        beside = found.get("reference") or {}
        figures = [found["mean_distance"], found["covariance_distance"], found.get("diversity")]
        cells = ["–" if figure is None else f"{figure:.3f}" for figure in figures]
        for key in ("frechet", "kernel"):
            real = f"<br><small>real data {beside[key]:z.3f}</small>" if key in beside else ""
            cells.append("–" if found.get(key) is None else f"{found[key]:z.3f}{real}")
        rows.append([escape(name), *cells])
    head = ["class", "mean image", "covariance", "diversity", "Fréchet distance", "kernel distance"]
    title = (
        "Distance of synthetic from real pixels: root mean square; relative Frobenius norm. In feature space, "
        "diversity: mean distance of two synthetic examples over that of two real ones; and the distances of the sets"
    )
    note = (
        '<p class="note">A class has few examples, which pushes its Fréchet distance up and spreads its kernel '
        "distance: compare with as many real training examples of the class, not with 0 or with the whole set.</p>"
    )
    return f"<details><summary>Class by class</summary>{table(title, head, rows)}{note}</details>"


# --- privacy -----------------------------------------------------------------------------------------------------


def _pairs(closest: Sequence[Mapping[str, Any]], spec: DataSpec, synthetic: Examples, train: Examples) -> str:
    """The closest pairs, side by side."""
    twins = ""
    for pair in closest:
        images = (
            (synthetic.x[pair["synthetic"]], f"synthetic example {pair['synthetic']}"),
            (train.x[pair["train"]], f"nearest training example, {pair['train']}"),
        )
        shown = "".join(
            f'<img src="{plots.data_uri(plots.grid(x[None], levels=spec.levels))}" alt="{alt}">' for x, alt in images
        )
        twins += f"<li><div>{shown}</div><p>distance {pair['distance']:.4g}</p></li>"
    return (
        "<h3>The closest pairs</h3>"
        "<p class='note'>Left the synthetic example, right the training example it comes nearest to. Some pair is "
        f"always the closest; twins would be alarming.</p><ul class='twins'>{twins}</ul>"
    )
