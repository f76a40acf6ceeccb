"""Gates: conditions on any number of a report, figure or not."""

import pytest
import reports

from synthjax.errors import GateError
from synthjax.evals.report import gates, rows
from synthjax.evals.report.gates import Gate


def test_gates_hold_or_pass():
    found = reports.make("image")
    gates.check([Gate.parse("privacy.mia.auc>0.5", "image")], found)
    with pytest.raises(GateError, match=r"privacy\.mia\.auc is 0\.5 \(gate privacy\.mia\.auc>=") as caught:
        texts = ["utility.cnn.tstr.mean < 0.99", "privacy.mia.auc>=0.5", "utility.svm.tstr.mean<=0.01"]
        gates.check([Gate.parse(text, "image") for text in texts], found)
    assert "utility.cnn.tstr.mean is 0.96 (gate utility.cnn.tstr.mean<0.99)" in str(caught.value)
    assert "svm" not in str(caught.value)


@pytest.mark.parametrize("kind", ["image", "table"])
def test_every_figure_of_the_catalogue_can_be_a_gate(kind):
    for row in rows.catalogue(kind):
        gate = Gate.parse(row.gate.replace("BOUND", "0.5"), kind)
        assert gate.key == row.key and gate.needs_model == row.key.startswith("privacy.mia.model")


def test_entries_that_the_data_names_and_numbers_that_are_no_figures():
    columns = {f"fidelity.{side}.shapes.columns": {"hours per.week": 0.4} for side in ("synthetic", "ceiling")}
    table = reports.make("table", columns)
    keys = {
        "fidelity.synthetic.shapes.columns.hours per.week": 0.4,
        "privacy.findings.holm.mia.distance.auc": 0.9,
        "studies.curve.0.n": table.studies.curve[0].n,
        "utility.loss.ci.1": 1.4,
        "manifest.synthetic.examples": table.manifest.synthetic.examples,
        "manifest.seconds.privacy": table.manifest.seconds["privacy"],
    }
    for key, value in keys.items():
        assert Gate.parse(f"{key}>={value}", "table").failure(table) == f"{key} is {value:.6g} (gate {key}>={value:g})"
        assert Gate.parse(f"{key}<{value}", "table").failure(table) is None


def test_a_gate_on_what_was_not_measured_fails():
    found = reports.make("image")
    for key in ("privacy.mia.model_auc", "fidelity.per_class.none such.diversity", "studies.curve.99.n"):
        with pytest.raises(GateError, match=rf"{key} was not measured"):
            gates.check([Gate.parse(f"{key}>0.6", "image")], found)


@pytest.mark.parametrize(
    "text, message",
    [
        ("privacy.mia.auk>0.5", r"'privacy\.mia\.auk' is no number .* did you mean privacy\.mia\.auc\?"),
        ("privacy.mia>0.5", "is no number of the report"),
        ("manifest.quick>0.5", "is no number of the report"),
        ("utility.boosting.kept<0.5", "is no number of the report"),
        ("privacy.mia.auc=0.5", "is not KEY>NUMBER"),
        ("privacy.mia.auc>much", "is not KEY>NUMBER"),
        ("privacy.mia.auc>1e", "is not KEY>NUMBER"),
        (">0.5", "is not KEY>NUMBER"),
        ("", "is not KEY>NUMBER"),
    ],
)
def test_gates_that_cannot_be_read(text, message):
    with pytest.raises(ValueError, match=message):
        Gate.parse(text, "image")
