"""The pieces that pages of reports are made of: text in, HTML out; what a user named is escaped by whoever passes it.

No script, no font and no image is loaded: pictures are data URIs or SVG that takes the page's colours.
"""

import importlib.resources
import re
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import Any

from synthjax.evals import plots
from synthjax.evals.report import PROTOCOL_VERSION, Verdict, percent

SIGNS = {"good": ("✓", "good"), "fair": ("!", "mixed"), "poor": ("✕", "poor")}
ATTACKS = {
    "distance": "nearest synthetic {unit}",
    "monte_carlo": "synthetic {unit}s within a radius",
    "calibrated": "nearest, calibrated by other real data",
    "copy": "a synthetic {unit} nearer than any by chance",
    "domias_kernel": "density over that of other real data, kernels",
    "domias_mixture": "the same, mixtures of Gaussians",
    "informed": "all of these, by who knows a few members",
    "model": "asks the model itself",
}


def document(manifest: Mapping[str, Any], verdicts: Iterable[Verdict], sections: Iterable[str], *, unit: str) -> str:
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


def _verdict(verdict: Verdict) -> str:
    evidence = "".join(f"<li>{escape(sentence)}</li>" for sentence in verdict.evidence)
    sure = f'<p class="note">Confidence: {escape(verdict.confidence)}</p>' if verdict.confidence else ""
    mark = sign(verdict.level, verdict.answer, mark_only=True)
    return (
        f'<li class="card verdict {verdict.level}"><h2>{escape(verdict.question)}</h2><p class="answer">'
        f"{mark}{escape(verdict.answer)}</p><ul>{evidence}</ul>{sure}</li>"
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


# --- privacy -----------------------------------------------------------------------------------------------------


def privacy(privacy: Mapping[str, Any], non_members: str, pairs: str, *, unit: str, more: str = "") -> str:
    """The section on privacy.

    Args:
        privacy: that part of the report.
        non_members: the split whose examples are the others.
        pairs: HTML that shows the closest pairs; "": nothing.
        unit: what an example is called.
        more: HTML that ends the section.
    """
    return (
        "<section><h2>Privacy</h2><p>These are attacks, not guarantees: each figure says what leaks at least. Only "
        "training with differential privacy says what leaks at most. Membership attacks come first, since data that "
        "passes every distance check has been shown to leak.</p>"
        + _membership(privacy["mia"], non_members, unit)
        + f"<h3>Copies</h3>{_copies(privacy, unit)}{pairs}"
        + _closest_record(privacy["dcr"], unit)
        + f"{more}</section>"
    )


def _membership(mia: Mapping[str, Any], non_members: str, unit: str) -> str:
    each = dict(mia["attacks"]) | ({"model": mia["model"]} if mia["model"] else {})
    each = {ATTACKS.get(name, str(name)).format(unit=unit): attack for name, attack in each.items()}
    curves = {name: attack["roc"] for name, attack in each.items()}
    picture = plots.roc_curves(curves, 1 / mia["n_others"], "ROC curves of the attacks")
    note = (
        f"The headline figures are the largest over the attacks on these same {unit}s, which errs towards alarm; the "
        "last row says what that choice alone gives."
    )
    if mia["control_auc"] is not None:
        note += (
            f" Aimed at real data that holds no member, the first attack gives {mia['control_auc']:.3f}: what tells "
            "the two groups apart without any leak."
        )
    note += f" With {mia['n_others']:,} others, false alarms come in steps of {percent(1 / mia['n_others'])}."
    return (
        f"<h3>Who was in the training set?</h3><p>{mia['n_members']:,} training {unit}s against {mia['n_others']:,} "
        f"real {unit}s that were not trained on (the {escape(non_members)} split). Guessing gives an AUC of 0.5, and "
        "as many hits as false alarms.</p>"
        + _attack_table(mia, each)
        + figure(
            picture,
            "Above the dotted line is better than guessing. Both axes are logarithmic: being sure about few people is "
            "worse than a faint idea of all.",
            legend(each, "line"),
        )
        + f'<p class="note">{note}</p>'
    )


def _attack_table(mia: Mapping[str, Any], each: Mapping[str, Any]) -> str:
    def decimals(value: float) -> str:
        return f"{value:.3f}"

    figures = {"auc": decimals, "tpr_at_fpr_1pct": percent, "tpr_at_fpr_0p1pct": percent}
    rows = [
        [escape(name)]
        + [as_text(attack[key]) + between(attack[f"{key}_interval"], as_text) for key, as_text in figures.items()]
        for name, attack in each.items()
    ]
    chance = [
        f"{as_text(mia['chance'][key]['mean'])}<br><small>up to {as_text(mia['chance'][key]['q95'])}</small>"
        for key, as_text in figures.items()
    ]
    rows.append(["<em>best attack on the file, had nothing leaked</em>: mean<br><small>95 % quantile</small>", *chance])
    caption = "Membership attacks: AUC, and members found at 1 % and at 0.1 % false alarms; 95 % intervals"
    return table(caption, ["attack", "AUC", "found at 1 %", "at 0.1 %"], rows)


def _copies(privacy: Mapping[str, Any], unit: str) -> str:
    near = privacy["near_matches"]
    exact = [percent(privacy["exact_matches_share"]), percent(privacy["exact_matches_reference"])]
    closer = (
        f"nearer to one than {near['threshold']:.4g}<br><small>as the nearest {percent(near['quantile'])} of unseen "
        f"real {unit}s are</small>"
    )
    rows = [[f"equal to a training {unit}", *exact], [closer, percent(near["share"]), percent(near["reference"])]]
    return table(f"Copies, beside the rate of unseen real {unit}s", ["", "synthetic", "unseen real"], rows)


def _closest_record(dcr: Mapping[str, Any], unit: str) -> str:
    names = {"train": f"to the nearest training {unit}", "holdout": f"to the nearest unseen {unit}"}
    picture = plots.histogram(
        dcr["histogram"]["edges"],
        {name: dcr["histogram"][name] for name in names},
        f"Distances from synthetic {unit}s to the nearest training and to the nearest unseen {unit}",
        "distance",
    )
    low, high = dcr["interval"]
    return (
        "<h3>Distance to closest record</h3><p>"
        f"{percent(dcr['share_nearer_train'])} of the synthetic {unit}s (interval {percent(low)} to {percent(high)}) "
        f"are nearer to the training set than to as many ({dcr['n_real']:,}) unseen real {unit}s; 50 % if the "
        "generator does not favour what it saw. A diagnostic only: passing it proves nothing.</p>"
        + figure(
            picture,
            f"Medians {dcr['median_train']:.4g} and {dcr['median_holdout']:.4g}, over {dcr['n_synthetic']:,} synthetic "
            f"{unit}s. The two should lie on one another.",
            legend(names.values(), "fill"),
        )
    )


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
