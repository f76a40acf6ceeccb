"""What the tests of `synthjax.evals.privacy` that count amount to, in plain words.

A test is named mia.ATTACK.FIGURE, duplicates.KIND or attributes.COLUMN.ATTACKER; `findings` holds the p-values of all
tests of one file, corrected together by Holm, and which of them count.

    for sentence in traces.sentences(report["privacy"], "row"):
        print(sentence)
"""

from collections.abc import Mapping
from typing import Any, Literal

ATTACKS = {
    "distance": "nearest synthetic {unit}",
    "monte_carlo": "synthetic {unit}s within a radius",
    "calibrated": "nearest, calibrated by other real data",
    "copy": "a synthetic {unit} nearer than any by chance",
    "domias_kernel": "density over that of other real data, kernels",
    "domias_mixture": "density over that of other real data, mixtures",
    "informed": "all of these, by who knows a few members",
}
"""Membership attacks from the file."""
MODEL_ATTACKS = {
    "score": "asks the model itself",
    "difficulty": "asks the model, less what shadow models say",
    "lira": "asks the model, likelihood ratio over shadow models",
}
_GUESSES = {"boosting": "by boosting", "nearest": "by the nearest synthetic row"}
SURE = 0.01
"""Corrected p-value up to which an attack that is sure of some members counts as one that recognises them."""
SHOWN = 3
"""Tests that a sentence names at most."""


def attack(name: str, unit: str) -> str:
    """A membership attack in words; `unit` is what an example is called."""
    return {**ATTACKS, **MODEL_ATTACKS}.get(name, name).format(unit=unit)


def p_text(p: float) -> str:
    """A p-value as text: 0.012; what is tiny is not said to a digit that means nothing."""
    return "< 0.0001" if p < 1e-4 else f"{p:.2g}"


def kind(test: str, unit: str) -> str:
    """What a test found, in words; the figures of one attack are the same finding."""
    family, _, rest = test.partition(".")
    if family == "mia":
        return f"training {unit}s are told from others by “{attack(rest.partition('.')[0], unit)}”"
    if family == "duplicates":
        near = "equal" if rest == "exact" else "come very near to"
        return f"synthetic {unit}s {near} training {unit}s more often than unseen ones"
    # A column may have dots in its name.
    column, _, guesser = rest.rpartition(".")
    return f"“{column}” is guessed better of training {unit}s than of unseen ones {_GUESSES[guesser]}"


def surest(mia: Mapping[str, Any]) -> tuple[str, float, list[float]]:
    """The attack whose simultaneous interval reaches furthest above 1/2: its name, AUC and interval.

    The best one in reports made before that was measured.
    """
    found = mia.get("surest") or {"attack": "", "auc": mia["auc"], "auc_interval": mia["auc_interval"]}
    return found["attack"], found["auc"], found["auc_interval"]


def flagged(privacy: Mapping[str, Any]) -> list[str]:
    """The tests that count, corrected together; none in reports made before they were."""
    found: list[str] = privacy["findings"]["flagged"] if "findings" in privacy else []
    return found


def level(privacy: Mapping[str, Any]) -> Literal["good", "fair", "poor"]:
    """How much the attacks show: "poor", members are recognised; "fair", there are traces of them; "good", nothing.

    Args:
        privacy: that part of the report.

    Returns:
        "poor" if the surest attack's interval lies above 0.55, or one finds more than 5 % of the members at 0.1 % false
        alarms, and surely not by chance, which soon gives as much where others are few; "fair" if any test counts after
        correction, the surest attack's interval excludes 0.5, a headline figure is out of chance's reach, or synthetic
        examples are nearer to the training set.
    """
    mia, sure, tail = privacy["mia"], "tpr_at_fpr_0p1pct", ".tpr_at_fpr_0p1pct"
    # Bonferroni: all three headline figures are looked at.
    traced = [key for key, p in mia["p_value"].items() if p < 0.01 / len(mia["p_value"])]
    counted, low = flagged(privacy), surest(mia)[2][0]
    tails = [name for name in counted if name.startswith("mia.") and name.endswith(tail)]
    named = [name.split(".")[1] for name in tails if privacy["findings"]["holm"][name] <= SURE]
    found = [mia["attacks"][name][sure] for name in named] + ([mia[sure]] if sure in traced else [])
    if low > 0.55 or max(found, default=0.0) > 0.05:
        return "poor"
    return "fair" if counted or traced or low > 0.5 or privacy["dcr"]["interval"][0] > 0.5 else "good"


def sentences(privacy: Mapping[str, Any], unit: str) -> list[str]:
    """What counts after correction, and the surest attack where it is better than guessing.

    Args:
        privacy: that part of the report.
        unit: what an example is called.
    """
    said = []
    if "findings" in privacy:
        adjusted, most = privacy["findings"]["holm"], 100 * privacy["findings"]["level"]
        smallest: dict[str, float] = {}
        for name in sorted(flagged(privacy), key=adjusted.__getitem__):
            smallest.setdefault(kind(name, unit), adjusted[name])
        together = f"all {len(adjusted)} tests of the file taken together (Holm, {most:g} %)"
        if smallest:
            listed = "; ".join(f"{words} (p {_equals(p)})" for words, p in list(smallest.items())[:SHOWN])
            more = f"; and {len(smallest) - SHOWN} more" if len(smallest) > SHOWN else ""
            said.append(f"This counts, {together}: {listed}{more}.")
        else:
            said.append(f"Nothing counts, {together}: the smallest p is {p_text(min(adjusted.values()))}.")
    name, auc, (low, high) = surest(privacy["mia"])
    if low > 0.5 and name:
        said.append(
            f"The surest attack, “{attack(name, unit)}”, has an AUC of {auc:.3f}; its interval, which holds for all "
            f"attacks at once, is {low:.3f} to {high:.3f} and excludes the 0.5 of guessing."
        )
    return said


def _equals(p: float) -> str:
    text = p_text(p)
    return text if text.startswith("<") else f"= {text}"
