"""Several reports side by side: verdicts, figures and times, as one JSON file, one page, CSV and LaTeX.

    found = comparison.assemble({"ddpm": report, "vae": other})
    html = page.compare(found)

Figures compare only where data, protocol version and settings are the same: other data and other versions are refused,
other settings are said on the page.
"""

from collections.abc import Mapping
from typing import Any

from synthjax.errors import InputError
from synthjax.evals import answers, exports
from synthjax.evals.exports import Figure
from synthjax.evals.report import PROTOCOL_VERSION

SETTINGS = ("seeds", "epochs", "seed", "level", "limits", "target", "non_members")
"""Of a manifest: what figures are measured with."""


def assemble(reports: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The comparison as plain values.

    Args:
        reports: name -> report, at least two, in the order of the columns.

    Returns:
        `protocol_version`; `kind`, `dataset`, `fingerprint` of the real data; `notes`, what makes the figures differ
        beside the sets; `sets`, name -> `file`, `sha256`, `examples`, `model` (its name or None), `verdicts` (question,
        level, answer, confidence); `figures`, a list with `part`, `key`, `name`, `better`, `reference`, `floor`, and by
        set `values` and `intervals` (None where not measured), `best` (names of sets).

    Raises:
        InputError: fewer than two reports, or reports on other data or of another protocol version.
    """
    if len(reports) < 2:
        raise InputError("--compare: at least two sets are needed")
    first_name, first = next(iter(reports.items()))
    for name, report in reports.items():
        if report["protocol_version"] != PROTOCOL_VERSION:
            raise InputError(f"{name}: its report is of protocol version {report['protocol_version']}, not of this one")
        here, there = first["manifest"], report["manifest"]
        if (here["kind"], here["fingerprint"]) != (there["kind"], there["fingerprint"]):
            raise InputError(
                f"{name}: was judged against {there['dataset']} ({there['fingerprint'][:12]}), {first_name} against "
                f"{here['dataset']} ({here['fingerprint'][:12]}): figures on other data do not compare"
            )
    rows = {name: exports.figures(report) for name, report in reports.items()}
    return {
        "protocol_version": PROTOCOL_VERSION,
        "kind": first["manifest"]["kind"],
        "dataset": first["manifest"]["dataset"],
        "fingerprint": first["manifest"]["fingerprint"],
        "notes": _notes(reports),
        "sets": {name: _about(report) for name, report in reports.items()},
        "figures": [_row(list(reports), one, cells) for one, cells in exports.side_by_side(rows)],
    }


def _notes(reports: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What is not the same for all sets, a sentence each."""
    manifests = {name: report["manifest"] for name, report in reports.items()}
    notes = []
    for key in SETTINGS:
        values = {name: manifest.get(key) for name, manifest in manifests.items()}
        if len({repr(value) for value in values.values()}) > 1:
            said = ", ".join(f"{name}: {value}" for name, value in values.items())
            notes.append(f"{key.replace('_', ' ')} differs, and figures with it ({said})")
    sizes = {name: manifest["synthetic"]["examples"] for name, manifest in manifests.items()}
    if len(set(sizes.values())) > 1:
        said = ", ".join(f"{name}: {size:,}" for name, size in sizes.items())
        notes.append(f"the sets are not equally large ({said}), and a larger one teaches more")
    return notes


def _about(report: Mapping[str, Any]) -> dict[str, Any]:
    manifest = report["manifest"]
    made, model = manifest["synthetic"], manifest["model"]
    verdicts = [verdict._asdict() for verdict in answers.answers(report)]
    return {
        **{key: made[key] for key in ("file", "sha256", "examples")},
        "model": model and model["name"],
        "verdicts": [
            {key: verdict[key] for key in ("question", "level", "answer", "confidence")} for verdict in verdicts
        ],
    }


def _row(names: list[str], one: Figure, cells: list[Figure | None]) -> dict[str, Any]:
    there = dict(zip(names, cells, strict=True))
    return {
        **{key: getattr(one, key) for key in ("part", "key", "name", "better", "reference", "floor")},
        "values": {name: cell and cell.value for name, cell in there.items()},
        "intervals": {name: list(cell.interval) if cell and cell.interval else None for name, cell in there.items()},
        "best": [names[place] for place in exports.best(cells)],
    }
