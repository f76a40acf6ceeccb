"""Private runs with several rows per person: what is paid, what the certificate says, and what is refused."""

import dataclasses
import json

import jax
import jsonschema
import numpy as np
import pytest
from in_process import run
from shop import shop

from synthjax.launch import runs
from synthjax.privacy import accounting, budget, certificate, units
from synthjax.privacy.counts import Counts
from synthjax.privacy.ledger import VARIABLE, Ledger

FIT = ["train", "--model=independent", "--dataset=shop.csv", "--target=churned", "--dp.epsilon=8", "--workdir=out"]

pytestmark = pytest.mark.usefixtures("coarse_accounting")


@pytest.fixture(autouse=True)
def ledgers(tmp_path, monkeypatch):
    """The folder of ledgers, and a working directory with a table."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "ledger"))
    monkeypatch.chdir(tmp_path)
    frame = shop(1500)
    frame["customer_id"] = [f"C-{i}" for i in np.random.default_rng(0).integers(0, 300, len(frame))]
    frame.to_csv(tmp_path / "shop.csv", index=False)
    return tmp_path / "ledger"


def test_several_rows_of_a_person_are_paid_for(tmp_path):
    end = run(*FIT, "--dp.unit=customer_id", "--dp.rows_per_unit=3", "--config.dp.encoder=0.2")
    assert end.code == 0, end.err
    values = json.loads((tmp_path / "out/publish/certificate.json").read_text())
    jsonschema.validate(values, certificate.schema())
    assert values["unit"] == {"column": "customer_id", "rows": 3}
    assert "all rows with one value of customer_id" in values["statement"]
    assert 6 < certificate.verify(values) <= 8
    counted = [one for one in values["releases"] if one["mechanism"] == "discrete gaussian"]
    assert {one["rows"] for one in counted} == {3}
    model = budget.Budget(8.0, 1e-6).part(0.8)
    assert counted[-1]["noise"] == pytest.approx(units.discrete_noise(model * counted[-1]["count"] ** 0.5, 3))
    train = runs.trained_on("out/internal").table.frame(np.load("out/internal/splits.npz")["train"])
    assert train["customer_id"].value_counts().max() == 3
    assert "at most 3 rows were used" in (tmp_path / "out/publish/privacy.html").read_text()


def test_counts_of_units_have_noise_in_proportion():
    one, three = Counts(20.0), Counts(20.0, 3)
    for hook in (one, three):
        hook(jax.random.key(0), np.zeros(4, np.float32), 2.0, 0.25)
    assert one.seen[0].noise == 80.0 and three.seen[0].noise == pytest.approx(np.hypot(240.0, units.ROUNDED))
    assert (three.seen[0].rows, three.seen[0].count) == (3, 4)


def test_gradients_of_units_are_accounted_for_as_mixtures(tmp_path):
    tiny = ["--config.model.hidden=4", "--config.model.embedding=2", "--config.model.bins=8", "--config.model.fine=1"]
    words = ["--model=table_ar", "--steps=6", "--batch_size=100", *tiny]
    end = run(*FIT, *words, "--dp.unit=customer_id", "--dp.rows_per_unit=2")
    assert end.code == 0, end.err
    values = json.loads((tmp_path / "out/publish/certificate.json").read_text())
    last = certificate.releases_of(values)[-1]
    assert (last.name, last.rows) == ("gradients", 2) and 0.02 < last.rate < 1 and certificate.verify(values) <= 8
    alone = accounting.epsilon([last], 1e-6)
    assert alone > 1.5 * accounting.epsilon([dataclasses.replace(last, rows=1)], 1e-6)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--dp.rows_per_unit=3"], "--dp.rows_per_unit=3: needs --dp.unit, the column of the persons"),
        (["--dp.unit=customer_id", "--dp.rows_per_unit=0"], "--dp.rows_per_unit=0: must be at least 1"),
        (["--dp.unit=customer_id", "--dp.rows_per_unit=two"], "--dp.rows_per_unit=two: must be of type int"),
    ],
)
def test_what_is_refused(words, message, ledgers):
    end = run(*FIT, *words)
    assert end.code == 3 and message in end.line
    assert Ledger(ledgers, "shop").spent().fits == 0
