"""The typed report: JSON both ways, its schema, its rows, and what is refused."""

import json
import math
import subprocess
import sys
from dataclasses import fields, is_dataclass

import jsonschema
import msgspec
import pytest
import reports

from synthjax.errors import InputError
from synthjax.evals import report
from synthjax.evals.report import model, rows
from synthjax.evals.report.images import ImageUtility

KINDS = ("image", "table")


def plain(found):
    return json.loads(json.dumps(msgspec.to_builtins(found)))


def errors(values):
    return list(jsonschema.Draft202012Validator(report.schema()).iter_errors(values))


@pytest.mark.parametrize("kind", KINDS)
def test_plain_values_become_a_report_and_come_back(kind, tmp_path):
    given, found = reports.values(kind), reports.make(kind)
    back = plain(found)
    for name in ("manifest", "utility", "studies", "fidelity", "privacy"):
        assert back[name] == given[name], name
    assert [verdict["id"] for verdict in back["verdicts"]] == ["publish", "good", "lost", "checkpoint"]
    assert [verdict["id"] for verdict in back["parts"].values()] == ["useful", "alike", "private"]
    assert all({"topic", "text"} == one.keys() for verdict in back["verdicts"] for one in verdict["evidence"])
    assert report.read(report.write(tmp_path, found)) == found
    assert errors(back) == []


@pytest.mark.parametrize("kind", KINDS)
def test_the_schema_tells_wrong_reports(kind):
    right = plain(reports.make(kind))
    metaschema = jsonschema.Draft202012Validator.META_SCHEMA
    jsonschema.Draft202012Validator(metaschema).validate(report.schema())
    for key, value in (("verdicts", None), ("privacy", None), ("manifest", {}), ("fidelity", {})):
        assert errors({**right, key: value}), key
    mia = {**right["privacy"]["mia"], "auc": 1.5}
    assert errors({**right, "privacy": {**right["privacy"], "mia": mia}})
    part = right["utility"]["cnn" if kind == "image" else "boosting"]["tstr"]
    part |= {"mean": 1.5} if kind == "image" else {"roc_auc": {**part["roc_auc"], "mean": 1.5}}
    assert errors(right)


def test_a_key_that_would_be_lost_is_an_error_that_says_where():
    values = reports.values("image")
    values["utility"]["cnn"]["tstr"]["median"] = 0.5
    with pytest.raises(msgspec.ValidationError, match=r"\$\.cnn\.tstr\.median: its type has no such field"):
        report.part("image", "utility", values["utility"])
    del values["utility"]["cnn"]["tstr"]["median"], values["utility"]["cnn"]["floor"]
    with pytest.raises(msgspec.ValidationError, match="floor"):
        report.part("image", "utility", values["utility"])
    assert isinstance(report.part("image", "utility", reports.values("image")["utility"]), ImageUtility)
    assert report.part("image", "utility", None) is None


def test_nan_is_refused_rather_than_written(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        report.write(tmp_path, reports.make("image", {"fidelity.recall": math.nan}))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text, message",
    [
        ("{", "holds no report"),
        ("[]", "holds no report"),
        ("{}", "holds no report"),
        ('{"protocol_version": 5, "manifest": {"kind": "sound"}}', "holds no report"),
        ('{"protocol_version": 5, "manifest": {"kind": "image"}}', "holds no report: .*dataset"),
        ('{"protocol_version": NaN}', "NaN is no finite number"),
        ('{"protocol_version": 1e999}', "1e999 is no finite number"),
        ('{"protocol_version": 4, "manifest": {"kind": "image"}}', "protocol version 4, .* judge the set again"),
        ("[" * 100_000, "holds no report"),
    ],
)
def test_files_that_hold_no_report_are_refused_in_one_line(text, message, tmp_path):
    path = tmp_path / "report.json"
    path.write_text(text)
    with pytest.raises(InputError, match=rf"report\.json: .*{message}") as caught:
        report.read(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"^[^:]*gone\.json: cannot be read \(No such file or directory\)$"):
        report.read(tmp_path / "gone.json")


def test_a_newer_reports_further_keys_are_left_out(tmp_path):
    found = reports.make("table")
    path = tmp_path / "report.json"
    path.write_text(json.dumps({**plain(found), "later": 1}))
    assert report.read(path) == found


def test_the_import_is_light_and_the_schema_is_printed():
    heavy = {"pandas", "matplotlib", "sklearn", "flax"}
    code = f"import sys, synthjax.evals.report; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr
    done = subprocess.run([sys.executable, "-m", "synthjax.evals.report"], capture_output=True, text=True, timeout=120)
    assert json.loads(done.stdout) == json.loads(json.dumps(report.schema()))


