"""The section on privacy of a page: attacks, whom they hit, copies, secrets guessed, distance to closest record.

Column names are escaped here; see `synthjax.evals.markup`. `section` is what pages call.
"""

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from synthjax.evals import plots
from synthjax.evals.markup import between, figure, legend, table
from synthjax.evals.report import words
from synthjax.evals.report.words import percent

CURVES = 4
"""Attacks whose curves are drawn at most, those with the smallest p first: a page has so many colours."""
NAMED = 10
"""Records hit worst that are named at most."""
FIGURES: Mapping[str, Callable[[float], str]] = {
    "auc": "{:.3f}".format,
    "tpr_at_fpr_1pct": percent,
    "tpr_at_fpr_0p1pct": percent,
}
"""Of an attack, and how each is written."""
GUESSERS = {
    "boosting": "boosting, from the synthetic rows",
    "nearest": "right claims by the nearest synthetic row",
    "without": "boosting, from other real rows",
}


def section(
    privacy: Mapping[str, Any], non_members: str, pairs: str, *, unit: str, columns: str = "", more: str = ""
) -> str:
    """The section on privacy.

    Args:
        privacy: that part of the report.
        non_members: the split whose examples are the others.
        pairs: HTML that shows the closest pairs; "": nothing.
        unit: what an example is called.
        columns: HTML on secret columns, see `secrets`.
        more: HTML that ends the section.
    """
    return (
        "<section><h2>Privacy</h2><p>These are attacks, not guarantees: each figure says what leaks at least. Only "
        "training with differential privacy says what leaks at most. Membership attacks come first, since data that "
        "passes every distance check has been shown to leak.</p>"
        + _membership(privacy, non_members, unit)
        + _worst_hit(privacy, unit)
        + f"<h3>Copies</h3>{_copies(privacy, unit)}{_duplicates(privacy, unit)}{pairs}{columns}"
        + _closest_record(privacy["dcr"], unit)
        + f"{more}</section>"
    )


def _p(adjusted: Mapping[str, float], names: Sequence[str], level: float) -> str:
    """The smallest corrected p-value of some tests, in bold if it counts; a dash where there is none."""
    present = [adjusted[name] for name in names if name in adjusted]
    if not present:
        return "–"
    text = escape(words.p_value(min(present)))
    return f"<strong>{text}</strong>" if min(present) <= level else text


# --- membership --------------------------------------------------------------------------------------------------


def _membership(privacy: Mapping[str, Any], non_members: str, unit: str) -> str:
    mia = privacy["mia"]
    drawn = sorted(mia["attacks"], key=lambda name: _smallest(mia, name))[: CURVES - bool(mia["model"])]
    curves = {words.attack(name, unit): mia["attacks"][name]["roc"] for name in drawn}
    curves |= {"the best that asks the model": mia["model"]["roc"]} if mia["model"] else {}
    picture = plots.roc_curves(curves, 1 / mia["n_others"], "ROC curves of the attacks")
    fewer = len(drawn) < len(mia["attacks"])
    known = ""
    if mia["n_public"]:
        known = f" Of {mia['n_public']:,} more the attacker knew beforehand; no figure is about those."
    note = (
        f"The headline figures are the largest over the attacks on these same {unit}s, which errs towards alarm; the "
        "last row says what that choice alone gives. Intervals hold for all attacks at once. p is the smallest of an "
        f"attack's three, corrected by Holm over all {len(privacy['findings']['holm'])} tests of the file (over those "
        "on the model for attacks on it); in bold where it counts."
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
        f"as many hits as false alarms.{known}</p>"
        + _attack_table(privacy, unit)
        + figure(
            picture,
            "Above the dotted line is better than guessing. Both axes are logarithmic: being sure about few people is "
            "worse than a faint idea of all." + (" Drawn are the attacks with the smallest p." if fewer else ""),
            legend(curves, "line"),
        )
        + f'<p class="note">{note}</p>'
    )


def _smallest(mia: Mapping[str, Any], name: str) -> float:
    """Of an attack's p-values, before correction."""
    return min(mia["p"][f"{name}.{key}"] for key in FIGURES)


def _attack_table(privacy: Mapping[str, Any], unit: str) -> str:
    """A row per attack on the file and on the model, each family corrected by itself."""
    mia, findings = privacy["mia"], privacy["findings"]
    groups = [("mia.", mia, findings)]
    if mia["model_attacks"]:
        groups.append(("", mia["model_attacks"], mia["model_attacks"]["findings"]))
    rows = []
    for prefix, found, corrected in groups:
        for name, attack in found["attacks"].items():
            cells = [say(attack[key]) + between(attack[f"{key}_interval"], say) for key, say in FIGURES.items()]
            tests = [f"{prefix}{name}.{key}" for key in FIGURES]
            rows.append([escape(words.attack(name, unit)), *cells, _p(corrected["holm"], tests, corrected["level"])])
    chance = [
        f"{say(mia['chance'][key]['mean'])}<br><small>up to {say(mia['chance'][key]['q95'])}</small>"
        for key, say in FIGURES.items()
    ]
    rows.append(
        ["<em>best attack on the file, had nothing leaked</em>: mean<br><small>95 % quantile</small>", *chance, "–"]
    )
    caption = "Membership attacks: AUC, and members found at 1 % and at 0.1 % false alarms; 95 % intervals"
    return table(caption, ["attack", "AUC", "found at 1 %", "at 0.1 %", "p (Holm)"], rows)


