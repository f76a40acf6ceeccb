"""The report as one self-contained HTML page: verdicts first, then tables and pictures, each number by its reference.

No script, no font and no image is loaded; pictures are data URIs or SVG that takes the page's colours. Everything that
a user named (classes, files, data sets) goes through `html.escape`.
"""

import importlib.resources
import re
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from synthjax.evals import plots
from synthjax.evals.privacy import Examples
from synthjax.evals.report import PROTOCOL_VERSION, Verdict, percent, verdicts
from synthjax.model import DataSpec

ROWS = 20
"""Classes shown in a grid at most."""
COLUMNS = 8
SIGNS = {"good": ("✓", "good"), "fair": ("!", "mixed"), "poor": ("✕", "poor")}
ATTACKS = {
    "distance": "nearest synthetic example",
    "density": "synthetic density",
    "calibrated": "nearest, calibrated by other real data",
    "model": "asks the model itself",
}
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
    manifest = report["manifest"]
    template = string.Template((importlib.resources.files("synthjax.evals") / "page.html").read_text("utf-8"))
    made = f"{manifest['synthetic']['examples']:,} synthetic examples"
    sections = [_usefulness(report, spec)] if report["utility"] else []
    sections += [_likeness(report, spec, synthetic, test), _privacy(report, spec, synthetic, train), _method(manifest)]
    quick = (
        '<p class="card"><strong>A quick look:</strong> fewer seeds, epochs and examples than the protocol asks for. '
        "Do not quote these figures.</p>"
    )
    page = template.substitute(
        title=escape(f"{manifest['dataset']}: synthetic data report"),
        heading="Is this synthetic data useful, and does it keep its secrets?",
        lead=f"{made} in <code>{escape(manifest['synthetic']['file'])}</code>, judged against real "
        f"<strong>{escape(manifest['dataset'])}</strong> data on "
        f"<time>{escape(manifest['created'][:10])}</time>.",
        warning=quick if manifest["quick"] else "",
        verdicts="".join(map(_verdict, verdicts(report))),
        sections="".join(sections),
        version=PROTOCOL_VERSION,
    )
    # A number and its per cent sign stay on one line.
    return re.sub(r"(?<=\d) %", "\N{NO-BREAK SPACE}%", page)


def _verdict(verdict: Verdict) -> str:
    sign, meaning = SIGNS[verdict.level]
    evidence = "".join(f"<li>{escape(sentence)}</li>" for sentence in verdict.evidence)
    return (
        f'<li class="card verdict {verdict.level}"><h2>{escape(verdict.question)}</h2><p class="answer">'
        f'<span class="sign" role="img" aria-label="{meaning}">{sign}</span>{escape(verdict.answer)}</p>'
        f"<ul>{evidence}</ul></li>"
    )


