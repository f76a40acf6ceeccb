"""What to do next: only where something was found, and what follows from the figures of the run."""

import math

import pytest
import reports
import toy_reports

from synthjax.evals import page
from synthjax.evals.report import guidance

MODEL = {
    **{"workdir": "runs/a", "name": "table_ar", "state_sha256": "0" * 64, "config_sha256": None, "seed": 0},
    **{"step": 10_000, "guarantee": None, "values": 5, "train_seconds": 1.0},
}
EXACT = {"members": 0.05, "others": 0.0, "gain": 0.05, "interval": [0.04, 0.06], "n_members": 600, "n_others": 400}
COPIES = {
    "privacy.exact_matches": 30,
    "privacy.exact_matches_share": 0.06,
    "privacy.duplicates.exact": {**EXACT, "p": 1e-6, "records": list(range(30))},
    "privacy.findings": {"holm": {"duplicates.exact": 1e-5}, "flagged": ["duplicates.exact"], "level": 0.05},
}


def found_by(low, **changes):
    """Attacks that find a share of the members at 1 % false alarms, at least `low`."""
    one = {**reports.attack(0.7), "tpr_at_fpr_1pct": low + 0.02, "tpr_at_fpr_1pct_interval": [low, low + 0.04]}
    about = {f"privacy.mia.{key}": value for key, value in one.items() if key in ("auc", "auc_interval")}
    return {"attacks": {"distance": one}, "changes": {**about, **changes}}


def steps(kind, changes, attacks=None):
    return {one.topic: one.text for one in reports.make(kind, changes, attacks=attacks).guidance}


@pytest.mark.parametrize("kind", ["image", "table"])
def test_nothing_is_said_where_nothing_was_found(kind):
    made = reports.make(kind, {"manifest.model": MODEL})
    assert made.guidance == [] and made.parts["privacy"].level == "good"


def test_copies_are_to_be_left_out():
    said = steps("image", COPIES)
    assert list(said) == ["copies", "privacy", "judge"]
    assert said["copies"].startswith(
        "Leave out the 30 synthetic examples that equal training examples (report.json names 30"
    )


@pytest.mark.parametrize("found", [0.02, 0.05, 0.2, 0.4, 0.9])
def test_the_largest_epsilon_that_forbids_what_was_found(found):
    """By the trade-off of (epsilon, delta): TPR <= e^eps FPR + delta and 1 - FPR >= (1 - TPR - delta) / e^eps."""
    asked = found_by(found)
    made = reports.make("image", asked["changes"], attacks=asked["attacks"])
    epsilon, most, share = guidance.epsilon_for(made)

    def allowed(e):
        return min(1, math.exp(e) * 0.01 + 1e-5, 1 - math.exp(-e) * (1 - 1e-5 - 0.01))

    fit = [e for e in (8, 4, 2, 1) if allowed(e) < found]
    assert share == found and most == pytest.approx(allowed(epsilon))
    assert epsilon == (max(fit) if fit else 1)
    text = {one.topic: one.text for one in made.guidance}["privacy"]
    assert f"--dp.epsilon={epsilon:g}:" in text
    assert ("too little was found" in text) is not bool(fit)


def test_steps_are_halved_and_models_without_any_are_left():
    asked = found_by(
        0.2, **{"manifest.model": MODEL, "privacy.mia.model_auc": 0.81, "privacy.mia.model": reports.attack(0.81)}
    )
    said = steps("table", asked["changes"], asked["attacks"])
    assert "such as 5,000 instead of 10,000" in said["steps"] and "AUC of 0.810" in said["steps"]
    asked["changes"]["manifest.model"] = {**MODEL, "name": "smote", "step": 1}
    said = steps("table", asked["changes"], asked["attacks"])
    assert said["steps"].startswith("Take another model: smote")
    asked["changes"]["manifest.model"] = {**MODEL, "name": "table_forest", "step": 20}
    assert "--config.model.leaf=20" in steps("table", asked["changes"], asked["attacks"])["steps"]


def test_columns_that_are_guessed_are_named():
    flagged = ["attributes.a.b.boosting", "attributes.a.b.nearest", "attributes.c.nearest"]
    changes = {"privacy.findings": {"holm": dict.fromkeys(flagged, 0.01), "flagged": flagged, "level": 0.05}}
    assert steps("table", changes)["columns"].startswith("Leave out “a.b”, “c”, or")
    assert steps("table", {**changes, "manifest.target": "a.b"})["columns"].startswith("Leave out “c”, or")


def test_a_private_training_that_leaks_is_to_be_doubted():
    private = {**MODEL, "guarantee": {"epsilon": 3.0, "delta": 1e-5, "unit": None}}
    asked = found_by(0.5, **{"manifest.model": private})
    said = steps("table", asked["changes"], asked["attacks"])
    assert "steps" not in said and "smaller epsilon than 3" in said["privacy"]


def test_the_first_page_shows_them():
    found = toy_reports.image()
    shown = page.render(found)
    first, rest = shown.split("What to do next", 1)
    assert "verdict-publish" in first and rest.index("Judge it again.") < rest.index("<nav")
    assert "What to do next" not in page.render({**found, "guidance": []})