def _worst_hit(privacy: Mapping[str, Any], unit: str) -> str:
    """The first of the members that one attack is surest of."""
    hit = privacy["mia"]["worst_hit"]
    rows, alarms = hit["records"][:NAMED], hit["false_alarms"][:NAMED]
    listed = ", ".join(f"<code>{row}</code>&nbsp;({percent(share)})" for row, share in zip(rows, alarms, strict=True))
    found = any(name.startswith("mia.") for name in privacy["findings"]["flagged"])
    doubt = "" if found else " No attack counts after correction, so that these may be first by chance."
    return (
        f"<h3>Whom it hits worst</h3><p>Rows of the training set, from 0, that the attack “"
        f"{escape(words.attack(hit['attack'], unit))}” is surest of; in brackets the share of others that it holds "
        f"for members at least as firmly: {listed}.{doubt}</p>"
        f'<p class="note">report.json names {len(hit["records"]):,}; what every attack said of every {unit} is in '
        "<code>attacks.npz</code> beside this page.</p>"
    )


# --- copies and secrets ------------------------------------------------------------------------------------------


def _copies(privacy: Mapping[str, Any], unit: str) -> str:
    near = privacy["near_matches"]
    exact = [percent(privacy["exact_matches_share"]), percent(privacy["exact_matches_reference"])]
    closer = (
        f"nearer to one than {near['threshold']:.4g}<br><small>as the nearest {percent(near['quantile'])} of unseen "
        f"real {unit}s are</small>"
    )
    rows = [[f"equal to a training {unit}", *exact], [closer, percent(near["share"]), percent(near["reference"])]]
    return table(f"Copies, beside the rate of unseen real {unit}s", ["", "synthetic", "unseen real"], rows)


def _points(share: float) -> str:
    return f"{100 * share:+.1f}"


def _comparison(found: Mapping[str, Any]) -> list[str]:
    """Cells of what `privacy.distances.compare` gives: members, others, gain."""
    return [
        percent(found["members"]),
        percent(found["others"]),
        _points(found["gain"]) + between(found["interval"], _points),
    ]


def _duplicates(privacy: Mapping[str, Any], unit: str) -> str:
    """Real repetition told from copies: do members have doubles more often than others?"""
    found, findings = privacy["duplicates"], privacy["findings"]
    words = {
        "exact": f"an equal synthetic {unit}",
        "near": f"a synthetic {unit} nearer than {found['near']['threshold']:.4g}",
    }
    rows = [
        [text, *_comparison(found[kind]), _p(findings["holm"], [f"duplicates.{kind}"], findings["level"])]
        for kind, text in words.items()
    ]
    caption = f"Real {unit}s that have a synthetic double; more among training {unit}s than repeat by nature is copying"
    return table(caption, ["", f"training {unit}s", "unseen real", "gain, points", "p (Holm)"], rows)


def secrets(privacy: Mapping[str, Any]) -> str:
    """HTML on the columns that were guessed from the others; "" where none was."""
    found, findings = privacy.get("attributes"), privacy["findings"]
    if not found:
        return ""
    rows, margins = [], []
    for name, of in found.items():
        if of["tolerance"] is not None:
            margins.append(f"{escape(name)} ± {of['tolerance']:.4g}")
        for guesser, how in GUESSERS.items():
            p = _p(findings["holm"], [f"attributes.{name}.{guesser}"], findings["level"])
            rows.append([f"{escape(name)}<br><small>{how}</small>", *_comparison(of[guesser]), p])
    right = f" A number is right within a margin: {', '.join(margins)}." if margins else ""
    return (
        "<h3>Can a secret column be guessed?</h3><p>Somebody who knows all other columns of a person guesses one. What "
        "can be guessed of unseen rows as well is knowledge about people in general; the gain over them, the control, "
        f"is the leak.{right}</p>"
        + table(
            "Right guesses of training rows and of unseen rows",
            ["secret", "training rows", "control", "gain, points", "p (Holm)"],
            rows,
        )
    )


# --- distance to closest record ----------------------------------------------------------------------------------


def _closest_record(dcr: Mapping[str, Any], unit: str) -> str:
    names = {"train": f"to the nearest training {unit}", "holdout": f"to the nearest unseen {unit}"}
    picture = plots.histogram(
        dcr["histogram"]["edges"],
        {name: dcr["histogram"][name] for name in names},
        f"Distances from synthetic {unit}s to the nearest training and to the nearest unseen {unit}",
        "distance",
    )
    low, high = dcr["interval"]
    ours, unseen = (dcr["nndr"][name] for name in names)
    return (
        "<h3>Distance to closest record</h3><p><strong>Passing this proves nothing:</strong> data that passes it has "
        "been shown to leak (Ganev and De Cristofaro 2023; Yao et al. 2025). Only failing it says something.</p><p>"
        f"{percent(dcr['share_nearer_train'])} of the synthetic {unit}s (interval {percent(low)} to {percent(high)}) "
        f"are nearer to the training set than to as many ({dcr['n_real']:,}) unseen real {unit}s; 50 % if the "
        "generator does not favour what it saw. The nearest is at a median of "
        f"{ours['median']:.3f} of the distance to the second nearest (NNDR; 5 % quantile {ours['q05']:.3f}); among "
        f"unseen {unit}s, {unseen['median']:.3f} ({unseen['q05']:.3f}).</p>"
        + figure(
            picture,
            f"Medians {dcr['median_train']:.4g} and {dcr['median_holdout']:.4g}, over {dcr['n_synthetic']:,} synthetic "
            f"{unit}s. The two should lie on one another.",
            legend(names.values(), "fill"),
        )
    )
