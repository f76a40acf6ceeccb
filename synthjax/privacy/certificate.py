"""The privacy certificate of published files: what was released, and what that lets an attacker know.

A certificate is JSON, described by the schema `certificate.schema.json` beside this module. It names all releases, so
that anyone can compute epsilon again with an accountant of their choice, and says what it does not cover.

    >>> releases = [Release("rows", "discrete gaussian", 40.0), Release("age: values", "discrete gaussian", 20.0)]
    >>> made = certificate(releases, epsilon=1.0, delta=1e-6, files=["synthetic.csv"])
    >>> [round(one["share"], 2) for one in made["releases"]], made["unit"]
    ([0.2, 0.8], {'column': None, 'rows': 1})
    >>> round(made["attacker"]["true positive rate"]["0.01"], 4) <= 0.0272
    True

Formal guarantees. The statement holds for whoever sees the files that the certificate covers and knows everything else,
if the releases are what they say and nobody has the key of the noise. `verify` checks the arithmetic, not the run.
"""

import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib import resources
from typing import Any

from synthjax.errors import InputError
from synthjax.privacy import accounting
from synthjax.privacy.accounting import Release

FORMAT = "synthjax privacy certificate 1"
FALSE_POSITIVE_RATES = (0.01, 0.001)
NEIGHBOURS = "add or remove one unit"
TIERS = {
    "counts": "integers from SHAKE-256 or Threefry by a table of the discrete Gaussian with 64 binary digits; no "
    "floating point in the noise",
    "gradients": "Gaussian from Threefry in float32; the lattice of floating point can be attacked in theory "
    "(Mironov 2012, Jin et al. 2022), no attack on noise of this size in training is known",
}
NOT_COVERED = (
    "names and types of columns, the format of the file, and what the schema file says is public",
    "the settings of the run, such as epsilon, the model and its number of steps",
    "how long the run took, and whether it failed",
    "what other files, models and reports that were made of the same data say; the ledger knows of those made by "
    "synthjax",
    "facts about groups: that a disease is frequent in a town is shown, whether or not one person takes part",
)


def statement(epsilon: float, delta: float, unit: str | None) -> str:
    """The promise in a sentence."""
    whose = f"all rows with one value of {unit}" if unit else "any one row"
    return (
        f"Whoever sees the files, and knows every other row and this software, learns no more about {whose} than "
        f"({epsilon:g}, {delta:g})-differential privacy allows."
    )


def attackers(releases: Sequence[Release], epsilon: float, delta: float) -> dict[str, float]:
    """The largest true positive rate of any membership attack at each of `FALSE_POSITIVE_RATES`."""
    found = {}
    for rate in FALSE_POSITIVE_RATES:
        found[f"{rate:g}"] = min(accounting.attack(epsilon, delta, rate), accounting.power(releases, rate))
    return found


def in_words(true_positives: Mapping[str, float]) -> str:
    """What the rates of `attackers` mean, for people."""
    one = true_positives["0.01"]
    return (
        "The best attacker who wrongly accuses 1 in 100 people of being in the data finds at most "
        f"{100 * one:.2g} in 100 of those who are"
    )


def shares(releases: Sequence[Release]) -> list[float]:
    """The share of each release in what is spent, by squared signal-to-noise ratios; those of thresholds are 0."""
    spent = [accounting.signal(one) for one in releases]
    total = sum(spent)
    return [one / total if total else 0.0 for one in spent]


def certificate(
    releases: Sequence[Release],
    *,
    epsilon: float,
    delta: float,
    files: Sequence[str],
    unit: str | None = None,
    **about: Any,
) -> dict[str, Any]:
    """Makes a certificate.

    Args:
      releases: everything that has seen private rows and whose result went into the files.
      epsilon: what was promised.
      delta: what was promised.
      files: names of the files that it covers.
      unit: column of the units; None: a row is one.
      **about: further fields: "model", "public", "ledger", "code", "key", "time".

    Returns:
      Plain values.

    Raises:
      InputError: the releases spend more than was promised, or dp-accounting is not installed.
    """
    spent = accounting.epsilon(releases, delta)
    if spent > epsilon * (1 + 1e-6):
        raise InputError(f"the releases spend epsilon {spent:g}, more than {epsilon:g}: no certificate is given")
    rates = attackers(releases, epsilon, delta)
    versions = {name: importlib.metadata.version(name) for name in ("synthjax", "jax", "numpy", "dp-accounting")}
    parts = shares(releases)
    return {
        "format": FORMAT,
        "statement": statement(epsilon, delta, unit),
        "epsilon": epsilon,
        "delta": delta,
        "spent": spent,
        "neighbours": NEIGHBOURS,
        "unit": {"column": unit, "rows": max((one.rows for one in releases), default=1)},
        "attacker": {"true positive rate": rates, "in words": f"{in_words(rates)}."},
        "releases": [{**asdict(one), "share": part} for one, part in zip(releases, parts, strict=True)],
        "accountant": {"method": "privacy loss distributions", "package": "dp-accounting"},
        "samplers": TIERS,
        "software": versions,
        "files": list(files),
        "not covered": list(NOT_COVERED),
        **about,
    }


def page(values: Mapping[str, Any]) -> str:
    """The page of a certificate, HTML for people who know nothing of the run."""
    import jinja2

    environment = jinja2.Environment(loader=jinja2.PackageLoader("synthjax.privacy"), autoescape=True)
    return environment.get_template("certificate.html").render(**values, not_covered=values["not covered"])


def schema() -> dict[str, Any]:
    """The JSON Schema of certificates."""
    text = resources.files("synthjax.privacy").joinpath("certificate.schema.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def releases_of(values: Mapping[str, Any]) -> list[Release]:
    """The releases in a certificate."""
    return [Release(**{name: value for name, value in one.items() if name != "share"}) for one in values["releases"]]


def verify(values: Mapping[str, Any]) -> float:
    """Computes epsilon again from the releases in a certificate.

    Returns:
      The epsilon that they spend.

    Raises:
      InputError: they spend more than the certificate says.
    """
    spent = accounting.epsilon(releases_of(values), values["delta"])
    if spent > values["epsilon"] * (1 + 1e-6):
        raise InputError(f"the releases in the certificate spend epsilon {spent:g}; it says {values['epsilon']:g}")
    return spent
