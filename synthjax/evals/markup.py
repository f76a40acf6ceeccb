"""The pieces that pages of reports are made of: text in, HTML out; what a user named is escaped by whoever passes it.

No script, no font and no image is loaded: pictures are data URIs or SVG that takes the page's colours.
"""

import importlib.resources
import re
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import Any

from synthjax.evals.report.model import PROTOCOL_VERSION
from synthjax.evals.report.words import percent

SIGNS = {"good": ("✓", "good"), "fair": ("!", "mixed"), "poor": ("✕", "poor")}


def document(
    manifest: Mapping[str, Any], verdicts: Iterable[Mapping[str, Any]], sections: Iterable[str], *, unit: str
) -> str:
    """The whole page.

    Args:
        manifest: of the report.
        verdicts: shown first.
        sections: HTML.
        unit: what an example is called.
    """
    template = string.Template((importlib.resources.files("synthjax.evals") / "page.html").read_text("utf-8"))
    warning = ""
    if manifest["quick"]:
        warning = (
            '<p class="card"><strong>A quick look:</strong> fewer seeds, epochs and examples than the protocol asks '
            "for. Do not quote these figures.</p>"
        )
    notes = "".join(f"<li>{escape(note[:1].upper() + note[1:])}.</li>" for note in manifest.get("notes", ()))
    page = template.substitute(
        title=escape(f"{manifest['dataset']}: synthetic data report"),
        heading="Is this synthetic data useful, and does it keep its secrets?",
        lead=f"{manifest['synthetic']['examples']:,} synthetic {unit}s in "
        f"<code>{escape(manifest['synthetic']['file'])}</code>, judged against real "
        f"<strong>{escape(manifest['dataset'])}</strong> data on <time>{escape(manifest['created'][:10])}</time>.",
        warning=warning + (f'<ul class="card notes">{notes}</ul>' if notes else ""),
        verdicts="".join(map(_verdict, verdicts)),
        sections="".join(sections),
        footer=f"Written by synthjax, protocol version {PROTOCOL_VERSION}. The numbers behind this page are in "
        "<code>report.json</code> beside it, and as tables in <code>report.csv</code> and <code>report.tex</code>. "
        f"This page shows real training {unit}s: keep it as private as the data.",
    )
    return unbroken(page)


def unbroken(page: str) -> str:
    """The page with every number and its per cent sign on one line."""
    return re.sub(r"(?<=\d) %", "\N{NO-BREAK SPACE}%", page)


def _verdict(verdict: Mapping[str, Any]) -> str:
    evidence = "".join(f"<li>{escape(one['text'])}</li>" for one in verdict["evidence"])
    sure = f'<p class="note">Confidence: {escape(verdict["confidence"])}</p>' if verdict["confidence"] else ""
    mark = sign(verdict["level"], verdict["answer"], mark_only=True)
    return (
        f'<li class="card verdict {verdict["level"]}"><h2>{escape(verdict["question"])}</h2><p class="answer">'
        f"{mark}{escape(verdict['answer'])}</p><ul>{evidence}</ul>{sure}</li>"
    )


def sign(level: str, answer: str, *, mark_only: bool = False) -> str:
    """The mark of a level, with the answer beside it unless `mark_only`."""
    mark, meaning = SIGNS[level]
    picture = f'<span class="sign {level}" role="img" aria-label="{meaning}">{mark}</span>'
    return picture if mark_only else f"{picture} {escape(answer)}"


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]], *, wrap: bool = False) -> str:
    """A table; the cells are HTML already. `wrap`: of sentences, which may be broken."""
    columns = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>' + "".join(f"<td>{cell}</td>" for cell in row[1:]) + "</tr>" for row in rows
    )
    kind = ' class="words"' if wrap else ""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{caption}"><table{kind}>'
        f"<caption>{caption}</caption><thead><tr>{columns}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def figure(picture: str, caption: str, extra: str = "") -> str:
    """A picture with its caption; `extra` stands between them."""
    return f'<figure class="card">{picture}{extra}<figcaption>{caption}</figcaption></figure>'


def legend(names: Iterable[str], kind: str) -> str:
    """Names beside the strokes of classes s1, s2, ...; `kind` is "line" or "fill"."""
    swatch = '<svg viewBox="0 0 27 11" aria-hidden="true"><path class="{} s{}" d="M1 6H26"/></svg>'
    items = (f"<li>{swatch.format(kind, i)}{escape(name)}</li>" for i, name in enumerate(names, start=1))
    return f'<ul class="legend">{"".join(items)}</ul>'


def between(interval: Sequence[float] | None, as_text: Callable[[float], str] = percent) -> str:
    """An interval in small print below its figure; its unit is said once."""
    if not interval:
        return ""
    low, high = map(as_text, interval)
    return f"<br><small>{low.removesuffix(' %') if high.endswith(' %') else low} – {high}</small>"


# --- how it was measured -----------------------------------------------------------------------------------------


def method(manifest: Mapping[str, Any], protocol: Mapping[str, str]) -> str:
    """The section that says how it was measured; `protocol`: name -> text, said between data and software."""
    model = manifest["model"]
    rows = {
        "Real data": f"{manifest['dataset']}: "
        + ", ".join(f"{count:,} {name}" for name, count in manifest["real"].items()),
        "Fingerprint": manifest["fingerprint"],
        "Synthetic file": manifest["synthetic"]["file"],
        "sha256": manifest["synthetic"]["sha256"],
        "Model": f"{model['name']} in {model['workdir']}" if model else "none: the file alone was judged",
        **protocol,
        "Seed": str(manifest["seed"]),
        **({"Level": manifest["level"]} if "level" in manifest else {}),
        **({"Code": f"sha256 {manifest['code_sha256'][:16]}…"} if "code_sha256" in manifest else {}),
        "Software": ", ".join(f"{name} {version}" for name, version in manifest["versions"].items()),
        "Time": f"{manifest['created']}, " + ", ".join(f"{k} {v:.0f} s" for k, v in manifest["seconds"].items()),
        "Command": manifest["command"],
    }
    items = "".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in rows.items())
    return f"<section><h2>How this was measured</h2><dl>{items}</dl></section>"
