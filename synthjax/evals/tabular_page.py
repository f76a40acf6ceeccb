"""The report on a table as one self-contained HTML page: verdicts, then tables and pictures, each by its reference.

Everything that a user named (columns, categories, files) goes through `html.escape`; see `synthjax.evals.markup`.
"""

import base64
import tempfile
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from synthjax.errors import InputError
from synthjax.evals import encoders, maps, markup, plots, privacy_section, study_sections, tabular_figures
from synthjax.evals.markup import between, figure, table
from synthjax.evals.privacy import distance_tests
from synthjax.evals.report.tables import NAMES, headlines
from synthjax.evals.report.words import JUDGES, percent
from synthjax.evals.table import Table

SHOWN = 12
"""Columns and pairs of columns that stand on the page at once, worst first; all columns can be unfolded."""
LISTED = 300
"""Columns that can be unfolded at most; report.json has all."""
PAIRS = 5
"""Closest pairs of rows that are shown."""
SIDES = ("synthetic", "ceiling", "floor")
HEAD = ("synthetic", "real test rows", "columns alone")


def render(report: Mapping[str, Any], tables: Mapping[str, Table]) -> str:
    """The page.

    Args:
        report: what `tabular_report.assemble` made.
        tables: "synthetic", "train" and "test", all rows; "reference", the test sample of the study's tests.
    """
    manifest, privacy = report["manifest"], report["privacy"]
    sections = [_usefulness(report)]
    if report.get("studies"):
        measure = NAMES[report["studies"]["measure"]]
        sections.append(study_sections.studies(report["studies"], measure, "gradient boosting", "row"))
    if report.get("robustness"):
        sections.append(study_sections.robustness(report["robustness"], {"kept": "kept of what real rows teach"}))
    sections += [
        _likeness(report, tables),
        privacy_section.section(
            privacy,
            manifest["non_members"],
            _closest(privacy["closest"], manifest["columns"], tables),
            unit="row",
            columns=privacy_section.secrets(privacy),
            more=_tests(privacy["tests"], manifest, tables),
        ),
        markup.method(manifest, _protocol(report)),
    ]
    return markup.document(manifest, report["verdicts"], sections, unit="row")


def _protocol(report: Mapping[str, Any]) -> dict[str, str]:
    utility, fidelity = report["utility"], report["fidelity"]["protocol"]
    limits = report["manifest"]["limits"]
    protocol = {"Two-sample test": fidelity["c2st"], "Neighbours": fidelity["neighbours"]}
    if utility is not None:
        said = utility["protocol"]
        protocol |= {"Boosting": said["boosting"], "Judges": said["judges"], "Seeds": f"{said['seeds']} of each judge"}
        protocol["Ceiling"], protocol["Floor"] = said["ceiling"], said["floor"]
        protocol |= {"Choices": said["choices"]} if "choices" in said else {}
    return {**protocol, "Attacks": f"at most {limits['attacked']:,} training rows and as many others"}


# --- usefulness --------------------------------------------------------------------------------------------------


def _usefulness(report: Mapping[str, Any]) -> str:
    utility, target = report["utility"], report["manifest"]["target"]
    if utility is None:
        return "<section><h2>Usefulness</h2><p>Not measured: no column was named that is to be predicted.</p></section>"
    first, second = headlines(utility["task"])
    bars = _bar(utility["boosting"], first, "Gradient boosting on all rows")
    bars += _bar(utility["mean"], second, "Mean of six judges")
    sought = "" if utility["positive"] is None else f" Areas look for class <em>{escape(utility['positive'])}</em>."
    return (
        f"<section><h2>Usefulness</h2><p>Classifiers learn <strong>{escape(target)}</strong> from the synthetic rows "
        "and are tested on real rows that neither they nor the generator has seen. The ceiling is the same with as "
        f"many real training rows, the floor with columns that were drawn alone.{sought}</p>"
        + study_sections.missing(utility, "row")
        + f'<div class="pair">{bars}</div>'
        + _scores(utility["boosting"], "Gradient boosting on all rows; mean and 95 % interval over the seeds")
        + _judges(utility, second)
        + study_sections.calibration(utility.get("calibration"), "gradient boosting")
        + "</section>"
    )


def _bar(part: Mapping[str, Any], measure: str, who: str) -> str:
    leaves = [part[name][measure] for name in ("tstr", "floor", "trtr")]
    if None in leaves:
        return ""
    ours, floor, real = leaves
    name = f"{who}: {NAMES[measure]}"
    picture = plots.scale_bar(
        ours["mean"],
        floor["mean"],
        real["mean"],
        ours["ci"],
        ("floor", "real data"),
        f"{name} between floor and ceiling",
    )
    return figure(picture, f"{name}, trained on synthetic rows, tested on real ones.")


def _scores(part: Mapping[str, Any], caption: str) -> str:
    lines = {
        "synthetic → real": "tstr",
        "real → real: the ceiling": "trtr",
        "columns alone → real: the floor": "floor",
        "real → synthetic": "trts",
    }
    names = list(part["tstr"])
    rows = [[line, *(_leaf(part[key][name]) for name in names)] for line, key in lines.items()]
    return table(f"{caption}, trained on → tested on", ["", *(NAMES[name] for name in names)], rows)


