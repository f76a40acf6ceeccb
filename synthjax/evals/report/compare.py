"""Several reports side by side: verdicts, figures and times.

    found = compare.assemble({"ddpm": report, "vae": other})

Figures compare only where data, protocol version and settings are the same: other data is refused, other settings are
said in the notes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from synthjax.errors import InputError
from synthjax.evals.report import rows
from synthjax.evals.report.figures import best, side_by_side
from synthjax.evals.report.model import PROTOCOL_VERSION, Report
from synthjax.evals.report.rows import Measured

SETTINGS = ("seeds", "epochs", "seed", "level", "limits", "target", "non_members")
"""Of a manifest: what figures are measured with."""


def assemble(reports: Mapping[str, Report]) -> dict[str, Any]:
    """The comparison as plain values, of at least two reports by name, in the order of the columns.

    Returns:
        `protocol_version`; `kind`, `dataset`, `fingerprint` of the real data; `notes`, what makes the figures differ
        beside the sets; `sets`, name -> `file`, `sha256`, `examples`, `model` (its name or None), `verdicts` (id,
        question, level, answer, confidence); `figures`, a list with `part`, `key`, `name`, `better`, `reference`,
        `floor`, and by set `values` and `intervals` (None where not measured), `best` (names of sets).

    Raises:
        InputError: fewer than two reports, or reports on other data.
    """
    if len(reports) < 2:
        raise InputError("--compare: at least two sets are needed")
    first_name, first = next(iter(reports.items()))
    real = first.manifest
    for name, report in reports.items():
        other = report.manifest
        if (real.kind, real.fingerprint) != (other.kind, other.fingerprint):
            raise InputError(
                f"{name}: was judged against {other.dataset} ({other.fingerprint[:12]}), {first_name} against "
                f"{real.dataset} ({real.fingerprint[:12]}): figures on other data do not compare"
            )
    found = side_by_side({name: rows.measured(report) for name, report in reports.items()})
    return {
        "protocol_version": PROTOCOL_VERSION,
        "kind": real.kind,
        "dataset": real.dataset,
        "fingerprint": real.fingerprint,
        "notes": _notes(reports),
        "sets": {name: _about(report) for name, report in reports.items()},
        "figures": [_row(list(reports), one, cells) for one, cells in found],
    }


def _notes(reports: Mapping[str, Report]) -> list[str]:
    """What is not the same for all sets, a sentence each."""
    notes = []
    for key in SETTINGS:
        values = {name: getattr(report.manifest, key, None) for name, report in reports.items()}
        if len({repr(value) for value in values.values()}) > 1:
            said = ", ".join(f"{name}: {value}" for name, value in values.items())
            notes.append(f"{key.replace('_', ' ')} differs, and figures with it ({said})")
    sizes = {name: report.manifest.synthetic.examples for name, report in reports.items()}
    if len(set(sizes.values())) > 1:
        said = ", ".join(f"{name}: {size:,}" for name, size in sizes.items())
        notes.append(f"the sets are not equally large ({said}), and a larger one teaches more")
    return notes


def _about(report: Report) -> dict[str, Any]:
    made, model = report.manifest.synthetic, report.manifest.model
    names = ("id", "question", "level", "answer", "confidence")
    return {
        **{key: getattr(made, key) for key in ("file", "sha256", "examples")},
        "model": model and model.name,
        "verdicts": [{name: getattr(verdict, name) for name in names} for verdict in report.verdicts],
    }


def _row(names: Sequence[str], one: Measured, cells: Sequence[Measured | None]) -> dict[str, Any]:
    by_name = dict(zip(names, cells, strict=True))
    return {
        "part": one.section,
        **{key: getattr(one, key) for key in ("key", "name", "better", "reference", "floor")},
        "values": {name: cell and cell.value for name, cell in by_name.items()},
        "intervals": {name: list(cell.interval) if cell and cell.interval else None for name, cell in by_name.items()},
        "best": [names[place] for place in best(cells)],
    }