def _table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; the cells are HTML already."""
    columns = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>' + "".join(f"<td>{cell}</td>" for cell in row[1:]) + "</tr>" for row in rows
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{caption}"><table><caption>{caption}</caption>'
        f"<thead><tr>{columns}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _figure(picture: str, caption: str, extra: str = "") -> str:
    return f'<figure class="card">{picture}{extra}<figcaption>{caption}</figcaption></figure>'


def _legend(names: Iterable[str], kind: str) -> str:
    swatch = '<svg viewBox="0 0 27 11" aria-hidden="true"><path class="{} s{}" d="M1 6H26"/></svg>'
    items = (f"<li>{swatch.format(kind, i)}{escape(name)}</li>" for i, name in enumerate(names, start=1))
    return f'<ul class="legend">{"".join(items)}</ul>'


def _between(interval: Sequence[float] | None, as_text: Callable[[float], str] = percent) -> str:
    """An interval in small print below its figure; its unit is said once."""
    if not interval:
        return ""
    low, high = map(as_text, interval)
    return f"<br><small>{low.removesuffix(' %') if high.endswith(' %') else low} – {high}</small>"


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
        [name, *(percent(part[key]["mean"]) + _between(part[key]["ci"]) for part in parts)]
        for name, key in lines.items()
    ]
    rows.insert(2, ["share of the ceiling", *(f"<strong>{part['tstr_over_trtr']:.3f}</strong>" for part in parts)])
    bars = "".join(
        _figure(
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
        + _table("Accuracy, trained on → tested on; mean and 95 % interval", ["", *CLASSIFIERS.values()], rows)
        + f'<div class="pair">{bars}</div>'
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


def _likeness(report: Mapping[str, Any], spec: DataSpec, synthetic: Examples, test: Examples) -> str:
    fidelity = report["fidelity"]
    grids = ""
    if spec.kind == "image":
        both = ((synthetic, "Synthetic examples"), (test, "Real examples"))
        what = ", one class per row, first of the file" if spec.n_classes else ", first of the file"
        grids = "".join(_figure(_grid(part, spec, name), f"{name}{what}.") for part, name in both)
    tables = "" if fidelity is None else _fidelity_tables(fidelity, spec)
    if not grids and not tables:
        return ""
    return f'<section><h2>Likeness</h2><div class="pair">{grids}</div>{tables}</section>'


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


def _fidelity_tables(fidelity: Mapping[str, Any], spec: DataSpec) -> str:
    meaning = {
        "precision": "synthetic examples among real ones",
        "recall": "real examples among synthetic ones",
        "density": "how densely real ones surround synthetic ones",
        "coverage": "real examples with a synthetic one nearby",
        "frechet": "Fréchet distance, squared: lower is better",
    }
    reference = fidelity["reference"] or {}
    rows = []
    for name, text in meaning.items():
        beside = f"{reference[name]:.3f}" if name in reference else "–"
        rows.append([f"{name}<br><small>{text}</small>", f"{fidelity[name]:.3f}", beside])
    table = _table("In the feature space of a CNN trained on real data", ["", "synthetic", "real data"], rows)
    per_class = []
    for name in spec.classes:
        found = fidelity["per_class"][name]
        distances = [found["mean_distance"], found["covariance_distance"]]
        figures = [*distances, found.get("diversity")]
        per_class.append([escape(name), *("–" if d is None else f"{d:.3f}" for d in figures)])
    head = ["class", "mean image", "covariance", "diversity"]
    title = (
        "Distance of synthetic from real pixels: root mean square; relative Frobenius norm. Diversity: mean distance "
        "of two synthetic examples over that of two real ones, in feature space"
    )
    details = _table(title, head, per_class)
    return f"{table}<details><summary>Class by class</summary>{details}</details>"


# --- privacy -----------------------------------------------------------------------------------------------------


def _privacy(report: Mapping[str, Any], spec: DataSpec, synthetic: Examples, train: Examples) -> str:
    privacy = report["privacy"]
    return (
        "<section><h2>Privacy</h2><p>These are attacks, not guarantees: each figure says what leaks at least. Only "
        "training with differential privacy says what leaks at most. Membership attacks come first, since data that "
        "passes every distance check has been shown to leak.</p>"
        + _membership(privacy["mia"], report["manifest"]["non_members"])
        + _copies(privacy, spec, synthetic, train)
        + _closest_record(privacy["dcr"])
        + "</section>"
    )


def _membership(mia: Mapping[str, Any], non_members: str) -> str:
    each = dict(mia["attacks"]) | ({"model": mia["model"]} if mia["model"] else {})
    names = [ATTACKS.get(name, str(name)) for name in each]
    curves = {name: attack["roc"] for name, attack in each.items()}
    picture = plots.roc_curves(curves, 1 / mia["n_others"], "ROC curves of the attacks")
    note = (
        "The headline figures are the largest over the attacks on these same examples, which errs towards alarm; the "
        "last row says what that choice alone gives."
    )
    if mia["control_auc"] is not None:
        note += (
            f" Aimed at real data that holds no member, the first attack gives {mia['control_auc']:.3f}: what tells "
            "the two groups apart without any leak."
        )
    note += f" With {mia['n_others']:,} others, false alarms come in steps of {percent(1 / mia['n_others'])}."
    return (
        f"<h3>Who was in the training set?</h3><p>{mia['n_members']:,} training examples against {mia['n_others']:,} "
        f"real examples that were not trained on (the {escape(non_members)} split). Guessing gives an AUC of 0.5, and "
        "as many hits as false alarms.</p>"
        + _attack_table(mia, each)
        + _figure(
            picture,
            "Above the dotted line is better than guessing. Both axes are logarithmic: being sure about few people is "
            "worse than a faint idea of all.",
            _legend(names, "line"),
        )
        + f'<p class="note">{note}</p>'
    )


def _attack_table(mia: Mapping[str, Any], each: Mapping[str, Any]) -> str:
    def decimals(value: float) -> str:
        return f"{value:.3f}"

    figures = {"auc": decimals, "tpr_at_fpr_1pct": percent, "tpr_at_fpr_0p1pct": percent}
    rows = [
        [escape(ATTACKS.get(name, name))]
        + [as_text(attack[key]) + _between(attack[f"{key}_interval"], as_text) for key, as_text in figures.items()]
        for name, attack in each.items()
    ]
    chance = [
        f"{as_text(mia['chance'][key]['mean'])}<br><small>up to {as_text(mia['chance'][key]['q95'])}</small>"
        for key, as_text in figures.items()
    ]
    rows.append(["<em>best attack on the file, had nothing leaked</em>: mean<br><small>95 % quantile</small>", *chance])
    caption = "Membership attacks: AUC, and members found at 1 % and at 0.1 % false alarms; 95 % intervals"
    return _table(caption, ["attack", "AUC", "found at 1 %", "at 0.1 %"], rows)


def _copies(privacy: Mapping[str, Any], spec: DataSpec, synthetic: Examples, train: Examples) -> str:
    near = privacy["near_matches"]
    exact = [percent(privacy["exact_matches_share"]), percent(privacy["exact_matches_reference"])]
    closer = (
        f"nearer to one than {near['threshold']:.4g}<br><small>as the nearest {percent(near['quantile'])} of unseen "
        "real examples are</small>"
    )
    rows = [["equal to a training example", *exact], [closer, percent(near["share"]), percent(near["reference"])]]
    table = _table("Copies, beside the rate of unseen real examples", ["", "synthetic", "unseen real"], rows)
    if spec.kind != "image":
        return "<h3>Copies</h3>" + table
    twins = ""
    for pair in privacy["closest"]:
        images = (
            (synthetic.x[pair["synthetic"]], f"synthetic example {pair['synthetic']}"),
            (
                train.x[pair["train"]],
                f"nearest training example, {pair['train']}",
            ),
        )
        shown = "".join(
            f'<img src="{plots.data_uri(plots.grid(x[None], levels=spec.levels))}" alt="{alt}">' for x, alt in images
        )
        twins += f"<li><div>{shown}</div><p>distance {pair['distance']:.4g}</p></li>"
    return (
        f"<h3>Copies</h3>{table}<h3>The closest pairs</h3>"
        "<p class='note'>Left the synthetic example, right the training example it comes nearest to. Some pair is "
        f"always the closest; twins would be alarming.</p><ul class='twins'>{twins}</ul>"
    )


def _closest_record(dcr: Mapping[str, Any]) -> str:
    names = {"train": "to the nearest training example", "holdout": "to the nearest unseen example"}
    picture = plots.histogram(
        dcr["histogram"]["edges"],
        {name: dcr["histogram"][name] for name in names},
        "Distances from synthetic examples to the nearest training and to the nearest unseen example",
        "distance",
    )
    low, high = dcr["interval"]
    return (
        "<h3>Distance to closest record</h3><p>"
        f"{percent(dcr['share_nearer_train'])} of the synthetic examples (interval {percent(low)} to {percent(high)}) "
        f"are nearer to the training set than to as many ({dcr['n_real']:,}) unseen real examples; 50 % if the "
        "generator does not favour what it saw. A diagnostic only: passing it proves nothing.</p>"
        + _figure(
            picture,
            f"Medians {dcr['median_train']:.4g} and {dcr['median_holdout']:.4g}, over {dcr['n_synthetic']:,} synthetic "
            "examples. The two should lie on one another.",
            _legend(names.values(), "fill"),
        )
    )


# --- how it was measured -----------------------------------------------------------------------------------------


def _method(manifest: Mapping[str, Any]) -> str:
    model = manifest["model"]
    rows = {
        "Real data": f"{manifest['dataset']}: "
        + ", ".join(f"{count:,} {name}" for name, count in manifest["real"].items()),
        "Fingerprint": manifest["fingerprint"],
        "Synthetic file": manifest["synthetic"]["file"],
        "sha256": manifest["synthetic"]["sha256"],
        "Model": f"{model['name']} in {model['workdir']}" if model else "none: the file alone was judged",
        "Classifiers": f"{manifest['seeds']} seeds, {manifest['epochs']} epochs",
        "Seed": str(manifest["seed"]),
        "Software": ", ".join(f"{name} {version}" for name, version in manifest["versions"].items()),
        "Time": f"{manifest['created']}, " + ", ".join(f"{k} {v:.0f} s" for k, v in manifest["seconds"].items()),
        "Command": manifest["command"],
    }
    items = "".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in rows.items())
    return f"<section><h2>How this was measured</h2><dl>{items}</dl></section>"
