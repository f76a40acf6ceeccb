"""The page that several reports stand on side by side: verdicts, figures and times.

html = comparison.render(compare.assemble({"ddpm": report, "vae": other}))
"""

import importlib.resources
import string
from collections.abc import Mapping
from html import escape
from typing import Any

from synthjax.evals import markup, plots
from synthjax.evals.report import figures

WORTH = ("utility.cnn.tstr_over_trtr", "utility.boosting.kept")
"""Figures that sum up what images and tables are worth."""
PARTS = {"utility": "Usefulness", "fidelity": "Likeness", "privacy": "Privacy", "time": "Times and sizes"}


def render(found: Mapping[str, Any]) -> str:
    """The page of what `report.compare.assemble` returned."""
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
            text = "–" if value is None else figures.number(value)
            text = f"<strong>{text}</strong>" if name in row["best"] else text
            cells.append(text + markup.between(interval, figures.number))
        rows.append([*cells, *("–" if row[k] is None else figures.number(row[k]) for k in ("reference", "floor"))])
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