def _leaf(leaf: Mapping[str, Any] | None) -> str:
    return "–" if leaf is None else _number(leaf["mean"]) + between(leaf["ci"], _number)


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if abs(value) < 100 else f"{value:,.4g}"


def _judges(utility: Mapping[str, Any], measure: str) -> str:
    sets = ("tstr", "trtr", "floor", "trts")
    head = ["judge", "synthetic → real", "ceiling", "floor", "real → synthetic"]
    parts = {JUDGES[name]: part for name, part in utility["judges"].items()} | {"<em>mean</em>": utility["mean"]}
    rows = [[name, *(_leaf(part[key][measure]) for key in sets)] for name, part in parts.items()]
    return table(f"The six judges: {NAMES[measure]}", head, rows)


# --- likeness ----------------------------------------------------------------------------------------------------


def _likeness(report: Mapping[str, Any], tables: Mapping[str, Table]) -> str:
    fidelity, kinds = report["fidelity"], report["manifest"]["columns"]
    shown = {"real": tables["train"], "synthetic": tables["synthetic"]}
    correlation = fidelity["synthetic"]["correlation"]
    return (
        "<section><h2>Likeness</h2><p>Each figure compares the synthetic table with the training table; beside it "
        "stands what real test rows get, and what columns drawn alone get, which look right one by one and depend on "
        "nothing.</p>"
        + _overall(fidelity)
        + _columns(fidelity, kinds)
        + _picture(lambda path: tabular_figures.histograms(path, shown), "Every column, real and synthetic.")
        + _worst_pairs(fidelity)
        + _picture(lambda path: tabular_figures.correlations(path, correlation), "Correlations of the numeric columns.")
        + maps.section(fidelity.get("map"), unit="row", space="(numbers by their ranges, categories alike or not)")
        + "</section>"
    )


def _overall(fidelity: Mapping[str, Any]) -> str:
    lines: dict[str, tuple[str, Callable[[Mapping[str, Any]], float | None]]] = {
        "column shapes": ("1 alike; Kolmogorov-Smirnov, total variation", lambda f: f["shapes"]["score"]),
        "pair trends": ("1 alike; numbers cut where real ones are", lambda f: f["trends"]["score_real_edges"]),
        "pair trends, SDMetrics": (
            "as it cuts numbers: each table at its own edges, which one outlier moves",
            lambda f: f["trends"]["score"],
        ),
        "two-sample test": ("1 cannot be told apart, 0 always", lambda f: f["c2st"]["score"]),
        "precision": ("synthetic rows among real ones", lambda f: f["neighbours"]["precision"]),
        "recall": ("real rows among synthetic ones", lambda f: f["neighbours"]["recall"]),
        "density": ("how densely real rows surround synthetic ones", lambda f: f["neighbours"]["density"]),
        "coverage": ("real rows with a synthetic one nearby", lambda f: f["neighbours"]["coverage"]),
        "correlation, mean": ("|difference| of Pearson's r; 0 alike", lambda f: f["correlation"]["mean"]),
        "correlation, largest": ("|difference| of Pearson's r; 0 alike", lambda f: f["correlation"]["max"]),
        "mutual information": ("weighted difference; 0 alike", lambda f: f["mutual_information"]["weighted"]),
        "missing values": ("largest difference of a share; 0 alike", lambda f: f["missing"]["largest_difference"]),
    }
    rows = [
        [f"{name}<br><small>{text}</small>", *(_number(of(fidelity[side])) for side in SIDES)]
        for name, (text, of) in lines.items()
    ]
    return table("As a whole", ["", *HEAD], rows)


def _columns(fidelity: Mapping[str, Any], kinds: Mapping[str, str]) -> str:
    """Likeness of each column, the least alike first."""
    scores = [fidelity[side]["shapes"]["columns"] for side in SIDES]
    missing = fidelity["synthetic"]["missing"]["columns"]
    order = sorted(scores[0], key=lambda name: (scores[0][name] is not None, scores[0][name] or 0.0))
    gaps = any(max(shares) > 0 for shares in missing.values())
    rows = []
    for name in order[:LISTED]:
        cells = [f"{escape(name)}<br><small>{kinds[name]}</small>", *(_number(of[name]) for of in scores)]
        rows.append(cells + ([" / ".join(percent(share) for share in reversed(missing[name]))] if gaps else []))
    head = ["column", *HEAD, *(["missing: synthetic / real"] if gaps else [])]
    first = table("Columns one by one, the least alike first", head, rows[:SHOWN])
    if len(rows) <= SHOWN:
        return first
    rest = table("Columns one by one, the rest", head, rows[SHOWN:])
    return f"{first}<details><summary>{len(order) - SHOWN} more columns</summary>{rest}</details>"


