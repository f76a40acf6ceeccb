"""The certificate: its schema, its arithmetic, its words and its page."""

import json

import jsonschema
import pytest
from scipy.stats import norm

from synthjax.errors import InputError
from synthjax.privacy import certificate as certificates
from synthjax.privacy.accounting import Release

RELEASES = [
    Release("rows", "discrete gaussian", 40.0),
    Release("age: values", "discrete gaussian", 20.0, count=2),
    Release("age: threshold", "threshold", 0.0, delta=1e-8),
    Release("gradients", "gaussian", 6.0, 0.05, 100),
]


def made(**more):
    fields = {"epsilon": 1.0, "delta": 1e-6, "files": ["model/", "synthetic.csv"], **more}
    values = certificates.certificate(RELEASES, **fields)
    return json.loads(json.dumps(values))


def test_it_validates_and_lists_every_release():
    values = made(
        unit="person<b>",
        public=["age"],
        model={"name": "table_ar"},
        ledger={"dataset": "shop", "fit": "ab", "line": 1, "hash": "00"},
        key={"source": "operating system", "destroyed": True},
    )
    jsonschema.Draft202012Validator.check_schema(certificates.schema())
    jsonschema.validate(values, certificates.schema())
    assert certificates.releases_of(values) == RELEASES
    assert sum(one["share"] for one in values["releases"]) == pytest.approx(1)
    assert certificates.verify(values) == pytest.approx(values["spent"]) and values["spent"] <= 1
    text = certificates.page(values)
    assert "all rows with one value of person&lt;b&gt;" in text and "<b>" not in text
    for name in ("gradients", "age: values", "synthetic.csv", "destroyed"):
        assert name in text


@pytest.mark.parametrize("change", [{"epsilon": -1}, {"unit": {}}, {"releases": [{"name": "x"}]}, {"extra": 1}])
def test_other_values_do_not_validate(change):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(made() | change, certificates.schema())


def test_releases_that_spend_more_get_no_certificate():
    with pytest.raises(InputError, match="no certificate is given"):
        made(epsilon=0.1)
    values = made()
    values["epsilon"] = 0.1
    with pytest.raises(InputError, match="spend epsilon"):
        certificates.verify(values)


def test_an_attacker_finds_what_the_best_test_of_a_gaussian_does():
    """Neyman and Pearson: the power at a false positive rate a is Phi(Phi^-1(a) + 1 / noise)."""
    noise = 1 / 0.3
    found = certificates.attackers([Release("all", "gaussian", noise)], epsilon=2.0, delta=1e-5)
    for rate in (0.01, 0.001):
        exact = norm.cdf(norm.ppf(rate) + 0.3)
        assert exact <= found[f"{rate:g}"] <= 1.02 * exact
