"""Reports of both kinds for tests: real ones, cut short, with bland figures and whatever else a test wants changed.

reports.make("image", {"privacy.mia.auc": 0.7, "utility.loss": None})
"""

import copy
import functools
import json
from pathlib import Path

from synthjax.evals import report

PARTS = ("utility", "studies", "robustness", "fidelity", "privacy")
HEADLINES = ("auc", "tpr_at_fpr_1pct", "tpr_at_fpr_0p1pct")


@functools.cache
def _stored(kind):
    return json.loads(Path(__file__).with_name(f"report_{kind}.json").read_text())


def attack(auc=0.5, half=0.01, tail=0.001):
    """Figures of one attack."""
    wide = [0.0, 0.1]
    return {
        **{"auc": auc, "auc_interval": [auc - half, auc + half], "tpr_at_fpr_1pct": 0.01, "tpr_at_fpr_0p1pct": tail},
        **{"tpr_at_fpr_1pct_interval": wide, "tpr_at_fpr_0p1pct_interval": wide},
        **{"roc": {"fpr": [0.0, 1.0], "tpr": [0.0, 1.0]}, "bootstrap": dict.fromkeys(HEADLINES, wide)},
    }


def estimate(mean, half=0.01):
    return {"mean": mean, "std": 0.0, "values": [mean, mean], "ci": [mean - half, mean + half]}


def accuracy(mean):
    return {**estimate(mean), "n": 2}


def scores(value, task="classification"):
    """The same score by all measures; None: none exists."""
    names = (
        ("r2", "rmse") if task == "regression" else ("accuracy", "balanced_accuracy", "macro_f1", "roc_auc", "pr_auc")
    )
    return {name: None if value is None else estimate(value) for name in names}


def loss(points, half=0.2):
    return {
        **{"points": points, "ci": [points - half, points + half], "ours": 0.97 - points / 100, "real": 0.97},
        **{"n": 1_000, "seeds": 5, "resamples": 1_000, "who": "A CNN", "measure": "accuracy"},
    }


def _privacy(attacks):
    """Attacks that find nothing."""
    surest = max(attacks, key=lambda name: attacks[name]["auc_interval"][0])
    chance = {key: {"mean": 0.01, "q95": 0.02} for key in HEADLINES} | {"auc": {"mean": 0.5, "q95": 0.52}}
    holm = {"mia.distance.auc": 0.9, "duplicates.exact": 1.0}
    return {
        **{"n_synthetic": 500, "exact_matches": 0, "exact_matches_share": 0.0, "exact_matches_reference": 0.0},
        **{"near_matches.share": 0.01, "near_matches.reference": 0.01, "dcr.interval": [0.45, 0.55]},
        **{f"mia.{key}": attack()[key] for key in (*HEADLINES, "auc_interval")},
        **{"mia.attacks": attacks, "mia.chance": chance, "mia.p_value": dict.fromkeys(HEADLINES, 0.5)},
        "mia.surest": {"attack": surest, **{key: attacks[surest][key] for key in ("auc", "auc_interval")}},
        **{"mia.n_members": 8_000, "mia.n_others": 2_000, "findings": {"holm": holm, "flagged": [], "level": 0.05}},
        **dict.fromkeys(("mia.model_auc", "mia.model", "mia.model_attacks")),
    }


MANIFEST = {"manifest.quick": False, "manifest.level": "quick", "manifest.seeds": 5, "manifest.model": None}
IMAGE = {
    **{f"utility.cnn.{side}.mean": mean for side, mean in {"tstr": 0.96, "trtr": 0.97, "floor": 0.7}.items()},
    "utility.cnn.tstr_over_trtr": 0.96 / 0.97,
    "utility.cnn.tstr.recall": {"a": 0.8, "b": 0.99, "c": None},
    "utility.cnn.trtr.recall": {"a": 0.9, "b": 0.99, "c": None},
    **{"utility.loss": loss(1.2), "utility.n.missing_classes": [], "fidelity.collapsed": []},
    **{f"fidelity.{key}": 0.9 for key in ("precision", "recall", "coverage")},
    **{f"fidelity.reference.{key}": 0.95 for key in ("precision", "recall", "coverage")},
    "robustness.checks": [{"name": f"variation {i}", "ours": 0.96, "real": 0.97} for i in range(2)],
    "manifest.non_members": "test",
}
TABLE = {
    **{f"utility.{who}.tstr": scores(0.9) for who in ("boosting", "mean", "judges.linear")},
    "utility.judges.svm.tstr": scores(0.8),
    **{f"utility.{who}.trtr": scores(0.93) for who in ("boosting", "mean", "judges.linear", "judges.svm")},
    **{f"utility.{who}.floor": scores(0.53) for who in ("boosting", "mean", "judges.linear", "judges.svm")},
    **{f"utility.{who}.kept": 0.37 / 0.4 for who in ("boosting", "mean")},
    **{"utility.loss": loss(1.2), "utility.n.missing_classes": []},
}


def values(kind, changes=None, *, attacks=None):
    """Plain values of a report, its manifest and parts; `changes`: key -> value."""
    found = copy.deepcopy(_stored(kind))
    privacy = _privacy(attacks or {"distance": attack(), "copy": attack(half=0.0005)})
    bland = {**MANIFEST, **(IMAGE if kind == "image" else TABLE), **{f"privacy.{k}": v for k, v in privacy.items()}}
    for key, value in {**bland, **(changes or {})}.items():
        *path, last = key.split(".")
        held = found
        for name in path:
            held = held[name]
        held[last] = value
    return found


def make(kind, changes=None, *, attacks=None):
    """A typed report."""
    found = values(kind, changes, attacks=attacks)
    return report.assemble(found["manifest"], {name: found[name] for name in (*PARTS, "rules") if name in found})


def verdict(name, found):
    """One of a report's verdicts, of the first page or of a part."""
    return next(one for one in (*found.verdicts, *found.parts.values()) if one.id == name)


def texts(verdict):
    """Its evidence by topic."""
    return {one.topic: one.text for one in verdict.evidence}
