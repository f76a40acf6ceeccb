"""Several reports side by side: verdicts, figures and times, as one JSON file, one page, CSV and LaTeX.

    found = comparison.assemble({"ddpm": report, "vae": other})
    html = comparison.render(found)

Figures compare only where data, protocol version and settings are the same: other data and other versions are refused,
other settings are said on the page.
"""

import importlib.resources
import string
from collections.abc import Mapping
from html import escape
from typing import Any

from synthjax.errors import InputError
from synthjax.evals import answers, exports, markup, plots
from synthjax.evals.exports import Figure
from synthjax.evals.report import PROTOCOL_VERSION

SETTINGS = ("seeds", "epochs", "seed", "level", "limits", "target", "non_members")
"""Of a manifest: what figures are measured with."""
WORTH = ("utility.cnn.tstr_over_trtr", "utility.boosting.kept")
"""Figures that sum up what images and tables are worth."""
PARTS = {"utility": "Usefulness", "fidelity": "Likeness", "privacy": "Privacy", "time": "Times and sizes"}


def assemble(reports: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The comparison as plain values.

    Args:
        reports: name -> report, at least two, in the order of the columns.

    Returns:
        `protocol_version`; `kind`, `dataset`, `fingerprint` of the real data; `notes`, what makes the figures differ
        beside the sets; `sets`, name -> `file`, `sha256`, `examples`, `model` (its name or None), `verdicts` (question,
        level, answer, confidence); `figures`, a list with `part`, `key`, `name`, `better`, `reference`, `floor`, and by
        set `values` and `intervals` (None where not measured), `best` (names of sets).

    Raises:
        InputError: fewer than two reports, or reports on other data or of another protocol version.
    """
    if len(reports) < 2:
        raise InputError("--compare: at least two sets are needed")
    first_name, first = next(iter(reports.items()))
    for name, report in reports.items():
        if report["protocol_version"] != PROTOCOL_VERSION:
            raise InputError(f"{name}: its report is of protocol version {report['protocol_version']}, not of this one")
        here, there = first["manifest"], report["manifest"]
        if (here["kind"], here["fingerprint"]) != (there["kind"], there["fingerprint"]):
            raise InputError(
                f"{name}: was judged against {there['dataset']} ({there['fingerprint'][:12]}), {first_name} against "
                f"{here['dataset']} ({here['fingerprint'][:12]}): figures on other data do not compare"
            )
    rows = {name: exports.figures(report) for name, report in reports.items()}
    return {
        "protocol_version": PROTOCOL_VERSION,
        "kind": first["manifest"]["kind"],
        "dataset": first["manifest"]["dataset"],
        "fingerprint": first["manifest"]["fingerprint"],
        "notes": _notes(reports),
        "sets": {name: _about(report) for name, report in reports.items()},
        "figures": [_row(list(reports), one, cells) for one, cells in exports.side_by_side(rows)],
    }


def _notes(reports: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What is not the same for all sets, a sentence each."""
    manifests = {name: report["manifest"] for name, report in reports.items()}
    notes = []
    for key in SETTINGS:
        values = {name: manifest.get(key) for name, manifest in manifests.items()}
        if len({repr(value) for value in values.values()}) > 1:
            said = ", ".join(f"{name}: {value}" for name, value in values.items())
            notes.append(f"{key.replace('_', ' ')} differs, and figures with it ({said})")
    sizes = {name: manifest["synthetic"]["examples"] for name, manifest in manifests.items()}
    if len(set(sizes.values())) > 1:
        said = ", ".join(f"{name}: {size:,}" for name, size in sizes.items())
        notes.append(f"the sets are not equally large ({said}), and a larger one teaches more")
    return notes


def _about(report: Mapping[str, Any]) -> dict[str, Any]:
    manifest = report["manifest"]
    made, model = manifest["synthetic"], manifest["model"]
    verdicts = [verdict._asdict() for verdict in answers.answers(report)]
    return {
        **{key: made[key] for key in ("file", "sha256", "examples")},
        "model": model and model["name"],
        "verdicts": [
            {key: verdict[key] for key in ("question", "level", "answer", "confidence")} for verdict in verdicts
        ],
    }


def _row(names: list[str], one: Figure, cells: list[Figure | None]) -> dict[str, Any]:
    there = dict(zip(names, cells, strict=True))
    return {
        **{key: getattr(one, key) for key in ("part", "key", "name", "better", "reference", "floor")},
        "values": {name: cell and cell.value for name, cell in there.items()},
        "intervals": {name: list(cell.interval) if cell and cell.interval else None for name, cell in there.items()},
        "best": [names[place] for place in exports.best(cells)],
    }


# --- the page ------------------------------------------------------------------------------------------------------


def render(found: Mapping[str, Any]) -> str:
    """The page of what `assemble` returned."""
    template = string.Template((importlib.resources.files("synthjax.evals") / "page.html").read_text("utf-8"))
    notes = "".join(f"<li>{escape(note[:1].upper() + note[1:])}.</li>" for note in found["notes"])
    names = ", ".join(f"<strong>{escape(name)}</strong>" for name in found["sets"])
    return markup.unbroken(
        template.substitute(
            title=escape(f"{found['dataset']}: {len(found['sets'])} synthetic sets compared"),
            heading="Which of these synthetic sets?",
            lead=f"{names}, judged against real <strong>{escape(found['dataset'])}</strong> data.",
            warning=f'<ul class="card notes">{notes}</ul>' if notes else "",
            verdicts="",
            sections=_verdicts(found)
            + _trade_off(found)
            + "".join(_part(found, part) for part in PARTS)
            + _files(found),
            footer=f"Written by synthjax, protocol version {found['protocol_version']}. The numbers behind this page "
            "are in <code>compare.json</code>, <code>compare.csv</code> and <code>compare.tex</code> beside it.",
        )
    )


def _verdicts(found: Mapping[str, Any]) -> str:
    """Questions by row, sets by column; a question that a set's report does not answer is left blank."""
    sets = found["sets"]
    questions = list(dict.fromkeys(v["question"] for about in sets.values() for v in about["verdicts"]))
    rows = []
    for question in questions:
        cells = [escape(question)]
        for about in sets.values():
            verdict = next((v for v in about["verdicts"] if v["question"] == question), None)
            cells.append("–" if verdict is None else markup.sign(verdict["level"], verdict["answer"]))
        rows.append(cells)
    return (
        "<section><h2>Verdicts</h2>" + markup.table("Answers", ["", *map(escape, sets)], rows, wrap=True) + "</section>"
    )


def _trade_off(found: Mapping[str, Any]) -> str:
    """What each set is worth against what it leaks; nothing where fewer than two sets have both."""
    rows = {row["key"]: row for row in found["figures"]}
    worth = next((rows[key] for key in WORTH if key in rows), None)
    if worth is None:
        return ""
    leak = rows["privacy.mia.auc"]["values"]
    there = {
        name: (leak[name], value)
        for name, value in worth["values"].items()
        if value is not None and leak[name] is not None
    }
    if len(there) < 2:
        return ""
    picture = plots.scatter(there, "Worth against leak", "membership AUC: 0.5 is no leak", worth["name"])
    caption = "What each set is worth against what it leaks: the upper left is best. Intervals are in the tables below."
    return f"<section><h2>Worth against leak</h2>{markup.figure(picture, caption)}</section>"


def _part(found: Mapping[str, Any], part: str) -> str:
    rows = []
    for row in found["figures"]:
        if row["part"] != part:
            continue
        cells = [escape(row["name"])]
        for name in found["sets"]:
            value, interval = row["values"][name], row["intervals"][name]
            text = "–" if value is None else exports.number(value)
            text = f"<strong>{text}</strong>" if name in row["best"] else text
            cells.append(text + markup.between(interval, exports.number))
        rows.append([*cells, *("–" if row[k] is None else exports.number(row[k]) for k in ("reference", "floor"))])
    if not rows:
        return ""
    caption = "The best in bold; small print: 95 % intervals. Sets whose intervals overlap may well be alike."
    head = ["", *map(escape, found["sets"]), "real data, or no leak", "floor"]
    return f"<section><h2>{PARTS[part]}</h2>{markup.table(caption, head, rows)}</section>"


def _files(found: Mapping[str, Any]) -> str:
    rows = [
        [escape(name), f"<code>{escape(about['file'])}</code>", f"{about['examples']:,}", escape(about["model"] or "–"),
         f"<code>{about['sha256'][:16]}</code>"]
        for name, about in found["sets"].items()
    ]  # fmt: skip
    head = ["set", "file", "examples", "model", "sha256 begins"]
    return f"<section><h2>What was compared</h2>{markup.table('Files', head, rows)}</section>"