def test_a_reader_of_the_schema_may_stop_early():
    process = subprocess.Popen(
        [sys.executable, "-m", "synthjax.evals.report"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    process.stdout.close()
    assert process.stderr.read() == "error: standard output was closed before the end\n"
    assert process.wait(120) == 6


# --- rows ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_catalogue_says_what_every_figure_is(kind):
    found = rows.catalogue(kind)
    assert len({row.key for row in found}) == len(found) > 40
    assert len({row.name for row in found}) == len(found)
    for row in found:
        assert row.name and row.meaning.endswith(".") and row.section in rows.SECTIONS, row.key
        low, high = row.bounds
        assert low is None or high is None or low < high
        if isinstance(row.reference, float) and low is not None and high is not None:
            assert low <= row.reference <= high
        assert row.key in row.gate
    declared = {name for cls in model._dataclasses([model.REPORTS[kind]]) for name in figures_of(cls)}
    shown = {name for row in found for name in row.key.removesuffix(f".{rows.NAME}").split(".")[-2:]}
    assert declared <= shown  # no declared figure is out of reach
    assert set(found) <= set(report.catalogue())


def figures_of(cls):
    return {field.name for field in fields(cls) if "figure" in field.metadata}


def test_each_number_stands_beside_its_references():
    images = {row.key: row for row in rows.catalogue("image")}
    tables = {row.key: row for row in rows.catalogue("table")}
    cnn = images["utility.cnn.tstr.mean"]
    assert (cnn.reference, cnn.floor) == ("utility.cnn.trtr.mean", "utility.cnn.floor.mean")
    assert cnn.name == "accuracy, CNN" and cnn.interval == "utility.cnn.tstr.ci"
    assert images["fidelity.c2st.score"].reference == "fidelity.reference.c2st.score"
    assert images["fidelity.per_class.NAME.frechet"].reference == "fidelity.per_class.NAME.reference.frechet"
    assert images["fidelity.network.accuracy"].reference is None  # it is not measured of real images
    auc = tables["utility.boosting.tstr.roc_auc.mean"]
    assert (auc.reference, auc.floor) == ("utility.boosting.trtr.roc_auc.mean", "utility.boosting.floor.roc_auc.mean")
    shapes = tables["fidelity.synthetic.shapes.score"]
    assert (shapes.reference, shapes.floor) == ("fidelity.ceiling.shapes.score", "fidelity.floor.shapes.score")
    assert (
        tables["privacy.mia.auc"].reference == 0.5 and tables["privacy.mia.auc"].interval == "privacy.mia.auc_interval"
    )
    assert tables["privacy.mia.tpr_at_fpr_1pct"].reference == "privacy.mia.chance.tpr_at_fpr_1pct.mean"


@pytest.mark.parametrize("kind", KINDS)
def test_every_figure_is_where_its_key_says(kind):
    model_card = {"workdir": "r", "name": "ddpm", "state_sha256": "b" * 64, "values": 5, "train_seconds": 2.0}
    found = reports.make(kind, {"manifest.model": model_card})
    values = plain(found)
    measured = rows.measured(found)
    assert len({row.key for row in measured}) == len(measured) > 15
    for row in measured:
        held = values
        for name in row.key.split("."):
            held = held[name]
        assert held == row.value, row.key
    by_key = {row.key: row for row in measured}
    assert by_key["manifest.seconds.privacy"].name == "scoring: privacy, s"
    assert by_key["manifest.model.train_seconds"].value == 2.0
    assert {"privacy.mia.model_auc"}.isdisjoint(by_key)  # not measured


@pytest.mark.parametrize("kind", KINDS)
def test_every_number_of_a_report_may_be_named(kind):
    found = reports.make(kind)

    def leaves(held, key=""):
        if isinstance(held, dict | list | tuple):
            for name, value in held.items() if isinstance(held, dict) else enumerate(held):
                yield from leaves(value, f"{key}.{name}" if key else str(name))
        elif isinstance(held, int | float) and not isinstance(held, bool):
            yield key, held

    numbers = dict(leaves(plain(found)))
    assert len(numbers) > 300
    for key, value in numbers.items():
        assert rows.leads_to_number(model.REPORTS[kind], key.split(".")), key
        assert rows.number(found, key) == value, key
    for key in (
        "privacy",
        "privacy.mia",
        "manifest.kind",
        "manifest.quick",
        "privacy.mia.auc.mean",
        "verdicts.0.level",
    ):
        assert not rows.leads_to_number(model.REPORTS[kind], key.split(".")), key
    assert rows.get(found, "privacy.mia.nothing.more") is None and not is_dataclass(rows.get(found, "manifest.dataset"))


def test_a_part_that_no_report_has_is_refused():
    with pytest.raises(TypeError, match="no such part of a report: fidelty"):
        report.assemble(reports.values("image")["manifest"], {"fidelty": None})