def _worst_pairs(fidelity: Mapping[str, Any]) -> str:
    pairs = [fidelity[side]["trends"]["pairs"] for side in SIDES]
    order = [i for i, pair in enumerate(pairs[0]) if trend(pair) is not None]
    order.sort(key=lambda i: trend(pairs[0][i]) or 0.0)
    if not order:
        return ""
    rows = []
    for i in order[:SHOWN]:
        one, other = map(escape, pairs[0][i]["columns"])
        rows.append([f"{one} <small>and</small> {other}", *(_number(trend(of[i])) for of in pairs)])
    caption = f"Pairs of columns: the {len(rows)} least alike of {len(pairs[0]):,}; numbers cut where real ones are"
    return table(caption, ["pair", *HEAD], rows)


def _picture(draw: Callable[[Path], None], caption: str) -> str:
    """A figure that `draw` writes to a path, in the page; nothing where the table does not allow it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "figure.png"
        try:
            draw(path)
        except InputError:  # too few columns of the kind
            return ""
        content = base64.b64encode(path.read_bytes()).decode("ascii")
    return figure(f'<img class="plot" src="data:image/png;base64,{content}" alt="{escape(caption)}">', caption)


# --- privacy -----------------------------------------------------------------------------------------------------


def _closest(closest: Sequence[Mapping[str, Any]], kinds: Mapping[str, str], tables: Mapping[str, Table]) -> str:
    """The closest pairs of rows, one above the other, equal cells marked."""
    schema = tables["train"].schema
    names = [name for name in kinds if name in schema.numeric or name in schema.discrete][:SHOWN]
    rows = []
    for pair in closest[:PAIRS]:
        made, real = (
            [_cell(tables[name], pair[key], column, kinds[column]) for column in names]
            for name, key in (("synthetic", "synthetic"), ("train", "train"))
        )
        marked = [
            f'<span class="match">{escape(a)}</span>' if a == b else escape(a) for a, b in zip(made, real, strict=True)
        ]
        rows.append([f"synthetic&nbsp;{pair['synthetic'] + 1:,}", *marked])
        rows.append([f"<small>training,&nbsp;{pair['distance']:.3g}&nbsp;away</small>", *map(escape, real)])
    more = f"; the first {SHOWN} columns" if len(names) == SHOWN else ""
    return (
        "<h3>The closest pairs</h3><p class='note'>Some pair is always the closest; cells that agree are marked. Twins "
        "in every column would be alarming, unless real rows have such twins too.</p>"
        + table(f"Each synthetic row above the training row it comes nearest to{more}", ["", *map(escape, names)], rows)
    )


def _cell(rows: Table, row: int, column: str, kind: str) -> str:
    """A value as text."""
    if column in rows.schema.discrete:
        place = rows.schema.discrete.index(column)
        code = rows.codes[row, place]
        return rows.schema.categories[place][code] if code >= 0 else "(missing)"
    value = rows.numbers[row, rows.schema.numeric.index(column)]
    if np.isnan(value):
        return "(missing)"
    if kind == "datetime":
        return str(np.datetime64(round(value), "s")).replace("T", " ").removesuffix(" 00:00:00")
    return f"{value:.6g}" if kind == "continuous" else f"{value:.0f}"


def _tests(found: Mapping[str, Any], manifest: Mapping[str, Any], tables: Mapping[str, Table]) -> str:
    """The study's tests of distances to training and to test rows."""
    names = {"mann_whitney": "Mann-Whitney", "wilcoxon": "Wilcoxon", "kruskal_wallis": "Kruskal-Wallis"}
    reference = found["reference"]
    rows = [[text, f"{found[name]['p']:.3g}", f"{reference[name]['p']:.3g}"] for name, text in names.items()]
    r = [part["pearson"] and part["pearson"]["r"] for part in (found, reference)]
    rows.append(["Pearson's r of the distances", *map(_number, r)])
    rows.append(["median distance to training rows", *(_number(part["median_train"]) for part in (found, reference))])
    rows.append(["median distance to test rows", *(_number(part["median_test"]) for part in (found, reference))])
    caption = f"p-values, over {found['n']:,} rows of each; beside them unseen real rows in the synthetic rows' place"
    limit = manifest["limits"]["attacked"]
    vectors = map(encoders.metric(tables["train"]), (tables[name] for name in ("synthetic", "train", "reference")))
    reach = distance_tests.distances(*vectors, seed=manifest["seed"], limit=limit)
    return (
        "<h3>Are training rows nearer than test rows?</h3><p>Three tests ask whether the distances to the nearest "
        "training row and to the nearest test row come from one distribution. A large p-value shows no difference, not "
        "that there is none.</p>"
        + table(caption, ["", "synthetic", "unseen real"], rows)
        + _picture(lambda path: tabular_figures.distances(path, *reach, found), "Both sets of distances, and together.")
    )


def trend(pair: Mapping[str, Any]) -> float | None:
    """Likeness of a pair of columns, a number that meets a category cut where the real column is."""
    score: float | None = pair.get("score_real_edges", pair["score"])
    return score
